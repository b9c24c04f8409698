// What the sums of an agent state's rows are made of (row_sum.hpp). An intent has three, so that one step of its life
// need not read what an earlier one wrote.
#pragma once

#define VC_AGENT_ROW_SUM "row_sum('agents', number, did)"
#define VC_INTENT_SUM \
  "row_sum('intents', agent, control_plane_did, intent_id, fingerprint, intent_hash, accepted_at, repeatable)"
#define VC_INTENT_STATE_SUM_OF(state, resultHash, resultBytes) \
  "row_sum('intents.state', agent, control_plane_did, intent_id, " state ", " resultHash ", " resultBytes ")"
#define VC_INTENT_STATE_SUM VC_INTENT_STATE_SUM_OF("state", "result_hash", "length(result)")
#define VC_INTENT_RESULT_SUM_OF(result) "row_sum('intents.result', agent, control_plane_did, intent_id, " result ")"
#define VC_INTENT_RESULT_SUM VC_INTENT_RESULT_SUM_OF("result")
#define VC_USAGE_SUM                                                                                        \
  "row_sum('usage', agent, utc_day, prompt_today, completion_today, prompt_total, completion_total, "       \
  "prompt_unsynced, completion_unsynced, sync_id, prompt_syncing, completion_syncing, requests_this_hour, " \
  "hour_window_start)"
#define VC_DELEGATION_SUM "row_sum('delegations', agent, position, id, certificate)"
#define VC_SMALL_VALUE_SUM "row_sum('small_values', agent, name, value)"
