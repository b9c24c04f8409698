#include "sqlite/control_writer.hpp"

#include "sqlite/control_sums.hpp"

namespace vaultysclaw::store::sqlite {
namespace {

// Indexes end with the rowid, so that "newest first" reads straight from them.
constexpr const char* kMigrations[] = {
    R"sql(
CREATE TABLE agents (
  did TEXT PRIMARY KEY,
  public_id BLOB NOT NULL,
  name TEXT NOT NULL,
  capabilities TEXT NOT NULL,
  requested_capabilities TEXT NOT NULL,
  limits TEXT NOT NULL,
  policy_id TEXT,
  policy_expires_at INTEGER,     -- times are milliseconds since 1970
  handshake_version INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  last_seen_at INTEGER
) STRICT;
CREATE TABLE registrations (
  id TEXT PRIMARY KEY,
  did TEXT NOT NULL,
  public_id BLOB NOT NULL,
  name TEXT NOT NULL,
  requested_capabilities TEXT NOT NULL,
  address TEXT NOT NULL,
  status TEXT NOT NULL,
  reason TEXT NOT NULL,
  handshake_version INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  decided_at INTEGER,
  decided_by TEXT NOT NULL
) STRICT;
CREATE INDEX registrations_by_time ON registrations (created_at);
CREATE INDEX registrations_by_status ON registrations (status, created_at);
CREATE TABLE intents (           -- no foreign key: they outlive their agent
  id TEXT PRIMARY KEY,
  did TEXT NOT NULL,
  action TEXT NOT NULL,
  params TEXT NOT NULL,
  token TEXT NOT NULL,
  status TEXT NOT NULL,
  output TEXT,
  error TEXT,
  code TEXT,
  user_did TEXT,
  requested_by TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  executed_at INTEGER,
  finished_at INTEGER
) STRICT;
CREATE INDEX intents_by_time ON intents (created_at);
CREATE INDEX intents_by_agent ON intents (did, created_at);
CREATE INDEX intents_by_status ON intents (status, created_at);
CREATE TABLE audit (
  seq INTEGER PRIMARY KEY,
  at INTEGER NOT NULL,
  actor TEXT NOT NULL,
  action TEXT NOT NULL,
  target TEXT NOT NULL,
  details TEXT NOT NULL,
  previous_hash BLOB NOT NULL,
  hash BLOB NOT NULL
) STRICT;
CREATE INDEX audit_by_actor ON audit (actor);
CREATE INDEX audit_by_action ON audit (action);
CREATE INDEX audit_by_target ON audit (target);
CREATE TABLE api_tokens (
  id TEXT PRIMARY KEY,
  name TEXT NOT NULL,
  hash BLOB NOT NULL UNIQUE,
  created_at INTEGER NOT NULL
) STRICT;
CREATE TABLE meta (
  key TEXT PRIMARY KEY,
  value BLOB NOT NULL
) STRICT;
)sql",
    R"sql(
ALTER TABLE agents ADD COLUMN features TEXT NOT NULL DEFAULT '';
ALTER TABLE agents ADD COLUMN paused TEXT;
ALTER TABLE intents ADD COLUMN result_token TEXT;
ALTER TABLE intents ADD COLUMN traceparent TEXT;
)sql",
    // Each index costs each intent pages of the log, which is most of what storing one costs.
    // - Intents are newest first by rowid, the order they were stored in: the time needs no index.
    // - Nearly all end in success, and a page of those is found at once from the newest on. The rest, the pending ones
    //   above all, is indexed.
    // - Nearly all rows of the audit are intents sent and answered, and again a page of those is found at once. An
    //   operator who asks for another action gets it from the index. An actor or a target is looked for from the newest
    //   row on, which is at once for one that is active; through a million rows it takes a tenth of a second. An index
    //   on the target alone would add a third to what storing an intent costs.
    R"sql(
DROP INDEX intents_by_time;
DROP INDEX intents_by_agent;
DROP INDEX intents_by_status;
CREATE INDEX intents_by_agent ON intents (did);
CREATE INDEX intents_unsuccessful ON intents (status) WHERE status <> 'success';
DROP INDEX audit_by_actor;
DROP INDEX audit_by_action;
DROP INDEX audit_by_target;
CREATE INDEX audit_by_rare_action ON audit (action) WHERE action NOT IN ('intent.send', 'intent.result');
)sql",
    // Nearly no intent has a key, or an event that its row does not tell.
    R"sql(
ALTER TABLE intents ADD COLUMN timeout_ms INTEGER NOT NULL DEFAULT 0;
ALTER TABLE intents ADD COLUMN ttl_seconds INTEGER;
ALTER TABLE intents ADD COLUMN sent_at INTEGER;
ALTER TABLE intents ADD COLUMN deadline INTEGER;
ALTER TABLE intents ADD COLUMN sends INTEGER NOT NULL DEFAULT 0;
ALTER TABLE intents ADD COLUMN resendable INTEGER NOT NULL DEFAULT 0;
ALTER TABLE intents ADD COLUMN idempotency_key TEXT;
CREATE UNIQUE INDEX intents_by_key ON intents (requested_by, idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE TABLE intent_events (
  intent_id TEXT NOT NULL,
  n INTEGER NOT NULL,
  at INTEGER NOT NULL,
  event TEXT NOT NULL,
  detail TEXT NOT NULL,
  token TEXT,
  PRIMARY KEY (intent_id, n)
) STRICT, WITHOUT ROWID;
)sql",
    // Sums of the rows (control_sums.hpp). What is there is taken to be right.
    R"sql(
ALTER TABLE agents ADD COLUMN sum INTEGER;
UPDATE agents SET sum = row_sum('agents', did, public_id, name, capabilities, requested_capabilities, limits, policy_id,
  policy_expires_at, handshake_version, created_at, last_seen_at, features, paused);
ALTER TABLE registrations ADD COLUMN sum INTEGER;
UPDATE registrations SET sum = row_sum('registrations', id, did, public_id, name, requested_capabilities, address,
  status, reason, handshake_version, created_at, decided_at, decided_by);
ALTER TABLE intents ADD COLUMN sum INTEGER;
ALTER TABLE intents ADD COLUMN params_sum INTEGER;
ALTER TABLE intents ADD COLUMN state_sum INTEGER;
ALTER TABLE intents ADD COLUMN end_sum INTEGER;
UPDATE intents SET
  sum = row_sum('intents', id, did, action, user_did, requested_by, created_at, traceparent, timeout_ms, ttl_seconds,
    idempotency_key),
  params_sum = row_sum('intents.params', id, params),
  state_sum = row_sum('intents.state', id, status, token, sent_at, deadline, sends, resendable),
  end_sum = row_sum('intents.end', id, output, error, code, executed_at, finished_at, result_token);
ALTER TABLE intent_events ADD COLUMN sum INTEGER;
UPDATE intent_events SET sum = row_sum('intent_events', intent_id, n, at, event, detail, token);
ALTER TABLE audit ADD COLUMN sum INTEGER;
UPDATE audit SET sum = row_sum('audit', seq, at, actor, action, target, details, previous_hash, hash);
ALTER TABLE api_tokens ADD COLUMN sum INTEGER;
UPDATE api_tokens SET sum = row_sum('api_tokens', id, name, hash, created_at);
ALTER TABLE meta ADD COLUMN sum INTEGER;
UPDATE meta SET sum = row_sum('meta', key, value);
)sql",
    // A row that is damaged stays so: only an intact one gets a new sum.
    R"sql(
CREATE TABLE users (
  id TEXT PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  role TEXT NOT NULL,
  disabled INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  version INTEGER NOT NULL,
  sum INTEGER
) STRICT;
ALTER TABLE api_tokens ADD COLUMN user_id TEXT NOT NULL DEFAULT '';
ALTER TABLE api_tokens ADD COLUMN scopes TEXT NOT NULL DEFAULT '';
ALTER TABLE api_tokens ADD COLUMN expires_at INTEGER;
ALTER TABLE api_tokens ADD COLUMN last_used_at INTEGER;
ALTER TABLE api_tokens ADD COLUMN revoked_at INTEGER;
UPDATE api_tokens SET sum = row_sum('api_tokens', id, name, hash, created_at, user_id, scopes, expires_at, last_used_at,
  revoked_at) WHERE sum IS row_sum('api_tokens', id, name, hash, created_at);
)sql",
    R"sql(
ALTER TABLE users ADD COLUMN did TEXT NOT NULL DEFAULT '';
ALTER TABLE users ADD COLUMN password_hash TEXT NOT NULL DEFAULT '';
UPDATE users SET sum = row_sum('users', id, name, role, disabled, created_at, version, did, password_hash)
  WHERE sum IS row_sum('users', id, name, role, disabled, created_at, version);
CREATE TABLE logins (
  id TEXT PRIMARY KEY,
  user_id TEXT NOT NULL,
  hash BLOB NOT NULL UNIQUE,
  created_at INTEGER NOT NULL,
  last_used_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL,
  address TEXT NOT NULL,
  sum INTEGER
) STRICT;
CREATE TABLE workspaces (
  id TEXT PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  is_default INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  version INTEGER NOT NULL,
  sum INTEGER
) STRICT;
CREATE TABLE members (
  workspace TEXT NOT NULL,
  user_id TEXT NOT NULL,
  sum INTEGER,
  PRIMARY KEY (workspace, user_id)
) STRICT;
CREATE TABLE placements (
  workspace TEXT NOT NULL,
  agent TEXT NOT NULL,
  sum INTEGER,
  PRIMARY KEY (workspace, agent)
) STRICT;
CREATE TABLE policies (
  id TEXT PRIMARY KEY,
  name TEXT NOT NULL,
  agent TEXT,
  workspace TEXT,
  capabilities TEXT,
  limits TEXT NOT NULL,
  expires_at INTEGER,
  created_at INTEGER NOT NULL,
  created_by TEXT NOT NULL,
  revoked_at INTEGER,
  version INTEGER NOT NULL,
  sum INTEGER
) STRICT;
CREATE TABLE grants (
  id TEXT PRIMARY KEY,
  user_id TEXT NOT NULL,
  agent TEXT,
  capabilities TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  created_by TEXT NOT NULL,
  expires_at INTEGER,
  revoked_at INTEGER,
  version INTEGER NOT NULL,
  sum INTEGER
) STRICT;
CREATE TABLE peer_grants (
  id TEXT PRIMARY KEY,
  source TEXT NOT NULL,
  target TEXT NOT NULL,
  capabilities TEXT NOT NULL,
  skill TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  created_by TEXT NOT NULL,
  expires_at INTEGER,
  revoked_at INTEGER,
  version INTEGER NOT NULL,
  sum INTEGER
) STRICT;
CREATE INDEX placements_by_agent ON placements (agent);
)sql",
};

Status done(const Result<std::int64_t>& changed) {
  return changed.ok() ? Status() : Status(changed.error());
}

}  // namespace

const Schema kControlSchema{"control plane's database", kControlStoreId, kMigrations,
                            "SELECT (SELECT count(*) FROM agents WHERE NOT (" VC_AGENT_IS_INTACT
                            ")) + (SELECT count(*) FROM registrations WHERE NOT (" VC_REGISTRATION_IS_INTACT
                            ")) + (SELECT count(*) FROM intents WHERE NOT (" VC_INTENT_STATE_IS_INTACT
                            " AND " VC_INTENT_PARAMS_ARE_INTACT " AND " VC_INTENT_END_IS_INTACT
                            "))"
                            " + (SELECT count(*) FROM intent_events WHERE NOT (" VC_INTENT_EVENT_IS_INTACT
                            ")) + (SELECT count(*) FROM audit WHERE NOT (" VC_AUDIT_IS_INTACT
                            ")) + (SELECT count(*) FROM users WHERE NOT (" VC_USER_IS_INTACT
                            ")) + (SELECT count(*) FROM api_tokens WHERE NOT (" VC_API_TOKEN_IS_INTACT
                            ")) + (SELECT count(*) FROM logins WHERE NOT (" VC_LOGIN_IS_INTACT
                            ")) + (SELECT count(*) FROM workspaces WHERE NOT (" VC_WORKSPACE_IS_INTACT
                            ")) + (SELECT count(*) FROM members WHERE NOT (" VC_MEMBER_IS_INTACT
                            ")) + (SELECT count(*) FROM placements WHERE NOT (" VC_PLACEMENT_IS_INTACT
                            ")) + (SELECT count(*) FROM policies WHERE NOT (" VC_POLICY_IS_INTACT
                            ")) + (SELECT count(*) FROM grants WHERE NOT (" VC_GRANT_IS_INTACT
                            ")) + (SELECT count(*) FROM peer_grants WHERE NOT (" VC_PEER_GRANT_IS_INTACT
                            ")) + (SELECT count(*) FROM meta WHERE NOT (" VC_META_IS_INTACT "))"};

Status Writer::putAgent(const AgentRow& row) {
  VC_TRY_ASSIGN(
      const std::int64_t changed,
      db_.run(
          "INSERT INTO agents (did, public_id, name, capabilities, requested_capabilities, limits, policy_id, "
          "policy_expires_at, handshake_version, created_at, last_seen_at, features, paused, sum) "
          "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, "
          "row_sum('agents', ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)) "
          "ON CONFLICT (did) DO UPDATE SET public_id = excluded.public_id, name = excluded.name, "
          "capabilities = excluded.capabilities, requested_capabilities = excluded.requested_capabilities, "
          "limits = excluded.limits, policy_id = excluded.policy_id, policy_expires_at = excluded.policy_expires_at, "
          "handshake_version = max(handshake_version, excluded.handshake_version), created_at = excluded.created_at, "
          "last_seen_at = excluded.last_seen_at, features = excluded.features, paused = excluded.paused, "
          "sum = row_sum('agents', ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, max(handshake_version, ?9), ?10, ?11, ?12, ?13) "
          "WHERE " VC_AGENT_IS_INTACT,
          row.did, row.publicId, row.name, row.capabilities, row.requestedCapabilities, row.limits, row.policyId,
          row.policyExpiresAt, row.handshakeVersion, row.createdAt, row.lastSeenAt, row.features, row.paused));
  // Of a damaged row it cannot be told which handshakes it has refused.
  return changed == 1 ? Status() : Status(db_.damaged("agents", row.did.value));
}

Status Writer::deleteAgent(const Did& did) {
  VC_TRY_ASSIGN(const std::int64_t deleted, db_.run("DELETE FROM agents WHERE did = ?", did));
  if (deleted == 0) return Error{Errc::NotFound, "no agent has the DID " + did.value};
  return done(db_.run("DELETE FROM placements WHERE agent = ?", did));
}

Status Writer::changedAgent(const Did& did, const Result<std::int64_t>& changed) {
  if (!changed.ok()) return changed.error();
  if (*changed == 1) return {};
  VC_TRY(findAgent(db_, did));  // damaged?
  return Error{Errc::NotFound, "no agent has the DID " + did.value};
}

Status Writer::resetPin(const Did& did) {
  return changedAgent(did, db_.run("UPDATE agents SET features = '', handshake_version = 0, "
                                   "sum = " VC_AGENT_SUM_WITH("0", "last_seen_at", "''") " WHERE did = ? "
                                                                                         "AND " VC_AGENT_IS_INTACT,
                                   did));
}

Status Writer::touchAgent(const Did& did, WallTime seen) {
  return changedAgent(did, db_.run("UPDATE agents SET last_seen_at = ?1, "
                                   "sum = " VC_AGENT_SUM_WITH("handshake_version", "?1",
                                                              "features") " WHERE did = ?2 AND " VC_AGENT_IS_INTACT,
                                   seen, did));
}

Status Writer::putRegistration(const RegistrationRow& row) {
  return done(db_.run(
      "INSERT INTO registrations (id, did, public_id, name, requested_capabilities, address, status, reason, "
      "handshake_version, created_at, decided_at, decided_by, sum) "
      "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, "
      "row_sum('registrations', ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)) "
      "ON CONFLICT (id) DO UPDATE SET did = excluded.did, public_id = excluded.public_id, name = excluded.name, "
      "requested_capabilities = excluded.requested_capabilities, address = excluded.address, "
      "status = excluded.status, reason = excluded.reason, handshake_version = excluded.handshake_version, "
      "created_at = excluded.created_at, decided_at = excluded.decided_at, decided_by = excluded.decided_by, "
      "sum = excluded.sum",
      row.id, row.did, row.publicId, row.name, row.requestedCapabilities, row.address, row.status, row.reason,
      row.handshakeVersion, row.createdAt, row.decidedAt, row.decidedBy));
}

Status Writer::insertIntent(const IntentRow& row) {
  VC_TRY_ASSIGN(
      const std::int64_t inserted,
      db_.run("INSERT INTO intents (id, did, action, params, token, status, output, error, code, user_did, "
              "requested_by, created_at, executed_at, finished_at, result_token, traceparent, timeout_ms, ttl_seconds, "
              "sent_at, deadline, sends, resendable, idempotency_key, sum, params_sum, state_sum, end_sum) "
              "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, "
              "?22, ?23, row_sum('intents', ?1, ?2, ?3, ?10, ?11, ?12, ?16, ?17, ?18, ?23), "
              "row_sum('intents.params', ?1, ?4), row_sum('intents.state', ?1, ?6, ?5, ?19, ?20, ?21, ?22), "
              "row_sum('intents.end', ?1, ?7, ?8, ?9, ?13, ?14, ?15)) ON CONFLICT DO NOTHING",
              row.id, row.did, row.action, row.params, row.token, row.status, row.output, row.error, row.code,
              row.userDid, row.requestedBy, row.createdAt, row.executedAt, row.finishedAt, row.resultToken,
              row.traceparent, row.timeoutMs, row.ttlSeconds, row.sentAt, row.deadline, row.sends,
              static_cast<int>(row.resendable), row.idempotencyKey));
  if (inserted == 0)
    return Error{Errc::Conflict, "an intent with the id " + row.id.value + " or its key exists already"};
  return {};
}

Error Writer::notOpen(const IntentId& id) {
  auto found = findIntent(db_, id);
  if (!found.ok()) return found.error();
  if (!*found) return Error{Errc::NotFound, "no intent has the id " + id.value};
  return Error{Errc::Conflict, "the intent " + id.value + " has ended already as " + (*found)->status};
}

Status Writer::recordSend(const IntentId& id, const IntentSend& send) {
  VC_TRY_ASSIGN(
      const std::int64_t first,
      db_.run(
          "UPDATE intents SET status = 'pending', token = ?1, sent_at = ?2, deadline = ?3, sends = 1, "
          "resendable = ?4, state_sum = " VC_INTENT_STATE_SUM_OF(
              "'pending'", "?1", "?2", "?3", "1",
              "?4") " WHERE id = ?5 AND status IN ('queued', 'pending') AND token = '' AND " VC_INTENT_STATE_IS_INTACT,
          send.token, send.at, send.deadline, static_cast<int>(send.resendable), id));
  if (first == 1) return {};
  VC_TRY_ASSIGN(const std::int64_t again,
                db_.run("UPDATE intents SET status = 'pending', deadline = ?1, sends = sends + 1, resendable = ?2, "
                        "state_sum = " VC_INTENT_STATE_SUM_OF(
                            "'pending'", "token", "sent_at", "?1", "sends + 1",
                            "?2") " WHERE id = ?3 AND status IN ('queued', 'pending') AND " VC_INTENT_STATE_IS_INTACT,
                        send.deadline, static_cast<int>(send.resendable), id));
  if (again == 0) return notOpen(id);
  VC_TRY_ASSIGN(const std::int64_t sends, numberFor("SELECT sends FROM intents WHERE id = ?", id));
  VC_TRY(insertEvent(id, {.at = send.at, .event = "resent", .detail = std::to_string(sends), .token = send.token}));
  return done(
      db_.run("DELETE FROM intent_events WHERE intent_id = ? AND token IS NOT NULL AND n NOT IN "
              "(SELECT n FROM intent_events WHERE intent_id = ? AND token IS NOT NULL ORDER BY n DESC LIMIT ?)",
              id, id, kMaxIntentTokens - 1));
}

Status Writer::requeueIntent(const IntentId& id) {
  VC_TRY_ASSIGN(const std::int64_t changed,
                db_.run("UPDATE intents SET status = 'queued', deadline = NULL, state_sum = " VC_INTENT_STATE_SUM_OF(
                            "'queued'", "token", "sent_at", "NULL", "sends",
                            "resendable") " WHERE id = ? AND status = 'pending' AND " VC_INTENT_STATE_IS_INTACT,
                        id));
  if (changed == 0) return notOpen(id);
  return {};
}

Result<std::int64_t> Writer::numberFor(const char* sql, const IntentId& id) {
  VC_TRY_ASSIGN(Statement found, db_.query(sql, id));
  VC_TRY_ASSIGN(const bool row, found.step());
  return row ? found.integer() : 0;
}

Status Writer::insertEvent(const IntentId& id, const IntentEventRow& event) {
  VC_TRY_ASSIGN(const std::int64_t last, numberFor("SELECT max(n) FROM intent_events WHERE intent_id = ?", id));
  return done(
      db_.run("INSERT INTO intent_events (intent_id, n, at, event, detail, token, sum) "
              "VALUES (?1, ?2, ?3, ?4, ?5, ?6, row_sum('intent_events', ?1, ?2, ?3, ?4, ?5, ?6))",
              id, last + 1, event.at, event.event, event.detail, event.token));
}

Status Writer::addIntentEvent(const IntentId& id, const IntentEventRow& event) {
  VC_TRY_ASSIGN(const std::int64_t count,
                numberFor("SELECT COUNT(*) FROM intent_events WHERE intent_id = ? AND token IS NULL", id));
  // Which comes once, and decides what a restart does with the intent.
  const bool decides = event.event == "cancelled";
  if (count >= kMaxIntentEvents && !decides) return {};
  if (count + 1 == kMaxIntentEvents && !decides) return insertEvent(id, {.at = event.at, .event = "more"});
  return insertEvent(id, {.at = event.at, .event = event.event, .detail = event.detail});
}

Status Writer::finishIntent(const IntentRow& row) {
  if (row.status == "pending" || row.status == "queued")
    return Error{Errc::InvalidArgument, row.status + " is no way to end an intent"};
  VC_TRY_ASSIGN(
      const std::int64_t changed,
      db_.run("UPDATE intents SET status = ?1, output = ?2, error = ?3, code = ?4, executed_at = ?5, "
              "finished_at = ?6, result_token = ?7, state_sum = " VC_INTENT_STATE_SUM_OF(
                  "?1", "token", "sent_at", "deadline", "sends",
                  "resendable") ", end_sum = row_sum('intents.end', id, ?2, ?3, ?4, ?5, ?6, ?7) "
                                "WHERE id = ?8 AND (status IN ('pending', 'queued') OR "
                                "(status IN ('lost', 'timeout') AND ?1 IN ('success', 'failed'))) "
                                "AND " VC_INTENT_STATE_IS_INTACT,
              row.status, row.output, row.error, row.code, row.executedAt, row.finishedAt, row.resultToken, row.id));
  if (changed == 1) return {};
  return notOpen(row.id);
}

Result<std::optional<AuditRow>> Writer::lastAudit() {
  if (!lastAudit_) {
    VC_TRY_ASSIGN(lastAudit_, findLastAudit(db_));
  }
  return lastAudit_;
}

Status Writer::appendAudit(const AuditRow& row) {
  // A work that goes on after SQLite ended its transaction would append to rows that are gone.
  if (!db_.inTransaction()) return Error{Errc::Io, db_.path().string() + ": the transaction was undone"};
  VC_TRY_ASSIGN(const auto last, lastAudit());
  const std::int64_t next = last ? last->seq + 1 : 1;
  if (row.seq != next) {
    return Error{Errc::Conflict,
                 "the next audit row is number " + std::to_string(next) + ", not " + std::to_string(row.seq)};
  }
  VC_TRY(
      done(db_.run("INSERT INTO audit (seq, at, actor, action, target, details, previous_hash, hash, sum) "
                   "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, row_sum('audit', ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8))",
                   row.seq, row.at, row.actor, row.action, row.target, row.details, row.previousHash, row.hash)));
  lastAudit_ = row;
  return {};
}

Status Writer::putMeta(const std::string& key, std::string_view value) {
  return done(db_.run("INSERT OR REPLACE INTO meta (key, value, sum) VALUES (?1, ?2, row_sum('meta', ?1, ?2))", key,
                      toBytes(asBytes(value))));
}

}  // namespace vaultysclaw::store::sqlite
