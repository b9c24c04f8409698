// The attackers must be able to behave: an attack that fails because its author misread the protocol proves nothing.
#include "identity/seal.hpp"
#include "world.hpp"

namespace vaultysclaw::attacks {
namespace {

class Toolkit : public World {};

TEST_F(Toolkit, AnObedientAttackerIsAnAgentLikeOthers) {
  for (const IdVersion version : {IdVersion::V0, IdVersion::V1}) {
    AgentPlan plan;
    plan.version = version;
    auto agent = insider(std::move(plan));
    EXPECT_TRUE(isConnected(agent->did().value));
    auto reply = ask(agent->did().value, "text_generation", R"({"a":1})");
    ASSERT_EQ(agent->count("intent"), 1u);
    agent->say("result", {{"intentId", agent->last("intent")["id"]}, {"status", "success"}, {"output", 1}});
    run();
    ASSERT_TRUE(reply.done() && (*reply).ok());
    EXPECT_EQ((*reply)->status, "success");
  }
}

TEST_F(Toolkit, AnObedientControlPlaneRunsIntents) {
  auto plane = hostilePlane();
  auto& victim = start();
  ASSERT_EQ(victim.getStatus(), AgentStatus::Connected) << lastLogs();
  plane->say(plane->intent("i1", "text_generation", R"({"a":1})"));
  run();
  ASSERT_EQ(victim.ran.size(), 1u) << lastLogs();
  EXPECT_EQ(victim.ran[0].params, R"({"a":1})");
  EXPECT_EQ(plane->last("result")["status"], "success");
}

TEST_F(Toolkit, AMiddleThatOnlyPassesOnIsNotNoticed) {
  Middle middle(world_.network, kAgentsDial, kControlPlaneUrl);
  auto& victim = connectedVictim();
  EXPECT_TRUE(runs(victim.getDid()));
  EXPECT_GT(middle.seen.size(), 6u);
}

TEST_F(Toolkit, ItsSealedChannelIsTheProducts) {
  const Bytes transcript = toBytes(asBytes("what both signed"));
  auto ours = identity::SealKeys::generate(world_.entropy);
  const auto theirs = DhKeys::make(world_.entropy);
  auto wire = SealedWire::make(SealedWire::Side::Initiator, theirs, ours.dh(), transcript);
  auto channel = ours.derive(identity::SealRole::Responder, transcript, theirs.dh, world_.entropy);
  ASSERT_TRUE(wire && channel.ok());
  EXPECT_EQ(wire->channel(), channel->channel());
  EXPECT_EQ(channel->open(asBytes(wire->record("one")))->text, "one");
  EXPECT_EQ(channel->open(asBytes(wire->record("two")))->text, "two");
  EXPECT_TRUE(channel->open(asBytes(wire->final()))->end);
  EXPECT_EQ(wire->open(asText(*channel->seal("back")))->text, "back");
}

}  // namespace
}  // namespace vaultysclaw::attacks
