// Who may ask: the Host header, then the API key or the session's cookie, before any route runs.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/log.hpp"
#include "control/people.hpp"
#include "control/rest_api.hpp"
#include "net/http.hpp"
#include "rest/api_error.hpp"

namespace vaultysclaw::control::rest {

// Confined to the control plane's loop.
class Gatekeeper {
 public:
  struct Options {
    std::vector<std::string> allowedHosts;
    std::size_t maxFailed = 10;         // per address and window
    std::size_t maxRequests = 600'000;  // per key or session and window
    TlsInFront tlsInFront = TlsInFront::No;
    Duration idle{};  // a session that is not used so long is over
  };
  Gatekeeper(Options options, People& people, Clock& clock, Logger& log);

  // Nothing when the Host header names this machine by IP address, as localhost or by an allowed name.
  std::optional<ApiError> checkHost(const net::HttpRequest& request) const;
  // Who asks, when the request carries a key that works, or the cookie of a session, and for what changes something the
  // session's CSRF token and no foreign origin. A header Authorization is judged alone, whatever cookie comes with it.
  // A right token passes however many wrong ones came from its address: tokens and cookies have 256 random bits, so the
  // bound on failures protects the log and not the token.
  std::variant<Principal, ApiError> admit(const net::HttpRequest& request);

 private:
  struct Counted {
    SteadyTime windowStart;
    std::size_t count = 0;
  };
  using Table = std::map<std::string, Counted>;
  static Counted& countOf(Table& table, std::string key, SteadyTime now);
  std::variant<Principal, ApiError> admitSession(const net::HttpRequest& request, std::string_view secret);
  std::variant<Principal, ApiError> countRequest(Principal who);
  // Counts it, and says so unless there are too many.
  ApiError countFailure(const net::HttpRequest& request, std::string_view what, std::string text);

  Options options_;
  People& people_;
  Clock& clock_;
  Logger& log_;
  Table failures_;  // by address
  Table requests_;  // by key or session
};

}  // namespace vaultysclaw::control::rest
