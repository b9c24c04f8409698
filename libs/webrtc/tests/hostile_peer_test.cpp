// A peer that passed the handshake and then breaks the protocol, and somebody who shoots at its port.
#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>

#include "engine.hpp"
#include "peer_core.hpp"
#include "peer_fixture.hpp"

namespace vaultysclaw::webrtc {
namespace {

class HostilePeers : public PeerFixture {
 protected:
  // What `from` puts on the wire as it is.
  void sendRaw(TestPeer& from, SctpMessage message) {
    auto& engine = static_cast<EngineImpl&>(*engine_);
    engine.post([core = &coreOf(*from.connection), m = std::move(message)] { core->sendRaw(m); });
  }
  Errc endOf(TestPeer& victim) {
    EXPECT_TRUE(until([&] { return victim.closed.has_value(); }));
    return victim.closed && !victim.closed->ok() ? victim.closed->error().code : Errc::Internal;
  }
};

TEST_F(HostilePeers, GarbageInPlaceOfAChannelsOpeningEndsTheConnection) {
  TestPeer a, b;
  connect(a, b);
  sendRaw(a, {.stream = 1, .ppid = ppid::kDcep, .data = "garbage"});
  EXPECT_EQ(endOf(b), Errc::Malformed);
}

TEST_F(HostilePeers, AChannelOnAStreamOfTheOtherSideEndsTheConnection) {
  TestPeer a, b;
  connect(a, b);
  const std::string open(asText(encodeDcep(ChannelOpen{.label = "x"}).value()));
  sendRaw(a, {.stream = 0, .ppid = ppid::kDcep, .data = open});  // the answering side is the DTLS client: its are even
  EXPECT_EQ(endOf(b), Errc::Malformed);
}

TEST_F(HostilePeers, AChannelOpenedTwiceEndsTheConnection) {
  TestPeer a, b;
  connect(a, b);
  const std::string open(asText(encodeDcep(ChannelOpen{.label = "x"}).value()));
  sendRaw(a, {.stream = 7, .ppid = ppid::kDcep, .data = open});
  sendRaw(a, {.stream = 7, .ppid = ppid::kDcep, .data = open});
  EXPECT_EQ(endOf(b), Errc::Malformed);
}

TEST_F(HostilePeers, UnknownKindsOfMessagesEndTheConnection) {
  TestPeer a, b;
  connect(a, b);
  sendRaw(a, {.stream = 1, .ppid = 52, .data = "x"});
  EXPECT_EQ(endOf(b), Errc::Malformed);
}

TEST_F(HostilePeers, TextThatIsNotUtf8EndsTheConnection) {
  TestPeer a, b;
  connect(a, b);
  TestChannel& ours = a.open({.label = "x"});
  ASSERT_TRUE(ours.send("\xff").ok());
  EXPECT_EQ(endOf(b), Errc::Malformed);
}

TEST_F(HostilePeers, MessagesOverTheAnnouncedSizeEndTheConnection) {
  TestPeer a, b;
  auto small = loopback();
  small.maxMessageBytes = 50'000;
  connect(a, b, loopback(), small);
  TestChannel& ours = a.open({.label = "x"});
  ASSERT_TRUE(until([&] { return ours.open; }));
  EXPECT_EQ(ours.send(std::string(50'001, 'x')).error().code, Errc::TooLarge);
  sendRaw(a, {.stream = 1, .ppid = ppid::kText, .data = std::string(300'000, 'x')});
  EXPECT_EQ(endOf(b), Errc::TooLarge);
}

TEST_F(HostilePeers, MessagesWithoutAChannelAreDropped) {
  TestPeer a, b;
  connect(a, b);
  sendRaw(a, {.stream = 9, .ppid = ppid::kText, .data = "nobody"});
  sendRaw(a, {.stream = 9, .ppid = ppid::kDcep, .data = "\x02"});
  TestChannel& ours = a.open({.label = "x"});
  ASSERT_TRUE(ours.send("somebody").ok());
  ASSERT_TRUE(until([&] { return b.channels.size() == 1 && b.channels[0]->messages.size() == 1; }));
}

TEST_F(HostilePeers, DatagramsFromAnybodyChangeNothing) {
  TestPeer a, b;
  std::uint16_t port = 0;
  connect(a, b);
  // A connection whose port is known: of a third peer that only gathers.
  PeerConnection::Callbacks callbacks;
  callbacks.onCandidate = [&](const Candidate& c) { port = c.port; };
  auto options = loopback();
  const auto third = engine_->connect(executor_, options, std::move(callbacks));
  third->createOffer();
  ASSERT_TRUE(until([&] { return port != 0; }));

  const int fd = socket(AF_INET, SOCK_DGRAM, 0);
  ASSERT_GE(fd, 0);
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(port);
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  std::array<std::uint8_t, 1400> datagram{};
  for (int i = 0; i < 2000; ++i) {
    entropy_->fill(datagram);
    if (i % 4 == 1) datagram[0] = 0x16;  // as DTLS
    if (i % 4 == 2) datagram[0] = 0x00;  // as STUN
    (void)sendto(fd, datagram.data(), static_cast<std::size_t>(i) % datagram.size(), 0,
                 reinterpret_cast<const sockaddr*>(&to), sizeof to);
  }
  close(fd);
  TestChannel& ours = a.open({.label = "x"});
  ASSERT_TRUE(ours.send("fine").ok());
  ASSERT_TRUE(until([&] { return b.channels.size() == 1 && b.channels[0]->messages.size() == 1; }));
}

}  // namespace
}  // namespace vaultysclaw::webrtc
