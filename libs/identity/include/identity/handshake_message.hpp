// The three messages of the handshake as one struct, and the bytes both sides sign (docs/protocol.md section 2).
#pragma once

#include <cstdint>
#include <string>

#include "base/msgpack.hpp"
#include "identity/vaultys_id.hpp"

namespace vaultysclaw::identity {

inline constexpr std::size_t kMaxHandshakeBytes = 32 * 1024;

// Value type. An empty byte string means that the member is absent.
struct HandshakeMessage {
  enum class Kind : std::uint8_t { Init, Step1, Complete };

  IdVersion version = IdVersion::V1;
  std::string protocol;
  std::string service;
  std::int64_t timestamp = 0;  // ms since the epoch
  Bytes pk1, pk2;
  Bytes nonce;  // 16 bytes of the initiator, then 16 of the responder
  Bytes sign1, sign2;
  msgpack::Map metadata;

  // Which message it is, by the members it has; Malformed for any other combination.
  Result<Kind> kind() const;
};

// Reads a message that is spelled in the one way encodeHandshake writes it: members in order, none unknown, none twice,
// smallest integers, nothing after the map. TooLarge over kMaxHandshakeBytes; Malformed. Verifies no signature.
Result<HandshakeMessage> decodeHandshake(BytesView bytes);
Bytes encodeHandshake(const HandshakeMessage& message);
// What is signed. In version 0 it leaves the metadata out. `protocol` and `service` must be under 32 bytes (asserted
// for version 0, whose form has no room for longer ones and would be ambiguous).
Bytes unsignedHandshake(const HandshakeMessage& message);

}  // namespace vaultysclaw::identity
