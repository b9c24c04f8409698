#include "identity/challenger.hpp"

#include <algorithm>

#include "base/assert.hpp"

namespace vaultysclaw::identity {
namespace {

constexpr std::string_view kProtocol = "p2p";
constexpr std::string_view kAgentService = "agent";
constexpr std::size_t kNonceHalf = 16;
constexpr std::size_t kSignatureMember = 96;  // room that sign1 takes in COMPLETE, and more

using Kind = HandshakeMessage::Kind;

Result<HandshakeMessage> decodeAs(Kind kind, BytesView bytes, const char* expected) {
  VC_TRY_ASSIGN(HandshakeMessage message, decodeHandshake(bytes));
  VC_TRY_ASSIGN(const Kind actual, message.kind());
  if (actual != kind)
    return Error{Errc::Malformed, std::string("another handshake message where ") + expected + " is due"};
  return message;
}

// Strict on both sides, as the original is. `now` and the limit are small, so only `timestamp` could overflow a
// difference; it is compared instead.
Status checkFresh(const HandshakeMessage& message, WallTime now) {
  const std::int64_t ms = toUnixMillis(now);
  const std::int64_t limit = kHandshakeFreshness.count();
  if (message.timestamp > ms - limit && message.timestamp < ms + limit) return {};
  return Error{Errc::Expired, message.timestamp < ms
                                  ? "the handshake is a minute old or more; check the clocks of both machines"
                                  : "the handshake is from the future; check the clocks of both machines"};
}

// The machine a public id names; refuses ourselves, so that nobody is made to talk to their own reflection.
Result<VaultysId> checkPeer(Result<VaultysId> peer, IdVersion version, const VaultysId& self, const char* member) {
  if (!peer.ok()) return Error{peer.error().code, std::string(member) + ": " + peer.error().message};
  if (peer->type() != IdType::Machine) {
    return Error{Errc::PolicyDenied, std::string(member) + " is not the identity of a machine"};
  }
  if (peer->version() != version) {
    return Error{Errc::Malformed, std::string(member) + " is written in another version than the handshake"};
  }
  if (peer->didV1() == self.didV1()) return Error{Errc::PolicyDenied, std::string(member) + " is our own identity"};
  return peer;
}

// Either form from either side, as the original accepts them.
bool verifies(const VaultysId& peer, IdVersion version, BytesView signedBytes, BytesView signature) {
  return peer.verify(signedBytes, signature) || peer.toVersion(version).verifyV0(signedBytes, signature);
}

msgpack::Value statement(const msgpack::Map& metadata, std::string_view name) {
  const msgpack::Value all(metadata);
  const msgpack::Value* const own = all.find(name);
  return own != nullptr ? *own : msgpack::Value(msgpack::Map{});
}

Bytes drawNonce(Entropy& entropy) {
  Bytes nonce(kNonceHalf);
  entropy.fill(nonce);
  return nonce;
}

Error differs(const char* what) {
  return Error{Errc::Conflict, std::string("the other side changed ") + what + " during the handshake"};
}

Error outOfOrder() {
  return Error{Errc::Conflict, "a handshake step out of order; start a new handshake"};
}

}  // namespace

Initiator::Initiator(const VaultysId& self, Config config, Entropy& entropy, WallTime now)
    : self_(self.toVersion(IdVersion::V1)), config_(std::move(config)) {
  VC_ASSERT(self_.hasSecret() && self_.type() == IdType::Machine, "handshakes need a machine identity with its secret");
  sent_.protocol = kProtocol;
  sent_.service = config_.service;
  sent_.timestamp = toUnixMillis(now);
  sent_.pk1 = self_.id();
  sent_.nonce = drawNonce(entropy);
  if (!config_.metadata.empty()) sent_.metadata.emplace_back("pk1", config_.metadata);
  init_ = encodeHandshake(sent_);
}

Result<Bytes> Initiator::onStep1(BytesView step1, WallTime now) {
  if (used_) return outOfOrder();
  used_ = true;
  VC_TRY_ASSIGN(HandshakeMessage received, decodeAs(Kind::Step1, step1, "STEP1"));
  VC_TRY(checkFresh(received, now));

  // Only what is the responder's to say may differ from the INIT.
  HandshakeMessage expected = sent_;
  expected.pk2 = received.pk2;
  expected.sign2 = received.sign2;
  if (!std::equal(sent_.nonce.begin(), sent_.nonce.end(), received.nonce.begin())) return differs("the nonce");
  expected.nonce = received.nonce;
  if (received.timestamp != sent_.timestamp) return differs("the timestamp");
  if (received.pk1 != sent_.pk1) return differs("our identity");
  if (received.version != sent_.version) return differs("the version");
  if (!received.metadata.empty() && received.metadata.back().first == msgpack::Value("pk2")) {
    expected.metadata.push_back(received.metadata.back());
  }
  const Bytes expectedBytes = encodeHandshake(expected);
  if (!std::equal(expectedBytes.begin(), expectedBytes.end(), step1.begin(), step1.end())) {
    return differs("the protocol, the service or our metadata");
  }

  VC_TRY_ASSIGN(VaultysId peer, checkPeer(VaultysId::fromId(received.pk2), IdVersion::V1, self_, "pk2"));
  const Bytes toSign = unsignedHandshake(received);
  if (!verifies(peer, IdVersion::V1, toSign, received.sign2)) {
    return Error{Errc::BadSignature, "STEP1 is not signed by the identity it names"};
  }
  if (config_.acceptPeer) VC_TRY(config_.acceptPeer(peer));

  received.sign1 = self_.sign(toSign);
  Bytes complete = encodeHandshake(received);
  if (complete.size() > kMaxHandshakeBytes)
    return Error{Errc::TooLarge, "the responder's statement leaves no room for COMPLETE"};
  peerMetadata_ = statement(received.metadata, "pk2");
  signedBytes_ = toSign;
  peer_ = std::move(peer);
  return complete;
}

const VaultysId& Initiator::peer() const {
  VC_ASSERT(peer_.has_value(), "the peer of a handshake that is not complete");
  return *peer_;
}
const msgpack::Value& Initiator::peerMetadata() const {
  return peerMetadata_;
}
const Bytes& Initiator::signedBytes() const {
  return signedBytes_;
}

Responder::Responder(const VaultysId& self, Config config, Entropy& entropy)
    : self_(self), config_(std::move(config)), entropy_(entropy) {
  VC_ASSERT(self_.hasSecret() && self_.type() == IdType::Machine, "handshakes need a machine identity with its secret");
}

Result<Responder::Claim> Responder::onInit(BytesView init, WallTime now) {
  if (step_ != Step::Fresh) {
    step_ = Step::Failed;
    return outOfOrder();
  }
  step_ = Step::Failed;
  VC_TRY_ASSIGN(HandshakeMessage m, decodeAs(Kind::Init, init, "INIT"));
  if (m.protocol != kProtocol) return Error{Errc::PolicyDenied, "Protocol tampered: the protocol is not p2p"};
  if (std::find(config_.services.begin(), config_.services.end(), m.service) == config_.services.end()) {
    return Error{Errc::PolicyDenied, "Protocol tampered: the service is not one offered here"};
  }
  if (m.service == kAgentService && m.version != IdVersion::V1) {
    return Error{Errc::PolicyDenied, "agents talk to each other in version 1 only"};
  }
  VC_TRY(checkFresh(m, now));
  if (msgpack::Value(m.metadata).find("pk2") != nullptr) {
    return Error{Errc::Malformed, "an INIT that carries our own statement (metadata.pk2)"};
  }
  const bool known = config_.isCheckedId && config_.isCheckedId(m.pk1);
  VC_TRY_ASSIGN(const VaultysId peer,
                checkPeer(known ? VaultysId::fromCheckedId(m.pk1) : VaultysId::fromId(m.pk1), m.version, self_, "pk1"));
  if (m.version == IdVersion::V0 && config_.allowVersion0 && !config_.allowVersion0(peer.didV1())) {
    return Error{Errc::PolicyDenied, "this identity has used version 1 before; version 0 is not answered any more"};
  }
  claim_ = Claim{peer.toVersion(IdVersion::V1), m.version, m.service, statement(m.metadata, "pk1")};
  message_ = std::move(m);
  step_ = Step::Checked;
  return *claim_;
}

Result<Bytes> Responder::answer(msgpack::Map metadata) {
  if (step_ != Step::Checked) {
    step_ = Step::Failed;
    return outOfOrder();
  }
  step_ = Step::Failed;
  message_.pk2 = self_.toVersion(message_.version).id();
  append(message_.nonce, drawNonce(entropy_));
  if (!metadata.empty()) message_.metadata.emplace_back("pk2", std::move(metadata));
  Bytes toSign = unsignedHandshake(message_);
  // Version 0 does not sign the metadata, so the size is that of the message.
  const std::size_t size = message_.version == IdVersion::V0 ? encodeHandshake(message_).size() : toSign.size();
  if (size + 2 * kSignatureMember > kMaxHandshakeBytes) {
    return Error{Errc::TooLarge, "the statement is too large for a handshake message"};
  }
  message_.sign2 = self_.sign(toSign);
  signedBytes_ = std::move(toSign);
  step_ = Step::Answered;
  return encodeHandshake(message_);
}

Status Responder::onComplete(BytesView complete, WallTime now) {
  if (step_ != Step::Answered) {
    step_ = Step::Failed;
    return outOfOrder();
  }
  step_ = Step::Failed;
  VC_TRY_ASSIGN(const HandshakeMessage received, decodeAs(Kind::Complete, complete, "COMPLETE"));
  VC_TRY(checkFresh(received, now));
  message_.sign1 = received.sign1;
  const Bytes expected = encodeHandshake(message_);
  if (!std::equal(expected.begin(), expected.end(), complete.begin(), complete.end())) {
    return differs("a field that is not its to change");
  }
  if (!verifies(claim_->peer, message_.version, signedBytes_, received.sign1)) {
    return Error{Errc::BadSignature, "COMPLETE is not signed by the identity it names"};
  }
  step_ = Step::Done;
  return {};
}

std::optional<milliseconds> clockOffset(BytesView message, WallTime now) {
  const auto decoded = decodeHandshake(message);
  // A year and more is no clock that is off; it would only overflow what is made of it.
  constexpr std::int64_t kMaxMillis = 8'640'000'000'000'000;
  if (!decoded.ok() || decoded->timestamp > kMaxMillis) return std::nullopt;
  return milliseconds(decoded->timestamp - toUnixMillis(now));
}

}  // namespace vaultysclaw::identity
