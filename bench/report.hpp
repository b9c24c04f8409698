// The figures and how they are shown.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace vaultysclaw::bench {

struct Figures {
  double signUs = 0, verifyUs = 0, fsyncMs = 0;
  double cpCpuUsPerIntent = 0, agentCpuUsPerIntent = 0, cpCpuUsPerHandshake = 0;
  double intentsPerSecond = 0, latencyP50Ms = 0, latencyP99Ms = 0;
  double agentRssMib = 0, agentThreads = 0, agentStartMs = 0;
  double cpIdleRssMib = 0, cpRssKibPerAgent = 0, agentsConnected = 0;
  // About the run itself.
  double handshakesPerSecond = 0, otherCpuPercent = 0, intentsMeasured = 0, handshakesMeasured = 0, cores = 0;
  std::string cpuModel, mode;
  bool sealed = false;
};

// One flat object. Throws when a figure is missing: every one is a finite number over zero, but for otherCpuPercent.
std::string toJson(const Figures& figures);

enum class Colours : bool { No, Yes };
// Figure, measured, target and what was recorded of the original implementation.
std::string toTable(const Figures& figures, Colours colours);

}  // namespace vaultysclaw::bench
