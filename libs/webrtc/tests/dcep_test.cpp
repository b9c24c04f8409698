#include "webrtc/dcep.hpp"

#include <gtest/gtest.h>

namespace vaultysclaw::webrtc {
namespace {

Bytes hex(std::string_view text) {
  return hexDecode(text).value();
}

TEST(Dcep, WritesAndReadsWhatBrowsersSend) {
  const ChannelOpen open{.ordered = Ordered::No, .label = "dc", .protocol = "p"};
  EXPECT_EQ(hexEncode(encodeDcep(open).value()), "038000000000000000020001646370");
  EXPECT_EQ(std::get<ChannelOpen>(decodeDcep(hex("038000000000000000020001646370")).value()), open);
  EXPECT_EQ(hexEncode(encodeDcep(ChannelAck{}).value()), "02");
  EXPECT_TRUE(std::holds_alternative<ChannelAck>(decodeDcep(hex("02")).value()));
}

TEST(Dcep, EveryTypeOfChannelGoesBothWays) {
  for (const Ordered ordered : {Ordered::No, Ordered::Yes}) {
    for (const Reliability reliability : {Reliability::Full, Reliability::Retransmits, Reliability::Lifetime}) {
      const ChannelOpen open{.ordered = ordered,
                             .reliability = reliability,
                             .reliabilityParameter = reliability == Reliability::Full ? 0u : 70'000u,
                             .priority = 256,
                             .label = "\xc5\xbe",
                             .protocol = {}};
      EXPECT_EQ(std::get<ChannelOpen>(decodeDcep(encodeDcep(open).value()).value()), open);
    }
  }
}

TEST(Dcep, RefusesEveryTruncationAndEveryFurtherByte) {
  const Bytes whole = hex("038000000000000000020001646370");
  for (std::size_t n = 0; n < whole.size(); ++n) EXPECT_FALSE(decodeDcep(BytesView(whole).first(n)).ok()) << n;
  Bytes longer = whole;
  longer.push_back(0);
  EXPECT_FALSE(decodeDcep(longer).ok());
  EXPECT_FALSE(decodeDcep(hex("0200")).ok());
}

TEST(Dcep, EveryBitFlipIsRefusedOrCanBeWrittenAgain) {
  const Bytes whole = hex("038000000000000000020001646370");
  for (std::size_t bit = 0; bit < whole.size() * 8; ++bit) {
    Bytes flipped = whole;
    flipped[bit / 8] ^= static_cast<std::uint8_t>(1u << bit % 8);
    const auto message = decodeDcep(flipped);
    if (!message.ok()) continue;
    EXPECT_EQ(decodeDcep(encodeDcep(*message).value()).value(), *message);
  }
}

TEST(Dcep, RefusesUnknownMessagesAndChannels) {
  EXPECT_FALSE(decodeDcep(hex("01")).ok());
  EXPECT_FALSE(decodeDcep(hex("030300000000000000000000")).ok());
  EXPECT_FALSE(decodeDcep(hex("034000000000000000000000")).ok());
  EXPECT_FALSE(decodeDcep(hex("03000000000000000001"
                              "0000"
                              "ff"))
                   .ok());  // not UTF-8
}

TEST(Dcep, BoundsLabels) {
  EXPECT_EQ(encodeDcep(ChannelOpen{.label = std::string(1025, 'x')}).error().code, Errc::InvalidArgument);
  Bytes wire = hex("030000000000000004010000");
  wire.resize(wire.size() + 1025, 'x');
  EXPECT_EQ(decodeDcep(wire).error().code, Errc::TooLarge);
}

}  // namespace
}  // namespace vaultysclaw::webrtc
