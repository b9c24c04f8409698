// What the SQLite control store's writer promises beyond the contract: order, bounds, and the truth about failed disks.
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <future>
#include <thread>

#include "store/control_store.hpp"
#include "store_testing.hpp"

namespace vaultysclaw::store {
namespace {

std::unique_ptr<ControlStore> openIn(const TemporaryDirectory& directory, WriterThread thread = WriterThread::Yes) {
  auto opened = openControlStore({.path = directory / "control.db", .writerThread = thread});
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

// Lets no file of this process grow beyond `bytes`, as a full disk would.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) : previousHandler_(std::signal(SIGXFSZ, SIG_IGN)) {
    ::getrlimit(RLIMIT_FSIZE, &previous_);
    const rlimit limit{.rlim_cur = bytes, .rlim_max = previous_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  FileSizeLimit(const FileSizeLimit&) = delete;
  FileSizeLimit& operator=(const FileSizeLimit&) = delete;
  ~FileSizeLimit() {
    ::setrlimit(RLIMIT_FSIZE, &previous_);
    std::signal(SIGXFSZ, previousHandler_);
  }

 private:
  void (*previousHandler_)(int);
  rlimit previous_{};
};

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
  const auto store = openIn(directory, WriterThread::No);
  std::string order;
  ASSERT_TRUE(store->write(
      [&](ControlWriter&) -> Status {
        order += "work ";
        return {};
      },
      [&](Status) {
        order += "done ";
        EXPECT_TRUE(store->write([](ControlWriter&) -> Status { return {}; }, [&](Status) { order += "nested "; }));
        order += "after ";
      }));
  EXPECT_EQ(order, "work done after nested ");
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
