// The records themselves: the journal, the ledger of promises, the choice of harms, the callers' HTTP.
#include <gtest/gtest.h>

#include <fstream>
#include <set>

#include "base/temporary_directory.hpp"
#include "harms.hpp"
#include "http_client.hpp"
#include "journal.hpp"
#include "ledger.hpp"

namespace vaultysclaw::crash {
namespace {

using vaultysclaw::testing::TemporaryDirectory;

TEST(Journal, ReadsWhatWasAddedSinceTheLastTime) {
  TemporaryDirectory directory;
  const auto path = directory.path() / "journal";
  JournalReader reader(path);
  EXPECT_TRUE(reader.readNew().empty());
  const JournalWriter first(path, "agent-0"), second(path, "agent-1");
  first.write("begin", "i1", "w1");
  second.write("begin", "i2", "w2");
  const auto lines = reader.readNew();
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_EQ(lines[1].agent, "agent-1");
  EXPECT_EQ(lines[1].what + lines[1].id + lines[1].mark, "begini2w2");
  first.write("success", "i1", "m1");
  EXPECT_EQ(reader.readNew().size(), 1u);
  EXPECT_TRUE(reader.readNew().empty());
}

TEST(Journal, LeavesAHalfWrittenLineForLaterAndRefusesNonsense) {
  TemporaryDirectory directory;
  const auto path = directory.path() / "journal";
  JournalReader reader(path);
  std::ofstream(path) << "1 agent-0 5 begin i1";
  EXPECT_TRUE(reader.readNew().empty());
  std::ofstream(path, std::ios::app) << " w1\n";
  EXPECT_EQ(reader.readNew().size(), 1u);
  std::ofstream(path, std::ios::app) << "nonsense\n";
  EXPECT_THROW(reader.readNew(), std::runtime_error);
}

TEST(Ledger, KnowsAfterACutWhatWasPromisedBefore) {
  TemporaryDirectory directory;
  const auto path = directory.path() / "promises";
  std::string work, open;
  {
    Ledger ledger(path);
    Promise p;
    p.work = work = ledger.newWork();
    p.did = "did:0";
    p.retry = Retry::UntilAnswered;
    ledger.add(p);
    ledger.note(work, "answered", [](Promise& promise) {
      promise.answered = true;
      promise.ids.insert("i1");
      promise.result = "success";
      promise.mark = "m1";
    });
    p.work = open = ledger.newWork();
    ledger.add(p);
    EXPECT_EQ(ledger.takeChanged().size(), 2u);
    EXPECT_TRUE(ledger.takeChanged().empty());
  }
  std::ofstream(path, std::ios::app) << R"({"work":"0-3","did)";  // the run was cut off here
  Ledger ledger(path);
  EXPECT_EQ(ledger.size(), 2u);
  const auto p = ledger.find(work);
  ASSERT_TRUE(p);
  EXPECT_EQ(p->ids, std::set<std::string>{"i1"});
  EXPECT_EQ(p->mark, "m1");
  EXPECT_EQ(p->seen.size(), 1u);
  // Nobody asks again for what was open.
  EXPECT_EQ(ledger.find(open)->retry, Retry::Never);
  EXPECT_NE(ledger.newWork(), work);
}

TEST(Harms, FollowFromSeedAndRoundAndMeetEverybody) {
  std::set<std::string> seen;
  for (std::uint64_t round = 0; round < 400; ++round) {
    const Harm harm = chooseHarm(7, round, 3), again = chooseHarm(7, round, 3);
    EXPECT_EQ(describe(harm), describe(again));
    EXPECT_EQ(harm.lasts, again.lasts);
    EXPECT_FALSE(harm.victim == VictimKind::CallerLink && harm.kind == HarmKind::Corrupt);
    seen.insert(describe(harm));
  }
  for (const char* expected :
       {"kill control-plane", "stop control-plane", "kill agent-0", "stop agent-2", "cut link of agent-1",
        "half-open link of agent-0", "swallow link of agent-2", "stall link of agent-1", "trickle link of agent-0",
        "corrupt link of agent-2", "cut link of callers", "half-open link of callers"})
    EXPECT_TRUE(seen.contains(expected)) << expected;
}

TEST(ServerEvents, AreReadInEveryFragmentation) {
  const std::string wire = ": hello\n\nid: 4\ndata: {\"chunk\":\"a\"}\n\ndata: [DONE]\r\n\r\n";
  for (std::size_t step = 1; step <= wire.size(); ++step) {
    harness::ServerEvents parser;
    std::vector<harness::ServerEvent> events;
    for (std::size_t i = 0; i < wire.size(); i += step) {
      parser.feed(std::string_view(wire).substr(i, step), [&](const harness::ServerEvent& e) {
        events.push_back(e);
        return true;
      });
    }
    ASSERT_EQ(events.size(), 2u) << step;
    EXPECT_EQ(events[0].id, "4");
    EXPECT_EQ(events[0].data, R"({"chunk":"a"})");
    EXPECT_EQ(events[1].data, "[DONE]");
  }
}

}  // namespace
}  // namespace vaultysclaw::crash
