// Each page of a store's file, and each frame of its log, damaged in turn: what is read afterwards is what was written,
// or an error that says so, or left out and told. Never anything else.
#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <sstream>

#include "store/forgetful_disk.hpp"
#include "store_subject.hpp"
#include "store_testing.hpp"

namespace vaultysclaw::store {
namespace {

using testing::Fault;
using testing::ForgetfulDisk;
using testing::Loss;

constexpr std::size_t kPage = 4096, kFrame = kPage + 24, kLogHeader = 32;

std::set<std::string> linesOf(const std::string& dump) {
  std::set<std::string> lines;
  std::istringstream in(dump);
  for (std::string line; std::getline(in, line);) lines.insert(line);
  return lines;
}

struct Tally {
  std::size_t same = 0, refused = 0, leftOut = 0;
};

class StoreDamage : public ::testing::TestWithParam<SubjectKind> {
 protected:
  // A store with something in it, closed in order; `log`: as SIGKILL leaves one, with the log of the last works.
  void fill() {
    TemporaryDirectory directory;
    auto subject = GetParam().make(kSeed, kSize);
    {
      ForgetfulDisk disk(directory.path());
      VC_ASSERT(subject->open(directory.path()).ok(), "a new store opens");
      for (std::size_t step = 0; step < subject->steps(); ++step) {
        if (step + 1 == subject->steps()) {
          beforeLast_ = *subject->dump();
          logBeforeLast_ = std::filesystem::file_size(directory / "store.db-wal");
        }
        subject->run(step, [](std::size_t, const Status&) {});
      }
      std::mt19937_64 random(kSeed);
      killed_ = disk.image(Loss::NothingWritten, random);
    }
    whole_ = *subject->dump();
    subject->close();
    closed_ = {{"store.db", contentOf(directory / "store.db")}};
    lines_ = linesOf(whole_);
  }

  // What a damaged store says; `mayEndEarlier`: damage that looks like a loss of power before the last commit.
  void judge(const ForgetfulDisk::Image& image, bool mayEndEarlier) {
    const TemporaryDirectory directory;
    ForgetfulDisk::write(image, directory.path());
    auto subject = GetParam().make(kSeed, kSize);
    const Status opened = subject->open(directory.path());
    if (!opened.ok()) return refused(opened.error());
    const auto dump = subject->dump();
    if (!dump.ok()) return refused(dump.error());
    if (*dump == whole_) return void(++tally_.same);
    if (mayEndEarlier && *dump == beforeLast_) return void(++tally_.same);
    ++tally_.leftOut;
    EXPECT_FALSE(subject->damage().empty()) << "something is missing or wrong, and nobody was told";
    // What is there is true; the counts beside it may count what is left out.
    for (const std::string& line : linesOf(*dump)) {
      const bool isRow = line.find(" \"") != std::string::npos;
      EXPECT_TRUE(!isRow || lines_.contains(line)) << line;
    }
  }

  void refused(const Error& error) {
    ++tally_.refused;
    EXPECT_NE(error.message.find("store.db"), std::string::npos) << error.message;
    EXPECT_TRUE(error.code == Errc::Malformed || error.code == Errc::Unsupported || error.code == Errc::Io ||
                error.code == Errc::Internal)
        << name(error.code) << ": " << error.message;
  }

  // Calls `judge` with one bit of `file` flipped, at a few places of each unit.
  template <class EndsEarlier>
  void flipEach(const ForgetfulDisk::Image& image, const std::string& file, std::size_t unit, std::size_t perUnit,
                EndsEarlier&& endsEarlier) {
    std::mt19937_64 random(kSeed);
    const std::size_t size = image.at(file).size();
    for (std::size_t start = 0; start < size; start += unit) {
      for (std::size_t i = 0; i < perUnit; ++i) {
        // The first bytes of a page are its structure.
        const std::size_t within = i % 4 == 0 ? random() % 100 : random() % unit;
        const std::size_t at = std::min(start + within, size - 1);
        SCOPED_TRACE(file + ", byte " + std::to_string(at));
        ForgetfulDisk::Image damaged = image;
        damaged[file][at] = static_cast<char>(damaged[file][at] ^ (1 << random() % 8));
        judge(damaged, endsEarlier(at));
        if (HasFailure()) return;
      }
    }
  }

  static constexpr std::uint64_t kSeed = 11;
  static constexpr SubjectSize kSize{.small = 12, .large = 0};
  std::string whole_, beforeLast_;
  std::set<std::string> lines_;
  std::size_t logBeforeLast_ = 0;
  ForgetfulDisk::Image closed_, killed_;
  Tally tally_;
};

TEST_P(StoreDamage, OfAnyPageIsNoticedOrHarmless) {
  fill();
  flipEach(closed_, "store.db", kPage, 12, [](std::size_t) { return false; });
  std::cout << tally_.same << " harmless, " << tally_.refused << " refused, " << tally_.leftOut << " left out\n";
  EXPECT_GT(tally_.refused, 0u);
  EXPECT_GT(tally_.leftOut, 0u);
}

TEST_P(StoreDamage, OfAWholePageIsNoticedOrHarmless) {
  fill();
  const std::string& content = closed_.at("store.db");
  for (std::size_t start = 0; start + kPage <= content.size(); start += kPage) {
    SCOPED_TRACE("page at " + std::to_string(start));
    ForgetfulDisk::Image zeros = closed_;
    zeros["store.db"].replace(start, kPage, std::string(kPage, '\0'));
    judge(zeros, false);
    for (const std::size_t size : {start, start + 100}) {
      if (size == 0) continue;  // a file without content is one that was never made
      ForgetfulDisk::Image damaged = closed_;
      damaged["store.db"].resize(size);
      judge(damaged, false);
    }
    if (HasFailure()) return;
  }
}

TEST_P(StoreDamage, OfTheLogIsNoticedUnlessItLooksLikeALossOfPower) {
  fill();
  const auto endsEarlier = [&](std::size_t at) { return at >= logBeforeLast_; };
  flipEach(killed_, "store.db-wal", kFrame, 4, endsEarlier);
  std::cout << tally_.same << " harmless, " << tally_.refused << " refused, " << tally_.leftOut << " left out\n";
  EXPECT_GT(tally_.refused, 0u);
  for (std::size_t at = 0; at < kLogHeader; ++at) {
    SCOPED_TRACE("header, byte " + std::to_string(at));
    ForgetfulDisk::Image damaged = killed_;
    damaged["store.db-wal"][at] = static_cast<char>(damaged["store.db-wal"][at] ^ 4);
    judge(damaged, false);
  }
}

INSTANTIATE_TEST_SUITE_P(Stores, StoreDamage, ::testing::ValuesIn(kSubjectKinds),
                         [](const auto& test) { return std::string(test.param.name); });

}  // namespace
}  // namespace vaultysclaw::store
