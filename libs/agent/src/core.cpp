#include "core.hpp"

#include <algorithm>

#include "base/log.hpp"
#include "convert.hpp"
#include "handler_scope.hpp"

namespace vaultysclaw::detail {
namespace {

constexpr Duration kHandshakeTimeout = seconds(60);
constexpr int kMaxBadMessages = 100;

template <class... F>
struct Overloaded : F... {
  using F::operator()...;
};
template <class... F>
Overloaded(F...) -> Overloaded<F...>;

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
  // The URL may name this machine, and yet lead elsewhere: through a proxy, or because the name resolves that way.
  if ((*connection)->peer().protection == net::Protection::None && !setup_.config.allowPlaintext)
    return scheduleDial(
        "The connection to " + setup_.wsUrl + " is not encrypted and ends on another machine (" +
        printable((*connection)->peer().address) +
        "): everyone on the path could read and change everything. Use wss://, let no proxy be used for "
        "it, or set allowPlaintext for a network you trust");
  connection_ = std::move(connection).value();
  const std::uint64_t number = ++connectionNumber_;
  phase_ = Phase::AwaitChallenge;
  badMessages_ = earlyHandshakes_ = 0;
  serverClock_.reset();
  shared_.with([&](Shared& s) { s.transport = connection_->peer().transport; });
  armHandshakeTimer(kHandshakeTimeout, "The handshake was not complete after 60 s");
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

void AgentCore::armHandshakeTimer(Duration limit, std::string why) {
  handshakeTimer_ = ports_.loop().after(limit, [weak = weak_from_this(), why = std::move(why)] {
    if (auto self = weak.lock()) self->dropConnection(why + self->clockHint());
  });
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
  candidateText_.clear();
  foreignPeer_.reset();
  sessionId_.clear();
  expectedClose_.reset();
  heldChats_.clear();
  heldChatBytes_ = 0;
  shared_.with([](Shared& s) { s.transport.clear(); });
  for (auto& [number, running] : calls_) {
    // Nobody listens to a chat any more; an intent's result is kept for the next connection.
    if (running.call->kind != CallKind::Chat) continue;
    running.call->answered = true;
    if (!stopping_) stopCall(running.call, StopReason::CallerCancelled);
  }
  if (stopping_) {
    phase_ = Phase::Idle;
    return continueStop();
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
                   // Anyone may say this before it has proved who it is; a log line is all it gets.
                   if (phase_ == Phase::Authenticated)
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

std::string AgentCore::compose(protocol::Payload payload) {
  protocol::Message message;
  message.messageId = newId();
  const bool named =
      !std::holds_alternative<protocol::Register>(payload) && !std::holds_alternative<protocol::AuthChallenge>(payload);
  if (named) message.agentId = did().value;
  message.timestamp = toIso8601(ports_.clock().now());
  message.payload = std::move(payload);
  return protocol::encode(message);
}

// Read back, so that it is judged by the rules of whoever receives it.
Result<std::string> AgentCore::composeChecked(protocol::Payload payload) {
  const std::string type(protocol::typeName(payload));
  std::string text = compose(std::move(payload));
  if (auto valid = protocol::decode(text); !valid)
    return Error{valid.error().code, "this " + type + " cannot be sent: " + valid.error().message};
  return text;
}

bool AgentCore::send(protocol::Payload payload) {
  return sendText(compose(std::move(payload)));
}

bool AgentCore::sendText(std::string text) {
  if (!connection_) return false;
  if (text.size() > protocol::kMaxMessageBytes) {
    log(LogSeverity::Error, "A message of " + std::to_string(text.size()) + " bytes is not sent: 16 MiB is the limit");
    return false;
  }
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
  auto text = composeChecked(std::move(payload));
  if (!text) {
    log(LogSeverity::Error, text.error().message);
    return false;
  }
  ports_.loop().post([self = shared_from_this(), text = std::move(text).value()]() mutable {
    if (self->phase_ == Phase::Authenticated) self->sendText(std::move(text));
  });
  return true;
}

// ---- hooks on lanes
// --------------------------------------------------------------------------------------------------

bool AgentCore::callHook(const char* name, std::function<void(BaseAgentRuntime&)> hook) {
  if (stopping_) return false;
  const bool queued = lanes_->submit(
      JobKind::Hook, [self = shared_from_this(), name, hook = std::move(hook)] { self->guardHook(name, hook); });
  if (!queued)
    log(LogSeverity::Error, std::string(name) + " is not called: too many hooks wait for the handler thread");
  return queued;
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
