// A control plane with an owner (ann), an admin (eve) and two members (bob, cat), and what they do with grants.
#pragma once

#include "control/grants.hpp"
#include "control/workspaces.hpp"
#include "control_fixture.hpp"

namespace vaultysclaw::control::testing {

inline Did userDid(const std::string& name) {
  return Did("did:vaultys:01" + hexEncode(identity::sha256(asBytes(name))).substr(0, 38));
}

class GrantsFixture : public ControlTest {
 protected:
  GrantsFixture() {
    const auto users = [](store::ControlWriter& w) -> Status {
      const std::pair<const char*, const char*> all[] = {
          {"ann", "owner"}, {"eve", "admin"}, {"bob", "member"}, {"cat", "member"}};
      for (const auto& [name, role] : all) {
        VC_TRY(w.putUser({.id = store::UserId(name), .name = name, .role = role, .did = userDid(name).value}));
        VC_TRY(w.putApiToken({.id = TokenId(name),
                              .name = name,
                              .hash = Bytes(32, static_cast<std::uint8_t>(*name)),
                              .user = store::UserId(name),
                              .scopes = "read run operate admin"}));
      }
      return {};
    };
    EXPECT_TRUE(store->writeBlocking(users).ok());
    options.heartbeatTimeout = std::chrono::hours(1000);  // these agents say nothing by themselves
  }
  void SetUp() override { start(); }

  static Principal by(const std::string& name, Role role = Role::Owner) {
    return {store::UserId(name), name, role, Scopes::all(), TokenId(name), std::nullopt};
  }
  static TestAgent::Options full() {
    TestAgent::Options o;
    o.features = TestAgent::allFeatures();
    return o;
  }
  static GrantRequest terms(const std::string& user, std::optional<Did> agent,
                            std::vector<std::string> capabilities = {"echo"},
                            std::optional<WallTime> expiresAt = std::nullopt) {
    return {user, std::move(agent), std::move(capabilities), expiresAt};
  }
  Result<Grants::Changed> grant(GrantRequest request) {
    Waiting<Grants::Changed> reply;
    plane->grants().create(by("ann"), std::move(request), reply);
    EXPECT_FALSE(reply.done()) << "replied before the call returned";
    run();
    return *reply;
  }
  Result<Grants::Changed> revoke(const store::GrantId& id) {
    Waiting<Grants::Changed> reply;
    plane->grants().revoke(by("ann"), id, std::nullopt, reply);
    run();
    return *reply;
  }
  Result<PeerGrants::Changed> introduce(PeerGrantRequest request) {
    Waiting<PeerGrants::Changed> reply;
    plane->peerGrants().create(by("ann"), std::move(request), reply);
    run();
    return *reply;
  }
  void change(const std::string& user, UserChange what) {
    Waiting<ChangedUser> reply;
    plane->people().changeUser(by("ann"), store::UserId(user), what, std::nullopt, reply);
    run();
    ASSERT_TRUE(reply->ok()) << reply->error().message;
  }
  RunRequest work(const std::string& user, const Did& agent) {
    RunRequest request;
    request.did = agent;
    request.action = "echo";
    request.userDid = userDid(user);
    request.requestedBy = "user:" + user;
    return request;
  }
  Waiting<SentIntent> ask(const RunRequest& request) {
    Waiting<SentIntent> reply;
    plane->send(request, reply);
    run();
    return reply;
  }
  bool refused(const std::string& user, const Did& agent) {
    const auto reply = ask(work(user, agent));
    return !(*reply).ok() && (*reply).error().code == Errc::PolicyDenied;
  }
  std::size_t pushes(const TestAgent& agent) const { return agent.count<protocol::DelegationUpdate>(); }
  // Whom the last set names, verified as an agent of intent-v2 does, sorted.
  std::vector<std::string> delegated(const TestAgent& agent) {
    std::vector<std::string> out;
    const auto* update = agent.last<protocol::DelegationUpdate>();
    if (update == nullptr) return out;
    for (const auto& entry : update->delegations) {
      const auto token = identity::verifyDelegationToken(entry.certificate, self, clock.now());
      EXPECT_TRUE(token.ok()) << token.error().message;
      if (!token) continue;
      EXPECT_EQ(token->agentDid, agent.did().value);
      EXPECT_EQ(token->userDid, entry.userDid);
      EXPECT_EQ(token->capabilities, entry.capabilities);
      EXPECT_TRUE(token->expiresAt && *token->expiresAt <= token->issuedAt + std::chrono::hours(24));
      for (const char* name : {"ann", "eve", "bob", "cat"}) {
        if (token->userDid == userDid(name).value) out.emplace_back(name);
      }
    }
    std::sort(out.begin(), out.end());
    return out;
  }
};

}  // namespace vaultysclaw::control::testing
