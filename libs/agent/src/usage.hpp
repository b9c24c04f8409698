// The durable counters behind the budget and rate gates. Internal.
#pragma once

#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "policy/gate.hpp"
#include "store/agent_state.hpp"
#include "vaultysclaw/types.hpp"

namespace vaultysclaw::detail {

// Synchronised. Memory is the truth while the process lives; every change is written before the function that makes it
// returns, unless it says otherwise.
class UsageBook {
 public:
  UsageBook(store::AgentState& state, store::StoredUsage stored, Clock& clock);

  TokenUsage today() const;
  TokenUsage total() const;
  // Blocking.
  Status add(const TokenUsage& tokens);
  // The gates, and the count of the request they allow; both or neither. Blocking, unless a reservation pays for it.
  enum class Reserved : bool { No, Yes };
  Status admit(const policy::Request& request, const policy::Grant& grant,
               const std::vector<policy::LiveDelegation>& delegations, const TokenUsage& budgetToday,
               Reserved reserved = Reserved::No);
  // A request that the gates are still to judge. What is written counts it as made, so that it may be judged and run
  // without another write; whether it counts against others is decided by the gates. Each reservation ends with one
  // admit() or release(). Not written: see saveWith().
  void reserve();
  void release();

  // What the control plane has not acknowledged yet. The delta of an open sync stays as it is, with its id, until
  // acknowledge() of that id; what is used meanwhile waits for the next one.
  struct Sync {
    std::string id;
    TokenUsage delta;
    bool opened = false;  // just now: call save() on a thread that may block before the delta is told to anyone
  };
  Sync openSync(const std::string& newId);
  // False when `id` is not the open sync's. Not written: call save() on a thread that may block.
  bool acknowledge(const std::string& id);
  // Blocking.
  Status save();
  // Calls `write`, which returns a Result, with what the file does not have yet, or nothing; it has it when `write`
  // succeeds. For a write that has another purpose of its own. Blocking.
  template <class F>
  auto saveWith(F&& write) {
    std::lock_guard saving(saving_);
    const store::StoredUsage now = toStore();
    const bool changed = !(now == written_);
    auto result = write(changed ? std::optional(now) : std::nullopt);
    if (result.ok()) written_ = now;
    return result;
  }
  // From now on nothing is written: the state is about to be closed.
  void close();

 private:
  void rollDay(store::StoredUsage& usage) const;
  store::StoredUsage toStore() const;

  store::AgentState* state_;  // guarded by saving_; null once closed
  Clock& clock_;
  mutable std::mutex mutex_;
  store::StoredUsage usage_;    // guarded by mutex_
  std::int64_t reserved_ = 0;   // guarded by mutex_
  std::mutex saving_;           // taken before mutex_: writes happen in the order of what they write
  store::StoredUsage written_;  // guarded by saving_
};

}  // namespace vaultysclaw::detail
