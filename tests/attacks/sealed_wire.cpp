#include "sealed_wire.hpp"

#include "base/assert.hpp"

namespace vaultysclaw::attacks {
namespace {

constexpr std::size_t kHeader = crypto_secretstream_xchacha20poly1305_HEADERBYTES;
constexpr std::size_t kOverhead = crypto_secretstream_xchacha20poly1305_ABYTES;

std::array<std::uint8_t, 32> keyed(std::string_view context, BytesView signedBytes,
                                   const std::array<std::uint8_t, 32>& key) {
  std::array<std::uint8_t, crypto_hash_sha256_BYTES> transcript{};
  crypto_hash_sha256(transcript.data(), signedBytes.data(), signedBytes.size());
  Bytes input = toBytes(asBytes(context));
  append(input, transcript);
  std::array<std::uint8_t, 32> out{};
  crypto_generichash(out.data(), out.size(), input.data(), input.size(), key.data(), key.size());
  return out;
}

const std::uint8_t* bytesOf(std::string_view text) {
  return asBytes(text).data();
}

}  // namespace

DhKeys DhKeys::make(Entropy& entropy) {
  VC_ASSERT(sodium_init() >= 0, "libsodium does not start");
  DhKeys keys;
  entropy.fill(keys.secret);
  crypto_scalarmult_base(keys.publicKey.data(), keys.secret.data());
  keys.dh = hexEncode(keys.publicKey);
  return keys;
}

std::optional<SealedWire> SealedWire::make(Side side, const DhKeys& own, std::string_view peerDh,
                                           BytesView signedBytes) {
  const auto peer = hexDecode(peerDh);
  if (!peer || peer->size() != crypto_kx_PUBLICKEYBYTES) return std::nullopt;
  std::array<std::uint8_t, 32> receive{}, send{};
  const auto exchange = side == Side::Initiator ? crypto_kx_client_session_keys : crypto_kx_server_session_keys;
  if (exchange(receive.data(), send.data(), own.publicKey.data(), own.secret.data(), peer->data()) != 0)
    return std::nullopt;
  SealedWire wire;
  wire.sendKey_ = keyed("vaultys-seal-v1", signedBytes, send);
  wire.receiveKey_ = keyed("vaultys-seal-v1", signedBytes, receive);
  wire.channel_ = hexEncode(
      keyed("vaultys-seal-v1 channel", signedBytes, side == Side::Initiator ? wire.sendKey_ : wire.receiveKey_));
  return wire;
}

std::string SealedWire::record(std::string_view text, unsigned char tag) {
  std::string out;
  if (!std::exchange(sent_, true)) {
    out.resize(kHeader);
    crypto_secretstream_xchacha20poly1305_init_push(&push_, reinterpret_cast<unsigned char*>(out.data()),
                                                    sendKey_.data());
  }
  const std::size_t at = out.size();
  out.resize(at + text.size() + kOverhead);
  crypto_secretstream_xchacha20poly1305_push(&push_, reinterpret_cast<unsigned char*>(out.data()) + at, nullptr,
                                             bytesOf(text), text.size(), nullptr, 0, tag);
  return out;
}

std::optional<SealedWire::Opened> SealedWire::open(std::string_view record) {
  if (!received_) {
    if (record.size() < kHeader) return std::nullopt;
    crypto_secretstream_xchacha20poly1305_init_pull(&pull_, bytesOf(record), receiveKey_.data());
    received_ = true;
    record.remove_prefix(kHeader);
  }
  if (record.size() < kOverhead) return std::nullopt;
  Opened out;
  out.text.resize(record.size() - kOverhead);
  if (crypto_secretstream_xchacha20poly1305_pull(&pull_, reinterpret_cast<unsigned char*>(out.text.data()), nullptr,
                                                 &out.tag, bytesOf(record), record.size(), nullptr, 0) != 0)
    return std::nullopt;
  return out;
}

}  // namespace vaultysclaw::attacks
