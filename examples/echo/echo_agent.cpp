// The smallest agent: it answers with what it was asked.
//
//   CONTROL_PLANE_URL     HTTP base URL of the control plane   http://localhost:3000
//   CONTROL_PLANE_WS_URL  its WebSocket URL                    ws://localhost:8080
//   AGENT_NAME            shown in the dashboard               echo-agent
//   VAULTYS_ID_PATH       the identity file                    ./.vaultys/echo.id
#include <cstdlib>
#include <exception>
#include <iostream>
#include <string>
#include <vaultysclaw/agent.hpp>

class EchoAgent : public vc::BaseAgentRuntime {
 public:
  using BaseAgentRuntime::BaseAgentRuntime;

  // Called for every intent. Returns any JSON value.
  vc::Json executeIntent(std::string_view action, const vc::Json& params, vc::CallContext& /*call*/) override {
    return {{"echo", {{"action", action}, {"params", params}}}};
  }

  // Called for every chat message. send() streams text back; returning closes the answer.
  void executeChat(std::span<const vc::ChatMessage> messages, std::string_view /*conversationId*/, vc::ChatSink& out,
                   vc::CallContext& /*call*/) override {
    std::string said;
    for (const auto& message : messages) {
      if (message.role == "user") said = message.content;
    }
    out.send("You said: \"" + said + "\"");
  }
};

std::string environment(const char* name, const char* otherwise) {
  const char* value = std::getenv(name);
  return value != nullptr && *value != '\0' ? value : otherwise;
}

int main() try {
  vc::Agent<EchoAgent> agent{{.name = environment("AGENT_NAME", "echo-agent"),
                              .controlPlaneUrl = environment("CONTROL_PLANE_URL", "http://localhost:3000"),
                              .controlPlaneWsUrl = environment("CONTROL_PLANE_WS_URL", "ws://localhost:8080"),
                              .vaultysIdPath = environment("VAULTYS_ID_PATH", "./.vaultys/echo.id"),
                              .requestedCapabilities = {"text_generation"}}};

  const auto logs =
      agent.on<vc::LogEntry>([](const vc::LogEntry& e) { std::cerr << '[' << e.level << "] " << e.message << '\n'; });
  const auto statuses = agent.on<vc::StatusChanged>([](const vc::StatusChanged& e) {
    std::cerr << "status → " << e.status << '\n';
    if (e.status == vc::AgentStatus::Stopped) vc::requestShutdown();  // rejected, or the control plane's key changed
  });

  agent.start();
  vc::waitForShutdownSignal();
  agent.stop();  // the destructor would do it too, but after the listeners are gone
} catch (const std::exception& e) {
  std::cerr << "echo-agent: " << e.what() << '\n';
  return 1;
}
