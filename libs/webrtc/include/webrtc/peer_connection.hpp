// WebRTC connections for data channels, without a browser: ICE (RFC 8445, trickle, consent freshness), DTLS 1.2 with a
// certificate made for each connection, SCTP and DCEP. No third-party types here; libnice and usrsctp are loaded when
// the first engine starts.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/ports.hpp"
#include "base/result.hpp"
#include "net/connection.hpp"
#include "webrtc/dcep.hpp"
#include "webrtc/sdp.hpp"

namespace vaultysclaw::webrtc {

// A server that tells a side its public address. Host: an IP address, for libnice does not resolve names.
struct StunServer {
  std::string host = {};
  std::uint16_t port = 3478;
};
// A server that relays, over UDP.
struct TurnServer {
  std::string host = {};  // an IP address
  std::uint16_t port = 3478;
  std::string user = {};
  std::string password = {};
};

struct PeerOptions {
  std::vector<StunServer> stun = {};  // the first is asked
  std::vector<TurnServer> turn = {};
  // Addresses of this machine to use; empty: all but loopback.
  std::vector<std::string> localAddresses = {};
  std::size_t maxMessageBytes = std::size_t{256} << 10;  // of an incoming message; announced to the other side
  std::size_t maxQueuedBytes = std::size_t{8} << 20;     // outgoing, per channel
  std::size_t maxUnreadBytes = std::size_t{4} << 20;     // incoming, not yet delivered; then the other side must wait
  std::size_t maxChannels = 64;
  Duration connectTimeout = seconds(30);  // from both descriptions to an open association
  Duration closeTimeout = seconds(5);     // for what is queued to arrive, once close() was called
};

// One stream of messages within a connection. Owned by whoever got it; confined to the connection's executor; never
// blocks. Destroying it closes the channel. Callbacks may destroy the channel that calls them. It may outlive its
// PeerConnection: then no callback runs any more, and send() tells that the connection is lost.
class DataChannel {
 public:
  struct Callbacks {
    std::function<void()> onOpen = {};  // at once for a channel that the other side opened
    std::function<void(net::FrameKind, std::string_view)> onMessage = {};  // the view is valid during the call
    std::function<void()> onDrained = {};                                  // the queue became empty
    std::function<void()> onClose = {};                                    // exactly once, last
  };
  virtual ~DataChannel() = default;
  // Starts delivering. Once. Messages that came before are delivered then, from the executor.
  virtual void start(Callbacks callbacks) = 0;
  // Text must be UTF-8 (not checked). Waits in the queue until the channel is open. Errors: TooLarge over what the
  // other side takes, Busy when the queue is full (nothing was queued), ConnectionLost after the end.
  virtual Status send(net::FrameKind kind, std::string data) = 0;
  // What was sent before still arrives, then onClose runs on both sides.
  virtual void close() = 0;
  virtual std::size_t queuedBytes() const = 0;
  virtual const ChannelOpen& parameters() const = 0;
};

// A connection to one other side. Confined to the executor it was made with; never blocks. Destroying it ends the
// connection at once, and no callback runs afterwards. Callbacks may destroy the connection that calls them.
class PeerConnection {
 public:
  struct Callbacks {
    std::function<void(const SessionDescription&)> onDescription = {};  // send it to the other side
    std::function<void(const Candidate&)> onCandidate = {};             // send it, too; after the description
    std::function<void()> onConnected = {};
    std::function<void(std::unique_ptr<DataChannel>)> onChannel = {};  // opened by the other side
    // Exactly once, last, after every channel's onClose. Ok: one side closed. Errors: DeadlineExceeded (no way between
    // the two was found in time), Unauthenticated (another certificate than announced), ConnectionLost (consent or the
    // association was lost), Malformed (the other side broke the protocol), InvalidArgument (descriptions or options).
    std::function<void(const Status&)> onClosed = {};
  };
  virtual ~PeerConnection() = default;

  // The first call of the offering side; onDescription follows.
  virtual void createOffer() = 0;
  // An offer makes this the answering side, and onDescription follows; else the answer to our offer. Once.
  virtual void setRemote(SessionDescription description) = 0;
  // Any time; candidates that come before the description wait for it. Over 64 are ignored, and those with a name in
  // place of an address or over TCP, too.
  virtual void addRemoteCandidate(Candidate candidate) = 0;
  // Any time. Errors: InvalidArgument (label), Busy (maxChannels), ConnectionLost.
  virtual Result<std::unique_ptr<DataChannel>> open(ChannelOpen parameters) = 0;
  // Sends what is queued, then ends the connection; onClosed follows within closeTimeout.
  virtual void close() = 0;
};

// The thread on which libnice, usrsctp and OpenSSL run ("vc-webrtc"). Owned by main() or a test, and outlives every
// connection made on it; one at a time per process, for usrsctp's state is the process's.
class Engine {
 public:
  virtual ~Engine() = default;
  // From `executor`, which outlives the connection and its channels. Unsupported options show in onClosed.
  virtual std::unique_ptr<PeerConnection> connect(Executor& executor, PeerOptions options,
                                                  PeerConnection::Callbacks callbacks) = 0;
};

// Loads the libraries and starts the thread. Blocking. Errors: Unsupported (a library is missing; the message names the
// packages), Conflict (there is an engine already). `clock` and `entropy` outlive it.
Result<std::unique_ptr<Engine>> startEngine(Clock& clock, Entropy& entropy);

}  // namespace vaultysclaw::webrtc
