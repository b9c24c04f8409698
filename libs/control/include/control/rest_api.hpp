// REST under /api, /health and /metrics, and the original's /api/admin paths for the routes we have (docs/rest.md).
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "control/control_plane.hpp"
#include "control/logins.hpp"
#include "net/http.hpp"

namespace vaultysclaw::control {

// Whether something in front of us does TLS, so that what comes unencrypted was protected on the way there.
enum class TlsInFront : bool { No, Yes };

struct RestOptions {
  std::string version = "0.1.0";
  // Names a Host header may carry besides localhost and IP addresses, without the port. Anything else is refused: a
  // page of a foreign site could otherwise reach a local control plane under its own name (DNS rebinding).
  std::vector<std::string> allowedHosts;
  Duration keepAliveInterval = seconds(15);  // of event streams
  std::size_t maxFailedLogins = 10;          // per address and minute; then 429. A right token always passes
  std::size_t maxRequestsPerKey = 600'000;   // per key or session and minute; then 429
  TlsInFront tlsInFront = TlsInFront::No;
  LoginOptions logins = {};
};

// Confined to the control plane's loop. Owned by main(); the ControlPlane must outlive it. Requests under way when it
// is destroyed are still answered.
class RestApi {
 public:
  virtual ~RestApi() = default;
  virtual void handle(std::shared_ptr<net::HttpExchange> exchange) = 0;
};

// Loads users and API keys (blocking).
Result<std::unique_ptr<RestApi>> makeRestApi(ControlPorts ports, ControlPlane& plane, RestOptions options = {});

}  // namespace vaultysclaw::control
