// The Data Channel Establishment Protocol (RFC 8832): how a channel is opened inside a connection. Pure; thread-safe.
#pragma once

#include <cstdint>
#include <string>
#include <variant>

#include "base/bytes.hpp"
#include "base/result.hpp"

namespace vaultysclaw::webrtc {

enum class Ordered : bool { No, Yes };
// When the sender gives a message up: never, after that many retransmissions, or after that many milliseconds.
enum class Reliability : std::uint8_t { Full = 0, Retransmits = 1, Lifetime = 2 };

struct ChannelOpen {
  Ordered ordered = Ordered::Yes;
  Reliability reliability = Reliability::Full;
  std::uint32_t reliabilityParameter = 0;  // retransmissions or milliseconds; 0 and without a meaning for Full
  std::uint16_t priority = 0;
  std::string label = {};     // UTF-8, at most kMaxLabelBytes
  std::string protocol = {};  // UTF-8, at most kMaxLabelBytes
  bool operator==(const ChannelOpen&) const = default;
};
struct ChannelAck {
  bool operator==(const ChannelAck&) const = default;
};
using DcepMessage = std::variant<ChannelOpen, ChannelAck>;

inline constexpr std::size_t kMaxLabelBytes = 1024;

// The whole of `bytes`. Malformed; TooLarge for a label or protocol over kMaxLabelBytes.
Result<DcepMessage> decodeDcep(BytesView bytes);
// InvalidArgument for what decodeDcep() refuses.
Result<Bytes> encodeDcep(const DcepMessage& message);

}  // namespace vaultysclaw::webrtc
