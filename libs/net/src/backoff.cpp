#include "net/backoff.hpp"

#include <algorithm>
#include <array>
#include <cstdint>

namespace vaultysclaw::net {

Duration Backoff::next() {
  Duration delay = std::min(options_.initial, options_.maximum);
  for (int i = 0; i < attempt_ && delay < options_.maximum; ++i) delay = std::min(delay * 2, options_.maximum);
  if (attempt_ < 1000) ++attempt_;  // far past the maximum; the bound keeps it from ever overflowing

  std::array<std::uint8_t, 4> random{};
  entropy_.fill(random);
  std::uint32_t bits = 0;
  for (const std::uint8_t b : random) bits = bits << 8 | b;
  const double unit = static_cast<double>(bits) / 4294967295.0 * 2.0 - 1.0;  // -1 to 1
  const double factor = 1.0 + std::clamp(options_.jitter, 0.0, 1.0) * unit;
  return Duration(static_cast<Duration::rep>(static_cast<double>(delay.count()) * factor));
}

}  // namespace vaultysclaw::net
