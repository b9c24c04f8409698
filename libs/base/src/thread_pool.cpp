#include <pthread.h>

#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>
#include <vector>

#include "base/ports.hpp"

namespace vaultysclaw {
namespace {

class ThreadPool final : public Workers {
 public:
  ThreadPool(std::string name, std::size_t threads, std::size_t maxQueued)
      : name_(std::move(name)), maxQueued_(maxQueued) {
    name_.resize(std::min<std::size_t>(name_.size(), 15));  // what Linux keeps of a thread's name
    try {
      for (std::size_t i = 0; i < threads; ++i) threads_.emplace_back([this] { run(); });
    } catch (...) {  // the system gives no more threads
      stop();
      throw;
    }
  }
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;
  ~ThreadPool() override { stop(); }

  bool submit(Task task) override {
    bool wake = false;
    {
      std::lock_guard lock(mutex_);
      if (stopping_ || queue_.size() >= maxQueued_) return false;
      queue_.push_back(std::move(task));
      wake = wakeOne();
    }
    if (wake) wake_.notify_one();
    return true;
  }

 private:
  void stop() {
    {
      std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    wake_.notify_all();
    for (auto& t : threads_) t.join();
  }

  void run() {
    pthread_setname_np(pthread_self(), name_.c_str());
    for (;;) {
      Task task;
      bool wake = false;
      {
        std::unique_lock lock(mutex_);
        while (!stopping_ && queue_.empty()) {
          ++sleeping_;
          wake_.wait(lock);
          --sleeping_;
          waking_ = false;
        }
        if (queue_.empty()) return;
        task = std::move(queue_.front());
        queue_.pop_front();
        wake = wakeOne();
      }
      if (wake) wake_.notify_one();
      task();
    }
  }

  // With mutex_ held: whether somebody is to be woken for what is in the queue. A wake-up costs more than a short task,
  // so one is under way at a time: who wakes up takes a task and calls the next one if there is more.
  bool wakeOne() {
    if (waking_ || sleeping_ == 0 || queue_.empty()) return false;
    return waking_ = true;
  }

  std::string name_;
  const std::size_t maxQueued_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Task> queue_;    // guarded by mutex_
  bool stopping_ = false;     // guarded by mutex_
  bool waking_ = false;       // guarded by mutex_: notified, and nobody has woken up yet
  std::size_t sleeping_ = 0;  // guarded by mutex_
  std::vector<std::thread> threads_;
};

}  // namespace

std::unique_ptr<Workers> makeThreadPool(std::string name, std::size_t threads, std::size_t maxQueued) {
  return std::make_unique<ThreadPool>(std::move(name), threads, maxQueued);
}

}  // namespace vaultysclaw
