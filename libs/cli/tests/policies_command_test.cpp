#include "cli_fakes.hpp"

namespace vaultysclaw::cli::testing {
namespace {

const std::string kDid = "did:vaultys:" + std::string(40, '1');

class CliPolicies : public CliFixture {
 protected:
  static json policy() {
    return {{"id", "p-1"},
            {"name", "lab\x1b[2J"},
            {"did", kDid},
            {"workspaceId", nullptr},
            {"capabilities", {"echo"}},
            {"resourceLimits", {{"maxTokensPerDay", 5}}},
            {"expiresAt", nullptr},
            {"status", "live"},
            {"version", 1}};
  }
  static json changed(std::vector<std::string> sentTo) { return {{"policy", policy()}, {"sentTo", std::move(sentTo)}}; }
};

TEST_F(CliPolicies, AreATable) {
  json open = policy();
  open["capabilities"] = nullptr;
  open["did"] = nullptr;
  open["workspaceId"] = "w-1";
  on("GET /api/policies", listing({policy(), open}));
  const Outcome o = run({"policies", "list", "--status", "live", "--workspace", "lab"});
  EXPECT_EQ(o.code, kOk) << o.err;
  auto asked = requests().back().query;
  EXPECT_EQ(asked["workspace"], "lab");
  EXPECT_EQ(asked["status"], "live");
  EXPECT_THAT(o.out, HasSubstr("lab?[2J"));
  EXPECT_THAT(o.out, HasSubstr("as approved"));
  EXPECT_THAT(o.out, HasSubstr("workspace w-1"));
}

TEST_F(CliPolicies, AreAddedForAnAgentOrAWorkspace) {
  on("POST /api/policies", changed({kDid}), 201);
  const Outcome o = run({"policies", "add", "--agent", kDid, "--capabilities", "echo", "--max-requests-per-hour", "7",
                         "--allowed-domains", "a.org,b.org", "--expires", "2999-01-01T00:00:00Z", "--reason", "why"});
  EXPECT_EQ(o.code, kOk) << o.err;
  EXPECT_EQ(
      requests().back().body,
      R"({"did":")" + kDid +
          R"(","capabilities":["echo"],"resourceLimits":{"maxRequestsPerHour":7,"allowedDomains":["a.org","b.org"]},)"
          R"("expiresAt":"2999-01-01T00:00:00Z","reason":"why"})");
  EXPECT_THAT(o.err, HasSubstr("Sent to 1 agent."));
  on("POST /api/policies", changed({}), 201);
  const Outcome all = run({"policies", "add", "--workspace", "lab", "--no-capabilities", "--name", "stop"});
  EXPECT_EQ(requests().back().body, R"({"name":"stop","workspace":"lab","capabilities":[]})");
  EXPECT_THAT(all.err, HasSubstr("when they come"));
  EXPECT_EQ(run({"policies", "add", "--workspace", "lab", "--agent", kDid}).code, kUsage);
}

TEST_F(CliPolicies, AreShownAndRevoked) {
  on("GET /api/policies/p-1", policy());
  EXPECT_THAT(run({"policies", "show", "p-1"}).out, HasSubstr("p-1"));
  on("DELETE /api/policies/p-1", changed({kDid}));
  const Outcome o = run({"policies", "revoke", "p-1", "--json"});
  EXPECT_EQ(json::parse(o.out)["sentTo"][0], kDid) << o.err;
  on("DELETE /api/policies/p-2", json{{"error", "no policy has the id 'p-2'"}}, 404);
  const Outcome none = run({"policies", "revoke", "p-2"});
  EXPECT_EQ(none.code, kFailed);
  EXPECT_THAT(none.err, HasSubstr("policies list"));
}

}  // namespace
}  // namespace vaultysclaw::cli::testing
