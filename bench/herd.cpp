// vc_bench_herd: many agents of the real SDK in one process, as one would run them: one shared Runtime and
// state file, a handler lane for each. Prints "connected" once all of them are, and ends with a signal.
//
//   vc_bench_herd HTTP_URL WS_URL DIRECTORY AGENTS
#include <vaultysclaw/agent.hpp>
#include <vaultysclaw/runtime.hpp>

#include <algorithm>
#include <chrono>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

namespace {

using namespace std::chrono_literals;

// As many registrations as may wait from one address.
constexpr std::size_t kAtATime = 8;

class EchoAgent : public vc::BaseAgentRuntime {
 public:
  using BaseAgentRuntime::BaseAgentRuntime;

  vc::Json executeIntent(std::string_view action, const vc::Json& params, vc::CallContext& /*call*/) override {
    return {{"echo", {{"action", action}, {"params", params}}}};
  }
  void executeChat(std::span<const vc::ChatMessage> /*messages*/, std::string_view, vc::ChatSink& out,
                   vc::CallContext& /*call*/) override {
    out.send("no chats here");
  }
};

int herd(const std::string& httpUrl, const std::string& wsUrl, const std::string& directory, std::size_t count) {
  vc::Runtime runtime;
  std::vector<std::unique_ptr<vc::Agent<EchoAgent>>> agents;
  while (agents.size() < count) {
    const std::size_t first = agents.size(), last = std::min(first + kAtATime, count);
    for (std::size_t i = first; i < last; ++i) {
      const std::string name = "herd-" + std::to_string(i);
      agents.push_back(
          std::make_unique<vc::Agent<EchoAgent>>(vc::AgentRuntimeConfig{.name = name,
                                                                        .controlPlaneUrl = httpUrl,
                                                                        .controlPlaneWsUrl = wsUrl,
                                                                        .vaultysIdPath = directory + "/" + name + ".id",
                                                                        .requestedCapabilities = {"text_generation"},
                                                                        .statePath = directory + "/herd.state"},
                                                 runtime));
      agents.back()->start();
    }
    for (std::size_t i = first; i < last; ++i) {
      if (agents[i]->waitFor(vc::AgentStatus::Connected, 60s)) continue;
      std::cerr << "herd: agent " << i << " is not connected: " << agents[i]->getInfo().reason << '\n';
      return 1;
    }
  }
  std::cout << "connected" << std::endl;
  vc::waitForShutdownSignal();
  for (auto& agent : agents) agent->requestStop();
  return 0;
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc != 5) {
    std::cerr << "usage: vc_bench_herd HTTP_URL WS_URL DIRECTORY AGENTS\n";
    return 2;
  }
  return herd(argv[1], argv[2], argv[3], std::stoul(argv[4]));
} catch (const std::exception& e) {
  std::cerr << "herd: " << e.what() << '\n';
  return 1;
}
