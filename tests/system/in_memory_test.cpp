// The whole system in one process and on one thread: the real control plane on SQLite, real agents, an in-memory
// network and a clock that moves when the test says so.
#include "whole_system.hpp"

namespace vaultysclaw::system_test {
namespace {

TEST_F(WholeSystem, FromStrangerToAnsweredIntent) {
  auto& agent = startAgent("one");
  EXPECT_EQ(agent.getStatus(), AgentStatus::PendingApproval);
  EXPECT_EQ(run(agent.getDid(), "text_generation", {}).error().code, Errc::NotFound);
  approveAll();
  EXPECT_EQ(agent.getStatus(), AgentStatus::Connected);

  const auto result = run(agent.getDid(), "text_generation", {{"text", "h\u00e9"}});
  ASSERT_TRUE(result.ok()) << result.error().message;
  EXPECT_EQ(result->status, "success");
  const Json output = Json::parse(result->output->text);
  EXPECT_EQ(output["params"]["text"], "h\u00e9");
  EXPECT_EQ(output["caller"], self_.did().value);
}

TEST_F(WholeSystem, CertificateLimitsHoldAcrossReconnects) {
  auto& agent = startAgent("one");
  control::Approval approval;
  approval.capabilities = {"text_generation"};
  approval.limits.maxRequestsPerHour = 2;
  approveAll(approval);
  EXPECT_EQ(run(agent.getDid(), "text_generation", {})->status, "success");
  world_.network.cutAll();
  world_.advance(std::chrono::seconds(10));
  ASSERT_EQ(agent.getStatus(), AgentStatus::Connected);
  EXPECT_EQ(run(agent.getDid(), "text_generation", {})->status, "success");
  const auto third = run(agent.getDid(), "text_generation", {});
  EXPECT_EQ(third->status, "failed");
  EXPECT_EQ(third->error->substr(0, 38), "Hourly request limit reached (2 req/h)");
  EXPECT_EQ(run(agent.getDid(), "api_call", {})->error, "Capability 'api_call' not granted");
  world_.advance(std::chrono::minutes(61));
  ASSERT_EQ(agent.getStatus(), AgentStatus::Connected);
  EXPECT_EQ(run(agent.getDid(), "text_generation", {})->status, "success");
  EXPECT_EQ(agent.executed, 3);
}

TEST_F(WholeSystem, PolicyExpiresWhileConnected) {
  auto& agent = startAgent("one");
  control::Approval approval;
  approval.policyId = "p-1";
  approval.policyExpiresAt = world_.clock.now() + std::chrono::minutes(5);
  approveAll(approval);
  EXPECT_EQ(run(agent.getDid(), "api_call", {})->status, "success");
  world_.advance(std::chrono::minutes(6));
  EXPECT_EQ(run(agent.getDid(), "api_call", {})->status, "failed");
  EXPECT_EQ(agent.executed, 1);
}

TEST_F(WholeSystem, AFleetComesBackAfterTheControlPlaneDies) {
  for (int i = 0; i < 8; ++i) startAgent("agent-" + std::to_string(i));
  approveAll();
  for (auto& agent : agents_) ASSERT_EQ(agent->getStatus(), AgentStatus::Connected);
  killControlPlane();
  world_.advance(std::chrono::seconds(30));
  for (auto& agent : agents_) ASSERT_EQ(agent->getStatus(), AgentStatus::Reconnecting);
  startControlPlane();
  world_.advance(std::chrono::minutes(2));
  for (auto& agent : agents_) {
    ASSERT_EQ(agent->getStatus(), AgentStatus::Connected);
    EXPECT_EQ(run(agent->getDid(), "api_call", {})->status, "success");
  }
}

TEST_F(WholeSystem, AnAgentThatVanishesInTheMiddleIsNotWaitedForEndlessly) {
  auto& agent = startAgent("one");
  approveAll();
  world_.lanes->held = true;
  Box<control::RunResult> reply;
  control::RunRequest request;
  request.did = Did(agent.getDid());
  request.action = "api_call";
  plane_->run(std::move(request), reply.reply());
  world_.run();
  ASSERT_FALSE(reply.done());
  world_.network.cutAll();
  world_.advance(std::chrono::seconds(59));
  EXPECT_FALSE(reply.done());
  world_.advance(std::chrono::seconds(1));
  ASSERT_TRUE(reply.done());
  EXPECT_EQ((*reply).error().code, Errc::DeadlineExceeded);
  world_.lanes->held = false;
  while (world_.runHandler()) {
  }
  world_.advance(std::chrono::seconds(10));
  EXPECT_EQ(run(agent.getDid(), "api_call", {})->status, "success");
}

TEST_F(WholeSystem, AConnectionThatBreaksInTheMiddleLosesNothing) {
  auto& agent = startAgent("one");
  approveAll();
  world_.lanes->held = true;
  Box<control::RunResult> reply;
  control::RunRequest request;
  request.did = Did(agent.getDid());
  request.action = "api_call";
  plane_->run(std::move(request), reply.reply());
  world_.run();
  world_.network.cutAll();
  world_.advance(std::chrono::seconds(10));
  EXPECT_EQ(plane_->counters().intentsResent, 1u) << "to the agent, which has it already and says nothing";
  EXPECT_FALSE(reply.done());
  world_.lanes->held = false;
  while (world_.runHandler()) {
  }
  world_.run();
  EXPECT_EQ(agent.executed, 1);
  ASSERT_TRUE(reply.done() && (*reply).ok());
  EXPECT_EQ((*reply)->status, "success");
}

TEST_F(WholeSystem, AControlPlaneThatDiesInTheMiddleLosesNothing) {
  auto& agent = startAgent("one");
  approveAll();
  for (const bool finishesMeanwhile : {true, false}) {
    const int before = agent.executed;
    world_.lanes->held = true;
    Box<control::SentIntent> sent;
    control::RunRequest request;
    request.did = Did(agent.getDid());
    request.action = "api_call";
    plane_->send(std::move(request), sent.reply());
    world_.run();
    ASSERT_TRUE(sent.done() && (*sent).ok());
    killControlPlane();
    world_.lanes->held = !finishesMeanwhile;
    while (finishesMeanwhile && world_.runHandler()) {
    }
    startControlPlane();
    world_.advance(std::chrono::seconds(20));
    world_.lanes->held = false;
    while (world_.runHandler()) {
    }
    world_.run();
    Box<control::ControlPlane::IntentView> stored;
    plane_->intent((*sent)->intentId, std::nullopt, stored.reply());
    world_.run();
    EXPECT_EQ((*stored)->row.status, "success");
    EXPECT_EQ((*stored)->resultSignatureValid, true);
    EXPECT_EQ(agent.executed, before + 1);
  }
}

TEST_F(WholeSystem, ChatStreamsWholeCharacters) {
  auto& agent = startAgent("one");
  approveAll();
  control::ChatRequest request;
  request.did = Did(agent.getDid());
  request.messages = {{"user", "Gr\u00fc\u00dfe, \u4e16\u754c \U0001F600", {}}};
  std::string text;
  bool done = false;
  std::string error;
  control::ChatEvents events;
  events.onChunk = [&](std::string_view chunk) { text += chunk; };
  events.onThinking = [](std::string_view) {};
  events.onDone = [&] { done = true; };
  events.onError = [&](std::string_view, std::string_view e) { error = e; };
  std::optional<control::ControlPlane::StartedChat> chat;
  plane_->chat(std::move(request), std::move(events), [&](Result<control::ControlPlane::StartedChat> started) {
    ASSERT_TRUE(started.ok()) << started.error().message;
    chat = std::move(started).value();
  });
  world_.run();
  EXPECT_TRUE(done) << error;
  EXPECT_EQ(text, "Gr\u00fc\u00dfe, \u4e16\u754c \U0001F600");
}

TEST_F(WholeSystem, AChatSurvivesACutAtEveryFrameAndAReaderThatComesAndGoes) {
  const std::string whole = "Gr\u00fc\u00dfe, \U0001F600";
  auto& agent = startAgent("one");
  approveAll();
  world_.advance(seconds(10));
  // What a reader hears, over all its requests.
  struct Heard {
    std::string text, end;
    std::uint64_t events = 0;
    std::optional<control::ControlPlane::StartedChat> request;
  };
  for (int cut = 0; cut < 30; ++cut) {
    SCOPED_TRACE(cut);
    Heard heard;
    const ConversationId conversation("c" + std::to_string(cut));
    const auto events = [&] {
      control::ChatEvents e;
      e.onChunk = [&](std::string_view chunk) {
        heard.text += chunk;
        if (++heard.events == static_cast<std::uint64_t>(cut % 7)) heard.request.reset();  // the reader is cut off, too
      };
      e.onDone = [&] { heard.end = "done"; };
      e.onError = [&](std::string_view code, std::string_view text) {
        heard.end = std::string(code) + " " + std::string(text);
      };
      return e;
    };
    const auto started = [&](Result<control::ControlPlane::StartedChat> s) {
      ASSERT_TRUE(s.ok()) << s.error().message;
      heard.request = std::move(s).value();
    };
    int frames = 0;
    world_.network.setHook([&](testing::Direction, net::FrameKind, std::string&) {
      if (frames++ != cut) return true;
      world_.loop.post([&] { world_.network.cutAll(); });
      return false;
    });
    control::ChatRequest request;
    request.did = Did(agent.getDid());
    request.conversationId = conversation;
    request.messages = {{"user", whole, {}}};
    request.resumable = control::Resumable::Yes;
    plane_->chat(std::move(request), events(), started);
    world_.run();
    if (cut % 7 == 0) heard.request.reset();  // before the first piece
    world_.advance(seconds(30));
    EXPECT_EQ(agent.getStatus(), AgentStatus::Connected);
    if (!heard.request) {
      plane_->resumeChat(Did(agent.getDid()), conversation, heard.events, events(), started);
      world_.run();
    }
    EXPECT_EQ(heard.text, whole);
    EXPECT_EQ(heard.end, "done");
    EXPECT_EQ(agent.chats, cut + 1) << "it has to run once";
    world_.network.setHook({});
  }
}

TEST_F(WholeSystem, AChatEndsOnBothSidesWhenNobodyComesBack) {
  auto& agent = startAgent("one");
  approveAll();
  world_.lanes->held = true;
  std::string end;
  control::ChatRequest request;
  request.did = Did(agent.getDid());
  request.messages = {{"user", "hello", {}}};
  control::ChatEvents events;
  events.onError = [&](std::string_view code, std::string_view) { end = code; };
  std::optional<control::ControlPlane::StartedChat> chat;
  plane_->chat(std::move(request), std::move(events), [&](auto started) { chat = std::move(started).value(); });
  world_.run();
  world_.network.setPartitioned(true);
  world_.advance(std::chrono::minutes(4));
  EXPECT_EQ(end, "agent_offline");
  while (world_.runHandler()) {
  }
  EXPECT_EQ(agent.chats, 0) << "it was told to stop";
}

TEST_F(WholeSystem, ClocksThatAreOffAreNamed) {
  // Every frame of the agent arrives 90 s late in wall-clock terms: its handshakes are stale.
  std::vector<std::string> reasons;
  runtimes_.push_back(world_.makeRuntime());
  AgentRuntimeConfig config;
  config.name = "late";
  config.controlPlaneUrl = "http://localhost:3000";
  config.vaultysIdPath = world_.dir.file("late.id");
  config.requestedCapabilities = {"api_call"};
  agents_.push_back(std::make_unique<Agent<EchoAgent>>(config, *runtimes_.back()));
  const auto logs = agents_.back()->on<LogEntry>([&](const LogEntry& e) { reasons.push_back(e.message); });
  bool jumped = false;
  world_.network.setHook([&](testing::Direction direction, net::FrameKind, std::string& text) {
    if (!jumped && direction == testing::Direction::ToServer && text.find("auth_challenge") != std::string::npos) {
      jumped = true;
      world_.clock.jumpWall(std::chrono::seconds(90));
    }
    return true;
  });
  agents_.back()->start();
  world_.run();
  const auto named = std::any_of(reasons.begin(), reasons.end(),
                                 [](const std::string& r) { return r.find("90 s") != std::string::npos; });
  EXPECT_TRUE(named) << ::testing::PrintToString(reasons);
}

}  // namespace
}  // namespace vaultysclaw::system_test
