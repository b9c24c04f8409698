// SHA-2 (FIPS 180-4). Pure; any thread. The parts are hashed one after the other, as if joined.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>

#include "base/bytes.hpp"

namespace vaultysclaw::identity {

using Sha224 = std::array<std::uint8_t, 28>;
using Sha256 = std::array<std::uint8_t, 32>;
using Sha512 = std::array<std::uint8_t, 64>;

Sha224 sha224(std::initializer_list<BytesView> parts);
Sha256 sha256(std::initializer_list<BytesView> parts);
Sha512 sha512(std::initializer_list<BytesView> parts);
inline Sha256 sha256(BytesView bytes) {
  return sha256({bytes});
}

}  // namespace vaultysclaw::identity
