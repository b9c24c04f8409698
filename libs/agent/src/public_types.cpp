// The small public classes: contexts, errors, peers, names.
#include <ostream>

#include "core.hpp"
#include "vaultysclaw/agent.hpp"

namespace vaultysclaw {

AgentError::~AgentError() = default;
PeerError::~PeerError() = default;
CallStopped::~CallStopped() = default;

std::string_view toString(AgentStatus status) {
  switch (status) {
    case AgentStatus::Initializing:
      return "initializing";
    case AgentStatus::Connecting:
      return "connecting";
    case AgentStatus::PendingApproval:
      return "pending_approval";
    case AgentStatus::Connected:
      return "connected";
    case AgentStatus::Reconnecting:
      return "reconnecting";
    case AgentStatus::Stopped:
      return "stopped";
  }
  return "unknown";
}

std::string_view toString(LogSeverity severity) {
  switch (severity) {
    case LogSeverity::Debug:
      return "debug";
    case LogSeverity::Info:
      return "info";
    case LogSeverity::Warn:
      return "warn";
    case LogSeverity::Error:
      return "error";
  }
  return "unknown";
}

std::string_view toString(StopReason reason) {
  switch (reason) {
    case StopReason::None:
      return "none";
    case StopReason::Shutdown:
      return "shutdown";
    case StopReason::Deadline:
      return "deadline";
    case StopReason::CallerCancelled:
      return "caller_cancelled";
  }
  return "unknown";
}

std::ostream& operator<<(std::ostream& out, AgentStatus status) {
  return out << toString(status);
}
std::ostream& operator<<(std::ostream& out, LogSeverity severity) {
  return out << toString(severity);
}
std::ostream& operator<<(std::ostream& out, StopReason reason) {
  return out << toString(reason);
}

// ---- CallContext
// -----------------------------------------------------------------------------------------------------

CallContext::CallContext(std::shared_ptr<detail::Call> call) : call_(std::move(call)) {}
CallContext::~CallContext() = default;

std::optional<std::string> CallContext::callerDid() const {
  return call_->callerDid.empty() ? std::nullopt : std::optional(call_->callerDid);
}
const std::string& CallContext::intentId() const {
  return call_->intentId;
}
const std::string& CallContext::conversationId() const {
  return call_->conversationId;
}
CallOptions CallContext::options() const {
  return call_->options;
}
const std::string& CallContext::traceparent() const {
  return call_->traceparent;
}
const std::string& CallContext::tracestate() const {
  return call_->tracestate;
}
std::chrono::steady_clock::time_point CallContext::deadline() const {
  return call_->deadline;
}
std::stop_token CallContext::stopToken() const {
  return call_->stop.get_token();
}
bool CallContext::stopRequested() const {
  return call_->stopped();
}
StopReason CallContext::stopReason() const {
  return call_->reason.load();
}
void CallContext::throwIfStopped() const {
  if (stopRequested()) throw CallStopped("the call was stopped: " + std::string(toString(stopReason())));
}

Json CallContext::invokePeer(std::string_view targetDid, std::string_view action, const Json& params) {
  PeerManager peers;
  return peers.invoke(targetDid, action, params);
}

void CallContext::addUsage(std::int64_t promptTokens, std::int64_t completionTokens) {
  const auto core = call_->core.lock();
  if (!core) return;
  if (Status saved = core->usage().add({promptTokens, completionTokens}); !saved)
    core->journal().log(LogSeverity::Error, "The usage counters cannot be stored: " + saved.error().message);
}

// ---- PeerManager
// -----------------------------------------------------------------------------------------------------

struct PeerManager::Impl {
  Guarded<std::vector<AgentPeerGrant>> catalog;
};

namespace {

[[noreturn]] void noPeersYet() {
  throw PeerError("unsupported", "peer-to-peer calls are not available yet in this version");
}

}  // namespace

PeerManager::PeerManager() : impl_(std::make_unique<Impl>()) {}
PeerManager::~PeerManager() = default;
void PeerManager::updatePeerCatalog(std::span<const AgentPeerGrant> grants) {
  impl_->catalog.with([&](auto& catalog) { catalog.assign(grants.begin(), grants.end()); });
}
std::vector<AgentPeerGrant> PeerManager::peerCatalog() const {
  return impl_->catalog.with([](const auto& catalog) { return catalog; });
}
Json PeerManager::invoke(std::string_view, std::string_view, const Json&) {
  noPeersYet();
}
void PeerManager::onInvoke(InvokeHandler) {
  noPeersYet();
}
void PeerManager::startListening() {
  noPeersYet();
}

}  // namespace vaultysclaw
