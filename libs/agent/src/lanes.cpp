#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>
#include <vector>

#include "agent/ports.hpp"

namespace vaultysclaw::detail {
namespace {

constexpr std::size_t kMaxWaitingHooks = 1024;

class ThreadLanes final : public Lanes {
 public:
  explicit ThreadLanes(std::size_t threads) {
    threads_.reserve(threads);
    try {
      for (std::size_t i = 0; i < threads; ++i) threads_.emplace_back([this] { run(); });
    } catch (...) {  // the system gives no more threads
      close();
      throw;
    }
  }
  ~ThreadLanes() override { close(); }

  bool submit(JobKind kind, Task job) override {
    {
      std::lock_guard lock(mutex_);
      if (closed_ || (kind == JobKind::Hook && hooks_ >= kMaxWaitingHooks)) return false;
      if (kind == JobKind::Hook) ++hooks_;
      jobs_.push_back({kind, std::move(job)});
    }
    wake_.notify_one();
    return true;
  }

  void close() override {
    {
      std::lock_guard lock(mutex_);
      closed_ = true;
    }
    wake_.notify_all();
    std::lock_guard joining(joinMutex_);
    for (auto& thread : threads_) {
      if (thread.joinable()) thread.join();
    }
  }

 private:
  struct Job {
    JobKind kind;
    Task work;
  };

  // The first job that may start now: any, but no hook beside another hook.
  std::deque<Job>::iterator next() {
    auto job = jobs_.begin();
    while (job != jobs_.end() && job->kind == JobKind::Hook && hookRuns_) ++job;
    return job;
  }

  void run() {
    std::unique_lock lock(mutex_);
    for (;;) {
      auto found = next();
      if (found == jobs_.end()) {
        if (closed_ && jobs_.empty()) return;
        wake_.wait(lock);
        continue;
      }
      Job job = std::move(*found);
      jobs_.erase(found);
      const bool hook = job.kind == JobKind::Hook;
      if (hook) {
        --hooks_;
        hookRuns_ = true;
      }
      lock.unlock();
      job.work();
      job.work = nullptr;  // what it holds is destroyed before another job may start
      lock.lock();
      if (hook) {
        hookRuns_ = false;
        wake_.notify_all();
      }
    }
  }

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Job> jobs_;   // guarded by mutex_, as what follows
  std::size_t hooks_ = 0;  // waiting
  bool hookRuns_ = false;
  bool closed_ = false;
  std::mutex joinMutex_;
  std::vector<std::thread> threads_;  // joined under joinMutex_
};

thread_local const void* currentEvents = nullptr;

// The thread starts with the first delivery: an agent without listeners and logs has none.
class ThreadEvents final : public EventQueue {
 public:
  ~ThreadEvents() override { close(); }

  void post(Task delivery) override {
    {
      std::lock_guard lock(mutex_);
      if (closed_) return;
      queue_.push_back(std::move(delivery));
      if (!thread_.joinable()) thread_ = std::thread([this] { run(); });
    }
    wake_.notify_one();
  }
  std::size_t backlog() const override {
    std::lock_guard lock(mutex_);
    return queue_.size();
  }
  bool isCurrent() const override { return currentEvents == this; }
  void close() override {
    std::thread thread;
    {
      std::lock_guard lock(mutex_);
      closed_ = true;
      thread.swap(thread_);
    }
    wake_.notify_all();
    if (thread.joinable()) thread.join();
  }

 private:
  void run() {
    currentEvents = this;
    std::unique_lock lock(mutex_);
    for (;;) {
      wake_.wait(lock, [this] { return closed_ || !queue_.empty(); });
      if (queue_.empty()) return;
      Task delivery = std::move(queue_.front());
      queue_.pop_front();
      lock.unlock();
      delivery();
      delivery = nullptr;
      lock.lock();
    }
  }

  mutable std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Task> queue_;  // guarded by mutex_, as what follows
  bool closed_ = false;
  std::thread thread_;
};

}  // namespace

std::unique_ptr<Lanes> makeThreadLanes(std::size_t threads) {
  return std::make_unique<ThreadLanes>(threads);
}
std::unique_ptr<EventQueue> makeThreadEvents() {
  return std::make_unique<ThreadEvents>();
}

}  // namespace vaultysclaw::detail
