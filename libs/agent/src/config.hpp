// Checks and derivations of the configuration. Internal; pure.
#pragma once

#include <string>

#include "base/result.hpp"
#include "vaultysclaw/runtime_config.hpp"

namespace vaultysclaw::detail {

// The WebSocket URL (protocol.md 7.8). InvalidArgument for URLs that cannot be right.
Result<std::string> deriveWebSocketUrl(const AgentRuntimeConfig& config);
// Everything that start() can refuse before it touches a file.
Status checkConfig(const AgentRuntimeConfig& config);
// Whether a connection to `wsUrl` can be safe: plain ws:// to another machine is, with an expected identity, once it is
// sealed (docs/protocol.md 7.2).
Status checkProtection(const AgentRuntimeConfig& config, const std::string& wsUrl, bool pinned);
std::string statePath(const AgentRuntimeConfig& config);

}  // namespace vaultysclaw::detail
