// REST under /api, /health and /metrics, and the original's /api/admin paths for the routes we have (docs/rest.md).
#pragma once

#include <memory>
#include <string>

#include "control/control_plane.hpp"
#include "net/http.hpp"

namespace vaultysclaw::control {

struct RestOptions {
  std::string version = "0.1.0";
};

// Confined to the control plane's loop. Owned by main(); the ControlPlane must outlive it.
class RestApi {
 public:
  virtual ~RestApi() = default;
  virtual void handle(std::shared_ptr<net::HttpExchange> exchange) = 0;
};

// Loads the API token hashes (blocking).
Result<std::unique_ptr<RestApi>> makeRestApi(ControlPorts ports, ControlPlane& plane, RestOptions options = {});

}  // namespace vaultysclaw::control
