// A man in the middle of a handshake: he changes what passes, answers with keys of his own, replays what he has
// recorded, and says no in the name of others (docs/protocol.md 7.1, 7.2).
#include "world.hpp"

namespace vaultysclaw::attacks {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;

struct Change {
  const char* what;
  std::function<void(Map&)> bend;
};

Map& statement(Map& handshake, const char* side) {
  return submap(submap(handshake, "metadata"), side);
}
void without(Map& stated, const std::string& feature) {
  Value* list = member(stated, "features");
  if (!list || !list->array()) return;
  msgpack::Array left;
  for (const auto& item : *list->array()) {
    if (*item.string() != feature) left.push_back(item);
  }
  *list = Value(std::move(left));
}
void flip(Map& handshake, const char* name, std::size_t at) {
  Bytes bytes = *member(handshake, name)->bytes();
  bytes[at] ^= 1;
  put(handshake, name, bytes);
}

class ManInTheMiddle : public World {
 protected:
  Middle middle_{world_.network, kAgentsDial, kControlPlaneUrl};

  // What a man in the middle may do to the statement of one side.
  std::vector<Change> changesOf(const char* side) {
    const std::string dh = DhKeys::make(world_.entropy).dh;
    return {{"no seal", [=](Map& m) { without(statement(m, side), "seal"); }},
            {"no features", [=](Map& m) { drop(statement(m, side), "features"); }},
            {"an empty list of features", [=](Map& m) { put(statement(m, side), "features", texts({})); }},
            {"more features", [=](Map& m) { put(statement(m, side), "features", texts({"seal", "x-extra"})); }},
            {"no dh", [=](Map& m) { put(statement(m, side), "dh2", "00"), drop(statement(m, side), "dh"); }},
            {"another dh", [=](Map& m) { put(statement(m, side), "dh", dh); }},
            {"wider capabilities",
             [=](Map& m) { put(statement(m, side), "capabilities", texts({"text_generation", "system_command"})); }},
            {"no statement", [=](Map& m) { drop(submap(m, "metadata"), side); }},
            {"another statement", [=](Map& m) { statement(m, side) = {{"capabilities", texts({"x"})}}; }}};
  }
};

TEST_F(ManInTheMiddle, ChangesNothingInTheInit) {
  std::vector<Change> changes = changesOf("pk1");
  changes.push_back({"another name", [](Map& m) { put(statement(m, "pk1"), "name", "harmless"); }});
  changes.push_back(
      {"another time", [](Map& m) { put(m, "timestamp", number(*member(m, "timestamp")->asInteger() + 1)); }});
  changes.push_back({"another nonce", [](Map& m) { flip(m, "nonce", 0); }});
  changes.push_back({"another service", [](Map& m) { put(m, "service", "register"); }});
  changes.push_back({"version 0", [](Map& m) {
                       const auto id = *VaultysId::fromId(*member(m, "pk1")->bytes());
                       put(m, "version", number(0));
                       put(m, "pk1", id.toVersion(IdVersion::V0).id());
                     }});
  for (std::size_t i = 0; i < changes.size(); ++i) {
    SCOPED_TRACE(changes[i].what);
    // An agent that signs whatever comes back is registered with the change.
    middle_.onFrame = Middle::bending(Step::Init, changes[i].bend);
    if (std::string(changes[i].what) == "wider capabilities") {
      auto naive = stranger();
      naive->connect(world_.network, kAgentsDial);
      run();
      ASSERT_EQ(naive->count("registration_pending"), 1u);
      EXPECT_THAT(pendingRegistrations().back().requestedCapabilities, HasSubstr("system_command"));
    }
    const std::size_t before = pendingRegistrations().size();
    auto& victim = start("victim-" + std::to_string(i));
    EXPECT_EQ(victim.getStatus(), AgentStatus::Connecting);
    EXPECT_EQ(pendingRegistrations().size(), before);
    EXPECT_TRUE(logged("The handshake failed")) << lastLogs();

    // Left alone, it goes through.
    middle_.onFrame = nullptr;
    world_.advance(seconds(10));
    EXPECT_EQ(victim.getStatus(), AgentStatus::PendingApproval) << lastLogs();
    victims_.clear();
    approve(pendingRegistrations().back().did.value);
  }
}

TEST_F(ManInTheMiddle, ChangesNothingInTheCertificateOnItsWayToTheAgent) {
  auto& victim = connectedVictim();
  std::vector<Change> changes = changesOf("pk2");
  changes.push_back({"another nonce", [](Map& m) { flip(m, "nonce", 31); }});
  changes.push_back({"no limits", [](Map& m) { drop(statement(m, "pk2"), "resourceLimits"); }});
  for (const auto& change : changes) {
    SCOPED_TRACE(change.what);
    control::GrantChange limits;
    limits.maxRequestsPerHour.emplace(100);
    Box<control::AgentView> updated;
    plane_->updateGrant(Did(victim.getDid()), limits, "", "operator", updated.reply());
    middle_.cut();
    run();
    const auto completed = plane_->counters().handshakesCompleted;
    middle_.onFrame = Middle::bending(Step::Step1, change.bend);
    world_.advance(seconds(10));
    EXPECT_NE(victim.getStatus(), AgentStatus::Connected);
    EXPECT_EQ(plane_->counters().handshakesCompleted, completed) << "the agent signed it";
    middle_.onFrame = nullptr;
    world_.advance(std::chrono::minutes(2));
    EXPECT_EQ(victim.getStatus(), AgentStatus::Connected) << lastLogs();
  }
  // An agent that does not verify believes it.
  middle_.onFrame = Middle::bending(Step::Step1, changes[6].bend);
  auto naive = stranger();
  naive->connect(world_.network, kAgentsDial);
  run();
  const Map believed = naive->certificate();
  EXPECT_EQ(*member(believed, "capabilities"), texts({"text_generation", "system_command"}));
}

TEST_F(ManInTheMiddle, ChangesNothingInTheCertificateOnItsWayBack) {
  const Change widen{
      "", [](Map& m) { put(statement(m, "pk2"), "capabilities", texts({"text_generation", "system_command"})); }};
  const Change rename{"", [](Map& m) { put(statement(m, "pk1"), "name", "harmless"); }};
  for (const IdVersion version : {IdVersion::V0, IdVersion::V1}) {
    for (const auto& change : {widen, rename}) {
      middle_.onFrame = nullptr;
      AgentPlan plan;
      plan.version = version;
      auto agent = stranger(std::move(plan));
      agent->connect(world_.network, kAgentsDial);
      run();
      ASSERT_EQ(agent->count("registration_pending"), 1u) << "left alone, it goes through";
      if (version == IdVersion::V0) {
        Map changed = agent->complete;
        change.bend(changed);
        EXPECT_EQ(unsignedOf(changed), unsignedOf(agent->complete)) << "version 0 does not sign the metadata";
      }
      middle_.onFrame = Middle::bending(Step::Complete, change.bend);
      auto other = stranger(agent->plan);
      other->connect(world_.network, kAgentsDial);
      run();
      EXPECT_EQ(other->count("registration_pending"), 0u);
      EXPECT_EQ(other->count("auth_failed"), 1u);
      approve(agent->did().value);
    }
  }
}

TEST_F(ManInTheMiddle, OfAFirstContactWithoutProtectionIsNotRemembered) {
  // The URL names this machine, and yet the bytes leave it unprotected.
  auto plane = hostilePlane();
  world_.network.setProtection(net::Protection::None);
  auto& victim = start();
  world_.advance(seconds(30));
  EXPECT_NE(victim.getStatus(), AgentStatus::Connected);
  EXPECT_EQ(plane->handshakes, 0) << "the agent signed for him";

  world_.network.setProtection(net::Protection::Loopback);
  direct();
  world_.advance(std::chrono::minutes(2));
  EXPECT_EQ(victim.getStatus(), AgentStatus::PendingApproval) << "nothing of him was remembered\n" << lastLogs();
}

TEST_F(ManInTheMiddle, WithKeysOfHisOwnIsRefusedByAnAgentThatKnowsItsControlPlane) {
  // He answers the agent as a control plane and the control plane as an agent, and passes everything on between.
  auto& fresh = start("fresh");
  auto& victim = connectedVictim();
  victims_.erase(victims_.begin());  // fresh was not approved, so it knows nobody
  (void)fresh;
  auto& told = start([&] {
    AgentRuntimeConfig c = config("told");
    c.controlPlaneDid = self_.didV1().value;
    return c;
  }());
  middle_.cut();
  auto towardsAgents = hostilePlane();
  auto towardsPlane = stranger();
  towardsPlane->connect(world_.network);
  world_.network.cutAll();
  world_.advance(seconds(30));
  EXPECT_GE(towardsAgents->connections, 2);
  EXPECT_EQ(towardsAgents->handshakes, 0) << "an agent signed for him";
  EXPECT_NE(victim.getStatus(), AgentStatus::Connected);
  EXPECT_TRUE(logged("but this agent belongs to " + self_.didV1().value)) << lastLogs();
  EXPECT_NE(told.getStatus(), AgentStatus::Connected);
  EXPECT_TRUE(logged("but controlPlaneDid expects " + self_.didV1().value));

  // One that knows nobody believes him: that is what the pin is for.
  auto& again = start("fresh");
  EXPECT_EQ(again.getStatus(), AgentStatus::Connected);
  EXPECT_EQ(towardsAgents->handshakes, 1);
}

TEST_F(ManInTheMiddle, CannotReplayASession) {
  auto& victim = connectedVictim();
  const auto recorded = middle_.seen;
  EXPECT_TRUE(runs(victim.getDid()));
  const auto completed = plane_->counters().handshakesCompleted;
  // At once, so that every timestamp is still fresh: each text that the agent sent, over a new connection.
  auto replayer = stranger({.stopAt = StopAt::BeforeRegister});
  replayer->connect(world_.network);
  run();
  for (const auto& [direction, frame] : recorded) {
    if (direction == Direction::ToServer) replayer->raw(frame.kind, frame.data);
    run();
  }
  EXPECT_EQ(plane_->counters().handshakesCompleted, completed);
  EXPECT_EQ(replayer->count("auth_complete"), 0u);
  EXPECT_TRUE(replayer->closed);
  EXPECT_EQ(victim.getStatus(), AgentStatus::Connected);
  EXPECT_TRUE(runs(victim.getDid())) << "the victim was disturbed";
}

TEST_F(ManInTheMiddle, StallsASecondConnectionInTheVictimsNameInVain) {
  auto& victim = connectedVictim();
  const Value id = [&] {
    for (const auto& [direction, frame] : middle_.seen) {
      if (auto handshake = handshakeIn(frame.data)) return *member(*handshake, "pk1");
    }
    return Value();
  }();
  ASSERT_TRUE(id.bytes());
  std::vector<std::unique_ptr<HostileAgent>> stalled;
  for (const StopAt at : {StopAt::BeforeRegister, StopAt::BeforeInit, StopAt::BeforeComplete, StopAt::Nowhere}) {
    AgentPlan plan;
    plan.features = kAllFeatures;
    plan.stopAt = at;
    plan.bendInit = [&](Map& init) { put(init, "pk1", id); };
    plan.bendComplete = [&](Map& complete) { put(complete, "sign1", Bytes(64, 9)); };
    stalled.push_back(stranger(std::move(plan)));
    stalled.back()->connect(world_.network);
    run();
    EXPECT_TRUE(isConnected(victim.getDid()));
    EXPECT_TRUE(runs(victim.getDid()));
  }
  EXPECT_FALSE(stalled[2]->step1.empty()) << "he had got as far as anybody gets without the key";
  EXPECT_EQ(stalled[3]->count("auth_failed"), 1u);
  world_.advance(seconds(61));
  for (const auto& s : stalled) EXPECT_TRUE(s->closed);
  EXPECT_TRUE(runs(victim.getDid()));
  EXPECT_EQ(victims_[0]->ran.size(), 5u);
  EXPECT_EQ(audited("agent.connect"), 1u) << "the first connection was there all the time";
}

TEST_F(ManInTheMiddle, ARealSecondConnectionReplacesTheFirstWhenItIsComplete) {
  auto first = insider({.features = kAllFeatures});
  HostileAgent second(world_.clock, world_.entropy, first->self(),
                      {.features = kAllFeatures, .stopAt = StopAt::BeforeComplete});
  second.connect(world_.network);
  run();
  ASSERT_FALSE(second.step1.empty());
  EXPECT_TRUE(first->open()) << "with its COMPLETE still due";
  second.challenge(second.sessionId, completeOf(second.self(), second.step1));
  run();
  EXPECT_TRUE(first->closed);
  EXPECT_TRUE(first->heardEnd) << "told in order";
  EXPECT_TRUE(isConnected(first->did().value));
}

TEST_F(ManInTheMiddle, SaysNoInTheNameOfTheControlPlaneInVain) {
  // Whoever answers at the address may say these; an agent that stopped for them could be stopped by anybody.
  const std::vector<std::pair<std::string, Json>> noes = {
      {"auth_failed", {{"reason", "revoked"}}},
      {"auth_failed", {{"reason", "unknown"}}},
      {"registration_rejected", {{"registrationId", "r-1"}, {"reason", "no"}}},
      {"error", {{"error", "go away"}}}};
  auto& victim = connectedVictim();
  for (const auto& [type, payload] : noes) {
    SCOPED_TRACE(type);
    auto plane = hostilePlane({.answers = false});
    middle_.cut();
    world_.network.cutAll();
    world_.advance(seconds(5));
    ASSERT_TRUE(plane->open());
    plane->say(type, payload);
    run();
    EXPECT_NE(victim.getStatus(), AgentStatus::Stopped);
    plane->hangUp();
    direct();
    world_.advance(std::chrono::minutes(2));
    EXPECT_EQ(victim.getStatus(), AgentStatus::Connected) << lastLogs();
    EXPECT_TRUE(runs(victim.getDid()));
  }
}

TEST_F(ManInTheMiddle, SaysNoToAnAgentThatWaitsForItsApprovalInVain) {
  auto& victim = start();
  ASSERT_EQ(victim.getStatus(), AgentStatus::PendingApproval);
  for (const char* type : {"registration_rejected", "auth_failed"}) {
    middle_.inject(Direction::ToClient,
                   {net::FrameKind::Text, envelope(type, {{"registrationId", "r"}, {"reason", "revoked"}})});
    run();
    EXPECT_NE(victim.getStatus(), AgentStatus::Stopped);
    world_.advance(seconds(30));
    EXPECT_EQ(victim.getStatus(), AgentStatus::PendingApproval) << lastLogs();
  }
  approve(victim.getDid());
  EXPECT_EQ(victim.getStatus(), AgentStatus::Connected);
}

}  // namespace
}  // namespace vaultysclaw::attacks
