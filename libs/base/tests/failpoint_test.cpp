#include "base/failpoint.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>

#include "base/failpoint_arming.hpp"

namespace vaultysclaw::failpoint {
namespace {

void pass() {
  VC_FAILPOINT("test.passed");
}
Status attempt() {
  return VC_FAILPOINT_STATUS("test.attempt");
}
Status attemptElsewhere() {
  VC_TRY(VC_FAILPOINT_STATUS("test.attempt"));
  return {};
}

std::vector<Order> ordersFor(std::string_view text) {
  auto orders = parseOrders(text, all());
  EXPECT_TRUE(orders.ok()) << orders.error().message;
  return orders.ok() ? *orders : std::vector<Order>();
}

class Failpoints : public ::testing::Test {
 protected:
  ~Failpoints() override { arm({}); }
};

TEST_F(Failpoints, DoNothingUnlessArmed) {
  EXPECT_EQ(setHandler(nullptr), nullptr);
  pass();
  EXPECT_TRUE(attempt().ok());
}

TEST_F(Failpoints, AreListedOnceByName) {
  std::vector<std::string> names;
  for (const Point& point : all()) names.push_back(std::string(point.name) + (point.canFail ? " fail" : ""));
  EXPECT_EQ(std::count(names.begin(), names.end(), "test.passed"), 1);
  EXPECT_EQ(std::count(names.begin(), names.end(), "test.attempt fail"), 1);
}

TEST_F(Failpoints, FailAtTheHitNamed) {
  arm(ordersFor("test.attempt=fail@2"));
  EXPECT_TRUE(attempt().ok());
  const Status second = attemptElsewhere();  // the same name, and the same count
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.error().code, Errc::Io);
  EXPECT_EQ(second.error().message, "failpoint test.attempt");
  EXPECT_TRUE(attempt().ok());
}

TEST_F(Failpoints, FailFromTheHitNamedOn) {
  arm(ordersFor("test.attempt=fail@2+"));
  EXPECT_TRUE(attempt().ok());
  EXPECT_FALSE(attempt().ok());
  EXPECT_FALSE(attempt().ok());
  arm({});
  EXPECT_TRUE(attempt().ok());
}

TEST_F(Failpoints, KillTheProcess) {
  arm(ordersFor("test.attempt=fail,test.passed=kill@2"));
  EXPECT_EXIT(
      {
        pass();
        static_cast<void>(attempt());
        pass();
      },
      ::testing::KilledBySignal(SIGKILL), "test.attempt, hit 1: fail\nfailpoint test.passed, hit 2: kill");
}

TEST_F(Failpoints, RefuseOrdersThatCannotBeObeyed) {
  const std::vector<Point> points{{"a", true}, {"b", false}};
  for (const char* text : {"c=kill", "a", "a=", "a=explode", "a=kill@", "a=kill@0", "a=kill@x", "a=kill@1x",
                           "a=kill@-1", "b=fail", "a=kill,c=kill", "a=kill,,b=kill", "list"}) {
    EXPECT_FALSE(parseOrders(text, points).ok()) << text;
  }
  EXPECT_TRUE(parseOrders("a=fail@3+,b=pause,a=kill@18446744073709551615", points).ok());
}

}  // namespace
}  // namespace vaultysclaw::failpoint
