#include <sodium.h>

#include <algorithm>
#include <optional>

#include "base/assert.hpp"
#include "identity/hash.hpp"
#include "identity/key_manager.hpp"
#include "key_form.hpp"

namespace vaultysclaw::identity {
namespace {

using Key = std::span<const std::uint8_t, 32>;

void startSodium() {
  static const bool ready = sodium_init() >= 0;  // picks the implementations this CPU runs fastest
  VC_ASSERT(ready, "libsodium does not start");
}

class Ed25519Keys final : public KeyManager {
 public:
  Ed25519Keys(Key signingPublic, Key agreementPublic) {
    std::copy(signingPublic.begin(), signingPublic.end(), signingPublic_.begin());
    std::copy(agreementPublic.begin(), agreementPublic.end(), agreementPublic_.begin());
  }
  struct FromSecrets {};
  Ed25519Keys(FromSecrets, Key signing, Key agreement) : secrets_(std::in_place) {
    crypto_sign_seed_keypair(signingPublic_.data(), secrets_->signing.data(), signing.data());
    secrets_->agreement = SecretArray<32>(agreement);
    crypto_scalarmult_base(agreementPublic_.data(), agreement.data());
  }

  bool hasSecret() const override { return secrets_.has_value(); }
  Bytes publicForm(std::uint8_t version) const override {
    Bytes out;
    writeKeyForm(out, version, signingPublic_, agreementPublic_);
    return out;
  }
  SecretBytes secretForm(std::uint8_t version) const override {
    // libsodium's signing secret is the seed followed by the public key.
    const Key seed = std::span<const std::uint8_t, 64>(secrets().signing.view()).first<32>();
    Bytes out;
    out.reserve(kKeyFormBytes);  // growing would leave copies of the secret behind
    writeKeyForm(out, version, seed, secrets().agreement.view());
    return SecretBytes(std::move(out));
  }

  BytesView signingPublicKey() const override { return signingPublic_; }
  BytesView agreementPublicKey() const override { return agreementPublic_; }
  std::string_view signingKeyType() const override { return "Ed25519VerificationKey2020"; }
  std::string_view agreementKeyType() const override { return "X25519KeyAgreementKey2019"; }

  Bytes sign(BytesView message) const override {
    Bytes signature(crypto_sign_BYTES);
    crypto_sign_detached(signature.data(), nullptr, message.data(), message.size(), secrets().signing.data());
    return signature;
  }
  bool verify(BytesView message, BytesView signature) const override {
    return signature.size() == crypto_sign_BYTES &&
           crypto_sign_verify_detached(signature.data(), message.data(), message.size(), signingPublic_.data()) == 0;
  }
  Result<SecretBytes> agree(BytesView publicKey) const override {
    SecretArray<32> shared;
    if (publicKey.size() != 32 || crypto_scalarmult(shared.data(), secrets().agreement.data(), publicKey.data()) != 0) {
      return Error{Errc::InvalidArgument, "not an X25519 public key that can be used"};
    }
    return SecretBytes(BytesView(shared.view()));
  }
  Bytes hmac(BytesView data) const override {
    Bytes out(crypto_auth_hmacsha256_BYTES);
    crypto_auth_hmacsha256(out.data(), data.data(), data.size(), secrets().agreement.data());
    return out;
  }
  Bytes secretHash(BytesView data) const override {
    const Sha256 hash = sha256({data, asBytes("secrethash"), secrets().agreement.view()});
    return Bytes(hash.begin(), hash.end());
  }

 private:
  struct Secrets {
    SecretArray<64> signing;
    SecretArray<32> agreement;
  };
  const Secrets& secrets() const {
    VC_ASSERT(secrets_.has_value(), "an operation that needs the secret key of a public identity");
    return *secrets_;
  }

  std::array<std::uint8_t, 32> signingPublic_{};
  std::array<std::uint8_t, 32> agreementPublic_{};
  std::optional<Secrets> secrets_;
};

}  // namespace

std::shared_ptr<const KeyManager> makeEd25519FromSecrets(Key signing, Key agreement) {
  startSodium();
  return std::make_shared<Ed25519Keys>(Ed25519Keys::FromSecrets{}, signing, agreement);
}

std::shared_ptr<const KeyManager> makeEd25519FromEntropy(BytesView entropy) {
  Sha512 seed = sha512({entropy});
  const std::span<const std::uint8_t, 64> view(seed);
  auto keys = makeEd25519FromSecrets(view.first<32>(), view.last<32>());
  wipe(seed);
  return keys;
}

Status checkEd25519PublicKeys(Key signing, Key agreement) {
  startSodium();
  // Any scalar shows a point of small order: libsodium clamps it to a multiple of 8 and refuses the result zero.
  static constexpr std::array<std::uint8_t, 32> kProbe{9};
  SecretArray<32> ignored;
  if (crypto_core_ed25519_is_valid_point(signing.data()) != 1 ||
      crypto_scalarmult(ignored.data(), kProbe.data(), agreement.data()) != 0) {
    return Error{Errc::InvalidArgument, "an identity whose public key cannot be one: not a point of the right order"};
  }
  return {};
}

std::shared_ptr<const KeyManager> makeEd25519FromPublicKeys(Key signing, Key agreement) {
  startSodium();
  return std::make_shared<Ed25519Keys>(signing, agreement);
}

}  // namespace vaultysclaw::identity
