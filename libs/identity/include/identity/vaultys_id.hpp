// VaultysId: a key pair with a DID (docs/protocol.md section 1).
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/bytes.hpp"
#include "base/ids.hpp"
#include "base/ports.hpp"
#include "base/result.hpp"

namespace vaultysclaw::identity {

enum class IdType : std::uint8_t { Machine = 0, Person = 1, Organization = 2, Fido2 = 3, Fido2Prf = 4 };
// Which of its two forms an id is written in; the form is hashed, so each has a DID of its own. DIDs in use are V1.
enum class IdVersion : std::uint8_t { V0 = 0, V1 = 1 };

class KeyManager;  // key_manager.hpp: one per algorithm; Ed25519 for now

// An identity, with its secret or without. Immutable and cheap to copy (keys are shared); any thread may use it.
class VaultysId {
 public:
  static VaultysId generate(IdType type, Entropy& entropy, IdVersion version = IdVersion::V1);
  // `entropy`: 32 bytes in all that is new; other lengths exist among old identities.
  static VaultysId fromEntropy(BytesView entropy, IdType type, IdVersion version = IdVersion::V1);
  // From the type byte and MessagePack secret, or its base64. Malformed; Unsupported for other algorithms.
  static Result<VaultysId> fromSecret(BytesView secret);
  static Result<VaultysId> fromSecretBase64(std::string_view secret);
  // From a public id. Malformed; Unsupported; InvalidArgument for keys of small order (docs/stricter.md).
  static Result<VaultysId> fromId(BytesView id);
  // The same for exactly the bytes that fromId() has taken before: it leaves out the check of the keys, most of the
  // work. With others it would make an identity for which anybody can sign.
  static Result<VaultysId> fromCheckedId(BytesView id);

  IdType type() const { return type_; }
  IdVersion version() const { return version_; }
  // The same keys written in another version: another id and DID.
  VaultysId toVersion(IdVersion version) const;

  const Bytes& id() const { return id_; }
  const Did& did() const { return did_; }
  // The DID of the version 1 form, which names this identity everywhere.
  Did didV1() const;
  std::string fingerprint() const;
  std::string didDocument() const;  // JSON text, members as the original writes them
  const KeyManager& keys() const { return *keys_; }

  bool hasSecret() const;
  // Wire form of the secret. Must have one (asserted).
  SecretBytes secret() const;

  // Ed25519 over SHA-256("VAULTYS_SIGN" ‖ message). Must have the secret (asserted).
  Bytes sign(BytesView message) const;
  // Ed25519 over SHA-256(this id ‖ message): the initiator's form in version 0 handshakes.
  Bytes signV0(BytesView message) const;
  bool verify(BytesView message, BytesView signature) const;
  bool verifyV0(BytesView message, BytesView signature) const;

  // X25519 key shared with another identity; the same from both sides. Needs the secret.
  Result<SecretBytes> sharedKey(const VaultysId& other) const;
  Result<Bytes> dhiesEncrypt(BytesView plaintext, const VaultysId& recipient, Entropy& entropy) const;
  Result<SecretBytes> dhiesDecrypt(BytesView ciphertext, const VaultysId& sender) const;
  Bytes hmac(std::string_view message) const;
  Bytes otpHmac(WallTime now, milliseconds period) const;

  bool operator==(const VaultysId& other) const { return id_ == other.id_; }

 private:
  VaultysId(IdType type, IdVersion version, std::shared_ptr<const KeyManager> keys);
  enum class Keys : bool { Checked, Unchecked };
  static Result<VaultysId> fromId(BytesView id, Keys keys);

  IdType type_;
  IdVersion version_;
  std::shared_ptr<const KeyManager> keys_;
  Bytes id_;
  Did did_;
};

}  // namespace vaultysclaw::identity
