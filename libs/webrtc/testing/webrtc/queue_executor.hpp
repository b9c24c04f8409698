// An Executor that the test's own thread runs, until something holds: for code whose other half is a real thread.
#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>

#include "base/ports.hpp"

namespace vaultysclaw::testing {

// post() from any thread; the rest from the test's. Without timers.
class QueueExecutor final : public Executor {
 public:
  void post(Task task) override {
    std::lock_guard lock(mutex_);
    tasks_.push_back(std::move(task));
    changed_.notify_one();
  }
  Timer after(Duration, Task) override { return {}; }
  bool isCurrent() const override { return running_; }

  // Runs what is posted until `done` says so; false when it does not within `patience`.
  bool runUntil(const std::function<bool()>& done, Duration patience = seconds(30)) {
    const auto deadline = std::chrono::steady_clock::now() + patience;
    std::unique_lock lock(mutex_);
    for (;;) {
      while (!tasks_.empty()) {
        Task task = std::move(tasks_.front());
        tasks_.pop_front();
        lock.unlock();
        running_ = true;
        task();
        running_ = false;
        task = nullptr;
        lock.lock();
      }
      lock.unlock();
      if (done()) return true;
      lock.lock();
      if (!tasks_.empty()) continue;
      if (changed_.wait_until(lock, deadline) == std::cv_status::timeout && tasks_.empty()) return false;
    }
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Task> tasks_;  // guarded by mutex_
  bool running_ = false;
};

}  // namespace vaultysclaw::testing
