// Marks a thread as one of a core's handlers. Internal.
#pragma once

#include <utility>

namespace vaultysclaw::detail {

class AgentCore;

// For a scope of the current thread; used by every job.
class HandlerScope {
 public:
  explicit HandlerScope(const AgentCore* core) : before_(std::exchange(current_, core)) {}
  ~HandlerScope() { current_ = before_; }
  HandlerScope(const HandlerScope&) = delete;
  HandlerScope& operator=(const HandlerScope&) = delete;
  static const AgentCore* current() { return current_; }

 private:
  inline static thread_local const AgentCore* current_ = nullptr;
  const AgentCore* before_;
};

}  // namespace vaultysclaw::detail
