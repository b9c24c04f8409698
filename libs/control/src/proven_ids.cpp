#include "proven_ids.hpp"

namespace vaultysclaw::control {

void ProvenIds::add(const identity::VaultysId& id) {
  const identity::Sha256 hash = identity::sha256(id.id());
  std::lock_guard lock(mutex_);
  if (!ids_.insert(hash).second) return;
  order_.push_back(hash);
  if (order_.size() <= limit_) return;
  ids_.erase(order_.front());
  order_.pop_front();
}

bool ProvenIds::has(BytesView id) const {
  const identity::Sha256 hash = identity::sha256(id);
  std::lock_guard lock(mutex_);
  return ids_.contains(hash);
}

}  // namespace vaultysclaw::control
