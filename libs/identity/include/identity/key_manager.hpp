// What a VaultysId needs of its keys, whatever their algorithm. Ed25519 (with X25519 for encryption) is the one there
// is.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "base/bytes.hpp"
#include "base/result.hpp"

namespace vaultysclaw::identity {

// The keys of one identity, with their secrets or without. Immutable; any thread may use it. Functions that need the
// secret assert that it is there. Shared by the copies of a VaultysId.
class KeyManager {
 public:
  virtual ~KeyManager() = default;

  virtual bool hasSecret() const = 0;
  // MessagePack map that names the public keys ("key-manager id") or holds the secrets, in serialization version 0
  // or 1.
  virtual Bytes publicForm(std::uint8_t version) const = 0;
  virtual SecretBytes secretForm(std::uint8_t version) const = 0;

  virtual BytesView signingPublicKey() const = 0;
  virtual BytesView agreementPublicKey() const = 0;
  // What DID documents call the two keys.
  virtual std::string_view signingKeyType() const = 0;
  virtual std::string_view agreementKeyType() const = 0;

  virtual Bytes sign(BytesView message) const = 0;
  virtual bool verify(BytesView message, BytesView signature) const = 0;
  // Raw X25519. InvalidArgument when `publicKey` has not 32 bytes or is of small order.
  virtual Result<SecretBytes> agree(BytesView publicKey) const = 0;
  // HMAC-SHA-256 under the agreement secret, and SHA-256(data ‖ "secrethash" ‖ agreement secret).
  virtual Bytes hmac(BytesView data) const = 0;
  virtual Bytes secretHash(BytesView data) const = 0;
};

std::shared_ptr<const KeyManager> makeEd25519FromEntropy(BytesView entropy);
std::shared_ptr<const KeyManager> makeEd25519FromSecrets(std::span<const std::uint8_t, 32> signing,
                                                         std::span<const std::uint8_t, 32> agreement);
// InvalidArgument for keys that are not points of the prime-order group: such a "key" can have signatures that verify
// for every message.
Status checkEd25519PublicKeys(std::span<const std::uint8_t, 32> signing, std::span<const std::uint8_t, 32> agreement);
// From keys that have been checked.
std::shared_ptr<const KeyManager> makeEd25519FromPublicKeys(std::span<const std::uint8_t, 32> signing,
                                                            std::span<const std::uint8_t, 32> agreement);

}  // namespace vaultysclaw::identity
