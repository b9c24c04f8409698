// The subcommand control-plane: wires the control plane to the network, the disk and the clock, and serves until a
// signal.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "context.hpp"

namespace vaultysclaw::cli {

struct ControlPlaneOptions {
  std::string data = "./.vaultys/control-plane";
  std::uint16_t httpPort = 3000, wsPort = 8080;  // 0: any free one
  std::string bind = "127.0.0.1";
  bool allowPlaintextBind = false;
  bool tlsInFront = false;
  std::string tlsCert, tlsKey;
  std::vector<std::string> allowedHosts;
  std::string logLevel = "info", logFormat = "text";
  double drainSeconds = 10;
  double pingSeconds = 20;
  std::string readyFile;
};

// Blocking: until SIGINT or SIGTERM has come and open work has ended, or drainSeconds have passed. A second signal ends
// the process at once. Returns the exit code.
int serveControlPlane(Context& context, const ControlPlaneOptions& options);

}  // namespace vaultysclaw::cli
