/*
 * Certificates, their narrowing and their end (docs/protocol.md 4.1, 5, 7.3, 7.8): property (b), no execution without
 * a live grant of the control plane.
 *
 * One agent and its control plane, over channels as handshake.pml proves them: authentic, complete and in order up to
 * a cut. The attacker decides when anything arrives and may cut at any moment, which loses all that is under way. An
 * operator changes the grant CHANGES times, or revokes the agent; a caller with a valid API token asks for an action
 * at any time, and CP signs it whatever the grant is: the agent's gate decides.
 *
 * A grant is two bits: CAP, the action is granted, and LONG, its policy is not over after the clock has moved on.
 * update_capabilities carries both, auth_complete only CAP (4.1). Each change begins an epoch; `history` keeps all.
 * Like every agent of ours this one lists control-v2, so it is told of a change while a reissue is under way (7.3).
 *
 *   step of the model                       docs/protocol.md
 *   init, step1, complete, authComplete     4.1, 7.3 (a reissue inside the channel)
 *   update                                  4.1, 7.3 (narrows only)
 *   revoked                                 7.8
 *   an intent and the gate before its call  5, 7.4
 */
#ifndef CHANGES
#define CHANGES 3
#endif
#define EPOCHS 4
#define INTENTS 2
#ifndef CUTS
#define CUTS 2
#endif

#define CAP 1
#define LONG 2
#define ALL 3

/* Messages: kind, grant, epoch. */
mtype = { challengeMsg, initMsg, step1Msg, completeMsg, authCompleteMsg, updateMsg, intentMsg, revokedMsg };
chan toAgent = [9] of { mtype, byte, byte };
chan toCp = [3] of { mtype };

bit up;    /* the connection, as both sides see it */
byte cuts;
bit later; /* the clock has passed the end of policies without LONG */

/* ---- the control plane ---- */
byte grant = ALL;
bit revoked;
byte epoch;
byte history[EPOCHS] = ALL;
bit connected; /* authenticated */
bit handshaking; /* STEP1 has left, for the first time or in a reissue */
bit asked;     /* a reissue: challenge has left */
bit wanted;    /* another reissue is due after this one */
byte snapshot; /* what STEP1 certified */
byte issued;

/* ---- the agent ---- */
bit hasGrant;      /* authenticated: `held` is in force, also while the link is down */
byte held;         /* the certificate, with all that has narrowed it */
bit hasCandidate;  /* STEP1 was taken, auth_complete is due */
byte candidate;
byte queued[INTENTS]; /* accepted and waiting for a lane: 1 + the epoch in which CP signed it */

/* What the agent knows, whatever it does with it. */
byte certifiedIn;   /* epoch of the certificate in force */
byte candidateIn;
bit told[EPOCHS];    /* it has been sent the whole grant of this epoch */
bit toldCap[EPOCHS]; /* it has been sent its capabilities */

bit grant_certified = 1;    /* (b) what runs is in a certificate that CP signed ... */
bit grant_not_narrowed = 1; /* (b) ... and nothing that the agent was told since has taken it away */
bit intent_grantable = 1;   /* (b) an intent signed after the grant was narrowed does not run until it is granted again */
bit revoked_stays_out = 1;  /* (b) CP counts no revoked agent as connected */
#define hold(property, condition) property = (condition); assert(property)

#define ALLOWS(g, need) (((g) & (need)) == (need))
#ifdef NO_EXPIRY
#define GATE(g) ALLOWS(g, CAP)
#else
#define GATE(g) (ALLOWS(g, CAP) && (!later || ALLOWS(g, LONG)))
#endif
#define NEED (later -> CAP | LONG : CAP)
#define TAKEN_AWAY(e) (e > certifiedIn && ((told[e] && !ALLOWS(history[e], NEED)) || (toldCap[e] && !ALLOWS(history[e], CAP))))
#define GRANTED_SINCE(e, from) (e >= from && e <= epoch && ALLOWS(history[e], NEED))

inline loseLink() {
  d_step {
    do
    :: nempty(toAgent) -> toAgent?_, _, _
    :: nempty(toCp) -> toCp?_
    :: empty(toAgent) && empty(toCp) -> break
    od;
    up = 0;
    connected = 0;
    handshaking = 0;
    asked = 0;
    wanted = 0;
    snapshot = 0;
    hasCandidate = 0;
    candidate = 0;
    candidateIn = 0
  }
}

/* Reissue (4.1, 7.3): the narrowing goes out at once, the handshake when none is under way. */
inline reissue() {
#ifndef CHANGE_WAITS_FOR_REISSUE
  toAgent!updateMsg(grant, epoch);
#endif
  if
  :: asked -> wanted = 1
  :: else ->
#ifdef CHANGE_WAITS_FOR_REISSUE
     toAgent!updateMsg(grant, epoch);
#endif
     toAgent!challengeMsg(0, 0);
     asked = 1
  fi
}

active proctype Cp() {
  do
  :: atomic { /* STEP1 certifies the grant as it is now */
       toCp?[initMsg] ->
       toCp?initMsg;
       if
       :: revoked -> loseLink()
       :: else -> snapshot = grant; handshaking = 1; toAgent!step1Msg(grant, epoch)
       fi
     }
  :: atomic { /* COMPLETE: never more than the grant as it is now, should the certificate be older */
       toCp?[completeMsg] ->
       toCp?completeMsg;
       if
#ifdef REVOKED_SEEN_AT_INIT_ONLY
       :: 0
#else
       :: revoked -> loseLink()
#endif
       :: else ->
          hold(revoked_stays_out, !revoked);
          handshaking = 0;
          connected = 1;
          asked = 0;
#ifdef CERTIFICATE_TAKEN_AS_CURRENT
          toAgent!authCompleteMsg(snapshot, 0)
#else
          toAgent!authCompleteMsg(grant, epoch);
          if
          :: wanted || snapshot != grant ->
             wanted = 0;
#ifndef NO_UPDATE_AFTER_ANSWER
             reissue()
#endif
          :: else
          fi
#endif
       fi
     }
  :: atomic { /* an operator gives or takes */
       epoch < CHANGES && !revoked ->
       epoch++;
       if
       :: grant = grant & CAP
       :: grant = grant & LONG
       :: grant = ALL
       fi;
       history[epoch] = grant;
       if
       :: connected -> reissue()
       :: else
       fi
     }
  :: atomic { /* ... or removes the agent (7.8) */
       epoch < CHANGES && !revoked ->
       epoch++;
       revoked = 1;
       grant = 0;
       history[epoch] = 0;
       if
       :: connected -> toAgent!revokedMsg(0, epoch); connected = 0
       :: else
       fi
     }
  :: atomic { connected && issued < INTENTS -> toAgent!intentMsg(issued, epoch); issued++ }
  od
}

inline tellAll(e) { told[e] = 1; toldCap[e] = 1 }

active proctype Agent() {
  byte g, e;
  do
  :: atomic { !up && cuts <= CUTS -> up = 1; toCp!initMsg }
  :: atomic {
       nempty(toAgent) ->
       if
       :: toAgent?challengeMsg(g, e) -> toCp!initMsg
       :: toAgent?step1Msg(g, e) -> candidate = g; candidateIn = e; hasCandidate = 1; toCp!completeMsg
       :: toAgent?authCompleteMsg(g, e) ->
          if
          :: hasCandidate -> held = candidate; certifiedIn = candidateIn
          :: else
          fi;
          hasGrant = 1;
          hasCandidate = 0;
          candidate = 0;
          candidateIn = 0;
          toldCap[e] = 1;
#ifdef ANSWER_ADDS
          held = (held & LONG) | (g & CAP)
#else
          held = held & (g | LONG)
#endif
       :: toAgent?updateMsg(g, e) ->
          tellAll(e);
#ifdef UPDATE_ADDS
          held = g;
#else
          held = held & g;
#endif
#ifndef NARROWS_ONLY_THE_OLD
          candidate = candidate & g
#endif
       :: toAgent?revokedMsg(g, e) ->
          tellAll(e);
#ifndef REVOKED_KEEPS_GRANT
          held = 0;
          hasGrant = 0;
#endif
          loseLink()
       :: toAgent?intentMsg(g, e) ->
#ifdef GATE_AT_ACCEPTANCE
          if
          :: hasGrant && GATE(held) -> queued[g] = 1 + e
          :: else
          fi
#else
          queued[g] = 1 + e
#endif
       fi;
       g = 0;
       e = 0
     }
  :: atomic { /* a lane takes an intent: the gate just before the call (5) */
       queued[0] || queued[1] ->
       if
       :: queued[0] -> g = 0
       :: queued[1] -> g = 1
       fi;
       if
#ifdef GATE_AT_ACCEPTANCE
       :: 1 ->
#else
       :: hasGrant && GATE(held) ->
#endif
          hold(grant_certified, ALLOWS(history[certifiedIn], NEED));
          hold(grant_not_narrowed, !TAKEN_AWAY(1) && !TAKEN_AWAY(2) && !TAKEN_AWAY(3));
          e = queued[g] - 1;
          hold(intent_grantable, GRANTED_SINCE(0, e) || GRANTED_SINCE(1, e) || GRANTED_SINCE(2, e) || GRANTED_SINCE(3, e))
#ifndef GATE_AT_ACCEPTANCE
       :: else /* failed, policy_denied */
#endif
       fi;
       queued[g] = 0;
       g = 0;
       e = 0
     }
  :: atomic { /* a crash: the certificate was in memory, and accepted intents are interrupted (intents.pml) */
       up && cuts < CUTS ->
       cuts++;
       loseLink();
       d_step { hasGrant = 0; held = 0; certifiedIn = 0; queued[0] = 0; queued[1] = 0 }
     }
  od
}

active proctype Wire() {
  mtype m;
  byte g, e;
  do
  :: atomic { up && cuts < CUTS -> cuts++; loseLink() }
#ifdef RECORDS_LOST
  :: atomic { nempty(toAgent) -> toAgent?m(g, e); g = 0; e = 0; m = 0 }
#endif
  od
}

active proctype Clock() {
  later = 1
}
