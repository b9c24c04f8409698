// One connection from an agent, from its first byte to its last: phases, limits, handshakes and certificate reissues.
// What an agent may do once it is authenticated is the host's business.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "context.hpp"
#include "handshake.hpp"
#include "identity/features.hpp"
#include "rows.hpp"

namespace vaultysclaw::control {

class Session;

// What we certify to a peer: the grant of a known agent, nothing for a stranger.
struct Certified {
  bool known = false;
  policy::Grant grant;
};

// What both sides of a connection speak (docs/protocol.md 7.2), as flags: there may be ten thousand of them.
struct InUse {
  bool seal = false, intentV2 = false, signedResults = false, resultAck = false, controlV2 = false;

  // Whether the agent may be sent an intent again: it answers one it knows, and never runs it twice.
  bool resendable() const { return intentV2 && resultAck; }

  static InUse with(const identity::Features& theirs);
  std::vector<std::string> names() const;
};

// A peer that has proved who it is.
struct Candidate {
  Did did;
  Bytes publicId;  // version 1 form
  int handshakeVersion = 1;
  std::string name;
  std::vector<std::string> capabilities;  // requested
  bool statedCapabilities = false;        // they stood in signed metadata
  identity::Features features;            // signed; none in version 0
  Certified certified;
};

// The hub, as sessions see it. Every call comes on the loop.
class SessionHost {
 public:
  virtual ~SessionHost() = default;
  // Asked before anything is signed for a claimed identity; an error refuses the handshake with its message.
  virtual Result<Certified> certify(const Session& session, const Did& claimed, identity::IdVersion version,
                                    const identity::Features& listed) = 0;
  // What a known agent is granted now; null for others.
  virtual const policy::Grant* granted(const Did& did) const = 0;
  // The first handshake is complete: calls connect() or awaitApproval() or refuse().
  virtual void onProved(Session& session, Candidate candidate) = 0;
  // The first sealed record has opened: whoever holds the keys is who the handshake said. Before its message is seen.
  virtual void onFirstRecord(Session& session) = 0;
  // A message of a connected agent, but for handshakes.
  virtual void onMessage(Session& session, protocol::Message message) = 0;
  // Once: the agent holds a certificate of what it is granted now, so that what has waited for it can be sent.
  virtual void onReady(Session& session) = 0;
  virtual void onRefused(Session& session, const Error& error) = 0;
  // Once, when the session stops working; the connection may still be sending its close frame.
  virtual void onClosed(Session& session) = 0;
  // Last: the connection has ended, drop the session.
  virtual void onGone(Session& session) = 0;
};

// Owned by the hub. Confined to the loop.
class Session : public std::enable_shared_from_this<Session> {
 public:
  enum class Phase : std::uint8_t { AwaitingRegister, Authenticating, AwaitingApproval, Connected, Closed };

  Session(Context& context, SessionHost& host, std::uint64_t id, std::unique_ptr<net::Connection> connection);

  void start();
  std::uint64_t id() const { return id_; }
  Phase phase() const { return phase_; }
  const net::PeerInfo& peer() const { return connection_->peer(); }
  // Empty until the first handshake is complete.
  const Did& did() const { return did_; }
  // Of the first handshake; a reissue changes neither.
  const InUse& inUse() const { return inUse_; }
  const std::string& listed() const { return listed_; }  // identity::Features::text()
  bool ready() const { return ready_ && phase_ == Phase::Connected; }
  // Whether the agent has a certificate for what it is granted, and none is under way.
  bool certificateCurrent() const { return ready() && !handshake_ && !reissueWanted_; }
  // Of the sealed channel; empty without one.
  std::string channel() const { return channel_ ? channel_->channel() : std::string(); }
  // Who the agent is, for verifying what it signs. There when signed-results is in use.
  const identity::VaultysId& identity() const { return *identity_; }
  // Sends one of the messages that docs/protocol.md 7.8 marks *, if the agent understands them.
  void tell(protocol::Payload what);

  void awaitApproval(const Did& did);
  // The agent counts as connected from here on: sends auth_complete. `certified` is what its certificate says.
  void connect(const Did& did, const policy::Grant& granted);
  // Tells the agent its grant as the host has it now, at once, for it can narrow without a certificate; then sends a
  // certificate. Certificates go one at a time and kReissueInterval apart; calls in between are merged into one. To an
  // agent without control-v2 nothing is said while a certificate is under way.
  void reissue(std::string reason);

  // Sealed once there is a channel. False when the agent is not there any more. An agent that reads too slowly is
  // closed on the next turn.
  bool send(protocol::Payload payload) { return send(std::move(payload), context_.newId(), std::nullopt); }
  bool send(protocol::Payload payload, std::string messageId, std::optional<std::string> signature);
  // auth_failed, then close. Both kinds of closing end the sealed channel in order.
  void refuse(const Error& error);
  void close(std::uint16_t code, std::string_view why);
  // As close, on the loop's next turn: for callers in the middle of something that needs the session.
  void closeSoon(std::uint16_t code, std::string why);

  static constexpr Duration kReissueInterval = seconds(5);
  // Messages that are malformed or out of place before the connection is closed.
  static constexpr int kMaxBadMessages = 16, kMaxBadMessagesConnected = 256;

 private:
  void onFrame(net::FrameKind kind, std::string_view data);
  void onSealedFrame(net::FrameKind kind, std::string_view data);
  void onText(std::string_view text);
  void onBadMessage(std::string_view why);
  void becomeReady();
  void onAuthChallenge(const protocol::AuthChallenge& message);
  void beginHandshake();
  void sendGrant(const policy::Grant& grant, const std::string& reason);
  // What a reissue must repeat.
  Status checkReissue(const Did& did, const Statement& stated) const;
  Result<Handshake::Certificate> certify(const Handshake::Claim& claim, const Statement& stated);
  void onProved(const Handshake::Claim& claim, Statement stated, std::optional<identity::SealedChannel> channel);
  // Ends a connection whose channel cannot be trusted: no answer, no orderly end.
  void breakOff(std::string_view why);
  void onTimeout();
  void watchSilence();

  Context& context_;
  SessionHost& host_;
  const std::uint64_t id_;
  std::unique_ptr<net::Connection> connection_;
  Phase phase_ = Phase::AwaitingRegister;
  bool broken_ = false;  // a send failed: nothing more is sent, and the close is on its way

  std::string sessionId_;
  std::shared_ptr<Handshake> handshake_;
  Timer handshakeTimer_;
  std::string registeredName_;
  std::optional<std::string> claimedName_;
  std::optional<std::vector<std::string>> claimedCapabilities_;
  Certified certified_;

  std::optional<identity::SealedChannel> channel_;
  bool recordSeen_ = false, ready_ = false;
  std::string listed_;
  InUse inUse_;
  std::optional<identity::VaultysId> identity_;

  Did did_;
  SteadyTime lastMessageAt_;
  Timer silenceTimer_;
  std::optional<SteadyTime> lastReissueAt_;
  std::optional<std::string> reissueWanted_;  // its reason
  Timer reissueTimer_;
  int badMessages_ = 0;
};

}  // namespace vaultysclaw::control
