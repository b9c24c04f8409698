// Many at once (docs/protocol.md 7.7): handshakes that are begun and not finished, and registrations that nobody wants,
// from one address and from many. Those who are known get in, and so does an honest newcomer.
#include "world.hpp"

namespace vaultysclaw::attacks {
namespace {

class Flood : public World {
 protected:
  std::string addressOf(std::size_t i) {
    return "198.51." + std::to_string(100 + i / 250) + "." + std::to_string(1 + i % 250);
  }
  // One more attacker from `address`.
  HostileAgent& from(const std::string& address, AgentPlan plan) {
    address_ = address;
    attackers_.push_back(stranger(std::move(plan)));
    attackers_.back()->connect(world_.network);
    run();
    return *attackers_.back();
  }
  void expectBusy(const HostileAgent& agent) {
    EXPECT_EQ(agent.count("auth_failed"), 1u);
    EXPECT_TRUE(agent.closed);
    EXPECT_TRUE(agent.step1.empty()) << "it was signed";
  }

  std::vector<std::unique_ptr<HostileAgent>> attackers_;
};

TEST_F(Flood, OfHandshakesIsBoundedPerAddressAndInAll) {
  direct();
  auto& victim = connectedVictim();
  auto known = insider();
  const AgentPlan stalled{.stopAt = StopAt::BeforeComplete};
  std::size_t open = 0;
  for (std::size_t a = 0; open < options_.maxHandshakes; ++a) {
    for (std::size_t i = 0; i < options_.maxHandshakesPerAddress; ++i, ++open)
      ASSERT_TRUE(from(addressOf(a), stalled).open()) << open;
    if (a % 16 != 0) continue;
    expectBusy(from(addressOf(a), stalled));
    // Whoever comes from elsewhere is not kept out by it.
    EXPECT_TRUE(runs(victim.getDid()));
    address_ = "203.0.113.9";
    known->connect(world_.network);
    run();
    EXPECT_TRUE(known->connected());
  }
  expectBusy(from("203.0.113.1", stalled));
  EXPECT_TRUE(runs(victim.getDid())) << "connections that stand are not touched";
  EXPECT_EQ(plane_->counters().openConnections, options_.maxHandshakes + 2);
  known->hangUp();
  // They meet their deadline, and everybody who waits gets in.
  world_.advance(std::chrono::minutes(2));
  EXPECT_EQ(victim.getStatus(), AgentStatus::Connected) << lastLogs();
  for (const auto& attacker : attackers_) EXPECT_TRUE(attacker->closed);
  EXPECT_EQ(plane_->counters().openConnections, 1u);
  address_ = "203.0.113.2";
  auto newcomer = stranger();
  newcomer->connect(world_.network);
  run();
  EXPECT_EQ(newcomer->count("registration_pending"), 1u);
}

TEST_F(Flood, OfRegistrationsIsBoundedPerAddressAndInAll) {
  direct();
  auto& victim = connectedVictim();
  std::size_t waiting = 0;
  for (std::size_t a = 0; waiting < options_.maxPendingRegistrations; ++a) {
    for (std::size_t i = 0; i < options_.maxPendingRegistrationsPerAddress; ++i, ++waiting) {
      auto& attacker = from(addressOf(a), {.features = kAllFeatures});
      ASSERT_EQ(attacker.count("registration_pending"), 1u) << waiting;
      if (i == 0) {  // the same identity again, on the same and on a new connection, is not another one
        attacker.connect(world_.network);
        run();
        ASSERT_EQ(attacker.count("registration_pending"), 1u);
      }
      if (i % 2 == 0) attacker.hangUp();  // who leaves still waits
    }
    if (a % 8 == 0) {
      auto& more = from(addressOf(a), {});
      EXPECT_EQ(more.count("registration_pending"), 0u);
      EXPECT_EQ(more.count("auth_failed"), 1u);
    }
  }
  EXPECT_EQ(plane_->counters().pendingRegistrations, options_.maxPendingRegistrations);
  auto& more = from("203.0.113.1", {});
  EXPECT_EQ(more.count("auth_failed"), 1u);
  EXPECT_TRUE(runs(victim.getDid()));
  world_.network.cutAll();
  world_.advance(seconds(10));
  EXPECT_EQ(victim.getStatus(), AgentStatus::Connected) << "who is known needs no room among those who wait";
  EXPECT_TRUE(runs(victim.getDid()));
  world_.advance(std::chrono::minutes(11));
  EXPECT_EQ(plane_->counters().pendingRegistrations, 0u);
  EXPECT_EQ(from("203.0.113.2", {}).count("registration_pending"), 1u);
}

TEST_F(Flood, OfHandshakesOnOneConnectionCostsOneSignatureEach) {
  // The stranger repeats what makes the control plane work: each answer must be worth one question of its own.
  auto& attacker = from("198.51.100.1", {.stopAt = StopAt::BeforeInit});
  const Map init = initOf(attacker.self(), IdVersion::V1, world_.clock.now(), Bytes(16, 1), {});
  for (int i = 0; i < 50; ++i) attacker.challenge(attacker.sessionId, init);
  run();
  std::size_t answers = 0;
  for (const auto& message : attacker.all("auth_challenge"))
    answers += !message["payload"]["data"].get<std::string>().empty();
  EXPECT_LE(answers, 1u);
  EXPECT_TRUE(attacker.closed);

  // The agent, too.
  auto plane = hostilePlane({.answers = false});
  auto& victim = start();
  for (int i = 0; i < 50; ++i) plane->reissue();
  run();
  EXPECT_LE(plane->count("auth_challenge"), 8u);
  EXPECT_NE(victim.getStatus(), AgentStatus::Stopped);
}

}  // namespace
}  // namespace vaultysclaw::attacks
