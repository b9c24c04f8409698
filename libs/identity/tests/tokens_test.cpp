#include "identity/tokens.hpp"

#include <gtest/gtest.h>

#include "base/fake_loop.hpp"
#include "base/msgpack.hpp"

namespace vaultysclaw::identity {
namespace {

using msgpack::Map;
using msgpack::Value;

constexpr WallTime kNow = WallTime(milliseconds(1'780'000'000'000));

class TokensTest : public ::testing::Test {
 protected:
  IntentToken intent() const {
    IntentToken t;
    t.id = "i-1";
    t.action = "api_call";
    t.agentId = "did:vaultys:00bf6368ccbabbc01017a92abb2e67c81126cbcb";
    t.timestamp = kNow;
    return t;
  }
  // A token over any bytes, signed by the issuer.
  std::string tokenOver(BytesView body) const {
    Bytes token;
    for (int shift = 0; shift < 32; shift += 8) token.push_back(static_cast<std::uint8_t>(body.size() >> shift));
    append(token, body);
    append(token, issuer_.sign(body));
    return base64Encode(token);
  }
  Errc intentError(const Map& body) const {
    const auto verified = verifyIntentToken(tokenOver(msgpack::encode(body)), issuer_, kNow);
    return verified.ok() ? Errc::Internal : verified.error().code;
  }

  testing::FakeEntropy entropy_;
  VaultysId issuer_ = VaultysId::generate(IdType::Machine, entropy_);
  VaultysId other_ = VaultysId::generate(IdType::Machine, entropy_);
};

TEST_F(TokensTest, IntentsRoundTripWithAndWithoutTheFeature) {
  IntentToken t = intent();
  auto plain = verifyIntentToken(signToken(issuer_, t), issuer_, kNow + std::chrono::hours(24 * 3650));
  ASSERT_TRUE(plain.ok()) << "intents have no expiry of their own";
  EXPECT_EQ(plain->id, t.id);
  EXPECT_FALSE(plain->paramsHash || plain->userDid || plain->expiresAt);
  t.paramsHash = sha256(asBytes("{}"));
  t.userDid = "did:vaultys:user";
  t.expiresAt = kNow + seconds(300);
  auto full = verifyIntentToken(signToken(issuer_, t), issuer_, kNow);
  ASSERT_TRUE(full.ok());
  EXPECT_EQ(full->paramsHash, t.paramsHash);
  EXPECT_EQ(full->userDid, t.userDid);
  EXPECT_EQ(full->expiresAt, t.expiresAt);
  EXPECT_EQ(verifyIntentToken(signToken(issuer_, t), issuer_, kNow + milliseconds(300'001)).error().code,
            Errc::Expired);
}

TEST_F(TokensTest, RefusesHalfOfTheFeature) {
  IntentToken t = intent();
  t.paramsHash = Sha256{};
  EXPECT_EQ(verifyIntentToken(signToken(issuer_, t), issuer_, kNow).error().code, Errc::Malformed);
  t = intent();
  t.expiresAt = kNow + seconds(1);
  EXPECT_EQ(verifyIntentToken(signToken(issuer_, t), issuer_, kNow).error().code, Errc::Malformed);
  t = intent();
  t.userDid = "did:vaultys:user";
  EXPECT_EQ(verifyIntentToken(signToken(issuer_, t), issuer_, kNow).error().code, Errc::Malformed);
}

TEST_F(TokensTest, PeerGrantsAndDelegationsRoundTrip) {
  PeerGrantToken g;
  g.sourceDid = "a", g.targetDid = "b", g.targetName = "Zoë", g.skillDescription = "does", g.capabilities = {"x", "y"};
  g.issuedAt = kNow, g.expiresAt = kNow + seconds(3600), g.id = "grant-1";
  const auto grant = verifyPeerGrantToken(signToken(issuer_, g), issuer_, kNow);
  ASSERT_TRUE(grant.ok());
  EXPECT_EQ(grant->id, g.id);
  EXPECT_EQ(grant->capabilities, g.capabilities);
  EXPECT_EQ(verifyDelegationToken(signToken(issuer_, g), issuer_, kNow).error().code, Errc::Malformed);
  DelegationToken d;
  d.userDid = "u", d.agentDid = "*", d.issuedAt = kNow, d.expiresAt = kNow;
  const std::string token = signToken(issuer_, d);
  EXPECT_TRUE(verifyDelegationToken(token, issuer_, kNow).ok()) << "exactly at expiry is still valid";
  EXPECT_EQ(verifyDelegationToken(token, issuer_, kNow + milliseconds(1)).error().code, Errc::Expired);
}

TEST_F(TokensTest, RefusesEveryTruncationAndBitFlip) {
  const Bytes token = *base64Decode(signToken(issuer_, intent()));
  for (std::size_t n = 0; n < token.size(); ++n) {
    ASSERT_FALSE(verifyIntentToken(base64Encode(BytesView(token).first(n)), issuer_, kNow).ok()) << n;
  }
  for (std::size_t bit = 0; bit < token.size() * 8; ++bit) {
    Bytes changed = token;
    changed[bit / 8] ^= static_cast<std::uint8_t>(1U << (bit % 8));
    ASSERT_FALSE(verifyIntentToken(base64Encode(changed), issuer_, kNow).ok()) << bit;
  }
}

TEST_F(TokensTest, ChecksTheSignatureOverTheBytesAsReceived) {
  EXPECT_EQ(verifyIntentToken(signToken(other_, intent()), issuer_, kNow).error().code, Errc::BadSignature);
  // A longer integer form: other bytes, yet properly signed.
  Bytes body = msgpack::encode(
      Map{{"type", "intent"}, {"id", "i"}, {"action", "a"}, {"agentId", "x"}, {"timestamp", Value::integer(5)}});
  body.pop_back();
  append(body, Bytes{0xcd, 0x00, 0x05});
  EXPECT_TRUE(verifyIntentToken(tokenOver(body), issuer_, kNow).ok());
}

TEST_F(TokensTest, RefusesBodiesThatCouldMeanTwoThings) {
  const Map good{{"type", "intent"}, {"id", "i"}, {"action", "a"}, {"agentId", "x"}, {"timestamp", Value::integer(5)}};
  EXPECT_EQ(intentError(good), Errc::Internal);
  Map body = good;
  body.emplace_back("protocol", "p2p");
  EXPECT_EQ(intentError(body), Errc::Malformed);
  body = good;
  body.emplace_back("action", "b");
  EXPECT_EQ(intentError(body), Errc::Malformed);
  body = good;
  body.emplace_back(Value::integer(1), "b");
  EXPECT_EQ(intentError(body), Errc::Malformed);
  body = good;
  body.emplace_back("extra", Map{{"a", Value(1.5)}});
  EXPECT_EQ(intentError(body), Errc::Internal) << "unknown members are ignored";
  body = good;
  body[4].second = Value::integer(-1);
  EXPECT_EQ(intentError(body), Errc::Malformed);
  body[4].second = Value::unsignedInteger(~0ULL);
  EXPECT_EQ(intentError(body), Errc::Malformed);
  body[4].second = Value(1.5);
  EXPECT_EQ(intentError(body), Errc::Malformed);
  body = good;
  body[0].second = "other";
  EXPECT_EQ(intentError(body), Errc::Malformed);
  for (std::size_t missing = 0; missing < good.size(); ++missing) {
    body = good;
    body.erase(body.begin() + static_cast<std::ptrdiff_t>(missing));
    EXPECT_EQ(intentError(body), Errc::Malformed) << missing;
  }
  Bytes trailing = msgpack::encode(good);
  trailing.push_back(0xc0);
  EXPECT_EQ(verifyIntentToken(tokenOver(trailing), issuer_, kNow).error().code, Errc::Malformed);
}

TEST_F(TokensTest, HashesTheBodyBytes) {
  const Bytes body = msgpack::encode(Map{{"type", "x"}});
  EXPECT_EQ(*tokenBodyHash(tokenOver(body)), sha256(body));
  for (const char* bad : {"", "AAAA", "!!", "/////w=="}) EXPECT_FALSE(tokenBodyHash(bad).ok()) << bad;
}

TEST_F(TokensTest, ResultsRoundTripAndStandForOneIntentOnly) {
  ResultToken t;
  t.intentId = "i-1";
  t.status = "success";
  t.outputHash = sha256(asBytes("{}"));
  t.executedAt = kNow;
  t.agentDid = issuer_.did().value;
  t.controlPlaneDid = other_.did().value;
  t.intentHash = *tokenBodyHash(signToken(other_, intent()));
  const auto read = verifyResultToken(signToken(issuer_, t), issuer_);
  ASSERT_TRUE(read.ok()) << read.error().message;
  EXPECT_EQ(read->intentId, t.intentId);
  EXPECT_EQ(read->status, t.status);
  EXPECT_EQ(read->outputHash, t.outputHash);
  EXPECT_FALSE(read->error || read->code);
  EXPECT_EQ(read->executedAt, t.executedAt);
  EXPECT_EQ(read->agentDid, t.agentDid);
  EXPECT_EQ(read->controlPlaneDid, t.controlPlaneDid);
  EXPECT_EQ(read->intentHash, t.intentHash);

  t.status = "failed";
  t.outputHash.reset();
  t.error = "no";
  t.code = "busy";
  const auto failed = verifyResultToken(signToken(issuer_, t), issuer_);
  ASSERT_TRUE(failed.ok());
  EXPECT_EQ(failed->error, "no");
  EXPECT_EQ(failed->code, "busy");
  EXPECT_FALSE(failed->outputHash);

  EXPECT_EQ(verifyResultToken(signToken(other_, t), issuer_).error().code, Errc::BadSignature);
  EXPECT_EQ(verifyResultToken(signToken(issuer_, intent()), issuer_).error().code, Errc::Malformed);
  t.status = "maybe";
  EXPECT_EQ(verifyResultToken(signToken(issuer_, t), issuer_).error().code, Errc::Malformed);
}

}  // namespace
}  // namespace vaultysclaw::identity
