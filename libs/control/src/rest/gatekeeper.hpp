// Who may ask: the Host header and the API key, before any route runs.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/log.hpp"
#include "control/people.hpp"
#include "net/http.hpp"
#include "rest/api_error.hpp"

namespace vaultysclaw::control::rest {

// Confined to the control plane's loop.
class Gatekeeper {
 public:
  struct Options {
    std::vector<std::string> allowedHosts;
    std::size_t maxFailed = 10;         // per address and window
    std::size_t maxRequests = 600'000;  // per key and window
  };
  Gatekeeper(Options options, People& people, Clock& clock, Logger& log);

  // Nothing when the Host header names this machine by IP address, as localhost or by an allowed name.
  std::optional<ApiError> checkHost(const net::HttpRequest& request) const;
  // Who asks, when the request carries a key that works. A right token passes however many wrong ones came
  // from its address: tokens have 256 random bits, so the bound on failures protects the log and not the token.
  std::variant<Principal, ApiError> admit(const net::HttpRequest& request);

 private:
  struct Counted {
    SteadyTime windowStart;
    std::size_t count = 0;
  };
  using Table = std::map<std::string, Counted>;
  static Counted& countOf(Table& table, std::string key, SteadyTime now);

  Options options_;
  People& people_;
  Clock& clock_;
  Logger& log_;
  Table failures_;  // by address
  Table requests_;  // by key
};

}  // namespace vaultysclaw::control::rest
