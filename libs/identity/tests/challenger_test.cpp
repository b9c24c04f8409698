#include "identity/challenger.hpp"

#include <gtest/gtest.h>

#include "base/fake_loop.hpp"
#include "identity/tokens.hpp"

namespace vaultysclaw::identity {
namespace {

using msgpack::Map;
using msgpack::Value;

constexpr WallTime kNow = WallTime(milliseconds(1'780'000'000'000));
const Map kAgentSays{{"name", "agent-1"}, {"capabilities", msgpack::Array{"api_call"}}};
const Map kServerSays{{"capabilities", msgpack::Array{"api_call"}}, {"dh", "00"}};

class ChallengerTest : public ::testing::Test {
 protected:
  Initiator initiator(Initiator::Config config = {"auth", kAgentSays, {}}) {
    return {agent_, std::move(config), entropy_, kNow};
  }
  Responder responder(Responder::Config config = {}) { return {server_, std::move(config), entropy_}; }

  // What the agent's original would open with.
  HandshakeMessage rawInit(IdVersion version) {
    HandshakeMessage m;
    m.version = version;
    m.protocol = "p2p";
    m.service = "auth";
    m.timestamp = toUnixMillis(kNow);
    m.pk1 = agent_.toVersion(version).id();
    m.nonce = Bytes(16, 5);
    m.metadata = {{"pk1", kAgentSays}};
    return m;
  }
  // The STEP1 that the server's original would give.
  HandshakeMessage rawStep1(HandshakeMessage m) {
    m.pk2 = server_.toVersion(m.version).id();
    m.nonce.resize(32, 9);
    m.metadata.emplace_back("pk2", kServerSays);
    m.sign2 = server_.sign(unsignedHandshake(m));
    return m;
  }
  void expectInitRefused(const HandshakeMessage& m, Errc code, Responder::Config config = {}) {
    expectInitBytesRefused(encodeHandshake(m), code, std::move(config));
  }
  void expectInitBytesRefused(BytesView bytes, Errc code, Responder::Config config = {}) {
    Responder r = responder(std::move(config));
    const auto claim = r.onInit(bytes, kNow);
    ASSERT_FALSE(claim.ok());
    EXPECT_EQ(claim.error().code, code) << claim.error().message;
    EXPECT_EQ(r.answer({}).error().code, Errc::Conflict) << "nothing may be signed after a refusal";
    EXPECT_TRUE(r.signedBytes().empty());
  }
  // Gives the initiator a STEP1 that was changed and signed again by the server.
  void expectStep1Refused(const std::function<void(HandshakeMessage&)>& change, Errc code, bool signAgain = true) {
    Initiator i = initiator();
    HandshakeMessage m = rawStep1(*decodeHandshake(i.init()));
    change(m);
    if (signAgain) m.sign2 = server_.sign(unsignedHandshake(m));
    const auto complete = i.onStep1(encodeHandshake(m), kNow);
    ASSERT_FALSE(complete.ok());
    EXPECT_EQ(complete.error().code, code) << complete.error().message;
    EXPECT_TRUE(i.signedBytes().empty());
    EXPECT_EQ(i.onStep1(encodeHandshake(m), kNow).error().code, Errc::Conflict) << "one answer only";
  }
  // Gives the responder a COMPLETE that was changed after its STEP1; the agent signs it again.
  void expectCompleteRefused(const std::function<void(HandshakeMessage&)>& change, Errc code,
                             IdVersion version = IdVersion::V1, bool signAgain = true) {
    Responder r = responder();
    ASSERT_TRUE(r.onInit(encodeHandshake(rawInit(version)), kNow).ok());
    HandshakeMessage m = *decodeHandshake(*r.answer(kServerSays));
    m.sign1 = agent_.sign(unsignedHandshake(m));
    change(m);
    if (signAgain) m.sign1 = agent_.sign(unsignedHandshake(m));
    const Status done = r.onComplete(encodeHandshake(m), kNow);
    ASSERT_FALSE(done.ok());
    EXPECT_EQ(done.error().code, code) << done.error().message;
    EXPECT_FALSE(r.onComplete(encodeHandshake(m), kNow).ok());
  }

  testing::FakeEntropy entropy_;
  VaultysId agent_ = VaultysId::generate(IdType::Machine, entropy_);
  VaultysId server_ = VaultysId::generate(IdType::Machine, entropy_);
  VaultysId stranger_ = VaultysId::generate(IdType::Machine, entropy_);
};

TEST_F(ChallengerTest, BothSidesFinishAndAgree) {
  Initiator i = initiator();
  Responder r = responder();
  const auto claim = r.onInit(i.init(), kNow);
  ASSERT_TRUE(claim.ok()) << claim.error().message;
  EXPECT_EQ(claim->peer, agent_);
  EXPECT_EQ(claim->version, IdVersion::V1);
  EXPECT_EQ(claim->metadata, Value(kAgentSays));
  const auto step1 = r.answer(kServerSays);
  ASSERT_TRUE(step1.ok());
  const auto complete = i.onStep1(*step1, kNow + seconds(1));
  ASSERT_TRUE(complete.ok()) << complete.error().message;
  EXPECT_EQ(i.peer(), server_);
  EXPECT_EQ(i.peerMetadata(), Value(kServerSays));
  ASSERT_TRUE(r.onComplete(*complete, kNow + seconds(2)).ok());
  EXPECT_EQ(i.signedBytes(), r.signedBytes());
  EXPECT_FALSE(i.signedBytes().empty());
}

TEST_F(ChallengerTest, WorksWithoutMetadataAndWithVersion0Secrets) {
  const VaultysId old = agent_.toVersion(IdVersion::V0);
  Initiator i(old, {}, entropy_, kNow);
  Responder r = responder();
  ASSERT_TRUE(r.onInit(i.init(), kNow).ok());
  const auto complete = i.onStep1(*r.answer({}), kNow);
  ASSERT_TRUE(complete.ok());
  EXPECT_EQ(i.peerMetadata(), Value(Map{}));
  EXPECT_TRUE(r.onComplete(*complete, kNow).ok());
}

TEST_F(ChallengerTest, AnswersVersion0InVersion0) {
  Responder r = responder();
  const auto claim = r.onInit(encodeHandshake(rawInit(IdVersion::V0)), kNow);
  ASSERT_TRUE(claim.ok()) << claim.error().message;
  EXPECT_EQ(claim->version, IdVersion::V0);
  EXPECT_EQ(claim->peer.did(), agent_.didV1());
  HandshakeMessage m = *decodeHandshake(*r.answer(kServerSays));
  EXPECT_EQ(m.pk2, server_.toVersion(IdVersion::V0).id());
  m.sign1 = agent_.toVersion(IdVersion::V0).signV0(unsignedHandshake(m));
  EXPECT_TRUE(r.onComplete(encodeHandshake(m), kNow).ok());
}

TEST_F(ChallengerTest, ResponderRefusesTheSigningOracle) {
  // A version 0 map is written without length checks: this `protocol` would make the signed bytes begin like another
  // map.
  HandshakeMessage m = rawInit(IdVersion::V0);
  m.protocol = std::string(96, 'x');
  expectInitRefused(m, Errc::PolicyDenied);
}

TEST_F(ChallengerTest, AHandshakeIsNeverAToken) {
  Initiator i = initiator();
  Responder r = responder();
  ASSERT_TRUE(r.onInit(i.init(), kNow).ok());
  const HandshakeMessage m = *decodeHandshake(*r.answer({}));
  const Bytes body = unsignedHandshake(m);
  Bytes token;
  for (int shift = 0; shift < 32; shift += 8) token.push_back(static_cast<std::uint8_t>(body.size() >> shift));
  append(token, body);
  append(token, m.sign2);
  EXPECT_EQ(verifyIntentToken(base64Encode(token), server_, kNow).error().code, Errc::Malformed);
}

TEST_F(ChallengerTest, ResponderRefusesOtherProtocolsAndServices) {
  HandshakeMessage m = rawInit(IdVersion::V1);
  m.protocol = "p2q";
  expectInitRefused(m, Errc::PolicyDenied);
  m = rawInit(IdVersion::V1);
  m.service = "agent";
  expectInitRefused(m, Errc::PolicyDenied);
  m.service = "other";
  expectInitRefused(m, Errc::PolicyDenied);
}

TEST_F(ChallengerTest, AgentServiceIsVersion1Only) {
  HandshakeMessage m = rawInit(IdVersion::V0);
  m.service = "agent";
  expectInitRefused(m, Errc::PolicyDenied, {.services = {"agent"}, .allowVersion0 = {}});
  m.version = IdVersion::V1;
  m.pk1 = agent_.id();
  EXPECT_TRUE(responder({.services = {"agent"}, .allowVersion0 = {}}).onInit(encodeHandshake(m), kNow).ok());
}

TEST_F(ChallengerTest, ResponderAsksBeforeItAnswersVersion0) {
  std::optional<Did> asked;
  const Responder::Config config{.services = {"auth"}, .allowVersion0 = [&](const Did& did) {
                                   asked = did;
                                   return false;
                                 }};
  expectInitRefused(rawInit(IdVersion::V0), Errc::PolicyDenied, config);
  EXPECT_EQ(asked, agent_.didV1());
  asked.reset();
  EXPECT_TRUE(responder(config).onInit(encodeHandshake(rawInit(IdVersion::V1)), kNow).ok());
  EXPECT_FALSE(asked.has_value());
}

TEST_F(ChallengerTest, ResponderRefusesStaleAndEarlyMessages) {
  for (const std::int64_t offset : {-60'000L, 60'000L, -3'600'000L, 3'600'000L}) {
    HandshakeMessage m = rawInit(IdVersion::V1);
    m.timestamp += offset;
    expectInitRefused(m, Errc::Expired);
  }
  HandshakeMessage far = rawInit(IdVersion::V1);
  far.timestamp = std::numeric_limits<std::int64_t>::max();
  expectInitRefused(far, Errc::Expired);
  for (const std::int64_t offset : {-59'999L, 59'999L}) {
    HandshakeMessage m = rawInit(IdVersion::V1);
    m.timestamp += offset;
    EXPECT_TRUE(responder().onInit(encodeHandshake(m), kNow).ok()) << offset;
  }
}

TEST_F(ChallengerTest, ResponderRefusesOversizedMessages) {
  HandshakeMessage m = rawInit(IdVersion::V1);
  m.metadata = {{"pk1", Map{{"x", std::string(kMaxHandshakeBytes, 'x')}}}};
  expectInitRefused(m, Errc::TooLarge);
}

TEST_F(ChallengerTest, ResponderRefusesWhatIsNotCanonical) {
  const Bytes good = encodeHandshake(rawInit(IdVersion::V1));
  Bytes trailing = good;
  trailing.push_back(0);
  expectInitBytesRefused(trailing, Errc::Malformed);
  const Map map = *msgpack::decode(good)->map();
  Map swapped = map;
  std::swap(swapped[1], swapped[2]);
  expectInitBytesRefused(msgpack::encode(swapped), Errc::Malformed);
  Map repeated = map;
  repeated.push_back(map[1]);
  expectInitBytesRefused(msgpack::encode(repeated), Errc::Malformed);
  Map unknown = map;
  unknown.emplace_back("extra", Value(true));
  expectInitBytesRefused(msgpack::encode(unknown), Errc::Malformed);
  Map floating = map;
  floating[3].second = Value(1.78e12);
  expectInitBytesRefused(msgpack::encode(floating), Errc::Malformed);
  Map twice = map;
  twice.back().second = Map{{"pk1", Map{{"a", Value(true)}, {"a", Value(false)}}}};
  expectInitBytesRefused(msgpack::encode(twice), Errc::Malformed);
  Map statement = map;
  statement.back().second = Map{{"pk1", Map{}}, {"pk2", Map{}}};
  expectInitBytesRefused(msgpack::encode(statement), Errc::Malformed);
}

TEST_F(ChallengerTest, ResponderRefusesEveryTruncationAndSurvivesBitFlips) {
  const Bytes good = encodeHandshake(rawInit(IdVersion::V1));
  for (std::size_t n = 0; n < good.size(); ++n)
    EXPECT_FALSE(responder().onInit(BytesView(good).first(n), kNow).ok()) << n;
  for (std::size_t bit = 0; bit < good.size() * 8; ++bit) {
    Bytes changed = good;
    changed[bit / 8] ^= static_cast<std::uint8_t>(1U << (bit % 8));
    Responder r = responder();
    const auto claim = r.onInit(changed, kNow);
    if (claim.ok()) {
      EXPECT_EQ(encodeHandshake(*decodeHandshake(changed)), changed) << bit;
    }
  }
}

TEST_F(ChallengerTest, ResponderRefusesIdentitiesThatAreNoMachinesOrItself) {
  HandshakeMessage m = rawInit(IdVersion::V1);
  m.pk1 = VaultysId::generate(IdType::Person, entropy_).id();
  expectInitRefused(m, Errc::PolicyDenied);
  m.pk1 = server_.id();
  expectInitRefused(m, Errc::PolicyDenied);
  m.pk1 = agent_.toVersion(IdVersion::V0).id();
  expectInitRefused(m, Errc::Malformed);
  m.pk1 = agent_.id();
  m.pk1.pop_back();
  expectInitRefused(m, Errc::Malformed);
  m.pk1 = agent_.id();
  std::fill(m.pk1.begin() + 9, m.pk1.begin() + 41, std::uint8_t{0});
  expectInitRefused(m, Errc::InvalidArgument);
  HandshakeMessage own = rawInit(IdVersion::V0);
  own.pk1 = server_.toVersion(IdVersion::V0).id();
  expectInitRefused(own, Errc::PolicyDenied);
}

TEST_F(ChallengerTest, ResponderChecksTheKeysOfIdsThatAreNotKnownToBeChecked) {
  HandshakeMessage m = rawInit(IdVersion::V1);
  std::fill_n(m.pk1.begin() + 9, 32, std::uint8_t{0});
  Bytes asked;
  Responder::Config config;
  config.isCheckedId = [&](BytesView id) {
    asked = toBytes(id);
    return false;
  };
  expectInitRefused(m, Errc::InvalidArgument, config);
  EXPECT_EQ(asked, m.pk1);
  expectInitRefused(m, Errc::InvalidArgument);
  config.isCheckedId = [](BytesView) { return true; };  // a lie shows that the check is left out
  EXPECT_TRUE(responder(config).onInit(encodeHandshake(m), kNow).ok());
}

TEST_F(ChallengerTest, ResponderTakesStepsInOrderOnly) {
  Responder r = responder();
  EXPECT_EQ(r.answer({}).error().code, Errc::Conflict);
  EXPECT_FALSE(r.onInit(encodeHandshake(rawInit(IdVersion::V1)), kNow).ok()) << "it has failed for good";
  Responder again = responder();
  ASSERT_TRUE(again.onInit(encodeHandshake(rawInit(IdVersion::V1)), kNow).ok());
  ASSERT_TRUE(again.answer({}).ok());
  EXPECT_EQ(again.answer({}).error().code, Errc::Conflict) << "one signature per handshake";
  EXPECT_EQ(responder().onComplete(encodeHandshake(rawStep1(rawInit(IdVersion::V1))), kNow).error().code,
            Errc::Conflict);
  expectInitRefused(rawStep1(rawInit(IdVersion::V1)), Errc::Malformed);
}

TEST_F(ChallengerTest, ResponderRefusesAStatementThatDoesNotFit) {
  Responder r = responder();
  ASSERT_TRUE(r.onInit(encodeHandshake(rawInit(IdVersion::V0)), kNow).ok());
  EXPECT_EQ(r.answer({{"x", std::string(kMaxHandshakeBytes - 400, 'x')}}).error().code, Errc::TooLarge);
}

TEST_F(ChallengerTest, InitiatorAcceptsTheUnchangedStep1) {
  Initiator i = initiator();
  EXPECT_TRUE(i.onStep1(encodeHandshake(rawStep1(*decodeHandshake(i.init()))), kNow).ok());
}

TEST_F(ChallengerTest, InitiatorRefusesWhatDiffersFromItsInit) {
  expectStep1Refused([](auto& m) { m.nonce[0] ^= 1; }, Errc::Conflict);
  expectStep1Refused([](auto& m) { m.timestamp += 1; }, Errc::Conflict);
  expectStep1Refused([](auto& m) { m.service = "register"; }, Errc::Conflict);
  expectStep1Refused([](auto& m) { m.protocol = "p2q"; }, Errc::Conflict);
  expectStep1Refused([](auto& m) { m.metadata[0].second = Map{{"name", "other"}}; }, Errc::Conflict);
  expectStep1Refused([](auto& m) { m.metadata.erase(m.metadata.begin()); }, Errc::Conflict);
  expectStep1Refused([](auto& m) { m.metadata.emplace(m.metadata.begin(), "pk3", Map{}); }, Errc::Conflict);
  expectStep1Refused([this](auto& m) { m.pk1 = stranger_.id(); }, Errc::Conflict);
  expectStep1Refused([](auto& m) { m.version = IdVersion::V0; }, Errc::Conflict);
}

TEST_F(ChallengerTest, InitiatorRefusesADowngrade) {
  expectStep1Refused(
      [this](auto& m) {
        m.version = IdVersion::V0;
        m.pk1 = agent_.toVersion(IdVersion::V0).id();
        m.pk2 = server_.toVersion(IdVersion::V0).id();
      },
      Errc::Conflict);
}

TEST_F(ChallengerTest, InitiatorRefusesBadSignaturesAndIdentities) {
  expectStep1Refused([](auto& m) { m.sign2[3] ^= 1; }, Errc::BadSignature, false);
  expectStep1Refused([](auto& m) { m.sign2.pop_back(); }, Errc::BadSignature, false);
  expectStep1Refused([](auto& m) { m.nonce[31] ^= 1; }, Errc::BadSignature, false);
  expectStep1Refused([](auto& m) { m.metadata.back().second = Map{}; }, Errc::BadSignature, false);
  expectStep1Refused([this](auto& m) { m.pk2 = stranger_.id(); }, Errc::BadSignature);
  expectStep1Refused([this](auto& m) { m.pk2 = agent_.id(); }, Errc::PolicyDenied);
  expectStep1Refused([this](auto& m) { m.pk2 = server_.toVersion(IdVersion::V0).id(); }, Errc::Malformed);
  const VaultysId person = VaultysId::generate(IdType::Organization, entropy_);
  expectStep1Refused([&](auto& m) { m.pk2 = person.id(); }, Errc::PolicyDenied);
}

TEST_F(ChallengerTest, InitiatorRefusesOtherMessagesAndStaleOnes) {
  Initiator i = initiator();
  EXPECT_EQ(i.onStep1(i.init(), kNow).error().code, Errc::Malformed);
  Initiator late = initiator();
  EXPECT_EQ(late.onStep1(encodeHandshake(rawStep1(*decodeHandshake(late.init()))), kNow + seconds(60)).error().code,
            Errc::Expired);
}

TEST_F(ChallengerTest, InitiatorAsksAboutThePeerBeforeItSigns) {
  std::optional<Did> asked;
  Initiator i = initiator({"auth", {}, [&](const VaultysId& peer) -> Status {
                             asked = peer.did();
                             return Error{Errc::PolicyDenied, "not pinned"};
                           }});
  const auto complete = i.onStep1(encodeHandshake(rawStep1(*decodeHandshake(i.init()))), kNow);
  ASSERT_FALSE(complete.ok());
  EXPECT_EQ(complete.error().message, "not pinned");
  EXPECT_EQ(asked, server_.did());
  EXPECT_TRUE(i.signedBytes().empty());
}

TEST_F(ChallengerTest, ResponderRefusesACompleteThatChangesAnything) {
  for (const IdVersion version : {IdVersion::V0, IdVersion::V1}) {
    const auto refused = [&](const std::function<void(HandshakeMessage&)>& change) {
      expectCompleteRefused(change, Errc::Conflict, version);
    };
    refused([](auto& m) { m.metadata.back().second = Map{{"capabilities", msgpack::Array{"system_command"}}}; });
    refused([](auto& m) { m.metadata.front().second = Map{}; });
    refused([](auto& m) { m.nonce[0] ^= 1; });
    refused([](auto& m) { m.nonce[31] ^= 1; });
    refused([](auto& m) { m.timestamp += 1; });
    refused([](auto& m) { m.sign2[0] ^= 1; });
    refused([this](auto& m) { m.pk1 = stranger_.id(); });
    refused([this](auto& m) { m.pk2 = stranger_.id(); });
    refused([](auto& m) { m.service = "register"; });
  }
}

TEST_F(ChallengerTest, ResponderRefusesAWrongOrMissingSign1) {
  expectCompleteRefused([](auto& m) { m.sign1[0] ^= 1; }, Errc::BadSignature, IdVersion::V1, false);
  expectCompleteRefused([](auto& m) { m.sign1.push_back(0); }, Errc::BadSignature, IdVersion::V1, false);
  expectCompleteRefused([this](auto& m) { m.sign1 = stranger_.sign(unsignedHandshake(m)); }, Errc::BadSignature,
                        IdVersion::V1, false);
  expectCompleteRefused([](auto& m) { m.sign1.clear(); }, Errc::Malformed, IdVersion::V1, false);
}

TEST_F(ChallengerTest, ResponderRefusesALateComplete) {
  Initiator i = initiator();
  Responder r = responder();
  ASSERT_TRUE(r.onInit(i.init(), kNow).ok());
  const auto complete = i.onStep1(*r.answer({}), kNow);
  EXPECT_EQ(r.onComplete(*complete, kNow + seconds(60)).error().code, Errc::Expired);
}

TEST_F(ChallengerTest, TellsHowFarAClockIsOff) {
  EXPECT_EQ(clockOffset(initiator().init(), kNow - seconds(90)), seconds(90));
  EXPECT_EQ(clockOffset(Bytes{1, 2, 3}, kNow), std::nullopt);
}

}  // namespace
}  // namespace vaultysclaw::identity
