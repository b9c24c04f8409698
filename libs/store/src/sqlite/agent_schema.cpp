#include "sqlite/agent_schema.hpp"

#include "sqlite/agent_sums.hpp"

namespace vaultysclaw::store::sqlite {
namespace {

constexpr const char* kMigrations[] = {
    R"sql(
CREATE TABLE intents (
  control_plane_did TEXT NOT NULL,
  intent_id TEXT NOT NULL,
  fingerprint TEXT NOT NULL,
  state INTEGER NOT NULL,        -- SeenIntent::State
  result BLOB NOT NULL,
  accepted_at INTEGER NOT NULL,  -- times are milliseconds since 1970
  PRIMARY KEY (control_plane_did, intent_id)
) STRICT;
CREATE INDEX intents_by_state ON intents (state, accepted_at);
CREATE TABLE usage (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  utc_day INTEGER NOT NULL,
  prompt_today INTEGER NOT NULL,
  completion_today INTEGER NOT NULL,
  prompt_total INTEGER NOT NULL,
  completion_total INTEGER NOT NULL,
  prompt_unsynced INTEGER NOT NULL,
  completion_unsynced INTEGER NOT NULL,
  requests_this_hour INTEGER NOT NULL,
  hour_window_start INTEGER NOT NULL
) STRICT;
CREATE TABLE delegations (
  position INTEGER PRIMARY KEY,
  id TEXT NOT NULL,
  certificate TEXT NOT NULL
) STRICT;
CREATE TABLE small_values (
  name TEXT PRIMARY KEY,
  value BLOB NOT NULL
) STRICT;
)sql",
    R"sql(
ALTER TABLE usage ADD COLUMN sync_id TEXT NOT NULL DEFAULT '';
ALTER TABLE usage ADD COLUMN prompt_syncing INTEGER NOT NULL DEFAULT 0;
ALTER TABLE usage ADD COLUMN completion_syncing INTEGER NOT NULL DEFAULT 0;
)sql",
    // What had ended counts as delivered, as it did; what had been interrupted (2) is answered at the next start.
    R"sql(
ALTER TABLE intents ADD COLUMN intent_hash TEXT NOT NULL DEFAULT '';
ALTER TABLE intents ADD COLUMN result_hash TEXT NOT NULL DEFAULT '';
DROP INDEX intents_by_state;
UPDATE intents SET state = 3 WHERE state = 1;
UPDATE intents SET state = 0 WHERE state = 2;
CREATE INDEX intents_open ON intents (state) WHERE state < 2;
)sql",
    // From here on a file has the rows of any number of agents. Those of before are number 1's, whose DID is not known
    // until it opens the file. Ids of intents rise with time at a control plane of ours, so they come first in the key:
    // what all agents accept within a commit lies on the same pages.
    R"sql(
CREATE TABLE agents (
  number INTEGER PRIMARY KEY,
  did TEXT NOT NULL UNIQUE       -- empty: of the next agent that has no rows
) STRICT;
INSERT INTO agents (number, did) VALUES (1, '');
DROP INDEX intents_open;
ALTER TABLE intents RENAME TO old_intents;
CREATE TABLE intents (
  agent INTEGER NOT NULL,
  control_plane_did TEXT NOT NULL,
  intent_id TEXT NOT NULL,
  fingerprint TEXT NOT NULL,
  intent_hash TEXT NOT NULL,
  state INTEGER NOT NULL,        -- SeenIntent::State
  result BLOB NOT NULL,
  result_hash TEXT NOT NULL DEFAULT '',
  accepted_at INTEGER NOT NULL,  -- times are milliseconds since 1970
  PRIMARY KEY (intent_id, agent, control_plane_did)
) STRICT;
INSERT INTO intents (agent, control_plane_did, intent_id, fingerprint, intent_hash, state, result, result_hash,
                     accepted_at)
  SELECT 1, control_plane_did, intent_id, fingerprint, intent_hash, state, result, result_hash, accepted_at
  FROM old_intents ORDER BY rowid;
DROP TABLE old_intents;
CREATE INDEX intents_open ON intents (agent, state) WHERE state < 2;
ALTER TABLE usage RENAME TO old_usage;
CREATE TABLE usage (
  agent INTEGER PRIMARY KEY,
  utc_day INTEGER NOT NULL,
  prompt_today INTEGER NOT NULL,
  completion_today INTEGER NOT NULL,
  prompt_total INTEGER NOT NULL,
  completion_total INTEGER NOT NULL,
  prompt_unsynced INTEGER NOT NULL,
  completion_unsynced INTEGER NOT NULL,
  sync_id TEXT NOT NULL,
  prompt_syncing INTEGER NOT NULL,
  completion_syncing INTEGER NOT NULL,
  requests_this_hour INTEGER NOT NULL,
  hour_window_start INTEGER NOT NULL
) STRICT;
INSERT INTO usage (agent, utc_day, prompt_today, completion_today, prompt_total, completion_total, prompt_unsynced,
                   completion_unsynced, sync_id, prompt_syncing, completion_syncing, requests_this_hour,
                   hour_window_start)
  SELECT 1, utc_day, prompt_today, completion_today, prompt_total, completion_total, prompt_unsynced,
         completion_unsynced, sync_id, prompt_syncing, completion_syncing, requests_this_hour, hour_window_start
  FROM old_usage;
DROP TABLE old_usage;
ALTER TABLE delegations RENAME TO old_delegations;
CREATE TABLE delegations (
  agent INTEGER NOT NULL,
  position INTEGER NOT NULL,
  id TEXT NOT NULL,
  certificate TEXT NOT NULL,
  PRIMARY KEY (agent, position)
) STRICT, WITHOUT ROWID;
INSERT INTO delegations (agent, position, id, certificate) SELECT 1, position, id, certificate FROM old_delegations;
DROP TABLE old_delegations;
ALTER TABLE small_values RENAME TO old_small_values;
CREATE TABLE small_values (
  agent INTEGER NOT NULL,
  name TEXT NOT NULL,
  value BLOB NOT NULL,
  PRIMARY KEY (agent, name)
) STRICT, WITHOUT ROWID;
INSERT INTO small_values (agent, name, value) SELECT 1, name, value FROM old_small_values;
DROP TABLE old_small_values;
)sql",
    R"sql(
ALTER TABLE intents ADD COLUMN repeatable INTEGER NOT NULL DEFAULT 0;
)sql",
    // Sums of the rows (agent_sums.hpp). What is there is taken to be right.
    R"sql(
ALTER TABLE agents ADD COLUMN sum INTEGER;
UPDATE agents SET sum = row_sum('agents', number, did);
ALTER TABLE intents ADD COLUMN sum INTEGER;
ALTER TABLE intents ADD COLUMN state_sum INTEGER;
ALTER TABLE intents ADD COLUMN result_sum INTEGER;
UPDATE intents SET
  sum = row_sum('intents', agent, control_plane_did, intent_id, fingerprint, intent_hash, accepted_at,
    repeatable),
  state_sum = row_sum('intents.state', agent, control_plane_did, intent_id, state, result_hash, length(result)),
  result_sum = row_sum('intents.result', agent, control_plane_did, intent_id, result);
ALTER TABLE usage ADD COLUMN sum INTEGER;
UPDATE usage SET sum = row_sum('usage', agent, utc_day, prompt_today, completion_today, prompt_total, completion_total,
  prompt_unsynced, completion_unsynced, sync_id, prompt_syncing, completion_syncing, requests_this_hour,
  hour_window_start);
ALTER TABLE delegations ADD COLUMN sum INTEGER;
UPDATE delegations SET sum = row_sum('delegations', agent, position, id, certificate);
ALTER TABLE small_values ADD COLUMN sum INTEGER;
UPDATE small_values SET sum = row_sum('small_values', agent, name, value);
)sql",
};

}  // namespace

const Schema kAgentSchema{"agent state", kAgentStateId, kMigrations,
                          "SELECT (SELECT count(*) FROM agents WHERE sum IS NOT " VC_AGENT_ROW_SUM
                          ") + (SELECT count(*) FROM intents WHERE sum IS NOT " VC_INTENT_SUM
                          " OR state_sum IS NOT " VC_INTENT_STATE_SUM " OR result_sum IS NOT " VC_INTENT_RESULT_SUM
                          ") + (SELECT count(*) FROM usage WHERE sum IS NOT " VC_USAGE_SUM
                          ") + (SELECT count(*) FROM delegations WHERE sum IS NOT " VC_DELEGATION_SUM
                          ") + (SELECT count(*) FROM small_values WHERE sum IS NOT " VC_SMALL_VALUE_SUM ")"};

}  // namespace vaultysclaw::store::sqlite
