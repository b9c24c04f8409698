// The order of what workers do for one agent. Internal.
#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "base/ports.hpp"

namespace vaultysclaw::detail {

// Runs tasks one at a time and in order, on whichever worker is free: agents that share a Runtime do not wait for each
// other. Synchronised. Shared by its owner and the task under way; the workers outlive it.
class SerialQueue : public std::enable_shared_from_this<SerialQueue> {
 public:
  explicit SerialQueue(Workers& workers) : workers_(workers) {}

  // False when too many wait, or when the workers take no more; the task is then destroyed unrun.
  [[nodiscard]] bool submit(Task task);

 private:
  static constexpr std::size_t kMaxWaiting = 16'384;

  void run();

  Workers& workers_;
  std::mutex mutex_;
  std::vector<Task> waiting_;  // guarded by mutex_
  bool running_ = false;       // guarded by mutex_: run() is queued or at work
};

}  // namespace vaultysclaw::detail
