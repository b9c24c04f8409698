#include "serial_queue.hpp"

namespace vaultysclaw::detail {

bool SerialQueue::submit(Task task) {
  std::lock_guard lock(mutex_);
  if (waiting_.size() >= kMaxWaiting) return false;
  waiting_.push_back(std::move(task));
  if (running_) return true;
  running_ = workers_.submit([self = shared_from_this()] { self->run(); });
  if (!running_) waiting_.clear();
  return running_;
}

void SerialQueue::run() {
  std::vector<Task> batch;
  for (;;) {
    batch.clear();
    {
      std::lock_guard lock(mutex_);
      if (waiting_.empty()) {
        running_ = false;
        return;
      }
      batch.swap(waiting_);
    }
    for (Task& task : batch) {
      task();
      task = nullptr;  // what it holds goes before the next one runs
    }
  }
}

}  // namespace vaultysclaw::detail
