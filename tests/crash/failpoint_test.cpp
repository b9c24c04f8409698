// Walks through every failpoint of the control plane and of an agent: the process dies there, at its first start and
// under load, is started again, and nothing may be lost, done twice, stuck or wrong.
#include <gtest/gtest.h>

#include <csignal>
#include <sstream>

#include "base/temporary_directory.hpp"
#include "examiner.hpp"
#include "load.hpp"

namespace vaultysclaw::crash {
namespace {

using namespace std::chrono_literals;
using vaultysclaw::testing::TemporaryDirectory;

const std::string kArmedProduct = VC_ARMED_PRODUCT_BINARY;
constexpr auto kPatience = 60s;
constexpr auto kReached = 5s, kRarelyReached = 40s;
constexpr int kDied = 128 + SIGKILL;

enum class Who : std::uint8_t { ControlPlane, Agent };

struct Point {
  std::string name;
  bool canFail = false;
};

std::vector<Point> pointsOf(const std::string& program) {
  TemporaryDirectory directory;
  const auto listed = harness::runProcess({program}, {{"VC_FAILPOINTS", "list"}}, directory.path());
  EXPECT_EQ(listed.status, 0) << listed.err;
  std::vector<Point> points;
  std::istringstream in(listed.out);
  for (std::string line; std::getline(in, line);) {
    const auto space = line.find(' ');
    points.push_back({line.substr(0, space), space != std::string::npos});
  }
  EXPECT_FALSE(points.empty());
  return points;
}

// A world with callers.
class Scene {
 public:
  Scene() : world(directory.path(), 2, kArmedProduct), ledger(directory.path() / "promises.jsonl") {}

  void beginLoad() {
    examiner.emplace(world, ledger);
    examiner->expectError("failpoint ");
    LoadPlan plan;
    plan.port = world.callerPort();
    plan.token = world.token();
    plan.agents = world.agentNames();
    plan.dids = world.agentDids();
    plan.callers = 4;
    load.emplace(plan, ledger);
  }

  bool runs(Who who) { return who == Who::ControlPlane ? world.controlPlaneRuns() : world.agentRuns(0); }

  void start(Who who, const std::string& orders) {
    std::map<std::string, std::string> environment;
    if (!orders.empty()) environment["VC_FAILPOINTS"] = orders;
    if (who == Who::ControlPlane)
      world.startControlPlane(environment);
    else
      world.startAgent(0, environment);
  }

  // Callers silent, everybody back, records compared.
  void expectNothingLost() {
    const auto ends = world.unexpectedEnds();  // those that died are known as killed from now on
    examiner->noteDeath("control-plane");
    examiner->noteDeath("agent-0");
    for (const auto& end : ends) EXPECT_NE(end.find("status " + std::to_string(kDied)), std::string::npos) << end;
    world.restartDead();
    EXPECT_TRUE(harness::eventually([&] { return world.absentAgents().empty(); }, kPatience));
    load->quiesce();
    EXPECT_EQ(load->failure(), "");
    for (const auto& violation : examiner->settle(kPatience)) {
      ADD_FAILURE() << name(violation.fault) << ": " << violation.id << " " << violation.what << "\n"
                    << timeline(examiner->evidence(), violation);
    }
    EXPECT_TRUE(world.view().auditChainIsValid());
  }

  TemporaryDirectory directory;
  World world;
  Ledger ledger;
  std::optional<Examiner> examiner;
  std::optional<Load> load;
};

// Dies at the point in its very first start, or soon afterwards; false when it never came there.
bool diesInTheBeginning(Who who, const std::string& point) {
  Scene s;
  const std::string orders = point + "=kill";
  try {
    s.start(Who::ControlPlane, who == Who::ControlPlane ? orders : "");
    s.start(Who::Agent, who == Who::Agent ? orders : "");
    s.world.startAgent(1);
    harness::eventually(
        [&] {
          if (!s.runs(who)) return true;
          auto view = s.world.view();
          view.approvePending();
          return s.world.absentAgents().empty();
        },
        kReached);
  } catch (const std::runtime_error&) {
    // It died while we were talking to it.
  }
  const bool died = !s.runs(who);
  s.world.start();
  s.beginLoad();
  s.load->resume();
  harness::eventually([&] { return s.load->requests() > 20; });
  s.expectNothingLost();
  return died;
}

bool diesUnderLoad(Scene& s, Who who, const std::string& order, std::chrono::milliseconds limit) {
  s.load->resume();
  try {
    s.start(who, order);
  } catch (const std::runtime_error&) {
    // It died before it served.
  }
  const bool died = harness::eventually([&] { return !s.runs(who); }, limit);
  if (!died) s.start(who, "");
  s.expectNothingLost();
  return died;
}

void walk(Who who, const std::string& program) {
  Scene busy;
  busy.world.start();
  busy.beginLoad();
  for (const auto& point : pointsOf(program)) {
    SCOPED_TRACE(point.name);
    const bool often = diesUnderLoad(busy, who, point.name + "=kill@20", kReached);
    const bool early = diesInTheBeginning(who, point.name);
    // An agent need not reach what belongs to the store: the control plane reaches all of that.
    const bool elsewhere = who == Who::Agent && point.name.starts_with("store.");
    EXPECT_TRUE(often || early || elsewhere || diesUnderLoad(busy, who, point.name + "=kill", kRarelyReached))
        << "nothing here reaches the point";
    if (!point.canFail) continue;
    busy.load->resume();
    try {
      busy.start(who, point.name + "=fail@20");
      harness::eventually([&] { return !busy.runs(who); }, 1s);
      busy.start(who, "");  // what a disk refused once is mended by the next start, at the latest
    } catch (const std::runtime_error&) {
      // It could not start with a store that fails.
    }
    busy.expectNothingLost();
  }
}

TEST(Failpoints, NothingIsLostWhereverTheControlPlaneDies) {
  walk(Who::ControlPlane, kArmedProduct);
}

TEST(Failpoints, NothingIsLostWhereverAnAgentDies) {
  walk(Who::Agent, VC_CRASH_AGENT_BINARY);
}

}  // namespace
}  // namespace vaultysclaw::crash
