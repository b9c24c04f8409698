// The agent under test, its control plane, and the world they live in.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "agent/test_control_plane.hpp"
#include "agent/test_runtime.hpp"
#include "identity/identity_file.hpp"
#include "vaultysclaw/agent.hpp"

namespace vaultysclaw::testing {

// Does what the test tells it to, and remembers what it was told.
class ScriptedAgent : public BaseAgentRuntime {
 public:
  using BaseAgentRuntime::BaseAgentRuntime;

  std::function<Json(std::string_view, const Json&, CallContext&)> intent = [](std::string_view action,
                                                                               const Json& params, CallContext&) {
    return Json{{"echo", {{"action", action}, {"params", params}}}};
  };
  std::function<void(std::span<const ChatMessage>, ChatSink&, CallContext&)> chat =
      [](std::span<const ChatMessage> messages, ChatSink& out, CallContext&) { out.send(messages.back().content); };
  std::function<void()> onHook = [] {};
  std::optional<TokenUsage> budget;
  std::optional<KnowledgeResult> knowledge;

  int intents = 0, chats = 0;
  std::vector<std::string> hooks;
  std::vector<AuthCompleteInfo> auths;
  std::optional<LlmConfig> llm;
  std::vector<DelegationGrant> delegations;
  std::vector<AgentPeerGrant> peers;
  std::vector<SkillConfig> skills;
  std::vector<KnowledgeSource> sources;
  std::vector<ToolApprovalResponse> approvals;
  std::vector<Schedule> schedules;
  std::vector<std::string> errors;

  using BaseAgentRuntime::addUsage;
  using BaseAgentRuntime::reportToolExecution;
  using BaseAgentRuntime::requestToolApproval;
  using BaseAgentRuntime::sendChannelMessage;
  using BaseAgentRuntime::sendKnowledgeStatus;
  using BaseAgentRuntime::sendToolApprovalRequest;
  using BaseAgentRuntime::setActiveLlm;

 protected:
  Json executeIntent(std::string_view action, const Json& params, CallContext& call) override {
    ++intents;
    return intent(action, params, call);
  }
  void executeChat(std::span<const ChatMessage> messages, std::string_view, ChatSink& out, CallContext& call) override {
    ++chats;
    chat(messages, out, call);
  }
  void onAuthComplete(const AuthCompleteInfo& info) override {
    auths.push_back(info);
    note("onAuthComplete");
  }
  void onLlmConfig(const std::optional<LlmConfig>& config) override {
    llm = config;
    note(config ? "onLlmConfig" : "onLlmConfig none");
  }
  void onDelegationUpdate(std::span<const DelegationGrant> all) override {
    delegations.assign(all.begin(), all.end());
    note("onDelegationUpdate");
  }
  void onPeerCatalogUpdated(std::span<const AgentPeerGrant> all) override {
    peers.assign(all.begin(), all.end());
    note("onPeerCatalogUpdated");
  }
  void onSkillsConfig(std::span<const SkillConfig> all) override {
    skills.assign(all.begin(), all.end());
    note("onSkillsConfig");
  }
  void onKnowledgeSources(std::span<const KnowledgeSource> all) override {
    sources.assign(all.begin(), all.end());
    note("onKnowledgeSources");
  }
  KnowledgeResult onKnowledgeSync(const KnowledgeSource& source, CallContext& call) override {
    return knowledge ? *knowledge : BaseAgentRuntime::onKnowledgeSync(source, call);
  }
  void onToolApprovalResponse(const ToolApprovalResponse& response) override {
    approvals.push_back(response);
    note("onToolApprovalResponse");
  }
  void onScheduleUpdate(const Schedule& schedule) override {
    schedules.push_back(schedule);
    note("onScheduleUpdate");
  }
  void onScheduleDelete(std::string_view id) override { note("onScheduleDelete " + std::string(id)); }
  std::vector<ChatSession> onGetChatSessions(std::optional<std::int64_t> limit) override {
    note("onGetChatSessions " + std::to_string(limit.value_or(-1)));
    return {{"s1", "Title", "dashboard", "2026-01-01T00:00:00.000Z", "2026-01-02T00:00:00.000Z", 3}};
  }
  std::vector<ChatHistoryEntry> onGetChatHistory(std::string_view id) override {
    note("onGetChatHistory " + std::string(id));
    return {{"m1", "user", "hello", {}, Json::array({1}), "2026-01-01T00:00:00.000Z"}};
  }
  void onError(std::string_view error) override { errors.emplace_back(error); }
  TokenUsage getDailyTokenUsageForBudget() override {
    return budget ? *budget : BaseAgentRuntime::getDailyTokenUsageForBudget();
  }

 private:
  void note(std::string hook) {
    hooks.push_back(std::move(hook));
    onHook();
  }
};

class AgentTest : public ::testing::Test {
 protected:
  AgentTest() {
    config.name = "test-agent";
    config.controlPlaneUrl = "http://localhost:3000";
    config.vaultysIdPath = world.dir.file("agent.id");
    config.requestedCapabilities = {"text_generation"};
    world.network.listen("ws://localhost:8080", cp.acceptor());
  }

  // Makes the agent and listens to it; start() comes separately.
  Agent<ScriptedAgent>& make() {
    agent.reset();
    runtime = world.makeRuntime();
    agent = std::make_unique<Agent<ScriptedAgent>>(config, *runtime);
    subscriptions.clear();
    subscriptions.push_back(agent->on<StatusChanged>([this](const StatusChanged& e) {
      statuses.emplace_back(toString(e.status));
      events.push_back("status " + statuses.back());
    }));
    subscriptions.push_back(agent->on<LogEntry>([this](const LogEntry& e) { logs.push_back(e.message); }));
    subscriptions.push_back(
        agent->on<IntentReceived>([this](const IntentReceived& e) { events.push_back("received " + e.intentId); }));
    subscriptions.push_back(agent->on<IntentResult>(
        [this](const IntentResult& e) { events.push_back("result " + e.intentId + " " + e.status); }));
    subscriptions.push_back(agent->on<Heartbeat>([this](const Heartbeat&) { events.push_back("heartbeat"); }));
    return *agent;
  }
  // The agent's rows in its state file or a copy of it, while no agent runs.
  Result<std::unique_ptr<store::AgentState>> openState(std::optional<std::string> path = {}) {
    const auto files = makeSystemFileStore();
    const auto identity = identity::loadOrCreateIdentity(*files, config.vaultysIdPath, world.entropy);
    VC_ASSERT(identity.ok(), "the agent has an identity");
    return store::openAgentState(path.value_or(config.vaultysIdPath + ".state"), identity->didV1());
  }
  // Connected, with nothing received that matters.
  Agent<ScriptedAgent>& connect() {
    make().start();
    world.run();
    EXPECT_EQ(agent->getStatus(), AgentStatus::Connected);
    cp.forget();
    return *agent;
  }
  void intent(const std::string& id, const std::string& action, const TestControlPlane::IntentOptions& options = {}) {
    cp.intent(id, action, options);
    world.run();
  }
  std::optional<protocol::IntentResult> result(const std::string& id) const {
    std::optional<protocol::IntentResult> found;
    for (const auto& r : cp.all<protocol::IntentResult>()) {
      if (r.intentId.value == id) found = r;
    }
    return found;
  }
  // Of the result, or of the refusal of an intent that has none.
  std::string error(const std::string& id) const {
    if (const auto r = result(id)) return r->error.value_or("(success)");
    const auto refused = refusal(id);
    return refused ? refused->reason.value_or("(none)") : "(no result)";
  }
  std::string code(const std::string& id) const {
    if (const auto r = result(id)) return r->code.value_or("(none)");
    const auto refused = refusal(id);
    return refused ? refused->code.value_or("(none)") : "(no result)";
  }
  std::optional<protocol::IntentAck> refusal(const std::string& id) const {
    for (const auto& ack : acks()) {
      if (ack.messageId == id && !ack.success) return ack;
    }
    return std::nullopt;
  }
  std::vector<protocol::IntentAck> acks() const { return cp.all<protocol::IntentAck>(); }
  // What one conversation heard, as text: chunks joined, then "|done" or "|error:code:text".
  std::string heard(const std::string& conversation) const {
    std::string text;
    for (const auto& r : cp.all<protocol::ChatResponse>()) {
      if (r.conversationId.value != conversation) continue;
      if (r.chunk) text += (r.thinking ? "<" : "") + *r.chunk + (r.thinking ? ">" : "");
      if (r.error) {
        text += "|error:" + r.errorCode.value_or("") + ":" + r.code.value_or("") + ":" + *r.error;
      } else if (r.done) {
        text += "|done";
      }
    }
    return text;
  }
  bool logged(std::string_view text) const {
    for (const auto& line : logs) {
      if (line.find(text) != std::string::npos) return true;
    }
    return false;
  }

  TestWorld world;
  TestControlPlane cp{world.clock, world.entropy};
  AgentRuntimeConfig config;
  std::unique_ptr<Runtime> runtime;
  std::unique_ptr<Agent<ScriptedAgent>> agent;
  std::vector<std::string> statuses, events, logs;
  std::vector<Subscription> subscriptions;
};

}  // namespace vaultysclaw::testing
