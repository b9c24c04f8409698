#include "webrtc/peer_connection.hpp"

#include <algorithm>

#include "peer_fixture.hpp"

namespace vaultysclaw::webrtc {
namespace {

using PeerConnections = PeerFixture;

TEST_F(PeerConnections, CarryTextAndBytesBothWays) {
  TestPeer a, b;
  connect(a, b);
  TestChannel& ours = a.open({.label = "chat \xc5\xbe", .protocol = "p"});
  ASSERT_TRUE(until([&] { return ours.open && b.channels.size() == 1 && b.channels[0]->open; }));
  TestChannel& theirs = *b.channels[0];
  EXPECT_EQ(theirs.channel->parameters(), ours.channel->parameters());

  const std::string bytes("\x00\xff\x01", 3);
  ASSERT_TRUE(ours.send("hello").ok());
  ASSERT_TRUE(ours.channel->send(FrameKind::Binary, bytes).ok());
  ASSERT_TRUE(ours.send("").ok());
  ASSERT_TRUE(ours.channel->send(FrameKind::Binary, "").ok());
  ASSERT_TRUE(theirs.send("welcome").ok());
  ASSERT_TRUE(until([&] { return theirs.messages.size() == 4 && ours.messages.size() == 1; }));
  const std::vector<std::pair<FrameKind, std::string>> expected{
      {FrameKind::Text, "hello"}, {FrameKind::Binary, bytes}, {FrameKind::Text, ""}, {FrameKind::Binary, ""}};
  EXPECT_EQ(theirs.messages, expected);
  EXPECT_EQ(ours.messages[0].second, "welcome");
}

TEST_F(PeerConnections, TakeChannelsAndMessagesBeforeTheyAreConnected) {
  TestPeer a, b;
  join(a, b);
  TestChannel& first = a.open({.ordered = Ordered::No, .label = "first"});
  TestChannel& second = a.open({.label = "second"});
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(second.send(std::to_string(i)).ok());
  ASSERT_TRUE(first.send("x").ok());
  ASSERT_TRUE(until([&] {
    return b.channels.size() == 2 && b.channels[0]->messages.size() + b.channels[1]->messages.size() == 101;
  }));
  const auto& ordered = **std::find_if(b.channels.begin(), b.channels.end(),
                                       [](const auto& c) { return c->channel->parameters().label == "second"; });
  for (std::size_t i = 0; i < ordered.messages.size(); ++i) EXPECT_EQ(ordered.messages[i].second, std::to_string(i));
}

TEST_F(PeerConnections, CarryMessagesUpToWhatTheOtherSideTakes) {
  TestPeer a, b;
  connect(a, b);
  TestChannel& ours = a.open({.label = "big"});
  std::string big(256 << 10, 'x');
  for (std::size_t i = 0; i < big.size(); ++i) big[i] = static_cast<char>('a' + i % 26);
  for (int i = 0; i < 8; ++i) ASSERT_TRUE(ours.send(big).ok());
  EXPECT_EQ(ours.send(big + "x").error().code, Errc::TooLarge);
  ASSERT_TRUE(until([&] { return b.channels.size() == 1 && b.channels[0]->messages.size() == 8; }));
  for (const auto& [kind, data] : b.channels[0]->messages) EXPECT_TRUE(data == big);
}

TEST_F(PeerConnections, HaveManyChannelsAtOnceOpenedByBothSides) {
  TestPeer a, b;
  connect(a, b);
  for (int i = 0; i < 10; ++i) {
    a.open({.ordered = i % 2 == 0 ? Ordered::Yes : Ordered::No, .label = "a" + std::to_string(i)});
    b.open({.label = "b" + std::to_string(i)});
  }
  ASSERT_TRUE(until([&] { return a.channels.size() == 20 && b.channels.size() == 20; }));
  for (TestPeer* peer : {&a, &b}) {
    for (const auto& channel : peer->channels) ASSERT_TRUE(channel->send(channel->channel->parameters().label).ok());
  }
  ASSERT_TRUE(until([&] {
    return std::all_of(a.channels.begin(), a.channels.end(), [](const auto& c) { return c->messages.size() == 1; }) &&
           std::all_of(b.channels.begin(), b.channels.end(), [](const auto& c) { return c->messages.size() == 1; });
  }));
  for (TestPeer* peer : {&a, &b}) {
    for (const auto& c : peer->channels) EXPECT_EQ(c->messages[0].second, c->channel->parameters().label);
  }
}

TEST_F(PeerConnections, BoundTheNumberOfChannels) {
  TestPeer a, b;
  auto few = loopback();
  few.maxChannels = 2;
  connect(a, b, few, loopback());
  a.open({.label = "1"});
  a.open({.label = "2"});
  EXPECT_EQ(a.connection->open({.label = "3"}).error().code, Errc::Busy);
  EXPECT_EQ(b.connection->open({.label = std::string(2000, 'x')}).error().code, Errc::InvalidArgument);
}

TEST_F(PeerConnections, EndWhenTheOtherSideOpensTooManyChannels) {
  TestPeer a, b;
  auto few = loopback();
  few.maxChannels = 2;
  connect(a, b, loopback(), few);
  for (int i = 0; i < 3; ++i) a.open({.label = std::to_string(i)});
  ASSERT_TRUE(until([&] { return a.closed && b.closed; }));
  EXPECT_EQ(b.closed->error().code, Errc::TooLarge);
}

TEST_F(PeerConnections, MakeASenderWaitForAReaderThatDoesNotRead) {
  TestPeer a, b;
  auto small = loopback();
  small.maxUnreadBytes = 512 << 10;
  small.maxQueuedBytes = 1 << 20;
  b.startChannels = false;
  connect(a, b, small, small);
  TestChannel& ours = a.open({.label = "x"});
  ASSERT_TRUE(until([&] { return ours.open && b.channels.size() == 1; }));

  // Until nothing more goes out: SCTP's buffers on both sides and the reader's are full.
  std::size_t sent = 0;
  const std::string piece(64 << 10, 'x');
  bool full = false;
  while (!full) {
    ASSERT_LT(sent, 1000u) << "nothing bounds what is sent to a side that does not read";
    const Status status = ours.send(piece + std::to_string(sent));
    if (status.ok()) {
      ++sent;
      continue;
    }
    ASSERT_EQ(status.error().code, Errc::Busy);
    EXPECT_LE(ours.channel->queuedBytes(), small.maxQueuedBytes);
    // Full for good when a quarter of a second changes nothing.
    const auto before = ours.channel->queuedBytes();
    full = !executor_.runUntil([&] { return ours.channel->queuedBytes() < before; }, milliseconds(250));
  }
  EXPECT_GT(sent, 16u);

  b.channels[0]->start();
  ASSERT_TRUE(until([&] { return b.channels[0]->messages.size() == sent; }));
  for (std::size_t i = 0; i < sent; ++i) EXPECT_TRUE(b.channels[0]->messages[i].second == piece + std::to_string(i));
  EXPECT_EQ(ours.channel->queuedBytes(), 0u);
  EXPECT_GT(ours.drained, 0);
  ASSERT_TRUE(ours.send("after").ok());
  ASSERT_TRUE(until([&] { return b.channels[0]->messages.back().second == "after"; }));
}

TEST_F(PeerConnections, CloseAfterWhatWasSentHasArrived) {
  TestPeer a, b;
  connect(a, b);
  TestChannel& ours = a.open({.label = "x"});
  for (int i = 0; i < 50; ++i) ASSERT_TRUE(ours.send(std::string(10'000, 'x')).ok());
  a.connection->close();
  ASSERT_TRUE(until([&] { return a.closed && b.closed; }));
  EXPECT_TRUE(a.closed->ok());
  EXPECT_TRUE(b.closed->ok());
  ASSERT_EQ(b.channels.size(), 1u);
  EXPECT_EQ(b.channels[0]->messages.size(), 50u);
  EXPECT_TRUE(b.channels[0]->closed);
  EXPECT_TRUE(ours.closed);
  EXPECT_EQ(ours.send("x").error().code, Errc::ConnectionLost);
  EXPECT_EQ(a.connection->open({}).error().code, Errc::ConnectionLost);
}

TEST_F(PeerConnections, NoticeThatTheOtherSideIsGone) {
  TestPeer a, b;
  connect(a, b);
  TestChannel& ours = a.open({.label = "x"});
  ASSERT_TRUE(until([&] { return ours.open; }));
  b.connection.reset();
  ASSERT_TRUE(until([&] { return a.closed.has_value(); }));
  EXPECT_TRUE(a.closed->ok());
  EXPECT_TRUE(ours.closed);
}

TEST_F(PeerConnections, CloseOneChannelAndGoOnWithTheOthers) {
  TestPeer a, b;
  connect(a, b);
  TestChannel& stays = a.open({.label = "stays"});
  for (int round = 0; round < 5; ++round) {
    TestChannel& goes = a.open({.label = "goes"});
    ASSERT_TRUE(goes.send("last").ok());
    goes.channel->close();
    EXPECT_EQ(goes.send("late").error().code, Errc::ConnectionLost);
    const std::size_t at = static_cast<std::size_t>(round) + 1;
    ASSERT_TRUE(until([&] { return goes.closed && b.channels.size() == at + 1 && b.channels[at]->closed; }));
    ASSERT_EQ(b.channels[at]->messages.size(), 1u);
    EXPECT_EQ(b.channels[at]->messages[0].second, "last");
  }
  ASSERT_TRUE(stays.send("still here").ok());
  ASSERT_TRUE(until([&] { return !b.channels[0]->messages.empty(); }));
}

TEST_F(PeerConnections, AChannelThatIsDestroyedCloses) {
  TestPeer a, b;
  connect(a, b);
  TestChannel& ours = a.open({.label = "x"});
  ASSERT_TRUE(until([&] { return ours.open && b.channels.size() == 1; }));
  ours.channel.reset();
  ASSERT_TRUE(until([&] { return b.channels[0]->closed; }));
  EXPECT_FALSE(ours.closed);
}

TEST_F(PeerConnections, RefuseACertificateThatWasNotAnnounced) {
  TestPeer a, b;
  join(a, b, loopback(), loopback(), [](SessionDescription& d) {
    if (d.type == SdpType::Offer) d.fingerprint[5] ^= 1;
  });
  ASSERT_TRUE(until([&] { return b.closed.has_value(); }));
  EXPECT_EQ(b.closed->error().code, Errc::Unauthenticated);
  EXPECT_FALSE(a.connected);
  EXPECT_FALSE(b.connected);
}

TEST_F(PeerConnections, TheOfferingSideRefusesAForeignCertificateToo) {
  TestPeer a, b;
  join(a, b, loopback(), loopback(), [](SessionDescription& d) {
    if (d.type == SdpType::Answer) d.fingerprint[31] ^= 0x80;
  });
  ASSERT_TRUE(until([&] { return a.closed.has_value(); }));
  EXPECT_EQ(a.closed->error().code, Errc::Unauthenticated);
  EXPECT_FALSE(a.connected);
}

TEST_F(PeerConnections, GiveUpWhenThereIsNoWay) {
  TestPeer a, b;
  auto hasty = loopback();
  hasty.connectTimeout = milliseconds(200);
  join(a, b, hasty, loopback(), [](SessionDescription& d) { d.icePwd[0] = d.icePwd[0] == 'x' ? 'y' : 'x'; });
  ASSERT_TRUE(until([&] { return a.closed.has_value(); }));
  EXPECT_EQ(a.closed->error().code, Errc::DeadlineExceeded);
}

TEST_F(PeerConnections, RefuseDescriptionsAndOptionsThatMakeNoSense) {
  TestPeer a, b;
  connect(a, b);
  SessionDescription again;
  a.connection->setRemote(again);
  ASSERT_TRUE(until([&] { return a.closed.has_value(); }));
  EXPECT_EQ(a.closed->error().code, Errc::InvalidArgument);

  TestPeer c, d;
  join(c, d, {.stun = {{.host = "stun.example.com"}}});
  ASSERT_TRUE(until([&] { return c.closed.has_value(); }));
  EXPECT_EQ(c.closed->error().code, Errc::InvalidArgument);
}

TEST_F(PeerConnections, WorkOverIpv6) {
  TestPeer a, b;
  const PeerOptions v6{.localAddresses = {"::1"}};
  connect(a, b, v6, v6);
  TestChannel& ours = a.open({.label = "x"});
  ASSERT_TRUE(ours.send("six").ok());
  ASSERT_TRUE(until([&] { return b.channels.size() == 1 && !b.channels[0]->messages.empty(); }));
}

TEST_F(PeerConnections, ManyLiveSideBySide) {
  std::vector<std::pair<std::unique_ptr<TestPeer>, std::unique_ptr<TestPeer>>> pairs;
  for (int i = 0; i < 20; ++i) {
    auto& [a, b] = pairs.emplace_back(std::make_unique<TestPeer>(), std::make_unique<TestPeer>());
    join(*a, *b);
    ASSERT_TRUE(a->open({.label = "x"}).send(std::to_string(i)).ok());
  }
  ASSERT_TRUE(until([&] {
    return std::all_of(pairs.begin(), pairs.end(), [](const auto& pair) {
      return pair.second->channels.size() == 1 && !pair.second->channels[0]->messages.empty();
    });
  }));
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(pairs[static_cast<std::size_t>(i)].second->channels[0]->messages[0].second, std::to_string(i));
  }
}

TEST_F(PeerConnections, ThereIsOneEngineAtATime) {
  EXPECT_EQ(startEngine(*clock_, *entropy_).error().code, Errc::Conflict);
  engine_.reset();
  auto next = startEngine(*clock_, *entropy_);
  ASSERT_TRUE(next.ok());
  engine_ = std::move(*next);
  TestPeer a, b;
  connect(a, b);
}

}  // namespace
}  // namespace vaultysclaw::webrtc
