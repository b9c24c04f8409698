#include <gtest/gtest.h>

TEST(Canary, FailsOnPurpose) {
  EXPECT_TRUE(false) << "this failure has to fail the run";
}
