// UTF-8 (RFC 3629): validation and stream splitting.
#pragma once

#include <cstddef>
#include <string_view>

namespace vaultysclaw {

bool isValidUtf8(std::string_view text);
// How many bytes at the end of `text` begin a sequence that the next bytes could complete: 0 to 3. Text that is wrong
// already counts as complete.
std::size_t incompleteUtf8Tail(std::string_view text);

}  // namespace vaultysclaw
