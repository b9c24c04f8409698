// The gate does what it says to connections between two sockets of this process.
#include "gate.hpp"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <memory>

#include "base/descriptor.hpp"
#include "child_process.hpp"

namespace vaultysclaw::crash {
namespace {

using namespace harness;

constexpr int kPatience = 30'000;  // ms

// A connection through the gate, both ends in our hands.
class Connection {
 public:
  Connection(Gate& gate, std::size_t link) : listener_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address = loopback(0);
    socklen_t size = sizeof address;
    EXPECT_EQ(::bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    EXPECT_EQ(::listen(listener_.get(), 4), 0);
    EXPECT_EQ(::getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
    gate.leadTo(link, ntohs(address.sin_port));
    near_ = std::make_unique<Descriptor>(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    address = loopback(gate.port(link));
    EXPECT_EQ(::connect(near_->get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    far_ = std::make_unique<Descriptor>(::accept(listener_.get(), nullptr, nullptr));
    EXPECT_GE(far_->get(), 0);
  }

  static sockaddr_in loopback(std::uint16_t port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
  }
  void sendNear(const std::string& text) { send(near_->get(), text); }
  void sendFar(const std::string& text) { send(far_->get(), text); }
  // What comes until `bytes` are there or the connection ends.
  std::string readNear(std::size_t bytes) { return read(near_->get(), bytes); }
  std::string readFar(std::size_t bytes) { return read(far_->get(), bytes); }
  bool nearEnded() { return ended(near_->get()); }
  bool farEnded() { return ended(far_->get()); }
  bool nothingForFar() { return nothing(far_->get()); }
  bool nothingForNear() { return nothing(near_->get()); }
  void closeNear() { near_.reset(); }

 private:
  static void send(int fd, const std::string& text) {
    EXPECT_EQ(::send(fd, text.data(), text.size(), MSG_NOSIGNAL), static_cast<ssize_t>(text.size()));
  }
  static std::string read(int fd, std::size_t bytes) {
    std::string out;
    char buffer[4096];
    while (out.size() < bytes) {
      pollfd entry{fd, POLLIN, 0};
      if (::poll(&entry, 1, kPatience) <= 0) break;
      const ssize_t n = ::recv(fd, buffer, sizeof buffer, 0);
      if (n <= 0) break;
      out.append(buffer, static_cast<std::size_t>(n));
    }
    return out;
  }
  static bool ended(int fd) {
    return eventually([fd] {
      char c = 0;
      const ssize_t n = ::recv(fd, &c, 1, MSG_DONTWAIT);
      return n == 0 || (n < 0 && errno == ECONNRESET);
    });
  }
  static bool nothing(int fd) {
    char c = 0;
    return ::recv(fd, &c, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN;
  }

  Descriptor listener_;
  std::unique_ptr<Descriptor> near_, far_;
};

TEST(Gate, PassesBytesBothWaysAndAnEndBehindThem) {
  Gate gate;
  const auto link = gate.add();
  Connection c(gate, link);
  const std::string much(1'000'000, 'x');
  std::thread sender([&] { c.sendNear(much); });
  EXPECT_EQ(c.readFar(much.size()), much);
  sender.join();
  c.sendFar("back");
  EXPECT_EQ(c.readNear(4), "back");
  c.sendNear("last");
  c.closeNear();
  EXPECT_EQ(c.readFar(4), "last");
  EXPECT_TRUE(c.farEnded());
}

TEST(Gate, RefusesWhenItLeadsNowhere) {
  Gate gate;
  const auto link = gate.add();
  const Descriptor socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address = Connection::loopback(gate.port(link));
  ASSERT_EQ(::connect(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  char c = 0;
  EXPECT_LE(::recv(socket.get(), &c, 1, 0), 0);
}

TEST(Gate, CutsBothSides) {
  Gate gate;
  const auto link = gate.add(), other = gate.add();
  Connection c(gate, link), untouched(gate, other);
  gate.cut(link);
  EXPECT_TRUE(c.nearEnded());
  EXPECT_TRUE(c.farEnded());
  untouched.sendNear("there");
  EXPECT_EQ(untouched.readFar(5), "there");
}

TEST(Gate, LeavesOneSideInTheDark) {
  Gate gate;
  const auto link = gate.add();
  Connection c(gate, link);
  gate.cut(link, Told::Near);
  EXPECT_TRUE(c.nearEnded());
  c.sendFar("is anybody there?");
  EXPECT_TRUE(eventually([&] { return gate.counts(link).swallowed > 0; }));
  EXPECT_TRUE(c.nothingForFar());
}

TEST(Gate, SwallowsAndNeverSpeaksOnThatConnectionAgain) {
  Gate gate;
  const auto link = gate.add();
  Connection c(gate, link);
  gate.setFlow(link, Flow::Swallow);
  c.sendNear("lost");
  EXPECT_TRUE(eventually([&] { return gate.counts(link).swallowed == 4; }));
  gate.setFlow(link, Flow::Pass);
  c.sendFar("lost too");
  EXPECT_TRUE(eventually([&] { return gate.counts(link).swallowed == 12; }));
  EXPECT_TRUE(c.nothingForNear());
  EXPECT_TRUE(c.nothingForFar());
  Connection next(gate, link);
  next.sendNear("heard");
  EXPECT_EQ(next.readFar(5), "heard");
}

TEST(Gate, StallsWithoutLosingAnything) {
  Gate gate;
  const auto link = gate.add();
  Connection c(gate, link);
  gate.setFlow(link, Flow::Stall);
  c.sendNear("later");
  EXPECT_TRUE(eventually([&] { return gate.counts(link).bytes == 5; }));
  EXPECT_TRUE(c.nothingForFar());
  gate.setFlow(link, Flow::Pass);
  EXPECT_EQ(c.readFar(5), "later");
}

TEST(Gate, TricklesEverythingInTheEnd) {
  Gate gate;
  const auto link = gate.add();
  Connection c(gate, link);
  gate.setFlow(link, Flow::Trickle);
  gate.setDelay(link, std::chrono::milliseconds(1));
  const std::string text(500, 'y');
  c.sendFar(text);
  EXPECT_EQ(c.readNear(text.size()), text);
}

TEST(Gate, CorruptsBitsAndLengthsStay) {
  Gate gate;
  const auto link = gate.add(), other = gate.add();
  Connection c(gate, link);
  gate.setFlow(link, Flow::Corrupt);
  const std::string text(32, 'z');
  std::string got;
  while (gate.counts(link).corrupted == 0) {
    c.sendNear(text);
    got = c.readFar(text.size());
    ASSERT_EQ(got.size(), text.size());
  }
  EXPECT_NE(got, text);
  Connection whole(gate, other);
  gate.cutCorrupted(link);
  gate.cutCorrupted(other);
  EXPECT_TRUE(c.nearEnded());
  whole.sendNear(text);
  EXPECT_EQ(whole.readFar(text.size()), text);
}

}  // namespace
}  // namespace vaultysclaw::crash
