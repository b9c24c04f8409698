#include "store/agent_state.hpp"

#include <mutex>

#include "sqlite/open_file.hpp"

namespace vaultysclaw::store {
namespace {

using sqlite::Database;
using sqlite::inTransaction;
using sqlite::Statement;

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
};

constexpr sqlite::Schema kSchema{"agent state", sqlite::kAgentStateId, kMigrations};

Bytes blobOf(std::string_view text) {
  return toBytes(asBytes(text));
}
std::string textOf(const Bytes& blob) {
  return std::string(asText(blob));
}

constexpr int stateNumber(SeenIntent::State state) {
  return static_cast<int>(state);
}

// The columns in the order of the queries below.
Result<SeenIntent> readIntent(Statement& row) {
  SeenIntent intent{.controlPlaneDid = row.text(),
                    .intentId = row.text(),
                    .fingerprint = row.text(),
                    .intentHash = row.text(),
                    .state = SeenIntent::State::Running,
                    .result = textOf(row.blob()),
                    .acceptedAt = row.time()};
  const std::int64_t state = row.integer();
  const bool known =
      state == stateNumber(SeenIntent::State::Running) || state == stateNumber(SeenIntent::State::Finished) ||
      state == stateNumber(SeenIntent::State::Delivered) || state == stateNumber(SeenIntent::State::Rejected);
  if (!known)
    return Error{Errc::Malformed, "the agent state holds an intent in unknown state " + std::to_string(state)};
  intent.state = static_cast<SeenIntent::State>(state);
  return intent;
}

// One connection behind one mutex: an agent writes a few rows a second, and each must be on disk before it acts.
class SqliteAgentState final : public AgentState {
 public:
  explicit SqliteAgentState(sqlite::OwnedFile file) : file_(std::move(file)) {}

  Result<std::optional<SeenIntent>> acceptIntent(const SeenIntent& intent, const Riders& riders) override {
    std::lock_guard lock(mutex_);
    std::optional<SeenIntent> seen;
    const auto body = [&]() -> Status {
      VC_TRY_ASSIGN(
          const std::int64_t inserted,
          db().run("INSERT INTO intents (control_plane_did, intent_id, fingerprint, intent_hash, state, "
                   "result, accepted_at) VALUES (?, ?, ?, ?, 0, x'', ?) ON CONFLICT DO NOTHING",
                   intent.controlPlaneDid, intent.intentId, intent.fingerprint, intent.intentHash, intent.acceptedAt));
      if (inserted == 0) {
        VC_TRY_ASSIGN(seen, find(intent.controlPlaneDid, intent.intentId));
        if (!seen) return Error{Errc::Internal, "an intent that exists cannot be read"};
      }
      return write(intent.controlPlaneDid, riders);
    };
    VC_TRY(inTransaction(db(), body));
    return seen;
  }

  Result<std::optional<SeenIntent>> seenIntent(const std::string& controlPlaneDid,
                                               const std::string& intentId) override {
    std::lock_guard lock(mutex_);
    return find(controlPlaneDid, intentId);
  }

  Status finishIntent(const std::string& controlPlaneDid, const std::string& intentId, const FinishedIntent& finished,
                      const Riders& riders) override {
    std::lock_guard lock(mutex_);
    return inTransaction(db(), [&]() -> Status {
      VC_TRY_ASSIGN(const std::int64_t changed, finish(controlPlaneDid, intentId, finished));
      if (changed == 1) return write(controlPlaneDid, riders);
      VC_TRY_ASSIGN(const auto known, find(controlPlaneDid, intentId));
      if (!known) return Error{Errc::NotFound, "no intent with this id was accepted"};
      return Error{Errc::Conflict, "the intent has ended already; its first answer counts"};
    });
  }

  Result<std::size_t> interruptRunning(const std::function<FinishedIntent(const SeenIntent&)>& answer) override {
    std::lock_guard lock(mutex_);
    std::vector<SeenIntent> running;
    const auto body = [&]() -> Status {
      {
        VC_TRY_ASSIGN(Statement rows,
                      db().query("SELECT control_plane_did, intent_id, fingerprint, intent_hash, result, accepted_at, "
                                 "state FROM intents WHERE state < 2 AND state = 0 ORDER BY rowid"));
        for (;;) {
          VC_TRY_ASSIGN(const bool row, rows.step());
          if (!row) break;
          VC_TRY_ASSIGN(SeenIntent intent, readIntent(rows));
          running.push_back(std::move(intent));
        }
      }
      for (const SeenIntent& intent : running) VC_TRY(finish(intent.controlPlaneDid, intent.intentId, answer(intent)));
      return {};
    };
    VC_TRY(inTransaction(db(), body));
    return running.size();
  }

  Result<std::vector<OutboxEntry>> outbox(const std::string& controlPlaneDid) override {
    std::lock_guard lock(mutex_);
    VC_TRY_ASSIGN(Statement rows, db().query("SELECT intent_id, result_hash, length(result) FROM intents "
                                             "WHERE state < 2 AND state = 1 AND control_plane_did = ? ORDER BY rowid",
                                             controlPlaneDid));
    std::vector<OutboxEntry> all;
    for (;;) {
      VC_TRY_ASSIGN(const bool row, rows.step());
      if (!row) return all;
      all.push_back(
          {.intentId = rows.text(), .resultHash = rows.text(), .bytes = static_cast<std::size_t>(rows.integer())});
    }
  }

  Status settle(const std::string& controlPlaneDid, const std::vector<SettledResult>& settled) override {
    std::lock_guard lock(mutex_);
    return inTransaction(db(), [&] { return write(controlPlaneDid, {.usage = {}, .settled = settled}); });
  }

  Status forgetIntents(const std::string& controlPlaneDid, WallTime before) override {
    std::lock_guard lock(mutex_);
    // Rows lie in the order in which they were accepted, so the first that is young enough ends the search: an index by
    // age would cost every intent a page.
    VC_TRY(
        db().run("DELETE FROM intents WHERE accepted_at < ?1 AND state > 0 "
                 "AND NOT (state = 1 AND control_plane_did = ?2) "
                 "AND rowid < ifnull((SELECT rowid FROM intents WHERE accepted_at >= ?1 ORDER BY rowid LIMIT 1), "
                 "9223372036854775807)",
                 before, controlPlaneDid));
    return {};
  }

  Result<StoredUsage> usage() override {
    std::lock_guard lock(mutex_);
    VC_TRY_ASSIGN(Statement found,
                  db().query("SELECT utc_day, prompt_today, completion_today, prompt_total, completion_total, "
                             "prompt_unsynced, completion_unsynced, sync_id, prompt_syncing, completion_syncing, "
                             "requests_this_hour, hour_window_start FROM usage"));
    VC_TRY_ASSIGN(const bool row, found.step());
    if (!row) return StoredUsage{};
    return StoredUsage{.utcDay = found.integer(),
                       .promptToday = found.integer(),
                       .completionToday = found.integer(),
                       .promptTotal = found.integer(),
                       .completionTotal = found.integer(),
                       .promptUnsynced = found.integer(),
                       .completionUnsynced = found.integer(),
                       .syncId = found.text(),
                       .promptSyncing = found.integer(),
                       .completionSyncing = found.integer(),
                       .requestsThisHour = found.integer(),
                       .hourWindowStart = found.time()};
  }

  Status saveUsage(const StoredUsage& usage) override {
    std::lock_guard lock(mutex_);
    return writeUsage(usage);
  }

  Result<std::vector<StoredDelegation>> delegations() override {
    std::lock_guard lock(mutex_);
    VC_TRY_ASSIGN(Statement rows, db().query("SELECT id, certificate FROM delegations ORDER BY position"));
    std::vector<StoredDelegation> all;
    for (;;) {
      VC_TRY_ASSIGN(const bool row, rows.step());
      if (!row) return all;
      all.push_back({.id = rows.text(), .certificate = rows.text()});
    }
  }

  Status replaceDelegations(const std::vector<StoredDelegation>& all) override {
    std::lock_guard lock(mutex_);
    return inTransaction(db(), [&]() -> Status {
      VC_TRY(db().run("DELETE FROM delegations"));
      std::int64_t position = 0;
      for (const StoredDelegation& d : all) {
        VC_TRY(db().run("INSERT INTO delegations (position, id, certificate) VALUES (?, ?, ?)", ++position, d.id,
                        d.certificate));
      }
      return {};
    });
  }

  Result<std::optional<std::string>> get(const std::string& key) override {
    std::lock_guard lock(mutex_);
    VC_TRY_ASSIGN(Statement found, db().query("SELECT value FROM small_values WHERE name = ?", key));
    VC_TRY_ASSIGN(const bool row, found.step());
    return row ? std::optional(textOf(found.blob())) : std::nullopt;
  }

  Status putAll(const std::vector<std::pair<std::string, std::optional<std::string>>>& values) override {
    std::lock_guard lock(mutex_);
    return inTransaction(db(), [&]() -> Status {
      for (const auto& [key, value] : values) {
        VC_TRY(value ? db().run("INSERT OR REPLACE INTO small_values (name, value) VALUES (?, ?)", key, blobOf(*value))
                     : db().run("DELETE FROM small_values WHERE name = ?", key));
      }
      return {};
    });
  }

 private:
  Database& db() { return file_.db; }

  // These run under mutex_.
  Result<std::optional<SeenIntent>> find(const std::string& controlPlaneDid, const std::string& intentId) {
    VC_TRY_ASSIGN(Statement found,
                  db().query("SELECT control_plane_did, intent_id, fingerprint, intent_hash, result, accepted_at, "
                             "state FROM intents WHERE control_plane_did = ? AND intent_id = ?",
                             controlPlaneDid, intentId));
    VC_TRY_ASSIGN(const bool row, found.step());
    if (!row) return std::optional<SeenIntent>();
    VC_TRY_ASSIGN(SeenIntent seen, readIntent(found));
    return std::optional(std::move(seen));
  }

  // How many rows: 1, or 0 when no such intent runs.
  Result<std::int64_t> finish(const std::string& controlPlaneDid, const std::string& intentId,
                              const FinishedIntent& finished) {
    return db().run(
        "UPDATE intents SET state = 1, result = ?, result_hash = ? "
        "WHERE control_plane_did = ? AND intent_id = ? AND state = 0",
        blobOf(finished.result), finished.resultHash, controlPlaneDid, intentId);
  }

  Status write(const std::string& controlPlaneDid, const Riders& riders) {
    if (riders.usage) VC_TRY(writeUsage(*riders.usage));
    for (const SettledResult& s : riders.settled) {
      VC_TRY(db().run("UPDATE intents SET state = ? WHERE control_plane_did = ? AND intent_id = ? AND state = 1",
                      stateNumber(s.state), controlPlaneDid, s.intentId));
    }
    return {};
  }

  Status writeUsage(const StoredUsage& u) {
    VC_TRY(db().run(
        "INSERT OR REPLACE INTO usage (id, utc_day, prompt_today, completion_today, prompt_total, "
        "completion_total, prompt_unsynced, completion_unsynced, sync_id, prompt_syncing, completion_syncing, "
        "requests_this_hour, hour_window_start) VALUES (1, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        u.utcDay, u.promptToday, u.completionToday, u.promptTotal, u.completionTotal, u.promptUnsynced,
        u.completionUnsynced, u.syncId, u.promptSyncing, u.completionSyncing, u.requestsThisHour, u.hourWindowStart));
    return {};
  }

  std::mutex mutex_;
  sqlite::OwnedFile file_;
};

}  // namespace

Result<std::unique_ptr<AgentState>> openAgentState(const std::filesystem::path& path) {
  VC_TRY_ASSIGN(sqlite::OwnedFile file, sqlite::openOwned(path, kSchema));
  // An intent takes about seven pages, and a log that is written over costs the disk less than one that grows.
  VC_TRY(file.db.script("PRAGMA wal_autocheckpoint=256;"));
  // In KiB. Intents are written and looked up at the end of the file, and what is not kept comes from the kernel's
  // cache: SQLite's default of 2 MiB would be a seventh of a small agent's memory, and fifty agents' 100 MiB.
  VC_TRY(file.db.script("PRAGMA cache_size=-256;"));
  return std::unique_ptr<AgentState>(std::make_unique<SqliteAgentState>(std::move(file)));
}

}  // namespace vaultysclaw::store
