#include "core.hpp"

#include <algorithm>

#include "base/log.hpp"
#include "convert.hpp"
#include "handler_scope.hpp"

namespace vaultysclaw::detail {
namespace {

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
      worker_(std::make_shared<SerialQueue>(ports.stateWorkers())),
      startedAt_(ports.clock().steady()),
      backoff_(backoffOptions(setup_.config.backoff), ports.entropy()),
      announced_(setup_.config.requestedCapabilities),
      outbox_(ports.outboxLimits()),
      answers_(ports.clock()) {
  if (setup_.pin) {
    controlPlane_ = setup_.pin->id;
    trustedDid_ = setup_.pin->did;
    listed_ = setup_.pin->features;
    shared_.with([&](Shared& s) { s.controlPlaneDid = trustedDid_; });
  }
  loadDelegations();
}

AgentCore::~AgentCore() = default;

void AgentCore::backOnLoop(Task then) {
  ports_.loop().post([self = shared_from_this(), then = std::move(then)] {
    --self->stateOps_;
    then();
    self->continueStop();
  });
}

void AgentCore::begin() {
  ports_.loop().post([self = shared_from_this()] {
    if (self->stopping_) return;
    self->journal_->setStatus(AgentStatus::Connecting, "");
    self->dial();
  });
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
      Overloaded{[&](Intent& m) { onIntent(message, m); },
                 [&](ChatRequest& m) { onChat(message.messageId, m); },
                 [&](ChatResume& m) { onChatResume(m); },
                 [&](Cancel& m) { onCancel(m); },
                 [&](ResultAck& m) { onResultAck(m); },
                 [&](Pause& m) { setPaused(std::move(m.reason)); },
                 [&](Resume&) { setPaused(std::nullopt); },
                 [&](Pong& m) { onPong(m); },
                 [&](UpdateCapabilities& m) { onUpdateCapabilities(m); },
                 [&](DelegationUpdate& m) { onDelegations(m); },
                 [&](AgentPeerCatalog& m) { onPeerCatalog(m); },
                 [&](LlmConfigUpdate& m) { onLlmConfig(m); },
                 [&](SkillsConfig& m) { onSkills(m); },
                 [&](KnowledgeSync& m) { onKnowledge(m); },
                 [&](protocol::ToolApprovalResponse& m) { onApprovalResponse(m); },
                 [&](TaskEnqueue& m) { onTask(message, m); },
                 [&](ScheduleUpdate& m) {
                   callHook("onScheduleUpdate", [s = convert(m)](BaseAgentRuntime& a) { a.onScheduleUpdate(s); });
                 },
                 [&](ScheduleDelete& m) {
                   callHook("onScheduleDelete", [id = m.id](BaseAgentRuntime& a) { a.onScheduleDelete(id); });
                 },
                 [&](GetChatSessions& m) { onGetSessions(m); },
                 [&](GetChatHistory& m) { onGetHistory(m); },
                 [&](PolicyUpdate&) {
                   log(LogSeverity::Warn, "Ignored an obsolete policy_update: policies come with the certificate");
                   send(IntentAck{message.messageId, true, {}, {}});
                 },
                 [&](Unknown& m) { log(LogSeverity::Debug, "Ignored a message of unknown type " + printable(m.type)); },
                 [&](auto& m) {
                   log(LogSeverity::Warn,
                       "Ignored a message that only agents send: " + printable(typeName(Payload(m))));
                 }},
      message.payload);
}

std::string AgentCore::compose(protocol::Payload payload) {
  return encodeMessage(std::move(payload), did(), ports_.clock(), ports_.entropy());
}

// Read back, so that it is judged by the rules of whoever receives it.
Result<std::string> AgentCore::composeChecked(protocol::Payload payload) {
  const std::string type(protocol::typeName(payload));
  std::string text = compose(std::move(payload));
  if (auto valid = protocol::decode(text); !valid)
    return Error{valid.error().code, "this " + type + " cannot be sent: " + valid.error().message};
  return text;
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
    info.paused = s.paused;
    info.stuckHandlers = stuckHandlers(s);
  });
}

}  // namespace vaultysclaw::detail
