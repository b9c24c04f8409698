#include "rest/versions.hpp"

#include <charconv>

namespace vaultysclaw::control::rest {

std::optional<std::int64_t> expectedVersion(const net::HttpRequest& request) {
  const auto header = request.header("if-match");
  if (!header || *header == "*") return std::nullopt;
  std::int64_t version = -1;
  const std::string_view text(*header);
  if (text.size() > 2 && text.front() == '"' && text.back() == '"') {
    const char* end = text.data() + text.size() - 1;
    const auto [stop, wrong] = std::from_chars(text.data() + 1, end, version);
    if (wrong != std::errc() || stop != end) version = -1;
  }
  return version;
}

net::HttpResponse versionedResponse(int status, std::string json, std::int64_t version) {
  net::HttpResponse response = jsonResponse(status, std::move(json));
  response.headers.emplace_back("ETag", "\"" + std::to_string(version) + "\"");
  return response;
}

ApiError staleVersion(std::string_view what) {
  return {Errc::Conflict, std::string(what) + " was changed meanwhile: read it again and decide anew", 412, {}, {}};
}

}  // namespace vaultysclaw::control::rest
