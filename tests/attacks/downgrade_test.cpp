// Weaker handshakes after stronger ones (docs/protocol.md 7.2): by whoever holds an old key and an old program, and by
// whoever hopes to be taken for an agent of the original.
#include "agent/trust.hpp"
#include "world.hpp"

namespace vaultysclaw::attacks {
namespace {

std::vector<std::string> allBut(const std::string& feature) {
  std::vector<std::string> out = kAllFeatures;
  std::erase(out, feature);
  return out;
}

class Downgrade : public World {
 protected:
  // Another connection of `agent`'s identity, with another plan.
  std::unique_ptr<HostileAgent> again(const HostileAgent& agent, AgentPlan plan) {
    auto out = std::make_unique<HostileAgent>(world_.clock, world_.entropy, agent.self(), std::move(plan));
    out->connect(world_.network);
    run();
    return out;
  }
  void expectRefused(const HostileAgent& agent) {
    EXPECT_TRUE(agent.step1.empty()) << "it was signed";
    EXPECT_EQ(agent.count("auth_failed"), 1u);
    EXPECT_EQ(agent.count("auth_complete"), 0u);
    EXPECT_TRUE(agent.closed);
  }
  void restartControlPlane() {
    world_.network.cutAll();
    run();
    startControlPlane();
  }
};

TEST_F(Downgrade, AnAgentDoesNotComeBackWithLess) {
  // First, that every one of these is a handshake that goes through on its own.
  std::vector<std::pair<std::string, AgentPlan>> weaker;
  for (const auto& feature : kAllFeatures) weaker.push_back({"without " + feature, {.features = allBut(feature)}});
  weaker.push_back({"an empty list", {.features = std::vector<std::string>{}}});
  weaker.push_back({"no list", {}});
  weaker.push_back({"version 0", {.version = IdVersion::V0}});
  for (const auto& [what, plan] : weaker) {
    SCOPED_TRACE(what);
    auto agent = insider(plan);
    EXPECT_TRUE(agent->connected());
  }
  auto strong = insider({.features = kAllFeatures});
  ASSERT_TRUE(strong->wire);
  strong->say("heartbeat", Json::object());  // its first record
  run();
  for (const bool restarted : {false, true}) {
    if (restarted) restartControlPlane();
    for (const auto& [what, plan] : weaker) {
      SCOPED_TRACE(what + (restarted ? " after a restart" : ""));
      const auto agent = again(*strong, plan);
      expectRefused(*agent);
      EXPECT_EQ(isConnected(strong->did().value), !restarted) << "the strong connection was disturbed";
    }
  }
  // More is welcome; then that counts.
  auto more = kAllFeatures;
  more.push_back("x-future");
  auto stronger = again(*strong, {.features = more});
  EXPECT_TRUE(stronger->connected());
  stronger->say("heartbeat", Json::object());
  run();
  expectRefused(*again(*strong, {.features = kAllFeatures}));

  // Only an operator lets it come back with less.
  Box<control::AgentView> reset;
  plane_->resetPin(strong->did(), "operator", reset.reply());
  run();
  EXPECT_TRUE(again(*strong, {})->connected());
}

TEST_F(Downgrade, AnAgentThatStillWaitsForApprovalDoesNotComeBackWithLess) {
  auto strong = stranger({.features = kAllFeatures});
  strong->connect(world_.network);
  run();
  ASSERT_EQ(strong->count("registration_pending"), 1u);
  strong->say("heartbeat", Json::object());
  run();
  expectRefused(*again(*strong, {}));
  expectRefused(*again(*strong, {.version = IdVersion::V0}));
  approve(strong->did().value);
  EXPECT_TRUE(strong->connected());
}

TEST_F(Downgrade, ListsThatNoRecordHasProvedBindNobody) {
  // Who lists seal and cannot speak it must not lock itself, or somebody else, out.
  auto boaster = insider();
  auto lists = again(*boaster, {.features = kAllFeatures});
  ASSERT_TRUE(lists->connected());
  lists->hangUp();  // without a record
  run();
  EXPECT_TRUE(again(*boaster, {})->connected());
}

TEST_F(Downgrade, AControlPlaneDoesNotComeBackWithLess) {
  const VaultysId key = someone();
  std::vector<std::pair<std::string, std::optional<std::vector<std::string>>>> weaker;
  for (const auto& feature : kAllFeatures) weaker.emplace_back("without " + feature, allBut(feature));
  weaker.emplace_back("an empty list", std::vector<std::string>{});
  weaker.emplace_back("no list", std::nullopt);
  HostileControlPlane plane(world_.clock, world_.entropy, key, {});
  world_.network.listen(kAgentsDial, plane.acceptor());
  for (const auto& [what, features] : weaker) {
    SCOPED_TRACE(what);
    plane.plan.features = features;
    auto& fresh = start("fresh " + what);
    EXPECT_EQ(fresh.getStatus(), AgentStatus::Connected) << "on its own it goes through\n" << lastLogs();
    victims_.clear();
  }
  plane.plan.features = kAllFeatures;
  Agent<Victim>* victim = &start("victim");
  ASSERT_EQ(victim->getStatus(), AgentStatus::Connected);
  const AgentRuntimeConfig files = victim->config();
  const Did did(victim->getDid());
  for (const bool restarted : {false, true}) {
    if (restarted) victim = &restart(*victim);
    for (const auto& [what, features] : weaker) {
      SCOPED_TRACE(what + (restarted ? " after a restart" : ""));
      plane.plan.features = features;
      world_.network.cutAll();
      const int before = plane.handshakes;
      plane.init.clear();
      world_.advance(std::chrono::minutes(2));
      EXPECT_FALSE(plane.init.empty());
      EXPECT_EQ(plane.handshakes, before) << "the agent signed it";
      EXPECT_NE(victim->getStatus(), AgentStatus::Connected);
      EXPECT_NE(victim->getStatus(), AgentStatus::Stopped);
    }
    plane.plan.features = kAllFeatures;
    world_.advance(std::chrono::minutes(2));
    ASSERT_EQ(victim->getStatus(), AgentStatus::Connected) << lastLogs();
  }
  // Only somebody with the agent's files lets it come back with less.
  plane.plan.features.reset();
  victims_.clear();
  run();
  {
    auto state = store::openAgentState(files.vaultysIdPath + ".state", did);
    ASSERT_TRUE(state.ok()) << state.error().message;
    ASSERT_TRUE(detail::trustOnly(**state, key.didV1()).ok());
  }
  EXPECT_EQ(start(files).getStatus(), AgentStatus::Connected) << lastLogs();
}

TEST_F(Downgrade, AVersion0AnswerToAVersion1QuestionIsNone) {
  auto plane = hostilePlane();
  plane->plan.bendStep1 = [](Map& step1) {
    for (const char* pk : {"pk1", "pk2"})
      put(step1, pk, VaultysId::fromId(*member(step1, pk)->bytes())->toVersion(IdVersion::V0).id());
    put(step1, "version", number(0));
  };
  auto& victim = start();
  EXPECT_FALSE(plane->init.empty());
  EXPECT_EQ(plane->handshakes, 0);
  plane->plan.bendStep1 = {};
  world_.advance(seconds(10));
  EXPECT_EQ(victim.getStatus(), AgentStatus::Connected);
}

}  // namespace
}  // namespace vaultysclaw::attacks
