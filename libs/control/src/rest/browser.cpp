#include "rest/browser.hpp"

#include <algorithm>

#include "base/bytes.hpp"
#include "identity/hash.hpp"

namespace vaultysclaw::control::rest {
namespace {

constexpr std::string_view kAttributes = "; Path=/; HttpOnly; SameSite=Strict";
constexpr std::size_t kMaxSecretBytes = 128;

std::string_view nameOf(Way way) {
  return way == Way::Tls ? "__Host-vcs" : "vcs";
}

std::string lower(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
  return out;
}

std::string_view trimmed(std::string_view text) {
  const auto from = text.find_first_not_of(" \t");
  if (from == std::string_view::npos) return {};
  return text.substr(from, text.find_last_not_of(" \t") - from + 1);
}

std::string cookie(Way way, std::string_view value) {
  std::string out = std::string(nameOf(way)) + "=" + std::string(value) + std::string(kAttributes);
  return way == Way::Tls ? out + "; Secure" : out;
}

// As browsers write an origin: without the port when it is the scheme's own.
std::string originOf(std::string_view scheme, std::string_view port, std::string_view host) {
  if (host.ends_with(port)) host.remove_suffix(port.size());
  return std::string(scheme) + lower(host);
}

}  // namespace

Way wayOf(const net::HttpRequest& request, TlsInFront front) {
  if (request.peer.protection == net::Protection::VerifiedTls || front == TlsInFront::Yes) return Way::Tls;
  return request.peer.protection == net::Protection::Loopback ? Way::Loopback : Way::Clear;
}

std::optional<std::string> cookieOf(const net::HttpRequest& request, Way way) {
  if (way == Way::Clear) return std::nullopt;
  std::optional<std::string> found;
  for (const auto& [header, value] : request.headers) {
    if (lower(header) != "cookie") continue;
    for (std::string_view rest = value; !rest.empty();) {
      const auto end = rest.find(';');
      const std::string_view pair = trimmed(rest.substr(0, end));
      rest = end == std::string_view::npos ? std::string_view() : rest.substr(end + 1);
      const auto equals = pair.find('=');
      if (equals == std::string_view::npos || pair.substr(0, equals) != nameOf(way)) continue;
      if (found) return std::nullopt;
      found = pair.substr(equals + 1, kMaxSecretBytes);
    }
  }
  return found;
}

net::Headers giveCookie(std::string_view secret, Way way) {
  return {{"Set-Cookie", cookie(way, secret)}};
}

net::Headers takeCookie(Way way) {
  return {{"Set-Cookie", cookie(way, "") + "; Max-Age=0"}};
}

// The secret is random and of fixed size, so a hash that begins with another text than what is stored is as good as an
// HMAC.
std::string csrfTokenOf(std::string_view secret) {
  return hexEncode(identity::sha256({asBytes("vaultysclaw csrf token\n"), asBytes(secret)}));
}

bool hasCsrfToken(const net::HttpRequest& request, std::string_view secret) {
  const auto header = request.header("x-csrf-token");
  return header && constantTimeEqual(asBytes(*header), asBytes(csrfTokenOf(secret)));
}

bool isSameOrigin(const net::HttpRequest& request, Way way) {
  if (const auto site = request.header("sec-fetch-site"); site && *site != "same-origin") return false;
  const auto origin = request.header("origin");
  if (!origin) return true;
  const std::string_view host = request.header("host").value_or("");
  const std::string ours = way == Way::Tls ? originOf("https://", ":443", host) : originOf("http://", ":80", host);
  return lower(*origin) == ours;
}

bool isForeign(const net::HttpRequest& request) {
  const auto site = request.header("sec-fetch-site");
  return site && *site != "same-origin" && *site != "none";
}

}  // namespace vaultysclaw::control::rest
