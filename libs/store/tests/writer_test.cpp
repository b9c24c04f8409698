// What the SQLite control store's writer promises beyond the contract: order, bounds, and the truth about failed disks.
#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <thread>

#include "base/file_size_limit.hpp"
#include "store/control_store.hpp"
#include "store_testing.hpp"

namespace vaultysclaw::store {
namespace {

using testing::FileSizeLimit;

std::unique_ptr<ControlStore> openIn(const TemporaryDirectory& directory, WriterThread thread = WriterThread::Yes,
                                     Duration gather = milliseconds(2)) {
  auto opened = openControlStore({.path = directory / "control.db", .writerThread = thread, .gather = gather});
  EXPECT_TRUE(opened.ok()) << opened.error().message;
  return opened.ok() ? std::move(*opened) : nullptr;
}

// Holds the writer within a work until let go, so that what is submitted meanwhile shares a transaction.
class HeldWriter {
 public:
  explicit HeldWriter(ControlStore& store) {
    const bool queued = store.write(
        [this](ControlWriter&) -> Status {
          held_.set_value();
          gate_.get_future().wait();
          return {};
        },
        nullptr);
    EXPECT_TRUE(queued);
    held_.get_future().wait();
  }
  void release() { gate_.set_value(); }

 private:
  std::promise<void> held_, gate_;
};

constexpr Duration kForEver = std::chrono::hours(1);

bool has(ControlStore& store, const std::string& key) {
  bool found = false;
  VC_EXPECT_OK(store.readBlocking([&](ControlReader& r) -> Status {
    VC_TRY_ASSIGN(const auto value, r.meta(key));
    found = value.has_value();
    return {};
  }));
  return found;
}

TEST(ControlStoreWriter, RunsOnTheCallerWithoutAThread) {
  const TemporaryDirectory directory;
  const auto store = openIn(directory, WriterThread::No, kForEver);
  std::string order;
  ASSERT_TRUE(store->write(
      [&](ControlWriter&) -> Status {
        order += "work ";
        return {};
      },
      [&](Status) {
        order += "done ";
        for (int i = 0; i < 2; ++i) {
          EXPECT_TRUE(store->write([](ControlWriter&) -> Status { return {}; }, [&](Status) { order += "nested "; }));
        }
        order += "after ";
      }));
  EXPECT_EQ(order, "work done after nested nested ");
}

TEST(ControlStoreWriter, ReportsDoneAfterTheCommitAndInOrder) {
  const TemporaryDirectory directory;
  const auto store = openIn(directory);
  std::vector<int> order;
  {
    HeldWriter writer(*store);
    for (int i = 0; i < 50; ++i) {
      const std::string key = std::to_string(i);
      ASSERT_TRUE(store->write([key](ControlWriter& w) { return w.putMeta(key, "x"); },
                               [&, i, key](Status status) {
                                 VC_EXPECT_OK(status);
                                 EXPECT_TRUE(has(*store, key));  // another connection sees it
                                 order.push_back(i);
                               }));
    }
    writer.release();
    VC_EXPECT_OK(store->writeBlocking([](ControlWriter&) -> Status { return {}; }));
  }
  ASSERT_EQ(order.size(), 50u);
  EXPECT_TRUE(std::is_sorted(order.begin(), order.end()));
}

TEST(ControlStoreWriter, NeverHoldsUpWritesThatComeOneAfterTheOther) {
  const TemporaryDirectory directory;
  const auto store = openIn(directory, WriterThread::Yes, kForEver);
  for (int i = 0; i < 5; ++i) VC_EXPECT_OK(store->writeBlocking([](ControlWriter&) -> Status { return {}; }));
}

// Sees how many of `keys` a reader sees while a work runs, which is how many have been committed before.
class CommittedSoFar {
 public:
  explicit CommittedSoFar(ControlStore& store) : store_(store) {}

  void submit(const std::string& key) {
    const bool queued = store_.write(
        [this, key](ControlWriter& w) {
          std::size_t committed = 0;
          for (const std::string& earlier : keys_) committed += has(store_, earlier) ? 1 : 0;
          keys_.push_back(key);
          seen_.push_back(committed);
          return w.putMeta(key, "x");
        },
        [this](Status status) {
          VC_EXPECT_OK(status);
          if (++done_ == 2) two_.set_value();
          if (done_ == kExpected) all_.set_value();
        });
    EXPECT_TRUE(queued);
  }
  void waitForTwo() { two_.get_future().wait(); }
  // For each work in order, once kExpected are done.
  std::vector<std::size_t> wait() {
    EXPECT_EQ(all_.get_future().wait_for(seconds(60)), std::future_status::ready);
    return seen_;
  }

  static constexpr std::size_t kExpected = 66;

 private:
  ControlStore& store_;
  std::vector<std::string> keys_;  // these belong to the writer's thread
  std::vector<std::size_t> seen_;
  std::size_t done_ = 0;
  std::promise<void> two_, all_;
};

TEST(ControlStoreWriter, ManyWritesShareACommit) {
  const TemporaryDirectory directory;
  auto store = openIn(directory, WriterThread::Yes, kForEver);
  CommittedSoFar works(*store);
  {
    HeldWriter writer(*store);
    works.submit("a");
    works.submit("b");
    writer.release();
    works.waitForTwo();
  }
  // However slowly these come, the first of them waits for the others.
  for (int i = 0; i < 64; ++i) works.submit(std::to_string(i));
  std::vector<std::size_t> expected{0, 0};
  expected.resize(CommittedSoFar::kExpected, 2);
  EXPECT_EQ(works.wait(), expected);

  bool done = false;
  ASSERT_TRUE(store->write([](ControlWriter&) -> Status { return {}; }, [&](Status) { done = true; }));
  store.reset();  // does not wait for company
  EXPECT_TRUE(done);
}

TEST(ControlStoreWriter, RefusesWhatIsOverTheBound) {
  const TemporaryDirectory directory;
  const auto store = openIn(directory);
  HeldWriter writer(*store);
  int ran = 0, refused = 0;
  const auto work = [&](ControlWriter&) -> Status {
    ++ran;
    return {};
  };
  for (int i = 0; i < 10'001; ++i) {
    if (!store->write(work, nullptr)) ++refused;
  }
  EXPECT_EQ(refused, 1);
  VC_EXPECT_ERROR(Errc::Busy, store->writeBlocking(work));
  writer.release();
  // Accepted again once the writer has taken some.
  Status last = Error{Errc::Busy, ""};
  while (!last.ok() && last.error().code == Errc::Busy) last = store->writeBlocking(work);
  VC_EXPECT_OK(last);
  EXPECT_EQ(ran, 10'001);
}

TEST(ControlStoreWriter, FinishesWhatWasSubmittedWhenDestroyed) {
  const TemporaryDirectory directory;
  auto store = openIn(directory);
  int done = 0;
  HeldWriter writer(*store);
  for (int i = 0; i < 100; ++i) {
    ASSERT_TRUE(store->write([i](ControlWriter& w) { return w.putMeta(std::to_string(i), "x"); },
                             [&](Status status) { done += status.ok() ? 1 : 0; }));
  }
  writer.release();
  store.reset();
  EXPECT_EQ(done, 100);
  EXPECT_TRUE(has(*openIn(directory), "99"));
}

TEST(ControlStoreWriter, FailsEveryWorkOfACommitThatFails) {
  const TemporaryDirectory directory;
  auto store = openIn(directory);
  std::vector<Status> outcomes;
  {
    HeldWriter writer(*store);
    for (const char* key : {"a", "b"}) {
      ASSERT_TRUE(store->write([key](ControlWriter& w) { return w.putMeta(key, "x"); },
                               [&](Status status) { outcomes.push_back(std::move(status)); }));
    }
    ASSERT_TRUE(store->write([](ControlWriter&) -> Status { return Error{Errc::NotFound, "its own"}; },
                             [&](Status status) { outcomes.push_back(std::move(status)); }));
    const FileSizeLimit full(1);
    writer.release();
    // Waits for the others; whether it shares their commit is a matter of timing.
    static_cast<void>(store->writeBlocking([](ControlWriter&) -> Status { return {}; }));
  }
  ASSERT_EQ(outcomes.size(), 3u);
  VC_EXPECT_ERROR(Errc::Io, outcomes[0]);
  VC_EXPECT_ERROR(Errc::Io, outcomes[1]);
  VC_EXPECT_ERROR(Errc::NotFound, outcomes[2]);
  EXPECT_NE(outcomes[0].error().message.find("control.db"), std::string::npos);
  EXPECT_FALSE(has(*store, "a"));
  VC_EXPECT_OK(store->writeBlocking([](ControlWriter& w) { return w.putMeta("c", "x"); }));
  store = nullptr;
  store = openIn(directory);
  EXPECT_FALSE(has(*store, "a"));
  EXPECT_TRUE(has(*store, "c"));
}

// Appends what follows the newest row, and says in `seq` which number that got.
ControlStore::Work appending(std::int64_t& seq) {
  return [&seq](ControlWriter& w) -> Status {
    VC_TRY_ASSIGN(const auto last, w.lastAudit());
    AuditRow row{.seq = last ? last->seq + 1 : 1, .actor = "operator", .action = "a", .target = "t"};
    row.previousHash = last ? last->hash : Bytes(32, 0);
    row.hash = Bytes(32, static_cast<std::uint8_t>(row.seq));
    seq = row.seq;
    return w.appendAudit(row);
  };
}

std::vector<std::int64_t> auditOf(ControlStore& store) {
  std::vector<std::int64_t> seqs;
  VC_EXPECT_OK(store.readBlocking([&](ControlReader& r) -> Status {
    VC_TRY_ASSIGN(const auto rows, r.auditRange(0, 100));
    for (const AuditRow& row : rows) {
      EXPECT_EQ(row.previousHash, Bytes(32, static_cast<std::uint8_t>(seqs.empty() ? 0 : seqs.back())));
      seqs.push_back(row.seq);
    }
    return {};
  }));
  return seqs;
}

TEST(ControlStoreWriter, TheAuditGoesOnWhereAFailedWorkBegan) {
  const TemporaryDirectory directory;
  const auto store = openIn(directory);
  std::int64_t first = 0, undone = 0, third = 0, alone = 0, last = 0;
  const auto failing = [&](std::int64_t& seq) {
    return [append = appending(seq)](ControlWriter& w) -> Status {
      VC_TRY(append(w));
      return Error{Errc::NotFound, "its own"};
    };
  };
  {
    HeldWriter writer(*store);
    ASSERT_TRUE(store->write(appending(first), nullptr));
    ASSERT_TRUE(store->write(failing(undone), nullptr));
    std::promise<void> over;
    ASSERT_TRUE(store->write(appending(third), [&](Status) { over.set_value(); }));
    writer.release();
    over.get_future().wait();  // what follows is alone in its commit
  }
  VC_EXPECT_ERROR(Errc::NotFound, store->writeBlocking(failing(alone)));
  VC_EXPECT_OK(store->writeBlocking(appending(last)));
  EXPECT_EQ((std::vector{first, undone, third, alone, last}), (std::vector<std::int64_t>{1, 2, 2, 3, 3}));
  EXPECT_EQ(auditOf(*store), (std::vector<std::int64_t>{1, 2, 3}));
}

TEST(ControlStoreWriter, TheAuditGoesOnWhereAFailedCommitBegan) {
  const TemporaryDirectory directory;
  const auto store = openIn(directory);
  std::int64_t seq = 0;
  VC_EXPECT_OK(store->writeBlocking(appending(seq)));
  for (const int works : {2, 1}) {  // a commit of several is undone elsewhere than that of one
    std::promise<void> over;
    const FileSizeLimit full(1);
    HeldWriter writer(*store);
    for (int i = 1; i <= works; ++i) {
      ASSERT_TRUE(store->write(appending(seq), [&, i](Status status) {
        VC_EXPECT_ERROR(Errc::Io, status);
        if (i == works) over.set_value();
      }));
    }
    writer.release();
    over.get_future().wait();
  }
  VC_EXPECT_OK(store->writeBlocking(appending(seq)));
  EXPECT_EQ(auditOf(*store), (std::vector<std::int64_t>{1, 2}));
}

// Two readers take turns so that one has a snapshot at any time: the next begins before the one before ends.
TEST(ControlStoreWriter, ReadersWithoutAGapDoNotMakeTheLogGrowForEver) {
  const TemporaryDirectory directory;
  const auto store = openIn(directory);
  VC_EXPECT_OK(store->writeBlocking([](ControlWriter& w) { return w.putMeta("k", "x"); }));
  std::atomic<int> reading = 0;
  std::atomic<bool> over = false;
  const auto relay = [&](int me) {
    for (int turn = me; !over; turn += 2) {
      VC_EXPECT_OK(store->readBlocking([&](ControlReader& r) -> Status {
        VC_TRY(r.meta("k"));  // takes the snapshot
        reading = turn;
        while (reading == turn && !over) std::this_thread::yield();
        return {};
      }));
    }
  };
  std::thread one(relay, 1), two(relay, 2);
  for (int i = 0; i < 160; ++i) {
    VC_EXPECT_OK(store->writeBlocking([&](ControlWriter& w) { return w.putMeta("k", std::string(2'000'000, 'x')); }));
  }
  over = true;
  one.join();
  two.join();
  EXPECT_LT(std::filesystem::file_size(directory / "control.db-wal"), 220'000'000u);
}

TEST(ControlStoreWriter, TellsTheTruthWhenTheDiskFillsWithinAWork) {
  const TemporaryDirectory directory;
  auto store = openIn(directory);
  std::vector<std::pair<std::string, bool>> outcomes;
  {
    HeldWriter writer(*store);
    for (const std::string key : {"before", "large", "after"}) {
      // More than SQLite's page cache holds, so that it writes before the commit.
      const std::size_t bytes = key == "large" ? 20'000'000 : 10;
      ASSERT_TRUE(store->write([=](ControlWriter& w) { return w.putMeta(key, std::string(bytes, 'x')); },
                               [&outcomes, key](Status status) { outcomes.emplace_back(key, status.ok()); }));
    }
    const FileSizeLimit full(8'000'000);
    writer.release();
    VC_EXPECT_OK(store->writeBlocking([](ControlWriter& w) { return w.putMeta("last", "x"); }));
  }
  ASSERT_EQ(outcomes.size(), 3u);
  EXPECT_FALSE(outcomes[1].second);
  store = nullptr;
  store = openIn(directory);
  for (const auto& [key, ok] : outcomes) EXPECT_EQ(has(*store, key), ok) << key;
  EXPECT_TRUE(has(*store, "after"));
  EXPECT_TRUE(has(*store, "last"));
}

}  // namespace
}  // namespace vaultysclaw::store
