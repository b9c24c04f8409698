#include "net/io_loop.hpp"

#include <gtest/gtest.h>

#include <future>

#include "net_fixture.hpp"

namespace vaultysclaw::net {
namespace {

TEST(IoLoop, RunsTasksInOrderOnItsThread) {
  IoLoop loop;
  std::vector<int> order;
  EXPECT_FALSE(loop.isCurrent());
  loop.post([&] { order.push_back(loop.isCurrent() ? 1 : -1); });
  loop.post([&] { order.push_back(2); });
  loop.runBlocking([&] { order.push_back(3); });
  EXPECT_EQ(order, (std::vector<int>{1, 2, 3}));
}

TEST(IoLoop, TimersFireUnlessDestroyed) {
  IoLoop loop;
  Watched<int> fired;
  Timer kept;
  loop.runBlocking([&] {
    Timer cancelled = loop.after(Duration(0), [] { ADD_FAILURE() << "cancelled"; });
    kept = loop.after(milliseconds(1), [&] {
      kept.reset();  // a task may destroy its own timer
      fired.change([](int& n) { ++n; });
    });
  });
  EXPECT_TRUE(fired.wait([](int n) { return n == 1; }));
}

TEST(IoLoop, DestroysWhatHasNotRunOnItsThread) {
  struct Probe {
    explicit Probe(IoLoop& l, bool& flag) : loop(l), onLoop(flag) {}
    ~Probe() {
      onLoop = loop.isCurrent();
      loop.post([] {});  // refused, harmlessly
    }
    IoLoop& loop;
    bool& onLoop;
  };
  bool onLoop = false;
  Timer timer;
  {
    IoLoop loop;
    loop.runBlocking([&] { timer = loop.after(seconds(3600), [probe = std::make_shared<Probe>(loop, onLoop)] {}); });
  }
  EXPECT_TRUE(onLoop);
  timer.reset();  // after its loop: nothing to cancel
}

TEST(IsLoopbackAddress, KnowsTheLoopbackNetworks) {
  for (const char* yes : {"127.0.0.1", "127.8.9.1", "::1", "::ffff:127.0.0.1", "localhost"})
    EXPECT_TRUE(isLoopbackAddress(yes)) << yes;
  for (const char* no : {"", "10.0.0.1", "::2", "128.0.0.1", "127.0.0.1.example.com", "::ffff:10.0.0.1"})
    EXPECT_FALSE(isLoopbackAddress(no)) << no;
}

}  // namespace
}  // namespace vaultysclaw::net
