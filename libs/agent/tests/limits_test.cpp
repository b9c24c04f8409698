// What an agent does at its limits: a peer that is slow, false, silent or in the way, and numbers that are extreme.
#include <limits>

#include "agent_fixture.hpp"
#include "base/utf8.hpp"
#include "vaultysclaw/peer_manager.hpp"

namespace vaultysclaw::testing {
namespace {

using ::testing::HasSubstr;

class Limits : public AgentTest {
 protected:
  // The stored counters, while no agent runs.
  template <class F>
  void withState(F&& use) {
    agent.reset();
    auto state = openState();
    ASSERT_TRUE(state.ok());
    use(**state);
  }
};

// ---- stopping

TEST_F(Limits, AConnectionLostWhileStoppingWaitsForTheCalls) {
  connect();
  world.lanes->held = true;
  intent("i1", "text_generation");
  agent->requestStop();
  world.run();
  world.network.cutAll();
  world.run();
  EXPECT_NE(agent->getStatus(), AgentStatus::Stopped);
  world.runHandler();
  EXPECT_EQ(agent->getStatus(), AgentStatus::Stopped);
  agent->stop();
  // The answer that had no connection is in the state.
  world.lanes->held = false;
  withState([&](store::AgentState& state) {
    const auto seen = state.seenIntent(cp.id().didV1().value, "i1");
    ASSERT_TRUE(seen.ok() && *seen);
    EXPECT_EQ((*seen)->state, store::SeenIntent::State::Finished);
  });
}

TEST_F(Limits, StopLeavesAControlPlaneThatDoesNotRead) {
  connect();
  world.network.hold();
  agent->chat = [&](auto, ChatSink& out, CallContext&) {
    const std::string part(std::size_t{1} << 20, 'x');
    // Four fill the connection, two wait in the core; a seventh would block here.
    for (int i = 0; i < 6; ++i) {
      out.send(part);
      world.run();
    }
  };
  world.lanes->held = true;
  cp.chat("c1", "hello");
  world.network.releaseFrames(1);
  world.run();
  world.runHandler();
  agent->requestStop();
  world.run();
  EXPECT_NE(agent->getStatus(), AgentStatus::Stopped);
  world.advance(seconds(6));
  EXPECT_EQ(agent->getStatus(), AgentStatus::Stopped);
}

TEST_F(Limits, ChatsThatNobodyReadsAreBounded) {
  connect();
  world.network.hold();
  bool sent = true;
  agent->chat = [&](auto, ChatSink& out, CallContext&) {
    // Its own connection is slow, and each of its handlers may be one mebibyte ahead.
    const std::string part(std::size_t{1} << 20, 'x');
    sent = out.send(part);
  };
  for (int i = 0; i < 40 && world.network.connectionCount() > 0; ++i) {
    cp.chat("c" + std::to_string(i), "hello");
    world.network.releaseFrames(1);
    world.run();
    if (agent->getStatus() != AgentStatus::Connected) break;
  }
  EXPECT_NE(agent->getStatus(), AgentStatus::Connected);
  EXPECT_TRUE(logged("reads too slowly"));
  world.network.release();
}

TEST_F(Limits, ACancelledCallIsAnsweredAtTheDeadlineAtTheLatest) {
  connect();
  world.lanes->held = true;
  agent->intent = [&](auto, const auto&, CallContext&) {
    protocol::Cancel cancel;
    cancel.intentId = IntentId("i1");
    cp.send(cancel);
    world.run();
    EXPECT_EQ(code("i1"), "(no result)");
    world.advance(seconds(2));  // the handler does not listen
    EXPECT_EQ(code("i1"), "cancelled");
    return Json("late");
  };
  intent("i1", "text_generation", {.timeoutMs = 1000});
  world.runHandler();
  EXPECT_EQ(cp.all<protocol::IntentResult>().size(), 1u);
}

// ---- who is at the other end

TEST_F(Limits, AnUnprotectedConnectionIsNotUsedWhateverTheUrlSays) {
  world.network.setProtection(net::Protection::None);
  make().start();
  world.run();
  EXPECT_EQ(agent->getStatus(), AgentStatus::Connecting);
  EXPECT_THAT(agent->getInfo().reason, HasSubstr("allowPlaintext"));
  EXPECT_TRUE(cp.received.empty());
  config.allowPlaintext = true;
  connect();
}

TEST_F(Limits, AnUnprovedIdentityIsOnlyARefusedHandshake) {
  connect();
  agent.reset();
  const Bytes other = identity::VaultysId::generate(identity::IdType::Person, world.entropy).id();
  // STEP1 with an identity that is no machine's: PolicyDenied before its signature is looked at.
  world.network.setHook([&](Direction direction, net::FrameKind, std::string& text) {
    if (direction == Direction::ToServer) return true;
    auto message = protocol::decode(text);
    auto* challenge = message ? std::get_if<protocol::AuthChallenge>(&message->payload) : nullptr;
    if (challenge == nullptr || challenge->data.empty()) return true;
    auto step1 = identity::decodeHandshake(*base64Decode(challenge->data));
    if (!step1 || step1->pk2.empty()) return true;
    step1->pk2 = other;
    challenge->data = base64Encode(identity::encodeHandshake(*step1));
    text = protocol::encode(*message);
    return true;
  });
  make().start();
  world.run();
  EXPECT_THAT(agent->getInfo().reason, HasSubstr("machine"));
  EXPECT_NE(agent->getStatus(), AgentStatus::Stopped);
  world.network.setHook(nullptr);
  world.advance(seconds(60));
  EXPECT_EQ(agent->getStatus(), AgentStatus::Connected);
}

TEST_F(Limits, AHandshakeThatIsBegunAnewHasItsOwn60Seconds) {
  cp.known = false;
  make().start();
  world.advance(seconds(100));
  EXPECT_EQ(agent->getStatus(), AgentStatus::PendingApproval);
  world.network.setHook([](Direction direction, net::FrameKind, std::string&) {
    return direction == Direction::ToClient;  // INIT is lost
  });
  cp.startHandshake();
  world.advance(seconds(61));
  EXPECT_TRUE(logged("not complete after 60 s"));
}

TEST_F(Limits, APendingRegistrationIsMadeAgainAfter15Minutes) {
  cp.known = false;
  make().start();
  world.advance(std::chrono::minutes(14));
  EXPECT_EQ(cp.connections, 1);
  world.advance(std::chrono::minutes(2));
  EXPECT_EQ(cp.connections, 2);
  EXPECT_EQ(agent->getStatus(), AgentStatus::PendingApproval);
}

TEST_F(Limits, ErrorsBeforeAuthReachNoHook) {
  cp.known = false;
  make().start();
  world.run();
  cp.send(protocol::ErrorMessage{"early"});
  world.run();
  EXPECT_TRUE(agent->errors.empty());
  EXPECT_TRUE(logged("early"));
}

// ---- replays (protocol.md 7.4)

TEST_F(Limits, AKnownIntentIsAnsweredFromTheStateWhateverItsAge) {
  connect();
  const std::string text = cp.intentText("i1", "text_generation", {.params = R"({"a":1})"});
  cp.sendRaw(text);
  world.run();
  const auto first = result("i1");
  ASSERT_TRUE(first);
  world.advance(seconds(400));
  cp.forget();
  cp.sendRaw(text);
  world.run();
  ASSERT_TRUE(result("i1"));
  EXPECT_EQ(result("i1")->output, first->output);
  EXPECT_EQ(agent->intents, 1);
}

TEST_F(Limits, AKnownIntentIsNeverBusyOrRefusedByAStoppingAgent) {
  config.maxQueuedCalls = 1;
  connect();
  const std::string done = cp.intentText("done", "text_generation", {});
  cp.sendRaw(done);
  world.run();
  world.lanes->held = true;
  const std::string running = cp.intentText("running", "text_generation", {});
  cp.sendRaw(running);
  world.run();
  cp.forget();
  cp.sendRaw(running);
  cp.sendRaw(done);
  world.run();
  EXPECT_FALSE(result("running"));
  EXPECT_EQ(error("done"), "(success)");
  intent("new", "text_generation");
  EXPECT_EQ(code("new"), "busy");
  cp.forget();
  agent->requestStop();
  world.run();
  cp.sendRaw(running);
  cp.sendRaw(done);
  intent("newer", "text_generation");
  EXPECT_FALSE(result("running"));
  EXPECT_EQ(error("done"), "(success)");
  EXPECT_EQ(code("newer"), "interrupted");
  while (world.runHandler()) {
  }
}

// ---- approvals

TEST_F(Limits, ApprovalsNameTheirArgumentsAndExpire) {
  connect();
  const std::string id = agent->sendToolApprovalRequest("shell", {{"cmd", "ls"}});
  world.run();
  const auto request = cp.last<protocol::ToolApprovalRequest>();
  ASSERT_TRUE(request);
  EXPECT_EQ(request->argsHash, hexEncode(identity::sha256(asBytes(request->args.text))));
  EXPECT_EQ(request->expiresAt, world.clock.now() + std::chrono::hours(1));
  cp.send(protocol::ToolApprovalResponse{RequestId(id), true, {}, std::string(64, '0')});
  world.run();
  EXPECT_TRUE(agent->approvals.empty());
  EXPECT_TRUE(logged("other arguments"));
  world.advance(seconds(3601));
  ASSERT_EQ(agent->approvals.size(), 1u);
  EXPECT_FALSE(agent->approvals[0].approved);
  EXPECT_EQ(agent->approvals[0].reason, "nobody answered in time");
  cp.send(protocol::ToolApprovalResponse{RequestId(id), true, {}, request->argsHash});
  world.run();
  EXPECT_EQ(agent->approvals.size(), 1u);
}

TEST_F(Limits, TheOldestApprovalGivesWay) {
  connect();
  const std::string first = agent->sendToolApprovalRequest("shell", Json::object());
  for (int i = 0; i < 1024; ++i) {
    world.advance(milliseconds(1));
    EXPECT_FALSE(agent->sendToolApprovalRequest("shell", Json::object()).empty());
  }
  world.run();
  ASSERT_EQ(agent->approvals.size(), 1u);
  EXPECT_EQ(agent->approvals[0].requestId, first);
  EXPECT_FALSE(agent->approvals[0].approved);
}

// ---- usage

TEST_F(Limits, AnOpenUsageSyncSurvivesARestart) {
  connect();
  cp.answersHeartbeats = false;
  agent->addUsage(5, 0);
  world.advance(seconds(31));
  const auto first = *cp.last<protocol::Heartbeat>();
  EXPECT_EQ(first.usageSinceLastSync.total(), 5);
  agent->addUsage(3, 0);
  connect();
  world.advance(seconds(31));
  EXPECT_EQ(cp.last<protocol::Heartbeat>()->syncId, first.syncId);
  EXPECT_EQ(cp.last<protocol::Heartbeat>()->usageSinceLastSync.total(), 5);
}

TEST_F(Limits, AClockThatWasFarAheadDoesNotLockTheBudget) {
  cp.maxTokensPerDay = 10;
  connect();
  agent->addUsage(1, 0);
  withState([&](store::AgentState& state) {
    store::StoredUsage usage = *state.usage();
    usage.utcDay += 400;
    usage.promptToday = 11;
    ASSERT_TRUE(state.saveUsage(usage).ok());
  });
  connect();
  intent("today", "text_generation");
  EXPECT_THAT(error("today"), HasSubstr("Daily token budget exhausted"));
  agent->addUsage(1, 0);
  world.advance(std::chrono::hours(24));
  intent("tomorrow", "text_generation");
  EXPECT_EQ(error("tomorrow"), "(success)");
}

TEST_F(Limits, CountersDoNotOverflow) {
  constexpr auto most = std::numeric_limits<std::int64_t>::max();
  EXPECT_EQ((TokenUsage{most, most}.total()), most);
  EXPECT_EQ((TokenUsage{-1, 2}.total()), 2);
  connect();
  for (int i = 0; i < 3; ++i) agent->addUsage(most, most);
  agent->budget = TokenUsage{most, most};
  world.advance(seconds(61));
  const auto heartbeat = *cp.last<protocol::Heartbeat>();
  EXPECT_GT(heartbeat.usageTotal.total(), 0);
  EXPECT_GT(heartbeat.usageDaily.total(), 0);
}

// ---- what goes out

TEST_F(Limits, MessagesThatNobodyCouldReadAreNotSent) {
  connect();
  ToolExecutionReport report;
  EXPECT_FALSE(agent->reportToolExecution(report));  // no tool name
  report.toolName = "shell";
  report.duration = milliseconds(-1);
  EXPECT_FALSE(agent->reportToolExecution(report));
  EXPECT_FALSE(agent->sendChannelMessage("ch", std::string(std::size_t{17} << 20, 'x')));
  EXPECT_THROW(agent->sendToolApprovalRequest("", Json::object()), AgentError);
  world.run();
  EXPECT_TRUE(logged("tool_execution cannot be sent"));
  EXPECT_TRUE(cp.received.empty());
  EXPECT_EQ(agent->getStatus(), AgentStatus::Connected);
}

TEST_F(Limits, LongChunksAreSplitBetweenCharacters) {
  connect();
  std::string text = "a";
  while (text.size() < (std::size_t{3} << 19)) text += "\xE2\x82\xAC";
  agent->chat = [&](auto, ChatSink& out, CallContext&) { EXPECT_TRUE(out.send(text)); };
  cp.chat("c1", "hello");
  world.run();
  EXPECT_EQ(heard("c1"), text + "|done");
  const auto all = cp.all<protocol::ChatResponse>();
  EXPECT_EQ(all.size(), 3u);
  for (const auto& r : all) EXPECT_LE(r.chunk.value_or("").size(), std::size_t{1} << 20);
}

TEST_F(Limits, ABusyHandlerCollectsOneBudgetPoll) {
  connect();
  world.lanes->held = true;
  world.advance(seconds(200));
  EXPECT_EQ(world.lanes->waiting.size(), 1u);
  while (world.runHandler()) {
  }
  world.advance(seconds(30));
  EXPECT_EQ(world.lanes->waiting.size(), 1u);
  world.lanes->held = false;
  while (world.runHandler()) {
  }
}

// ---- configuration and what is shown

TEST_F(Limits, RefuseConfigurationsThatOverflow) {
  const auto fails = [&](auto&& change, const char* text) {
    const AgentRuntimeConfig good = config;
    change(config);
    try {
      make().start();
      ADD_FAILURE() << text;
    } catch (const AgentError& e) {
      EXPECT_THAT(e.what(), HasSubstr(text));
    }
    config = good;
  };
  static constexpr auto longest = milliseconds::max();
  fails([](auto& c) { c.defaultDeadline = longest; }, "defaultDeadline");
  fails([](auto& c) { c.knowledgeDeadline = longest; }, "knowledgeDeadline");
  fails([](auto& c) { c.stopGrace = milliseconds(0); }, "stopGrace");
  fails([](auto& c) { c.heartbeatInterval = longest; }, "heartbeatInterval");
  fails([](auto& c) { c.pingInterval = milliseconds(0); }, "pingInterval");
  fails([](auto& c) { c.backoff.initial = milliseconds(0); }, "backoff.initial");
  fails([](auto& c) { c.backoff.maximum = milliseconds(1); }, "backoff.maximum");
  fails([](auto& c) { c.backoff.jitter = std::numeric_limits<double>::quiet_NaN(); }, "jitter");
  fails([](auto& c) { c.backoff.jitter = 1.5; }, "jitter");
  fails([](auto& c) { c.maxQueuedCalls = std::numeric_limits<std::size_t>::max(); }, "maxQueuedCalls");
  fails([](auto& c) { c.peerjsServerUrl = "x"; }, "peerjsServerUrl is set, but WebRTC is not available yet");
  fails([](auto& c) { c.peerjsServer = "x"; }, "peerjsServer is set, but WebRTC is not available yet");
  fails(
      [](auto& c) {
        c.controlPlaneUrl = "";
        c.controlPlaneWsUrl = "ws://localhost:8080";
      },
      "controlPlaneUrl is empty");
}

TEST_F(Limits, ExtremeTimeoutsAreClamped) {
  connect();
  EXPECT_TRUE(agent->waitFor(AgentStatus::Connected, milliseconds::max()));
  EXPECT_FALSE(agent->waitFor(AgentStatus::Stopped, milliseconds::min()));
  intent("long", "text_generation", {.timeoutMs = std::int64_t{9'000'000'000'000'000}});
  EXPECT_EQ(error("long"), "(success)");
  world.lanes->held = true;
  intent("none", "text_generation", {.timeoutMs = 0});
  EXPECT_EQ(code("none"), "deadline_exceeded");
  world.runHandler();
}

TEST_F(Limits, ThePeerManagerShowsTheCatalogue) {
  connect();
  identity::PeerGrantToken token;
  token.sourceDid = agent->getDid();
  token.targetDid = "did:vaultys:00274b28a7152af6cf41b48c4d6b1bb9694adb6f";
  token.issuedAt = world.clock.now();
  protocol::PeerGrantEntry entry;
  entry.id = "pg-1";
  entry.sourceDid = token.sourceDid;
  entry.targetDid = token.targetDid;
  entry.certificate = identity::signToken(cp.id(), token);
  cp.send(protocol::AgentPeerCatalog{{entry}});
  world.run();
  ASSERT_EQ(agent->peerManager().peerCatalog().size(), 1u);
  EXPECT_EQ(agent->peerManager().peerCatalog()[0].id, "pg-1");
}

TEST_F(Limits, OnAuthCompleteShowsTheCertificate) {
  connect();
  ASSERT_EQ(agent->auths.size(), 1u);
  const auto bytes = base64Decode(agent->auths[0].certificate);
  ASSERT_TRUE(bytes.ok());
  const auto complete = identity::decodeHandshake(*bytes);
  ASSERT_TRUE(complete.ok());
  EXPECT_FALSE(complete->sign1.empty());
  EXPECT_FALSE(complete->sign2.empty());
}

}  // namespace
}  // namespace vaultysclaw::testing
