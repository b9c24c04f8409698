// Versions of what several people may change at once: ETag and If-Match.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "base/json_writer.hpp"
#include "rest/api_error.hpp"

namespace vaultysclaw::control::rest {

// What `w` has written, with its version as ETag.
net::HttpResponse versionedResponse(int status, JsonWriter& w, std::int64_t version);
// The version that the caller has seen, from If-Match; one that never fits when the header names none.
std::optional<std::int64_t> expectedVersion(const net::HttpRequest& request);
// 412: `what` has another version.
ApiError staleVersion(std::string_view what);

}  // namespace vaultysclaw::control::rest
