// The mutual authentication handshake (docs/protocol.md sections 2 and 7.1), as two pure state machines: bytes in,
// bytes out, no clock and no network of their own. Everything that can be refused is refused before anything is signed:
// the same key signs tokens, so a responder that signs what it is sent would be a signing oracle.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/msgpack.hpp"
#include "base/ports.hpp"
#include "identity/handshake_message.hpp"
#include "identity/vaultys_id.hpp"

namespace vaultysclaw::identity {

inline constexpr milliseconds kHandshakeFreshness{60'000};

// Opens a handshake, always in version 1. Confined to one thread at a time; used for one handshake. After an error it
// answers nothing more (Conflict).
class Initiator {
 public:
  struct Config {
    std::string service = "auth";
    msgpack::Map metadata;  // our own statement, metadata.pk1
    // Judges the responder's identity (in version 1 form) before anything is signed for it. Absent: any.
    std::function<Status(const VaultysId&)> acceptPeer;
  };
  // `self` must be a machine identity with its secret; its version does not matter.
  Initiator(const VaultysId& self, Config config, Entropy& entropy, WallTime now);

  const Bytes& init() const { return init_; }
  // Takes STEP1, returns COMPLETE. Errors: Malformed, TooLarge, Expired (stale; a clock is off), BadSignature,
  // PolicyDenied (acceptPeer), Conflict (a field differs from the INIT).
  Result<Bytes> onStep1(BytesView step1, WallTime now);

  // After a successful onStep1:
  const VaultysId& peer() const;               // version 1 form
  const msgpack::Value& peerMetadata() const;  // metadata.pk2: a map, empty if there was none
  const Bytes& signedBytes() const;            // what both sides signed

 private:
  VaultysId self_;
  Config config_;
  HandshakeMessage sent_;
  Bytes init_;
  Bytes signedBytes_;
  std::optional<VaultysId> peer_;
  msgpack::Value peerMetadata_{msgpack::Map{}};
  bool used_ = false;
};

// Answers a handshake in the version the INIT carries. Confined to one thread at a time; one handshake.
class Responder {
 public:
  struct Config {
    std::vector<std::string> services = {"auth", "register"};  // "agent" is accepted in version 1 only
    std::function<bool(const Did&)> allowVersion0 = nullptr;   // asked with the V1 DID; absent: allowed
    std::function<bool(BytesView)> isCheckedId = nullptr;      // see VaultysId::fromCheckedId(); absent: none is
  };
  // What an INIT says, checked in form but not yet proved: its sender proves it with COMPLETE.
  struct Claim {
    VaultysId peer;  // version 1 form
    IdVersion version = IdVersion::V1;
    std::string service;
    msgpack::Value metadata;  // metadata.pk1: a map, empty if there was none. Signed by the peer in version 1 only
  };
  Responder(const VaultysId& self, Config config, Entropy& entropy);

  // Checks INIT and signs nothing. Errors: Malformed, TooLarge, Expired, PolicyDenied (protocol, service, version, or
  // an identity that is not a machine other than us), Unsupported and InvalidArgument (keys).
  Result<Claim> onInit(BytesView init, WallTime now);
  // After onInit: signs and returns STEP1 with our statement. Once. TooLarge when the statement does not fit.
  Result<Bytes> answer(msgpack::Map metadata);
  // Takes COMPLETE. From then on the claim is proved. Errors as in onStep1; Conflict for a field that differs from our
  // STEP1 and for a call out of order.
  Status onComplete(BytesView complete, WallTime now);

  const Bytes& signedBytes() const { return signedBytes_; }

 private:
  enum class Step : std::uint8_t { Fresh, Checked, Answered, Done, Failed };
  VaultysId self_;
  Config config_;
  Entropy& entropy_;
  Step step_ = Step::Fresh;
  HandshakeMessage message_;  // the INIT, then our STEP1
  Bytes signedBytes_;
  std::optional<Claim> claim_;
};

// How far the other side's clock is from ours, read off a handshake message of theirs: positive when theirs is ahead.
// Nothing when the bytes are not a handshake message.
std::optional<milliseconds> clockOffset(BytesView message, WallTime now);

}  // namespace vaultysclaw::identity
