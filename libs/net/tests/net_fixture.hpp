// A loop, a server and raw sockets for the tests of libs/net. Waits have a bound that only a failing test reaches.
#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <condition_variable>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "net/io_loop.hpp"

namespace vaultysclaw::net {

inline constexpr auto kPatience = std::chrono::seconds(60);

// State that the loop changes and the test waits for.
template <class T>
class Watched {
 public:
  void change(const std::function<void(T&)>& f) {
    std::lock_guard lock(mutex_);
    f(value_);
    changed_.notify_all();
  }
  bool wait(const std::function<bool(const T&)>& when) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, kPatience, [&] { return when(value_); });
  }
  T get() {
    std::lock_guard lock(mutex_);
    return value_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  T value_{};
};

// A plain blocking TCP socket.
class RawSocket {
 public:
  explicit RawSocket(int fd) : fd_(fd) {}
  static RawSocket connect(std::uint16_t port) {
    const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in a = address(port);
    EXPECT_EQ(::connect(fd, reinterpret_cast<sockaddr*>(&a), sizeof a), 0);
    return RawSocket(fd);
  }
  static RawSocket listening() {
    const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in a = address(0);
    EXPECT_EQ(::bind(fd, reinterpret_cast<sockaddr*>(&a), sizeof a), 0);
    EXPECT_EQ(::listen(fd, 16), 0);
    return RawSocket(fd);
  }
  RawSocket(RawSocket&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  RawSocket& operator=(RawSocket&&) = delete;
  ~RawSocket() {
    if (fd_ >= 0) ::close(fd_);
  }

  int fd() const { return fd_; }
  RawSocket accept() const { return RawSocket(::accept(fd_, nullptr, nullptr)); }
  std::uint16_t port() const {
    sockaddr_in a{};
    socklen_t size = sizeof a;
    EXPECT_EQ(::getsockname(fd_, reinterpret_cast<sockaddr*>(&a), &size), 0);
    return ntohs(a.sin_port);
  }
  void send(std::string_view data) const {
    while (!data.empty()) {
      const auto n = ::send(fd_, data.data(), data.size(), MSG_NOSIGNAL);
      if (n <= 0) return;
      data.remove_prefix(static_cast<std::size_t>(n));
    }
  }
  void shutdownSend() const { ::shutdown(fd_, SHUT_WR); }
  // Empty at the end of the stream.
  std::string receiveSome() const {
    pollfd p{fd_, POLLIN, 0};
    if (::poll(&p, 1, 60'000) != 1) {
      ADD_FAILURE() << "nothing arrived";
      return {};
    }
    char buffer[4096];
    const auto n = ::recv(fd_, buffer, sizeof buffer, 0);
    return n > 0 ? std::string(buffer, static_cast<std::size_t>(n)) : std::string();
  }
  std::string receiveAll() const {
    std::string all;
    for (std::string some = receiveSome(); !some.empty(); some = receiveSome()) all += some;
    return all;
  }
  std::string receiveUntil(std::string_view end) const {
    std::string all;
    while (all.find(end) == std::string::npos) {
      const std::string some = receiveSome();
      if (some.empty()) break;
      all += some;
    }
    return all;
  }

 private:
  static sockaddr_in address(std::uint16_t port) {
    sockaddr_in a{};
    a.sin_family = AF_INET;
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    a.sin_port = htons(port);
    return a;
  }
  int fd_;
};

// A connection, and what happened on it. Everything but `seen` is touched on the loop only.
struct End {
  struct Seen {
    std::vector<std::pair<FrameKind, std::string>> messages;
    std::vector<CloseReason> closes;
    int drained = 0;
    bool opened = false;
  };
  std::unique_ptr<Connection> connection;
  Watched<Seen> seen;

  void adopt(std::unique_ptr<Connection> c) {
    connection = std::move(c);
    connection->start(
        {.onMessage = [this](FrameKind k,
                             std::string_view m) { seen.change([&](Seen& s) { s.messages.emplace_back(k, m); }); },
         .onClose = [this](const CloseReason& r) { seen.change([&](Seen& s) { s.closes.push_back(r); }); },
         .onDrained = [this] { seen.change([](Seen& s) { ++s.drained; }); }});
    seen.change([](Seen& s) { s.opened = true; });
  }
  bool waitOpen() {
    return seen.wait([](const Seen& s) { return s.opened; });
  }
  bool waitMessages(std::size_t n) {
    return seen.wait([n](const Seen& s) { return s.messages.size() >= n; });
  }
  CloseReason waitClose() {
    EXPECT_TRUE(seen.wait([](const Seen& s) { return !s.closes.empty(); }));
    const auto closes = seen.get().closes;
    return closes.empty() ? CloseReason{} : closes[0];
  }
};

// The test's fixture: one loop; whatever lives on it is destroyed there before it ends.
class NetTest : public ::testing::Test {
 protected:
  void TearDown() override {
    loop_.runBlocking([this] {
      pending_.reset();
      client_.connection.reset();
      accepted_.connection.reset();
    });
    server_.reset();
  }

  // Starts a server whose WebSockets go to accepted_.
  void serve(ServerOptions options = {}, HttpHandler onRequest = {}) {
    auto server =
        listen(loop_, std::move(options),
               {.onRequest = std::move(onRequest),
                .onUpgrade = [](const HttpRequest& r) -> std::optional<HttpResponse> {
                  if (r.path == "/ws") return std::nullopt;
                  return HttpResponse{403, {}, "no"};
                },
                .onWebSocket = [this](auto c) { accepted_.adopt(std::move(c)); },
                .onProblem = [this](std::string p) { problems_.change([&](auto& all) { all.push_back(p); }); }});
    ASSERT_TRUE(server.ok()) << server.error().message;
    server_ = std::move(server).value();
  }
  std::string url(const char* path = "/ws") { return "ws://127.0.0.1:" + std::to_string(server_->port()) + path; }

  // Dials and waits. Ok when client_ holds the connection.
  Status dial(DialOptions options) {
    Watched<std::optional<Error>> outcome;
    Watched<bool> done;
    loop_.runBlocking([&] {
      pending_ = dialer_->dial(std::move(options), [&](auto r) {
        EXPECT_TRUE(loop_.isCurrent());
        if (r.ok())
          client_.adopt(std::move(r).value());
        else
          outcome.change([&](auto& o) { o = r.error(); });
        done.change([](bool& d) { d = true; });
      });
    });
    EXPECT_TRUE(done.wait([](bool d) { return d; }));
    if (const auto error = outcome.get()) return *error;
    return {};
  }
  void connect(ConnectionLimits limits = {}) {
    const Status s = dial({.url = url(), .limits = limits});
    ASSERT_TRUE(s.ok()) << s.error().message;
    ASSERT_TRUE(accepted_.waitOpen());
  }
  SendResult send(End& end, FrameKind kind, std::string data) {
    SendResult result{};
    loop_.runBlocking([&] { result = end.connection->send(kind, std::move(data)); });
    return result;
  }

  IoLoop loop_;
  std::unique_ptr<Dialer> dialer_ = makeWebSocketDialer(loop_);
  std::unique_ptr<Server> server_;
  Pending pending_;
  End client_, accepted_;
  Watched<std::vector<std::string>> problems_;
};

}  // namespace vaultysclaw::net
