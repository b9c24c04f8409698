// The MessagePack map {v, x: bin(32), e: bin(32)} that both ids and secrets of Ed25519 identities consist of. Its
// length and every byte but the version and the keys are fixed, so it is compared with a template: secrets never pass
// through a general decoder that would leave copies, and no second spelling of an id is taken.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <span>

#include "base/bytes.hpp"

namespace vaultysclaw::identity {

inline constexpr std::size_t kKeyFormBytes = 76;
inline constexpr std::array<std::uint8_t, 3> kKeyFormHead{0x83, 0xa1, 'v'};
inline constexpr std::array<std::uint8_t, 4> kKeyFormX{0xa1, 'x', 0xc4, 32};
inline constexpr std::array<std::uint8_t, 4> kKeyFormE{0xa1, 'e', 0xc4, 32};

inline void writeKeyForm(Bytes& out, std::uint8_t version, std::span<const std::uint8_t, 32> x,
                         std::span<const std::uint8_t, 32> e) {
  append(out, kKeyFormHead);
  out.push_back(version);
  append(out, kKeyFormX);
  append(out, x);
  append(out, kKeyFormE);
  append(out, e);
}

struct KeyForm {
  std::uint8_t version;  // 0 or 1
  std::span<const std::uint8_t, 32> x, e;
};

// The parts, pointing into `form`; nothing when it is anything else.
inline std::optional<KeyForm> readKeyForm(BytesView form) {
  const auto holds = [&](std::size_t at, BytesView what) {
    return std::equal(what.begin(), what.end(), form.begin() + static_cast<std::ptrdiff_t>(at));
  };
  if (form.size() != kKeyFormBytes || !holds(0, kKeyFormHead) || form[3] > 1 || !holds(4, kKeyFormX) ||
      !holds(40, kKeyFormE)) {
    return std::nullopt;
  }
  return KeyForm{form[3], form.subspan<8, 32>(), form.subspan<44, 32>()};
}

}  // namespace vaultysclaw::identity
