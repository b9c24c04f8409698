#include "webrtc/dcep.hpp"

#include "base/utf8.hpp"

namespace vaultysclaw::webrtc {
namespace {

constexpr std::uint8_t kAck = 0x02, kOpen = 0x03, kUnordered = 0x80;
constexpr std::size_t kOpenHeader = 12;

std::uint32_t bigEndian(BytesView bytes) {
  std::uint32_t number = 0;
  for (const std::uint8_t byte : bytes) number = number << 8 | byte;
  return number;
}
void putBigEndian(Bytes& out, std::uint32_t number, int width) {
  for (int shift = 8 * (width - 1); shift >= 0; shift -= 8) out.push_back(static_cast<std::uint8_t>(number >> shift));
}

Error malformed(std::string_view what) {
  return {Errc::Malformed, "DCEP: " + std::string(what)};
}

}  // namespace

Result<DcepMessage> decodeDcep(BytesView bytes) {
  if (bytes.empty()) return malformed("an empty message");
  if (bytes[0] == kAck) {
    if (bytes.size() != 1) return malformed("bytes after an acknowledgement");
    return DcepMessage(ChannelAck{});
  }
  if (bytes[0] != kOpen) return malformed("an unknown message");
  if (bytes.size() < kOpenHeader) return malformed("a message that ends too early");
  const std::uint8_t reliability = bytes[1] & static_cast<std::uint8_t>(~kUnordered);
  if (reliability > static_cast<std::uint8_t>(Reliability::Lifetime)) return malformed("an unknown type of channel");
  const std::size_t label = bigEndian(bytes.subspan(8, 2)), protocol = bigEndian(bytes.subspan(10, 2));
  if (bytes.size() != kOpenHeader + label + protocol) return malformed("its length is not what it says");
  if (label > kMaxLabelBytes || protocol > kMaxLabelBytes)
    return Error{Errc::TooLarge, "DCEP: a label or protocol over 1 KiB"};

  ChannelOpen open;
  open.ordered = (bytes[1] & kUnordered) != 0 ? Ordered::No : Ordered::Yes;
  open.reliability = static_cast<Reliability>(reliability);
  open.priority = static_cast<std::uint16_t>(bigEndian(bytes.subspan(2, 2)));
  if (open.reliability != Reliability::Full) open.reliabilityParameter = bigEndian(bytes.subspan(4, 4));
  open.label = asText(bytes.subspan(kOpenHeader, label));
  open.protocol = asText(bytes.subspan(kOpenHeader + label, protocol));
  if (!isValidUtf8(open.label) || !isValidUtf8(open.protocol)) return malformed("a label that is not UTF-8");
  return DcepMessage(std::move(open));
}

Result<Bytes> encodeDcep(const DcepMessage& message) {
  if (std::holds_alternative<ChannelAck>(message)) return Bytes{kAck};
  const auto& open = std::get<ChannelOpen>(message);
  if (open.label.size() > kMaxLabelBytes || open.protocol.size() > kMaxLabelBytes || !isValidUtf8(open.label) ||
      !isValidUtf8(open.protocol))
    return Error{Errc::InvalidArgument, "a channel's label and protocol are UTF-8 of at most 1 KiB"};
  Bytes out{kOpen, static_cast<std::uint8_t>(static_cast<std::uint8_t>(open.reliability) |
                                             (open.ordered == Ordered::No ? kUnordered : 0))};
  putBigEndian(out, open.priority, 2);
  putBigEndian(out, open.reliability == Reliability::Full ? 0 : open.reliabilityParameter, 4);
  putBigEndian(out, static_cast<std::uint32_t>(open.label.size()), 2);
  putBigEndian(out, static_cast<std::uint32_t>(open.protocol.size()), 2);
  append(out, asBytes(open.label));
  append(out, asBytes(open.protocol));
  return out;
}

}  // namespace vaultysclaw::webrtc
