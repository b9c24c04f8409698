#include "cli_fakes.hpp"

namespace vaultysclaw::cli::testing {
namespace {

const std::string kDid = "did:vaultys:" + std::string(40, '1');
const std::string kOther = "did:vaultys:" + std::string(40, '2');

class CliGrants : public CliFixture {
 protected:
  static json grant(const std::string& did = kDid) {
    return {{"id", "g-1"},          {"userId", "u-1"},          {"user", "bob\x1b[2J"},
            {"did", did},           {"capabilities", {"echo"}}, {"status", "live"},
            {"expiresAt", nullptr}, {"createdBy", "user:ann"}};
  }
  static json peer() {
    return {
        {"id", "p-1"},           {"source", kDid},           {"sourceName", "planner"},           {"target", kOther},
        {"targetName", nullptr}, {"capabilities", {"echo"}}, {"skillDescription", "says\x1b[2J"}, {"status", "revoked"},
        {"expiresAt", nullptr}};
  }
};

TEST_F(CliGrants, AreATable) {
  json gone = grant("*");
  gone["user"] = nullptr;
  on("GET /api/grants", listing({grant(), gone}));
  const Outcome o = run({"grants", "list", "--user", "bob", "--agent", kDid, "--status", "live"});
  EXPECT_EQ(o.code, kOk) << o.err;
  auto asked = requests().back().query;
  EXPECT_EQ(asked["user"], "bob");
  EXPECT_EQ(asked["did"], kDid);
  EXPECT_EQ(asked["status"], "live");
  EXPECT_THAT(o.out, HasSubstr("bob?[2J"));
  EXPECT_THAT(o.out, HasSubstr("u-1 (removed)"));
  EXPECT_THAT(o.out, HasSubstr("all"));
  on("GET /api/grants", listing({}));
  EXPECT_THAT(run({"grants", "list"}).err, HasSubstr("No grants."));
}

TEST_F(CliGrants, AreGivenForOneAgentOrAll) {
  const json made{{"grant", grant()}, {"sentTo", {kDid}}};
  on("POST /api/grants", made, 201);
  const Outcome one =
      run({"grants", "add", "bob", kDid, "--capabilities", "echo,read", "--expires", "2999-01-01T00:00:00Z"});
  EXPECT_EQ(one.code, kOk) << one.err;
  EXPECT_EQ(requests().back().body, R"({"user":"bob","did":")" + kDid +
                                        R"(","capabilities":["echo","read"],"expiresAt":"2999-01-01T00:00:00Z"})");
  EXPECT_THAT(one.err, HasSubstr("Sent to 1 agent."));
  EXPECT_EQ(run({"grants", "add", "bob", "--all-agents", "--capability", "echo", "--json"}).code, kOk);
  EXPECT_EQ(requests().back().body, R"({"user":"bob","capabilities":["echo"]})");
  EXPECT_EQ(run({"grants", "add", "bob", "--capability", "echo"}).code, kUsage);
  EXPECT_EQ(run({"grants", "add", "bob", kDid, "--all-agents", "--capability", "echo"}).code, kUsage);
  EXPECT_EQ(run({"grants", "add", "bob", kDid}).code, kUsage) << "for what?";
}

TEST_F(CliGrants, AreShownAndRevoked) {
  on("GET /api/grants/g-1", grant());
  EXPECT_THAT(run({"grants", "show", "g-1"}).out, HasSubstr("g-1"));
  on("DELETE /api/grants/g-1", json{{"grant", grant()}, {"sentTo", json::array()}});
  EXPECT_THAT(run({"grants", "revoke", "g-1"}).err, HasSubstr("when they come"));
  on("DELETE /api/grants/x", json{{"error", "no grant has the id 'x'"}}, 404);
  EXPECT_EQ(run({"grants", "revoke", "x"}).code, kFailed);
}

TEST_F(CliGrants, OfPeersToo) {
  on("GET /api/peer-grants", listing({peer()}));
  const Outcome o = run({"peers", "list", "--source", kDid, "--target", kOther});
  EXPECT_EQ(requests().back().query["source"], kDid);
  EXPECT_EQ(requests().back().query["target"], kOther);
  EXPECT_THAT(o.out, HasSubstr("planner"));
  EXPECT_THAT(o.out, HasSubstr(kOther));
  EXPECT_THAT(o.out, HasSubstr("says?[2J"));
  on("POST /api/peer-grants", json{{"peerGrant", peer()}, {"sentTo", {kDid}}}, 201);
  EXPECT_EQ(run({"peers", "grant", kDid, kOther, "--capabilities", "echo", "--skill", "says it"}).code, kOk);
  EXPECT_EQ(requests().back().body, R"({"source":")" + kDid + R"(","target":")" + kOther +
                                        R"(","capabilities":["echo"],"skillDescription":"says it"})");
  on("DELETE /api/peer-grants/p-1", json{{"peerGrant", peer()}, {"sentTo", {kDid}}});
  EXPECT_EQ(run({"peers", "revoke", "p-1"}).code, kOk);
}

}  // namespace
}  // namespace vaultysclaw::cli::testing
