#include "net/backoff.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>

#include "base/fake_loop.hpp"

namespace vaultysclaw::net {
namespace {

TEST(Backoff, DoublesUpToTheMaximumWithinItsJitter) {
  testing::FakeEntropy entropy;
  Backoff backoff({}, entropy);
  const int expected[] = {2, 4, 8, 16, 32, 60, 60, 60};
  for (const int base : expected) {
    const Duration delay = backoff.next();
    EXPECT_GE(delay, seconds(base) * (base == 2 ? 1 : 8) / 10) << base;
    EXPECT_LE(delay, seconds(base) * 12 / 10) << base;
  }
  EXPECT_EQ(backoff.attempts(), 8);
  backoff.reset();
  EXPECT_LE(backoff.next(), milliseconds(2400));
}

TEST(Backoff, SpreadsThoseWhoLostTheSameServer) {
  testing::FakeEntropy entropy;
  constexpr int kClients = 2000;
  std::array<int, 24> perTenth{};  // how many come back in each tenth of a second
  for (int i = 0; i < kClients; ++i) {
    const Duration first = Backoff({}, entropy).next();
    ASSERT_GE(first, milliseconds(200));
    ASSERT_LE(first, milliseconds(2400));
    ++perTenth[std::min<std::size_t>(static_cast<std::size_t>(first / milliseconds(100)), perTenth.size() - 1)];
  }
  for (std::size_t tenth = 2; tenth < perTenth.size(); ++tenth) {
    EXPECT_GT(perTenth[tenth], 0) << tenth;
    EXPECT_LT(perTenth[tenth], kClients / 10) << tenth;
  }
}

TEST(Backoff, WithoutJitterIsExact) {
  testing::FakeEntropy entropy;
  Backoff backoff({.jitter = 0}, entropy);
  EXPECT_EQ(backoff.next(), seconds(2));
  EXPECT_EQ(backoff.next(), seconds(4));
}

TEST(Backoff, NeverOverflows) {
  testing::FakeEntropy entropy;
  Backoff backoff({.jitter = 0}, entropy);
  for (int i = 0; i < 5000; ++i) (void)backoff.next();
  EXPECT_EQ(backoff.next(), seconds(60));
}

}  // namespace
}  // namespace vaultysclaw::net
