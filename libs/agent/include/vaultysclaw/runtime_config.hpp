// Configuration of one agent. Plain values with defaults, made for designated initialisers. Durations may be from 1 ms
// to 365 days.
#pragma once

#include <chrono>
#include <cstddef>
#include <string>
#include <vector>

#include "vaultysclaw/export.hpp"

namespace vaultysclaw {

// Delay before connection attempt n: initial * 2^n, at most `maximum`, plus or minus the share `jitter`. The first one
// is spread further, from a tenth of `initial` on, so that the agents of a control plane that restarts do not come back
// all at once; with jitter 0 none is spread. 1 ms <= initial <= maximum; jitter from 0 to 1.
struct ReconnectBackoff {
  std::chrono::milliseconds initial{2'000};
  std::chrono::milliseconds maximum{60'000};
  double jitter = 0.2;
};

struct AgentRuntimeConfig {
  // Shown in the dashboard; 1 to 128 characters. Required.
  std::string name = {};
  // HTTP base URL of the control plane, for example "http://localhost:3000". Required.
  std::string controlPlaneUrl = {};
  // WebSocket URL. Empty: derived from controlPlaneUrl: port 3000 gives port 8080 on the same host, anything else the
  // same origin with the path /ws; http gives ws, https wss.
  std::string controlPlaneWsUrl = {};
  // WebRTC: not available yet in this version; start() refuses a configuration that sets it.
  std::string peerjsControlPlaneId = {};
  std::string peerjsServerUrl = {};
  std::string peerjsServer = {};
  // The identity file; made with mode 0600 on the first run. Required.
  std::string vaultysIdPath = {};
  // Asked for at the first registration; an operator decides what is granted.
  std::vector<std::string> requestedCapabilities = {};
  // Actions whose handler may run again when a crash has interrupted it, because running it twice does no harm (a
  // question to a model, a look-up). Such an intent runs once more when the control plane sends it again after the
  // restart, and counts as another request; every other one fails with the code `interrupted`. Needs a control plane
  // that sends again what is not answered, as ours does.
  std::vector<std::string> repeatableActions = {};
  // For subclasses that work with files; the base does not use it.
  std::string workspaceRoot = {};

  // The control plane's DID, which it shows when it starts: any other is refused before this agent proves who it is.
  // Empty: the first control plane that approves this agent is remembered, and no other is accepted afterwards;
  // `vaultysclaw id trust` changes that.
  std::string controlPlaneDid = {};
  // PEM file with the certificate authorities for wss://. Empty: the system's.
  std::string caFile = {};
  // "http://[user:password@]host:port", "direct" for none, empty for HTTPS_PROXY / HTTP_PROXY / NO_PROXY.
  std::string proxyUrl = {};
  // Plain ws:// to another machine works with a known control plane (controlPlaneDid, or remembered) that seals the
  // connection end to end. Without either start() or the handshake refuses it, for everyone on the path could read and
  // change everything; this allows it all the same.
  bool allowPlaintext = false;

  // Threads (1 to 1024) that run executeIntent, executeChat and the hooks. With 1 a subclass needs no locks. With more,
  // calls overlap; hooks still run one at a time.
  std::size_t handlerThreads = 1;
  // Calls that may wait for a handler thread; further ones are answered `busy` at once. 1 to 65536.
  std::size_t maxQueuedCalls = 64;
  // How long a call may take, waiting included, unless its message says otherwise.
  std::chrono::milliseconds defaultDeadline{60'000};
  // How long knowledge_sync may take.
  std::chrono::milliseconds knowledgeDeadline{600'000};
  // stop() names handlers that are still running each time this has passed. A handler that goes on for so long after
  // its deadline is named in the log, in AgentInfo and to the control plane.
  std::chrono::milliseconds stopGrace{10'000};
  ReconnectBackoff backoff = {};
  std::chrono::milliseconds heartbeatInterval{30'000};
  // Counters, intents and their results until they are acknowledged, and whom the agent trusts. Empty: vaultysIdPath +
  // ".state". Agents with one Runtime may name the same file: each keeps its own, and they share the disk's time, which
  // is most of what many agents with little to do cost. Other processes are refused while one of them runs, and so is
  // the same identity a second time. A file of a version that could not be shared belongs to the first agent that opens
  // it: start its own one alone before others name it.
  std::string statePath = {};
  // Reported at registration.
  std::string version = "0.1.0";
};

// The WebSocket URL that `config` stands for (see controlPlaneWsUrl). Throws AgentError when a URL cannot be right.
VC_API std::string webSocketUrl(const AgentRuntimeConfig& config);

}  // namespace vaultysclaw
