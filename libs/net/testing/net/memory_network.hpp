// An in-memory network for tests: Dialer and Connections over any Executor, with faults on demand.
//
//   FakeClock clock; FakeLoop loop(clock); MemoryNetwork network(loop);
//   network.listen("ws://cp:8080", [&](auto connection) { ... });
//   auto dialer = network.dialer();
//
// Nothing happens but on the executor's turns. Confined to the executor (with FakeLoop: the test's thread). The
// executor must outlive the network and everything made on it; connections may outlive the network.
#pragma once

#include <algorithm>
#include <cstddef>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/assert.hpp"
#include "base/ports.hpp"
#include "base/utf8.hpp"
#include "net/connection.hpp"

namespace vaultysclaw::testing {

enum class Direction : std::uint8_t { ToServer, ToClient };

// Sees every message just before its delivery and may change it; false drops it.
using FrameHook = std::function<bool(Direction, net::FrameKind, std::string&)>;
// Asked before each message is taken; anything but Ok is the sender's answer, and the message is not taken.
using SendHook = std::function<net::SendResult(Direction)>;

namespace memory_network {

struct Frame {
  enum class Type : std::uint8_t { Message, Close, Lost } type = Type::Message;
  net::FrameKind kind = net::FrameKind::Text;
  std::string data;
  net::CloseReason reason;
};

// One side of a connection. `out` holds what this side sent and the other has not received yet.
struct End {
  bool alive = true;  // its Connection object exists
  bool closing = false;
  std::optional<net::CloseReason> closed;
  bool closeReported = false;
  std::shared_ptr<net::Connection::Callbacks> callbacks;  // set by start()
  std::deque<Frame> out;
  std::size_t outBytes = 0;
  std::size_t deliverable = 0;  // frames of `out` whose delay is over
  std::deque<Timer> delays;
  Timer closeTimer;
  Timer silenceTimer;
  net::PeerInfo peer;
  net::ConnectionLimits limits;
};

class Wire;

struct Listener {
  net::AcceptHandler accept;
  net::ConnectionLimits limits;
};

struct State {
  explicit State(Executor& e) : executor(e) {}
  Executor& executor;
  net::Protection protection = net::Protection::Loopback;
  Duration delay{0};
  bool partitioned = false;
  bool held = false;
  std::size_t credit = 0;  // frames that may pass although delivery is held
  FrameHook hook;
  SendHook sendHook;
  std::map<std::string, Listener> listeners;
  std::vector<std::weak_ptr<Wire>> wires;
  std::size_t dials = 0;
  std::size_t delivered = 0;
};

// "host:port" of a URL or of "host:port" itself; the path does not count.
inline std::string addressOf(std::string_view url) {
  std::string port = ":80";
  if (const auto scheme = url.find("://"); scheme != std::string_view::npos) {
    if (url.substr(0, scheme) == "wss" || url.substr(0, scheme) == "https") port = ":443";
    url.remove_prefix(scheme + 3);
  }
  std::string address(url.substr(0, url.find_first_of("/?#")));
  return address.find(':') == std::string::npos ? address + port : address;
}

// Two Ends: 0 is the client's, 1 the server's.
class Wire : public std::enable_shared_from_this<Wire> {
 public:
  explicit Wire(std::shared_ptr<State> state) : state_(std::move(state)) {}

  End& end(std::size_t i) { return ends_[i]; }
  const End& end(std::size_t i) const { return ends_[i]; }

  void start(std::size_t i, net::Connection::Callbacks callbacks) {
    VC_ASSERT(!ends_[i].callbacks, "Connection::start is called once");
    ends_[i].callbacks = std::make_shared<net::Connection::Callbacks>(std::move(callbacks));
    if (ends_[i].closed) reportClose(i);
    pump(1 - i);
  }

  net::SendResult send(std::size_t i, net::FrameKind kind, std::string data) {
    End& e = ends_[i];
    if (e.closing || e.closed) return net::SendResult::Closed;
    if (state_->sendHook) {
      const auto answer = state_->sendHook(i == 0 ? Direction::ToServer : Direction::ToClient);
      if (answer != net::SendResult::Ok) return answer;
    }
    if (e.outBytes + data.size() > e.limits.maxQueuedBytes) return net::SendResult::QueueFull;
    enqueue(i, Frame{Frame::Type::Message, kind, std::move(data), {}});
    return net::SendResult::Ok;
  }

  void close(std::size_t i, std::uint16_t code, std::string_view reason) {
    End& e = ends_[i];
    if (e.closing || e.closed) return;
    e.closing = true;
    enqueue(i, Frame{Frame::Type::Close, {}, {}, {code, std::string(reason)}});
    e.closeTimer = state_->executor.after(seconds(5), [this, self = weak_from_this(), i] {
      if (auto keep = self.lock()) finish(i, {});
    });
  }

  void drop(std::size_t i) {
    End& e = ends_[i];
    e.alive = false;
    e.callbacks.reset();
    e.closeTimer.reset();
    e.silenceTimer.reset();
    if (!e.closed) {
      e.closed.emplace();
      if (!ends_[1 - i].closed) enqueue(i, Frame{Frame::Type::Lost, {}, {}, {}});
    }
  }

  // Both ends learn at their next turn that the connection is gone; what was under way is lost.
  void cut() {
    for (std::size_t i = 0; i < 2; ++i) {
      ends_[i].out.clear();
      ends_[i].outBytes = ends_[i].deliverable = 0;
      ends_[i].delays.clear();
      finish(i, {});
    }
  }

  // As a real connection's pings do, each end finds out that nothing arrives any more.
  void watchSilence(bool partitioned) {
    for (std::size_t i = 0; i < 2; ++i) {
      End& e = ends_[i];
      e.silenceTimer.reset();
      if (!partitioned || e.closed) continue;
      e.silenceTimer = state_->executor.after(e.limits.pingInterval * 2, [this, self = weak_from_this(), i] {
        if (auto keep = self.lock()) finish(i, {});
      });
    }
  }

  // Lets the next frame that end `i` sent arrive, if one may.
  void pump(std::size_t i) {
    state_->executor.post([this, self = weak_from_this(), i] {
      if (auto keep = self.lock()) deliverOne(i);
    });
  }

  bool open() const { return !ends_[0].closed || !ends_[1].closed; }

 private:
  void enqueue(std::size_t i, Frame frame) {
    End& e = ends_[i];
    e.outBytes += frame.data.size();
    e.out.push_back(std::move(frame));
    if (state_->delay <= Duration(0)) {
      ++e.deliverable;
      // The sender's Connection may be gone by the next turn, so the task keeps the wire alive.
      state_->executor.post([self = shared_from_this(), i] { self->deliverOne(i); });
      return;
    }
    e.delays.push_back(state_->executor.after(state_->delay, [self = shared_from_this(), i] {
      End& sender = self->ends_[i];
      const Timer done = std::move(sender.delays.front());
      sender.delays.pop_front();
      ++sender.deliverable;
      self->deliverOne(i);
    }));
  }

  void deliverOne(std::size_t i) {
    End& from = ends_[i];
    End& to = ends_[1 - i];
    if (from.deliverable == 0 || from.out.empty()) return;
    if (to.alive && !to.closed && !to.callbacks) return;  // not started: waits
    if (state_->held && state_->credit == 0) return;
    if (state_->credit > 0) --state_->credit;

    Frame frame = std::move(from.out.front());
    from.out.pop_front();
    --from.deliverable;
    from.outBytes -= frame.data.size();
    if (from.deliverable > 0) pump(i);

    if (!state_->partitioned && !to.closed) arrive(i, frame);
    if (from.out.empty() && from.callbacks && !from.closed) {
      if (auto callbacks = from.callbacks; callbacks->onDrained) callbacks->onDrained();
    }
  }

  void arrive(std::size_t i, Frame& frame) {
    End& to = ends_[1 - i];
    switch (frame.type) {
      case Frame::Type::Close:
        finish(1 - i, frame.reason);
        finish(i, frame.reason);
        return;
      case Frame::Type::Lost:
        finish(1 - i, {});
        return;
      case Frame::Type::Message:
        break;
    }
    const Direction direction = i == 0 ? Direction::ToServer : Direction::ToClient;
    if (state_->hook) {
      if (auto hook = state_->hook; !hook(direction, frame.kind, frame.data)) return;
    }
    if (to.closing || to.closed) return;
    if (frame.data.size() > to.limits.maxMessageBytes) return fail({net::close_code::kTooBig, "message too big"});
    if (frame.kind == net::FrameKind::Text && !isValidUtf8(frame.data)) return fail({1007, "text is not UTF-8"});
    ++state_->delivered;
    if (auto callbacks = to.callbacks; callbacks && callbacks->onMessage) callbacks->onMessage(frame.kind, frame.data);
  }

  void fail(const net::CloseReason& reason) {
    finish(0, reason);
    finish(1, reason);
  }

  void finish(std::size_t i, const net::CloseReason& reason) {
    End& e = ends_[i];
    if (e.closed) return;
    e.closed = reason;
    e.closeTimer.reset();
    e.silenceTimer.reset();
    if (e.callbacks) reportClose(i);
  }

  void reportClose(std::size_t i) {
    state_->executor.post([self = shared_from_this(), i] {
      End& e = self->ends_[i];
      auto callbacks = e.callbacks;
      if (!callbacks || std::exchange(e.closeReported, true)) return;
      if (callbacks->onClose) callbacks->onClose(net::CloseReason(*e.closed));
    });
  }

  std::shared_ptr<State> state_;
  End ends_[2];
};

class MemoryConnection final : public net::Connection {
 public:
  MemoryConnection(std::shared_ptr<Wire> wire, std::size_t i) : wire_(std::move(wire)), i_(i) {}
  ~MemoryConnection() override { wire_->drop(i_); }

  void start(Callbacks callbacks) override { wire_->start(i_, std::move(callbacks)); }
  net::SendResult send(net::FrameKind kind, std::string data) override {
    return wire_->send(i_, kind, std::move(data));
  }
  void close(std::uint16_t code, std::string_view reason) override { wire_->close(i_, code, reason); }
  void setMaxMessageBytes(std::size_t bytes) override { wire_->end(i_).limits.maxMessageBytes = bytes; }
  std::size_t queuedBytes() const override { return wire_->end(i_).outBytes; }
  const net::PeerInfo& peer() const override { return wire_->end(i_).peer; }

 private:
  std::shared_ptr<Wire> wire_;
  std::size_t i_;
};

class MemoryDialer final : public net::Dialer {
 public:
  using Done = std::function<void(Result<std::unique_ptr<net::Connection>>)>;

  explicit MemoryDialer(std::shared_ptr<State> state) : state_(std::move(state)) {}

  net::Pending dial(net::DialOptions options, Done done) override {
    ++state_->dials;
    const Duration wait = state_->partitioned ? options.timeout : state_->delay;
    // The timer of a dial lives in the handle, so that dropping the handle cancels.
    auto timer = std::make_shared<Timer>(state_->executor.after(
        wait,
        [state = state_, options = std::move(options), done = std::move(done)] { finish(state, options, done); }));
    return net::Pending([timer] { timer->reset(); });
  }

 private:
  static void finish(const std::shared_ptr<State>& state, const net::DialOptions& options, const Done& done) {
    if (state->partitioned) return done(Error{Errc::DeadlineExceeded, options.url + " did not answer in time"});
    const auto listener = state->listeners.find(addressOf(options.url));
    if (listener == state->listeners.end())
      return done(Error{Errc::Unavailable, addressOf(options.url) + " refused the connection: nothing listens there"});
    auto wire = std::make_shared<Wire>(state);
    wire->end(0).limits = options.limits;
    wire->end(1).limits = listener->second.limits;
    for (std::size_t i = 0; i < 2; ++i) wire->end(i).peer = {"memory", "memory", state->protection};
    std::erase_if(state->wires, [](const std::weak_ptr<Wire>& w) { return w.expired(); });
    state->wires.push_back(wire);
    const net::AcceptHandler accept = listener->second.accept;
    accept(std::make_unique<MemoryConnection>(wire, 1));
    done(std::unique_ptr<net::Connection>(std::make_unique<MemoryConnection>(wire, 0)));
  }

  std::shared_ptr<State> state_;
};

}  // namespace memory_network

class MemoryNetwork {
 public:
  explicit MemoryNetwork(Executor& executor) : state_(std::make_shared<memory_network::State>(executor)) {}

  std::unique_ptr<net::Dialer> dialer() { return std::make_unique<memory_network::MemoryDialer>(state_); }

  // `address` is a URL or host:port; paths do not count. A second listen on it replaces the handler.
  void listen(std::string_view address, net::AcceptHandler accept, net::ConnectionLimits limits = {}) {
    state_->listeners[memory_network::addressOf(address)] = {std::move(accept), limits};
  }
  // Open connections live on.
  void unlisten(std::string_view address) { state_->listeners.erase(memory_network::addressOf(address)); }

  // Of connections dialled from now on; Loopback at first.
  void setProtection(net::Protection protection) { state_->protection = protection; }
  // How long messages and dials take from now on; order is kept.
  void setDelay(Duration delay) { state_->delay = delay; }
  void setHook(FrameHook hook) { state_->hook = std::move(hook); }
  void setSendHook(SendHook hook) { state_->sendHook = std::move(hook); }

  // While partitioned, what would arrive vanishes, dials end with DeadlineExceeded, and connections are lost on both
  // sides after two ping intervals.
  void setPartitioned(bool partitioned) {
    state_->partitioned = partitioned;
    for (auto& wire : wires()) wire->watchSilence(partitioned);
  }

  // Frames wait (and count as queued) until released.
  void hold() { state_->held = true; }
  void release() {
    state_->held = false;
    state_->credit = 0;
    pumpAll();
  }
  // Lets `count` frames pass, of any connection, oldest connection first.
  void releaseFrames(std::size_t count) {
    state_->credit += count;
    pumpAll();
  }

  // Open connections, oldest first.
  std::size_t connectionCount() const { return wires().size(); }
  // Both sides get onClose(1006). False when there is no such connection.
  bool cut(std::size_t index) {
    auto open = wires();
    if (index >= open.size()) return false;
    open[index]->cut();
    return true;
  }
  void cutAll() {
    for (auto& wire : wires()) wire->cut();
  }

  std::size_t dialCount() const { return state_->dials; }
  std::size_t deliveredCount() const { return state_->delivered; }

 private:
  std::vector<std::shared_ptr<memory_network::Wire>> wires() const {
    std::vector<std::shared_ptr<memory_network::Wire>> open;
    for (const auto& weak : state_->wires) {
      if (auto wire = weak.lock(); wire && wire->open()) open.push_back(std::move(wire));
    }
    return open;
  }
  void pumpAll() {
    for (const auto& weak : state_->wires) {
      if (auto wire = weak.lock()) {
        wire->pump(0);
        wire->pump(1);
      }
    }
  }

  std::shared_ptr<memory_network::State> state_;
};

}  // namespace vaultysclaw::testing
