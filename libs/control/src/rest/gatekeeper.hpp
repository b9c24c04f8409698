// Who may ask: the Host header and the bearer token, before any route runs.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.hpp"
#include "base/log.hpp"
#include "net/http.hpp"
#include "rest/api_error.hpp"

namespace vaultysclaw::control::rest {

// Confined to the control plane's loop.
class Gatekeeper {
 public:
  struct Options {
    std::vector<Bytes> tokenHashes;  // SHA-256 each
    std::vector<std::string> allowedHosts;
    std::size_t maxFailed = 10;  // per address and window
  };
  Gatekeeper(Options options, Clock& clock, Logger& log);

  // Nothing when the Host header names this machine by IP address, as localhost or by an allowed name.
  std::optional<ApiError> checkHost(const net::HttpRequest& request) const;
  // Nothing when the request carries a token whose hash is known. A right token passes however many wrong ones came
  // from its address: tokens have 256 random bits, so the bound on failures protects the log and not the token.
  std::optional<ApiError> checkToken(const net::HttpRequest& request);

 private:
  struct Failures {
    SteadyTime windowStart;
    std::size_t count = 0;
  };
  Failures& failuresOf(const std::string& address, SteadyTime now);

  Options options_;
  Clock& clock_;
  Logger& log_;
  std::map<std::string, Failures> failures_;
};

}  // namespace vaultysclaw::control::rest
