// A control plane, a network and agents in one thread; the clock moves when the test says so.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

#include "base/temporary_directory.hpp"
#include "control/control_plane.hpp"
#include "control/test_agent.hpp"

namespace vaultysclaw::control::testing {

using namespace vaultysclaw::testing;
using identity::IdVersion;
using identity::VaultysId;

// Where the callback of a reply leaves its result. Copies share it.
template <class T>
class Waiting {
 public:
  operator Reply<T>() const {  // NOLINT(google-explicit-constructor)
    return [box = box_](Result<T> result) {
      ASSERT_FALSE(box->has_value()) << "a second reply";
      box->emplace(std::move(result));
    };
  }
  bool done() const { return box_->has_value(); }
  Result<T>& operator*() const { return **box_; }
  Result<T>* operator->() const { return &**box_; }

 private:
  std::shared_ptr<std::optional<Result<T>>> box_ = std::make_shared<std::optional<Result<T>>>();
};

class ControlTest : public ::testing::Test {
 protected:
  ControlTest() { openStore(); }
  ~ControlTest() override {
    plane.reset();
    store.reset();
  }

  std::filesystem::path storePath() const { return directory_ / "control.db"; }
  void openStore(store::WriterThread thread = store::WriterThread::No) {
    store.reset();
    auto opened = store::openControlStore({storePath(), thread});
    ASSERT_TRUE(opened.ok()) << opened.error().message;
    store = std::move(opened).value();
  }
  void start() {
    auto made = ControlPlane::create(
        {loop, workersPort ? *workersPort : workers, clock, entropy, storePort ? *storePort : *store, nullLogger()},
        self, options);
    ASSERT_TRUE(made.ok()) << made.error().message;
    plane = std::move(made).value();
    network.listen("ws://cp:8080", [this](std::unique_ptr<net::Connection> c) { plane->accept(std::move(c)); });
  }
  // As a process that is killed: nothing is closed in order, the store stays.
  void restart() {
    network.cutAll();
    plane.reset();
    loop.runUntilIdle();
    start();
  }
  void run() { loop.runUntilIdle(); }

  std::unique_ptr<TestAgent> newAgent(TestAgent::Options o = {}) {
    return std::make_unique<TestAgent>(network, clock, entropy, VaultysId::generate(identity::IdType::Machine, entropy),
                                       std::move(o));
  }
  std::unique_ptr<TestAgent> sameAgent(const TestAgent& other) {
    return std::make_unique<TestAgent>(network, clock, entropy, other.identity(), other.options);
  }
  RegistrationId registrationOf(const TestAgent& agent) {
    const auto* pending = agent.last<protocol::RegistrationPending>();
    EXPECT_TRUE(pending) << "no registration_pending";
    return pending ? pending->registrationId : RegistrationId();
  }
  Result<store::AgentRow> approve(const RegistrationId& id, Approval approval = {}) {
    Waiting<store::AgentRow> reply;
    plane->approve(id, std::move(approval), reply);
    EXPECT_FALSE(reply.done()) << "replied before the call returned";
    run();
    EXPECT_TRUE(reply.done());
    return *reply;
  }
  // An agent that is approved and connected, with its certificate reissued.
  std::unique_ptr<TestAgent> connectedAgent(TestAgent::Options o = {}) {
    auto agent = newAgent(std::move(o));
    agent->connect();
    run();
    EXPECT_TRUE(approve(registrationOf(*agent)).ok());
    EXPECT_TRUE(agent->connected());
    return agent;
  }
  Result<std::monostate> reject(const RegistrationId& id, std::string reason) {
    Waiting<std::monostate> reply;
    plane->reject(id, std::move(reason), "operator", reply);
    run();
    return *reply;
  }
  Result<AgentView> updateGrant(const Did& did, policy::Grant grant) {
    Waiting<AgentView> reply;
    plane->updateGrant(did, GrantChange::toExactly(grant), "", "operator", reply);
    run();
    return *reply;
  }
  std::vector<store::RegistrationRow> registrations(std::optional<std::string> status = std::nullopt) {
    Waiting<store::Listing<store::RegistrationRow>> reply;
    plane->registrations(std::move(status), {}, reply);
    run();
    return reply->value().items;
  }
  Waiting<RunResult> runIntent(const Did& did, const std::string& action = "echo", const std::string& params = "{}") {
    Waiting<RunResult> reply;
    RunRequest request;
    request.did = did;
    request.action = action;
    request.params.text = params;
    plane->run(std::move(request), reply);
    EXPECT_FALSE(reply.done());
    run();
    return reply;
  }
  ControlPlane::IntentView intentRow(const IntentId& id) {
    Waiting<ControlPlane::IntentView> reply;
    plane->intent(id, std::nullopt, reply);
    run();
    EXPECT_TRUE(reply->ok());
    return reply->ok() ? **reply : ControlPlane::IntentView{};
  }
  std::vector<std::string> auditActions() {
    Waiting<ControlPlane::AuditView> reply;
    plane->audit({}, {0, 1000}, reply);
    run();
    std::vector<std::string> out;
    for (auto it = reply->value().rows.items.rbegin(); it != reply->value().rows.items.rend(); ++it)
      out.push_back(it->action);
    return out;
  }
  std::size_t audited(const std::string& action) {
    const auto actions = auditActions();
    return static_cast<std::size_t>(std::count(actions.begin(), actions.end(), action));
  }
  void expectAuditHolds() {
    Waiting<ControlPlane::AuditCheck> reply;
    plane->verifyAudit(reply);
    run();
    ASSERT_TRUE(reply->ok());
    EXPECT_FALSE((*reply)->firstBroken) << "row " << *(*reply)->firstBroken;
    EXPECT_EQ(static_cast<std::size_t>((*reply)->rows), auditActions().size());
  }

  FakeClock clock;
  FakeEntropy entropy;
  FakeLoop loop{clock};
  LoopWorkers workers{loop};
  MemoryNetwork network{loop};
  VaultysId self = VaultysId::generate(identity::IdType::Machine, entropy);
  ControlOptions options;
  std::unique_ptr<store::ControlStore> store;
  std::unique_ptr<ControlPlane> plane;
  // Used instead of the ones above by the next start().
  Workers* workersPort = nullptr;
  store::ControlStore* storePort = nullptr;

 private:
  TemporaryDirectory directory_;
};

inline std::vector<std::string> names(std::initializer_list<const char*> list) {
  return {list.begin(), list.end()};
}

}  // namespace vaultysclaw::control::testing
