// What the sums of the control plane's rows are made of (row_sum.hpp). An intent has four, so that one step of its life
// need not read what an earlier one wrote.
//
// A new column goes into one of these lists, and its migration sums the table anew; older migrations keep their texts.
#pragma once

#define VC_AGENT_SUM_WITH(handshakeVersion, lastSeenAt, features)                                     \
  "row_sum('agents', did, public_id, name, capabilities, requested_capabilities, limits, policy_id, " \
  "policy_expires_at, " handshakeVersion ", created_at, " lastSeenAt ", " features ", paused)"
#define VC_AGENT_SUM VC_AGENT_SUM_WITH("handshake_version", "last_seen_at", "features")
#define VC_AGENT_IS_INTACT "sum IS " VC_AGENT_SUM

#define VC_REGISTRATION_IS_INTACT                                                                       \
  "sum IS row_sum('registrations', id, did, public_id, name, requested_capabilities, address, status, " \
  "reason, handshake_version, created_at, decided_at, decided_by)"

#define VC_INTENT_STATE_SUM_OF(status, token, sentAt, deadline, sends, resendable) \
  "row_sum('intents.state', id, " status ", " token ", " sentAt ", " deadline ", " sends ", " resendable ")"
#define VC_INTENT_STATE_IS_INTACT                                                                                    \
  "(sum IS row_sum('intents', id, did, action, user_did, requested_by, created_at, traceparent, timeout_ms, "        \
  "ttl_seconds, idempotency_key) AND state_sum IS " VC_INTENT_STATE_SUM_OF("status", "token", "sent_at", "deadline", \
                                                                           "sends", "resendable") ")"
#define VC_INTENT_PARAMS_ARE_INTACT "(params_sum IS row_sum('intents.params', id, params))"
#define VC_INTENT_END_IS_INTACT \
  "(end_sum IS row_sum('intents.end', id, output, error, code, executed_at, finished_at, result_token))"

#define VC_INTENT_EVENT_IS_INTACT "sum IS row_sum('intent_events', intent_id, n, at, event, detail, token)"
#define VC_AUDIT_IS_INTACT "sum IS row_sum('audit', seq, at, actor, action, target, details, previous_hash, hash)"
#define VC_USER_IS_INTACT "sum IS row_sum('users', id, name, role, disabled, created_at, version, did, password_hash)"
#define VC_API_TOKEN_IS_INTACT                                                                           \
  "sum IS row_sum('api_tokens', id, name, hash, created_at, user_id, scopes, expires_at, last_used_at, " \
  "revoked_at)"
#define VC_LOGIN_COLUMNS "id, user_id, hash, created_at, last_used_at, expires_at, address"
#define VC_LOGIN_IS_INTACT "sum IS row_sum('logins', " VC_LOGIN_COLUMNS ")"
#define VC_WORKSPACE_COLUMNS "id, name, is_default, created_at, version"
#define VC_WORKSPACE_IS_INTACT "sum IS row_sum('workspaces', " VC_WORKSPACE_COLUMNS ")"
#define VC_MEMBER_COLUMNS "workspace, user_id"
#define VC_MEMBER_IS_INTACT "sum IS row_sum('members', " VC_MEMBER_COLUMNS ")"
#define VC_PLACEMENT_COLUMNS "workspace, agent"
#define VC_PLACEMENT_IS_INTACT "sum IS row_sum('placements', " VC_PLACEMENT_COLUMNS ")"
#define VC_POLICY_COLUMNS \
  "id, name, agent, workspace, capabilities, limits, expires_at, created_at, created_by, revoked_at, version"
#define VC_POLICY_IS_INTACT "sum IS row_sum('policies', " VC_POLICY_COLUMNS ")"
#define VC_GRANT_COLUMNS "id, user_id, agent, capabilities, created_at, created_by, expires_at, revoked_at, version"
#define VC_GRANT_IS_INTACT "sum IS row_sum('grants', " VC_GRANT_COLUMNS ")"
#define VC_PEER_GRANT_COLUMNS \
  "id, source, target, capabilities, skill, created_at, created_by, expires_at, revoked_at, version"
#define VC_PEER_GRANT_IS_INTACT "sum IS row_sum('peer_grants', " VC_PEER_GRANT_COLUMNS ")"
#define VC_META_IS_INTACT "sum IS row_sum('meta', key, value)"
