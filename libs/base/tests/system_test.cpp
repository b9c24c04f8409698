// Files, threads, and the fake loop other tests rely on.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <atomic>
#include <fstream>
#include <latch>
#include <semaphore>
#include <thread>

#include "base/fake_loop.hpp"
#include "base/ports.hpp"
#include "base/temporary_directory.hpp"

namespace vaultysclaw {
namespace {

namespace fs = std::filesystem;

class FileStoreTest : public ::testing::Test {
 protected:
  static unsigned mode(const fs::path& path) {
    struct stat info{};
    EXPECT_EQ(::stat(path.c_str(), &info), 0);
    return info.st_mode & 0777;
  }
  std::size_t filesInDirectory() const {
    return static_cast<std::size_t>(std::distance(fs::directory_iterator(directory_.path()), fs::directory_iterator()));
  }

  testing::TemporaryDirectory directory_;
  std::unique_ptr<FileStore> files_ = makeSystemFileStore();
};

TEST_F(FileStoreTest, WritesPrivatelyAndReadsBack) {
  const fs::path path = directory_ / "a/b/secret";
  ASSERT_TRUE(files_->writePrivate(path, asBytes("one")).ok());
  ASSERT_TRUE(files_->writePrivate(path, asBytes("two")).ok());
  EXPECT_EQ(mode(path), 0600U);
  EXPECT_EQ(mode(directory_ / "a/b"), 0700U);
  const auto content = files_->readPrivate(path, 100);
  ASSERT_TRUE(content.ok());
  EXPECT_EQ(asText(content->view()), "two");
  EXPECT_EQ(std::distance(fs::directory_iterator(directory_ / "a/b"), fs::directory_iterator()), 1) << "no leftovers";
}

TEST_F(FileStoreTest, RefusesFilesThatOthersMayRead) {
  const fs::path path = directory_ / "secret";
  ASSERT_TRUE(files_->writePrivate(path, asBytes("x")).ok());
  for (const unsigned bits : {0640U, 0604U, 0620U, 0610U}) {
    ASSERT_EQ(::chmod(path.c_str(), bits), 0);
    const auto content = files_->readPrivate(path, 100);
    ASSERT_FALSE(content.ok()) << bits;
    EXPECT_EQ(content.error().code, Errc::PolicyDenied);
    EXPECT_NE(content.error().message.find("chmod 600"), std::string::npos);
  }
}

TEST_F(FileStoreTest, NamesWhatIsWrong) {
  EXPECT_EQ(files_->readPrivate(directory_ / "none", 10).error().code, Errc::NotFound);
  EXPECT_EQ(files_->readPrivate(directory_.path(), 10).error().code, Errc::Malformed);
  const fs::path fifo = directory_ / "fifo";
  ASSERT_EQ(::mkfifo(fifo.c_str(), 0600), 0);
  EXPECT_EQ(files_->readPrivate(fifo, 10).error().code, Errc::Malformed);
  ASSERT_TRUE(files_->writePrivate(directory_ / "big", Bytes(11)).ok());
  EXPECT_EQ(files_->readPrivate(directory_ / "big", 10).error().code, Errc::TooLarge);
  std::ofstream(directory_ / "plain") << "x";
  EXPECT_EQ(files_->writePrivate(directory_ / "plain/below", asBytes("x")).error().code, Errc::Io);
}

TEST_F(FileStoreTest, CreatesOnceHoweverManyTry) {
  const fs::path path = directory_ / "identity";
  std::atomic<int> winners = 0;
  std::atomic<int> conflicts = 0;
  std::latch start(8);
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&, i] {
      const std::string content(64, static_cast<char>('a' + i));
      start.arrive_and_wait();
      const Status created = files_->createPrivate(path, asBytes(content));
      if (created.ok())
        ++winners;
      else if (created.error().code == Errc::Conflict)
        ++conflicts;
    });
  }
  for (auto& t : threads) t.join();
  EXPECT_EQ(winners, 1);
  EXPECT_EQ(conflicts, 7);
  const auto content = files_->readPrivate(path, 100);
  ASSERT_TRUE(content.ok());
  EXPECT_EQ(std::count(content->view().begin(), content->view().end(), content->view()[0]), 64) << "one writer's bytes";
  EXPECT_EQ(filesInDirectory(), 1U);
}

TEST(ThreadPool, RunsWhatItQueuedBeforeItEnds) {
  std::atomic<int> ran = 0;
  {
    const auto pool = makeThreadPool("test", 3, 1000);
    for (int i = 0; i < 500; ++i) EXPECT_TRUE(pool->submit([&] { ++ran; }));
  }
  EXPECT_EQ(ran, 500);
}

TEST(ThreadPool, RefusesOverItsBound) {
  std::binary_semaphore started(0);
  std::binary_semaphore release(0);
  {
    const auto pool = makeThreadPool("a name that is longer than Linux keeps", 1, 2);
    EXPECT_TRUE(pool->submit([&] {
      started.release();
      release.acquire();
    }));
    started.acquire();
    EXPECT_TRUE(pool->submit([] {}));
    EXPECT_TRUE(pool->submit([] {}));
    EXPECT_FALSE(pool->submit([] { FAIL() << "a refused task ran"; }));
    release.release();
  }
}

TEST(SystemEntropy, DoesNotRepeat) {
  const auto entropy = makeSystemEntropy();
  Bytes a(32), b(32);
  entropy->fill(a);
  entropy->fill(b);
  EXPECT_NE(a, b);
  entropy->fill({});
}

class FakeLoopTest : public ::testing::Test {
 protected:
  testing::FakeClock clock_;
  testing::FakeLoop loop_{clock_};
  std::vector<int> order_;
};

TEST_F(FakeLoopTest, RunsTasksInOrderAndNeverAtOnce) {
  loop_.post([this] {
    EXPECT_TRUE(loop_.isCurrent());
    loop_.post([this] { order_.push_back(2); });
    order_.push_back(1);
  });
  EXPECT_TRUE(order_.empty());
  EXPECT_EQ(loop_.runUntilIdle(), 2U);
  EXPECT_EQ(order_, (std::vector{1, 2}));
  EXPECT_FALSE(loop_.isCurrent());
}

TEST_F(FakeLoopTest, FiresTimersWhenTimePasses) {
  const Timer late = loop_.after(seconds(2), [this] { order_.push_back(2); });
  const Timer early = loop_.after(seconds(1), [this] {
    order_.push_back(1);
    EXPECT_EQ(toUnixMillis(clock_.now()), 1'780'000'001'000);
  });
  Timer cancelled = loop_.after(seconds(1), [this] { order_.push_back(9); });
  cancelled.reset();
  loop_.runUntilIdle();
  EXPECT_TRUE(order_.empty());
  loop_.advance(seconds(3));
  EXPECT_EQ(order_, (std::vector{1, 2}));
  EXPECT_EQ(toUnixMillis(clock_.now()), 1'780'000'003'000);
  EXPECT_EQ(loop_.pendingTimers(), 0U);
}

TEST_F(FakeLoopTest, DropsWhatIsPendingWhenItEnds) {
  auto held = std::make_shared<int>(1);
  Timer timer;
  {
    testing::FakeLoop loop(clock_);
    loop.post([held] { FAIL(); });
    timer = loop.after(seconds(1), [held] { FAIL(); });
    EXPECT_EQ(held.use_count(), 3);
  }
  EXPECT_EQ(held.use_count(), 1);
  timer.reset();  // harmless after the loop
}

}  // namespace
}  // namespace vaultysclaw
