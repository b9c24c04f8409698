// Several agents in one state file, and files from before that was possible.
#include <gtest/gtest.h>
#include <sqlite3.h>

#include <atomic>
#include <thread>

#include "store/agent_state.hpp"
#include "store_testing.hpp"

namespace vaultysclaw::store {
namespace {

const Did kAnna("did:vaultys:anna"), kBert("did:vaultys:bert"), kCarl("did:vaultys:carl");
const std::string kPlane = "did:vaultys:cp";

SeenIntent intent(const std::string& id, std::int64_t at = 1000) {
  return {.controlPlaneDid = kPlane,
          .intentId = id,
          .fingerprint = "print-" + id,
          .intentHash = "hash-" + id,
          .acceptedAt = fromUnixMillis(at)};
}

class AgentStateFileTest : public ::testing::Test {
 protected:
  // As another program would.
  void runSql(const std::string& sql) {
    sqlite3* db = nullptr;
    ASSERT_EQ(sqlite3_open(path_.c_str(), &db), SQLITE_OK);
    EXPECT_EQ(sqlite3_exec(db, sql.c_str(), nullptr, nullptr, nullptr), SQLITE_OK) << sqlite3_errmsg(db);
    sqlite3_close(db);
  }
  std::shared_ptr<AgentStateFile> open() {
    auto file = openAgentStateFile(path_);
    VC_ASSERT(file.ok(), file.ok() ? "" : file.error().message.c_str());
    return *file;
  }
  static std::unique_ptr<AgentState> agent(AgentStateFile& file, const Did& did) {
    auto rows = file.agent(did);
    VC_ASSERT(rows.ok(), rows.ok() ? "" : rows.error().message.c_str());
    return std::move(*rows);
  }
  static bool knows(AgentState& rows, const std::string& id) { return rows.seenIntent(kPlane, id)->has_value(); }

  TemporaryDirectory directory_;
  const std::filesystem::path path_ = directory_ / "agents.state";
};

TEST_F(AgentStateFileTest, KeepsAgentsApart) {
  for (const bool reopened : {false, true}) {
    SCOPED_TRACE(reopened);
    auto file = open();
    auto anna = agent(*file, kAnna), bert = agent(*file, kBert);
    if (!reopened) {
      EXPECT_FALSE(*anna->acceptIntent(intent("same"), {StoredUsage{.promptToday = 1}, {}}));
      EXPECT_FALSE(*bert->acceptIntent(intent("same"), {StoredUsage{.promptToday = 2}, {}})) << "accepted by Anna only";
      VC_EXPECT_OK(anna->finishIntent(kPlane, "same", {"of Anna", "a"}));
      EXPECT_EQ((*bert->seenIntent(kPlane, "same"))->state, SeenIntent::State::Running);
      VC_EXPECT_OK(bert->finishIntent(kPlane, "same", {"of Bert", "b"}));
      VC_EXPECT_OK(anna->settle(kPlane, {{"same", SeenIntent::State::Delivered}}));
      VC_EXPECT_OK(anna->putAll({{"k", "A"}, {"a", "A"}}));
      VC_EXPECT_OK(bert->putAll({{"k", "B"}, {"a", std::nullopt}}));
      VC_EXPECT_OK(anna->replaceDelegations({{"d", "A"}}));
      VC_EXPECT_OK(bert->replaceDelegations({{"d", "B"}, {"e", "B"}}));
      VC_EXPECT_OK(anna->replaceDelegations({{"f", "A"}}));
    }
    EXPECT_TRUE(anna->outbox(kPlane)->empty());
    ASSERT_EQ(bert->outbox(kPlane)->size(), 1u);
    EXPECT_EQ((*bert->outbox(kPlane))[0].resultHash, "b");
    EXPECT_EQ((*anna->seenIntent(kPlane, "same"))->result, "of Anna");
    EXPECT_EQ((*bert->seenIntent(kPlane, "same"))->result, "of Bert");
    EXPECT_EQ(anna->usage()->promptToday, 1);
    EXPECT_EQ(bert->usage()->promptToday, 2);
    EXPECT_EQ(**anna->get("k"), "A");
    EXPECT_EQ(**bert->get("k"), "B");
    EXPECT_EQ(**anna->get("a"), "A");
    ASSERT_EQ(anna->delegations()->size(), 1u);
    EXPECT_EQ((*anna->delegations())[0].id, "f");
    EXPECT_EQ(bert->delegations()->size(), 2u);
  }
}

TEST_F(AgentStateFileTest, InterruptsTheRunningIntentsOfOneAgent) {
  auto file = open();
  auto anna = agent(*file, kAnna), bert = agent(*file, kBert);
  ASSERT_TRUE(anna->acceptIntent(intent("i")).ok());
  ASSERT_TRUE(bert->acceptIntent(intent("i")).ok());
  EXPECT_EQ(*anna->interruptRunning([](const SeenIntent&) { return FinishedIntent{"interrupted", ""}; }), 1u);
  EXPECT_EQ((*anna->seenIntent(kPlane, "i"))->state, SeenIntent::State::Finished);
  EXPECT_EQ((*bert->seenIntent(kPlane, "i"))->state, SeenIntent::State::Running);
}

TEST_F(AgentStateFileTest, ForgetsOfOthersOnlyWhatTheyAreDoneWith) {
  auto file = open();
  auto anna = agent(*file, kAnna), bert = agent(*file, kBert);
  for (const char* id : {"running", "unsent", "delivered"}) ASSERT_TRUE(bert->acceptIntent(intent(id)).ok());
  for (const char* id : {"unsent", "delivered"}) VC_EXPECT_OK(bert->finishIntent(kPlane, id, {"r", ""}));
  VC_EXPECT_OK(bert->settle(kPlane, {{"delivered", SeenIntent::State::Delivered}}));
  ASSERT_TRUE(bert->acceptIntent(intent("young", 3000)).ok());
  VC_EXPECT_OK(bert->finishIntent(kPlane, "young", {"r", ""}));
  VC_EXPECT_OK(bert->settle(kPlane, {{"young", SeenIntent::State::Delivered}}));
  VC_EXPECT_OK(anna->forgetIntents("did:vaultys:another", fromUnixMillis(2000)));
  EXPECT_TRUE(knows(*bert, "running"));
  EXPECT_TRUE(knows(*bert, "unsent"));
  EXPECT_FALSE(knows(*bert, "delivered"));
  EXPECT_TRUE(knows(*bert, "young"));
}

TEST_F(AgentStateFileTest, GivesTheRowsOfAnAgentOutOnce) {
  auto file = open();
  auto anna = agent(*file, kAnna);
  VC_EXPECT_ERROR(Errc::Conflict, file->agent(kAnna));
  VC_EXPECT_OK(file->agent(kBert));
  VC_EXPECT_ERROR(Errc::Conflict, openAgentStateFile(path_));
  VC_EXPECT_ERROR(Errc::Conflict, openAgentState(path_, kCarl));
  VC_EXPECT_OK(anna->putAll({{"k", "v"}}));
  anna.reset();
  anna = agent(*file, kAnna);
  EXPECT_EQ(**anna->get("k"), "v");
  // The rows keep the file open.
  file.reset();
  VC_EXPECT_OK(anna->putAll({{"k", "w"}}));
  VC_EXPECT_ERROR(Errc::Conflict, openAgentState(path_, kBert));
  anna.reset();
  VC_EXPECT_OK(openAgentState(path_, kBert));
}

// ---- together

TEST_F(AgentStateFileTest, RunsWorksTogetherAndUndoesThoseThatFail) {
  auto file = open();
  auto anna = agent(*file, kAnna), bert = agent(*file, kBert);
  const std::vector<AgentStateFile::Work> works = {
      [&]() -> Status {
        VC_TRY(anna->acceptIntent(intent("a"), {StoredUsage{.promptToday = 1}, {}}));
        return {};
      },
      [&]() -> Status {
        VC_TRY(bert->putAll({{"k", "undone"}}));
        VC_TRY(bert->replaceDelegations({{"d", "undone"}}));
        return bert->finishIntent(kPlane, "never accepted", {});
      },
      [&]() -> Status {
        if (!knows(*anna, "a")) return Error{Errc::Internal, "works see what earlier ones have written"};
        return anna->finishIntent(kPlane, "a", {"r", ""});
      },
      [&] { return Status(Error{Errc::Busy, "says no"}); },
      [&] { return bert->putAll({{"last", "B"}}); },
  };
  const auto statuses = file->together(works);
  ASSERT_EQ(statuses.size(), works.size());
  VC_EXPECT_OK(statuses[0]);
  VC_EXPECT_ERROR(Errc::NotFound, statuses[1]);
  VC_EXPECT_OK(statuses[2]);
  VC_EXPECT_ERROR(Errc::Busy, statuses[3]);
  VC_EXPECT_OK(statuses[4]);
  EXPECT_TRUE(file->together({}).empty());
  anna.reset();
  bert.reset();
  file.reset();
  file = open();
  anna = agent(*file, kAnna);
  bert = agent(*file, kBert);
  EXPECT_EQ((*anna->seenIntent(kPlane, "a"))->state, SeenIntent::State::Finished);
  EXPECT_EQ(anna->usage()->promptToday, 1);
  EXPECT_FALSE(bert->get("k")->has_value());
  EXPECT_TRUE(bert->delegations()->empty());
  EXPECT_EQ(**bert->get("last"), "B");
}

TEST_F(AgentStateFileTest, UndoesAWorkThatFailsAlone) {
  auto file = open();
  auto anna = agent(*file, kAnna);
  const std::vector<AgentStateFile::Work> works = {[&]() -> Status {
    VC_TRY(anna->putAll({{"k", "v"}}));
    return Error{Errc::Failed, "after all"};
  }};
  VC_EXPECT_ERROR(Errc::Failed, file->together(works)[0]);
  EXPECT_FALSE(anna->get("k")->has_value());
}

TEST_F(AgentStateFileTest, FailsAllOfAGroupWhoseCommitFails) {
  // A constraint that is looked at when the transaction commits.
  open().reset();
  runSql(
      "CREATE TABLE parents (id INTEGER PRIMARY KEY);"
      "CREATE TABLE children (id INTEGER REFERENCES parents DEFERRABLE INITIALLY DEFERRED);"
      "CREATE TRIGGER orphan AFTER INSERT ON small_values WHEN NEW.name = 'orphan' "
      "BEGIN INSERT INTO children VALUES (1); END");
  auto file = open();
  auto anna = agent(*file, kAnna), bert = agent(*file, kBert);
  const std::vector<AgentStateFile::Work> works = {
      [&] { return anna->putAll({{"k", "A"}}); },
      [&] { return Status(Error{Errc::Busy, "says no"}); },
      [&] { return bert->putAll({{"orphan", "B"}}); },
  };
  const auto statuses = file->together(works);
  VC_EXPECT_ERROR(Errc::Conflict, statuses[0]);
  VC_EXPECT_ERROR(Errc::Busy, statuses[1]);
  VC_EXPECT_ERROR(Errc::Conflict, statuses[2]);
  EXPECT_FALSE(anna->get("k")->has_value());
  EXPECT_FALSE(bert->get("orphan")->has_value());
  // And the next one begins anew.
  VC_EXPECT_OK(file->together(std::vector<AgentStateFile::Work>{works[0], works[0]})[1]);
  EXPECT_EQ(**anna->get("k"), "A");
}

// SQLite may end the transaction by itself, here by a trigger. What a work writes after that must not stand alone.
TEST_F(AgentStateFileTest, KeepsNothingOfAWorkThatGoesOnInALostTransaction) {
  open().reset();
  runSql(
      "CREATE TRIGGER lost BEFORE INSERT ON small_values WHEN NEW.name = 'lost' "
      "BEGIN SELECT RAISE(ROLLBACK, 'lost'); END");
  auto file = open();
  auto anna = agent(*file, kAnna), bert = agent(*file, kBert);
  Status after;
  const std::vector<AgentStateFile::Work> works = {
      [&] { return anna->putAll({{"before", "A"}}); },
      [&] {
        static_cast<void>(anna->putAll({{"lost", "A"}}));
        after = anna->putAll({{"after", "A"}});
        return Status();
      },
      [&] { return bert->putAll({{"k", "B"}}); },
  };
  const auto statuses = file->together(works);
  EXPECT_FALSE(statuses[0].ok());
  EXPECT_FALSE(statuses[1].ok());
  VC_EXPECT_OK(statuses[2]);
  VC_EXPECT_ERROR(Errc::Io, after);
  EXPECT_FALSE(anna->get("before")->has_value());
  EXPECT_FALSE(anna->get("after")->has_value());
  EXPECT_EQ(**bert->get("k"), "B");
}

TEST_F(AgentStateFileTest, TakesGroupsAndSingleCallsFromManyThreads) {
  auto file = open();
  const std::vector<Did> dids = {kAnna, kBert, kCarl};
  std::vector<std::unique_ptr<AgentState>> agents;
  for (const auto& did : dids) agents.push_back(agent(*file, did));
  std::atomic<int> fresh = 0;
  std::vector<std::thread> threads;
  for (auto& rows : agents) {
    threads.emplace_back([&] {
      for (int i = 0; i < 20; ++i) {
        const auto accept = [&]() -> Status {
          VC_TRY_ASSIGN(const auto seen, rows->acceptIntent(intent(std::to_string(i))));
          if (!seen) ++fresh;
          return {};
        };
        EXPECT_TRUE(file->together(std::vector<AgentStateFile::Work>(2, accept))[1].ok());
        EXPECT_TRUE(rows->finishIntent(kPlane, std::to_string(i), {"r", ""}).ok());
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(fresh, 60);
  for (auto& rows : agents) EXPECT_EQ(rows->outbox(kPlane)->size(), 20u);
}

// ---- files of earlier versions, as those wrote them

constexpr const char* kVersion1 = R"sql(
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
PRAGMA application_id = 1447256435;
PRAGMA user_version = 1;
)sql";

constexpr const char* kToVersion2 = R"sql(
ALTER TABLE usage ADD COLUMN sync_id TEXT NOT NULL DEFAULT '';
ALTER TABLE usage ADD COLUMN prompt_syncing INTEGER NOT NULL DEFAULT 0;
ALTER TABLE usage ADD COLUMN completion_syncing INTEGER NOT NULL DEFAULT 0;
PRAGMA user_version = 2;
)sql";

constexpr const char* kToVersion3 = R"sql(
ALTER TABLE intents ADD COLUMN intent_hash TEXT NOT NULL DEFAULT '';
ALTER TABLE intents ADD COLUMN result_hash TEXT NOT NULL DEFAULT '';
DROP INDEX intents_by_state;
UPDATE intents SET state = 3 WHERE state = 1;
UPDATE intents SET state = 0 WHERE state = 2;
CREATE INDEX intents_open ON intents (state) WHERE state < 2;
PRAGMA user_version = 3;
)sql";

// What versions 1 and 2 could hold of intents: 0 runs, 1 has ended, 2 was interrupted.
constexpr const char* kRows = R"sql(
INSERT INTO intents VALUES ('did:vaultys:cp', 'z-first', 'f1', 0, x'', 1000), ('did:vaultys:cp', 'ended', 'f2', 1, x'72', 2000),
                           ('did:vaultys:cp', 'a-interrupted', 'f3', 2, x'', 3000);
INSERT INTO usage (id, utc_day, prompt_today, completion_today, prompt_total, completion_total, prompt_unsynced,
                   completion_unsynced, requests_this_hour, hour_window_start) VALUES (1, 20000, 1, 2, 3, 4, 5, 6, 7, 8);
INSERT INTO delegations VALUES (1, 'b', 'cert-b'), (2, 'a', 'cert-a');
INSERT INTO small_values VALUES ('control_plane_did', x'7069'), ('k', x'6100');
)sql";

class OldStateFile : public AgentStateFileTest {
 protected:
  // Twice: the second time there is nothing to migrate, and the rows are claimed.
  template <class F>
  void expectEverything(F&& more) {
    for (int opened = 0; opened < 2; ++opened) {
      SCOPED_TRACE(opened);
      auto file = open();
      auto anna = agent(*file, kAnna), bert = agent(*file, kBert);
      EXPECT_EQ((*anna->seenIntent(kPlane, "ended"))->fingerprint, "f2");
      EXPECT_EQ((*anna->seenIntent(kPlane, "ended"))->state, SeenIntent::State::Delivered);
      EXPECT_EQ((*anna->seenIntent(kPlane, "ended"))->result, "r");
      EXPECT_EQ((*anna->seenIntent(kPlane, "ended"))->acceptedAt, fromUnixMillis(2000));
      const StoredUsage usage = *anna->usage();
      EXPECT_EQ(usage.utcDay, 20000);
      EXPECT_EQ(usage.promptToday, 1);
      EXPECT_EQ(usage.completionToday, 2);
      EXPECT_EQ(usage.promptTotal, 3);
      EXPECT_EQ(usage.completionTotal, 4);
      EXPECT_EQ(usage.promptUnsynced, 5);
      EXPECT_EQ(usage.completionUnsynced, 6);
      EXPECT_EQ(usage.requestsThisHour, 7);
      EXPECT_EQ(usage.hourWindowStart, fromUnixMillis(8));
      ASSERT_EQ(anna->delegations()->size(), 2u);
      EXPECT_EQ((*anna->delegations())[0].id, "b");
      EXPECT_EQ((*anna->delegations())[1].certificate, "cert-a");
      EXPECT_EQ(**anna->get("control_plane_did"), "pi");
      EXPECT_EQ(**anna->get("k"), std::string("a\0", 2));
      more(*anna);
      // Whoever comes later begins with nothing.
      EXPECT_FALSE(knows(*bert, "ended"));
      EXPECT_EQ(*bert->usage(), StoredUsage{});
      EXPECT_TRUE(bert->delegations()->empty());
      EXPECT_FALSE(bert->get("control_plane_did")->has_value());
      EXPECT_FALSE(*bert->acceptIntent(intent("ended " + std::to_string(opened))));
    }
    // What still ran is answered, in the order in which it was accepted.
    auto anna = openAgentState(path_, kAnna);
    ASSERT_TRUE(anna.ok());
    std::vector<std::string> asked;
    EXPECT_TRUE((*anna)
                    ->interruptRunning([&](const SeenIntent& seen) {
                      asked.push_back(seen.intentId);
                      return FinishedIntent{"interrupted", ""};
                    })
                    .ok());
    EXPECT_EQ(asked, (std::vector<std::string>{"z-first", "a-interrupted"}));
    EXPECT_EQ((*(*anna)->acceptIntent(intent("a-interrupted")))->state, SeenIntent::State::Finished);
  }
};

TEST_F(OldStateFile, OfVersion1BelongsToTheFirstAgentThatOpensIt) {
  runSql(kVersion1);
  runSql(kRows);
  expectEverything([](AgentState& anna) { EXPECT_EQ(anna.usage()->syncId, ""); });
}

TEST_F(OldStateFile, OfVersion2BelongsToTheFirstAgentThatOpensIt) {
  runSql(std::string(kVersion1) + kToVersion2);
  runSql(kRows);
  runSql("UPDATE usage SET sync_id = 's', prompt_syncing = 9, completion_syncing = 10");
  expectEverything([](AgentState& anna) {
    EXPECT_EQ(anna.usage()->syncId, "s");
    EXPECT_EQ(anna.usage()->promptSyncing, 9);
    EXPECT_EQ(anna.usage()->completionSyncing, 10);
  });
}

TEST_F(OldStateFile, OfVersion3BelongsToTheFirstAgentThatOpensIt) {
  runSql(std::string(kVersion1) + kToVersion2);
  runSql(kRows);
  runSql(kToVersion3);
  runSql(
      "INSERT INTO intents VALUES ('did:vaultys:cp', 'waits', 'f4', 1, x'7332', 4000, 'ih', 'rh'),"
      " ('did:vaultys:cp', 'rejected', 'f5', 4, x'73', 5000, 'ih5', 'rh5')");
  expectEverything([](AgentState& anna) {
    EXPECT_EQ((*anna.seenIntent(kPlane, "waits"))->intentHash, "ih");
    EXPECT_EQ((*anna.seenIntent(kPlane, "rejected"))->state, SeenIntent::State::Rejected);
    const auto outbox = *anna.outbox(kPlane);
    ASSERT_EQ(outbox.size(), 1u);
    EXPECT_EQ(outbox[0].intentId, "waits");
    EXPECT_EQ(outbox[0].resultHash, "rh");
    EXPECT_EQ(outbox[0].bytes, 2u);
  });
}

TEST_F(OldStateFile, WithoutRowsIsAsGoodAsAFreshOne) {
  runSql(std::string(kVersion1) + kToVersion2 + kToVersion3);
  auto file = open();
  for (const auto& did : {kBert, kAnna}) {
    auto rows = agent(*file, did);
    EXPECT_EQ(*rows->usage(), StoredUsage{});
    EXPECT_FALSE(*rows->acceptIntent(intent("i")));
  }
}

}  // namespace
}  // namespace vaultysclaw::store
