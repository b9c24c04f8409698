#include "identity/features.hpp"

#include <gtest/gtest.h>

namespace vaultysclaw::identity {
namespace {

Features listed(std::vector<std::string> names) {
  msgpack::Array array;
  for (auto& name : names) array.emplace_back(std::move(name));
  return Features::fromMetadata(msgpack::Map{{"features", std::move(array)}}).value();
}

TEST(Features, AreThoseThatBothSidesList) {
  EXPECT_EQ(Features::ours().with(Features::ours()), Features::ours());
  EXPECT_EQ(listed({"seal", "intent-v2", "later"}).with(Features::ours()), listed({"seal", "intent-v2"}));
  EXPECT_TRUE(Features().with(Features::ours()).empty());
}

TEST(Features, NeedTheSealAllButControlV2) {
  EXPECT_EQ(Features::ours().without(feature::kSeal).with(Features::ours()), listed({"control-v2"}));
  EXPECT_TRUE(listed({"intent-v2", "signed-results"}).with(Features::ours()).empty());
}

TEST(Features, AcknowledgeSignedResultsOnly) {
  EXPECT_EQ(listed({"seal", "result-ack"}).with(Features::ours()), listed({"seal"}));
  EXPECT_EQ(listed({"seal", "result-ack", "signed-results"}).with(Features::ours()),
            listed({"seal", "result-ack", "signed-results"}));
}

TEST(Features, NameWhatALaterListLacks) {
  EXPECT_EQ(listed({"seal"}).missing(listed({"seal", "x", "intent-v2"})), "intent-v2, x");
  EXPECT_EQ(Features::ours().missing(Features::ours()), "");
  EXPECT_EQ(Features::ours().missing({}), "");
}

TEST(Features, ComeBackFromMetadataAndText) {
  EXPECT_EQ(Features::fromMetadata(msgpack::Map{{"features", Features::ours().toMetadata()}}).value(),
            Features::ours());
  EXPECT_EQ(Features::fromText(Features::ours().text()).value(), Features::ours());
  EXPECT_TRUE(Features::fromText("").value().empty());
  EXPECT_TRUE(Features::fromMetadata(msgpack::Map{}).value().empty());
}

TEST(Features, RefuseListsThatAreNoListOrOverTheLimits) {
  const auto codeOf = [](msgpack::Value list) {
    const auto got = Features::fromMetadata(msgpack::Map{{"features", std::move(list)}});
    return got.ok() ? Errc::Internal : got.error().code;
  };
  EXPECT_EQ(codeOf("seal"), Errc::Malformed);
  EXPECT_EQ(codeOf(msgpack::Array{msgpack::Value::integer(1)}), Errc::Malformed);
  EXPECT_EQ(codeOf(msgpack::Array{msgpack::Value("line\nbreak")}), Errc::TooLarge);
  EXPECT_EQ(codeOf(msgpack::Array{msgpack::Value("")}), Errc::TooLarge);
  EXPECT_EQ(codeOf(msgpack::Array{msgpack::Value(std::string(65, 'a'))}), Errc::TooLarge);
  EXPECT_EQ(codeOf(msgpack::Array(33, msgpack::Value("a"))), Errc::TooLarge);
  EXPECT_FALSE(Features::fromText("seal\n\nx").ok());
}

}  // namespace
}  // namespace vaultysclaw::identity
