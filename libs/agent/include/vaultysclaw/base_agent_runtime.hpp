// The base class of every agent.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "vaultysclaw/call_context.hpp"
#include "vaultysclaw/chat_sink.hpp"
#include "vaultysclaw/events.hpp"
#include "vaultysclaw/export.hpp"
#include "vaultysclaw/runtime_config.hpp"
#include "vaultysclaw/types.hpp"

namespace vaultysclaw {

class PeerManager;
class Runtime;
template <class T>
class Agent;
namespace detail {
class AgentCore;
struct AgentHandle;
}  // namespace detail

// An agent under a control plane. Subclass it, implement executeIntent and executeChat, and make an Agent<YourClass>.
// The base does identity, connection, handshake, policy gates, delegations, heartbeats, replays and reconnects.
//
// Threading: handlers and hooks (the protected virtual functions) run on the runtime's handler threads and may block;
// with handlerThreads = 1, the default, never two at a time. Listeners run on one event thread. Public and protected
// functions may be called from any thread unless they say otherwise. Heartbeats and acknowledgements never wait for
// user code.
class VC_API BaseAgentRuntime {
 public:
  explicit BaseAgentRuntime(AgentRuntimeConfig config);
  // Shares the threads and sockets of `runtime`, which must outlive the agent.
  BaseAgentRuntime(AgentRuntimeConfig config, Runtime& runtime);
  BaseAgentRuntime(const BaseAgentRuntime&) = delete;
  BaseAgentRuntime& operator=(const BaseAgentRuntime&) = delete;
  virtual ~BaseAgentRuntime();

  // Loads or makes the identity and begins to connect; returns before a connection exists. Blocks for a few disk
  // accesses. Throws AgentError for a configuration, an identity file or a state file that cannot be used, and
  // std::logic_error when called twice.
  void start();
  // Asks running calls to stop, waits for them, sends their answers and closes the connection. Blocking; C++ cannot end
  // a thread, so a handler that never returns is named in the log each stopGrace and waited for. Later calls do
  // nothing. Throws std::logic_error from a handler, hook or listener: use requestStop() there.
  void stop();
  // Begins what stop() does and returns at once.
  void requestStop();
  // Waits until the status is `status`. False when `timeout` passed first, or when the agent has stopped in another
  // status. Not from handlers and listeners. Blocking.
  bool waitFor(AgentStatus status, std::chrono::milliseconds timeout);

  // Empty before start().
  std::string getDid() const;
  AgentStatus getStatus() const;
  std::vector<AgentPeerGrant> getPeerCatalog() const;
  AgentInfo getInfo() const;
  std::vector<RecentLog> getRecentLogs(std::size_t limit = 200) const;
  std::vector<RecentIntent> getRecentIntents(std::size_t limit = 100) const;
  const AgentRuntimeConfig& config() const;
  PeerManager& peerManager();

  // Calls another agent from outside a handler; inside one use CallContext::invokePeer. Blocking. Throws PeerError.
  Json invokePeer(std::string_view targetDid, std::string_view action, const Json& params = Json::object());

  // Registers a listener for E: LogEntry, StatusChanged, Heartbeat, IntentReceived or IntentResult. Listeners run in
  // order on the event thread, never under a lock. A slow listener delays the others; only log events are ever dropped,
  // and AgentInfo::droppedLogs counts them.
  template <class E>
  Subscription on(std::function<void(const E&)> listener);

 protected:
  // ---- what a subclass implements ----------------------------------------------------------------------------------

  // Does what an intent asks for; the gates have allowed it. Returns any JSON value. An exception makes a failed intent
  // with its what().
  virtual Json executeIntent(std::string_view action, const Json& params, CallContext& call) = 0;
  // Answers a chat: `messages` is the whole conversation, the last one by the user.
  virtual void executeChat(std::span<const ChatMessage> messages, std::string_view conversationId, ChatSink& out,
                           CallContext& call) = 0;

  // ---- hooks: called when the control plane says something; an exception is logged
  // -----------------------------------

  // After each complete handshake: the first, and each time a new certificate is issued.
  virtual void onAuthComplete(const AuthCompleteInfo& info);
  // Nothing: use the local configuration.
  virtual void onLlmConfig(const std::optional<LlmConfig>& config);
  // The whole set; every one verified.
  virtual void onDelegationUpdate(std::span<const DelegationGrant> delegations);
  // The whole set; every one verified.
  virtual void onPeerCatalogUpdated(std::span<const AgentPeerGrant> grants);
  virtual void onSkillsConfig(std::span<const SkillConfig> skills);
  // Sources that the control plane wants indexed; onKnowledgeSync follows for each.
  virtual void onKnowledgeSources(std::span<const KnowledgeSource> sources);
  // Indexes one source. The default answers that this agent does not support it.
  virtual KnowledgeResult onKnowledgeSync(const KnowledgeSource& source, CallContext& call);
  // The answer to sendToolApprovalRequest; answers to requestToolApproval do not come here.
  virtual void onToolApprovalResponse(const ToolApprovalResponse& response);
  // Runs a task; the gates have allowed it. The default calls executeIntent. Its result or exception is reported as the
  // task's status.
  virtual Json onTaskEnqueue(const TaskRequest& task, CallContext& call);
  virtual void onScheduleUpdate(const Schedule& schedule);
  virtual void onScheduleDelete(std::string_view scheduleId);
  // The default has none.
  virtual std::vector<ChatSession> onGetChatSessions(std::optional<std::int64_t> limit);
  virtual std::vector<ChatHistoryEntry> onGetChatHistory(std::string_view sessionId);
  // The control plane reported an error; it is in the log already.
  virtual void onError(std::string_view error);
  // Tokens used this UTC day, which the budget gate compares with maxTokensPerDay just before each call. The default is
  // the durable counter that addUsage feeds.
  virtual TokenUsage getDailyTokenUsageForBudget();

  // ---- what a subclass may send ------------------------------------------------------------------------------------

  // Asks a human for approval of a tool call and waits for the answer, at most until the call's deadline. Not approved
  // when there is no answer in time, no connection or the call is stopped (reason says which). Blocking.
  ToolApprovalResponse requestToolApproval(CallContext& call, std::string_view toolName, const Json& args);
  // As above without waiting: the answer comes to onToolApprovalResponse, after an hour without one as not approved.
  // Returns the request's id; empty when the agent is not connected. Both throw AgentError for a tool name or arguments
  // that no message can hold.
  std::string sendToolApprovalRequest(std::string_view toolName, const Json& args,
                                      std::optional<std::string> conversationId = {});
  // These return false when the agent is not connected, or, with a line in the log, for what no message can hold (over
  // 16 MiB, an empty tool name, a negative duration); the message is then lost.
  bool reportToolExecution(const ToolExecutionReport& report);
  bool sendChannelMessage(std::string_view channelId, std::string_view content,
                          std::optional<std::string> threadId = {}, const std::optional<Json>& metadata = {});
  bool sendKnowledgeStatus(std::span<const KnowledgeSourceStatus> sources);
  // The model that heartbeats name; empty strings for none.
  void setActiveLlm(std::string provider, std::string model);
  void addUsage(std::int64_t promptTokens, std::int64_t completionTokens);
  void log(LogSeverity level, std::string message, Json data = nullptr);

 private:
  friend class detail::AgentCore;
  friend struct detail::AgentHandle;
  template <class T>
  friend class Agent;

  // Only Agent<T> implements this: its destructor stops the runtime while T still exists.
  virtual void useTheAgentTemplate() const = 0;
  void stopForDestruction() noexcept;

  std::unique_ptr<detail::AgentHandle> handle_;
};

// The concrete agent: `Agent<EchoAgent> agent{{.name = "echo", ...}};`. Further arguments go to T's constructor.
// Its destructor stops the runtime before T is destroyed, so no handler ever sees a half-destroyed object.
template <class T>
class Agent final : public T {
 public:
  template <class... More>
  explicit Agent(AgentRuntimeConfig config, More&&... more) : T(std::move(config), std::forward<More>(more)...) {}
  ~Agent() override { this->stopForDestruction(); }

 private:
  void useTheAgentTemplate() const override {}
};

extern template Subscription BaseAgentRuntime::on<LogEntry>(std::function<void(const LogEntry&)>);
extern template Subscription BaseAgentRuntime::on<StatusChanged>(std::function<void(const StatusChanged&)>);
extern template Subscription BaseAgentRuntime::on<Heartbeat>(std::function<void(const Heartbeat&)>);
extern template Subscription BaseAgentRuntime::on<IntentReceived>(std::function<void(const IntentReceived&)>);
extern template Subscription BaseAgentRuntime::on<IntentResult>(std::function<void(const IntentResult&)>);

}  // namespace vaultysclaw
