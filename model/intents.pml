/*
 * Intents, signed results, result_ack and the agent's outbox (docs/protocol.md 7.4, 7.5), with crashes of both sides:
 * properties (c), (d), (e), and of (b) that what runs is what CP signed for this agent.
 *
 * Two kinds of link, chosen when the model is compiled:
 *   sealed  (the default) what handshake.pml proves: authentic, complete and in order up to a cut. EVE cuts, and has a
 *           connection of her own as an approved agent
 *   OPEN    EVE is inside the agent's connection: she reads, keeps, repeats, drops and changes everything, so that the
 *           tokens stand alone. What runs is still signed, and runs once, and a result is still the agent's. There is
 *           no result_ack, as without `seal` (7.2), so nothing leaves the outbox
 *
 * Intents 0, 1 are for AGENT, HERS is for EVE. An intent token covers id, agent, params and expiry; a result token covers
 * the intent token and the output. What is stored survives a crash, the rest does not.
 *
 *   step of the model                           docs/protocol.md
 *   an intent, its acceptance, start and end    7.4
 *   what a crash of the agent interrupted       7.4
 *   result, result_ack, refused, the outbox     7.5
 *   a negative intent_ack                       7.4
 *   sent again, with a fresh token              7.4
 *   deadline, lost connection, restart of CP    7.4, 7.8
 *
 * On a sealed link the agent can be sent an intent again: what is pending stays so over a cut and over a restart of CP. On
 * an open one it ends as lost, but is sent again all the same, which is more than CP does. That a result of any of an
 * intent's tokens counts, and none of another intent's, is not in the model: its messages name the intent, no token.
 */
#ifndef INTENTS
#define INTENTS 2
#endif
#define HERS INTENTS
#ifndef OUTBOX
#define OUTBOX 1 /* places in the agent's outbox */
#endif
#ifndef CRASHES
#define CRASHES 1 /* of each side */
#endif
#ifndef CUTS
#define CUTS 1
#endif
#ifndef RESENDS
#define RESENDS 1 /* how often CP sends an intent again */
#endif
#ifdef OPEN
#define SEALED 0
#else
#define SEALED 1
#endif

/* Rows of CP. */
#define ABSENT 0
#define PENDING 1
#define FAILED 2 /* refused by the agent: it will not run */
#define TIMEOUT 3
#define LOST 4
#define DONE 5 /* success or failed, by the agent's result */

/* What the agent knows of an id. */
#define UNSEEN 0
#define ACCEPTED 1
#define FINISHED 2

/* Results. */
#define OUTPUT 1
#define INTERRUPTED 2
#define REFUSAL 3
#define EVES 4
#define EVES_OTHER 5

mtype = { intentMsg, nackMsg, resultMsg, ackMsg, refusedMsg };
chan toAgent = [2] of { mtype, byte, byte };
chan toCp = [2] of { mtype, byte, byte };
#define AGENT_HEARS (up && len(toAgent) < 2)
#define CP_HEARS (up && len(toCp) < 2)

bit up;          /* the link is there */
bit cpConnected; /* CP believes so */
byte cuts;

/* ---- CP: stored ---- */
byte row[INTENTS + 1];
byte stored[INTENTS + 1]; /* the result */
/* ---- CP: in memory ---- */
bit cpDown;
byte cpCrashes;
bit waiting[INTENTS]; /* its deadline runs */
byte committing[INTENTS + 1]; /* a result that was verified and is about to be stored */
bit ackDue[INTENTS];
byte resends;
bit tried[INTENTS]; /* sent on this connection */

/* ---- the agent: stored ---- */
byte seen[INTENTS + 1];
byte outbox[INTENTS];
bit aside[INTENTS];
/* ---- the agent: in memory ---- */
byte agentCrashes;
bit queued[INTENTS + 1]; /* accepted, waiting for a lane */
bit running[INTENTS + 1];
bit toSend[INTENTS];

/* ---- what has happened ---- */
bit over[INTENTS];           /* expiresAt of the last token is past */
bit late[INTENTS];           /* the time for the intent is over, and 24 h more */
bit sent[INTENTS];           /* EVE has seen the token, on an open link */
bit shown[INTENTS];          /* ... and the result */
byte executions[INTENTS + 1];
bit changed[INTENTS];        /* what was accepted has params of EVE's */
byte made[INTENTS];          /* the result that AGENT has signed */

bit at_most_once = 1;       /* (c) */
bit intent_authentic = 1;   /* (b) CP signed this intent, with these params, for this agent */
bit intent_fresh = 1;       /* (b) nothing is accepted after its expiresAt */
bit refused_never_runs = 1; /* (c) what CP was told is refused does not run */
bit result_genuine = 1;     /* (e) AGENT made this result for this intent */
bit one_result = 1;         /* (e) the agent signs one result per intent */
bit result_final = 1;       /* (e) the first one counts */
bit result_kept = 1;        /* (e) a result stays with the agent until it is stored at CP */
bit set_aside_rightly = 1;  /* (e) nothing is set aside that CP has stored */
bit outbox_bounded = 1;     /* (e) the outbox never holds more than it has places */
#define hold(property, condition) property = (condition); assert(property)

#define KEPT(k) (made[k] == 0 || outbox[k] == made[k] || aside[k] || stored[k] == made[k])
#ifdef PLACES_OF_FINISHED_ONLY
#define USED(k) (outbox[k] != 0)
#else
#define USED(k) (outbox[k] != 0 || seen[k] == ACCEPTED)
#endif
#if INTENTS > 1
#define EACH_INTENT(option) option(0) option(1)
#define ROOM (USED(0) + USED(1) < OUTBOX)
#define IN_OUTBOX ((outbox[0] != 0) + (outbox[1] != 0))
#else
#define EACH_INTENT(option) option(0)
#define ROOM (USED(0) < OUTBOX)
#define IN_OUTBOX (outbox[0] != 0)
#endif

inline dropLink() {
#ifndef OPEN
  do
  :: nempty(toAgent) -> toAgent?_, _, _
  :: nempty(toCp) -> toCp?_, _, _
  :: empty(toAgent) && empty(toCp) -> break
  od;
#endif
  up = 0
}

/* ---------------------------------------------------------------- the control plane ---- */

#ifdef OPEN
#define PUT_INTENT(k) sent[k] = 1
#else
#define PUT_INTENT(k) tried[k] = 1; if :: up -> toAgent!intentMsg(k, 0) :: else fi
#endif
#ifdef AGAIN_AT_ONCE
#define MAY_RESEND(k) 1
#else
#define MAY_RESEND(k) (!tried[k])
#endif
#ifdef OPEN
#define TO_BE_SENT(k) (row[k] == PENDING || row[k] == LOST)
#define FRESH_TOKEN(k) skip
#else
#define TO_BE_SENT(k) (row[k] == PENDING && IN_TIME(k))
#define FRESH_TOKEN(k) over[k] = 0
#endif
#ifdef AGAIN_AFTER_ITS_TIME
#define IN_TIME(k) 1
#else
#define IN_TIME(k) (!late[k])
#endif
/* A caller's intent: the row first, then the wire; again only on a later connection, or when the agent did not take it.
 * One that waits for its agent, or whose CP dies in between, has the row alone. */
#define RUN_INTENT(k) :: atomic { \
  !cpDown && cpConnected && row[k] == ABSENT && len(toAgent) < 2 -> row[k] = PENDING; waiting[k] = 1; PUT_INTENT(k) }
#define SEND_AGAIN(k) :: atomic { \
  !cpDown && cpConnected && resends < RESENDS && MAY_RESEND(k) && TO_BE_SENT(k) && len(toAgent) < 2 -> \
  resends++; FRESH_TOKEN(k); PUT_INTENT(k) }
#define WAIT(k) :: atomic { SEALED && !cpDown && row[k] == ABSENT -> row[k] = PENDING; waiting[k] = 1 }

/* A result of AGENT's connection has been verified: first into the store, then the answer (7.5). */
#ifdef LAST_COUNTS
#define UNANSWERED(k) 1
#else
#define UNANSWERED(k) (stored[k] == 0)
#endif
#define COMMIT(k) :: atomic { \
  !cpDown && committing[k] != 0 -> \
  hold(result_genuine, row[k] != ABSENT && made[k] == committing[k]); \
  hold(result_final, stored[k] == 0 || stored[k] == committing[k]); \
  stored[k] = committing[k]; \
  row[k] = DONE; \
  waiting[k] = 0; \
  ackDue[k] = SEALED; \
  committing[k] = 0 }
#define ACK(k) :: atomic { \
  !cpDown && ackDue[k] && cpConnected && AGENT_HEARS -> \
  ackDue[k] = 0; toAgent!ackMsg(k, (committing[k] != 0 -> committing[k] : stored[k])) }
#ifdef OPEN
#define GONE(k) if :: row[k] == PENDING && committing[k] == 0 -> row[k] = LOST; waiting[k] = 0 :: else fi;
#else
#define GONE(k)
#endif

active proctype Cp() {
  byte k, value;
  do
  EACH_INTENT(RUN_INTENT)
#ifndef OPEN
  EACH_INTENT(WAIT)
#endif
  EACH_INTENT(SEND_AGAIN)
#ifndef OPEN
  :: atomic {
       !cpDown && cpConnected && nempty(toCp) ->
       if
       :: toCp?resultMsg(k, value) ->
          if
          :: UNANSWERED(k) ->
             committing[k] = value;
#ifdef ACK_BEFORE_COMMIT
             ackDue[k] = 1
#endif
          :: else ->
#ifdef REFUSES_WHAT_IT_HAS
             if
             :: len(toAgent) < 2 -> toAgent!refusedMsg(k, 0)
             :: else
             fi
#elif defined(REPEATED_RESULT_IGNORED)
             skip
#else
             ackDue[k] = 1
#endif
          fi
       :: toCp?nackMsg(k, value) ->
          if
          :: row[k] == PENDING && waiting[k] -> row[k] = FAILED; waiting[k] = 0
          :: row[k] == PENDING && waiting[k] -> tried[k] = 0 /* busy: again later */
          :: else
          fi
       fi;
       k = 0;
       value = 0
     }
  EACH_INTENT(ACK)
#endif
  EACH_INTENT(COMMIT)
  :: atomic { /* the connection is seen to be gone */
       !cpDown && cpConnected && !up ->
       cpConnected = 0;
       EACH_INTENT(GONE)
       skip
     }
  od
}

/* CP's own deadline: a timer, which no message can hold up. */
#define DEADLINE(k) :: atomic { \
  !cpDown && row[k] == PENDING && waiting[k] && committing[k] == 0 -> row[k] = TIMEOUT; waiting[k] = 0 }
active proctype Deadline() {
  do
#ifdef NO_DEADLINE
  :: row[0] == DONE -> break
#else
  EACH_INTENT(DEADLINE)
#endif
  od
}

/* A restart of CP goes on with what was pending, and with its deadlines, or ends it, before it listens again. */
#ifdef NO_RECOVERY
#define RECOVER(k)
#elif !defined(OPEN)
#define RECOVER(k) if \
  :: row[k] == PENDING && late[k] -> row[k] = TIMEOUT \
  :: row[k] == PENDING && !late[k] -> waiting[k] = 1 \
  :: else \
  fi;
#else
#define RECOVER(k) if :: row[k] == PENDING -> row[k] = LOST :: else fi;
#endif
active proctype Restart() {
  do
  :: atomic {
       cpDown ->
       EACH_INTENT(RECOVER)
       cpDown = 0
     }
  od
}

/* ---------------------------------------------------------------- the attacker ---- */

/* Over her own connection: results of hers for ids of others. */
#ifdef SENDER_NOT_CHECKED
#define FROM_ADDRESSEE 1
#else
#define FROM_ADDRESSEE 0
#endif
#define EVE_ANSWERS(k) :: atomic { FROM_ADDRESSEE && !cpDown && row[k] != ABSENT && UNANSWERED(k) -> committing[k] = EVES }

/* On an open link, in AGENT's connection. A token that AGENT made can be repeated as it is; with another output, for
 * another id, or without a token of AGENT's, CP has to notice. */
#ifdef OUTPUT_NOT_HASHED
#define OUTPUT_FREE(k) shown[k]
#else
#define OUTPUT_FREE(k) 0
#endif
#ifdef RESULT_UNSIGNED
#define SIGNATURE_FREE 1
#else
#define SIGNATURE_FREE 0
#endif
#ifdef RESULT_NOT_BOUND
#define INTENT_FREE(k) shown[INTENTS - 1 - k]
#else
#define INTENT_FREE(k) 0
#endif
#define EVE_DELIVERS(k) \
  :: atomic { !cpDown && shown[k] && UNANSWERED(k) -> committing[k] = made[k] } \
  :: atomic { (OUTPUT_FREE(k) || INTENT_FREE(k) || SIGNATURE_FREE) && !cpDown && row[k] != ABSENT && UNANSWERED(k) -> \
              committing[k] = EVES }

active proctype Eve() {
  do
  EACH_INTENT(EVE_ANSWERS)
#ifdef OPEN
  EACH_INTENT(EVE_DELIVERS)
  :: atomic { /* an intent of her own, which she answers as often as she likes */
       !cpDown && UNANSWERED(HERS) && committing[HERS] == 0 ->
       if
       :: committing[HERS] = EVES
       :: committing[HERS] = EVES_OTHER
       fi
     }
  :: atomic {
       !cpDown && committing[HERS] != 0 ->
       hold(result_final, stored[HERS] == 0 || stored[HERS] == committing[HERS]);
       stored[HERS] = committing[HERS];
       committing[HERS] = 0
     }
#endif
  od
}

/* ---------------------------------------------------------------- the agent ---- */

#ifdef SEEN_IN_MEMORY
#define KNOWN(k) (queued[k] || running[k])
#elif defined(NO_SEEN_TABLE)
#define KNOWN(k) 0
#else
#define KNOWN(k) (seen[k] != UNSEEN)
#endif
#ifdef NO_EXPIRY
#define FRESH(k) 1
#else
#define FRESH(k) (!over[k])
#endif

inline sign(k, value) {
  hold(one_result, made[k] == 0 || made[k] == value);
  made[k] = value;
  outbox[k] = value;
  hold(outbox_bounded, IN_OUTBOX <= OUTBOX);
  toSend[k] = 1
}

/* Signature, agent, id and hash have been checked. What is known of the id answers; age and room refuse new ids only
 * (7.4). The id is stored before anything starts. */
inline onIntent(k) {
  if
  :: KNOWN(k) ->
     if
     :: seen[k] == FINISHED && outbox[k] != 0 -> toSend[k] = 1
     :: else
     fi
  :: !KNOWN(k) && FRESH(k) && ROOM ->
     hold(intent_fresh, !over[k]);
#ifndef SEEN_AFTER_START
     seen[k] = ACCEPTED;
#endif
     queued[k] = 1
  :: !KNOWN(k) && !(FRESH(k) && ROOM) ->
#ifdef REFUSAL_SIGNED
     sign(k, REFUSAL)
#elif defined(OPEN)
     skip
#else
     if
     :: CP_HEARS -> toCp!nackMsg(k, 0)
     :: else
     fi
#endif
  fi
}

#define START(k) :: atomic { \
  queued[k] -> \
  queued[k] = 0; \
  running[k] = 1; \
  executions[k]++; \
  hold(at_most_once, executions[k] == 1); \
  hold(intent_authentic, row[k] != ABSENT && !changed[k]); \
  hold(refused_never_runs, row[k] != FAILED) }
#ifdef SEEN_AFTER_START
#define NOTE(k) :: atomic { running[k] && seen[k] == UNSEEN -> seen[k] = ACCEPTED }
#else
#define NOTE(k)
#endif
/* The result and its place in the outbox are one durable step. */
#define END(k) :: atomic { running[k] && seen[k] == ACCEPTED -> running[k] = 0; seen[k] = FINISHED; sign(k, OUTPUT) }
#ifdef SENT_IS_DONE
#define AFTER_SENDING(k) outbox[k] = 0; hold(result_kept, KEPT(k))
#else
#define AFTER_SENDING(k) skip
#endif
#ifdef OPEN
#define SEND(k) :: atomic { toSend[k] -> toSend[k] = 0; shown[k] = 1 }
#else
#define SEND(k) :: atomic { toSend[k] && CP_HEARS -> toSend[k] = 0; toCp!resultMsg(k, outbox[k]); AFTER_SENDING(k) }
#endif
/* After 24 h the token is long dead; the id and its result stay while the result is not acknowledged (7.4). */
#ifdef FORGETS_EARLY
#define MAY_FORGET(k) 1
#elif defined(FORGETS_UNACKNOWLEDGED) || defined(OPEN)
#define MAY_FORGET(k) late[k]
#else
#define MAY_FORGET(k) (late[k] && outbox[k] == 0)
#endif
#define FORGET(k) :: atomic { \
  seen[k] == FINISHED && MAY_FORGET(k) -> \
  seen[k] = UNSEEN; outbox[k] = 0; toSend[k] = 0; hold(result_kept, !SEALED || KEPT(k)) }
#ifdef SENT_ONCE
#define AGAIN(k) tried[k] = 0;
#else
#define AGAIN(k) tried[k] = 0; toSend[k] = (outbox[k] != 0);
#endif

/* On an open link EVE hands the agent every token she has seen, as often as she likes, her own too, and with params of
 * hers beside it. */
#ifdef TOKEN_UNSIGNED
#define TOKEN_OF(k) 1
#else
#define TOKEN_OF(k) sent[k]
#endif
#define EVE_HANDS(k) :: atomic { TOKEN_OF(k) -> onIntent(k) }
#ifdef PARAMS_NOT_HASHED
#define EVE_CHANGES(k) :: atomic { sent[k] && !KNOWN(k) -> changed[k] = 1; onIntent(k) }
#else
#define EVE_CHANGES(k)
#endif
#ifdef ACK_WITHOUT_SEAL
#define EVE_ACKS(k) :: atomic { outbox[k] != 0 -> outbox[k] = 0; hold(result_kept, KEPT(k)) }
#else
#define EVE_ACKS(k)
#endif

active proctype Agent() {
  byte k, value;
  do
  :: atomic { /* a handshake: the outbox goes out again (7.5) */
       !up && !cpDown ->
       up = 1;
       cpConnected = 1;
       EACH_INTENT(AGAIN)
       skip
     }
#ifdef OPEN
  EACH_INTENT(EVE_HANDS)
  EACH_INTENT(EVE_CHANGES)
  EACH_INTENT(EVE_ACKS)
#ifdef AGENT_ID_NOT_CHECKED
  :: atomic { executions[HERS] == 0 -> executions[HERS]++; hold(intent_authentic, 0) }
#endif
#else
  :: atomic {
       up && nempty(toAgent) ->
       if
       :: toAgent?intentMsg(k, value) -> onIntent(k)
       :: toAgent?ackMsg(k, value) ->
          if
          :: outbox[k] == value -> outbox[k] = 0; toSend[k] = 0; hold(result_kept, KEPT(k))
          :: else
          fi
#ifdef REFUSES_WHAT_IT_HAS
       :: toAgent?refusedMsg(k, value) ->
          hold(set_aside_rightly, outbox[k] == 0 || stored[k] != outbox[k]);
          aside[k] = (outbox[k] != 0);
          outbox[k] = 0
#endif
       fi;
       k = 0;
       value = 0
     }
#endif
  EACH_INTENT(START)
  EACH_INTENT(NOTE)
  EACH_INTENT(END)
  EACH_INTENT(SEND)
  EACH_INTENT(FORGET)
  od
}

/* ---------------------------------------------------------------- crashes, cuts and time ---- */

/* The agent starts again: what was accepted and not finished is answered, never run (7.4). */
#ifdef RUNS_AGAIN
#define INTERRUPT(k) if :: seen[k] == ACCEPTED -> queued[k] = 1 :: else fi;
#else
#define INTERRUPT(k) if :: seen[k] == ACCEPTED -> seen[k] = FINISHED; sign(k, INTERRUPTED) :: else fi;
#endif
#ifdef OUTBOX_IN_MEMORY
#define CLEAR_OUTBOX(k) outbox[k] = 0; hold(result_kept, KEPT(k));
#else
#define CLEAR_OUTBOX(k)
#endif
#define CLEAR_AGENT(k) queued[k] = 0; running[k] = 0; CLEAR_OUTBOX(k) INTERRUPT(k) toSend[k] = 0;
#define CLEAR_CP(k) waiting[k] = 0; committing[k] = 0; ackDue[k] = 0; tried[k] = 0;

active proctype Faults() {
  do
  :: atomic {
       agentCrashes < CRASHES ->
       agentCrashes++;
       dropLink();
       EACH_INTENT(CLEAR_AGENT)
       skip
     }
  :: atomic { up && cuts < CUTS -> cuts++; dropLink() }
  :: atomic {
       !cpDown && cpCrashes < CRASHES ->
       cpCrashes++;
       dropLink();
       cpDown = 1;
       cpConnected = 0;
       EACH_INTENT(CLEAR_CP)
       committing[HERS] = 0
     }
  od
}

#define EXPIRE(k) \
  :: atomic { row[k] != ABSENT && !over[k] -> over[k] = 1 } \
  :: atomic { over[k] && !late[k] -> late[k] = 1 }
active proctype Clock() {
  do
  EACH_INTENT(EXPIRE)
  od
}

#ifdef LIVENESS
/* (d) Every intent that CP has accepted is answered to its caller. */
ltl answered { [] ((row[0] == PENDING) -> <> (row[0] != PENDING)) }
/* (e) A result that was made is stored in the end, and leaves the outbox; cuts and crashes come to an end here. */
ltl delivered { [] ((made[0] != 0) -> <> (stored[0] == made[0] && outbox[0] == 0)) }
#endif
