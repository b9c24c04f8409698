#include "net/memory_network.hpp"

#include <gtest/gtest.h>

#include "base/fake_loop.hpp"

namespace vaultysclaw::net {
namespace {

using testing::FakeClock;
using testing::FakeLoop;
using testing::MemoryNetwork;

struct Side {
  std::unique_ptr<Connection> connection;
  std::vector<std::string> messages;
  std::vector<CloseReason> closes;
  int drained = 0;

  void start() {
    connection->start({.onMessage = [this](FrameKind, std::string_view m) { messages.emplace_back(m); },
                       .onClose = [this](const CloseReason& r) { closes.push_back(r); },
                       .onDrained = [this] { ++drained; }});
  }
};

struct MemoryNetworkTest : ::testing::Test {
  void SetUp() override {
    network.listen("ws://cp:8080", [this](auto c) { server.connection = std::move(c); });
    pending = dialer->dial({.url = "ws://cp:8080/agent"}, [this](auto r) {
      ASSERT_TRUE(r.ok());
      client.connection = std::move(r).value();
    });
    EXPECT_EQ(client.connection, nullptr);
    loop.runUntilIdle();
    ASSERT_NE(client.connection, nullptr);
    ASSERT_NE(server.connection, nullptr);
  }
  void startBoth() {
    client.start();
    server.start();
  }

  FakeClock clock;
  FakeLoop loop{clock};
  MemoryNetwork network{loop};
  std::unique_ptr<Dialer> dialer = network.dialer();
  Pending pending;
  Side client, server;
};

TEST_F(MemoryNetworkTest, DeliversInOrderOnceStarted) {
  for (int i = 0; i < 5; ++i) EXPECT_EQ(client.connection->send(FrameKind::Text, std::to_string(i)), SendResult::Ok);
  loop.runUntilIdle();
  EXPECT_EQ(client.connection->queuedBytes(), 5u);
  startBoth();
  EXPECT_TRUE(server.messages.empty());
  loop.runUntilIdle();
  EXPECT_EQ(server.messages, (std::vector<std::string>{"0", "1", "2", "3", "4"}));
  EXPECT_EQ(client.drained, 1);
  EXPECT_EQ(client.connection->queuedBytes(), 0u);
  EXPECT_EQ(client.connection->peer().protection, Protection::Loopback);
}

TEST_F(MemoryNetworkTest, ClosesAfterWhatIsQueued) {
  startBoth();
  (void)client.connection->send(FrameKind::Text, "last");
  client.connection->close(4001, "bye");
  EXPECT_EQ(client.connection->send(FrameKind::Text, "x"), SendResult::Closed);
  loop.runUntilIdle();
  EXPECT_EQ(server.messages.size(), 1u);
  ASSERT_EQ(server.closes.size(), 1u);
  EXPECT_EQ(server.closes[0].code, 4001);
  EXPECT_EQ(server.closes[0].text, "bye");
  ASSERT_EQ(client.closes.size(), 1u);
  EXPECT_EQ(network.connectionCount(), 0u);
}

TEST_F(MemoryNetworkTest, DestroyedConnectionIsLostForTheOther) {
  startBoth();
  client.connection.reset();
  loop.runUntilIdle();
  ASSERT_EQ(server.closes.size(), 1u);
  EXPECT_EQ(server.closes[0].code, 1006);
  EXPECT_TRUE(client.closes.empty());
}

TEST_F(MemoryNetworkTest, MayBeDestroyedInItsCallbacks) {
  client.start();
  int calls = 0;
  server.connection->start({.onMessage = [&](FrameKind, std::string_view) { server.connection.reset(), ++calls; }});
  (void)client.connection->send(FrameKind::Text, "a");
  (void)client.connection->send(FrameKind::Text, "b");
  loop.runUntilIdle();
  EXPECT_EQ(calls, 1);
  EXPECT_EQ(client.closes.size(), 1u);
}

TEST_F(MemoryNetworkTest, HoldsAndReleases) {
  startBoth();
  network.hold();
  for (const char* m : {"a", "b", "c"}) (void)client.connection->send(FrameKind::Text, m);
  loop.runUntilIdle();
  EXPECT_TRUE(server.messages.empty());
  network.releaseFrames(1);
  loop.runUntilIdle();
  EXPECT_EQ(server.messages.size(), 1u);
  network.release();
  loop.runUntilIdle();
  EXPECT_EQ(server.messages.size(), 3u);
}

TEST_F(MemoryNetworkTest, BoundsTheQueue) {
  EXPECT_EQ(client.connection->send(FrameKind::Binary, std::string(std::size_t{32} << 20, 'x')), SendResult::Ok);
  EXPECT_EQ(client.connection->send(FrameKind::Binary, "x"), SendResult::QueueFull);
}

TEST_F(MemoryNetworkTest, RefusesTooBigAndNonUtf8) {
  startBoth();
  (void)client.connection->send(FrameKind::Text, "\xff");
  loop.runUntilIdle();
  ASSERT_EQ(client.closes.size(), 1u);
  EXPECT_EQ(client.closes[0].code, 1007);
}

TEST_F(MemoryNetworkTest, LimitOfMessagesCanBeMoved) {
  startBoth();
  server.connection->setMaxMessageBytes(4);
  (void)client.connection->send(FrameKind::Text, "four");
  loop.runUntilIdle();
  server.connection->setMaxMessageBytes(5);
  (void)client.connection->send(FrameKind::Text, "fives");
  loop.runUntilIdle();
  EXPECT_EQ(server.messages.size(), 2u);
  (void)client.connection->send(FrameKind::Text, "sixsix");
  loop.runUntilIdle();
  EXPECT_EQ(server.messages.size(), 2u);
  ASSERT_EQ(client.closes.size(), 1u);
  EXPECT_EQ(client.closes[0].code, close_code::kTooBig);
}

TEST_F(MemoryNetworkTest, CutsPartitionsAndDelays) {
  startBoth();
  network.setDelay(seconds(1));
  (void)client.connection->send(FrameKind::Text, "slow");
  loop.runUntilIdle();
  EXPECT_TRUE(server.messages.empty());
  loop.advance(seconds(1));
  EXPECT_EQ(server.messages.size(), 1u);

  network.setPartitioned(true);
  (void)client.connection->send(FrameKind::Text, "gone");
  loop.advance(seconds(2));
  EXPECT_EQ(server.messages.size(), 1u);
  network.setPartitioned(false);
  EXPECT_TRUE(network.cut(0));
  EXPECT_FALSE(network.cut(0));
  loop.runUntilIdle();
  EXPECT_EQ(server.closes.size() + client.closes.size(), 2u);
}

TEST_F(MemoryNetworkTest, PartitionEndsConnectionsAfterTheirPings) {
  startBoth();
  network.setPartitioned(true);
  loop.advance(seconds(41));
  EXPECT_EQ(server.closes.size() + client.closes.size(), 2u);
}

TEST_F(MemoryNetworkTest, HookChangesAndDrops) {
  startBoth();
  network.setHook([](testing::Direction d, FrameKind, std::string& data) {
    data += d == testing::Direction::ToServer ? "!" : "?";
    return data != "drop!";
  });
  (void)client.connection->send(FrameKind::Text, "drop");
  (void)client.connection->send(FrameKind::Text, "keep");
  loop.runUntilIdle();
  EXPECT_EQ(server.messages, std::vector<std::string>{"keep!"});
}

TEST_F(MemoryNetworkTest, DialsFailAndCancel) {
  std::optional<Errc> code;
  auto failed = dialer->dial({.url = "wss://nobody"}, [&](auto r) { code = r.error().code; });
  auto cancelled = dialer->dial({.url = "ws://cp:8080"}, [&](auto) { ADD_FAILURE() << "cancelled"; });
  cancelled.reset();
  loop.runUntilIdle();
  EXPECT_EQ(code, Errc::Unavailable);
  network.setPartitioned(true);
  auto late = dialer->dial({.url = "ws://cp:8080"}, [&](auto r) { code = r.error().code; });
  loop.advance(seconds(15));
  EXPECT_EQ(code, Errc::DeadlineExceeded);
}

}  // namespace
}  // namespace vaultysclaw::net
