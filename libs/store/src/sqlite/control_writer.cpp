#include "sqlite/control_writer.hpp"

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
};

Status done(const Result<std::int64_t>& changed) {
  return changed.ok() ? Status() : Status(changed.error());
}

}  // namespace

const Schema kControlSchema{"control plane's database", kControlStoreId, kMigrations};

Status Writer::putAgent(const AgentRow& row) {
  return done(db_.run(
      "INSERT INTO agents (did, public_id, name, capabilities, requested_capabilities, limits, policy_id, "
      "policy_expires_at, handshake_version, created_at, last_seen_at, features, paused) "
      "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "
      "ON CONFLICT (did) DO UPDATE SET public_id = excluded.public_id, name = excluded.name, "
      "capabilities = excluded.capabilities, requested_capabilities = excluded.requested_capabilities, "
      "limits = excluded.limits, policy_id = excluded.policy_id, policy_expires_at = excluded.policy_expires_at, "
      "handshake_version = max(handshake_version, excluded.handshake_version), created_at = excluded.created_at, "
      "last_seen_at = excluded.last_seen_at, features = excluded.features, paused = excluded.paused",
      row.did, row.publicId, row.name, row.capabilities, row.requestedCapabilities, row.limits, row.policyId,
      row.policyExpiresAt, row.handshakeVersion, row.createdAt, row.lastSeenAt, row.features, row.paused));
}

Status Writer::deleteAgent(const Did& did) {
  VC_TRY_ASSIGN(const std::int64_t deleted, db_.run("DELETE FROM agents WHERE did = ?", did));
  if (deleted == 0) return Error{Errc::NotFound, "no agent has the DID " + did.value};
  return {};
}

Status Writer::resetPin(const Did& did) {
  VC_TRY_ASSIGN(const std::int64_t reset,
                db_.run("UPDATE agents SET features = '', handshake_version = 0 WHERE did = ?", did));
  if (reset == 0) return Error{Errc::NotFound, "no agent has the DID " + did.value};
  return {};
}

Status Writer::touchAgent(const Did& did, WallTime seen) {
  VC_TRY_ASSIGN(const std::int64_t touched, db_.run("UPDATE agents SET last_seen_at = ? WHERE did = ?", seen, did));
  if (touched == 0) return Error{Errc::NotFound, "no agent has the DID " + did.value};
  return {};
}

Status Writer::putRegistration(const RegistrationRow& row) {
  return done(db_.run(
      "INSERT INTO registrations (id, did, public_id, name, requested_capabilities, address, status, reason, "
      "handshake_version, created_at, decided_at, decided_by) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "
      "ON CONFLICT (id) DO UPDATE SET did = excluded.did, public_id = excluded.public_id, name = excluded.name, "
      "requested_capabilities = excluded.requested_capabilities, address = excluded.address, "
      "status = excluded.status, reason = excluded.reason, handshake_version = excluded.handshake_version, "
      "created_at = excluded.created_at, decided_at = excluded.decided_at, decided_by = excluded.decided_by",
      row.id, row.did, row.publicId, row.name, row.requestedCapabilities, row.address, row.status, row.reason,
      row.handshakeVersion, row.createdAt, row.decidedAt, row.decidedBy));
}

Status Writer::insertIntent(const IntentRow& row) {
  VC_TRY_ASSIGN(
      const std::int64_t inserted,
      db_.run("INSERT INTO intents (id, did, action, params, token, status, output, error, code, user_did, "
              "requested_by, created_at, executed_at, finished_at, result_token, traceparent, timeout_ms, ttl_seconds, "
              "sent_at, deadline, sends, resendable, idempotency_key) "
              "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
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
  VC_TRY_ASSIGN(const std::int64_t first,
                db_.run("UPDATE intents SET status = 'pending', token = ?, sent_at = ?, deadline = ?, sends = 1, "
                        "resendable = ? WHERE id = ? AND status IN ('queued', 'pending') AND token = ''",
                        send.token, send.at, send.deadline, static_cast<int>(send.resendable), id));
  if (first == 1) return {};
  VC_TRY_ASSIGN(const std::int64_t again,
                db_.run("UPDATE intents SET status = 'pending', deadline = ?, sends = sends + 1, resendable = ? "
                        "WHERE id = ? AND status IN ('queued', 'pending')",
                        send.deadline, static_cast<int>(send.resendable), id));
  if (again == 0) return notOpen(id);
  VC_TRY(
      done(db_.run("INSERT INTO intent_events (intent_id, n, at, event, detail, token) "
                   "SELECT id, (SELECT coalesce(max(n), 0) + 1 FROM intent_events WHERE intent_id = intents.id), ?, "
                   "'resent', CAST(sends AS TEXT), ? FROM intents WHERE id = ?",
                   send.at, send.token, id)));
  return done(
      db_.run("DELETE FROM intent_events WHERE intent_id = ? AND token IS NOT NULL AND n NOT IN "
              "(SELECT n FROM intent_events WHERE intent_id = ? AND token IS NOT NULL ORDER BY n DESC LIMIT ?)",
              id, id, kMaxIntentTokens - 1));
}

Status Writer::requeueIntent(const IntentId& id) {
  VC_TRY_ASSIGN(
      const std::int64_t changed,
      db_.run("UPDATE intents SET status = 'queued', deadline = NULL WHERE id = ? AND status = 'pending'", id));
  if (changed == 0) return notOpen(id);
  return {};
}

Status Writer::addIntentEvent(const IntentId& id, const IntentEventRow& event) {
  VC_TRY_ASSIGN(auto counting,
                db_.query("SELECT COUNT(*) FROM intent_events WHERE intent_id = ? AND token IS NULL", id));
  VC_TRY_ASSIGN(const bool row, counting.step());
  const std::int64_t count = row ? counting.integer() : 0;
  if (count >= kMaxIntentEvents) return {};
  const bool last = count + 1 == kMaxIntentEvents;
  return done(
      db_.run("INSERT INTO intent_events (intent_id, n, at, event, detail) VALUES "
              "(?, (SELECT coalesce(max(n), 0) + 1 FROM intent_events WHERE intent_id = ?), ?, ?, ?)",
              id, id, event.at, last ? std::string("more") : event.event, last ? std::string() : event.detail));
}

Status Writer::finishIntent(const IntentRow& row) {
  if (row.status == "pending" || row.status == "queued")
    return Error{Errc::InvalidArgument, row.status + " is no way to end an intent"};
  VC_TRY_ASSIGN(const std::int64_t changed,
                db_.run("UPDATE intents SET status = ?, output = ?, error = ?, code = ?, executed_at = ?, "
                        "finished_at = ?, result_token = ? WHERE id = ? AND (status IN ('pending', 'queued') OR "
                        "(status IN ('lost', 'timeout') AND ? IN ('success', 'failed')))",
                        row.status, row.output, row.error, row.code, row.executedAt, row.finishedAt, row.resultToken,
                        row.id, row.status));
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
      done(db_.run("INSERT INTO audit (seq, at, actor, action, target, details, previous_hash, hash) "
                   "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                   row.seq, row.at, row.actor, row.action, row.target, row.details, row.previousHash, row.hash)));
  lastAudit_ = row;
  return {};
}

Status Writer::putApiToken(const ApiTokenRow& row) {
  return done(
      db_.run("INSERT INTO api_tokens (id, name, hash, created_at) VALUES (?, ?, ?, ?) "
              "ON CONFLICT (id) DO UPDATE SET name = excluded.name, hash = excluded.hash, "
              "created_at = excluded.created_at",
              row.id, row.name, row.hash, row.createdAt));
}

Status Writer::putMeta(const std::string& key, std::string_view value) {
  return done(db_.run("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)", key, toBytes(asBytes(value))));
}

}  // namespace vaultysclaw::store::sqlite
