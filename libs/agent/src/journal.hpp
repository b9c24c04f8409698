// What an agent shows: status, recent logs and intents, events. Internal.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <tuple>
#include <vector>

#include "agent/ports.hpp"
#include "base/guarded.hpp"
#include "vaultysclaw/events.hpp"

namespace vaultysclaw::detail {

// The listeners of one event type. Synchronised. A listener that is being removed on another thread than the one that
// delivers has returned when remove() does.
template <class E>
class Listeners : public std::enable_shared_from_this<Listeners<E>> {
 public:
  using Listener = std::function<void(const E&)>;

  Subscription add(Listener listener, const EventQueue* queue) {
    auto entry = std::make_shared<Entry>();
    entry->listener = std::move(listener);
    all_.with([&](auto& all) { all.push_back(entry); });
    return Subscription([weak = this->weak_from_this(), entry, queue] {
      const auto self = weak.lock();
      if (!self) return;
      self->all_.with([&](auto& all) { std::erase(all, entry); });
      entry->removed.store(true);
      // From within a delivery the listener may be the caller itself: no waiting there.
      if (!queue->isCurrent()) std::lock_guard waits(entry->running);
    });
  }
  bool empty() const {
    return all_.with([](const auto& all) { return all.empty(); });
  }
  // Returns the text of what listeners threw, empty if nothing.
  std::string deliver(const E& event) {
    std::string thrown;
    for (const auto& entry : all_.with([](const auto& all) { return all; })) {
      std::lock_guard running(entry->running);
      if (entry->removed.load()) continue;
      try {
        entry->listener(event);
      } catch (const std::exception& e) {
        thrown = e.what();
      } catch (...) {
        thrown = "something that is no std::exception";
      }
    }
    return thrown;
  }

 private:
  struct Entry {
    Listener listener;
    std::recursive_mutex running;  // held while the listener runs
    std::atomic<bool> removed{false};
  };
  Guarded<std::vector<std::shared_ptr<Entry>>> all_;
};

// Synchronised; never calls user code on the caller's thread. Owned (shared) by the agent's handle and its core.
class Journal : public std::enable_shared_from_this<Journal> {
 public:
  Journal(Clock& clock, std::unique_ptr<EventQueue> events);

  void log(LogSeverity level, std::string message, Json data = nullptr);
  // Emits StatusChanged when the status differs. Stopped is final.
  void setStatus(AgentStatus status, std::string reason);
  void heartbeat(std::chrono::seconds uptime);
  // `params` and `output` are JSON text, parsed only when somebody listens.
  void intentReceived(const std::string& intentId, const std::string& action, std::string_view params);
  void intentFinished(const std::string& intentId, bool success, std::optional<std::string_view> output,
                      std::optional<std::string> error);

  template <class E>
  Subscription on(std::function<void(const E&)> listener) {
    return std::get<std::shared_ptr<Listeners<E>>>(listeners_)->add(std::move(listener), events_.get());
  }

  AgentStatus status() const;
  std::string reason() const;
  // Waits for `status`; false at `until` (of the steady system clock) or when Stopped came instead.
  bool waitFor(AgentStatus status, std::chrono::milliseconds timeout, RuntimePorts& ports) const;
  std::vector<RecentLog> logs(std::size_t limit) const;
  std::vector<RecentIntent> intents(std::size_t limit) const;
  std::uint64_t droppedLogs() const;
  EventQueue& events() { return *events_; }
  // Whether so many events wait that new work should be refused.
  bool overloaded() const { return events_->backlog() > kMaxBacklog; }

 private:
  static constexpr std::size_t kMaxLogs = 200, kMaxIntents = 100, kMaxLogBacklog = 1024, kMaxBacklog = 4096;
  struct State {
    AgentStatus status = AgentStatus::Initializing;
    std::string reason;
    std::deque<RecentLog> logs;
    std::deque<RecentIntent> intents;
    std::uint64_t droppedLogs = 0;
  };

  template <class E>
  void emit(E event);
  template <class E>
  bool heard() const {
    return !std::get<std::shared_ptr<Listeners<E>>>(listeners_)->empty();
  }

  Clock& clock_;
  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  State state_;  // guarded by mutex_
  std::tuple<std::shared_ptr<Listeners<LogEntry>>, std::shared_ptr<Listeners<StatusChanged>>,
             std::shared_ptr<Listeners<Heartbeat>>, std::shared_ptr<Listeners<IntentReceived>>,
             std::shared_ptr<Listeners<IntentResult>>>
      listeners_;
  std::unique_ptr<EventQueue> events_;
};

}  // namespace vaultysclaw::detail
