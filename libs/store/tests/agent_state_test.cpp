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
    auto opened = openAgentState(directory_ / "agent.db");
    ASSERT_TRUE(opened.ok()) << opened.error().message;
    state_ = std::move(*opened);
  }
  SeenIntent intent(const std::string& id, std::int64_t at = 1000) {
    return {.controlPlaneDid = "did:vaultys:cp",
            .intentId = id,
            .fingerprint = "print-" + id,
            .acceptedAt = fromUnixMillis(at)};
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
  VC_EXPECT_OK(state_->finishIntent("did:vaultys:cp", "one", result));
  reopen();
  VC_EXPECT_ERROR(Errc::Conflict, state_->finishIntent("did:vaultys:cp", "one", "second"));
  VC_EXPECT_ERROR(Errc::NotFound, state_->finishIntent("did:vaultys:cp", "two", "x"));
  VC_EXPECT_ERROR(Errc::NotFound, state_->finishIntent("did:vaultys:other", "one", "x"));
  const auto seen = accept(intent("one"));
  ASSERT_TRUE(seen);
  EXPECT_EQ(seen->state, SeenIntent::State::Finished);
  EXPECT_EQ(seen->result, result);
}

TEST_F(AgentStateTest, InterruptsWhatRanWhenTheProcessEnded) {
  accept(intent("late", 3000));
  accept(intent("early", 2000));
  accept(intent("finished", 1000));
  VC_EXPECT_OK(state_->finishIntent("did:vaultys:cp", "finished", "r"));
  reopen();
  const auto interrupted = state_->interruptRunning();
  ASSERT_TRUE(interrupted.ok());
  ASSERT_EQ(interrupted->size(), 2u);
  EXPECT_EQ((*interrupted)[0].intentId, "early");
  EXPECT_EQ((*interrupted)[0].state, SeenIntent::State::Interrupted);
  EXPECT_EQ((*interrupted)[1].intentId, "late");
  reopen();
  EXPECT_TRUE(state_->interruptRunning()->empty());
  EXPECT_EQ(accept(intent("early"))->state, SeenIntent::State::Interrupted);
  EXPECT_EQ(accept(intent("finished"))->state, SeenIntent::State::Finished);
  VC_EXPECT_ERROR(Errc::Conflict, state_->finishIntent("did:vaultys:cp", "early", "too late"));
}

TEST_F(AgentStateTest, ForgetsOnlyWhatHasEndedBeforeTheTime) {
  accept(intent("running", 1000));
  accept(intent("old", 1000));
  accept(intent("edge", 2000));
  VC_EXPECT_OK(state_->finishIntent("did:vaultys:cp", "old", ""));
  VC_EXPECT_OK(state_->finishIntent("did:vaultys:cp", "edge", ""));
  VC_EXPECT_OK(state_->forgetIntents(fromUnixMillis(2000)));
  reopen();
  EXPECT_TRUE(accept(intent("running")));
  EXPECT_TRUE(accept(intent("edge")));
  EXPECT_FALSE(accept(intent("old")));
  EXPECT_EQ(state_->interruptRunning()->size(), 2u);  // "running", and "old", which is new again
  VC_EXPECT_OK(state_->forgetIntents(fromUnixMillis(1500)));
  EXPECT_FALSE(accept(intent("running")));
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
