#include "control_fixture.hpp"

namespace vaultysclaw::control::testing {
namespace {

using namespace protocol;

class Registration : public ControlTest {
 protected:
  void SetUp() override { start(); }
};

TEST_F(Registration, StrangerWaitsThenIsApprovedAndCertifiedAnew) {
  TestAgent::Options o;
  o.capabilities = {"echo", "mail_send"};
  auto agent = newAgent(o);
  agent->connect();
  run();
  EXPECT_EQ(agent->types(), names({"auth_challenge", "auth_challenge", "auth_challenge", "registration_pending"}));
  EXPECT_TRUE(agent->certifiedCapabilities().empty()) << "a stranger's certificate grants nothing";
  EXPECT_EQ(agent->controlPlane()->did(), self.did());
  ASSERT_EQ(registrations("pending").size(), 1U);
  const auto row = registrations()[0];
  EXPECT_EQ(row.did, agent->did());
  EXPECT_EQ(row.name, "test-agent");
  EXPECT_EQ(row.requestedCapabilities, R"(["echo","mail_send"])");
  EXPECT_EQ(plane->counters().pendingRegistrations, 1U);

  agent->received.clear();
  const auto approved = approve(row.id);
  ASSERT_TRUE(approved.ok()) << approved.error().message;
  EXPECT_EQ(approved->capabilities, R"(["echo","mail_send"])");
  EXPECT_EQ(agent->types(), names({"registration_approved", "auth_complete", "update_capabilities", "auth_challenge",
                                   "auth_challenge", "auth_complete"}));
  EXPECT_EQ(agent->certifiedCapabilities(), names({"echo", "mail_send"}));
  EXPECT_EQ(agent->last<AuthComplete>()->did, agent->did().value);
  EXPECT_EQ(plane->agents().size(), 1U);
  EXPECT_EQ(plane->agent(agent->did())->status, AgentStatus::Connected);
  EXPECT_EQ(plane->counters().pendingRegistrations, 0U);
  expectAuditHolds();
  EXPECT_EQ(auditActions(), names({"workspace.add", "registration.pending", "registration.approve", "agent.connect"}));
}

TEST_F(Registration, SubsetLimitsAndExpiryStandInTheCertificate) {
  TestAgent::Options o;
  o.capabilities = {"echo", "mail_send"};
  auto agent = newAgent(o);
  agent->connect();
  run();
  Approval approval;
  approval.capabilities = {{"echo"}};
  approval.limits.maxTokensPerDay = 50000;
  approval.limits.maxRequestsPerHour = 2;
  approval.limits.allowedDomains = {"a.example"};
  approval.policyId = "policy-1";
  approval.policyExpiresAt = clock.now() + std::chrono::hours(1);
  ASSERT_TRUE(approve(registrationOf(*agent), approval).ok());
  EXPECT_EQ(agent->certifiedCapabilities(), names({"echo"}));
  const auto* limits = agent->certificate().find("resourceLimits");
  ASSERT_TRUE(limits);
  EXPECT_EQ(limits->find("maxTokensPerDay")->asInteger(), 50000);
  EXPECT_EQ(limits->find("maxRequestsPerHour")->asInteger(), 2);
  EXPECT_EQ(*limits->find("allowedDomains")->array()->at(0).string(), "a.example");
  EXPECT_EQ(*agent->certificate().find("policyId")->string(), "policy-1");
  EXPECT_EQ(*agent->certificate().find("policyExpiresAt")->string(), toIso8601(*approval.policyExpiresAt));
  ASSERT_TRUE(agent->last<UpdateCapabilities>()->resourceLimits);
  EXPECT_EQ(*agent->last<UpdateCapabilities>()->resourceLimits, approval.limits);

  Waiting<ControlPlane::AuditView> audit;
  plane->audit({{}, "registration.approve", {}}, {}, audit);
  run();
  const std::string details = audit->value().rows.items.at(0).details;
  for (const std::string& part : {agent->did().value, std::string("50000"), std::string("policy-1"),
                                  toIso8601(*approval.policyExpiresAt), std::string("echo")}) {
    EXPECT_NE(details.find(part), std::string::npos) << part << " in " << details;
  }
}

TEST_F(Registration, ApprovalIsAnsweredWhenTheAgentHasItsCertificate) {
  auto agent = newAgent(), silent = newAgent(), gone = newAgent();
  for (auto* one : {agent.get(), silent.get(), gone.get()}) one->connect();
  run();
  silent->options.answerChallenges = gone->options.answerChallenges = false;
  Waiting<store::AgentRow> first, second, third;
  plane->approve(registrationOf(*agent), {}, first);
  plane->approve(registrationOf(*silent), {}, second);
  plane->approve(registrationOf(*gone), {}, third);
  run();
  EXPECT_TRUE(first.done() && first->ok());
  EXPECT_FALSE(second.done()) << "what is asked of it now would be refused";
  EXPECT_FALSE(third.done());
  gone->disconnect();
  run();
  EXPECT_TRUE(third.done() && third->ok()) << "it is approved all the same";
  loop.advance(seconds(2));
  EXPECT_TRUE(second.done() && second->ok()) << "no longer than two seconds";
}

TEST_F(Registration, AnExpiryNeedsNoPolicyId) {
  auto agent = newAgent();
  agent->connect();
  run();
  Approval approval;
  approval.policyExpiresAt = clock.now() + std::chrono::hours(1);
  ASSERT_TRUE(approve(registrationOf(*agent), approval).ok());
  EXPECT_EQ(*agent->certificate().find("policyExpiresAt")->string(), toIso8601(*approval.policyExpiresAt));
}

TEST_F(Registration, CapabilitiesThatWereNotRequestedAreRefused) {
  auto agent = newAgent();
  agent->connect();
  run();
  Approval approval;
  approval.capabilities = {{"echo", "system_command"}};
  const auto refused = approve(registrationOf(*agent), approval);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, Errc::InvalidArgument);
  EXPECT_EQ(registrations("pending").size(), 1U) << "still to be decided";
  approval.capabilities = std::vector<std::string>{};
  ASSERT_TRUE(approve(registrationOf(*agent), approval).ok());
  EXPECT_TRUE(agent->certifiedCapabilities().empty());
}

TEST_F(Registration, RejectionIsSaidAndCloses) {
  auto agent = newAgent();
  agent->connect();
  run();
  const auto id = registrationOf(*agent);
  ASSERT_TRUE(reject(id, "Not today").ok());
  ASSERT_TRUE(agent->last<RegistrationRejected>());
  EXPECT_EQ(agent->last<RegistrationRejected>()->reason, "Not today");
  EXPECT_TRUE(agent->closed);
  EXPECT_EQ(registrations("rejected").size(), 1U);
  EXPECT_EQ(approve(id).error().code, Errc::Conflict);
  EXPECT_EQ(approve(RegistrationId("nowhere")).error().code, Errc::NotFound);
  agent->connect();
  run();
  EXPECT_NE(registrationOf(*agent), id) << "it may ask again";
}

TEST_F(Registration, ExpiresAfterTenMinutes) {
  auto agent = newAgent();
  agent->connect();
  run();
  const auto id = registrationOf(*agent);
  loop.advance(std::chrono::minutes(9));
  EXPECT_FALSE(agent->closed);
  loop.advance(std::chrono::minutes(1));
  EXPECT_TRUE(agent->closed);
  EXPECT_TRUE(agent->last<AuthFailed>());
  EXPECT_EQ(registrations("expired").size(), 1U);
  EXPECT_EQ(approve(id).error().code, Errc::Conflict);
  EXPECT_EQ(plane->counters().pendingRegistrations, 0U);
  EXPECT_EQ(audited("registration.expire"), 1U);
}

TEST_F(Registration, ApprovalHoldsWhileTheAgentIsAway) {
  auto agent = newAgent();
  agent->connect();
  run();
  const auto id = registrationOf(*agent);
  agent->disconnect();
  run();
  ASSERT_TRUE(approve(id).ok());
  EXPECT_EQ(plane->agent(agent->did())->status, AgentStatus::Offline);
  agent->connect();
  run();
  EXPECT_TRUE(agent->connected());
  EXPECT_EQ(agent->certifiedCapabilities(), names({"echo"}));
  EXPECT_EQ(agent->count<AuthComplete>(), 1U) << "the first certificate is right already";
}

TEST_F(Registration, OnePerDidAndTheLastConnectionWaits) {
  auto agent = newAgent();
  agent->connect();
  run();
  auto twin = sameAgent(*agent);
  twin->options.capabilities = {"echo", "system_command"};
  twin->connect();
  run();
  EXPECT_EQ(registrationOf(*twin), registrationOf(*agent));
  EXPECT_TRUE(agent->closed);
  ASSERT_EQ(registrations("pending").size(), 1U);
  EXPECT_EQ(registrations()[0].requestedCapabilities, R"(["echo"])")
      << "what the operator sees does not change under him";
  ASSERT_TRUE(approve(registrationOf(*twin)).ok());
  EXPECT_TRUE(twin->connected());
}

TEST_F(Registration, SurvivesARestart) {
  auto agent = newAgent();
  agent->connect();
  run();
  const auto id = registrationOf(*agent);
  loop.advance(std::chrono::minutes(4));
  restart();
  EXPECT_EQ(plane->counters().pendingRegistrations, 1U);
  agent->connect();
  run();
  EXPECT_EQ(registrationOf(*agent), id);
  loop.advance(std::chrono::minutes(5) + seconds(59));
  EXPECT_FALSE(agent->closed);
  ASSERT_TRUE(approve(id).ok());
  EXPECT_TRUE(agent->connected());
  restart();
  EXPECT_EQ(plane->agent(agent->did())->status, AgentStatus::Offline);
  agent->connect();
  run();
  EXPECT_TRUE(agent->connected());
}

TEST_F(Registration, ExpiresDuringARestart) {
  auto agent = newAgent();
  agent->connect();
  run();
  plane->shutdown();
  run();
  plane.reset();
  clock.advance(std::chrono::minutes(20));
  start();
  run();
  EXPECT_EQ(registrations("expired").size(), 1U);
}

TEST_F(Registration, BoundsPendingOnesPerAddressAndInAll) {
  std::vector<std::unique_ptr<TestAgent>> agents;
  for (int i = 0; i < 8; ++i) {
    agents.push_back(newAgent());
    agents.back()->connect();
    run();
    EXPECT_TRUE(agents.back()->last<RegistrationPending>());
  }
  auto ninth = newAgent();
  ninth->connect();
  run();
  EXPECT_FALSE(ninth->last<RegistrationPending>());
  ASSERT_TRUE(ninth->last<AuthFailed>());
  EXPECT_TRUE(ninth->closed);
  EXPECT_FALSE(agents.front()->closed) << "the one over the limit goes, not another";
  EXPECT_EQ(plane->counters().pendingRegistrations, 8U);
}

TEST_F(Registration, KnownAgentReconnectsAndReportsItsName) {
  auto agent = connectedAgent();
  agent->disconnect();
  run();
  EXPECT_EQ(plane->agent(agent->did())->status, AgentStatus::Offline);
  agent->options.name = "renamed";
  agent->options.capabilities = {"echo", "more"};
  agent->connect();
  run();
  EXPECT_TRUE(agent->connected());
  EXPECT_EQ(agent->certifiedCapabilities(), names({"echo"})) << "what is granted, not what is asked for";
  EXPECT_EQ(plane->agent(agent->did())->row.name, "renamed");
  EXPECT_EQ(plane->agent(agent->did())->row.requestedCapabilities, R"(["echo","more"])");
  EXPECT_EQ(audited("agent.disconnect"), 1U);
}

TEST_F(Registration, RemovedAgentIsClosedAndMayAskAgain) {
  auto agent = connectedAgent();
  Waiting<std::monostate> reply;
  plane->deleteAgent(agent->did(), "operator", reply);
  run();
  EXPECT_TRUE(reply->ok());
  EXPECT_TRUE(agent->closed);
  EXPECT_EQ(agent->last<AuthFailed>()->reason, "revoked");
  EXPECT_FALSE(plane->agent(agent->did()));
  Waiting<std::monostate> again;
  plane->deleteAgent(agent->did(), "operator", again);
  run();
  EXPECT_EQ(again->error().code, Errc::NotFound);
  agent->connect();
  run();
  EXPECT_TRUE(agent->last<RegistrationPending>());
}

TEST_F(Registration, AgentRemovedDuringItsHandshakeIsNotAdmitted) {
  auto agent = connectedAgent();
  agent->disconnect();
  run();
  agent->options.completeHandshakes = false;
  agent->connect();
  run();
  Waiting<std::monostate> reply;
  plane->deleteAgent(agent->did(), "operator", reply);
  run();
  ASSERT_TRUE(reply->ok());
  EXPECT_FALSE(agent->closed);
  // The certificate under way would grant what is granted no more; here the agent completes it all the same.
  agent->options.completeHandshakes = true;
  agent->replayLastChallenge();
  run();
  EXPECT_TRUE(agent->closed);
  EXPECT_FALSE(agent->last<AuthComplete>());
  EXPECT_FALSE(agent->last<RegistrationPending>());
}

}  // namespace
}  // namespace vaultysclaw::control::testing
