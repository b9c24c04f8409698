// What an agent tells its listeners: on<LogEntry>(...), on<StatusChanged>(...) and so on.
#pragma once

#include <functional>
#include <utility>

#include "vaultysclaw/types.hpp"

namespace vaultysclaw {

struct VC_API LogEntry {
  Timestamp time{};
  LogSeverity level = LogSeverity::Info;
  std::string message;  // holds no secret, but may hold text of others: made printable
  Json data = nullptr;
};
struct VC_API StatusChanged {
  AgentStatus status = AgentStatus::Initializing;
  std::string reason;  // why, and what to do about it; empty when all is well
};
struct VC_API Heartbeat {
  std::chrono::seconds uptime{0};
};
struct VC_API IntentReceived {
  std::string intentId;
  std::string action;
  Json params;
};
struct VC_API IntentResult {
  std::string intentId;
  std::string status;  // "success" or "failed"
  std::optional<Json> output = {};
  std::optional<std::string> error = {};
};

// Keeps a listener registered; destroying or resetting it ends that. When it is destroyed on another thread than the
// event thread, a call of the listener that has begun has ended when the destructor returns. Move-only; one thread at a
// time. Declare it after the agent, or let it outlive the agent: both work.
class [[nodiscard]] VC_API Subscription {
 public:
  Subscription() = default;
  explicit Subscription(std::function<void()> cancel) : cancel_(std::move(cancel)) {}
  Subscription(Subscription&& other) noexcept : cancel_(std::exchange(other.cancel_, nullptr)) {}
  Subscription& operator=(Subscription&& other) noexcept {
    if (this != &other) {
      reset();
      cancel_ = std::exchange(other.cancel_, nullptr);
    }
    return *this;
  }
  Subscription(const Subscription&) = delete;
  Subscription& operator=(const Subscription&) = delete;
  ~Subscription() { reset(); }

  void reset() {
    if (auto cancel = std::exchange(cancel_, nullptr)) cancel();
  }
  // Leaves the listener registered for the agent's life.
  void release() { cancel_ = nullptr; }

 private:
  std::function<void()> cancel_;
};

}  // namespace vaultysclaw
