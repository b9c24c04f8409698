#include <algorithm>

#include "base/utf8.hpp"
#include "document.hpp"
#include "protocol/codec.hpp"

namespace vaultysclaw::protocol {
namespace {
constexpr std::size_t kMaxNameLength = 128;
constexpr std::size_t kMaxCapabilities = 64;
constexpr std::size_t kMaxCapabilityLength = 64;

// C0, DEL and C1 (which UTF-8 writes as c2 80 to c2 9f).
bool hasControlCharacter(std::string_view text) {
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    if (c < 0x20 || c == 0x7f) return true;
    if (c == 0xc2 && i + 1 < text.size() && static_cast<unsigned char>(text[i + 1]) < 0xa0) return true;
  }
  return false;
}

bool isCapabilityName(std::string_view name) {
  return !name.empty() && name.size() <= kMaxCapabilityLength &&
         std::all_of(name.begin(), name.end(), [](char c) { return c >= 0x20 && c <= 0x7e; });
}

}  // namespace

Status checkName(std::string_view name) {
  const auto codePoints =
      std::count_if(name.begin(), name.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; });
  if (name.empty() || static_cast<std::size_t>(codePoints) > kMaxNameLength || !isValidUtf8(name) ||
      hasControlCharacter(name)) {
    return Error{Errc::InvalidArgument, "must be 1 to 128 characters, none of them a control character"};
  }
  return {};
}

Status checkCapabilities(const std::vector<std::string>& capabilities) {
  if (capabilities.size() > kMaxCapabilities) {
    return Error{Errc::InvalidArgument, "must not hold more than 64 capabilities"};
  }
  if (!std::all_of(capabilities.begin(), capabilities.end(), isCapabilityName)) {
    return Error{Errc::InvalidArgument, "every capability must be 1 to 64 printable ASCII characters"};
  }
  return {};
}

Result<RawJson> validateJson(std::string_view text, std::size_t maxBytes) {
  VC_TRY_ASSIGN(const Document document, Document::parse(text, maxBytes, kMaxValueDepth, "JSON"));
  const std::string_view value = document.root().text;
  if (document.hasLoneSurrogate(value)) {
    return Error{Errc::Malformed, "JSON: a string holds half of a surrogate pair"};
  }
  return RawJson{std::string(value)};
}

}  // namespace vaultysclaw::protocol
