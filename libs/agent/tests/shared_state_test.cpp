// Agents of one Runtime that share a state file, and the order of what is asked of it.
#include <future>
#include <thread>

#include "agent/trust.hpp"
#include "agent_fixture.hpp"

namespace vaultysclaw::testing {
namespace {

using detail::OpenState;
using detail::StateFile;
using detail::StateFiles;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

const Did kAnna("did:vaultys:anna"), kBert("did:vaultys:bert");

// ---- the file alone

class SharedStateFile : public ::testing::Test {
 protected:
  std::unique_ptr<OpenState> open(const Did& did, const std::filesystem::path& path) {
    auto state = files.open(path, did);
    VC_ASSERT(state.ok(), state.ok() ? "" : state.error().message.c_str());
    return std::move(*state);
  }
  std::unique_ptr<OpenState> open(const Did& did) { return open(did, dir.file("a.state")); }
  // A work that writes down that it ran, and a `done` that does so too.
  bool submit(OpenState& state, const std::string& name, const Status& outcome = {}) {
    return state.file().submit(
        [&, name, outcome]() -> Status {
          order.push_back(name);
          VC_TRY(state.rows().putAll({{name, "here"}}));
          return outcome;
        },
        [&, name](const Status& status) { order.push_back(name + (status.ok() ? " stored" : " failed")); });
  }

  TemporaryDirectory dir;
  FakeClock clock;
  FakeLoop loop{clock};
  LoopWorkers workers{loop};
  StateFiles files{workers, Duration(0)};
  std::vector<std::string> order;
};

TEST_F(SharedStateFile, IsOpenOnceHoweverItIsNamedAndClosedByTheLast) {
  const std::string path = dir.file("a.state"), link = dir.file("link.state");
  auto anna = open(kAnna, path);
  std::filesystem::create_symlink(path, link);
  auto bert = open(kBert, link);
  EXPECT_EQ(&anna->file(), &bert->file());
  const auto twice = files.open(path, kAnna);
  ASSERT_FALSE(twice.ok());
  EXPECT_EQ(twice.error().code, Errc::Conflict);
  EXPECT_THAT(twice.error().message, HasSubstr("same identity"));
  // Another Runtime is as good as another process.
  StateFiles others{workers, Duration(0)};
  EXPECT_EQ(others.open(path, Did("did:vaultys:carl")).error().code, Errc::Conflict);
  anna.reset();
  EXPECT_EQ(store::openAgentState(path, kAnna).error().code, Errc::Conflict);
  ASSERT_TRUE(bert->rows().putAll({{"k", "v"}}).ok());
  anna = open(kAnna, path);
  EXPECT_FALSE(anna->rows().get("k")->has_value());
  anna.reset();
  bert.reset();
  EXPECT_TRUE(store::openAgentState(path, kAnna).ok());
  EXPECT_EQ(files.open(dir.file("nowhere/a.state"), kAnna).error().code, Errc::Io);
}

TEST_F(SharedStateFile, TellsOutcomesInOrderOnceAllIsCommitted) {
  auto anna = open(kAnna), bert = open(kBert);
  ASSERT_TRUE(submit(*anna, "one"));
  ASSERT_TRUE(submit(*bert, "two", Error{Errc::Failed, "no"}));
  ASSERT_TRUE(submit(*anna, "three"));
  EXPECT_TRUE(order.empty());
  loop.runUntilIdle();
  EXPECT_THAT(order, ElementsAre("one", "two", "three", "one stored", "two failed", "three stored"));
  EXPECT_TRUE(anna->rows().get("three")->has_value());
  EXPECT_FALSE(bert->rows().get("two")->has_value());
}

TEST_F(SharedStateFile, LetsWhoWaitsDoWhatIsQueuedBeforeIt) {
  auto anna = open(kAnna);
  ASSERT_TRUE(submit(*anna, "one"));
  const Status saved = anna->file().runBlocking(
      [&] {
        order.push_back("mine");
        return Status();
      },
      [&] { order.push_back("mine stored"); });
  EXPECT_TRUE(saved.ok());
  EXPECT_THAT(order, ElementsAre("one", "mine", "one stored", "mine stored"));
  const Status failed =
      anna->file().runBlocking([] { return Status(Error{Errc::Failed, "no"}); }, [&] { order.push_back("never"); });
  EXPECT_EQ(failed.error().code, Errc::Failed);
  EXPECT_EQ(order.size(), 4u);
  loop.runUntilIdle();
  EXPECT_EQ(order.size(), 4u);
}

TEST_F(SharedStateFile, RefusesWhatIsTooMuch) {
  auto anna = open(kAnna);
  std::size_t taken = 0, told = 0;
  const auto submitOne = [&] { return anna->file().submit([] { return Status(); }, [&](const Status&) { ++told; }); };
  while (taken < 20'000 && submitOne()) ++taken;
  EXPECT_EQ(taken, 16'384u);
  EXPECT_EQ(anna->file().runBlocking([] { return Status(); }, [] {}).error().code, Errc::Busy);
  loop.runUntilIdle();
  EXPECT_EQ(told, taken);
  EXPECT_TRUE(submitOne());
  loop.runUntilIdle();
  EXPECT_EQ(told, taken + 1);
}

TEST(SharedStateFileThreads, TakeWhatManyAskFor) {
  constexpr int kAgents = 4, kEach = 40;
  const TemporaryDirectory dir;
  std::atomic<int> stored = 0;
  {
    const auto workers = makeThreadPool("test", 3, 65536);
    StateFiles files(*workers, milliseconds(1));
    std::vector<std::thread> threads;
    for (int a = 0; a < kAgents; ++a) {
      threads.emplace_back([&, a] {
        // Opened and closed twice, while others come and go.
        for (int round = 0; round < 2; ++round) {
          auto opened = files.open(dir.file("a.state"), Did("did:vaultys:" + std::to_string(a)));
          ASSERT_TRUE(opened.ok()) << opened.error().message;
          OpenState& state = **opened;
          std::vector<std::promise<void>> told(kEach);
          int last = -1;  // touched by outcomes alone
          for (int i = 0; i < kEach; ++i) {
            const bool queued =
                state.file().submit([&state, i] { return state.rows().putAll({{std::to_string(i), "v"}}); },
                                    [&, i](const Status& status) {
                                      if (status.ok() && last == i - 1) ++stored;
                                      last = i;
                                      told[static_cast<std::size_t>(i)].set_value();
                                    });
            ASSERT_TRUE(queued);
            if (i % 8 == 0) {
              EXPECT_TRUE(
                  state.file().runBlocking([&state] { return state.rows().saveUsage({.utcDay = 1}); }, [] {}).ok());
            }
          }
          for (auto& one : told) one.get_future().wait();
        }
      });
    }
    for (auto& thread : threads) thread.join();
  }
  EXPECT_EQ(stored, kAgents * kEach * 2);
}

// ---- agents

class SharedState : public AgentTest {
 protected:
  SharedState() {
    config.statePath = world.dir.file("both.state");
    otherConfig = config;
    otherConfig.name = "other-agent";
    otherConfig.controlPlaneUrl = "http://localhost:4000";
    otherConfig.controlPlaneWsUrl = "ws://localhost:4001";
    otherConfig.vaultysIdPath = world.dir.file("other.id");
    world.network.listen("ws://localhost:4001", otherCp.acceptor());
  }
  ~SharedState() override { other.reset(); }

  void connectBoth() {
    other.reset();
    connect();
    other = std::make_unique<Agent<ScriptedAgent>>(otherConfig, *runtime);
    other->start();
    world.run();
    ASSERT_EQ(other->getStatus(), AgentStatus::Connected);
    otherCp.forget();
  }
  void stopBoth() {
    other.reset();
    agent.reset();
  }
  static std::size_t resultsOf(const TestControlPlane& plane) { return plane.all<protocol::IntentResult>().size(); }

  TestControlPlane otherCp{world.clock, world.entropy};
  AgentRuntimeConfig otherConfig;
  std::unique_ptr<Agent<ScriptedAgent>> other;
};

TEST_F(SharedState, AgentsRememberTheirOwnOverARestart) {
  connectBoth();
  const std::string first = cp.intentText("same id", "text_generation", {});
  const std::string second = otherCp.intentText("same id", "text_generation", {});
  cp.sendRaw(first);
  otherCp.sendRaw(second);
  world.run();
  EXPECT_EQ(agent->intents, 1);
  EXPECT_EQ(other->intents, 1);
  EXPECT_EQ(resultsOf(cp), 1u);
  EXPECT_EQ(resultsOf(otherCp), 1u);
  agent->addUsage(3, 0);
  other->addUsage(0, 5);
  stopBoth();
  connectBoth();
  EXPECT_EQ(agent->getInfo().tokensToday, (TokenUsage{3, 0}));
  EXPECT_EQ(other->getInfo().tokensToday, (TokenUsage{0, 5}));
  cp.sendRaw(first);
  otherCp.sendRaw(second);
  world.run();
  EXPECT_EQ(agent->intents, 0) << "it had run before";
  EXPECT_EQ(other->intents, 0) << "it had run before";
  EXPECT_EQ(resultsOf(cp), 1u);
  EXPECT_EQ(resultsOf(otherCp), 1u);
  EXPECT_TRUE(cp.badResults.empty() && otherCp.badResults.empty());
  stopBoth();
  // Each has pinned its own control plane.
  auto rows = openState(config.statePath);
  ASSERT_TRUE(rows.ok());
  EXPECT_EQ((*detail::readPin(**rows))->did, cp.id().didV1().value);
}

TEST_F(SharedState, ACrashInterruptsOnlyWhatRan) {
  connectBoth();
  world.lanes->held = true;
  cp.intent("runs", "text_generation", {});
  world.run();
  const std::string crashed = world.dir.file("crashed.state");
  for (const char* suffix : {"", "-wal"}) std::filesystem::copy_file(config.statePath + suffix, crashed + suffix);
  world.lanes->held = false;
  while (world.runHandler()) {
  }
  stopBoth();
  config.statePath = otherConfig.statePath = crashed;
  cp.forget();
  connect();
  other = std::make_unique<Agent<ScriptedAgent>>(otherConfig, *runtime);
  otherCp.forget();
  other->start();
  world.run();
  EXPECT_EQ(agent->intents, 0);
  EXPECT_EQ(cp.results.back().code, "interrupted");
  EXPECT_EQ(resultsOf(otherCp), 0u);
}

TEST_F(SharedState, OneAgentStopsAndTheOtherGoesOn) {
  connectBoth();
  agent->stop();
  otherCp.intent("i1", "text_generation", {});
  world.run();
  EXPECT_EQ(other->intents, 1);
  EXPECT_EQ(resultsOf(otherCp), 1u);
  const auto held = openState(config.statePath);
  ASSERT_FALSE(held.ok());
  EXPECT_EQ(held.error().code, Errc::Conflict);
  // It comes back while the other runs.
  agent = std::make_unique<Agent<ScriptedAgent>>(config, *runtime);
  agent->start();
  world.run();
  EXPECT_EQ(agent->getStatus(), AgentStatus::Connected);
  stopBoth();
  EXPECT_TRUE(openState(config.statePath).ok());
}

TEST_F(SharedState, TheSameIdentityTwiceIsRefused) {
  connectBoth();
  Agent<ScriptedAgent> twin{config, *runtime};
  try {
    twin.start();
    FAIL() << "it started";
  } catch (const AgentError& e) {
    EXPECT_EQ(e.code(), "conflict");
    EXPECT_THAT(e.what(), HasSubstr("same identity"));
  }
  EXPECT_EQ(agent->getStatus(), AgentStatus::Connected);
}

}  // namespace
}  // namespace vaultysclaw::testing
