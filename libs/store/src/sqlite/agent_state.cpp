#include "store/agent_state.hpp"

#include <mutex>
#include <set>

#include "sqlite/agent_schema.hpp"
#include "sqlite/agent_sums.hpp"
#include "sqlite/damage_log.hpp"
#include "sqlite/group_commit.hpp"

namespace vaultysclaw::store {
namespace {

using sqlite::Database;
using sqlite::Statement;

Bytes blobOf(std::string_view text) {
  return toBytes(asBytes(text));
}
std::string textOf(const Bytes& blob) {
  return std::string(asText(blob));
}

constexpr int stateNumber(SeenIntent::State state) {
  return static_cast<int>(state);
}

#define VC_INTENT_KEY "intent_id = ? AND agent = ? AND control_plane_did = ?"
#define VC_INTENT_STATE_IS_INTACT "(sum IS " VC_INTENT_SUM " AND state_sum IS " VC_INTENT_STATE_SUM ")"
#define VC_INTENT_COLUMNS                                                                            \
  "control_plane_did, intent_id, fingerprint, intent_hash, result, accepted_at, state, repeatable, " \
  "(" VC_INTENT_STATE_IS_INTACT " AND result_sum IS " VC_INTENT_RESULT_SUM ")"
// Does not read the last one.
Result<SeenIntent> readIntent(Statement& row) {
  SeenIntent intent{.controlPlaneDid = row.text(),
                    .intentId = row.text(),
                    .fingerprint = row.text(),
                    .intentHash = row.text(),
                    .state = SeenIntent::State::Running,
                    .result = textOf(row.blob()),
                    .acceptedAt = row.time()};
  const std::int64_t state = row.integer();
  intent.repeatable = row.integer() != 0 ? Repeatable::Yes : Repeatable::No;
  const bool known =
      state == stateNumber(SeenIntent::State::Running) || state == stateNumber(SeenIntent::State::Finished) ||
      state == stateNumber(SeenIntent::State::Delivered) || state == stateNumber(SeenIntent::State::Rejected);
  if (!known)
    return Error{Errc::Malformed, "the agent state holds an intent in unknown state " + std::to_string(state)};
  intent.state = static_cast<SeenIntent::State>(state);
  return intent;
}

// One connection behind one mutex, which is held through a transaction. Recursive, for the works of a group call what
// locks it again.
class SqliteStateFile final : public AgentStateFile, public std::enable_shared_from_this<SqliteStateFile> {
 public:
  explicit SqliteStateFile(sqlite::OwnedFile file) : file_(std::move(file)) {}

  Result<std::unique_ptr<AgentState>> agent(const Did& did, OnDamagedRow onDamagedRow) override;

  std::vector<Status> together(std::span<const Work> works) override {
    std::lock_guard lock(mutex_);
    VC_ASSERT(!grouped_, "works run together within works that run together");
    grouped_ = true;
    auto statuses = sqlite::commitTogether(file_.db, works.size(), [&](std::size_t i) { return works[i](); }, [] {});
    grouped_ = false;
    return statuses;
  }

  // ---- for the views
  std::recursive_mutex& mutex() { return mutex_; }
  Database& db() { return file_.db; }
  // With mutex_ held. Within a group its savepoint undoes a body that fails.
  template <class Body>
  Status transact(Body&& body) {
    if (!grouped_) return sqlite::inTransaction(file_.db, body);
    // What is written now would stand alone, and stay when the group is undone.
    if (!file_.db.inTransaction()) return Error{Errc::Io, file_.db.path().string() + ": the transaction was undone"};
    return body();
  }
  void closed(const Did& did) {
    std::lock_guard lock(mutex_);
    open_.erase(did.value);
  }

 private:
  // The number of an agent, as it is after this: with rows of its own.
  Result<std::int64_t> numberOf(const Did& did) {
    VC_TRY_ASSIGN(std::int64_t changed,
                  db().run("UPDATE agents SET did = ?1 WHERE did = '' AND sum IS " VC_AGENT_ROW_SUM
                           " AND NOT EXISTS (SELECT 1 FROM agents WHERE did = ?1)",
                           did));
    if (changed == 0) {
      VC_TRY_ASSIGN(changed, db().run("INSERT INTO agents (did) VALUES (?) ON CONFLICT DO NOTHING", did));
    }
    if (changed == 1) VC_TRY(db().run("UPDATE agents SET sum = " VC_AGENT_ROW_SUM " WHERE did = ?", did));
    VC_TRY_ASSIGN(Statement found,
                  db().query("SELECT number, sum IS " VC_AGENT_ROW_SUM " FROM agents WHERE did = ?", did));
    VC_TRY_ASSIGN(const bool row, found.step());
    if (!row) return Error{Errc::Internal, "an agent that exists cannot be read"};
    const std::int64_t number = found.integer();
    VC_TRY_ASSIGN(const bool intact, found.intact());
    if (!intact) return db().damaged("agents", did.value);
    return number;
  }

  std::recursive_mutex mutex_;
  sqlite::OwnedFile file_;      // guarded by mutex_, as what follows
  bool grouped_ = false;        // together() runs its works
  std::set<std::string> open_;  // the DIDs whose views exist
};

class SqliteAgentState final : public AgentState {
 public:
  SqliteAgentState(std::shared_ptr<SqliteStateFile> file, Did did, std::int64_t agent, OnDamagedRow onDamagedRow)
      : file_(std::move(file)), did_(std::move(did)), agent_(agent), damage_(std::move(onDamagedRow)) {}
  ~SqliteAgentState() override { file_->closed(did_); }

  Result<std::optional<SeenIntent>> acceptIntent(const SeenIntent& intent, const Riders& riders) override {
    std::lock_guard lock(file_->mutex());
    std::optional<SeenIntent> seen;
    const auto body = [&]() -> Status {
      VC_TRY_ASSIGN(
          const std::int64_t inserted,
          db().run("INSERT INTO intents (agent, control_plane_did, intent_id, fingerprint, intent_hash, accepted_at, "
                   "repeatable, state, result, result_hash, sum, state_sum, result_sum) VALUES (?1, ?2, ?3, ?4, ?5, "
                   "?6, ?7, 0, x'', '', "
                   "row_sum('intents', ?1, ?2, ?3, ?4, ?5, ?6, ?7), row_sum('intents.state', ?1, ?2, ?3, 0, '', 0), "
                   "row_sum('intents.result', ?1, ?2, ?3, x'')) ON CONFLICT DO NOTHING",
                   agent_, intent.controlPlaneDid, intent.intentId, intent.fingerprint, intent.intentHash,
                   intent.acceptedAt, intent.repeatable == Repeatable::Yes ? 1 : 0));
      if (inserted == 0) {
        VC_TRY_ASSIGN(seen, find(intent.controlPlaneDid, intent.intentId));
        if (!seen) return Error{Errc::Internal, "an intent that exists cannot be read"};
      }
      return write(intent.controlPlaneDid, riders);
    };
    VC_TRY(file_->transact(body));
    return seen;
  }

  Result<std::optional<SeenIntent>> seenIntent(const std::string& controlPlaneDid,
                                               const std::string& intentId) override {
    std::lock_guard lock(file_->mutex());
    return find(controlPlaneDid, intentId);
  }

  Status finishIntent(const std::string& controlPlaneDid, const std::string& intentId, const FinishedIntent& finished,
                      const Riders& riders) override {
    std::lock_guard lock(file_->mutex());
    return file_->transact([&]() -> Status {
      VC_TRY_ASSIGN(const std::int64_t changed, finish(controlPlaneDid, intentId, finished));
      if (changed == 1) return write(controlPlaneDid, riders);
      VC_TRY_ASSIGN(const auto known, find(controlPlaneDid, intentId));
      if (!known) return Error{Errc::NotFound, "no intent with this id was accepted"};
      return Error{Errc::Conflict, "the intent has ended already; its first answer counts"};
    });
  }

  Result<std::size_t> interruptRunning(const Interrupted& answer) override {
    std::lock_guard lock(file_->mutex());
    std::vector<SeenIntent> running;
    const auto body = [&]() -> Status {
      {
        VC_TRY_ASSIGN(Statement rows,
                      db().query("SELECT " VC_INTENT_COLUMNS
                                 " FROM intents WHERE state < 2 AND state = 0 AND agent = ? ORDER BY rowid",
                                 agent_));
        for (;;) {
          VC_TRY_ASSIGN(const bool row, rows.step());
          if (!row) break;
          VC_TRY_ASSIGN(SeenIntent intent, readIntent(rows));
          VC_TRY_ASSIGN(const bool intact, rows.intact());
          if (intact)
            running.push_back(std::move(intent));
          else
            leftOut("intents", intent.intentId);
        }
      }
      for (const SeenIntent& intent : running) {
        const auto finished = answer(intent);
        VC_TRY(finished ? finish(intent.controlPlaneDid, intent.intentId, *finished)
                        : db().run("DELETE FROM intents WHERE intent_id = ? AND agent = ? AND control_plane_did = ?",
                                   intent.intentId, agent_, intent.controlPlaneDid));
      }
      return {};
    };
    VC_TRY(file_->transact(body));
    return running.size();
  }

  Result<std::vector<OutboxEntry>> outbox(const std::string& controlPlaneDid) override {
    std::lock_guard lock(file_->mutex());
    VC_TRY_ASSIGN(
        Statement rows,
        db().query("SELECT intent_id, result_hash, length(result), " VC_INTENT_STATE_IS_INTACT
                   " FROM intents WHERE state < 2 AND state = 1 AND agent = ? AND control_plane_did = ? ORDER BY rowid",
                   agent_, controlPlaneDid));
    std::vector<OutboxEntry> all;
    for (;;) {
      VC_TRY_ASSIGN(const bool row, rows.step());
      if (!row) return all;
      OutboxEntry entry{
          .intentId = rows.text(), .resultHash = rows.text(), .bytes = static_cast<std::size_t>(rows.integer())};
      VC_TRY_ASSIGN(const bool intact, rows.intact());
      if (intact)
        all.push_back(std::move(entry));
      else
        leftOut("intents", entry.intentId);
    }
  }

  Status settle(const std::string& controlPlaneDid, const std::vector<SettledResult>& settled) override {
    std::lock_guard lock(file_->mutex());
    return file_->transact([&] { return write(controlPlaneDid, {.usage = {}, .settled = settled}); });
  }

  Status forgetIntents(const std::string& controlPlaneDid, WallTime before) override {
    std::lock_guard lock(file_->mutex());
    // Rows lie in the order in which they were accepted, so the first that is young enough ends the search: an index by
    // age would cost every intent a page. What others have done with is forgotten as well, for nobody looks at it again
    // and it would stand in the way of every later search.
    return file_->transact([&]() -> Status {
      VC_TRY(
          db().run("DELETE FROM intents WHERE accepted_at < ?1 AND (state > 1 OR "
                   "(state = 1 AND agent = ?2 AND control_plane_did <> ?3)) AND " VC_INTENT_STATE_IS_INTACT " "
                   "AND rowid < ifnull((SELECT rowid FROM intents WHERE accepted_at >= ?1 ORDER BY rowid LIMIT 1), "
                   "9223372036854775807)",
                   before, agent_, controlPlaneDid));
      return {};
    });
  }

  Result<StoredUsage> usage() override {
    std::lock_guard lock(file_->mutex());
    VC_TRY_ASSIGN(
        Statement found,
        db().query("SELECT utc_day, prompt_today, completion_today, prompt_total, completion_total, "
                   "prompt_unsynced, completion_unsynced, sync_id, prompt_syncing, completion_syncing, "
                   "requests_this_hour, hour_window_start, sum IS " VC_USAGE_SUM " FROM usage WHERE agent = ?",
                   agent_));
    VC_TRY_ASSIGN(const bool row, found.step());
    if (!row) return StoredUsage{};
    StoredUsage usage{.utcDay = found.integer(),
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
    VC_TRY_ASSIGN(const bool intact, found.intact());
    if (!intact) return db().damaged("usage", did_.value);
    return usage;
  }

  Status saveUsage(const StoredUsage& usage) override {
    std::lock_guard lock(file_->mutex());
    return file_->transact([&] { return writeUsage(usage); });
  }

  Result<std::vector<StoredDelegation>> delegations() override {
    std::lock_guard lock(file_->mutex());
    VC_TRY_ASSIGN(Statement rows, db().query("SELECT id, certificate, sum IS " VC_DELEGATION_SUM
                                             " FROM delegations WHERE agent = ? ORDER BY position",
                                             agent_));
    std::vector<StoredDelegation> all;
    for (;;) {
      VC_TRY_ASSIGN(const bool row, rows.step());
      if (!row) return all;
      StoredDelegation delegation{.id = rows.text(), .certificate = rows.text()};
      VC_TRY_ASSIGN(const bool intact, rows.intact());
      if (intact)
        all.push_back(std::move(delegation));
      else
        leftOut("delegations", delegation.id);
    }
  }

  Status replaceDelegations(const std::vector<StoredDelegation>& all) override {
    std::lock_guard lock(file_->mutex());
    return file_->transact([&]() -> Status {
      VC_TRY(db().run("DELETE FROM delegations WHERE agent = ?", agent_));
      std::int64_t position = 0;
      for (const StoredDelegation& d : all) {
        VC_TRY(
            db().run("INSERT INTO delegations (agent, position, id, certificate, sum) VALUES (?1, ?2, ?3, ?4, "
                     "row_sum('delegations', ?1, ?2, ?3, ?4))",
                     agent_, ++position, d.id, d.certificate));
      }
      return {};
    });
  }

  Result<std::optional<std::string>> get(const std::string& key) override {
    std::lock_guard lock(file_->mutex());
    VC_TRY_ASSIGN(Statement found, db().query("SELECT value, sum IS " VC_SMALL_VALUE_SUM
                                              " FROM small_values WHERE agent = ? AND name = ?",
                                              agent_, key));
    VC_TRY_ASSIGN(const bool row, found.step());
    if (!row) return std::optional<std::string>();
    std::string value = textOf(found.blob());
    VC_TRY_ASSIGN(const bool intact, found.intact());
    if (!intact) return db().damaged("small_values", key);
    return std::optional(std::move(value));
  }

  Status putAll(const std::vector<std::pair<std::string, std::optional<std::string>>>& values) override {
    std::lock_guard lock(file_->mutex());
    return file_->transact([&]() -> Status {
      for (const auto& [key, value] : values) {
        VC_TRY(value ? db().run("INSERT OR REPLACE INTO small_values (agent, name, value, sum) VALUES (?1, ?2, ?3, "
                                "row_sum('small_values', ?1, ?2, ?3))",
                                agent_, key, blobOf(*value))
                     : db().run("DELETE FROM small_values WHERE agent = ? AND name = ?", agent_, key));
      }
      return {};
    });
  }

 private:
  // These run under the file's mutex.
  Database& db() { return file_->db(); }
  void leftOut(const char* table, const std::string& key) { damage_.leftOut({table, key, db().path().string()}); }

  Result<std::optional<SeenIntent>> find(const std::string& controlPlaneDid, const std::string& intentId) {
    VC_TRY_ASSIGN(Statement found, db().query("SELECT " VC_INTENT_COLUMNS " FROM intents WHERE " VC_INTENT_KEY,
                                              intentId, agent_, controlPlaneDid));
    VC_TRY_ASSIGN(const bool row, found.step());
    if (!row) return std::optional<SeenIntent>();
    VC_TRY_ASSIGN(SeenIntent seen, readIntent(found));
    VC_TRY_ASSIGN(const bool intact, found.intact());
    if (!intact) return db().damaged("intents", intentId);
    return std::optional(std::move(seen));
  }

  // How many rows: 1, or 0 when no such intent runs.
  Result<std::int64_t> finish(const std::string& controlPlaneDid, const std::string& intentId,
                              const FinishedIntent& finished) {
    return db().run(
        "UPDATE intents SET state = 1, result = ?1, result_hash = ?2, "
        "state_sum = " VC_INTENT_STATE_SUM_OF("1", "?2", "length(?1)") ", result_sum = " VC_INTENT_RESULT_SUM_OF("?1")
        " WHERE intent_id = ?3 AND agent = ?4 AND control_plane_did = ?5 AND state = 0 AND " VC_INTENT_STATE_IS_INTACT,
        blobOf(finished.result), finished.resultHash, intentId, agent_, controlPlaneDid);
  }

  Status write(const std::string& controlPlaneDid, const Riders& riders) {
    if (riders.usage) VC_TRY(writeUsage(*riders.usage));
    for (const SettledResult& s : riders.settled) {
      VC_TRY(db().run(
          "UPDATE intents SET state = ?1, state_sum = " VC_INTENT_STATE_SUM_OF(
              "?1", "result_hash", "length(result)") " WHERE intent_id = ?2 AND agent = ?3 AND control_plane_did = ?4 "
                                                     "AND state = 1 AND " VC_INTENT_STATE_IS_INTACT,
          stateNumber(s.state), s.intentId, agent_, controlPlaneDid));
    }
    return {};
  }

  Status writeUsage(const StoredUsage& u) {
    VC_TRY(db().run(
        "INSERT OR REPLACE INTO usage (agent, utc_day, prompt_today, completion_today, prompt_total, "
        "completion_total, prompt_unsynced, completion_unsynced, sync_id, prompt_syncing, completion_syncing, "
        "requests_this_hour, hour_window_start, sum) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, "
        "row_sum('usage', ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13))",
        agent_, u.utcDay, u.promptToday, u.completionToday, u.promptTotal, u.completionTotal, u.promptUnsynced,
        u.completionUnsynced, u.syncId, u.promptSyncing, u.completionSyncing, u.requestsThisHour, u.hourWindowStart));
    return {};
  }

  const std::shared_ptr<SqliteStateFile> file_;
  const Did did_;
  const std::int64_t agent_;  // its number in the file
  sqlite::DamageLog damage_;
};

Result<std::unique_ptr<AgentState>> SqliteStateFile::agent(const Did& did, OnDamagedRow onDamagedRow) {
  VC_ASSERT(!did.value.empty(), "an agent without a DID has no state");
  std::lock_guard lock(mutex_);
  if (open_.contains(did.value))
    return Error{Errc::Conflict, file_.db.path().string() +
                                     " is in use by another agent of this process, of the same " + "identity " +
                                     did.value + "; stop that one first, or give this one its own"};
  std::int64_t number = 0;
  VC_TRY(transact([&]() -> Status {
    VC_TRY_ASSIGN(number, numberOf(did));
    return {};
  }));
  auto view = std::make_unique<SqliteAgentState>(shared_from_this(), did, number, std::move(onDamagedRow));
  open_.insert(did.value);
  return std::unique_ptr<AgentState>(std::move(view));
}

}  // namespace

Result<std::shared_ptr<AgentStateFile>> openAgentStateFile(const std::filesystem::path& path) {
  VC_TRY_ASSIGN(sqlite::OwnedFile file, sqlite::openOwned(path, sqlite::kAgentSchema));
  // A log that is written over costs the disk less than one that grows.
  VC_TRY(file.db.script("PRAGMA wal_autocheckpoint=256;"));
  // In KiB. Intents are written and looked up at the end of the file, and what is not kept comes from the kernel's
  // cache: SQLite's default of 2 MiB would be a seventh of a small agent's memory, and fifty agents' 100 MiB.
  VC_TRY(file.db.script("PRAGMA cache_size=-256;"));
  return std::shared_ptr<AgentStateFile>(std::make_shared<SqliteStateFile>(std::move(file)));
}

Result<std::unique_ptr<AgentState>> openAgentState(const std::filesystem::path& path, const Did& agent) {
  VC_TRY_ASSIGN(const std::shared_ptr<AgentStateFile> file, openAgentStateFile(path));
  return file->agent(agent, {});
}

}  // namespace vaultysclaw::store
