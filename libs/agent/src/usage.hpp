// The durable counters behind the budget and rate gates. Internal.
#pragma once

#include <functional>
#include <mutex>
#include <optional>
#include <shared_mutex>
#include <string>
#include <vector>

#include "agent/state_file.hpp"
#include "policy/gate.hpp"
#include "vaultysclaw/types.hpp"

namespace vaultysclaw::detail {

// Synchronised. Memory is the truth while the process lives; every change is written before the function that makes it
// returns, unless it says otherwise.
class UsageBook {
 public:
  UsageBook(OpenState& state, store::StoredUsage stored, Clock& clock);

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
  // admit() or release(). Not written: see unsaved().
  void reserve();
  void release();

  // What the control plane has not acknowledged yet. The delta of an open sync stays as it is, with its id, until
  // acknowledge() of that id; what is used meanwhile waits for the next one.
  struct Sync {
    std::string id;
    TokenUsage delta;
    bool opened = false;  // and not stored yet: to be saved before the delta is told to anyone
  };
  Sync openSync(const std::string& newId);
  // False when `id` is not the open sync's. Not written: call saveSoon().
  bool acknowledge(const std::string& id);
  // Blocking.
  Status save();
  // Does not block. `then` runs on a worker once it is written, or with the error.
  void saveSoon(std::function<void(Status)> then);

  // What the file does not have yet, for a write that has another purpose of its own. Called by the work that writes
  // it; once that is durable, and before another one begins, saved() with the same.
  std::optional<store::StoredUsage> unsaved() const;
  void saved(const std::optional<store::StoredUsage>& written);

  // From now on nothing is written: the state is about to be closed.
  void close();

 private:
  void rollDay(store::StoredUsage& usage) const;
  store::StoredUsage toStore() const;

  // What save() asks of the file, and what follows when that is done.
  StateFile::Work writeUnsaved(std::shared_ptr<std::optional<store::StoredUsage>> taken) const;

  mutable std::shared_mutex stateMutex_;  // held by those who use the state while another thread may close it
  OpenState* state_;                      // guarded by stateMutex_; null once closed
  Clock& clock_;
  mutable std::mutex mutex_;
  store::StoredUsage usage_;    // guarded by mutex_, as what follows
  store::StoredUsage written_;  // what the file has
  std::int64_t reserved_ = 0;
};

}  // namespace vaultysclaw::detail
