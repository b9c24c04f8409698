// The agent over real threads and sockets: what the single-threaded tests cannot show.
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <future>
#include <thread>

#include "agent/test_control_plane.hpp"
#include "agent/test_runtime.hpp"
#include "net/io_loop.hpp"
#include "vaultysclaw/agent.hpp"

namespace vaultysclaw::testing {
namespace {

class Busy : public BaseAgentRuntime {
 public:
  using BaseAgentRuntime::BaseAgentRuntime;
  std::promise<void> entered;

 protected:
  Json executeIntent(std::string_view action, const Json&, CallContext& call) override {
    if (action == "wait") {
      entered.set_value();
      // Ends when the agent stops: the token wakes this thread.
      std::mutex mutex;
      std::condition_variable_any wake;
      std::unique_lock lock(mutex);
      wake.wait(lock, call.stopToken(), [] { return false; });
      call.throwIfStopped();
    }
    return ++count_;  // no lock: one handler thread
  }
  void executeChat(std::span<const ChatMessage> messages, std::string_view, ChatSink& out, CallContext&) override {
    for (int i = 0; i < 200; ++i) out.send(messages.back().content);
    ++count_;
  }
  void onSkillsConfig(std::span<const SkillConfig>) override { ++count_; }

 private:
  int count_ = 0;
};

class Threads : public ::testing::Test {
 protected:
  Threads() : clock(makeSystemClock()), entropy(makeSystemEntropy()), cp(*clock, *entropy) {
    cp.capabilities = {"work", "wait"};
    net::ServerHandlers handlers;
    handlers.onUpgrade = [](const net::HttpRequest&) { return std::optional<net::HttpResponse>(); };
    handlers.onWebSocket = cp.acceptor();
    auto listening = net::listen(loop, {}, std::move(handlers));
    VC_ASSERT(listening.ok(), "cannot listen");
    server = std::move(listening).value();
    config.name = "busy";
    config.controlPlaneUrl = "http://127.0.0.1:3000";
    config.controlPlaneWsUrl = "ws://127.0.0.1:" + std::to_string(server->port());
    config.vaultysIdPath = dir.file("agent.id");
    config.requestedCapabilities = {"work", "wait"};
  }
  ~Threads() override {
    loop.runBlocking([this] {
      cp.drop();
      server.reset();
    });
  }
  template <class F>
  void onLoop(F f) {
    loop.runBlocking([&] { f(); });
  }
  // Blocks until `n` results have arrived at the control plane.
  void awaitResults(std::size_t n) {
    for (;;) {
      std::size_t have = 0;
      onLoop([&] { have = cp.all<protocol::IntentResult>().size(); });
      if (have >= n) return;
      std::this_thread::yield();
    }
  }

  TemporaryDirectory dir;
  std::unique_ptr<Clock> clock;
  std::unique_ptr<Entropy> entropy;
  TestControlPlane cp;
  net::IoLoop loop;
  std::unique_ptr<net::Server> server;
  AgentRuntimeConfig config;
};

TEST_F(Threads, WorkChatsHooksAndEventsNeverCollide) {
  Agent<Busy> agent(config);
  std::atomic<int> heard{0};
  const auto results = agent.on<IntentResult>([&](const IntentResult&) { ++heard; });
  const auto logs = agent.on<LogEntry>([&](const LogEntry&) { ++heard; });
  agent.start();
  ASSERT_TRUE(agent.waitFor(AgentStatus::Connected, seconds(60)));
  for (int i = 0; i < 20; ++i) {
    onLoop([&] {
      cp.intent("i" + std::to_string(i), "work");
      cp.chat("c" + std::to_string(i), "hello ");
      cp.send(protocol::SkillsConfig{});
    });
    (void)agent.getInfo();
  }
  awaitResults(20);
  agent.stop();
  EXPECT_EQ(agent.getStatus(), AgentStatus::Stopped);
  EXPECT_GE(heard, 20);
}

TEST_F(Threads, StopWakesAHandlerAndSendsItsAnswer) {
  auto agent = std::make_unique<Agent<Busy>>(config);
  agent->start();
  ASSERT_TRUE(agent->waitFor(AgentStatus::Connected, seconds(60)));
  auto entered = agent->entered.get_future();
  onLoop([&] { cp.intent("i1", "wait"); });
  entered.wait();
  agent.reset();  // ~Agent stops before Busy is destroyed
  awaitResults(1);
  onLoop([&] { EXPECT_EQ(cp.last<protocol::IntentResult>()->code, "interrupted"); });
}

TEST_F(Threads, ManyAgentsShareOneRuntime) {
  Runtime runtime;
  std::vector<std::unique_ptr<Agent<Busy>>> agents;
  for (int i = 0; i < 4; ++i) {
    config.vaultysIdPath = dir.file("agent" + std::to_string(i) + ".id");
    agents.push_back(std::make_unique<Agent<Busy>>(config, runtime));
    agents.back()->start();
    // One at a time: the test's control plane knows one agent.
    ASSERT_TRUE(agents.back()->waitFor(AgentStatus::Connected, seconds(60)));
  }
  agents.clear();
}

TEST(Shutdown, CanBeRequested) {
  requestShutdown();
  EXPECT_EQ(waitForShutdownSignal(), 0);
}

TEST(Shutdown, FollowsASignal) {
  std::thread killer([] {
    // A signal before the handler is in place would end the test.
    struct sigaction now = {};
    do {
      std::this_thread::yield();
      sigaction(SIGTERM, nullptr, &now);
    } while (now.sa_handler == SIG_DFL);
    kill(getpid(), SIGTERM);
  });
  EXPECT_EQ(waitForShutdownSignal(), SIGTERM);
  killer.join();
}

}  // namespace
}  // namespace vaultysclaw::testing
