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

std::string base64Encode(BytesView bytes) {
  std::string out(sodium_base64_encoded_len(bytes.size(), sodium_base64_VARIANT_ORIGINAL), '\0');
  sodium_bin2base64(out.data(), out.size(), bytes.data(), bytes.size(), sodium_base64_VARIANT_ORIGINAL);
  out.pop_back();
  return out;
}

namespace {

// Of the standard alphabet alone, with or without padding. In time that depends on the length alone, for the text may
// be a secret.
std::optional<Bytes> decodeStandard(std::string_view text) {
  const std::size_t padding = text.size() - std::min(text.size(), text.find_last_not_of('=') + 1);
  if (padding > 2 || (padding > 0 && text.size() % 4 != 0)) return std::nullopt;
  text.remove_suffix(padding);
  Bytes out(text.size() / 4 * 3 + 3);
  std::size_t length = 0;
  const char* end = nullptr;
  const int failed = sodium_base642bin(out.data(), out.size(), text.data(), text.size(), nullptr, &length, &end,
                                       sodium_base64_VARIANT_ORIGINAL_NO_PADDING);
  if (failed != 0 || end != text.data() + text.size()) {
    wipe(out);
    return std::nullopt;
  }
  out.resize(length);
  return out;
}

}  // namespace

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
