// Finds the raw bytes of an object's members or an array's elements. Exists because `params` goes into a signed intent
// exactly as the operator wrote it.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace vaultysclaw::control::rest {

// Names as they stand between the quotes (escapes kept) with the raw value. `object` must be one valid JSON object
// (protocol::validateJson has accepted it); views into it.
std::vector<std::pair<std::string_view, std::string_view>> splitObject(std::string_view object);
std::vector<std::string_view> splitArray(std::string_view array);
std::string_view trimJson(std::string_view text);

}  // namespace vaultysclaw::control::rest
