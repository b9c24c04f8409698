// Message connections, as interfaces: what the agent and the control plane speak over. Implementations: WebSocket over
// TCP or TLS (websocket), and memory (testing/net/memory_network.hpp). No Asio here: including this costs nothing.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/ports.hpp"
#include "base/result.hpp"

namespace vaultysclaw::net {

enum class FrameKind : std::uint8_t { Text, Binary };

// What the transport itself guarantees about who can read and change the bytes (docs/protocol.md 7.2). It describes the
// connection as this process sees it: what comes from a reverse proxy on the same machine is Loopback, wherever the
// client is and even if the client spoke plain HTTP to the proxy. Whoever runs such a proxy has it accept TLS only.
enum class Protection : std::uint8_t { None, Loopback, VerifiedTls };

struct PeerInfo {
  std::string address = {};    // remote IP address, without the port; "memory" in tests
  std::string transport = {};  // "ws", "wss", "memory"
  Protection protection = Protection::None;
};

struct CloseReason {
  std::uint16_t code = 1006;  // RFC 6455 section 7.4; 1006 = the connection was lost without a close frame
  std::string text = {};      // foreign text: print through printable()
};

namespace close_code {
inline constexpr std::uint16_t kNormal = 1000, kGoingAway = 1001, kProtocolError = 1002, kPolicy = 1008, kTooBig = 1009,
                               kTryLater = 1013;
}

enum class SendResult : std::uint8_t {
  Ok,
  QueueFull,  // over maxQueuedBytes: nothing was queued; the peer reads too slowly, so close it
  Closed,
};

// One ordered, reliable stream of messages. Confined to the executor of the loop that made it; never blocks.
// Owned by whoever received it from a Dialer or Acceptor. Destroying it drops the connection at once, and no callback
// runs afterwards. Callbacks may destroy the connection that calls them.
class Connection {
 public:
  struct Callbacks {
    std::function<void(FrameKind, std::string_view)> onMessage = {};  // the view is valid during the call
    std::function<void(const CloseReason&)> onClose = {};             // exactly once, last
    std::function<void()> onDrained = {};                             // optional: the queue became empty
  };
  virtual ~Connection() = default;

  // Starts delivering. Once. Messages that came before are delivered then.
  virtual void start(Callbacks callbacks) = 0;
  virtual SendResult send(FrameKind kind, std::string data) = 0;
  // Sends what is queued, then the close frame; onClose follows, within 5 s at most. Messages that arrive after this
  // call are dropped.
  virtual void close(std::uint16_t code, std::string_view reason) = 0;
  // For messages that begin to arrive from now on, instead of ConnectionLimits::maxMessageBytes; at least 1. A side
  // that does not know its peer yet starts low and raises it, since that much is buffered for a message.
  virtual void setMaxMessageBytes(std::size_t bytes) = 0;
  virtual std::size_t queuedBytes() const = 0;
  virtual const PeerInfo& peer() const = 0;
};

// Bounds and timings of a connection, both sides.
struct ConnectionLimits {
  std::size_t maxMessageBytes = std::size_t{16} << 20;  // a longer incoming message closes with 1009
  std::size_t maxQueuedBytes = std::size_t{32} << 20;   // outgoing
  Duration pingInterval = seconds(20);                  // silence after which a ping is sent; another one ends it
};

struct DialOptions {
  std::string url = {};     // ws://host[:port]/path or wss://...
  std::string caFile = {};  // PEM; empty: the system's roots. wss only
  // http://[user:password@]host:port; "direct": none; empty: from HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY (also
  // in lower case), which never apply to loopback.
  std::string proxyUrl = {};
  Duration timeout = seconds(15);  // resolve, connect, TLS and upgrade together
  ConnectionLimits limits = {};
};

// Handle of work under way; destroying it cancels, and its callback never runs.
using Pending = Timer;

class Dialer {
 public:
  virtual ~Dialer() = default;
  // Calls `done` once, on the executor, never before returning. Errors: InvalidArgument (the URL), Unavailable
  // (refused, unknown host, proxy), Unauthenticated (TLS: certificate not trusted or for another name),
  // DeadlineExceeded. The deadline holds for a name server that does not answer, too, but the system's look-up goes on
  // behind it: look-ups of one loop run one after the other, and destroying the loop waits for the one under way.
  [[nodiscard]] virtual Pending dial(DialOptions options,
                                     std::function<void(Result<std::unique_ptr<Connection>>)> done) = 0;
};

using AcceptHandler = std::function<void(std::unique_ptr<Connection>)>;

}  // namespace vaultysclaw::net
