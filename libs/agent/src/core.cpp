#include "core.hpp"

#include <algorithm>

#include "base/log.hpp"
#include "convert.hpp"

namespace vaultysclaw::detail {
namespace {

constexpr Duration kHandshakeTimeout = seconds(60);
constexpr std::size_t kMaxUnsent = 1000;
constexpr int kMaxBadMessages = 100;

thread_local const AgentCore* handlerOf = nullptr;

template <class... F>
struct Overloaded : F... {
  using F::operator()...;
};
template <class... F>
Overloaded(F...) -> Overloaded<F...>;

// Marks the current thread as one of the core's handlers for a scope; used by every job.
class HandlerScope {
 public:
  explicit HandlerScope(const AgentCore* core) : before_(std::exchange(handlerOf, core)) {}
  ~HandlerScope() { handlerOf = before_; }
  HandlerScope(const HandlerScope&) = delete;
  HandlerScope& operator=(const HandlerScope&) = delete;

 private:
  const AgentCore* before_;
};

net::BackoffOptions backoffOptions(const ReconnectBackoff& b) {
  return {b.initial, b.maximum, b.jitter};
}

}  // namespace

AgentCore::AgentCore(CoreSetup setup, BaseAgentRuntime& agent, RuntimePorts& ports, std::shared_ptr<Journal> journal)
    : setup_(std::move(setup)),
      agent_(agent),
      ports_(ports),
      journal_(std::move(journal)),
      usage_(*setup_.state, setup_.usage, ports.clock()),
      lanes_(ports.makeLanes(setup_.config.handlerThreads)),
      startedAt_(ports.clock().steady()),
      backoff_(backoffOptions(setup_.config.backoff), ports.entropy()),
      controlPlane_(setup_.pinned),
      announced_(setup_.config.requestedCapabilities) {
  if (controlPlane_) shared_.with([&](Shared& s) { s.controlPlaneDid = controlPlane_->did().value; });
  loadDelegations();
}

AgentCore::~AgentCore() = default;

bool AgentCore::onHandlerThread(const AgentCore* core) {
  return core != nullptr && handlerOf == core;
}

void AgentCore::begin() {
  ports_.loop().post([self = shared_from_this()] {
    if (self->stopping_) return;
    self->journal_->setStatus(AgentStatus::Connecting, "");
    self->dial();
  });
}

// ---- connection
// ------------------------------------------------------------------------------------------------------

void AgentCore::dial() {
  if (stopping_) return;
  phase_ = Phase::Dialing;
  net::DialOptions options;
  options.url = setup_.wsUrl;
  options.caFile = setup_.config.caFile;
  options.proxyUrl = setup_.config.proxyUrl;
  log(LogSeverity::Info, "Connecting to control plane: " + setup_.wsUrl);
  dialing_ = ports_.dialer().dial(std::move(options), [weak = weak_from_this()](auto connection) {
    if (auto self = weak.lock()) self->onDialed(std::move(connection));
  });
}

void AgentCore::onDialed(Result<std::unique_ptr<net::Connection>> connection) {
  if (stopping_) return;
  if (!connection) return scheduleDial("The control plane cannot be reached: " + connection.error().message);
  connection_ = std::move(connection).value();
  const std::uint64_t number = ++connectionNumber_;
  phase_ = Phase::AwaitChallenge;
  badMessages_ = earlyHandshakes_ = 0;
  serverClock_.reset();
  shared_.with([&](Shared& s) { s.transport = connection_->peer().transport; });
  handshakeTimer_ = ports_.loop().after(kHandshakeTimeout, [weak = weak_from_this()] {
    if (auto self = weak.lock()) self->dropConnection("The handshake was not complete after 60 s" + self->clockHint());
  });
  const auto current = [weak = weak_from_this(), number]() -> std::shared_ptr<AgentCore> {
    auto self = weak.lock();
    return self && self->connectionNumber_ == number && self->connection_ ? self : nullptr;
  };
  net::Connection::Callbacks callbacks;
  callbacks.onMessage = [current](net::FrameKind kind, std::string_view data) {
    if (auto self = current()) self->onFrame(kind, data);
  };
  callbacks.onClose = [current](const net::CloseReason& reason) {
    auto self = current();
    if (!self) return;
    std::string why = "The connection to the control plane was lost (" + std::to_string(reason.code) +
                      (reason.text.empty() ? "" : ", " + printable(reason.text)) + ")";
    if (self->expectedClose_) why = *self->expectedClose_;
    self->dropConnection(std::move(why));
  };
  callbacks.onDrained = [current] {
    if (auto self = current()) self->flushChats();
  };
  connection_->start(std::move(callbacks));
}

void AgentCore::dropConnection(std::string why) {
  linkUp_ = false;
  connection_.reset();
  ++connectionNumber_;
  handshakeTimer_.reset();
  heartbeatTimer_.reset();
  initiator_.reset();
  candidate_.reset();
  candidatePeer_.reset();
  sessionId_.clear();
  expectedClose_.reset();
  heldChats_.clear();
  shared_.with([](Shared& s) { s.transport.clear(); });
  for (auto& [number, running] : calls_) {
    // Nobody listens to a chat any more; an intent's result is kept for the next connection.
    if (running.call->kind == CallKind::Chat && !stopping_) stopCall(running.call, StopReason::CallerCancelled);
  }
  if (stopping_) {
    phase_ = Phase::Idle;
    return stopped();
  }
  scheduleDial(why);
}

void AgentCore::scheduleDial(const std::string& why) {
  phase_ = Phase::Idle;
  const Duration delay = backoff_.next();
  const auto tenths = std::chrono::duration_cast<milliseconds>(delay).count() / 100;
  log(LogSeverity::Warn, why + "; reconnecting in " + std::to_string(tenths / 10) + "." + std::to_string(tenths % 10) +
                             " s (attempt " + std::to_string(backoff_.attempts()) + ")");
  journal_->setStatus(everConnected_ ? AgentStatus::Reconnecting : AgentStatus::Connecting, why);
  reconnectTimer_ = ports_.loop().after(delay, [weak = weak_from_this()] {
    if (auto self = weak.lock()) self->dial();
  });
}

void AgentCore::onFrame(net::FrameKind kind, std::string_view data) {
  if (stopping_ && phase_ != Phase::Authenticated) return;
  if (kind != net::FrameKind::Text)
    return dropConnection("The control plane sent a binary message, which it never may");
  const bool trusted = phase_ == Phase::Authenticated;
  auto message = protocol::decode(data, trusted ? protocol::kMaxMessageBytes : protocol::kMaxUnapprovedMessageBytes);
  if (!message) {
    log(LogSeverity::Warn, "A message of the control plane is ignored: " + message.error().message);
    if (++badMessages_ >= kMaxBadMessages)
      dropConnection("The control plane keeps sending messages that cannot be read");
    return;
  }
  dispatch(*message);
}

void AgentCore::dispatch(protocol::Message& message) {
  using namespace protocol;
  const bool early = std::visit(
      Overloaded{[&](const AuthChallenge& m) { return onAuthChallenge(message, m), true; },
                 [&](const AuthComplete& m) { return noteServerTime(message), this->onAuthComplete(m), true; },
                 [&](const AuthFailed& m) { return noteServerTime(message), onAuthFailed(m), true; },
                 [&](const RegistrationPending& m) { return onPending(m), true; },
                 [&](const RegistrationApproved& m) { return onApproved(m), true; },
                 [&](const RegistrationRejected& m) { return onRejected(m), true; },
                 [&](const ErrorMessage& m) {
                   const std::string text = printable(m.error, 500);
                   log(LogSeverity::Error, "Error from control plane: " + text);
                   callHook("onError", [text](BaseAgentRuntime& agent) { agent.onError(text); });
                   return true;
                 },
                 [](const auto&) { return false; }},
      message.payload);
  if (early) return;
  if (phase_ != Phase::Authenticated) {
    log(LogSeverity::Warn, "Received " + printable(typeName(message.payload)) + " before auth; ignored");
    return;
  }
  std::visit(
      Overloaded{
          [&](Intent& m) { onIntent(message, m); }, [&](ChatRequest& m) { onChat(m); }, [&](Cancel& m) { onCancel(m); },
          [&](Pong& m) { onPong(m); }, [&](UpdateCapabilities& m) { onUpdateCapabilities(m); },
          [&](DelegationUpdate& m) { onDelegations(m); }, [&](AgentPeerCatalog& m) { onPeerCatalog(m); },
          [&](LlmConfigUpdate& m) { onLlmConfig(m); }, [&](SkillsConfig& m) { onSkills(m); },
          [&](KnowledgeSync& m) { onKnowledge(m); }, [&](protocol::ToolApprovalResponse& m) { onApprovalResponse(m); },
          [&](TaskEnqueue& m) { onTask(message, m); },
          [&](ScheduleUpdate& m) {
            callHook("onScheduleUpdate", [s = convert(m)](BaseAgentRuntime& a) { a.onScheduleUpdate(s); });
          },
          [&](ScheduleDelete& m) {
            callHook("onScheduleDelete", [id = m.id](BaseAgentRuntime& a) { a.onScheduleDelete(id); });
          },
          [&](GetChatSessions& m) { onGetSessions(m); }, [&](GetChatHistory& m) { onGetHistory(m); },
          [&](PolicyUpdate&) {
            log(LogSeverity::Warn, "Ignored an obsolete policy_update: policies come with the certificate");
            send(IntentAck{message.messageId, true, {}});
          },
          [&](Unknown& m) { log(LogSeverity::Debug, "Ignored a message of unknown type " + printable(m.type)); },
          [&](auto& m) {
            log(LogSeverity::Warn, "Ignored a message that only agents send: " + printable(typeName(Payload(m))));
          }},
      message.payload);
}

bool AgentCore::send(protocol::Payload payload, std::string messageId) {
  protocol::Message message;
  message.messageId = messageId.empty() ? newId() : std::move(messageId);
  const bool named =
      !std::holds_alternative<protocol::Register>(payload) && !std::holds_alternative<protocol::AuthChallenge>(payload);
  if (named) message.agentId = did().value;
  message.timestamp = toIso8601(ports_.clock().now());
  message.payload = std::move(payload);
  return sendText(protocol::encode(message));
}

bool AgentCore::sendText(std::string text) {
  if (!connection_) return false;
  switch (connection_->send(net::FrameKind::Text, std::move(text))) {
    case net::SendResult::Ok:
      return true;
    case net::SendResult::QueueFull:
      // Not from here: the caller is in the middle of something that needs the connection's state.
      ports_.loop().post([weak = weak_from_this(), number = connectionNumber_] {
        auto self = weak.lock();
        if (self && self->connectionNumber_ == number && self->connection_)
          self->dropConnection("The control plane reads too slowly: the outgoing queue is full");
      });
      return false;
    case net::SendResult::Closed:
      return false;
  }
  VC_UNREACHABLE("a SendResult that does not exist");
}

bool AgentCore::sendSoon(protocol::Payload payload) {
  if (!linkUp_) return false;
  ports_.loop().post([self = shared_from_this(), payload = std::move(payload)]() mutable {
    if (self->phase_ == Phase::Authenticated) self->send(std::move(payload));
  });
  return true;
}

void AgentCore::sendResult(const std::string& text) {
  auto decoded = protocol::decode(text);
  const auto* result = decoded ? std::get_if<protocol::IntentResult>(&decoded->payload) : nullptr;
  if (result == nullptr) return log(LogSeverity::Error, "A stored result cannot be read and is not sent");
  if (phase_ != Phase::Authenticated || !sendText(text)) {
    if (unsent_.size() >= kMaxUnsent) {
      log(LogSeverity::Error,
          "Too many results wait for a connection: the oldest is only sent when it is asked for again");
      unsent_.pop_front();
    }
    unsent_.push_back(text);
    return;
  }
  send(protocol::IntentAck{result->intentId.value, result->status == protocol::ResultStatus::Success, result->error});
}

// ---- hooks on lanes
// --------------------------------------------------------------------------------------------------

void AgentCore::callHook(const char* name, std::function<void(BaseAgentRuntime&)> hook) {
  if (stopping_) return;
  const bool queued = lanes_->submit(
      JobKind::Hook, [self = shared_from_this(), name, hook = std::move(hook)] { self->guardHook(name, hook); });
  if (!queued)
    log(LogSeverity::Error, std::string(name) + " is not called: too many hooks wait for the handler thread");
}

void AgentCore::guardHook(const char* name, const std::function<void(BaseAgentRuntime&)>& hook) {
  const HandlerScope scope(this);
  try {
    hook(agent_);
  } catch (const std::exception& e) {
    log(LogSeverity::Error, std::string(name) + " threw: " + e.what());
  } catch (...) {
    log(LogSeverity::Error, std::string(name) + " threw something that is no std::exception");
  }
}

Outcome AgentCore::runHandler(const std::shared_ptr<Call>& call, std::optional<std::string_view> action,
                              const std::function<std::string(CallContext&)>& handler) {
  const HandlerScope scope(this);
  const auto stoppedOutcome = [&](std::string text) {
    switch (call->reason.load()) {
      case StopReason::CallerCancelled:
        return Outcome{false, {}, "cancelled by the caller", Errc::Cancelled};
      case StopReason::Deadline:
        return Outcome{false, {}, "the deadline has passed", Errc::DeadlineExceeded};
      case StopReason::Shutdown:
        return Outcome{false, {}, "the agent is stopping", Errc::Interrupted};
      case StopReason::None:
        break;
    }
    return Outcome{false, {}, std::move(text), Errc::Failed};
  };
  if (call->stopped()) return stoppedOutcome("");
  try {
    if (Status allowed = admit(*call, action); !allowed)
      return {false, {}, allowed.error().message, allowed.error().code};
    CallContext context(call);
    Outcome outcome{true, handler(context), {}, Errc::Failed};
    // The caller has said that it wants no answer; the protocol promises it the code.
    if (call->reason.load() == StopReason::CallerCancelled) return stoppedOutcome("");
    return outcome;
  } catch (const std::exception& e) {
    const std::string text = printable(e.what(), 4096);
    return stoppedOutcome(text.empty() ? "the handler failed without a message" : text);
  } catch (...) {
    return stoppedOutcome("the handler threw something that is no std::exception");
  }
}

Status AgentCore::admit(const Call& call, std::optional<std::string_view> action) {
  policy::Request request;
  request.action = action;
  if (call.userDid) request.userDid = Did(*call.userDid);
  const TokenUsage budget = agent_.getDailyTokenUsageForBudget();
  const TokenUsage ours = usage_.today();
  const auto [grant, delegations] = shared_.with([&](Shared& s) {
    s.budgetToday = budget == ours ? std::nullopt : std::optional(budget);
    return std::pair(s.grant, s.delegations);
  });
  return usage_.admit(request, grant, delegations, budget);
}

// ---- stopping
// --------------------------------------------------------------------------------------------------------

void AgentCore::requestStop(std::string reason) {
  ports_.loop().post([self = shared_from_this(), reason = std::move(reason)] { self->halt(reason); });
}

void AgentCore::halt(std::string reason) {
  if (stopping_) return;
  stopping_ = true;
  stopReason_ = std::move(reason);
  linkUp_ = false;
  if (!stopReason_.empty()) log(LogSeverity::Error, stopReason_);
  dialing_.reset();
  reconnectTimer_.reset();
  heartbeatTimer_.reset();
  for (auto& [number, running] : calls_) stopCall(running.call, StopReason::Shutdown);
  for (auto& [id, wait] : approvals_) {
    if (!wait) continue;
    std::lock_guard lock(wait->mutex);
    if (!wait->response) wait->response = ToolApprovalResponse{id, false, "the agent is stopping"};
    wait->changed.notify_all();
  }
  approvals_.clear();
  continueStop();
}

// Each thing that stopping waits for calls this when it is over.
void AgentCore::continueStop() {
  if (!stopping_) return;
  {
    std::lock_guard lock(stopMutex_);
    runningNames_.clear();
    for (const auto& [number, running] : calls_)
      runningNames_.push_back(running.call->action + " (" + running.call->id + ")");
  }
  if (!calls_.empty() || stateOps_ > 0 || !heldChats_.empty()) return;
  if (phase_ == Phase::Idle || phase_ == Phase::Dialing || !connection_) return stopped();
  if (!expectedClose_) {
    expectedClose_ = "the agent stops";
    connection_->close(net::close_code::kNormal, "agent stops");
  }
}

void AgentCore::stopped() {
  linkUp_ = false;
  connection_.reset();
  ++connectionNumber_;
  handshakeTimer_.reset();
  heartbeatTimer_.reset();
  initiator_.reset();
  phase_ = Phase::Idle;
  journal_->setStatus(AgentStatus::Stopped, stopReason_);
  {
    std::lock_guard lock(stopMutex_);
    loopDone_ = true;
  }
  stopChanged_.notify_all();
}

void AgentCore::finishStop() {
  SteadyTime nextReport = ports_.clock().steady() + setup_.config.stopGrace;
  std::unique_lock lock(stopMutex_);
  while (!loopDone_) {
    if (ports_.clock().steady() >= nextReport) {
      std::string names;
      for (const auto& running : runningNames_) names += (names.empty() ? "" : ", ") + running;
      nextReport += setup_.config.stopGrace;
      lock.unlock();
      log(LogSeverity::Warn, "Stopping waits for " + (names.empty() ? std::string("the connection to close") : names));
      lock.lock();
      continue;
    }
    lock.unlock();
    const bool pumped = ports_.pump();
    lock.lock();
    if (!pumped) stopChanged_.wait_until(lock, nextReport, [this] { return loopDone_; });
  }
  lock.unlock();
  lanes_->close();
  // The identity may be used again at once, by another agent object; a task that still holds this core must not hold
  // the file as well.
  usage_.close();
  setup_.state.reset();
}

void AgentCore::setActiveLlm(std::string provider, std::string model) {
  shared_.with([&](Shared& s) { s.activeLlm = {std::move(provider), std::move(model)}; });
}

void AgentCore::fill(AgentInfo& info) const {
  info.id = did().value;
  info.uptime = uptime();
  info.tokensToday = usage_.today();
  shared_.with([&](const Shared& s) {
    info.capabilities = s.grant.capabilities;
    info.transport = s.transport;
    info.controlPlaneDid = s.controlPlaneDid;
    info.peers = s.peers;
    info.lastHeartbeat = s.lastHeartbeat;
  });
}

}  // namespace vaultysclaw::detail
