// The end-to-end channel after a handshake (docs/protocol.md 7.3): fresh X25519 keys, signed in the handshake's
// metadata, and one encrypted stream per direction. Pure: bytes in, bytes out.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/bytes.hpp"
#include "base/ports.hpp"
#include "base/result.hpp"

namespace vaultysclaw::identity {

enum class SealRole : std::uint8_t { Initiator, Responder };

// Both directions of one sealed connection. Keys live here alone and are wiped with it. Movable, confined to one
// thread. After an error of open() the connection must be closed without an answer.
class SealedChannel {
 public:
  struct Opened {
    std::string text;
    bool end = false;  // the other side ended in order; nothing follows
  };

  SealedChannel(SealedChannel&&) noexcept;
  SealedChannel& operator=(SealedChannel&&) noexcept;
  ~SealedChannel();

  // One message. Conflict after final(). Records must be sent in the order in which they were sealed.
  Result<Bytes> seal(std::string_view text);
  // The orderly end of our direction. Conflict when called twice.
  Result<Bytes> final();
  // One record of the other side. BadSignature when it does not open: changed, lost, repeated, out of order; Malformed;
  // Conflict after an end or an earlier error.
  Result<Opened> open(BytesView record);

  // The value that both sides know and nobody else can make: 64 hex digits, metadata.pk1.channel of a reissue.
  const std::string& channel() const;

 private:
  friend class SealKeys;
  struct State;
  explicit SealedChannel(std::unique_ptr<State> state);

  std::unique_ptr<State> state_;
};

// A fresh key pair for one handshake. Movable, confined to one thread; the secret is wiped when used or destroyed.
class SealKeys {
 public:
  static SealKeys generate(Entropy& entropy);
  // A given secret, for reproducing known values.
  static SealKeys fromSecret(SecretArray<32> secret);

  // The public key as `dh` in our metadata: 64 lower-case hex digits.
  const std::string& dh() const { return dh_; }
  // Uses the keys up. `signedBytes`: what both sides signed; `peerDh`: the `dh` of the other side's signed metadata.
  // Malformed for another text than a key; InvalidArgument for a key that cannot be used; Conflict the second time.
  // `entropy` makes the header of our stream. `rekeyEvery` is part of the format: other values are for tests.
  Result<SealedChannel> derive(SealRole role, BytesView signedBytes, std::string_view peerDh, Entropy& entropy,
                               std::uint64_t rekeyEvery = 65536);

 private:
  SealKeys(SecretArray<32> secret, std::array<std::uint8_t, 32> publicKey);

  std::optional<SecretArray<32>> secret_;
  std::array<std::uint8_t, 32> public_{};
  std::string dh_;
};

}  // namespace vaultysclaw::identity
