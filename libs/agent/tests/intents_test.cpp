#include <limits>

#include "agent_fixture.hpp"

namespace vaultysclaw::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

const std::string kUser = "did:vaultys:0122222222222222222222222222222222222222";

class Intents : public AgentTest {};

TEST_F(Intents, RunAndAreAnsweredWithResultThenAck) {
  cp.features = identity::Features::ours().without(identity::feature::kResultAck);
  connect();
  intent("i1", "text_generation", {.params = R"({"n":1.5,"s":"é"})"});
  ASSERT_EQ(cp.received.size(), 2u);
  const auto& r = std::get<protocol::IntentResult>(cp.received[0].payload);
  EXPECT_EQ(r.status, protocol::ResultStatus::Success);
  EXPECT_EQ(Json::parse(r.output->text)["echo"]["params"]["n"], 1.5);
  const auto& ack = std::get<protocol::IntentAck>(cp.received[1].payload);
  EXPECT_TRUE(ack.success);
  EXPECT_EQ(ack.messageId, "i1");
  EXPECT_EQ(cp.received[0].agentId, agent->getDid());
  EXPECT_THAT(events, ElementsAre("status connecting", "status connected", "received i1", "result i1 success"));
}

// The control plane acknowledges the result, and a positive ack of the agent's would say nothing new.
TEST_F(Intents, AreAnsweredByTheResultAloneWhereResultsAreAcknowledged) {
  connect();
  intent("i1", "text_generation");
  ASSERT_EQ(cp.received.size(), 1u);
  EXPECT_TRUE(std::holds_alternative<protocol::IntentResult>(cp.received[0].payload));
  agent->intent = [](auto, const auto&, auto&) -> Json { throw std::runtime_error("no"); };
  intent("i2", "text_generation");
  ASSERT_EQ(cp.received.size(), 3u);
  EXPECT_FALSE(acks().back().success);
}

TEST_F(Intents, GiveTheHandlerItsContext) {
  connect();
  std::string caller, id;
  agent->intent = [&](auto, const auto&, CallContext& call) {
    caller = *call.callerDid();
    id = call.intentId();
    EXPECT_EQ(call.deadline(), world.clock.steady() + milliseconds(1500));
    EXPECT_FALSE(call.stopRequested());
    EXPECT_THROW(call.invokePeer("did:vaultys:x", "a"), PeerError);
    return Json(nullptr);
  };
  intent("i1", "text_generation", {.timeoutMs = 1500});
  EXPECT_EQ(caller, cp.id().didV1().value);
  EXPECT_EQ(id, "i1");
}

TEST_F(Intents, AreRefusedUnlessTheyAreSignedForExactlyThis) {
  connect();
  intent("unsigned", "text_generation", {.sign = false});
  intent("action", "text_generation", {.signedAction = "api_call"});
  intent("agent", "text_generation", {.signedAgent = "did:vaultys:00ffffffffffffffffffffffffffffffffffffff"});
  intent("id", "text_generation", {.signedId = "other"});
  intent("old", "text_generation", {.age = seconds(301)});
  intent("early", "text_generation", {.age = seconds(-61)});
  EXPECT_EQ(agent->intents, 0);
  for (const char* id : {"unsigned", "action", "agent", "id"}) {
    EXPECT_THAT(error(id), HasSubstr("Intent signature verification failed")) << id;
  }
  EXPECT_THAT(error("old"), HasSubstr("301 s old"));
  EXPECT_THAT(error("early"), HasSubstr("61 s in the future"));
  for (const auto& ack : acks()) EXPECT_FALSE(ack.success);
  EXPECT_EQ(acks().size(), 6u);
  intent("edge", "text_generation", {.age = seconds(300)});
  EXPECT_EQ(error("edge"), "(success)");
}

TEST_F(Intents, BySomebodyElseAreRefused) {
  connect();
  const std::string text = cp.intentText("i1", "text_generation", {});
  auto message = *protocol::decode(text);
  const auto stranger = identity::VaultysId::generate(identity::IdType::Machine, world.entropy);
  identity::IntentToken token;
  token.id = "i1";
  token.action = "text_generation";
  token.agentId = agent->getDid();
  token.timestamp = world.clock.now();
  message.signature = identity::signToken(stranger, token);
  cp.sendRaw(protocol::encode(message));
  world.run();
  EXPECT_EQ(agent->intents, 0);
  EXPECT_THAT(error("i1"), HasSubstr("Intent signature verification failed"));
}

TEST_F(Intents, WithAParamsHashMustMatchIt) {
  connect();
  intent("good", "text_generation", {.params = R"({"a":1})", .v2 = true});
  EXPECT_EQ(error("good"), "(success)");
  std::string text = cp.intentText("bad", "text_generation", {.params = R"({"a":1})", .v2 = true});
  text.replace(text.find(R"({"a":1})"), 7, R"({"a":2})");
  cp.sendRaw(text);
  world.run();
  EXPECT_THAT(error("bad"), HasSubstr("other params"));
}

TEST_F(Intents, OfIntentV2AreSignedForParamsUserAndTime) {
  connect();
  ASSERT_TRUE(cp.inUse().has(identity::feature::kIntentV2));
  intent("v1", "text_generation", {.v2 = false});
  EXPECT_THAT(error("v1"), HasSubstr("paramsHash"));
  intent("params", "text_generation", {.params = R"({"a":1})", .signedParams = R"({"a":2})"});
  EXPECT_THAT(error("params"), HasSubstr("other params"));
  intent("user", "text_generation",
         {.userDid = kUser, .signedUser = "did:vaultys:0133333333333333333333333333333333333333"});
  EXPECT_THAT(error("user"), HasSubstr("another user"));
  intent("long", "text_generation", {.life = milliseconds(300'001)});
  EXPECT_THAT(error("long"), HasSubstr("300 s"));
  intent("expired", "text_generation", {.age = seconds(20), .life = milliseconds(10'000)});
  EXPECT_THAT(error("expired"), HasSubstr("expired 10 s ago"));
  EXPECT_EQ(agent->intents, 0);
  intent("edge", "text_generation", {.age = seconds(10), .life = milliseconds(10'000)});
  EXPECT_EQ(error("edge"), "(success)");
}

TEST_F(Intents, OfTheOriginalAreTakenWithoutIntentV2) {
  cp.features = {};
  connect();
  intent("i1", "text_generation");
  EXPECT_EQ(error("i1"), "(success)");
}

TEST_F(Intents, CancelledOnTheirWayIntoTheStateNeverRun) {
  connect();
  cp.intent("i1", "text_generation");
  protocol::Cancel cancel;
  cancel.intentId = IntentId("i1");
  cp.send(cancel);
  world.run();
  EXPECT_EQ(code("i1"), "cancelled");
  EXPECT_EQ(agent->intents, 0);
}

TEST_F(Intents, ShowTheHandlerTheirTrace) {
  connect();
  std::string trace;
  agent->intent = [&](auto, const auto&, CallContext& call) {
    trace = call.traceparent();
    return Json(1);
  };
  const std::string parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
  intent("i1", "text_generation", {.trace = protocol::TraceContext{parent, ""}});
  EXPECT_EQ(trace, parent);
}

TEST_F(Intents, PassTheGatesInOrder) {
  cp.maxRequestsPerHour = 1;
  connect();
  intent("denied", "system_command");
  EXPECT_EQ(error("denied"), "Capability 'system_command' not granted");
  EXPECT_EQ(code("denied"), "policy_denied");
  intent("one", "text_generation");
  EXPECT_EQ(error("one"), "(success)");
  intent("two", "text_generation");
  EXPECT_THAT(error("two"), HasSubstr("Hourly request limit reached (1 req/h)"));
  world.advance(seconds(3601));
  intent("three", "text_generation");
  EXPECT_EQ(error("three"), "(success)");
  EXPECT_EQ(agent->intents, 2);
}

TEST_F(Intents, UnderAnExpiredPolicyAreRefused) {
  cp.policyId = "policy-old";
  cp.policyExpiresAt = "2020-01-01T00:00:00.000Z";
  connect();
  intent("i1", "text_generation");
  EXPECT_THAT(error("i1"), HasSubstr("Policy 'policy-old' has expired"));
}

TEST_F(Intents, OverTheTokenBudgetAreRefused) {
  cp.maxTokensPerDay = 10;
  connect();
  agent->intent = [](auto, const auto&, CallContext& call) {
    call.addUsage(6, 6);
    return Json(1);
  };
  intent("one", "text_generation");
  EXPECT_EQ(error("one"), "(success)");
  intent("two", "text_generation");
  EXPECT_EQ(error("two"), "Daily token budget exhausted (used 12 / limit 10)");
  agent->budget = TokenUsage{3, 0};  // an override replaces the counter
  intent("three", "text_generation");
  EXPECT_EQ(error("three"), "(success)");
  agent->budget.reset();
  world.advance(std::chrono::hours(24));
  intent("four", "text_generation");
  EXPECT_EQ(error("four"), "(success)");
}

TEST_F(Intents, ForAUserNeedADelegation) {
  connect();
  intent("none", "text_generation", {.userDid = kUser});
  EXPECT_THAT(error("none"), HasSubstr("has no valid delegation"));
  protocol::DelegationUpdate update;
  update.delegations = {cp.delegation(kUser, {"text_generation"}, world.clock.now() + seconds(600))};
  cp.send(update);
  world.run();
  std::string caller;
  agent->intent = [&](auto, const auto&, CallContext& call) {
    caller = *call.callerDid();
    return Json(1);
  };
  intent("some", "text_generation", {.userDid = kUser});
  EXPECT_EQ(error("some"), "(success)");
  EXPECT_EQ(caller, kUser);
  world.advance(seconds(601));
  intent("expired", "text_generation", {.userDid = kUser});
  EXPECT_THAT(error("expired"), HasSubstr("has no valid delegation"));
}

TEST_F(Intents, DelegationsSurviveARestartAndEndWhenReplaced) {
  connect();
  protocol::DelegationUpdate update;
  update.delegations = {cp.delegation(kUser, {"text_generation"})};
  cp.send(update);
  world.run();
  connect();
  intent("after", "text_generation", {.userDid = kUser});
  EXPECT_EQ(error("after"), "(success)");
  cp.send(protocol::DelegationUpdate{});
  world.run();
  intent("revoked", "text_generation", {.userDid = kUser});
  EXPECT_THAT(error("revoked"), HasSubstr("has no valid delegation"));
}

TEST_F(Intents, OfIntentV2NeedDelegationsThatNameTheAgentAndEndSoon) {
  connect();
  const auto delegate = [&](protocol::DelegationEntry entry) {
    protocol::DelegationUpdate update;
    update.delegations = {std::move(entry)};
    cp.send(update);
    world.run();
  };
  const std::vector<std::string> granted = {"text_generation"};
  const WallTime now = world.clock.now();
  const auto refused = [&](const char* id, protocol::DelegationEntry entry, const char* why) {
    delegate(std::move(entry));
    EXPECT_TRUE(logged(why)) << why;
    EXPECT_TRUE(agent->delegations.empty());
    intent(id, "text_generation", {.userDid = kUser});
    EXPECT_THAT(error(id), HasSubstr("has no valid delegation"));
  };
  refused("any", cp.delegation(kUser, granted, {}, "*"), "does not name this agent");
  refused("never", cp.delegation(kUser, granted, fromUnixMillis(0)), "never expires");
  refused("long", cp.delegation(kUser, granted, now + std::chrono::hours(24) + milliseconds(1)), "longer than 24 h");
  cp.clockOffset = seconds(61);
  const auto future = cp.delegation(kUser, granted);
  cp.clockOffset = seconds(0);
  refused("future", future, "dated in the future");
  delegate(cp.delegation(kUser, granted, now + std::chrono::hours(24)));
  intent("good", "text_generation", {.userDid = kUser});
  EXPECT_EQ(error("good"), "(success)");
}

TEST_F(Intents, ForAnybodysAgentAreTakenWithoutIntentV2Only) {
  cp.features = {};
  connect();
  protocol::DelegationUpdate update;
  update.delegations = {cp.delegation(kUser, {"text_generation"}, {}, "*")};
  cp.send(update);
  world.run();
  intent("original", "text_generation", {.userDid = kUser});
  EXPECT_EQ(error("original"), "(success)");
  cp.features = identity::Features::ours();
  connect();
  intent("v2", "text_generation", {.userDid = kUser});
  EXPECT_THAT(error("v2"), HasSubstr("has no valid delegation"));
}

TEST_F(Intents, ThatThrowFailWithTheText) {
  connect();
  agent->intent = [](auto, const auto&, auto&) -> Json { throw std::runtime_error("disk on fire"); };
  intent("i1", "text_generation");
  EXPECT_EQ(error("i1"), "disk on fire");
  EXPECT_EQ(code("i1"), "failed");
  EXPECT_EQ(acks().back().reason, "disk on fire");
  agent->intent = [](auto, const auto&, auto&) -> Json { throw 5; };
  intent("i2", "text_generation");
  EXPECT_THAT(error("i2"), HasSubstr("no std::exception"));
}

TEST_F(Intents, WithAResultThatIsNotJsonFailAndSaySo) {
  connect();
  agent->intent = [](auto, const auto&, auto&) { return Json{{"text", "\xff\xfe"}}; };
  intent("utf8", "text_generation");
  EXPECT_THAT(error("utf8"), HasSubstr("not UTF-8"));
  agent->intent = [](auto, const auto&, auto&) { return Json{{"n", std::numeric_limits<double>::quiet_NaN()}}; };
  intent("nan", "text_generation");
  EXPECT_THAT(error("nan"), HasSubstr("NaN"));
  agent->intent = [](auto, const auto&, auto&) { return Json(std::numeric_limits<double>::infinity()); };
  intent("inf", "text_generation");
  EXPECT_THAT(error("inf"), HasSubstr("infinite"));
  EXPECT_EQ(agent->getStatus(), AgentStatus::Connected);
}

TEST_F(Intents, RunOnceHoweverOftenTheyCome) {
  connect();
  const std::string text = cp.intentText("i1", "text_generation", {.params = R"({"a":1})"});
  cp.sendRaw(text);
  cp.sendRaw(text);
  world.run();
  EXPECT_EQ(agent->intents, 1);
  const auto first = result("i1");
  cp.forget();
  cp.sendRaw(text);
  world.run();
  EXPECT_EQ(agent->intents, 1);
  ASSERT_TRUE(result("i1"));
  EXPECT_EQ(result("i1")->output, first->output);
  EXPECT_EQ(result("i1")->executedAt, first->executedAt);
}

TEST_F(Intents, WithAReusedIdAreRefused) {
  connect();
  intent("i1", "text_generation", {.params = R"({"a":1})"});
  cp.forget();
  intent("i1", "text_generation", {.params = R"({"a":2})"});
  EXPECT_EQ(agent->intents, 1);
  ASSERT_EQ(cp.received.size(), 1u);
  EXPECT_EQ(acks().back().reason, "intent id reused");
}

TEST_F(Intents, ThatRunAreNotAnsweredTwice) {
  connect();
  world.lanes->held = true;
  const std::string text = cp.intentText("i1", "text_generation", {});
  cp.sendRaw(text);
  world.run();
  cp.sendRaw(text);
  world.run();
  EXPECT_TRUE(cp.received.empty());
  world.runHandler();
  EXPECT_EQ(cp.all<protocol::IntentResult>().size(), 1u);
}

TEST_F(Intents, AreRememberedAcrossARestart) {
  cp.maxRequestsPerHour = 2;
  connect();
  const std::string text = cp.intentText("i1", "text_generation", {});
  cp.sendRaw(text);
  world.run();
  agent->addUsage(40, 2);
  connect();
  cp.sendRaw(text);
  world.run();
  EXPECT_EQ(agent->intents, 0);
  EXPECT_EQ(error("i1"), "(success)");
  EXPECT_EQ(agent->getInfo().tokensToday.total(), 42);
  intent("i2", "text_generation");
  EXPECT_EQ(error("i2"), "(success)");
  intent("i3", "text_generation");
  EXPECT_THAT(error("i3"), HasSubstr("Hourly request limit"));
}

TEST_F(Intents, InterruptedByACrashFailAndNeverRunAgain) {
  // What a crash leaves behind: an accepted intent without a result.
  connect();
  const std::string did = cp.id().didV1().value;
  agent.reset();
  {
    auto state = openState();
    ASSERT_TRUE(state.ok());
    store::SeenIntent crashed;
    crashed.controlPlaneDid = did;
    crashed.intentId = "i2";
    crashed.acceptedAt = world.clock.now();
    ASSERT_TRUE((*state)->acceptIntent(crashed).ok());
  }
  make().start();
  world.run();
  EXPECT_EQ(code("i2"), "interrupted");
  EXPECT_EQ(agent->intents, 0);
}

TEST_F(Intents, OfARepeatableActionRunAgainWhenTheyAreSentAgainAfterACrash) {
  config.repeatableActions = {"text_generation"};
  connect();
  const std::string did = cp.id().didV1().value;
  agent.reset();
  {
    auto state = openState();
    ASSERT_TRUE(state.ok());
    for (const auto& [id, repeatable] : {std::pair("again", store::Repeatable::Yes), {"once", store::Repeatable::No}}) {
      store::SeenIntent crashed;
      crashed.controlPlaneDid = did;
      crashed.intentId = id;
      crashed.acceptedAt = world.clock.now();
      crashed.repeatable = repeatable;
      ASSERT_TRUE((*state)->acceptIntent(crashed).ok());
    }
  }
  make().start();
  world.run();
  EXPECT_EQ(code("once"), "interrupted");
  EXPECT_FALSE(result("again"));
  intent("again", "text_generation");
  EXPECT_EQ(error("again"), "(success)");
  EXPECT_EQ(agent->intents, 1);
  intent("again", "text_generation");  // finished now: its result comes again, and nothing runs
  EXPECT_EQ(agent->intents, 1);
}

TEST_F(Intents, AreStoredAsRepeatableWhenTheConfigurationSaysSo) {
  config.repeatableActions = {"text_generation"};
  config.requestedCapabilities = {"text_generation", "mail_send"};
  cp.capabilities = {"text_generation", "mail_send"};
  connect();
  world.lanes->held = true;
  intent("i1", "text_generation");
  intent("i2", "mail_send");
  world.network.cutAll();
  const std::string did = cp.id().didV1().value;
  agent->requestStop();
  while (world.runHandler()) {
  }
  agent.reset();
  auto state = openState();
  ASSERT_TRUE(state.ok());
  EXPECT_EQ((*(*state)->seenIntent(did, "i1"))->repeatable, store::Repeatable::Yes);
  EXPECT_EQ((*(*state)->seenIntent(did, "i2"))->repeatable, store::Repeatable::No);
}

TEST_F(Intents, OverTheQueueAreBusyAtOnce) {
  config.maxQueuedCalls = 2;
  connect();
  world.lanes->held = true;
  for (const char* id : {"i1", "i2", "i3"}) intent(id, "text_generation");
  EXPECT_EQ(code("i3"), "busy");
  EXPECT_FALSE(result("i1"));
  cp.chat("c1", "hello");
  world.run();
  EXPECT_THAT(heard("c1"), HasSubstr("busy"));
  world.runHandler();
  intent("i3", "text_generation");  // a busy intent was not accepted, so it may come again
  world.runHandler();
  world.runHandler();
  EXPECT_EQ(error("i3"), "(success)");
}

TEST_F(Intents, AreAnsweredAtTheDeadlineAndTheLateResultIsDropped) {
  connect();
  world.lanes->held = true;
  agent->intent = [&](auto, const auto&, CallContext& call) {
    bool told = false;
    const std::stop_callback callback(call.stopToken(), [&] { told = true; });
    world.advance(seconds(2));  // the handler works on; the deadline passes
    EXPECT_EQ(code("i1"), "deadline_exceeded");
    EXPECT_EQ(call.stopReason(), StopReason::Deadline);
    EXPECT_TRUE(told);
    EXPECT_THROW(call.throwIfStopped(), CallStopped);
    return Json("late");
  };
  intent("i1", "text_generation", {.timeoutMs = 1000});
  world.runHandler();
  EXPECT_EQ(cp.all<protocol::IntentResult>().size(), 1u);
  EXPECT_TRUE(logged("late result"));
}

TEST_F(Intents, WhoseDeadlinePassesInTheQueueNeverRun) {
  connect();
  world.lanes->held = true;
  intent("i1", "text_generation");
  world.advance(seconds(61));  // the default deadline
  EXPECT_EQ(code("i1"), "deadline_exceeded");
  world.runHandler();
  EXPECT_EQ(agent->intents, 0);
}

TEST_F(Intents, AreCancelledByTheCaller) {
  connect();
  world.lanes->held = true;
  agent->intent = [&](auto, const auto&, CallContext& call) -> Json {
    protocol::Cancel cancel;
    cancel.intentId = IntentId("i1");
    cp.send(cancel);
    world.run();
    EXPECT_EQ(call.stopReason(), StopReason::CallerCancelled);
    call.throwIfStopped();
    return 1;
  };
  intent("i1", "text_generation");
  world.runHandler();
  EXPECT_EQ(code("i1"), "cancelled");
}

TEST_F(Intents, FinishWhenTheAgentStops) {
  connect();
  world.lanes->held = true;
  agent->intent = [&](auto, const auto&, CallContext& call) {
    agent->requestStop();
    world.run();
    EXPECT_EQ(call.stopReason(), StopReason::Shutdown);
    return Json("just in time");
  };
  intent("i1", "text_generation");
  intent("queued", "text_generation");
  world.runHandler();
  world.runHandler();
  EXPECT_EQ(error("i1"), "(success)");
  EXPECT_EQ(code("queued"), "interrupted");
  EXPECT_EQ(agent->intents, 1);
  EXPECT_EQ(agent->getStatus(), AgentStatus::Stopped);
}

TEST_F(Intents, FinishedWithoutAConnectionAreAnsweredOnTheNext) {
  connect();
  world.lanes->held = true;
  intent("i1", "text_generation");
  world.network.cutAll();
  world.run();
  while (world.runHandler()) {
  }
  world.lanes->held = false;
  EXPECT_FALSE(result("i1"));
  world.advance(seconds(3));
  EXPECT_EQ(error("i1"), "(success)");
}

TEST_F(Intents, GateAtTheMomentOfExecution) {
  connect();
  world.lanes->held = true;
  intent("i1", "text_generation");
  protocol::UpdateCapabilities update;  // taken away while it waits
  cp.send(update);
  world.run();
  world.runHandler();
  EXPECT_EQ(error("i1"), "Capability 'text_generation' not granted");
}

TEST_F(Intents, ShowInTheAgentsInfo) {
  connect();
  intent("i1", "text_generation");
  intent("i2", "system_command");
  const AgentInfo info = agent->getInfo();
  ASSERT_EQ(info.recentIntents.size(), 2u);
  EXPECT_EQ(info.recentIntents[0].status, "success");
  EXPECT_EQ(info.recentIntents[1].status, "failed");
  EXPECT_EQ(info.name, "test-agent");
  EXPECT_EQ(info.transport, "memory");
  EXPECT_FALSE(info.recentLogs.empty());
}

TEST_F(Intents, VerifyIntentMessageAcceptsOnlyTheControlPlanes) {
  connect();
  const std::string text = cp.intentText("i1", "text_generation", {.params = R"({"a":1})", .v2 = true});
  const Bytes id = cp.id().id();
  // The token's expiry is compared with the real clock; the world's clock may stand before or after it.
  std::string why;
  const bool valid = verifyIntentMessage(cp.intentText("i2", "text_generation", {.v2 = false}), id, &why);
  EXPECT_TRUE(valid) << why;
  const auto stranger = identity::VaultysId::generate(identity::IdType::Machine, world.entropy);
  EXPECT_FALSE(verifyIntentMessage(text, stranger.id(), &why));
  EXPECT_FALSE(why.empty());
  EXPECT_FALSE(verifyIntentMessage(cp.intentText("i3", "x", {.signedAction = "y"}), id));
  EXPECT_FALSE(verifyIntentMessage("not json", id));
  EXPECT_FALSE(verifyIntentMessage(text, {}));
}

}  // namespace
}  // namespace vaultysclaw::testing
