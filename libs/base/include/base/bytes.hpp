// Byte strings, their text encodings, and memory that is wiped.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"

namespace vaultysclaw {

using Bytes = std::vector<std::uint8_t>;
using BytesView = std::span<const std::uint8_t>;

inline BytesView asBytes(std::string_view text) {
  return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}
inline std::string_view asText(BytesView bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}
inline Bytes toBytes(BytesView view) {
  return {view.begin(), view.end()};
}
inline void append(Bytes& out, BytesView more) {
  out.insert(out.end(), more.begin(), more.end());
}

// Lower case.
std::string hexEncode(BytesView bytes);
// Both cases; Malformed for an odd length or another character.
Result<Bytes> hexDecode(std::string_view text);

// RFC 4648 section 4, padded.
std::string base64Encode(BytesView bytes);
// Accepts what JavaScript's Buffer accepts of honest input: the standard and the URL alphabet, with or without padding,
// and line breaks or spaces between characters. Malformed for anything else.
Result<Bytes> base64Decode(std::string_view text);

// Compares in time that depends on the lengths alone.
bool constantTimeEqual(BytesView a, BytesView b);
// Overwrites in a way the optimiser keeps.
void wipe(std::span<std::uint8_t> bytes) noexcept;
void wipe(std::string& text) noexcept;

// Secret bytes of fixed size: wiped when destroyed or moved from, never copied by accident.
template <std::size_t N>
class SecretArray {
 public:
  SecretArray() = default;
  explicit SecretArray(std::span<const std::uint8_t, N> from) { std::copy(from.begin(), from.end(), bytes_.begin()); }
  SecretArray(SecretArray&& other) noexcept : bytes_(other.bytes_) { wipe(other.bytes_); }
  SecretArray& operator=(SecretArray&& other) noexcept {
    if (this != &other) {
      bytes_ = other.bytes_;
      wipe(other.bytes_);
    }
    return *this;
  }
  SecretArray(const SecretArray&) = delete;
  SecretArray& operator=(const SecretArray&) = delete;
  ~SecretArray() { wipe(bytes_); }

  SecretArray clone() const { return SecretArray(std::span<const std::uint8_t, N>(bytes_)); }
  std::uint8_t* data() { return bytes_.data(); }
  const std::uint8_t* data() const { return bytes_.data(); }
  static constexpr std::size_t size() { return N; }
  std::span<const std::uint8_t, N> view() const { return bytes_; }
  std::span<std::uint8_t, N> mutableView() { return bytes_; }

 private:
  std::array<std::uint8_t, N> bytes_{};
};

// Secret bytes whose size is known at run time. Wiped when destroyed; grows by copying into new memory and wiping.
class SecretBytes {
 public:
  SecretBytes() = default;
  explicit SecretBytes(BytesView from) : bytes_(from.begin(), from.end()) {}
  explicit SecretBytes(Bytes&& from) : bytes_(std::move(from)) {}
  SecretBytes(SecretBytes&&) noexcept = default;
  SecretBytes& operator=(SecretBytes&& other) noexcept {
    if (this != &other) {
      wipe(bytes_);
      bytes_ = std::move(other.bytes_);
    }
    return *this;
  }
  SecretBytes(const SecretBytes&) = delete;
  SecretBytes& operator=(const SecretBytes&) = delete;
  ~SecretBytes() { wipe(bytes_); }

  BytesView view() const { return bytes_; }
  std::size_t size() const { return bytes_.size(); }

 private:
  Bytes bytes_;
};

}  // namespace vaultysclaw
