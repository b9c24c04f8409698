#include "webrtc/sdp.hpp"

#include <gtest/gtest.h>

#include <functional>

namespace vaultysclaw::webrtc {
namespace {

// As Chromium writes an offer.
const std::string kChromium =
    "v=0\r\no=- 4611731400430051336 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\n"
    "a=extmap-allow-mixed\r\na=msid-semantic: WMS\r\nm=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n"
    "c=IN IP4 0.0.0.0\r\na=ice-ufrag:N3ID\r\na=ice-pwd:0123456789abcdefghijklmn\r\na=ice-options:trickle\r\n"
    "a=fingerprint:sha-256 "
    "00:01:02:03:04:05:06:07:08:09:0A:0B:0C:0D:0E:0F:10:11:12:13:14:15:16:17:18:19:1A:1B:1C:1D:1E:FF\r\n"
    "a=setup:actpass\r\na=mid:0\r\na=sctp-port:5000\r\na=max-message-size:262144\r\n";
// As Firefox does: the fingerprint and the options stand for the session.
const std::string kFirefox =
    "v=0\r\no=mozilla...THIS_IS_SDPARTA-99.0 1234567890 0 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=sendrecv\r\n"
    "a=fingerprint:sha-256 "
    "00:01:02:03:04:05:06:07:08:09:0A:0B:0C:0D:0E:0F:10:11:12:13:14:15:16:17:18:19:1A:1B:1C:1D:1E:FF\r\n"
    "a=group:BUNDLE 0\r\na=ice-options:trickle\r\na=msid-semantic:WMS *\r\n"
    "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\na=sendrecv\r\n"
    "a=ice-pwd:0123456789abcdefghijklmn\r\na=ice-ufrag:N3IDabcd\r\na=mid:0\r\na=setup:active\r\n"
    "a=sctp-port:5000\r\na=max-message-size:1073741823\r\n";

Errc refusal(const std::string& text, SdpType type = SdpType::Offer) {
  const auto parsed = parseSdp(type, text);
  return parsed.ok() ? Errc::Internal : parsed.error().code;
}
std::string with(std::string text, std::string_view from, std::string_view to) {
  const auto at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}
std::string line(const std::string& text, std::string_view prefix) {
  const auto at = text.find(prefix);
  return text.substr(at, text.find("\r\n", at) + 2 - at);
}

TEST(Sdp, ReadsWhatBrowsersWrite) {
  const auto offer = parseSdp(SdpType::Offer, kChromium);
  ASSERT_TRUE(offer.ok()) << offer.error().message;
  EXPECT_EQ(offer->iceUfrag, "N3ID");
  EXPECT_EQ(offer->setup, DtlsSetup::ActPass);
  EXPECT_EQ(offer->mid, "0");
  EXPECT_EQ(offer->maxMessageSize, 262144u);
  EXPECT_EQ(offer->trickle, Trickle::Yes);
  EXPECT_EQ(offer->fingerprint[31], 0xff);
  EXPECT_EQ(offer->sessionId, 4611731400430051336u);
  const auto answer = parseSdp(SdpType::Answer, kFirefox);
  ASSERT_TRUE(answer.ok()) << answer.error().message;
  EXPECT_EQ(answer->fingerprint, offer->fingerprint);
  EXPECT_EQ(answer->setup, DtlsSetup::Active);
}

TEST(Sdp, ReadsWhatItWrites) {
  auto description = parseSdp(SdpType::Offer, kChromium).value();
  description.candidates = {
      parseCandidate("candidate:1 1 udp 2113937151 192.0.2.1 46179 typ host").value(),
      parseCandidate("candidate:2 1 tcp 1518280447 2001:db8::1 9 typ host tcptype active").value()};
  EXPECT_EQ(parseSdp(SdpType::Offer, writeSdp(description)).value(), description);
}

TEST(Sdp, RefusesDescriptionsWithoutWhatAConnectionNeeds) {
  for (const char* needed : {"v=", "o=", "a=ice-ufrag:", "a=ice-pwd:", "a=setup:", "a=mid:", "a=sctp-port:"}) {
    EXPECT_EQ(refusal(with(kChromium, line(kChromium, needed), "")), Errc::Malformed) << needed;
  }
  EXPECT_EQ(refusal(with(kChromium, line(kChromium, "m="), "")), Errc::Unsupported);
  EXPECT_EQ(refusal(with(kChromium, line(kChromium, "a=fingerprint:"), "")), Errc::Unsupported);
  EXPECT_EQ(refusal(with(kChromium, "sha-256", "sha-1")), Errc::Unsupported);
  const auto silent = parseSdp(SdpType::Offer, with(kChromium, line(kChromium, "a=max-message-size:"), ""));
  EXPECT_EQ(silent->maxMessageSize, kDefaultMaxMessageSize);
}

TEST(Sdp, RefusesAttributesTwice) {
  for (const char* once : {"a=ice-ufrag:", "a=ice-pwd:", "a=fingerprint:", "a=setup:", "a=mid:", "a=sctp-port:",
                           "a=max-message-size:", "a=ice-options:"}) {
    const std::string twice = line(kChromium, once);
    EXPECT_EQ(refusal(with(kChromium, twice, twice + twice)), Errc::Malformed) << once;
  }
}

TEST(Sdp, RefusesOtherMedia) {
  EXPECT_EQ(refusal(kChromium + "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\n"), Errc::Unsupported);
  EXPECT_EQ(refusal(with(kChromium, "m=application", "m=video")), Errc::Unsupported);
  EXPECT_EQ(refusal(with(kChromium, "m=application 9", "m=application 0")), Errc::Unsupported);
  EXPECT_EQ(refusal(with(kChromium, "webrtc-datachannel", "5000")), Errc::Unsupported);
}

TEST(Sdp, RefusesValuesOutOfTheirRange) {
  EXPECT_EQ(refusal(with(kChromium, "ice-ufrag:N3ID", "ice-ufrag:N3I")), Errc::Malformed);
  EXPECT_EQ(refusal(with(kChromium, "ice-ufrag:N3ID", "ice-ufrag:N3 ID")), Errc::Malformed);
  EXPECT_EQ(refusal(with(kChromium, "0123456789abcdefghijklmn", "short")), Errc::Malformed);
  EXPECT_EQ(refusal(with(kChromium, "sctp-port:5000", "sctp-port:65536")), Errc::Malformed);
  EXPECT_EQ(refusal(with(kChromium, "sctp-port:5000", "sctp-port:0")), Errc::Malformed);
  EXPECT_EQ(refusal(with(kChromium, "sctp-port:5000", "sctp-port:-1")), Errc::Malformed);
  EXPECT_EQ(refusal(with(kChromium, "262144", "18446744073709551616")), Errc::Malformed);
  EXPECT_EQ(refusal(with(kChromium, "setup:actpass", "setup:holdconn")), Errc::Malformed);
  EXPECT_EQ(refusal(kChromium, SdpType::Answer), Errc::Malformed);  // an answer chooses
  EXPECT_EQ(refusal(with(kChromium, "00:01:02", "00:01")), Errc::Malformed);
  EXPECT_EQ(refusal(with(kChromium, "00:01:02", "00:0x:02")), Errc::Malformed);
}

TEST(Sdp, BoundsSizeLinesAndCandidates) {
  EXPECT_EQ(refusal(kChromium + std::string(33'000, 'a')), Errc::TooLarge);
  std::string lines = kChromium;
  for (int i = 0; i < 1000; ++i) lines += "a=x\r\n";
  EXPECT_EQ(refusal(lines), Errc::TooLarge);
  std::string candidates = kChromium;
  for (int i = 0; i < 65; ++i) candidates += "a=candidate:1 1 udp 1 192.0.2.1 46179 typ host\r\n";
  EXPECT_EQ(refusal(candidates), Errc::TooLarge);
}

TEST(Sdp, EveryTruncationIsRefusedButThatOfOptionalLinesAtTheEnd) {
  const std::size_t needed = kChromium.find("\r\na=max-message-size");
  for (std::size_t n = 0; n < kChromium.size(); ++n) {
    const auto cut = parseSdp(SdpType::Offer, std::string_view(kChromium).substr(0, n));
    // Cutting within "5000" leaves a port, too.
    if (n < needed - 3) {
      EXPECT_FALSE(cut.ok()) << n;
    }
  }
}

TEST(Sdp, EveryBitFlipIsRefusedOrCanBeWrittenAgain) {
  for (std::size_t bit = 0; bit < kChromium.size() * 8; ++bit) {
    std::string flipped = kChromium;
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << bit % 8));
    const auto parsed = parseSdp(SdpType::Offer, flipped);
    if (!parsed.ok()) continue;
    EXPECT_EQ(parseSdp(SdpType::Offer, writeSdp(*parsed)).value(), *parsed) << flipped;
  }
}

TEST(Candidates, ReadsWhatBrowsersSend) {
  const auto host = parseCandidate(
      "candidate:652561880 1 udp 2113937151 192.0.2.7 46179 typ host generation 0 ufrag N3ID network-cost 999");
  ASSERT_TRUE(host.ok()) << host.error().message;
  EXPECT_EQ(host->address, "192.0.2.7");
  EXPECT_EQ(host->port, 46179);
  EXPECT_EQ(writeCandidate(*host), "candidate:652561880 1 udp 2113937151 192.0.2.7 46179 typ host");
  const auto relay =
      parseCandidate("candidate:3 1 UDP 41885439 198.51.100.1 50000 typ relay raddr 203.0.113.5 rport 61665");
  ASSERT_TRUE(relay.ok()) << relay.error().message;
  EXPECT_EQ(relay->relatedPort, 61665);
  EXPECT_TRUE(
      parseCandidate("candidate:1 1 udp 1 9b36eaac-bb2e-49bb-bb78-21c41c499900.local 50000 typ host")->hidesAddress());
  EXPECT_FALSE(host->hidesAddress());
}

TEST(Candidates, RefusesWhatIsWrong) {
  for (const char* wrong : {"",
                            "candidate:",
                            "a=candidate:1 1 udp 1 192.0.2.1 1 typ host",
                            "candidate:1 0 udp 1 192.0.2.1 1 typ host",
                            "candidate:1 257 udp 1 192.0.2.1 1 typ host",
                            "candidate:1 1 sctp 1 192.0.2.1 1 typ host",
                            "candidate:1 1 udp 0 192.0.2.1 1 typ host",
                            "candidate:1 1 udp 2147483648 192.0.2.1 1 typ host",
                            "candidate:1 1 udp 1 192.0.2.256 1 typ host",
                            "candidate:1 1 udp 1 example.com 1 typ host",
                            "candidate:1 1 udp 1 a.b.local 1 typ host",
                            "candidate:1 1 udp 1 192.0.2.1 65536 typ host",
                            "candidate:1 1 udp 1 192.0.2.1 1 host",
                            "candidate:1 1 udp 1 192.0.2.1 1 typ other",
                            "candidate:1 1 udp 1 192.0.2.1 1 typ host raddr 192.0.2.1",
                            "candidate:1 1 udp 1 192.0.2.1 1 typ host rport 1",
                            "candidate:1 1 udp 1 192.0.2.1 1 typ host name",
                            "candidate:1 1 tcp 1 192.0.2.1 9 typ host",
                            "candidate:1 1 udp 1 192.0.2.1 9 typ host tcptype active",
                            "candidate:1 1 tcp 1 192.0.2.1 9 typ host tcptype x",
                            "candidate:1 1  udp 1 192.0.2.1 1 typ host",
                            "candidate:1 1 udp 1 192.0.2.1 1 typ host\r\n",
                            "candidate:1 1 udp 1 fe80::1%eth0 1 typ host"}) {
    EXPECT_FALSE(parseCandidate(wrong).ok()) << wrong;
  }
  EXPECT_EQ(parseCandidate("candidate:" + std::string(1100, '1')).error().code, Errc::TooLarge);
}

}  // namespace
}  // namespace vaultysclaw::webrtc
