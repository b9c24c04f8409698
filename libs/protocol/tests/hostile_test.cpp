// Texts that docs/protocol.md 7.7 refuses, and texts that are nearly right.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "protocol/codec.hpp"
#include "samples.hpp"

namespace vaultysclaw::protocol {
namespace {

bool refused(const std::string& text) {
  return !decode(text).ok();
}

std::string intentWith(const std::string& members) {
  return wrap("intent", R"({"id":"i","action":"a",)" + members + "}");
}

// `levels` arrays in each other.
std::string nested(std::size_t levels, const std::string& core = "") {
  return std::string(levels, '[') + core + std::string(levels, ']');
}

TEST(Hostile, ByteOrderMark) {
  const std::string text = wrap("pong", "{}");
  EXPECT_FALSE(refused(text));
  EXPECT_EQ(decode("\xef\xbb\xbf" + text).error().message, "message: starts with a byte order mark");
  EXPECT_TRUE(refused("\xff\xfe" + text));
  EXPECT_FALSE(validateJson("\xef\xbb\xbf{}").ok());
}

TEST(Hostile, DuplicateMembers) {
  EXPECT_EQ(decode(intentWith(R"("params":1,"params":1)")).error().message, "message: an object names a member twice");
  EXPECT_TRUE(refused(intentWith(R"("params":1,"par\u0061ms":2)")));
  EXPECT_TRUE(refused(intentWith(R"("params":{"x":[{"a":1,"\u0061":2}]})")));
  EXPECT_TRUE(refused(intentWith(R"("params":{"":1,"":2})")));
  EXPECT_TRUE(refused(intentWith(R"("params":{"\/":1,"/":2})")));
  EXPECT_TRUE(refused(intentWith(R"("params":{"\ud83d\ude00":1,"😀":2})")));
  EXPECT_TRUE(refused(R"({"messageId":"m","type":"pong","type":"intent"})"));
  EXPECT_FALSE(refused(intentWith(R"("params":{"a":{"a":{"a":1}},"A":1,"a\u0000":1,"a\u0000b":1})")));
  EXPECT_FALSE(validateJson(R"({"a":1,"a":1})").ok());
}

TEST(Hostile, DuplicateMembersOfAWideObject) {
  std::string members;
  for (int i = 0; i < 100'000; ++i) members += "\"k" + std::to_string(i) + "\":0,";
  EXPECT_TRUE(validateJson("{" + members + "\"k\":0}").ok());
  EXPECT_FALSE(validateJson("{" + members + "\"k50000\":0}").ok());
  EXPECT_FALSE(validateJson("{" + members + "\"\\u006b0\":0}").ok());
}

TEST(Hostile, Depth) {
  const std::size_t around = 2;  // envelope and payload
  const auto at = [&](std::size_t levels, const std::string& core = "") {
    return decode(intentWith("\"params\":" + nested(levels - around, core)));
  };
  EXPECT_TRUE(at(kMaxDepth).ok());
  EXPECT_TRUE(at(kMaxDepth, "1").ok());
  EXPECT_EQ(at(kMaxDepth + 1).error().message, "message: nested deeper than 64 levels");
  EXPECT_FALSE(at(kMaxDepth + 1, "1").ok());
  EXPECT_FALSE(at(kMaxDepth, "{}").ok());
  EXPECT_FALSE(at(100'000).ok());
  EXPECT_FALSE(decode(std::string(1'000'000, '[')).ok());
  EXPECT_TRUE(validateJson(nested(kMaxValueDepth)).ok());
  EXPECT_FALSE(validateJson(nested(kMaxValueDepth + 1)).ok());
}

TEST(Hostile, ValuesOfMaximalDepthFitEverywhere) {
  const std::string deep = nested(kMaxValueDepth);
  ASSERT_TRUE(validateJson(deep).ok());
  for (const Sample& sample :
       {Sample{"result", R"({"intentId":"i","status":"success","output":)" + deep + "}"},
        Sample{"skills_config", R"({"skills":[{"name":"s","config":)" + deep + "}]}"},
        Sample{"chat_history_response", R"({"sessionId":"s","messages":[{"role":"r","toolCalls":)" + deep + "}]}"}}) {
    EXPECT_FALSE(refused(wrap(sample.type, sample.payload))) << sample.type;
  }
}

TEST(Hostile, TrailingBytes) {
  const std::string text = wrap("pong", "{}");
  EXPECT_FALSE(refused(" \t\r\n" + text + " \t\r\n"));
  for (const std::string& tail : {std::string("x"), std::string("{}"), std::string(","), std::string("]"),
                                  std::string(1, '\0'), std::string("\f"), text}) {
    EXPECT_TRUE(refused(text + tail));
    EXPECT_FALSE(validateJson("{}" + tail).ok());
  }
}

TEST(Hostile, Sizes) {
  const std::string text = wrap("pong", "{}");
  EXPECT_TRUE(decode(text, text.size()).ok());
  EXPECT_EQ(decode(text, text.size() - 1).error().code, Errc::TooLarge);
  EXPECT_EQ(validateJson("[1]", 2).error().code, Errc::TooLarge);
  const std::string big(kMaxMessageBytes, ' ');
  EXPECT_EQ(decode(big).error().code, Errc::Malformed);
  EXPECT_EQ(decode(big + " ").error().code, Errc::TooLarge);
  const std::string full = "\"" + std::string(kMaxMessageBytes - 2, 'a') + "\"";
  EXPECT_TRUE(validateJson(full).ok());
  EXPECT_FALSE(refused(text)) << "a large text leaves nothing behind";
}

TEST(Hostile, WrongUtf8) {
  for (const char* bad :
       {"\x80", "\xc0\xaf", "\xc3", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xe2\x82"}) {
    EXPECT_EQ(decode(intentWith("\"params\":\"" + std::string(bad) + "\"")).error().message,
              "message: not valid UTF-8");
    EXPECT_TRUE(refused(wrap("pong", "{\"" + std::string(bad) + "\":1}")));
    EXPECT_FALSE(validateJson("\"" + std::string(bad) + "\"").ok());
  }
}

TEST(Hostile, NotJson) {
  for (const char* bad : {"",          " ",          "{",
                          "}",         "nul",        "{]",
                          "[1,]",      "{\"a\":1,}", "{'a':1}",
                          "{\"a\"}",   "{\"a\" 1}",  "01",
                          "1.",        ".5",         "+1",
                          "-",         "1e",         "0x1",
                          "NaN",       "Infinity",   "\"",
                          "\"\\",      "\"\\u",      "\"\\u12\"",
                          "\"\\x\"",   "\"a\nb\"",   "\"\t\"",
                          "// c\n1",   "[1 2]",      "[,]",
                          "tru",       "truefalse",  "\"\\ud800\\u\"",
                          "\"\\ud800", "\"\\ud80"}) {
    EXPECT_FALSE(validateJson(bad).ok()) << bad;
    EXPECT_TRUE(refused(bad)) << bad;
  }
}

TEST(Hostile, LoneSurrogatesInPlainTextAreReplaced) {
  for (const char* lone : {R"(\ud800)", R"(\udc00)", R"(\uDBFF)", R"(\uDFFF)", R"(\ud800\u0041)", R"(\udc00\ud800)"}) {
    const auto message = decode(wrap("auth_failed", std::string(R"({"reason":"x)") + lone + "y\"}"));
    ASSERT_TRUE(message.ok()) << lone;
    const std::string reason = std::get<AuthFailed>(message->payload).reason;
    EXPECT_TRUE(reason.starts_with("x\xef\xbf\xbd")) << lone;
    EXPECT_TRUE(reason.ends_with("y"));
  }
  const auto twice = decode(wrap("auth_failed", R"({"reason":"\ud800\ud83d\ude00\\ud800"})"));
  EXPECT_EQ(std::get<AuthFailed>(twice->payload).reason, "\xef\xbf\xbd😀\\ud800");
  // Outside raw values they do not matter, wherever they stand.
  EXPECT_FALSE(refused(intentWith(R"("params":{},"x\ud800":{"y":["\udfff"]})")));
}

TEST(Hostile, LoneSurrogatesInRawValuesAreRefused) {
  EXPECT_EQ(decode(intentWith(R"("params":{"a":"\ud800"})")).error().message,
            "intent.payload.params: holds half of a surrogate pair");
  EXPECT_TRUE(refused(intentWith(R"("params":{"\udc00":1})")));
  EXPECT_TRUE(refused(intentWith(R"("params":"\ud800\ud800\udc00")")));
  EXPECT_FALSE(refused(intentWith(R"("params":["\ud83d\ude00","\\ud800"])")));
  EXPECT_TRUE(refused(wrap("result", R"({"intentId":"i","status":"success","output":"\ud800"})")));
  EXPECT_TRUE(refused(wrap("tool_approval_request", R"({"requestId":"r","toolName":"t","args":["\ud800"]})")));
  EXPECT_TRUE(refused(wrap("tool_execution", R"({"toolName":"t","args":{},"result":"\ud800"})")));
  EXPECT_TRUE(refused(wrap("skills_config", R"({"skills":[{"name":"s","config":{"a":"\ud800"}}]})")));
  EXPECT_TRUE(refused(wrap("channel_message_send", R"({"channelId":"c","content":"","metadata":{"a":"\ud800"}})")));
  EXPECT_TRUE(refused(wrap("knowledge_sync", R"({"sourceId":"s","docling":"\ud800"})")));
  EXPECT_TRUE(refused(wrap("llm_config", R"({"config":{"provider":"p","model":"m","z":"\ud800"}})")));
  EXPECT_TRUE(refused(wrap("policy_update", R"({"a":"\ud800"})")));
  EXPECT_TRUE(
      refused(wrap("chat_history_response", R"({"sessionId":"s","messages":[{"role":"r","toolCalls":["\ud800"]}]})")));
  EXPECT_FALSE(validateJson(R"(["\ud800"])").ok());
}

// `count` times `item`, in a list.
std::string listOf(std::size_t count, const std::string& item) {
  std::string out = "[";
  for (std::size_t i = 0; i < count; ++i) out += (i > 0 ? "," : "") + item;
  return out + "]";
}

TEST(Hostile, LongLists) {
  const auto sources = [](const std::string& list) {
    return decode(wrap("knowledge_status_sync", R"({"sources":)" + list + "}"));
  };
  const std::string source = R"({"sourceId":"s","status":"ready"})";
  const auto most = sources(listOf(kMaxListItems, source));
  ASSERT_TRUE(most.ok()) << most.error().message;
  EXPECT_EQ(std::get<KnowledgeStatusSync>(most->payload).sources.size(), kMaxListItems);

  for (const auto& tooMany : {sources(listOf(kMaxListItems + 1, source)), sources(listOf(5'000'000, "{}"))}) {
    ASSERT_FALSE(tooMany.ok());
    EXPECT_EQ(tooMany.error().code, Errc::Malformed);
    EXPECT_EQ(tooMany.error().message, "knowledge_status_sync.payload.sources: must not hold more than 10000 items");
  }
  EXPECT_EQ(
      decode(wrap("auth_complete", R"({"did":"d","capabilities":)" + listOf(5'000'000, "\"\"") + "}")).error().message,
      "auth_complete.payload.capabilities: must not hold more than 10000 items");
  // The first item with an error is the last one read.
  EXPECT_EQ(sources("[" + source + ",{},7]").error().message,
            "knowledge_status_sync.payload.sources[1].sourceId: must be a string");
  EXPECT_EQ(sources("[7]").error().message, "knowledge_status_sync.payload.sources[0]: must be an object");
}

TEST(Hostile, ManyOrLongDomains) {
  const auto domains = [](const std::string& list) {
    return decode(
        wrap("update_capabilities", R"({"capabilities":["a"],"resourceLimits":{"allowedDomains":)" + list + "}}"));
  };
  const std::string longest = '"' + std::string(kMaxDomainBytes, 'd') + '"';
  EXPECT_TRUE(domains(listOf(kMaxDomains, longest)).ok());
  EXPECT_EQ(domains(listOf(kMaxDomains + 1, longest)).error().message,
            "update_capabilities.payload.resourceLimits.allowedDomains: must not hold more than 1024 items");
  EXPECT_EQ(domains("[\"" + std::string(kMaxDomainBytes + 1, 'd') + "\"]").error().message,
            "update_capabilities.payload.resourceLimits.allowedDomains: every item must be at most 253 bytes long");
}

TEST(Hostile, TruncationAtEveryLength) {
  for (const Sample& sample : samples()) {
    const std::string text = wrap(sample.type, sample.payload);
    for (std::size_t n = 0; n < text.size(); ++n) EXPECT_TRUE(refused(text.substr(0, n))) << text.substr(0, n);
  }
}

TEST(Hostile, BitFlips) {
  for (const Sample& sample : samples()) {
    const std::string text = wrap(sample.type, sample.payload);
    for (std::size_t bit = 0; bit < text.size() * 8; ++bit) {
      std::string flipped = text;
      flipped[bit / 8] = static_cast<char>(static_cast<unsigned char>(flipped[bit / 8]) ^ (1u << (bit % 8)));
      const auto message = decode(flipped);
      if (!message.ok()) continue;
      const std::string once = encode(*message);
      const auto again = decode(once);
      ASSERT_TRUE(again.ok()) << again.error().message << " in " << once;
      ASSERT_EQ(encode(*again), once);
    }
  }
}

// Another parser agrees on what is JSON; it differs where 7.7 is stricter, and refuses numbers over a double as ours.
TEST(Hostile, AgreesWithAnotherParserOnFlippedTexts) {
  const std::string text =
      R"({"a":[1,-2.5e3,true,false,null,"x\n\u00e9\ud83d\ude00"],"b":{"c":{}},"d":12345678901234567890123})";
  ASSERT_TRUE(validateJson(text).ok());
  for (std::size_t at = 0; at < text.size(); ++at) {
    for (int byte = 0; byte < 256; ++byte) {
      std::string changed = text;
      changed[at] = static_cast<char>(byte);
      const auto ours = validateJson(changed);
      const bool theirs = nlohmann::json::accept(changed);
      if (ours.ok()) {
        EXPECT_TRUE(theirs) << changed;
      } else if (theirs) {
        EXPECT_TRUE(ours.error().message.find("twice") != std::string::npos) << changed;
      }
    }
  }
}

TEST(ValidateJson, KeepsBytesAndCutsSpace) {
  EXPECT_EQ(validateJson(" { \"a\" : 1.0 } \n")->text, "{ \"a\" : 1.0 }");
  EXPECT_EQ(validateJson("null")->text, "null");
  EXPECT_EQ(validateJson("\"x\"")->text, "\"x\"");
}

}  // namespace
}  // namespace vaultysclaw::protocol
