// The sealed channel (docs/protocol.md 7.3) and what both sides remember of each other's features (7.2).
#include "control_fixture.hpp"

namespace vaultysclaw::control::testing {
namespace {

using namespace protocol;

class Sealed : public ControlTest {
 protected:
  void SetUp() override { start(); }
  static TestAgent::Options sealing() {
    TestAgent::Options o;
    o.features = TestAgent::allFeatures();
    return o;
  }
  static std::string refusal(const TestAgent& agent) {
    const auto* failed = agent.last<AuthFailed>();
    return failed ? failed->reason : "";
  }
  void expectBrokenOff(const TestAgent& agent) {
    run();
    ASSERT_TRUE(agent.closed);
    EXPECT_EQ(agent.closed->text, "") << "no answer";
    EXPECT_FALSE(agent.endedInOrder);
    EXPECT_FALSE(agent.last<AuthFailed>());
    EXPECT_FALSE(agent.last<ErrorMessage>());
    EXPECT_EQ(plane->counters().channelsBroken, 1U);
    EXPECT_EQ(plane->agent(agent.did())->status, AgentStatus::Offline);
  }
  std::string stored(const TestAgent& agent) { return plane->agent(agent.did())->row.features; }
};

TEST_F(Sealed, EverythingAfterTheHandshakeIs) {
  std::vector<net::FrameKind> kinds;
  std::vector<std::string> clear;
  network.setHook([&](Direction, net::FrameKind kind, std::string& data) {
    kinds.push_back(kind);
    if (kind == net::FrameKind::Text) clear.push_back(data);
    return true;
  });
  auto agent = connectedAgent(sealing());
  EXPECT_TRUE(agent->sealed());
  EXPECT_EQ(agent->unsealedFrames, 0U);
  EXPECT_EQ(clear.size(), 6U) << "two empty challenges, register, INIT, STEP1, COMPLETE";
  EXPECT_TRUE(std::is_sorted(kinds.begin(), kinds.end())) << "and nothing in the clear after them";
  auto reply = runIntent(agent->did(), "echo", R"({"secret":1})");
  agent->sendResult(agent->last<Intent>()->id, "\"sealed\"");
  run();
  EXPECT_TRUE(reply->ok());
  EXPECT_EQ(clear.size(), 6U);
  EXPECT_FALSE(agent->openError);
  EXPECT_TRUE(plane->agent(agent->did())->sealed);
  EXPECT_EQ(plane->agent(agent->did())->features, TestAgent::allFeatures());
  EXPECT_EQ(plane->counters().channelsSealed, 1U);
}

TEST_F(Sealed, NeedsBothListsAndOnlyVersion1) {
  TestAgent::Options original;
  original.version = IdVersion::V0;
  original.features = TestAgent::allFeatures();
  TestAgent::Options without;
  without.features = TestAgent::allFeaturesBut("seal");
  TestAgent::Options future = sealing();
  future.features.emplace_back("seal-v9");
  for (const auto& o : {TestAgent::Options(), original, without}) {
    auto agent = connectedAgent(o);
    EXPECT_FALSE(agent->sealed());
    EXPECT_FALSE(plane->agent(agent->did())->sealed);
    EXPECT_EQ(stored(*agent), "") << "what no channel has proved is not remembered";
    auto reply = runIntent(agent->did());
    agent->sendResult(agent->last<Intent>()->id, "1");
    run();
    EXPECT_TRUE(reply->ok()) << "without seal no result needs a signature";
  }
  EXPECT_TRUE(connectedAgent(future)->sealed());
}

TEST_F(Sealed, NeedsAUsableKey) {
  for (const std::string dh : {"", "00", "zz"}) {
    auto agent = newAgent(sealing());
    agent->options.dh = dh == "zz" ? std::string(64, 'A') : dh == "00" ? std::string(64, '0') : dh;
    agent->options.completeHandshakes = dh.empty();
    agent->connect();
    run();
    if (!dh.empty()) {  // the key is used with COMPLETE
      EXPECT_FALSE(agent->closed);
      agent->options.completeHandshakes = true;
      agent->replayLastChallenge();
      run();
    }
    EXPECT_NE(refusal(*agent).find("dh"), std::string::npos) << dh << ": " << refusal(*agent);
    EXPECT_TRUE(agent->closed);
  }
  EXPECT_TRUE(registrations().empty());
}

TEST_F(Sealed, AKeyOfItsOwnDoesNotHelpAThirdParty) {
  auto agent = newAgent(sealing());
  agent->options.dh = identity::SealKeys::generate(entropy).dh();  // not the one it will open with
  agent->connect();
  run();
  EXPECT_TRUE(agent->openError);
  EXPECT_FALSE(agent->last<RegistrationPending>());
  agent->send(Heartbeat{});
  run();
  EXPECT_TRUE(agent->closed);
  EXPECT_EQ(plane->counters().channelsBroken, 1U);
}

TEST_F(Sealed, UnsealedDataEndsTheConnectionWithoutAnAnswer) {
  auto agent = connectedAgent(sealing());
  agent->sendUnsealed(Heartbeat{});
  expectBrokenOff(*agent);
}

TEST_F(Sealed, UnsealedDataRightAfterCompleteDoesToo) {
  auto agent = newAgent(sealing());
  agent->options.completeHandshakes = false;
  agent->connect();
  run();
  agent->options.completeHandshakes = true;
  agent->replayLastChallenge();
  agent->sendUnsealed(Register{"x", "1"});
  run();
  EXPECT_TRUE(agent->closed);
  EXPECT_TRUE(registrations().empty());
  EXPECT_EQ(plane->counters().channelsBroken, 1U);
}

TEST_F(Sealed, ForgedRecordsEndTheConnection) {
  for (const char* kind : {"changed", "repeated", "reordered", "lost", "truncated", "empty", "foreign"}) {
    SCOPED_TRACE(kind);
    restart();
    auto agent = connectedAgent(sealing());
    auto record = agent->seal(Heartbeat{});
    if (kind == std::string("changed")) {
      record.back() ^= 1;
    } else if (kind == std::string("repeated")) {
      agent->sendRecord(record);
    } else if (kind == std::string("reordered")) {
      const auto second = agent->seal(Heartbeat{});
      agent->sendRecord(second);
    } else if (kind == std::string("lost")) {
      record = agent->seal(Heartbeat{});
    } else if (kind == std::string("truncated")) {
      record.pop_back();
    } else if (kind == std::string("empty")) {
      record.clear();
    } else {
      auto other = connectedAgent(sealing());
      record = other->seal(Heartbeat{});
    }
    agent->sendRecord(record);
    expectBrokenOff(*agent);
  }
}

TEST_F(Sealed, EndsInOrderOnBothSides) {
  auto agent = connectedAgent(sealing());
  Waiting<std::monostate> deleted;
  plane->deleteAgent(agent->did(), "operator", deleted);
  run();
  EXPECT_EQ(refusal(*agent), "revoked");
  EXPECT_EQ(agent->unsealedFrames, 0U);
  EXPECT_TRUE(agent->endedInOrder);

  auto other = connectedAgent(sealing());
  other->sendRecord(other->sealEnd());
  run();
  ASSERT_TRUE(other->closed);
  EXPECT_EQ(other->closed->code, net::close_code::kNormal);
  EXPECT_TRUE(other->endedInOrder);
  EXPECT_EQ(plane->counters().channelsBroken, 0U);
}

TEST_F(Sealed, TheWholeSizeOfAMessageIsLeft) {
  auto agent = connectedAgent(sealing());
  auto reply = runIntent(agent->did());
  IntentResult result = agent->resultOf(agent->last<Intent>()->id, "\"\"");
  agent->signResult(result);
  const std::size_t room = kMaxMessageBytes - TestAgent::textOf(clock, entropy, result).size();
  result.output->text = '"' + std::string(room, 'x') + '"';
  agent->signResult(result);
  ASSERT_EQ(TestAgent::textOf(clock, entropy, result).size(), kMaxMessageBytes);
  agent->send(result);
  run();
  EXPECT_FALSE(agent->closed);
  EXPECT_TRUE(reply.done() && reply->ok());
}

// ---- reissue --------------------------------------------------------------------------------------------------------

class Reissue : public Sealed {
 protected:
  void reissue(TestAgent& agent) {
    loop.advance(seconds(10));
    policy::Grant grant;
    grant.capabilities = {"echo"};
    grant.policyId = "p" + std::to_string(++policies_);
    ASSERT_TRUE(updateGrant(agent.did(), grant).ok());
  }
  int policies_ = 0;
};

TEST_F(Reissue, RunsInsideTheChannelAndKeepsItsKeys) {
  auto agent = connectedAgent(sealing());
  const std::string channel = agent->channel();
  reissue(*agent);
  EXPECT_EQ(*agent->certificate().find("policyId")->string(), "p1");
  EXPECT_FALSE(agent->certificate().find("dh"));
  EXPECT_EQ(agent->channel(), channel);
  EXPECT_FALSE(agent->closed);
  EXPECT_EQ(agent->unsealedFrames, 0U);
}

TEST_F(Reissue, RefusesAnotherChannelKeyListOrVersion) {
  for (const char* lie : {"channel", "no channel", "dh", "fewer", "more", "version 0"}) {
    SCOPED_TRACE(lie);
    auto agent = connectedAgent(sealing());
    const std::string what = lie;
    if (what == "channel") agent->options.channel = std::string(64, '0');
    if (what == "no channel") agent->options.channel = "";
    if (what == "dh") agent->options.dhInReissue = true;
    if (what == "fewer") agent->options.features = TestAgent::allFeaturesBut("result-ack");
    if (what == "more") agent->options.features.emplace_back("zzz");
    if (what == "version 0") agent->options.version = IdVersion::V0;
    agent->received.clear();
    reissue(*agent);
    ASSERT_TRUE(agent->closed);
    EXPECT_NE(refusal(*agent), "");
    EXPECT_EQ(agent->unsealedFrames, 0U) << "the refusal is sealed";
    EXPECT_EQ(agent->count<AuthChallenge>(), 1U) << "nothing was signed";
  }
}

// ---- downgrade ------------------------------------------------------------------------------------------------------

TEST_F(Sealed, FeaturesAreRememberedOnceARecordHasOpened) {
  auto agent = newAgent(sealing());
  agent->connect();
  run();
  agent->options.answerChallenges = false;  // no reissue: nothing comes from it
  Waiting<store::AgentRow> approved;
  plane->approve(registrationOf(*agent), {}, approved);
  run();
  EXPECT_EQ(stored(*agent), "");
  agent->send(Heartbeat{});
  run();
  EXPECT_EQ(stored(*agent), identity::Features::ours().text());
  EXPECT_EQ(audited("agent.pin"), 1U);
  agent->send(Heartbeat{});
  run();
  agent->options.answerChallenges = true;
  agent->connect();
  run();
  EXPECT_EQ(audited("agent.pin"), 1U) << "nothing new";
  agent->options.features.emplace_back("later");
  agent->connect();
  run();
  agent->send(Heartbeat{});
  run();
  EXPECT_NE(stored(*agent).find("later"), std::string::npos) << "more is welcome";
}

TEST_F(Sealed, WhatAWaitingAgentHasProvedGoesWithItsApproval) {
  auto agent = newAgent(sealing());
  agent->connect();
  run();
  agent->send(Heartbeat{});  // out of place, but sealed
  run();
  auto downgraded = sameAgent(*agent);
  downgraded->options.features = TestAgent::allFeaturesBut("seal");
  downgraded->connect();
  run();
  EXPECT_NE(refusal(*downgraded).find("does not list seal"), std::string::npos) << refusal(*downgraded);
  agent->disconnect();
  run();
  const auto waiting = registrations("pending");
  ASSERT_EQ(waiting.size(), 1U);
  ASSERT_TRUE(approve(waiting[0].id).ok());
  EXPECT_EQ(stored(*agent), identity::Features::ours().text());
}

TEST_F(Sealed, FewerFeaturesAreRefusedUntilAnOperatorResetsThem) {
  auto agent = connectedAgent(sealing());
  agent->disconnect();
  run();
  const auto expectRefused = [&](const TestAgent::Options& o, const std::string& why) {
    agent->options = o;
    agent->connect();
    run();
    EXPECT_NE(refusal(*agent).find(why), std::string::npos) << refusal(*agent);
    EXPECT_NE(refusal(*agent).find("reset-pin"), std::string::npos) << "says what to do";
    EXPECT_EQ(agent->count<AuthChallenge>(), 2U) << "nothing was signed for it";
  };
  TestAgent::Options none, one, old;
  one.features = TestAgent::allFeaturesBut("result-ack");
  old.version = IdVersion::V0;
  expectRefused(none, "does not list control-v2, intent-v2, result-ack, seal, signed-results");
  expectRefused(one, "does not list result-ack");
  expectRefused(old, "version 0");
  restart();
  expectRefused(none, "does not list");
  EXPECT_GE(audited("handshake.refused"), 4U);

  Waiting<AgentView> reset;
  plane->resetPin(agent->did(), "somebody", reset);
  EXPECT_FALSE(reset.done());
  run();
  ASSERT_TRUE(reset->ok()) << reset->error().message;
  EXPECT_EQ((*reset)->row.features, "");
  EXPECT_EQ((*reset)->row.handshakeVersion, 0);
  EXPECT_EQ(audited("agent.reset-pin"), 1U);
  restart();
  agent->options = old;
  agent->connect();
  run();
  EXPECT_TRUE(agent->connected());
  agent->options = sealing();
  agent->connect();
  run();
  agent->send(Heartbeat{});
  run();
  EXPECT_EQ(stored(*agent), identity::Features::ours().text()) << "and the pin is made anew";
  EXPECT_EQ(plane->agent(agent->did())->row.handshakeVersion, 1);

  Waiting<AgentView> unknown;
  plane->resetPin(Did("did:vaultys:00ff"), "somebody", unknown);
  run();
  EXPECT_EQ(unknown->error().code, Errc::NotFound);
  expectAuditHolds();
}

}  // namespace
}  // namespace vaultysclaw::control::testing
