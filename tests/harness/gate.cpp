#include "gate.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <deque>
#include <optional>
#include <system_error>

namespace vaultysclaw::harness {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr std::size_t kMaxQueued = 256 * 1024;  // bytes, each way of a connection
constexpr std::size_t kRead = 16 * 1024;
constexpr std::size_t kTricklePiece = 64;
constexpr milliseconds kTrickleEvery{5};
constexpr int kIdle = 1000;  // ms

int makeSocket() {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) throw std::system_error(errno, std::generic_category(), "socket");
  return fd;
}

sockaddr_in loopback(std::uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

void noDelay(int fd) {
  const int on = 1;
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

void reset(int& fd) {
  if (fd < 0) return;
  const linger now{1, 0};
  ::setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
  ::close(fd);
  fd = -1;
}

}  // namespace

// One connection: the side that connected to the gate (0) and the gate's own to the target (1).
struct Gate::Pair {
  struct Piece {
    std::string bytes;
    Clock::time_point due;
  };
  struct Way {  // from side i to the other
    std::deque<Piece> pieces;
    std::size_t queued = 0;
    bool ended = false;  // nothing more comes
    Clock::time_point nextTrickle{};
  };
  int fds[2] = {-1, -1};
  Way ways[2];
  bool corrupted = false;
  bool mute = false;  // bytes were lost: neither side hears anything any more

  bool gone() const { return fds[0] < 0 && fds[1] < 0; }
  void resetBoth() {
    reset(fds[0]);
    reset(fds[1]);
  }
};

struct Gate::Link {
  int listener = -1;
  std::uint16_t port = 0, target = 0;
  Flow flow = Flow::Pass;
  milliseconds delay{0};
  std::vector<std::unique_ptr<Pair>> pairs;
  GateCounts counts;
};

Gate::Gate() : wakeUp_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  if (wakeUp_ < 0) throw std::system_error(errno, std::generic_category(), "eventfd");
  thread_ = std::thread([this] { run(); });
}

Gate::~Gate() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  wake();
  thread_.join();
  for (auto& link : links_) {
    ::close(link->listener);
    for (auto& pair : link->pairs) pair->resetBoth();
  }
  ::close(wakeUp_);
}

void Gate::wake() const {
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = ::write(wakeUp_, &one, sizeof one);  // full is awake enough
}

std::size_t Gate::add() {
  auto link = std::make_unique<Link>();
  link->listener = makeSocket();
  sockaddr_in address = loopback(0);
  socklen_t size = sizeof address;
  if (::bind(link->listener, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
      ::listen(link->listener, SOMAXCONN) != 0 ||
      ::getsockname(link->listener, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    const int error = errno;
    ::close(link->listener);
    throw std::system_error(error, std::generic_category(), "listen");
  }
  link->port = ntohs(address.sin_port);
  const std::lock_guard lock(mutex_);
  links_.push_back(std::move(link));
  wake();
  return links_.size() - 1;
}

std::uint16_t Gate::port(std::size_t link) const {
  const std::lock_guard lock(mutex_);
  return links_.at(link)->port;
}

void Gate::leadTo(std::size_t link, std::uint16_t port) {
  const std::lock_guard lock(mutex_);
  links_.at(link)->target = port;
}

void Gate::setFlow(std::size_t link, Flow flow) {
  const std::lock_guard lock(mutex_);
  links_.at(link)->flow = flow;
  wake();
}

void Gate::setDelay(std::size_t link, milliseconds delay) {
  const std::lock_guard lock(mutex_);
  links_.at(link)->delay = delay;
}

void Gate::cut(std::size_t link, Told told) {
  const std::lock_guard lock(mutex_);
  for (auto& pair : links_.at(link)->pairs) {
    if (told != Told::Far) reset(pair->fds[0]);
    if (told != Told::Near) reset(pair->fds[1]);
    pair->mute = true;
  }
  wake();
}

void Gate::cutCorrupted(std::size_t link) {
  const std::lock_guard lock(mutex_);
  for (auto& pair : links_.at(link)->pairs) {
    if (pair->corrupted) pair->resetBoth();
  }
  wake();
}

GateCounts Gate::counts(std::size_t link) const {
  const std::lock_guard lock(mutex_);
  return links_.at(link)->counts;
}

namespace {

std::uint64_t nextRandom(std::uint64_t& state) {  // xorshift64
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return state;
}

}  // namespace

void Gate::run() {
  struct Entry {
    Link* link = nullptr;  // null: the wake-up
    Pair* pair = nullptr;  // null: the listener
    int side = 0;
  };
  std::vector<pollfd> polled;
  std::vector<Entry> entries;

  const auto accept = [](Link& link) {
    for (;;) {
      const int fd = ::accept4(link.listener, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
      if (fd < 0) return;
      auto pair = std::make_unique<Pair>();
      pair->fds[0] = fd;
      if (link.target == 0) {
        pair->resetBoth();
        continue;
      }
      pair->fds[1] = makeSocket();
      const sockaddr_in address = loopback(link.target);
      if (::connect(pair->fds[1], reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 &&
          errno != EINPROGRESS) {
        pair->resetBoth();
        continue;
      }
      noDelay(fd);
      noDelay(pair->fds[1]);
      ++link.counts.connections;
      link.pairs.push_back(std::move(pair));
    }
  };

  const auto read = [this](Link& link, Pair& pair, int side) {
    std::array<char, kRead> buffer{};
    const ssize_t n = ::recv(pair.fds[side], buffer.data(), buffer.size(), 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    Pair::Way& way = pair.ways[side];
    if (n <= 0) {
      if (pair.mute) {
        reset(pair.fds[side]);
      } else if (n < 0) {
        pair.resetBoth();
      } else {
        way.ended = true;
      }
      return;
    }
    std::string bytes(buffer.data(), static_cast<std::size_t>(n));
    if (link.flow == Flow::Swallow) pair.mute = true;
    if (pair.mute) {
      link.counts.swallowed += bytes.size();
      return;
    }
    if (link.flow == Flow::Corrupt && nextRandom(random_) % 3 == 0) {
      const std::uint64_t r = nextRandom(random_);
      char& victim = bytes[(r >> 8) % bytes.size()];
      victim = static_cast<char>(victim ^ (1 << (r % 8)));
      ++link.counts.corrupted;
      pair.corrupted = true;
    }
    link.counts.bytes += bytes.size();
    way.queued += bytes.size();
    way.pieces.push_back({std::move(bytes), Clock::now() + link.delay});
  };

  // Whether the way has something that may go now; else when it may be looked at again.
  const auto dueAt = [](const Link& link, const Pair::Way& way) -> std::optional<Clock::time_point> {
    if (way.pieces.empty() || link.flow == Flow::Stall || link.flow == Flow::Swallow) return std::nullopt;
    return link.flow == Flow::Trickle ? std::max(way.pieces.front().due, way.nextTrickle) : way.pieces.front().due;
  };

  const auto write = [&dueAt](Link& link, Pair& pair, int from) {
    Pair::Way& way = pair.ways[from];
    int& to = pair.fds[1 - from];
    for (;;) {
      const auto due = dueAt(link, way);
      if (!due || *due > Clock::now() || to < 0) break;
      std::string& bytes = way.pieces.front().bytes;
      const std::size_t most = link.flow == Flow::Trickle ? std::min(kTricklePiece, bytes.size()) : bytes.size();
      const ssize_t n = ::send(to, bytes.data(), most, MSG_NOSIGNAL);
      if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
      if (n < 0) return pair.resetBoth();
      way.queued -= static_cast<std::size_t>(n);
      bytes.erase(0, static_cast<std::size_t>(n));
      if (bytes.empty()) way.pieces.pop_front();
      if (link.flow == Flow::Trickle) way.nextTrickle = Clock::now() + kTrickleEvery;
    }
    if (way.ended && way.pieces.empty() && !pair.mute) {  // all was said: an orderly end
      for (int& fd : pair.fds) {
        if (fd >= 0) ::close(fd);
        fd = -1;
      }
    }
  };

  for (;;) {
    polled.assign(1, {wakeUp_, POLLIN, 0});
    entries.assign(1, {});
    int wait = kIdle;
    {
      const std::lock_guard lock(mutex_);
      if (ending_) return;
      for (auto& link : links_) {
        polled.push_back({link->listener, POLLIN, 0});
        entries.push_back({link.get(), nullptr, 0});
        for (auto& pair : link->pairs) {
          for (int side = 0; side < 2; ++side) {
            if (pair->fds[side] < 0) continue;
            short events = 0;
            Pair::Way& in = pair->ways[side];
            if (pair->mute || (!in.ended && in.queued < kMaxQueued)) events |= POLLIN;
            const auto due = pair->mute ? std::nullopt : dueAt(*link, pair->ways[1 - side]);
            if (due) {
              const auto left = std::chrono::ceil<milliseconds>(*due - Clock::now()).count();
              if (left <= 0)
                events |= POLLOUT;
              else
                wait = static_cast<int>(std::min<std::int64_t>(wait, left));
            }
            polled.push_back({pair->fds[side], events, 0});
            entries.push_back({link.get(), pair.get(), side});
          }
        }
      }
    }
    if (::poll(polled.data(), polled.size(), wait) < 0) continue;
    const std::lock_guard lock(mutex_);
    for (std::size_t i = 0; i < polled.size(); ++i) {
      const short got = polled[i].revents;
      if (got == 0) continue;
      const Entry& entry = entries[i];
      if (entry.link == nullptr) {
        std::uint64_t count = 0;
        [[maybe_unused]] const ssize_t n = ::read(wakeUp_, &count, sizeof count);
      } else if (entry.pair == nullptr) {
        accept(*entry.link);
      } else if (entry.pair->fds[entry.side] == polled[i].fd) {  // else a command has ended it meanwhile
        const bool broken = (got & (POLLERR | POLLHUP | POLLNVAL)) != 0;
        if ((got & POLLIN) != 0 || broken) read(*entry.link, *entry.pair, entry.side);
      }
    }
    for (auto& link : links_) {
      for (auto& pair : link->pairs) {
        for (int from = 0; from < 2; ++from) {
          if (!pair->mute) write(*link, *pair, from);
        }
      }
      std::erase_if(link->pairs, [](const auto& pair) { return pair->gone(); });
    }
  }
}

}  // namespace vaultysclaw::harness
