// The signaling server of PeerJS (docs/peerjs-protocol.md sections 1 to 4): gives ids and carries offers, answers and
// candidates between peers. It sees no connection's content.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "base/ports.hpp"
#include "net/connection.hpp"
#include "net/http.hpp"
#include "webrtc/signaling.hpp"

namespace vaultysclaw::webrtc {

enum class Discovery : bool { Off, On };

struct PeerServerOptions {
  std::string path = "/";      // begins and ends with '/'
  std::string key = "peerjs";  // what clients must name
  std::size_t maxClients = 5000;
  Duration aliveTimeout = seconds(90);                 // without a heartbeat
  Duration expireTimeout = seconds(5);                 // how long messages wait for a peer that is not there
  std::size_t maxQueued = 64;                          // messages that wait for one peer
  std::size_t maxQueuedBytes = std::size_t{16} << 20;  // all that wait
  Discovery discovery = Discovery::Off;                // whether anybody may list the ids
};

// Limits for connections given to accept(): a signaling message is never longer.
net::ConnectionLimits peerServerLimits();

// Confined to `executor`; never blocks. Owned by main(); destroying it drops every client. The ports outlive it.
class PeerServer {
 public:
  PeerServer(Executor& executor, Clock& clock, Entropy& entropy, PeerServerOptions options = {});
  ~PeerServer();

  // Answers any request; 404 for what is not under the path.
  void handle(const std::shared_ptr<net::HttpExchange>& exchange);
  // The gate for upgrades (net::UpgradeGate).
  std::optional<net::HttpResponse> welcome(const net::HttpRequest& request) const;
  // A client's WebSocket; `request` is its upgrade, whose query says who it is.
  void accept(const net::HttpRequest& request, std::unique_ptr<net::Connection> connection);

  std::size_t clientCount() const { return clients_.size(); }
  std::size_t queuedBytes() const { return queuedBytes_; }

 private:
  struct Client {
    std::string token;
    SteadyTime lastSign;
    std::shared_ptr<net::Connection> connection;
    std::uint64_t number = 0;  // which socket of the id this is
  };
  struct Queue {
    SteadyTime since;
    std::deque<SignalMessage> messages;
  };

  void refuse(std::unique_ptr<net::Connection> connection, SignalType type, std::string_view text);
  void onMessage(const PeerId& from, std::uint64_t number, net::FrameKind kind, std::string_view text);
  void onClose(const PeerId& id, std::uint64_t number);
  void relay(SignalMessage message);
  void enqueue(SignalMessage message);
  bool deliver(const PeerId& to, const SignalMessage& message);
  void expire(const PeerId& dst, const std::deque<SignalMessage>& messages);
  void remove(const PeerId& id);
  void look();

  Executor& executor_;
  Clock& clock_;
  Entropy& entropy_;
  PeerServerOptions options_;
  std::map<PeerId, Client> clients_;
  std::map<PeerId, Queue> queues_;
  std::map<std::uint64_t, std::shared_ptr<net::Connection>> closing_;  // refused or replaced, until their close is done
  std::size_t queuedBytes_ = 0;
  std::uint64_t nextNumber_ = 1;
  Timer timer_;
  std::shared_ptr<int> alive_ = std::make_shared<int>();  // tasks posted by callbacks find out that the server is gone
};

// A random id as the server gives them: a UUID of version 4.
std::string randomPeerId(Entropy& entropy);

}  // namespace vaultysclaw::webrtc
