// The n-th send, the n-th task for a worker and the n-th write fail, for every n until none is left to fail: whatever
// it was, each intent that a caller was promised is answered, and runs once at most.
#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>

#include "agent/test_runtime.hpp"
#include "control/control_plane.hpp"
#include "vaultysclaw/agent.hpp"

namespace vaultysclaw::system_test {
namespace {

using testing::Direction;
using testing::TestWorld;

// Fails one call, the n-th since it was armed, or that one and all that follow until it is disarmed.
struct Fault {
  enum class Lasts : bool { Once, UntilDisarmed };
  std::optional<std::size_t> at;
  Lasts lasts = Lasts::Once;
  std::size_t calls = 0;

  bool fails() {
    if (!at) return false;
    ++calls;
    return lasts == Lasts::Once ? calls == *at : calls >= *at;
  }
  bool reached() const { return at && calls >= *at; }
};

class FaultyWorkers final : public Workers {
 public:
  FaultyWorkers(Executor& loop, Fault& fault) : workers_(loop), fault_(fault) {}
  bool submit(Task task) override { return !fault_.fails() && workers_.submit(std::move(task)); }

 private:
  testing::LoopWorkers workers_;
  Fault& fault_;
};

class FaultyStore final : public store::ControlStore {
 public:
  FaultyStore(store::ControlStore& below, Fault& queue, Fault& commit)
      : below_(below), queue_(queue), commit_(commit) {}
  bool write(Work work, std::function<void(Status)> done) override {
    if (queue_.fails()) return false;
    if (!commit_.fails()) return below_.write(std::move(work), std::move(done));
    return below_.write([](store::ControlWriter&) -> Status { return Error{Errc::Io, "the disk is full"}; },
                        std::move(done));
  }
  Status writeBlocking(const Work& work) override { return below_.writeBlocking(work); }
  Status readBlocking(const std::function<Status(store::ControlReader&)>& query) override {
    return below_.readBlocking(query);
  }

 private:
  store::ControlStore& below_;
  Fault& queue_;
  Fault& commit_;
};

class CountingAgent : public BaseAgentRuntime {
 public:
  using BaseAgentRuntime::BaseAgentRuntime;
  Json executeIntent(std::string_view, const Json& params, CallContext& call) override {
    ++executed[call.intentId()];
    return params;
  }
  void executeChat(std::span<const ChatMessage>, std::string_view, ChatSink&, CallContext&) override {}
  std::map<std::string, int> executed;
};

struct Faults {
  Fault toServer, toClient, cut, controlWorkers, agentWorkers, storeQueue, storeCommit;
};

// One control plane, one approved agent, and callers who try again with their key until they are promised an answer.
class World {
 public:
  explicit World(Faults& faults) : faults_(faults) {
    store_ = std::move(store::openControlStore({world_.dir.file("control.db"), store::WriterThread::No})).value();
    faultyStore_ = std::make_unique<FaultyStore>(*store_, faults.storeQueue, faults.storeCommit);
    plane_ = std::move(control::ControlPlane::create(
                           {world_.loop, workers_, world_.clock, world_.entropy, *faultyStore_, nullLogger()}, self_))
                 .value();
    world_.network.listen("ws://localhost:8080",
                          [this](std::unique_ptr<net::Connection> c) { plane_->accept(std::move(c)); });
    world_.network.setSendHook([this](Direction direction) {
      Fault& fault = direction == Direction::ToServer ? faults_.toServer : faults_.toClient;
      return fault.fails() ? net::SendResult::QueueFull : net::SendResult::Ok;
    });
    world_.network.setHook([this](Direction, net::FrameKind, std::string&) {
      if (!faults_.cut.fails()) return true;
      world_.loop.post([this] { world_.network.cutAll(); });
      return false;
    });
    world_.agentWorkersTake = [this] { return !faults_.agentWorkers.fails(); };
    AgentRuntimeConfig config;
    config.name = "one";
    config.controlPlaneUrl = "http://localhost:3000";
    config.vaultysIdPath = world_.dir.file("one.id");
    config.requestedCapabilities = {"text_generation"};
    runtime_ = world_.makeRuntime();
    agent_ = std::make_unique<Agent<CountingAgent>>(config, *runtime_);
    agent_->start();
    world_.run();
    approve();
  }
  ~World() {
    agent_.reset();
    runtime_.reset();
    plane_.reset();
    faultyStore_.reset();
    store_.reset();
  }

  bool connected() const { return agent_->getStatus() == AgentStatus::Connected; }
  void advance(Duration d) { world_.advance(d); }
  void run() { world_.run(); }

  // Asks until the intent is promised.
  void ask(const std::string& key) {
    control::RunRequest request;
    request.did = Did(agent_->getDid());
    request.action = "text_generation";
    request.params.text = "{\"key\":\"" + key + "\"}";
    request.ttl = seconds(60);
    request.idempotencyKey = key;
    plane_->send(std::move(request), [this, key](Result<control::SentIntent> sent) {
      if (sent) {
        promised_[key] = sent->intentId;
        return;
      }
      ++refusals_;
      retries_.push_back(world_.loop.after(seconds(1), [this, key] { ask(key); }));
    });
  }

  // What callers find when all is over.
  void check(std::size_t asked) {
    EXPECT_EQ(promised_.size(), asked) << "refused " << refusals_ << " times";
    for (const auto& [key, id] : promised_) {
      SCOPED_TRACE(key);
      std::optional<Result<control::ControlPlane::IntentView>> view;
      plane_->intent(id, std::nullopt,
                     [&](Result<control::ControlPlane::IntentView> r) { view.emplace(std::move(r)); });
      world_.run();
      ASSERT_TRUE(view && view->ok());
      const auto& row = (*view)->row;
      EXPECT_NE(row.status, "pending");
      EXPECT_NE(row.status, "queued");
      const int executed = agent_->executed[id.value];
      EXPECT_LE(executed, 1);
      if (row.status == "success") {
        EXPECT_EQ(executed, 1);
        EXPECT_EQ(row.output, "{\"key\":\"" + key + "\"}");
      } else {
        EXPECT_TRUE(row.error && !row.error->empty());
      }
    }
    EXPECT_LE(agent_->executed.size(), asked) << "something ran that nobody asked for";
  }

 private:
  void approve() {
    std::optional<Result<store::Listing<store::RegistrationRow>>> pending;
    plane_->registrations("pending", {}, [&](auto r) { pending.emplace(std::move(r)); });
    world_.run();
    ASSERT_TRUE(pending && pending->ok());
    ASSERT_EQ((*pending)->items.size(), 1u);
    plane_->approve((*pending)->items.front().id, {}, [](Result<store::AgentRow> r) { EXPECT_TRUE(r.ok()); });
    world_.advance(seconds(10));
    ASSERT_TRUE(connected());
  }

  Faults& faults_;
  TestWorld world_;
  FaultyWorkers workers_{world_.loop, faults_.controlWorkers};
  identity::VaultysId self_ = identity::VaultysId::generate(identity::IdType::Machine, world_.entropy);
  std::unique_ptr<store::ControlStore> store_;
  std::unique_ptr<FaultyStore> faultyStore_;
  std::unique_ptr<control::ControlPlane> plane_;
  std::unique_ptr<Runtime> runtime_;
  std::unique_ptr<Agent<CountingAgent>> agent_;
  std::map<std::string, IntentId> promised_;
  std::vector<Timer> retries_;
  int refusals_ = 0;
};

struct Place {
  const char* name;
  Fault Faults::* fault;
};

class EveryFault : public ::testing::TestWithParam<Place> {
 protected:
  void walk(Fault::Lasts lasts) {
    std::size_t n = 0;
    for (bool reached = true; reached;) {
      SCOPED_TRACE(std::string(GetParam().name) + " number " + std::to_string(++n));
      ASSERT_LT(n, 500u) << "endless";
      Faults faults;
      World world(faults);
      if (HasFatalFailure()) return;
      Fault& fault = faults.*GetParam().fault;
      fault = {.at = n, .lasts = lasts, .calls = 0};
      for (const char* key : {"a", "b", "c"}) world.ask(key);
      world.run();
      world.advance(seconds(20));
      reached = fault.reached();
      fault.at.reset();
      world.advance(std::chrono::minutes(5));
      EXPECT_TRUE(world.connected());
      world.check(3);
      if (HasFailure()) return;
    }
    EXPECT_GT(n, 1u) << "nothing was there to fail";
  }
};

TEST_P(EveryFault, OnceLosesAndRepeatsNothing) {
  walk(Fault::Lasts::Once);
}

TEST_P(EveryFault, ForAWhileLosesAndRepeatsNothing) {
  walk(Fault::Lasts::UntilDisarmed);
}

INSTANTIATE_TEST_SUITE_P(Places, EveryFault,
                         ::testing::Values(Place{"SendToServer", &Faults::toServer},
                                           Place{"SendToClient", &Faults::toClient}, Place{"Cut", &Faults::cut},
                                           Place{"ControlWorker", &Faults::controlWorkers},
                                           Place{"AgentWorker", &Faults::agentWorkers},
                                           Place{"StoreQueue", &Faults::storeQueue},
                                           Place{"StoreCommit", &Faults::storeCommit}),
                         [](const auto& place) { return place.param.name; });

}  // namespace
}  // namespace vaultysclaw::system_test
