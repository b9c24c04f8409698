#include "attempts.hpp"

#include <arpa/inet.h>

#include <algorithm>
#include <array>

#include "base/bytes.hpp"

namespace vaultysclaw::control {

Duration Attempts::wait(const std::string& who) const {
  const auto found = table_.find(who);
  if (found == table_.end() || found->second.failed < bounds_.freeOnes) return Duration(0);
  const Count& count = found->second;
  const SteadyTime now = clock_.steady();
  if (now - count.last >= bounds_.forgetAfter) return Duration(0);
  constexpr std::size_t kMostDoublings = 30;
  const Duration pause = std::min<Duration>(
      bounds_.maxWait, seconds(std::int64_t{1} << std::min(count.failed - bounds_.freeOnes, kMostDoublings)));
  return std::max<Duration>(Duration(0), std::chrono::duration_cast<Duration>(count.last - now) + pause);
}

void Attempts::begin(const std::string& who) {
  const SteadyTime now = clock_.steady();
  auto found = table_.find(who);
  if (found == table_.end()) {
    makeRoom(now);
    found = table_.try_emplace(who).first;
  } else if (now - found->second.last >= bounds_.forgetAfter) {
    found->second.failed = 0;
  }
  ++found->second.failed;
  found->second.last = now;
}

void Attempts::succeeded(const std::string& who) {
  const auto found = table_.find(who);
  if (found == table_.end()) return;
  if (--found->second.failed == 0) table_.erase(found);
}

void Attempts::makeRoom(SteadyTime now) {
  if (table_.size() < bounds_.maxCounted) return;
  std::erase_if(table_, [&](const auto& entry) { return now - entry.second.last >= bounds_.forgetAfter; });
  if (table_.size() < bounds_.maxCounted) return;
  table_.erase(std::min_element(table_.begin(), table_.end(), [](const auto& a, const auto& b) {
    return std::pair(a.second.failed, a.second.last) < std::pair(b.second.failed, b.second.last);
  }));
}

std::string clientOf(const std::string& address) {
  std::array<std::uint8_t, 16> six{};
  if (inet_pton(AF_INET6, address.c_str(), six.data()) != 1) return address;
  return hexEncode(std::span(six).first(8)) + "/64";
}

}  // namespace vaultysclaw::control
