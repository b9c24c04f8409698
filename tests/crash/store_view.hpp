// What the control plane says of its store, over REST, past the gate.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "http_client.hpp"
#include "records.hpp"

namespace vaultysclaw::crash {

// One thread at a time; blocks. Failures throw std::runtime_error.
class StoreView {
 public:
  StoreView(std::uint16_t port, std::string token) : client_(port, std::move(token)) {}

  // Newest first, until one was made before `since` (unix ms).
  std::vector<StoredIntent> intentsSince(std::int64_t since);
  std::optional<StoredIntent> intent(const std::string& id);
  std::uint64_t intentCount();
  bool auditChainIsValid();

  struct AgentState {
    std::string did, name;
    bool connected = false;
  };
  std::vector<AgentState> agents();
  void approvePending();

 private:
  harness::HttpReply call(const std::string& method, const std::string& path, const std::string& body = {});

  harness::HttpClient client_;
};

}  // namespace vaultysclaw::crash
