#include "session.hpp"

#include <algorithm>

#include "base/failpoint.hpp"
#include "protocol/codec.hpp"
#include "rows.hpp"

namespace vaultysclaw::control {

using namespace protocol;

namespace {

// What a record adds to its message: the stream's header before the first one, and the tag.
constexpr std::size_t kRecordOverhead = 24 + 17;

std::string newSessionId(Entropy& entropy) {
  std::array<std::uint8_t, 16> bytes{};
  entropy.fill(bytes);
  return hexEncode(bytes);
}

}  // namespace

InUse InUse::with(const identity::Features& theirs) {
  namespace feature = identity::feature;
  const auto both = identity::Features::ours().with(theirs);
  return {both.has(feature::kSeal), both.has(feature::kIntentV2), both.has(feature::kSignedResults),
          both.has(feature::kResultAck), both.has(feature::kControlV2)};
}

std::vector<std::string> InUse::names() const {
  namespace feature = identity::feature;
  std::vector<std::string> out;
  const std::pair<bool, std::string_view> all[] = {{controlV2, feature::kControlV2},
                                                   {intentV2, feature::kIntentV2},
                                                   {resultAck, feature::kResultAck},
                                                   {seal, feature::kSeal},
                                                   {signedResults, feature::kSignedResults}};
  for (const auto& [used, name] : all) {
    if (used) out.emplace_back(name);
  }
  return out;
}

Session::Session(Context& context, SessionHost& host, std::uint64_t id, std::unique_ptr<net::Connection> connection)
    : context_(context),
      host_(host),
      id_(id),
      connection_(std::move(connection)),
      lastMessageAt_(context.ports.clock.steady()) {}

void Session::start() {
  auto weak = weak_from_this();
  net::Connection::Callbacks callbacks;
  callbacks.onMessage = [weak](net::FrameKind kind, std::string_view text) {
    if (auto self = weak.lock()) self->onFrame(kind, text);
  };
  callbacks.onClose = [weak](const net::CloseReason& reason) {
    auto self = weak.lock();
    if (!self) return;
    const bool lost = self->channel_ && self->phase_ != Phase::Closed;  // the other side's end has not come
    self->context_.ports.log.log(lost ? LogLevel::Info : LogLevel::Debug, "session",
                                 self->peer().address + " closed: " + std::to_string(reason.code) + ' ' +
                                     printable(reason.text) +
                                     (lost ? ", and the connection of " + self->did_.value + " was lost" : ""));
    self->broken_ = true;
    self->close(reason.code, "");
    self->host_.onGone(*self);
  };
  sessionId_ = newSessionId(context_.ports.entropy);
  handshakeTimer_ = context_.ports.loop.after(context_.options.handshakeTimeout, [this] { onTimeout(); });
  connection_->setMaxMessageBytes(kMaxUnapprovedMessageBytes);
  connection_->start(std::move(callbacks));
  send(AuthChallenge{sessionId_, "", {}, {}});
}

bool Session::send(Payload payload, std::string messageId, std::optional<std::string> signature) {
  if (phase_ == Phase::Closed || broken_) return false;
  Message message;
  message.messageId = std::move(messageId);
  message.timestamp = toIso8601(context_.now());
  message.signature = std::move(signature);
  // As the original writes it: everything to an authenticated agent names it, handshakes do not.
  if (phase_ == Phase::Connected && !std::holds_alternative<AuthChallenge>(payload)) message.agentId = did_.value;
  message.payload = std::move(payload);
  std::string text = encode(message);
  if (std::holds_alternative<Intent>(message.payload)) VC_FAILPOINT("control.intent.send");
  if (std::holds_alternative<ResultAck>(message.payload)) VC_FAILPOINT("control.result_ack.send");
  net::FrameKind kind = net::FrameKind::Text;
  if (channel_) {
    const auto record = channel_->seal(text);
    VC_ASSERT(record.ok(), "a sealed channel is ended by close() alone");
    text.assign(asText(*record));
    kind = net::FrameKind::Binary;
  }
  switch (connection_->send(kind, std::move(text))) {
    case net::SendResult::Ok:
      ++context_.counters.messagesOut;
      if (std::holds_alternative<Intent>(message.payload)) VC_FAILPOINT("control.intent.sent");
      if (std::holds_alternative<ResultAck>(message.payload)) VC_FAILPOINT("control.result_ack.sent");
      return true;
    case net::SendResult::QueueFull:
      broken_ = true;
      context_.ports.log.warn("session",
                              "closing " + did_.value + " at " + peer().address + ": it does not read its messages");
      closeSoon(net::close_code::kPolicy, "you read too slowly");
      return false;
    case net::SendResult::Closed:
      broken_ = true;
      closeSoon(net::close_code::kGoingAway, "");
      return false;
  }
  return false;
}

void Session::closeSoon(std::uint16_t code, std::string why) {
  context_.ports.loop.post([weak = weak_from_this(), code, why = std::move(why)] {
    if (auto self = weak.lock()) self->close(code, why);
  });
}

void Session::close(std::uint16_t code, std::string_view why) {
  if (phase_ == Phase::Closed) return;
  auto self = shared_from_this();  // the host may drop its own
  handshake_.reset();
  handshakeTimer_.reset();
  silenceTimer_.reset();
  reissueTimer_.reset();
  if (channel_ && !broken_) {
    if (const auto end = channel_->final()) (void)connection_->send(net::FrameKind::Binary, std::string(asText(*end)));
  }
  connection_->close(code, why);
  phase_ = Phase::Closed;
  host_.onClosed(*this);
}

void Session::refuse(const Error& error) {
  if (phase_ == Phase::Closed) return;
  const bool policy = error.code == Errc::PolicyDenied || error.code == Errc::Busy;
  ++(policy ? context_.counters.handshakesRefused : context_.counters.handshakesFailed);
  host_.onRefused(*this, error);
  send(AuthFailed{error.message});
  close(error.code == Errc::Busy ? net::close_code::kTryLater : net::close_code::kPolicy, "authentication failed");
}

void Session::onTimeout() {
  refuse(Error{Errc::DeadlineExceeded,
               "Authentication timeout: the handshake was not finished within " +
                   std::to_string(std::chrono::duration_cast<seconds>(context_.options.handshakeTimeout).count()) +
                   " s"});
}

void Session::onFrame(net::FrameKind kind, std::string_view data) {
  if (phase_ == Phase::Closed) return;
  auto self = shared_from_this();
  ++context_.counters.messagesIn;
  lastMessageAt_ = context_.ports.clock.steady();
  if (channel_) return onSealedFrame(kind, data);
  if (handshake_ && handshake_->sealing()) return breakOff("it sent more before the sealed channel was there");
  if (kind == net::FrameKind::Text) return onText(data);
  ++context_.counters.messagesRefused;
  close(net::close_code::kPolicy, "binary messages are not part of this connection");
}

void Session::onSealedFrame(net::FrameKind kind, std::string_view data) {
  if (kind != net::FrameKind::Binary) return breakOff("an unsealed message on its sealed connection");
  const auto record = channel_->open(asBytes(data));
  if (!record) return breakOff(record.error().message);
  if (!std::exchange(recordSeen_, true)) host_.onFirstRecord(*this);
  if (phase_ == Phase::Closed) return;
  if (record->end) return close(net::close_code::kNormal, "");
  onText(record->text);
}

void Session::breakOff(std::string_view why) {
  ++context_.counters.messagesRefused;
  ++context_.counters.channelsBroken;
  context_.ports.log.warn(
      "session",
      "closing " + (did_.empty() ? peer().address : did_.value + " at " + peer().address) + ": " + std::string(why));
  broken_ = true;
  close(net::close_code::kPolicy, "");
}

void Session::onText(std::string_view text) {
  auto message = decode(text, phase_ == Phase::Connected ? kMaxMessageBytes : kMaxUnapprovedMessageBytes);
  if (!message) {
    if (message.error().code == Errc::TooLarge) {
      ++context_.counters.messagesRefused;
      return close(net::close_code::kTooBig, message.error().message.substr(0, 120));
    }
    return onBadMessage(message.error().message);
  }
  if (const auto* challenge = std::get_if<AuthChallenge>(&message->payload); challenge && handshake_) {
    onAuthChallenge(*challenge);
  } else if (phase_ == Phase::Connected && !challenge && !std::holds_alternative<Register>(message->payload)) {
    host_.onMessage(*this, std::move(*message));
  } else if (const auto* registration = std::get_if<Register>(&message->payload);
             registration && phase_ == Phase::AwaitingRegister) {
    registeredName_ = registration->name;
    phase_ = Phase::Authenticating;
    beginHandshake();
  } else {
    onBadMessage("Unexpected message in current phase");
  }
}

void Session::onBadMessage(std::string_view why) {
  ++context_.counters.messagesRefused;
  if (++badMessages_ > (phase_ == Phase::Connected ? kMaxBadMessagesConnected : kMaxBadMessages)) {
    return close(net::close_code::kPolicy, "too many messages that are malformed or out of place");
  }
  send(ErrorMessage{std::string(why)});
}

void Session::onAuthChallenge(const AuthChallenge& message) {
  if (message.name && !message.name->empty()) claimedName_ = message.name;
  if (message.capabilities) claimedCapabilities_ = message.capabilities;
  if (auto taken = handshake_->feed(message.data); !taken) onBadMessage(taken.error().message);
}

void Session::beginHandshake() {
  // Hooks come from the handshake, which this session owns: `this` is alive when they run.
  Handshake::Hooks hooks;
  auto stated = std::make_shared<Statement>();  // read once, by certify
  hooks.certify = [this, stated](const Handshake::Claim& claim) -> Result<Handshake::Certificate> {
    if (claim.version == identity::IdVersion::V1) {  // in version 0 nothing in the metadata is signed
      VC_TRY_ASSIGN(*stated, statementFrom(claim.metadata));
    }
    return certify(claim, *stated);
  };
  hooks.onStep1 = [this](std::string step1) { send(AuthChallenge{sessionId_, std::move(step1), {}, {}}); };
  hooks.onProved = [this, stated](const Handshake::Claim& claim, std::optional<identity::SealedChannel> channel) {
    onProved(claim, std::move(*stated), std::move(channel));
  };
  hooks.onFailed = [this](const Error& error) { refuse(error); };
  handshake_ = std::make_shared<Handshake>(context_, std::move(hooks));
  send(AuthChallenge{sessionId_, "", {}, {}});
}

Status Session::checkReissue(const Did& did, const Statement& stated) const {
  const auto refused = [](const char* why) { return Error{Errc::PolicyDenied, why}; };
  if (did != did_) return refused("a connection cannot change its identity");
  if (!channel_) return {};
  if (stated.dh) return refused("a certificate is reissued inside the channel: its metadata must have no dh");
  if (!stated.channel || !constantTimeEqual(asBytes(*stated.channel), asBytes(channel_->channel())))
    return refused("metadata.pk1.channel is not this connection's channel");
  if (stated.features.text() != listed_) return refused("a connection cannot change its features");
  return {};
}

Result<Handshake::Certificate> Session::certify(const Handshake::Claim& claim, const Statement& stated) {
  const Did did = claim.peer.didV1();
  const bool first = phase_ != Phase::Connected;
  if (!first) VC_TRY(checkReissue(did, stated));
  VC_TRY_ASSIGN(certified_, host_.certify(*this, did, claim.version, stated.features));
  Handshake::Certificate out{certificateMetadata(certified_.grant, claim.version), {}};
  if (first && InUse::with(stated.features).seal) {
    if (!stated.dh)
      return Error{Errc::Malformed, "metadata.pk1 lists the feature seal, but has no dh to make a channel with"};
    out.peerDh = stated.dh;
  }
  return out;
}

void Session::onProved(const Handshake::Claim& claim, Statement stated,
                       std::optional<identity::SealedChannel> channel) {
  ++context_.counters.handshakesCompleted;
  handshakeTimer_.reset();
  auto self = shared_from_this();
  const auto ended = std::move(handshake_);  // owns `claim`
  if (phase_ == Phase::Connected) {
    const auto current = host_.certify(*this, did_, claim.version, stated.features);
    if (!current) return refuse(current.error());
    // Never more than the grant as it is now, should the certificate be older.
    send(AuthComplete{did_.value, did_.value, current->grant.capabilities});
    const bool outdated = current->grant != certified_.grant;
    certified_ = {};
    if (reissueWanted_ || outdated) return reissue(reissueWanted_.value_or("Certificate reissue"));
    return becomeReady();
  }
  channel_ = std::move(channel);
  if (channel_) {
    ++context_.counters.channelsSealed;
    connection_->setMaxMessageBytes(kMaxUnapprovedMessageBytes + kRecordOverhead);
  }
  listed_ = stated.features.text();
  inUse_ = InUse::with(stated.features);
  if (inUse_.signedResults) identity_ = claim.peer;
  Candidate candidate;
  candidate.did = claim.peer.didV1();
  candidate.publicId = claim.peer.id();
  candidate.handshakeVersion = claim.version == identity::IdVersion::V1 ? 1 : 0;
  candidate.certified = certified_;
  candidate.statedCapabilities = stated.capabilities.has_value();
  candidate.name = stated.name ? std::move(*stated.name) : claimedName_.value_or(registeredName_);
  if (candidate.name.empty()) candidate.name = "unknown";
  candidate.capabilities =
      stated.capabilities ? std::move(*stated.capabilities) : claimedCapabilities_.value_or(std::vector<std::string>{});
  candidate.features = std::move(stated.features);
  if (auto ok = checkName(candidate.name); !ok) return refuse(ok.error());
  if (auto ok = checkCapabilities(candidate.capabilities); !ok) return refuse(ok.error());
  registeredName_ = {};
  claimedName_.reset();
  claimedCapabilities_.reset();
  host_.onProved(*this, std::move(candidate));
}

void Session::awaitApproval(const Did& did) {
  did_ = did;
  phase_ = Phase::AwaitingApproval;
}

void Session::connect(const Did& did, const policy::Grant& granted) {
  did_ = did;
  phase_ = Phase::Connected;
  connection_->setMaxMessageBytes(kMaxMessageBytes + (channel_ ? kRecordOverhead : 0));
  badMessages_ = 0;
  lastMessageAt_ = context_.ports.clock.steady();
  send(AuthComplete{did_.value, did_.value, granted.capabilities});
  watchSilence();
  const bool outdated = !certified_.known || certified_.grant != granted;
  certified_ = {};
  if (outdated) return reissue("Certificate reissue");
  becomeReady();
}

void Session::becomeReady() {
  if (std::exchange(ready_, true)) return;
  host_.onReady(*this);
}

void Session::watchSilence() {
  const Duration silent = context_.ports.clock.steady() - lastMessageAt_;
  if (silent >= context_.options.heartbeatTimeout) {
    context_.ports.log.warn("session", "closing " + did_.value + ": no message for " +
                                           std::to_string(std::chrono::duration_cast<seconds>(silent).count()) + " s");
    return close(net::close_code::kGoingAway, "no heartbeat");
  }
  silenceTimer_ = context_.ports.loop.after(context_.options.heartbeatTimeout - silent, [this] { watchSilence(); });
}

void Session::sendGrant(const policy::Grant& grant, const std::string& reason) {
  UpdateCapabilities update;
  update.capabilities = grant.capabilities;
  if (hasLimits(grant.limits)) update.resourceLimits = grant.limits;
  update.policyId = grant.policyId;
  update.policyExpiresAt = grant.policyExpiresAt;
  update.reason = reason;
  send(std::move(update));
}

void Session::reissue(std::string reason) {
  if (phase_ != Phase::Connected) return;
  const auto current = host_.granted(did_);
  if (!current) return;  // no longer known: the host is closing this connection
  // An agent that does not know control-v2 gives up the handshake under way when its grant changes: it hears of the
  // change when that one has ended, and until then keeps to what it was certified.
  if (!handshake_ || inUse_.controlV2) sendGrant(*current, reason);
  reissueWanted_ = std::move(reason);
  if (handshake_) return;  // onProved comes back to it
  const SteadyTime now = context_.ports.clock.steady();
  if (lastReissueAt_ && now - *lastReissueAt_ < kReissueInterval) {
    reissueTimer_ = context_.ports.loop.after(kReissueInterval - (now - *lastReissueAt_), [this] {
      if (reissueWanted_) reissue(*reissueWanted_);
    });
    return;
  }
  lastReissueAt_ = now;
  reissueWanted_.reset();
  sessionId_ = newSessionId(context_.ports.entropy);
  handshakeTimer_ = context_.ports.loop.after(context_.options.handshakeTimeout, [this] { onTimeout(); });
  beginHandshake();
}

void Session::tell(Payload what) {
  if (inUse_.controlV2 && phase_ == Phase::Connected) send(std::move(what));
}

}  // namespace vaultysclaw::control
