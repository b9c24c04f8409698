// Handlers that go on after their deadline: named to whoever can do something about it.
#include "agent_fixture.hpp"

namespace vaultysclaw::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::Field;
using ::testing::IsEmpty;

class Stuck : public AgentTest {
 protected:
  static auto isStuck(const std::string& action, const std::string& id) {
    return ::testing::AllOf(Field(&protocol::StuckCall::action, action), Field(&protocol::StuckCall::id, id));
  }
};

TEST_F(Stuck, HandlersAreNamedInTheLogTheInfoAndTheHeartbeat) {
  config.stopGrace = seconds(10);
  connect();
  std::vector<StuckHandler> early, later;
  agent->intent = [&](std::string_view, const Json&, CallContext&) -> Json {
    world.advance(seconds(65));  // the deadline is at 60 s
    early = agent->getInfo().stuckHandlers;
    world.advance(seconds(35));
    later = agent->getInfo().stuckHandlers;
    return {};
  };
  intent("i1", "text_generation");
  EXPECT_EQ(code("i1"), "deadline_exceeded");
  EXPECT_THAT(early, IsEmpty());
  ASSERT_EQ(later.size(), 1u);
  EXPECT_EQ(later[0].action, "text_generation");
  EXPECT_EQ(later[0].id, "i1");
  EXPECT_EQ(later[0].overdue, seconds(40));
  EXPECT_TRUE(logged("text_generation (i1) still runs 10 s after its deadline"));
  EXPECT_TRUE(logged("text_generation (i1) still runs 30 s after its deadline"));  // then less and less often
  EXPECT_FALSE(logged("still runs 20 s"));
  // One heartbeat was sent meanwhile, at 90 s.
  EXPECT_THAT(cp.last<protocol::Heartbeat>()->stuckCalls, ElementsAre(isStuck("text_generation", "i1")));
  EXPECT_EQ(cp.last<protocol::Heartbeat>()->stuckCalls.front().overdueSeconds, 30);

  EXPECT_THAT(agent->getInfo().stuckHandlers, IsEmpty());
  world.advance(seconds(31));
  EXPECT_THAT(cp.last<protocol::Heartbeat>()->stuckCalls, IsEmpty());
}

TEST_F(Stuck, WhatOnlyWaitsForAHandlerThreadIsNot) {
  config.stopGrace = seconds(10);
  connect();
  world.lanes->held = true;
  intent("i1", "text_generation");
  world.advance(seconds(100));
  EXPECT_EQ(code("i1"), "deadline_exceeded");
  EXPECT_THAT(agent->getInfo().stuckHandlers, IsEmpty());
  EXPECT_FALSE(logged("still runs"));
  EXPECT_THAT(cp.last<protocol::Heartbeat>()->stuckCalls, IsEmpty());
  while (world.runHandler()) {
  }
}

}  // namespace
}  // namespace vaultysclaw::testing
