// What the agent runtime needs from the outside world. Runtime holds the real ones; tests pass their own. Internal: not
// installed.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>

#include "agent/state_file.hpp"
#include "base/ports.hpp"
#include "identity/features.hpp"
#include "net/connection.hpp"

namespace vaultysclaw::detail {

enum class JobKind : std::uint8_t { Call, Hook };

// The handler threads of one agent. Jobs start in the order submitted; of Hook jobs only one runs at a time.
// Synchronised.
class Lanes {
 public:
  virtual ~Lanes() = default;
  // False when closed, or when 1024 hooks wait already; the job is then destroyed unrun. Calls are bounded by the
  // caller.
  [[nodiscard]] virtual bool submit(JobKind kind, Task job) = 0;
  // Runs what is queued, then ends the threads. Blocking; idempotent.
  virtual void close() = 0;
};

// Runs event deliveries in order, away from every lock. Synchronised.
class EventQueue {
 public:
  virtual ~EventQueue() = default;
  virtual void post(Task delivery) = 0;
  virtual std::size_t backlog() const = 0;
  virtual bool isCurrent() const = 0;
  // Runs what is queued, then ends the thread. Blocking; idempotent; not from a delivery.
  virtual void close() = 0;
};

// Real threads and sockets; `stateThreads`: of stateWorkers().
class RuntimePorts;
std::unique_ptr<RuntimePorts> makeSystemPorts(std::size_t stateThreads);
std::unique_ptr<Lanes> makeThreadLanes(std::size_t threads);
std::unique_ptr<EventQueue> makeThreadEvents();

// Results that may wait for the control plane (docs/protocol.md 7.5); with more, new intents are refused.
struct OutboxLimits {
  std::size_t results = 10'000;
  std::size_t bytes = std::size_t{256} << 20;
};

// Outlives the agents. The references are valid for its life.
class RuntimePorts {
 public:
  virtual ~RuntimePorts() = default;
  virtual Executor& loop() = 0;
  virtual Clock& clock() = 0;
  virtual Entropy& entropy() = 0;
  virtual FileStore& files() = 0;
  virtual net::Dialer& dialer() = 0;
  // For state files and the signatures of intents and results. Each agent keeps its own order.
  virtual Workers& stateWorkers() = 0;
  virtual std::unique_ptr<Lanes> makeLanes(std::size_t threads) = 0;
  virtual std::unique_ptr<EventQueue> makeEvents() = 0;
  // Of one state file for all agents that name it. Conflict when another process has it, or `agent` is open already.
  virtual Result<std::unique_ptr<OpenState>> openState(const std::filesystem::path& path, const Did& agent,
                                                       store::OnDamagedRow onDamagedRow) = 0;
  // What agents list in their handshakes, and what they keep. A test may have less.
  virtual identity::Features features() { return identity::Features::ours(); }
  virtual OutboxLimits outboxLimits() { return {}; }
  // Called instead of sleeping while a function of the public API waits; false: nothing to pump, so sleep. A test whose
  // loop runs on its own thread lets time pass here.
  virtual bool pump() { return false; }
};

}  // namespace vaultysclaw::detail
