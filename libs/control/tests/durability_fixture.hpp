// What tests of intents that outlast something ask for and look at.
#pragma once

#include "control_fixture.hpp"

namespace vaultysclaw::control::testing {

using namespace protocol;

class Durability : public ControlTest {
 protected:
  void SetUp() override { start(); }

  static TestAgent::Options full() {
    TestAgent::Options o;
    o.features = TestAgent::allFeatures();
    return o;
  }
  static RunRequest request(const Did& did, std::optional<seconds> ttl = std::nullopt,
                            std::optional<std::string> key = std::nullopt) {
    RunRequest r;
    r.did = did;
    r.action = "echo";
    r.params.text = R"({"n":1})";
    r.ttl = ttl;
    r.idempotencyKey = std::move(key);
    return r;
  }
  Waiting<RunResult> ask(const RunRequest& r) {
    Waiting<RunResult> reply;
    plane->run(r, reply);
    run();
    return reply;
  }
  Waiting<SentIntent> post(const RunRequest& r) {
    Waiting<SentIntent> reply;
    plane->send(r, reply);
    run();
    return reply;
  }
  std::unique_ptr<TestAgent> awayAgent(TestAgent::Options o = full()) {
    auto agent = connectedAgent(std::move(o));
    agent->disconnect();
    run();
    return agent;
  }
  void comeBack(TestAgent& agent) {
    agent.connect();
    run();
    ASSERT_TRUE(agent.connected());
  }
  // As a process that ends in order, and another one.
  void shutDownAndStart() {
    plane->shutdown();
    run();
    restart();
  }
  std::string status(const IntentId& id) { return intentRow(id).row.status; }
  std::vector<std::string> history(const IntentId& id) {
    std::vector<std::string> out;
    for (const auto& e : intentRow(id).history) out.push_back(e.event);
    return out;
  }
  static std::vector<IntentId> intentsOf(const TestAgent& agent) {
    std::vector<IntentId> out;
    for (const auto& m : agent.received) {
      if (const auto* intent = std::get_if<Intent>(&m.payload)) out.push_back(intent->id);
    }
    return out;
  }
};

}  // namespace vaultysclaw::control::testing
