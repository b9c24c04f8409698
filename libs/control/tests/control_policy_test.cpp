// Policies reach the agents that they narrow: at once, when they come back, and over restarts.
#include "../src/rows.hpp"
#include "control/policies.hpp"
#include "control_fixture.hpp"

namespace vaultysclaw::control::testing {
namespace {

using protocol::UpdateCapabilities;

class PolicyTest : public ControlTest {
 protected:
  PolicyTest() {
    EXPECT_TRUE(store
                    ->writeBlocking([](store::ControlWriter& w) -> Status {
                      VC_TRY(w.putUser({.id = store::UserId("o"), .name = "ann", .role = "owner"}));
                      VC_TRY(w.putApiToken({.id = TokenId("k"),
                                            .name = "k",
                                            .hash = Bytes(32, 1),
                                            .user = store::UserId("o"),
                                            .scopes = "read run operate admin"}));
                      for (const char* id : {"w1", "w2"})
                        VC_TRY(w.putWorkspace({.id = store::WorkspaceId(id), .name = std::string("name of ") + id}));
                      return {};
                    })
                    .ok());
  }
  static Principal owner() {
    return {store::UserId("o"), "ann", Role::Owner, Scopes::all(), TokenId("k"), std::nullopt};
  }
  void place(const Did& agent, const char* workspace) {
    EXPECT_TRUE(store
                    ->writeBlocking(
                        [&](store::ControlWriter& w) { return w.putPlacement({store::WorkspaceId(workspace), agent}); })
                    .ok());
  }
  Result<ChangedPolicy> add(PolicyRequest request) {
    Waiting<ChangedPolicy> reply;
    plane->policies().add(owner(), std::move(request), reply);
    EXPECT_FALSE(reply.done()) << "replied before the call returned";
    run();
    return *reply;
  }
  Result<ChangedPolicy> revoke(const PolicyId& id, std::optional<std::int64_t> version = std::nullopt) {
    Waiting<ChangedPolicy> reply;
    plane->policies().revoke(owner(), id, version, reply);
    run();
    return *reply;
  }
  static PolicyRequest only(const Did& agent, std::vector<std::string> capabilities) {
    PolicyRequest request;
    request.agent = agent;
    request.capabilities = std::move(capabilities);
    return request;
  }
  std::unique_ptr<TestAgent> agentWith(std::vector<std::string> capabilities) {
    TestAgent::Options o;
    o.capabilities = std::move(capabilities);
    auto agent = connectedAgent(std::move(o));
    loop.advance(seconds(10));  // the next certificate need not wait
    agent->received.clear();
    return agent;
  }
};

TEST_F(PolicyTest, NarrowsAConnectedAgentAtOnce) {
  start();
  auto agent = agentWith({"echo", "read"});
  PolicyRequest request = only(agent->did(), {"echo", "not approved"});
  request.capabilities = {"echo", "delete"};
  request.limits.maxRequestsPerHour = 7;
  request.limits.allowedDomains = {"example.org"};
  request.expiresAt = clock.now() + std::chrono::hours(1);
  request.reason = "an audit";
  const auto added = add(request);
  ASSERT_TRUE(added.ok()) << added.error().message;
  EXPECT_EQ(added->sentTo, std::vector<Did>{agent->did()});
  EXPECT_EQ(agent->last<UpdateCapabilities>()->reason, "an audit");
  EXPECT_EQ(agent->certifiedCapabilities(), names({"echo"})) << "a policy never adds what was not approved";
  const auto& limits = *agent->certificate().find("resourceLimits");
  EXPECT_EQ(limits.find("maxRequestsPerHour")->asInteger(), 7);
  EXPECT_EQ(*agent->certificate().find("policyId")->string(), added->row.id.value);
  EXPECT_EQ(*agent->certificate().find("policyExpiresAt")->string(), toIso8601(*request.expiresAt));
  const AgentView view = *plane->agent(agent->did());
  EXPECT_EQ(view.granted.capabilities, names({"echo"}));
  EXPECT_EQ(view.row.capabilities, R"(["echo","read"])");
  EXPECT_EQ(view.policies, std::vector<PolicyId>{added->row.id});
}

TEST_F(PolicyTest, IsLiftedAtOnceWhenItIsRevoked) {
  start();
  auto agent = agentWith({"echo", "read"});
  const PolicyId id = add(only(agent->did(), {}))->row.id;
  EXPECT_EQ(agent->certifiedCapabilities(), names({}));
  loop.advance(seconds(10));
  const auto revoked = revoke(id);
  ASSERT_TRUE(revoked.ok());
  EXPECT_EQ(revoked->sentTo, std::vector<Did>{agent->did()});
  EXPECT_EQ(agent->certifiedCapabilities(), names({"echo", "read"}));
  EXPECT_EQ(agent->certificate().find("policyId"), nullptr);
  EXPECT_EQ(revoke(id).error().code, Errc::Conflict);
  EXPECT_EQ(revoke(PolicyId("none")).error().code, Errc::NotFound);
}

TEST_F(PolicyTest, ReachesAnAbsentAgentOnItsNextConnection) {
  start();
  auto agent = agentWith({"echo", "read"});
  agent->disconnect();
  run();
  const auto added = add(only(agent->did(), {"read"}));
  ASSERT_TRUE(added.ok());
  EXPECT_TRUE(added->sentTo.empty());
  agent->connect();
  run();
  EXPECT_EQ(agent->certifiedCapabilities(), names({"read"}));
  EXPECT_EQ(agent->count<UpdateCapabilities>(), 0U) << "the certificate of the handshake says it";
}

TEST_F(PolicyTest, HoldsOverARestart) {
  start();
  auto agent = agentWith({"echo", "read"});
  const PolicyId id = add(only(agent->did(), {"read"}))->row.id;
  restart();
  agent->connect();
  run();
  EXPECT_EQ(agent->certifiedCapabilities(), names({"read"}));
  EXPECT_EQ(plane->policies().of(agent->did()), std::vector<PolicyId>{id});
  ASSERT_TRUE(revoke(id).ok());
  restart();
  agent->connect();
  run();
  EXPECT_EQ(agent->certifiedCapabilities(), names({"echo", "read"}));
}

TEST_F(PolicyTest, OfAnAgentCombineToTheNarrowest) {
  start();
  auto agent = agentWith({"a", "b", "c"});
  place(agent->did(), "w1");
  restart();
  agent->connect();
  run();
  PolicyRequest own = only(agent->did(), {"a", "b"});
  own.limits.maxTokensPerDay = 10;
  own.limits.allowedDomains = {"one.org", "two.org"};
  own.expiresAt = clock.now() + std::chrono::hours(2);
  PolicyRequest shared;
  shared.workspace = "name of w1";
  shared.capabilities = {"b", "c"};
  shared.limits.maxTokensPerDay = 20;
  shared.limits.maxRequestsPerHour = 5;
  shared.limits.allowedDomains = {"two.org", "three.org"};
  shared.expiresAt = clock.now() + std::chrono::hours(1);
  ASSERT_TRUE(add(own).ok());
  const auto last = add(shared);
  ASSERT_TRUE(last.ok()) << last.error().message;
  const policy::Grant granted = plane->agent(agent->did())->granted;
  EXPECT_EQ(granted.capabilities, names({"b"}));
  EXPECT_EQ(granted.limits.maxTokensPerDay, 10);
  EXPECT_EQ(granted.limits.maxRequestsPerHour, 5);
  EXPECT_EQ(granted.limits.allowedDomains, names({"two.org"}));
  EXPECT_EQ(granted.policyExpiresAt, shared.expiresAt);
  EXPECT_EQ(granted.policyId, last->row.id.value) << "the one that ends first is named";
}

TEST_F(PolicyTest, OfAWorkspaceReachesItsAgentsAndNoOthers) {
  start();
  auto inside = agentWith({"echo"});
  auto outside = agentWith({"echo"});
  place(inside->did(), "w1");
  place(outside->did(), "w2");
  restart();
  inside->connect();
  outside->connect();
  run();
  PolicyRequest request;
  request.workspace = "w1";
  request.capabilities = std::vector<std::string>();
  const auto added = add(request);
  ASSERT_TRUE(added.ok());
  EXPECT_EQ(added->sentTo, std::vector<Did>{inside->did()});
  EXPECT_EQ(plane->agent(outside->did())->granted.capabilities, names({"echo"}));
}

TEST_F(PolicyTest, ThatHasExpiredStillCountsUntilItIsRevoked) {
  start();
  auto agent = agentWith({"echo"});
  PolicyRequest request;
  request.agent = agent->did();
  request.expiresAt = clock.now() + seconds(60);
  const PolicyId id = add(request)->row.id;
  loop.advance(seconds(61));
  EXPECT_EQ(plane->agent(agent->did())->granted.policyExpiresAt, request.expiresAt);
  agent->connect();
  run();
  EXPECT_EQ(*agent->certificate().find("policyId")->string(), id.value) << "by which the agent refuses everything";
  ASSERT_TRUE(revoke(id).ok());
  EXPECT_FALSE(plane->agent(agent->did())->granted.policyExpiresAt);
}

TEST_F(PolicyTest, StaysWhenTheApprovedGrantChangesOrTheAgentRegistersAnew) {
  start();
  auto agent = agentWith({"echo", "read"});
  ASSERT_TRUE(add(only(agent->did(), {"read"})).ok());
  ASSERT_TRUE(updateGrant(agent->did(), {{"read", "write"}, {}, {}, {}}).ok());
  EXPECT_EQ(plane->agent(agent->did())->granted.capabilities, names({"read"}));
  Waiting<std::monostate> removed;
  plane->deleteAgent(agent->did(), "user:ann", removed);
  run();
  agent->connect();
  run();
  ASSERT_TRUE(approve(registrationOf(*agent)).ok());
  EXPECT_EQ(agent->certifiedCapabilities(), names({"read"}));
}

TEST_F(PolicyTest, OfTwoChangesOfOneApprovedGrantTheSecondIsToldOfTheFirst) {
  start();
  auto agent = agentWith({"echo", "read"});
  GrantChange change;
  change.capabilities = {"echo"};
  change.ifTag = grantTag(plane->agent(agent->did())->row);
  Waiting<AgentView> first, second;  // at once: both have seen the same
  plane->updateGrant(agent->did(), change, "", "user:ann", first);
  change.capabilities = {"read"};
  plane->updateGrant(agent->did(), change, "", "user:eve", second);
  run();
  EXPECT_TRUE(first->ok());
  EXPECT_EQ(second->error().code, Errc::Conflict);
  EXPECT_EQ(plane->agent(agent->did())->row.capabilities, R"(["echo"])");
}

TEST_F(PolicyTest, SaysWhatIsWrongWithIt) {
  start();
  auto agent = agentWith({"echo"});
  EXPECT_EQ(add(only(Did("did:vaultys:" + std::string(40, '9')), {})).error().code, Errc::NotFound);
  PolicyRequest request;
  request.workspace = "nowhere";
  request.capabilities = std::vector<std::string>();
  EXPECT_EQ(add(request).error().code, Errc::NotFound);
  request.agent = agent->did();
  EXPECT_EQ(add(request).error().code, Errc::InvalidArgument) << "an agent and a workspace";
  PolicyRequest nothing;
  nothing.agent = agent->did();
  EXPECT_EQ(add(nothing).error().code, Errc::InvalidArgument);
  nothing.expiresAt = clock.now() - seconds(1);
  EXPECT_EQ(add(nothing).error().code, Errc::InvalidArgument);
  PolicyRequest negative;
  negative.agent = agent->did();
  negative.limits.maxTokensPerDay = -1;
  EXPECT_EQ(add(negative).error().code, Errc::InvalidArgument);
  EXPECT_EQ(audited("policy.add"), 0U) << "what was not done is not audited";
}

TEST_F(PolicyTest, IsNotChangedByWhoeverMayNoLonger) {
  start();
  auto agent = agentWith({"echo"});
  const PolicyId id = add(only(agent->did(), {}))->row.id;
  EXPECT_TRUE(store
                  ->writeBlocking([](store::ControlWriter& w) {
                    return w.putUser({.id = store::UserId("o"), .name = "ann", .role = "member"});
                  })
                  .ok());
  EXPECT_EQ(add(only(agent->did(), {})).error().code, Errc::PolicyDenied);
  EXPECT_EQ(revoke(id).error().code, Errc::PolicyDenied);
}

TEST_F(PolicyTest, OfAnotherVersionIsNotRevoked) {
  start();
  auto agent = agentWith({"echo"});
  const PolicyId id = add(only(agent->did(), {}))->row.id;
  EXPECT_TRUE(revoke(id, 2)->stale);
  EXPECT_EQ(plane->policies().of(agent->did()).size(), 1U);
  EXPECT_FALSE(revoke(id, 1)->stale);
}

TEST_F(PolicyTest, IsAuditedWithBeforeAndAfter) {
  start();
  auto agent = agentWith({"echo"});
  const PolicyId id = add(only(agent->did(), {"echo"}))->row.id;
  ASSERT_TRUE(revoke(id).ok());
  Waiting<ControlPlane::AuditView> reply;
  plane->audit({.target = id.value}, {}, reply);
  run();
  const auto& rows = reply->value().rows.items;
  ASSERT_EQ(rows.size(), 2U);
  EXPECT_EQ(rows[1].actor, "user:ann");
  EXPECT_NE(rows[1].details.find(R"("after":{"name":"","did":")" + agent->did().value), std::string::npos);
  EXPECT_NE(rows[0].details.find(R"("before":{)"), std::string::npos) << rows[0].details;
  expectAuditHolds();
}

}  // namespace
}  // namespace vaultysclaw::control::testing
