#include "webrtc/chunks.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

namespace vaultysclaw::webrtc {
namespace {

using msgpack::Map;
using msgpack::Value;
using Incoming = ChunkReader::Incoming;

const SteadyTime kNow{};

Value bytesOf(std::size_t n, std::uint8_t seed = 0) {
  Bytes bytes(n);
  for (std::size_t i = 0; i < n; ++i) bytes[i] = static_cast<std::uint8_t>(i * 7 + seed);
  return Value(std::move(bytes));
}
Bytes packed(const Value& value) {
  return binarypack::pack(value).value();
}
Bytes chunk(std::uint64_t number, std::uint64_t n, std::size_t size, std::uint64_t total) {
  Map members;
  members.emplace_back(Value("__peerData"), Value::unsignedInteger(number));
  members.emplace_back(Value("n"), Value::unsignedInteger(n));
  members.emplace_back(Value("data"), Value(Bytes(size, 0)));
  members.emplace_back(Value("total"), Value::unsignedInteger(total));
  return packed(Value(std::move(members)));
}
Errc refusal(ChunkReader& reader, const Bytes& message) {
  const auto result = reader.read(message, kNow);
  return result.ok() ? Errc::Internal : result.error().code;
}
// Expects that `message` is taken and completes nothing.
void takes(ChunkReader& reader, const Bytes& message) {
  const auto result = reader.read(message, kNow);
  ASSERT_TRUE(result.ok()) << result.error().message;
  EXPECT_FALSE(result->has_value());
}

TEST(Chunks, CutsOnlyWhatIsLongerThanAChunk) {
  ChunkWriter writer;
  EXPECT_EQ(writer.write(packed(bytesOf(16297))).size(), 1u);
  const auto two = writer.write(packed(bytesOf(16298)));
  ASSERT_EQ(two.size(), 2u);
  EXPECT_TRUE(hexEncode(two[1]).starts_with("84ba5f5f706565724461746101b16e01b464617461a1"));
  EXPECT_TRUE(hexEncode(two[1]).ends_with("b5746f74616c02"));
  EXPECT_EQ(two[0].size(), 16331u);
  EXPECT_EQ(two[1].size(), 30u);
}

TEST(Chunks, AssemblesMessagesInAnyOrderOfTheirChunks) {
  ChunkWriter writer;
  std::vector<Value> values{bytesOf(40000, 1), bytesOf(100'000, 2), bytesOf(17000, 3), bytesOf(5, 4)};
  std::vector<Bytes> wire;
  for (const Value& value : values) {
    for (Bytes& message : writer.write(packed(value))) wire.push_back(std::move(message));
  }
  std::mt19937 random(1);
  for (int round = 0; round < 50; ++round) {
    std::shuffle(wire.begin(), wire.end(), random);
    ChunkReader reader;
    std::vector<Value> got;
    for (const Bytes& message : wire) {
      auto result = reader.read(message, kNow);
      ASSERT_TRUE(result.ok()) << result.error().message;
      if (*result) got.push_back(std::get<Value>(std::move(**result)));
    }
    ASSERT_EQ(got.size(), values.size());
    EXPECT_TRUE(std::is_permutation(got.begin(), got.end(), values.begin(), values.end()));
    EXPECT_EQ(reader.pendingMessages(), 0u);
    EXPECT_EQ(reader.pendingBytes(), 0u);
  }
}

TEST(Chunks, EveryWayToCutAMessageGivesTheSameValue) {
  // Others may cut elsewhere than we do.
  const Bytes whole = packed(Value(std::string(40, 'x')));
  for (std::size_t size = 1; size < whole.size(); ++size) {
    ChunkReader reader;
    const std::uint64_t total = (whole.size() + size - 1) / size;
    for (std::uint64_t n = 0; n < total; ++n) {
      Map members;
      const std::size_t at = n * size;
      members.emplace_back(Value("__peerData"), Value::unsignedInteger(9));
      members.emplace_back(Value("n"), Value::unsignedInteger(n));
      members.emplace_back(Value("data"), Value(BytesView(whole).subspan(at, std::min(size, whole.size() - at))));
      members.emplace_back(Value("total"), Value::unsignedInteger(total));
      auto result = reader.read(packed(Value(std::move(members))), kNow);
      ASSERT_TRUE(result.ok()) << result.error().message;
      ASSERT_EQ(result->has_value(), n + 1 == total);
      if (*result) {
        EXPECT_EQ(std::get<Value>(**result), Value(std::string(40, 'x')));
      }
    }
  }
}

TEST(Chunks, RefusesAChunkThatComesTwice) {
  ChunkReader reader;
  takes(reader, chunk(1, 0, 10, 2));
  EXPECT_EQ(refusal(reader, chunk(1, 0, 10, 2)), Errc::Malformed);
}

TEST(Chunks, RefusesAChunkOfACompleteMessage) {
  ChunkReader reader;
  ChunkWriter writer;
  const auto wire = writer.write(packed(bytesOf(20000)));
  takes(reader, wire[0]);
  ASSERT_TRUE(reader.read(wire[1], kNow).value().has_value());
  EXPECT_EQ(refusal(reader, wire[0]), Errc::Malformed);
}

TEST(Chunks, RefusesChunksThatContradictEachOther) {
  ChunkReader reader;
  takes(reader, chunk(1, 0, 10, 3));
  EXPECT_EQ(refusal(reader, chunk(1, 1, 10, 4)), Errc::Malformed);
  EXPECT_EQ(refusal(reader, chunk(2, 3, 10, 3)), Errc::Malformed);
  EXPECT_EQ(refusal(reader, chunk(2, 0, 0, 3)), Errc::Malformed);
  EXPECT_EQ(refusal(reader, chunk(2, 0, 1, 0)), Errc::Malformed);
}

TEST(Chunks, RefusesHugeMessagesAtTheirFirstChunk) {
  ChunkReader reader;
  EXPECT_EQ(refusal(reader, chunk(1, 0, 10, 1100)), Errc::TooLarge);
  EXPECT_EQ(refusal(reader, chunk(1, 0, 10, ~std::uint64_t{0})), Errc::TooLarge);
  EXPECT_EQ(reader.pendingMessages(), 0u);
}

TEST(Chunks, BoundsTheBytesOfAMessageThoughItsTotalIsSmall) {
  ChunkReader reader({.maxMessageBytes = 40'000, .maxPendingBytes = 100'000});
  takes(reader, chunk(1, 0, 30'000, 3));
  EXPECT_EQ(refusal(reader, chunk(1, 1, 30'000, 3)), Errc::TooLarge);
}

TEST(Chunks, BoundsUnfinishedMessages) {
  ChunkReader many({.maxPending = 3});
  for (std::uint64_t i = 1; i <= 3; ++i) takes(many, chunk(i, 0, 10, 2));
  EXPECT_EQ(refusal(many, chunk(4, 0, 10, 2)), Errc::TooLarge);
  ChunkReader heavy({.maxPendingBytes = 50'000});
  for (std::uint64_t i = 1; i <= 3; ++i) takes(heavy, chunk(i, 0, 16'000, 2));
  EXPECT_EQ(refusal(heavy, chunk(4, 0, 16'000, 2)), Errc::TooLarge);
  EXPECT_LE(heavy.pendingBytes(), 50'000u);
}

TEST(Chunks, AMessageThatNeverEndsIsAnError) {
  ChunkReader reader({.maxAge = seconds(60)});
  takes(reader, chunk(1, 0, 10, 2));
  EXPECT_TRUE(reader.read(packed(Value("x")), kNow + seconds(60)).ok());
  EXPECT_EQ(reader.read(packed(Value("x")), kNow + seconds(61)).error().code, Errc::DeadlineExceeded);
}

TEST(Chunks, RefusesChunksWithinChunks) {
  const Bytes inner = chunk(7, 0, 20000, 2);
  ChunkReader reader;
  const auto wire = ChunkWriter().write(inner);
  ASSERT_EQ(wire.size(), 2u);
  takes(reader, wire[0]);
  EXPECT_EQ(refusal(reader, wire[1]), Errc::Malformed);
}

TEST(Chunks, UnderstandsTheRequestToClose) {
  EXPECT_EQ(hexEncode(packedCloseRequest()), "81ba5f5f706565724461746181b474797065b5636c6f7365");
  ChunkReader reader;
  const auto result = reader.read(packedCloseRequest(), kNow);
  ASSERT_TRUE(result.ok() && *result);
  EXPECT_TRUE(std::holds_alternative<CloseRequest>(**result));
}

TEST(Chunks, AnApplicationsFalsyMarkerIsAValue) {
  Map members;
  members.emplace_back(Value("__peerData"), Value::unsignedInteger(0));
  ChunkReader reader;
  const auto result = reader.read(packed(Value(std::move(members))), kNow);
  ASSERT_TRUE(result.ok() && *result);
  EXPECT_TRUE(std::holds_alternative<Value>(**result));
}

TEST(Chunks, RefusesAMarkerThatIsNeitherAChunkNorARequest) {
  Map members;
  members.emplace_back(Value("__peerData"), Value("hello"));
  ChunkReader reader;
  EXPECT_EQ(refusal(reader, packed(Value(std::move(members)))), Errc::Malformed);
}

}  // namespace
}  // namespace vaultysclaw::webrtc
