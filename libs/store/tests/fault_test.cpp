// What the stores do when the n-th thing they ask of the disk or of SQLite's allocator fails, for every n (of the
// allocations a part, or each with VC_EVERY_ALLOCATION=1): what was told to be done is there, what was told to have
// failed is not, and the next work succeeds.
#include <gtest/gtest.h>
#include <sqlite3.h>

#include <atomic>
#include <cstdlib>

#include "store/forgetful_disk.hpp"
#include "store_subject.hpp"
#include "store_testing.hpp"

namespace vaultysclaw::store {
namespace {

using testing::DiskOp;
using testing::Fault;
using testing::ForgetfulDisk;
using testing::Loss;

// ---- SQLite's allocator, with one allocation that fails

std::atomic<std::int64_t> allocationsUntilFailure = 0;  // 0: none fails
sqlite3_mem_methods realAllocator;

bool allocationFails() {
  return allocationsUntilFailure > 0 && --allocationsUntilFailure == 0;
}
void* allocate(int size) {
  return allocationFails() ? nullptr : realAllocator.xMalloc(size);
}
void* reallocate(void* memory, int size) {
  return allocationFails() ? nullptr : realAllocator.xRealloc(memory, size);
}

// Before anything else uses SQLite.
const bool allocatorReplaced = [] {
  bool done = sqlite3_config(SQLITE_CONFIG_GETMALLOC, &realAllocator) == SQLITE_OK;
  sqlite3_mem_methods ours = realAllocator;
  ours.xMalloc = allocate;
  ours.xRealloc = reallocate;
  done = done && sqlite3_config(SQLITE_CONFIG_MALLOC, &ours) == SQLITE_OK;
  // Connections have a reserve of memory that would hide most allocations.
  return done && sqlite3_config(SQLITE_CONFIG_LOOKASIDE, 0, 0) == SQLITE_OK;
}();

// ---- one run with one fault

// What is about to fail. A run asks before each operation, or arms the allocator.
class Trouble {
 public:
  virtual ~Trouble() = default;
  virtual void begin(ForgetfulDisk& disk) = 0;
  virtual void end(ForgetfulDisk& disk) = 0;
  virtual bool happened() const = 0;
  virtual void stepEnds() {}
};

enum class Lasting : bool { No, Yes };  // Yes: until the step ends

class DiskTrouble final : public Trouble {
 public:
  DiskTrouble(std::uint64_t operation, Fault fault, Lasting lasting)
      : operation_(operation), fault_(fault), lasting_(lasting) {}
  void begin(ForgetfulDisk& disk) override {
    disk.onOperation([this](DiskOp op, const std::string&) { return before(op); });
  }
  void end(ForgetfulDisk& disk) override { disk.onOperation(nullptr); }
  bool happened() const override { return happened_; }
  void stepEnds() override { lasts_ = false; }

 private:
  Fault before(DiskOp op) {
    const bool applies = fault_ == Fault::Error || (fault_ == Fault::ForgetsWrites && op == DiskOp::Sync) ||
                         ((fault_ == Fault::Full || fault_ == Fault::Short) && op == DiskOp::Write);
    if (!applies) return Fault::None;
    if (lasts_) return fault_;
    if (++count_ != operation_) return Fault::None;
    happened_ = true;
    lasts_ = lasting_ == Lasting::Yes;
    return fault_;
  }

  std::uint64_t operation_;
  Fault fault_;
  Lasting lasting_;
  std::uint64_t count_ = 0;
  bool happened_ = false, lasts_ = false;
};

class MemoryTrouble final : public Trouble {
 public:
  explicit MemoryTrouble(std::int64_t allocation) : allocation_(allocation) {}
  void begin(ForgetfulDisk&) override {
    allocationsUntilFailure = allocation_;
    running_ = true;
  }
  void end(ForgetfulDisk&) override {
    happened_ = happened();
    running_ = false;
    allocationsUntilFailure = 0;
  }
  bool happened() const override { return running_ ? allocationsUntilFailure == 0 : happened_; }

 private:
  std::int64_t allocation_;
  bool running_ = false, happened_ = false;
};

class FaultyRun {
 public:
  FaultyRun(const SubjectKind& kind, const ForgetfulDisk::Image& before, SubjectSize size)
      : kind_(kind), before_(before), size_(size), subject_(kind.make(kSeed, size)) {
    ForgetfulDisk::write(before, directory_.path());
  }
  static constexpr std::uint64_t kSeed = 5;

  // False when it ran to its end without the trouble.
  bool with(Trouble& trouble) {
    ForgetfulDisk disk(directory_.path());
    trouble.begin(disk);
    open(trouble);
    for (std::size_t step = 0; step < subject_->steps(); ++step) {
      const bool before = trouble.happened();
      subject_->run(step, [&](std::size_t work, const Status& status) {
        if (status.ok()) {
          done_.emplace_back(step, work);
        } else if (!failedByItself(status.error())) {
          check(before, trouble, status.error());
        }
      });
      trouble.stepEnds();
      if (step == subject_->steps() / 2) read(trouble);
    }
    trouble.end(disk);
    const std::string expected = whatWasTold();
    const auto now = subject_->dump();
    EXPECT_TRUE(now.ok() && *now == expected) << "before it was closed";
    std::mt19937_64 random(kSeed);
    const auto afterPowerLoss = disk.image(Loss::AllUnsynced, random);
    subject_->close();
    EXPECT_EQ(contentIn(directory_), expected) << "after it was closed";
    const TemporaryDirectory other;
    ForgetfulDisk::write(afterPowerLoss, other.path());
    EXPECT_EQ(contentIn(other), expected) << "after a loss of power";
    return trouble.happened();
  }

 private:
  void open(Trouble& trouble) {
    const Status opened = subject_->open(directory_.path());
    trouble.stepEnds();
    if (opened.ok()) return;
    check(false, trouble, opened.error());
    VC_EXPECT_OK(subject_->open(directory_.path()));
  }

  // Reading tells the truth or fails.
  void read(Trouble& trouble) {
    const bool before = trouble.happened();
    const auto dump = subject_->dump();
    trouble.stepEnds();
    if (!dump.ok()) return check(before, trouble, dump.error());
    const auto again = subject_->dump();  // the trouble, if any, is over or still to come
    if (again.ok()) {
      EXPECT_EQ(*dump, *again);
    }
  }

  // An error comes with the trouble, not later, and says what and where.
  void check(bool before, Trouble& trouble, const Error& error) {
    EXPECT_TRUE(trouble.happened() && !before) << error.message;
    EXPECT_NE(error.message.find(directory_.path().string()), std::string::npos) << error.message;
    EXPECT_TRUE(error.code == Errc::Io || error.code == Errc::Busy || error.code == Errc::Internal)
        << name(error.code) << ": " << error.message;
  }

  // Exactly the works that were told to be done, on a disk without trouble.
  std::string whatWasTold() {
    const TemporaryDirectory directory;
    ForgetfulDisk::write(before_, directory.path());
    const auto mirror = kind_.make(kSeed, size_);
    VC_EXPECT_OK(mirror->open(directory.path()));
    for (const auto& [step, work] : done_) VC_EXPECT_OK(mirror->apply(step, work));
    const auto dump = mirror->dump();
    VC_EXPECT_OK(dump);
    return dump.ok() ? *dump : "";
  }
  std::string contentIn(const TemporaryDirectory& directory) {
    const auto reader = kind_.make(kSeed, size_);
    VC_EXPECT_OK(reader->open(directory.path()));
    const auto dump = reader->dump();
    VC_EXPECT_OK(dump);
    return dump.ok() ? *dump : "";
  }

  const SubjectKind& kind_;
  const ForgetfulDisk::Image& before_;
  const SubjectSize size_;
  TemporaryDirectory directory_;
  std::unique_ptr<Subject> subject_;
  std::vector<std::pair<std::size_t, std::size_t>> done_;  // step and work
};

class StoreFault : public ::testing::TestWithParam<SubjectKind> {
 protected:
  // A store with something in it, closed.
  static ForgetfulDisk::Image filled() {
    const TemporaryDirectory directory;
    const auto subject = GetParam().make(3, {.small = 6, .large = 0});
    VC_EXPECT_OK(subject->open(directory.path()));
    for (std::size_t step = 0; step < subject->steps(); ++step) subject->run(step, [](std::size_t, const Status&) {});
    subject->close();
    return {{"store.db", contentOf(directory / "store.db")}};
  }

  // With trouble at n = 1, 2, ... until a run has none. Returns how often there was.
  template <class MakeTrouble>
  static std::uint64_t everyTime(const ForgetfulDisk::Image& image, SubjectSize size, MakeTrouble&& make,
                                 std::uint64_t stride = 1) {
    for (std::uint64_t n = 1;; n += stride) {
      SCOPED_TRACE("n = " + std::to_string(n));
      auto trouble = make(n);
      if (!FaultyRun(GetParam(), image, size).with(trouble)) return n - 1;
      // The rest would say the same.
      if (::testing::UnitTest::GetInstance()->current_test_info()->result()->total_part_count() > 5) return n;
    }
  }
  static constexpr SubjectSize kSmall{.small = 4, .large = 0};
};

TEST_P(StoreFault, OfTheDiskIsToldToTheWorksItHitsAndNoOther) {
  const auto image = filled();
  const auto times =
      everyTime(image, kSmall, [](std::uint64_t n) { return DiskTrouble(n, Fault::Error, Lasting::No); });
  EXPECT_GT(times, 200u);
  std::cout << times << " operations failed in turn\n";
}

TEST_P(StoreFault, FullDisksAndShortWritesUndoWhatTheyHit) {
  const auto image = filled();
  for (const Fault fault : {Fault::Full, Fault::Short}) {
    for (const Lasting lasting : {Lasting::No, Lasting::Yes}) {
      const auto times = everyTime(image, kSmall, [&](std::uint64_t n) { return DiskTrouble(n, fault, lasting); });
      EXPECT_GT(times, 30u);
    }
  }
}

TEST_P(StoreFault, ASyncThatFailsAndForgetsLosesNothingThatWasTold) {
  const auto image = filled();
  for (const SubjectSize size : {kSmall, SubjectSize{.small = 4, .large = 6}}) {
    const auto times =
        everyTime(image, size, [](std::uint64_t n) { return DiskTrouble(n, Fault::ForgetsWrites, Lasting::No); });
    EXPECT_GE(times, 4u);
  }
}

TEST_P(StoreFault, WhileAStoreIsMadeLeavesNoneOrAWholeOne) {
  const auto times = everyTime({}, {.small = 1, .large = 0},
                               [](std::uint64_t n) { return DiskTrouble(n, Fault::Error, Lasting::No); });
  EXPECT_GT(times, 200u);
}

TEST_P(StoreFault, OfAnAllocationIsToldToTheWorksItHitsAndNoOther) {
  ASSERT_TRUE(allocatorReplaced);
  const auto image = filled();
  // There are some thousands, most of them alike.
  const char* const every = std::getenv("VC_EVERY_ALLOCATION");
  const auto times = everyTime(
      image, kSmall, [](std::uint64_t n) { return MemoryTrouble(static_cast<std::int64_t>(n)); },
      every == nullptr ? 17 : 1);
  EXPECT_GT(times, 500u);
  std::cout << times << " allocations, " << (every == nullptr ? "every 17th" : "each") << " failed in turn\n";
}

INSTANTIATE_TEST_SUITE_P(Stores, StoreFault, ::testing::ValuesIn(kSubjectKinds),
                         [](const auto& test) { return std::string(test.param.name); });

}  // namespace
}  // namespace vaultysclaw::store
