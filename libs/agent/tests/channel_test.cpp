// Features, pins and the sealed channel (docs/protocol.md 7.2, 7.3), from the agent's side.
#include "agent/trust.hpp"
#include "agent_fixture.hpp"

namespace vaultysclaw::testing {
namespace {

using identity::Features;
using ::testing::HasSubstr;
using ::testing::Not;
namespace feature = identity::feature;

class Channel : public AgentTest {
 protected:
  void startAgent() {
    make().start();
    world.run();
  }
  std::string reason() { return agent->getInfo().reason; }
  // The pin, while no agent runs.
  std::optional<detail::Pin> pin() {
    agent.reset();
    auto state = openState();
    VC_ASSERT(state.ok(), "the state file opens");
    auto found = detail::readPin(**state);
    VC_ASSERT(found.ok(), "the pin can be read");
    return std::move(found).value();
  }
  void trust(const std::string& did) {
    agent.reset();
    auto state = openState();
    ASSERT_TRUE(state.ok() && detail::trustOnly(**state, Did(did)).ok());
  }
  // Changes STEP1 on its way.
  void changeStep1(std::function<void(identity::HandshakeMessage&)> change) {
    world.network.setHook([change = std::move(change)](Direction direction, net::FrameKind kind, std::string& text) {
      if (direction == Direction::ToServer || kind == net::FrameKind::Binary) return true;
      auto message = protocol::decode(text);
      auto* challenge = message ? std::get_if<protocol::AuthChallenge>(&message->payload) : nullptr;
      if (challenge == nullptr || challenge->data.empty()) return true;
      auto step1 = identity::decodeHandshake(*base64Decode(challenge->data));
      if (!step1) return true;
      change(*step1);
      challenge->data = base64Encode(identity::encodeHandshake(*step1));
      text = protocol::encode(*message);
      return true;
    });
  }
};

TEST_F(Channel, IsSealedAfterComplete) {
  int text = 0, binary = 0;
  world.network.setHook([&](Direction, net::FrameKind kind, std::string& data) {
    ++(kind == net::FrameKind::Text ? text : binary);
    EXPECT_THAT(data, Not(HasSubstr("auth_complete")));
    return true;
  });
  connect();
  EXPECT_TRUE(cp.sealed());
  EXPECT_EQ(text, 6);  // two times "start", register, INIT, STEP1, COMPLETE
  EXPECT_GT(binary, 0);
  intent("i1", "text_generation");
  EXPECT_EQ(error("i1"), "(success)");
  EXPECT_EQ(text, 6);
  world.network.setHook(nullptr);  // the agent still has to say goodbye
}

TEST_F(Channel, IsNotSealedWithASideThatDoesNotListIt) {
  cp.features = Features::ours().without(feature::kSeal);
  connect();
  EXPECT_FALSE(cp.sealed());
  intent("i1", "text_generation");
  EXPECT_EQ(error("i1"), "(success)");
  EXPECT_EQ(acks().back().success, true);
  config.vaultysIdPath = world.dir.file("another.id");
  cp.features = {};
  connect();
  EXPECT_FALSE(cp.sealed());
}

TEST_F(Channel, AnAgentMayListFewer) {
  world.features = *Features::fromText("control-v2");
  connect();
  EXPECT_FALSE(cp.sealed());
  EXPECT_EQ(cp.claims[0].metadata.find("dh"), nullptr);
  EXPECT_EQ(cp.inUse().text(), "control-v2");
}

TEST_F(Channel, NeedsADhThatCanBeUsed) {
  for (const std::string& dh : {std::string(), std::string(64, '0'), std::string("xyz"), std::string(64, 'F')}) {
    cp.dh = dh;
    startAgent();
    EXPECT_EQ(agent->getStatus(), AgentStatus::Connecting) << dh;
    EXPECT_THAT(reason(), HasSubstr("dh")) << dh;
    EXPECT_EQ(cp.handshakes, 0);  // COMPLETE was not sent
  }
}

TEST_F(Channel, RefusesADhOfSomebodyElse) {
  // In the middle, with a key of its own in place of the control plane's: the signature covers it.
  const std::string own = identity::SealKeys::generate(world.entropy).dh();
  changeStep1([own](identity::HandshakeMessage& step1) {
    for (auto& [key, value] : step1.metadata) {
      if (*key.string() != "pk2") continue;
      for (auto& [name, member] : *const_cast<msgpack::Map*>(value.map())) {
        if (*name.string() == "dh") member = msgpack::Value(own);
      }
    }
  });
  startAgent();
  EXPECT_EQ(agent->getStatus(), AgentStatus::Connecting);
  EXPECT_EQ(cp.handshakes, 0);
}

TEST_F(Channel, OpensWithin10Seconds) {
  world.network.setHook([](Direction direction, net::FrameKind kind, std::string&) {
    return direction == Direction::ToServer || kind == net::FrameKind::Text;  // the answer is lost
  });
  startAgent();
  world.advance(seconds(9));
  EXPECT_EQ(world.network.connectionCount(), 1u);
  EXPECT_NE(agent->getStatus(), AgentStatus::Connected);
  world.advance(seconds(2));
  EXPECT_TRUE(logged("did not answer on the sealed channel within 10 s"));
}

TEST_F(Channel, APendingRegistrationOpensIt) {
  cp.known = false;
  startAgent();
  EXPECT_EQ(agent->getStatus(), AgentStatus::PendingApproval);
  world.advance(seconds(60));
  EXPECT_EQ(cp.connections, 1);
  cp.approve();
  world.run();
  EXPECT_EQ(agent->getStatus(), AgentStatus::Connected);
  EXPECT_EQ(cp.handshakes, 2);  // the reissue ran inside the channel
}

TEST_F(Channel, UnsealedDataEndsTheConnectionAndChangesNothing) {
  connect();
  const std::string lies[] = {cp.text(protocol::AuthFailed{"revoked"}),
                              cp.text(protocol::RegistrationRejected{RegistrationId("r"), "no"}),
                              cp.intentText("i1", "text_generation", {}), cp.text(protocol::Pause{"x"}), "junk"};
  for (const auto& lie : lies) {
    const int before = cp.connections;
    cp.forget();
    cp.sendUnsealed(lie);
    world.run();
    EXPECT_EQ(agent->getStatus(), AgentStatus::Reconnecting);
    EXPECT_THAT(reason(), HasSubstr("unsealed"));
    EXPECT_TRUE(cp.received.empty());
    world.advance(seconds(5));
    EXPECT_EQ(agent->getStatus(), AgentStatus::Connected);
    EXPECT_EQ(cp.connections, before + 1);
  }
  EXPECT_EQ(agent->intents, 0);
}

TEST_F(Channel, AnUnsealedRefusalOfCompleteIsALostConnection) {
  world.network.setHook([&](Direction direction, net::FrameKind kind, std::string& data) {
    if (direction == Direction::ToServer || kind == net::FrameKind::Text) return true;
    data = cp.text(protocol::AuthFailed{"revoked"});  // in place of the first record
    cp.sendUnsealed(data);
    return false;
  });
  startAgent();
  EXPECT_EQ(agent->getStatus(), AgentStatus::Connecting);
  EXPECT_THAT(reason(), HasSubstr("unsealed, so perhaps not by the control plane: revoked"));
  world.network.setHook(nullptr);
  world.advance(seconds(5));
  EXPECT_EQ(agent->getStatus(), AgentStatus::Connected);
}

TEST_F(Channel, RecordsThatDoNotOpenEndTheConnection) {
  connect();
  const auto ends = [&](const std::function<void()>& disturb) {
    cp.forget();
    disturb();
    world.run();
    EXPECT_EQ(agent->getStatus(), AgentStatus::Reconnecting);
    EXPECT_THAT(reason(), HasSubstr("disturbed"));
    EXPECT_TRUE(cp.received.empty());
    world.advance(seconds(5));
    EXPECT_EQ(agent->getStatus(), AgentStatus::Connected);
  };
  const std::string skills = cp.text(protocol::SkillsConfig{});
  ends([&] {  // changed
    Bytes record = cp.sealText(skills);
    record[record.size() / 2] ^= 1;
    cp.sendRecord(record);
  });
  ends([&] {  // truncated
    Bytes record = cp.sealText(skills);
    record.pop_back();
    cp.sendRecord(record);
  });
  ends([&] {  // twice
    const Bytes record = cp.sealText(skills);
    cp.sendRecord(record);
    cp.sendRecord(record);
  });
  ends([&] {  // out of order
    const Bytes first = cp.sealText(skills), second = cp.sealText(skills);
    cp.sendRecord(second);
    cp.sendRecord(first);
  });
  ends([&] {  // one is lost
    static_cast<void>(cp.sealText(skills));
    cp.sendRecord(cp.sealText(skills));
  });
  ends([&] { cp.sendRecord({}); });
}

TEST_F(Channel, RecordsOfAnEarlierConnectionDoNotOpen) {
  connect();
  const Bytes old = cp.sealText(cp.text(protocol::SkillsConfig{}));
  world.network.cutAll();
  world.advance(seconds(5));
  ASSERT_EQ(agent->getStatus(), AgentStatus::Connected);
  cp.sendRecord(old);
  world.run();
  EXPECT_THAT(reason(), HasSubstr("disturbed"));
}

TEST_F(Channel, TheOrderlyEndIsToldFromALostConnection) {
  connect();
  cp.close();
  world.run();
  EXPECT_THAT(reason(), HasSubstr("ended the connection (1001, bye)"));
  world.advance(seconds(5));
  ASSERT_EQ(agent->getStatus(), AgentStatus::Connected);
  cp.closeWithoutEnd();
  world.run();
  EXPECT_THAT(reason(), HasSubstr("was lost (1001, bye)"));
}

TEST_F(Channel, AnEndThatIsNotFollowedByACloseIsLeft) {
  connect();
  cp.endChannel();
  world.advance(seconds(4));
  EXPECT_EQ(world.network.connectionCount(), 1u);
  world.advance(seconds(2));
  EXPECT_TRUE(logged("did not close it"));
}

TEST_F(Channel, AStoppingAgentEndsInOrder) {
  connect();
  agent->stop();
  world.run();
  EXPECT_EQ(cp.ends, 1);
}

TEST_F(Channel, AReissueStatesTheChannelAndKeepsIt) {
  connect();
  cp.capabilities = {"text_generation", "api_call"};
  cp.reissue();
  world.run();
  ASSERT_EQ(cp.claims.size(), 2u);
  EXPECT_NE(cp.claims[1].metadata.find("channel"), nullptr);
  EXPECT_EQ(cp.claims[1].metadata.find("dh"), nullptr);
  EXPECT_EQ(cp.handshakes, 2);
  intent("i1", "api_call");
  EXPECT_EQ(error("i1"), "(success)");
}

TEST_F(Channel, AReissueWithOtherFeaturesEndsTheConnection) {
  connect();
  cp.features = Features::ours().without(feature::kIntentV2);
  cp.reissue();
  world.run();
  EXPECT_THAT(reason(), HasSubstr("other features than those this connection began with"));
}

TEST_F(Channel, AReissueOfAnUnsealedConnectionKeepsToItsFeaturesToo) {
  cp.features = {};
  connect();
  cp.features = *Features::fromText("control-v2");
  cp.reissue();
  world.run();
  EXPECT_THAT(reason(), HasSubstr("other features"));
}

// ---- pins

TEST_F(Channel, RemembersWhatTheControlPlaneListed) {
  cp.features = *Features::fromText("control-v2\nseal\nfuture-feature");
  connect();
  const auto found = pin();
  ASSERT_TRUE(found);
  EXPECT_EQ(found->did, cp.id().didV1().value);
  EXPECT_TRUE(found->id.has_value());
  EXPECT_EQ(found->features, cp.features);
}

TEST_F(Channel, RefusesAControlPlaneThatListsLessThanBefore) {
  connect();
  agent.reset();
  const int before = cp.handshakes;
  for (const auto& fewer :
       {Features(), Features::ours().without(feature::kSeal), Features::ours().without(feature::kResultAck)}) {
    cp.features = fewer;
    startAgent();
    EXPECT_EQ(agent->getStatus(), AgentStatus::Connecting);
    EXPECT_THAT(reason(), HasSubstr("no longer lists"));
    EXPECT_THAT(reason(), HasSubstr("vaultysclaw id trust " + config.vaultysIdPath + " " + cp.id().didV1().value));
  }
  EXPECT_EQ(cp.handshakes, before);  // COMPLETE was never sent
  EXPECT_THAT(reason(), HasSubstr("result-ack"));
  EXPECT_EQ(pin()->features, Features::ours());
  cp.features = Features::ours();
  connect();
}

TEST_F(Channel, AFeatureThatCameLaterCountsToo) {
  cp.features = *Features::fromText("control-v2");
  connect();
  EXPECT_EQ(pin()->features.text(), "control-v2");
  cp.features = Features::ours();
  connect();
  EXPECT_EQ(pin()->features, Features::ours());
  cp.features = *Features::fromText("control-v2");
  startAgent();
  EXPECT_THAT(reason(), HasSubstr("no longer lists"));
}

TEST_F(Channel, AnUnapprovedControlPlaneIsNotRemembered) {
  cp.known = false;
  startAgent();
  EXPECT_EQ(agent->getStatus(), AgentStatus::PendingApproval);
  EXPECT_FALSE(pin());
}

TEST_F(Channel, TrustingADidReplacesThePinAndItsFeatures) {
  connect();
  agent.reset();
  cp.replaceIdentity();
  cp.features = {};
  trust(cp.id().didV1().value);
  connect();
  EXPECT_EQ(agent->getInfo().controlPlaneDid, cp.id().didV1().value);
  EXPECT_TRUE(pin()->id.has_value());
}

TEST_F(Channel, ATrustedDidIsTheOnlyOne) {
  trust("did:vaultys:00ffffffffffffffffffffffffffffffffffffff");
  startAgent();
  EXPECT_EQ(agent->getStatus(), AgentStatus::Stopped);
  EXPECT_THAT(reason(), HasSubstr("vaultysclaw id trust"));
  EXPECT_EQ(cp.handshakes, 0);
}

TEST_F(Channel, WithoutAPinTheNextControlPlaneIsTrusted) {
  connect();
  agent.reset();
  {
    auto state = openState();
    ASSERT_TRUE(state.ok() && detail::trustNext(**state).ok());
  }
  cp.replaceIdentity();
  connect();
  EXPECT_EQ(pin()->did, cp.id().didV1().value);
}

TEST_F(Channel, ADamagedPinStopsTheStart) {
  connect();
  agent.reset();
  {
    auto state = openState();
    ASSERT_TRUE(state.ok() && (*state)->putAll({{"control_plane_id", "????"}}).ok());
  }
  EXPECT_THROW(make().start(), AgentError);
}

// ---- protection

class Unprotected : public Channel {
 protected:
  Unprotected() {
    world.network.setProtection(net::Protection::None);
    config.controlPlaneWsUrl = "ws://cp.example.com";
    world.network.listen("ws://cp.example.com", cp.acceptor());
  }
};

TEST_F(Unprotected, NeedsToKnowItsControlPlane) {
  EXPECT_THROW(make().start(), AgentError);
  config.controlPlaneDid = cp.id().didV1().value;
  connect();
  EXPECT_TRUE(cp.sealed());
  config.controlPlaneDid = "";
  connect();  // from now on the pin knows it
}

TEST_F(Unprotected, IsLeftUnlessItIsSealed) {
  config.controlPlaneDid = cp.id().didV1().value;
  cp.features = Features::ours().without(feature::kSeal);
  startAgent();
  EXPECT_EQ(agent->getStatus(), AgentStatus::Connecting);
  EXPECT_THAT(reason(), HasSubstr("does not seal it"));
  EXPECT_EQ(cp.handshakes, 0);
  config.allowPlaintext = true;
  connect();
}

TEST_F(Unprotected, IsNotUsedForAUrlThatNamesThisMachineEither) {
  config.controlPlaneWsUrl = "ws://localhost:8080";
  startAgent();
  EXPECT_THAT(reason(), HasSubstr("controlPlaneDid"));
  EXPECT_TRUE(cp.received.empty());
}

TEST_F(Unprotected, AForeignKeyOrARejectionDoesNotStopTheAgent) {
  config.controlPlaneDid = "did:vaultys:00ffffffffffffffffffffffffffffffffffffff";
  startAgent();
  EXPECT_EQ(agent->getStatus(), AgentStatus::Connecting);
  EXPECT_THAT(reason(), HasSubstr("controlPlaneDid expects"));
  agent.reset();
  config.controlPlaneDid = "";
  config.allowPlaintext = true;
  cp.features = {};
  cp.known = false;
  startAgent();
  ASSERT_EQ(agent->getStatus(), AgentStatus::PendingApproval);
  cp.reject("no");
  world.run();
  EXPECT_EQ(agent->getStatus(), AgentStatus::Reconnecting);
  EXPECT_THAT(reason(), HasSubstr("rejected the registration"));
}

TEST_F(Unprotected, ASealedRejectionStopsTheAgent) {
  config.controlPlaneDid = cp.id().didV1().value;
  cp.known = false;
  startAgent();
  ASSERT_TRUE(cp.sealed());
  cp.reject("no");
  world.run();
  EXPECT_EQ(agent->getStatus(), AgentStatus::Stopped);
}

TEST_F(Unprotected, AllowPlaintextPinsTheFirst) {
  config.allowPlaintext = true;
  cp.features = {};
  connect();
  EXPECT_EQ(pin()->did, cp.id().didV1().value);
}

// ---- revocation

TEST_F(Channel, ASealedRevocationStopsWithWhatToDo) {
  connect();
  cp.send(protocol::AuthFailed{"revoked"});
  world.run();
  EXPECT_EQ(agent->getStatus(), AgentStatus::Stopped);
  EXPECT_THAT(reason(), HasSubstr("withdrawn this agent's registration"));
}

TEST_F(Channel, OtherSealedRefusalsAreTriedAgain) {
  connect();
  cp.send(protocol::AuthFailed{"too many agents"});
  world.run();
  EXPECT_EQ(agent->getStatus(), AgentStatus::Reconnecting);
  EXPECT_THAT(reason(), HasSubstr("too many agents"));
}

TEST_F(Channel, AnUnsealedRevocationIsALostConnection) {
  cp.features = {};
  connect();
  cp.send(protocol::AuthFailed{"revoked"});
  world.run();
  EXPECT_EQ(agent->getStatus(), AgentStatus::Reconnecting);
}

}  // namespace
}  // namespace vaultysclaw::testing
