#include "base/bytes.hpp"

#include <sodium.h>

#include <algorithm>

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

Result<Bytes> base64Decode(std::string_view text) {
  std::string clean;  // the text may be a secret: wiped below
  clean.reserve(text.size());
  for (char c : text) {
    if (c == '\n' || c == '\r' || c == ' ' || c == '\t') continue;
    clean.push_back(c == '-' ? '+' : c == '_' ? '/' : c);
  }
  const std::size_t padding = clean.size() - std::min(clean.size(), clean.find_last_not_of('=') + 1);
  const bool oddPadding = padding > 2 || (padding > 0 && clean.size() % 4 != 0);
  clean.resize(clean.size() - padding);
  Bytes out(clean.size() / 4 * 3 + 3);
  std::size_t length = 0;
  const char* end = nullptr;
  const bool valid = !oddPadding &&
                     sodium_base642bin(out.data(), out.size(), clean.data(), clean.size(), nullptr, &length, &end,
                                       sodium_base64_VARIANT_ORIGINAL_NO_PADDING) == 0 &&
                     end == clean.data() + clean.size();
  wipe(clean);
  if (!valid) {
    wipe(out);
    return Error{Errc::Malformed, "not a base64 string"};
  }
  out.resize(length);
  return out;
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
