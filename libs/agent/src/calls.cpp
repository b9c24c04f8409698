// What all calls have in common: room, deadlines, cancelling, running the handler, answering.
#include <algorithm>

#include "base/log.hpp"
#include "core.hpp"
#include "handler_scope.hpp"

namespace vaultysclaw::detail {
namespace {

// Between two lines about one stuck handler.
constexpr Duration kMaxStuckInterval = std::chrono::minutes(10);

// What the caller of a stopped call hears; `text` is for one that was not stopped.
Outcome outcomeOf(StopReason reason, std::string text) {
  switch (reason) {
    case StopReason::CallerCancelled:
      return {false, {}, "cancelled by the caller", Errc::Cancelled};
    case StopReason::Deadline:
      return {false, {}, "the deadline has passed", Errc::DeadlineExceeded};
    case StopReason::Shutdown:
      return {false, {}, "the agent is stopping", Errc::Interrupted};
    case StopReason::None:
      break;
  }
  return {false, {}, std::move(text), Errc::Failed};
}

}  // namespace

std::shared_ptr<Call> AgentCore::newCall(CallKind kind, std::string id, std::string action,
                                         std::optional<std::int64_t> timeoutMs) {
  auto call = std::make_shared<Call>();
  call->kind = kind;
  call->number = nextCall_++;
  call->id = std::move(id);
  call->action = std::move(action);
  call->callerDid = controlPlane_->did().value;
  call->core = weak_from_this();
  milliseconds limit = kind == CallKind::Knowledge ? setup_.config.knowledgeDeadline : setup_.config.defaultDeadline;
  constexpr std::int64_t kDayMs = 24 * 3600 * 1000;
  if (timeoutMs) limit = milliseconds(std::clamp<std::int64_t>(*timeoutMs, 0, kDayMs));
  call->deadline = ports_.clock().steady() + limit;
  return call;
}

Error AgentCore::pausedError(const std::string& reason) {
  return {Errc::PolicyDenied, "The agent is paused" + (reason.empty() ? "" : ": " + printable(reason))};
}

void AgentCore::setPaused(std::optional<std::string> reason) {
  if (!inUse_.has(identity::feature::kControlV2)) return;
  if (reason) {
    log(LogSeverity::Warn, pausedError(*reason).message);
  } else {
    log(LogSeverity::Info, "The agent is no longer paused");
  }
  shared_.with([&](Shared& s) { s.paused = reason; });
  paused_ = std::move(reason);
}

bool AgentCore::roomForCall() const {
  return waitingCalls_ + accepting_.size() < setup_.config.maxQueuedCalls && !journal_->overloaded();
}

bool AgentCore::launch(std::shared_ptr<Call> call, std::shared_ptr<ChatStream> stream, Task job) {
  if (stopping_) return false;
  Running running;
  running.call = call;
  running.stream = std::move(stream);
  running.deadline =
      ports_.loop().after(call->deadline - ports_.clock().steady(), [weak = weak_from_this(), number = call->number] {
        if (auto self = weak.lock()) self->onDeadline(number);
      });
  calls_.emplace(call->number, std::move(running));
  ++waitingCalls_;
  const bool queued = lanes_->submit(JobKind::Call, [self = shared_from_this(), job = std::move(job)] {
    --self->waitingCalls_;
    job();
  });
  if (!queued) {
    --waitingCalls_;
    calls_.erase(call->number);
  }
  return queued;
}

Outcome AgentCore::runHandler(const std::shared_ptr<Call>& call, std::optional<std::string_view> action,
                              const std::function<std::string(CallContext&)>& handler) {
  const HandlerScope scope(this);
  call->entered = true;
  if (call->stopped()) {
    releaseRequest(*call);
    return outcomeOf(call->reason, "");
  }
  try {
    if (Status allowed = admit(*call, action); !allowed)
      return {false, {}, allowed.error().message, allowed.error().code};
    CallContext context(call);
    Outcome outcome{true, handler(context), {}, Errc::Failed};
    // The caller has said that it wants no answer; the protocol promises it the code.
    if (call->reason.load() == StopReason::CallerCancelled) return outcomeOf(call->reason, "");
    return outcome;
  } catch (const std::exception& e) {
    releaseRequest(*call);  // if the gates have not judged it: an override of theirs may throw too
    const std::string text = printable(e.what(), 4096);
    return outcomeOf(call->reason, text.empty() ? "the handler failed without a message" : text);
  } catch (...) {
    releaseRequest(*call);
    return outcomeOf(call->reason, "the handler threw something that is no std::exception");
  }
}

void AgentCore::releaseRequest(Call& call) {
  if (call.reserved.exchange(false)) usage_.release();
}

Status AgentCore::admit(Call& call, std::optional<std::string_view> action) {
  policy::Request request;
  request.action = action;
  if (call.userDid) request.userDid = Did(*call.userDid);
  const TokenUsage budget = agent_.getDailyTokenUsageForBudget();
  const TokenUsage ours = usage_.today();
  const auto [grant, delegations, paused] = shared_.with([&](Shared& s) {
    s.budgetToday = budget == ours ? std::nullopt : std::optional(budget);
    return std::tuple(s.grant, s.delegations, s.paused);
  });
  if (paused) {
    releaseRequest(call);
    return pausedError(*paused);
  }
  const bool reserved = call.reserved.exchange(false);
  return usage_.admit(request, grant, delegations, budget,
                      reserved ? UsageBook::Reserved::Yes : UsageBook::Reserved::No);
}

void AgentCore::stopCall(const std::shared_ptr<Call>& call, StopReason reason) {
  StopReason none = StopReason::None;
  if (!call->reason.compare_exchange_strong(none, reason)) return;
  // Callbacks of the token are user code, which never runs on the loop.
  journal_->events().post([call] { call->stop.request_stop(); });
}

void AgentCore::onDeadline(std::uint64_t number) {
  const auto found = calls_.find(number);
  if (found == calls_.end()) return;
  const auto call = found->second.call;
  stopCall(call, StopReason::Deadline);
  // A handler that was told to stop before, and does not, leaves its caller without an answer no longer than this.
  answer(call, outcomeOf(call->reason, ""));
  watchStuck(number, setup_.config.stopGrace);
}

// A handler cannot be ended from outside; whoever wrote it has to hear which one keeps its thread.
void AgentCore::watchStuck(std::uint64_t number, Duration wait) {
  const auto found = calls_.find(number);
  if (found == calls_.end()) return;
  found->second.deadline = ports_.loop().after(wait, [weak = weak_from_this(), number, wait] {
    const auto self = weak.lock();
    if (!self) return;
    const auto running = self->calls_.find(number);
    if (running == self->calls_.end()) return;
    if (running->second.call->entered) self->reportStuck(*running->second.call);
    self->watchStuck(number, std::min(wait * 2, kMaxStuckInterval));
  });
}

void AgentCore::reportStuck(const Call& call) {
  shared_.with([&](Shared& s) {
    const bool known =
        std::any_of(s.stuck.begin(), s.stuck.end(), [&](const auto& one) { return one.number == call.number; });
    if (!known) s.stuck.push_back({call.number, call.action, call.id, call.deadline});
  });
  const auto overdue = std::chrono::duration_cast<seconds>(ports_.clock().steady() - call.deadline);
  log(LogSeverity::Warn, "The handler of " + printable(call.action) + " (" + printable(call.id) + ") still runs " +
                             std::to_string(overdue.count()) +
                             " s after its deadline and keeps its handler thread: look at CallContext::stopToken");
}

std::vector<StuckHandler> AgentCore::stuckHandlers(const Shared& shared) const {
  std::vector<StuckHandler> all;
  const SteadyTime now = ports_.clock().steady();
  for (const auto& one : shared.stuck)
    all.push_back({one.action, one.id, std::chrono::duration_cast<seconds>(now - one.deadline)});
  return all;
}

void AgentCore::onCancel(const protocol::Cancel& cancel) {
  if (cancel.intentId) {
    const auto accepting = accepting_.find(cancel.intentId->value);
    if (accepting != accepting_.end()) stopCall(accepting->second, StopReason::CallerCancelled);
  }
  for (auto& [number, running] : calls_) {
    const Call& call = *running.call;
    const bool meant =
        (cancel.intentId && call.kind == CallKind::Intent && call.id == cancel.intentId->value) ||
        (cancel.conversationId && call.kind == CallKind::Chat && call.id == cancel.conversationId->value) ||
        (cancel.requestId && call.kind == CallKind::Task && call.id == cancel.requestId->value);
    if (meant) stopCall(running.call, StopReason::CallerCancelled);
  }
}

// What the caller hears; the handler may still be at work.
void AgentCore::answer(const std::shared_ptr<Call>& call, const Outcome& outcome) {
  if (call->answered.exchange(true)) return;
  switch (call->kind) {
    case CallKind::Intent:
      return finishIntent(call, outcome);
    case CallKind::Chat: {
      // A handler that finished has closed its stream itself.
      const auto running = calls_.find(call->number);
      if (!outcome.success && running != calls_.end())
        endAnswer(*running->second.stream, {outcome.error, "llm_error", outcome.code});
      return;
    }
    case CallKind::Task:
    case CallKind::Knowledge:
      return finishTask(call, outcome);
  }
}

void AgentCore::endCall(const std::shared_ptr<Call>& call, const Outcome& outcome) {
  calls_.erase(call->number);
  shared_.with([&](Shared& s) { std::erase_if(s.stuck, [&](const auto& one) { return one.number == call->number; }); });
  if (call->kind == CallKind::Chat) {
    // Its stream has posted the end of the answer, which may wait behind chunks for a slow connection.
  } else if (call->answered) {
    log(LogSeverity::Warn, "Dropped the late result of " + printable(call->action) + " (" + printable(call->id) + ")");
  } else {
    answer(call, outcome);
  }
  continueStop();
}

}  // namespace vaultysclaw::detail
