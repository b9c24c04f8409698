#include "net_fixture.hpp"

namespace vaultysclaw::net {
namespace {

class WebSocketTest : public NetTest {};

// A frame as a client sends it, masked with zeroes.
std::string frame(unsigned char first, std::string_view payload) {
  std::string f;
  f.push_back(static_cast<char>(first));
  f.push_back(static_cast<char>(0x80 | payload.size()));
  return f + std::string(4, '\0') + std::string(payload);
}

std::string upgradeRequest() {
  return "GET /ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
         "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
}

TEST_F(WebSocketTest, CarriesMessagesBothWays) {
  serve();
  connect();
  const std::string large(5'000'000, 'L');
  EXPECT_EQ(send(client_, FrameKind::Text, "h\xc3\xa4llo"), SendResult::Ok);
  EXPECT_EQ(send(client_, FrameKind::Binary, std::string("\0\xff", 2)), SendResult::Ok);
  EXPECT_EQ(send(client_, FrameKind::Text, ""), SendResult::Ok);
  EXPECT_EQ(send(client_, FrameKind::Binary, large), SendResult::Ok);
  EXPECT_EQ(send(accepted_, FrameKind::Text, large), SendResult::Ok);
  ASSERT_TRUE(accepted_.waitMessages(4));
  ASSERT_TRUE(client_.waitMessages(1));
  const auto got = accepted_.seen.get().messages;
  EXPECT_EQ(got[0], std::make_pair(FrameKind::Text, std::string("h\xc3\xa4llo")));
  EXPECT_EQ(got[1], std::make_pair(FrameKind::Binary, std::string("\0\xff", 2)));
  EXPECT_EQ(got[2].second, "");
  EXPECT_EQ(got[3].second, large);
  EXPECT_EQ(client_.seen.get().messages[0].second, large);
  EXPECT_TRUE(client_.seen.wait([](const auto& s) { return s.drained > 0; }));
  loop_.runBlocking([&] {
    EXPECT_EQ(client_.connection->queuedBytes(), 0u);
    EXPECT_EQ(client_.connection->peer().protection, Protection::Loopback);
    EXPECT_EQ(accepted_.connection->peer().protection, Protection::Loopback);
    EXPECT_EQ(accepted_.connection->peer().address, "127.0.0.1");
  });
}

TEST_F(WebSocketTest, ClosesInOrderWithCodes) {
  serve();
  connect();
  loop_.runBlocking([&] {
    (void)client_.connection->send(FrameKind::Text, "last");
    client_.connection->close(4001, std::string(200, 'r'));
    EXPECT_EQ(client_.connection->send(FrameKind::Text, "x"), SendResult::Closed);
  });
  const CloseReason reason = accepted_.waitClose();
  EXPECT_EQ(reason.code, 4001);
  EXPECT_EQ(reason.text, std::string(123, 'r'));
  EXPECT_EQ(accepted_.seen.get().messages.size(), 1u);
  EXPECT_EQ(client_.waitClose().code, 4001);
}

TEST_F(WebSocketTest, ServerClosesTooAndBothAtOnce) {
  serve();
  connect();
  loop_.runBlocking([&] {
    accepted_.connection->close(close_code::kTryLater, "later");
    client_.connection->close(close_code::kNormal, "");
  });
  (void)client_.waitClose();
  (void)accepted_.waitClose();
}

TEST_F(WebSocketTest, DestroyingLosesTheConnectionForTheOther) {
  serve();
  connect();
  loop_.runBlocking([&] { client_.connection.reset(); });
  EXPECT_EQ(accepted_.waitClose().code, 1006);
  EXPECT_TRUE(client_.seen.get().closes.empty());
}

TEST_F(WebSocketTest, MayBeDestroyedInEachCallback) {
  for (const int which : {0, 1, 2}) {
    Watched<int> calls;
    std::unique_ptr<Connection> victim;
    const auto destroy = [&] {
      victim.reset();
      calls.change([](int& n) { ++n; });
    };
    auto server = listen(loop_, {},
                         {.onUpgrade = [](const auto&) { return std::nullopt; },
                          .onWebSocket =
                              [&](auto c) {
                                victim = std::move(c);
                                victim->start({.onMessage =
                                                   [&](FrameKind, std::string_view) {
                                                     if (which == 0) destroy();
                                                   },
                                               .onClose =
                                                   [&](const CloseReason&) {
                                                     if (which == 1) destroy();
                                                   },
                                               .onDrained =
                                                   [&] {
                                                     if (which == 2) destroy();
                                                   }});
                                (void)victim->send(FrameKind::Text, "x");
                              }});
    ASSERT_TRUE(server.ok());
    server_ = std::move(server).value();
    ASSERT_TRUE(dial({.url = url()}).ok());
    loop_.runBlocking([&] {
      (void)client_.connection->send(FrameKind::Text, "a");
      (void)client_.connection->send(FrameKind::Text, "b");
      client_.connection->close(1000, "");
    });
    EXPECT_TRUE(calls.wait([](int n) { return n == 1; })) << which;
    loop_.runBlocking([&] { client_.connection.reset(), victim.reset(); });
    EXPECT_EQ(calls.get(), 1);
  }
}

TEST_F(WebSocketTest, HandsTheUpgradesRequestOverWhenAsked) {
  Watched<std::string> who;
  auto server = listen(loop_, {},
                       {.onUpgrade = [](const auto&) { return std::nullopt; },
                        .onUpgraded =
                            [&](const HttpRequest& request, std::unique_ptr<Connection> c) {
                              accepted_.adopt(std::move(c));
                              const std::string id(request.queryValue("id").value_or("nobody"));
                              who.change([&](std::string& w) { w = request.path + " " + id; });
                            }});
  ASSERT_TRUE(server.ok());
  server_ = std::move(server).value();
  ASSERT_TRUE(dial({.url = url("/ws?id=a%20b")}).ok());
  EXPECT_TRUE(who.wait([](const std::string& w) { return w == "/ws a b"; }));
  EXPECT_EQ(send(client_, FrameKind::Text, "x"), SendResult::Ok);
  EXPECT_TRUE(accepted_.waitMessages(1));
}

TEST_F(WebSocketTest, RefusesMessagesThatAreTooLong) {
  serve({.limits = {.maxMessageBytes = 1000}});
  connect();
  EXPECT_EQ(send(client_, FrameKind::Binary, std::string(1001, 'x')), SendResult::Ok);
  EXPECT_EQ(accepted_.waitClose().code, close_code::kTooBig);
  EXPECT_EQ(client_.waitClose().code, close_code::kTooBig);
}

TEST_F(WebSocketTest, LimitOfMessagesCanBeMovedWhileItIsOpen) {
  serve({.limits = {.maxMessageBytes = 1000}});
  connect();
  EXPECT_EQ(send(client_, FrameKind::Binary, std::string(1000, 'x')), SendResult::Ok);
  ASSERT_TRUE(accepted_.waitMessages(1));
  loop_.runBlocking([&] { accepted_.connection->setMaxMessageBytes(200'000); });
  EXPECT_EQ(send(client_, FrameKind::Binary, std::string(200'000, 'x')), SendResult::Ok);
  ASSERT_TRUE(accepted_.waitMessages(2));
  loop_.runBlocking([&] { accepted_.connection->setMaxMessageBytes(10); });
  EXPECT_EQ(send(client_, FrameKind::Binary, std::string(11, 'x')), SendResult::Ok);
  EXPECT_EQ(accepted_.waitClose().code, close_code::kTooBig);
  EXPECT_EQ(accepted_.seen.get().messages.size(), 2u);
}

TEST_F(WebSocketTest, BoundsWhatASlowReaderLeavesQueued) {
  serve({.limits = {.maxQueuedBytes = 100'000}});
  const RawSocket s = RawSocket::connect(server_->port());
  s.send(upgradeRequest());
  ASSERT_TRUE(accepted_.waitOpen());
  bool full = false;
  for (int i = 0; i < 10'000 && !full; ++i)
    full = send(accepted_, FrameKind::Binary, std::string(50'000, 'x')) == SendResult::QueueFull;
  EXPECT_TRUE(full);
  loop_.runBlocking([&] { EXPECT_LE(accepted_.connection->queuedBytes(), 100'000u); });
}

TEST_F(WebSocketTest, ClosesFramesThatBreakTheProtocol) {
  struct Case {
    std::string bytes;
    std::uint16_t code;
  };
  for (const Case& c : {Case{frame(0x81, "\xff\xfe"), 1007}, Case{frame(0xF1, "x"), 1002}, Case{frame(0x83, "x"), 1002},
                        Case{frame(0x80, "x"), 1002}, Case{std::string("\x81\x01x"), 1002}}) {
    serve();
    const RawSocket s = RawSocket::connect(server_->port());
    s.send(upgradeRequest());
    (void)s.receiveUntil("\r\n\r\n");
    s.send(c.bytes);
    EXPECT_EQ(accepted_.waitClose().code, c.code);
    const std::string close = s.receiveAll();
    ASSERT_GE(close.size(), 4u);
    EXPECT_EQ(static_cast<unsigned char>(close[0]), 0x88);
    EXPECT_EQ(static_cast<unsigned char>(close[2]) << 8 | static_cast<unsigned char>(close[3]), c.code);
    loop_.runBlocking([&] { accepted_.connection.reset(); });
    accepted_.seen.change([](auto& seen) { seen = {}; });
  }
}

TEST_F(WebSocketTest, AcceptsEveryFragmentationOfFrames) {
  serve();
  const RawSocket s = RawSocket::connect(server_->port());
  const std::string all = upgradeRequest();
  for (const char c : all) s.send({&c, 1});
  (void)s.receiveUntil("\r\n\r\n");
  for (const char c : frame(0x01, "ab") + frame(0x89, "ping") + frame(0x80, "cd") + frame(0x88, "\x03\xe8"))
    s.send({&c, 1});
  ASSERT_TRUE(accepted_.waitMessages(1));
  EXPECT_EQ(accepted_.seen.get().messages[0].second, "abcd");
  EXPECT_EQ(accepted_.waitClose().code, 1000);
}

TEST_F(WebSocketTest, LosesAPeerThatAnswersNoPing) {
  serve({.limits = {.pingInterval = milliseconds(50)}});
  const RawSocket s = RawSocket::connect(server_->port());
  s.send(upgradeRequest());
  const CloseReason reason = accepted_.waitClose();
  EXPECT_EQ(reason.code, 1006);
  EXPECT_NE(reason.text.find("ping"), std::string::npos);
}

TEST_F(WebSocketTest, KeepsAQuietPeerThatAnswersPings) {
  serve({.limits = {.pingInterval = milliseconds(300)}});
  connect({.pingInterval = milliseconds(300)});
  Watched<bool> later;
  Timer timer;
  loop_.runBlocking([&] { timer = loop_.after(milliseconds(1000), [&] { later.change([](bool& b) { b = true; }); }); });
  ASSERT_TRUE(later.wait([](bool b) { return b; }));
  loop_.runBlocking([&] { timer.reset(); });
  EXPECT_EQ(send(client_, FrameKind::Text, "still here"), SendResult::Ok);
  EXPECT_TRUE(accepted_.waitMessages(1));
}

TEST_F(WebSocketTest, AnswersACloseThatThePeerIgnoresWithinItsTimeout) {
  serve();
  const RawSocket s = RawSocket::connect(server_->port());
  s.send(upgradeRequest());
  ASSERT_TRUE(accepted_.waitOpen());
  loop_.runBlocking([&] { accepted_.connection->close(1000, ""); });
  EXPECT_EQ(accepted_.waitClose().code, 1006);
}

TEST_F(WebSocketTest, OutlivesTheServerThatAcceptedIt) {
  serve();
  connect();
  server_.reset();
  EXPECT_EQ(send(client_, FrameKind::Text, "x"), SendResult::Ok);
  EXPECT_TRUE(accepted_.waitMessages(1));
}

}  // namespace
}  // namespace vaultysclaw::net
