#include "base/utf8.hpp"

#include <algorithm>
#include <cstdint>
#include <cstring>

namespace vaultysclaw {
namespace {

// Length of the sequence that `lead` opens; 0 when it opens none.
std::size_t sequenceLength(unsigned char lead) {
  if (lead < 0x80) return 1;
  if (lead >= 0xc2 && lead <= 0xdf) return 2;
  if (lead >= 0xe0 && lead <= 0xef) return 3;
  if (lead >= 0xf0 && lead <= 0xf4) return 4;
  return 0;
}

// Whether `second` may follow `lead`: excludes overlong forms, surrogates and code points over U+10FFFF.
bool secondFits(unsigned char lead, unsigned char second) {
  if (lead == 0xe0) return second >= 0xa0 && second <= 0xbf;
  if (lead == 0xed) return second >= 0x80 && second <= 0x9f;
  if (lead == 0xf0) return second >= 0x90 && second <= 0xbf;
  if (lead == 0xf4) return second >= 0x80 && second <= 0x8f;
  return second >= 0x80 && second <= 0xbf;
}

}  // namespace

bool isValidUtf8(std::string_view text) {
  const auto at = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  for (std::size_t i = 0; i < text.size();) {
    std::uint64_t eight = 0;  // nearly all text is ASCII
    if (text.size() - i >= sizeof eight) {
      std::memcpy(&eight, text.data() + i, sizeof eight);
      if ((eight & 0x8080808080808080) == 0) {
        i += sizeof eight;
        continue;
      }
    }
    const std::size_t n = sequenceLength(at(i));
    if (n == 0 || i + n > text.size()) return false;
    if (n > 1 && !secondFits(at(i), at(i + 1))) return false;
    for (std::size_t k = 2; k < n; ++k) {
      if ((at(i + k) & 0xc0) != 0x80) return false;
    }
    i += n;
  }
  return true;
}

std::size_t incompleteUtf8Tail(std::string_view text) {
  for (std::size_t back = 1; back <= std::min<std::size_t>(3, text.size()); ++back) {
    const auto lead = static_cast<unsigned char>(text[text.size() - back]);
    if ((lead & 0xc0) == 0x80) continue;
    if (sequenceLength(lead) <= back) return 0;
    if (back > 1 && !secondFits(lead, static_cast<unsigned char>(text[text.size() - back + 1]))) return 0;
    return back;
  }
  return 0;
}

}  // namespace vaultysclaw
