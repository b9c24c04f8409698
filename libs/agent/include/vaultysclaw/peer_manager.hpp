// Calls between agents.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "vaultysclaw/error.hpp"
#include "vaultysclaw/export.hpp"
#include "vaultysclaw/types.hpp"

namespace vaultysclaw {

// The agent's peers. Peer-to-peer calls are not available yet in this version: the catalogue is kept and verified, and
// every call fails with PeerError (code "unsupported") that says so. Synchronised.
class VC_API PeerManager {
 public:
  using InvokeHandler = std::function<Json(std::string_view callerDid, std::string_view action, const Json& params)>;

  PeerManager();
  PeerManager(const PeerManager&) = delete;
  PeerManager& operator=(const PeerManager&) = delete;
  ~PeerManager();

  void updatePeerCatalog(std::span<const AgentPeerGrant> grants);
  std::vector<AgentPeerGrant> peerCatalog() const;
  // Throws PeerError.
  Json invoke(std::string_view targetDid, std::string_view action, const Json& params = Json::object());
  // Throws PeerError.
  void onInvoke(InvokeHandler handler);
  // Throws PeerError.
  void startListening();
  void shutdown() noexcept {}

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace vaultysclaw
