#include "protocol/codec.hpp"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <set>

#include "samples.hpp"

namespace vaultysclaw::protocol {
namespace {

using nlohmann::json;

Message decoded(const std::string& text) {
  auto message = decode(text);
  EXPECT_TRUE(message.ok()) << message.error().message << " in " << text;
  return message.ok() ? std::move(*message) : Message{};
}

template <class T>
T payloadOf(const std::string& type, const std::string& payload) {
  Message message = decoded(wrap(type, payload));
  EXPECT_TRUE(std::holds_alternative<T>(message.payload));
  return std::holds_alternative<T>(message.payload) ? std::get<T>(message.payload) : T{};
}

std::string refusalOf(const std::string& type, const std::string& payload) {
  const auto message = decode(wrap(type, payload));
  EXPECT_FALSE(message.ok()) << payload;
  if (message.ok()) return "accepted";
  EXPECT_EQ(message.error().code, Errc::Malformed);
  return message.error().message;
}

TEST(Codec, EveryTypeKeepsEveryByte) {
  std::set<std::size_t> seen;
  for (const Sample& sample : samples()) {
    const std::string text = wrap(sample.type, sample.payload);
    SCOPED_TRACE(text);
    const Message message = decoded(text);
    EXPECT_EQ(typeName(message.payload), sample.type);
    EXPECT_EQ(encode(message), text);
    seen.insert(message.payload.index());
  }
  EXPECT_EQ(seen.size(), std::variant_size_v<Payload> - 1) << "a type without a sample";
}

TEST(Codec, EveryTypeSurvivesAnEmptyPayload) {
  for (const Sample& sample : samples()) {
    SCOPED_TRACE(sample.type);
    for (const char* payload : {"{}", "null"}) {
      const auto message = decode(wrap(sample.type, payload));
      if (!message.ok()) {
        EXPECT_TRUE(message.error().message.starts_with(sample.type + ".payload")) << message.error().message;
        continue;
      }
      const std::string again = encode(*message);
      EXPECT_EQ(encode(decoded(again)), again);
    }
    EXPECT_EQ(refusalOf(sample.type, "[]"), sample.type + ".payload: must be an object");
  }
}

TEST(Codec, MistypedMembersNeverCrash) {
  for (const Sample& sample : samples()) {
    const json payload = json::parse(sample.payload);
    for (const auto& [name, value] : payload.items()) {
      for (const char* wrong : {"null", "true", "-1", "1.5", "\"\"", "\"text\"", "[]", "[1]", "[{}]", "{}", "[[]]"}) {
        json changed = payload;
        changed[name] = json::parse(wrong);
        const auto message = decode(wrap(sample.type, changed.dump()));
        if (!message.ok()) continue;
        const std::string again = encode(*message);
        EXPECT_EQ(encode(decoded(again)), again) << name << ' ' << wrong;
      }
    }
  }
}

TEST(Codec, RefusalsNameTheMember) {
  EXPECT_EQ(refusalOf("intent", R"({"id":"i"})"), "intent.payload.action: must be a string");
  EXPECT_EQ(refusalOf("intent", R"({"id":"i","action":7})"), "intent.payload.action: must be a string");
  EXPECT_EQ(refusalOf("intent_ack", R"({"messageId":"i","success":1})"),
            "intent_ack.payload.success: must be true or false");
  EXPECT_EQ(refusalOf("heartbeat", R"({"tokenUsage":{"daily":{"promptTokens":-1}}})"),
            "heartbeat.payload.tokenUsage.daily.promptTokens: must not be negative");
  EXPECT_EQ(refusalOf("heartbeat", R"({"stuckCalls":[{"id":"i","overdueSeconds":-1}]})"),
            "heartbeat.payload.stuckCalls[0].overdueSeconds: must not be negative");
  EXPECT_EQ(refusalOf("heartbeat", R"({"memory":{"rss":1e300}})"), "heartbeat.payload.memory.rss: must be within 2^53");
  EXPECT_EQ(refusalOf("skills_config", R"({"skills":[{"name":"a"},{"name":1}]})"),
            "skills_config.payload.skills[1].name: must be a string");
  EXPECT_EQ(refusalOf("update_capabilities", R"({"capabilities":[1]})"),
            "update_capabilities.payload.capabilities: must be an array of strings");
  EXPECT_EQ(refusalOf("update_capabilities", R"({"capabilities":[],"policyExpiresAt":"soon"})"),
            "update_capabilities.payload.policyExpiresAt: must be a time such as 2026-01-31T12:00:00.000Z");
  EXPECT_EQ(refusalOf("result", R"({"intentId":"i","status":"pending"})"),
            "result.payload.status: must be success or failed");
  EXPECT_EQ(refusalOf("cancel", R"({"reason":"r"})"),
            "cancel.payload.intentId: exactly one of intentId, conversationId and requestId must be set");
  EXPECT_EQ(decode(R"({"type":"pong"})").error().message, "messageId: must be a string");
  EXPECT_EQ(decode(R"({"messageId":"m"})").error().message, "type: must be a string");
  EXPECT_EQ(decode(R"([1])").error().message, "message: must be an object");
}

TEST(Codec, UnknownTypesAndMembersAreNoError) {
  const Message message = decoded(R"({"x":{"y":[]},"messageId":"m","type":"no_such_type","payload":"\ud800"})");
  ASSERT_TRUE(std::holds_alternative<Unknown>(message.payload));
  EXPECT_EQ(typeName(message.payload), "no_such_type");
  EXPECT_EQ(payloadOf<Pong>("pong", R"({"timestamp":"t","extra":{"a":1}})").timestamp, "t");
  decoded(R"({"messageId":"m","type":"\u00e9 \u0000"})");
}

TEST(Codec, WideObjectsAreReadByName) {
  std::string payload = R"({"timestamp":"t")";
  for (int i = 0; i < 1000; ++i) payload += ",\"k" + std::to_string(i) + "\":" + std::to_string(i);
  EXPECT_EQ(payloadOf<Pong>("pong", payload + R"(,"syncId":"y"})").syncId, "y");
  const auto intent = payloadOf<Intent>("intent", payload + R"(,"params":{"a": 1},"zz":0,"id":"i","action":"a"})");
  EXPECT_EQ(intent.params.text, R"({"a": 1})");
}

TEST(Codec, ToleratesWhatTheOriginalLeavesOut) {
  EXPECT_EQ(payloadOf<Register>("register", "{}").name, "");
  EXPECT_EQ(payloadOf<Intent>("intent", R"({"id":"i","action":"a"})").params.text, "{}");
  EXPECT_EQ(payloadOf<Intent>("intent", R"({"id":"i","action":"a","params":null})").params.text, "null");
  EXPECT_EQ(payloadOf<Heartbeat>("heartbeat", R"({"uptime":5.765267768,"name":"n"})").uptimeSeconds, 5);
  EXPECT_EQ(payloadOf<GetChatSessions>("get_chat_sessions", "null").limit, std::nullopt);
  EXPECT_TRUE(payloadOf<AgentPeerCatalog>("agent_peer_catalog", "{}").peers.empty());
  EXPECT_EQ(payloadOf<IntentResult>("result", R"({"intentId":"i","status":"failed","error":{"a":1}})").error,
            std::nullopt);
  EXPECT_FALSE(payloadOf<LlmConfigUpdate>("llm_config", R"({"config":null})").config.has_value());
}

TEST(Codec, RawValuesKeepTheirBytes) {
  const std::string params =
      "{ \"a\\u0062\" : [ 1.50 , \"}\\\"]\\\\\" , 123456789012345678901234567890 ] ,\n\t\"c\":{} }";
  const auto intent = payloadOf<Intent>(
      "intent", "{\"x\":\"{\\\"params\\\":1}\", \"params\" : " + params + " ,\"id\":\"i\",\"action\":\"a\"}");
  EXPECT_EQ(intent.params.text, params);
  for (const char* value : {"0", "-1.5e3", "true", "null", "\"\"", "\"\\\\\"", "[]", "{}", "[[],{}]"}) {
    EXPECT_EQ(payloadOf<Intent>("intent", std::string(R"({"id":"i","action":"a","params":)") + value + "}").params.text,
              value);
  }
}

TEST(Codec, NumbersBeyond64BitsAreNumbers) {
  for (const char* n : {"18446744073709551615", "18446744073709551616", "-9223372036854775808", "-9223372036854775809",
                        "100000000000000000000", "1e308"}) {
    const auto value =
        payloadOf<IntentResult>("result", std::string(R"({"intentId":"i","status":"success","output":)") + n + "}");
    EXPECT_EQ(value.output->text, n);
  }
  const auto config = payloadOf<LlmConfigUpdate>(
      "llm_config", R"({"config":{"provider":"p","model":"m","pricePerMillionInputTokens":100000000000000000000}})");
  EXPECT_EQ(config.config->pricePerMillionInputTokens, 1e20);
  EXPECT_EQ(refusalOf("get_chat_sessions", R"({"limit":100000000000000000000})"),
            "get_chat_sessions.payload.limit: must be within 2^53");
  EXPECT_FALSE(decode(wrap("pong", R"({"x":1e400})")).ok());
  EXPECT_FALSE(decode(wrap("pong", R"({"x":000000000000000000000000})")).ok());
}

TEST(Codec, TracesThatAreNoneAreLeftOut) {
  const std::string start = R"({"id":"i","action":"a","_traceContext":)";
  EXPECT_FALSE(payloadOf<Intent>("intent", start + "{}}").trace.has_value());
  EXPECT_FALSE(payloadOf<Intent>("intent", start + R"({"traceparent":1}})").trace.has_value());
  EXPECT_EQ(payloadOf<Intent>("intent", start + R"({"traceparent":"p"}})").trace->traceparent, "p");
}

TEST(Limits, IdsAndNames) {
  const std::string longest(128, 'a');
  const auto intent = [](const std::string& id, const std::string& action) {
    return R"({"id":")" + id + R"(","action":")" + action + "\"}";
  };
  EXPECT_EQ(payloadOf<Intent>("intent", intent(longest, longest)).id.value, longest);
  EXPECT_EQ(refusalOf("intent", intent(longest + "a", "a")),
            "intent.payload.id: must be 1 to 128 printable ASCII characters");
  EXPECT_NE(refusalOf("intent", intent("", "a")), "");
  EXPECT_NE(refusalOf("intent", intent("\\n", "a")), "");
  EXPECT_NE(refusalOf("intent", intent("\u00e9", "a")), "");
  EXPECT_EQ(refusalOf("intent", intent("i", longest + "a")),
            "intent.payload.action: must be 1 to 128 characters, none of them a control character");
  EXPECT_NE(refusalOf("intent", intent("i", "a\\u001b[2J")), "");
  EXPECT_FALSE(decode(R"({"messageId":"","type":"pong"})").ok());
  EXPECT_FALSE(decode(R"({"messageId":")" + longest + R"(a","type":"pong"})").ok());
  EXPECT_EQ(decoded(R"({"messageId":"m","agentId":"","type":"pong"})").agentId, "");
}

TEST(Limits, CheckName) {
  std::string wide;
  for (int i = 0; i < 128; ++i) wide += "\u00e9";
  EXPECT_TRUE(checkName(wide).ok());
  EXPECT_FALSE(checkName(wide + "e").ok());
  EXPECT_FALSE(checkName("").ok());
  for (const char* bad : {"a\n", "a\x7f", "\xc2\x9b", "\xff", "\xc3"}) EXPECT_FALSE(checkName(bad).ok());
  EXPECT_TRUE(checkName("\xc2\xa0").ok());
}

TEST(Limits, CheckCapabilities) {
  EXPECT_TRUE(checkCapabilities({}).ok());
  EXPECT_TRUE(checkCapabilities(std::vector<std::string>(64, std::string(64, 'c'))).ok());
  EXPECT_FALSE(checkCapabilities(std::vector<std::string>(65, "c")).ok());
  EXPECT_FALSE(checkCapabilities({std::string(65, 'c')}).ok());
  EXPECT_FALSE(checkCapabilities({""}).ok());
  EXPECT_FALSE(checkCapabilities({"caf\u00e9"}).ok());
  EXPECT_FALSE(decode(wrap("auth_complete", R"({"did":"d","capabilities":[""]})")).ok());
}

}  // namespace
}  // namespace vaultysclaw::protocol
