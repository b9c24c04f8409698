#include <algorithm>

#include "identity/challenger.hpp"
#include "report.hpp"

namespace vaultysclaw::conformance {
namespace {

using namespace identity;
using Kind = HandshakeMessage::Kind;

// Hands out the bytes the original drew.
class ScriptedEntropy final : public Entropy {
 public:
  explicit ScriptedEntropy(BytesView bytes) : bytes_(toBytes(bytes)) {}
  void fill(std::span<std::uint8_t> out) override {
    for (std::uint8_t& b : out) b = at_ < bytes_.size() ? bytes_[at_++] : std::uint8_t{0};
  }

 private:
  Bytes bytes_;
  std::size_t at_ = 0;
};

WallTime at(const Json& ms) {
  return fromUnixMillis(ms.get<std::int64_t>());
}

msgpack::Map statement(const HandshakeMessage& m, std::string_view name) {
  const msgpack::Value all(m.metadata);
  const msgpack::Value* own = all.find(name);
  return own != nullptr && own->map() != nullptr ? *own->map() : msgpack::Map{};
}

const std::vector<std::string> kServices{"auth", "register", "agent"};

// An initiator that has sent `init`.
std::optional<Initiator> initiatorOf(const VaultysId& self, const HandshakeMessage& init) {
  if (self.type() != IdType::Machine) return std::nullopt;
  ScriptedEntropy entropy(BytesView(init.nonce).first(std::min<std::size_t>(16, init.nonce.size())));
  return Initiator(self, {.service = init.service, .metadata = statement(init, "pk1"), .acceptPeer = {}}, entropy,
                   fromUnixMillis(init.timestamp));
}

HandshakeMessage initOf(HandshakeMessage later) {
  later.pk2.clear();
  later.sign1.clear();
  later.sign2.clear();
  later.nonce.resize(16);
  std::erase_if(later.metadata, [](const auto& member) { return member.first == msgpack::Value("pk2"); });
  return later;
}

void checkSignatures(const Json& v, const HandshakeMessage& complete, Case& c) {
  const auto id1 = VaultysId::fromId(complete.pk1);
  const auto id2 = VaultysId::fromId(complete.pk2);
  const Bytes toSign = unsignedHandshake(complete);
  c.expect(toSign == hexOf(v.at("unsigned_hex")), "the unsigned serialization");
  const auto verified = [&](const Result<VaultysId>& id, const char* scheme, const Bytes& signature) {
    if (!id.ok()) return id.error().code == Errc::Unsupported;
    return v.at(scheme) == "signChallenge_v0" ? id->verifyV0(toSign, signature) : id->verify(toSign, signature);
  };
  c.expect(verified(id1, "sign1_scheme", complete.sign1), "sign1");
  c.expect(verified(id2, "sign2_scheme", complete.sign2), "sign2");
}

void asResponder(const Json& v, const VaultysId& self, Case& c) {
  const Bytes init = hexOf(v.at("init_hex"));
  const Bytes complete = hexOf(v.at("complete_hex"));
  const auto certificate = decodeHandshake(complete);
  ScriptedEntropy entropy(hexOf(v.at("responder_nonce_hex")));
  Responder responder(self, {.services = kServices, .allowVersion0 = {}}, entropy);
  const auto claim = responder.onInit(init, at(v.at("now_ms").at("responder_step1")));
  if (!claim.ok()) {
    c.stricter = brokenRule(init, Receiver::ResponderFresh, self, {});
    c.expect(c.stricter.has_value(), "our responder refuses INIT without a rule: " + claim.error().message);
    return;
  }
  c.expect(claim->peer.did().value == textOf(v.at("contact_did_v1_seen_by_responder")), "the initiator's DID");
  c.expect(claim->service == textOf(v.at("service")), "the service");
  c.expect(*claim->metadata.map() == statement(*certificate, "pk1"), "the initiator's metadata");
  const auto step1 = responder.answer(statement(*certificate, "pk2"));
  c.expect(step1.ok() && *step1 == hexOf(v.at("step1_hex")), "our STEP1 has other bytes");
  const Status done = responder.onComplete(complete, at(v.at("now_ms").at("responder_complete")));
  c.expect(done.ok(), "our responder refuses COMPLETE: " + (done.ok() ? "" : done.error().message));
  c.expect(responder.signedBytes() == hexOf(v.at("unsigned_hex")), "the signed bytes");
}

void asInitiator(const Json& v, const VaultysId& self, Case& c) {
  const auto init = decodeHandshake(hexOf(v.at("init_hex")));
  auto initiator = initiatorOf(self, *init);
  const WallTime now = at(v.at("now_ms").at("initiator_complete"));
  const Bytes step1 = hexOf(v.at("step1_hex"));
  if (init->version == IdVersion::V1)
    c.expect(initiator->init() == hexOf(v.at("init_hex")), "our INIT has other bytes");
  const auto complete = initiator->onStep1(step1, now);
  if (!complete.ok()) {
    if (!c.stricter) c.stricter = brokenRule(step1, Receiver::InitiatorAfterInit, self, hexOf(v.at("init_hex")));
    c.expect(c.stricter.has_value(), "our initiator refuses STEP1 without a rule: " + complete.error().message);
    return;
  }
  c.expect(*complete == hexOf(v.at("complete_hex")), "our COMPLETE has other bytes");
  c.expect(initiator->peer().did().value == textOf(v.at("contact_did_v1_seen_by_initiator")), "the responder's DID");
  c.expect(*initiator->peerMetadata().map() == statement(*decodeHandshake(step1), "pk2"), "the responder's metadata");
  c.expect(initiator->signedBytes() == hexOf(v.at("unsigned_hex")), "the signed bytes");
}

void checkValid(const Json& v, Case& c) {
  for (const char* name : {"init_hex", "step1_hex", "complete_hex"}) {
    const Bytes bytes = hexOf(v.at(name));
    const auto decoded = decodeHandshake(bytes);
    c.expect(decoded.ok() && decoded->kind().ok() && encodeHandshake(*decoded) == bytes,
             std::string("reading ") + name);
  }
  if (c.failure) return;
  checkSignatures(v, *decodeHandshake(hexOf(v.at("complete_hex"))), c);
  const auto initiator = VaultysId::fromSecretBase64(textOf(v.at("initiator_secret_base64")));
  const auto responder = VaultysId::fromSecretBase64(textOf(v.at("responder_secret_base64")));
  for (const auto* id : {&initiator, &responder}) {
    if (id->ok()) continue;
    c.notSupported = true;
    c.expect(id->error().code == Errc::Unsupported, "a secret that is refused: " + id->error().message);
  }
  if (c.notSupported) return;
  if (responder->type() != IdType::Machine || initiator->type() != IdType::Machine) {
    // Only a machine can be on our side; it must refuse the other side's identity, and name no other reason.
    if (responder->type() == IdType::Machine) {
      asResponder(v, *responder, c);
    } else {
      asInitiator(v, *initiator, c);
    }
    c.expect(c.stricter == Rule::MachinesOnly, "refused for another reason than the identity's type");
    return;
  }
  asResponder(v, *responder, c);
  asInitiator(v, *initiator, c);
}

Receiver receiverOf(const Json& v) {
  const std::string name = textOf(v.at("receiver"));
  return name == "responder_fresh"        ? Receiver::ResponderFresh
         : name == "initiator_fresh"      ? Receiver::InitiatorFresh
         : name == "initiator_after_init" ? Receiver::InitiatorAfterInit
                                          : Receiver::ResponderAfterStep1;
}

// What we answer: bytes, nothing (accepted in silence), or an error.
Result<Bytes> answerOf(const Json& v, const VaultysId& self, Case& c) {
  const Bytes message = hexOf(v.at("message_hex"));
  const WallTime now = at(v.at("now_ms"));
  const Receiver receiver = receiverOf(v);
  if (receiver == Receiver::ResponderFresh) {
    Bytes nonce;
    if (v.contains("certificate_after_hex") && v.at("certificate_after_hex").is_string()) {
      const auto after = decodeHandshake(hexOf(v.at("certificate_after_hex")));
      if (after.ok() && after->nonce.size() == 32) nonce.assign(after->nonce.begin() + 16, after->nonce.end());
    }
    ScriptedEntropy entropy(nonce);
    Responder responder(self, {.services = kServices, .allowVersion0 = {}}, entropy);
    VC_TRY(responder.onInit(message, now));
    return responder.answer({});
  }
  if (receiver == Receiver::InitiatorFresh) {
    ScriptedEntropy entropy(Bytes{});
    return Initiator(self, {}, entropy, now).onStep1(message, now);
  }
  const auto previous = decodeHandshake(hexOf(v.at("own_previous_certificate_hex")));
  c.expect(previous.ok(), "own_previous_certificate cannot be read");
  if (!previous.ok()) return previous.error();
  if (receiver == Receiver::InitiatorAfterInit) {
    auto initiator = initiatorOf(self, *previous);
    if (previous->version == IdVersion::V1)
      c.expect(initiator->init() == hexOf(v.at("own_previous_certificate_hex")), "our INIT");
    return initiator->onStep1(message, now);
  }
  ScriptedEntropy entropy(BytesView(previous->nonce).last(16));
  Responder responder(self, {.services = kServices, .allowVersion0 = {}}, entropy);
  const auto claim = responder.onInit(encodeHandshake(initOf(*previous)), fromUnixMillis(previous->timestamp));
  c.expect(claim.ok(), "the INIT before it is refused");
  const auto step1 = responder.answer(statement(*previous, "pk2"));
  c.expect(step1.ok() && *step1 == hexOf(v.at("own_previous_certificate_hex")), "our STEP1");
  VC_TRY(responder.onComplete(message, now));
  return message;
}

void checkInvalid(const Json& v, Case& c) {
  const auto self = VaultysId::fromSecretBase64(textOf(v.at("receiver_secret_base64")));
  if (!self.ok() || self->type() != IdType::Machine) {
    c.notSupported = true;
    return;
  }
  const auto answer = answerOf(v, *self, c);
  if (v.at("result") != "accepted") {
    c.expect(!answer.ok(), "accepted what the original refuses");
    return;
  }
  if (answer.ok()) {
    c.expect(*answer == hexOf(v.at("certificate_after_hex")), "our answer has other bytes");
    return;
  }
  const Bytes previous =
      v.at("own_previous_certificate_hex").is_string() ? hexOf(v.at("own_previous_certificate_hex")) : Bytes{};
  c.stricter = brokenRule(hexOf(v.at("message_hex")), receiverOf(v), *self, previous);
  c.expect(c.stricter.has_value(), "refused without a rule: " + answer.error().message);
}

}  // namespace

void checkChallenger(const Json& file, Report& report) {
  const auto named = [](const Json& v, const char* group) {
    return Case{group + textOf(v.at("name")) + " (version " + v.at("version").dump() + ")"};
  };
  for (const Json& v : file.at("valid")) {
    Case c = named(v, "valid: ");
    checkValid(v, c);
    report.add(c);
  }
  for (const Json& v : file.at("invalid")) {
    Case c = named(v, "invalid: ");
    checkInvalid(v, c);
    report.add(c);
  }
}

}  // namespace vaultysclaw::conformance
