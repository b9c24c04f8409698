// One key signs handshakes and tokens. Attackers who want a token signed ask for a handshake whose signed bytes read as
// one; attackers who hold a token use its signature in a handshake (docs/protocol.md 7.1).
#include "base/assert.hpp"
#include "identity/handshake_message.hpp"
#include "identity/identity_file.hpp"
#include "identity/tokens.hpp"
#include "world.hpp"

namespace vaultysclaw::attacks {
namespace {

// Puts a text into `init` that ends its own value at once where version 0 writes it without looking at its length
// (0xa0 | 0x40..0x7f is a small negative number in MessagePack), goes on with members of the attacker's choice, and
// takes the rest of what is signed for the value of the last one. So all that is signed reads as one map, to the last
// byte. Members for which the map has no entry are left out.
void smuggle(Map& init, const std::string& name, const std::function<Map(const std::string& pad)>& members) {
  put(init, name, "");
  Map full = init;
  put(full, "version", number(0));
  put(full, "pk2", Bytes(77));
  put(full, "nonce", Bytes(32));
  std::size_t before = 1 + 9 + 1;
  if (name == "service") before += member(init, "protocol")->string()->size() + 8 + 1;
  const std::size_t behind = unsignedOf(full).size() - before;
  const std::size_t entries = name == "protocol" ? 5 : 4;  // of seven: not those before, this one, and the last
  Bytes out;
  const auto add = [&](const Value& value) { append(out, msgpack::encode(value)); };
  for (std::string pad; (out.size() & 0xffU) < 0x40 || (out.size() & 0xffU) > 0x7f; pad += 'x') {
    out.clear();
    const Map chosen = members(pad);
    for (std::size_t i = 0; i < entries; ++i) {
      add(i < chosen.size() ? chosen[i].first : Value("~" + std::to_string(i)));
      add(i < chosen.size() ? chosen[i].second : Value());
    }
    add("~");
    out.insert(out.end(), {0xc5, static_cast<std::uint8_t>(behind >> 8), static_cast<std::uint8_t>(behind)});
  }
  put(init, name, std::string(asText(out)));
}

struct Wanted {
  const char* type;
  std::function<Map(const std::string& pad)> body;
};

class SigningOracle : public World {
 protected:
  std::vector<Wanted> wanted(const std::string& agentDid) {
    const WallTime now = world_.clock.now();
    const auto intent = [=](const std::string& pad) { return intentBody("i-1" + pad, "api_call", agentDid, now); };
    const auto delegation = [=](const std::string& pad) { return delegationBody(pad, "*", {"api_call"}, now, {}); };
    const auto grant = [=](const std::string& pad) {
      return Map{{"type", "peer_grant"},
                 {"sourceDid", "x" + pad},
                 {"targetDid", agentDid},
                 {"capabilities", texts({"api_call"})},
                 {"issuedAt", number(toUnixMillis(now))}};
    };
    const auto result = [=](const std::string& pad) {
      return Map{{"type", "result"},
                 {"intentId", "i-1" + pad},
                 {"status", "success"},
                 {"agentDid", agentDid},
                 {"intentHash", Bytes(32, 1)}};
    };
    return {{"intent", intent}, {"delegation", delegation}, {"peer_grant", grant}, {"result", result}};
  }
  void expectNoToken(BytesView body, BytesView signature, const VaultysId& signer) {
    const WallTime now = world_.clock.now();
    const std::string token = tokenOf(body, signature);
    EXPECT_FALSE(identity::verifyIntentToken(token, signer, now).ok());
    EXPECT_FALSE(identity::verifyDelegationToken(token, signer, now).ok());
    EXPECT_FALSE(identity::verifyPeerGrantToken(token, signer, now).ok());
    EXPECT_FALSE(identity::verifyResultToken(token, signer).ok());
  }
  VaultysId identityOf(const Agent<Victim>& agent) {
    auto loaded = identity::loadIdentity(*makeSystemFileStore(), agent.config().vaultysIdPath);
    VC_ASSERT(loaded.ok(), "the victim has no identity file");
    return *loaded;
  }
};

TEST_F(SigningOracle, ResponderSignsNoHandshakeThatReadsAsAToken) {
  const std::string victimDid = someone().didV1().value;
  for (const IdVersion version : {IdVersion::V0, IdVersion::V1}) {
    for (const char* name : {"protocol", "service"}) {
      for (const auto& target : wanted(victimDid)) {
        SCOPED_TRACE(std::string(target.type) + " in " + name + ", version " +
                     std::to_string(static_cast<int>(version)));
        AgentPlan plan;
        plan.version = version;
        plan.metadata = false;
        plan.bendInit = [&](Map& init) { smuggle(init, name, target.body); };
        auto attacker = stranger(std::move(plan));

        // What it would be worth: a responder that signs what it is sent makes such a token in version 0.
        Map init = initOf(attacker->self(), version, world_.clock.now(), Bytes(16, 7), {});
        attacker->plan.bendInit(init);
        const Map naive = step1Of(self_, init, Bytes(16, 8), {});
        const Bytes body = unsignedOf(naive);
        ASSERT_TRUE(self_.verify(body, *member(naive, "sign2")->bytes()));
        if (version == IdVersion::V0) {
          const auto read = msgpack::decode(body);
          ASSERT_TRUE(read.ok()) << read.error().message;
          ASSERT_EQ(*read->find("type"), Value(target.type));
        }
        // Even then nobody of ours would take it for one.
        expectNoToken(body, *member(naive, "sign2")->bytes(), self_);

        attacker->connect(world_.network);
        run();
        EXPECT_TRUE(attacker->step1.empty()) << "it was signed";
        EXPECT_EQ(attacker->count("auth_failed"), 1u);
        EXPECT_TRUE(attacker->closed);
      }
    }
  }
  EXPECT_EQ(plane_->counters().handshakesCompleted, 0u);
}

TEST_F(SigningOracle, ResponderSignsNothingWithForeignMembers) {
  // A lenient responder takes them over into what it signs.
  const std::string victimDid = someone().didV1().value;
  for (const auto& target : wanted(victimDid)) {
    for (const bool before : {true, false}) {
      SCOPED_TRACE(target.type);
      AgentPlan plan;
      plan.bendInit = [&](Map& init) {
        const Map more = target.body("");
        init.insert(before ? init.begin() : init.end(), more.begin(), more.end());
      };
      auto attacker = stranger(std::move(plan));
      attacker->connect(world_.network);
      run();
      EXPECT_TRUE(attacker->step1.empty());
      EXPECT_EQ(attacker->count("auth_failed"), 1u);
    }
  }
}

TEST_F(SigningOracle, WhatTheResponderDoesSignIsNoToken) {
  for (const IdVersion version : {IdVersion::V0, IdVersion::V1}) {
    AgentPlan plan;
    plan.version = version;
    plan.stopAt = StopAt::BeforeComplete;
    // All that a stranger may choose freely: nonce, and in version 1 the statement.
    plan.bendInit = [&](Map& init) {
      put(init, "nonce", Bytes{0x87, 0xa4, 't', 'y', 'p', 'e', 0xa6, 'i', 'n', 't', 'e', 'n', 't', 0xa2, 'i', 'd'});
      submap(submap(init, "metadata"), "pk1") = wanted("x")[0].body("");
    };
    auto attacker = stranger(std::move(plan));
    attacker->connect(world_.network);
    run();
    ASSERT_FALSE(attacker->step1.empty()) << attacker->last("auth_failed").dump();
    const Bytes body = unsignedOf(attacker->step1);
    const Bytes signature = *member(attacker->step1, "sign2")->bytes();
    ASSERT_TRUE(self_.verify(body, signature)) << "the attacker holds a signature of the control plane";
    expectNoToken(body, signature, self_);
    EXPECT_NE(msgpack::decode(body)->find("protocol"), nullptr);
  }
}

TEST_F(SigningOracle, AnAgentRunsNoIntentMadeOfAHandshake) {
  // The attacker has made an old responder with the control plane's key sign for him, and sits between the two.
  auto plane = std::make_unique<HostileControlPlane>(world_.clock, world_.entropy, self_, PlanePlan{});
  world_.network.listen(kAgentsDial, plane->acceptor());
  auto& victim = start();
  ASSERT_EQ(victim.getStatus(), AgentStatus::Connected);
  plane->say(plane->intent("honest", "api_call", "{}"));
  run();
  ASSERT_EQ(victim.ran.size(), 1u);

  Map init = initOf(someone(), IdVersion::V0, world_.clock.now(), Bytes(16, 7), {});
  smuggle(init, "protocol", wanted(victim.getDid())[0].body);
  const Map signedStep = step1Of(self_, init, Bytes(16, 8), {});
  const Bytes body = unsignedOf(signedStep);
  const std::string id = *msgpack::decode(body)->find("id")->string();
  plane->say(intentText(id, "api_call", "{}", tokenOf(body, *member(signedStep, "sign2")->bytes())));
  run();
  EXPECT_EQ(victim.ran.size(), 1u);
}

TEST_F(SigningOracle, InitiatorSignsNoStep1ThatReadsAsAToken) {
  for (const char* name : {"protocol", "service"}) {
    for (std::size_t i = 0; i < 4; ++i) {
      const std::string who = std::string(name) + std::to_string(i);
      SCOPED_TRACE(who);
      auto plane = hostilePlane();
      auto& victim = start(who);
      const VaultysId key = identityOf(victim);
      const Wanted target = wanted(victim.getDid())[i];
      victims_.clear();
      const auto bend = [&](Map& step1) {
        put(step1, "version", number(0));
        put(step1, "pk1", key.toVersion(IdVersion::V0).id());
        put(step1, "pk2", plane->self().toVersion(IdVersion::V0).id());
        smuggle(step1, name, target.body);
      };
      // What it would be worth: an initiator that signs what comes, with the form for tokens.
      Map naive =
          step1Of(plane->self(), initOf(key, IdVersion::V1, world_.clock.now(), Bytes(16, 1), {}), Bytes(16, 2), {});
      bend(naive);
      const auto read = msgpack::decode(unsignedOf(naive));
      ASSERT_TRUE(read.ok());
      ASSERT_EQ(*read->find("type"), Value(target.type));
      expectNoToken(unsignedOf(naive), key.sign(unsignedOf(naive)), key);

      ASSERT_EQ(plane->handshakes, 1);
      plane->plan.bendStep1 = bend;
      plane->init.clear();
      start(who);
      EXPECT_FALSE(plane->init.empty());
      EXPECT_EQ(plane->handshakes, 1) << "it was signed";
    }
  }
}

TEST_F(SigningOracle, NothingSignedIsReadableAsSomethingElse) {
  struct Signed {
    std::string what;
    Bytes body, signature;
    VaultysId signer;
  };
  std::vector<Signed> all;
  const auto addToken = [&](std::string what, const std::string& token, const VaultysId& signer) {
    const Bytes bytes = *base64Decode(token);
    const std::size_t length = bytes[0] | (std::size_t{bytes[1]} << 8) | (std::size_t{bytes[2]} << 16);
    all.push_back({std::move(what), toBytes(BytesView(bytes).subspan(4, length)),
                   toBytes(BytesView(bytes).subspan(4 + length)), signer});
  };
  // All that the control plane signs in an honest session, in both versions,
  for (const IdVersion version : {IdVersion::V0, IdVersion::V1}) {
    AgentPlan plan;
    plan.version = version;
    if (version == IdVersion::V1) plan.features = kAllFeatures;
    auto agent = insider(std::move(plan));
    ask(agent->did().value, "text_generation");
    ASSERT_EQ(agent->count("intent"), 1u);
    all.push_back({"handshake", unsignedOf(agent->step1), *member(agent->step1, "sign2")->bytes(), self_});
    addToken("intent", agent->all("intent")[0]["signature"], self_);
  }
  // and all that an agent signs.
  auto plane = hostilePlane({.features = kAllFeatures});
  auto& victim = start();
  plane->say(plane->intent("i-1", "text_generation", "{}"));
  run();
  const VaultysId key = identityOf(victim);
  all.push_back({"handshake", unsignedOf(plane->complete), *member(plane->complete, "sign1")->bytes(), key});
  if (const Json result = plane->last("result"); result.contains("signature"))
    addToken("result", result["signature"], key);
  ASSERT_GE(all.size(), 5u);

  const WallTime now = world_.clock.now();
  for (const auto& s : all) {
    SCOPED_TRACE(s.what);
    ASSERT_TRUE(s.signer.verify(s.body, s.signature));
    const std::string token = tokenOf(s.body, s.signature);
    EXPECT_EQ(identity::verifyIntentToken(token, s.signer, now).ok(), s.what == "intent");
    EXPECT_EQ(identity::verifyResultToken(token, s.signer).ok(), s.what == "result");
    EXPECT_FALSE(identity::verifyDelegationToken(token, s.signer, now).ok());
    EXPECT_FALSE(identity::verifyPeerGrantToken(token, s.signer, now).ok());
    // As a handshake: version 0 begins with "protocol", version 1 with "version", a token with "type".
    const Value first = msgpack::decode(s.body)->map()->front().first;
    EXPECT_EQ(first == Value("type"), s.what != "handshake");
    EXPECT_EQ(first == Value("version") || first == Value("protocol"), s.what == "handshake");
  }
}

TEST_F(SigningOracle, ATokensSignatureProvesNoIdentity) {
  auto insideMan = insider();
  ask(insideMan->did().value, "text_generation");
  const Bytes token = *base64Decode(insideMan->all("intent")[0]["signature"].get<std::string>());
  const Bytes signature = toBytes(BytesView(token).last(64));

  auto plane = hostilePlane({.bendSigned = [&](Map& step1) {
    put(step1, "pk2", self_.id());
    put(step1, "sign2", signature);
  }});
  auto& victim = start();
  EXPECT_GE(plane->connections, 1);
  EXPECT_EQ(plane->handshakes, 0);
  EXPECT_NE(victim.getStatus(), AgentStatus::Connected);
  EXPECT_NE(victim.getStatus(), AgentStatus::Stopped) << "an unproved identity is only a failed handshake";
}

}  // namespace
}  // namespace vaultysclaw::attacks
