// The control plane when its own parts are overloaded or slow, with real threads, and under input that nobody meant.
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>
#include <thread>

#include "control_fixture.hpp"

namespace vaultysclaw::control::testing {
namespace {

// A store that is too busy to write when told so.
class BusyStore final : public store::ControlStore {
 public:
  explicit BusyStore(store::ControlStore& below) : below_(below) {}
  bool busy = false;
  bool write(Work work, std::function<void(Status)> done) override {
    return !busy && below_.write(std::move(work), std::move(done));
  }
  Status writeBlocking(const Work& work) override { return below_.writeBlocking(work); }
  Status readBlocking(const std::function<Status(store::ControlReader&)>& query) override {
    return below_.readBlocking(query);
  }

 private:
  store::ControlStore& below_;
};

class BusyWorkers final : public Workers {
 public:
  explicit BusyWorkers(Workers& below) : below_(below) {}
  bool busy = false;
  bool submit(Task task) override { return !busy && below_.submit(std::move(task)); }

 private:
  Workers& below_;
};

class Faults : public ControlTest {};

TEST_F(Faults, BusyStoreRefusesNewWorkAndKeepsResults) {
  BusyStore busy(*store);
  storePort = &busy;
  start();
  auto agent = connectedAgent();
  auto reply = runIntent(agent->did());
  const IntentId id = agent->last<protocol::Intent>()->id;
  busy.busy = true;
  agent->sendResult(id, "5");
  run();
  EXPECT_FALSE(reply.done()) << "not before it is stored";
  EXPECT_EQ(runIntent(agent->did())->error().code, Errc::Busy);
  Waiting<AgentView> update;
  plane->updateGrant(agent->did(), {}, "", "operator", update);
  run();
  EXPECT_EQ(update->error().code, Errc::Busy);
  loop.advance(seconds(1));
  busy.busy = false;
  loop.advance(seconds(1));
  ASSERT_TRUE(reply.done());
  EXPECT_EQ((*reply)->output->text, "5");
  EXPECT_EQ(intentRow(id).row.status, "success");
  expectAuditHolds();
  plane.reset();
}

TEST_F(Faults, StrangerIsToldWhenItsRegistrationCannotBeStored) {
  BusyStore busy(*store);
  storePort = &busy;
  start();
  busy.busy = true;
  auto agent = newAgent();
  agent->connect();
  run();
  EXPECT_TRUE(agent->closed);
  EXPECT_TRUE(agent->last<protocol::AuthFailed>());
  EXPECT_EQ(plane->counters().pendingRegistrations, 0U);
  busy.busy = false;
  agent->connect();
  run();
  EXPECT_TRUE(agent->last<protocol::RegistrationPending>());
  plane.reset();
}

TEST_F(Faults, BusyWorkersRefuseHandshakesIntentsAndReads) {
  BusyWorkers busy(workers);
  workersPort = &busy;
  start();
  auto agent = connectedAgent();
  busy.busy = true;
  EXPECT_EQ(runIntent(agent->did())->error().code, Errc::Busy);
  Waiting<ControlPlane::AuditView> audit;
  plane->audit({}, {}, audit);
  run();
  EXPECT_EQ(audit->error().code, Errc::Busy);
  auto other = newAgent();
  other->connect();
  run();
  ASSERT_TRUE(other->closed);
  EXPECT_EQ(other->closed->code, net::close_code::kTryLater);
  EXPECT_FALSE(agent->closed);
  plane.reset();
}

TEST_F(Faults, DestroyingItWithWorkUnderWayIsSafe) {
  start();
  auto agent = connectedAgent();
  auto stranger = newAgent();
  stranger->connect();
  Waiting<RunResult> reply;
  RunRequest request;
  request.did = agent->did();
  request.action = "echo";
  plane->run(request, reply);
  ChatRequest question;
  question.did = agent->did();
  question.messages = {{"user", "hello", {}}};
  bool answered = false;
  plane->chat(question, {}, [&](auto) { answered = true; });
  network.unlisten("ws://cp:8080");
  plane.reset();
  run();
  ASSERT_TRUE(reply.done());
  EXPECT_EQ(reply->error().code, Errc::Interrupted);
  EXPECT_FALSE(answered) << "it waited for the store";
  EXPECT_TRUE(agent->closed);
}

// The same code with a writer thread and a pool: what the thread sanitizer looks at.
TEST_F(Faults, WorksWithRealThreads) {
  openStore(store::WriterThread::Yes);
  auto pool = makeThreadPool("test", 3, 100);
  workersPort = pool.get();
  start();
  const auto until = [this](const std::function<bool()>& done) {
    while (!done()) {
      loop.runUntilIdle();
      std::this_thread::yield();
    }
  };
  std::vector<std::unique_ptr<TestAgent>> agents;
  for (int i = 0; i < 5; ++i) {
    agents.push_back(newAgent());
    TestAgent& agent = *agents.back();
    agent.onMessage = [&agent](const protocol::Message& message) {
      if (const auto* intent = std::get_if<protocol::Intent>(&message.payload)) agent.sendResult(intent->id, "1");
    };
    agent.connect();
    until([&] { return agent.last<protocol::RegistrationPending>() != nullptr; });
    Waiting<store::AgentRow> approved;
    plane->approve(agent.last<protocol::RegistrationPending>()->registrationId, {}, approved);
    until([&] { return approved.done() && agent.count<protocol::AuthComplete>() == 2; });
  }
  std::size_t succeeded = 0;
  for (int round = 0; round < 10; ++round) {
    for (auto& agent : agents) {
      RunRequest request;
      request.did = agent->did();
      request.action = "echo";
      plane->run(request, [&](const Result<RunResult>& result) { succeeded += result.ok(); });
    }
  }
  until([&] { return succeeded == 50; });
  Waiting<ControlPlane::AuditCheck> check;
  plane->verifyAudit(check);
  until([&] { return check.done(); });
  EXPECT_FALSE((*check)->firstBroken);
  plane->shutdown();
  loop.runUntilIdle();
  plane.reset();
  store.reset();
  pool.reset();
  loop.runUntilIdle();
}

// Recorded messages, damaged in many ways, sent to a session in each phase: whatever comes, others are served on.
TEST_F(Faults, DamagedMessagesHurtNobodyElse) {
  options.maxPendingRegistrationsPerAddress = 1000;
  start();
  auto bystander = connectedAgent();
  std::ifstream in(std::string(VC_SOURCE_DIR) + "/tests/vectors/ws_transcript_full.json");
  std::vector<std::string> recorded;
  const auto recording = nlohmann::json::parse(in);
  for (const auto& m : recording["messages"]) {
    if (m["dir"] != "event" && m["message"].is_object()) recorded.push_back(m["message"].dump());
  }
  std::mt19937 random(7);
  const auto damaged = [&](std::string text) {
    switch (random() % 4) {
      case 0:
        text.resize(random() % (text.size() + 1));
        break;
      case 1:
        text[random() % text.size()] ^= static_cast<char>(1 << (random() % 7));
        break;
      case 2:
        text.insert(random() % text.size(), text.substr(random() % text.size(), 40));
        break;
      default:
        break;  // whole, but perhaps out of place
    }
    return text;
  };
  auto victim = connectedAgent();
  for (int round = 0; round < 400; ++round) {
    auto stranger = newAgent();
    stranger->options.answerChallenges = round % 2 == 0;
    stranger->connect();
    run();
    for (int i = 0; i < 10; ++i) {
      stranger->sendText(damaged(recorded[random() % recorded.size()]));
      victim->sendText(damaged(recorded[random() % recorded.size()]));
    }
    run();
    if (victim->closed) {
      victim->connect();
      run();
    }
    if (round % 50 == 0) loop.advance(std::chrono::minutes(11));
    if (bystander->closed) {
      bystander->connect();
      run();
    }
  }
  auto reply = runIntent(bystander->did());
  bystander->sendResult(bystander->last<protocol::Intent>()->id, "1");
  run();
  EXPECT_TRUE(reply->ok());
  expectAuditHolds();
}

}  // namespace
}  // namespace vaultysclaw::control::testing
