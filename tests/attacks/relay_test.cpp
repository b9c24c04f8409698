// Whoever can put words into an agent's ear: a man in the middle of an unsealed connection, a relay that holds tokens
// which the control plane really signed, or a control plane that lies about them (docs/protocol.md 7.4, 7.7).
// HostileControlPlane plays both parts: what it says through intent() is the honest control plane's, the rest is the
// attacker's.
#include "identity/hash.hpp"
#include "world.hpp"

namespace vaultysclaw::attacks {
namespace {

const std::string kUser = "did:vaultys:0011111111111111111111111111111111111111";
const std::string kOtherUser = "did:vaultys:0022222222222222222222222222222222222222";

enum class Mode : std::uint8_t { Original, IntentV2 };

class Relay : public World, public ::testing::WithParamInterface<Mode> {
 protected:
  static bool v2() { return GetParam() == Mode::IntentV2; }
  void SetUp() override {
    if (v2()) plane_->plan.features = kAllFeatures;
    world_.network.listen(kAgentsDial, plane_->acceptor());
    victim_ = &start();
    ASSERT_EQ(victim_->getStatus(), AgentStatus::Connected) << lastLogs();
    delegate({delegation(kUser), delegation(kOtherUser)});
  }
  static Json entry(const std::string& user, const std::string& certificate) {
    return {{"id", "d-" + user},
            {"grantId", "g"},
            {"userDid", user},
            {"agentDid", "*"},
            {"capabilities", {"text_generation", "api_call"}},
            {"certificate", certificate}};
  }
  Map delegationOf(const std::string& user) {
    return delegationBody(user, plane_->agentDid, {"text_generation", "api_call"}, now(),
                          now() + std::chrono::hours(1));
  }
  Json delegation(const std::string& user) { return entry(user, tokenBy(plane_->self(), delegationOf(user))); }
  void delegate(std::vector<Json> entries) {
    plane_->say("delegation_update", {{"delegations", std::move(entries)}});
    run();
  }
  WallTime now() { return world_.clock.now(); }
  // As an intent for a user arrives.
  std::string forUser(const std::string& id, const std::string& user) {
    return plane_->intent(id, "api_call", R"({"a":1})", {{"userDid", user}});
  }
  std::size_t ran() const { return victim_->ran.size(); }
  // The agent's word on `id`: "result" with its status or "ack".
  std::string answerTo(const std::string& id) const {
    std::string out;
    for (const auto& m : plane_->heard) {
      if (m["type"] == "result" && m["payload"]["intentId"] == id) out += "result ";
      if (m["type"] == "intent_ack" && m["payload"]["messageId"] == id)
        out += m["payload"]["success"].get<bool>() ? "ack " : "refused ";
    }
    return out;
  }

  std::unique_ptr<HostileControlPlane> plane_ =
      std::make_unique<HostileControlPlane>(world_.clock, world_.entropy, someone(), PlanePlan{});
  Agent<Victim>* victim_ = nullptr;
};

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const auto at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return at == std::string::npos ? text : text.replace(at, from.size(), to);
}

TEST_P(Relay, IntentsThatAreNotExactlyWhatWasSignedDoNotRun) {
  using Make = std::function<std::string(const std::string& id)>;
  HostileControlPlane& p = *plane_;
  const VaultysId otherPlane = someone();
  const auto bent = [&](std::function<void(Map&)> bend) -> Make {
    return [&p, bend = std::move(bend)](const std::string& id) {
      return p.intent(id, "api_call", R"({"a":1})", Json::object(), bend);
    };
  };
  const auto ms = [&](std::int64_t s) { return number(toUnixMillis(now()) + s * 1000); };
  std::vector<std::pair<const char*, Make>> lies = {
      {"unsigned", [&](auto& id) { return intentText(id, "api_call", "{}", std::nullopt); }},
      {"an empty signature", [&](auto& id) { return intentText(id, "api_call", "{}", ""); }},
      {"no token", [&](auto& id) { return intentText(id, "api_call", "{}", "AAAA"); }},
      {"signed by the agent's own hand",
       [&](auto& id) {
         return intentText(id, "api_call", "{}", tokenBy(someone(), intentBody(id, "api_call", p.agentDid, now())));
       }},
      {"signed by another control plane",
       [&](auto& id) {
         Map body = intentBody(id, "api_call", p.agentDid, now());
         addHashes(body, "{}", {}, now() + seconds(60));
         return intentText(id, "api_call", "{}", tokenBy(otherPlane, body));
       }},
      {"for another agent", bent([&](Map& b) { put(b, "agentId", otherPlane.didV1().value); })},
      {"for every agent", bent([](Map& b) { put(b, "agentId", "*"); })},
      {"for another id", bent([](Map& b) { put(b, "id", "another"); })},
      {"for another action", bent([](Map& b) { put(b, "action", "text_generation"); })},
      {"a token of another type", bent([](Map& b) { put(b, "type", "delegation"); })},
      {"a token without a type", bent([](Map& b) { drop(b, "type"); })},
      {"a token with a protocol", bent([](Map& b) { put(b, "protocol", "p2p"); })},
      {"a token with two actions", bent([](Map& b) { b.emplace_back("action", "api_call"); })},
      {"stale", bent([&](Map& b) { put(b, "timestamp", ms(-301)); })},
      {"ancient", bent([&](Map& b) { put(b, "timestamp", number(1)); })},
      {"from the future", bent([&](Map& b) { put(b, "timestamp", ms(61)); })},
      {"from the end of time", bent([](Map& b) { put(b, "timestamp", Value::unsignedInteger(~0ULL)); })},
      {"dated with a text", bent([](Map& b) { put(b, "timestamp", "now"); })},
      {"another action in the message",
       [&](auto& id) { return replaced(p.intent(id, "api_call", "{}"), "api_call", "text_generation"); }},
      {"another id in the payload",
       [&](auto& id) { return replaced(p.intent(id, "api_call", "{}"), "\"id\":\"" + id, "\"id\":\"x" + id); }},
      {"another id in the envelope",
       [&](auto& id) {
         return replaced(p.intent(id, "api_call", "{}"), "\"messageId\":\"" + id, "\"messageId\":\"x" + id);
       }},
      {"the token of another intent", [&](auto& id) {
         const Json other = parsed(p.intent("other-" + id, "api_call", "{}"));
         return intentText(id, "api_call", "{}", other["signature"].get<std::string>());
       }}};
  if (v2()) {
    const std::vector<std::pair<const char*, Make>> more = {
        {"other params",
         [&](auto& id) { return replaced(p.intent(id, "api_call", R"({"a":1})"), R"({"a":1})", R"({"a":2})"); }},
        {"params spelled otherwise",
         [&](auto& id) { return replaced(p.intent(id, "api_call", R"({"a":1})"), R"({"a":1})", R"({"a": 1})"); }},
        {"no params",
         [&](auto& id) { return replaced(p.intent(id, "api_call", R"({"a":1})"), R"("params":{"a":1},)", ""); }},
        {"a user where none was signed",
         [&](auto& id) {
           return replaced(p.intent(id, "api_call", "{}"), R"("params":)", R"("userDid":")" + kUser + R"(","params":)");
         }},
        {"no user where one was signed",
         [&](auto& id) { return replaced(forUser(id, kUser), R"("userDid":")" + kUser + "\"", R"("x":1)"); }},
        {"another user", [&](auto& id) { return replaced(forUser(id, kUser), kUser, kOtherUser); }},
        {"no hash", bent([](Map& b) { drop(b, "paramsHash"); })},
        {"no expiry", bent([](Map& b) { drop(b, "expiresAt"); })},
        {"the first form of the token", bent([](Map& b) {
           for (const char* name : {"paramsHash", "expiresAt"}) drop(b, name);
         })},
        {"a hash that is a text", bent([](Map& b) { put(b, "paramsHash", std::string(64, 'a')); })},
        {"half a hash", bent([](Map& b) { put(b, "paramsHash", Bytes(16, 1)); })},
        {"expired", bent([&](Map& b) { put(b, "expiresAt", ms(-1)); })},
        {"valid for too long", bent([&](Map& b) { put(b, "expiresAt", ms(3600)); })}};
    lies.insert(lies.end(), more.begin(), more.end());
  }
  std::size_t n = 0;
  for (const auto& [what, make] : lies) {
    SCOPED_TRACE(what);
    const std::string id = "i-" + std::to_string(++n);
    p.forget();
    p.say(make(id));
    run();
    EXPECT_EQ(ran(), n - 1) << "it ran";
    // Of what was never accepted nothing is signed.
    if (v2()) {
      EXPECT_EQ(p.count("result"), 0u);
    }
    // The honest one, under the id that the lie has used, runs: a liar cannot use ids up.
    p.say(p.intent(id, "api_call", R"({"a":1})"));
    run();
    ASSERT_EQ(ran(), n) << lastLogs();
  }
}

TEST_P(Relay, AnIntentRunsOnceHoweverOftenAndWheneverItIsPlayedBack) {
  const std::string text = plane_->intent("i-1", "api_call", R"({"a":1})");
  for (int i = 0; i < 5; ++i) plane_->say(text);
  run();
  EXPECT_EQ(ran(), 1u);
  world_.network.cutAll();
  world_.advance(seconds(30));
  plane_->say(text);
  run();
  EXPECT_EQ(ran(), 1u);
  // The same id for something else: the agent has acted for that id once and for all.
  plane_->forget();
  for (const auto& other :
       {plane_->intent("i-1", "api_call", R"({"a":2})"), plane_->intent("i-1", "text_generation", R"({"a":1})"),
        plane_->intent("i-1", "api_call", R"({"a":1})", {{"userDid", kUser}})}) {
    plane_->say(other);
    run();
  }
  EXPECT_EQ(ran(), 1u);
  EXPECT_EQ(plane_->count("result"), 0u);
  for (const auto& ack : plane_->all("intent_ack")) EXPECT_EQ(ack["payload"]["reason"], "intent id reused");
  EXPECT_EQ(plane_->count("intent_ack"), 3u);

  victim_ = &restart(*victim_);
  plane_->say(text);
  run();
  EXPECT_EQ(ran(), 0u) << "after a restart";
  // When the agent has forgotten the id, the token is too old.
  world_.advance(std::chrono::hours(25));
  plane_->say(plane_->intent("i-2", "api_call", "{}"));
  run();
  ASSERT_EQ(ran(), 1u) << lastLogs();
  plane_->say(text);
  run();
  EXPECT_EQ(ran(), 1u);
}

TEST_P(Relay, DelegationsThatAreNotExactlyWhatWasSignedGrantNothing) {
  HostileControlPlane& p = *plane_;
  const VaultysId otherPlane = someone();
  const auto bent = [&](const std::function<void(Map&)>& bend) {
    Map body = delegationOf(kUser);
    bend(body);
    return entry(kUser, tokenBy(p.self(), body));
  };
  const auto ms = [&](std::int64_t s) { return number(toUnixMillis(now()) + s * 1000); };
  std::vector<std::pair<const char*, Json>> lies = {
      {"unsigned", entry(kUser, "")},
      {"no token", entry(kUser, "AAAA")},
      {"signed by another control plane", entry(kUser, tokenBy(otherPlane, delegationOf(kUser)))},
      {"signed for another user", entry(kUser, tokenBy(p.self(), delegationOf(kOtherUser)))},
      {"for another agent", bent([&](Map& b) { put(b, "agentDid", otherPlane.didV1().value); })},
      {"for something else", bent([](Map& b) { put(b, "capabilities", texts({"text_generation"})); })},
      {"for nothing", bent([](Map& b) { put(b, "capabilities", texts({})); })},
      {"no list of capabilities", bent([](Map& b) { drop(b, "capabilities"); })},
      {"expired", bent([&](Map& b) { put(b, "expiresAt", ms(-1)); })},
      {"a grant to a peer", bent([](Map& b) { put(b, "type", "peer_grant"); })},
      {"an intent", entry(kUser, tokenBy(p.self(), intentBody("i", "api_call", p.agentDid, now())))},
      {"a token with a protocol", bent([](Map& b) { put(b, "protocol", "p2p"); })}};
  if (v2()) {
    lies.emplace_back("for every agent", bent([](Map& b) { put(b, "agentDid", "*"); }));
    lies.emplace_back("for ever", bent([](Map& b) { drop(b, "expiresAt"); }));
    lies.emplace_back("for ever, written as 0", bent([](Map& b) { put(b, "expiresAt", number(0)); }));
    lies.emplace_back("for more than a day", bent([&](Map& b) { put(b, "expiresAt", ms(24 * 3600 + 1)); }));
  }
  std::size_t n = 0;
  for (const auto& [what, lie] : lies) {
    SCOPED_TRACE(what);
    delegate({lie});
    p.say(forUser("lie-" + std::to_string(++n), kUser));
    run();
    EXPECT_EQ(ran(), n - 1) << "it ran";
    delegate({delegation(kUser)});
    p.say(forUser("honest-" + std::to_string(n), kUser));
    run();
    ASSERT_EQ(ran(), n) << lastLogs();
    EXPECT_EQ(victim_->ran.back().caller, kUser);
  }
}

TEST_P(Relay, ChatsSayForWhomOnlyWhereNobodyElseCanHaveSaidIt) {
  std::size_t n = 0;
  const auto talk = [&](const Json& more) {
    Json payload{{"conversationId", "c-" + std::to_string(++n)},
                 {"messages", {{{"role", "user"}, {"content", "hello"}}}}};
    payload.update(more);
    victim_->chatCallers.clear();
    plane_->say("chat_message", payload);
    run();
    return victim_->chatCallers.empty() ? std::string("refused") : victim_->chatCallers.back();
  };
  const std::string ours = plane_->self().didV1().value;
  EXPECT_EQ(talk(Json::object()), ours);
  // A relay of an unsealed connection may write any name there.
  EXPECT_EQ(talk({{"userDid", kUser}}), v2() ? kUser : ours);
  delegate({delegation(kOtherUser)});
  EXPECT_EQ(talk({{"userDid", kUser}}), v2() ? "refused" : ours);
  EXPECT_EQ(talk({{"userDid", "did:vaultys:nobody"}}), v2() ? "refused" : ours);
  EXPECT_EQ(talk({{"userDid", kOtherUser}}), v2() ? kOtherUser : ours);
}

TEST_P(Relay, ApprovalsAreForWhatWasAskedAndCountOnce) {
  const auto ask = [&](const std::string& path) {
    const std::string id = victim_->sendToolApprovalRequest("rm", {{"path", path}});
    run();
    return id;
  };
  const auto say = [&](const std::string& id, const Json& more = Json::object()) {
    Json payload{{"requestId", id}, {"approved", true}};
    payload.update(more);
    plane_->say("tool_approval_response", payload);
    run();
  };
  say("never-asked");
  const std::string first = ask("/tmp/a");
  const Json request = plane_->last("tool_approval_request");
  ASSERT_EQ(request["requestId"], first);
  say(first, {{"argsHash", std::string(64, '0')}});
  EXPECT_TRUE(victim_->approvals.empty());
  say(first, {{"argsHash", request["argsHash"]}});
  ASSERT_EQ(victim_->approvals.size(), 1u);
  EXPECT_TRUE(victim_->approvals[0].approved);
  say(first, {{"argsHash", request["argsHash"]}});
  EXPECT_EQ(victim_->approvals.size(), 1u) << "single use";
  const std::string second = ask("/tmp/b");
  world_.advance(std::chrono::minutes(61));
  ASSERT_EQ(victim_->approvals.size(), 2u);
  EXPECT_FALSE(victim_->approvals[1].approved);
  say(second);
  EXPECT_EQ(victim_->approvals.size(), 2u) << "too late";
}

TEST_P(Relay, AnOldKeyNeverMeetsANewUrl) {
  plane_->say("llm_config",
              {{"config", {{"provider", "a"}, {"model", "m"}, {"apiKey", "sk-1"}, {"baseUrl", "https://a"}}}});
  run();
  ASSERT_TRUE(victim_->llm);
  ASSERT_EQ(victim_->llm->apiKey, "sk-1");
  plane_->say("llm_config", {{"config", {{"provider", "a"}, {"model", "m"}, {"baseUrl", "https://evil"}}}});
  run();
  EXPECT_EQ(victim_->llm->baseUrl, "https://evil");
  EXPECT_FALSE(victim_->llm->apiKey) << "the key went to the attacker's URL";
}

TEST_P(Relay, NothingWidensACertificate) {
  // The certificate grants text_generation and api_call, and no message adds to it: not the one that ends a handshake,
  // not one that announces another, and none before the handshake that brings it is complete.
  HostileControlPlane& p = *plane_;
  const Json wide = {"text_generation", "api_call", "system_command"};
  const auto tryIt = [&](const std::string& id) {
    const std::size_t before = ran();
    p.say(p.intent(id, "system_command", "{}"));
    run();
    return ran() > before;
  };
  EXPECT_FALSE(tryIt("i-0"));
  p.say("auth_complete", {{"agentId", p.agentDid}, {"did", p.agentDid}, {"capabilities", wide}});
  EXPECT_FALSE(tryIt("i-1"));
  p.say("update_capabilities", {{"capabilities", wide}, {"resourceLimits", nullptr}, {"reason", "because"}});
  EXPECT_FALSE(tryIt("i-2"));
  p.say("registration_approved", {{"registrationId", "r"}, {"capabilities", wide}});
  EXPECT_FALSE(tryIt("i-3"));
  p.say("policy_update", {{"capabilities", wide}});
  EXPECT_FALSE(tryIt("i-4"));
  p.plan.capabilities = {"text_generation", "api_call", "system_command"};
  p.plan.completes = false;
  p.reissue();
  run();
  EXPECT_FALSE(tryIt("i-5")) << "only auth_complete puts a certificate into force";
  p.welcome();
  run();
  EXPECT_TRUE(tryIt("i-6")) << "and a certificate does\n" << lastLogs();
}

INSTANTIATE_TEST_SUITE_P(Modes, Relay, ::testing::Values(Mode::Original, Mode::IntentV2), [](const auto& mode) {
  return mode.param == Mode::IntentV2 ? "SealedIntentV2" : "LikeTheOriginal";
});

class RelayOnce : public World {};

TEST_F(RelayOnce, ATokenWithAHashHoldsWithoutTheFeatureToo) {
  auto plane = hostilePlane();
  auto& victim = start();
  const auto with = [&](const std::string& id, const std::string& params) {
    return plane->intent(id, "api_call", params, Json::object(),
                         [&](Map& body) { addHashes(body, R"({"a":1})", {}, world_.clock.now() + seconds(60)); });
  };
  plane->say(with("i-1", R"({"a":2})"));
  run();
  EXPECT_EQ(victim.ran.size(), 0u);
  plane->say(with("i-2", R"({"a":1})"));
  run();
  EXPECT_EQ(victim.ran.size(), 1u);
}

TEST_F(RelayOnce, WithoutTheHashParamsAreNotSignedSoThisIsWhatItIsFor) {
  auto plane = hostilePlane();
  auto& victim = start();
  plane->say(replaced(plane->intent("i-1", "api_call", R"({"pay":"alice"})"), "alice", "mallory"));
  run();
  ASSERT_EQ(victim.ran.size(), 1u);
  EXPECT_EQ(victim.ran[0].params, R"({"pay":"mallory"})");
}

TEST_F(RelayOnce, GrantsBeforeAHandshakeAreNotHeard) {
  // Everything an authenticated control plane may say, said at each step before.
  const std::vector<std::pair<std::string, Json>> words = {
      {"auth_complete", {{"agentId", "x"}, {"did", "x"}, {"capabilities", {"api_call"}}}},
      {"update_capabilities", {{"capabilities", {"api_call"}}, {"reason", ""}}},
      {"registration_approved", {{"registrationId", "r"}, {"capabilities", {"api_call"}}}},
      {"llm_config", {{"config", {{"provider", "p"}, {"model", "m"}, {"apiKey", "k"}}}}},
      {"chat_message", {{"conversationId", "c"}, {"messages", {{{"role", "user"}, {"content", "hi"}}}}}},
      {"skills_config", {{"skills", Json::array()}}},
      {"delegation_update", {{"delegations", Json::array()}}},
      {"task_enqueue", {{"action", "api_call"}, {"params", Json::object()}}},
      {"error", {{"error", "x"}}}};
  auto plane = hostilePlane({.answers = false});
  auto& victim = start();
  int n = 0;
  for (const auto& [type, payload] : words) {
    for (const bool registered : {false, true}) {
      SCOPED_TRACE(type);
      if (!plane->open()) world_.advance(std::chrono::minutes(2));
      ASSERT_TRUE(plane->open());
      if (registered) plane->reissue();
      run();
      Json p = payload;
      if (p.contains("did")) p["did"] = p["agentId"] = victim.getDid();
      plane->say(type, p);
      plane->say(intentText("i-" + std::to_string(++n), "api_call", "{}",
                            tokenBy(plane->self(), intentBody("i", "api_call", victim.getDid(), world_.clock.now()))));
      run();
      EXPECT_NE(victim.getStatus(), AgentStatus::Connected);
      EXPECT_NE(victim.getStatus(), AgentStatus::Stopped);
    }
  }
  EXPECT_TRUE(victim.ran.empty());
  EXPECT_TRUE(victim.chats.empty());
  EXPECT_TRUE(victim.hooks.empty());
  EXPECT_FALSE(victim.llm);
  plane->plan.answers = true;
  world_.network.cutAll();
  world_.advance(std::chrono::minutes(2));
  EXPECT_EQ(victim.getStatus(), AgentStatus::Connected);
}

}  // namespace
}  // namespace vaultysclaw::attacks
