// The attacked: the real control plane on SQLite and real agents, on one thread, an in-memory network and a clock that
// moves when the test says so.
//
//   control plane   ws://cp:8080
//   agents dial     ws://localhost:8080, where a test puts the control plane (direct()), a Middle or a hostile one
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "agent/test_runtime.hpp"
#include "attacker.hpp"
#include "control/control_plane.hpp"
#include "vaultysclaw/agent.hpp"

namespace vaultysclaw::attacks {

using testing::TestWorld;

inline constexpr const char* kControlPlaneUrl = "ws://cp:8080";
inline constexpr const char* kAgentsDial = "ws://localhost:8080";

// An honest agent that remembers what it was made to do.
class Victim : public BaseAgentRuntime {
 public:
  using BaseAgentRuntime::BaseAgentRuntime;
  using BaseAgentRuntime::reportToolExecution;
  using BaseAgentRuntime::sendChannelMessage;
  using BaseAgentRuntime::sendToolApprovalRequest;

  struct Ran {
    std::string action, params, caller;
    bool operator==(const Ran&) const = default;
  };
  std::vector<Ran> ran;
  std::vector<std::string> hooks, chats, chatCallers;
  std::optional<LlmConfig> llm;
  std::vector<ToolApprovalResponse> approvals;

 protected:
  vaultysclaw::Json executeIntent(std::string_view action, const vaultysclaw::Json& params,
                                  CallContext& call) override {
    ran.push_back({std::string(action), params.dump(), call.callerDid().value_or("")});
    return {{"did", action}};
  }
  void executeChat(std::span<const ChatMessage> messages, std::string_view, ChatSink& out, CallContext& call) override {
    chats.push_back(messages.back().content);
    chatCallers.push_back(call.callerDid().value_or(""));
    out.send("heard: " + messages.back().content);
  }
  void onLlmConfig(const std::optional<LlmConfig>& config) override {
    llm = config;
    hooks.emplace_back("llm");
  }
  void onDelegationUpdate(std::span<const DelegationGrant> all) override {
    hooks.push_back("delegations " + std::to_string(all.size()));
  }
  void onToolApprovalResponse(const ToolApprovalResponse& response) override { approvals.push_back(response); }
  void onSkillsConfig(std::span<const SkillConfig>) override { hooks.emplace_back("skills"); }
  void onError(std::string_view) override { hooks.emplace_back("error"); }
};

// Where a reply of the control plane lands. Copies share it.
template <class T>
struct Box {
  std::shared_ptr<std::optional<Result<T>>> value = std::make_shared<std::optional<Result<T>>>();
  control::Reply<T> reply() const {
    return [box = value](Result<T> r) { box->emplace(std::move(r)); };
  }
  bool done() const { return value->has_value(); }
  Result<T>& operator*() const { return **value; }
  Result<T>* operator->() const { return &**value; }
};

// Connections that come from an address of the attacker's choice.
class From final : public net::Connection {
 public:
  From(std::unique_ptr<net::Connection> inner, std::string address) : inner_(std::move(inner)), peer_(inner_->peer()) {
    peer_.address = std::move(address);
  }
  void start(Callbacks callbacks) override { inner_->start(std::move(callbacks)); }
  net::SendResult send(net::FrameKind kind, std::string data) override { return inner_->send(kind, std::move(data)); }
  void close(std::uint16_t code, std::string_view reason) override { inner_->close(code, reason); }
  void setMaxMessageBytes(std::size_t bytes) override { inner_->setMaxMessageBytes(bytes); }
  std::size_t queuedBytes() const override { return inner_->queuedBytes(); }
  const net::PeerInfo& peer() const override { return peer_; }

 private:
  std::unique_ptr<net::Connection> inner_;
  net::PeerInfo peer_;
};

class World : public ::testing::Test {
 protected:
  World() { startControlPlane(); }
  ~World() override {
    victims_.clear();
    runtimes_.clear();
    plane_.reset();
    store_.reset();
  }

  void startControlPlane() {
    plane_.reset();
    store_.reset();
    auto store = store::openControlStore({world_.dir.file("control.db"), store::WriterThread::No});
    ASSERT_TRUE(store.ok()) << store.error().message;
    store_ = std::move(store).value();
    auto plane = control::ControlPlane::create(
        {world_.loop, workers_, world_.clock, world_.entropy, *store_, nullLogger()}, self_, options_);
    ASSERT_TRUE(plane.ok()) << plane.error().message;
    plane_ = std::move(plane).value();
    world_.network.listen(kControlPlaneUrl, [this](std::unique_ptr<net::Connection> c) {
      plane_->accept(std::make_unique<From>(std::move(c), address_));
    });
  }
  // Agents reach the control plane without anybody in between.
  void direct() {
    world_.network.listen(kAgentsDial, [this](std::unique_ptr<net::Connection> c) { plane_->accept(std::move(c)); });
  }
  void run() { world_.run(); }
  VaultysId someone() { return VaultysId::generate(identity::IdType::Machine, world_.entropy); }

  // ---- honest agents ----
  AgentRuntimeConfig config(const std::string& name) {
    AgentRuntimeConfig c;
    c.name = name;
    c.controlPlaneUrl = "http://localhost:3000";
    c.vaultysIdPath = world_.dir.file(name + ".id");
    c.requestedCapabilities = {"text_generation", "api_call"};
    return c;
  }
  Agent<Victim>& start(AgentRuntimeConfig c) {
    runtimes_.push_back(world_.makeRuntime());
    const std::string name = c.name;
    victims_.push_back(std::make_unique<Agent<Victim>>(std::move(c), *runtimes_.back()));
    auto& agent = *victims_.back();
    agent.on<LogEntry>([this](const LogEntry& e) { logs_.push_back(e.message); }).release();
    agent.start();
    run();
    return agent;
  }
  Agent<Victim>& start(const std::string& name = "victim") { return start(config(name)); }
  // As a process that ends and begins again with the same files.
  Agent<Victim>& restart(Agent<Victim>& agent) {
    AgentRuntimeConfig again = agent.config();
    std::erase_if(victims_, [&](const auto& v) { return v.get() == &agent; });
    run();
    return start(std::move(again));
  }
  // Connected to the real control plane and approved.
  Agent<Victim>& connectedVictim(const std::string& name = "victim") {
    auto& agent = start(name);
    approve(agent.getDid());
    EXPECT_EQ(agent.getStatus(), AgentStatus::Connected);
    return agent;
  }
  bool logged(std::string_view text) const {
    return std::any_of(logs_.begin(), logs_.end(), [&](const auto& l) { return l.find(text) != std::string::npos; });
  }
  std::string lastLogs(std::size_t n = 5) const {
    std::string out;
    for (std::size_t i = logs_.size() > n ? logs_.size() - n : 0; i < logs_.size(); ++i) out += logs_[i] + "\n";
    return out;
  }

  // ---- the operator ----
  std::vector<store::RegistrationRow> pendingRegistrations() {
    Box<store::Listing<store::RegistrationRow>> listed;
    plane_->registrations("pending", {}, listed.reply());
    run();
    return (*listed)->items;
  }
  void approve(const std::string& did, control::Approval approval = {}) {
    for (const auto& row : pendingRegistrations()) {
      if (row.did.value != did) continue;
      Box<store::AgentRow> approved;
      plane_->approve(row.id, std::move(approval), approved.reply());
      run();
      ASSERT_TRUE((*approved).ok()) << (*approved).error().message;
      return;
    }
    FAIL() << "no registration of " << did;
  }
  // Sent; the reply comes when the agent has answered.
  Box<control::RunResult> ask(const std::string& did, const std::string& action, const std::string& params = "{}") {
    Box<control::RunResult> reply;
    control::RunRequest request;
    request.did = Did(did);
    request.action = action;
    request.params.text = params;
    plane_->run(std::move(request), reply.reply());
    run();
    return reply;
  }
  bool runs(const std::string& did, const std::string& params = "{}") {
    auto reply = ask(did, "text_generation", params);
    return reply.done() && (*reply).ok() && (*reply)->status == "success";
  }
  std::optional<control::AgentView> view(const std::string& did) { return plane_->agent(Did(did)); }
  bool isConnected(const std::string& did) {
    const auto v = view(did);
    return v && v->status == control::AgentStatus::Connected;
  }
  std::size_t audited(const std::string& action) {
    Box<control::ControlPlane::AuditView> reply;
    plane_->audit({}, {0, 1000}, reply.reply());
    run();
    const auto& rows = (*reply)->rows.items;
    return static_cast<std::size_t>(
        std::count_if(rows.begin(), rows.end(), [&](const auto& row) { return row.action == action; }));
  }

  // ---- attackers ----
  std::unique_ptr<HostileAgent> stranger(AgentPlan plan = {}) {
    return std::make_unique<HostileAgent>(world_.clock, world_.entropy, someone(), std::move(plan));
  }
  // An attacker whom an operator has approved as an agent.
  std::unique_ptr<HostileAgent> insider(AgentPlan plan = {}) {
    auto agent = stranger(std::move(plan));
    agent->connect(world_.network);
    run();
    approve(agent->did().value);
    EXPECT_TRUE(agent->connected());
    return agent;
  }
  std::unique_ptr<HostileControlPlane> hostilePlane(PlanePlan plan = {}) {
    auto plane = std::make_unique<HostileControlPlane>(world_.clock, world_.entropy, someone(), std::move(plan));
    world_.network.listen(kAgentsDial, plane->acceptor());
    return plane;
  }

  TestWorld world_;
  testing::LoopWorkers workers_{world_.loop};
  VaultysId self_ = VaultysId::generate(identity::IdType::Machine, world_.entropy);
  control::ControlOptions options_;
  std::string address_ = "192.0.2.1";  // where connections to kControlPlaneUrl come from
  std::unique_ptr<store::ControlStore> store_;
  std::unique_ptr<control::ControlPlane> plane_;
  std::vector<std::string> logs_;
  std::vector<std::unique_ptr<Runtime>> runtimes_;
  std::vector<std::unique_ptr<Agent<Victim>>> victims_;
};

}  // namespace vaultysclaw::attacks
