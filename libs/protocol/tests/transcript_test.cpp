// What the original says, word for word: every recorded message decodes, and says the same when written again.
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "protocol/codec.hpp"

namespace vaultysclaw::protocol {
namespace {

using nlohmann::json;

json load(const std::string& name) {
  std::ifstream file(std::string(VC_SOURCE_DIR) + "/tests/vectors/" + name);
  return json::parse(file);
}

class Transcript : public testing::TestWithParam<const char*> {};

TEST_P(Transcript, DecodesAndSaysTheSameAgain) {
  int known = 0;
  for (const json& entry : load(GetParam())["messages"]) {
    if (!entry.contains("message") || !entry["message"].is_object()) continue;
    json said = entry["message"];
    SCOPED_TRACE(entry["seq"].dump() + " " + said.dump().substr(0, 300));
    const auto message = decode(said.dump());
    if (!said.contains("type") || !said.contains("messageId")) {
      EXPECT_FALSE(message.ok());
      continue;
    }
    ASSERT_TRUE(message.ok()) << message.error().message;
    EXPECT_EQ(typeName(message->payload), said["type"].get<std::string>());
    EXPECT_EQ(std::holds_alternative<Unknown>(message->payload), said["type"] == "no_such_type");
    ++known;
    // The uptime is a whole number in ours.
    if (said["type"] == "heartbeat") said["payload"]["uptime"] = said["payload"]["uptime"].get<std::int64_t>();
    EXPECT_EQ(json::parse(encode(*message)), said);
  }
  EXPECT_GT(known, 5);
}

INSTANTIATE_TEST_SUITE_P(Recorded, Transcript,
                         testing::Values("ws_transcript_full.json", "ws_transcript_rejected.json",
                                         "ws_transcript_client_errors.json"),
                         [](const auto& info) {
                           const std::string name = info.param;
                           const auto from = std::string("ws_transcript_").size();
                           return name.substr(from, name.find('.') - from);
                         });

TEST(TranscriptNoise, RecordedTextsThatAreNoMessagesAreRefused) {
  int refused = 0;
  for (const json& entry : load("ws_transcript_full.json")["messages"]) {
    if (!entry.contains("message") || !entry["message"].is_string()) continue;
    EXPECT_FALSE(decode(entry["message"].get<std::string>()).ok());
    ++refused;
  }
  for (const json& entry : load("ws_transcript_client_errors.json")["messages"]) {
    if (!entry.contains("message") || !entry["message"].is_string()) continue;
    EXPECT_FALSE(decode(entry["message"].get<std::string>()).ok());
    ++refused;
  }
  EXPECT_GT(refused, 0);
}

}  // namespace
}  // namespace vaultysclaw::protocol
