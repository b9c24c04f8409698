// Versions against lost updates: ETag, If-Match (RFC 9110 sections 8.8.3 and 13.1.1) and 412.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "net/http.hpp"
#include "rest/api_error.hpp"

namespace vaultysclaw::control::rest {

// The version that the caller has seen; one that never fits when the header names none of ours.
std::optional<std::int64_t> expectedVersion(const net::HttpRequest& request);
// `json` with its version as the ETag.
net::HttpResponse versionedResponse(int status, std::string json, std::int64_t version);
// The same for a version that is no number.
std::optional<std::string> expectedTag(const net::HttpRequest& request);
net::HttpResponse taggedResponse(int status, std::string json, std::string_view tag);
// `what`: "the user".
ApiError staleVersion(std::string_view what);

}  // namespace vaultysclaw::control::rest
