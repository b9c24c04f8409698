#include "identity/vaultys_id.hpp"

#include <sodium.h>

#include <algorithm>

#include "base/assert.hpp"
#include "base/json_writer.hpp"
#include "identity/hash.hpp"
#include "identity/key_manager.hpp"
#include "key_form.hpp"

namespace vaultysclaw::identity {
namespace {

constexpr std::size_t kEd25519Bytes = 1 + kKeyFormBytes;
constexpr std::size_t kDigits = 40;

// What a type byte and a length say before anything is read: whether it is an algorithm that others have.
Status checkKind(BytesView bytes, std::initializer_list<std::size_t> postQuantumLengths, std::string_view what) {
  const std::string noun(what);
  if (bytes.empty()) return Error{Errc::Malformed, "an empty " + noun};
  if (bytes[0] > static_cast<std::uint8_t>(IdType::Fido2Prf)) {
    return Error{Errc::Malformed, "a " + noun + " of unknown type " + std::to_string(bytes[0])};
  }
  if (bytes[0] >= static_cast<std::uint8_t>(IdType::Fido2)) {
    return Error{Errc::Unsupported, "a " + noun + " of a FIDO2 identity, which is not supported yet"};
  }
  if (std::find(postQuantumLengths.begin(), postQuantumLengths.end(), bytes.size()) != postQuantumLengths.end()) {
    return Error{Errc::Unsupported, "a " + noun + " of a post-quantum (ML-DSA) identity, which is not supported yet"};
  }
  if (bytes.size() != kEd25519Bytes) {
    return Error{Errc::Malformed, "a " + noun + " of " + std::to_string(bytes.size()) + " bytes instead of " +
                                      std::to_string(kEd25519Bytes)};
  }
  return {};
}

Bytes joined(std::initializer_list<BytesView> parts) {
  Bytes out;
  for (const BytesView part : parts) append(out, part);
  return out;
}

std::string didDigits(IdType type, BytesView keyForm) {
  const Sha224 hash = sha224({keyForm});
  const std::uint8_t typeByte = static_cast<std::uint8_t>(type);
  return hexEncode(joined({{&typeByte, 1}, hash})).substr(0, kDigits);
}

// The keys for one DHIES message; both wiped by their owner.
struct DhiesKeys {
  SecretArray<32> encryption;
  SecretArray<32> mac;
};

DhiesKeys dhiesKeys(BytesView shared, BytesView senderPublic, BytesView recipientPublic) {
  const auto derive = [&](std::uint8_t purpose) {
    Sha512 material = sha512({shared, asBytes("DHIES-KDF"), senderPublic, recipientPublic, {&purpose, 1}});
    SecretArray<32> key(std::span<const std::uint8_t, 64>(material).first<32>());
    wipe(material);
    return key;
  };
  return {derive(1), derive(2)};
}

constexpr std::size_t kNonceBytes = crypto_secretbox_NONCEBYTES;
constexpr std::size_t kMacBytes = 32;
constexpr std::size_t kDhiesOverhead = kNonceBytes + 32 + crypto_secretbox_MACBYTES + kMacBytes;

}  // namespace

VaultysId::VaultysId(IdType type, IdVersion version, std::shared_ptr<const KeyManager> keys)
    : type_(type), version_(version), keys_(std::move(keys)) {
  const Bytes form = keys_->publicForm(static_cast<std::uint8_t>(version));
  id_.push_back(static_cast<std::uint8_t>(type));
  append(id_, form);
  did_ = Did("did:vaultys:" + didDigits(type, form));
}

VaultysId VaultysId::generate(IdType type, Entropy& entropy, IdVersion version) {
  SecretArray<32> seed;
  entropy.fill(seed.mutableView());
  return fromEntropy(seed.view(), type, version);
}

VaultysId VaultysId::fromEntropy(BytesView entropy, IdType type, IdVersion version) {
  VC_ASSERT(type <= IdType::Organization, "FIDO2 identities come from a device, not from entropy");
  return VaultysId(type, version, makeEd25519FromEntropy(entropy));
}

Result<VaultysId> VaultysId::fromSecret(BytesView secret) {
  VC_TRY(checkKind(secret, {73, 84}, "secret"));
  const auto form = readKeyForm(secret.subspan(1));
  if (!form) return Error{Errc::Malformed, "not the secret of an identity"};
  return VaultysId(static_cast<IdType>(secret[0]), static_cast<IdVersion>(form->version),
                   makeEd25519FromSecrets(form->x, form->e));
}

Result<VaultysId> VaultysId::fromSecretBase64(std::string_view secret) {
  auto decoded = base64Decode(secret);
  if (!decoded.ok()) return decoded.error();
  const SecretBytes bytes(std::move(*decoded));
  return fromSecret(bytes.view());
}

Result<VaultysId> VaultysId::fromId(BytesView id) {
  return fromId(id, Keys::Unchecked);
}

Result<VaultysId> VaultysId::fromCheckedId(BytesView id) {
  return fromId(id, Keys::Checked);
}

Result<VaultysId> VaultysId::fromId(BytesView id, Keys keys) {
  VC_TRY(checkKind(id, {2638, 2670}, "public id"));
  const auto form = readKeyForm(id.subspan(1));
  if (!form) return Error{Errc::Malformed, "not the public id of an identity"};
  if (keys == Keys::Unchecked) VC_TRY(checkEd25519PublicKeys(form->x, form->e));
  return VaultysId(static_cast<IdType>(id[0]), static_cast<IdVersion>(form->version),
                   makeEd25519FromPublicKeys(form->x, form->e));
}

VaultysId VaultysId::toVersion(IdVersion version) const {
  return version == version_ ? *this : VaultysId(type_, version, keys_);
}

Did VaultysId::didV1() const {
  return toVersion(IdVersion::V1).did();
}

std::string VaultysId::fingerprint() const {
  const std::string digits = didDigits(type_, BytesView(id_).subspan(1));
  std::string out;
  for (std::size_t i = 0; i < digits.size(); ++i) {
    if (i != 0 && i % 4 == 0) out += ' ';
    const char c = digits[i];
    out += c >= 'a' ? static_cast<char>(c - 'a' + 'A') : c;
  }
  return out;
}

std::string VaultysId::didDocument() const {
  JsonWriter w;
  w.beginObject().key("@context").beginArray();
  w.value("https://www.w3.org/ns/did/v1").value("https://w3id.org/security/suites/ed25519-2020/v1").endArray();
  w.member("id", did_.value);
  const auto keyEntry = [&](std::string_view role, std::string_view suffix, std::string_view type, BytesView key) {
    w.key(role).beginArray().beginObject();
    w.member("id", did_.value + std::string(suffix)).member("type", type).member("controller", did_.value);
    w.member("publicKeyMultibase", "m" + base64Encode(key)).endObject().endArray();
  };
  keyEntry("authentication", "#keys-1", keys_->signingKeyType(), keys_->signingPublicKey());
  keyEntry("keyAgreement", "#keys-2", keys_->agreementKeyType(), keys_->agreementPublicKey());
  w.endObject();
  return w.take();
}

bool VaultysId::hasSecret() const {
  return keys_->hasSecret();
}

SecretBytes VaultysId::secret() const {
  const SecretBytes form = keys_->secretForm(static_cast<std::uint8_t>(version_));
  Bytes out;
  out.reserve(1 + form.size());
  out.push_back(static_cast<std::uint8_t>(type_));
  append(out, form.view());
  return SecretBytes(std::move(out));
}

Bytes VaultysId::sign(BytesView message) const {
  return keys_->sign(sha256({asBytes("VAULTYS_SIGN"), message}));
}
Bytes VaultysId::signV0(BytesView message) const {
  return keys_->sign(sha256({id_, message}));
}
bool VaultysId::verify(BytesView message, BytesView signature) const {
  return keys_->verify(sha256({asBytes("VAULTYS_SIGN"), message}), signature);
}
bool VaultysId::verifyV0(BytesView message, BytesView signature) const {
  return keys_->verify(sha256({id_, message}), signature);
}

Result<SecretBytes> VaultysId::sharedKey(const VaultysId& other) const {
  VC_TRY_ASSIGN(const SecretBytes shared, keys_->agree(other.keys_->agreementPublicKey()));
  Sha256 key = sha256(shared.view());
  SecretBytes out{BytesView(key)};
  wipe(key);
  return out;
}

// Layout: nonce(24) ‖ ephemeral public key(32) ‖ secretbox ‖ SHA-256(mac key ‖ sender key ‖ nonce ‖ secretbox).
Result<Bytes> VaultysId::dhiesEncrypt(BytesView plaintext, const VaultysId& recipient, Entropy& entropy) const {
  const BytesView senderPublic = keys_->agreementPublicKey();
  const BytesView recipientPublic = recipient.keys_->agreementPublicKey();
  VC_ASSERT(hasSecret(), "DHIES binds the sender: it needs an identity with its secret");
  SecretArray<32> ephemeral;
  entropy.fill(ephemeral.mutableView());
  Bytes out(kNonceBytes);
  entropy.fill(out);
  out.resize(kNonceBytes + 32);
  crypto_scalarmult_base(out.data() + kNonceBytes, ephemeral.data());

  SecretArray<32> shared;
  if (crypto_scalarmult(shared.data(), ephemeral.data(), recipientPublic.data()) != 0) {
    return Error{Errc::InvalidArgument, "the recipient's key cannot be encrypted to"};
  }
  const DhiesKeys keys = dhiesKeys(shared.view(), senderPublic, recipientPublic);
  Bytes box(plaintext.size() + crypto_secretbox_MACBYTES);
  crypto_secretbox_easy(box.data(), plaintext.data(), plaintext.size(), out.data(), keys.encryption.data());
  const Sha256 mac = sha256({keys.mac.view(), senderPublic, BytesView(out).first(kNonceBytes), box});
  append(out, box);
  append(out, mac);
  return out;
}

Result<SecretBytes> VaultysId::dhiesDecrypt(BytesView ciphertext, const VaultysId& sender) const {
  const Error refused{Errc::BadSignature, "a DHIES message that was changed, cut, or not meant for this identity"};
  if (ciphertext.size() < kDhiesOverhead) return refused;
  const BytesView nonce = ciphertext.first(kNonceBytes);
  const BytesView ephemeral = ciphertext.subspan(kNonceBytes, 32);
  const BytesView box = ciphertext.subspan(kNonceBytes + 32, ciphertext.size() - kNonceBytes - 32 - kMacBytes);
  const BytesView senderPublic = sender.keys_->agreementPublicKey();

  const auto shared = keys_->agree(ephemeral);
  if (!shared.ok()) return refused;
  const DhiesKeys keys = dhiesKeys(shared->view(), senderPublic, keys_->agreementPublicKey());
  if (!constantTimeEqual(sha256({keys.mac.view(), senderPublic, nonce, box}), ciphertext.last(kMacBytes)))
    return refused;
  Bytes plaintext(box.size() - crypto_secretbox_MACBYTES);
  if (crypto_secretbox_open_easy(plaintext.data(), box.data(), box.size(), nonce.data(), keys.encryption.data()) != 0) {
    return refused;
  }
  return SecretBytes(std::move(plaintext));
}

Bytes VaultysId::hmac(std::string_view message) const {
  return keys_->hmac(joined({asBytes("VaultysID/"), asBytes(message), asBytes("/end")}));
}

Bytes VaultysId::otpHmac(WallTime now, milliseconds period) const {
  VC_ASSERT(period.count() > 0, "an OTP period must be positive");
  const std::int64_t ms = toUnixMillis(now);
  std::int64_t window = ms / period.count();
  if (ms % period.count() < 0) --window;  // rounds down, as Math.floor does
  const std::string text = "OTP-" + std::to_string(window);
  return keys_->secretHash(asBytes(text));
}

}  // namespace vaultysclaw::identity
