// Delegations: what a connected agent is sent of them, when, and what follows for those who ask.
#include "grants_fixture.hpp"

namespace vaultysclaw::control::testing {
namespace {

using namespace protocol;
using std::chrono::hours;
using std::chrono::minutes;

class Delegations : public GrantsFixture {};

TEST_F(Delegations, OfAdminsAndOwnersComeWithTheApprovalAndThoseOfMembersWithAGrant) {
  auto agent = connectedAgent(full());
  EXPECT_EQ(delegated(*agent), names({"ann", "eve"}));
  EXPECT_EQ(pushes(*agent), 1U);
  auto other = connectedAgent(full());

  const auto made = grant(terms("bob", agent->did()));
  ASSERT_TRUE(made.ok()) << made.error().message;
  EXPECT_EQ(made->sentTo, std::vector<Did>{agent->did()});
  EXPECT_EQ(delegated(*agent), names({"ann", "bob", "eve"}));
  EXPECT_EQ(pushes(*other), 1U) << "it concerns another agent";
  EXPECT_EQ(audited("grant.add"), 1U);

  const auto gone = revoke(made->grant.row.id);
  ASSERT_TRUE(gone.ok());
  EXPECT_EQ(gone->sentTo, std::vector<Did>{agent->did()});
  EXPECT_EQ(delegated(*agent), names({"ann", "eve"}));
  EXPECT_TRUE(revoke(made->grant.row.id)->sentTo.empty()) << "it has been revoked";
  EXPECT_EQ(audited("grant.revoke"), 1U);
  expectAuditHolds();
}

TEST_F(Delegations, SayWhatIsGrantedAndUntilWhen) {
  auto agent = connectedAgent(full());
  const WallTime end = clock.now() + hours(2);
  ASSERT_TRUE(grant(terms("bob", agent->did(), {"echo", "read"}, end)).ok());
  for (const auto& entry : agent->last<DelegationUpdate>()->delegations) {
    const bool bobs = entry.userDid == userDid("bob").value;
    const auto token = identity::verifyDelegationToken(entry.certificate, self, clock.now());
    EXPECT_EQ(token->capabilities, bobs ? names({"echo", "read"}) : names({"echo"})) << "by role: all that it may do";
    EXPECT_EQ(toUnixMillis(token->issuedAt) % 3'600'000, 0);
    EXPECT_EQ(*token->expiresAt, bobs ? end : token->issuedAt + hours(24));
    EXPECT_EQ(entry.expiresAt, toIso8601(*token->expiresAt));
  }
}

TEST_F(Delegations, AreNotSaidTwiceOverAConnectionAndTheSameBytesOverTheNext) {
  auto agent = connectedAgent(full());
  ASSERT_TRUE(grant(terms("bob", agent->did())).ok());
  const auto certificates = [&] {
    std::vector<std::string> out;
    for (const auto& entry : agent->last<DelegationUpdate>()->delegations) out.push_back(entry.certificate);
    return out;
  };
  const auto before = certificates();
  Waiting<store::UserRow> added;
  plane->people().addUser(by("ann"), "new", Role::Member, std::nullopt, added);
  run();
  EXPECT_EQ(pushes(*agent), 2U) << "a member without a grant concerns nobody";
  agent->connect();
  run();
  EXPECT_EQ(pushes(*agent), 1U);
  EXPECT_EQ(certificates(), before);
  restart();
  agent->connect();
  run();
  EXPECT_EQ(pushes(*agent), 1U);
  EXPECT_EQ(certificates(), before) << "over restarts of the control plane too";
}

TEST_F(Delegations, ComeBeforeWhatHasWaitedForThem) {
  auto agent = connectedAgent(full());
  agent->disconnect();
  run();
  ASSERT_TRUE(grant(terms("bob", agent->did()))->sentTo.empty()) << "it is away";
  RunRequest request = work("bob", agent->did());
  request.ttl = seconds(600);
  ASSERT_EQ((*ask(request))->status, "queued");
  agent->connect();
  run();
  const auto types = agent->types();
  const auto delegation = std::find(types.begin(), types.end(), "delegation_update");
  const auto intent = std::find(types.begin(), types.end(), "intent");
  ASSERT_TRUE(intent != types.end());
  EXPECT_LT(delegation, intent);
  EXPECT_EQ(agent->last<Intent>()->userDid, userDid("bob"));
  EXPECT_TRUE(agent->problems.empty());
}

// Nothing runs in between: the reply of the grant has not come, and its tokens are not made.
TEST_F(Delegations, AreThereWhenAnIntentFollowsAtOnce) {
  auto agent = connectedAgent(full());
  Waiting<Grants::Changed> made;
  Waiting<SentIntent> sent;
  plane->grants().create(by("ann"), terms("bob", agent->did()), made);
  while (!plane->grants().find(plane->grants().all().empty() ? store::GrantId() : plane->grants().all()[0].row.id))
    ASSERT_EQ(loop.runUntilIdle(1), 1U);
  ASSERT_EQ(pushes(*agent), 1U);
  plane->send(work("bob", agent->did()), sent);
  run();
  ASSERT_TRUE(sent.done() && sent->ok());
  const auto types = agent->types();
  ASSERT_EQ(types.back(), "intent");
  EXPECT_EQ(types.at(types.size() - 2), "delegation_update");
}

TEST_F(Delegations, OfSeveralChangesAtOnceAreOneMessage) {
  auto agent = connectedAgent(full());
  Waiting<Grants::Changed> first, second, third;
  plane->grants().create(by("ann"), terms("bob", agent->did()), first);
  plane->grants().create(by("ann"), terms("cat", agent->did()), second);
  plane->grants().create(by("ann"), terms("cat", std::nullopt), third);
  run();
  ASSERT_TRUE(first->ok() && second->ok() && third->ok());
  EXPECT_EQ(pushes(*agent), 2U);
  EXPECT_EQ(delegated(*agent), names({"ann", "bob", "cat", "cat", "eve"})) << "one for each grant";
}

TEST_F(Delegations, AreRenewedAtHalfLife) {
  auto agent = connectedAgent(full());
  ASSERT_TRUE(grant(terms("bob", agent->did())).ok());
  loop.advance(hours(10));
  EXPECT_EQ(pushes(*agent), 2U);
  loop.advance(hours(4));
  EXPECT_EQ(pushes(*agent), 3U);
  EXPECT_EQ(delegated(*agent), names({"ann", "bob", "eve"}));
  loop.advance(hours(24 * 5));
  EXPECT_EQ(delegated(*agent), names({"ann", "bob", "eve"})) << "never one that has expired";
}

TEST_F(Delegations, OfAGrantThatExpiresAreNotRenewedAndItIsRefusedAtThatInstant) {
  auto agent = connectedAgent(full());
  ASSERT_TRUE(grant(terms("bob", agent->did(), {"echo"}, clock.now() + minutes(5))).ok());
  loop.advance(minutes(5));
  EXPECT_FALSE(refused("bob", agent->did())) << "valid up to and including its last millisecond";
  loop.advance(milliseconds(1));
  EXPECT_TRUE(refused("bob", agent->did()));
  loop.advance(hours(14));
  EXPECT_EQ(delegated(*agent), names({"ann", "eve"}));
}

TEST_F(Delegations, GoWithTheUserWhoIsDisabledRemovedOrLowered) {
  auto agent = connectedAgent(full());
  ASSERT_TRUE(grant(terms("bob", agent->did())).ok());
  ASSERT_TRUE(grant(terms("cat", std::nullopt)).ok());
  change("bob", {.role = std::nullopt, .disabled = true});
  EXPECT_EQ(delegated(*agent), names({"ann", "cat", "eve"}));
  EXPECT_TRUE(refused("bob", agent->did()));
  change("bob", {.role = std::nullopt, .disabled = false});
  EXPECT_EQ(delegated(*agent), names({"ann", "bob", "cat", "eve"})) << "what was granted holds again";
  change("eve", {.role = Role::Member, .disabled = std::nullopt});
  EXPECT_EQ(delegated(*agent), names({"ann", "bob", "cat"}));
  EXPECT_TRUE(refused("eve", agent->did()));
  Waiting<ChangedUser> removed;
  plane->people().removeUser(by("ann"), store::UserId("cat"), std::nullopt, removed);
  run();
  ASSERT_TRUE(removed->ok()) << removed->error().message;
  EXPECT_EQ(delegated(*agent), names({"ann", "bob"}));
  EXPECT_TRUE(refused("cat", agent->did()));
  for (const auto& entry : plane->grants().all())
    EXPECT_EQ(entry.row.revokedAt.has_value(), entry.row.user == store::UserId("cat"));
  EXPECT_EQ(audited("grant.revoke"), 1U);
  expectAuditHolds();
}

TEST_F(Delegations, GoWithTheSharedWorkspace) {
  auto agent = connectedAgent(full()), other = connectedAgent(full());
  ASSERT_TRUE(grant(terms("bob", std::nullopt)).ok());
  EXPECT_EQ(delegated(*agent), names({"ann", "bob", "eve"}));
  const store::WorkspaceId all = plane->workspaces().all().front().id;
  Waiting<ChangedWorkspace> moved;
  plane->workspaces().moveAgent(Workspaces::Way::Out, by("ann"), all, agent->did(), moved);
  run();
  ASSERT_TRUE(moved->ok()) << moved->error().message;
  EXPECT_EQ(delegated(*agent), names({"ann", "eve"}));
  EXPECT_EQ(delegated(*other), names({"ann", "bob", "eve"}));
  EXPECT_TRUE(refused("bob", agent->did()));
  Waiting<ChangedWorkspace> left;
  plane->workspaces().moveMember(Workspaces::Way::Out, by("ann"), all, "bob", left);
  run();
  ASSERT_TRUE(left->ok()) << left->error().message;
  EXPECT_EQ(delegated(*other), names({"ann", "eve"}));
}

TEST_F(Delegations, ThatWereTakenBackWhileAnAgentWasAwayAreReplaced) {
  auto agent = connectedAgent();  // an original's: only members have any
  EXPECT_EQ(pushes(*agent), 0U);
  const auto made = grant(terms("bob", agent->did()));
  EXPECT_EQ(delegated(*agent), names({"bob"}));
  agent->disconnect();
  run();
  ASSERT_TRUE(revoke(made->grant.row.id).ok());
  restart();
  agent->connect();
  run();
  ASSERT_EQ(pushes(*agent), 1U);
  EXPECT_TRUE(agent->last<DelegationUpdate>()->delegations.empty());
}

TEST_F(Delegations, OfAnOriginalAreThoseOfMembersAndSoAreItsIntents) {
  auto agent = connectedAgent();
  ASSERT_TRUE(grant(terms("bob", agent->did())).ok());
  ASSERT_TRUE(ask(work("bob", agent->did()))->ok());
  EXPECT_EQ(agent->last<Intent>()->userDid, userDid("bob"));
  ASSERT_TRUE(ask(work("ann", agent->did()))->ok());
  EXPECT_EQ(agent->last<Intent>()->userDid, std::nullopt);
  auto ours = connectedAgent(full());
  const auto sent = ask(work("ann", ours->did()));
  EXPECT_EQ(ours->last<Intent>()->userDid, userDid("ann"));
  EXPECT_TRUE(ours->problems.empty());
  const auto row = intentRow((*sent)->intentId);
  EXPECT_EQ(row.row.userDid, userDid("ann").value);
  EXPECT_TRUE(row.signatureValid);
}

TEST_F(Delegations, OfAnAgentThatIsGrantedNothingAreForChatsAlone) {
  auto agent = newAgent(full());
  agent->connect();
  run();
  Approval approval;
  approval.capabilities.emplace();
  ASSERT_TRUE(approve(registrationOf(*agent), approval).ok());
  ASSERT_EQ(delegated(*agent), names({"ann", "eve"}));
  EXPECT_EQ(agent->last<DelegationUpdate>()->delegations.at(0).capabilities, names({"chat"}));
}

TEST_F(Delegations, FollowWhatTheAgentIsGranted) {
  auto agent = connectedAgent(full());
  ASSERT_TRUE(updateGrant(agent->did(), {{"echo", "read"}, {}, {}, {}}).ok());
  EXPECT_EQ(agent->last<DelegationUpdate>()->delegations.at(0).capabilities, names({"echo", "read"}));
}

TEST_F(Delegations, AMemberWithoutOneIsToldWhatToDo) {
  auto agent = connectedAgent(full());
  const auto reply = ask(work("bob", agent->did()));
  ASSERT_FALSE(reply->ok());
  EXPECT_EQ(reply->error().code, Errc::PolicyDenied);
  EXPECT_NE(reply->error().message.find("vaultysclaw grants add bob " + agent->did().value + " --capabilities echo"),
            std::string::npos)
      << reply->error().message;
  ASSERT_TRUE(grant(terms("bob", agent->did(), {"read"})).ok());
  EXPECT_TRUE(refused("bob", agent->did())) << "it is for something else";
  EXPECT_EQ(agent->count<Intent>(), 0U);
  EXPECT_TRUE(refused("nobody", agent->did()));
}

TEST_F(Delegations, BroadcastsGoToAgentsThatTheyCover) {
  auto one = connectedAgent(full()), two = connectedAgent(full());
  ASSERT_TRUE(grant(terms("bob", two->did())).ok());
  Waiting<std::vector<SentIntent>> reply;
  plane->broadcast(work("bob", Did()), nullptr, reply);
  run();
  ASSERT_EQ((*reply)->size(), 1U);
  EXPECT_EQ((*reply)->front().did, two->did());
}

TEST_F(Delegations, AnyIsEnoughForAChatWhichNamesItsUser) {
  auto agent = connectedAgent(full());
  const auto talk = [&](const std::string& user, const TestAgent& to) {
    ChatRequest request;
    request.did = to.did();
    request.userDid = userDid(user);
    request.messages = {{"user", "hello", {}}};
    std::optional<Result<ControlPlane::StartedChat>> started;
    plane->chat(std::move(request), {}, [&](Result<ControlPlane::StartedChat> s) { started = std::move(s); });
    run();
    return !started->ok() ? std::string("refused") : std::string("asked");
  };
  EXPECT_EQ(talk("bob", *agent), "refused");
  ASSERT_TRUE(grant(terms("bob", agent->did(), {"read"})).ok());
  EXPECT_EQ(talk("bob", *agent), "asked");
  EXPECT_EQ(agent->last<protocol::ChatRequest>()->userDid, userDid("bob"));
  EXPECT_EQ(talk("ann", *agent), "asked");
  EXPECT_EQ(agent->last<protocol::ChatRequest>()->userDid, userDid("ann"));
  auto original = connectedAgent();
  EXPECT_EQ(talk("ann", *original), "asked");
  EXPECT_EQ(original->last<protocol::ChatRequest>()->userDid, std::nullopt) << "nobody there could believe it";
}

TEST_F(Delegations, AnIntentThatIsSentAgainKeepsItsUser) {
  auto agent = connectedAgent(full());
  ASSERT_TRUE(grant(terms("bob", agent->did())).ok());
  RunRequest request = work("bob", agent->did());
  request.timeout = seconds(300);
  const auto sent = ask(request);
  ASSERT_TRUE(sent->ok());
  for (const bool dies : {false, true}) {
    agent->disconnect();
    run();
    if (dies) restart();
    agent->connect();
    run();
    ASSERT_EQ(agent->count<Intent>(), 1U);
    EXPECT_EQ(agent->last<Intent>()->userDid, userDid("bob"));
    EXPECT_TRUE(agent->problems.empty());
  }
  EXPECT_TRUE(intentRow((*sent)->intentId).signatureValid);
}

TEST_F(Delegations, AnIntentThatWaitsIsNotSentOnceItsGrantIsRevoked) {
  auto agent = connectedAgent(full());
  const auto made = grant(terms("bob", agent->did()));
  agent->disconnect();
  run();
  RunRequest request = work("bob", agent->did());
  request.ttl = seconds(600);
  const auto waits = ask(request);
  request.userDid = userDid("ann");
  const auto goes = ask(request);
  ASSERT_TRUE(revoke(made->grant.row.id).ok());
  agent->connect();
  run();
  EXPECT_EQ(agent->count<Intent>(), 1U);
  EXPECT_EQ(agent->last<Intent>()->id, (*goes)->intentId);
  const auto row = intentRow((*waits)->intentId).row;
  EXPECT_EQ(row.status, "failed");
  EXPECT_EQ(row.code, "policy_denied");
}

TEST_F(Delegations, AreForUsersAndAgentsThatThereAre) {
  auto agent = connectedAgent(full());
  EXPECT_EQ(grant(terms("nobody", agent->did())).error().code, Errc::NotFound);
  EXPECT_EQ(grant(terms("bob", newAgent()->did())).error().code, Errc::NotFound);
  EXPECT_EQ(grant(terms("bob", agent->did(), {})).error().code, Errc::InvalidArgument);
  EXPECT_EQ(grant(terms("bob", agent->did(), {"echo"}, clock.now())).error().code, Errc::InvalidArgument);
  EXPECT_TRUE(grant(terms(userDid("bob").value, agent->did())).ok()) << "a DID names a user too";
  Waiting<Grants::Changed> denied;
  plane->grants().create(by("bob", Role::Owner), terms("bob", agent->did()), denied);
  run();
  EXPECT_EQ(denied->error().code, Errc::PolicyDenied) << "whatever he says his role is";
  EXPECT_EQ(revoke(store::GrantId("x")).error().code, Errc::NotFound);
}

TEST_F(Delegations, OldRowsAreForgottenOnlyWhenTheyAreOver) {
  const auto fill = [&](std::size_t count, std::optional<WallTime> revokedAt) {
    const auto rows = [&](store::ControlWriter& w) -> Status {
      for (std::size_t i = 0; i < count; ++i) {
        const std::string id = (revokedAt ? "old" : "live") + std::to_string(i);
        VC_TRY(w.putGrant({.id = store::GrantId(id),
                           .user = store::UserId("bob"),
                           .agent = {},
                           .capabilities = R"(["echo"])",
                           .createdAt = clock.now(),
                           .revokedAt = revokedAt}));
      }
      return {};
    };
    ASSERT_TRUE(store->writeBlocking(rows).ok());
  };
  fill(Grants::kMaxRows - 1, std::nullopt);
  fill(1, clock.now());
  restart();
  ASSERT_TRUE(grant(terms("bob", std::nullopt)).ok());
  EXPECT_EQ(plane->grants().all().size(), Grants::kMaxRows);
  EXPECT_EQ(plane->grants().find(store::GrantId("old0")), nullptr);
  EXPECT_EQ(grant(terms("bob", std::nullopt)).error().code, Errc::Busy);
}

// ---- agents and their peers -----------------------------------------------------------------------------------------

class Peers : public GrantsFixture {
 protected:
  void SetUp() override {
    GrantsFixture::SetUp();
    TestAgent::Options o = full();
    o.name = "caller";
    source = connectedAgent(o);
    o.name = "callee";
    target = connectedAgent(o);
  }
  PeerGrantRequest terms(std::vector<std::string> capabilities = {"echo"}) {
    return {source->did(), target->did(), std::move(capabilities), "says what it hears", std::nullopt};
  }
  std::unique_ptr<TestAgent> source, target;
};

TEST_F(Peers, AreSaidToTheSourceAloneForAnHour) {
  EXPECT_EQ(source->count<AgentPeerCatalog>(), 0U) << "it has none and had none";
  const auto made = introduce(terms());
  ASSERT_TRUE(made.ok()) << made.error().message;
  EXPECT_EQ(made->sentTo, std::vector<Did>{source->did()});
  EXPECT_EQ(target->count<AgentPeerCatalog>(), 0U);
  ASSERT_EQ(source->last<AgentPeerCatalog>()->peers.size(), 1U);
  const auto entry = source->last<AgentPeerCatalog>()->peers.at(0);
  const auto token = identity::verifyPeerGrantToken(entry.certificate, self, clock.now());
  ASSERT_TRUE(token.ok()) << token.error().message;
  EXPECT_EQ(token->sourceDid, source->did().value);
  EXPECT_EQ(token->targetDid, target->did().value);
  EXPECT_EQ(token->targetName, "callee");
  EXPECT_EQ(token->skillDescription, "says what it hears");
  EXPECT_EQ(token->capabilities, names({"echo"}));
  EXPECT_EQ(token->id, made->grant.row.id.value);
  EXPECT_EQ(*token->expiresAt, token->issuedAt + hours(1));
  EXPECT_EQ(entry.id, *token->id);

  loop.advance(minutes(35));
  EXPECT_EQ(source->count<AgentPeerCatalog>(), 2U) << "at half-life";
  EXPECT_EQ(pushes(*source), 1U) << "and nothing else with it";
  loop.advance(hours(3));
  EXPECT_TRUE(
      identity::verifyPeerGrantToken(source->last<AgentPeerCatalog>()->peers.at(0).certificate, self, clock.now())
          .ok());
  Waiting<PeerGrants::Changed> gone;
  plane->peerGrants().revoke(by("ann"), made->grant.row.id, std::nullopt, gone);
  run();
  EXPECT_EQ((*gone)->sentTo, std::vector<Did>{source->did()});
  EXPECT_TRUE(source->last<AgentPeerCatalog>()->peers.empty());
  restart();
  source->connect();
  run();
  ASSERT_EQ(source->count<AgentPeerCatalog>(), 1U) << "it may have kept one";
  EXPECT_TRUE(source->last<AgentPeerCatalog>()->peers.empty());
  EXPECT_EQ(audited("peer-grant.add"), 1U);
  EXPECT_EQ(audited("peer-grant.revoke"), 1U);
}

TEST_F(Peers, AreForWhatTheTargetIsGranted) {
  const auto refused = introduce(terms({"echo", "mail_send"}));
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, Errc::InvalidArgument);
  EXPECT_NE(refused.error().message.find("'mail_send'"), std::string::npos);
  PeerGrantRequest itself = terms();
  itself.target = itself.source;
  EXPECT_EQ(introduce(itself).error().code, Errc::InvalidArgument);
  PeerGrantRequest unknown = terms();
  unknown.source = newAgent()->did();
  EXPECT_EQ(introduce(unknown).error().code, Errc::NotFound);
}

TEST_F(Peers, AndDelegationsGoWithTheAgent) {
  ASSERT_TRUE(introduce(terms()).ok());
  ASSERT_TRUE(grant(GrantsFixture::terms("bob", target->did())).ok());
  ASSERT_TRUE(grant(GrantsFixture::terms("bob", std::nullopt)).ok());
  Waiting<std::monostate> removed;
  plane->deleteAgent(target->did(), "user:ann", removed);
  run();
  ASSERT_TRUE(removed->ok());
  EXPECT_TRUE(source->last<AgentPeerCatalog>()->peers.empty());
  const auto& grants = plane->grants().all();
  EXPECT_TRUE(grants.at(0).row.revokedAt.has_value());
  EXPECT_FALSE(grants.at(1).row.revokedAt.has_value()) << "it is for all agents";
  EXPECT_TRUE(plane->peerGrants().all().at(0).row.revokedAt.has_value());
  expectAuditHolds();
  restart();
  EXPECT_TRUE(plane->grants().all().at(0).row.revokedAt.has_value()) << "in the same transaction";
}

}  // namespace
}  // namespace vaultysclaw::control::testing
