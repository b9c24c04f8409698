#include "sqlite/control_queries.hpp"

#include "sqlite/control_sums.hpp"
#include "sqlite/row_lists.hpp"

namespace vaultysclaw::store::sqlite {
namespace {

// Each list of columns stands beside the function that reads it, in the same order. Its last one tells whether the row
// is intact, which `all` and `first` read.
#define VC_AGENT_COLUMNS                                                                               \
  "did, public_id, name, capabilities, requested_capabilities, limits, policy_id, policy_expires_at, " \
  "handshake_version, created_at, last_seen_at, features, paused, " VC_AGENT_IS_INTACT
AgentRow readAgent(Statement& row) {
  return {.did = Did(row.text()),
          .publicId = row.blob(),
          .name = row.text(),
          .capabilities = row.text(),
          .requestedCapabilities = row.text(),
          .limits = row.text(),
          .policyId = row.optionalText(),
          .policyExpiresAt = row.optionalTime(),
          .handshakeVersion = static_cast<int>(row.integer()),
          .createdAt = row.time(),
          .lastSeenAt = row.optionalTime(),
          .features = row.text(),
          .paused = row.optionalText()};
}

#define VC_REGISTRATION_COLUMNS                                                                    \
  "id, did, public_id, name, requested_capabilities, address, status, reason, handshake_version, " \
  "created_at, decided_at, decided_by, " VC_REGISTRATION_IS_INTACT
RegistrationRow readRegistration(Statement& row) {
  return {.id = RegistrationId(row.text()),
          .did = Did(row.text()),
          .publicId = row.blob(),
          .name = row.text(),
          .requestedCapabilities = row.text(),
          .address = row.text(),
          .status = row.text(),
          .reason = row.text(),
          .handshakeVersion = static_cast<int>(row.integer()),
          .createdAt = row.time(),
          .decidedAt = row.optionalTime(),
          .decidedBy = row.text()};
}

#define VC_INTENT_COLUMNS_WITH(params, output, error, resultToken, omitted) \
  "id, did, action, " params ", token, status, " output ", " error          \
  ", code, user_did, requested_by, "                                        \
  "created_at, executed_at, finished_at, " resultToken                      \
  ", traceparent, timeout_ms, ttl_seconds, sent_at, deadline, "             \
  "sends, resendable, idempotency_key, " omitted
#define VC_INTENT_COLUMNS                                                     \
  VC_INTENT_COLUMNS_WITH("params", "output", "error", "result_token", "0, 0") \
  ", (" VC_INTENT_STATE_IS_INTACT " AND " VC_INTENT_PARAMS_ARE_INTACT " AND " VC_INTENT_END_IS_INTACT ")"
static_assert(kMaxListedBytes == 65536, "the number below");
#define VC_TOO_LONG(column) "coalesce(length(CAST(" column " AS BLOB)), 0) > 65536"
#define VC_LISTED_INTENT_COLUMNS                                                                                    \
  VC_INTENT_COLUMNS_WITH("CASE WHEN " VC_TOO_LONG("params") " THEN '' ELSE params END",                             \
                         "CASE WHEN " VC_TOO_LONG("output") " THEN NULL ELSE output END", "substr(error, 1, 4096)", \
                         "CASE WHEN " VC_TOO_LONG("result_token") " THEN '' ELSE result_token END",                 \
                         VC_TOO_LONG("params") ", " VC_TOO_LONG("output"))                                          \
  ", (" VC_INTENT_STATE_IS_INTACT " AND (" VC_TOO_LONG("params") " OR " VC_INTENT_PARAMS_ARE_INTACT                 \
                                                                 ") AND " VC_INTENT_END_IS_INTACT ")"
IntentRow readIntent(Statement& row) {
  IntentRow read{.id = IntentId(row.text()),
                 .did = Did(row.text()),
                 .action = row.text(),
                 .params = row.text(),
                 .token = row.text(),
                 .status = row.text(),
                 .output = row.optionalText(),
                 .error = row.optionalText(),
                 .code = row.optionalText(),
                 .userDid = row.optionalText(),
                 .requestedBy = row.text(),
                 .createdAt = row.time(),
                 .executedAt = row.optionalTime(),
                 .finishedAt = row.optionalTime(),
                 .resultToken = row.optionalText(),
                 .traceparent = row.optionalText()};
  read.timeoutMs = row.integer();
  read.ttlSeconds = row.optionalInteger();
  read.sentAt = row.optionalTime();
  read.deadline = row.optionalTime();
  read.sends = row.integer();
  read.resendable = row.integer() != 0;
  read.idempotencyKey = row.optionalText();
  read.paramsOmitted = row.integer() != 0;
  read.outputOmitted = row.integer() != 0;
  return read;
}

#define VC_OPEN_INTENT_COLUMNS                                 \
  VC_INTENT_COLUMNS_WITH("''", "NULL", "NULL", "NULL", "1, 1") \
  ", rowid, (" VC_INTENT_STATE_IS_INTACT " AND " VC_INTENT_END_IS_INTACT ")"
OpenIntent readOpenIntent(Statement& row) {
  OpenIntent open;
  open.row = readIntent(row);
  open.place = row.integer();
  return open;
}

#define VC_INTENT_EVENT_COLUMNS "at, event, detail, token, " VC_INTENT_EVENT_IS_INTACT
IntentEventRow readIntentEvent(Statement& row) {
  return {.at = row.time(), .event = row.text(), .detail = row.text(), .token = row.optionalText()};
}

#define VC_AUDIT_COLUMNS "seq, at, actor, action, target, details, previous_hash, hash, " VC_AUDIT_IS_INTACT
AuditRow readAudit(Statement& row) {
  return {.seq = row.integer(),
          .at = row.time(),
          .actor = row.text(),
          .action = row.text(),
          .target = row.text(),
          .details = row.text(),
          .previousHash = row.blob(),
          .hash = row.blob()};
}

Result<std::int64_t> count(Result<Statement> statement) {
  if (!statement.ok()) return statement.error();
  VC_TRY_ASSIGN(const bool row, statement->step());
  return row ? statement->integer() : 0;
}

Status checkPage(Page page) {
  if (page.offset >= 0 && page.limit >= 0) return {};
  return Error{Errc::InvalidArgument, "a page's offset and limit must not be negative"};
}

// A WHERE clause of constant terms; a term whose value is absent is left out.
class Where {
 public:
  template <class T>
  Where& equal(const char* column, const std::optional<T>& value) {
    if (value) text_ += (text_.empty() ? " WHERE " : " AND ") + std::string(column) + " = ?";
    return *this;
  }
  template <class T>
  Where& atLeast(const char* column, const std::optional<T>& value) {
    if (value) text_ += (text_.empty() ? " WHERE " : " AND ") + std::string(column) + " >= ?";
    return *this;
  }
  // Tells SQLite that a partial index on the column serves; true for every value it is used with.
  Where& also(const char* term) {
    text_ += (text_.empty() ? " WHERE " : " AND ") + std::string(term);
    return *this;
  }
  const std::string& text() const { return text_; }

 private:
  std::string text_;
};

// Calls `call` with the values that are present, in order.
template <class Call>
auto withPresent(Call&& call) {
  return call();
}
template <class Call, class T, class... Rest>
auto withPresent(Call&& call, const std::optional<T>& value, const Rest&... rest) {
  if (!value) return withPresent(std::forward<Call>(call), rest...);
  const auto bound = [&](const auto&... more) { return call(*value, more...); };
  return withPresent(bound, rest...);
}

// `total`: a query without values that counts the rows, when there is a quicker one than COUNT(*).
template <class Row, class... Values>
Result<Listing<Row>> list(Database& db, const char* columns, const char* table, const char* order, const Where& where,
                          const char* total, Page page, Row (*read)(Statement&), const Values&... values) {
  VC_TRY(checkPage(page));
  const std::string from = std::string(" FROM ") + table + where.text();
  Listing<Row> listing;
  const std::string countSql = "SELECT COUNT(*)" + from;
  const auto counting = [&](const auto&... present) { return count(db.query(countSql, present...)); };
  VC_TRY_ASSIGN(listing.total, total != nullptr ? db.number(total) : withPresent(counting, values...));
  const std::string pageSql = std::string("SELECT ") + columns + from + " ORDER BY " + order + " LIMIT ? OFFSET ?";
  const auto paging = [&](const auto&... present) {
    return all<Row>(db, table, db.query(pageSql, present..., page.limit, page.offset), read);
  };
  VC_TRY_ASSIGN(listing.items, withPresent(paging, values...));
  return listing;
}

}  // namespace

Result<std::optional<AgentRow>> findAgent(Database& db, const Did& did) {
  return first(db, "agents", db.query("SELECT " VC_AGENT_COLUMNS " FROM agents WHERE did = ?", did), readAgent);
}

Result<std::vector<AgentRow>> listAgents(Database& db) {
  return all(db, "agents", db.query("SELECT " VC_AGENT_COLUMNS " FROM agents ORDER BY created_at, rowid"), readAgent);
}

Result<std::optional<Bytes>> findPublicId(Database& db, const Did& did) {
  VC_TRY_ASSIGN(auto agent, findAgent(db, did));
  if (agent) return std::optional(std::move(agent->publicId));
  VC_TRY_ASSIGN(auto registrations,
                all(db, "registrations",
                    db.query("SELECT " VC_REGISTRATION_COLUMNS " FROM registrations WHERE did = ? LIMIT 8", did),
                    readRegistration));
  return registrations.empty() ? std::optional<Bytes>() : std::optional(std::move(registrations[0].publicId));
}

Result<std::optional<RegistrationRow>> findRegistration(Database& db, const RegistrationId& id) {
  return first(db, "registrations", db.query("SELECT " VC_REGISTRATION_COLUMNS " FROM registrations WHERE id = ?", id),
               readRegistration);
}

Result<std::vector<RegistrationRow>> listPendingRegistrations(Database& db) {
  return all(db, "registrations",
             db.query("SELECT " VC_REGISTRATION_COLUMNS
                      " FROM registrations WHERE status = 'pending' ORDER BY created_at, rowid"),
             readRegistration);
}

Result<Listing<RegistrationRow>> listRegistrations(Database& db, const std::optional<std::string>& status, Page page) {
  return list(db, VC_REGISTRATION_COLUMNS, "registrations", "created_at DESC, rowid DESC",
              Where().equal("status", status), nullptr, page, readRegistration, status);
}

Result<std::optional<IntentRow>> findIntent(Database& db, const IntentId& id) {
  return first(db, "intents", db.query("SELECT " VC_INTENT_COLUMNS " FROM intents WHERE id = ?", id), readIntent);
}

Result<Listing<IntentRow>> listIntents(Database& db, const IntentFilter& filter, Page page) {
  Where where;
  where.equal("did", filter.did);
  const char* total = nullptr;
  // The plus keeps SQLite from walking every agent's intents of that status when one agent's would do.
  if (filter.did)
    where.equal("+status", filter.status);
  else if (filter.status == "success" && !filter.owner)
    where.equal("status", filter.status), total =
                                              "SELECT (SELECT COUNT(*) FROM intents) - "
                                              "(SELECT COUNT(*) FROM intents WHERE status <> 'success')";
  else if (filter.status == "success")
    where.equal("status", filter.status);
  else if (filter.status)
    where.equal("status", filter.status).also("status <> 'success'");
  const auto by = filter.owner ? std::optional(filter.owner->requestedBy) : std::nullopt;
  const auto since = filter.owner ? std::optional(filter.owner->since) : std::nullopt;
  where.equal("requested_by", by).atLeast("created_at", since);
  return list(db, VC_LISTED_INTENT_COLUMNS, "intents", "rowid DESC", where, total, page, readIntent, filter.did,
              filter.status, by, since);
}

Result<std::optional<IntentRow>> findIntentByKey(Database& db, const std::string& requestedBy, const std::string& key) {
  return first(db, "intents",
               db.query("SELECT " VC_INTENT_COLUMNS " FROM intents WHERE requested_by = ? AND idempotency_key = ?",
                        requestedBy, key),
               readIntent);
}

Result<std::vector<IntentEventRow>> listIntentEvents(Database& db, const IntentId& id) {
  return all(db, "intent_events",
             db.query("SELECT " VC_INTENT_EVENT_COLUMNS " FROM intent_events WHERE intent_id = ? ORDER BY n", id),
             readIntentEvent);
}

Result<std::vector<OpenIntent>> listOpenIntents(Database& db, const std::string& status, std::int64_t after,
                                                std::int64_t count) {
  if (count < 0) return Error{Errc::InvalidArgument, "a count of intents must not be negative"};
  return all(db, "intents",
             db.query("SELECT " VC_OPEN_INTENT_COLUMNS
                      " FROM intents WHERE status = ? AND status <> 'success' AND rowid > ? ORDER BY rowid LIMIT ?",
                      status, after, count),
             readOpenIntent);
}

Result<Listing<AuditRow>> listAudit(Database& db, const AuditFilter& filter, Page page) {
  Where where;
  where.equal("actor", filter.actor).equal("action", filter.action).equal("target", filter.target);
  if (filter.action && filter.action != "intent.send" && filter.action != "intent.result")
    where.also("action NOT IN ('intent.send', 'intent.result')");
  const bool everything = !filter.actor && !filter.action && !filter.target;
  return list(db, VC_AUDIT_COLUMNS, "audit", "seq DESC", where, everything ? "SELECT max(seq) FROM audit" : nullptr,
              page, readAudit, filter.actor, filter.action, filter.target);
}

Result<std::vector<AuditRow>> auditFrom(Database& db, std::int64_t firstSeq, std::int64_t rows) {
  if (rows < 0) return Error{Errc::InvalidArgument, "a count of audit rows must not be negative"};
  return all(db, "audit",
             db.query("SELECT " VC_AUDIT_COLUMNS " FROM audit WHERE seq >= ? ORDER BY seq LIMIT ?", firstSeq, rows),
             readAudit);
}

Result<std::optional<AuditRow>> findLastAudit(Database& db) {
  return first(db, "audit", db.query("SELECT " VC_AUDIT_COLUMNS " FROM audit ORDER BY seq DESC LIMIT 1"), readAudit);
}

Result<std::optional<std::string>> findMeta(Database& db, const std::string& key) {
  VC_TRY_ASSIGN(Statement found, db.query("SELECT value, " VC_META_IS_INTACT " FROM meta WHERE key = ?", key));
  VC_TRY_ASSIGN(const bool row, found.step());
  if (!row) return std::optional<std::string>();
  std::string value(asText(found.blob()));
  VC_TRY_ASSIGN(const bool intact, found.intact());
  if (!intact) return db.damaged("meta", key);
  return std::optional(std::move(value));
}

}  // namespace vaultysclaw::store::sqlite
