// Small strict parsers of text that SDP, candidates and addresses share. Internal.
#pragma once

#include <charconv>
#include <cstdint>
#include <limits>
#include <optional>
#include <string_view>

namespace vaultysclaw::webrtc {

// Decimal digits alone, at most `most`.
template <class T>
std::optional<T> parseNumber(std::string_view text, T most = std::numeric_limits<T>::max()) {
  T number = 0;
  if (text.empty() || text.front() < '0' || text.front() > '9') return std::nullopt;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size() || number > most) return std::nullopt;
  return number;
}

// Cuts the part before `separator` off the front of `text`; the whole, when there is none.
inline std::string_view cut(std::string_view& text, char separator) {
  const std::size_t at = text.find(separator);
  const std::string_view part = text.substr(0, at);
  text.remove_prefix(at == std::string_view::npos ? text.size() : at + 1);
  return part;
}

// An IPv4 or IPv6 address in text, without zone, brackets or port.
bool isIpAddress(std::string_view text);

}  // namespace vaultysclaw::webrtc
