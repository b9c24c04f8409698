#include "identity/seal.hpp"

#include <sodium.h>

#include <algorithm>

#include "base/assert.hpp"
#include "identity/hash.hpp"

namespace vaultysclaw::identity {
namespace {

constexpr std::string_view kKeyContext = "vaultys-seal-v1";
constexpr std::string_view kChannelContext = "vaultys-seal-v1 channel";
constexpr std::size_t kHeaderBytes = crypto_secretstream_xchacha20poly1305_HEADERBYTES;
constexpr std::size_t kRecordOverhead = crypto_secretstream_xchacha20poly1305_ABYTES;
static_assert(crypto_kx_SESSIONKEYBYTES == 32 && crypto_secretstream_xchacha20poly1305_KEYBYTES == 32);

// BLAKE2b over `context ‖ SHA-256(signed bytes)`.
SecretArray<32> derived(std::string_view context, const Sha256& transcript, const SecretArray<32>& key) {
  Bytes input = toBytes(asBytes(context));
  append(input, transcript);
  SecretArray<32> out;
  crypto_generichash(out.data(), out.size(), input.data(), input.size(), key.data(), key.size());
  return out;
}

}  // namespace

struct SealedChannel::State {
  State() = default;
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  ~State() {
    sodium_memzero(&push, sizeof push);
    sodium_memzero(&pull, sizeof pull);
  }

  Bytes record(std::string_view text, unsigned char tag) {
    Bytes out;
    if (sent == 0) out.assign(header.begin(), header.end());
    const std::size_t at = out.size();
    out.resize(at + text.size() + kRecordOverhead);
    const BytesView plain = asBytes(text);
    crypto_secretstream_xchacha20poly1305_push(&push, out.data() + at, nullptr, plain.data(), plain.size(), nullptr, 0,
                                               tag);
    ++sent;
    return out;
  }

  crypto_secretstream_xchacha20poly1305_state push{};
  crypto_secretstream_xchacha20poly1305_state pull{};
  std::array<std::uint8_t, kHeaderBytes> header{};  // of our stream
  SecretArray<32> receiveKey;                       // until the other side's header is here
  std::string channel;
  std::uint64_t rekeyEvery = 0;
  std::uint64_t sent = 0;
  bool sendEnded = false;
  bool headerSeen = false;
  bool receiveEnded = false;
};

SealedChannel::SealedChannel(std::unique_ptr<State> state) : state_(std::move(state)) {}
SealedChannel::SealedChannel(SealedChannel&&) noexcept = default;
SealedChannel& SealedChannel::operator=(SealedChannel&&) noexcept = default;
SealedChannel::~SealedChannel() = default;

const std::string& SealedChannel::channel() const {
  return state_->channel;
}

Result<Bytes> SealedChannel::seal(std::string_view text) {
  if (state_->sendEnded) return Error{Errc::Conflict, "the sealed channel has been ended"};
  const bool rekey = (state_->sent + 1) % state_->rekeyEvery == 0;
  return state_->record(text, rekey ? crypto_secretstream_xchacha20poly1305_TAG_REKEY
                                    : crypto_secretstream_xchacha20poly1305_TAG_MESSAGE);
}

Result<Bytes> SealedChannel::final() {
  if (state_->sendEnded) return Error{Errc::Conflict, "the sealed channel has been ended"};
  state_->sendEnded = true;
  return state_->record({}, crypto_secretstream_xchacha20poly1305_TAG_FINAL);
}

Result<SealedChannel::Opened> SealedChannel::open(BytesView record) {
  State& s = *state_;
  if (s.receiveEnded) return Error{Errc::Conflict, "the sealed channel has ended"};
  s.receiveEnded = true;  // until this record has opened
  if (!s.headerSeen) {
    if (record.size() < kHeaderBytes)
      return Error{Errc::Malformed, "a sealed message that is too short for its header"};
    crypto_secretstream_xchacha20poly1305_init_pull(&s.pull, record.data(), s.receiveKey.data());
    s.receiveKey = SecretArray<32>();
    s.headerSeen = true;
    record = record.subspan(kHeaderBytes);
  }
  if (record.size() < kRecordOverhead) return Error{Errc::Malformed, "a sealed message that is too short"};
  std::string text(record.size() - kRecordOverhead, '\0');
  unsigned char tag = 0;
  if (crypto_secretstream_xchacha20poly1305_pull(&s.pull, reinterpret_cast<unsigned char*>(text.data()), nullptr, &tag,
                                                 record.data(), record.size(), nullptr, 0) != 0) {
    return Error{Errc::BadSignature, "a sealed message that does not open"};
  }
  if (tag == crypto_secretstream_xchacha20poly1305_TAG_FINAL) {
    if (!text.empty()) return Error{Errc::Malformed, "a sealed end that carries a message"};
    return Opened{{}, true};
  }
  if (tag != crypto_secretstream_xchacha20poly1305_TAG_MESSAGE &&
      tag != crypto_secretstream_xchacha20poly1305_TAG_REKEY) {
    return Error{Errc::Malformed, "a sealed message with an unknown tag"};
  }
  s.receiveEnded = false;
  return Opened{std::move(text), false};
}

SealKeys::SealKeys(SecretArray<32> secret, std::array<std::uint8_t, 32> publicKey)
    : secret_(std::move(secret)), public_(publicKey), dh_(hexEncode(publicKey)) {}

SealKeys SealKeys::fromSecret(SecretArray<32> secret) {
  static const bool ready = sodium_init() >= 0;
  VC_ASSERT(ready, "libsodium does not start");
  std::array<std::uint8_t, 32> publicKey{};
  crypto_scalarmult_base(publicKey.data(), secret.data());
  return SealKeys(std::move(secret), publicKey);
}

SealKeys SealKeys::generate(Entropy& entropy) {
  SecretArray<32> secret;
  entropy.fill(secret.mutableView());
  return fromSecret(std::move(secret));
}

Result<SealedChannel> SealKeys::derive(SealRole role, BytesView signedBytes, std::string_view peerDh, Entropy& entropy,
                                       std::uint64_t rekeyEvery) {
  VC_ASSERT(rekeyEvery > 0, "rekeyEvery must be positive");
  if (!secret_) return Error{Errc::Conflict, "these seal keys have been used"};
  const SecretArray<32> secret = std::move(*secret_);
  secret_.reset();
  const bool lowerHex = peerDh.size() == 64 && std::all_of(peerDh.begin(), peerDh.end(), [](char c) {
                          return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
                        });
  if (!lowerHex) return Error{Errc::Malformed, "dh is not 64 lower-case hexadecimal digits"};
  VC_TRY_ASSIGN(const Bytes peer, hexDecode(peerDh));

  SecretArray<32> receive;
  SecretArray<32> send;
  const bool initiator = role == SealRole::Initiator;
  const auto exchange = initiator ? crypto_kx_client_session_keys : crypto_kx_server_session_keys;
  if (exchange(receive.data(), send.data(), public_.data(), secret.data(), peer.data()) != 0) {
    return Error{Errc::InvalidArgument, "dh is not a public key that can be used"};
  }

  const Sha256 transcript = sha256(signedBytes);
  auto state = std::make_unique<SealedChannel::State>();
  const SecretArray<32> sendKey = derived(kKeyContext, transcript, send);
  state->receiveKey = derived(kKeyContext, transcript, receive);
  const SecretArray<32> channel = derived(kChannelContext, transcript, initiator ? sendKey : state->receiveKey);
  state->channel = hexEncode(channel.view());
  state->rekeyEvery = rekeyEvery;
  // A sender's stream starts as a receiver's does, from header and key; starting it this way takes the header from
  // `entropy` in place of libsodium's own.
  entropy.fill(state->header);
  crypto_secretstream_xchacha20poly1305_init_pull(&state->push, state->header.data(), sendKey.data());
  return SealedChannel(std::move(state));
}

}  // namespace vaultysclaw::identity
