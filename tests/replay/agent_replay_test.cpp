// Our agent in the place of the original's: the recorded server speaks to it, and everything the agent sends is
// compared with what the original's sent at that point.
#include <gtest/gtest.h>

#include <sstream>
#include <stdexcept>

#include "agent/test_runtime.hpp"
#include "line.hpp"
#include "vaultysclaw/agent.hpp"

namespace vaultysclaw::replay {
namespace {

using Kind = Entry::Kind;

// What the recorded agent's own code did.
class RecordedAgent : public BaseAgentRuntime {
 public:
  using BaseAgentRuntime::BaseAgentRuntime;

 protected:
  Json executeIntent(std::string_view action, const Json& params, CallContext&) override {
    if (params.contains("fail")) throw std::runtime_error(params["fail"].get<std::string>());
    return {{"echo", params}, {"action", action}};
  }
  void executeChat(std::span<const ChatMessage> messages, std::string_view, ChatSink& out, CallContext&) override {
    std::istringstream words(messages.back().content);
    for (std::string word; words >> word;) out.send(word + " ");
  }
};

class AgentReplay {
 public:
  explicit AgentReplay(const std::string& name) : transcript_(loadTranscript(name)) {
    world_.clock.jumpWall(transcript_.startedAt - world_.clock.now());
    const std::string secret = base64Encode(transcript_.agent.secret().view());
    EXPECT_TRUE(makeSystemFileStore()->createPrivate(world_.dir.file("agent.id"), asBytes(secret)).ok());
    world_.network.listen("ws://localhost:8080",
                          [this](std::unique_ptr<net::Connection> c) { accepted_ = std::move(c); });
  }

  void play() {
    for (const Entry& entry : transcript_.entries) {
      SCOPED_TRACE(transcript_.name + " #" + std::to_string(entry.seq));
      // What ours sends may wait while the recorded server goes on talking.
      if (entry.kind != Kind::ToServer && entry.kind != Kind::ToAgent && entry.kind != Kind::ClosedByServer)
        expectNothing();
      moveClock(entry);
      act(entry);
      world_.run();
      last_ = &entry;
    }
    expectNothing();
    comparison_.finish();
  }

 private:
  struct Process {
    std::unique_ptr<Runtime> runtime;
    std::unique_ptr<Agent<RecordedAgent>> agent;
  };

  WallTime recordedTime(const Entry& entry) const { return transcript_.startedAt + entry.at + behind_; }
  void moveClock(const Entry& entry) {
    const WallTime target = recordedTime(entry);
    if (target > world_.clock.now()) world_.advance(target - world_.clock.now());
  }
  // Lets time pass until `done`, and keeps the recorded clock behind by as much.
  template <class Condition>
  void waitFor(const Entry& entry, Duration limit, Condition done) {
    const SteadyTime end = world_.clock.steady() + limit;
    while (!done() && world_.clock.steady() < end) world_.advance(milliseconds(1));
    EXPECT_TRUE(done());
    behind_ += std::max(milliseconds(0), world_.clock.now() - recordedTime(entry));
  }

  void act(const Entry& entry) {
    switch (entry.kind) {
      case Kind::Connected:
        return connect(entry);
      case Kind::ToAgent:
        return lines_.at(entry.connection)->send(asSent(entry));
      case Kind::ToServer:
        return expect(entry);
      case Kind::Step:
        // The recording's heartbeat was triggered early; ours comes when it is due.
        if (comparison_.departs(entry, "clock"))
          waitFor(entry, seconds(30), [&] { return !lines_.at(entry.connection)->heard.empty(); });
        return;
      case Kind::ClosedByAgent:
        if (!entry.message.is_null()) {
          processes_.erase(entry.connection);
          expect(entry);
        } else if (comparison_.departs(entry, "process")) {
          processes_.erase(entry.connection);
        }
        return;
      case Kind::ClosedByServer:
        if (entry.message.is_null()) return;
        if (!lines_.at(entry.connection)->heard.empty()) return expect(entry);
        lines_.at(entry.connection)->close(entry.message["code"], entry.message["reason"]);
        closedAt_ = world_.clock.steady();
        return;
    }
  }

  // ---- what ours sends ----

  void expect(const Entry& entry) {
    Line& line = *lines_.at(entry.connection);
    if (line.heard.empty()) return comparison_.compare(entry, nullptr);
    const Heard heard = std::move(line.heard.front());
    line.heard.pop_front();
    comparison_.compare(entry, &heard);
    remember(entry.connection, heard.message);
  }
  void expectNothing() {
    for (auto& [number, line] : lines_) {
      for (; !line->heard.empty(); line->heard.pop_front()) {
        comparison_.more(*last_, line->heard.front());
        remember(number, line->heard.front().message);
      }
    }
  }
  void remember(int connection, const json& message) {
    const std::string kind = kindOf(message);
    if (kind == "INIT") init_[connection] = handshakeIn(message).value();
    if (kind == "COMPLETE") complete_[connection] = message["payload"]["data"];
  }

  // ---- what the recorded side does ----

  void connect(const Entry& entry) {
    if (closedAt_ && !processes_.empty()) {
      // 2 s, plus or minus a fifth.
      waitFor(entry, seconds(5), [&] { return accepted_ != nullptr; });
      auto reconnecting = processes_.extract(processes_.begin());
      reconnecting.key() = entry.connection;
      processes_.insert(std::move(reconnecting));
    } else {
      startProcess(entry);
    }
    closedAt_.reset();
    ASSERT_TRUE(accepted_);
    lines_[entry.connection] = std::make_unique<Line>(std::move(accepted_), world_.clock, "agent");
  }

  // With what the recorded agent announced on this connection.
  void startProcess(const Entry& connected) {
    AgentRuntimeConfig config;
    config.name = "nameless";
    config.version = "0.0.1";
    config.controlPlaneUrl = "http://localhost:3000";
    config.vaultysIdPath = world_.dir.file("agent.id");
    config.statePath = world_.dir.file(processes_.empty() ? "agent.state" : "second.state");
    for (const Entry& entry : transcript_.entries) {
      if (entry.connection != connected.connection || entry.kind != Kind::ToServer || !entry.message.is_object())
        continue;
      const json& payload = entry.message["payload"];
      if (config.name == "nameless") config.name = payload.value("name", config.name);
      if (kindOf(entry.message) == "register") config.version = payload.value("version", config.version);
      if (!payload.contains("capabilities")) continue;
      config.requestedCapabilities = payload["capabilities"].get<std::vector<std::string>>();
      break;
    }
    comparison_.ledger().agentStartedAt = world_.clock.now();
    Process& process = processes_[connected.connection];
    process.runtime = world_.makeRuntime();
    process.agent = std::make_unique<Agent<RecordedAgent>>(config, *process.runtime);
    process.agent->start();
    world_.run();
  }

  // The server's message; a STEP1 answers our INIT and is signed anew, and a COMPLETE is the copy of ours.
  json asSent(const Entry& entry) {
    json message = entry.message;
    const std::string kind = kindOf(message);
    if (kind == "STEP1") {
      const auto step1 = step1For(transcript_.server, init_.at(entry.connection), handshakeIn(entry.message).value());
      message["payload"]["data"] = base64Encode(identity::encodeHandshake(step1));
      comparison_.ledger().step1 = opened(message);
    } else if (kind == "COMPLETE") {
      message["payload"]["data"] = complete_.at(entry.connection);
    }
    return message;
  }

  const Transcript transcript_;
  Comparison comparison_{Side::Agent, transcript_};
  testing::TestWorld world_;
  std::map<int, std::unique_ptr<Line>> lines_;
  std::map<int, Process> processes_;  // by the number of their connection
  std::unique_ptr<net::Connection> accepted_;
  std::optional<SteadyTime> closedAt_;  // when the recorded server closed the last connection
  milliseconds behind_{0};              // of the recorded clock, to ours
  const Entry* last_ = nullptr;
  std::map<int, identity::HandshakeMessage> init_;  // our last one, by connection
  std::map<int, std::string> complete_;             // our last one, base64
};

TEST(ReplayAgent, LifeOfOneAgent) {
  AgentReplay("full").play();
}
TEST(ReplayAgent, RejectedAgent) {
  AgentReplay("rejected").play();
}
TEST(ReplayAgent, ServerAnswersToClientsThatBreakTheProtocol) {
  AgentReplay("client_errors").play();
}

}  // namespace
}  // namespace vaultysclaw::replay
