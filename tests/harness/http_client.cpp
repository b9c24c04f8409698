#include "http_client.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <utility>

namespace vaultysclaw::harness {
namespace {

constexpr std::size_t kMaxLine = 16 * 1024;
constexpr std::size_t kMaxBody = std::size_t{64} << 20;

// Until `events` are there; false at the deadline.
bool waitOn(int fd, short events, std::chrono::steady_clock::time_point deadline) {
  for (;;) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now()).count();
    if (left <= 0) return false;
    pollfd entry{fd, events, 0};
    const int ready = ::poll(&entry, 1, static_cast<int>(std::min<std::int64_t>(left, 1000)));
    if (ready > 0) return true;
    if (ready < 0 && errno != EINTR) return false;
  }
}

std::optional<std::size_t> number(std::string_view text, int base) {
  std::size_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (error != std::errc() || value > kMaxBody) return std::nullopt;
  return value;
}

std::string lowerCase(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
  return out;
}

}  // namespace

struct HttpClient::Head {
  Headers headers;
  int status = 0;
  std::optional<std::size_t> length;
  bool chunked = false, close = false;
};

void HttpClient::close() {
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
  received_.clear();
}

bool HttpClient::connect(Time deadline) {
  if (fd_ >= 0) return true;
  fd_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd_ < 0) return false;
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port_);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (::connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    if (errno != EINPROGRESS || !waitOn(fd_, POLLOUT, deadline)) return false;
    int error = 0;
    socklen_t size = sizeof error;
    if (::getsockopt(fd_, SOL_SOCKET, SO_ERROR, &error, &size) != 0 || error != 0) return false;
  }
  const int on = 1;
  ::setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  return true;
}

bool HttpClient::send(const HttpRequest& request, Time deadline) {
  std::string bytes = request.method + " " + request.path + " HTTP/1.1\r\nHost: 127.0.0.1\r\n";
  if (!token_.empty()) bytes += "Authorization: Bearer " + token_ + "\r\n";
  if (!request.body.empty()) bytes += "Content-Type: application/json\r\n";
  for (const auto& [name, value] : request.headers) bytes += name + ": " + value + "\r\n";
  bytes += "Content-Length: " + std::to_string(request.body.size()) + "\r\n\r\n" + request.body;
  for (std::size_t sent = 0; sent < bytes.size();) {
    const ssize_t n = ::send(fd_, bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
    if (n > 0) {
      sent += static_cast<std::size_t>(n);
    } else if (errno == EAGAIN) {
      if (!waitOn(fd_, POLLOUT, deadline)) return false;
    } else if (errno != EINTR) {
      return false;
    }
  }
  return true;
}

bool HttpClient::fill(Time deadline) {
  std::array<char, 16384> buffer{};
  for (;;) {
    const ssize_t n = ::recv(fd_, buffer.data(), buffer.size(), 0);
    if (n > 0) {
      received_.append(buffer.data(), static_cast<std::size_t>(n));
      return true;
    }
    if (n == 0) return false;
    if (errno == EAGAIN) {
      if (!waitOn(fd_, POLLIN, deadline)) return false;
    } else if (errno != EINTR) {
      return false;
    }
  }
}

std::optional<std::string> HttpClient::readLine(Time deadline) {
  std::size_t end = 0;
  while ((end = received_.find("\r\n")) == std::string::npos) {
    if (received_.size() > kMaxLine || !fill(deadline)) return std::nullopt;
  }
  std::string line = received_.substr(0, end);
  received_.erase(0, end + 2);
  return line;
}

std::optional<std::string> HttpClient::readBytes(std::size_t count, Time deadline) {
  while (received_.size() < count) {
    if (!fill(deadline)) return std::nullopt;
  }
  std::string bytes = received_.substr(0, count);
  received_.erase(0, count);
  return bytes;
}

std::optional<HttpClient::Head> HttpClient::readHead(Time deadline) {
  constexpr std::string_view kVersion = "HTTP/1.1 ";
  const auto first = readLine(deadline);
  if (!first || !first->starts_with(kVersion)) return std::nullopt;
  Head head;
  const auto status = number(std::string_view(*first).substr(kVersion.size()), 10);
  if (!status) return std::nullopt;
  head.status = static_cast<int>(*status);
  for (;;) {
    const auto line = readLine(deadline);
    if (!line) return std::nullopt;
    if (line->empty()) return head;
    const std::string text = lowerCase(*line);
    if (text.starts_with("content-length: ")) head.length = number(std::string_view(text).substr(16), 10);
    if (text == "transfer-encoding: chunked") head.chunked = true;
    if (text == "connection: close") head.close = true;
    const auto colon = line->find(": ");
    if (colon != std::string::npos) head.headers[text.substr(0, colon)] = line->substr(colon + 2);
  }
}

std::optional<std::string> HttpClient::readChunk(Time deadline) {
  const auto size = readLine(deadline);
  const auto count = size ? number(*size, 16) : std::nullopt;
  if (!count) return std::nullopt;
  auto bytes = readBytes(*count, deadline);
  const auto end = bytes ? readLine(deadline) : std::nullopt;
  if (!end || !end->empty()) return std::nullopt;
  return bytes;
}

std::optional<HttpReply> HttpClient::perform(const HttpRequest& request,
                                             const std::function<bool(const ServerEvent&)>& onEvent) {
  const Time deadline = std::chrono::steady_clock::now() + request.limit;
  if (!connect(deadline) || !send(request, deadline)) return std::nullopt;
  const auto head = readHead(deadline);
  if (!head) return std::nullopt;
  HttpReply reply{head->status, {}, head->headers};
  if (!head->chunked) {
    if (!head->length && head->status != 204) return std::nullopt;
    auto body = readBytes(head->length.value_or(0), deadline);
    if (!body) return std::nullopt;
    reply.body = std::move(*body);
  } else {
    ServerEvents events;
    for (;;) {
      const auto chunk = readChunk(deadline);
      if (!chunk) return std::nullopt;
      if (chunk->empty()) break;
      if (onEvent && head->status == 200) {
        if (!events.feed(*chunk, onEvent)) return std::nullopt;
      } else {
        reply.body += *chunk;
      }
    }
  }
  if (head->close) close();
  return reply;
}

std::optional<HttpReply> HttpClient::exchange(const HttpRequest& request) {
  return stream(request, nullptr);
}

std::optional<HttpReply> HttpClient::stream(const HttpRequest& request,
                                            const std::function<bool(const ServerEvent&)>& onEvent) {
  auto reply = perform(request, onEvent);
  if (!reply) close();
  return reply;
}

bool ServerEvents::feed(std::string_view bytes, const std::function<bool(const ServerEvent&)>& onEvent) {
  for (const char c : bytes) {
    if (c != '\n') {
      if (c != '\r') line_ += c;
      continue;
    }
    const std::string line = std::exchange(line_, {});
    if (line.empty()) {
      const bool complete = std::exchange(hasData_, false);
      const ServerEvent event = std::exchange(event_, {});
      if (complete && !onEvent(event)) return false;
      continue;
    }
    const auto colon = line.find(':');
    const std::string name = line.substr(0, colon);
    std::string value = colon == std::string::npos ? "" : line.substr(colon + 1);
    if (value.starts_with(' ')) value.erase(0, 1);
    if (name == "id") event_.id = std::move(value);
    if (name != "data") continue;
    if (hasData_) event_.data += '\n';
    event_.data += value;
    hasData_ = true;
  }
  return true;
}

}  // namespace vaultysclaw::harness
