#include "net_fixture.hpp"
#include "slow_lookup.hpp"

namespace vaultysclaw::net {
namespace {

class DialTest : public NetTest {
 protected:
  Error failure(DialOptions options) {
    const Status s = dial(std::move(options));
    EXPECT_FALSE(s.ok());
    return s.ok() ? Error{} : s.error();
  }
  static bool says(const Error& e, std::string_view text) {
    if (e.message.find(text) != std::string::npos) return true;
    ADD_FAILURE() << e.message;
    return false;
  }
};

// Accepts one connection and plays `script` on a thread of its own.
class Peer {
 public:
  explicit Peer(std::function<void(RawSocket)> script)
      : listening_(RawSocket::listening()), thread_([this, s = std::move(script)] { s(listening_.accept()); }) {}
  ~Peer() { thread_.join(); }
  std::uint16_t port() const { return listening_.port(); }
  std::string url() const { return "ws://127.0.0.1:" + std::to_string(port()) + "/ws"; }

 private:
  RawSocket listening_;
  std::thread thread_;
};

// An HTTP proxy for one CONNECT. `answer` empty: connects to where it is asked.
void runProxy(RawSocket client, const std::string& answer, std::string& request) {
  request = client.receiveUntil("\r\n\r\n");
  if (!answer.empty()) return client.send(answer);
  const auto colon = request.find(':');
  const RawSocket server = RawSocket::connect(static_cast<std::uint16_t>(std::stoi(request.substr(colon + 1))));
  client.send("HTTP/1.1 200 Connection established\r\n\r\n");
  pollfd both[2] = {{client.fd(), POLLIN, 0}, {server.fd(), POLLIN, 0}};
  while (::poll(both, 2, 60'000) > 0) {
    for (int i = 0; i < 2; ++i) {
      if (both[i].revents == 0) continue;
      const std::string some = (i == 0 ? client : server).receiveSome();
      if (some.empty()) return;
      (i == 0 ? server : client).send(some);
    }
  }
}

TEST_F(DialTest, NeverCallsBackBeforeItReturns) {
  Watched<bool> done;
  loop_.runBlocking([&] {
    bool returned = false;
    pending_ = dialer_->dial({.url = "nonsense"}, [&](auto r) {
      EXPECT_EQ(r.error().code, Errc::InvalidArgument);
      EXPECT_TRUE(done.get());
      pending_.reset();
      done.change([](bool& d) { d = false; });
    });
    EXPECT_FALSE(returned);
    done.change([](bool& d) { d = true; });
  });
  EXPECT_TRUE(done.wait([](bool d) { return !d; }));
}

TEST_F(DialTest, ErrorsSayWhereWhyAndWhatToDo) {
  std::uint16_t closed = 0;
  {
    const RawSocket s = RawSocket::listening();
    closed = s.port();
  }
  const Error refused = failure({.url = "ws://127.0.0.1:" + std::to_string(closed)});
  EXPECT_EQ(refused.code, Errc::Unavailable);
  EXPECT_TRUE(says(refused, "127.0.0.1:" + std::to_string(closed)));
  EXPECT_TRUE(says(refused, "is it running"));

  const Error unknown = failure({.url = "ws://no-such-host.invalid:1/", .proxyUrl = "direct"});
  EXPECT_TRUE(says(unknown, "no-such-host.invalid:1"));
  EXPECT_EQ(unknown.code, Errc::Unavailable);

  EXPECT_EQ(failure({.url = "http://h"}).code, Errc::InvalidArgument);
  EXPECT_EQ(failure({.url = "ws://user:secret@h"}).code, Errc::InvalidArgument);
  EXPECT_EQ(failure({.url = "ws://h", .proxyUrl = "socks5://p:1"}).code, Errc::InvalidArgument);

  serve();
  EXPECT_TRUE(says(failure({.url = url("/other")}), "answered 403"));
  {
    Peer peer([](RawSocket s) {
      (void)s.receiveUntil("\r\n\r\n");
      s.send("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
    });
    EXPECT_TRUE(says(failure({.url = peer.url()}), "answered 404: not a WebSocket endpoint"));
  }
  Peer garbage([](RawSocket s) {
    (void)s.receiveUntil("\r\n\r\n");
    s.send("SSH-2.0-OpenSSH\r\n");
  });
  EXPECT_EQ(failure({.url = garbage.url()}).code, Errc::Unavailable);
}

TEST_F(DialTest, EndsAtItsDeadline) {
  const RawSocket silent = RawSocket::listening();
  const Error e = failure({.url = "ws://127.0.0.1:" + std::to_string(silent.port()), .timeout = milliseconds(900)});
  EXPECT_EQ(e.code, Errc::DeadlineExceeded);
  EXPECT_TRUE(says(e, "within 900 ms"));
  EXPECT_TRUE(says(e, "upgrade"));
  const Error tls = failure({.url = "wss://127.0.0.1:" + std::to_string(silent.port()), .timeout = milliseconds(900)});
  EXPECT_TRUE(says(tls, "TLS handshake"));
}

TEST_F(DialTest, EndsAtItsDeadlineThoughTheLookupGoesOn) {
  SlowLookup lookup;
  const Error e = failure({.url = "ws://slow.invalid/", .proxyUrl = "direct", .timeout = milliseconds(300)});
  EXPECT_EQ(e.code, Errc::DeadlineExceeded);
  EXPECT_TRUE(says(e, "slow.invalid:80 did not answer within 300 ms (looking up slow.invalid)"));
  lookup.waitUntilEntered();
  lookup.letGo();
  // Behind the late answer, which nobody hears of.
  EXPECT_EQ(failure({.url = "ws://other.invalid/", .proxyUrl = "direct"}).code, Errc::Unavailable);
}

TEST_F(DialTest, LookupMayBeUnderWayWhenTheLoopEnds) {
  SlowLookup lookup;
  auto loop = std::make_unique<IoLoop>();
  const auto dialer = makeWebSocketDialer(*loop);
  Pending pending;
  // Whether the answer still arrives depends on who is faster; that the loop ends does not.
  loop->runBlocking([&] { pending = dialer->dial({.url = "ws://slow.invalid/", .proxyUrl = "direct"}, [](auto) {}); });
  lookup.waitUntilEntered();
  std::thread later([&] { lookup.letGo(); });
  loop.reset();
  later.join();
}

TEST_F(DialTest, DestroyingTheHandleCancels) {
  const RawSocket silent = RawSocket::listening();
  const std::string target = "ws://127.0.0.1:" + std::to_string(silent.port());
  for (int turns = 0; turns < 10; ++turns) {
    loop_.runBlocking([&] { pending_ = dialer_->dial({.url = target}, [](auto) { ADD_FAILURE() << "cancelled"; }); });
    for (int i = 0; i < turns; ++i) loop_.runBlocking([] {});
    loop_.runBlocking([&] { pending_.reset(); });
  }
  loop_.runBlocking([] {});
}

TEST_F(DialTest, MayBeUnderWayWhenTheLoopEnds) {
  const RawSocket silent = RawSocket::listening();
  auto loop = std::make_unique<IoLoop>();
  const auto dialer = makeWebSocketDialer(*loop);
  Pending pending;
  loop->runBlocking([&] {
    pending = dialer->dial({.url = "ws://127.0.0.1:" + std::to_string(silent.port())}, [](auto) { ADD_FAILURE(); });
  });
  const RawSocket accepted = silent.accept();
  loop.reset();
}

TEST_F(DialTest, GoesThroughAProxy) {
  serve();
  std::string request;
  {
    Peer proxy([&](RawSocket s) { runProxy(std::move(s), "", request); });
    ASSERT_TRUE(dial({.url = url(), .proxyUrl = "http://user:p%40ss@127.0.0.1:" + std::to_string(proxy.port())}).ok());
    EXPECT_EQ(send(client_, FrameKind::Text, "through"), SendResult::Ok);
    EXPECT_TRUE(accepted_.waitMessages(1));
    loop_.runBlocking([&] {
      EXPECT_EQ(client_.connection->peer().protection, Protection::None);
      client_.connection.reset();
    });
  }
  EXPECT_TRUE(request.starts_with("CONNECT 127.0.0.1:" + std::to_string(server_->port()) + " HTTP/1.1\r\n"));
  EXPECT_NE(request.find("Proxy-Authorization: Basic dXNlcjpwQHNz\r\n"), std::string::npos);
}

TEST_F(DialTest, ProxyErrorsNameTheProxy) {
  for (const auto& [answer, text] : std::vector<std::pair<std::string, std::string>>{
           {"HTTP/1.1 407 Who\r\n\r\n", "user name and password"},
           {"HTTP/1.1 403 Forbidden by rule\r\n\r\n", "403 Forbidden by rule"},
           {"SOCKS\r\n\r\n", "does not speak HTTP"},
           {"HTTP/1.1 200 OK\r\n\r\nextra", "bytes of its own"},
           {std::string(20'000, 'x'), "broke off"},
           {"HTTP/1.1 2", "broke off"}}) {
    std::string request;
    Peer proxy([&, a = answer](RawSocket s) { runProxy(std::move(s), a, request); });
    const Error e =
        failure({.url = "ws://cp.example:8080/ws", .proxyUrl = "127.0.0.1:" + std::to_string(proxy.port())});
    EXPECT_EQ(e.code, Errc::Unavailable);
    EXPECT_TRUE(says(e, text));
    EXPECT_TRUE(says(e, "127.0.0.1:" + std::to_string(proxy.port())));
  }
}

// ---- TLS ----

class TlsTest : public DialTest {
 protected:
  static void SetUpTestSuite() {
    directory_ = std::filesystem::temp_directory_path() / ("vc_net_test_" + std::to_string(::getpid()));
    std::filesystem::create_directories(directory_);
    make("good", "DNS:localhost,IP:127.0.0.1");
    make("other", "DNS:other.example");
  }
  static void TearDownTestSuite() { std::filesystem::remove_all(directory_); }

  static void make(const std::string& name, const std::string& subject) {
    const std::string command =
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=" + name +
        " -addext subjectAltName=" + subject + " -keyout " + file(name + ".key") + " -out " + file(name + ".pem") +
        " 2>/dev/null";
    ASSERT_EQ(std::system(command.c_str()), 0) << command;
  }
  static std::string file(const std::string& name) { return (directory_ / name).string(); }
  void serveTls(const std::string& name) { serve({.tls = TlsFiles{file(name + ".pem"), file(name + ".key")}}); }
  std::string tlsUrl(const char* host = "127.0.0.1") {
    return std::string("wss://") + host + ":" + std::to_string(server_->port()) + "/ws";
  }

  inline static std::filesystem::path directory_;
};

TEST_F(TlsTest, VerifiesAndCarriesMessages) {
  serveTls("good");
  for (const char* host : {"127.0.0.1", "localhost"}) {
    const Status s = dial({.url = tlsUrl(host), .caFile = file("good.pem")});
    ASSERT_TRUE(s.ok()) << s.error().message;
    ASSERT_TRUE(accepted_.waitOpen());
    const std::string large(3'000'000, 'x');
    EXPECT_EQ(send(client_, FrameKind::Text, large), SendResult::Ok);
    EXPECT_EQ(send(accepted_, FrameKind::Binary, large), SendResult::Ok);
    ASSERT_TRUE(accepted_.waitMessages(1));
    ASSERT_TRUE(client_.waitMessages(1));
    EXPECT_EQ(accepted_.seen.get().messages[0].second, large);
    loop_.runBlocking([&] {
      EXPECT_EQ(client_.connection->peer().protection, Protection::VerifiedTls);
      EXPECT_EQ(accepted_.connection->peer().protection, Protection::VerifiedTls);
      EXPECT_EQ(accepted_.connection->peer().transport, "wss");
      client_.connection->close(1000, "done");
    });
    EXPECT_EQ(accepted_.waitClose().code, 1000);
    EXPECT_EQ(client_.waitClose().code, 1000);
    accepted_.seen.change([](auto& seen) { seen = {}; });
    client_.seen.change([](auto& seen) { seen = {}; });
  }
}

TEST_F(TlsTest, GoesThroughAProxy) {
  serveTls("good");
  std::string request;
  Peer proxy([&](RawSocket s) { runProxy(std::move(s), "", request); });
  const Status s =
      dial({.url = tlsUrl(), .caFile = file("good.pem"), .proxyUrl = "127.0.0.1:" + std::to_string(proxy.port())});
  ASSERT_TRUE(s.ok()) << s.error().message;
  loop_.runBlocking([&] {
    EXPECT_EQ(client_.connection->peer().protection, Protection::VerifiedTls);
    client_.connection.reset();
  });
}

TEST_F(TlsTest, RefusesStrangersAndOtherNames) {
  serveTls("other");
  const Error untrusted = failure({.url = tlsUrl()});
  EXPECT_EQ(untrusted.code, Errc::Unauthenticated);
  EXPECT_TRUE(says(untrusted, "CA file"));
  const Error name = failure({.url = tlsUrl(), .caFile = file("other.pem")});
  EXPECT_EQ(name.code, Errc::Unauthenticated);
  EXPECT_TRUE(says(name, "another name"));
  EXPECT_EQ(failure({.url = tlsUrl("localhost"), .caFile = file("other.pem")}).code, Errc::Unauthenticated);
  const Error missing = failure({.url = tlsUrl(), .caFile = file("none.pem")});
  EXPECT_EQ(missing.code, Errc::InvalidArgument);
  EXPECT_TRUE(says(missing, "none.pem"));
}

TEST_F(TlsTest, PlainAndTlsMixedUpIsExplained) {
  serve();
  EXPECT_TRUE(says(failure({.url = tlsUrl()}), "ws:// instead"));
  server_.reset();
  serveTls("good");
  EXPECT_EQ(failure({.url = url()}).code, Errc::Unavailable);
  const RawSocket s = RawSocket::connect(server_->port());
  s.send("GET / HTTP/1.1\r\n\r\n");
  (void)s.receiveAll();  // ends, whatever TLS says
}

TEST_F(TlsTest, KeyOfAnotherCertificateIsRefused) {
  const auto r = listen(loop_, {.tls = TlsFiles{file("good.pem"), file("other.key")}}, {});
  ASSERT_FALSE(r.ok());
  EXPECT_TRUE(says(r.error(), "other.key"));
}

}  // namespace
}  // namespace vaultysclaw::net
