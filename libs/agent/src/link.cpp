// The connection to the control plane and its channel (docs/protocol.md 7.2, 7.3).
#include <algorithm>

#include "base/failpoint.hpp"
#include "base/log.hpp"
#include "core.hpp"

namespace vaultysclaw::detail {
namespace {

constexpr Duration kHandshakeTimeout = seconds(60);
constexpr Duration kPeerEndTimeout = seconds(5);
constexpr int kMaxBadMessages = 100;
// What sealing adds to a text at most: the stream's header and one tag.
constexpr std::size_t kSealOverhead = 64;

}  // namespace

void AgentCore::dial() {
  if (stopping_) return;
  phase_ = Phase::Dialing;
  net::DialOptions options;
  options.url = setup_.wsUrl;
  options.caFile = setup_.config.caFile;
  options.proxyUrl = setup_.config.proxyUrl;
  // Whoever answers has proved nothing yet.
  options.limits.maxMessageBytes = protocol::kMaxUnapprovedMessageBytes + kSealOverhead;
  options.limits.pingInterval = setup_.config.pingInterval;
  log(LogSeverity::Info, "Connecting to control plane: " + setup_.wsUrl);
  dialing_ = ports_.dialer().dial(std::move(options), [weak = weak_from_this()](auto connection) {
    if (auto self = weak.lock()) self->onDialed(std::move(connection));
  });
}

void AgentCore::acceptLongMessages() {
  connection_->setMaxMessageBytes(protocol::kMaxMessageBytes + kSealOverhead);
}

void AgentCore::onDialed(Result<std::unique_ptr<net::Connection>> connection) {
  if (stopping_) return;
  if (!connection) return scheduleDial("The control plane cannot be reached: " + connection.error().message);
  // The URL may name this machine, and yet lead elsewhere: through a proxy, or because the name resolves that way.
  const bool expected = controlPlane_ || !trustedDid_.empty() || !setup_.config.controlPlaneDid.empty();
  if ((*connection)->peer().protection == net::Protection::None && !expected && !setup_.config.allowPlaintext)
    return scheduleDial(
        "The connection to " + setup_.wsUrl + " is not encrypted and ends on another machine (" +
        printable((*connection)->peer().address) +
        "), and this agent does not know its control plane yet: whoever answers could be anybody. Set controlPlaneDid "
        "to the DID that the control plane shows when it starts, use wss://, let no proxy be used for it, or set "
        "allowPlaintext for a network you trust");
  connection_ = std::move(connection).value();
  const std::uint64_t number = ++connectionNumber_;
  phase_ = Phase::AwaitChallenge;
  badMessages_ = earlyHandshakes_ = 0;
  serverClock_.reset();
  shared_.with([&](Shared& s) { s.transport = connection_->peer().transport; });
  armHandshakeTimer(kHandshakeTimeout, "The handshake was not complete after 60 s");
  const auto current = [weak = weak_from_this(), number]() -> std::shared_ptr<AgentCore> {
    auto self = weak.lock();
    return self && self->connectionNumber_ == number && self->connection_ ? self : nullptr;
  };
  net::Connection::Callbacks callbacks;
  callbacks.onMessage = [current](net::FrameKind kind, std::string_view data) {
    if (auto self = current()) self->onFrame(kind, data);
  };
  callbacks.onClose = [current](const net::CloseReason& reason) {
    if (auto self = current()) self->onClosed(reason);
  };
  callbacks.onDrained = [current] {
    auto self = current();
    if (!self) return;
    self->flushChats();
    self->resendResults();
  };
  connection_->start(std::move(callbacks));
}

void AgentCore::armHandshakeTimer(Duration limit, std::string why) {
  handshakeTimer_ = ports_.loop().after(limit, [weak = weak_from_this(), why = std::move(why)] {
    if (auto self = weak.lock()) self->dropConnection(why + self->clockHint());
  });
}

void AgentCore::onClosed(const net::CloseReason& reason) {
  const std::string detail =
      " (" + std::to_string(reason.code) + (reason.text.empty() ? "" : ", " + printable(reason.text)) + ")";
  std::string why =
      (peerEnded_ ? "The control plane ended the connection" : "The connection to the control plane was lost") + detail;
  if (expectedClose_) why = *expectedClose_;
  dropConnection(std::move(why));
}

void AgentCore::dropConnection(std::string why) {
  linkUp_ = false;
  connection_.reset();
  ++connectionNumber_;
  handshakeTimer_.reset();
  sealTimer_.reset();
  heartbeatTimer_.reset();
  initiator_.reset();
  sealKeys_.reset();
  seal_.reset();
  sealOpened_ = peerEnded_ = sendFailed_ = false;
  agreed_.reset();
  inUse_ = {};
  candidate_.reset();
  candidateText_.clear();
  foreignPeer_.reset();
  sessionId_.clear();
  expectedClose_.reset();
  paused_.reset();
  shared_.with([](Shared& s) {
    s.transport.clear();
    s.paused.reset();
  });
  cutChats();
  if (stopping_) {
    phase_ = Phase::Idle;
    return continueStop();
  }
  scheduleDial(why);
}

void AgentCore::scheduleDial(const std::string& why) {
  phase_ = Phase::Idle;
  const Duration delay = backoff_.next();
  const auto tenths = std::chrono::duration_cast<milliseconds>(delay).count() / 100;
  log(LogSeverity::Warn, why + "; reconnecting in " + std::to_string(tenths / 10) + "." + std::to_string(tenths % 10) +
                             " s (attempt " + std::to_string(backoff_.attempts()) + ")");
  journal_->setStatus(everConnected_ ? AgentStatus::Reconnecting : AgentStatus::Connecting, why);
  reconnectTimer_ = ports_.loop().after(delay, [weak = weak_from_this()] {
    if (auto self = weak.lock()) self->dial();
  });
}

void AgentCore::leave(std::string why) {
  if (expectedClose_ || !connection_) return;
  if (seal_) {
    if (auto end = seal_->final(); end && !sendFailed_)
      static_cast<void>(connection_->send(net::FrameKind::Binary, std::string(asText(*end))));
    sendFailed_ = true;  // nothing follows an end
  }
  expectedClose_ = std::move(why);
  connection_->close(net::close_code::kNormal, *expectedClose_);
}

// ---- in

void AgentCore::onFrame(net::FrameKind kind, std::string_view data) {
  if (!seal_) {
    if (kind == net::FrameKind::Text) return onText(data);
    return dropConnection("The control plane sent a binary message on a connection that is not sealed");
  }
  if (kind != net::FrameKind::Binary) return onUnsealed(kind, data);
  auto opened = seal_->open(asBytes(data));
  if (!opened)
    return dropConnection("The sealed connection was disturbed on its way: " + printable(opened.error().message));
  if (!std::exchange(sealOpened_, true)) {
    sealTimer_.reset();
    rememberFeatures();
  }
  if (opened->end) return onPeerEnd();
  onText(opened->text);
}

// Anybody on the path can send such a thing, so it is no more than a lost connection; an honest control plane whose
// responder refused COMPLETE says why this way, which is worth a line in the log.
void AgentCore::onUnsealed(net::FrameKind kind, std::string_view data) {
  std::string why = "The control plane sent an unsealed message on a sealed connection";
  if (auto message = protocol::decode(data, protocol::kMaxUnapprovedMessageBytes);
      kind == net::FrameKind::Text && !sealOpened_ && message) {
    if (const auto* failed = std::get_if<protocol::AuthFailed>(&message->payload))
      why = "The handshake was refused, unsealed, so perhaps not by the control plane: " + printable(failed->reason) +
            clockHint();
  }
  dropConnection(std::move(why));
}

void AgentCore::onText(std::string_view text) {
  if (stopping_ && phase_ != Phase::Authenticated) return;
  const bool trusted = phase_ == Phase::Authenticated;
  auto message = protocol::decode(text, trusted ? protocol::kMaxMessageBytes : protocol::kMaxUnapprovedMessageBytes);
  if (!message) {
    // A handshake that has lost a message cannot go on.
    if (!trusted && phase_ != Phase::Pending)
      return dropConnection("A message of the handshake cannot be read: " + message.error().message);
    log(LogSeverity::Warn, "A message of the control plane is ignored: " + message.error().message);
    if (++badMessages_ >= kMaxBadMessages)
      dropConnection("The control plane keeps sending messages that cannot be read");
    return;
  }
  dispatch(*message);
}

// Its close frame follows, and says why.
void AgentCore::onPeerEnd() {
  peerEnded_ = true;
  linkUp_ = false;
  armHandshakeTimer(kPeerEndTimeout, "The control plane ended the connection and did not close it");
}

// ---- out

bool AgentCore::send(protocol::Payload payload) {
  return sendText(compose(std::move(payload)));
}

// Records are sealed as they are written, so their order is that of the wire.
bool AgentCore::sendText(std::string text) {
  if (!seal_) return sendUnsealed(std::move(text));
  if (!maySend(text.size() + kSealOverhead)) return false;
  auto record = seal_->seal(text);
  VC_ASSERT(record.ok(), "a channel that has not been ended seals");
  text.assign(asText(*record));
  return sendFrame(net::FrameKind::Binary, std::move(text));
}

bool AgentCore::sendUnsealed(std::string text) {
  return maySend(text.size()) && sendFrame(net::FrameKind::Text, std::move(text));
}

bool AgentCore::maySend(std::size_t bytes) {
  if (!connection_ || peerEnded_ || sendFailed_) return false;
  if (bytes <= protocol::kMaxMessageBytes) return true;
  log(LogSeverity::Error, "A message of " + std::to_string(bytes) + " bytes is not sent: 16 MiB is the limit");
  return false;
}

bool AgentCore::sendFrame(net::FrameKind kind, std::string data) {
  VC_FAILPOINT("agent.link.send");
  switch (connection_->send(kind, std::move(data))) {
    case net::SendResult::Ok:
      VC_FAILPOINT("agent.link.sent");
      return true;
    case net::SendResult::QueueFull:
      sendFailed_ = true;
      // Not from here: the caller is in the middle of something that needs the connection's state.
      ports_.loop().post([weak = weak_from_this(), number = connectionNumber_] {
        auto self = weak.lock();
        if (self && self->connectionNumber_ == number && self->connection_)
          self->dropConnection("The control plane reads too slowly: the outgoing queue is full");
      });
      return false;
    case net::SendResult::Closed:
      return false;
  }
  VC_UNREACHABLE("a SendResult that does not exist");
}

}  // namespace vaultysclaw::detail
