// An agent that an operator has approved, and that uses what this lets it say: in the name of others, about what it was
// never asked, and more than was granted (docs/protocol.md 7.5, 7.7).
#include "identity/hash.hpp"
#include "world.hpp"

namespace vaultysclaw::attacks {
namespace {

using Bend = std::function<void(Json& payload, Map& body)>;

class Insider : public World, public ::testing::WithParamInterface<bool> {
 protected:
  void SetUp() override {
    direct();
    victim_ = &connectedVictim();
  }
  AgentPlan plan() const {
    AgentPlan p;
    if (GetParam()) p.features = kAllFeatures;
    return p;
  }
  // What an operator hears of one chat.
  struct Chat {
    std::shared_ptr<std::string> heard = std::make_shared<std::string>();
    std::string conversation;
    std::shared_ptr<control::ChatHandle> handle = std::make_shared<control::ChatHandle>();
  };
  Chat chatWith(const std::string& did) {
    Chat chat;
    control::ChatRequest request;
    request.did = Did(did);
    request.messages = {{"user", "hello", {}}};
    control::ChatEvents events;
    events.onChunk = [h = chat.heard](std::string_view text) { *h += text; };
    events.onThinking = [](std::string_view) {};
    events.onDone = [h = chat.heard] { *h += "|done"; };
    events.onError = [h = chat.heard](std::string_view, std::string_view) { *h += "|error"; };
    plane_->chat(std::move(request), events, [&](Result<control::ControlPlane::StartedChat> started) {
      ASSERT_TRUE(started.ok()) << started.error().message;
      chat.conversation = started->conversationId.value;
      *chat.handle = std::move(started->handle);
    });
    run();
    return chat;
  }

  Agent<Victim>* victim_ = nullptr;
};

TEST_P(Insider, SpeaksInTheNameOfAnotherInVain) {
  auto mallory = insider(plan());
  const std::string victimDid = victim_->getDid();
  auto other = insider();
  // Open: an intent and a conversation of the victim, who is slow, and an intent of a third agent, whose id and token
  // mallory has seen.
  world_.lanes->held = true;
  auto reply = ask(victimDid, "text_generation", R"({"a":1})");
  const Chat chat = chatWith(victimDid);
  auto third = ask(other->did().value, "text_generation");
  ASSERT_FALSE(reply.done() || third.done());
  Box<store::Listing<control::ControlPlane::IntentView>> listed;
  plane_->intents({}, {0, 10}, listed.reply());
  run();
  const std::string opened = victim_->getInfo().recentIntents.at(0).intentId;

  const auto& row = [&]() -> const store::IntentRow& {
    for (const auto& view : (*listed)->items) {
      if (view.row.id.value == opened) return view.row;
    }
    throw std::runtime_error("the intent is not listed");
  }();
  const Json asked{{"payload", {{"id", opened}}}, {"signature", row.token}};
  const Json inVictimsName{{"agentId", victimDid}};
  const auto heartbeat = [&] {
    const auto v = view(victimDid);
    return v->lastHeartbeat ? v->lastHeartbeat->name : std::string("none");
  };
  const std::string before = heartbeat();
  const std::vector<std::pair<std::string, Json>> words = {
      {"result", {{"intentId", opened}, {"status", "success"}, {"output", "forged"}}},
      {"intent_ack", {{"messageId", opened}, {"success", false}, {"reason", "forged"}}},
      {"intent_ack", {{"messageId", other->last("intent")["id"]}, {"success", false}, {"reason", "forged"}}},
      {"chat_response", {{"conversationId", chat.conversation}, {"chunk", "forged"}}},
      {"chat_response", {{"conversationId", chat.conversation}, {"error", "forged"}, {"errorCode", "llm_error"}}},
      {"chat_response", {{"conversationId", chat.conversation}, {"done", true}}},
      {"chat_response", {{"conversationId", chat.conversation}, {"seq", 0}, {"chunk", "forged"}}},
      {"chat_resume", {{"conversationId", chat.conversation}, {"questionId", "q"}, {"fromSeq", 0}}},
      {"heartbeat", {{"name", "forged"}, {"uptime", 1}, {"memory", Json::object()}}},
      {"task_status", {{"taskId", "t"}, {"status", "success"}, {"action", "a"}, {"retryCount", 0}}},
      {"tool_execution", {{"intentId", opened}, {"toolName", "t"}, {"args", Json::object()}, {"durationMs", 1}}},
      {"knowledge_sync_result", {{"sourceId", "s"}, {"status", "ready"}}},
      {"chat_history_response", {{"sessionId", "s"}, {"messages", Json::array()}}},
      {"channel_message_send", {{"channelId", "c"}, {"content", "forged"}}}};
  for (const auto& [type, payload] : words) {
    for (const Json& claim : {Json::object(), inVictimsName}) mallory->say(type, payload, claim);
  }
  // Signed in mallory's own name, and with the victim's name in the token.
  for (const bool asVictim : {false, true}) {
    mallory->result(asked, R"("forged")", [&](Json& payload, Map& body) {
      if (!asVictim) return;
      put(body, "agentDid", victimDid);
      payload.erase("publicKey");
    });
  }
  run();
  EXPECT_FALSE(reply.done()) << "a stranger's answer counted";
  EXPECT_FALSE(third.done());
  EXPECT_EQ(*chat.heard, "");
  EXPECT_EQ(heartbeat(), before);
  EXPECT_EQ(view(mallory->did().value)->lastHeartbeat->name, "forged") << "it is mallory's own";
  EXPECT_TRUE(isConnected(victimDid));

  world_.lanes->held = false;
  while (world_.runHandler()) {
  }
  ASSERT_TRUE(reply.done() && (*reply).ok());
  EXPECT_EQ((*reply)->output->text, R"({"did":"text_generation"})");
  EXPECT_EQ(*chat.heard, "heard: hello|done");
}

TEST_P(Insider, CountsItsAnswersWrong) {
  if (!GetParam()) GTEST_SKIP() << "an original does not count";
  auto mallory = insider(plan());
  const auto say = [&](const Chat& chat, const Json& seq, const std::string& chunk, const Json& question = {}) {
    Json payload{{"conversationId", chat.conversation}, {"chunk", chunk}, {"seq", seq}};
    if (!question.is_null()) payload["questionId"] = question;
    mallory->say("chat_response", payload);
    run();
  };
  // Again, back, and of another question: not heard.
  const Chat chat = chatWith(mallory->did().value);
  say(chat, 0, "a");
  say(chat, 1, "b");
  for (int i = 0; i < 50; ++i) say(chat, i % 2, "again");
  say(chat, 2, "other", "another-question");
  for (const Json& seq : std::vector<Json>{-1, 1.5e300, "2", Json::array()}) say(chat, seq, "no number");
  EXPECT_EQ(*chat.heard, "ab");
  EXPECT_TRUE(mallory->open());
  // Far ahead: asked for once, however often it is said, and then it is over.
  for (int i = 0; i < 50; ++i) say(chat, std::int64_t{1} << (i % 53), i % 53 == 1 ? "c" : "far");
  EXPECT_LE(mallory->count("chat_resume"), 1u);
  world_.advance(seconds(15));
  EXPECT_THAT(*chat.heard, ::testing::StartsWith("ab"));
  EXPECT_THAT(*chat.heard, ::testing::EndsWith("|error"));
  EXPECT_THAT(*chat.heard, ::testing::Not(::testing::HasSubstr("far")));
  EXPECT_EQ(plane_->counters().activeChats, 0u);
  // A question is not sent again to somebody who only says that it did not come.
  const Chat second = chatWith(mallory->did().value);
  const std::size_t asked = mallory->count("chat_message");
  for (int i = 0; i < 50; ++i) {
    mallory->say("chat_response", {{"conversationId", second.conversation}, {"error", "?"}, {"code", "not_found"}});
    run();
  }
  EXPECT_EQ(mallory->count("chat_message"), asked);
  EXPECT_EQ(*second.heard, "|error");
  // Coming and going costs one question for each handshake.
  const Chat third = chatWith(mallory->did().value);
  for (int i = 0; i < 10; ++i) {
    mallory->connect(world_.network);
    run();
    ASSERT_TRUE(mallory->connected());
    for (int n = 0; n < 5; ++n) {
      mallory->say("chat_response", {{"conversationId", third.conversation}, {"error", "?"}, {"code", "not_found"}});
      run();
    }
  }
  EXPECT_THAT(*third.heard, ::testing::EndsWith("|error"));
  EXPECT_EQ(plane_->counters().activeChats, 0u);
  EXPECT_TRUE(runs(victim_->getDid()));
}

TEST_P(Insider, AnswersOnlyWhatItWasAskedAndOnlyOnce) {
  auto mallory = insider(plan());
  const auto refused = [&] { return plane_->counters().messagesRefused; };
  auto r = refused();
  for (const char* id : {"never-asked", "00000000-0000-7000-8000-000000000000"}) {
    mallory->say("result", {{"intentId", id}, {"status", "success"}, {"output", 1}});
    mallory->say("chat_response", {{"conversationId", id}, {"chunk", "x"}});
    run();
  }
  EXPECT_EQ(refused(), r + 4);
  auto first = ask(mallory->did().value, "text_generation", R"({"n":1})");
  auto second = ask(mallory->did().value, "text_generation", R"({"n":2})");
  const auto intents = mallory->all("intent");
  const std::string answer = mallory->resultText(intents[0], R"("one")");
  mallory->say(answer);
  run();
  ASSERT_TRUE(first.done() && (*first).ok());
  EXPECT_EQ((*first)->output->text, R"("one")");
  // The answer to the first, played back for the second, and another one for the first.
  Json moved = parsed(answer);
  moved["payload"]["intentId"] = intents[1]["payload"]["id"];
  if (GetParam()) {
    mallory->say(moved.dump());
    run();
    EXPECT_FALSE(second.done());
  }
  mallory->say(mallory->resultText(intents[0], R"("changed my mind")"));
  run();
  Box<control::ControlPlane::IntentView> stored;
  plane_->intent(IntentId(intents[0]["payload"]["id"].get<std::string>()), std::nullopt, stored.reply());
  run();
  EXPECT_EQ((*stored)->row.output, R"("one")");
}

class SealedInsider : public World {};

TEST_F(SealedInsider, SignsResultsThatAreNotExactlyWhatItSends) {
  // Each lie is properly signed by mallory; the honest result counts afterwards.
  AgentPlan sealed{.features = kAllFeatures};
  auto mallory = insider(sealed);
  auto second = insider(sealed);
  auto earlier = ask(mallory->did().value, "text_generation");
  const Json earlierIntent = mallory->all("intent").back();
  mallory->result(earlierIntent, R"("earlier")");
  run();
  ASSERT_TRUE(earlier.done() && (*earlier).ok());
  auto reply = ask(mallory->did().value, "text_generation");
  const Json intent = mallory->all("intent").back();
  const std::string id = intent["payload"]["id"];
  const Bytes question = *base64Decode(intent["signature"].get<std::string>());
  const auto body = [](auto bend) -> Bend { return [=](Json&, Map& b) { bend(b); }; };
  const std::vector<std::pair<const char*, Bend>> lies = {
      {"unsigned", [](Json& p, Map&) { p.erase("signature"); }},
      {"null for a signature", [](Json& p, Map&) { p["signature"] = nullptr; }},
      {"signed by another agent", [&](Json& p, Map& b) { p["signature"] = tokenBy(second->self(), b); }},
      {"signed by another agent, with its key",
       [&](Json& p, Map& b) {
         p["signature"] = tokenBy(second->self(), b);
         p["publicKey"] = base64Encode(second->self().id());
       }},
      {"in the form of old handshakes",
       [&](Json& p, Map& b) {
         const Bytes bytes = msgpack::encode(b);
         p["signature"] = tokenOf(bytes, mallory->self().toVersion(IdVersion::V0).signV0(bytes));
       }},
      {"the question itself for an answer", [&](Json& p, Map&) { p["signature"] = intent["signature"]; }},
      {"the earlier question", body([&](Map& b) {
         const Bytes old = *base64Decode(earlierIntent["signature"].get<std::string>());
         put(b, "intentHash", BytesView(identity::sha256(BytesView(old).subspan(4, old.size() - 68))));
       })},
      {"the hash of the whole token",
       body([&](Map& b) { put(b, "intentHash", BytesView(identity::sha256(BytesView(question)))); })},
      {"no question", body([](Map& b) { drop(b, "intentHash"); })},
      {"half a hash", body([](Map& b) { put(b, "intentHash", Bytes(16, 1)); })},
      {"another id", body([](Map& b) { put(b, "intentId", "x"); })},
      {"another agent", body([&](Map& b) { put(b, "agentDid", second->did().value); })},
      {"another control plane", body([&](Map& b) { put(b, "controlPlaneDid", second->did().value); })},
      {"another type", body([](Map& b) { put(b, "type", "intent"); })},
      {"a protocol", body([](Map& b) { put(b, "protocol", "p2p"); })},
      {"two statuses", body([](Map& b) { b.emplace_back("status", "failed"); })},
      {"another status", body([](Map& b) { put(b, "status", "failed"); })},
      {"an error", body([](Map& b) { put(b, "error", "x"); })},
      {"no output hash", body([](Map& b) { drop(b, "outputHash"); })},
      {"another output hash", body([](Map& b) { put(b, "outputHash", Bytes(32, 1)); })},
      {"another time", body([](Map& b) { put(b, "executedAt", number(1)); })},
      {"no output where one is signed", [](Json& p, Map&) { p.erase("output"); }},
      {"failed where success is signed", [](Json& p, Map&) { p["status"] = "failed"; }},
      {"an error where none is signed", [](Json& p, Map&) { p["error"] = "x"; }},
      {"another time than signed", [](Json& p, Map&) { p["executedAt"] = "2020-01-01T00:00:00.000Z"; }}};
  for (const auto& [what, bend] : lies) {
    SCOPED_TRACE(what);
    mallory->forget();
    mallory->result(intent, R"("done")", bend);
    run();
    EXPECT_FALSE(reply.done()) << "it counted";
    EXPECT_TRUE(mallory->open());
    EXPECT_TRUE(mallory->last("result_ack").contains("refused"));
  }
  mallory->result(intent, R"("done")");
  run();
  ASSERT_TRUE(reply.done() && (*reply).ok());
  EXPECT_EQ((*reply)->output->text, R"("done")");
}

TEST_P(Insider, AsksForMoreThanItWasGrantedInVain) {
  AgentPlan modest = plan();
  modest.capabilities = {"text_generation"};
  auto mallory = insider(modest);
  mallory->say("heartbeat", Json::object());
  run();
  const auto granted = [&] {
    const Map certificate = mallory->certificate();
    const Value* list = member(certificate, "capabilities");
    return list ? *list : Value();
  };
  ASSERT_EQ(granted(), texts({"text_generation"}));
  // In a reissue, in a new connection, in the envelope, and by messages that only a control plane sends.
  mallory->plan.capabilities = {"text_generation", "system_command", "file_access"};
  mallory->plan.name = "operator";
  for (const char* type : {"update_capabilities", "auth_complete", "registration_approved"}) {
    mallory->say(type, {{"capabilities", {"system_command"}},
                        {"agentId", mallory->did().value},
                        {"did", mallory->did().value},
                        {"registrationId", "r"},
                        {"reason", ""}});
  }
  run();
  mallory->connect(world_.network);
  run();
  ASSERT_TRUE(mallory->connected());
  EXPECT_EQ(granted(), texts({"text_generation"}));
  EXPECT_EQ(mallory->last("auth_complete")["capabilities"], Json({"text_generation"}));
  // What it asked for is a wish that an operator can see.
  EXPECT_NE(view(mallory->did().value)->row.requestedCapabilities.find("system_command"), std::string::npos);
  EXPECT_EQ(view(mallory->did().value)->row.capabilities.find("system_command"), std::string::npos);
}

TEST_P(Insider, IsHeardOnlyWhileItIsApproved) {
  auto waiting = stranger(plan());
  waiting->connect(world_.network);
  run();
  ASSERT_EQ(waiting->count("registration_pending"), 1u);
  for (const char* type : {"heartbeat", "result", "chat_response", "tool_approval_request"}) {
    waiting->say(type, {{"intentId", "i"},
                        {"status", "success"},
                        {"conversationId", "c"},
                        {"requestId", "r"},
                        {"toolName", "t"},
                        {"args", Json::object()}});
  }
  run();
  EXPECT_EQ(waiting->count("pong"), 0u);
  EXPECT_EQ(waiting->count("tool_approval_response"), 0u);

  auto mallory = insider(plan());
  auto reply = ask(mallory->did().value, "text_generation");
  const Json intent = mallory->all("intent").back();
  const std::string answer = mallory->resultText(intent, "1");
  const std::string token = answer;
  Box<std::monostate> deleted;
  plane_->deleteAgent(mallory->did(), "operator", deleted.reply());
  run();
  EXPECT_TRUE(mallory->closed);
  EXPECT_TRUE(reply.done() && !(*reply).ok());
  // It comes back with the same key: as a stranger, whose answers to old questions are nobody's.
  mallory->connect(world_.network);
  run();
  EXPECT_EQ(mallory->count("auth_complete"), 0u);
  EXPECT_EQ(mallory->count("registration_pending"), 1u);
  mallory->say(answer);
  run();
  Box<control::ControlPlane::IntentView> stored;
  plane_->intent(IntentId(intent["payload"]["id"].get<std::string>()), std::nullopt, stored.reply());
  run();
  EXPECT_EQ((*stored)->row.status, "lost");
}

TEST_P(Insider, NamesThatCouldDriveATerminalAreRefused) {
  for (const std::string& name : {std::string("a\x1b[2J"), std::string("a\nb"), std::string("\u009b31m"),
                                  std::string(129, 'x'), std::string("a\x7f")}) {
    AgentPlan p = plan();
    p.name = name;
    auto mallory = stranger(p);
    mallory->plan.stopAt = StopAt::BeforeRegister;
    mallory->connect(world_.network);
    run();
    mallory->say("register", {{"name", "plain"}, {"version", "1"}});
    run();
    mallory->plan.stopAt = StopAt::Nowhere;
    mallory->startHandshake(mallory->sessionId);
    run();
    EXPECT_EQ(mallory->count("registration_pending"), 0u) << name;
  }
  AgentPlan many = plan();
  many.capabilities.assign(65, "c");
  auto mallory = stranger(many);
  mallory->connect(world_.network);
  run();
  EXPECT_EQ(mallory->count("registration_pending"), 0u);
  EXPECT_TRUE(pendingRegistrations().empty());
}

TEST_P(Insider, FloodsItsOwnConnectionOnly) {
  // Answers that nobody asked for, requests for approval, heartbeats: what an authenticated agent may send at will.
  auto mallory = insider(plan());
  const std::string victimDid = victim_->getDid();
  for (int i = 0; i < 5000; ++i) {
    mallory->say("result", {{"intentId", "i-" + std::to_string(i)}, {"status", "success"}, {"output", 1}});
    mallory->say("tool_approval_request", {{"requestId", "r-" + std::to_string(i)}, {"toolName", "t"}, {"args", {}}});
    mallory->say("heartbeat", Json::object());
  }
  run();
  EXPECT_TRUE(runs(victimDid));
  EXPECT_LE(audited("intent.result"), 1u) << "what does not count must not fill the store";
}

INSTANTIATE_TEST_SUITE_P(Channel, Insider, ::testing::Bool(),
                         [](const auto& sealed) { return sealed.param ? "Sealed" : "LikeTheOriginal"; });

}  // namespace
}  // namespace vaultysclaw::attacks
