// Time, execution and randomness under a test's control: the clock stands still, tasks run when the test says so.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <utility>

#include "base/ports.hpp"

namespace vaultysclaw::testing {

class FakeClock final : public Clock {
 public:
  explicit FakeClock(WallTime start = fromUnixMillis(1'780'000'000'000)) : wall_(start) {}
  WallTime now() override {
    std::lock_guard lock(mutex_);
    return wall_;
  }
  SteadyTime steady() override {
    std::lock_guard lock(mutex_);
    return steady_;
  }
  void advance(Duration d) {
    std::lock_guard lock(mutex_);
    steady_ += std::chrono::duration_cast<SteadyTime::duration>(d);
    remainder_ += d;
    const auto ms = std::chrono::floor<milliseconds>(remainder_);
    wall_ += ms;
    remainder_ -= ms;
  }
  // Moves the wall clock alone, as an operator or NTP does.
  void jumpWall(milliseconds by) {
    std::lock_guard lock(mutex_);
    wall_ += by;
  }

 private:
  std::mutex mutex_;
  WallTime wall_;
  SteadyTime steady_{std::chrono::hours(1)};
  Duration remainder_{0};
};

// Deterministic bytes from a seed.
class FakeEntropy final : public Entropy {
 public:
  explicit FakeEntropy(std::uint64_t seed = 1) : engine_(seed) {}
  void fill(std::span<std::uint8_t> out) override {
    std::lock_guard lock(mutex_);
    for (auto& b : out) b = static_cast<std::uint8_t>(engine_());
  }

 private:
  std::mutex mutex_;
  std::mt19937_64 engine_;
};

// A single-threaded Executor over a FakeClock. post() may come from any thread; everything else from the test's.
class FakeLoop final : public Executor {
 public:
  explicit FakeLoop(FakeClock& clock) : clock_(clock), state_(std::make_shared<State>()) {}
  ~FakeLoop() override {
    state_->closed = true;
    state_->timers.clear();
    drop();
  }

  void post(Task task) override {
    std::lock_guard lock(state_->mutex);
    if (!state_->closed) state_->ready.push_back(std::move(task));
  }
  Timer after(Duration delay, Task task) override {
    const Key key{clock_.steady() + std::chrono::duration_cast<SteadyTime::duration>(std::max(delay, Duration(0))),
                  state_->next++};
    state_->timers.emplace(key, std::move(task));
    return Timer([weak = std::weak_ptr<State>(state_), key] {
      if (auto state = weak.lock()) {
        auto node = state->timers.extract(key);  // destroyed after the map is consistent again
      }
    });
  }
  bool isCurrent() const override { return running_; }

  // Runs ready tasks, and those they post, until none is left; at most `maxTasks`. Returns how many ran.
  std::size_t runUntilIdle(std::size_t maxTasks = 1'000'000) {
    std::size_t ran = 0;
    while (ran < maxTasks && (runOne() || runDueTimer())) ++ran;
    return ran;
  }
  // Moves the clock to each timer in turn until `d` has passed, running what becomes ready.
  void advance(Duration d) {
    const SteadyTime end = clock_.steady() + std::chrono::duration_cast<SteadyTime::duration>(d);
    runUntilIdle();
    while (!state_->timers.empty() && state_->timers.begin()->first.first <= end) {
      clock_.advance(state_->timers.begin()->first.first - clock_.steady());
      runUntilIdle();
    }
    if (clock_.steady() < end) clock_.advance(end - clock_.steady());
    runUntilIdle();
  }
  std::size_t pendingTimers() const { return state_->timers.size(); }

 private:
  using Key = std::pair<SteadyTime, std::uint64_t>;
  struct State {
    std::mutex mutex;
    std::deque<Task> ready;  // guarded by mutex
    std::map<Key, Task> timers;
    std::uint64_t next = 0;
    bool closed = false;
  };

  void run(Task& task) {
    const bool outer = std::exchange(running_, true);
    task();
    running_ = outer;
  }
  bool runOne() {
    Task task;
    {
      std::lock_guard lock(state_->mutex);
      if (state_->ready.empty()) return false;
      task = std::move(state_->ready.front());
      state_->ready.pop_front();
    }
    run(task);
    return true;
  }
  bool runDueTimer() {
    auto& timers = state_->timers;
    if (timers.empty() || timers.begin()->first.first > clock_.steady()) return false;
    Task task = std::move(timers.begin()->second);
    timers.erase(timers.begin());
    run(task);
    return true;
  }
  void drop() {
    std::deque<Task> dropped;
    std::lock_guard lock(state_->mutex);
    dropped.swap(state_->ready);
  }

  FakeClock& clock_;
  std::shared_ptr<State> state_;
  bool running_ = false;
};

// Workers that run their tasks on a FakeLoop's turns: deterministic, no threads.
class LoopWorkers final : public Workers {
 public:
  explicit LoopWorkers(Executor& loop) : loop_(loop) {}
  bool submit(Task task) override {
    loop_.post(std::move(task));
    return true;
  }

 private:
  Executor& loop_;
};

}  // namespace vaultysclaw::testing
