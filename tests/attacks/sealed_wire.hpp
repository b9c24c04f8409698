// The sealed channel of docs/protocol.md 7.3 once more, written from the text with libsodium alone: an attacker who
// holds the keys of one end can send records that no honest end would.
#pragma once

#include <sodium.h>

#include <array>
#include <optional>
#include <string>
#include <string_view>

#include "base/bytes.hpp"
#include "base/ports.hpp"

namespace vaultysclaw::attacks {

// A fresh X25519 key pair; `dh` as it stands in the metadata.
struct DhKeys {
  std::array<std::uint8_t, crypto_kx_SECRETKEYBYTES> secret{};
  std::array<std::uint8_t, crypto_kx_PUBLICKEYBYTES> publicKey{};
  std::string dh;
  static DhKeys make(Entropy& entropy);
};

// Confined to one thread.
class SealedWire {
 public:
  enum class Side : std::uint8_t { Initiator, Responder };
  struct Opened {
    std::string text;
    unsigned char tag = 0;
  };
  // Nothing when the keys cannot be used.
  static std::optional<SealedWire> make(Side side, const DhKeys& own, std::string_view peerDh, BytesView signedBytes);

  // The next record; the first one has the header before it. Any tag, also after TAG_FINAL.
  std::string record(std::string_view text, unsigned char tag = crypto_secretstream_xchacha20poly1305_TAG_MESSAGE);
  std::string final() { return record({}, crypto_secretstream_xchacha20poly1305_TAG_FINAL); }
  // Nothing when it does not open.
  std::optional<Opened> open(std::string_view record);
  const std::string& channel() const { return channel_; }

 private:
  SealedWire() = default;

  std::array<std::uint8_t, 32> sendKey_{}, receiveKey_{};
  crypto_secretstream_xchacha20poly1305_state push_{}, pull_{};
  bool sent_ = false, received_ = false;
  std::string channel_;
};

}  // namespace vaultysclaw::attacks
