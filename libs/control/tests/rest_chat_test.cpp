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
            "data: {\"conversationId\":\"c-1\"}\n\nid: 0\ndata: {\"thinking\":\"hm\"}\n\nid: 1\ndata: "
            "{\"chunk\":\"a\\nb\\\"\"}\n\nid: 2\ndata: [DONE]\n\n");
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

TEST_F(RestChat, ResumesFromTheNumberThatTheClientNames) {
  const std::string path = "/api/chat/" + kDid.value + "/c-1";
  const auto at = [&](const std::string& query, const std::string& last = "") {
    auto r = request("GET", path + query);
    if (!last.empty()) r.headers.emplace_back("Last-Event-ID", last);
    return start(std::move(r));
  };
  auto a = at("?fromSeq=7");
  EXPECT_EQ(plane.lastId, kDid.value + " c-1 7");
  EXPECT_EQ(a->status, 200);
  auto events = plane.chatEvents;
  events.onChunk("x");
  events.onError("failed", "no");
  loop.runUntilIdle();
  EXPECT_EQ(a->body,
            "data: {\"conversationId\":\"c-1\"}\n\nid: 7\ndata: {\"chunk\":\"x\"}\n\nid: 8\ndata: "
            "{\"error\":\"no\",\"code\":\"failed\"}\n\ndata: [DONE]\n\n");
  at("");
  EXPECT_EQ(plane.lastId, kDid.value + " c-1 0");
  at("?fromSeq=7", "11");
  EXPECT_EQ(plane.lastId, kDid.value + " c-1 12") << "what the client has read last";
  for (const char* wrong : {"x", "-1", "1x", "99999999999999999999", "9007199254740992"})
    EXPECT_EQ(at("", wrong)->status, 400) << wrong;
  EXPECT_EQ(at("?fromSeq=-1")->status, 400);
  EXPECT_EQ(at("?from=1")->status, 400);
  EXPECT_EQ(send("GET", "/api/chat/nobody/c-1").status, 404);
  EXPECT_EQ(send("HEAD", path).status, 405);
  plane.error = Error{Errc::NotFound, "the control plane was restarted"};
  EXPECT_EQ(at("")->status, 404);
  plane.error = Error{Errc::Expired, "it is over"};
  EXPECT_EQ(at("")->status, 410);
  EXPECT_EQ(at("")->parsed()["error"], "it is over");
}

TEST_F(RestChat, ToBeReplacedIsNoEventOfTheAnswer) {
  auto a = chat(R"("message":"hi","resumable":true)");
  auto events = plane.chatEvents;
  events.onError("conflict", "another request reads this answer now");
  loop.runUntilIdle();
  EXPECT_EQ(a->body.find("id: "), std::string::npos) << a->body;
  EXPECT_TRUE(a->ended);
}

TEST_F(RestChat, IsResumableWhenAskedFor) {
  chat();
  EXPECT_EQ(plane.chatRequest->resumable, Resumable::No);
  chat(R"("message":"hi","resumable":true,"conversationId":"c/1")");
  EXPECT_EQ(plane.chatRequest->resumable, Resumable::No) << "a path could not name it";
  chat(R"("message":"hi","resumable":true,"conversationId":"c-1")");
  EXPECT_EQ(plane.chatRequest->resumable, Resumable::Yes);
}

TEST_F(RestChat, IsCancelledByDelete) {
  EXPECT_EQ(send("DELETE", "/api/chat/" + kDid.value + "/c-1").status, 204);
  EXPECT_EQ(plane.lastId, "cancel " + kDid.value + " c-1");
  plane.error = Error{Errc::NotFound, "nothing is being answered"};
  EXPECT_EQ(send("DELETE", "/api/chat/" + kDid.value + "/c-1").status, 404);
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
