#include "base/bytes.hpp"

#include <sodium.h>

#include <algorithm>
#include <optional>

namespace vaultysclaw {

std::string hexEncode(BytesView bytes) {
  std::string out(bytes.size() * 2 + 1, '\0');
  sodium_bin2hex(out.data(), out.size(), bytes.data(), bytes.size());
  out.pop_back();
  return out;
}

Result<Bytes> hexDecode(std::string_view text) {
  if (text.empty()) return Bytes();  // has no memory, which libsodium insists on
  Bytes out(text.size() / 2);
  std::size_t length = 0;
  if (text.size() % 2 != 0 ||
      sodium_hex2bin(out.data(), out.size(), text.data(), text.size(), nullptr, &length, nullptr) != 0 ||
      length != out.size()) {
    wipe(out);
    return Error{Errc::Malformed, "not a hexadecimal string"};
  }
  return out;
}

namespace {

// Base64 in blocks of 64 characters, for 48 bytes. The text may be a secret, so there is no branch and no table that
// depends on it; a loop over one block is what the compiler turns into vector instructions.
constexpr std::size_t kBlockText = 64, kBlockBytes = 48;
using BlockText = std::array<std::uint8_t, kBlockText>;

// 0xff when `c` is one of the `count` characters from `first` on, 0 otherwise.
constexpr std::uint8_t within(std::uint8_t c, char first, int count) {
  return static_cast<std::uint8_t>(-static_cast<int>(static_cast<std::uint8_t>(c - first) < count));
}

// Characters to their six bits, in place. Not zero when one is outside of the alphabet.
std::uint8_t toSextets(BlockText& block) {
  std::uint8_t strange = 0;
  for (std::size_t i = 0; i < kBlockText; ++i) {
    const std::uint8_t c = block[i];
    const std::uint8_t upper = within(c, 'A', 26), lower = within(c, 'a', 26), digit = within(c, '0', 10),
                       plus = within(c, '+', 1), slash = within(c, '/', 1);
    strange |= static_cast<std::uint8_t>(~(upper | lower | digit | plus | slash));
    block[i] = static_cast<std::uint8_t>((upper & (c - 'A')) | (lower & (c - 'a' + 26)) | (digit & (c - '0' + 52)) |
                                         (plus & 62) | (slash & 63));
  }
  return strange;
}

void toCharacters(BlockText& block) {
  for (std::size_t i = 0; i < kBlockText; ++i) {
    const std::uint8_t v = block[i];
    block[i] = static_cast<std::uint8_t>((within(v, 0, 26) & (v + 'A')) | (within(v, 26, 26) & (v - 26 + 'a')) |
                                         (within(v, 52, 10) & (v - 52 + '0')) | (within(v, 62, 1) & '+') |
                                         (within(v, 63, 1) & '/'));
  }
}

// Of the standard alphabet alone, with or without padding.
std::optional<Bytes> decodeStandard(std::string_view text) {
  const std::size_t padding = text.size() - std::min(text.size(), text.find_last_not_of('=') + 1);
  if (padding > 2 || (padding > 0 && text.size() % 4 != 0)) return std::nullopt;
  text.remove_suffix(padding);
  const std::size_t rest = text.size() % 4;  // characters of an incomplete group at the end
  Bytes out(text.size() / 4 * 3 + (rest > 0 ? rest - 1 : 0));
  std::uint8_t strange = rest == 1 ? 0xff : 0;
  std::size_t written = 0;
  BlockText block;
  while (!text.empty()) {
    const std::size_t taken = std::min(text.size(), kBlockText);
    block.fill('A');
    std::copy_n(text.begin(), taken, block.begin());
    strange |= toSextets(block);
    std::array<std::uint8_t, kBlockBytes> bytes;
    for (std::size_t i = 0; i < kBlockText / 4; ++i) {
      const std::uint8_t* const v = &block[4 * i];
      bytes[3 * i] = static_cast<std::uint8_t>(v[0] << 2 | v[1] >> 4);
      bytes[3 * i + 1] = static_cast<std::uint8_t>(v[1] << 4 | v[2] >> 2);
      bytes[3 * i + 2] = static_cast<std::uint8_t>(v[2] << 6 | v[3]);
    }
    const std::size_t given = std::min(out.size() - written, kBlockBytes);
    std::copy_n(bytes.begin(), given, out.begin() + static_cast<std::ptrdiff_t>(written));
    // Bits of the last character that belong to no byte must be zero: a byte string has one spelling.
    if (given < kBlockBytes) strange |= bytes[given];
    wipe(bytes);
    written += given;
    text.remove_prefix(taken);
  }
  wipe(block);
  if (strange == 0) return out;
  wipe(out);
  return std::nullopt;
}

}  // namespace

std::string base64Encode(BytesView bytes) {
  std::string out;
  out.reserve((bytes.size() + 2) / 3 * 4 + kBlockText);
  const std::size_t padding = (3 - bytes.size() % 3) % 3;
  const std::size_t length = (bytes.size() + 2) / 3 * 4;
  std::array<std::uint8_t, kBlockBytes> group;
  BlockText block;
  while (!bytes.empty()) {
    const std::size_t taken = std::min(bytes.size(), kBlockBytes);
    group.fill(0);
    std::copy_n(bytes.begin(), taken, group.begin());
    for (std::size_t i = 0; i < kBlockText / 4; ++i) {
      const std::uint8_t* const b = &group[3 * i];
      block[4 * i] = b[0] >> 2;
      block[4 * i + 1] = static_cast<std::uint8_t>((b[0] << 4 | b[1] >> 4) & 63);
      block[4 * i + 2] = static_cast<std::uint8_t>((b[1] << 2 | b[2] >> 6) & 63);
      block[4 * i + 3] = b[2] & 63;
    }
    toCharacters(block);
    out.append(asText(block));
    bytes = bytes.subspan(taken);
  }
  wipe(group);
  wipe(block);
  out.resize(length);
  std::fill_n(out.end() - static_cast<std::ptrdiff_t>(padding), padding, '=');
  return out;
}

Result<Bytes> base64Decode(std::string_view text) {
  if (auto out = decodeStandard(text)) return std::move(*out);
  std::string clean;  // the text may be a secret: wiped below
  clean.reserve(text.size());
  for (char c : text) {
    if (c == '\n' || c == '\r' || c == ' ' || c == '\t') continue;
    clean.push_back(c == '-' ? '+' : c == '_' ? '/' : c);
  }
  auto out = decodeStandard(clean);
  wipe(clean);
  if (!out) return Error{Errc::Malformed, "not a base64 string"};
  return std::move(*out);
}

bool constantTimeEqual(BytesView a, BytesView b) {
  return a.size() == b.size() && sodium_memcmp(a.data(), b.data(), a.size()) == 0;
}

void wipe(std::span<std::uint8_t> bytes) noexcept {
  sodium_memzero(bytes.data(), bytes.size());
}
void wipe(std::string& text) noexcept {
  sodium_memzero(text.data(), text.size());
  text.clear();
}

}  // namespace vaultysclaw
