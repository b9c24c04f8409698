#include "vaultysclaw/base_agent_runtime.hpp"

#include <mutex>
#include <ostream>
#include <stdexcept>

#include "agent/trust.hpp"
#include "config.hpp"
#include "convert.hpp"
#include "core.hpp"
#include "identity/identity_file.hpp"
#include "vaultysclaw/peer_manager.hpp"
#include "vaultysclaw/runtime.hpp"

namespace vaultysclaw {

namespace detail {

struct AgentHandle {
  AgentHandle(AgentRuntimeConfig c, Runtime* shared)
      : config(std::move(c)),
        ownRuntime(shared == nullptr ? std::make_unique<Runtime>(makeSystemPorts(1)) : nullptr),
        ports((shared == nullptr ? *ownRuntime : *shared).ports()),
        journal(std::make_shared<Journal>(ports.clock(), ports.makeEvents())) {}
  // Not on the event thread, which a last delivery might leave the journal to: the agent's own destructor does not run
  // when its constructor has thrown.
  ~AgentHandle() { journal->events().close(); }
  AgentHandle(const AgentHandle&) = delete;
  AgentHandle& operator=(const AgentHandle&) = delete;

  std::shared_ptr<AgentCore> theCore() const {
    std::lock_guard lock(mutex);
    return core;
  }

  const AgentRuntimeConfig config;
  std::unique_ptr<Runtime> ownRuntime;
  RuntimePorts& ports;
  std::shared_ptr<Journal> journal;
  PeerManager peers;
  mutable std::mutex mutex;
  std::shared_ptr<AgentCore> core;  // guarded by mutex; set once
  bool started = false;             // guarded by mutex
  bool stopRequested = false;       // guarded by mutex
  std::mutex stopping;              // held through stop(): a second caller waits for the first
};

}  // namespace detail

namespace {

[[noreturn]] void raise(const Error& error) {
  throw AgentError(std::string(name(error.code)), error.message);
}

template <class T>
T orThrow(Result<T> result) {
  if (!result) raise(result.error());
  return std::move(result).value();
}

detail::CoreSetup load(const AgentRuntimeConfig& config, detail::RuntimePorts& ports,
                       const std::shared_ptr<detail::Journal>& journal) {
  if (Status good = detail::checkConfig(config); !good) raise(good.error());
  auto wsUrl = orThrow(detail::deriveWebSocketUrl(config));
  auto identity = orThrow(identity::loadOrCreateIdentity(ports.files(), config.vaultysIdPath, ports.entropy()));
  if (identity.type() != identity::IdType::Machine)
    throw AgentError("invalid_argument", config.vaultysIdPath +
                                             " holds the identity of a person or an organization; an "
                                             "agent needs one of a machine");
  const identity::VaultysId self = identity.toVersion(identity::IdVersion::V1);
  auto state = orThrow(ports.openState(detail::statePath(config), self.did(), [journal](const store::DamagedRow& row) {
    journal->log(LogSeverity::Error, "Something of the agent's state is left out: " + store::text(row));
  }));
  auto usage = orThrow(state->rows().usage());
  auto delegations = orThrow(state->rows().delegations());
  auto pin = detail::readPin(state->rows());
  if (!pin)
    throw AgentError("malformed", "the state file " + detail::statePath(config) +
                                      " holds no readable control-plane identity: restore it from a backup");
  if (*pin && !config.controlPlaneDid.empty() && config.controlPlaneDid != (*pin)->did)
    throw AgentError("conflict", "this agent belongs to the control plane " + (*pin)->did +
                                     ", but controlPlaneDid names " + config.controlPlaneDid +
                                     ": correct it, or run 'vaultysclaw id trust " + config.vaultysIdPath +
                                     (config.statePath.empty() ? "" : " --state " + config.statePath) + " " +
                                     config.controlPlaneDid + "' to belong to that one");
  if (Status safe = detail::checkProtection(config, wsUrl, pin->has_value()); !safe) raise(safe.error());
  const identity::Features inUse = *pin ? ports.features().with((*pin)->features) : identity::Features();
  const bool sign = inUse.has(identity::feature::kSignedResults);
  // A control plane that waits for results until it has them asks again for what it has none of.
  const bool comesAgain = inUse.has(identity::feature::kResultAck);
  orThrow(state->rows().interruptRunning([&](const store::SeenIntent& intent) -> std::optional<store::FinishedIntent> {
    if (comesAgain && intent.repeatable == store::Repeatable::Yes && intent.controlPlaneDid == (*pin)->did)
      return std::nullopt;
    return detail::interruptedResult(intent, sign, self, ports.clock(), ports.entropy());
  }));
  return {config,
          std::move(wsUrl),
          self,
          std::move(state),
          usage,
          ports.features(),
          std::move(pin).value(),
          std::move(delegations)};
}

}  // namespace

BaseAgentRuntime::BaseAgentRuntime(AgentRuntimeConfig config)
    : handle_(std::make_unique<detail::AgentHandle>(std::move(config), nullptr)) {}
BaseAgentRuntime::BaseAgentRuntime(AgentRuntimeConfig config, Runtime& runtime)
    : handle_(std::make_unique<detail::AgentHandle>(std::move(config), &runtime)) {}
BaseAgentRuntime::~BaseAgentRuntime() = default;

void BaseAgentRuntime::start() {
  {
    std::lock_guard lock(handle_->mutex);
    if (handle_->started) throw std::logic_error("start() was called before; an agent starts once");
    if (handle_->stopRequested) throw std::logic_error("the agent was stopped; make a new one");
    handle_->started = true;
  }
  handle_->journal->log(LogSeverity::Info, "Initializing agent \"" + handle_->config.name + "\"");
  std::shared_ptr<detail::AgentCore> core;
  try {
    core = std::make_shared<detail::AgentCore>(load(handle_->config, handle_->ports, handle_->journal), *this,
                                               handle_->ports, handle_->journal);
  } catch (...) {
    std::lock_guard lock(handle_->mutex);
    handle_->started = false;
    throw;
  }
  handle_->journal->log(LogSeverity::Info, "VaultysId identity ready: " + core->did().value);
  bool stopAtOnce = false;
  {
    std::lock_guard lock(handle_->mutex);
    handle_->core = core;
    stopAtOnce = handle_->stopRequested;
  }
  core->begin();
  if (stopAtOnce) core->requestStop("");
}

void BaseAgentRuntime::requestStop() {
  std::shared_ptr<detail::AgentCore> core;
  {
    std::lock_guard lock(handle_->mutex);
    handle_->stopRequested = true;
    core = handle_->core;
    if (!core && !handle_->started) handle_->journal->setStatus(AgentStatus::Stopped, "");
  }
  if (core) core->requestStop("");
}

void BaseAgentRuntime::stop() {
  const auto core = handle_->theCore();
  if (detail::AgentCore::onHandlerThread(core.get()))
    throw std::logic_error("stop() was called from a handler or hook, which it would wait for: use requestStop()");
  if (handle_->journal->events().isCurrent())
    throw std::logic_error("stop() was called from a listener, which it would wait for: use requestStop()");
  requestStop();
  std::lock_guard lock(handle_->stopping);
  if (core) core->finishStop();
  handle_->journal->events().close();
}

void BaseAgentRuntime::stopForDestruction() noexcept {
  try {
    stop();
  } catch (const std::exception& e) {
    // Destroying an agent from its own handler or listener cannot work: the caller's stack is inside the agent.
    assertionFailed("~Agent", e.what(), __FILE__, __LINE__);
  }
}

bool BaseAgentRuntime::waitFor(AgentStatus status, std::chrono::milliseconds timeout) {
  return handle_->journal->waitFor(status, timeout, handle_->ports);
}

std::string BaseAgentRuntime::getDid() const {
  const auto core = handle_->theCore();
  return core ? core->did().value : "";
}
AgentStatus BaseAgentRuntime::getStatus() const {
  return handle_->journal->status();
}
std::vector<AgentPeerGrant> BaseAgentRuntime::getPeerCatalog() const {
  const auto core = handle_->theCore();
  return core ? core->peerCatalog() : std::vector<AgentPeerGrant>();
}
std::vector<RecentLog> BaseAgentRuntime::getRecentLogs(std::size_t limit) const {
  return handle_->journal->logs(limit);
}
std::vector<RecentIntent> BaseAgentRuntime::getRecentIntents(std::size_t limit) const {
  return handle_->journal->intents(limit);
}
const AgentRuntimeConfig& BaseAgentRuntime::config() const {
  return handle_->config;
}
PeerManager& BaseAgentRuntime::peerManager() {
  return handle_->peers;
}

AgentInfo BaseAgentRuntime::getInfo() const {
  AgentInfo info;
  info.name = handle_->config.name;
  info.version = handle_->config.version;
  info.status = getStatus();
  info.reason = handle_->journal->reason();
  info.droppedLogs = handle_->journal->droppedLogs();
  info.recentLogs = getRecentLogs();
  info.recentIntents = getRecentIntents();
  if (const auto core = handle_->theCore()) core->fill(info);
  return info;
}

Json BaseAgentRuntime::invokePeer(std::string_view targetDid, std::string_view action, const Json& params) {
  return handle_->peers.invoke(targetDid, action, params);
}

template <class E>
Subscription BaseAgentRuntime::on(std::function<void(const E&)> listener) {
  return handle_->journal->on<E>(std::move(listener));
}
template VC_API Subscription BaseAgentRuntime::on<LogEntry>(std::function<void(const LogEntry&)>);
template VC_API Subscription BaseAgentRuntime::on<StatusChanged>(std::function<void(const StatusChanged&)>);
template VC_API Subscription BaseAgentRuntime::on<Heartbeat>(std::function<void(const Heartbeat&)>);
template VC_API Subscription BaseAgentRuntime::on<IntentReceived>(std::function<void(const IntentReceived&)>);
template VC_API Subscription BaseAgentRuntime::on<IntentResult>(std::function<void(const IntentResult&)>);

// ---- default hooks
// -----------------------------------------------------------------------------------------------------

void BaseAgentRuntime::onAuthComplete(const AuthCompleteInfo&) {}
void BaseAgentRuntime::onLlmConfig(const std::optional<LlmConfig>&) {}
void BaseAgentRuntime::onDelegationUpdate(std::span<const DelegationGrant>) {}
void BaseAgentRuntime::onPeerCatalogUpdated(std::span<const AgentPeerGrant>) {}
void BaseAgentRuntime::onSkillsConfig(std::span<const SkillConfig>) {}
void BaseAgentRuntime::onKnowledgeSources(std::span<const KnowledgeSource>) {}
KnowledgeResult BaseAgentRuntime::onKnowledgeSync(const KnowledgeSource&, CallContext&) {
  throw std::runtime_error("not supported: this agent keeps no knowledge index");
}
void BaseAgentRuntime::onToolApprovalResponse(const ToolApprovalResponse&) {}
Json BaseAgentRuntime::onTaskEnqueue(const TaskRequest& task, CallContext& call) {
  return executeIntent(task.action, task.params, call);
}
void BaseAgentRuntime::onScheduleUpdate(const Schedule& schedule) {
  log(LogSeverity::Warn, "This agent runs no schedules; ignored schedule " + schedule.id);
}
void BaseAgentRuntime::onScheduleDelete(std::string_view) {}
std::vector<ChatSession> BaseAgentRuntime::onGetChatSessions(std::optional<std::int64_t>) {
  return {};
}
std::vector<ChatHistoryEntry> BaseAgentRuntime::onGetChatHistory(std::string_view) {
  return {};
}
void BaseAgentRuntime::onError(std::string_view) {}
TokenUsage BaseAgentRuntime::getDailyTokenUsageForBudget() {
  const auto core = handle_->theCore();
  return core ? core->usage().today() : TokenUsage{};
}

// ---- senders
// -----------------------------------------------------------------------------------------------------------

ToolApprovalResponse BaseAgentRuntime::requestToolApproval(CallContext& call, std::string_view toolName,
                                                           const Json& args) {
  const auto core = call.internal()->core.lock();
  if (!core) return {"", false, "the agent is not connected"};
  return core->awaitApproval(call.internal(), toolName, args);
}

std::string BaseAgentRuntime::sendToolApprovalRequest(std::string_view toolName, const Json& args,
                                                      std::optional<std::string> conversationId) {
  const auto core = handle_->theCore();
  return core ? core->openApproval(toolName, args, std::move(conversationId), std::nullopt, nullptr) : "";
}

bool BaseAgentRuntime::reportToolExecution(const ToolExecutionReport& report) {
  const auto core = handle_->theCore();
  if (!core) return false;
  protocol::ToolExecution wire;
  if (report.conversationId) wire.conversationId = ConversationId(*report.conversationId);
  if (report.intentId) wire.intentId = IntentId(*report.intentId);
  wire.toolName = report.toolName;
  wire.args = orThrow(detail::write(report.args, "args"));
  if (report.result) wire.result = orThrow(detail::write(*report.result, "result"));
  wire.error = report.error;
  wire.approved = report.approved;
  wire.durationMs = report.duration.count();
  return core->sendSoon(std::move(wire));
}

bool BaseAgentRuntime::sendChannelMessage(std::string_view channelId, std::string_view content,
                                          std::optional<std::string> threadId, const std::optional<Json>& metadata) {
  const auto core = handle_->theCore();
  if (!core) return false;
  protocol::ChannelMessageSend wire;
  wire.channelId = channelId;
  wire.content = content;
  wire.threadId = std::move(threadId);
  if (metadata) wire.metadata = orThrow(detail::write(*metadata, "metadata"));
  return core->sendSoon(std::move(wire));
}

bool BaseAgentRuntime::sendKnowledgeStatus(std::span<const KnowledgeSourceStatus> sources) {
  const auto core = handle_->theCore();
  if (!core) return false;
  protocol::KnowledgeStatusSync wire;
  for (const auto& s : sources) wire.sources.push_back({s.sourceId, s.status, s.docCount, s.chunkCount, s.error});
  return core->sendSoon(std::move(wire));
}

void BaseAgentRuntime::setActiveLlm(std::string provider, std::string model) {
  if (const auto core = handle_->theCore()) core->setActiveLlm(std::move(provider), std::move(model));
}

void BaseAgentRuntime::addUsage(std::int64_t promptTokens, std::int64_t completionTokens) {
  const auto core = handle_->theCore();
  if (!core) return;
  if (Status saved = core->usage().add({promptTokens, completionTokens}); !saved)
    log(LogSeverity::Error, "The usage counters cannot be stored: " + saved.error().message);
}

void BaseAgentRuntime::log(LogSeverity level, std::string message, Json data) {
  handle_->journal->log(level, std::move(message), std::move(data));
}

}  // namespace vaultysclaw
