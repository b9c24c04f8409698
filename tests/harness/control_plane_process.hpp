// The product's control plane as a process that can be killed and started again on its data.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "child_process.hpp"

namespace vaultysclaw::harness {

// One thread at a time. Failures throw std::runtime_error.
class ControlPlaneProcess {
 public:
  // Data go below `directory`/control-plane, output to `directory`. `options` are added to each start; the ports are
  // free ones, other ones after each start.
  ControlPlaneProcess(std::string program, std::filesystem::path directory, std::vector<std::string> options);

  // Blocks until it serves. `environment` is for this start alone.
  void start(std::map<std::string, std::string> environment = {});
  // Blocks until it has gone. No effect when it has.
  void kill();

  bool running() { return process_ && process_->running(); }
  // From here on after the first start().
  ChildProcess& process() { return *process_; }
  std::uint16_t httpPort() const { return httpPort_; }
  std::uint16_t wsPort() const { return wsPort_; }
  const std::string& did() const { return did_; }
  const std::string& token() const { return token_; }

 private:
  std::string program_;
  std::filesystem::path directory_;
  std::vector<std::string> options_;
  std::optional<ChildProcess> process_;
  std::uint16_t httpPort_ = 0, wsPort_ = 0;
  std::string did_, token_;
};

}  // namespace vaultysclaw::harness
