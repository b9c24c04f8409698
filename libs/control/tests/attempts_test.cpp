#include "../src/attempts.hpp"

#include <gtest/gtest.h>

#include "base/fake_loop.hpp"

namespace vaultysclaw::control {
namespace {

using std::chrono::minutes;
using vaultysclaw::testing::FakeClock;

class AttemptsTest : public ::testing::Test {
 protected:
  FakeClock clock;
  Attempts attempts{{3, minutes(15), minutes(60), 4}, clock};
};

TEST_F(AttemptsTest, WaitLongerEachTimeAndNotForEver) {
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(attempts.wait("bob"), Duration(0)) << i;
    attempts.begin("bob");
  }
  std::int64_t expected = 1;
  for (int i = 0; i < 100; ++i) {
    const Duration wait = attempts.wait("bob");
    EXPECT_EQ(wait, std::min<Duration>(seconds(expected), minutes(15))) << i;
    clock.advance(wait - milliseconds(1));
    EXPECT_EQ(attempts.wait("bob"), milliseconds(1));
    clock.advance(milliseconds(1));
    EXPECT_EQ(attempts.wait("bob"), Duration(0));
    attempts.begin("bob");
    expected = std::min<std::int64_t>(expected * 2, 100'000);
  }
  EXPECT_EQ(attempts.wait("eve"), Duration(0));
}

TEST_F(AttemptsTest, ThatSucceedAreTakenBackAndNoOthers) {
  for (int i = 0; i < 4; ++i) attempts.begin("bob");
  EXPECT_GT(attempts.wait("bob"), Duration(0));
  attempts.succeeded("bob");
  EXPECT_EQ(attempts.wait("bob"), seconds(1)) << "three have failed";
  attempts.succeeded("bob");
  EXPECT_EQ(attempts.wait("bob"), Duration(0));
  attempts.succeeded("bob");
  attempts.succeeded("bob");
  EXPECT_EQ(attempts.counted(), 0U);
  attempts.succeeded("bob");
  EXPECT_EQ(attempts.counted(), 0U);
}

TEST_F(AttemptsTest, AreForgottenInQuiet) {
  for (int i = 0; i < 9; ++i) attempts.begin("bob");
  clock.advance(minutes(60));
  EXPECT_EQ(attempts.wait("bob"), Duration(0));
  attempts.begin("bob");
  EXPECT_EQ(attempts.wait("bob"), Duration(0)) << "counted from one again";
}

TEST_F(AttemptsTest, AFloodOfNamesForgetsNoneThatIsTried) {
  for (int i = 0; i < 5; ++i) attempts.begin("bob");
  for (int i = 0; i < 100; ++i) {
    attempts.begin("flood" + std::to_string(i));
    clock.advance(milliseconds(1));
    EXPECT_LE(attempts.counted(), 4U);
  }
  EXPECT_GT(attempts.wait("bob"), Duration(0));
}

TEST_F(AttemptsTest, ClientHasOneNetworkOfIPv6) {
  EXPECT_EQ(clientOf("192.0.2.1"), "192.0.2.1");
  EXPECT_NE(clientOf("192.0.2.1"), clientOf("192.0.2.2"));
  EXPECT_EQ(clientOf("2001:db8:1:2:3:4:5:6"), clientOf("2001:db8:1:2::1"));
  EXPECT_NE(clientOf("2001:db8:1:2::1"), clientOf("2001:db8:1:3::1"));
  EXPECT_EQ(clientOf("memory"), "memory");
}

}  // namespace
}  // namespace vaultysclaw::control
