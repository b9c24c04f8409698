#include "webrtc/peer_server.hpp"

#include <gtest/gtest.h>

#include "base/fake_loop.hpp"
#include "net/memory_network.hpp"

namespace vaultysclaw::webrtc {
namespace {

// A client by hand: what it sends and hears are texts.
struct RawClient {
  std::unique_ptr<net::Connection> connection;
  std::vector<std::string> heard;
  bool closed = false;
  void send(std::string text) { (void)connection->send(net::FrameKind::Text, std::move(text)); }
};

class Exchange final : public net::HttpExchange {
 public:
  explicit Exchange(net::HttpRequest request) : request_(std::move(request)) {}
  const net::HttpRequest& request() const override { return request_; }
  void respond(net::HttpResponse r) override { response = std::move(r); }
  void beginStream(int, net::Headers) override {}
  bool write(std::string) override { return false; }
  void endStream() override {}
  void onClientGone(std::function<void()>) override {}
  net::HttpResponse response;

 private:
  net::HttpRequest request_;
};

class PeerServers : public ::testing::Test {
 protected:
  void serve(PeerServerOptions options = {}) {
    server_ = std::make_unique<PeerServer>(loop_, clock_, entropy_, std::move(options));
    network_.listen(
        "ws://s:9000", [this](auto connection) { server_->accept(next_, std::move(connection)); }, peerServerLimits());
  }
  std::unique_ptr<RawClient> dial(std::string id, std::string token = "t", std::string key = "peerjs") {
    next_ = {};
    next_.path = "/peerjs";
    next_.query = {{"key", std::move(key)}, {"id", std::move(id)}, {"token", std::move(token)}};
    auto client = std::make_unique<RawClient>();
    pending_ = dialer_->dial({.url = "ws://s:9000/peerjs"}, [c = client.get()](auto result) {
      c->connection = std::move(result).value();
      c->connection->start({.onMessage = [c](net::FrameKind, std::string_view text) { c->heard.emplace_back(text); },
                            .onClose = [c](const net::CloseReason&) { c->closed = true; }});
    });
    loop_.runUntilIdle();
    return client;
  }
  net::HttpResponse get(std::string path, net::Headers headers = {}) {
    net::HttpRequest request;
    request.method = "GET";
    request.path = std::move(path);
    request.headers = std::move(headers);
    const auto exchange = std::make_shared<Exchange>(request);
    server_->handle(exchange);
    return exchange->response;
  }
  static std::vector<std::string> texts(std::initializer_list<const char*> all) { return {all.begin(), all.end()}; }

  testing::FakeClock clock_;
  testing::FakeLoop loop_{clock_};
  testing::FakeEntropy entropy_;
  testing::MemoryNetwork network_{loop_};
  std::unique_ptr<net::Dialer> dialer_ = network_.dialer();
  net::HttpRequest next_;
  net::Pending pending_;
  std::unique_ptr<PeerServer> server_;
};

TEST_F(PeerServers, RelaysFourFieldsAndOverwritesTheSender) {
  serve();
  const auto a = dial("a"), b = dial("b");
  EXPECT_EQ(a->heard, texts({R"({"type":"OPEN"})"}));
  a->send(R"({"type":"OFFER","src":"forged","dst":"b","payload":{"x":1},"more":true})");
  loop_.runUntilIdle();
  ASSERT_EQ(b->heard.size(), 2u);
  EXPECT_EQ(b->heard[1], R"({"type":"OFFER","src":"a","dst":"b","payload":{"x":1}})");
}

TEST_F(PeerServers, KeepsMessagesForPeersThatComeInTime) {
  serve();
  const auto a = dial("a");
  a->send(R"({"type":"OFFER","dst":"b","payload":1})");
  a->send(R"({"type":"CANDIDATE","dst":"b","payload":2})");
  a->send(R"({"type":"LEAVE","dst":"b"})");
  loop_.advance(seconds(4));
  const auto b = dial("b");
  EXPECT_EQ(b->heard, texts({R"({"type":"OPEN"})", R"({"type":"OFFER","src":"a","dst":"b","payload":1})",
                             R"({"type":"CANDIDATE","src":"a","dst":"b","payload":2})"}));
  EXPECT_EQ(server_->queuedBytes(), 0u);
  loop_.advance(seconds(10));
  EXPECT_EQ(a->heard.size(), 1u);
}

TEST_F(PeerServers, TellsEachSenderOnceThatNobodyCame) {
  serve();
  const auto a = dial("a"), c = dial("c");
  a->send(R"({"type":"OFFER","dst":"b"})");
  a->send(R"({"type":"CANDIDATE","dst":"b"})");
  c->send(R"({"type":"OFFER","dst":"b"})");
  loop_.advance(seconds(7));
  EXPECT_EQ(a->heard, texts({R"({"type":"OPEN"})", R"({"type":"EXPIRE","src":"b","dst":"a"})"}));
  EXPECT_EQ(c->heard, texts({R"({"type":"OPEN"})", R"({"type":"EXPIRE","src":"b","dst":"c"})"}));
  EXPECT_EQ(server_->queuedBytes(), 0u);
}

TEST_F(PeerServers, BoundsWhatWaits) {
  serve({.maxQueued = 3});
  const auto a = dial("a");
  for (int i = 0; i < 10; ++i) a->send(R"({"type":"OFFER","dst":"b"})");
  loop_.runUntilIdle();
  EXPECT_EQ(a->heard.size(), 8u);  // OPEN, and seven that found no place
  server_.reset();

  serve({.maxQueued = 1000, .maxQueuedBytes = 100'000});
  const auto d = dial("d");
  for (int i = 0; i < 100; ++i)
    d->send(R"({"type":"OFFER","dst":"e)" + std::to_string(i) + R"(","payload":")" + std::string(10'000, 'x') + "\"}");
  loop_.runUntilIdle();
  EXPECT_LE(server_->queuedBytes(), 100'000u);
}

TEST_F(PeerServers, RefusesAsTheOriginalDoes) {
  serve({.maxClients = 1});
  const auto none = dial("", "t");
  EXPECT_EQ(none->heard,
            texts({R"({"type":"ERROR","payload":{"msg":"No id, token, or key supplied to websocket server"}})"}));
  const auto wrong = dial("x", "t", "other");
  EXPECT_EQ(wrong->heard, texts({R"({"type":"ERROR","payload":{"msg":"Invalid key provided"}})"}));
  const auto a = dial("a", "secret");
  const auto thief = dial("a", "guess");
  EXPECT_EQ(thief->heard, texts({R"({"type":"ID-TAKEN","payload":{"msg":"ID is taken"}})"}));
  const auto full = dial("b");
  EXPECT_EQ(full->heard,
            texts({R"({"type":"ERROR","payload":{"msg":"Server has reached its concurrent user limit"}})"}));
  for (const auto* client : {none.get(), wrong.get(), thief.get(), full.get()}) EXPECT_TRUE(client->closed);
  EXPECT_FALSE(a->closed);
  EXPECT_EQ(server_->clientCount(), 1u);
}

TEST_F(PeerServers, ANewerConnectionWithTheSameTokenTakesTheId) {
  serve();
  const auto a = dial("a", "secret"), b = dial("b");
  const auto again = dial("a", "secret");
  EXPECT_EQ(again->heard, texts({R"({"type":"OPEN"})"}));
  EXPECT_TRUE(a->closed);
  b->send(R"({"type":"OFFER","dst":"a"})");
  loop_.runUntilIdle();
  EXPECT_EQ(again->heard.size(), 2u);
  EXPECT_EQ(a->heard.size(), 1u);
  EXPECT_EQ(server_->clientCount(), 2u);
}

TEST_F(PeerServers, AnIdIsFreeWhenItsConnectionCloses) {
  serve();
  auto a = dial("a", "one");
  a.reset();
  loop_.runUntilIdle();
  EXPECT_EQ(server_->clientCount(), 0u);
  EXPECT_EQ(dial("a", "two")->heard, texts({R"({"type":"OPEN"})"}));
}

TEST_F(PeerServers, OnlyHeartbeatsKeepAClient) {
  serve();
  const auto beating = dial("a"), talking = dial("b");
  for (int i = 0; i < 20; ++i) {
    beating->send(R"({"type":"HEARTBEAT"})");
    talking->send(R"({"type":"OFFER","dst":"a"})");
    loop_.advance(seconds(5));
  }
  EXPECT_FALSE(beating->closed);
  EXPECT_TRUE(talking->closed);
  EXPECT_EQ(server_->clientCount(), 1u);
}

TEST_F(PeerServers, IgnoresWhatIsNoMessageOfAClient) {
  serve();
  const auto a = dial("a"), b = dial("b");
  for (const char* odd : {"", "x", "[]", R"({"type":"NONSENSE","dst":"b"})", R"({"type":"OPEN","dst":"b"})",
                          R"({"type":"ID-TAKEN","dst":"b"})", R"({"type":"OFFER"})"})
    a->send(odd);
  loop_.runUntilIdle();
  EXPECT_FALSE(a->closed);
  EXPECT_EQ(b->heard.size(), 1u);
  a->send(R"({"type":"LEAVE"})");
  loop_.runUntilIdle();
  EXPECT_EQ(server_->clientCount(), 1u);
}

TEST_F(PeerServers, GivesIdsAndSaysWhatItIs) {
  serve({.path = "/sig/"});
  const auto id = get("/sig/peerjs/id", {{"Origin", "https://page.example"}});
  EXPECT_EQ(id.status, 200);
  EXPECT_EQ(id.body.size(), 36u);
  EXPECT_EQ(id.body[14], '4');
  EXPECT_TRUE(isClientPeerId(id.body));
  EXPECT_NE(std::find(id.headers.begin(), id.headers.end(),
                      std::pair<std::string, std::string>("Access-Control-Allow-Origin", "https://page.example")),
            id.headers.end());
  EXPECT_EQ(get("/sig/").status, 200);
  EXPECT_EQ(get("/sig/peerjs/peers").status, 401);
  EXPECT_EQ(get("/sig/peerjs/other").status, 404);
  EXPECT_EQ(get("/").status, 404);
  net::HttpRequest upgrade;
  upgrade.path = "/sig/peerjs";
  EXPECT_FALSE(server_->welcome(upgrade).has_value());
  upgrade.path = "/peerjs";
  EXPECT_EQ(server_->welcome(upgrade)->status, 400);
}

TEST_F(PeerServers, ListsIdsOnlyWhenTold) {
  serve({.discovery = Discovery::On});
  const auto a = dial("a"), b = dial("b c");
  EXPECT_EQ(get("/peerjs/peers").body, R"(["a","b c"])");
}

TEST_F(PeerServers, AReceiverWhoseConnectionIsUnusableLeaves) {
  serve();
  const auto a = dial("a"), b = dial("b");
  network_.setSendHook([](testing::Direction d) {
    return d == testing::Direction::ToClient ? net::SendResult::QueueFull : net::SendResult::Ok;
  });
  a->send(R"({"type":"OFFER","dst":"b"})");
  loop_.runUntilIdle();
  EXPECT_EQ(server_->clientCount(), 0u);  // neither reads
  EXPECT_TRUE(b->closed);
}

}  // namespace
}  // namespace vaultysclaw::webrtc
