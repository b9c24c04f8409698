// Results that the control plane has not acknowledged (docs/protocol.md 7.5). Internal; confined to the loop.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "agent/ports.hpp"

namespace vaultysclaw::detail {

// What is known of each result; the texts are in the state.
class Outbox {
 public:
  explicit Outbox(OutboxLimits limits) : limits_(limits) {}

  struct Entry {
    std::string intentId;
    std::string hash;          // hex SHA-256 of the signed body
    std::size_t bytes = 0;     // of the message
    std::uint64_t sentOn = 0;  // number of the last connection it was written to
  };

  // `order`: results are sent by rising order. One that is there already stays as it is.
  void add(std::uint64_t order, Entry entry);
  // Null when unknown.
  Entry* find(const std::string& intentId);
  void remove(const std::string& intentId);
  // The first ones that were not written to `connection` yet: at most `count`, and, but for one, `bytes` together.
  std::vector<std::string> unsent(std::uint64_t connection, std::size_t count, std::size_t bytes) const;
  // With `more` results on their way in, whether there is no room for another one.
  bool full(std::size_t more) const { return entries_.size() + more >= limits_.results || bytes_ >= limits_.bytes; }
  std::size_t size() const { return entries_.size(); }

 private:
  OutboxLimits limits_;
  std::map<std::uint64_t, Entry> entries_;
  std::unordered_map<std::string, std::uint64_t> orders_;
  std::size_t bytes_ = 0;
};

}  // namespace vaultysclaw::detail
