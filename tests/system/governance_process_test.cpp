// What an operator decides reaches real agents: at once, when they come back, and over restarts of both sides.
#include "processes.hpp"

namespace vaultysclaw::system_test {
namespace {

class Governance : public Processes {
 protected:
  void startBoth() {
    ASSERT_NO_FATAL_FAILURE(startControlPlane());
    startProbe();
    ASSERT_NO_FATAL_FAILURE(approveProbe());
  }
  // How often a command said that connected agents were told.
  static std::size_t sentTo(const Json& answer) { return answer.value("sentTo", Json::array()).size(); }
  void restartBoth() {
    killControlPlane();
    killProbe();
    ASSERT_NO_FATAL_FAILURE(startControlPlane());
    startProbe();
    ASSERT_TRUE(eventually([&] { return probeIs("connected"); }));
  }
  void expectRuns() {
    const Output ran = cli({"run", "probe", "text_generation", "{}"});
    EXPECT_EQ(ran.status, 0) << ran.err;
  }
  void expectRefused(const std::string& why) {
    const Output refused = cli({"run", "probe", "text_generation", "{}"});
    EXPECT_EQ(refused.status, 1);
    EXPECT_THAT(refused.out + refused.err, HasSubstr(why));
  }
  // Until the agent has its certificate for what it is granted now.
  bool certified() { return cliJson({"agents", "get", "probe"}).value("certificateCurrent", false); }
};

TEST_F(Governance, PoliciesReachAnAgentWhereverItIs) {
  ASSERT_NO_FATAL_FAILURE(startBoth());
  const char* denied = "Capability 'text_generation' not granted";

  // While connected: before the command has ended.
  const Json stop = cliJson({"policies", "add", "--agent", "probe", "--no-capabilities", "--reason", "stop"});
  EXPECT_EQ(sentTo(stop), 1U);
  expectRefused(denied);
  const std::string id = stop["policy"]["id"];

  // Over restarts of both.
  ASSERT_NO_FATAL_FAILURE(restartBoth());
  expectRefused(denied);
  EXPECT_EQ(sentTo(cliJson({"policies", "revoke", id})), 1U);
  ASSERT_TRUE(eventually([&] { return certified(); }));
  expectRuns();

  // While absent.
  killProbe();
  ASSERT_TRUE(eventually([&] { return probeIs("offline"); }));
  const Json limit = cliJson({"policies", "add", "--agent", "probe", "--max-requests-per-hour", "0"});
  EXPECT_EQ(sentTo(limit), 0U);
  startProbe();
  ASSERT_TRUE(eventually([&] { return probeIs("connected"); }));
  expectRefused("Hourly request limit reached");
  killProbe();
  ASSERT_TRUE(eventually([&] { return probeIs("offline"); }));
  EXPECT_EQ(sentTo(cliJson({"policies", "revoke", limit["policy"]["id"]})), 0U);
  startProbe();
  ASSERT_TRUE(eventually([&] { return probeIs("connected"); }));
  expectRuns();
}

}  // namespace
}  // namespace vaultysclaw::system_test
