// Rows that are not as they were written: never served, never acted upon, and no reason to withhold the others.
#include <gtest/gtest.h>
#include <sqlite3.h>

#include "store/agent_state.hpp"
#include "store/control_store.hpp"
#include "store_testing.hpp"

namespace vaultysclaw::store {
namespace {

class RowDamage : public ::testing::Test {
 protected:
  // As a disk would: behind the store's back, and with it closed.
  void damage(const std::string& sql) {
    sqlite3* db = nullptr;
    ASSERT_EQ(sqlite3_open(path_.c_str(), &db), SQLITE_OK);
    EXPECT_EQ(sqlite3_exec(db, sql.c_str(), nullptr, nullptr, nullptr), SQLITE_OK) << sqlite3_errmsg(db);
    EXPECT_GT(sqlite3_total_changes(db), 0) << sql;
    sqlite3_close(db);
  }
  OnDamagedRow note() {
    return [this](const DamagedRow& row) { told_.push_back(row.table + " " + row.key); };
  }
  template <class R>
  void expectDamaged(const std::string& table, const std::string& key, const R& result) {
    VC_EXPECT_ERROR(Errc::Malformed, result);
    if (result.ok()) return;
    const std::string& message = result.error().message;
    EXPECT_NE(message.find(path_.string() + ": the row " + key + " of " + table + " is damaged; restore"),
              std::string::npos)
        << message;
  }

  TemporaryDirectory directory_;
  std::filesystem::path path_ = directory_ / "store.db";
  std::vector<std::string> told_;
};

class ControlRowDamage : public RowDamage {
 protected:
  ControlRowDamage() {
    reopen();
    VC_EXPECT_OK(write([](ControlWriter& w) -> Status {
      for (const char* did : {"a1", "a2"}) {
        VC_TRY(w.putAgent({.did = Did(did), .publicId = {1}, .name = "n", .handshakeVersion = 1}));
        VC_TRY(w.putRegistration({.id = RegistrationId(std::string("r") + did), .did = Did(did), .status = "pending"}));
        VC_TRY(w.putMeta(did, "value"));
        VC_TRY(w.putUser({.id = UserId(did), .name = did, .role = "member"}));
        VC_TRY(w.putApiToken({.id = TokenId(did), .name = "t", .hash = Bytes(32, static_cast<std::uint8_t>(did[1]))}));
      }
      for (const char* id : {"i1", "i2"}) {
        VC_TRY(w.insertIntent(
            {.id = IntentId(id), .did = Did("a1"), .action = "act", .params = "{}", .status = "pending"}));
        VC_TRY(w.addIntentEvent(IntentId(id), {.event = "e"}));
      }
      for (std::int64_t seq : {1, 2}) {
        VC_TRY(
            w.appendAudit({.seq = seq, .actor = "o", .action = "x", .target = "t", .previousHash = {}, .hash = {1}}));
      }
      return {};
    }));
  }
  void reopen() {
    store_.reset();
    auto opened = openControlStore({.path = path_, .writerThread = WriterThread::No, .onDamagedRow = note()});
    ASSERT_TRUE(opened.ok()) << opened.error().message;
    store_ = std::move(*opened);
  }
  void damageAndReopen(const std::string& sql) {
    store_.reset();
    damage(sql);
    reopen();
  }
  Status write(const ControlStore::Work& work) {
    Status status = store_->writeBlocking(work);
    return status;
  }
  template <class Query>
  auto read(Query&& query) {
    std::optional<std::invoke_result_t<Query, ControlReader&>> out;
    VC_EXPECT_OK(store_->readBlocking([&](ControlReader& reader) -> Status {
      out.emplace(query(reader));
      return {};
    }));
    return std::move(*out);
  }

  std::unique_ptr<ControlStore> store_;
};

TEST_F(ControlRowDamage, OfAnAgentKeepsItOutAndLetsItBeDeleted) {
  damageAndReopen("UPDATE agents SET limits = '{\"tokens\":9}' WHERE did = 'a1'");
  expectDamaged("agents", "a1", read([](ControlReader& r) { return r.agent(Did("a1")); }));
  expectDamaged("agents", "a1", read([](ControlReader& r) { return r.publicId(Did("a1")); }));
  for (int i = 0; i < 2; ++i) {
    const auto agents = read([](ControlReader& r) { return r.agents(); });
    ASSERT_EQ(agents->size(), 1u);
    EXPECT_EQ((*agents)[0].did, Did("a2"));
  }
  EXPECT_EQ(told_, std::vector<std::string>{"agents a1"});  // once
  const AgentRow same{.did = Did("a1"), .publicId = {1}, .name = "n", .handshakeVersion = 1};
  expectDamaged("agents", "a1", write([&](ControlWriter& w) { return w.putAgent(same); }));
  expectDamaged("agents", "a1", write([](ControlWriter& w) { return w.touchAgent(Did("a1"), fromUnixMillis(1)); }));
  expectDamaged("agents", "a1", write([](ControlWriter& w) { return w.resetPin(Did("a1")); }));
  VC_EXPECT_OK(write([](ControlWriter& w) { return w.deleteAgent(Did("a1")); }));
  VC_EXPECT_OK(write([&](ControlWriter& w) { return w.putAgent(same); }));
  EXPECT_TRUE(read([](ControlReader& r) { return r.agent(Did("a1")); })->has_value());
}

TEST_F(ControlRowDamage, OfAnIntentStopsWhateverWouldActOnIt) {
  for (const char* change : {"params = '{ }'", "action = 'other'", "status = 'queued'", "sends = 1", "code = 'x'"}) {
    SCOPED_TRACE(change);
    damageAndReopen("CREATE TABLE kept AS SELECT * FROM intents WHERE id = 'i1'; UPDATE intents SET " +
                    std::string(change) + " WHERE id = 'i1'");
    expectDamaged("intents", "i1", read([](ControlReader& r) { return r.intent(IntentId("i1")); }));
    const auto listed = read([](ControlReader& r) { return r.intents({}, {}); });
    ASSERT_EQ(listed->items.size(), 1u);
    EXPECT_EQ(listed->items[0].id, IntentId("i2"));
    damageAndReopen("DELETE FROM intents WHERE id = 'i1'; INSERT INTO intents SELECT * FROM kept; DROP TABLE kept");
    EXPECT_TRUE(read([](ControlReader& r) { return r.intent(IntentId("i1")); }).ok());
  }
  damageAndReopen("UPDATE intents SET did = 'a2' WHERE id = 'i1'");
  expectDamaged("intents", "i1",
                write([](ControlWriter& w) { return w.finishIntent({.id = IntentId("i1"), .status = "success"}); }));
  expectDamaged("intents", "i1", write([](ControlWriter& w) { return w.recordSend(IntentId("i1"), {"t", {}, {}}); }));
  expectDamaged("intents", "i1", write([](ControlWriter& w) { return w.requeueIntent(IntentId("i1")); }));
  const auto open = read([](ControlReader& r) { return r.openIntents("pending", 0, 10); });
  ASSERT_EQ(open->size(), 1u);
  EXPECT_EQ((*open)[0].row.id, IntentId("i2"));
}

TEST_F(ControlRowDamage, OfTheRestIsNoticedToo) {
  damageAndReopen(
      "UPDATE registrations SET did = 'a9' WHERE id = 'ra1'; UPDATE meta SET value = x'00' WHERE key = 'a1';"
      "UPDATE api_tokens SET name = 'other' WHERE id = 'a1'; UPDATE intent_events SET detail = 'x' WHERE intent_id = "
      "'i1';"
      "UPDATE users SET role = 'owner' WHERE id = 'a2';"
      "UPDATE audit SET actor = 'nobody' WHERE seq = 1");
  expectDamaged("registrations", "ra1", read([](ControlReader& r) { return r.registration(RegistrationId("ra1")); }));
  EXPECT_EQ(read([](ControlReader& r) { return r.pendingRegistrations(); })->size(), 1u);
  EXPECT_EQ(read([](ControlReader& r) { return r.registrations({}, {}); })->items.size(), 1u);
  expectDamaged("meta", "a1", read([](ControlReader& r) { return r.meta("a1"); }));
  EXPECT_EQ(read([](ControlReader& r) { return r.meta("a2"); })->value(), "value");
  EXPECT_EQ(read([](ControlReader& r) { return r.apiTokens(); })->size(), 1u);
  const auto users = read([](ControlReader& r) { return r.users(); });
  ASSERT_EQ(users->size(), 1u) << "nobody becomes an owner by a damaged row";
  EXPECT_EQ((*users)[0].id, UserId("a1"));
  EXPECT_TRUE(read([](ControlReader& r) { return r.intentEvents(IntentId("i1")); })->empty());
  EXPECT_EQ(read([](ControlReader& r) { return r.auditRange(1, 10); })->size(), 1u);
  EXPECT_EQ(read([](ControlReader& r) { return r.lastAudit(); })->value().seq, 2);
  EXPECT_EQ(told_.size(), 5u);
}

class AgentRowDamage : public RowDamage {
 protected:
  AgentRowDamage() {
    reopen();
    for (const char* id : {"running", "finished", "delivered"}) {
      EXPECT_TRUE(state_->acceptIntent(intent(id)).ok());
    }
    for (const char* id : {"finished", "delivered"}) VC_EXPECT_OK(state_->finishIntent("cp", id, {"result", "hash"}));
    VC_EXPECT_OK(state_->settle("cp", {{"delivered", SeenIntent::State::Delivered}}));
    VC_EXPECT_OK(state_->saveUsage({.promptTotal = 7}));
    VC_EXPECT_OK(state_->replaceDelegations({{"one", "cert"}, {"two", "cert"}}));
    VC_EXPECT_OK(state_->putAll({{"k", "v"}, {"l", "v"}}));
  }
  static SeenIntent intent(const std::string& id) {
    return {.controlPlaneDid = "cp",
            .intentId = id,
            .fingerprint = "f",
            .intentHash = "h",
            .acceptedAt = fromUnixMillis(5)};
  }
  void reopen() {
    state_.reset();
    auto file = openAgentStateFile(path_);
    ASSERT_TRUE(file.ok()) << file.error().message;
    auto opened = (*file)->agent(Did("agent"), note());
    ASSERT_TRUE(opened.ok()) << opened.error().message;
    state_ = std::move(*opened);
  }
  void damageAndReopen(const std::string& sql) {
    state_.reset();
    damage(sql);
    reopen();
  }

  std::unique_ptr<AgentState> state_;
};

TEST_F(AgentRowDamage, OfAnIntentNeverLetsItRunAgain) {
  for (const char* change : {"fingerprint = 'other'", "state = 3", "result = x'00'", "accepted_at = 1"}) {
    SCOPED_TRACE(change);
    damageAndReopen("UPDATE intents SET " + std::string(change) + " WHERE intent_id = 'running'");
    expectDamaged("intents", "running", state_->acceptIntent(intent("running")));
    expectDamaged("intents", "running", state_->seenIntent("cp", "running"));
    VC_EXPECT_OK(state_->forgetIntents("cp", fromUnixMillis(100)));
    expectDamaged("intents", "running", state_->acceptIntent(intent("running")));
  }
  expectDamaged("intents", "running", state_->finishIntent("cp", "running", {"late", "h"}));
  EXPECT_TRUE((*state_->seenIntent("cp", "finished"))->result == "result");
}

TEST_F(AgentRowDamage, OfAResultIsNotSent) {
  damageAndReopen("UPDATE intents SET result = x'726573756c75' WHERE intent_id = 'finished'");
  expectDamaged("intents", "finished", state_->seenIntent("cp", "finished"));
  damageAndReopen("UPDATE intents SET result_hash = 'other' WHERE intent_id = 'finished'");
  EXPECT_TRUE(state_->outbox("cp")->empty());
  EXPECT_EQ(told_, std::vector<std::string>{"intents finished"});
}

TEST_F(AgentRowDamage, OfOneThatRanLeavesTheOthersToBeInterrupted) {
  EXPECT_TRUE(state_->acceptIntent(intent("second")).ok());
  damageAndReopen("UPDATE intents SET intent_hash = 'x' WHERE intent_id = 'running'");
  EXPECT_EQ(*state_->interruptRunning([](const SeenIntent&) { return FinishedIntent{"interrupted", ""}; }), 1u);
  EXPECT_EQ(told_, std::vector<std::string>{"intents running"});
}

TEST_F(AgentRowDamage, OfTheRestIsNoticedToo) {
  damageAndReopen("UPDATE usage SET prompt_total = 0");
  expectDamaged("usage", "agent", state_->usage());
  damageAndReopen("UPDATE delegations SET certificate = 'other' WHERE id = 'one'");
  ASSERT_EQ(state_->delegations()->size(), 1u);
  EXPECT_EQ((*state_->delegations())[0].id, "two");
  EXPECT_EQ(told_, std::vector<std::string>{"delegations one"});
  damageAndReopen("UPDATE small_values SET value = x'00' WHERE name = 'k'");
  expectDamaged("small_values", "k", state_->get("k"));
  EXPECT_EQ(**state_->get("l"), "v");
}

}  // namespace
}  // namespace vaultysclaw::store
