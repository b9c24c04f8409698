// What a browser sends and is sent for a session: the cookie, the token against forged requests, and where a request
// comes from. Pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "control/rest_api.hpp"
#include "net/http.hpp"
#include "rest/api_error.hpp"

namespace vaultysclaw::control::rest {

// How a request came here, as far as a cookie is concerned.
enum class Way : std::uint8_t {
  Tls,       // to us, or to what stands in front: the cookie is __Host-vcs, which no other site or port can set
  Loopback,  // vcs
  Clear,     // no cookie is given or taken
};
Way wayOf(const net::HttpRequest& request, TlsInFront front);

// The session's secret. Nothing when the cookie is absent or there are several, for then one is not ours.
std::optional<std::string> cookieOf(const net::HttpRequest& request, Way way);
// Headers Set-Cookie.
net::Headers giveCookie(std::string_view secret, Way way);
net::Headers takeCookie(Way way);

// The token that belongs to a session, and says nothing about its secret.
std::string csrfTokenOf(std::string_view secret);
// Whether the header X-CSRF-Token has it.
bool hasCsrfToken(const net::HttpRequest& request, std::string_view secret);

// Whether the page that made the request is one of ours, as far as a browser says. Clients that are none send nothing
// of this, and it is a browser alone that sends a cookie without being told.
bool isSameOrigin(const net::HttpRequest& request, Way way);
// For what changes nothing: whatever no page of another origin has asked for.
bool isForeign(const net::HttpRequest& request);

}  // namespace vaultysclaw::control::rest
