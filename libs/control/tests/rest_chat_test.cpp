#include "rest_fakes.hpp"

namespace vaultysclaw::control::testing {
namespace {

class RestChat : public RestFixture {
 protected:
  std::shared_ptr<Answer> chat(const std::string& members = R"("message":"hi")") {
    return start(request("POST", "/api/chat", R"({"did":")" + kDid.value + "\"," + members + "}"));
  }
};

TEST_F(RestChat, StreamsEventsUntilDone) {
  auto a = chat(
      R"("messages":[{"role":"user","content":"a"},{"role":"assistant","content":""}],"conversationId":"c-1","thinking":true)");
  EXPECT_EQ(a->status, 200);
  EXPECT_EQ(a->header("Content-Type"), "text/event-stream; charset=utf-8");
  EXPECT_EQ(a->header("X-Content-Type-Options"), "nosniff");
  EXPECT_EQ(plane.chatRequest->messages.size(), 2U);
  EXPECT_EQ(plane.chatRequest->conversationId, ConversationId("c-1"));
  EXPECT_EQ(plane.chatRequest->thinking, true);
  EXPECT_FALSE(plane.chatRequest->stream.has_value());
  auto events = plane.chatEvents;
  events.onThinking("hm");
  events.onChunk("a\nb\"");
  events.onDone();
  events = {};
  loop.runUntilIdle();
  EXPECT_EQ(a->body,
            "data: {\"conversationId\":\"c-1\"}\n\ndata: {\"thinking\":\"hm\"}\n\ndata: "
            "{\"chunk\":\"a\\nb\\\"\"}\n\ndata: [DONE]\n\n");
  EXPECT_TRUE(a->ended);
  EXPECT_TRUE(a->exchangeGone);
  EXPECT_EQ(loop.pendingTimers(), 0U);
}

TEST_F(RestChat, AnErrorOnTheWayIsAnEvent) {
  auto a = chat();
  auto events = plane.chatEvents;
  events.onError("policy_denied", "no");
  loop.runUntilIdle();
  EXPECT_NE(a->body.find("data: {\"error\":\"no\",\"code\":\"policy_denied\"}\n\ndata: [DONE]\n\n"), std::string::npos);
  EXPECT_TRUE(a->ended);
}

TEST_F(RestChat, AnErrorAtTheStartIsAnAnswer) {
  plane.error = Error{Errc::Unavailable, "the agent is not connected"};
  auto a = chat();
  EXPECT_EQ(a->status, 503);
  EXPECT_FALSE(a->streaming);
  EXPECT_EQ(a->parsed()["code"], "unavailable");
  EXPECT_TRUE(a->exchangeGone);
}

TEST_F(RestChat, SendsKeepAlives) {
  auto a = chat();
  const std::size_t before = a->body.size();
  loop.advance(seconds(31));
  EXPECT_EQ(a->body.substr(before), ": keep-alive\n\n: keep-alive\n\n");
  EXPECT_FALSE(a->ended);
}

TEST_F(RestChat, ClosingTheRequestEndsTheConversation) {
  auto a = chat();
  a->onGone();
  loop.runUntilIdle();
  EXPECT_EQ(plane.chatsCancelled, 1);
  EXPECT_TRUE(a->exchangeGone);
  EXPECT_EQ(loop.pendingTimers(), 0U);
}

TEST_F(RestChat, AClientThatReadsTooSlowlyEndsTheConversation) {
  auto a = chat();
  a->acceptWrites = false;
  auto events = plane.chatEvents;
  events.onChunk("x");
  events.onChunk("y");
  events = {};
  loop.runUntilIdle();
  EXPECT_EQ(plane.chatsCancelled, 1);
  EXPECT_TRUE(a->exchangeGone);
}

TEST_F(RestChat, AClientThatGoesBeforeTheStartEndsTheConversation) {
  plane.holdReplies = true;
  auto a = chat();
  a->onGone();
  plane.releaseHeld();
  loop.runUntilIdle();
  EXPECT_EQ(plane.chatsCancelled, 1);
  EXPECT_FALSE(a->streaming);
}

TEST_F(RestChat, TakesTheOriginalsMemberNames) {
  auto a = start(
      request("POST", "/api/chat",
              R"({"agentDid":")" + kDid.value + R"(","sessionId":"s","messages":[{"role":"user","content":"x"}]})"));
  EXPECT_EQ(a->status, 200);
  EXPECT_EQ(plane.chatRequest->did, kDid);
  EXPECT_EQ(plane.chatRequest->conversationId, ConversationId("s"));
}

TEST_F(RestChat, NamesWhatIsWrong) {
  const std::pair<const char*, const char*> cases[] = {
      {R"("stream":true)", "messages"},
      {R"("messages":[])", "messages"},
      {R"("messages":"hi")", "messages"},
      {R"("messages":["hi"])", "messages"},
      {R"("message":"a","messages":[{"role":"user","content":"x"}])", "message"},
      {R"("messages":[{"role":"root","content":"x"}])", "messages[0].role"},
      {R"("messages":[{"role":"user"}])", "messages[0].content"},
      {R"("messages":[{"role":"user","content":"x","name":"y"}])", "messages[0].name"},
      {R"("message":"a","stream":"yes")", "stream"},
      {R"("message":"a","conversationId":"\n")", "conversationId"},
  };
  for (const auto& [members, member] : cases) {
    auto a = chat(members);
    EXPECT_EQ(a->status, 400) << members;
    EXPECT_TRUE(a->parsed()["details"].contains(member)) << members << " -> " << a->body;
  }
  EXPECT_FALSE(plane.chatRequest.has_value());
}

}  // namespace
}  // namespace vaultysclaw::control::testing
