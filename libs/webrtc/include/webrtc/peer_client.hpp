// A PeerJS client (docs/peerjs-protocol.md): known to a signaling server by an id, with data connections to and from
// others. Speaks to browsers' and to its own kind.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "base/msgpack.hpp"
#include "base/ports.hpp"
#include "net/backoff.hpp"
#include "net/connection.hpp"
#include "webrtc/chunks.hpp"
#include "webrtc/peer_connection.hpp"
#include "webrtc/signaling.hpp"

namespace vaultysclaw::webrtc {

struct DataOptions {
  std::string label = {};     // empty: the connection's id
  std::string metadata = {};  // JSON text for the other side's application; empty: none
  Ordered reliable = Ordered::Yes;
  Serialization serialization = Serialization::Binary;
};

// One PeerJS data connection. Owned by whoever got it; confined to the client's executor; never blocks. Destroying it
// ends the connection, and no callback runs afterwards. Callbacks may destroy it. It may outlive its client.
class DataConnection {
 public:
  struct Callbacks {
    std::function<void()> onOpen = {};
    // Binary: any value. JSON: what JSON can say. Raw: text or bytes.
    std::function<void(const msgpack::Value&)> onData = {};
    std::function<void()> onDrained = {};
    // Exactly once, last. Ok: one side closed. Malformed, TooLarge, DeadlineExceeded: what came was no message of the
    // serialization; else as PeerConnection's.
    std::function<void(const Status&)> onClose = {};
  };
  virtual ~DataConnection() = default;
  // Starts delivering. Once. What came before is delivered then.
  virtual void start(Callbacks callbacks) = 0;
  // Errors: InvalidArgument (a value that the serialization cannot say), TooLarge (over what the other side takes; JSON
  // over 16,299 bytes, which PeerJS does not send), Busy (nothing was queued), ConnectionLost.
  virtual Status send(const msgpack::Value& value) = 0;
  // What was sent before still arrives; onClose follows.
  virtual void close() = 0;
  virtual const PeerId& peer() const = 0;
  virtual const PeerConnectionId& id() const = 0;
  virtual const DataOptions& options() const = 0;
};

struct PeerClientOptions {
  std::string server = {};     // the WebSocket URL of the server's path: ws://host:port/ or wss://host/sig/
  std::string key = "peerjs";  // what the server wants named
  PeerId id = {};              // empty: a random one, as the server would give
  net::DialOptions dial = {};  // proxy, CA file and time-out; its URL and limits are set by the client
  net::BackoffOptions backoff = {};
  Duration heartbeat = seconds(5);
  PeerOptions peer = {};             // of its connections
  ChunkLimits chunks = {};           // of what comes in
  std::size_t maxConnections = 256;  // further offers are dropped
};

// Confined to `executor`; never blocks. Reconnects by itself with the same id and token; data connections live on
// meanwhile. Destroying it leaves the server; its data connections live on, and no callback runs afterwards.
class PeerClient {
 public:
  struct Callbacks {
    std::function<void()> onOpen = {};                      // registered; also after each reconnection
    std::function<void(const Error&)> onDisconnected = {};  // the server is lost; another try follows
    std::function<void(std::unique_ptr<DataConnection>)> onConnection = {};
    std::function<void(const PeerId&)> onUnavailable = {};  // nobody with that id came for our message
    // Once, last: the server will not have us. Conflict (the id is taken), Unauthenticated (the key, or its TLS),
    // InvalidArgument (URL or id), Unavailable (what else the server said).
    std::function<void(const Error&)> onRefused = {};
  };
  // `engine`, `executor`, `dialer` and the ports outlive the client and its data connections.
  static std::unique_ptr<PeerClient> make(Engine& engine, Executor& executor, net::Dialer& dialer, Clock& clock,
                                          Entropy& entropy, PeerClientOptions options, Callbacks callbacks);
  virtual ~PeerClient() = default;
  virtual const PeerId& id() const = 0;
  // Errors: Unavailable (not registered at the moment), InvalidArgument (id, label, metadata), Busy (maxConnections).
  virtual Result<std::unique_ptr<DataConnection>> connect(const PeerId& to, DataOptions options) = 0;
};

}  // namespace vaultysclaw::webrtc
