#include "relay.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>

#include "base/assert.hpp"

namespace vaultysclaw::system_test {
namespace {

sockaddr_in loopback(int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  return address;
}

}  // namespace

Relay::Relay(int upstream) : upstream_(upstream), listener_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  sockaddr_in address = loopback(0);
  socklen_t size = sizeof address;
  auto* const generic = reinterpret_cast<sockaddr*>(&address);
  VC_ASSERT(::bind(listener_, generic, size) == 0 && ::listen(listener_, 64) == 0, "loopback has a free port");
  VC_ASSERT(::getsockname(listener_, generic, &size) == 0, "a listening socket has a name");
  port_ = ntohs(address.sin_port);
  thread_ = std::thread([this] { serve(); });
}

Relay::~Relay() {
  stop_ = true;
  thread_.join();
  for (const auto& [client, server] : open_) reset(client), reset(server);
  ::close(listener_);
}

void Relay::serve() {
  while (!stop_) {
    if (cut_.exchange(false)) {
      for (const auto& [client, server] : open_) reset(client), reset(server);
      open_.clear();
    }
    std::vector<pollfd> watched{{listener_, POLLIN, 0}};
    for (const auto& [client, server] : open_) {
      watched.push_back({client, POLLIN, 0});
      watched.push_back({server, POLLIN, 0});
    }
    if (::poll(watched.data(), watched.size(), 10) <= 0) continue;
    std::vector<std::pair<int, int>> still;
    for (std::size_t i = 0; i < open_.size(); ++i) {
      const auto [client, server] = open_[i];
      const bool up = watched[1 + 2 * i].revents == 0 || forward(client, server);
      const bool down = watched[2 + 2 * i].revents == 0 || forward(server, client);
      if (up && down) {
        still.push_back(open_[i]);
      } else {
        ::close(client);
        ::close(server);
      }
    }
    open_ = std::move(still);
    if (watched[0].revents != 0) accept();
  }
}

void Relay::accept() {
  const int client = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
  if (client < 0) return;
  const int server = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const sockaddr_in address = loopback(upstream_);
  if (::connect(server, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) {
    open_.emplace_back(client, server);
  } else {
    ::close(client);
    ::close(server);
  }
}

bool Relay::forward(int from, int to) {
  std::array<char, 65536> buffer{};
  const ssize_t size = ::recv(from, buffer.data(), buffer.size(), 0);
  if (size <= 0) return false;
  for (ssize_t done = 0; done < size;) {
    const ssize_t written = ::send(to, buffer.data() + done, static_cast<std::size_t>(size - done), MSG_NOSIGNAL);
    if (written <= 0) return false;
    done += written;
  }
  return true;
}

void Relay::reset(int socket) {
  const linger none{1, 0};
  ::setsockopt(socket, SOL_SOCKET, SO_LINGER, &none, sizeof none);
  ::close(socket);
}

}  // namespace vaultysclaw::system_test
