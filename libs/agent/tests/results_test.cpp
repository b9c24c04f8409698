// Signed results and the durable outbox (docs/protocol.md 7.5), pause and resume (7.8).
#include "agent_fixture.hpp"
#include "base/file_size_limit.hpp"
#include "outbox.hpp"

namespace vaultysclaw::testing {
namespace {

using identity::Features;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
namespace feature = identity::feature;

class Results : public AgentTest {
 protected:
  // The state, while no agent runs.
  template <class F>
  void withState(F&& use) {
    agent.reset();
    auto state = openState();
    ASSERT_TRUE(state.ok());
    use(**state);
  }
  store::SeenIntent::State stateOf(const std::string& id) {
    auto found = store::SeenIntent::State::Running;
    withState([&](store::AgentState& state) {
      const auto seen = state.seenIntent(cp.id().didV1().value, id);
      ASSERT_TRUE(seen.ok() && *seen);
      found = (*seen)->state;
    });
    return found;
  }
  void reconnect() {
    world.network.cutAll();
    world.advance(seconds(5));
    ASSERT_EQ(agent->getStatus(), AgentStatus::Connected);
  }
  std::vector<std::string> resultIds() const {
    std::vector<std::string> ids;
    for (const auto& r : cp.all<protocol::IntentResult>()) ids.push_back(r.intentId.value);
    return ids;
  }
};

TEST_F(Results, AreSignedForExactlyWhatTheySay) {
  connect();
  intent("good", "text_generation", {.params = R"({"a":[1.50,"é"]})"});
  agent->intent = [](auto, const auto&, auto&) -> Json { throw std::runtime_error("disk on fire"); };
  intent("bad", "text_generation");
  intent("denied", "system_command");
  EXPECT_THAT(cp.badResults, IsEmpty());
  ASSERT_EQ(cp.results.size(), 3u);
  EXPECT_EQ(cp.results[0].status, "success");
  EXPECT_TRUE(cp.results[0].outputHash.has_value());
  EXPECT_EQ(cp.results[1].error, "disk on fire");
  EXPECT_EQ(cp.results[1].code, "failed");
  EXPECT_EQ(cp.results[2].code, "policy_denied");
  EXPECT_FALSE(cp.results[2].outputHash.has_value());
}

TEST_F(Results, AreStoredLaterWhenTheDiskIsFull) {
  connect();
  std::optional<FileSizeLimit> full;
  agent->intent = [&](auto, const auto&, auto&) -> Json {
    full.emplace(1);  // once the intent is accepted
    return 7;
  };
  intent("i1", "text_generation");
  EXPECT_THAT(resultIds(), ElementsAre("i1")) << "its caller need not wait for the disk";
  EXPECT_TRUE(logged("cannot be stored yet"));
  world.advance(seconds(20));
  full.reset();
  world.advance(seconds(10));
  EXPECT_THAT(resultIds(), ElementsAre("i1"));
  EXPECT_EQ(stateOf("i1"), store::SeenIntent::State::Finished);
}

TEST_F(Results, ThatTheDiskDoesNotTakeWhileTheLinkIsDownComeLater) {
  connect();
  std::optional<FileSizeLimit> full;
  agent->intent = [&](auto, const auto&, auto&) -> Json {
    full.emplace(1);
    world.network.cutAll();
    return 7;
  };
  intent("i1", "text_generation");
  EXPECT_THAT(resultIds(), IsEmpty());
  full.reset();
  world.advance(seconds(10));
  EXPECT_THAT(resultIds(), ElementsAre("i1"));
}

TEST_F(Results, OfARunningIntentAreNotDeniedBecauseTheDiskIsFull) {
  connect();
  world.lanes->held = true;
  intent("i1", "text_generation");
  {
    const FileSizeLimit full(1);
    intent("i1", "text_generation");  // again, as after a reconnect
    intent("i2", "text_generation");
  }
  EXPECT_FALSE(refusal("i1").has_value()) << "it is about to run";
  ASSERT_TRUE(refusal("i2").has_value());
  EXPECT_EQ(refusal("i2")->code, "busy");
  world.runHandler();
  EXPECT_THAT(resultIds(), ElementsAre("i1"));
}

TEST_F(Results, AreNotMadeForWhatWasNeverAccepted) {
  config.maxQueuedCalls = 1;
  connect();
  intent("unsigned", "text_generation", {.sign = false});
  world.lanes->held = true;
  intent("one", "text_generation");
  intent("two", "text_generation");
  EXPECT_THAT(resultIds(), IsEmpty());
  ASSERT_TRUE(refusal("unsigned") && refusal("two"));
  EXPECT_EQ(refusal("unsigned")->code, "policy_denied");
  EXPECT_EQ(refusal("two")->code, "busy");
  world.runHandler();
}

TEST_F(Results, OfARefusedIntentAreUnsignedWithoutTheFeature) {
  cp.features = {};
  connect();
  intent("unsigned", "text_generation", {.sign = false});
  ASSERT_TRUE(result("unsigned"));
  EXPECT_FALSE(result("unsigned")->signature.has_value());
  EXPECT_EQ(refusal("unsigned")->code, "policy_denied");
}

TEST_F(Results, AreUnsignedForAControlPlaneThatDoesNotList) {
  cp.features = {};
  connect();
  intent("i1", "text_generation");
  ASSERT_TRUE(result("i1"));
  EXPECT_FALSE(result("i1")->signature || result("i1")->publicKey);
}

TEST_F(Results, AreSentUntilTheyAreAcknowledged) {
  cp.acknowledgesResults = false;
  connect();
  intent("i1", "text_generation");
  intent("i2", "text_generation");
  cp.forget();
  reconnect();
  EXPECT_THAT(resultIds(), ElementsAre("i1", "i2"));
  cp.acknowledgesResults = true;
  cp.forget();
  reconnect();
  EXPECT_THAT(resultIds(), ElementsAre("i1", "i2"));
  cp.forget();
  reconnect();
  EXPECT_THAT(resultIds(), IsEmpty());
  EXPECT_EQ(agent->intents, 2);
}

TEST_F(Results, OfAnEarlierProcessAreSentInOrderOfAcceptance) {
  cp.acknowledgesResults = false;
  connect();
  for (const char* id : {"z", "a", "m"}) intent(id, "text_generation");
  const std::string first = result("z")->output->text;
  cp.results.clear();
  cp.acknowledgesResults = true;
  cp.forget();
  make().start();
  world.run();
  EXPECT_THAT(resultIds(), ElementsAre("z", "a", "m"));
  EXPECT_EQ(result("z")->output->text, first);
  EXPECT_EQ(cp.results.size(), 3u);
  world.advance(seconds(2));
  EXPECT_EQ(stateOf("z"), store::SeenIntent::State::Delivered);
}

TEST_F(Results, AnAcknowledgementIsWrittenWithTheNextIntentOrSoonAfter) {
  connect();
  intent("i1", "text_generation");
  world.advance(seconds(2));
  EXPECT_EQ(stateOf("i1"), store::SeenIntent::State::Delivered);
  connect();
  intent("i2", "text_generation");
  EXPECT_EQ(stateOf("i2"), store::SeenIntent::State::Delivered);  // a stopping agent writes it at once
}

TEST_F(Results, OnlyTheOwnHashAcknowledges) {
  cp.acknowledgesResults = false;
  connect();
  intent("other", "text_generation");
  intent("refused", "text_generation");
  intent("waits", "text_generation");
  cp.acknowledge("other", std::string(64, '0'));
  cp.refuseResult("refused", "intent unknown");
  cp.acknowledge("never", std::string(64, '0'));
  world.run();
  EXPECT_TRUE(logged("keeps no result of ours for intent other: it has another one"));
  EXPECT_TRUE(logged("keeps no result of ours for intent refused: intent unknown"));
  cp.forget();
  reconnect();
  EXPECT_THAT(resultIds(), ElementsAre("waits"));
  EXPECT_EQ(stateOf("other"), store::SeenIntent::State::Rejected);
  EXPECT_EQ(stateOf("refused"), store::SeenIntent::State::Rejected);
  EXPECT_EQ(stateOf("waits"), store::SeenIntent::State::Finished);
}

TEST_F(Results, WithoutResultAckWrittenIsDelivered) {
  cp.features = Features::ours().without(feature::kResultAck);
  connect();
  intent("i1", "text_generation");
  cp.acknowledge("i1", std::string(64, '0'));  // means nothing
  world.run();
  cp.forget();
  reconnect();
  EXPECT_THAT(resultIds(), IsEmpty());
  EXPECT_EQ(stateOf("i1"), store::SeenIntent::State::Delivered);
}

TEST_F(Results, WithoutAConnectionSurviveARestartWhateverIsListed) {
  cp.features = {};
  connect();
  world.lanes->held = true;
  intent("i1", "text_generation");
  world.network.cutAll();
  world.run();
  while (world.runHandler()) {
  }
  world.lanes->held = false;
  withState([&](store::AgentState& state) { EXPECT_EQ((*state.outbox(cp.id().didV1().value))[0].resultHash, ""); });
  cp.features = Features::ours();  // it has learned to want signatures meanwhile
  make().start();
  world.run();
  EXPECT_EQ(error("i1"), "(success)");
  EXPECT_THAT(cp.badResults, IsEmpty());
  EXPECT_EQ(cp.results.size(), 1u);
}

TEST_F(Results, OfIntentsThatARestartInterruptedAreSignedAndAcknowledged) {
  connect();
  const std::string text = cp.intentText("i2", "text_generation", {});
  const std::string hash = hexEncode(*identity::tokenBodyHash(*protocol::decode(text)->signature));
  withState([&](store::AgentState& state) {
    store::SeenIntent crashed;
    crashed.controlPlaneDid = cp.id().didV1().value;
    crashed.intentId = "i2";
    crashed.intentHash = hash;
    crashed.acceptedAt = world.clock.now();
    ASSERT_TRUE(state.acceptIntent(crashed).ok());
  });
  make().start();
  world.run();
  EXPECT_EQ(code("i2"), "interrupted");
  EXPECT_THAT(cp.badResults, IsEmpty());
  EXPECT_EQ(cp.results.size(), 1u);
  EXPECT_EQ(agent->intents, 0);
  world.advance(seconds(2));
  EXPECT_EQ(stateOf("i2"), store::SeenIntent::State::Delivered);
}

TEST_F(Results, AStoredResultAnswersARepeatedIntentAfterItsTokenHasExpired) {
  connect();
  const std::string text = cp.intentText("i1", "text_generation", {});
  cp.sendRaw(text);
  world.run();
  world.advance(seconds(400));
  cp.forget();
  cp.sendRaw(text);
  world.run();
  EXPECT_EQ(error("i1"), "(success)");
  EXPECT_EQ(agent->intents, 1);
}

TEST_F(Results, ManyAreSentInBatchesThatFitTheConnection) {
  cp.acknowledgesResults = false;
  config.maxQueuedCalls = 100;
  connect();
  // Together far more than a connection's queue may hold.
  agent->intent = [](auto, const auto&, auto&) { return Json(std::string(std::size_t{2} << 20, 'x')); };
  world.lanes->held = true;
  for (int i = 0; i < 30; ++i) cp.intent("i" + std::to_string(i), "text_generation");
  world.run();
  world.network.cutAll();
  world.run();
  while (world.runHandler()) {
  }
  world.lanes->held = false;
  cp.forget();
  world.advance(seconds(5));
  EXPECT_EQ(agent->getStatus(), AgentStatus::Connected);
  EXPECT_FALSE(logged("reads too slowly"));
  EXPECT_EQ(cp.all<protocol::IntentResult>().size(), 30u);
}

TEST_F(Results, AFullOutboxRefusesNewIntents) {
  cp.acknowledgesResults = false;
  world.outboxLimits.results = 3;
  connect();
  for (const char* id : {"i1", "i2", "i3"}) intent(id, "text_generation");
  EXPECT_EQ(agent->intents, 3);
  const std::string hash = hexEncode(*identity::tokenBodyHash(*result("i2")->signature));
  for (const char* process : {"this", "next"}) {
    intent(process, "text_generation");
    EXPECT_EQ(code(process), "busy");
    EXPECT_THAT(error(process), HasSubstr("acknowledgement"));
    connect();
  }
  cp.acknowledge("i2", hash);
  world.run();
  intent("i4", "text_generation");
  EXPECT_EQ(error("i4"), "(success)");
}

TEST_F(Results, CountARequestOnceOverACrash) {
  cp.maxRequestsPerHour = 2;
  connect();
  world.lanes->held = true;
  intent("i1", "text_generation");  // accepted, and not judged yet
  // What a crash at this moment leaves behind.
  const auto copied = world.dir.file("crashed.id.state");
  for (const char* suffix : {"", "-wal"})
    std::filesystem::copy_file(config.vaultysIdPath + ".state" + suffix, copied + suffix);
  auto state = openState(copied);
  ASSERT_TRUE(state.ok());
  EXPECT_EQ((*state)->usage()->requestsThisHour, 1);
  world.runHandler();
  world.lanes->held = false;
  intent("i2", "text_generation");
  EXPECT_EQ(error("i2"), "(success)");
  intent("i3", "text_generation");
  EXPECT_THAT(error("i3"), HasSubstr("Hourly request limit"));
}

TEST_F(Results, ARefusedRequestIsNotCounted) {
  cp.maxRequestsPerHour = 1;
  connect();
  intent("denied", "system_command");
  world.lanes->held = true;
  intent("late", "text_generation", {.timeoutMs = 10});
  world.advance(seconds(1));
  world.runHandler();
  world.lanes->held = false;
  EXPECT_EQ(code("late"), "deadline_exceeded");
  withState([](store::AgentState& state) { EXPECT_EQ(state.usage()->requestsThisHour, 0); });
  connect();
  intent("i1", "text_generation");
  EXPECT_EQ(error("i1"), "(success)");
}

// ---- the outbox alone

TEST(Outbox, KeepsOrderAndBounds) {
  detail::Outbox outbox({.results = 100, .bytes = 1000});
  outbox.add(3, {"c", "h", 10});
  outbox.add(1, {"a", "h", 10});
  outbox.add(2, {"b", "h", 10});
  outbox.add(9, {"a", "other", 99});  // there already
  EXPECT_EQ(outbox.find("a")->hash, "h");
  EXPECT_THAT(outbox.unsent(1, 2, 100), ElementsAre("a", "b"));
  EXPECT_THAT(outbox.unsent(1, 9, 15), ElementsAre("a"));
  EXPECT_THAT(outbox.unsent(1, 9, 1), ElementsAre("a"));  // one at least
  outbox.find("a")->sentOn = 1;
  EXPECT_THAT(outbox.unsent(1, 9, 100), ElementsAre("b", "c"));
  EXPECT_THAT(outbox.unsent(2, 9, 100), ElementsAre("a", "b", "c"));
  outbox.remove("b");
  outbox.remove("b");
  EXPECT_EQ(outbox.find("b"), nullptr);
  EXPECT_FALSE(outbox.full(0));
  EXPECT_TRUE(outbox.full(98));
  outbox.add(4, {"big", "h", 1000});
  EXPECT_TRUE(outbox.full(0));
  outbox.remove("big");
  EXPECT_FALSE(outbox.full(0));
}

// ---- pause and resume

TEST_F(Results, APausedAgentRunsNothingUntilItIsResumed) {
  connect();
  cp.send(protocol::Pause{"maintenance"});
  world.run();
  EXPECT_EQ(agent->getInfo().paused, "maintenance");
  intent("i1", "text_generation");
  EXPECT_EQ(code("i1"), "policy_denied");
  EXPECT_THAT(error("i1"), HasSubstr("paused: maintenance"));
  cp.chat("c1", "hello");
  protocol::TaskEnqueue task;
  task.action = "text_generation";
  cp.send(task);
  world.run();
  EXPECT_EQ(heard("c1"), "|error:llm_unavailable:policy_denied:The agent is paused: maintenance");
  EXPECT_THAT(cp.last<protocol::TaskStatus>()->error.value_or(""), HasSubstr("paused"));
  EXPECT_EQ(agent->intents + agent->chats, 0);
  cp.send(protocol::Resume{});
  world.run();
  EXPECT_FALSE(agent->getInfo().paused);
  intent("i1", "text_generation");
  EXPECT_EQ(error("i1"), "(success)");
}

TEST_F(Results, APauseHoldsForWhatWaitsAlready) {
  connect();
  world.lanes->held = true;
  intent("i1", "text_generation");
  cp.chat("c1", "hello");
  cp.send(protocol::Pause{""});
  world.run();
  while (world.runHandler()) {
  }
  EXPECT_EQ(code("i1"), "policy_denied");
  EXPECT_EQ(error("i1"), "The agent is paused");
  EXPECT_THAT(heard("c1"), HasSubstr("policy_denied"));
  EXPECT_EQ(agent->intents + agent->chats, 0);
}

TEST_F(Results, APauseEndsWithTheConnection) {
  connect();
  cp.send(protocol::Pause{"x"});
  world.run();
  reconnect();
  EXPECT_FALSE(agent->getInfo().paused);
}

TEST_F(Results, APauseNeedsControlV2) {
  cp.features = Features::ours().without(feature::kControlV2);
  connect();
  cp.send(protocol::Pause{"x"});
  world.run();
  EXPECT_FALSE(agent->getInfo().paused);
}

}  // namespace
}  // namespace vaultysclaw::testing
