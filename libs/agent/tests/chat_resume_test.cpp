// Answers to chats over a connection that breaks (docs/protocol.md 7.8).
#include "agent_fixture.hpp"
#include "answers.hpp"
#include "call.hpp"

namespace vaultysclaw::testing {
namespace {

using protocol::ChatResponse;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class ChatResume : public AgentTest {
 protected:
  // Returns the question's id. Its handler waits for world.runHandler().
  std::string ask(const std::string& conversation, std::optional<std::int64_t> timeoutMs = {}) {
    world.lanes->held = true;
    protocol::ChatRequest request;
    request.conversationId = ConversationId(conversation);
    request.messages = {{"user", "hello", {}}};
    request.timeoutMs = timeoutMs;
    channel = cp.channel();
    const std::string id = cp.send(std::move(request));
    world.run();
    return id;
  }
  void breakConnection() {
    world.network.cutAll();
    world.run();
  }
  void comeBack() {
    world.advance(seconds(10));
    ASSERT_TRUE(cp.connected());
    cp.forget();
  }
  void resume(const std::string& conversation, const std::string& question, std::int64_t from,
              std::optional<std::string> overChannel = {}) {
    cp.send(protocol::ChatResume{ConversationId(conversation), question, from, std::move(overChannel)});
    world.run();
  }
  // Number and text of each message of an answer, its end as "done" or its code.
  std::vector<std::string> numbered() const {
    std::vector<std::string> out;
    for (const auto& r : cp.all<ChatResponse>()) {
      const std::string what = r.error ? r.code.value_or("error") : r.done ? "done" : r.chunk.value_or("");
      out.push_back((r.seq ? std::to_string(*r.seq) : "-") + " " + what);
    }
    return out;
  }

  std::string channel;  // over which the last question went
};

TEST_F(ChatResume, NumbersEachMessageAndNamesItsQuestion) {
  connect();
  agent->chat = [](auto, ChatSink& out, CallContext&) {
    out.send("one");
    out.sendThinking("hm");
  };
  const std::string id = ask("c1");
  world.runHandler();
  EXPECT_THAT(numbered(), ElementsAre("0 one", "1 hm", "2 done"));
  for (const auto& r : cp.all<ChatResponse>()) EXPECT_EQ(r.questionId, id);
}

TEST_F(ChatResume, GoesOnWhileTheConnectionIsLostAndThenFromWhereItBroke) {
  connect();
  std::string id;
  agent->chat = [&](auto, ChatSink& out, CallContext& call) {
    EXPECT_TRUE(out.send("zero"));
    EXPECT_TRUE(out.send("one"));
    world.run();
    breakConnection();
    EXPECT_TRUE(out.send("two"));
    comeBack();
    EXPECT_TRUE(out.send("three"));
    world.run();
    EXPECT_THAT(numbered(), IsEmpty()) << "nobody has asked for it yet";
    resume("c1", id, 1);
    EXPECT_THAT(numbered(), ElementsAre("1 one", "2 two", "3 three"));
    EXPECT_TRUE(out.send("four"));
    breakConnection();
    comeBack();
    resume("c1", id, 5);
    EXPECT_TRUE(out.send("five"));
    EXPECT_FALSE(call.stopRequested());
  };
  id = ask("c1", 10 * 60'000);
  world.runHandler();
  EXPECT_THAT(numbered(), ElementsAre("5 five", "6 done"));
}

TEST_F(ChatResume, BeforeTheFirstPieceAndAfterTheEnd) {
  connect();
  const std::string id = ask("c1");
  breakConnection();
  comeBack();
  resume("c1", id, 0);
  world.runHandler();
  EXPECT_THAT(numbered(), ElementsAre("0 hello", "1 done"));
  breakConnection();
  comeBack();
  resume("c1", id, 1);
  resume("c1", id, 0);
  resume("c1", id, 2);  // all of it has come
  EXPECT_THAT(numbered(), ElementsAre("1 done", "0 hello", "1 done"));
  cp.forget();
  world.advance(seconds(121));
  resume("c1", id, 1, channel);
  EXPECT_THAT(numbered(), ElementsAre("- interrupted"));
  EXPECT_EQ(agent->chats, 1);
}

TEST_F(ChatResume, StopsTheHandlerWhenNobodyAsksForTwoMinutes) {
  connect();
  agent->chat = [&](auto, ChatSink& out, CallContext& call) {
    breakConnection();
    world.advance(seconds(115));
    EXPECT_TRUE(cp.connected());
    EXPECT_TRUE(out.send("still"));
    EXPECT_EQ(call.stopReason(), StopReason::None);
    world.advance(seconds(6));
    EXPECT_FALSE(out.send("no more"));
    EXPECT_EQ(call.stopReason(), StopReason::CallerCancelled);
    EXPECT_TRUE(call.stopRequested());
  };
  const std::string id = ask("c1", 10 * 60'000);
  world.runHandler();
  cp.forget();
  resume("c1", id, 0, channel);
  EXPECT_THAT(numbered(), ElementsAre("- interrupted"));
}

TEST_F(ChatResume, TellsAQuestionThatNeverCameFromOneThatIsForgotten) {
  connect();
  const std::string before = cp.channel();
  breakConnection();
  comeBack();
  resume("c1", "never-sent", 0, before);
  EXPECT_THAT(numbered(), ElementsAre("- not_found"));
  cp.forget();
  resume("c1", "never-sent", 0, "another");
  resume("c1", "never-sent", 0);
  EXPECT_THAT(numbered(), ElementsAre("- interrupted", "- interrupted"));
  EXPECT_THAT(*cp.last<ChatResponse>()->questionId, "never-sent");

  const std::string id = ask("c2");
  world.lanes->held = false;
  while (world.runHandler()) {
  }
  connect();  // another process with the same identity
  resume("c2", id, 0, channel);
  EXPECT_THAT(numbered(), ElementsAre("- interrupted"));
}

TEST_F(ChatResume, AQuestionThatComesTwiceRunsOnce) {
  connect();
  world.lanes->held = true;
  protocol::ChatRequest request;
  request.conversationId = ConversationId("c1");
  request.messages = {{"user", "hello", {}}};
  cp.send(request, {}, "question-1");
  cp.send(request, {}, "question-1");
  world.run();
  world.runHandler();
  EXPECT_FALSE(world.runHandler());
  cp.forget();
  cp.send(request, {}, "question-1");
  world.run();
  EXPECT_THAT(numbered(), ElementsAre("0 hello", "1 done"));
  cp.forget();
  world.advance(seconds(130));
  cp.send(request, {}, "question-1");
  world.run();
  EXPECT_THAT(numbered(), ElementsAre("- interrupted"));
  EXPECT_EQ(agent->chats, 1);
}

TEST_F(ChatResume, IsNotForAnOriginalControlPlane) {
  cp.features = {};
  connect();
  agent->chat = [&](auto, ChatSink& out, CallContext& call) {
    EXPECT_TRUE(out.send("one"));
    world.run();
    EXPECT_THAT(numbered(), ElementsAre("- one"));
    EXPECT_FALSE(cp.last<ChatResponse>()->questionId);
    breakConnection();
    EXPECT_FALSE(out.send("two"));
    EXPECT_EQ(call.stopReason(), StopReason::CallerCancelled);
  };
  const std::string id = ask("c1");
  world.runHandler();
  comeBack();
  resume("c1", id, 0);
  EXPECT_THAT(numbered(), IsEmpty());
}

TEST_F(ChatResume, RefusesWhatWasNotAsked) {
  connect();
  const std::string id = ask("c1");
  world.runHandler();
  cp.forget();
  resume("c2", id, 0);
  resume("c1", id, 3);
  resume("c1", id, std::int64_t{1} << 53);
  EXPECT_THAT(numbered(), ElementsAre("- invalid", "- invalid", "- invalid"));
  EXPECT_THAT(cp.last<ChatResponse>()->error.value_or(""), HasSubstr("not that long"));
}

TEST_F(ChatResume, WhatIsTooLongToBeKeptEndsWithAClearError) {
  connect();
  const std::string part(std::size_t{1} << 19, 'x');
  std::string id;
  agent->chat = [&](auto, ChatSink& out, CallContext& call) {
    breakConnection();
    for (int i = 0; i < 3; ++i) {
      EXPECT_TRUE(out.send(part)) << i;
      world.run();
    }
    EXPECT_EQ(call.stopReason(), StopReason::None);
    out.send(part);
    world.run();
    EXPECT_EQ(call.stopReason(), StopReason::CallerCancelled);
    EXPECT_FALSE(out.send(part));
  };
  id = ask("c1", 10 * 60'000);
  world.runHandler();
  comeBack();
  resume("c1", id, 0, channel);
  EXPECT_THAT(numbered(), ElementsAre("- interrupted"));

  // While it flows, only the oldest pieces go.
  agent->chat = [&](auto, ChatSink& out, CallContext& call) {
    for (int i = 0; i < 10; ++i) {
      EXPECT_TRUE(out.send(part));
      world.run();
    }
    EXPECT_EQ(call.stopReason(), StopReason::None);
    cp.forget();
    resume("c2", id, 8);
    EXPECT_EQ(cp.all<ChatResponse>().size(), 2u);
    cp.forget();
    resume("c2", id, 0);
    EXPECT_THAT(numbered(), ElementsAre("- interrupted"));
    EXPECT_EQ(call.stopReason(), StopReason::CallerCancelled) << "nobody can read it any more";
  };
  id = ask("c2", 10 * 60'000);
  while (world.runHandler()) {  // hooks of the new connection come first
  }
}

TEST_F(ChatResume, ACancelReachesOneThatWasResumed) {
  connect();
  std::string id;
  agent->chat = [&](auto, ChatSink& out, CallContext& call) {
    out.send("one");
    breakConnection();
    comeBack();
    resume("c1", id, 0);
    protocol::Cancel cancel;
    cancel.conversationId = ConversationId("c1");
    cp.send(cancel);
    world.run();
    EXPECT_EQ(call.stopReason(), StopReason::CallerCancelled);
  };
  id = ask("c1");
  world.runHandler();
  EXPECT_THAT(numbered(), ElementsAre("0 one", "1 cancelled"));
}

TEST_F(ChatResume, TheDeadlineHoldsWhileTheConnectionIsLost) {
  connect();
  std::string id;
  agent->chat = [&](auto, ChatSink& out, CallContext& call) {
    breakConnection();
    world.advance(seconds(20));
    EXPECT_EQ(call.stopReason(), StopReason::Deadline);
    EXPECT_FALSE(out.send("late"));
  };
  id = ask("c1", 15'000);
  world.runHandler();
  cp.forget();
  resume("c1", id, 0);
  EXPECT_THAT(numbered(), ElementsAre("0 deadline_exceeded"));
}

TEST_F(ChatResume, AFloodOfResumesIsBounded) {
  connect();
  const std::string part(std::size_t{1} << 18, 'x');
  agent->chat = [&](auto, ChatSink& out, CallContext&) {
    for (int i = 0; i < 6; ++i) {
      out.send(part);
      world.run();
    }
  };
  const std::string id = ask("c1");
  world.runHandler();
  cp.forget();
  world.network.hold();
  for (int i = 0; i < 1000; ++i) {
    cp.send(protocol::ChatResume{ConversationId("c1"), id, 0, {}});
    world.network.releaseFrames(1);
    world.run();
  }
  EXPECT_EQ(agent->getStatus(), AgentStatus::Connected);
  world.network.release();
  world.run();
  EXPECT_EQ(numbered().back(), "6 done");
  EXPECT_LT(cp.all<ChatResponse>().size(), 2000u);
  EXPECT_EQ(agent->getStatus(), AgentStatus::Connected);
}

TEST_F(ChatResume, StoppingDoesNotWaitForSomebodyToAsk) {
  connect();
  const std::string id = ask("c1");
  breakConnection();
  comeBack();
  world.lanes->held = false;
  agent->requestStop();
  world.run();
  world.runHandler();
  world.run();
  EXPECT_EQ(agent->getStatus(), AgentStatus::Stopped);
}

// ---- the bounds

class AnswersTest : public ::testing::Test {
 protected:
  std::shared_ptr<detail::Answer> open(const std::string& id, detail::Resumable again = detail::Resumable::Yes) {
    return answers.open(id, "c", std::make_shared<detail::ChatStream>(std::make_shared<detail::Call>(), true), again);
  }
  // Everything that can be sent, as "question:number".
  std::vector<std::string> send(std::size_t most = 1000) {
    std::vector<std::string> out;
    while (out.size() < most) {
      const auto next = answers.next();
      if (!next) break;
      out.push_back(next->answer->questionId + ":" + std::to_string(next->seq));
      answers.sent(next->answer);
    }
    return out;
  }

  FakeClock clock;
  detail::Answers answers{clock};
};

TEST_F(AnswersTest, ThatFlowTakeTurns) {
  auto a = open("a"), b = open("b");
  for (int i = 0; i < 2; ++i) answers.append(*a, {"x", false}), answers.append(*b, {"y", false});
  answers.end(*b, {});
  EXPECT_THAT(send(), ElementsAre("a:0", "b:0", "a:1", "b:1", "b:2"));
}

TEST_F(AnswersTest, OldOnesMakeRoomForNewOnes) {
  const std::string text(std::size_t{1} << 18, 'x');
  for (int i = 0; i < 200; ++i) {
    auto answer = open("q" + std::to_string(i));
    answers.append(*answer, {text, false});
    answers.end(*answer, {});
    send();
    EXPECT_TRUE(answers.trim(*answer));
  }
  EXPECT_LE(answers.bytes(), detail::Answers::kMaxTotalBytes);
  EXPECT_TRUE(answers.find("q199"));
  EXPECT_FALSE(answers.find("q0"));
  EXPECT_TRUE(answers.knows("q0"));
  clock.advance(std::chrono::minutes(3));
  EXPECT_FALSE(answers.expired().empty());
  EXPECT_EQ(answers.bytes(), 0u);
}

TEST_F(AnswersTest, WhatWaitsForAConnectionIsBoundedInAll) {
  const std::string text(std::size_t{1} << 20, 'x');
  std::vector<std::shared_ptr<detail::Answer>> all;
  for (int i = 0; i < 20; ++i) all.push_back(open("q" + std::to_string(i)));
  answers.cut();
  std::size_t fit = 0;
  for (auto& answer : all) {
    answers.append(*answer, {text, false});
    if (answers.trim(*answer))
      ++fit;
    else
      answers.drop(*answer);
  }
  EXPECT_EQ(fit, 15u);
  EXPECT_LE(answers.bytes(), detail::Answers::kMaxTotalBytes);
}

TEST_F(AnswersTest, VouchesOnlyForWhatItSurelyRemembers) {
  answers.addChannel("channel");
  for (std::size_t i = 0; i < detail::Answers::kMaxRemembered; ++i) answers.drop(*open("q" + std::to_string(i)));
  EXPECT_TRUE(answers.vouches("channel"));
  EXPECT_TRUE(answers.knows("q0"));
  answers.drop(*open("one more"));
  EXPECT_FALSE(answers.knows("q0"));
  EXPECT_FALSE(answers.vouches("channel"));
}

TEST_F(AnswersTest, ThatCannotBeResumedAreForgottenAsTheyAreSent) {
  auto a = open("a", detail::Resumable::No);
  answers.append(*a, {std::string(1000, 'x'), false});
  const std::size_t before = answers.bytes();
  EXPECT_THAT(send(), ElementsAre("a:0"));
  EXPECT_LT(answers.bytes(), before - 900);
  EXPECT_FALSE(answers.find("a"));
  answers.append(*a, {"y", false});
  EXPECT_THAT(answers.cut(), ElementsAre(a));
  EXPECT_EQ(answers.bytes(), 0u);
}

}  // namespace
}  // namespace vaultysclaw::testing
