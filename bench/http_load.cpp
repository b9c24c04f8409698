#include "http_load.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <stdexcept>
#include <system_error>
#include <utility>

#include "interrupt.hpp"

namespace vaultysclaw::bench {
namespace {

using harness::throwIfInterrupted;

constexpr std::chrono::seconds kCallTimeout{60};
constexpr int kWaitMillis = 200;  // then a look at the deadline and at signals
constexpr std::string_view kEndOfHead = "\r\n\r\n";

[[noreturn]] void fail(const char* what) {
  throw std::system_error(errno, std::generic_category(), what);
}

int connectTo(std::uint16_t port) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) fail("socket");
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    ::close(fd);
    fail("connect to the control plane");
  }
  const int on = 1;
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  return fd;
}

// The number that follows `name` in `head`, which has lower-case names or ours.
std::optional<std::size_t> numberAfter(std::string_view head, std::string_view name) {
  const auto at = head.find(name);
  if (at == std::string_view::npos) return std::nullopt;
  std::size_t value = 0;
  const char* first = head.data() + at + name.size();
  return std::from_chars(first, head.data() + head.size(), value).ec == std::errc() ? std::optional(value)
                                                                                    : std::nullopt;
}

}  // namespace

struct HttpLoad::Connection {
  explicit Connection(std::uint16_t port) : fd(connectTo(port)) {}
  ~Connection() { ::close(fd); }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  const int fd;
  std::string received;
  Clock::time_point sentAt{};
  bool busy = false;
};

HttpLoad::HttpLoad(std::uint16_t port, std::string token, std::size_t connections)
    : head_(" HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer " + std::move(token) +
            "\r\nContent-Type: application/json\r\nContent-Length: "),
      epoll_(::epoll_create1(EPOLL_CLOEXEC)) {
  if (epoll_ < 0) fail("epoll_create1");
  for (std::size_t i = 0; i < connections; ++i) {
    connections_.push_back(std::make_unique<Connection>(port));
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.ptr = connections_.back().get();
    if (::epoll_ctl(epoll_, EPOLL_CTL_ADD, connections_.back()->fd, &event) != 0) fail("epoll_ctl");
  }
}

HttpLoad::~HttpLoad() {
  ::close(epoll_);
}

std::string HttpLoad::request(std::string_view method, std::string_view path, std::string_view body) const {
  std::string out(method);
  out += ' ';
  out += path;
  out += head_ + std::to_string(body.size());
  out += kEndOfHead;
  out += body;
  return out;
}

void HttpLoad::send(Connection& connection, const std::string& bytes) {
  connection.busy = true;
  connection.sentAt = Clock::now();
  // The socket blocks; a request fits into its buffer.
  for (std::size_t sent = 0; sent < bytes.size();) {
    const ssize_t n = ::send(connection.fd, bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
    if (n < 0 && errno != EINTR) fail("send to the control plane");
    if (n > 0) sent += static_cast<std::size_t>(n);
  }
}

std::optional<Reply> HttpLoad::receive(Connection& connection) {
  std::array<char, 16384> buffer{};
  const ssize_t n = ::recv(connection.fd, buffer.data(), buffer.size(), MSG_DONTWAIT);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return std::nullopt;
  if (n < 0) fail("recv from the control plane");
  if (n == 0) throw std::runtime_error("the control plane closed a connection");
  std::string& text = connection.received;
  text.append(buffer.data(), static_cast<std::size_t>(n));
  const auto end = text.find(kEndOfHead);
  if (end == std::string::npos) return std::nullopt;
  const std::string_view head(text.data(), end);
  const auto length = numberAfter(head, "Content-Length: ");
  const auto status = numberAfter(head, "HTTP/1.1 ");
  if (!length || !status) throw std::runtime_error("the control plane's answer cannot be read: " + std::string(head));
  const std::size_t whole = end + kEndOfHead.size() + *length;
  if (text.size() < whole) return std::nullopt;
  if (text.size() > whole) throw std::runtime_error("the control plane answered more than was asked");
  return Reply{static_cast<int>(*status), std::string_view(text).substr(end + kEndOfHead.size())};
}

void HttpLoad::drive(const Next& next, const Done& done, Clock::time_point deadline) {
  std::size_t busy = 0;
  const auto feed = [&](Connection& connection) {
    const std::string* bytes = next();
    if (bytes == nullptr) return;
    send(connection, *bytes);
    ++busy;
  };
  for (const auto& connection : connections_) feed(*connection);
  std::array<epoll_event, 64> events{};
  while (busy > 0) {
    throwIfInterrupted();
    if (Clock::now() > deadline) throw std::runtime_error("the control plane did not answer in time");
    const int ready = ::epoll_wait(epoll_, events.data(), static_cast<int>(events.size()), kWaitMillis);
    if (ready < 0 && errno != EINTR) fail("epoll_wait");
    for (int i = 0; i < ready; ++i) {
      auto& connection = *static_cast<Connection*>(events[static_cast<std::size_t>(i)].data.ptr);
      const auto reply = receive(connection);
      if (!reply) continue;
      if (!std::exchange(connection.busy, false)) throw std::runtime_error("an answer that nobody asked for");
      --busy;
      done(*reply, Clock::now() - connection.sentAt);
      connection.received.clear();
      feed(connection);
    }
  }
}

std::string HttpLoad::call(std::string_view method, std::string_view path, std::string_view body) {
  const std::string bytes = request(method, path, body);
  const std::string* once = &bytes;
  std::string answer;
  drive([&] { return std::exchange(once, nullptr); },
        [&](const Reply& reply, Clock::duration) {
          answer = reply.body;
          if (reply.status / 100 != 2)
            throw std::runtime_error(std::string(method) + " " + std::string(path) + ": " + answer);
        },
        Clock::now() + kCallTimeout);
  return answer;
}

}  // namespace vaultysclaw::bench
