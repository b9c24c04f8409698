#include "net/backoff.hpp"

#include <algorithm>
#include <array>
#include <cstdint>

namespace vaultysclaw::net {
namespace {

constexpr double kFirstFraction = 0.1;

}  // namespace

Duration Backoff::next() {
  Duration delay = std::min(options_.initial, options_.maximum);
  for (int i = 0; i < attempt_ && delay < options_.maximum; ++i) delay = std::min(delay * 2, options_.maximum);
  if (attempt_ < 1000) ++attempt_;  // far past the maximum; the bound keeps it from ever overflowing

  std::array<std::uint8_t, 4> random{};
  entropy_.fill(random);
  std::uint32_t bits = 0;
  for (const std::uint8_t b : random) bits = bits << 8 | b;
  const double unit = static_cast<double>(bits) / 4294967295.0;  // 0 to 1
  const double jitter = std::clamp(options_.jitter, 0.0, 1.0);
  const bool first = attempt_ == 1 && jitter > 0;
  const double lowest = first ? kFirstFraction : 1.0 - jitter;
  const double factor = lowest + (1.0 + jitter - lowest) * unit;
  return Duration(static_cast<Duration::rep>(static_cast<double>(delay.count()) * factor));
}

}  // namespace vaultysclaw::net
