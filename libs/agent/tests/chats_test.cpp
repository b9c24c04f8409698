#include "agent_fixture.hpp"
#include "base/utf8.hpp"

namespace vaultysclaw::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

class Chats : public AgentTest {
 protected:
  void chat(const std::string& conversation, const std::string& text = "hello",
            std::optional<std::int64_t> timeoutMs = {}) {
    cp.chat(conversation, text, timeoutMs);
    world.run();
  }
};

TEST_F(Chats, StreamAndEndWithDone) {
  connect();
  agent->chat = [](auto messages, ChatSink& out, CallContext& call) {
    EXPECT_EQ(call.conversationId(), "c1");
    EXPECT_EQ(messages.back().role, "user");
    EXPECT_TRUE(out.send("one "));
    EXPECT_TRUE(out.sendThinking("hmm"));
    EXPECT_TRUE(out.send("two"));
  };
  chat("c1");
  EXPECT_EQ(heard("c1"), "one <hmm>two|done");
}

TEST_F(Chats, HoldBackIncompleteCharacters) {
  connect();
  agent->chat = [](auto, ChatSink& out, CallContext&) {
    for (const char c : std::string("a\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80z")) out.send(std::string_view(&c, 1));
    out.send("\xFF!");
    out.send("\xE2\x82");  // never completed
  };
  chat("c1");
  EXPECT_EQ(heard("c1"), "a\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80z\xEF\xBF\xBD!\xEF\xBF\xBD\xEF\xBF\xBD|done");
  for (const auto& r : cp.all<protocol::ChatResponse>()) {
    EXPECT_TRUE(isValidUtf8(r.chunk.value_or("")));
  }
}

TEST_F(Chats, CloseOnce) {
  connect();
  agent->chat = [](auto, ChatSink& out, CallContext&) {
    out.done();
    EXPECT_TRUE(out.closed());
    EXPECT_FALSE(out.send("more"));
    out.fail("llm_error", "no");
  };
  chat("c1");
  EXPECT_EQ(heard("c1"), "|done");
}

TEST_F(Chats, FailWithTheHandlersCode) {
  connect();
  agent->chat = [](auto, ChatSink& out, CallContext&) { out.fail("llm_unavailable", "no model"); };
  chat("c1");
  EXPECT_EQ(heard("c1"), "|error:llm_unavailable:failed:no model");
  agent->chat = [](auto, ChatSink& out, CallContext&) {
    out.send("part");
    throw std::runtime_error("broke");
  };
  chat("c2");
  EXPECT_EQ(heard("c2"), "part|error:llm_error:failed:broke");
}

TEST_F(Chats, PassGates2To5) {
  cp.capabilities = {};  // chat has no capability name
  cp.maxRequestsPerHour = 1;
  connect();
  chat("c1");
  EXPECT_EQ(heard("c1"), "hello|done");
  chat("c2");
  EXPECT_THAT(heard("c2"), StartsWith("|error:llm_unavailable:policy_denied:Hourly request limit"));
  EXPECT_EQ(agent->chats, 1);
}

TEST_F(Chats, EndAtTheDeadlineAtOnce) {
  connect();
  world.lanes->held = true;
  agent->chat = [&](auto, ChatSink& out, CallContext&) {
    out.send("part");
    world.advance(seconds(3));
    EXPECT_THAT(heard("c1"), HasSubstr("deadline_exceeded"));
    EXPECT_FALSE(out.send("late"));
  };
  chat("c1", "hello", 2000);
  world.runHandler();
  EXPECT_EQ(heard("c1"), "part|error:llm_error:deadline_exceeded:the deadline has passed");
}

TEST_F(Chats, AreCancelled) {
  connect();
  world.lanes->held = true;
  agent->chat = [&](auto, ChatSink& out, CallContext& call) {
    protocol::Cancel cancel;
    cancel.conversationId = ConversationId("c1");
    cp.send(cancel);
    world.run();
    EXPECT_FALSE(out.send("more"));
    call.throwIfStopped();
  };
  chat("c1");
  world.runHandler();
  EXPECT_EQ(heard("c1"), "|error:llm_error:cancelled:cancelled by the caller");
}

TEST_F(Chats, SayThatNobodyListensWhenTheConnectionIsLost) {
  cp.features = {};  // nobody will ask for the rest
  connect();
  world.lanes->held = true;
  bool sent = true;
  agent->chat = [&](auto, ChatSink& out, CallContext& call) {
    world.network.cutAll();
    world.run();
    sent = out.send("anyone?");
    EXPECT_EQ(call.stopReason(), StopReason::CallerCancelled);
  };
  chat("c1");
  world.runHandler();
  EXPECT_FALSE(sent);
}

TEST_F(Chats, PassOptionsAndTrace) {
  connect();
  CallOptions options;
  std::string trace;
  agent->chat = [&](auto, ChatSink&, CallContext& call) {
    options = call.options();
    trace = call.traceparent();
  };
  protocol::ChatRequest request;
  request.conversationId = ConversationId("c1");
  request.messages = {{"user", "x", {}}};
  request.stream = true;
  request.thinking = false;
  request.trace = protocol::TraceContext{"00-aa-bb-01", ""};
  cp.send(request);
  world.run();
  EXPECT_EQ(options.stream, true);
  EXPECT_EQ(options.thinking, false);
  EXPECT_EQ(trace, "00-aa-bb-01");
}

}  // namespace
}  // namespace vaultysclaw::testing
