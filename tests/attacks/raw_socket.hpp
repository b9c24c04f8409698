// A WebSocket client written out by hand on a blocking TCP socket: it can stop reading, send one byte at a time, lie
// about lengths, and come from any address of 127.0.0.0/8. Waits have a bound that only a failing test reaches.
#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace vaultysclaw::attacks {

class RawSocket {
 public:
  // `from`: our own address. `receiveBuffer`: of the kernel, 0 for its own choice.
  static RawSocket connect(std::uint16_t port, const char* from = "127.0.0.1", int receiveBuffer = 0) {
    RawSocket out(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (receiveBuffer > 0) ::setsockopt(out.fd_, SOL_SOCKET, SO_RCVBUF, &receiveBuffer, sizeof receiveBuffer);
    const int one = 1;
    ::setsockopt(out.fd_, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    sockaddr_in here = address(from, 0), there = address("127.0.0.1", port);
    EXPECT_EQ(::bind(out.fd_, reinterpret_cast<sockaddr*>(&here), sizeof here), 0);
    EXPECT_EQ(::connect(out.fd_, reinterpret_cast<sockaddr*>(&there), sizeof there), 0);
    return out;
  }
  RawSocket(RawSocket&& other) noexcept : fd_(std::exchange(other.fd_, -1)), in_(std::move(other.in_)) {}
  RawSocket& operator=(RawSocket&&) = delete;
  ~RawSocket() {
    if (fd_ >= 0) ::close(fd_);
  }

  // False when the other side is gone.
  bool send(std::string_view data) {
    while (!data.empty()) {
      const auto n = ::send(fd_, data.data(), data.size(), MSG_NOSIGNAL);
      if (n <= 0) return false;
      data.remove_prefix(static_cast<std::size_t>(n));
    }
    return true;
  }
  // Through the upgrade; false when it is refused.
  bool upgrade(const char* path = "/") {
    send(std::string("GET ") + path +
         " HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
         "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n");
    while (in_.find("\r\n\r\n") == std::string::npos) {
      if (!receive()) return false;
    }
    const bool switched = in_.starts_with("HTTP/1.1 101");
    in_.erase(0, in_.find("\r\n\r\n") + 4);
    return switched;
  }
  // The bytes of one frame with the mask 0, as a client must have one.
  static std::string frame(std::uint8_t opcode, std::string_view data) {
    std::string out{static_cast<char>(0x80 | opcode)};
    const std::size_t n = data.size();
    if (n < 126) {
      out += static_cast<char>(0x80 | n);
    } else {
      const int bytes = n < 65536 ? 2 : 8;
      out += static_cast<char>(0x80 | (bytes == 2 ? 126 : 127));
      for (int i = bytes - 1; i >= 0; --i) out += static_cast<char>(static_cast<std::uint64_t>(n) >> (8 * i));
    }
    out.append(4, '\0');
    return out.append(data);
  }
  // The next frame's opcode and content; nothing at the end of the connection.
  std::optional<std::pair<std::uint8_t, std::string>> read() {
    const auto have = [&](std::size_t n) {
      while (in_.size() < n) {
        if (!receive()) return false;
      }
      return true;
    };
    if (!have(2)) return std::nullopt;
    const auto at = [&](std::size_t i) { return static_cast<std::uint8_t>(in_[i]); };
    const std::uint8_t opcode = at(0) & 15;
    std::size_t length = at(1) & 127, header = 2;
    if (length >= 126) {
      const std::size_t bytes = length == 126 ? 2 : 8;
      if (!have(2 + bytes)) return std::nullopt;
      length = 0;
      for (std::size_t i = 0; i < bytes; ++i) length = length << 8 | at(2 + i);
      header += bytes;
    }
    if (!have(header + length)) return std::nullopt;
    std::string data = in_.substr(header, length);
    in_.erase(0, header + length);
    return std::pair(opcode, std::move(data));
  }
  // Whether something can be read within `milliseconds`, the end included.
  bool readable(int milliseconds = 0) const {
    if (!in_.empty()) return true;
    pollfd p{fd_, POLLIN, 0};
    return ::poll(&p, 1, milliseconds) == 1;
  }
  // Whether the other side has closed: reads on until then; false when it does not within a minute.
  bool closedByPeer() {
    while (auto some = read()) {
      if (some->first == 8) return true;
    }
    return ended_;
  }

 private:
  explicit RawSocket(int fd) : fd_(fd) {}
  static sockaddr_in address(const char* host, std::uint16_t port) {
    sockaddr_in a{};
    a.sin_family = AF_INET;
    a.sin_port = htons(port);
    ::inet_pton(AF_INET, host, &a.sin_addr);
    return a;
  }
  bool receive() {
    pollfd p{fd_, POLLIN, 0};
    if (::poll(&p, 1, 60'000) != 1) return false;
    char buffer[65536];
    const auto n = ::recv(fd_, buffer, sizeof buffer, 0);
    if (n <= 0) {
      ended_ = true;
      return false;
    }
    in_.append(buffer, static_cast<std::size_t>(n));
    return true;
  }

  int fd_;
  bool ended_ = false;
  std::string in_;
};

}  // namespace vaultysclaw::attacks
