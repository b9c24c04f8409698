#include "cli_fakes.hpp"

namespace vaultysclaw::cli::testing {
namespace {

class CliWorkspaces : public CliFixture {
 protected:
  static json workspace(const std::string& name, bool isDefault = false) {
    return {{"id", "w-1"},  {"name", name}, {"isDefault", isDefault},
            {"members", 2}, {"agents", 7},  {"createdAt", "2026-01-31T12:00:00.000Z"},
            {"version", 1}};
  }
};

TEST_F(CliWorkspaces, AreATable) {
  on("GET /api/workspaces", listing({workspace("default", true), workspace("lab\x1b[2J")}));
  const Outcome o = run({"workspaces", "list"});
  EXPECT_EQ(o.code, kOk) << o.err;
  EXPECT_THAT(o.out, HasSubstr("NAME"));
  EXPECT_THAT(o.out, HasSubstr("default (default)"));
  EXPECT_THAT(o.out, HasSubstr("lab?[2J"));
  EXPECT_THAT(o.out, HasSubstr("7"));
  const Outcome raw = run({"workspaces", "list", "--json"});
  EXPECT_EQ(json::parse(raw.out)["items"].size(), 2U);
  on("GET /api/workspaces", listing(json::array()));
  EXPECT_THAT(run({"workspaces", "list"}).err, HasSubstr("add-member"));
}

TEST_F(CliWorkspaces, AreAddedShownRenamedAndRemoved) {
  on("POST /api/workspaces", workspace("lab"), 201);
  on("GET /api/workspaces/lab", workspace("lab"));
  on("PATCH /api/workspaces/lab", workspace("labs"));
  on("DELETE /api/workspaces/lab", json{{"sentTo", {kDid}}});
  EXPECT_EQ(run({"workspaces", "add", "lab"}).code, kOk);
  EXPECT_EQ(requests().back().body, R"({"name":"lab"})");
  EXPECT_THAT(run({"workspaces", "show", "lab"}).out, HasSubstr("w-1"));
  EXPECT_THAT(run({"workspaces", "rename", "lab", "labs"}).out, HasSubstr("labs"));
  EXPECT_EQ(requests().back().body, R"({"name":"labs"})");
  const Outcome removed = run({"workspaces", "remove", "lab"});
  EXPECT_THAT(removed.out, HasSubstr("Removed lab"));
  EXPECT_THAT(removed.err, HasSubstr("Sent to 1 agent."));
  EXPECT_EQ(json::parse(run({"workspaces", "remove", "lab", "--json"}).out)["sentTo"][0], kDid);
  EXPECT_EQ(run({"workspaces", "remove"}).code, kUsage);
  EXPECT_EQ(run({"workspaces"}).code, kUsage);
}

TEST_F(CliWorkspaces, TakeUsersAndAgentsInAndLetThemGo) {
  on("PUT /api/workspaces/lab/members/bob", Reply{204, "", {}});
  on("DELETE /api/workspaces/lab/members/bob", Reply{204, "", {}});
  on("GET /api/agents", listing({agent("echo", kDid)}));
  on("PUT /api/workspaces/lab/agents/" + kDid, json{{"sentTo", json::array()}});
  on("DELETE /api/workspaces/lab/agents/" + kDid, json{{"sentTo", {kDid}}});
  EXPECT_EQ(run({"workspaces", "add-member", "lab", "bob"}).out, "bob is in lab.\n");
  EXPECT_EQ(run({"workspaces", "remove-member", "lab", "bob"}).out, "bob is no longer in lab.\n");
  EXPECT_EQ(run({"workspaces", "add-agent", "lab", "echo"}).out, "echo is in lab.\n");
  const Outcome out = run({"workspaces", "remove-agent", "lab", "echo"});
  EXPECT_EQ(out.out, "echo is no longer in lab.\n");
  EXPECT_THAT(out.err, HasSubstr("Sent to 1 agent."));
  EXPECT_EQ(requests().back().method, "DELETE");
}

TEST_F(CliWorkspaces, ShowWhoIsInThem) {
  on("GET /api/workspaces/lab/members", listing({{{"id", "u-1"}, {"name", "bob"}, {"role", "member"}}}));
  on("GET /api/workspaces/lab/agents", listing({agent("echo", kDid)}));
  EXPECT_THAT(run({"workspaces", "members", "lab"}).out, HasSubstr("bob"));
  EXPECT_THAT(run({"workspaces", "agents", "lab"}).out, HasSubstr(kDid));
}

TEST_F(CliWorkspaces, AreChosenForUsersAndAgents) {
  on("POST /api/users", json{{"id", "u-1"}, {"name", "bob"}}, 201);
  on("GET /api/registrations", listing(json::array()));
  on("POST /api/registrations/r-1/approve", json{{"name", "echo"}, {"did", kDid}, {"capabilities", json::array()}});
  EXPECT_EQ(run({"users", "add", "bob", "--workspaces", "lab,default"}).code, kOk);
  EXPECT_EQ(requests().back().body, R"({"name":"bob","role":"member","workspaces":["lab","default"]})");
  EXPECT_EQ(run({"registrations", "approve", "r-1", "--workspace", "lab"}).code, kOk);
  EXPECT_EQ(requests().back().body, R"({"workspaces":["lab"]})");
}

TEST_F(CliWorkspaces, ErrorsSayWhatToDoNext) {
  on("GET /api/workspaces/gone", json{{"error", "no workspace has the id or name 'gone'"}, {"code", "not_found"}}, 404);
  const Outcome o = run({"workspaces", "show", "gone"});
  EXPECT_EQ(o.code, kFailed);
  EXPECT_THAT(o.err, HasSubstr("workspaces list"));
  on("DELETE /api/workspaces/lab/members/bob",
     json{{"error", "'bob' is not in the workspace 'lab'"}, {"code", "not_found"}}, 404);
  EXPECT_THAT(run({"workspaces", "remove-member", "lab", "bob"}).err, HasSubstr("workspaces members"));
}

TEST_F(CliWorkspaces, AreCompleted) {
  const Outcome o = run({"completion", "bash"});
  EXPECT_THAT(o.out, HasSubstr("' workspaces add-agent'"));
  EXPECT_THAT(o.out, HasSubstr("--workspaces"));
}

}  // namespace
}  // namespace vaultysclaw::cli::testing
