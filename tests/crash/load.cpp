#include "load.hpp"

#include "caller.hpp"

namespace vaultysclaw::crash {

Load::Load(LoadPlan plan, Ledger& ledger) : plan_(std::move(plan)), ledger_(ledger) {
  busy_ = plan_.callers;
  for (int i = 0; i < plan_.callers; ++i) threads_.emplace_back([this, i] { call(i); });
}

Load::~Load() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  changed_.notify_all();
  for (auto& thread : threads_) thread.join();
}

void Load::resume() {
  {
    const std::lock_guard lock(mutex_);
    running_ = true;
  }
  changed_.notify_all();
}

void Load::quiesce() {
  std::unique_lock lock(mutex_);
  running_ = false;
  changed_.wait(lock, [this] { return busy_ == 0; });
}

std::string Load::failure() const {
  const std::lock_guard lock(mutex_);
  return failure_;
}

bool Load::waitForWork() {
  std::unique_lock lock(mutex_);
  if (running_ && !ending_) return true;
  --busy_;
  changed_.notify_all();
  changed_.wait(lock, [this] { return running_ || ending_; });
  ++busy_;
  return !ending_;
}

void Load::call(int number) {
  try {
    Caller caller(plan_, ledger_, number);
    while (waitForWork()) {
      ++requests_;
      if (!caller.act()) ++unanswered_;
      caller.rest();
    }
  } catch (const std::exception& e) {
    const std::lock_guard lock(mutex_);
    failure_ = e.what();
  }
  const std::lock_guard lock(mutex_);
  --busy_;
  changed_.notify_all();
}

}  // namespace vaultysclaw::crash
