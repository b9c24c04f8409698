// A control plane of its own for one measurement: the real program, a fresh data directory, the operator's access.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "child_process.hpp"
#include "control_plane_process.hpp"
#include "http_load.hpp"

namespace vaultysclaw::bench {

// Everything it started ends with it. Failures throw std::runtime_error.
class Site {
 public:
  // `directory` must exist; data and logs go there. Returns once the control plane serves.
  explicit Site(std::filesystem::path directory);

  pid_t pid() { return controlPlane_.process().pid(); }
  const std::filesystem::path& directory() const { return directory_; }
  std::string httpUrl() const { return "http://127.0.0.1:" + std::to_string(controlPlane_.httpPort()); }
  // The port for agents, and REST's port, which takes agents too.
  std::vector<std::string> agentUrls() const;

  HttpLoad load(std::size_t connections) const {
    return {controlPlane_.httpPort(), controlPlane_.token(), connections};
  }
  // A number of /metrics; `name` without the common prefix.
  double metric(const std::string& name);

  // Starts an agent process that writes into `name`.out and .err here.
  harness::ChildProcess start(const std::string& name, std::vector<std::string> arguments,
                              std::map<std::string, std::string> environment = {}) const;
  // Lets everybody in who asks, until `reached` holds or `agents` has ended, which is an error.
  void approveUntil(const std::string& what, harness::ChildProcess& agents, const std::function<bool()>& reached,
                    std::chrono::milliseconds limit);
  struct ConnectedAgents {
    std::vector<std::string> dids;
    bool sealed = true;  // every one of their connections
  };
  ConnectedAgents connectedAgents();
  // Resident memory once it has stopped moving.
  double settledResidentKib();

 private:
  void approvePending();

  std::filesystem::path directory_;
  harness::ControlPlaneProcess controlPlane_;
  std::optional<HttpLoad> operator_;
};

}  // namespace vaultysclaw::bench
