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

// As the member bob, who has a key of his own.
class Member : public Governance {
 protected:
  void startWithBob() {
    ASSERT_NO_FATAL_FAILURE(startBoth());
    bobDid_ = cliJson({"users", "add", "bob"}).value("did", "");
    ASSERT_EQ(cli({"keys", "create", "--user", "bob", "--scopes", "read,run", "--out", key().string()}).status, 0);
  }
  std::filesystem::path key() const { return directory_.path() / "bob.key"; }
  Output bob(std::vector<std::string> arguments) {
    arguments.insert(arguments.end(), {"--token-file", key().string()});
    return cli(std::move(arguments));
  }
  void expectBobRuns() {
    const Output ran = bob({"run", "probe", "text_generation", "{}", "--json"});
    ASSERT_EQ(ran.status, 0) << ran.err;
    EXPECT_EQ(Json::parse(ran.out)["output"]["caller"], bobDid_) << "the agent knows for whom it works";
    EXPECT_EQ(bob({"chat", "probe", "hello"}).status, 0);
  }
  void expectBobRefused() {
    EXPECT_THAT(bob({"run", "probe", "text_generation", "{}"}).err, HasSubstr("grant"));
    EXPECT_EQ(bob({"chat", "probe", "hello"}).status, 1);
  }
  std::string grant() {
    const Json added = cliJson({"grants", "add", "bob", "probe", "--capabilities", "text_generation"});
    lastSentTo_ = sentTo(added);
    return added["grant"]["id"];
  }
  std::string bobDid_;
  std::size_t lastSentTo_ = 0;
};

TEST_F(Member, GrantsReachAnAgentWhereverItIs) {
  ASSERT_NO_FATAL_FAILURE(startWithBob());
  expectBobRefused();

  // While connected: before the command has ended.
  const std::string first = grant();
  EXPECT_EQ(lastSentTo_, 1U);
  expectBobRuns();

  // Over restarts of both.
  ASSERT_NO_FATAL_FAILURE(restartBoth());
  expectBobRuns();
  EXPECT_EQ(sentTo(cliJson({"grants", "revoke", first})), 1U);
  expectBobRefused();
  ASSERT_NO_FATAL_FAILURE(restartBoth());
  expectBobRefused();

  // While absent.
  killProbe();
  ASSERT_TRUE(eventually([&] { return probeIs("offline"); }));
  grant();
  EXPECT_EQ(lastSentTo_, 0U);
  startProbe();
  ASSERT_TRUE(eventually([&] { return probeIs("connected"); }));
  expectBobRuns();
}

TEST_F(Member, AMemberWhoIsDisabledOrMovedAwayIsOutAtOnce) {
  ASSERT_NO_FATAL_FAILURE(startWithBob());
  grant();
  expectBobRuns();
  EXPECT_EQ(cli({"users", "disable", "bob"}).status, 0);
  EXPECT_EQ(bob({"run", "probe", "text_generation", "{}"}).status, 1);
  EXPECT_EQ(cli({"users", "enable", "bob"}).status, 0);
  expectBobRuns();
  EXPECT_EQ(cli({"workspaces", "remove-agent", "default", "probe"}).status, 0);
  const Output unseen = bob({"run", "probe", "text_generation", "{}"});
  EXPECT_EQ(unseen.status, 1);
  EXPECT_EQ(bob({"agents", "--json"}).out.find("probe"), std::string::npos) << "what is not his is not there";
  EXPECT_EQ(cli({"workspaces", "add-agent", "default", "probe"}).status, 0);
  expectBobRuns();
}

TEST_F(Governance, PeerGrantsReachTheAgentThatMayAsk) {
  ASSERT_NO_FATAL_FAILURE(startBoth());
  ChildProcess other("other", {kProbe},
                     {{"PROBE_NAME", "other"},
                      {"PROBE_URL", "http://127.0.0.1:" + std::to_string(httpPort_)},
                      {"PROBE_WS_URL", "ws://127.0.0.1:" + std::to_string(wsPort_)},
                      {"PROBE_ID", (directory_.path() / "other.id").string()},
                      {"PROBE_RUNS", runs().string()}},
                     directory_.path());
  ASSERT_TRUE(eventually([&] { return cli({"registrations", "approve", "other"}).status == 0; }));
  const auto peers = [&] {
    return cliJson({"run", "probe", "text_generation", "{}"})["output"].value("peers", Json::array());
  };
  EXPECT_TRUE(peers().empty());
  const Json granted = cliJson({"peers", "grant", "probe", "other", "--capabilities", "text_generation"});
  EXPECT_EQ(sentTo(granted), 1U);
  EXPECT_EQ(peers(), Json::array({granted["peerGrant"]["target"]}));
  ASSERT_NO_FATAL_FAILURE(restartBoth());
  EXPECT_TRUE(eventually([&] { return peers().size() == 1; }));
  EXPECT_EQ(sentTo(cliJson({"peers", "revoke", granted["peerGrant"]["id"]})), 1U);
  EXPECT_TRUE(peers().empty());
}

}  // namespace
}  // namespace vaultysclaw::system_test
