#include "net/backoff.hpp"

#include <gtest/gtest.h>

#include "base/fake_loop.hpp"

namespace vaultysclaw::net {
namespace {

TEST(Backoff, DoublesUpToTheMaximumWithinItsJitter) {
  testing::FakeEntropy entropy;
  Backoff backoff({}, entropy);
  const int expected[] = {2, 4, 8, 16, 32, 60, 60, 60};
  for (const int base : expected) {
    const Duration delay = backoff.next();
    EXPECT_GE(delay, seconds(base) * 8 / 10) << base;
    EXPECT_LE(delay, seconds(base) * 12 / 10) << base;
  }
  EXPECT_EQ(backoff.attempts(), 8);
  backoff.reset();
  EXPECT_LE(backoff.next(), milliseconds(2400));
}

TEST(Backoff, NeverOverflows) {
  testing::FakeEntropy entropy;
  Backoff backoff({.jitter = 0}, entropy);
  for (int i = 0; i < 5000; ++i) (void)backoff.next();
  EXPECT_EQ(backoff.next(), seconds(60));
}

}  // namespace
}  // namespace vaultysclaw::net
