#include "control_fixture.hpp"

namespace vaultysclaw::control::testing {
namespace {

using protocol::ChatResponse;

// What a listener of one chat has heard, as one text.
struct Heard {
  std::shared_ptr<std::string> log = std::make_shared<std::string>();
  ChatEvents events() const {
    ChatEvents e;
    e.onChunk = [log = log](std::string_view text) { *log += "[" + std::string(text) + "]"; };
    e.onThinking = [log = log](std::string_view text) { *log += "(" + std::string(text) + ")"; };
    e.onDone = [log = log] { *log += "done"; };
    e.onError = [log = log](std::string_view code, std::string_view) { *log += "error " + std::string(code); };
    return e;
  }
};

class Chat : public ControlTest {
 protected:
  void SetUp() override { start(); }

  static ChatRequest request(const Did& did, std::optional<std::string> conversation = std::nullopt) {
    ChatRequest r;
    r.did = did;
    if (conversation) r.conversationId = ConversationId(*conversation);
    r.messages = {{"user", "one two three", {}}};
    r.stream = true;
    return r;
  }
  Result<ControlPlane::StartedChat> begin(ChatRequest r, const Heard& heard) {
    std::optional<Result<ControlPlane::StartedChat>> out;
    plane->chat(std::move(r), heard.events(),
                [&](Result<ControlPlane::StartedChat> started) { out.emplace(std::move(started)); });
    EXPECT_FALSE(out) << "replied before the call returned";
    run();
    EXPECT_TRUE(out);
    return std::move(*out);
  }
  static ChatResponse chunk(const ConversationId& id, std::string text, bool thinking = false) {
    ChatResponse r;
    r.conversationId = id;
    r.chunk = std::move(text);
    r.thinking = thinking;
    return r;
  }
  static ChatResponse done(const ConversationId& id) {
    ChatResponse r;
    r.conversationId = id;
    r.done = true;
    return r;
  }
};

TEST_F(Chat, StreamsThinkingAndChunksUntilDone) {
  auto agent = connectedAgent();
  Heard heard;
  auto chat = begin(request(agent->did()), heard);
  ASSERT_TRUE(chat.ok()) << chat.error().message;
  const auto* asked = agent->last<protocol::ChatRequest>();
  ASSERT_TRUE(asked);
  EXPECT_EQ(asked->conversationId, chat->conversationId);
  EXPECT_EQ(asked->messages.at(0).content, "one two three");
  agent->send(chunk(chat->conversationId, "hm", true));
  agent->send(chunk(chat->conversationId, "one "));
  agent->send(chunk(chat->conversationId, "two"));
  agent->send(done(chat->conversationId));
  agent->send(chunk(chat->conversationId, "late"));
  run();
  EXPECT_EQ(*heard.log, "(hm)[one ][two]done");
  EXPECT_EQ(plane->counters().activeChats, 0U);
  EXPECT_EQ(plane->counters().chatsStarted, 1U);
  EXPECT_EQ(audited("chat.start"), 1U);
}

TEST_F(Chat, MapsErrors) {
  auto agent = connectedAgent();
  Heard heard;
  auto chat = begin(request(agent->did()), heard);
  ChatResponse failed;
  failed.conversationId = chat->conversationId;
  failed.error = "no model";
  failed.errorCode = "llm_unavailable";
  agent->send(failed);
  run();
  EXPECT_EQ(*heard.log, "error llm_unavailable");
  Heard second;
  auto again = begin(request(agent->did()), second);
  failed.conversationId = again->conversationId;
  failed.errorCode.reset();
  failed.code = "policy_denied";
  agent->send(failed);
  run();
  EXPECT_EQ(*second.log, "error policy_denied");
}

TEST_F(Chat, AgentThatGoesIsOffline) {
  auto agent = connectedAgent();
  Heard heard;
  auto chat = begin(request(agent->did()), heard);
  agent->send(chunk(chat->conversationId, "one"));
  run();
  agent->disconnect();
  run();
  EXPECT_EQ(*heard.log, "[one]error agent_offline");
  EXPECT_EQ(begin(request(agent->did()), heard).error().code, Errc::Unavailable);
}

TEST_F(Chat, TimesOut) {
  auto agent = connectedAgent();
  Heard heard;
  auto chat = begin(request(agent->did()), heard);
  for (int i = 0; i < 21; ++i) {
    agent->send(protocol::Heartbeat{});
    loop.advance(seconds(30));
  }
  EXPECT_EQ(*heard.log, "error deadline_exceeded");
  EXPECT_FALSE(agent->last<protocol::Cancel>());
}

TEST_F(Chat, DroppingTheHandleSilencesIt) {
  auto agent = connectedAgent();
  Heard heard;
  auto chat = begin(request(agent->did(), "conversation-1"), heard);
  agent->send(chunk(chat->conversationId, "one"));
  run();
  chat->handle.reset();
  EXPECT_EQ(begin(request(agent->did(), "conversation-1"), heard).error().code, Errc::Busy)
      << "the rest of the first answer would be taken for the second";
  agent->send(chunk(chat->conversationId, "two"));
  agent->send(done(chat->conversationId));
  run();
  EXPECT_EQ(*heard.log, "[one]");
  Heard next;
  EXPECT_TRUE(begin(request(agent->did(), "conversation-1"), next).ok());
}

TEST_F(Chat, DroppingTheHandleStopsAnAgentThatListedTheFeature) {
  TestAgent::Options o;
  o.features = {"control-v2"};
  auto agent = connectedAgent(o);
  Heard heard;
  auto finished = begin(request(agent->did(), "conversation-1"), heard);
  agent->send(done(finished->conversationId));
  run();
  auto chat = begin(request(agent->did(), "conversation-1"), heard);
  finished->handle.reset();
  run();
  EXPECT_FALSE(agent->last<protocol::Cancel>()) << "that one was over";
  chat->handle.reset();
  run();
  ASSERT_EQ(agent->count<protocol::Cancel>(), 1U);
  EXPECT_EQ(agent->last<protocol::Cancel>()->conversationId, ConversationId("conversation-1"));
  EXPECT_EQ(plane->counters().activeChats, 1U) << "until the agent has ended it";
  loop.advance(seconds(60));
  agent->send(protocol::Heartbeat{});
  ChatResponse stopped;
  stopped.conversationId = ConversationId("conversation-1");
  stopped.error = "stopped";
  stopped.code = "cancelled";
  agent->send(stopped);
  run();
  EXPECT_EQ(plane->counters().activeChats, 0U);

  auto outlives = begin(request(agent->did()), heard);
  plane.reset();
  outlives->handle.reset();
  run();
}

TEST_F(Chat, DroppingTheHandleSaysNothingToOtherAgents) {
  auto agent = connectedAgent();
  Heard heard;
  auto chat = begin(request(agent->did()), heard);
  chat->handle.reset();
  run();
  EXPECT_FALSE(agent->last<protocol::Cancel>());
}

TEST_F(Chat, HandleMayBeDroppedFromItsOwnListener) {
  auto agent = connectedAgent();
  Heard heard;
  std::optional<ControlPlane::StartedChat> started;
  auto events = heard.events();
  events.onChunk = [&](std::string_view text) {
    *heard.log += text;
    started.reset();
    *heard.log += "!";
  };
  plane->chat(request(agent->did()), events,
              [&](Result<ControlPlane::StartedChat> s) { started.emplace(std::move(s).value()); });
  run();
  const auto id = started->conversationId;
  agent->send(chunk(id, "one"));
  agent->send(chunk(id, "two"));
  agent->send(done(id));
  run();
  EXPECT_EQ(*heard.log, "one!");
}

TEST_F(Chat, OnlyTheAgentThatWasAskedAnswers) {
  auto agent = connectedAgent();
  auto other = connectedAgent();
  Heard heard;
  auto chat = begin(request(agent->did()), heard);
  other->send(chunk(chat->conversationId, "forged"));
  other->send(done(chat->conversationId));
  run();
  EXPECT_EQ(*heard.log, "");
  EXPECT_EQ(plane->counters().messagesRefused, 2U);
}

TEST_F(Chat, BoundsAndChecksRequests) {
  options.maxChatsPerAgent = 2;
  restart();
  auto agent = connectedAgent();
  Heard heard;
  auto wrong = request(agent->did());
  wrong.messages.clear();
  EXPECT_EQ(begin(wrong, heard).error().code, Errc::InvalidArgument);
  wrong = request(agent->did());
  wrong.messages[0].role = "system";
  EXPECT_EQ(begin(wrong, heard).error().code, Errc::InvalidArgument);
  EXPECT_EQ(begin(request(Did("did:vaultys:00ff")), heard).error().code, Errc::NotFound);
  auto one = begin(request(agent->did()), heard);
  auto two = begin(request(agent->did()), heard);
  EXPECT_EQ(begin(request(agent->did()), heard).error().code, Errc::Busy);
  EXPECT_EQ(*heard.log, "");
}

TEST_F(Chat, ShutdownEndsIt) {
  auto agent = connectedAgent();
  Heard heard;
  auto chat = begin(request(agent->did()), heard);
  plane->shutdown();
  run();
  EXPECT_EQ(*heard.log, "error interrupted");
}

}  // namespace
}  // namespace vaultysclaw::control::testing
