// Delegations that the control plane has really signed, in the hands of those whom they do not help: another agent's,
// one that has expired, one that was revoked and is played back (docs/protocol.md 7.4).
#include "control/grants.hpp"
#include "control/people.hpp"
#include "world.hpp"

namespace vaultysclaw::attacks {
namespace {

const std::string kOwner = "did:vaultys:0100000000000000000000000000000000000aaa";
const std::string kMember = "did:vaultys:0100000000000000000000000000000000000bbb";

class Delegated : public World {
 protected:
  Delegated() {
    const auto users = [](store::ControlWriter& w) -> Status {
      VC_TRY(w.putUser({.id = store::UserId("ann"), .name = "ann", .role = "owner", .did = kOwner}));
      VC_TRY(w.putUser({.id = store::UserId("bob"), .name = "bob", .role = "member", .did = kMember}));
      VC_TRY_ASSIGN(const auto workspaces, w.workspaces());
      for (const auto& workspace : workspaces) VC_TRY(w.putMember({workspace.id, store::UserId("bob")}));
      return w.putApiToken({.id = TokenId("key"),
                            .name = "key",
                            .hash = Bytes(32, 1),
                            .user = store::UserId("ann"),
                            .scopes = "read run operate admin"});
    };
    EXPECT_TRUE(store_->writeBlocking(users).ok());
    startControlPlane();
  }
  static control::Principal owner() {
    return {store::UserId("ann"), "ann", control::Role::Owner, control::Scopes::all(), TokenId("key"), std::nullopt};
  }
  store::GrantId grant(const std::string& agent, std::optional<WallTime> expiresAt = std::nullopt) {
    Box<control::Grants::Changed> made;
    plane_->grants().create(owner(), {"bob", Did(agent), {"text_generation"}, expiresAt}, made.reply());
    run();
    EXPECT_TRUE((*made).ok()) << (*made).error().message;
    return (*made)->grant.row.id;
  }
  void revoke(const store::GrantId& id) {
    Box<control::Grants::Changed> gone;
    plane_->grants().revoke(owner(), id, std::nullopt, gone.reply());
    run();
    ASSERT_TRUE((*gone).ok());
  }
  // The member's, as it came to an insider's ear.
  static Json membersOf(const HostileAgent& agent) {
    const Json update = agent.last("delegation_update");
    for (const auto& entry : update["delegations"]) {
      if (entry["userDid"] == kMember) return entry;
    }
    return nullptr;
  }
};

TEST_F(Delegated, AnotherAgentsExpiredAndForgedOnesAreWorthNothing) {
  AgentPlan plan;
  plan.features = kAllFeatures;
  auto mallory = insider(plan), other = insider(plan);
  grant(mallory->did().value);
  const Json borrowed = membersOf(*mallory);
  ASSERT_FALSE(borrowed.is_null());
  direct();
  auto& victim = connectedVictim();
  const std::string did = victim.getDid();
  grant(did, world_.clock.now() + std::chrono::minutes(10));

  // Everything that the control plane says to the victim from here on is the attacker's, who has somehow got its place
  // on the channel, but not its key: what it signs is what he has recorded.
  victims_.clear();
  PlanePlan says;
  says.features = kAllFeatures;
  auto hostile = hostilePlane(says);
  hostile->becomes(self_);
  auto& again = start();
  ASSERT_EQ(again.getStatus(), AgentStatus::Connected) << lastLogs();
  ASSERT_EQ(again.getDid(), did);
  std::size_t n = 0;
  const auto runsWith = [&](const std::optional<Json>& entry) {
    if (entry) hostile->say("delegation_update", {{"delegations", Json::array({*entry})}});
    const std::size_t before = again.ran.size();
    hostile->say(hostile->intent("i-" + std::to_string(++n), "text_generation", "{}", {{"userDid", kMember}}));
    run();
    return again.ran.size() > before;
  };
  EXPECT_TRUE(runsWith(std::nullopt)) << "what it has stored is its own, and live";
  world_.advance(std::chrono::minutes(11));
  EXPECT_FALSE(runsWith(std::nullopt)) << "it has expired, whoever says so or not";
  EXPECT_FALSE(runsWith(borrowed)) << "it names another agent";
  Json renamed = borrowed;
  renamed["agentDid"] = did;
  EXPECT_FALSE(runsWith(renamed)) << "beside the token anybody can write";
  const auto body = [&](const VaultysId& signer) {
    Json entry = renamed;
    entry["certificate"] = tokenBy(signer, delegationBody(kMember, did, {"text_generation"}, world_.clock.now(),
                                                          world_.clock.now() + std::chrono::hours(1)));
    return entry;
  };
  EXPECT_FALSE(runsWith(body(mallory->self()))) << "signed by an agent";
  EXPECT_TRUE(runsWith(body(self_))) << "the honest form of the same";
}

TEST_F(Delegated, ARevokedOneDoesNotComeBackWithTheBytesOfAnOlderConnection) {
  Middle middle(world_.network, kAgentsDial, kControlPlaneUrl);
  auto& victim = connectedVictim();
  const auto id = grant(victim.getDid());
  ASSERT_EQ(victim.hooks.back(), "delegations 2");
  std::vector<Frame> recorded;
  for (const auto& [direction, frame] : middle.seen) {
    if (direction == Direction::ToClient && frame.kind == net::FrameKind::Binary) recorded.push_back(frame);
  }
  ASSERT_GE(recorded.size(), 3U);
  revoke(id);
  ASSERT_EQ(victim.hooks.back(), "delegations 1");
  for (const bool newConnection : {false, true}) {
    SCOPED_TRACE(newConnection ? "over the next connection" : "over the same one");
    if (newConnection) {
      middle.cut();
      world_.advance(std::chrono::minutes(2));
      ASSERT_EQ(victim.getStatus(), AgentStatus::Connected);
    }
    for (const Frame& frame : recorded) {
      const std::size_t before = victim.hooks.size();
      middle.inject(Direction::ToClient, frame);
      run();
      EXPECT_NE(victim.getStatus(), AgentStatus::Connected) << "the channel has an order, and keys of its own";
      EXPECT_EQ(victim.hooks.size(), before);
      world_.advance(std::chrono::minutes(2));
      ASSERT_EQ(victim.getStatus(), AgentStatus::Connected);
      EXPECT_EQ(victim.hooks.back(), "delegations 1");
    }
  }
}

TEST_F(Delegated, WhoIsNotGrantedReachesNoAgent) {
  direct();
  auto& victim = connectedVictim();
  control::RunRequest request;
  request.did = Did(victim.getDid());
  request.action = "text_generation";
  for (const std::string& user : {kMember, std::string("did:vaultys:0100000000000000000000000000000000000ccc")}) {
    request.userDid = Did(user);
    Box<control::RunResult> reply;
    plane_->run(request, reply.reply());
    run();
    EXPECT_EQ((*reply).error().code, Errc::PolicyDenied);
  }
  EXPECT_TRUE(victim.ran.empty());
  request.userDid = Did(kOwner);
  Box<control::RunResult> reply;
  plane_->run(request, reply.reply());
  run();
  ASSERT_TRUE((*reply).ok());
  EXPECT_EQ(victim.ran.back().caller, kOwner);
}

}  // namespace
}  // namespace vaultysclaw::attacks
