// Answers over connections that break: the agent's, and the reader's (docs/protocol.md 7.8, docs/rest.md).
#include "control_fixture.hpp"

namespace vaultysclaw::control::testing {
namespace {

using protocol::Cancel;
using protocol::ChatResponse;
using Started = ControlPlane::StartedChat;

// What one reader has heard, as one text. Copies share it.
struct Reader {
  std::shared_ptr<std::string> log = std::make_shared<std::string>();
  std::shared_ptr<std::optional<Result<Started>>> started = std::make_shared<std::optional<Result<Started>>>();

  ChatEvents events() const {
    ChatEvents e;
    e.onChunk = [log = log](std::string_view text) { *log += "[" + std::string(text) + "]"; };
    e.onThinking = [log = log](std::string_view text) { *log += "(" + std::string(text) + ")"; };
    e.onDone = [log = log] { *log += "done"; };
    e.onError = [log = log](std::string_view code, std::string_view) { *log += "error " + std::string(code); };
    return e;
  }
  std::function<void(Result<Started>)> reply() const {
    return [started = started](Result<Started> s) {
      EXPECT_FALSE(started->has_value()) << "a second reply";
      started->emplace(std::move(s));
    };
  }
  Errc code() const { return (*started)->ok() ? Errc::Internal : (*started)->error().code; }
  void leave() const { (*started)->value().handle.reset(); }
};

class ChatAgain : public ControlTest {
 protected:
  void SetUp() override {
    start();
    TestAgent::Options o;
    o.features = TestAgent::allFeatures();
    agent = connectedAgent(o);
  }

  Reader ask(const std::string& conversation, Resumable resumable = Resumable::No, const Reader& reader = {}) {
    ChatRequest r;
    r.did = agent->did();
    r.conversationId = ConversationId(conversation);
    r.messages = {{"user", "hello", {}}};
    r.resumable = resumable;
    plane->chat(std::move(r), reader.events(), reader.reply());
    EXPECT_FALSE(*reader.started) << "replied before the call returned";
    run();
    EXPECT_TRUE(*reader.started && (*reader.started)->ok());
    question = agent->lastMessageId<protocol::ChatRequest>();
    conversation_ = ConversationId(conversation);
    return reader;
  }
  Reader resume(const std::string& conversation, std::uint64_t from, const Reader& reader = {}) {
    plane->resumeChat(agent->did(), ConversationId(conversation), from, reader.events(), reader.reply());
    EXPECT_FALSE(*reader.started) << "replied before the call returned";
    run();
    EXPECT_TRUE(*reader.started);
    return reader;
  }
  Result<std::monostate> cancel(const std::string& conversation) {
    Waiting<std::monostate> reply;
    plane->cancelChat(agent->did(), ConversationId(conversation), reply);
    EXPECT_FALSE(reply.done());
    run();
    return *reply;
  }
  ChatResponse piece(std::int64_t seq, std::string text) {
    ChatResponse r;
    r.conversationId = conversation_;
    r.questionId = question;
    r.chunk = std::move(text);
    r.seq = seq;
    return r;
  }
  void say(std::int64_t seq, std::string text) {
    agent->send(piece(seq, std::move(text)));
    run();
  }
  void finish(std::int64_t seq) {
    ChatResponse r = piece(seq, "");
    r.chunk.reset();
    r.done = true;
    agent->send(r);
    run();
  }
  // As an agent that has nothing to resume says it.
  void refuse(std::string code) {
    ChatResponse r;
    r.conversationId = conversation_;
    r.questionId = question;
    r.done = true;
    r.error = "no";
    r.code = std::move(code);
    agent->send(r);
    run();
  }
  void breakConnection() {
    network.cutAll();
    run();
  }
  void comeBack() {
    agent->connect();
    run();
    ASSERT_TRUE(agent->connected());
  }
  void wait(Duration time) {
    for (Duration step = seconds(30); time > Duration(0); time -= step) {
      if (agent->connected()) agent->send(protocol::Heartbeat{});
      loop.advance(std::min(step, time));
    }
  }
  std::optional<std::int64_t> asked() const {
    const auto* r = agent->last<protocol::ChatResume>();
    return r ? std::optional(r->fromSeq) : std::nullopt;
  }

  std::unique_ptr<TestAgent> agent;
  std::string question;

 private:
  ConversationId conversation_;
};

// ---- the agent's connection

TEST_F(ChatAgain, GoesOnAfterTheAgentsConnectionBroke) {
  auto reader = ask("c1");
  say(0, "zero");
  say(1, "one");
  breakConnection();
  EXPECT_EQ(*reader.log, "[zero][one]");
  wait(seconds(100));
  comeBack();
  ASSERT_EQ(asked(), 2);
  EXPECT_EQ(agent->last<protocol::ChatResume>()->questionId, question);
  say(2, "two");
  say(1, "one");  // again
  finish(3);
  EXPECT_EQ(*reader.log, "[zero][one][two]done");
  EXPECT_EQ(plane->counters().activeChats, 0u);
}

TEST_F(ChatAgain, GoesOnWhenANewConnectionReplacesTheOldOne) {
  auto reader = ask("c1");
  say(0, "zero");
  const auto old = std::exchange(agent, sameAgent(*agent));
  comeBack();
  EXPECT_TRUE(old->closed) << "it has not been missed before";
  EXPECT_EQ(asked(), 1);
  finish(1);
  EXPECT_EQ(*reader.log, "[zero]done");
}

TEST_F(ChatAgain, BeforeTheFirstPieceToo) {
  auto reader = ask("c1");
  const std::string channel = agent->channel();
  breakConnection();
  comeBack();
  ASSERT_EQ(asked(), 0);
  EXPECT_EQ(agent->last<protocol::ChatResume>()->channel, channel);
  say(0, "zero");
  finish(1);
  EXPECT_EQ(*reader.log, "[zero]done");
}

TEST_F(ChatAgain, AQuestionThatHasNotArrivedIsSentAgainAndOneThatMayHaveRunIsNot) {
  auto reader = ask("c1");
  breakConnection();
  comeBack();
  EXPECT_EQ(agent->count<protocol::ChatRequest>(), 0u);
  refuse("not_found");
  ASSERT_EQ(agent->count<protocol::ChatRequest>(), 1u);
  EXPECT_EQ(agent->lastMessageId<protocol::ChatRequest>(), question) << "so that it cannot run twice";
  EXPECT_EQ(agent->last<protocol::ChatRequest>()->messages.at(0).content, "hello");
  refuse("not_found");  // nobody asked
  EXPECT_EQ(agent->count<protocol::ChatRequest>(), 1u);
  EXPECT_EQ(*reader.log, "error not_found");

  auto second = ask("c2");
  breakConnection();
  comeBack();
  refuse("interrupted");
  EXPECT_EQ(agent->count<protocol::ChatRequest>(), 0u);
  EXPECT_EQ(*second.log, "error interrupted");

  auto third = ask("c3");
  say(0, "zero");
  breakConnection();
  comeBack();
  refuse("not_found");  // it has begun, so this is a lie
  EXPECT_EQ(agent->count<protocol::ChatRequest>(), 0u);
  EXPECT_EQ(*third.log, "[zero]error not_found");
}

TEST_F(ChatAgain, EndsWhenTheAgentDoesNotComeBackInTwoMinutes) {
  auto reader = ask("c1");
  say(0, "zero");
  breakConnection();
  wait(seconds(119));
  EXPECT_EQ(*reader.log, "[zero]");
  wait(seconds(2));
  EXPECT_EQ(*reader.log, "[zero]error agent_offline");
  comeBack();
  EXPECT_FALSE(asked());
}

TEST_F(ChatAgain, TheDeadlineHoldsMeanwhile) {
  options.chatTimeout = seconds(60);
  restart();
  comeBack();
  auto reader = ask("c1");
  wait(seconds(40));
  breakConnection();
  wait(seconds(25));
  EXPECT_EQ(*reader.log, "error deadline_exceeded");
}

TEST_F(ChatAgain, AnAgentWithoutTheFeatureOrNumbersIsNotWaitedFor) {
  agent = connectedAgent();
  auto reader = ask("c1");
  breakConnection();
  EXPECT_EQ(*reader.log, "error agent_offline");

  TestAgent::Options o;
  o.features = TestAgent::allFeatures();
  agent = connectedAgent(o);
  auto second = ask("c2");
  ChatResponse unnumbered;
  unnumbered.conversationId = ConversationId("c2");
  unnumbered.chunk = "zero";
  agent->send(unnumbered);
  run();
  breakConnection();
  EXPECT_EQ(*second.log, "[zero]error agent_offline");
}

TEST_F(ChatAgain, ARemovedAgentIsNotWaitedFor) {
  auto reader = ask("c1");
  Waiting<std::monostate> removed;
  plane->deleteAgent(agent->did(), "operator", removed);
  run();
  EXPECT_EQ(*reader.log, "error agent_offline");
}

TEST_F(ChatAgain, AGapIsAskedForOnceAndThenEndsTheAnswer) {
  auto reader = ask("c1");
  say(0, "zero");
  say(2, "two");
  ASSERT_EQ(asked(), 1);
  say(3, "three");  // was on its way
  EXPECT_EQ(agent->count<protocol::ChatResume>(), 1u);
  for (int i = 1; i < 4; ++i) say(i, std::to_string(i));
  EXPECT_EQ(*reader.log, "[zero][1][2][3]");
  say(std::int64_t{1} << 53, "far");
  EXPECT_EQ(*reader.log, "[zero][1][2][3]error failed");
  EXPECT_EQ(agent->count<Cancel>(), 1u);

  auto second = ask("c2");
  say(1, "one");
  EXPECT_EQ(asked(), 0);
  wait(seconds(11));
  EXPECT_EQ(*second.log, "error failed");
}

TEST_F(ChatAgain, WhatIsNoPartOfTheAnswerIsNotHeard) {
  auto reader = ask("c1");
  say(0, "zero");
  say(0, "again");
  auto foreign = piece(1, "of another question");
  foreign.questionId = "another";
  agent->send(foreign);
  run();
  EXPECT_EQ(*reader.log, "[zero]");
  EXPECT_EQ(plane->counters().messagesRefused, 2u);
  auto bare = piece(0, "bare");
  bare.seq.reset();
  agent->send(bare);
  run();
  EXPECT_EQ(*reader.log, "[zero]error failed");
}

TEST_F(ChatAgain, AReaderThatLeavesMeanwhileIsNotForgotten) {
  auto reader = ask("c1");
  say(0, "zero");
  breakConnection();
  reader.leave();
  run();
  comeBack();
  EXPECT_EQ(asked(), 1);
  EXPECT_EQ(agent->count<Cancel>(), 1u);
  refuse("cancelled");
  EXPECT_EQ(plane->counters().activeChats, 0u);
}

// ---- the reader's

TEST_F(ChatAgain, IsReadFromWhereItWasLeft) {
  auto reader = ask("c1", Resumable::Yes);
  say(0, "zero");
  say(1, "one");
  reader.leave();
  say(2, "two");
  EXPECT_EQ(*reader.log, "[zero][one]");
  EXPECT_FALSE(agent->last<Cancel>());
  auto again = resume("c1", 2);
  EXPECT_EQ(*again.log, "[two]");
  say(3, "three");
  finish(4);
  EXPECT_EQ(*again.log, "[two][three]done");
  EXPECT_EQ(*resume("c1", 0).log, "[zero][one][two][three]done");
  EXPECT_EQ(*resume("c1", 4).log, "done");
  EXPECT_EQ(resume("c1", 5).code(), Errc::Expired);
  EXPECT_EQ(resume("c1", 6).code(), Errc::InvalidArgument);
  wait(seconds(121));
  EXPECT_EQ(resume("c1", 4).code(), Errc::NotFound);
}

TEST_F(ChatAgain, IsStoppedWhenNobodyReadsItForTwoMinutes) {
  auto reader = ask("c1", Resumable::Yes);
  say(0, "zero");
  reader.leave();
  wait(seconds(119));
  auto again = resume("c1", 0);
  EXPECT_EQ(*again.log, "[zero]");
  wait(seconds(121));
  EXPECT_FALSE(agent->last<Cancel>()) << "somebody reads it";
  again.leave();
  wait(seconds(121));
  EXPECT_EQ(agent->count<Cancel>(), 1u);
  EXPECT_EQ(resume("c1", 0).code(), Errc::NotFound);
}

TEST_F(ChatAgain, ThatIsNotResumableIsNotKept) {
  auto reader = ask("c1");
  say(0, "zero");
  EXPECT_EQ(resume("c1", 0).code(), Errc::NotFound);
  EXPECT_EQ(resume("nothing", 0).code(), Errc::NotFound);
  reader.leave();
  run();
  EXPECT_EQ(agent->count<Cancel>(), 1u);
}

TEST_F(ChatAgain, ASecondReaderReplacesTheFirst) {
  auto first = ask("c1", Resumable::Yes);
  say(0, "zero");
  auto second = resume("c1", 0);
  say(1, "one");
  first.leave();  // means nothing any more
  wait(seconds(121));
  finish(2);
  EXPECT_EQ(*first.log, "[zero]error conflict");
  EXPECT_EQ(*second.log, "[zero][one]done");
  EXPECT_FALSE(agent->last<Cancel>());
}

TEST_F(ChatAgain, BothConnectionsBreakAndNothingIsLostOrDoubled) {
  auto reader = ask("c1", Resumable::Yes);
  breakConnection();
  reader.leave();
  comeBack();
  say(0, "zero");
  auto second = resume("c1", 0);
  breakConnection();
  second.leave();
  comeBack();
  EXPECT_EQ(asked(), 1);
  say(1, "one");
  finish(2);
  auto third = resume("c1", 1);
  EXPECT_EQ(*second.log + *third.log, "[zero][one]done");
}

TEST_F(ChatAgain, IsCancelledByRequest) {
  auto reader = ask("c1", Resumable::Yes);
  say(0, "zero");
  EXPECT_TRUE(cancel("c1").ok());
  EXPECT_EQ(*reader.log, "[zero]error cancelled");
  EXPECT_EQ(agent->count<Cancel>(), 1u);
  EXPECT_EQ(resume("c1", 0).code(), Errc::NotFound);
  refuse("cancelled");
  EXPECT_EQ(plane->counters().activeChats, 0u);
  EXPECT_EQ(cancel("c1").error().code, Errc::NotFound);

  auto second = ask("c2", Resumable::Yes);
  finish(0);
  EXPECT_TRUE(cancel("c2").ok()) << "one that is over is forgotten";
  EXPECT_EQ(resume("c2", 0).code(), Errc::NotFound);
}

TEST_F(ChatAgain, TheNextQuestionReplacesWhatIsKept) {
  auto reader = ask("c1", Resumable::Yes);
  say(0, "old");
  finish(1);
  auto next = ask("c1", Resumable::Yes);
  EXPECT_EQ(*resume("c1", 0).log, "");
  say(0, "new");
  EXPECT_EQ(*resume("c1", 0).log, "[new]");
}

TEST_F(ChatAgain, KeepsTheNewestOfALongAnswer) {
  options.maxKeptChatBytes = 1000;
  restart();
  comeBack();
  auto reader = ask("c1", Resumable::Yes);
  for (int i = 0; i < 40; ++i) say(i, std::string(50, 'x'));
  EXPECT_EQ(reader.log->size(), 40u * 52);
  EXPECT_EQ(resume("c1", 0).code(), Errc::Expired);
  EXPECT_EQ(resume("c1", 35).log->size(), 5u * 52);
}

TEST_F(ChatAgain, APieceLongerThanWhatIsKeptReachesWhoReadsAlong) {
  auto reader = ask("c1", Resumable::Yes);
  ChatResponse all = piece(0, "");
  for (int i = 0; i < 1'000'000; ++i) *all.chunk += "äx";
  all.done = true;
  agent->send(all);
  run();
  std::string heard;
  for (const char c : *reader.log) {
    if (c != '[' && c != ']') heard += c;
  }
  EXPECT_TRUE(heard == *all.chunk + "done");
}

TEST_F(ChatAgain, ATalkativeAnswerCostsNobodyElsesBeginning) {
  options.maxKeptChatBytesInAll = 300'000;
  restart();
  comeBack();
  auto quiet = ask("quiet", Resumable::Yes);
  say(0, "zero");
  auto loud = ask("loud", Resumable::Yes);
  for (int i = 0; i < 8; ++i) say(i, std::string(100'000, 'x'));
  EXPECT_EQ(*resume("quiet", 0).log, "[zero]");
}

TEST_F(ChatAgain, AnswersThatAreOverMakeRoomForOthers) {
  options.maxKeptChatBytesInAll = 2000;
  restart();
  comeBack();
  for (int i = 0; i < 6; ++i) {
    const std::string id = "c" + std::to_string(i);
    const Reader reader = ask(id, Resumable::Yes);
    say(0, std::string(300, 'x'));
    finish(1);
    EXPECT_EQ(*reader.log, "[" + std::string(300, 'x') + "]done");
  }
  EXPECT_EQ(resume("c0", 0).code(), Errc::NotFound);
  EXPECT_TRUE((*resume("c5", 0).started)->ok());
}

TEST_F(ChatAgain, ManyReadersOneAfterTheOtherAreBounded) {
  auto reader = ask("c1", Resumable::Yes);
  for (int i = 0; i < 300; ++i) say(i, "x");
  std::vector<Reader> readers;
  for (int i = 0; i < 200; ++i) {
    readers.emplace_back();
    plane->resumeChat(agent->did(), ConversationId("c1"), 0, readers.back().events(), readers.back().reply());
  }
  run();
  for (int i = 0; i < 199; ++i) EXPECT_TRUE(readers[static_cast<std::size_t>(i)].log->ends_with("error conflict"));
  EXPECT_EQ(readers.back().log->size(), 900u);
}

TEST_F(ChatAgain, EndsWithTheControlPlane) {
  auto reader = ask("c1", Resumable::Yes);
  say(0, "zero");
  plane->shutdown();
  run();
  EXPECT_EQ(*reader.log, "[zero]error interrupted");
  restart();
  comeBack();
  EXPECT_FALSE(asked());
  EXPECT_EQ(resume("c1", 0).code(), Errc::NotFound);
  reader.leave();
  run();
}

TEST_F(ChatAgain, ReadersMayOutliveTheControlPlane) {
  auto reader = ask("c1", Resumable::Yes);
  say(0, "zero");
  auto again = resume("c1", 0);
  plane.reset();
  run();
  again.leave();
  run();
}

}  // namespace
}  // namespace vaultysclaw::control::testing
