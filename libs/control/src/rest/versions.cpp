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

std::optional<std::string> expectedTag(const net::HttpRequest& request) {
  const auto header = request.header("if-match");
  if (!header || *header == "*") return std::nullopt;
  const std::string_view text(*header);
  const bool quoted = text.size() >= 2 && text.front() == '"' && text.back() == '"';
  return std::string(quoted ? text.substr(1, text.size() - 2) : std::string_view());  // an empty one never fits
}

net::HttpResponse taggedResponse(int status, std::string json, std::string_view tag) {
  net::HttpResponse response = jsonResponse(status, std::move(json));
  response.headers.emplace_back("ETag", '"' + std::string(tag) + '"');
  return response;
}

net::HttpResponse versionedResponse(int status, std::string json, std::int64_t version) {
  return taggedResponse(status, std::move(json), std::to_string(version));
}

ApiError staleVersion(std::string_view what) {
  return {Errc::Conflict, std::string(what) + " was changed meanwhile: read it again and decide anew", 412, {}, {}};
}

}  // namespace vaultysclaw::control::rest
