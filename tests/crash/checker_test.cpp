// The checker against made-up records: a clean world passes, and every way to break it is found.
#include "checker.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

namespace vaultysclaw::crash {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::Field;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr int kProcess = 100, kKilled = 200;

// One run that was promised, stored and executed; one that failed; one that a kill interrupted; one that waited in
// vain; a chat.
Evidence cleanWorld() {
  Evidence e;
  e.didOfAgent = {{"agent-0", "did:0"}};
  e.killed = {kKilled};
  const auto promise = [&](const std::string& work, const std::string& id) -> Promise& {
    Promise p;
    p.work = work;
    p.did = "did:0";
    p.answered = true;
    p.status = 202;
    p.ids = {id};
    p.seen = {{10, "caller asks for " + work}};
    return e.promises[work] = p;
  };
  const auto row = [&](const std::string& work, const std::string& id, const std::string& status) -> StoredIntent& {
    StoredIntent s;
    s.id = id;
    s.did = "did:0";
    s.work = work;
    s.status = status;
    s.signatureValid = true;
    return e.stored[id] = s;
  };
  const auto signedBy = [](StoredIntent& s) {
    s.resultSigned = true;
    s.resultSignatureValid = true;
  };
  Promise& first = promise("w1", "i1");
  first.status = 200;
  first.result = "success";
  first.mark = "m1";
  StoredIntent& success = row("w1", "i1", "success");
  success.mark = "m1";
  signedBy(success);
  e.executed["i1"] = {{"i1", "w1", "agent-0", "m1", kProcess, 20, 30, Outcome::Success}};

  promise("w2", "i2");
  StoredIntent& failed = row("w2", "i2", "failed");
  failed.error = "asked to fail: m2";
  failed.code = "failed";
  signedBy(failed);
  e.executed["i2"] = {{"i2", "w2", "agent-0", "m2", kProcess, 20, 30, Outcome::Failed}};

  promise("w3", "i3");
  StoredIntent& interrupted = row("w3", "i3", "failed");
  interrupted.code = "interrupted";
  signedBy(interrupted);
  e.executed["i3"] = {{"i3", "w3", "agent-0", "", kKilled, 20, 0, Outcome::None}};

  promise("w4", "i4").waits = true;
  row("w4", "i4", "expired");

  ChatRecord chat;
  chat.conversation = "c1";
  chat.asked = 3;
  chat.received = {"c0 ", "c1 ", "c2 "};
  chat.numbers = {0, 1, 2};
  chat.done = true;
  e.chats = {chat};
  return e;
}

auto finds(Fault fault, const std::string& text) {
  return ElementsAre(AllOf(Field(&Violation::fault, fault), Field(&Violation::what, HasSubstr(text))));
}

std::vector<Violation> checkAfter(const std::function<void(Evidence&)>& harm) {
  Evidence e = cleanWorld();
  harm(e);
  return check(e);
}

TEST(Checker, FindsNothingInACleanWorld) {
  EXPECT_THAT(check(cleanWorld()), IsEmpty());
}

TEST(Checker, FindsAPromisedIntentThatTheStoreDoesNotHave) {
  EXPECT_THAT(checkAfter([](Evidence& e) { e.stored.erase("i4"); }), finds(Fault::Lost, "not in the store"));
}

TEST(Checker, FindsAnExecutionThatTheStoreDoesNotHave) {
  const auto found = checkAfter([](Evidence& e) {
    e.stored.erase("i2");
    e.promises["w2"].ids.clear();
  });
  EXPECT_THAT(found, finds(Fault::Lost, "it ran, and is not in the store"));
}

TEST(Checker, FindsASecondExecution) {
  const auto found = checkAfter([](Evidence& e) {
    Execution again = e.executed["i1"][0];
    again.mark = "m9";
    e.executed["i1"].push_back(again);
  });
  EXPECT_THAT(found, finds(Fault::Duplicated, "it ran 2 times"));
}

TEST(Checker, FindsASecondRunAfterAnInterruption) {
  const auto found = checkAfter([](Evidence& e) {
    e.executed["i3"].push_back({"i3", "w3", "agent-0", "m3", kProcess, 40, 50, Outcome::Success});
  });
  EXPECT_THAT(found, finds(Fault::Duplicated, "it ran 2 times"));
}

TEST(Checker, FindsASecondIntentForOneRequest) {
  const auto found = checkAfter([](Evidence& e) {
    StoredIntent second = e.stored["i4"];
    second.id = "i5";
    e.stored["i5"] = second;
  });
  EXPECT_THAT(found, finds(Fault::Duplicated, "one request has 2 intents"));
}

TEST(Checker, FindsTwoIdsForOneRequestEvenIfTheStoreHasOne) {
  const auto found = checkAfter([](Evidence& e) { e.promises["w4"].ids.insert("i5"); });
  EXPECT_THAT(found, ::testing::Contains(AllOf(Field(&Violation::fault, Fault::Duplicated))));
  EXPECT_THAT(found, ::testing::Contains(AllOf(Field(&Violation::fault, Fault::Lost))));
}

TEST(Checker, FindsAnAlteredResult) {
  EXPECT_THAT(checkAfter([](Evidence& e) {
                e.stored["i1"].mark = "other";
                e.promises["w1"].result.reset();
              }),
              finds(Fault::Wrong, "the handler's result was m1"));
  EXPECT_THAT(checkAfter([](Evidence& e) { e.promises["w1"].mark = "other"; }),
              finds(Fault::Wrong, "the caller was told"));
  EXPECT_THAT(checkAfter([](Evidence& e) { e.stored["i2"].error = "asked to fail: other"; }),
              finds(Fault::Wrong, "the handler failed with m2"));
}

TEST(Checker, FindsAResultWithoutItsJournalLine) {
  EXPECT_THAT(checkAfter([](Evidence& e) { e.executed.erase("i1"); }), finds(Fault::Wrong, "no handler succeeded"));
  EXPECT_THAT(checkAfter([](Evidence& e) { e.executed.erase("i2"); }),
              finds(Fault::Wrong, "it failed with code failed"));
}

TEST(Checker, FindsAnIntentThatNeverEnds) {
  for (const char* status : {"pending", "queued"})
    EXPECT_THAT(checkAfter([&](Evidence& e) { e.stored["i4"].status = status; }), finds(Fault::Stuck, status));
}

TEST(Checker, FindsAnIntentThatEndedAsLost) {
  EXPECT_THAT(checkAfter([](Evidence& e) { e.stored["i4"].status = "lost"; }), finds(Fault::Lost, "ended as lost"));
}

TEST(Checker, FindsAStatusThatDoesNotExist) {
  EXPECT_THAT(checkAfter([](Evidence& e) { e.stored["i4"].status = "done"; }), finds(Fault::Wrong, "status is done"));
}

TEST(Checker, FindsAResultThatDidNotReachTheStore) {
  for (const char* status : {"timeout", "expired"}) {
    const auto found = checkAfter([&](Evidence& e) {
      StoredIntent& row = e.stored["i1"];
      row.status = status;
      row.mark.clear();
      e.promises["w1"].result.reset();
    });
    EXPECT_THAT(found, finds(Fault::Lost, "and it ran (succeeded)"));
  }
}

TEST(Checker, FindsASuccessThatIsStoredAsAFailure) {
  const auto found = checkAfter([](Evidence& e) {
    StoredIntent& row = e.stored["i1"];
    row.status = "failed";
    row.code = "policy_denied";
    e.promises["w1"].result.reset();
  });
  EXPECT_THAT(found, finds(Fault::Lost, "its handler succeeded"));
}

TEST(Checker, AllowsAnErrorThatWasMadeOnPurposeToWhatDidNotRun) {
  const auto failed = [](Evidence& e, const char* id) {
    e.stored[id].status = "failed";
    e.stored[id].code = "failed";
    e.stored[id].error = "failpoint x";
  };
  EXPECT_THAT(checkAfter([&](Evidence& e) { failed(e, "i4"); }), finds(Fault::Wrong, "failed with code failed"));
  EXPECT_THAT(checkAfter([&](Evidence& e) {
                failed(e, "i4");
                e.injected = "failpoint";
              }),
              IsEmpty());
  EXPECT_THAT(checkAfter([&](Evidence& e) {
                failed(e, "i1");
                e.promises["w1"].result.reset();
                e.injected = "failpoint";
              }),
              finds(Fault::Lost, "its handler succeeded"));
}

TEST(Checker, FindsAnInterruptionThatNobodyCaused) {
  EXPECT_THAT(checkAfter([](Evidence& e) { e.executed["i3"][0].pid = kProcess; }),
              ::testing::Contains(AllOf(Field(&Violation::fault, Fault::Lost),
                                        Field(&Violation::what, HasSubstr("its process was not killed")))));
}

TEST(Checker, FindsAHandlerThatNeverEnded) {
  EXPECT_THAT(checkAfter([](Evidence& e) {
                e.executed["i3"][0].pid = kProcess;
                e.stored["i3"].code = "deadline_exceeded";
              }),
              finds(Fault::Stuck, "began and neither ended nor was killed"));
}

TEST(Checker, FindsACancellationThatNobodyAskedFor) {
  const auto cancelled = [](Evidence& e) {
    e.stored["i4"].status = "failed";
    e.stored["i4"].code = "cancelled";
  };
  EXPECT_THAT(checkAfter(cancelled), finds(Fault::Wrong, "nobody cancelled it"));
  EXPECT_THAT(checkAfter([&](Evidence& e) {
                cancelled(e);
                e.promises["w4"].mayEndCancelled = true;
              }),
              IsEmpty());
}

TEST(Checker, FindsProofsThatDoNotVerify) {
  EXPECT_THAT(checkAfter([](Evidence& e) { e.stored["i1"].signatureValid = false; }), finds(Fault::Wrong, "its token"));
  EXPECT_THAT(checkAfter([](Evidence& e) { e.stored["i1"].signatureValid.reset(); }), finds(Fault::Wrong, "no token"));
  EXPECT_THAT(checkAfter([](Evidence& e) { e.stored["i4"].signatureValid.reset(); }), IsEmpty());
  EXPECT_THAT(checkAfter([](Evidence& e) { e.stored["i1"].resultSignatureValid = false; }),
              finds(Fault::Wrong, "result's proof"));
  EXPECT_THAT(checkAfter([](Evidence& e) { e.stored["i1"].resultSigned = false; }),
              finds(Fault::Wrong, "has no proof"));
}

TEST(Checker, FindsWorkThatNobodyAskedForAndWorkInTheWrongPlace) {
  EXPECT_THAT(checkAfter([](Evidence& e) { e.promises.erase("w2"); }), finds(Fault::Wrong, "nobody asked"));
  EXPECT_THAT(checkAfter([](Evidence& e) { e.executed["i1"][0].work = "w9"; }), finds(Fault::Wrong, "other params"));
  EXPECT_THAT(checkAfter([](Evidence& e) { e.didOfAgent["agent-0"] = "did:9"; }).size(), 3u);
}

TEST(Checker, FindsARequestWithAKeyThatGotNoAnswer) {
  EXPECT_THAT(checkAfter([](Evidence& e) {
                e.promises["w4"].retry = Retry::UntilAnswered;
                e.promises["w4"].answered = false;
              }),
              finds(Fault::Stuck, "got no answer"));
}

TEST(Checker, FindsAKeyThatServedTwoContents) {
  const auto reused = [](Evidence& e, int status) {
    Promise p;
    p.work = "w9";
    p.mustNotExist = true;
    p.answered = true;
    p.status = status;
    e.promises["w9"] = p;
  };
  EXPECT_THAT(checkAfter([&](Evidence& e) { reused(e, 409); }), IsEmpty());
  EXPECT_THAT(checkAfter([&](Evidence& e) { reused(e, 202); }), finds(Fault::Wrong, "was answered 202"));
  EXPECT_THAT(checkAfter([&](Evidence& e) {
                reused(e, 409);
                e.stored["i4"].work = "w9";
                e.promises["w4"].ids.clear();
              }),
              finds(Fault::Wrong, "made an intent"));
}

TEST(Checker, FindsChatsWithHolesRepetitionsAndNoEnd) {
  EXPECT_THAT(checkAfter([](Evidence& e) { e.chats[0].received.erase(e.chats[0].received.begin() + 1); }),
              ::testing::Contains(Field(&Violation::fault, Fault::Lost)));
  EXPECT_THAT(checkAfter([](Evidence& e) { e.chats[0].received.insert(e.chats[0].received.begin() + 1, "c0 "); }),
              ::testing::Contains(Field(&Violation::fault, Fault::Duplicated)));
  EXPECT_THAT(checkAfter([](Evidence& e) { e.chats[0].received.pop_back(); }), finds(Fault::Lost, "2 of 3 pieces"));
  EXPECT_THAT(checkAfter([](Evidence& e) { e.chats[0].numbers = {0, 1, 1}; }), finds(Fault::Duplicated, "do not rise"));
  const auto broken = [](Evidence& e) {
    e.chats[0].resumable = e.chats[0].begun = true;
    e.chats[0].agent = "agent-0";
    e.chats[0].received.pop_back();
    e.chats[0].numbers.pop_back();
    e.chats[0].error = "agent_offline: gone";
  };
  EXPECT_THAT(checkAfter(broken), finds(Fault::Lost, "broke off though nobody died: agent_offline"));
  EXPECT_THAT(checkAfter([&](Evidence& e) {
                broken(e);
                e.died = {"agent-0"};
              }),
              IsEmpty());
  EXPECT_THAT(checkAfter([](Evidence& e) { e.chats[0].stuck = true; }), finds(Fault::Stuck, "a chat"));
}

TEST(Checker, TellsTheStoryOfAnIntentInOrder) {
  const std::string story = timeline(cleanWorld(), {Fault::Wrong, "i1", "", ""});
  const auto asked = story.find("caller asks for w1"), began = story.find("began i1"),
             ended = story.find("succeeded i1");
  ASSERT_NE(asked, std::string::npos) << story;
  EXPECT_LT(asked, began);
  EXPECT_LT(began, ended);
  EXPECT_NE(ended, std::string::npos);
}

}  // namespace
}  // namespace vaultysclaw::crash
