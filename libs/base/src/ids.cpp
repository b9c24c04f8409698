#include "base/ids.hpp"

#include <algorithm>
#include <array>

#include "base/bytes.hpp"
#include "base/ports.hpp"

namespace vaultysclaw {
namespace {
constexpr std::size_t kMaxIdLength = 128;
constexpr std::string_view kDidPrefix = "did:vaultys:";
}  // namespace

bool isValidWireId(std::string_view id) {
  return !id.empty() && id.size() <= kMaxIdLength &&
         std::all_of(id.begin(), id.end(), [](char c) { return c >= 0x20 && c <= 0x7e; });
}

bool isValidDid(std::string_view did) {
  if (!did.starts_with(kDidPrefix)) return false;
  did.remove_prefix(kDidPrefix.size());
  return did.size() == 40 &&
         std::all_of(did.begin(), did.end(), [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

std::string newUuid(Clock& clock, Entropy& entropy) {
  std::array<std::uint8_t, 16> b{};
  entropy.fill(b);
  const auto ms = static_cast<std::uint64_t>(toUnixMillis(clock.now()));
  for (int i = 0; i < 6; ++i) b[static_cast<std::size_t>(i)] = static_cast<std::uint8_t>(ms >> (40 - 8 * i));
  b[6] = static_cast<std::uint8_t>(0x70 | (b[6] & 0x0f));
  b[8] = static_cast<std::uint8_t>(0x80 | (b[8] & 0x3f));
  std::string hex = hexEncode(b);
  for (std::size_t at : {20, 16, 12, 8}) hex.insert(at, 1, '-');
  return hex;
}

}  // namespace vaultysclaw
