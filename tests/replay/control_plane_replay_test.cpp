// Our control plane in the place of the original's: the recorded agent speaks to it, the recorded operator's decisions
// are made through its API, and everything it sends is compared with what the original's sent at that point.
#include <gtest/gtest.h>

#include "agent/test_runtime.hpp"
#include "control/control_plane.hpp"
#include "line.hpp"

namespace vaultysclaw::replay {
namespace {

using control::ControlPlane;
using Kind = Entry::Kind;

class ControlPlaneReplay {
 public:
  explicit ControlPlaneReplay(const std::string& name) : transcript_(loadTranscript(name)) {
    world_.clock.jumpWall(transcript_.startedAt - world_.clock.now());
    auto opened = store::openControlStore({world_.dir.file("control.db"), store::WriterThread::No});
    store_ = std::move(opened).value();
    startPlane();
  }

  void play() {
    for (const Entry& entry : transcript_.entries) {
      SCOPED_TRACE(transcript_.name + " #" + std::to_string(entry.seq));
      if (entry.kind == Kind::ToAgent || entry.kind == Kind::ClosedByServer) {
        expect(entry);
      } else {
        expectNothing();
        moveClock(entry);
        act(entry);
        world_.run();
        if (entry.kind == Kind::ToServer) checkOperatorHeard(entry);
      }
      last_ = &entry;
    }
    expectNothing();
    EXPECT_TRUE(asked_.empty()) << asked_.size() << " intents without an answer";
    std::optional<Result<ControlPlane::AuditCheck>> audit;
    plane_->verifyAudit([&](auto checked) { audit = std::move(checked); });
    world_.run();
    EXPECT_TRUE(audit && *audit && !audit->value().firstBroken);
    comparison_.finish();
  }

 private:
  struct Asked {
    std::optional<Result<control::RunResult>> answer;
  };

  void startPlane() {
    auto made = ControlPlane::create({world_.loop, workers_, world_.clock, world_.entropy, *store_, nullLogger()},
                                     transcript_.server);
    plane_ = std::move(made).value();
    world_.network.listen("ws://cp:8080", [this](std::unique_ptr<net::Connection> c) { plane_->accept(std::move(c)); });
  }

  void moveClock(const Entry& entry) {
    if (comparison_.departs(entry, "clock")) behind_ += seconds(5);
    const WallTime target = transcript_.startedAt + entry.at + behind_;
    if (target > world_.clock.now()) world_.advance(target - world_.clock.now());
    expectNothing();
  }

  // ---- what ours sends ----

  void expect(const Entry& entry) {
    if (entry.message.is_null() || comparison_.notSent(entry)) return;
    Line& line = *lines_.at(entry.connection);
    if (line.heard.empty()) return comparison_.compare(entry, nullptr);
    const Heard heard = std::move(line.heard.front());
    line.heard.pop_front();
    comparison_.compare(entry, &heard);
    if (kindOf(entry.message) == "auth_complete") expectStatus(control::AgentStatus::Connected);
    if (kindOf(heard.message) == "STEP1") step1_ = handshakeIn(heard.message).value();
  }
  // Of the agent, once it is known.
  void expectStatus(control::AgentStatus status) {
    const auto view = plane_->agent(transcript_.agent.didV1());
    if (!view) return;
    EXPECT_EQ(view->status, status);
    EXPECT_EQ(plane_->counters().connectedAgents, status == control::AgentStatus::Connected ? 1U : 0U);
  }
  void expectNothing() {
    for (auto& [number, line] : lines_) {
      for (; !line->heard.empty(); line->heard.pop_front()) comparison_.more(*last_, line->heard.front());
    }
  }

  // ---- what the recorded side does ----

  void act(const Entry& entry) {
    switch (entry.kind) {
      case Kind::Connected:
        return dial(entry.connection);
      case Kind::Step:
        return operate(entry);
      case Kind::ToServer:
        if (!comparison_.departs(entry, "")) lines_.at(entry.connection)->send(asSent(entry));
        return;
      case Kind::ClosedByAgent:
        if (entry.message.is_null()) return;
        lines_.at(entry.connection)->close(net::close_code::kNormal, "");
        world_.run();
        if (comparison_.departs(entry, "registration")) reject("the client has gone");
        return expectStatus(control::AgentStatus::Offline);
      case Kind::ToAgent:
      case Kind::ClosedByServer:
        return;
    }
  }

  void dial(int number) {
    dialing_ = dialer_->dial({"ws://cp:8080", {}, {}, seconds(1), {}}, [this, number](auto connection) {
      lines_[number] = std::make_unique<Line>(std::move(connection).value(), world_.clock, "server");
    });
  }

  // The agent's message, with our ids in it. A COMPLETE answers our STEP1 and is signed anew, wrongly if it was.
  json asSent(const Entry& entry) {
    json message = comparison_.withOurIds(entry.message);
    const auto recorded = handshakeIn(message);
    if (recorded && kindOf(message) == "COMPLETE") {
      auto complete = completeFor(transcript_.agent, step1_);
      if (!initiatorSigned(*recorded)) complete.sign1[0] ^= 1;
      message["payload"]["data"] = base64Encode(identity::encodeHandshake(complete));
    }
    if (comparison_.departs(entry, "payload.capabilities")) message["payload"]["capabilities"].push_back("file_access");
    if (recorded) requested_ = message["payload"].value("capabilities", json::array());
    return message;
  }

  // ---- what the operator does, read off what the recorded server sent next ----

  void operate(const Entry& step) {
    const auto next = transcript_.stepAfter(step.seq);
    if (next.empty() || (next[0].kind != Kind::ToAgent && next[0].kind != Kind::ClosedByServer)) return;
    if (!comparison_.isSent(next[0])) return;
    const std::string type = kindOf(next[0].message);
    const json& payload = next[0].message.contains("payload") ? next[0].message["payload"] : json::object();
    if (type == "registration_approved") return approve(payload);
    if (type == "registration_rejected") return reject(payload["reason"]);
    if (type == "intent") return runIntent(payload);
    if (type == "chat_message") return chat(payload);
    if (type == "update_capabilities") return updateGrant(payload);
    if (type == "close") return restart();
    ADD_FAILURE() << "nobody knows what the operator did in '" << step.step << "'";
  }

  RegistrationId pendingRegistration() {
    std::optional<Result<store::Listing<store::RegistrationRow>>> waiting;
    plane_->registrations("pending", {}, [&](auto rows) { waiting = std::move(rows); });
    world_.run();
    EXPECT_EQ(waiting->value().items.size(), 1U);
    const auto& registration = waiting->value().items.at(0);
    EXPECT_EQ(registration.did, transcript_.agent.didV1());
    EXPECT_EQ(json::parse(registration.requestedCapabilities), requested_);
    return registration.id;
  }
  void approve(const json& payload) {
    control::Approval approval;
    approval.capabilities = payload["capabilities"].get<std::vector<std::string>>();
    plane_->approve(pendingRegistration(), std::move(approval),
                    [](const auto& row) { EXPECT_TRUE(row.ok()) << row.error().message; });
  }
  void reject(const std::string& reason) {
    plane_->reject(pendingRegistration(), reason, "operator", [](const auto& done) { EXPECT_TRUE(done.ok()); });
  }
  void runIntent(const json& payload) {
    control::RunRequest request;
    request.did = transcript_.agent.didV1();
    request.action = payload["action"];
    request.params.text = payload["params"].dump();
    auto& asked = asked_[payload["id"]];
    asked = std::make_shared<Asked>();
    plane_->run(std::move(request), [asked](auto answer) { asked->answer = std::move(answer); });
  }
  void chat(const json& payload) {
    control::ChatRequest request;
    request.did = transcript_.agent.didV1();
    request.conversationId = ConversationId(payload["conversationId"].get<std::string>());
    for (const auto& m : payload["messages"]) request.messages.push_back({m["role"], m["content"], {}});
    request.stream = payload["stream"].get<bool>();
    control::ChatEvents events;
    events.onChunk = [this](std::string_view text) { chatHeard_ += text; };
    events.onDone = [this] { chatHeard_ += "(done)"; };
    plane_->chat(std::move(request), std::move(events), [this](auto started) { chat_ = std::move(started).value(); });
  }
  void updateGrant(const json& payload) {
    policy::Grant grant;
    grant.capabilities = payload["capabilities"].get<std::vector<std::string>>();
    if (const auto limits = payload.find("resourceLimits"); limits != payload.end() && limits->is_object()) {
      if (limits->contains("maxTokensPerDay")) grant.limits.maxTokensPerDay = limits->at("maxTokensPerDay");
      if (limits->contains("maxRequestsPerHour")) grant.limits.maxRequestsPerHour = limits->at("maxRequestsPerHour");
      grant.limits.allowedDomains = limits->value("allowedDomains", std::vector<std::string>());
    }
    if (payload.contains("policyId") && payload["policyId"].is_string()) {
      grant.policyId = payload["policyId"].get<std::string>();
      grant.policyExpiresAt = fromIso8601(payload["policyExpiresAt"].get<std::string>()).value();
    }
    plane_->updateGrant(transcript_.agent.didV1(), control::GrantChange::toExactly(grant), payload["reason"],
                        "operator", [](const auto& view) { EXPECT_TRUE(view.ok()) << view.error().message; });
  }
  void restart() {
    plane_->shutdown();
    world_.run();
    plane_.reset();
    startPlane();
  }

  // The operator gets the answer that the recorded agent gave.
  void checkOperatorHeard(const Entry& entry) {
    const std::string type = kindOf(entry.message);
    const json& payload = entry.message.is_object() ? entry.message["payload"] : json::object();
    if (type == "chat_response") {
      chatSaid_ += payload.value("chunk", "") + (payload.value("done", false) ? "(done)" : "");
      EXPECT_EQ(chatHeard_, chatSaid_);
    }
    if (type == "heartbeat" && plane_->agent(transcript_.agent.didV1())) {
      const auto seen = plane_->agent(transcript_.agent.didV1())->lastHeartbeat;
      EXPECT_TRUE(seen && seen->name == payload["name"] && seen->rssBytes == payload["memory"]["rss"]);
    }
    if (type != "result" || !asked_.count(payload["intentId"])) return;
    const auto answer = asked_.extract(payload["intentId"]).mapped()->answer;
    ASSERT_TRUE(answer && *answer);
    const control::RunResult& result = answer->value();
    EXPECT_EQ(result.status, payload["status"]);
    EXPECT_EQ(result.output ? json::parse(result.output->text) : json(), payload.value("output", json()));
    EXPECT_EQ(result.error.value_or(""), payload.value("error", ""));
    EXPECT_EQ(result.executedAt.value(), fromIso8601(payload["executedAt"].get<std::string>()).value());
  }

  const Transcript transcript_;
  Comparison comparison_{Side::ControlPlane, transcript_};
  testing::TestWorld world_;
  testing::LoopWorkers workers_{world_.loop};
  std::unique_ptr<store::ControlStore> store_;
  std::unique_ptr<ControlPlane> plane_;
  std::unique_ptr<net::Dialer> dialer_ = world_.network.dialer();
  net::Pending dialing_;
  std::map<int, std::unique_ptr<Line>> lines_;
  milliseconds behind_{0};  // of the recorded clock, to ours
  const Entry* last_ = nullptr;
  identity::HandshakeMessage step1_;                     // our last one
  json requested_;                                       // capabilities that the agent named last
  std::map<std::string, std::shared_ptr<Asked>> asked_;  // intents without an answer, by their recorded id
  std::optional<ControlPlane::StartedChat> chat_;
  std::string chatHeard_, chatSaid_;
};

TEST(ReplayControlPlane, LifeOfOneAgent) {
  ControlPlaneReplay("full").play();
}
TEST(ReplayControlPlane, RejectedAgent) {
  ControlPlaneReplay("rejected").play();
}
TEST(ReplayControlPlane, ClientsThatBreakTheProtocol) {
  ControlPlaneReplay("client_errors").play();
}

}  // namespace
}  // namespace vaultysclaw::replay
