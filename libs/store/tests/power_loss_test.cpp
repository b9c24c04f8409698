// The stores lose nothing when the power goes: random works, and after each write and sync a look at what a loss of
// power at that moment would have left. VC_POWER_LOSS_SEEDS=n tries n seeds instead of one.
#include <gtest/gtest.h>
#include <sqlite3.h>

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

struct Outcome {
  std::size_t looks = 0, lost = 0, wrong = 0, unreadable = 0;
  std::string example{};  // of what was not right
};

// One subject on one disk.
class PowerLoss {
 public:
  using Make = std::function<std::unique_ptr<Subject>()>;
  PowerLoss(const Make& make, std::uint64_t seed)
      : subject_(make()), survivor_(make()), random_(seed), disk_(directory_.path()) {}

  Outcome run() {
    TemporaryDirectory fresh;
    if (!survivor_->open(fresh.path()).ok()) ADD_FAILURE() << "no store to begin with";
    remember(*survivor_);
    survivor_->close();
    disk_.onOperation([this](DiskOp op, const std::string& file) {
      look(op, file);
      return Fault::None;
    });
    open();
    for (std::size_t step = 0; step < subject_->steps(); ++step) {
      sinceSync_ = 0;
      subject_->run(step, [&](std::size_t, const Status& status) {
        if (status.ok()) {
          told_ = step + 1;
        } else {
          EXPECT_TRUE(failedByItself(status.error())) << status.error().message;
        }
      });
      remember(*subject_);
      told_ = step + 1;  // also what was only refused has been told
      verify();
      if (step % 12 == 11) {
        subject_->close();
        open();
      }
    }
    subject_->close();
    verify();
    return outcome_;
  }

 private:
  struct Look {
    ForgetfulDisk::Image image;
    std::size_t told = 0;  // this many steps must be there, and one more may be
    std::string when{};
  };

  void open() {
    VC_EXPECT_OK(subject_->open(directory_.path()));
    verify();
  }
  void remember(Subject& subject) {
    const auto dump = subject.dump();
    VC_EXPECT_OK(dump);
    dumps_.push_back(dump.ok() ? *dump : "");
  }

  // Before an operation: what if it never happens?
  void look(DiskOp op, const std::string& file) {
    ++operation_;
    if (op == DiskOp::Open || op == DiskOp::Read || op == DiskOp::Lock || op == DiskOp::SharedMemory) return;
    // Long runs of writes are alike, within a step.
    sinceSync_ = op == DiskOp::Write ? sinceSync_ + 1 : 0;
    if (sinceSync_ > 16 && random_() % 64 != 0) return;
    const Loss losses[] = {Loss::AllUnsynced, Loss::SomeUnsynced, Loss::NothingWritten};
    for (std::size_t i = 0; i < (random_() % 4 == 0 ? 3 : 2); ++i) {
      looks_.push_back({disk_.image(losses[i], random_), told_,
                        "operation " + std::to_string(operation_) + " on " + file + ", loss " + std::to_string(i)});
    }
  }

  void verify() {
    for (const Look& look : std::exchange(looks_, {})) verify(look);
  }

  void verify(const Look& look) {
    ++outcome_.looks;
    const TemporaryDirectory after;
    ForgetfulDisk::write(look.image, after.path());
    const bool again = outcome_.looks % 40 == 0;
    std::vector<ForgetfulDisk::Image> second;
    auto dump = again ? recoverWatched(after, second) : recover(after);
    judge(look, dump);
    for (const auto& image : second) {
      ++outcome_.looks;
      const TemporaryDirectory last;
      ForgetfulDisk::write(image, last.path());
      if (const auto twice = recover(last); !dump.ok() || !twice.ok() || *twice != *dump) {
        ++outcome_.wrong;
        example(look, "the power went again during recovery");
      }
    }
  }

  Result<std::string> recover(const TemporaryDirectory& directory) {
    VC_TRY(survivor_->open(directory.path()));
    auto dump = survivor_->dump();
    survivor_->close();
    return dump;
  }
  // What if the power goes again while the first loss is being recovered from?
  Result<std::string> recoverWatched(const TemporaryDirectory& directory, std::vector<ForgetfulDisk::Image>& second) {
    ForgetfulDisk disk(directory.path());
    disk.onOperation([&](DiskOp op, const std::string&) {
      if (op == DiskOp::Write || op == DiskOp::Sync || op == DiskOp::Truncate || op == DiskOp::Delete) {
        if (second.size() < 40) second.push_back(disk.image(Loss::SomeUnsynced, random_));
      }
      return Fault::None;
    });
    auto dump = recover(directory);
    disk.onOperation(nullptr);
    return dump;
  }

  void judge(const Look& look, const Result<std::string>& dump) {
    if (!dump.ok()) {
      ++outcome_.unreadable;
      return example(look, dump.error().message);
    }
    const auto is = [&](std::size_t step) { return step < dumps_.size() && dumps_[step] == *dump; };
    if (is(look.told) || is(look.told + 1)) return;
    for (std::size_t step = 0; step < look.told; ++step) {
      if (!is(step)) continue;
      ++outcome_.lost;
      return example(look, std::to_string(look.told) + " commits were told, " + std::to_string(step) + " are there");
    }
    ++outcome_.wrong;
    example(look, "it is like after none of the commits");
  }

  void example(const Look& look, const std::string& what) {
    if (outcome_.example.empty()) outcome_.example = look.when + ": " + what;
  }

  TemporaryDirectory directory_;
  std::unique_ptr<Subject> subject_, survivor_;
  std::mt19937_64 random_;
  ForgetfulDisk disk_;
  std::size_t operation_ = 0, sinceSync_ = 0, told_ = 0;
  std::vector<std::string> dumps_;  // after so many steps
  std::vector<Look> looks_;
  Outcome outcome_;
};

// While one exists, connections keep to this `PRAGMA synchronous`, whatever their owner sets.
class ForcedSynchronous {
 public:
  explicit ForcedSynchronous(const char* mode) {
    mode_ = mode;
    sqlite3_auto_extension(reinterpret_cast<void (*)()>(force));
  }
  ~ForcedSynchronous() { sqlite3_cancel_auto_extension(reinterpret_cast<void (*)()>(force)); }
  ForcedSynchronous(const ForcedSynchronous&) = delete;
  ForcedSynchronous& operator=(const ForcedSynchronous&) = delete;

 private:
  static int force(sqlite3* db, const char**, const void*) {
    const int rc = sqlite3_exec(db, ("PRAGMA synchronous=" + std::string(mode_)).c_str(), nullptr, nullptr, nullptr);
    const auto ignoreOthers = [](void*, int action, const char* name, const char* value, const char*, const char*) {
      const bool sets = action == SQLITE_PRAGMA && std::string_view(name) == "synchronous" && value != nullptr;
      return sets ? SQLITE_IGNORE : SQLITE_OK;
    };
    sqlite3_set_authorizer(db, ignoreOthers, nullptr);
    return rc;
  }
  static inline const char* mode_ = "";
};

std::vector<std::uint64_t> seeds() {
  const char* const wanted = std::getenv("VC_POWER_LOSS_SEEDS");
  const std::uint64_t count = wanted == nullptr ? 1 : std::strtoull(wanted, nullptr, 10);
  std::vector<std::uint64_t> all;
  for (std::uint64_t seed = 1; seed <= count; ++seed) all.push_back(seed);
  return all;
}

class StorePowerLoss : public ::testing::TestWithParam<SubjectKind> {
 protected:
  static Outcome run(std::uint64_t seed, SubjectSize size) {
    return PowerLoss([&] { return GetParam().make(seed, size); }, seed).run();
  }
};

TEST_P(StorePowerLoss, LosesNothingThatWasToldAndLeavesNothingHalf) {
  for (const std::uint64_t seed : seeds()) {
    const Outcome outcome = run(seed, {.small = 10, .large = 5});
    std::cout << "seed " << seed << ": power lost " << outcome.looks << " times\n";
    EXPECT_GT(outcome.looks, 500u);
    EXPECT_EQ(outcome.lost + outcome.wrong + outcome.unreadable, 0u)
        << "seed " << seed << ": " << outcome.lost << " lost, " << outcome.wrong << " wrong, " << outcome.unreadable
        << " unreadable; " << outcome.example;
  }
}

// The same test notices stores that do not sync enough.
TEST_P(StorePowerLoss, IsNoticedWithoutSyncs) {
  for (const char* mode : {"OFF", "NORMAL"}) {
    const ForcedSynchronous forced(mode);
    const Outcome outcome = run(1, {.small = 8, .large = 0});
    std::cout << "synchronous=" << mode << ": " << outcome.lost << " lost, " << outcome.wrong << " wrong, "
              << outcome.unreadable << " unreadable of " << outcome.looks << '\n';
    EXPECT_GT(outcome.lost, 0u) << mode;
  }
}

INSTANTIATE_TEST_SUITE_P(Stores, StorePowerLoss, ::testing::ValuesIn(kSubjectKinds),
                         [](const auto& test) { return std::string(test.param.name); });

}  // namespace
}  // namespace vaultysclaw::store
