#include "webrtc/binarypack.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <limits>

namespace vaultysclaw::webrtc::binarypack {
namespace {

Bytes hex(std::string_view text) {
  return hexDecode(text).value();
}
Value number(double d) {
  return Value(d);
}

// The encodings of the recorded vectors (tests/conformance compares each with its value). The values are not looked at:
// one of them is text that JSON parsers refuse.
std::vector<Bytes> recordedEncodings() {
  std::ifstream in(VC_SOURCE_DIR "/tests/vectors/binarypack.json");
  std::vector<Bytes> all;
  for (std::string line; std::getline(in, line) && line.find("\"decode\": [") == std::string::npos;) {
    constexpr std::string_view kBegin = "   \"hex\": \"";
    if (!line.starts_with(kBegin)) continue;
    all.push_back(hex(std::string_view(line).substr(kBegin.size(), line.find('"', kBegin.size()) - kBegin.size())));
  }
  EXPECT_GT(all.size(), 60u);
  return all;
}

TEST(BinaryPack, RefusesEveryTruncation) {
  std::size_t cuts = 0;
  for (const Bytes& whole : recordedEncodings()) {
    ASSERT_TRUE(unpack(whole).ok()) << hexEncode(whole);
    for (std::size_t n = 0; n < whole.size(); ++n, ++cuts) {
      const auto cut = unpack(BytesView(whole).first(n));
      ASSERT_FALSE(cut.ok()) << hexEncode(whole) << " cut to " << n;
      EXPECT_EQ(cut.error().code, Errc::Malformed);
    }
  }
  EXPECT_GT(cuts, 500u);
}

TEST(BinaryPack, RefusesBytesAfterTheValue) {
  for (Bytes whole : recordedEncodings()) {
    whole.push_back(0);
    EXPECT_FALSE(unpack(whole).ok()) << hexEncode(whole);
  }
}

TEST(BinaryPack, EveryBitFlipIsRefusedOrReadsAsAValueThatCanBeWritten) {
  for (const Bytes& whole : recordedEncodings()) {
    for (std::size_t bit = 0; bit < whole.size() * 8; ++bit) {
      Bytes flipped = whole;
      flipped[bit / 8] ^= static_cast<std::uint8_t>(1u << bit % 8);
      const auto value = unpack(flipped);
      if (!value.ok()) continue;
      const auto again = pack(*value);
      if (!again.ok()) continue;  // NaN
      EXPECT_TRUE(unpack(*again).ok()) << hexEncode(flipped);
    }
  }
}

TEST(BinaryPack, NumbersTheOriginalReadsWrongGoAsBytesThatItReadsRight) {
  EXPECT_EQ(hexEncode(pack(Value::integer(-2147483649)).value()), "cbc1e0000000200000");
  EXPECT_EQ(hexEncode(pack(number(0x1p63)).value()), "cf8000000000000000");
  EXPECT_EQ(hexEncode(pack(number(0x1p64)).value()), "cb43f0000000000000");
  EXPECT_EQ(hexEncode(pack(number(0x1p-29)).value()), "cb3e20000000000000");
  EXPECT_EQ(hexEncode(pack(number(-0x1p63)).value()), "d38000000000000000");
}

TEST(BinaryPack, WholeNumbersGoAsIntegersWhateverTheirType) {
  EXPECT_EQ(hexEncode(pack(number(3.0)).value()), "03");
  EXPECT_EQ(hexEncode(pack(number(-0.0)).value()), "00");
  EXPECT_EQ(hexEncode(pack(Value(1.5f)).value()), "cb3ff8000000000000");
}

TEST(BinaryPack, RefusesToWriteWhatItCannotHold) {
  EXPECT_EQ(pack(number(std::nan(""))).error().code, Errc::InvalidArgument);
  EXPECT_EQ(pack(number(std::numeric_limits<double>::infinity())).error().code, Errc::InvalidArgument);
  EXPECT_EQ(pack(Value("\xff")).error().code, Errc::InvalidArgument);
  Map twice;
  twice.emplace_back(Value("a"), Value());
  twice.emplace_back(Value("a"), Value());
  EXPECT_EQ(pack(Value(std::move(twice))).error().code, Errc::InvalidArgument);
  Map numbered;
  numbered.emplace_back(Value::integer(1), Value());
  EXPECT_EQ(pack(Value(std::move(numbered))).error().code, Errc::InvalidArgument);
  Value deep;
  for (int i = 0; i < 65; ++i) deep = Value(Array{std::move(deep)});
  EXPECT_EQ(pack(deep).error().code, Errc::TooLarge);
}

TEST(BinaryPack, BoundsDepthAndNumberOfValues) {
  Bytes deep(65, 0x91);
  deep.push_back(0xc0);
  EXPECT_EQ(unpack(deep).error().code, Errc::TooLarge);
  deep.erase(deep.begin());
  EXPECT_TRUE(unpack(deep).ok());
  Bytes many = hex("dd00010000");
  many.resize(many.size() + 65536, 0);
  EXPECT_EQ(unpack(many).error().code, Errc::TooLarge);
}

TEST(BinaryPack, AClaimedLengthReservesNothing) {
  for (const char* claim : {"dbffffffff", "d9ffffffff", "ddffffffff", "dfffffffff", "dfffffffff00"}) {
    EXPECT_EQ(unpack(hex(claim)).error().code, Errc::Malformed) << claim;
  }
}

TEST(BinaryPack, RefusesKeysThatAreTwiceThereOrNoText) {
  EXPECT_FALSE(unpack(hex("82b16101b16102")).ok());
  EXPECT_FALSE(unpack(hex("82b131010102")).ok());  // "1" and 1
  EXPECT_FALSE(unpack(hex("81c001")).ok());
  EXPECT_EQ(*unpack(hex("81ff02"))->map()->front().first.string(), "-1");
}

TEST(BinaryPack, RefusesTextThatIsNotUtf8) {
  EXPECT_FALSE(unpack(hex("b2c328")).ok());
  EXPECT_FALSE(unpack(hex("81b1ff01")).ok());
}

}  // namespace
}  // namespace vaultysclaw::webrtc::binarypack
