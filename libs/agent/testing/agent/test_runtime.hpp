// A Runtime whose time, network and threads belong to a test: everything runs on the test's thread, on a FakeLoop.
#pragma once

#include <deque>
#include <filesystem>
#include <memory>
#include <string>

#include "agent/ports.hpp"
#include "base/fake_loop.hpp"
#include "base/temporary_directory.hpp"
#include "net/memory_network.hpp"
#include "vaultysclaw/runtime.hpp"

namespace vaultysclaw::testing {

// Handlers on the loop's turns, or, while held, only when the test says so.
class LoopLanes final : public detail::Lanes {
 public:
  struct Control {
    bool held = false;
    std::deque<Task> waiting;
  };
  LoopLanes(Executor& loop, std::shared_ptr<Control> control) : loop_(loop), control_(std::move(control)) {}
  bool submit(detail::JobKind, Task job) override {
    if (closed_) return false;
    control_->waiting.push_back(std::move(job));
    if (!control_->held) loop_.post([control = control_] { runOne(*control); });
    return true;
  }
  void close() override {
    closed_ = true;
    while (runOne(*control_)) {
    }
  }
  static bool runOne(Control& control) {
    if (control.waiting.empty()) return false;
    Task job = std::move(control.waiting.front());
    control.waiting.pop_front();
    job();
    return true;
  }

 private:
  Executor& loop_;
  std::shared_ptr<Control> control_;
  bool closed_ = false;
};

class LoopEvents final : public detail::EventQueue {
 public:
  explicit LoopEvents(Executor& loop) : loop_(loop) {}
  void post(Task delivery) override {
    if (state_->closed) return;
    state_->queue.push_back(std::move(delivery));
    loop_.post([state = state_] { runOne(*state); });
  }
  std::size_t backlog() const override { return state_->queue.size(); }
  bool isCurrent() const override { return state_->running; }
  void close() override {
    while (runOne(*state_)) {
    }
    state_->closed = true;
  }

 private:
  struct State {
    std::deque<Task> queue;
    bool running = false;
    bool closed = false;
  };
  static bool runOne(State& state) {
    if (state.queue.empty()) return false;
    Task delivery = std::move(state.queue.front());
    state.queue.pop_front();
    const bool before = std::exchange(state.running, true);
    delivery();
    state.running = before;
    return true;
  }
  Executor& loop_;
  std::shared_ptr<State> state_ = std::make_shared<State>();
};

// Everything agents and control planes of one test share. One thread.
struct TestWorld {
  TemporaryDirectory dir;
  FakeClock clock;
  FakeEntropy entropy;
  FakeLoop loop{clock};
  MemoryNetwork network{loop};
  std::shared_ptr<LoopLanes::Control> lanes = std::make_shared<LoopLanes::Control>();
  identity::Features features = identity::Features::ours();  // of agents started from now on
  detail::OutboxLimits outboxLimits;                         // of agents made from now on
  std::function<bool()> agentWorkersTake;                    // asked for each task; false: they refuse it

  void run() { loop.runUntilIdle(); }
  void advance(Duration d) { loop.advance(d); }
  // Runs one handler that waits (see LoopLanes::Control::held), and what follows from it.
  bool runHandler() {
    const bool ran = LoopLanes::runOne(*lanes);
    run();
    return ran;
  }
  std::unique_ptr<Runtime> makeRuntime();
};

// On the loop's turns, unless the test lets them refuse.
class RefusingWorkers final : public Workers {
 public:
  explicit RefusingWorkers(TestWorld& world) : world_(world), workers_(world.loop) {}
  bool submit(Task task) override {
    return (!world_.agentWorkersTake || world_.agentWorkersTake()) && workers_.submit(std::move(task));
  }

 private:
  TestWorld& world_;
  LoopWorkers workers_;
};

class TestPorts final : public detail::RuntimePorts {
 public:
  explicit TestPorts(TestWorld& world)
      : world_(world), files_(makeSystemFileStore()), dialer_(world.network.dialer()), workers_(world) {}
  Executor& loop() override { return world_.loop; }
  Clock& clock() override { return world_.clock; }
  Entropy& entropy() override { return world_.entropy; }
  FileStore& files() override { return *files_; }
  net::Dialer& dialer() override { return *dialer_; }
  Workers& stateWorkers() override { return workers_; }
  std::unique_ptr<detail::Lanes> makeLanes(std::size_t) override {
    return std::make_unique<LoopLanes>(world_.loop, world_.lanes);
  }
  std::unique_ptr<detail::EventQueue> makeEvents() override { return std::make_unique<LoopEvents>(world_.loop); }
  Result<std::unique_ptr<detail::OpenState>> openState(const std::filesystem::path& path, const Did& agent) override {
    return stateFiles_.open(path, agent);
  }
  identity::Features features() override { return world_.features; }
  detail::OutboxLimits outboxLimits() override { return world_.outboxLimits; }
  bool pump() override {
    world_.loop.advance(milliseconds(100));
    return true;
  }

 private:
  TestWorld& world_;
  std::unique_ptr<FileStore> files_;
  std::unique_ptr<net::Dialer> dialer_;
  RefusingWorkers workers_;
  detail::StateFiles stateFiles_{workers_, Duration(0)};
};

inline std::unique_ptr<Runtime> TestWorld::makeRuntime() {
  return std::make_unique<Runtime>(std::make_unique<TestPorts>(*this));
}

}  // namespace vaultysclaw::testing
