// The ids of peers that have proved themselves: when they come back, their keys need no check.
#pragma once

#include <cstddef>
#include <deque>
#include <mutex>
#include <set>

#include "identity/hash.hpp"
#include "identity/vaultys_id.hpp"

namespace vaultysclaw::control {

// A bounded set; the oldest goes first. Whether keys may be used depends on their bytes alone, so what was found once
// holds for ever; and who has proved an id owns its secret, so strangers cannot fill the set with what they make up.
// Synchronised: workers ask.
class ProvenIds {
 public:
  explicit ProvenIds(std::size_t limit = 16'384) : limit_(limit) {}  // about 120 bytes each

  // `id` exists, so its keys have passed the check.
  void add(const identity::VaultysId& id);
  // In the form, version 0 or 1, that was added.
  bool has(BytesView id) const;

 private:
  const std::size_t limit_;
  mutable std::mutex mutex_;  // protects what follows
  std::set<identity::Sha256> ids_;
  std::deque<identity::Sha256> order_;  // as they came
};

}  // namespace vaultysclaw::control
