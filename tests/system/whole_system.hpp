// The real control plane on SQLite and real agents, an in-memory network and a clock that moves when the test says so.
#pragma once

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "agent/test_runtime.hpp"
#include "control/control_plane.hpp"
#include "vaultysclaw/agent.hpp"

namespace vaultysclaw::system_test {

using testing::TestWorld;

class EchoAgent : public BaseAgentRuntime {
 public:
  using BaseAgentRuntime::BaseAgentRuntime;
  Json executeIntent(std::string_view action, const Json& params, CallContext& call) override {
    ++executed;
    return {{"action", action}, {"params", params}, {"caller", call.callerDid().value_or("")}};
  }
  void executeChat(std::span<const ChatMessage> messages, std::string_view, ChatSink& out, CallContext& call) override {
    ++chats;
    chatCaller = call.callerDid().value_or("");
    for (const char c : messages.back().content) out.send(std::string_view(&c, 1));
  }
  int executed = 0, chats = 0;
  std::string chatCaller;
};

template <class T>
struct Box {
  std::shared_ptr<std::optional<Result<T>>> value = std::make_shared<std::optional<Result<T>>>();
  control::Reply<T> reply() const {
    return [box = value](Result<T> r) { box->emplace(std::move(r)); };
  }
  bool done() const { return value->has_value(); }
  Result<T>& operator*() const { return **value; }
};

class WholeSystem : public ::testing::Test {
 protected:
  WholeSystem() { startControlPlane(); }
  ~WholeSystem() override {
    agents_.clear();
    runtimes_.clear();
    plane_.reset();
    store_.reset();
  }

  void startControlPlane() {
    auto store = store::openControlStore({world_.dir.file("control.db"), store::WriterThread::No});
    ASSERT_TRUE(store.ok()) << store.error().message;
    store_ = std::move(store).value();
    auto plane = control::ControlPlane::create(
        {world_.loop, workers_, world_.clock, world_.entropy, *store_, nullLogger()}, self_);
    ASSERT_TRUE(plane.ok()) << plane.error().message;
    plane_ = std::move(plane).value();
    world_.network.listen("ws://localhost:8080",
                          [this](std::unique_ptr<net::Connection> c) { plane_->accept(std::move(c)); });
  }
  // As a process that dies: nothing is said, nothing is flushed but what has been committed.
  void killControlPlane() {
    world_.network.unlisten("ws://localhost:8080");
    world_.network.cutAll();
    plane_.reset();
    store_.reset();
    world_.run();
  }

  Agent<EchoAgent>& startAgent(const std::string& name) {
    runtimes_.push_back(world_.makeRuntime());
    AgentRuntimeConfig config;
    config.name = name;
    config.controlPlaneUrl = "http://localhost:3000";
    config.vaultysIdPath = world_.dir.file(name + ".id");
    config.requestedCapabilities = {"text_generation", "api_call"};
    agents_.push_back(std::make_unique<Agent<EchoAgent>>(config, *runtimes_.back()));
    agents_.back()->start();
    world_.run();
    return *agents_.back();
  }
  void approveAll(control::Approval approval = {}) {
    Box<store::Listing<store::RegistrationRow>> pending;
    plane_->registrations("pending", {}, pending.reply());
    world_.run();
    for (const auto& row : (*pending)->items) {
      Box<store::AgentRow> approved;
      plane_->approve(row.id, approval, approved.reply());
      world_.run();
      ASSERT_TRUE((*approved).ok()) << (*approved).error().message;
    }
  }
  Result<control::RunResult> run(const std::string& did, const std::string& action, const Json& params) {
    Box<control::RunResult> reply;
    control::RunRequest request;
    request.did = Did(did);
    request.action = action;
    request.params.text = params.dump();
    plane_->run(std::move(request), reply.reply());
    world_.run();
    if (!reply.done()) world_.advance(std::chrono::minutes(2));
    EXPECT_TRUE(reply.done()) << "an endless wait";
    return *reply;
  }

  TestWorld world_;
  testing::LoopWorkers workers_{world_.loop};
  identity::VaultysId self_ = identity::VaultysId::generate(identity::IdType::Machine, world_.entropy);
  std::unique_ptr<store::ControlStore> store_;
  std::unique_ptr<control::ControlPlane> plane_;
  std::vector<std::unique_ptr<Runtime>> runtimes_;
  std::vector<std::unique_ptr<Agent<EchoAgent>>> agents_;
};

}  // namespace vaultysclaw::system_test
