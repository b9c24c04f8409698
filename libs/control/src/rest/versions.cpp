#include "rest/versions.hpp"

#include <charconv>

namespace vaultysclaw::control::rest {

net::HttpResponse versionedResponse(int status, JsonWriter& w, std::int64_t version) {
  net::HttpResponse response = jsonResponse(status, w.take());
  response.headers.emplace_back("ETag", "\"" + std::to_string(version) + "\"");
  return response;
}

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

ApiError staleVersion(std::string_view what) {
  return {Errc::Conflict,
          "the " + std::string(what) + " was changed meanwhile: read it again and decide anew",
          412,
          {},
          {}};
}

}  // namespace vaultysclaw::control::rest
