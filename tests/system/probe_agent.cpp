// The agent of the process tests: public headers only. Configured by environment variables; prints status changes.
#include <vaultysclaw/agent.hpp>

#include <chrono>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <stdexcept>
#include <string>
#include <thread>

namespace {

std::string env(const char* name, const char* otherwise = "") {
  const char* const value = std::getenv(name);
  return value != nullptr ? value : otherwise;
}

// Waits in small steps, as a handler that computes would.
void work(vc::CallContext& call, std::chrono::milliseconds duration) {
  const auto end = std::chrono::steady_clock::now() + duration;
  while (std::chrono::steady_clock::now() < end) {
    call.throwIfStopped();
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
}

class ProbeAgent : public vc::BaseAgentRuntime {
 public:
  using BaseAgentRuntime::BaseAgentRuntime;

  vc::Json executeIntent(std::string_view action, const vc::Json& params, vc::CallContext& call) override {
    // Every start of a run shows there, also of one that a crash ends.
    if (params.contains("mark"))
      std::ofstream(env("PROBE_RUNS"), std::ios::app) << params["mark"].get<std::string>() << std::endl;
    work(call, std::chrono::milliseconds(params.value("sleepMs", 0)));
    if (params.contains("fail")) throw std::runtime_error(params["fail"].get<std::string>());
    call.addUsage(params.value("tokens", 0), 0);
    vc::Json peers = vc::Json::array();
    for (const vc::AgentPeerGrant& grant : getPeerCatalog()) peers.push_back(grant.targetDid);
    return {
        {"action", action}, {"params", params}, {"caller", call.callerDid().value_or("")}, {"peers", std::move(peers)}};
  }

  void executeChat(std::span<const vc::ChatMessage> messages, std::string_view, vc::ChatSink& out,
                   vc::CallContext& call) override {
    const std::string text = messages.back().content;
    out.sendThinking("thinking");
    if (text == "forever") {
      while (!call.stopRequested() && out.send("tick ")) std::this_thread::sleep_for(std::chrono::milliseconds(20));
      std::cout << "chat stopped" << std::endl;
      return;
    }
    if (text == "count") {
      for (int i = 0; i < 100 && out.send(std::to_string(i) + " "); ++i) work(call, std::chrono::milliseconds(20));
      return;
    }
    if (text == "fail") return out.fail("llm_error", "the model said no");
    for (const char c : text) out.send(std::string_view(&c, 1));  // byte by byte: characters are split
  }
};

}  // namespace

int main() try {
  vc::Agent<ProbeAgent> agent{
      {.name = env("PROBE_NAME", "probe"),
       .controlPlaneUrl = env("PROBE_URL"),
       .controlPlaneWsUrl = env("PROBE_WS_URL"),
       .vaultysIdPath = env("PROBE_ID"),
       .requestedCapabilities = {"text_generation", "api_call"},
       .caFile = env("PROBE_CA"),
       .backoff = {.initial = std::chrono::milliseconds(50), .maximum = std::chrono::milliseconds(500)}}};
  const auto statuses = agent.on<vc::StatusChanged>(
      [](const vc::StatusChanged& e) { std::cout << "status " << e.status << ' ' << e.reason << std::endl; });
  const auto logs = agent.on<vc::LogEntry>([](const vc::LogEntry& e) { std::cerr << e.message << std::endl; });
  agent.start();
  vc::waitForShutdownSignal();
  agent.stop();
  return 0;
} catch (const std::exception& e) {
  std::cerr << "probe: " << e.what() << '\n';
  return 1;
}
