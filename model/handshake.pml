/*
 * The handshake and the sealed channel (docs/protocol.md 7.1, 7.2, 7.3) against an attacker who is the network.
 *
 * Who takes part
 *   AGENT     the honest agent: RUNS connections one after the other, each cut or ended by a crash at any point
 *   CP        the honest control plane: SESSIONS connections at the same time
 *   EVE       the attacker: she is the wire, an approved agent of CP, and answers the agent like a control plane
 *   STRANGER  an identity of EVE's that nobody has approved
 *
 * The attacker. There is no channel between the honest sides: a side receives whatever EVE can build. What she cannot
 * build are signatures of AGENT and CP over bytes they did not sign, and records under keys she does not know. Her own
 * identities, nonces and keys, and everything seen before, she may put into any field. Nothing is consumed, so loss,
 * repetition and reordering are included. A message that does not verify is the end of a connection; so is a cut, and
 * a crash of CP ends all of them: a session that makes no further step is each of these. `verifiedTls` says that EVE
 * is not on the path of one run of the agent.
 *
 * Symbols. A transcript is U of 7.3, the bytes both sides sign. A nonce or a key pair is the number of who made it. A
 * session key is (dh1, dh2, U); EVE knows it when one of the two secrets is hers. There is no clock, so every message
 * is fresh for ever: here EVE is stronger than the 60 s of section 2 allow.
 *
 *   step of the model              docs/protocol.md
 *   INIT, STEP1, COMPLETE          2, 7.1; what is refused before a signature: 7.1, 7.2
 *   the answer, records, reissue   7.3
 *   what is pinned and stored      7.2
 *
 * Left out: services other than `auth`, registration (AGENT and EVE are approved from the start), an agent with
 * allowPlaintext that knows no control plane yet, which trusts whoever answers first.
 */
#ifndef RUNS
#define RUNS 2
#endif
#ifndef SESSIONS
#define SESSIONS 2
#endif
#define RECORDS 2 /* sealed messages per direction; the first one of CP is the answer to COMPLETE */

#define AGENT 1
#define CP 2
#define EVE 3
#define STRANGER 4

#define NONE 0
#define OF_AGENT(i) (1 + (i))
#define OF_CP(j) (1 + RUNS + (j))
#define OF_EVE (1 + RUNS + SESSIONS)

/* Software of one run of the agent. The old kinds are honest too, know nothing of 7.2 and 7.3, and use the same key. */
#define NEW 0
#define OLD_V1 1 /* version 1, lists no features */
#define OLD_V0 2 /* version 0: metadata is not signed (section 2) */

/* An option for each run or session. */
#if RUNS > 1
#define EACH_RUN(option) option(0) option(1)
#define SUM_RUNS(term) (term(0) + term(1))
#else
#define EACH_RUN(option) option(0)
#define SUM_RUNS(term) (term(0))
#endif
#if SESSIONS > 2
#define EACH_SESSION(option) option(0) option(1) option(2)
#define SUM_SESSIONS(term) (term(0) + term(1) + term(2))
#else
#define EACH_SESSION(option) option(0) option(1)
#define SUM_SESSIONS(term) (term(0) + term(1))
#endif

typedef Transcript {
  bit version;
  byte pk1;
  byte pk2;
  byte nonce1;
  byte nonce2;
  bit seal1; /* metadata.pk1.features has `seal` */
  bit seal2;
  byte dh1;
  byte dh2;
  byte channel; /* metadata.pk1.channel, in a reissue only */
}

Transcript agent[RUNS];  /* as the agent sees its run */
Transcript cp[SESSIONS]; /* as CP sees its session */
Transcript again;        /* a reissue inside session `within`; one in all */
byte within;

bit initSent[RUNS];     /* INIT has left: EVE has its nonce and its public key */
bit agentSigned[RUNS];  /* COMPLETE has left: AGENT's signature over agent[i] */
bit sealed[RUNS];       /* authenticated, and sealed */
byte agentOpened[RUNS]; /* records */
byte turn;              /* the run under way */

bit cpSigned[SESSIONS]; /* STEP1 has left: CP's signature over cp[j] */
bit accepted[SESSIONS]; /* COMPLETE was taken */
byte cpOpened[SESSIONS];
byte begun;

bit againSigned;      /* CP's signature over the reissue */
bit agentSignedAgain; /* AGENT's */

/* Stored, and so there after a crash (7.2). */
bit pinned = 1; /* the agent expects CP, by its pin or by controlPlaneDid */
bit pinSeal;    /* the pin says that CP lists seal */
bit storedSeal; /* CP has stored that AGENT lists seal */
bit storedV1;   /* CP has stored that AGENT has completed version 1 */
bit plaintextAllowed; /* allowPlaintext of an agent that knows its control plane */

/* What has happened, whatever was stored. */
bit cpListed;    /* an authenticated run of the agent has seen CP list seal */
bit usedV1;      /* AGENT has completed version 1 */
bit agentListed; /* CP has opened a first record of AGENT, who listed seal */

/* The properties. Each is set and asserted where it can fail, so that a failed assertion shows its name. */
bit right_peer = 1;         /* (a) the agent authenticates nobody but CP ... */
bit agreement_agent = 1;    /* (a) ... and exactly one session of CP has completed with this transcript, these keys */
bit agreement_cp = 1;       /* (a) CP accepts AGENT only where AGENT signed this transcript, and once for each */
bit reissue_bound = 1;      /* (a) a reissue is between the two ends of its channel */
bit records_of_cp = 1;      /* (a) what the agent opens is what this session of CP sealed, in that order */
bit records_of_agent = 1;   /* (a) and the other way round */
bit no_downgrade_agent = 1; /* (f) no session without seal after CP has listed it */
bit no_downgrade_cp = 1;    /* (f) none after AGENT has listed it */
bit no_version_0 = 1;       /* (f) no version 0 after version 1 */
#define hold(property, condition) property = (condition); assert(property)
#define never(property) hold(property, 0) /* statements that no run of the whole model reaches are marked so */

/* ---- what a signature covers (section 2, 7.1) ---- */
#ifdef DH_UNSIGNED
#define DH_COVERED 0
#else
#define DH_COVERED 1
#endif
#ifdef FEATURES_UNSIGNED
#define FEATURES_COVERED 0
#else
#define FEATURES_COVERED 1
#endif
#ifdef IDS_UNSIGNED
#define IDS_COVERED 0
#else
#define IDS_COVERED 1
#endif
#define EQ_INIT(x, y) (x.version == y.version && x.nonce1 == y.nonce1 && (!IDS_COVERED || x.pk1 == y.pk1) && \
                       (x.version == 0 || ((!FEATURES_COVERED || x.seal1 == y.seal1) && \
                                           (!DH_COVERED || x.dh1 == y.dh1) && x.channel == y.channel)))
#define EQ_STEP1(x, y) (x.nonce2 == y.nonce2 && (!IDS_COVERED || x.pk2 == y.pk2) && \
                        (x.version == 0 || ((!FEATURES_COVERED || x.seal2 == y.seal2) && \
                                            (!DH_COVERED || x.dh2 == y.dh2))))
#define SAME_BYTES(x, y) (EQ_INIT(x, y) && EQ_STEP1(x, y))

/* The same in all that a side goes by; in version 0 nobody goes by metadata. */
#define SAME(x, y) (x.version == y.version && x.pk1 == y.pk1 && x.pk2 == y.pk2 && x.nonce1 == y.nonce1 && \
                    x.nonce2 == y.nonce2 && x.channel == y.channel && \
                    (x.version == 0 || \
                     (x.seal1 == y.seal1 && x.seal2 == y.seal2 && x.dh1 == y.dh1 && x.dh2 == y.dh2)))

/* A feature is in use if both signed lists have it, and version 0 signs no list (7.2). */
#ifdef V0_FEATURES
#define SEALED(x) (x.seal1 && x.seal2)
#else
#define SEALED(x) (x.version == 1 && x.seal1 && x.seal2)
#endif

/* ---- keys (7.3) ---- */
#ifdef KEY_WITHOUT_TRANSCRIPT
#define SAME_KEY(x, y) (x.dh1 == y.dh1 && x.dh2 == y.dh2)
#define CHANNEL(x) (x.dh1 * 32 + x.dh2 * 4)
#else
#define SAME_KEY(x, y) (x.dh1 == y.dh1 && x.dh2 == y.dh2 && SAME_BYTES(x, y))
#define CHANNEL(x) (x.dh1 * 32 + x.dh2 * 4 + x.pk1 - 1)
#endif

#ifdef NO_NONCES
#define NONCE_OF_AGENT(i) 1
#define NONCE_OF_CP(j) 1
#else
#define NONCE_OF_AGENT(i) OF_AGENT(i)
#define NONCE_OF_CP(j) OF_CP(j)
#endif

/* ---- what a side refuses before it signs (7.1, 7.2) ---- */
#ifdef ANY_PEER
#define PEER_EXPECTED 1
#else
#define PEER_EXPECTED (!pinned || agent[i].pk2 == CP)
#endif
#ifdef PIN_OVER_ANY_LINK
#define MAY_PIN 1
#else
#define MAY_PIN (pinned || verifiedTls)
#endif
#ifdef AGENT_IGNORES_FEWER
#define NO_FEWER_OF_CP 1
#else
#define NO_FEWER_OF_CP (!pinSeal || agent[i].seal2)
#endif
#ifdef STAYS_UNPROTECTED
#define PROTECTED 1
#else
#define PROTECTED (SEALED(agent[i]) || verifiedTls || plaintextAllowed)
#endif
#ifdef CP_IGNORES_FEWER
#define NO_FEWER_OF_AGENT(x) 1
#else
#define NO_FEWER_OF_AGENT(x) (x.pk1 != AGENT || !storedSeal || SEALED(x))
#endif
#ifdef V0_AFTER_V1
#define VERSION_KEPT(x) 1
#else
#define VERSION_KEPT(x) (x.pk1 != AGENT || x.version == 1 || !storedV1)
#endif
#ifdef OWN_ID_ACCEPTED
#define NOT_OWN_ID(x) 1
#else
#define NOT_OWN_ID(x) (x.pk1 != CP)
#endif
#define ADMITTED(x) (NO_FEWER_OF_AGENT(x) && VERSION_KEPT(x))
/* Checked again at COMPLETE: another session may have stored something since the INIT. */
#ifdef FEATURES_CHECKED_AT_INIT_ONLY
#define STILL_ADMITTED(x) VERSION_KEPT(x)
#elif defined(VERSION_CHECKED_AT_INIT_ONLY)
#define STILL_ADMITTED(x) NO_FEWER_OF_AGENT(x)
#else
#define STILL_ADMITTED(x) ADMITTED(x)
#endif

/* ---- a reissue inside the channel (7.3) ---- */
#ifdef REISSUE_ANY_ID
#define REISSUE_ID 1
#else
#define REISSUE_ID (again.pk1 == cp[j].pk1)
#endif
#ifdef REISSUE_ANY_FEATURES
#define REISSUE_FEATURES 1
#else
#define REISSUE_FEATURES (again.seal1 == cp[j].seal1)
#endif
#ifdef REISSUE_ANY_CHANNEL
#define REISSUE_CHANNEL 1
#else
#define REISSUE_CHANNEL (again.channel == CHANNEL(cp[j]))
#endif
#ifdef REISSUE_WITH_DH
#define REISSUE_DH 1
#else
#define REISSUE_DH (again.dh1 == NONE)
#endif

/* STEP1 made by CP: what the responder says is taken, and all of the INIT must be ours (7.1). */
#ifdef DH_UNSIGNED
#define STEP1_CHANGED(n) :: cpSigned[n] && EQ_INIT(agent[i], cp[n]) && !verifiedTls -> \
  d_step { agent[i].pk2 = CP; agent[i].nonce2 = cp[n].nonce2; agent[i].seal2 = cp[n].seal2; agent[i].dh2 = OF_EVE }
#elif defined(FEATURES_UNSIGNED)
#define STEP1_CHANGED(n) :: cpSigned[n] && EQ_INIT(agent[i], cp[n]) && !verifiedTls -> \
  d_step { agent[i].pk2 = CP; agent[i].nonce2 = cp[n].nonce2; agent[i].seal2 = 0; agent[i].dh2 = cp[n].dh2 }
#elif defined(STEP1_MAY_CHANGE_INIT)
#define STEP1_CHANGED(n) :: cpSigned[n] && cp[n].version == agent[i].version && cp[n].nonce1 == agent[i].nonce1 -> \
  d_step { agent[i].pk2 = CP; agent[i].nonce2 = cp[n].nonce2; agent[i].seal1 = cp[n].seal1; agent[i].dh1 = cp[n].dh1; \
           agent[i].seal2 = cp[n].seal2; agent[i].dh2 = cp[n].dh2 }
#else
#define STEP1_CHANGED(n)
#endif
#define STEP1_FROM(n) STEP1_CHANGED(n) :: cpSigned[n] && EQ_INIT(agent[i], cp[n]) -> \
  d_step { agent[i].pk2 = cp[n].pk2; agent[i].nonce2 = cp[n].nonce2; agent[i].seal2 = cp[n].seal2; agent[i].dh2 = cp[n].dh2 }

#define ANSWER_FROM(n) :: SEALED(agent[i]) && accepted[n] && SAME_KEY(agent[i], cp[n])
#define TLS_ANSWER_FROM(n) :: !SEALED(agent[i]) && verifiedTls && accepted[n] && SAME(agent[i], cp[n])
#define COMPLETED(n) (accepted[n] && SAME(agent[i], cp[n]))
#ifdef NO_ORDER
#define IN_ORDER_OF_CP 0
#else
#define IN_ORDER_OF_CP 1
#endif
#define RECORD_FROM(n) :: atomic { \
  sealed[i] && agentOpened[i] < RECORDS && accepted[n] && SAME_KEY(agent[i], cp[n]) -> \
  hold(records_of_cp, IN_ORDER_OF_CP && SAME(agent[i], cp[n])); agentOpened[i]++ }

active proctype Agent() {
  byte i;
  byte software;
  bit verifiedTls;

  if
  :: plaintextAllowed = 1
  :: pinned = 0 /* the first contact */
  :: skip
  fi;

  do
  :: turn < RUNS ->
     /* INIT (7.1) */
     atomic {
       i = turn;
       if
       :: software = NEW
       :: software = OLD_V1
       :: software = OLD_V0
       fi;
       if
       :: verifiedTls = 0
       :: verifiedTls = 1
       fi;
       d_step {
         agent[i].version = (software != OLD_V0);
         agent[i].pk1 = AGENT;
         agent[i].nonce1 = NONCE_OF_AGENT(i);
         agent[i].seal1 = (software == NEW);
         agent[i].dh1 = (software == NEW -> OF_AGENT(i) : NONE);
         initSent[i] = 1
       }
     }
     /* STEP1 (7.1): signed by CP, or by EVE in her own name. A side signs after all its checks. */
     atomic {
       if
       EACH_SESSION(STEP1_FROM)
       :: againSigned && EQ_INIT(agent[i], again) -> /* never, while a reissue is bound to its channel */
          agent[i].pk2 = again.pk2; agent[i].nonce2 = again.nonce2; agent[i].seal2 = again.seal2 /* never */
       :: !verifiedTls && software == NEW ->
          d_step { agent[i].pk2 = EVE; agent[i].nonce2 = OF_EVE; agent[i].seal2 = 1; agent[i].dh2 = OF_EVE }
       :: !verifiedTls && software == NEW ->
          d_step { agent[i].pk2 = EVE; agent[i].nonce2 = OF_EVE; agent[i].seal2 = 1; agent[i].dh2 = OF_CP(0) }
       :: !verifiedTls && software == NEW -> d_step { agent[i].pk2 = EVE; agent[i].nonce2 = OF_EVE }
       :: goto lost
       fi;
       if
       :: software != NEW -> agentSigned[i] = 1; goto lost /* what old software does then is not ours to prove */
       :: software == NEW && PEER_EXPECTED && MAY_PIN && NO_FEWER_OF_CP && PROTECTED -> agentSigned[i] = 1
       :: else -> goto lost
       fi
     }
     /* The answer (7.3): the agent is authenticated when it has opened; without seal, when it is there. */
     atomic {
       if
       EACH_SESSION(ANSWER_FROM)
       EACH_SESSION(TLS_ANSWER_FROM)
       :: SEALED(agent[i]) && agent[i].dh2 == OF_EVE
#ifdef ANSWER_UNSEALED
       :: SEALED(agent[i])
#endif
       :: !SEALED(agent[i]) && !verifiedTls
       :: goto lost
       fi;
       hold(right_peer, agent[i].pk2 == CP);
       if
       :: SEALED(agent[i]) ->
          hold(agreement_agent, SUM_SESSIONS(COMPLETED) == 1);
          sealed[i] = 1;
          agentOpened[i] = 1;
          cpListed = 1;
#ifndef AGENT_STORES_LATE
          pinSeal = 1
#endif
       :: else ->
          hold(no_downgrade_agent, !cpListed);
          hold(agreement_agent, plaintextAllowed || SUM_SESSIONS(COMPLETED) == 1)
       fi;
       pinned = 1
     }
     do
     EACH_SESSION(RECORD_FROM) /* records (7.3): the key is not EVE's, so they come from CP */
     :: atomic { /* STEP1 of a reissue, through the channel: the agent signs what it asked for itself */
          sealed[i] && againSigned && !agentSignedAgain && cp[within].pk1 == AGENT && again.pk1 == AGENT &&
          SAME_KEY(agent[i], cp[within]) && again.channel == CHANNEL(agent[i]) -> agentSignedAgain = 1
        }
#ifdef AGENT_STORES_LATE
     :: sealed[i] && !pinSeal -> pinSeal = 1
#endif
     :: break
     od;
lost: skip;
     d_step {
#ifdef AGENT_FORGETS
       pinSeal = 0;
#endif
       software = NEW;
       verifiedTls = 0;
       sealed[i] = 0;
       i = 0;
       turn++
     }
  :: turn == RUNS -> break
  od
}

#define INIT_OF(n) :: initSent[n] -> d_step { cp[j].pk1 = AGENT; cp[j].nonce1 = NONCE_OF_AGENT(n) }
#define INIT_WITH_NONCE_OF(n) :: initSent[n] -> d_step { cp[j].pk1 = EVE; cp[j].nonce1 = NONCE_OF_AGENT(n) }
#define DH_OF(n) :: initSent[n] && agent[n].dh1 != NONE -> cp[j].dh1 = OF_AGENT(n)
#define COMPLETE_FROM(n) :: (cp[j].pk1 == AGENT || !IDS_COVERED) && agentSigned[n] && SAME_BYTES(agent[n], cp[j])
#define RAN(n) (agentSigned[n] && SAME(agent[n], cp[j]))
#define TAKEN(n) (accepted[n] && SAME(cp[n], cp[j]))
#define FIRST_RECORD_FROM(n) :: cpOpened[j] == 0 && agentOpened[n] > 0 && SAME_KEY(agent[n], cp[j]) -> \
  hold(records_of_agent, SAME(agent[n], cp[j]))
#ifdef NO_ORDER
#define NEXT_RECORD_FROM(n) :: cpOpened[j] > 0 && agentOpened[n] > 0 && SAME_KEY(agent[n], cp[j]) -> \
  never(records_of_agent)
#else
#define NEXT_RECORD_FROM(n) :: cpOpened[j] > 0 && agentOpened[n] > 0 && SAME_KEY(agent[n], cp[j]) -> \
  hold(records_of_agent, SAME(agent[n], cp[j]))
#endif
#define AGAIN_INIT_OF(n) :: cp[j].pk1 == EVE && cp[j].dh1 == OF_EVE && initSent[n] -> \
  d_step { again.pk1 = AGENT; again.nonce1 = NONCE_OF_AGENT(n) }
#define AGAIN_DH_OF(n) :: cp[j].pk1 == EVE && initSent[n] && agent[n].dh1 != NONE -> again.dh1 = OF_AGENT(n)
#define AGAIN_ASKED_BY(n) :: cp[j].pk1 == AGENT && sealed[n] && SAME_KEY(agent[n], cp[j]) -> \
  d_step { again.pk1 = AGENT; again.nonce1 = agent[n].nonce1; again.seal1 = 1; again.channel = CHANNEL(agent[n]) }
#define AGAIN_COMPLETE_FROM(n) :: againSigned && within == j && again.pk1 == AGENT && agentSigned[n] && \
  SAME_BYTES(agent[n], again) -> never(reissue_bound)

proctype Session(byte j) {
  /* INIT (7.1): any identity, nonce and key that EVE has seen or made. Of her own nonces one stands for all, and in
   * the agent's name she uses one that the agent has drawn: with any other no signature of it will ever fit. */
  atomic {
    begun == j ->
    begun++;
    if
    EACH_RUN(INIT_OF)
    EACH_RUN(INIT_WITH_NONCE_OF)
    :: d_step { cp[j].pk1 = EVE; cp[j].nonce1 = OF_EVE }
    :: d_step { cp[j].pk1 = STRANGER; cp[j].nonce1 = OF_EVE }
    :: d_step { cp[j].pk1 = CP; cp[j].nonce1 = OF_EVE }
    fi;
    if
    :: cp[j].pk1 == AGENT -> cp[j].version = 0
    :: cp[j].version = 1
    fi;
    if
    :: cp[j].pk1 == AGENT && cp[j].version == 1 /* no features */
    :: cp[j].seal1 = 1;
       if
       :: cp[j].dh1 = OF_EVE
       EACH_RUN(DH_OF)
       fi
    fi;
    if
    :: NOT_OWN_ID(cp[j]) && ADMITTED(cp[j])
    :: else -> d_step { cp[j].pk1 = NONE; cp[j].version = 0; cp[j].nonce1 = NONE; cp[j].seal1 = 0; cp[j].dh1 = NONE } goto closed
    fi;
    d_step { cp[j].pk2 = CP; cp[j].nonce2 = NONCE_OF_CP(j) }
    if
    :: d_step { cp[j].seal2 = 1; cp[j].dh2 = OF_CP(j) }
    :: cp[j].pk1 == AGENT /* CP runs software that knows no features */
    fi;
    cpSigned[j] = 1
  }
  /* COMPLETE (7.1): EVE signs in her own names, and has what AGENT and CP have signed. */
  atomic {
    if
    :: cp[j].pk1 == EVE
    EACH_RUN(COMPLETE_FROM)
#ifdef OWN_ID_ACCEPTED
    :: cp[j].pk1 == CP /* the signature in STEP1 is over the same bytes */
#endif
    fi;
    if
    :: STILL_ADMITTED(cp[j])
    :: else -> goto closed
    fi;
    if
    :: cp[j].pk1 != EVE ->
       hold(agreement_cp, SUM_RUNS(RAN) == 1 && SUM_SESSIONS(TAKEN) == 0);
       hold(no_version_0, cp[j].version == 1 || !usedV1);
       if
       :: cp[j].version == 1 -> usedV1 = 1; storedV1 = 1
       :: else
       fi;
       if
       :: !SEALED(cp[j]) -> hold(no_downgrade_cp, !agentListed)
       :: else
       fi
    :: else
    fi;
    accepted[j] = 1
  }
  if
  :: SEALED(cp[j])
  :: else -> goto closed
  fi;
  do
  :: atomic { /* records of the agent (7.3); EVE's own session is hers to use */
       cpOpened[j] < RECORDS && cp[j].pk1 == AGENT ->
       if
       EACH_RUN(FIRST_RECORD_FROM)
       EACH_RUN(NEXT_RECORD_FROM)
       :: cp[j].dh1 == OF_EVE -> never(records_of_agent)
#ifdef ONE_KEY
       :: cpOpened[j] == 0 -> never(records_of_agent) /* CP's own first record, sent back */
#endif
       fi;
       cpOpened[j]++;
       agentListed = 1;
#ifndef CP_STORES_LATE
       storedSeal = 1
#endif
     }
#ifdef CP_FORGETS
  :: storedSeal -> storedSeal = 0
#endif
#ifdef CP_STORES_LATE
  :: cpOpened[j] > 0 && !storedSeal -> storedSeal = 1
#endif
  :: atomic { /* INIT of a reissue (7.3): from who has the channel's key */
       again.version == 0 ->
       if
       EACH_RUN(AGAIN_ASKED_BY)
       EACH_RUN(AGAIN_INIT_OF)
       :: cp[j].pk1 == EVE && cp[j].dh1 == OF_EVE -> d_step { again.pk1 = EVE; again.nonce1 = OF_EVE }
       fi;
       again.version = 1;
       if
       :: cp[j].pk1 == EVE -> again.seal1 = 0
       :: cp[j].pk1 == EVE -> again.seal1 = 1
       :: cp[j].pk1 == AGENT
       fi;
       if
       EACH_RUN(AGAIN_DH_OF)
       :: skip
       fi;
       if
       :: cp[j].pk1 == EVE -> again.channel = CHANNEL(cp[j])
       :: skip
       fi;
       if
       :: REISSUE_ID && REISSUE_FEATURES && REISSUE_DH && REISSUE_CHANNEL ->
          d_step { again.pk2 = CP; again.nonce2 = NONCE_OF_CP(j); again.seal2 = 1; within = j; againSigned = 1 }
       :: else ->
          d_step { again.version = 0; again.pk1 = NONE; again.nonce1 = NONE; again.seal1 = 0; again.dh1 = NONE; again.channel = NONE }
          break
       fi
     }
  :: atomic { /* COMPLETE of a reissue */
       if
       EACH_RUN(AGAIN_COMPLETE_FROM) /* never, while a reissue is bound to its channel */
       :: againSigned && within == j && again.pk1 == AGENT && agentSignedAgain -> hold(reissue_bound, cp[j].pk1 == AGENT)
       :: againSigned && within == j && again.pk1 == EVE -> hold(reissue_bound, cp[j].pk1 == EVE)
       fi;
       break
     }
  od;
closed:
  skip
}

#define START(n) run Session(n);
init {
  atomic { EACH_SESSION(START) skip }
}
