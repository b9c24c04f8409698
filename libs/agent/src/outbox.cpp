#include "outbox.hpp"

namespace vaultysclaw::detail {

void Outbox::add(std::uint64_t order, Entry entry) {
  if (!orders_.emplace(entry.intentId, order).second) return;
  bytes_ += entry.bytes;
  entries_.emplace(order, std::move(entry));
}

Outbox::Entry* Outbox::find(const std::string& intentId) {
  const auto order = orders_.find(intentId);
  return order == orders_.end() ? nullptr : &entries_.at(order->second);
}

void Outbox::remove(const std::string& intentId) {
  const auto order = orders_.find(intentId);
  if (order == orders_.end()) return;
  const auto entry = entries_.find(order->second);
  bytes_ -= entry->second.bytes;
  entries_.erase(entry);
  orders_.erase(order);
}

std::vector<std::string> Outbox::unsent(std::uint64_t connection, std::size_t count, std::size_t bytes) const {
  std::vector<std::string> ids;
  std::size_t sum = 0;
  for (const auto& [order, entry] : entries_) {
    if (entry.sentOn == connection) continue;
    sum += entry.bytes;
    if (ids.size() >= count || (!ids.empty() && sum > bytes)) break;
    ids.push_back(entry.intentId);
  }
  return ids;
}

}  // namespace vaultysclaw::detail
