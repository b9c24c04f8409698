// The agents of crash rounds and of the soak: public headers only, but for the journal. Each writes into the journal
// what it does before and after doing it, with a mark that no two executions share.
//
//   vc_crash_agent [--hasty] [--twice] HTTP_URL WS_URL DIRECTORY JOURNAL NAME...
//
// --twice: writes down each beginning twice, as an agent that runs intents twice would; the checker has to notice.
// --hasty: comes back within milliseconds and notices a dead connection within half a second. Several names share one
// process and one Runtime.
#include <vaultysclaw/agent.hpp>
#include <vaultysclaw/runtime.hpp>

#include <unistd.h>

#include <atomic>
#include <chrono>
#include <iostream>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "journal.hpp"

namespace {

using namespace std::chrono_literals;
using vaultysclaw::crash::JournalWriter;

std::string newMark() {
  static std::atomic<unsigned> number{0};
  static const unsigned run = std::random_device{}();
  return std::to_string(::getpid()) + "-" + std::to_string(run) + "-" + std::to_string(++number);
}

class CrashAgent : public vc::BaseAgentRuntime {
 public:
  CrashAgent(vc::AgentRuntimeConfig config, vc::Runtime& runtime, const std::string& journal, int beginnings)
      : BaseAgentRuntime(config, runtime), journal_(journal, config.name), beginnings_(beginnings) {}

  // {n, workMs, fail?}: works for so long, then succeeds with a mark, or fails with one.
  vc::Json executeIntent(std::string_view, const vc::Json& params, vc::CallContext& call) override {
    for (int i = 0; i < beginnings_; ++i) journal_.write("begin", call.intentId(), params.at("n").get<std::string>());
    const std::string mark = newMark();
    try {
      work(call, std::chrono::milliseconds(params.at("workMs").get<int>()));
    } catch (const vc::CallStopped&) {
      journal_.write("stopped", call.intentId(), mark);
      throw;
    }
    if (params.contains("fail")) {
      journal_.write("failed", call.intentId(), mark);
      throw std::runtime_error("asked to fail: " + mark);
    }
    journal_.write("success", call.intentId(), mark);
    return {{"n", params["n"]}, {"mark", mark}, {"agent", config().name}};
  }

  // "CHUNKS": so many pieces, each with its number.
  void executeChat(std::span<const vc::ChatMessage> messages, std::string_view conversation, vc::ChatSink& out,
                   vc::CallContext& call) override {
    const int chunks = std::stoi(messages.back().content);
    journal_.write("chat", conversation, std::to_string(chunks));
    int sent = 0;
    while (sent < chunks && out.send("c" + std::to_string(sent) + " ")) {
      ++sent;
      work(call, 2ms);
    }
    journal_.write("chatted", conversation, std::to_string(sent));
  }

 private:
  static void work(const vc::CallContext& call, std::chrono::milliseconds duration) {
    const auto end = std::chrono::steady_clock::now() + duration;
    while (std::chrono::steady_clock::now() < end) {
      call.throwIfStopped();
      std::this_thread::sleep_for(1ms);
    }
  }

  JournalWriter journal_;
  const int beginnings_;
};

int run(bool hasty, bool twice, const std::vector<std::string>& arguments) {
  vc::Runtime runtime;
  std::vector<std::unique_ptr<vc::Agent<CrashAgent>>> agents;
  std::vector<vc::Subscription> subscriptions;
  for (std::size_t i = 4; i < arguments.size(); ++i) {
    const std::string& name = arguments[i];
    vc::AgentRuntimeConfig config{.name = name,
                                  .controlPlaneUrl = arguments[0],
                                  .controlPlaneWsUrl = arguments[1],
                                  .vaultysIdPath = arguments[2] + "/" + name + ".id",
                                  .requestedCapabilities = {"work"},
                                  .handlerThreads = 1 + i % 3};
    if (hasty) {
      config.backoff = {.initial = 20ms, .maximum = 200ms};
      config.pingInterval = 250ms;
      config.heartbeatInterval = 500ms;
    }
    agents.push_back(std::make_unique<vc::Agent<CrashAgent>>(config, runtime, arguments[3], twice ? 2 : 1));
    subscriptions.push_back(agents.back()->on<vc::StatusChanged>([name](const vc::StatusChanged& e) {
      std::cout << vaultysclaw::crash::unixMillis() << ' ' << name << ' ' << e.status << ' ' << e.reason << std::endl;
    }));
    subscriptions.push_back(agents.back()->on<vc::LogEntry>([name](const vc::LogEntry& e) {
      if (e.level >= vc::LogSeverity::Warn)
        std::cerr << vaultysclaw::crash::unixMillis() << ' ' << name << ' ' << e.message << std::endl;
    }));
    agents.back()->start();
  }
  vc::waitForShutdownSignal();
  for (auto& agent : agents) agent->requestStop();
  return 0;
}

}  // namespace

int main(int argc, char** argv) try {
  std::vector<std::string> arguments(argv + 1, argv + argc);
  const bool hasty = std::erase(arguments, "--hasty") > 0, twice = std::erase(arguments, "--twice") > 0;
  if (arguments.size() < 5) {
    std::cerr << "usage: vc_crash_agent [--hasty] [--twice] HTTP_URL WS_URL DIRECTORY JOURNAL NAME...\n";
    return 2;
  }
  return run(hasty, twice, arguments);
} catch (const std::exception& e) {
  std::cerr << "vc_crash_agent: " << e.what() << '\n';
  return 1;
}
