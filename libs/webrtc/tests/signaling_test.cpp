#include "webrtc/signaling.hpp"

#include <gtest/gtest.h>

namespace vaultysclaw::webrtc {
namespace {

SessionDescription description(SdpType type) {
  SessionDescription d;
  d.type = type;
  d.sessionId = 7;
  d.iceUfrag = "abcd";
  d.icePwd = std::string(22, 'p');
  d.setup = type == SdpType::Offer ? DtlsSetup::ActPass : DtlsSetup::Active;
  return d;
}

template <class T>
Errc codeOf(const Result<T>& result) {
  return result.ok() ? Errc::Internal : result.error().code;
}

TEST(Signaling, RelayedMessagesHaveTheFieldsOfTheOriginalsServerInItsOrder) {
  const SignalMessage message{SignalType::Offer, PeerId("a"), PeerId("b"), R"({"x":1})"};
  EXPECT_EQ(encodeSignal(message), R"({"type":"OFFER","src":"a","dst":"b","payload":{"x":1}})");
  EXPECT_EQ(encodeSignal({SignalType::Open, {}, {}, {}}), R"({"type":"OPEN"})");
  EXPECT_EQ(encodeSignal({SignalType::Heartbeat, {}, {}, {}}), R"({"type":"HEARTBEAT"})");
  EXPECT_EQ(encodeSignal({SignalType::IdTaken, {}, {}, R"({"msg":"ID is taken"})"}),
            R"({"type":"ID-TAKEN","payload":{"msg":"ID is taken"}})");
}

TEST(Signaling, EveryTypeGoesBothWays) {
  for (int i = 0; i <= static_cast<int>(SignalType::Expire); ++i) {
    const SignalMessage message{static_cast<SignalType>(i), PeerId("a b"), PeerId("c"), R"({"a":[1,2.5,"ž"]})"};
    EXPECT_EQ(decodeSignal(encodeSignal(message)).value(), message);
  }
}

TEST(Signaling, DropsOtherFieldsAndKeepsThePayload) {
  const auto message = decodeSignal(R"({"type":"OFFER","dst":"b","extra":1,"payload":{"b":1,"a":{"c":null}}})");
  ASSERT_TRUE(message.ok()) << message.error().message;
  EXPECT_EQ(encodeSignal(*message), R"({"type":"OFFER","dst":"b","payload":{"b":1,"a":{"c":null}}})");
}

TEST(Signaling, RefusesWhatIsNoMessage) {
  for (const char* wrong : {"", "x", "[]", "1", "null", "{}", R"({"type":1})", R"({"type":"OFFER","dst":1})",
                            R"({"type":"OFFER","type":"OFFER"})", R"({"type":"OFFER"} x)", "{\"type\":\"OFFER\",",
                            "{\"type\":\"OFFER\",\"dst\":\"a\\u0000\"}"}) {
    EXPECT_EQ(codeOf(decodeSignal(wrong)), Errc::Malformed) << wrong;
  }
  EXPECT_EQ(codeOf(decodeSignal(R"({"type":"NONSENSE"})")), Errc::Unsupported);
  EXPECT_EQ(codeOf(decodeSignal(R"({"type":"OFFER","dst":")" + std::string(257, 'x') + "\"}")), Errc::Malformed);
  EXPECT_EQ(codeOf(decodeSignal(R"({"type":"OFFER","payload":")" + std::string(kMaxSignalBytes, 'x') + "\"}")),
            Errc::TooLarge);
}

TEST(Signaling, EveryTruncationIsRefused) {
  const std::string whole = encodeSignal({SignalType::Offer, PeerId("a"), PeerId("b"), R"({"x":[1,{"y":"z"}]})"});
  for (std::size_t n = 0; n < whole.size(); ++n) EXPECT_FALSE(decodeSignal(whole.substr(0, n)).ok()) << n;
}

TEST(Signaling, OffersGoBothWays) {
  OfferPayload offer{.connection = PeerConnectionId("dc_0jte058hzox"),
                     .description = description(SdpType::Offer),
                     .label = "l",
                     .metadata = R"({"k":[1]})",
                     .reliable = Ordered::Yes,
                     .serialization = Serialization::Json};
  const auto back = decodeOffer(encodePayload(offer));
  ASSERT_TRUE(back.ok()) << back.error().message;
  EXPECT_EQ(back->description, offer.description);
  EXPECT_EQ(back->connection, offer.connection);
  EXPECT_EQ(back->label, "l");
  EXPECT_EQ(back->metadata, offer.metadata);
  EXPECT_EQ(back->reliable, Ordered::Yes);
  EXPECT_EQ(back->serialization, Serialization::Json);
  offer.serialization = Serialization::BinaryUtf8;
  EXPECT_EQ(decodeOffer(encodePayload(offer))->serialization, Serialization::Binary);
}

TEST(Signaling, OffersOfOlderClientsAreRead) {
  std::string sdp = writeSdp(description(SdpType::Offer));
  for (std::size_t at = 0; (at = sdp.find("\r\n", at)) != std::string::npos; at += 4) sdp.replace(at, 2, "\\r\\n");
  const std::string base = R"({"sdp":{"type":"offer","sdp":")" + sdp + R"("},"type":"data","connectionId":"dc_1",)";
  const auto old = decodeOffer(base + R"("browser":"chrome","serialization":"binary-utf8"})");
  ASSERT_TRUE(old.ok()) << old.error().message;
  EXPECT_EQ(old->serialization, Serialization::BinaryUtf8);
  EXPECT_EQ(old->reliable, Ordered::No);
  EXPECT_EQ(old->label, "dc_1");
  EXPECT_EQ(decodeOffer(base + R"("serialization":"default"})")->serialization, Serialization::Binary);
  EXPECT_EQ(codeOf(decodeOffer(base + R"("serialization":"other"})")), Errc::Unsupported);
  EXPECT_EQ(codeOf(decodeOffer(base + R"("reliable":1})")), Errc::Malformed);
}

TEST(Signaling, AnswersAndCandidatesGoBothWays) {
  const AnswerPayload answer{PeerConnectionId("dc_1"), description(SdpType::Answer)};
  EXPECT_EQ(decodeAnswer(encodePayload(answer))->description, answer.description);
  EXPECT_FALSE(decodeOffer(encodePayload(answer)).ok());
  const CandidatePayload candidate{PeerConnectionId("dc_1"),
                                   parseCandidate("candidate:1 1 udp 5 192.0.2.1 9000 typ host").value(), "0", "abcd"};
  const auto back = decodeCandidate(encodePayload(candidate));
  ASSERT_TRUE(back.ok()) << back.error().message;
  EXPECT_EQ(back->candidate, candidate.candidate);
  EXPECT_EQ(back->ufrag, "abcd");
}

TEST(Signaling, MediaConnectionsAreNotSupported) {
  EXPECT_EQ(codeOf(decodeOffer(R"({"type":"media","connectionId":"mc_1"})")), Errc::Unsupported);
}

TEST(Signaling, TellsWhichIdsAClientTakes) {
  for (const char* good : {"a", "a-b", "a b_c", "0f"}) EXPECT_TRUE(isClientPeerId(good)) << good;
  for (const char* bad : {"", "-a", "a-", "a--b", "a.b", "\xc5\xbe"}) EXPECT_FALSE(isClientPeerId(bad)) << bad;
}

}  // namespace
}  // namespace vaultysclaw::webrtc
