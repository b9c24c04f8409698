#include "net_fixture.hpp"

namespace vaultysclaw::net {
namespace {

class HttpServerTest : public NetTest {
 protected:
  // Answers with what it was asked.
  void serveEcho(ServerOptions options = {}) {
    serve(std::move(options), [](std::shared_ptr<HttpExchange> e) {
      const HttpRequest& r = e->request();
      if (r.path == "/throw") throw std::runtime_error("oops");
      if (r.path == "/forget") return;
      e->respond({200, {{"Content-Type", "text/plain"}}, r.method + " " + r.path + " " + r.body});
    });
  }
  RawSocket raw() { return RawSocket::connect(server_->port()); }
  // Sends `request`, which asks to close, and returns all that came back.
  std::string ask(std::string_view request) {
    const RawSocket s = raw();
    s.send(request);
    return s.receiveAll();
  }
};

constexpr std::string_view kClose = "Host: h\r\nConnection: close\r\n\r\n";

TEST_F(HttpServerTest, KeepsTheConnectionAndAnswersPipelinedRequestsInOrder) {
  serveEcho();
  const RawSocket s = raw();
  s.send("GET /1 HTTP/1.1\r\nHost: h\r\n\r\n");
  EXPECT_NE(s.receiveUntil("/1 ").find("Content-Length: 7"), std::string::npos);
  s.send(
      "POST /2 HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabcGET /3 HTTP/1.1\r\nHost: h\r\n\r\nGET /4 "
      "HTTP/1.1\r\n" +
      std::string(kClose));
  const std::string all = s.receiveAll();
  const auto second = all.find("POST /2 abc");
  const auto third = all.find("GET /3 ");
  const auto fourth = all.find("GET /4 ");
  EXPECT_LT(second, third);
  EXPECT_LT(third, fourth);
  EXPECT_NE(fourth, std::string::npos);
}

TEST_F(HttpServerTest, PipelinedRequestsWaitForALateAnswer) {
  Watched<std::vector<std::shared_ptr<HttpExchange>>> held;
  serve({}, [&](auto e) { held.change([&](auto& all) { all.push_back(e); }); });
  const RawSocket s = raw();
  s.send("GET /1 HTTP/1.1\r\nHost: h\r\n\r\n");
  ASSERT_TRUE(held.wait([](const auto& all) { return all.size() == 1; }));
  const std::string many = "GET /n HTTP/1.1\r\nHost: h\r\n\r\n";
  for (int i = 0; i < 50; ++i) s.send(many);
  for (std::size_t i = 0; i < 51; ++i) {
    ASSERT_TRUE(held.wait([i](const auto& all) { return all.size() == i + 1; }));
    loop_.runBlocking(
        [&] { held.change([&](auto& all) { all[i]->respond({200, {}, "answer" + std::to_string(i) + ";"}); }); });
  }
  EXPECT_NE(s.receiveUntil("answer50;").find("answer50;"), std::string::npos);
  loop_.runBlocking([&] { held.change([](auto& all) { all.clear(); }); });
}

TEST_F(HttpServerTest, AcceptsEveryFragmentation) {
  serveEcho();
  const std::string request =
      "POST /p?q=1 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
  for (std::size_t cut = 1; cut < request.size(); ++cut) {
    const RawSocket s = raw();
    s.send(request.substr(0, cut));
    s.send(request.substr(cut));
    EXPECT_NE(s.receiveUntil("abcde").find("POST /p abcde"), std::string::npos) << cut;
  }
  const RawSocket s = raw();
  for (const char c : request) s.send({&c, 1});
  EXPECT_NE(s.receiveUntil("abcde").find("POST /p abcde"), std::string::npos);
}

TEST_F(HttpServerTest, RefusesWhatIsTooLarge) {
  serveEcho({.maxBodyBytes = 10});
  EXPECT_TRUE(ask("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 11\r\n\r\nhello world").starts_with("HTTP/1.1 413 "));
  EXPECT_TRUE(ask("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nb\r\nhello world\r\n")
                  .starts_with("HTTP/1.1 413 "));
  EXPECT_TRUE(ask("GET / HTTP/1.1\r\nX: " + std::string(70'000, 'x') + "\r\n\r\n").starts_with("HTTP/1.1 431 "));
  EXPECT_TRUE(ask("GET /" + std::string(200'000, 'x')).starts_with("HTTP/1.1 4"));
}

TEST_F(HttpServerTest, AnswersHeadWithoutABody) {
  serveEcho();
  const std::string answer = ask("HEAD /h HTTP/1.1\r\n" + std::string(kClose));
  EXPECT_NE(answer.find("Content-Length: 8\r\n"), std::string::npos);
  EXPECT_TRUE(answer.ends_with("\r\n\r\n"));
}

TEST_F(HttpServerTest, RefusesGarbage) {
  serveEcho();
  for (const std::string& garbage :
       {std::string("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 11), std::string("GET\r\n\r\n"),
        std::string("GET / HTTP/9.9\r\n\r\n"), std::string("GET /%zz HTTP/1.1\r\n\r\n"),
        std::string("POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n"),
        std::string("POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"),
        std::string(1000, '\0')})
    EXPECT_TRUE(ask(garbage).starts_with("HTTP/1.1 400 ")) << garbage;
}

TEST_F(HttpServerTest, EveryTruncationJustEnds) {
  serveEcho();
  const std::string request = "POST /p HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc";
  for (std::size_t size = 0; size < request.size(); ++size) {
    const RawSocket s = raw();
    s.send(request.substr(0, size));
    s.shutdownSend();
    EXPECT_EQ(s.receiveAll(), "") << size;
  }
}

TEST_F(HttpServerTest, HalfARequestEndsAtTheHeaderTimeout) {
  serveEcho({.headerTimeout = milliseconds(50), .idleTimeout = milliseconds(50)});
  for (const char* part : {"", "GET / HT", "POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nab"}) {
    const RawSocket s = raw();
    s.send(part);
    EXPECT_EQ(s.receiveAll(), "") << part;
  }
  const RawSocket idle = raw();
  idle.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
  EXPECT_TRUE(idle.receiveAll().starts_with("HTTP/1.1 200 "));
}

TEST_F(HttpServerTest, ContinuesWhenExpected) {
  serveEcho();
  const RawSocket s = raw();
  s.send("POST /c HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
  EXPECT_EQ(s.receiveUntil("\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
  s.send("ok");
  EXPECT_NE(s.receiveUntil("/c ok").find("200 OK"), std::string::npos);
}

TEST_F(HttpServerTest, AForgottenOrThrowingHandlerAnswers500) {
  serveEcho();
  EXPECT_TRUE(ask("GET /forget HTTP/1.1\r\n" + std::string(kClose)).starts_with("HTTP/1.1 500 "));
  EXPECT_TRUE(ask("GET /throw HTTP/1.1\r\n" + std::string(kClose)).starts_with("HTTP/1.1 500 "));
  ASSERT_EQ(problems_.get().size(), 1u);
  EXPECT_NE(problems_.get()[0].find("oops"), std::string::npos);
}

TEST_F(HttpServerTest, StreamsInChunks) {
  serve({}, [](auto e) {
    e->beginStream(200, {{"Content-Type", "text/event-stream"}});
    EXPECT_TRUE(e->write("one"));
    EXPECT_TRUE(e->write(std::string(20, 'x')));
    e->endStream();
  });
  EXPECT_TRUE(
      ask("GET / HTTP/1.1\r\n" + std::string(kClose)).ends_with("3\r\none\r\n14\r\nxxxxxxxxxxxxxxxxxxxx\r\n0\r\n\r\n"));
  EXPECT_TRUE(ask("GET / HTTP/1.0\r\n\r\n").ends_with("\r\n\r\nonexxxxxxxxxxxxxxxxxxxx"));
}

TEST_F(HttpServerTest, TellsWhenTheClientGoes) {
  Watched<std::shared_ptr<HttpExchange>> exchange;
  Watched<int> gone;
  serve({}, [&](auto e) {
    if (e->request().path == "/stream") {
      e->beginStream(200, {});
      EXPECT_TRUE(e->write("begin"));
    }
    e->onClientGone([&] { gone.change([](int& n) { ++n; }); });
    exchange.change([&](auto& x) { x = e; });
  });
  int expected = 0;
  for (const char* path : {"/stream", "/wait"}) {
    {
      const RawSocket s = raw();
      s.send(std::string("GET ") + path + " HTTP/1.1\r\nHost: h\r\n\r\n");
      if (std::string_view(path) == "/stream") (void)s.receiveUntil("begin");
      ASSERT_TRUE(exchange.wait([](const auto& e) { return e != nullptr; }));
    }
    ++expected;
    ASSERT_TRUE(gone.wait([&](int n) { return n == expected; })) << path;
    loop_.runBlocking([&] {
      exchange.change([&](auto& e) {
        if (e->request().path == "/stream")
          EXPECT_FALSE(e->write("more"));
        else
          e->respond({200, {}, "too late"});
        e.reset();
      });
    });
  }
}

TEST_F(HttpServerTest, StopsAStreamThatNobodyReads) {
  Watched<int> refused;
  serve({}, [&](auto e) {
    e->beginStream(200, {});
    auto pump = std::make_shared<std::function<void()>>();
    *pump = [this, e, pump, &refused] {
      const auto keep = pump;
      for (int i = 0; i < 64; ++i) {
        if (!e->write(std::string(16 * 1024, 'x'))) {
          *pump = nullptr;  // breaks the cycle; `keep` and the copy below hold what runs
          return refused.change([](int& n) { ++n; });
        }
      }
      loop_.post([pump] {
        if (const auto next = *pump) next();
      });
    };
    const auto first = *pump;
    first();
  });
  const RawSocket s = raw();
  s.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
  EXPECT_TRUE(refused.wait([](int n) { return n == 1; }));
}

TEST_F(HttpServerTest, RefusesUpgradesThroughTheGate) {
  serveEcho();
  const auto upgrade = [](const char* path) {
    return std::string("GET ") + path + " HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
           "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
  };
  const RawSocket s = raw();
  s.send(upgrade("/other"));
  EXPECT_TRUE(s.receiveUntil("no").starts_with("HTTP/1.1 403 "));
  s.send(upgrade("/ws"));
  EXPECT_TRUE(s.receiveUntil("\r\n\r\n").starts_with("HTTP/1.1 101 "));
}

TEST_F(HttpServerTest, ClosesConnectionsOverItsBound) {
  serveEcho({.maxConnections = 1});
  const RawSocket first = raw();
  first.send("GET /1 HTTP/1.1\r\nHost: h\r\n\r\n");
  (void)first.receiveUntil("/1 ");
  EXPECT_EQ(raw().receiveSome(), "");
}

TEST_F(HttpServerTest, EndsItsConnectionsWhenDestroyed) {
  serveEcho();
  const RawSocket s = raw();
  s.send("GET /1 HTTP/1.1\r\nHost: h\r\n\r\n");
  (void)s.receiveUntil("/1 ");
  server_.reset();
  EXPECT_EQ(s.receiveAll(), "");
}

TEST_F(HttpServerTest, ListenErrorsSayWhatToDo) {
  serveEcho();
  const auto taken = listen(loop_, {.port = server_->port()}, {});
  ASSERT_FALSE(taken.ok());
  EXPECT_EQ(taken.error().code, Errc::Io);
  EXPECT_NE(taken.error().message.find(std::to_string(server_->port())), std::string::npos);
  const auto name = listen(loop_, {.address = "cp.example"}, {});
  ASSERT_FALSE(name.ok());
  EXPECT_EQ(name.error().code, Errc::InvalidArgument);
  const auto tls = listen(loop_, {.tls = TlsFiles{"/nowhere/cert.pem", "/nowhere/key.pem"}}, {});
  ASSERT_FALSE(tls.ok());
  EXPECT_NE(tls.error().message.find("/nowhere/cert.pem"), std::string::npos);
}

}  // namespace
}  // namespace vaultysclaw::net
