#include "dtls.hpp"

#include <gtest/gtest.h>

#include <deque>
#include <optional>

namespace vaultysclaw::webrtc {
namespace {

// Two sides whose datagrams cross when pump() says so.
class Dtls : public ::testing::Test {
 protected:
  struct Side {
    std::unique_ptr<DtlsTransport> transport;
    std::deque<Bytes> out;
    std::string got;
    std::optional<Status> end;
    bool connected = false;
  };
  void SetUp() override {
    const auto entropy = makeSystemEntropy();
    for (auto* identity : {&clientId_, &serverId_}) {
      auto made = DtlsIdentity::make(*entropy, fromUnixMillis(1'780'000'000'000));
      ASSERT_TRUE(made.ok()) << made.error().message;
      *identity = std::move(*made);
    }
    make(client_, *clientId_, DtlsRole::Client, serverId_->fingerprint());
    make(server_, *serverId_, DtlsRole::Server, clientId_->fingerprint());
  }
  static void make(Side& side, const DtlsIdentity& identity, DtlsRole role, const Fingerprint& expected) {
    side.end.reset();
    side.connected = false;
    side.out.clear();
    DtlsTransport::Callbacks callbacks;
    callbacks.send = [&side](BytesView d) { side.out.push_back(toBytes(d)); };
    callbacks.onConnected = [&side] { side.connected = true; };
    callbacks.onData = [&side](BytesView d) { side.got += asText(d); };
    callbacks.onEnd = [&side](const Status& why) { side.end = why; };
    auto made = DtlsTransport::make(identity, role, expected, std::move(callbacks));
    ASSERT_TRUE(made.ok()) << made.error().message;
    side.transport = std::move(*made);
  }
  void pump(const std::function<void(Bytes&)>& change = {}) {
    while (!client_.out.empty() || !server_.out.empty()) {
      for (auto [from, to] : {std::pair(&client_, &server_), std::pair(&server_, &client_)}) {
        if (from->out.empty()) continue;
        Bytes datagram = std::move(from->out.front());
        from->out.pop_front();
        longest_ = std::max(longest_, datagram.size());
        if (change) change(datagram);
        to->transport->receive(datagram);
      }
    }
  }
  void connect() {
    client_.transport->start();
    pump();
    ASSERT_TRUE(client_.connected && server_.connected);
  }

  std::optional<DtlsIdentity> clientId_, serverId_;
  Side client_, server_;
  std::size_t longest_ = 0;
};

TEST_F(Dtls, ConnectsTwoSidesThatKnowEachOthersFingerprint) {
  connect();
  EXPECT_LE(longest_, DtlsTransport::kDatagramBytes);
  ASSERT_TRUE(client_.transport->send(asBytes("from client")));
  ASSERT_TRUE(server_.transport->send(asBytes("from server")));
  pump();
  EXPECT_EQ(server_.got, "from client");
  EXPECT_EQ(client_.got, "from server");
}

TEST_F(Dtls, RefusesAnyOtherFingerprint) {
  Fingerprint wrong = serverId_->fingerprint();
  wrong[31] ^= 1;
  make(client_, *clientId_, DtlsRole::Client, wrong);
  client_.transport->start();
  pump();
  ASSERT_TRUE(client_.end.has_value());
  EXPECT_EQ(client_.end->error().code, Errc::Unauthenticated);
  EXPECT_FALSE(client_.connected);
  EXPECT_FALSE(server_.connected);
}

TEST_F(Dtls, AServerRefusesAnyOtherFingerprintToo) {
  make(server_, *serverId_, DtlsRole::Server, Fingerprint{});
  client_.transport->start();
  pump();
  ASSERT_TRUE(server_.end.has_value());
  EXPECT_EQ(server_.end->error().code, Errc::Unauthenticated);
  EXPECT_FALSE(server_.connected);
}

TEST_F(Dtls, DropsDatagramsThatWereChanged) {
  connect();
  ASSERT_TRUE(client_.transport->send(asBytes("secret")));
  const Bytes record = client_.out.front();
  client_.out.clear();
  for (std::size_t bit = 0; bit < record.size() * 8; ++bit) {
    Bytes changed = record;
    changed[bit / 8] ^= static_cast<std::uint8_t>(1u << bit % 8);
    server_.transport->receive(changed);
  }
  for (std::size_t n = 0; n < record.size(); ++n) server_.transport->receive(BytesView(record).first(n));
  EXPECT_EQ(server_.got, "");
  EXPECT_FALSE(server_.end.has_value());
  server_.transport->receive(record);
  server_.transport->receive(record);  // a replay
  EXPECT_EQ(server_.got, "secret");
}

TEST_F(Dtls, ARecordTooShortToBeDecryptedDoesNotEndTheConnection) {
  connect();
  ASSERT_TRUE(client_.transport->send(asBytes("secret")));
  const Bytes record = client_.out.front();
  for (std::size_t n = 0; n + 13 < record.size(); ++n) {
    Bytes shorter(record.begin(), record.begin() + static_cast<std::ptrdiff_t>(13 + n));
    shorter[12] = static_cast<std::uint8_t>(n);
    server_.transport->receive(shorter);
  }
  pump();
  EXPECT_EQ(server_.got, "secret");
  EXPECT_FALSE(server_.end.has_value());
  EXPECT_FALSE(client_.end.has_value());
}

TEST_F(Dtls, AChangedHandshakeFailsOrMakesNoDifference) {
  // One flipped bit in one datagram, at many places. Numbers of unprotected records may change without a consequence.
  std::size_t connected = 0, tried = 0;
  for (std::size_t seed = 0; seed < 300; ++seed) {
    make(client_, *clientId_, DtlsRole::Client, serverId_->fingerprint());
    make(server_, *serverId_, DtlsRole::Server, clientId_->fingerprint());
    std::size_t number = 0;
    bool flipped = false;
    client_.transport->start();
    pump([&](Bytes& datagram) {
      if (number++ != seed % 4) return;
      datagram[(seed * 37) % datagram.size()] ^= static_cast<std::uint8_t>(1u << seed % 8);
      flipped = true;
    });
    tried += flipped ? 1 : 0;
    if (!flipped || !client_.connected || !server_.connected) continue;
    ++connected;
    client_.got.clear(), server_.got.clear();
    ASSERT_TRUE(client_.transport->send(asBytes("same")));
    ASSERT_TRUE(server_.transport->send(asBytes("same")));
    pump();
    EXPECT_EQ(client_.got, "same") << seed;
    EXPECT_EQ(server_.got, "same") << seed;
  }
  EXPECT_EQ(tried, 300u);
  EXPECT_LT(connected, tried / 4);
}

TEST_F(Dtls, SaysThatItCloses) {
  connect();
  client_.transport->shutdown();
  pump();
  ASSERT_TRUE(server_.end.has_value());
  EXPECT_TRUE(server_.end->ok());
  EXPECT_FALSE(client_.transport->send(asBytes("x")));
}

TEST_F(Dtls, SendsNothingBeforeItIsConnected) {
  EXPECT_FALSE(client_.transport->send(asBytes("x")));
  EXPECT_TRUE(client_.out.empty());
}

}  // namespace
}  // namespace vaultysclaw::webrtc
