#include "rest/gatekeeper.hpp"

#include <algorithm>

#include "identity/tokens.hpp"

namespace vaultysclaw::control::rest {
namespace {

constexpr Duration kWindow = seconds(60);
constexpr std::size_t kMaxAddresses = 4096;

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

Gatekeeper::Gatekeeper(Options options, Clock& clock, Logger& log)
    : options_(std::move(options)), clock_(clock), log_(log) {
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

Gatekeeper::Failures& Gatekeeper::failuresOf(const std::string& address, SteadyTime now) {
  std::string key = address;
  if (failures_.size() >= kMaxAddresses && failures_.find(key) == failures_.end()) {
    std::erase_if(failures_, [&](const auto& entry) { return now - entry.second.windowStart >= kWindow; });
    if (failures_.size() >= kMaxAddresses) key.clear();  // the crowd beyond shares one count
  }
  Failures& found = failures_[key];
  if (found.count == 0 || now - found.windowStart >= kWindow) found = {now, 0};
  return found;
}

std::optional<ApiError> Gatekeeper::checkToken(const net::HttpRequest& request) {
  const auto header = request.header("authorization").value_or("");
  constexpr std::string_view kScheme = "bearer ";
  std::string_view token;
  if (header.size() > kScheme.size() && lower(header.substr(0, kScheme.size())) == kScheme) {
    token = header.substr(kScheme.size());
    while (!token.empty() && token.front() == ' ') token.remove_prefix(1);
  }
  if (token.empty()) {
    return unauthenticated(
        "a token is needed: send 'Authorization: Bearer TOKEN' with what stands in the control plane's api.token file",
        "Bearer realm=\"vaultysclaw\"");
  }

  const identity::Sha256 hash = identity::sha256(asBytes(token));
  bool known = false;
  for (const Bytes& stored : options_.tokenHashes) known |= constantTimeEqual(stored, hash);  // all of them, always
  if (known) return std::nullopt;

  const SteadyTime now = clock_.steady();
  Failures& failures = failuresOf(request.peer.address, now);
  if (failures.count >= options_.maxFailed) {
    return ApiError{Errc::Busy,
                    "too many requests with a wrong token from this address: wait a minute",
                    0,
                    {},
                    {{"Retry-After", "60"}}};
  }
  if (++failures.count == 1) log_.warn("rest", "wrong API token from " + printable(request.peer.address, 64));
  return unauthenticated("this token is not known here: use the one in this control plane's own api.token file",
                         "Bearer realm=\"vaultysclaw\", error=\"invalid_token\"");
}

}  // namespace vaultysclaw::control::rest
