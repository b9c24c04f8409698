// Texts that are no messages, that mean two things, or that are too large or too deep (docs/protocol.md 7.7), said in
// every phase of a connection by peers that are otherwise honest.
#include "identity/hash.hpp"
#include "world.hpp"

namespace vaultysclaw::attacks {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

struct Text {
  const char* what;
  std::string text;
};

std::string inserted(std::string text, const std::string& before, const std::string& what) {
  const auto at = text.find(before);
  EXPECT_NE(at, std::string::npos) << before;
  return text.insert(at, what);
}
std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const auto at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}

// Ways to say `text` twice at once: honestly, and with `evil` in place of `honest`, the value of the payload's `name`.
// Which of the two a reader sees depends on the reader.
std::vector<Text> ambiguous(const std::string& text, const std::string& name, const std::string& honest,
                            const std::string& evil) {
  const std::string member = "\"" + name + "\":" + honest, other = "\"" + name + "\":" + evil;
  const std::string escaped = "\"\\u00" + hexEncode(asBytes(name.substr(0, 1))) + name.substr(1) + "\":" + evil;
  const std::string payload = "\"payload\":" + parsed(text)["payload"].dump();
  return {{"twice, the lie last", replaced(text, member, member + "," + other)},
          {"twice, the lie first", replaced(text, member, other + "," + member)},
          {"escaped, the lie last", replaced(text, member, member + "," + escaped)},
          {"escaped, the lie first", replaced(text, member, escaped + "," + member)},
          {"two payloads", inserted(text, "\"payload\"", "\"payload\":{" + other + "},")},
          {"two payloads, one escaped", inserted(text, "\"payload\"", "\"p\\u0061yload\":{" + other + "},")},
          {"inside the value", replaced(text, honest, "{\"a\":1,\"a\":2}")},
          {"escaped inside the value", replaced(text, honest, "{\"a\":1,\"\\u0061\":2}")},
          {"two types", inserted(text, "\"type\"", "\"type\":\"heartbeat\",")},
          {"two types, one escaped", inserted(text, "\"type\"", "\"t\\u0079pe\":\"heartbeat\",")}};
}

// Texts that some readers take and others do not.
std::vector<Text> broken(const std::string& text, const std::string& honest) {
  const auto with = [&](const std::string& value) { return replaced(text, honest, value); };
  return {{"a byte order mark", "\xef\xbb\xbf" + text},
          {"something behind", text + "{}"},
          {"a bracket behind", text + "}"},
          {"a zero byte behind", text + std::string(1, '\0')},
          {"cut short", text.substr(0, text.size() - 1)},
          {"half", text.substr(0, text.size() / 2)},
          {"nothing", ""},
          {"space", "   "},
          {"null", "null"},
          {"a list", "[" + text + "]"},
          {"a text", "\"" + std::string(10, 'x') + "\""},
          {"a comment", with("/* */" + honest)},
          {"a trailing comma", with("{\"a\":1,}")},
          {"single quotes", with("{'a':1}")},
          {"NaN", with("NaN")},
          {"a leading zero", with("{\"a\":01}")},
          {"a plus", with("{\"a\":+1}")},
          {"a number beyond numbers", with("{\"a\":1e999}")},
          {"half a surrogate pair", with("{\"a\":\"\\ud800\"}")},
          {"an unescaped control character", with("{\"a\":\"\n\"}")},
          {"a zero byte inside", with(std::string("{\"a\":\"\0\"}", 9))},
          {"an unknown escape", with("{\"a\":\"\\x41\"}")},
          {"too deep", with(std::string(70, '[') + std::string(70, ']'))},
          {"far too deep", with(std::string(100'000, '['))}};
}
// Only sealed connections can carry these: a WebSocket refuses text that is not UTF-8.
std::vector<Text> notUtf8(const std::string& text, const std::string& honest) {
  const auto with = [&](const std::string& value) { return replaced(text, honest, value); };
  return {{"a stray byte", with("{\"a\":\"\xff\"}")},
          {"an overlong slash", with("{\"a\":\"\xc0\xaf\"}")},
          {"a surrogate", with("{\"a\":\"\xed\xa0\x80\"}")},
          {"a cut character", with("{\"a\":\"\xe4\xb8\"}")}};
}

class Malformed : public World, public ::testing::WithParamInterface<bool> {
 protected:
  static std::optional<std::vector<std::string>> features() {
    return GetParam() ? std::optional(kAllFeatures) : std::nullopt;
  }
};

TEST_P(Malformed, IntentsThatMeanTwoThingsDoNotRun) {
  PlanePlan plan;
  plan.features = features();
  auto plane = hostilePlane(std::move(plan));
  auto& victim = start();
  ASSERT_EQ(victim.getStatus(), AgentStatus::Connected);
  const std::string honest = R"({"pay":"alice"})", evil = R"({"pay":"mallory"})";
  std::size_t n = 0;
  const auto attack = [&](const std::function<std::vector<Text>(const std::string& text)>& make) {
    const std::size_t ways = make(plane->intent("x", "api_call", honest)).size();
    for (std::size_t i = 0; i < ways; ++i) {
      const std::string id = "i-" + std::to_string(++n);
      const std::string good = plane->intent(id, "api_call", honest);
      const Text lie = make(good)[i];
      SCOPED_TRACE(lie.what);
      plane->say(lie.text);
      run();
      ASSERT_EQ(victim.getStatus(), AgentStatus::Connected) << "one bad message is only ignored";
      EXPECT_EQ(victim.ran.size(), n - 1) << "it ran";
      plane->say(good);
      run();
      ASSERT_EQ(victim.ran.size(), n);
      EXPECT_EQ(victim.ran.back().params, honest);
    }
  };
  // What it would be worth: a reader that takes the last member is shown another payment than one that takes the first.
  const Json lenient = parsed(ambiguous(plane->intent("x", "api_call", honest), "params", honest, evil)[2].text);
  ASSERT_EQ(lenient["payload"]["params"]["pay"], "mallory");
  attack([&](const std::string& text) { return ambiguous(text, "params", honest, evil); });
  attack([&](const std::string& text) { return broken(text, honest); });
  if (GetParam()) attack([&](const std::string& text) { return notUtf8(text, honest); });
}

TEST_P(Malformed, ResultsThatMeanTwoThingsDoNotCount) {
  AgentPlan plan;
  plan.features = features();
  auto agent = insider(std::move(plan));
  const std::string honest = R"({"paid":"alice"})", evil = R"({"paid":"mallory"})";
  const auto attack = [&](const std::function<std::vector<Text>(const std::string& text)>& make) {
    auto reply = ask(agent->did().value, "text_generation");
    Json intent = agent->all("intent").back();
    for (const auto& lie : make(agent->resultText(intent, honest))) {
      SCOPED_TRACE(lie.what);
      agent->say(lie.text);
      run();
      ASSERT_TRUE(agent->open());
      EXPECT_FALSE(reply.done()) << "it counted";
    }
    agent->say(agent->resultText(intent, honest));
    run();
    ASSERT_TRUE(reply.done() && (*reply).ok());
    EXPECT_EQ((*reply)->output->text, honest);
  };
  attack([&](const std::string& text) { return ambiguous(text, "output", honest, evil); });
  attack([&](const std::string& text) { return broken(text, honest); });
  if (GetParam()) attack([&](const std::string& text) { return notUtf8(text, honest); });
}

TEST_P(Malformed, TheControlPlaneHearsNoneInAnyPhaseAndHasItsFillOfThem) {
  auto& bystander = start();
  direct();
  world_.advance(seconds(10));
  approve(bystander.getDid());
  const std::vector<Text> texts =
      broken(envelope("result", {{"intentId", "i"}, {"status", "success"}, {"output", "x"}}), "\"x\"");
  for (const StopAt at : {StopAt::BeforeRegister, StopAt::BeforeInit, StopAt::BeforeComplete, StopAt::Nowhere}) {
    for (const bool approved : {false, true}) {
      if (approved && at != StopAt::Nowhere) continue;
      SCOPED_TRACE(static_cast<int>(at));
      AgentPlan plan;
      plan.features = features();
      plan.stopAt = at;
      auto agent = stranger(std::move(plan));
      agent->connect(world_.network);
      run();
      if (approved) approve(agent->did().value);
      int said = 0;
      for (; agent->open() && said < 300; ++said) {
        agent->say(texts[static_cast<std::size_t>(said) % texts.size()].text);
        run();
      }
      EXPECT_TRUE(agent->closed) << "not for ever";
      EXPECT_LE(said, approved ? 257 : 17);
      EXPECT_TRUE(runs(bystander.getDid()));
    }
  }
}

TEST_P(Malformed, TheAgentHearsNoneInAnyPhaseAndHasItsFillOfThem) {
  PlanePlan plan;
  plan.features = features();
  plan.answers = false;
  auto plane = hostilePlane(plan);
  auto& victim = start();
  const std::vector<Text> texts = broken(intentText("i", "api_call", "\"x\"", "AAAA"), "\"x\"");
  for (const bool authenticated : {false, true}) {
    SCOPED_TRACE(authenticated);
    plane->plan.answers = authenticated;
    world_.network.cutAll();
    world_.advance(std::chrono::minutes(2));
    if (!plane->open()) world_.advance(std::chrono::minutes(1));
    ASSERT_TRUE(plane->open());
    const int before = plane->connections;
    int said = 0;
    for (; plane->open() && plane->connections == before && said < 300; ++said) {
      plane->say(texts[static_cast<std::size_t>(said) % texts.size()].text);
      run();
    }
    EXPECT_LE(said, 101) << "not for ever";
    EXPECT_TRUE(victim.hooks.empty());
    EXPECT_NE(victim.getStatus(), AgentStatus::Stopped);
  }
  world_.advance(std::chrono::minutes(2));
  EXPECT_EQ(victim.getStatus(), AgentStatus::Connected);
}

TEST_P(Malformed, LimitsHoldInEveryPhase) {
  // 64 KiB before approval, 16 MiB after; one byte more ends the connection, and nobody else's.
  auto& bystander = start();
  direct();
  world_.advance(seconds(10));
  approve(bystander.getDid());
  const auto sized = [](std::size_t size) {
    std::string text = envelope("heartbeat", {{"name", ""}, {"pad", ""}});
    return replaced(text, "\"pad\":\"\"", "\"pad\":\"" + std::string(size - text.size(), 'x') + "\"");
  };
  constexpr std::size_t kSmall = 64 << 10, kLarge = 16 << 20;
  struct Case {
    StopAt at;
    bool approved;
    std::size_t limit;
  };
  for (const auto& c : {Case{StopAt::BeforeRegister, false, kSmall}, Case{StopAt::BeforeComplete, false, kSmall},
                        Case{StopAt::Nowhere, false, kSmall}, Case{StopAt::Nowhere, true, kLarge}}) {
    for (const std::size_t over : {0, 1}) {
      SCOPED_TRACE(std::to_string(c.limit) + "+" + std::to_string(over));
      AgentPlan plan;
      plan.features = features();
      plan.stopAt = c.at;
      auto agent = stranger(std::move(plan));
      agent->connect(world_.network);
      run();
      if (c.approved) approve(agent->did().value);
      agent->say(sized(c.limit + over));
      run();
      EXPECT_EQ(agent->closed.has_value(), over == 1);
      agent->hangUp();
      run();
      if (!c.approved) world_.advance(std::chrono::minutes(11));  // room for the next registration
      EXPECT_TRUE(runs(bystander.getDid()));
    }
  }
}

TEST_P(Malformed, TheAgentsLimitsHoldInEveryPhaseToo) {
  PlanePlan plan;
  plan.features = features();
  plan.answers = false;
  auto plane = hostilePlane(plan);
  auto& victim = start();
  const auto sized = [](std::size_t size) {
    const std::string text = envelope("error", {{"error", "x"}, {"pad", ""}});
    return replaced(text, "\"pad\":\"\"", "\"pad\":\"" + std::string(size - text.size(), 'x') + "\"");
  };
  const auto heard = [&](const std::string& text) {
    logs_.clear();
    plane->say(text);
    run();
    return logged("Error from control plane");
  };
  constexpr std::size_t kSmall = 64 << 10, kLarge = 16 << 20;
  EXPECT_TRUE(heard(sized(kSmall)));
  EXPECT_FALSE(heard(sized(kSmall + 1)));
  EXPECT_FALSE(heard(sized(kLarge + 100)));
  plane->plan.answers = true;
  world_.network.cutAll();
  world_.advance(std::chrono::minutes(1));
  ASSERT_EQ(victim.getStatus(), AgentStatus::Connected) << lastLogs();
  EXPECT_TRUE(heard(sized(kLarge)));
  EXPECT_FALSE(heard(sized(kLarge + 1)));
  world_.advance(std::chrono::minutes(1));
  EXPECT_EQ(victim.getStatus(), AgentStatus::Connected);
}

TEST_P(Malformed, ValuesAtTheirLimitsAreTakenAndBeyondThemRefused) {
  PlanePlan plan;
  plan.features = features();
  plan.capabilities = {std::string(64, 'a'), "api_call"};
  auto plane = hostilePlane(std::move(plan));
  AgentRuntimeConfig c = config("victim");
  auto& victim = start(c);
  ASSERT_EQ(victim.getStatus(), AgentStatus::Connected) << lastLogs();
  const auto tryId = [&](const std::string& id) {
    const std::size_t before = victim.ran.size();
    plane->say(plane->intent(id, "api_call", "{}"));
    run();
    return victim.ran.size() == before + 1;
  };
  EXPECT_TRUE(tryId(std::string(128, 'i')));
  EXPECT_FALSE(tryId(std::string(129, 'i')));
  EXPECT_FALSE(tryId(""));
  EXPECT_FALSE(tryId("a\tb"));
  EXPECT_FALSE(tryId("gr\u00fc\u00df"));
  const auto tryDepth = [&](std::size_t depth) {
    const std::size_t before = victim.ran.size();
    plane->say(
        plane->intent("d-" + std::to_string(depth), "api_call", std::string(depth, '[') + std::string(depth, ']')));
    run();
    return victim.ran.size() == before + 1;
  };
  EXPECT_TRUE(tryDepth(60));
  EXPECT_FALSE(tryDepth(63));
}

INSTANTIATE_TEST_SUITE_P(Channel, Malformed, ::testing::Bool(),
                         [](const auto& sealed) { return sealed.param ? "Sealed" : "LikeTheOriginal"; });

}  // namespace
}  // namespace vaultysclaw::attacks
