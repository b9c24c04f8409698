#include "store/agent_state.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "store_testing.hpp"

namespace vaultysclaw::store {
namespace {

class AgentStateTest : public ::testing::Test {
 protected:
  AgentStateTest() { reopen(); }

  // What a restart sees.
  void reopen() {
    state_.reset();
    auto opened = openAgentState(directory_ / "agent.db", Did("did:vaultys:agent"));
    ASSERT_TRUE(opened.ok()) << opened.error().message;
    state_ = std::move(*opened);
  }
  SeenIntent intent(const std::string& id, std::int64_t at = 1000) {
    return {.controlPlaneDid = "did:vaultys:cp",
            .intentId = id,
            .fingerprint = "print-" + id,
            .intentHash = "hash-" + id,
            .acceptedAt = fromUnixMillis(at)};
  }
  Status finish(const std::string& id, const std::string& result = "r", const Riders& riders = {}) {
    return state_->finishIntent("did:vaultys:cp", id, {result, "hash of " + result}, riders);
  }
  std::vector<std::string> outbox(const std::string& controlPlane = "did:vaultys:cp") {
    std::vector<std::string> ids;
    const auto all = state_->outbox(controlPlane);
    EXPECT_TRUE(all.ok());
    for (const auto& entry : *all) ids.push_back(entry.intentId);
    return ids;
  }
  std::optional<SeenIntent> accept(const SeenIntent& which) {
    auto seen = state_->acceptIntent(which);
    EXPECT_TRUE(seen.ok()) << seen.error().message;
    return seen.ok() ? *seen : std::nullopt;
  }

  TemporaryDirectory directory_;
  std::unique_ptr<AgentState> state_;
};

TEST_F(AgentStateTest, AcceptsAnIntentOnceEverPerControlPlane) {
  EXPECT_FALSE(accept(intent("one")));
  reopen();
  const auto again = accept(intent("one", 5000));
  ASSERT_TRUE(again);
  EXPECT_EQ(again->controlPlaneDid, "did:vaultys:cp");
  EXPECT_EQ(again->intentId, "one");
  EXPECT_EQ(again->fingerprint, "print-one");
  EXPECT_EQ(again->intentHash, "hash-one");
  EXPECT_EQ(again->state, SeenIntent::State::Running);
  EXPECT_EQ(again->result, "");
  EXPECT_EQ(again->acceptedAt, fromUnixMillis(1000));
  SeenIntent other = intent("one");
  other.controlPlaneDid = "did:vaultys:other";
  EXPECT_FALSE(accept(other));
}

TEST_F(AgentStateTest, ShowsWhatItHasSeenWithoutAccepting) {
  const auto before = state_->seenIntent("did:vaultys:cp", "one");
  ASSERT_TRUE(before.ok());
  EXPECT_FALSE(*before);
  EXPECT_FALSE(accept(intent("one")));
  const auto after = state_->seenIntent("did:vaultys:cp", "one");
  ASSERT_TRUE(after.ok());
  ASSERT_TRUE(*after);
  EXPECT_EQ((*after)->fingerprint, "print-one");
}

TEST_F(AgentStateTest, AcceptsAsRunningWhateverTheCallerClaims) {
  SeenIntent claimed = intent("one");
  claimed.state = SeenIntent::State::Finished;
  claimed.result = "made up";
  EXPECT_FALSE(accept(claimed));
  EXPECT_EQ(accept(claimed)->state, SeenIntent::State::Running);
  EXPECT_EQ(accept(claimed)->result, "");
}

TEST_F(AgentStateTest, KeepsTheFirstAnswer) {
  const std::string result = std::string("\0\xff", 2) + " '); DROP TABLE intents; --";
  accept(intent("one"));
  VC_EXPECT_OK(finish("one", result));
  reopen();
  VC_EXPECT_ERROR(Errc::Conflict, finish("one", "second"));
  VC_EXPECT_ERROR(Errc::NotFound, finish("two"));
  VC_EXPECT_ERROR(Errc::NotFound, state_->finishIntent("did:vaultys:other", "one", {}));
  const auto seen = accept(intent("one"));
  ASSERT_TRUE(seen);
  EXPECT_EQ(seen->state, SeenIntent::State::Finished);
  EXPECT_EQ(seen->result, result);
}

TEST_F(AgentStateTest, AnswersWhatRanWhenTheProcessEnded) {
  accept(intent("first", 3000));
  accept(intent("second", 2000));
  accept(intent("finished", 1000));
  VC_EXPECT_OK(finish("finished"));
  reopen();
  std::vector<std::string> asked;
  const auto answer = [&](const SeenIntent& seen) {
    asked.push_back(seen.intentId + " " + seen.intentHash);
    return FinishedIntent{"interrupted", "h"};
  };
  EXPECT_EQ(*state_->interruptRunning(answer), 2u);
  EXPECT_EQ(asked, (std::vector<std::string>{"first hash-first", "second hash-second"}));
  reopen();
  EXPECT_EQ(*state_->interruptRunning(answer), 0u);
  EXPECT_EQ(accept(intent("first"))->state, SeenIntent::State::Finished);
  EXPECT_EQ(accept(intent("first"))->result, "interrupted");
  EXPECT_EQ(accept(intent("finished"))->result, "r");
  VC_EXPECT_ERROR(Errc::Conflict, finish("first", "too late"));
}

TEST_F(AgentStateTest, ForgetsWhatRanAndIsToRunAgain) {
  SeenIntent again = intent("again");
  again.repeatable = Repeatable::Yes;
  accept(again);
  accept(intent("once"));
  reopen();
  EXPECT_EQ(accept(again)->repeatable, Repeatable::Yes);
  EXPECT_EQ(accept(intent("once"))->repeatable, Repeatable::No);
  const auto answer = [](const SeenIntent& seen) -> std::optional<FinishedIntent> {
    if (seen.repeatable == Repeatable::Yes) return std::nullopt;
    return FinishedIntent{"interrupted", "h"};
  };
  EXPECT_EQ(*state_->interruptRunning(answer), 2u);
  reopen();
  EXPECT_FALSE(*state_->seenIntent(again.controlPlaneDid, "again"));
  EXPECT_EQ((*state_->seenIntent(again.controlPlaneDid, "once"))->result, "interrupted");
  EXPECT_FALSE(accept(again)) << "it is new";
}

TEST_F(AgentStateTest, ShowsWhatIsToBeDeliveredInOrderOfAcceptance) {
  for (const char* id : {"a", "b", "c", "d"}) accept(intent(id));
  SeenIntent other = intent("e");
  other.controlPlaneDid = "did:vaultys:other";
  accept(other);
  for (const char* id : {"c", "a", "b"}) VC_EXPECT_OK(finish(id, "result"));
  VC_EXPECT_OK(state_->finishIntent("did:vaultys:other", "e", {"r", ""}));
  reopen();
  EXPECT_EQ(outbox(), (std::vector<std::string>{"a", "b", "c"}));
  EXPECT_EQ(outbox("did:vaultys:other"), (std::vector<std::string>{"e"}));
  const auto all = *state_->outbox("did:vaultys:cp");
  EXPECT_EQ(all[0].resultHash, "hash of result");
  EXPECT_EQ(all[0].bytes, 6u);
}

TEST_F(AgentStateTest, SettlesResultsWithOtherWritesOrAlone) {
  for (const char* id : {"a", "b", "c", "running"}) accept(intent(id));
  for (const char* id : {"a", "b", "c"}) VC_EXPECT_OK(finish(id));
  const StoredUsage usage{.promptToday = 7};
  ASSERT_TRUE(state_->acceptIntent(intent("d"), {usage, {{"a", SeenIntent::State::Delivered}}}).ok());
  VC_EXPECT_OK(finish("d", "r", {{}, {{"b", SeenIntent::State::Rejected}}}));
  VC_EXPECT_OK(state_->settle("did:vaultys:cp", {{"d", SeenIntent::State::Delivered},
                                                 {"a", SeenIntent::State::Rejected},
                                                 {"running", SeenIntent::State::Delivered},
                                                 {"never", SeenIntent::State::Delivered}}));
  VC_EXPECT_OK(state_->settle("did:vaultys:other", {{"c", SeenIntent::State::Delivered}}));
  reopen();
  EXPECT_EQ(outbox(), (std::vector<std::string>{"c"}));
  EXPECT_EQ(state_->usage()->promptToday, 7);
  EXPECT_EQ(accept(intent("a"))->state, SeenIntent::State::Delivered);
  EXPECT_EQ(accept(intent("b"))->state, SeenIntent::State::Rejected);
  EXPECT_EQ(accept(intent("b"))->result, "r");
  EXPECT_EQ(accept(intent("running"))->state, SeenIntent::State::Running);
}

TEST_F(AgentStateTest, WritesTheRidersOfAnIntentThatIsKnown) {
  accept(intent("one"));
  ASSERT_TRUE(state_->acceptIntent(intent("one"), {StoredUsage{.promptToday = 3}, {}}).ok());
  EXPECT_EQ(state_->usage()->promptToday, 3);
  VC_EXPECT_ERROR(Errc::NotFound, finish("two", "r", {StoredUsage{.promptToday = 4}, {}}));
  EXPECT_EQ(state_->usage()->promptToday, 3);
}

TEST_F(AgentStateTest, ForgetsWhatIsOldAndNeedsNothingMore) {
  accept(intent("running", 1000));
  for (const char* id : {"delivered", "rejected", "unsent"}) {
    accept(intent(id, 1000));
    VC_EXPECT_OK(finish(id));
  }
  accept(intent("edge", 2000));
  VC_EXPECT_OK(finish("edge"));
  VC_EXPECT_OK(state_->settle("did:vaultys:cp", {{"delivered", SeenIntent::State::Delivered},
                                                 {"rejected", SeenIntent::State::Rejected},
                                                 {"edge", SeenIntent::State::Delivered}}));
  VC_EXPECT_OK(state_->forgetIntents("did:vaultys:cp", fromUnixMillis(2000)));
  reopen();
  const auto known = [&](const char* id) { return state_->seenIntent("did:vaultys:cp", id)->has_value(); };
  EXPECT_TRUE(known("running"));
  EXPECT_TRUE(known("edge"));
  EXPECT_TRUE(known("unsent"));
  EXPECT_FALSE(known("delivered"));
  EXPECT_FALSE(known("rejected"));
  // Of a control plane that this agent no longer belongs to.
  VC_EXPECT_OK(state_->forgetIntents("did:vaultys:new", fromUnixMillis(2000)));
  EXPECT_FALSE(known("unsent"));
  EXPECT_TRUE(known("running"));
}

TEST_F(AgentStateTest, RemembersUsage) {
  EXPECT_EQ(state_->usage()->promptTotal, 0);
  const StoredUsage usage{.utcDay = 20000,
                          .promptToday = 1,
                          .completionToday = 2,
                          .promptTotal = 3,
                          .completionTotal = 4,
                          .promptUnsynced = 5,
                          .completionUnsynced = 6,
                          .syncId = "sync-1",
                          .promptSyncing = 4,
                          .completionSyncing = 3,
                          .requestsThisHour = 7,
                          .hourWindowStart = fromUnixMillis(8)};
  VC_EXPECT_OK(state_->saveUsage({.utcDay = 1}));
  VC_EXPECT_OK(state_->saveUsage(usage));
  reopen();
  const auto read = state_->usage();
  ASSERT_TRUE(read.ok());
  EXPECT_EQ(read->utcDay, 20000);
  EXPECT_EQ(read->promptToday, 1);
  EXPECT_EQ(read->completionToday, 2);
  EXPECT_EQ(read->promptTotal, 3);
  EXPECT_EQ(read->completionTotal, 4);
  EXPECT_EQ(read->promptUnsynced, 5);
  EXPECT_EQ(read->syncId, "sync-1");
  EXPECT_EQ(read->promptSyncing, 4);
  EXPECT_EQ(read->completionSyncing, 3);
  EXPECT_EQ(read->completionUnsynced, 6);
  EXPECT_EQ(read->requestsThisHour, 7);
  EXPECT_EQ(read->hourWindowStart, fromUnixMillis(8));
}

TEST_F(AgentStateTest, ReplacesDelegationsAsAWhole) {
  VC_EXPECT_OK(state_->replaceDelegations({{"b", "cert-b"}, {"a", "cert-a"}, {"b", "cert-b2"}}));
  reopen();
  const auto three = state_->delegations();
  ASSERT_EQ(three->size(), 3u);
  EXPECT_EQ((*three)[0].id, "b");
  EXPECT_EQ((*three)[1].certificate, "cert-a");
  EXPECT_EQ((*three)[2].certificate, "cert-b2");
  VC_EXPECT_OK(state_->replaceDelegations({}));
  reopen();
  EXPECT_TRUE(state_->delegations()->empty());
}

TEST_F(AgentStateTest, KeepsSmallValuesByName) {
  EXPECT_FALSE(state_->get("k")->has_value());
  VC_EXPECT_OK(state_->putAll({{"k", "first"}, {"gone", "x"}}));
  VC_EXPECT_OK(state_->putAll({{"k", std::string("a\0b", 3)},
                               {"", ""},
                               {"gone", std::nullopt},
                               {"never", std::nullopt},
                               {"'; DELETE FROM small_values; --", "x"}}));
  reopen();
  EXPECT_EQ(**state_->get("k"), std::string("a\0b", 3));
  EXPECT_EQ(**state_->get(""), "");
  EXPECT_FALSE(state_->get("gone")->has_value());
  EXPECT_EQ(**state_->get("'; DELETE FROM small_values; --"), "x");
}

TEST_F(AgentStateTest, AcceptsEachIntentOnceAmongThreads) {
  std::atomic<int> fresh = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 25; ++i) {
        const auto seen = state_->acceptIntent(intent(std::to_string(i)));
        if (seen.ok() && !*seen) ++fresh;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(fresh, 25);
}

}  // namespace
}  // namespace vaultysclaw::store
