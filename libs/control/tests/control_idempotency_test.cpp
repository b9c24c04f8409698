// The same key is the same intent, now and after a restart.
#include "durability_fixture.hpp"

namespace vaultysclaw::control::testing {
namespace {

class Idempotency : public Durability {};

TEST_F(Idempotency, TheSameKeyIsTheSameIntent) {
  auto agent = connectedAgent(full());
  const auto keyed = request(agent->did(), std::nullopt, "k-1");
  auto first = post(keyed);
  auto second = post(keyed);
  EXPECT_FALSE((*first)->replayed);
  EXPECT_TRUE((*second)->replayed);
  EXPECT_EQ((*first)->intentId, (*second)->intentId);
  EXPECT_EQ(agent->count<Intent>(), 1U);
  auto third = ask(keyed);
  EXPECT_FALSE(third.done()) << "attached";
  agent->sendResult((*first)->intentId, "5");
  run();
  ASSERT_TRUE(third.done() && third->ok());
  EXPECT_TRUE((*third)->replayed);
  auto fourth = ask(keyed);
  ASSERT_TRUE(fourth.done() && fourth->ok());
  EXPECT_EQ((*fourth)->output->text, "5") << "the stored end";
  agent->disconnect();
  run();
  EXPECT_EQ((*post(keyed))->status, "success") << "also when nothing could be sent now";
  EXPECT_EQ(audited("intent.send"), 1U);
}

TEST_F(Idempotency, TwoAtOnceWithOneKeyGetOneIntent) {
  auto agent = connectedAgent(full());
  Waiting<RunResult> one, two;
  Waiting<SentIntent> three;
  const auto keyed = request(agent->did(), std::nullopt, "k");
  plane->run(keyed, one);
  plane->run(keyed, two);
  plane->send(keyed, three);
  run();
  EXPECT_TRUE((*three)->replayed);
  ASSERT_EQ(agent->count<Intent>(), 1U);
  agent->sendResult(agent->last<Intent>()->id, "5");
  run();
  ASSERT_TRUE(one.done() && two.done());
  EXPECT_FALSE((*one)->replayed);
  EXPECT_TRUE((*two)->replayed);
  EXPECT_EQ((*one)->intentId, (*two)->intentId);
  EXPECT_EQ(plane->counters().pendingIntents, 0U);
}

TEST_F(Idempotency, AKeyWithOtherContentIsRefused) {
  auto agent = connectedAgent(full());
  auto other = connectedAgent(full());
  const auto keyed = request(agent->did(), seconds(10), "k");
  ASSERT_TRUE(post(keyed)->ok());
  std::vector<RunRequest> changed(4, keyed);
  changed[0].did = other->did();
  changed[1].action = "other";
  changed[2].params.text = R"({"n": 1})";
  changed[3].ttl = seconds(11);
  for (const auto& r : changed) EXPECT_EQ(post(r)->error().code, Errc::Conflict);
  auto somebody = keyed;
  somebody.requestedBy = "somebody else";
  auto theirs = post(somebody);
  ASSERT_TRUE(theirs->ok());
  EXPECT_FALSE((*theirs)->replayed) << "their own key";
}

TEST_F(Idempotency, ACallerComesBackWithItsKeyAfterARestart) {
  auto agent = connectedAgent(full());
  const auto keyed = request(agent->did(), std::nullopt, "k");
  auto before = ask(keyed);
  shutDownAndStart();
  EXPECT_EQ(before->error().code, Errc::Interrupted);
  auto after = ask(keyed);
  EXPECT_FALSE(after.done()) << "attached, though the agent is away";
  comeBack(*agent);
  ASSERT_EQ(agent->count<Intent>(), 1U);
  agent->sendResult(agent->last<Intent>()->id, "5");
  run();
  ASSERT_TRUE(after.done() && after->ok());
  EXPECT_EQ((*after)->output->text, "5");
}

TEST_F(Idempotency, AKeyAnswersHowItsIntentEnded) {
  auto agent = awayAgent();
  const auto keyed = request(agent->did(), seconds(10), "k");
  auto first = ask(keyed);
  loop.advance(seconds(10));
  EXPECT_EQ(first->error().code, Errc::DeadlineExceeded);
  auto again = ask(keyed);
  ASSERT_TRUE(again.done());
  EXPECT_EQ(again->error().code, Errc::DeadlineExceeded);
  EXPECT_EQ(again->error().message, first->error().message);
}

}  // namespace
}  // namespace vaultysclaw::control::testing
