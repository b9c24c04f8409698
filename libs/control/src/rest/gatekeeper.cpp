#include "rest/gatekeeper.hpp"

#include <algorithm>

#include "rest/browser.hpp"

namespace vaultysclaw::control::rest {
namespace {

constexpr Duration kWindow = seconds(60);
constexpr std::size_t kMaxCounted = 4096;

std::string lower(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
  return out;
}

// A page from elsewhere reaches us under a name its owner controls, never under a bare address.
bool isIpAddress(std::string_view host) {
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
    return host.find_first_not_of("0123456789abcdef:.") == std::string_view::npos &&
           host.find(':') != std::string_view::npos;
  }
  return std::count(host.begin(), host.end(), '.') == 3 &&
         host.find_first_not_of("0123456789.") == std::string_view::npos;
}

std::string_view withoutPort(std::string_view host) {
  const auto close = host.find(']');
  const auto colon = host.find(':', close == std::string_view::npos ? 0 : close);
  return host.substr(0, colon);
}

ApiError unauthenticated(std::string text, std::string_view challenge) {
  return {Errc::Unauthenticated, std::move(text), 0, {}, {{"WWW-Authenticate", std::string(challenge)}}};
}

}  // namespace

Gatekeeper::Gatekeeper(Options options, People& people, Clock& clock, Logger& log)
    : options_(std::move(options)), people_(people), clock_(clock), log_(log) {
  for (std::string& host : options_.allowedHosts) host = lower(withoutPort(host));
}

std::optional<ApiError> Gatekeeper::checkHost(const net::HttpRequest& request) const {
  const auto header = request.header("host");
  if (!header || header->empty()) return ApiError{Errc::InvalidArgument, "the Host header is missing", 0, {}, {}};
  const std::string host = lower(withoutPort(*header));
  if (host.empty()) return ApiError{Errc::InvalidArgument, "the Host header names no host", 0, {}, {}};
  if (host == "localhost" || isIpAddress(host)) return std::nullopt;
  const auto& allowed = options_.allowedHosts;
  if (std::find(allowed.begin(), allowed.end(), host) != allowed.end()) return std::nullopt;
  return ApiError{Errc::PolicyDenied,
                  "this control plane does not answer for the host name '" + printable(host, 100) +
                      "': use its IP address or localhost, or start it with --allow-host NAME",
                  421,
                  {},
                  {}};
}

Gatekeeper::Counted& Gatekeeper::countOf(Table& table, std::string key, SteadyTime now) {
  if (table.size() >= kMaxCounted && table.find(key) == table.end()) {
    std::erase_if(table, [&](const auto& entry) { return now - entry.second.windowStart >= kWindow; });
    if (table.size() >= kMaxCounted) key.clear();  // the crowd beyond shares one count
  }
  Counted& found = table[key];
  if (found.count == 0 || now - found.windowStart >= kWindow) found = {now, 0};
  return found;
}

std::variant<Principal, ApiError> Gatekeeper::countRequest(Principal who) {
  const SteadyTime now = clock_.steady();
  Counted& requests = countOf(requests_, who.login ? who.login->value : who.key.value, now);
  if (++requests.count <= options_.maxRequests) return who;
  const auto left = std::chrono::ceil<seconds>(requests.windowStart + kWindow - now);
  return ApiError{Errc::Busy,
                  "too many requests " + std::string(who.login ? "in this session" : "with this API key") + ": wait " +
                      std::to_string(left.count()) + " s",
                  0,
                  {},
                  {{"Retry-After", std::to_string(left.count())}}};
}

ApiError Gatekeeper::countFailure(const net::HttpRequest& request, std::string_view what, std::string text) {
  Counted& failures = countOf(failures_, request.peer.address, clock_.steady());
  if (failures.count >= options_.maxFailed) {
    return {Errc::Busy,
            "too many requests with a wrong token from this address: wait a minute",
            0,
            {},
            {{"Retry-After", "60"}}};
  }
  if (++failures.count == 1)
    log_.warn("rest", "wrong " + std::string(what) + " from " + printable(request.peer.address, 64));
  return unauthenticated(std::move(text), "Bearer realm=\"vaultysclaw\", error=\"invalid_token\"");
}

std::variant<Principal, ApiError> Gatekeeper::admitSession(const net::HttpRequest& request, std::string_view secret) {
  auto who = people_.authenticateLogin(secret, options_.idle);
  if (!who) return countFailure(request, "session", "this session is over: log in again");
  const bool changes = request.method != "GET" && request.method != "HEAD";
  if (changes ? !isSameOrigin(request, wayOf(request, options_.tlsInFront)) : isForeign(request))
    return ApiError{Errc::PolicyDenied, "a page of another origin may not use this session", 0, {}, {}};
  if (changes && !hasCsrfToken(request, secret))
    return ApiError{
        Errc::PolicyDenied,
        "in a session this needs the header X-CSRF-Token with the session's csrfToken: GET /api/session has "
        "it",
        0,
        {},
        {}};
  return countRequest(std::move(*who));
}

std::variant<Principal, ApiError> Gatekeeper::admit(const net::HttpRequest& request) {
  const auto header = request.header("authorization");
  if (!header) {
    if (const auto secret = cookieOf(request, wayOf(request, options_.tlsInFront)))
      return admitSession(request, *secret);
  }
  constexpr std::string_view kScheme = "bearer ";
  std::string_view token;
  if (header && header->size() > kScheme.size() && lower(header->substr(0, kScheme.size())) == kScheme) {
    token = header->substr(kScheme.size());
    while (!token.empty() && token.front() == ' ') token.remove_prefix(1);
  }
  if (token.empty()) {
    return unauthenticated(
        "a token is needed: send 'Authorization: Bearer TOKEN' with an API key, for example what stands in the control "
        "plane's api.token file, or log in with POST /api/session",
        "Bearer realm=\"vaultysclaw\"");
  }
  if (auto who = people_.authenticate(token)) return countRequest(std::move(*who));
  return countFailure(request, "API token",
                      "this token is not known here, or no longer: it may be revoked or expired, or its user disabled");
}

}  // namespace vaultysclaw::control::rest
