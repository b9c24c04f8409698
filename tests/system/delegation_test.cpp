// Work for users, through the whole system: who may, whom the agent sees, and what ends it.
#include "control/grants.hpp"
#include "control/people.hpp"
#include "whole_system.hpp"

namespace vaultysclaw::system_test {
namespace {

class WorkForUsers : public WholeSystem {
 protected:
  WorkForUsers() {
    killControlPlane();
    auto store = store::openControlStore({world_.dir.file("control.db"), store::WriterThread::No});
    EXPECT_TRUE(store.ok());
    const auto users = [](store::ControlWriter& w) -> Status {
      VC_TRY(w.putUser({.id = store::UserId("ann"), .name = "ann", .role = "owner", .did = kAnn}));
      VC_TRY(w.putUser({.id = store::UserId("bob"), .name = "bob", .role = "member", .did = kBob}));
      VC_TRY_ASSIGN(const auto workspaces, w.workspaces());
      for (const auto& workspace : workspaces) VC_TRY(w.putMember({workspace.id, store::UserId("bob")}));
      return w.putApiToken({.id = TokenId("key"),
                            .name = "key",
                            .hash = Bytes(32, 1),
                            .user = store::UserId("ann"),
                            .scopes = "read run operate admin"});
    };
    EXPECT_TRUE((*store)->writeBlocking(users).ok());
    store->reset();
    startControlPlane();
  }
  static control::Principal owner() {
    return {store::UserId("ann"), "ann", control::Role::Owner, control::Scopes::all(), TokenId("key"), std::nullopt};
  }
  store::GrantId grantBob(const std::string& agent, std::optional<WallTime> expiresAt = std::nullopt) {
    Box<control::Grants::Changed> made;
    plane_->grants().create(owner(), {"bob", Did(agent), {"text_generation"}, expiresAt}, made.reply());
    world_.run();
    EXPECT_TRUE((*made).ok()) << (*made).error().message;
    EXPECT_EQ((*made)->sentTo, std::vector<Did>{Did(agent)});
    return (*made)->grant.row.id;
  }
  Result<control::RunResult> runFor(const std::string& user, const std::string& agent,
                                    const std::string& action = "text_generation") {
    Box<control::RunResult> reply;
    control::RunRequest request;
    request.did = Did(agent);
    request.action = action;
    request.userDid = Did(user);
    plane_->run(std::move(request), reply.reply());
    world_.run();
    EXPECT_TRUE(reply.done());
    return *reply;
  }
  // Whom the agent saw; "refused" by the control plane; "failed" by the agent.
  std::string callerOf(const Result<control::RunResult>& result) {
    if (!result.ok()) return result.error().code == Errc::PolicyDenied ? "refused" : result.error().message;
    if (result->status != "success") return "failed: " + result->error.value_or("");
    return Json::parse(result->output->text)["caller"];
  }
  std::string talkFor(const std::string& user, EchoAgent& agent) {
    agent.chatCaller.clear();
    control::ChatRequest request;
    request.did = Did(agent.getDid());
    request.userDid = Did(user);
    request.messages = {{"user", "hello", {}}};
    std::optional<Result<control::ControlPlane::StartedChat>> started;
    control::ChatEvents events;
    events.onChunk = events.onThinking = [](std::string_view) {};
    events.onDone = [] {};
    events.onError = [](std::string_view, std::string_view) {};
    plane_->chat(std::move(request), events, [&](auto reply) { started.emplace(std::move(reply)); });
    world_.run();
    return started->ok() ? agent.chatCaller : "refused";
  }

  static constexpr const char* kAnn = "did:vaultys:0100000000000000000000000000000000000aaa";
  static constexpr const char* kBob = "did:vaultys:0100000000000000000000000000000000000bbb";
};

TEST_F(WorkForUsers, IsDoneForThoseWhoMayAndTheAgentSeesForWhom) {
  auto& agent = startAgent("one");
  approveAll();
  EXPECT_EQ(callerOf(runFor(kAnn, agent.getDid())), kAnn);
  EXPECT_EQ(callerOf(runFor(kBob, agent.getDid())), "refused");
  EXPECT_EQ(talkFor(kBob, agent), "refused");
  const auto grant = grantBob(agent.getDid());
  EXPECT_EQ(callerOf(runFor(kBob, agent.getDid())), kBob);
  EXPECT_EQ(callerOf(runFor(kBob, agent.getDid(), "api_call")), "refused") << "it is not in the grant";
  EXPECT_EQ(talkFor(kBob, agent), kBob);
  EXPECT_EQ(talkFor(kAnn, agent), kAnn);
  Box<control::Grants::Changed> revoked;
  plane_->grants().revoke(owner(), grant, std::nullopt, revoked.reply());
  world_.run();
  ASSERT_TRUE((*revoked).ok());
  EXPECT_EQ(callerOf(runFor(kBob, agent.getDid())), "refused");
  EXPECT_EQ(talkFor(kBob, agent), "refused");
}

TEST_F(WorkForUsers, OutlivesConnectionsAndRestarts) {
  auto& agent = startAgent("one");
  approveAll();
  grantBob(agent.getDid());
  world_.network.cutAll();
  world_.advance(std::chrono::seconds(10));
  EXPECT_EQ(callerOf(runFor(kBob, agent.getDid())), kBob);
  killControlPlane();
  world_.advance(std::chrono::seconds(30));
  startControlPlane();
  world_.advance(std::chrono::minutes(2));
  ASSERT_EQ(agent.getStatus(), AgentStatus::Connected);
  EXPECT_EQ(callerOf(runFor(kBob, agent.getDid())), kBob);
  world_.advance(std::chrono::hours(60));
  ASSERT_EQ(agent.getStatus(), AgentStatus::Connected);
  EXPECT_EQ(callerOf(runFor(kBob, agent.getDid())), kBob) << "renewed in time";
  EXPECT_EQ(callerOf(runFor(kAnn, agent.getDid())), kAnn);
}

TEST_F(WorkForUsers, EndsWithTheGrant) {
  auto& agent = startAgent("one");
  approveAll();
  grantBob(agent.getDid(), world_.clock.now() + std::chrono::minutes(5));
  world_.advance(std::chrono::minutes(5));
  EXPECT_EQ(callerOf(runFor(kBob, agent.getDid())), kBob);
  world_.advance(std::chrono::milliseconds(1));
  EXPECT_EQ(callerOf(runFor(kBob, agent.getDid())), "refused");
}

TEST_F(WorkForUsers, EndsWithTheUser) {
  auto& agent = startAgent("one");
  approveAll();
  grantBob(agent.getDid());
  Box<control::ChangedUser> disabled;
  plane_->people().changeUser(owner(), store::UserId("bob"), {std::nullopt, true}, std::nullopt, disabled.reply());
  world_.run();
  ASSERT_TRUE((*disabled).ok());
  EXPECT_EQ(callerOf(runFor(kBob, agent.getDid())), "refused");
  EXPECT_EQ(agent.executed, 0);
}

// The control plane has judged and signed; what the agent hears before the intent is what decides there.
TEST_F(WorkForUsers, IsJudgedByTheAgentAgain) {
  auto& agent = startAgent("one");
  approveAll();
  const auto grant = grantBob(agent.getDid());
  world_.lanes->held = true;
  Box<control::RunResult> reply;
  control::RunRequest request;
  request.did = Did(agent.getDid());
  request.action = "text_generation";
  request.userDid = Did(kBob);
  plane_->run(std::move(request), reply.reply());
  world_.run();
  Box<control::Grants::Changed> revoked;
  plane_->grants().revoke(owner(), grant, std::nullopt, revoked.reply());
  world_.run();
  ASSERT_FALSE(reply.done());
  world_.lanes->held = false;
  while (world_.runHandler()) {
  }
  world_.run();
  EXPECT_EQ(callerOf(*reply), "failed: User '" + std::string(kBob) + "' has no valid delegation for 'text_generation'");
  EXPECT_EQ(agent.executed, 0);
}

}  // namespace
}  // namespace vaultysclaw::system_test
