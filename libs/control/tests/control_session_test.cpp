#include <unistd.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "control_fixture.hpp"

namespace vaultysclaw::control::testing {
namespace {

using namespace protocol;

class Sessions : public ControlTest {
 protected:
  void SetUp() override { start(); }
  // What the control plane says when it has refused `agent`.
  static std::string refusal(const TestAgent& agent) {
    EXPECT_TRUE(agent.closed);
    const auto* failed = agent.last<AuthFailed>();
    return failed ? failed->reason : "";
  }
};

TEST_F(Sessions, UnfinishedHandshakeEndsAfterAMinute) {
  auto agent = newAgent();
  agent->options.completeHandshakes = false;
  agent->connect();
  loop.advance(seconds(59));
  EXPECT_FALSE(agent->closed);
  loop.advance(seconds(1));
  EXPECT_NE(refusal(*agent).find("timeout"), std::string::npos);
  EXPECT_EQ(plane->counters().openConnections, 0U);
}

TEST_F(Sessions, StaleTimestampIsExplained) {
  auto agent = newAgent();
  agent->options.answerChallenges = false;
  agent->connect();
  run();
  agent->send(Register{"a", "1"});
  run();
  clock.jumpWall(-std::chrono::seconds(61));
  agent->startHandshake("x");
  clock.jumpWall(std::chrono::seconds(61));
  run();
  EXPECT_NE(refusal(*agent).find("61 s behind"), std::string::npos) << refusal(*agent);
}

TEST_F(Sessions, WrongSignatureAndGarbageAreRefused) {
  for (const auto* kind : {"signature", "garbage", "truncated", "base64"}) {
    SCOPED_TRACE(kind);
    auto agent = newAgent();
    agent->options.answerChallenges = false;
    agent->connect();
    run();
    agent->send(Register{"a", "1"});
    run();
    identity::Initiator initiator(agent->identity(), {}, entropy, clock.now());
    if (kind == std::string("signature")) {
      agent->sendChallenge("x", initiator.init());
      run();
      auto complete = initiator.onStep1(base64Decode(agent->last<AuthChallenge>()->data).value(), clock.now()).value();
      const auto at = std::string(asText(complete)).find("sign1") + 10;
      complete[at] ^= 1;
      agent->sendChallenge("x", complete);
    } else if (kind == std::string("garbage")) {
      agent->sendChallenge("x", Bytes(100, 7));
    } else if (kind == std::string("truncated")) {
      agent->sendChallenge("x", BytesView(initiator.init()).first(40));
    } else {
      agent->send(AuthChallenge{"x", "!!!!", {}, {}});
    }
    run();
    EXPECT_NE(refusal(*agent), "");
    EXPECT_FALSE(agent->last<RegistrationPending>());
  }
  EXPECT_EQ(plane->counters().handshakesFailed, 4U);
  EXPECT_EQ(audited("handshake.refused"), 4U);
}

TEST_F(Sessions, KeysOfAStrangerThatCannotBeKeysAreRefused) {
  auto agent = newAgent();
  agent->options.answerChallenges = false;
  agent->connect();
  run();
  agent->send(Register{"a", "1"});
  run();
  Bytes init = identity::Initiator(agent->identity(), {}, entropy, clock.now()).init();
  const Bytes id = agent->identity().id();
  const auto at = std::search(init.begin(), init.end(), id.begin(), id.end());
  ASSERT_NE(at, init.end());
  std::fill_n(at + 9, 32, std::uint8_t{0});  // its signing key
  agent->sendChallenge("x", init);
  run();
  EXPECT_NE(refusal(*agent).find("not a point"), std::string::npos) << refusal(*agent);
}

// Counts the trips to the workers.
class CountingWorkers final : public Workers {
 public:
  explicit CountingWorkers(Workers& below) : below_(below) {}
  std::size_t trips = 0;
  bool submit(Task task) override {
    ++trips;
    return below_.submit(std::move(task));
  }

 private:
  Workers& below_;
};

TEST_F(Sessions, AnAgentThatComesBackTakesATripToTheWorkersLess) {
  CountingWorkers counting(workers);
  workersPort = &counting;
  restart();
  auto agent = connectedAgent();
  auto again = sameAgent(*agent);
  counting.trips = 0;
  again->connect();
  run();
  EXPECT_TRUE(again->connected());
  EXPECT_EQ(counting.trips, 2U) << "STEP1 is signed there, and COMPLETE verified";
  // After a restart nobody has proved anything: the keys are checked there, too.
  restart();
  counting.trips = 0;
  auto later = sameAgent(*agent);
  later->connect();
  run();
  EXPECT_TRUE(later->connected());
  EXPECT_EQ(counting.trips, 3U);
  plane.reset();
}

TEST_F(Sessions, MessagesOutOfPlaceAreAnsweredWithAnError) {
  auto agent = newAgent();
  agent->options.answerChallenges = false;
  agent->connect();
  run();
  agent->send(AuthChallenge{"x", "AAAA", {}, {}});
  agent->send(Heartbeat{});
  agent->sendText("{{{");
  agent->send(Register{"x", "0"});
  agent->send(Register{"y", "0"});
  run();
  EXPECT_EQ(agent->types(), names({"auth_challenge", "error", "error", "error", "auth_challenge", "error"}));
  EXPECT_FALSE(agent->closed);
  for (int i = 0; i < 20; ++i) agent->send(Heartbeat{});
  run();
  EXPECT_TRUE(agent->closed) << "not for ever";
}

TEST_F(Sessions, OneStep1PerChallenge) {
  auto agent = newAgent();
  agent->options.answerChallenges = false;
  agent->connect();
  run();
  agent->send(Register{"a", "1"});
  run();
  agent->received.clear();
  agent->startHandshake("x");
  agent->startHandshake("x");  // while the first is being checked, or taken for its COMPLETE: never signed for
  run();
  std::size_t answers = 0;
  for (const auto& m : agent->received) {
    if (const auto* c = std::get_if<AuthChallenge>(&m.payload)) answers += !c->data.empty();
  }
  EXPECT_LE(answers, 1U);
}

TEST_F(Sessions, SmallMessagesOnlyBeforeApproval) {
  auto agent = newAgent();
  agent->options.answerChallenges = false;
  agent->connect();
  run();
  agent->sendText("{\"messageId\":\"" + std::string(70'000, 'a') + "\"}");
  run();
  ASSERT_TRUE(agent->closed);
  EXPECT_EQ(agent->closed->code, net::close_code::kTooBig);
}

TEST_F(Sessions, BinaryMessagesClose) {
  auto agent = connectedAgent();
  agent->sendText("abc", net::FrameKind::Binary);
  run();
  EXPECT_TRUE(agent->closed);
}

TEST_F(Sessions, FloodOfHandshakesIsBoundedPerAddress) {
  std::vector<std::unique_ptr<TestAgent>> agents;
  TestAgent::Options o;
  o.completeHandshakes = false;
  for (int i = 0; i < 40; ++i) {
    agents.push_back(newAgent(o));
    agents.back()->connect();
  }
  run();
  EXPECT_EQ(plane->counters().openConnections, 16U);
  EXPECT_EQ(plane->counters().handshakesRefused, 24U);
  EXPECT_FALSE(agents.front()->closed);
  EXPECT_NE(refusal(*agents.back()), "");
  EXPECT_LE(audited("handshake.refused"), 10U) << "a flood must not fill the store";
  agents.clear();
  run();
  auto next = newAgent();
  next->connect();
  run();
  EXPECT_TRUE(next->last<RegistrationPending>()) << "room again";
  loop.advance(std::chrono::minutes(2));
  EXPECT_EQ(plane->counters().openConnections, 1U);
}

TEST_F(Sessions, SecondConnectionReplacesTheFirstOnlyWhenItHasProvedItself) {
  auto agent = connectedAgent();
  auto impostor = sameAgent(*agent);
  impostor->options.completeHandshakes = false;
  impostor->connect();
  run();
  EXPECT_FALSE(agent->closed);
  auto twin = sameAgent(*agent);
  twin->connect();
  run();
  EXPECT_TRUE(agent->closed);
  EXPECT_TRUE(twin->connected());
  EXPECT_EQ(plane->counters().connectedAgents, 1U);
  EXPECT_EQ(audited("agent.disconnect"), 0U) << "it was connected all the time";
}

TEST_F(Sessions, NewGrantIsCertifiedOnTheOpenConnection) {
  auto agent = connectedAgent();
  loop.advance(seconds(10));
  agent->received.clear();
  policy::Grant grant;
  grant.capabilities = {"echo", "file_access"};
  grant.limits.maxRequestsPerHour = 7;
  ASSERT_TRUE(updateGrant(agent->did(), grant).ok());
  EXPECT_EQ(agent->types(), names({"update_capabilities", "auth_challenge", "auth_challenge", "auth_complete"}));
  EXPECT_EQ(agent->certifiedCapabilities(), names({"echo", "file_access"}));
  EXPECT_EQ(agent->certificate().find("resourceLimits")->find("maxRequestsPerHour")->asInteger(), 7);
  EXPECT_FALSE(agent->closed);
  EXPECT_EQ(updateGrant(Did("did:vaultys:00ff"), grant).error().code, Errc::NotFound);
  grant.limits.maxRequestsPerHour = -1;
  EXPECT_EQ(updateGrant(agent->did(), grant).error().code, Errc::InvalidArgument);
  EXPECT_EQ(audited("agent.update"), 1U);
  // The audit tells what it was before, too.
  Waiting<ControlPlane::AuditView> audit;
  plane->audit({.action = "agent.update"}, {}, audit);
  run();
  const auto details = nlohmann::json::parse(audit->value().rows.items.at(0).details);
  EXPECT_EQ(details["capabilities"], R"(["echo","file_access"])");
  EXPECT_EQ(details["before"]["capabilities"], R"(["echo"])");
  EXPECT_EQ(details["before"]["limits"], "{}");
}

TEST_F(Sessions, ReissuesComeOneAtATimeAndFiveSecondsApart) {
  auto agent = connectedAgent();
  agent->received.clear();
  policy::Grant grant;
  for (const auto* capability : {"one", "two", "three"}) {
    grant.capabilities = {capability};
    ASSERT_TRUE(updateGrant(agent->did(), grant).ok());
  }
  // The one after the approval was just now: the agent is told at once, and the certificates are merged.
  EXPECT_EQ(agent->count<UpdateCapabilities>(), 3U);
  EXPECT_EQ(agent->count<AuthChallenge>(), 0U);
  EXPECT_FALSE(plane->agent(agent->did())->certificateCurrent);
  loop.advance(seconds(5));
  EXPECT_TRUE(plane->agent(agent->did())->certificateCurrent);
  EXPECT_EQ(agent->types(), names({"update_capabilities", "update_capabilities", "update_capabilities",
                                   "update_capabilities", "auth_challenge", "auth_challenge", "auth_complete"}));
  EXPECT_EQ(agent->certifiedCapabilities(), names({"three"}));

  // A change while a reissue is under way is certified after it.
  loop.advance(seconds(10));
  agent->options.completeHandshakes = false;
  grant.capabilities = {"four"};
  ASSERT_TRUE(updateGrant(agent->did(), grant).ok());
  grant.capabilities = {"five"};
  ASSERT_TRUE(updateGrant(agent->did(), grant).ok());
  agent->options.completeHandshakes = true;
  agent->replayLastChallenge();
  run();
  EXPECT_EQ(agent->certifiedCapabilities(), names({"four"}));
  loop.advance(seconds(5));
  EXPECT_EQ(agent->certifiedCapabilities(), names({"five"}));
}

TEST_F(Sessions, NarrowedGrantIsToldBeforeTheNextIntentWheneverItsCertificateComes) {
  TestAgent::Options knowing;
  knowing.features = {"control-v2"};
  auto agent = connectedAgent(knowing);  // with a reissue just now, so that the next one has to wait
  agent->received.clear();
  policy::Grant grant;
  ASSERT_TRUE(updateGrant(agent->did(), grant).ok());
  runIntent(agent->did());
  EXPECT_EQ(agent->types(), names({"update_capabilities", "intent"}));
  EXPECT_TRUE(agent->last<UpdateCapabilities>()->capabilities.empty());

  // Also while another certificate is under way, and that one's end does not widen.
  loop.advance(seconds(10));
  agent->options.completeHandshakes = false;
  grant.capabilities = {"one", "two"};
  ASSERT_TRUE(updateGrant(agent->did(), grant).ok());
  grant.capabilities = {"one"};
  ASSERT_TRUE(updateGrant(agent->did(), grant).ok());
  EXPECT_EQ(agent->last<UpdateCapabilities>()->capabilities, names({"one"}));
  agent->received.erase(agent->received.begin(),
                        agent->received.end() - 2);  // what comes last is STEP1, then the grant
  agent->options.completeHandshakes = true;
  agent->replayLastChallenge();
  agent->received.clear();
  run();
  EXPECT_EQ(agent->certifiedCapabilities(), names({"one", "two"}));
  EXPECT_EQ(agent->types(), names({"auth_complete", "update_capabilities"}));
  EXPECT_EQ(agent->last<AuthComplete>()->capabilities, names({"one"}));
  EXPECT_EQ(agent->last<UpdateCapabilities>()->capabilities, names({"one"}));
}

TEST_F(Sessions, AChangeDuringAReissueWaitsForItWithAnAgentThatDoesNotKnowControlV2) {
  auto agent = connectedAgent();
  loop.advance(seconds(10));
  agent->options.completeHandshakes = false;
  policy::Grant grant;
  grant.capabilities = {"one", "two"};
  ASSERT_TRUE(updateGrant(agent->did(), grant).ok());
  grant.capabilities = {"one"};
  ASSERT_TRUE(updateGrant(agent->did(), grant).ok());
  EXPECT_EQ(agent->last<UpdateCapabilities>()->capabilities, names({"one", "two"}));
  agent->options.completeHandshakes = true;
  agent->replayLastChallenge();
  agent->received.clear();
  run();
  EXPECT_EQ(agent->types(), names({"auth_complete", "update_capabilities"}));
  EXPECT_EQ(agent->last<AuthComplete>()->capabilities, names({"one"}));
  loop.advance(seconds(5));
  EXPECT_EQ(agent->certifiedCapabilities(), names({"one"}));
}

TEST_F(Sessions, ChangesAtOnceDoNotUndoEachOther) {
  auto agent = connectedAgent();
  GrantChange narrow, rename;
  narrow.capabilities.emplace();
  narrow.maxTokensPerDay.emplace(5);
  rename.policyId.emplace("p");
  rename.policyExpiresAt.emplace(clock.now() + std::chrono::hours(1));
  Waiting<AgentView> first, second;
  plane->updateGrant(agent->did(), narrow, "", "operator", first);
  plane->updateGrant(agent->did(), rename, "", "operator", second);
  run();
  ASSERT_TRUE(first->ok() && second->ok());
  const AgentView view = *plane->agent(agent->did());
  EXPECT_EQ(view.row.capabilities, "[]");
  EXPECT_EQ(view.row.limits, R"({"maxTokensPerDay":5})");
  EXPECT_EQ(view.row.policyId, "p");
  EXPECT_TRUE(view.row.policyExpiresAt);
}

TEST_F(Sessions, ListsItsFeaturesInVersion1AndBoundsThePeers) {
  auto agent = newAgent();
  agent->connect();
  run();
  EXPECT_EQ(identity::Features::fromMetadata(agent->certificate()).value(), identity::Features::ours());
  EXPECT_FALSE(agent->certificate().find("dh")) << "a key is made for those alone that can use it";

  for (const auto& list : {std::vector<std::string>(33, "f"), std::vector<std::string>{std::string(65, 'f')},
                           std::vector<std::string>{""}}) {
    auto greedy = newAgent();
    greedy->options.features = list;
    greedy->connect();
    run();
    EXPECT_NE(refusal(*greedy).find("feature"), std::string::npos);
  }
}

TEST_F(Sessions, MessagesFlowDuringAReissue) {
  auto agent = connectedAgent();
  loop.advance(seconds(10));
  agent->options.completeHandshakes = false;
  policy::Grant grant;
  grant.capabilities = {"echo"};
  grant.policyId = "p";
  ASSERT_TRUE(updateGrant(agent->did(), grant).ok());
  auto reply = runIntent(agent->did());
  agent->sendResult(agent->last<Intent>()->id, "1");
  run();
  EXPECT_TRUE(reply->ok());
  for (int i = 0; i < 2; ++i) {
    agent->send(Heartbeat{});
    loop.advance(seconds(30));
  }
  EXPECT_NE(refusal(*agent).find("timeout"), std::string::npos) << "an agent that refuses its certificate is not kept";
}

TEST_F(Sessions, ReissueKeepsTheIdentity) {
  auto agent = connectedAgent();
  loop.advance(seconds(10));
  agent->options.answerChallenges = false;
  policy::Grant grant;
  ASSERT_TRUE(updateGrant(agent->did(), grant).ok());
  const auto other = VaultysId::generate(identity::IdType::Machine, entropy);
  identity::Initiator initiator(other, {}, entropy, clock.now());
  agent->sendChallenge("x", initiator.init());
  run();
  EXPECT_NE(refusal(*agent).find("identity"), std::string::npos);
}

TEST_F(Sessions, HeartbeatsAreEchoedAndKept) {
  auto agent = connectedAgent();
  Heartbeat beat;
  beat.uptimeSeconds = 5;
  beat.name = "test-agent";
  beat.usageDaily = {3, 4};
  beat.syncId = "sync-1";
  loop.advance(seconds(30));
  agent->send(beat);
  run();
  ASSERT_TRUE(agent->last<Pong>());
  EXPECT_EQ(agent->last<Pong>()->syncId, "sync-1");
  EXPECT_EQ(plane->agent(agent->did())->lastHeartbeat->usageDaily.total(), 7);
  EXPECT_EQ(plane->agent(agent->did())->row.lastSeenAt, clock.now());
}

TEST_F(Sessions, SilentAgentIsClosed) {
  auto agent = connectedAgent();
  auto reply = runIntent(agent->did());
  network.setPartitioned(true);
  loop.advance(seconds(100));
  EXPECT_EQ(plane->agent(agent->did())->status, AgentStatus::Offline);
  EXPECT_FALSE(reply->ok());
}

TEST_F(Sessions, QuietAgentIsClosedEvenWhenItsConnectionLives) {
  auto agent = connectedAgent();
  loop.advance(seconds(60));
  agent->send(Heartbeat{});
  loop.advance(seconds(89));
  EXPECT_FALSE(agent->closed);
  loop.advance(seconds(1));
  EXPECT_TRUE(agent->closed);
}

TEST_F(Sessions, AgentThatReadsTooSlowlyIsClosed) {
  network.listen("ws://cp:8080", [this](std::unique_ptr<net::Connection> c) { plane->accept(std::move(c)); },
                 {std::size_t{16} << 20, 10'000, seconds(20)});
  auto agent = connectedAgent();
  network.hold();
  std::vector<Waiting<RunResult>> replies;
  for (int i = 0; i < 20; ++i) replies.push_back(runIntent(agent->did(), "echo", '"' + std::string(1000, 'x') + '"'));
  for (auto& reply : replies) {
    ASSERT_TRUE(reply.done());
    EXPECT_EQ(reply->error().code, Errc::Unavailable);
  }
  EXPECT_EQ(plane->agent(agent->did())->status, AgentStatus::Offline);
  network.release();
}

TEST_F(Sessions, Version0AgentIsServed) {
  TestAgent::Options o;
  o.version = IdVersion::V0;
  auto agent = newAgent(o);
  agent->connect();
  run();
  ASSERT_TRUE(agent->last<RegistrationPending>());
  EXPECT_FALSE(agent->certificate().find("features")) << "the metadata is the original's";
  ASSERT_TRUE(approve(registrationOf(*agent)).ok());
  EXPECT_TRUE(agent->connected());
  EXPECT_EQ(agent->certifiedCapabilities(), names({"echo"}));
  EXPECT_EQ(agent->last<AuthComplete>()->did, agent->did().value) << "named by its version 1 DID";
  EXPECT_EQ(plane->agent(agent->did())->row.handshakeVersion, 0);
  auto reply = runIntent(agent->did());
  agent->sendResult(agent->last<Intent>()->id, "1");
  run();
  EXPECT_TRUE(reply->ok());
}

TEST_F(Sessions, Version0IsRefusedOnceVersion1HasBeenCompleted) {
  auto agent = connectedAgent();
  agent->disconnect();
  run();
  agent->options.version = IdVersion::V0;
  agent->connect();
  run();
  EXPECT_NE(refusal(*agent).find("version 0"), std::string::npos);
  restart();
  agent->connect();
  run();
  EXPECT_NE(refusal(*agent).find("version 0"), std::string::npos) << "remembered";

  // The other way round is an upgrade.
  TestAgent::Options o;
  o.version = IdVersion::V0;
  auto old = connectedAgent(o);
  old->disconnect();
  old->options.version = IdVersion::V1;
  old->connect();
  run();
  EXPECT_TRUE(old->connected());
  EXPECT_EQ(plane->agent(old->did())->row.handshakeVersion, 1);
  old->disconnect();
  old->options.version = IdVersion::V0;
  old->connect();
  run();
  EXPECT_NE(refusal(*old).find("version 0"), std::string::npos);
}

TEST_F(Sessions, Version0IsRefusedForAStrangerThatRegisteredInVersion1) {
  auto agent = newAgent();
  agent->connect();
  run();
  auto downgraded = sameAgent(*agent);
  downgraded->options.version = IdVersion::V0;
  downgraded->connect();
  run();
  EXPECT_NE(refusal(*downgraded).find("version 0"), std::string::npos);
  EXPECT_FALSE(agent->closed);
}

TEST_F(Sessions, SignedNameAndCapabilitiesWinOverTheEnvelope) {
  auto agent = newAgent();
  agent->options.answerChallenges = false;
  agent->connect();
  run();
  agent->send(Register{"registered", "1"});
  run();
  identity::Initiator::Config config;
  config.metadata = {{"name", "signed"}, {"capabilities", msgpack::Array{"echo"}}};
  identity::Initiator initiator(agent->identity(), std::move(config), entropy, clock.now());
  agent->send(
      AuthChallenge{"x", base64Encode(initiator.init()), "claimed", std::vector<std::string>{"system_command"}});
  run();
  const auto complete = initiator.onStep1(base64Decode(agent->last<AuthChallenge>()->data).value(), clock.now());
  agent->send(AuthChallenge{"x", base64Encode(*complete), "claimed", std::vector<std::string>{"system_command"}});
  run();
  ASSERT_EQ(registrations().size(), 1U);
  EXPECT_EQ(registrations()[0].name, "signed");
  EXPECT_EQ(registrations()[0].requestedCapabilities, R"(["echo"])");
}

TEST_F(Sessions, ToolApprovalsAreDeniedAtOnce) {
  auto agent = connectedAgent();
  ToolApprovalRequest request;
  request.requestId = RequestId("r-1");
  request.toolName = "rm";
  request.args.text = "{}";
  agent->send(request);
  run();
  ASSERT_TRUE(agent->last<ToolApprovalResponse>());
  EXPECT_FALSE(agent->last<ToolApprovalResponse>()->approved);
}

TEST_F(Sessions, ApiTokenIsMadeOnce) {
  auto files = makeSystemFileStore();
  const auto path =
      std::filesystem::temp_directory_path() / ("vc-token-" + newUuid(clock, entropy) + std::to_string(::getpid()));
  ASSERT_TRUE(ensureApiToken(*store, *files, path, clock, entropy).ok());
  const auto token = files->readPrivate(path, 1000);
  ASSERT_TRUE(token.ok()) << token.error().message;
  EXPECT_EQ(asText(token->view()).substr(0, 4), "vcp_");
  EXPECT_EQ(token->size(), 4U + 64U + 1U);
  ASSERT_TRUE(ensureApiToken(*store, *files, path, clock, entropy).ok());
  EXPECT_EQ(asText(files->readPrivate(path, 1000).value().view()), asText(token->view())) << "left as it is";
  std::filesystem::remove(path);
  ASSERT_TRUE(ensureApiToken(*store, *files, path, clock, entropy).ok());
  const auto second = files->readPrivate(path, 1000);
  ASSERT_TRUE(second.ok()) << "a lost file is written again";
  EXPECT_NE(asText(second->view()), asText(token->view()));
  ASSERT_TRUE(store
                  ->readBlocking([](store::ControlReader& reader) -> Status {
                    const auto users = reader.users().value();
                    EXPECT_EQ(users.size(), 1U);
                    EXPECT_EQ(users.at(0).role, "owner");
                    const auto keys = reader.apiTokens().value();
                    EXPECT_EQ(keys.size(), 2U);
                    for (const auto& key : keys) EXPECT_EQ(key.user, users.at(0).id);
                    return {};
                  })
                  .ok());
  std::filesystem::remove(path);
}

}  // namespace
}  // namespace vaultysclaw::control::testing
