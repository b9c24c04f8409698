// What a soak's figures are judged by.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <functional>

#include "base/temporary_directory.hpp"
#include "soak_record.hpp"

namespace vaultysclaw::crash {
namespace {

using ::testing::HasSubstr;

std::vector<SoakSample> soak(int samples, const std::function<double(int)>& memory, int run = 1) {
  std::vector<SoakSample> out;
  for (int i = 0; i < samples; ++i) {
    SoakSample s;
    s.minutes = i;
    s.run = run;
    s.processes = {{"control-plane", memory(i), 40, 5}, {"agent", 12, 16, 13}};
    out.push_back(s);
  }
  return out;
}

TEST(SoakVerdict, IsLevelWhenNothingGrowsAfterTheFirstThird) {
  EXPECT_TRUE(judge(soak(30, [](int i) { return i < 10 ? 20.0 + i : 30.0; })).level);
  EXPECT_TRUE(judge(soak(30, [](int i) { return 30.0 - i / 3.0; })).level);
}

TEST(SoakVerdict, AllowsFivePercentOrTwoMebibytes) {
  const auto step = [](double before, double after) {
    return judge(soak(30, [=](int i) { return i < 20 ? before : after; })).level;
  };
  EXPECT_TRUE(step(10, 12));
  EXPECT_FALSE(step(10, 12.1));
  EXPECT_TRUE(step(100, 105));
  EXPECT_FALSE(step(100, 105.1));
}

TEST(SoakVerdict, NamesWhatGrows) {
  const auto verdict = judge(soak(30, [](int i) { return 20.0 + i; }));
  EXPECT_FALSE(verdict.level);
  EXPECT_THAT(verdict.text, HasSubstr("GROWS"));
  auto descriptors = soak(30, [](int) { return 20.0; });
  for (int i = 20; i < 30; ++i) descriptors[static_cast<std::size_t>(i)].processes[1].descriptors = 19;
  EXPECT_FALSE(judge(descriptors).level);
  auto threads = soak(30, [](int) { return 20.0; });
  for (int i = 20; i < 30; ++i) threads[static_cast<std::size_t>(i)].processes[1].threads = 15;
  EXPECT_FALSE(judge(threads).level);
}

TEST(SoakVerdict, JudgesTheLongestStretchAndSaysThatThereWasARestart) {
  auto samples = soak(12, [](int i) { return 20.0 + i; });
  for (const auto& s : soak(30, [](int) { return 25.0; }, 2)) samples.push_back(s);
  const auto verdict = judge(samples);
  EXPECT_TRUE(verdict.level);
  EXPECT_THAT(verdict.text, HasSubstr("started anew 1 times"));
}

TEST(SoakVerdict, SaysWhenThereIsTooLittle) {
  EXPECT_FALSE(judge({}).level);
  EXPECT_THAT(judge(soak(5, [](int) { return 20.0; })).text, HasSubstr("too short"));
}

TEST(SoakRecord, ComesBackAsItWasWrittenWithoutAHalfLine) {
  vaultysclaw::testing::TemporaryDirectory directory;
  const auto file = directory.path() / "soak.csv";
  for (auto& sample : soak(2, [](int i) { return 20.25 + i; })) {
    sample.done = 70;
    sample.errors = 1;
    sample.storeMib = 3.5;
    appendSample(file, sample);
  }
  std::ofstream(file, std::ios::app) << "2.0000,1,80";
  const auto read = readSamples(file);
  ASSERT_EQ(read.size(), 2u);
  EXPECT_DOUBLE_EQ(read[1].minutes, 1);
  EXPECT_EQ(read[1].done, 70u);
  EXPECT_EQ(read[1].errors, 1u);
  EXPECT_DOUBLE_EQ(read[1].storeMib, 3.5);
  ASSERT_EQ(read[1].processes.size(), 2u);
  EXPECT_EQ(read[1].processes[0].name, "control-plane");
  EXPECT_DOUBLE_EQ(read[1].processes[0].residentMib, 21.25);
  EXPECT_EQ(read[1].processes[1].descriptors, 16);
  EXPECT_EQ(read[1].processes[1].threads, 13);
}

}  // namespace
}  // namespace vaultysclaw::crash
