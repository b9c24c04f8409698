#include <unistd.h>

#include <fstream>

#include "agent_fixture.hpp"

namespace vaultysclaw::testing {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class Connecting : public AgentTest {};

TEST_F(Connecting, FollowsTheOrderOfTheOriginal) {
  make().start();
  world.run();
  ASSERT_GE(cp.received.size(), 3u);
  EXPECT_EQ(protocol::typeName(cp.received[0].payload), "register");
  const auto& init = std::get<protocol::AuthChallenge>(cp.received[1].payload);
  const auto& complete = std::get<protocol::AuthChallenge>(cp.received[2].payload);
  EXPECT_EQ(init.name, "test-agent");
  EXPECT_EQ(init.capabilities, config.requestedCapabilities);
  EXPECT_EQ(complete.name, "test-agent");
  EXPECT_EQ(cp.received.size(), 3u);
  EXPECT_THAT(statuses, ElementsAre("connecting", "connected"));
  EXPECT_EQ(agent->getDid(), cp.agentDid());
}

TEST_F(Connecting, SignsNameAndCapabilitiesInVersion1) {
  connect();
  ASSERT_EQ(cp.claims.size(), 1u);
  EXPECT_EQ(cp.claims[0].version, identity::IdVersion::V1);
  const auto& metadata = cp.claims[0].metadata;
  ASSERT_NE(metadata.map(), nullptr);
  std::vector<std::string> keys;
  for (const auto& [key, value] : *metadata.map()) keys.push_back(*key.string());
  EXPECT_THAT(keys, ElementsAre("name", "capabilities", "features", "dh"));
  EXPECT_EQ(*metadata.find("name")->string(), "test-agent");
  EXPECT_EQ(identity::Features::fromMetadata(metadata).value(), identity::Features::ours());
}

TEST_F(Connecting, WaitsForAnOperatorAndThenConnects) {
  cp.known = false;
  make().start();
  world.run();
  EXPECT_EQ(agent->getStatus(), AgentStatus::PendingApproval);
  EXPECT_THAT(agent->getInfo().reason, HasSubstr("reg-1"));
  cp.capabilities = {"text_generation", "api_call"};
  world.advance(seconds(300));  // longer than any handshake
  EXPECT_EQ(cp.connections, 1);
  cp.approve();
  world.run();
  EXPECT_EQ(agent->getStatus(), AgentStatus::Connected);
  EXPECT_EQ(cp.handshakes, 2);
  EXPECT_EQ(agent->getInfo().capabilities, cp.capabilities);
  EXPECT_THAT(statuses, ElementsAre("connecting", "pending_approval", "connected"));
}

TEST_F(Connecting, ApprovalNeverGrantsMoreThanTheCertificateUntilItsReissue) {
  cp.known = false;
  make().start();
  world.run();
  cp.known = true;
  cp.capabilities = {"text_generation", "api_call"};
  cp.sendAuthComplete();
  world.run();
  EXPECT_THAT(agent->getInfo().capabilities, ElementsAre("text_generation"));
}

TEST_F(Connecting, RejectionStopsWithTheReason) {
  cp.known = false;
  make().start();
  world.run();
  cp.reject("Not today");
  world.run();
  EXPECT_EQ(agent->getStatus(), AgentStatus::Stopped);
  EXPECT_THAT(agent->getInfo().reason, HasSubstr("Not today"));
  world.advance(seconds(600));
  EXPECT_EQ(cp.connections, 1);
}

TEST_F(Connecting, BacksOffAndReconnects) {
  world.network.unlisten("ws://localhost:8080");
  make().start();
  world.run();
  EXPECT_EQ(agent->getStatus(), AgentStatus::Connecting);
  EXPECT_EQ(world.network.dialCount(), 1u);
  world.advance(seconds(3));
  EXPECT_EQ(world.network.dialCount(), 2u);
  world.advance(seconds(600));
  EXPECT_GT(world.network.dialCount(), 8u);
  EXPECT_LT(world.network.dialCount(), 25u);
  world.network.listen("ws://localhost:8080", cp.acceptor());
  world.advance(seconds(73));
  EXPECT_EQ(agent->getStatus(), AgentStatus::Connected);
  world.network.cutAll();
  world.run();
  EXPECT_EQ(agent->getStatus(), AgentStatus::Reconnecting);
  world.advance(seconds(3));  // the back-off began anew
  EXPECT_EQ(agent->getStatus(), AgentStatus::Connected);
}

TEST_F(Connecting, GivesUpAHandshakeAfter60Seconds) {
  world.network.listen("ws://localhost:8080", [&](auto connection) {
    static std::vector<std::unique_ptr<net::Connection>> silent;
    silent.push_back(std::move(connection));
    silent.back()->start({});
  });
  make().start();
  world.advance(seconds(59));
  EXPECT_EQ(world.network.connectionCount(), 1u);
  world.advance(seconds(2));
  EXPECT_TRUE(logged("not complete after 60 s"));
}

TEST_F(Connecting, NeedsACompleteHandshakeBeforeAuthComplete) {
  cp.onInit = [&] { cp.sendAuthComplete(); };
  make().start();
  world.run();
  EXPECT_NE(agent->getStatus(), AgentStatus::Connected);
  EXPECT_TRUE(agent->auths.empty());
  EXPECT_TRUE(logged("before the handshake was complete"));
}

TEST_F(Connecting, RefusesAuthCompleteForAnotherDid) {
  cp.toldDid = "did:vaultys:00ffffffffffffffffffffffffffffffffffffff";
  make().start();
  world.run();
  EXPECT_NE(agent->getStatus(), AgentStatus::Connected);
  EXPECT_TRUE(logged("not for this agent"));
}

TEST_F(Connecting, IgnoresEverythingElseBeforeAuth) {
  cp.known = false;
  make().start();
  world.run();
  cp.chat("c1", "hello");
  cp.intent("i1", "text_generation");
  cp.send(protocol::SkillsConfig{});
  world.run();
  EXPECT_EQ(agent->intents + agent->chats, 0);
  EXPECT_TRUE(agent->hooks.empty());
}

TEST_F(Connecting, ACertificateDecidesAndMessagesOnlyNarrow) {
  cp.capabilities = {"text_generation", "api_call"};
  cp.toldCapabilities = std::vector<std::string>{"api_call", "system_command"};
  connect();
  EXPECT_THAT(agent->getInfo().capabilities, ElementsAre("api_call"));
  protocol::UpdateCapabilities update;
  update.capabilities = {"system_command"};
  cp.send(update);
  world.run();
  EXPECT_THAT(agent->getInfo().capabilities, ::testing::IsEmpty());
}

TEST_F(Connecting, AReissueBringsTheNewCertificateWithoutLeaving) {
  cp.capabilities = {"text_generation"};
  connect();
  cp.capabilities = {"text_generation", "api_call"};
  cp.maxRequestsPerHour = 7;
  cp.policyId = "policy-1";
  cp.policyExpiresAt = "2030-01-01T00:00:00.000Z";
  cp.reissue();
  world.run();
  EXPECT_EQ(cp.connections, 1);
  EXPECT_EQ(cp.handshakes, 2);
  ASSERT_EQ(agent->auths.size(), 2u);
  EXPECT_THAT(agent->auths[1].capabilities, ElementsAre("text_generation", "api_call"));
  EXPECT_EQ(agent->auths[1].limits.maxRequestsPerHour, 7);
  EXPECT_EQ(agent->auths[1].policyId, "policy-1");
  EXPECT_TRUE(agent->auths[1].policyExpiresAt.has_value());
  EXPECT_EQ(agent->auths[1].controlPlaneDid, cp.id().didV1().value);
  EXPECT_THAT(statuses, ElementsAre("connecting", "connected"));
}

// What the operator took away while the new certificate was on its way stays away, though auth_complete, which follows,
// names capabilities only.
TEST_F(Connecting, ANarrowingDuringAReissueOutlastsItsCertificate) {
  connect();
  cp.maxRequestsPerHour = 7;
  int heard = 0;
  cp.onHeard = [&](const protocol::Message& message) {
    if (!std::holds_alternative<protocol::AuthChallenge>(message.payload) || ++heard != 2) return;
    protocol::UpdateCapabilities update;  // between STEP1 and the answer to COMPLETE
    update.capabilities = cp.capabilities;
    update.resourceLimits.emplace();
    update.resourceLimits->maxRequestsPerHour = 0;
    cp.send(update);
  };
  cp.reissue();
  world.run();
  ASSERT_EQ(agent->auths.size(), 2u);
  EXPECT_EQ(agent->auths[1].limits.maxRequestsPerHour, 0);
  cp.intent("after", "text_generation");
  world.run();
  EXPECT_THAT(error("after"), ::testing::HasSubstr("Hourly request limit reached"));
}

TEST_F(Connecting, AHandshakeThatCannotBeReadIsBegunAnewAtOnce) {
  bool spoilt = false;
  cp.onInit = [&] {
    if (!std::exchange(spoilt, true)) cp.sendRaw("{\"messageId\":\"m\",");
  };
  make().start();
  world.run();
  EXPECT_TRUE(logged("A message of the handshake cannot be read"));
  world.advance(seconds(5));  // far less than the 60 s that a handshake has
  EXPECT_EQ(agent->getStatus(), AgentStatus::Connected);
}

TEST_F(Connecting, OtherMessagesFlowDuringAReissue) {
  connect();
  cp.onInit = [&] { cp.intent("during", "text_generation"); };
  cp.reissue();
  world.run();
  EXPECT_EQ(error("during"), "(success)");
  EXPECT_EQ(cp.handshakes, 2);
}

TEST_F(Connecting, SignsOncePerChallenge) {
  connect();
  cp.reissue();
  world.run();
  const auto before = cp.all<protocol::AuthChallenge>().size();
  // A STEP1 that nobody asked for is the copy of an old message: no answer.
  cp.send(protocol::AuthChallenge{"session", base64Encode(asBytes("not a handshake")), {}, {}});
  world.run();
  EXPECT_EQ(cp.all<protocol::AuthChallenge>().size(), before);
  EXPECT_EQ(agent->getStatus(), AgentStatus::Connected);
}

TEST_F(Connecting, PinsTheControlPlaneAndStopsWhenItsKeyChanges) {
  connect();
  const std::string pinned = cp.id().didV1().value;
  EXPECT_EQ(agent->getInfo().controlPlaneDid, pinned);
  agent.reset();
  cp.replaceIdentity();
  const int before = cp.handshakes;
  make().start();
  world.run();
  EXPECT_EQ(agent->getStatus(), AgentStatus::Stopped);
  EXPECT_THAT(agent->getInfo().reason, HasSubstr(pinned));
  EXPECT_EQ(cp.handshakes, before);  // nothing was signed for it
}

TEST_F(Connecting, AnUnapprovedControlPlaneIsNotPinned) {
  cp.known = false;
  make().start();
  world.run();
  agent.reset();
  cp.replaceIdentity();
  cp.known = true;
  make().start();
  world.run();
  EXPECT_EQ(agent->getStatus(), AgentStatus::Connected);
}

TEST_F(Connecting, ChecksTheConfiguredControlPlane) {
  config.controlPlaneDid = "did:vaultys:00ffffffffffffffffffffffffffffffffffffff";
  make().start();
  world.run();
  EXPECT_EQ(agent->getStatus(), AgentStatus::Stopped);
  EXPECT_THAT(agent->getInfo().reason, HasSubstr("controlPlaneDid"));
  EXPECT_EQ(cp.handshakes, 0);
}

TEST_F(Connecting, ExplainsAWrongClock) {
  cp.clockOffset = seconds(120);
  make().start();
  world.run();
  EXPECT_THAT(agent->getInfo().reason, HasSubstr("120 s ahead of"));
  EXPECT_EQ(agent->getStatus(), AgentStatus::Connecting);
}

TEST_F(Connecting, KeepsItsIdentity) {
  connect();
  const std::string did = agent->getDid();
  agent.reset();
  connect();
  EXPECT_EQ(agent->getDid(), did);
}

TEST_F(Connecting, SurvivesJunk) {
  connect();
  cp.sendRaw("this is not json");
  cp.sendRaw(R"({"messageId":"m","type":"no_such_type","payload":{},"timestamp":"2026-01-01T00:00:00.000Z"})");
  cp.sendRaw(R"({"messageId":"m","type":"intent","payload":[],"timestamp":"x"})");
  world.run();
  EXPECT_EQ(agent->getStatus(), AgentStatus::Connected);
}

TEST_F(Connecting, StopsFromRequestStopWithoutBlocking) {
  connect();
  agent->requestStop();
  EXPECT_EQ(agent->getStatus(), AgentStatus::Connected);
  world.run();
  EXPECT_EQ(agent->getStatus(), AgentStatus::Stopped);
  EXPECT_FALSE(cp.connected());
  agent->stop();
  agent->stop();
}

TEST_F(Connecting, WaitForFollowsTheStatus) {
  make().start();
  EXPECT_TRUE(agent->waitFor(AgentStatus::Connected, seconds(5)));
  EXPECT_FALSE(agent->waitFor(AgentStatus::PendingApproval, seconds(5)));
  agent->requestStop();
  EXPECT_FALSE(agent->waitFor(AgentStatus::Connected, seconds(-1)) && agent->getStatus() == AgentStatus::Stopped);
  EXPECT_TRUE(agent->waitFor(AgentStatus::Stopped, seconds(5)));
}

TEST_F(Connecting, StopInAHandlerThrows) {
  connect();
  std::string what;
  agent->intent = [&](auto, const auto&, auto&) {
    try {
      agent->stop();
    } catch (const std::logic_error& e) {
      what = e.what();
    }
    return Json(1);
  };
  intent("i1", "text_generation");
  EXPECT_THAT(what, HasSubstr("requestStop"));
  EXPECT_EQ(error("i1"), "(success)");
}

TEST_F(Connecting, StopInAListenerThrows) {
  make();
  std::string what;
  const auto subscription = agent->on<StatusChanged>([&](const StatusChanged&) {
    try {
      agent->stop();
    } catch (const std::logic_error& e) {
      what = e.what();
    }
  });
  agent->start();
  world.run();
  EXPECT_THAT(what, HasSubstr("listener"));
}

TEST_F(Connecting, StartsOnce) {
  connect();
  EXPECT_THROW(agent->start(), std::logic_error);
}

TEST_F(Connecting, SendsHeartbeatsLikeTheOriginal) {
  connect();
  agent->setActiveLlm("ollama", "llama3");
  agent->addUsage(5, 7);
  world.advance(seconds(31));
  auto heartbeats = cp.all<protocol::Heartbeat>();
  ASSERT_EQ(heartbeats.size(), 1u);
  EXPECT_EQ(heartbeats[0].uptimeSeconds, 30);
  EXPECT_GT(heartbeats[0].rssBytes, 0);
  EXPECT_EQ(heartbeats[0].name, "test-agent");
  EXPECT_EQ(heartbeats[0].llmModel, "llama3");
  EXPECT_EQ(heartbeats[0].usageSinceLastSync.total(), 12);
  EXPECT_EQ(heartbeats[0].usageTotal.promptTokens, 5);
  EXPECT_EQ(heartbeats[0].usageDaily.completionTokens, 7);
  world.advance(seconds(30));
  EXPECT_EQ(cp.last<protocol::Heartbeat>()->usageSinceLastSync.total(), 0);
  EXPECT_EQ(cp.last<protocol::Heartbeat>()->usageTotal.total(), 12);
  EXPECT_THAT(events, Contains("heartbeat"));
  EXPECT_TRUE(agent->getInfo().lastHeartbeat.has_value());
}

TEST_F(Connecting, KeepsAUsageDeltaUntilItIsAcknowledged) {
  connect();
  cp.answersHeartbeats = false;
  agent->addUsage(5, 0);
  world.advance(seconds(31));
  const auto first = *cp.last<protocol::Heartbeat>();
  agent->addUsage(3, 0);
  world.advance(seconds(30));
  const auto second = *cp.last<protocol::Heartbeat>();
  EXPECT_EQ(second.usageSinceLastSync.total(), 5);
  EXPECT_EQ(second.syncId, first.syncId);
  cp.send(protocol::Pong{"x", "another-id"});
  cp.send(protocol::Pong{"x", first.syncId});
  world.advance(seconds(30));
  EXPECT_EQ(cp.last<protocol::Heartbeat>()->usageSinceLastSync.total(), 3);
}

TEST_F(Connecting, RefusesConfigurationsThatCannotWork) {
  const auto fails = [&](auto&& change, const char* text) {
    const AgentRuntimeConfig good = config;
    change(config);
    std::string what;
    try {
      make().start();
    } catch (const AgentError& e) {
      what = e.what();
    }
    EXPECT_THAT(what, HasSubstr(text));
    config = good;
  };
  fails([](auto& c) { c.name = ""; }, "name");
  fails([](auto& c) { c.vaultysIdPath = ""; }, "vaultysIdPath");
  fails([](auto& c) { c.controlPlaneUrl = "localhost"; }, "http://");
  fails([](auto& c) { c.controlPlaneWsUrl = "http://x"; }, "ws://");
  fails([](auto& c) { c.controlPlaneWsUrl = "ws://example.com"; }, "allowPlaintext");
  fails([](auto& c) { c.peerjsControlPlaneId = "abc"; }, "WebRTC is not available yet");
  fails([](auto& c) { c.controlPlaneDid = "did:x"; }, "controlPlaneDid");
  fails([](auto& c) { c.handlerThreads = 0; }, "handlerThreads");
  std::ofstream(world.dir.file("broken.id")) << "zzz";
  fails([&](auto& c) { c.vaultysIdPath = world.dir.file("broken.id"); }, "broken.id");
}

TEST_F(Connecting, TwoAgentsNeverShareAnIdentity) {
  connect();
  Agent<ScriptedAgent> second(config, *runtime);
  EXPECT_THROW(second.start(), AgentError);
}

TEST(WebSocketUrl, IsDerivedAsTheProtocolSays) {
  const auto derive = [](std::string http, std::string ws = "") {
    AgentRuntimeConfig config;
    config.controlPlaneUrl = std::move(http);
    config.controlPlaneWsUrl = std::move(ws);
    return webSocketUrl(config);
  };
  EXPECT_EQ(derive("http://localhost:3000"), "ws://localhost:8080");
  EXPECT_EQ(derive("https://cp.example.com:3000/"), "wss://cp.example.com:8080");
  EXPECT_EQ(derive("https://cp.example.com"), "wss://cp.example.com/ws");
  EXPECT_EQ(derive("http://cp.example.com:8000/base"), "ws://cp.example.com:8000/ws");
  EXPECT_EQ(derive("http://[::1]:3000"), "ws://[::1]:8080");
  EXPECT_EQ(derive("http://x", "wss://y/z"), "wss://y/z");
  EXPECT_THROW(derive("ftp://x"), AgentError);
  EXPECT_THROW(derive("http://user:password@x"), AgentError);
  EXPECT_THROW(derive("http://x:99999"), AgentError);
}

}  // namespace
}  // namespace vaultysclaw::testing
