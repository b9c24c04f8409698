// PeerJS clients and their server over loopback, with real WebSockets and data channels.
#include "webrtc/peer_client.hpp"

#include <gtest/gtest.h>

#include <future>

#include "net/io_loop.hpp"
#include "webrtc/peer_server.hpp"

namespace vaultysclaw::webrtc {
namespace {

using msgpack::Array;
using msgpack::Map;
using msgpack::Value;

struct Talk {
  std::unique_ptr<DataConnection> connection;
  std::vector<Value> got;
  bool open = false;
  std::optional<Status> closed;

  void start() {
    connection->start({.onOpen = [this] { open = true; },
                       .onData = [this](const Value& v) { got.push_back(v); },
                       .onClose = [this](const Status& why) { closed = why; }});
  }
};

struct Party {
  std::unique_ptr<PeerClient> client;
  std::vector<std::unique_ptr<Talk>> talks;  // that others began
  int opened = 0, disconnected = 0;
  std::optional<Error> refused;
  std::vector<PeerId> unavailable;
};

class PeerClients : public ::testing::Test {
 protected:
  void SetUp() override {
    auto engine = startEngine(*clock_, *entropy_);
    ASSERT_TRUE(engine.ok()) << engine.error().message;
    engine_ = std::move(*engine);
    loop_ = std::make_unique<net::IoLoop>();
    dialer_ = net::makeWebSocketDialer(*loop_);
    serve(0);
  }
  void TearDown() override {
    onLoop([this] {
      parties_.clear();
      talks_.clear();
      peerServer_.reset();
    });
    server_.reset();
    engine_.reset();
    dialer_.reset();
    loop_.reset();
  }
  void onLoop(const std::function<void()>& task) { loop_->runBlocking(task); }

  void serve(std::uint16_t port) {
    onLoop([this] { peerServer_ = std::make_unique<PeerServer>(*loop_, *clock_, *entropy_, serverOptions_); });
    net::ServerHandlers handlers;
    handlers.onRequest = [this](auto exchange) { peerServer_->handle(exchange); };
    handlers.onUpgrade = [this](const net::HttpRequest& r) { return peerServer_->welcome(r); };
    handlers.onUpgraded = [this](const net::HttpRequest& r, std::unique_ptr<net::Connection> c) {
      if (peerServer_) peerServer_->accept(r, std::move(c));
    };
    auto server = net::listen(*loop_, {.port = port, .limits = peerServerLimits()}, std::move(handlers));
    ASSERT_TRUE(server.ok()) << server.error().message;
    server_ = std::move(*server);
  }
  PeerClientOptions options(std::string id) {
    PeerClientOptions o;
    o.server = "ws://127.0.0.1:" + std::to_string(server_->port()) + "/";
    o.id = PeerId(std::move(id));
    o.peer.localAddresses = {"127.0.0.1"};
    o.backoff = {.initial = milliseconds(20), .maximum = milliseconds(50)};
    return o;
  }
  Party& join(PeerClientOptions o) {
    Party& party = *parties_.emplace_back(std::make_unique<Party>());
    onLoop([&] {
      party.client = PeerClient::make(*engine_, *loop_, *dialer_, *clock_, *entropy_, std::move(o),
                                      {.onOpen = [&party] { ++party.opened; },
                                       .onDisconnected = [&party](const Error&) { ++party.disconnected; },
                                       .onConnection =
                                           [&party](std::unique_ptr<DataConnection> c) {
                                             auto& talk = party.talks.emplace_back(std::make_unique<Talk>());
                                             talk->connection = std::move(c);
                                             talk->start();
                                           },
                                       .onUnavailable = [&party](const PeerId& id) { party.unavailable.push_back(id); },
                                       .onRefused = [&party](const Error& why) { party.refused = why; }});
    });
    return party;
  }
  Party& join(std::string id) {
    Party& party = join(options(std::move(id)));
    EXPECT_TRUE(until([&] { return party.opened == 1; }));
    return party;
  }
  Talk& connect(Party& from, const Party& to, DataOptions o = {}) {
    Talk& talk = *talks_.emplace_back(std::make_unique<Talk>());
    onLoop([&] {
      auto connection = from.client->connect(to.client->id(), std::move(o));
      ASSERT_TRUE(connection.ok()) << connection.error().message;
      talk.connection = std::move(*connection);
      talk.start();
    });
    return talk;
  }
  // Whether `done` holds within a time that only a failing test needs. It is asked on the loop, again and again.
  bool until(const std::function<bool()>& done) {
    std::promise<bool> outcome;
    const SteadyTime deadline = clock_->steady() + seconds(30);
    std::function<void()> ask;
    Timer timer;
    ask = [&] {
      const bool yes = done();
      if (yes || clock_->steady() > deadline) return outcome.set_value(yes);
      timer = loop_->after(milliseconds(1), ask);
    };
    loop_->post(ask);
    const bool yes = outcome.get_future().get();
    onLoop([&] { timer.reset(); });
    return yes;
  }
  Status send(Talk& talk, const Value& value) {
    Status status;
    onLoop([&] { status = talk.connection->send(value); });
    return status;
  }

  std::unique_ptr<Clock> clock_ = makeSystemClock();
  std::unique_ptr<Entropy> entropy_ = makeSystemEntropy();
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<net::IoLoop> loop_;
  std::unique_ptr<net::Dialer> dialer_;
  PeerServerOptions serverOptions_;
  std::unique_ptr<PeerServer> peerServer_;
  std::unique_ptr<net::Server> server_;
  std::vector<std::unique_ptr<Party>> parties_;
  std::vector<std::unique_ptr<Talk>> talks_;
};

Value sample() {
  Map map;
  map.emplace_back(Value("text"), Value("\xc5\xbe"));
  map.emplace_back(Value("list"), Value(Array{Value::integer(-5), Value(1.5), Value(true), Value()}));
  return Value(std::move(map));
}

TEST_F(PeerClients, CarryValuesInEverySerializationBothWays) {
  Party &a = join("a"), &b = join("b");
  for (const Serialization s :
       {Serialization::Binary, Serialization::BinaryUtf8, Serialization::Json, Serialization::Raw}) {
    for (const Ordered reliable : {Ordered::No, Ordered::Yes}) {
      SCOPED_TRACE(std::string(name(s)));
      const std::size_t before = b.talks.size();
      Talk& ours = connect(a, b, {.label = "l", .metadata = R"({"m":1})", .reliable = reliable, .serialization = s});
      ASSERT_TRUE(until([&] { return ours.open && b.talks.size() == before + 1 && b.talks.back()->open; }));
      Talk& theirs = *b.talks.back();
      EXPECT_EQ(theirs.connection->options().metadata, R"({"m":1})");
      EXPECT_EQ(theirs.connection->options().label, "l");
      EXPECT_EQ(theirs.connection->options().reliable, reliable);
      const Value value = s == Serialization::Raw ? Value("plain text") : sample();
      ASSERT_TRUE(send(ours, value).ok());
      ASSERT_TRUE(send(theirs, value).ok());
      ASSERT_TRUE(until([&] { return ours.got.size() == 1 && theirs.got.size() == 1; }));
      EXPECT_EQ(ours.got[0], value);
      EXPECT_EQ(theirs.got[0], value);
      onLoop([&] { ours.connection->close(); });
      ASSERT_TRUE(until([&] { return ours.closed && theirs.closed; }));
      EXPECT_TRUE(ours.closed->ok());
      EXPECT_TRUE(theirs.closed->ok());
    }
  }
}

TEST_F(PeerClients, CarryLongValuesInChunksAndBytes) {
  Party &a = join("a"), &b = join("b");
  for (const Ordered reliable : {Ordered::No, Ordered::Yes}) {
    Talk& ours = connect(a, b, {.reliable = reliable});
    ASSERT_TRUE(until([&] { return ours.open; }));
    std::vector<Value> sent;
    for (const std::size_t size : {std::size_t{0}, std::size_t{16297}, std::size_t{16298}, std::size_t{1'000'000}}) {
      Bytes bytes(size);
      for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::uint8_t>(i % 251);
      sent.emplace_back(std::move(bytes));
      ASSERT_TRUE(send(ours, sent.back()).ok());
    }
    ASSERT_TRUE(until([&] { return !b.talks.empty() && b.talks.back()->got.size() == sent.size(); }));
    EXPECT_TRUE(std::is_permutation(sent.begin(), sent.end(), b.talks.back()->got.begin()));
    EXPECT_EQ(send(ours, Value(Bytes(20'000'000))).error().code, Errc::TooLarge);
  }
}

TEST_F(PeerClients, RefuseValuesThatASerializationCannotSay) {
  Party &a = join("a"), &b = join("b");
  Talk& json = connect(a, b, {.serialization = Serialization::Json});
  Talk& raw = connect(a, b, {.serialization = Serialization::Raw});
  EXPECT_EQ(send(json, Value(Bytes{1})).error().code, Errc::InvalidArgument);
  EXPECT_EQ(send(json, Value(std::string(16298, 'x'))).error().code, Errc::TooLarge);
  EXPECT_EQ(send(raw, Value(true)).error().code, Errc::InvalidArgument);
  EXPECT_TRUE(send(json, Value(std::string(16297, 'x'))).ok());
  ASSERT_TRUE(until([&] { return json.open && b.talks.size() == 2; }));
}

TEST_F(PeerClients, HearThatAnIdIsTaken) {
  Party& a = join("a");
  Party& other = join(options("a"));
  ASSERT_TRUE(until([&] { return other.refused.has_value(); }));
  EXPECT_EQ(other.refused->code, Errc::Conflict);
  EXPECT_EQ(a.disconnected, 0);
}

TEST_F(PeerClients, HearThatTheKeyIsWrongAndThatAnIdCannotBe) {
  auto wrong = options("a");
  wrong.key = "other";
  Party& a = join(std::move(wrong));
  Party& b = join(options("-b-"));
  ASSERT_TRUE(until([&] { return a.refused && b.refused; }));
  EXPECT_EQ(a.refused->code, Errc::Unauthenticated);
  EXPECT_EQ(b.refused->code, Errc::InvalidArgument);
}

TEST_F(PeerClients, ComeBackWithTheSameIdWhileTheirConnectionsLiveOn) {
  Party &a = join("a"), &b = join("b");
  Talk& ours = connect(a, b);
  ASSERT_TRUE(until([&] { return ours.open; }));
  const std::uint16_t port = server_->port();
  onLoop([this] { peerServer_.reset(); });
  server_.reset();
  ASSERT_TRUE(until([&] { return a.disconnected > 0 && b.disconnected > 0; }));
  ASSERT_TRUE(send(ours, Value("without a server")).ok());
  ASSERT_TRUE(until([&] { return b.talks[0]->got.size() == 1; }));
  onLoop([&] { EXPECT_EQ(a.client->connect(PeerId("b"), {}).error().code, Errc::Unavailable); });

  serve(port);
  ASSERT_TRUE(until([&] { return a.opened == 2 && b.opened == 2; }));
  Talk& again = connect(a, b);
  ASSERT_TRUE(until([&] { return again.open; }));
  EXPECT_FALSE(ours.closed.has_value());
}

TEST_F(PeerClients, HearThatNobodyIsThere) {
  onLoop([this] { peerServer_.reset(); });
  server_.reset();
  serverOptions_.expireTimeout = milliseconds(1);
  serve(0);
  Party &a = join("a"), &b = join("b");
  onLoop([&] { b.client.reset(); });
  ASSERT_TRUE(until([&] { return peerServer_->clientCount() == 1; }));
  Talk& talk = *talks_.emplace_back(std::make_unique<Talk>());
  onLoop([&] {
    talk.connection = a.client->connect(PeerId("b"), {}).value();
    talk.start();
  });
  ASSERT_TRUE(until([&] { return talk.closed && !a.unavailable.empty(); }));
  EXPECT_EQ(talk.closed->error().code, Errc::Unavailable);
  EXPECT_EQ(a.unavailable[0].value, "b");
}

TEST_F(PeerClients, ADestroyedConnectionClosesOnTheOtherSide) {
  Party &a = join("a"), &b = join("b");
  Talk& ours = connect(a, b);
  ASSERT_TRUE(until([&] { return ours.open && b.talks.size() == 1 && b.talks[0]->open; }));
  onLoop([&] { ours.connection.reset(); });
  ASSERT_TRUE(until([&] { return b.talks[0]->closed.has_value(); }));
  EXPECT_TRUE(b.talks[0]->closed->ok());
  EXPECT_FALSE(ours.closed.has_value());
}

TEST_F(PeerClients, ManyConnectionsBetweenTwo) {
  Party &a = join("a"), &b = join("b");
  std::vector<Talk*> ours;
  for (int i = 0; i < 10; ++i) ours.push_back(&connect(a, b));
  ASSERT_TRUE(until([&] { return std::all_of(ours.begin(), ours.end(), [](Talk* t) { return t->open; }); }));
  for (std::size_t i = 0; i < ours.size(); ++i) ASSERT_TRUE(send(*ours[i], Value::unsignedInteger(i)).ok());
  ASSERT_TRUE(until(
      [&] { return std::all_of(b.talks.begin(), b.talks.end(), [](const auto& t) { return t->got.size() == 1; }); }));
  EXPECT_EQ(b.talks.size(), 10u);
}

}  // namespace
}  // namespace vaultysclaw::webrtc
