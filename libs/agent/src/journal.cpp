#include "journal.hpp"

#include <algorithm>

#include "base/log.hpp"

namespace vaultysclaw::detail {
namespace {

template <class T>
std::vector<T> newest(const std::deque<T>& all, std::size_t limit) {
  const std::size_t skip = all.size() > limit ? all.size() - limit : 0;
  return {all.begin() + static_cast<std::ptrdiff_t>(skip), all.end()};
}

Json parsed(std::string_view text) {
  Json value = Json::parse(text, nullptr, false);
  return value.is_discarded() ? Json(nullptr) : value;
}

}  // namespace

Journal::Journal(Clock& clock, std::unique_ptr<EventQueue> events)
    : clock_(clock),
      listeners_(std::make_shared<Listeners<LogEntry>>(), std::make_shared<Listeners<StatusChanged>>(),
                 std::make_shared<Listeners<Heartbeat>>(), std::make_shared<Listeners<IntentReceived>>(),
                 std::make_shared<Listeners<IntentResult>>()),
      events_(std::move(events)) {}

template <class E>
void Journal::emit(E event) {
  const auto& listeners = std::get<std::shared_ptr<Listeners<E>>>(listeners_);
  if (listeners->empty()) return;
  events_->post([self = shared_from_this(), listeners, event = std::move(event)] {
    const std::string thrown = listeners->deliver(event);
    if (thrown.empty()) return;
    // Into the recent logs only: a log event here could make a throwing log listener throw for ever.
    std::lock_guard lock(self->mutex_);
    self->state_.logs.push_back(
        {self->clock_.now(), LogSeverity::Error, "A listener threw: " + printable(thrown), nullptr});
    if (self->state_.logs.size() > kMaxLogs) self->state_.logs.pop_front();
  });
}

void Journal::log(LogSeverity level, std::string message, Json data) {
  LogEntry entry{clock_.now(), level, printable(message, 4096), std::move(data)};
  {
    std::lock_guard lock(mutex_);
    state_.logs.push_back({entry.time, entry.level, entry.message, entry.data});
    if (state_.logs.size() > kMaxLogs) state_.logs.pop_front();
    if (events_->backlog() >= kMaxLogBacklog) {
      ++state_.droppedLogs;
      return;
    }
  }
  emit(std::move(entry));
}

void Journal::setStatus(AgentStatus status, std::string reason) {
  {
    std::lock_guard lock(mutex_);
    if (state_.status == AgentStatus::Stopped) return;
    state_.reason = reason;
    if (state_.status == status) return;
    state_.status = status;
  }
  changed_.notify_all();
  emit(StatusChanged{status, std::move(reason)});
}

void Journal::heartbeat(std::chrono::seconds uptime) {
  emit(Heartbeat{uptime});
}

void Journal::intentReceived(const std::string& intentId, const std::string& action, std::string_view params) {
  {
    std::lock_guard lock(mutex_);
    RecentIntent intent;
    intent.intentId = intentId;
    intent.action = action;
    intent.status = "pending";
    intent.receivedAt = clock_.now();
    state_.intents.push_back(std::move(intent));
    if (state_.intents.size() > kMaxIntents) state_.intents.pop_front();
  }
  if (heard<IntentReceived>()) emit(IntentReceived{intentId, action, parsed(params)});
}

void Journal::intentFinished(const std::string& intentId, bool success, std::optional<std::string_view> output,
                             std::optional<std::string> error) {
  const std::string status = success ? "success" : "failed";
  {
    std::lock_guard lock(mutex_);
    for (auto intent = state_.intents.rbegin(); intent != state_.intents.rend(); ++intent) {
      if (intent->intentId != intentId) continue;
      intent->status = status;
      intent->error = error;
      intent->completedAt = clock_.now();
      break;
    }
  }
  if (!heard<IntentResult>()) return;
  emit(IntentResult{intentId, status, output ? std::optional(parsed(*output)) : std::nullopt, std::move(error)});
}

AgentStatus Journal::status() const {
  std::lock_guard lock(mutex_);
  return state_.status;
}

std::string Journal::reason() const {
  std::lock_guard lock(mutex_);
  return state_.reason;
}

bool Journal::waitFor(AgentStatus status, std::chrono::milliseconds timeout, RuntimePorts& ports) const {
  constexpr std::chrono::hours kLongest{24 * 365};  // of durations that may be added to a time
  const SteadyTime until =
      ports.clock().steady() + std::clamp<std::chrono::milliseconds>(timeout, std::chrono::milliseconds(0), kLongest);
  std::unique_lock lock(mutex_);
  const auto over = [&] { return state_.status == status || state_.status == AgentStatus::Stopped; };
  while (!over() && ports.clock().steady() < until) {
    lock.unlock();
    const bool pumped = ports.pump();
    lock.lock();
    if (!pumped) changed_.wait_until(lock, until, over);
  }
  return state_.status == status;
}

std::vector<RecentLog> Journal::logs(std::size_t limit) const {
  std::lock_guard lock(mutex_);
  return newest(state_.logs, limit);
}

std::vector<RecentIntent> Journal::intents(std::size_t limit) const {
  std::lock_guard lock(mutex_);
  return newest(state_.intents, limit);
}

std::uint64_t Journal::droppedLogs() const {
  std::lock_guard lock(mutex_);
  return state_.droppedLogs;
}

}  // namespace vaultysclaw::detail
