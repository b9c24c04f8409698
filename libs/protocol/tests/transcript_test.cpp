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
  const json recorded = load(GetParam());
  for (const json& entry : recorded["messages"]) {
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
    const std::string again = encode(*message);
    // These clients were written to break the protocol: what they leave out reads as empty.
    const bool oddClient = entry["dir"] == "agent->server" && std::string(GetParam()).ends_with("errors.json");
    if (oddClient) {
      const auto twice = decode(again);
      ASSERT_TRUE(twice.ok());
      EXPECT_EQ(encode(*twice), again);
      continue;
    }
    json& payload = said["payload"];
    if (said["type"] == "heartbeat") payload["uptime"] = payload["uptime"].get<std::int64_t>();  // whole in ours
    if (said["type"] == "update_capabilities") {
      for (const char* name : {"resourceLimits", "policyId", "policyExpiresAt"}) payload.emplace(name, nullptr);
    }
    EXPECT_EQ(json::parse(again), said);
  }
  EXPECT_GT(known, 5);
}

INSTANTIATE_TEST_SUITE_P(Recorded, Transcript,
                         testing::Values("ws_transcript_full.json", "ws_transcript_rejected.json",
                                         "ws_transcript_client_errors.json"),
                         [](const auto& file) {
                           const std::string name = file.param;
                           const auto from = std::string("ws_transcript_").size();
                           return name.substr(from, name.find('.') - from);
                         });

TEST(TranscriptNoise, RecordedTextsThatAreNoMessagesAreRefused) {
  int refused = 0;
  for (const char* name : {"ws_transcript_full.json", "ws_transcript_client_errors.json"}) {
    const json recorded = load(name);
    for (const json& entry : recorded["messages"]) {
      if (!entry.contains("message") || !entry["message"].is_string()) continue;
      EXPECT_FALSE(decode(entry["message"].get<std::string>()).ok());
      ++refused;
    }
  }
  EXPECT_GT(refused, 0);
}

}  // namespace
}  // namespace vaultysclaw::protocol
