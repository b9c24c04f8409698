#include "base/msgpack.hpp"

#include "base/msgpack_writer.hpp"

#include <gtest/gtest.h>

#include <limits>
#include <random>

namespace vaultysclaw::msgpack {
namespace {

std::string hex(const Value& v) {
  return hexEncode(encode(v));
}
Bytes unhex(std::string_view text) {
  return *hexDecode(text);
}

// A value with every kind and every width of length and number.
Value everything() {
  Map m{{"nil", Value()},
        {"true", Value(true)},
        {"false", Value(false)},
        {"f32", Value(1.5F)},
        {"f64", Value(0.1)},
        {"s31", std::string(31, 'a')},
        {"s32", std::string(32, 'b')},
        {"s256", std::string(256, 'c')},
        {"empty", ""},
        {"b0", Bytes{}},
        {"b256", Bytes(256, 7)}};
  Array numbers;
  for (const std::uint64_t u :
       {0ULL, 127ULL, 128ULL, 255ULL, 256ULL, 65535ULL, 65536ULL, 4294967295ULL, 4294967296ULL, ~0ULL}) {
    numbers.push_back(Value::unsignedInteger(u));
  }
  for (const std::int64_t i : {-1L, -32L, -33L, -128L, -129L, -32768L, -32769L, -2147483648L, -2147483649L,
                               std::numeric_limits<std::int64_t>::min()}) {
    numbers.push_back(Value::integer(i));
  }
  m.emplace_back("numbers", numbers);
  m.emplace_back("nested", Map{{"a", Array{Map{}, Array{}}}});
  for (int i = 0; i < 8; ++i) m.emplace_back("more" + std::to_string(i), Value(true));
  return m;
}

TEST(MsgpackEncode, TakesTheSmallestForm) {
  EXPECT_EQ(hex(Value()), "c0");
  EXPECT_EQ(hex(Value::integer(127)), "7f");
  EXPECT_EQ(hex(Value::integer(128)), "cc80");
  EXPECT_EQ(hex(Value::integer(256)), "cd0100");
  EXPECT_EQ(hex(Value::integer(65536)), "ce00010000");
  EXPECT_EQ(hex(Value::integer(1'780'000'000'000)), "cf0000019e70448800");
  EXPECT_EQ(hex(Value::integer(-1)), "ff");
  EXPECT_EQ(hex(Value::integer(-33)), "d0df");
  EXPECT_EQ(hex(Value::integer(-129)), "d1ff7f");
  EXPECT_EQ(hex(Value::integer(-32769)), "d2ffff7fff");
  EXPECT_EQ(hex(Value::integer(-2147483649)), "d3ffffffff7fffffff");
  EXPECT_EQ(hex("abc"), "a3616263");
  EXPECT_EQ(hex(Bytes{1, 2}), "c4020102");
  EXPECT_EQ(hex(Map{{"k", Array{Value(true), Value(false)}}}), "81a16b92c3c2");
  EXPECT_EQ(hex(Value(0.5)), "cb3fe0000000000000");
  EXPECT_EQ(hex(Value(0.5F)), "ca3f000000");
}

TEST(Msgpack, RoundTripsEveryKindOfValue) {
  const Value value = everything();
  const Bytes bytes = encode(value);
  const auto decoded = decode(bytes);
  ASSERT_TRUE(decoded.ok());
  EXPECT_EQ(*decoded, value);
  EXPECT_EQ(encode(*decoded), bytes);
  EXPECT_TRUE(isCanonical(bytes));
}

TEST(MsgpackWriter, WritesWhatEncodeWrites) {
  const Bytes binary(300, 7);
  const Map inner{{"k", Value::integer(-5)}};
  for (const std::int64_t number : {0LL, 127LL, 128LL, 70'000LL, 1'780'000'000'000LL, -1LL, -33LL}) {
    Bytes out;
    Writer w(out);
    w.beginMap(3);
    w.text("number");
    w.integer(number);
    w.text("binary");
    w.binary(binary);
    w.text("map");
    w.map(inner);
    EXPECT_EQ(out, encode(Map{{"number", Value::integer(number)}, {"binary", binary}, {"map", inner}}));
  }
}

TEST(Msgpack, RoundTripsLongContainers) {
  Array items(70'000, Value(true));
  const DecodeLimits wide{.maxDepth = 4, .maxItems = 100'000};
  EXPECT_EQ(*decode(encode(items), wide), Value(items));
  const std::string text(70'000, 'x');
  EXPECT_EQ(*decode(encode(text))->string(), text);
  EXPECT_EQ(*decode(encode(Bytes(70'000, 1)))->bytes(), Bytes(70'000, 1));
}

TEST(MsgpackDecode, RefusesEveryTruncation) {
  const Bytes bytes = encode(everything());
  for (std::size_t n = 0; n < bytes.size(); ++n) {
    const auto decoded = decode(BytesView(bytes).first(n));
    ASSERT_FALSE(decoded.ok()) << n;
    EXPECT_EQ(decoded.error().code, Errc::Malformed) << n;
  }
}

TEST(MsgpackDecode, SurvivesEveryBitFlipAndKeepsItsWord) {
  const Bytes bytes = encode(everything());
  for (std::size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    Bytes changed = bytes;
    changed[bit / 8] ^= static_cast<std::uint8_t>(1U << (bit % 8));
    const auto decoded = decode(changed);
    if (decoded.ok() && isCanonical(changed)) {
      EXPECT_EQ(encode(*decoded), changed) << bit;
    }
  }
}

TEST(MsgpackDecode, RefusesTrailingBytesAndReportsPrefixLength) {
  EXPECT_EQ(decode(unhex("c0c0")).error().code, Errc::Malformed);
  const auto prefix = decodePrefix(unhex("a26869ff"));
  ASSERT_TRUE(prefix.ok());
  EXPECT_EQ(prefix->second, 3U);
}

TEST(MsgpackDecode, RefusesExtensionsAndReservedTags) {
  for (const char* text : {"c1", "c70001", "c8000001", "c90000000001", "d40100", "d5010000", "d8"}) {
    EXPECT_EQ(decode(unhex(text)).error().code, Errc::Malformed) << text;
  }
}

TEST(MsgpackDecode, BoundsDepth) {
  Bytes nested(32, 0x91);
  nested.push_back(0xc0);
  EXPECT_TRUE(decode(nested).ok());
  nested.insert(nested.begin(), 0x91);
  EXPECT_EQ(decode(nested).error().code, Errc::TooLarge);
  EXPECT_EQ(decode(Bytes(1'000'000, 0x91)).error().code, Errc::TooLarge);
  EXPECT_EQ(decode(Bytes(1'000'000, 0x81)).error().code, Errc::TooLarge);
}

TEST(MsgpackDecode, BoundsItemsAndIgnoresClaimedLengths) {
  Bytes many = unhex("dd00011170");  // 70,000 items
  many.resize(many.size() + 70'000, 0xc0);
  EXPECT_EQ(decode(many).error().code, Errc::TooLarge);
  for (const char* claim : {"ddffffffff", "dfffffffff", "dbffffffff", "c6ffffffff", "dcffff", "deffffc0"}) {
    EXPECT_EQ(decode(unhex(claim)).error().code, Errc::Malformed) << claim;
  }
}

TEST(MsgpackCanonical, RefusesLongerFormsThanNeeded) {
  for (const char* text : {"cc01", "cd00ff", "ce0000ffff", "cf00000000ffffffff", "d001", "d3ffffffffffffffff", "d90161",
                           "c5000101", "dc000101", "de0000", "d0ff"}) {
    EXPECT_TRUE(decode(unhex(text)).ok()) << text;
    EXPECT_FALSE(isCanonical(unhex(text))) << text;
  }
}

TEST(MsgpackCanonical, RefusesRepeatedAndOtherKeysAndBrokenText) {
  EXPECT_TRUE(isCanonical(unhex("82a16101a16202")));
  EXPECT_FALSE(isCanonical(unhex("82a16101a16102")));  // "a" twice
  EXPECT_FALSE(isCanonical(unhex("810102")));          // key 1
  EXPECT_FALSE(isCanonical(unhex("81a161810102")));    // deeper
  EXPECT_FALSE(isCanonical(unhex("a1ff")));            // not UTF-8
  EXPECT_FALSE(isCanonical(unhex("81a1ff01")));
}

TEST(MsgpackValue, ReadsIntegersThatFitAndNothingElse) {
  EXPECT_EQ(Value::integer(-5).asInteger(), -5);
  EXPECT_EQ(Value::unsignedInteger(5).asInteger(), 5);
  EXPECT_EQ(Value::unsignedInteger(1ULL << 63).asInteger(), std::nullopt);
  EXPECT_EQ(Value(1.0).asInteger(), std::nullopt);
  EXPECT_EQ(Value("1").asInteger(), std::nullopt);
  // Whatever width the bytes had, equal numbers are equal values.
  EXPECT_EQ(*decode(unhex("d30000000000000001")), Value::integer(1));
  EXPECT_EQ(Value("text").find("x"), nullptr);
}

TEST(MsgpackDecode, SurvivesRandomBytes) {
  std::mt19937 random(7);
  for (int round = 0; round < 20'000; ++round) {
    Bytes bytes(random() % 64);
    for (auto& b : bytes) b = static_cast<std::uint8_t>(random());
    const auto decoded = decode(bytes);
    if (decoded.ok()) {
      EXPECT_TRUE(decode(encode(*decoded)).ok());
    }
  }
}

}  // namespace
}  // namespace vaultysclaw::msgpack
