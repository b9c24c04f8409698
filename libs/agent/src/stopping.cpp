// How an agent ends: running calls are told, their answers sent, the connection closed, the state let go.
#include <algorithm>

#include "core.hpp"
#include "handler_scope.hpp"

namespace vaultysclaw::detail {
namespace {

constexpr Duration kDrainTimeout = seconds(5);

}  // namespace

bool AgentCore::onHandlerThread(const AgentCore* core) {
  return core != nullptr && HandlerScope::current() == core;
}

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
  for (auto& [id, approval] : approvals_) {
    if (approval.wait) answerApproval(approval.wait, {id, false, "the agent is stopping"});
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
  if (!calls_.empty()) return;
  // From here on nothing but the control plane can hold us up, and it gets this long to read.
  if (connection_ && !draining_) {
    draining_ = true;
    drainTimer_ =
        ports_.loop().after(std::min<Duration>(kDrainTimeout, setup_.config.stopGrace), [weak = weak_from_this()] {
          auto self = weak.lock();
          if (!self || !self->connection_) return;
          self->log(LogSeverity::Warn, "The control plane does not read what the stopping agent sends; it is left");
          self->dropConnection({});
        });
  }
  if (!unstored_.empty()) storeAgain();  // once more
  flushSettled();
  if (stateOps_ > 0 || answers_.waiting()) return;
  if (phase_ == Phase::Idle || phase_ == Phase::Dialing || !connection_) return stopped();
  leave("the agent stops");
}

void AgentCore::stopped() {
  VC_ASSERT(calls_.empty() && stateOps_ == 0, "what a stopping agent waits for is over");
  linkUp_ = false;
  connection_.reset();
  ++connectionNumber_;
  handshakeTimer_.reset();
  sealTimer_.reset();
  heartbeatTimer_.reset();
  drainTimer_.reset();
  settleTimer_.reset();
  storeRetryTimer_.reset();
  answerTimer_.reset();
  answers_.clear();
  initiator_.reset();
  sealKeys_.reset();
  seal_.reset();
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
  if (Status saved = usage_.save(); !saved)
    log(LogSeverity::Error, "The usage counters cannot be stored: " + saved.error().message);
  usage_.close();
  setup_.state.reset();
}

}  // namespace vaultysclaw::detail
