// Two connections in one process, over loopback.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/ports.hpp"
#include "webrtc/peer_connection.hpp"
#include "webrtc/queue_executor.hpp"

namespace vaultysclaw::webrtc {

using net::FrameKind;

// One channel and what came on it.
struct TestChannel {
  std::unique_ptr<DataChannel> channel;
  std::vector<std::pair<FrameKind, std::string>> messages;
  std::size_t bytes = 0;
  bool open = false, closed = false;
  int drained = 0;

  void start() {
    channel->start({.onOpen = [this] { open = true; },
                    .onMessage =
                        [this](FrameKind kind, std::string_view data) {
                          EXPECT_FALSE(closed);
                          bytes += data.size();
                          messages.emplace_back(kind, std::string(data));
                        },
                    .onDrained = [this] { ++drained; },
                    .onClose =
                        [this] {
                          EXPECT_FALSE(closed);
                          closed = true;
                        }});
  }
  Status send(std::string text) { return channel->send(FrameKind::Text, std::move(text)); }
};

struct TestPeer {
  std::unique_ptr<PeerConnection> connection;
  std::vector<std::unique_ptr<TestChannel>> channels;  // opened by the other side
  bool startChannels = true;
  bool connected = false;
  std::optional<Status> closed;

  TestChannel& open(ChannelOpen parameters) {
    auto& channel = channels.emplace_back(std::make_unique<TestChannel>());
    channel->channel = connection->open(std::move(parameters)).value();
    channel->start();
    return *channel;
  }
};

class PeerFixture : public ::testing::Test {
 protected:
  void SetUp() override {
    auto engine = startEngine(*clock_, *entropy_);
    ASSERT_TRUE(engine.ok()) << engine.error().message;
    engine_ = std::move(*engine);
  }

  static PeerOptions loopback() { return {.localAddresses = {"127.0.0.1"}}; }

  // Joins two peers: what one says reaches the other, unless `change` makes something else of a description.
  void join(TestPeer& a, TestPeer& b, PeerOptions forA = loopback(), PeerOptions forB = loopback(),
            std::function<void(SessionDescription&)> change = {}) {
    make(a, b, std::move(forA), change);
    make(b, a, std::move(forB), change);
    a.connection->createOffer();
  }
  bool until(const std::function<bool()>& done) { return executor_.runUntil(done); }
  void connect(TestPeer& a, TestPeer& b, PeerOptions forA = loopback(), PeerOptions forB = loopback()) {
    join(a, b, std::move(forA), std::move(forB));
    ASSERT_TRUE(until([&] { return (a.connected && b.connected) || a.closed || b.closed; }));
    ASSERT_FALSE(a.closed && !a.closed->ok()) << a.closed->error().message;
    ASSERT_FALSE(b.closed && !b.closed->ok()) << b.closed->error().message;
    ASSERT_TRUE(a.connected && b.connected);
  }

  std::unique_ptr<Clock> clock_ = makeSystemClock();
  std::unique_ptr<Entropy> entropy_ = makeSystemEntropy();
  testing::QueueExecutor executor_;
  std::unique_ptr<Engine> engine_;  // destroyed after the connections of each test

 private:
  void make(TestPeer& self, TestPeer& other, PeerOptions options, std::function<void(SessionDescription&)> change) {
    PeerConnection::Callbacks callbacks;
    callbacks.onDescription = [&other, change](const SessionDescription& d) {
      // Over the wire, as it would be.
      auto copy = parseSdp(d.type, writeSdp(d)).value();
      EXPECT_EQ(copy, d);
      if (change) change(copy);
      if (other.connection) other.connection->setRemote(copy);
    };
    callbacks.onCandidate = [&other](const Candidate& c) {
      if (other.connection) other.connection->addRemoteCandidate(parseCandidate(writeCandidate(c)).value());
    };
    callbacks.onConnected = [&self] { self.connected = true; };
    callbacks.onChannel = [&self](std::unique_ptr<DataChannel> channel) {
      auto& added = self.channels.emplace_back(std::make_unique<TestChannel>());
      added->channel = std::move(channel);
      if (self.startChannels) added->start();
    };
    callbacks.onClosed = [&self](const Status& why) {
      EXPECT_FALSE(self.closed.has_value());
      self.closed = why;
    };
    self.connection = engine_->connect(executor_, std::move(options), std::move(callbacks));
  }
};

}  // namespace vaultysclaw::webrtc
