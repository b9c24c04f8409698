// Workspaces over REST: what changes them, and who may not.
#include "people_fixture.hpp"

namespace vaultysclaw::control::testing {
namespace {

class Workspaces : public PeopleFixture {
 protected:
  std::string add(const std::string& name) {
    const Answer made = as("admin", "POST", "/api/workspaces", R"({"name":")" + name + R"("})");
    EXPECT_EQ(made.status, 201) << made.body;
    return made.parsed()["id"];
  }
  json show(const std::string& which) { return as("owner", "GET", "/api/workspaces/" + which).parsed(); }
  std::set<std::string> namesOf(const std::string& role) {
    std::set<std::string> out;
    const json list = as(role, "GET", "/api/workspaces").parsed();
    for (const auto& item : list["items"]) out.insert(item["name"].get<std::string>());
    return out;
  }
  std::set<std::string> membersOf(const std::string& which) {
    std::set<std::string> out;
    const json list = as("owner", "GET", "/api/workspaces/" + which + "/members").parsed();
    for (const auto& item : list["items"]) out.insert(item["name"].get<std::string>());
    return out;
  }
};

TEST_F(Workspaces, BeginWithADefaultOneThatEverybodyIsIn) {
  const json first = show("default");
  EXPECT_EQ(first["isDefault"], true);
  EXPECT_EQ(first["agents"], 1);
  EXPECT_EQ(membersOf("default"), (std::set<std::string>{"owner", "admin", "member"}));
  EXPECT_EQ(as("member", "GET", kAgentPath).parsed()["workspaces"], json{first["id"]});
  EXPECT_EQ(as("member", "GET", "/api/me").parsed()["user"]["workspaces"], json{first["id"]});
  const std::string id = first["id"];
  restart();
  EXPECT_EQ(show("default")["id"], id) << "and is made once";
}

TEST_F(Workspaces, AreChangedAndTheAuditSaysFromWhatToWhat) {
  const std::string id = add("red");
  EXPECT_EQ(show("red")["members"], 0) << "nobody is in a new one";
  const Answer renamed = as("admin", "PATCH", "/api/workspaces/red", R"({"name":"blue"})");
  EXPECT_EQ(renamed.status, 200);
  EXPECT_EQ(renamed.header("ETag"), "\"2\"");
  EXPECT_EQ(as("owner", "GET", "/api/workspaces/red").status, 404);
  EXPECT_EQ(as("admin", "PUT", "/api/workspaces/blue/members/member").status, 204);
  EXPECT_EQ(as("admin", "PUT", "/api/workspaces/" + id + "/members/member").status, 204) << "which it is already";
  EXPECT_EQ(as("admin", "PUT", "/api/workspaces/blue/agents/" + kDid.value).parsed()["sentTo"], json::array());
  EXPECT_EQ(as("admin", "DELETE", "/api/workspaces/blue/agents/" + kDid.value).status, 200);
  EXPECT_EQ(as("admin", "DELETE", "/api/workspaces/blue/agents/" + kDid.value).status, 404);
  EXPECT_EQ(as("admin", "DELETE", "/api/workspaces/blue/members/member").status, 204);
  EXPECT_EQ(as("admin", "DELETE", "/api/workspaces/blue/members/member").status, 404);
  EXPECT_EQ(as("admin", "DELETE", "/api/workspaces/blue").parsed()["sentTo"], json::array());
  std::string actions;
  for (const auto& row : audited()) {
    EXPECT_EQ(row.actor, "user:admin");
    EXPECT_EQ(row.target, id);
    actions += row.action + ' ';
  }
  EXPECT_EQ(actions,
            "workspace.add workspace.rename workspace.add-member workspace.add-agent workspace.remove-agent "
            "workspace.remove-member workspace.remove ");
  EXPECT_EQ(json::parse(audited()[1].details), (json{{"from", "red"}, {"to", "blue"}}));
}

TEST_F(Workspaces, HaveMembersOfTheirOwn) {
  add("red");
  EXPECT_EQ(namesOf("member"), (std::set<std::string>{"default"}));
  EXPECT_EQ(namesOf("admin"), (std::set<std::string>{"default", "red"}));
  EXPECT_EQ(as("owner", "PUT", "/api/workspaces/red/members/member").status, 204);
  EXPECT_EQ(namesOf("member"), (std::set<std::string>{"default", "red"}));
  EXPECT_EQ(as("owner", "DELETE", "/api/workspaces/default/members/member").status, 204);
  EXPECT_EQ(namesOf("member"), (std::set<std::string>{"red"}));
  restart();
  EXPECT_EQ(namesOf("member"), (std::set<std::string>{"red"}));
  EXPECT_EQ(as("owner", "DELETE", "/api/workspaces/red").status, 200);
  EXPECT_EQ(namesOf("member"), (std::set<std::string>{}));
  EXPECT_EQ(as("member", "GET", "/api/agents").parsed()["pagination"]["total"], 0);
  EXPECT_EQ(as("admin", "GET", "/api/agents").parsed()["pagination"]["total"], 1) << "admins see all";
}

TEST_F(Workspaces, AreJoinedByNewUsersAsSaid) {
  add("red");
  EXPECT_EQ(as("admin", "POST", "/api/users", R"({"name":"ann"})").status, 201);
  const Answer bob = as("admin", "POST", "/api/users", R"({"name":"bob","workspaces":["red","red"]})");
  EXPECT_EQ(bob.parsed()["workspaces"], json{show("red")["id"]});
  EXPECT_EQ(as("admin", "POST", "/api/users", R"({"name":"eve","workspaces":[]})").parsed()["workspaces"],
            json::array());
  EXPECT_EQ(membersOf("red"), (std::set<std::string>{"bob"}));
  EXPECT_TRUE(membersOf("default").contains("ann"));
  const Answer lost = as("admin", "POST", "/api/users", R"({"name":"joe","workspaces":["red","green"]})");
  EXPECT_EQ(lost.status, 404);
  EXPECT_EQ(as("admin", "GET", "/api/users/joe").status, 404) << "all or nothing";
  const std::string id = bob.parsed()["id"];
  EXPECT_EQ(as("admin", "DELETE", "/api/users/" + id).status, 204);
  EXPECT_EQ(membersOf("red"), (std::set<std::string>{}));
  EXPECT_EQ(show("red")["members"], 0);
}

TEST_F(Workspaces, LoseNoUpdate) {
  add("red");
  const auto withVersion = [&](const char* method, const std::string& version, const std::string& body) {
    auto r = requestBy(secret("owner", kAllScopes), method, "/api/workspaces/red", body);
    r.headers.emplace_back("If-Match", version);
    return send(r).status;
  };
  for (const char* wrong : {"\"2\"", "1", "W/\"1\"", "\"\"", "\"1x\""}) {
    EXPECT_EQ(withVersion("PATCH", wrong, R"({"name":"blue"})"), 412) << wrong;
    EXPECT_EQ(withVersion("DELETE", wrong, ""), 412) << wrong;
  }
  EXPECT_EQ(withVersion("PATCH", "\"1\"", R"({"name":"red"})"), 200);
  EXPECT_EQ(withVersion("DELETE", "\"1\"", ""), 412);
  EXPECT_EQ(withVersion("DELETE", "\"2\"", ""), 200);
}

TEST_F(Workspaces, TheDefaultOneStays) {
  EXPECT_EQ(as("owner", "DELETE", "/api/workspaces/default").status, 409);
  EXPECT_EQ(as("owner", "PATCH", "/api/workspaces/default", R"({"name":"home"})").status, 200);
  EXPECT_EQ(as("owner", "DELETE", "/api/workspaces/home").status, 409) << "whatever it is called";
  EXPECT_EQ(as("owner", "POST", "/api/users", R"({"name":"ann"})").status, 201);
  EXPECT_TRUE(membersOf("home").contains("ann"));
  restart();
  EXPECT_EQ(namesOf("owner"), (std::set<std::string>{"home"}));
}

TEST_F(Workspaces, NamesAreUniqueAndPlain) {
  const std::string id = add("red");
  EXPECT_EQ(as("owner", "POST", "/api/workspaces", R"({"name":"red"})").status, 409);
  EXPECT_EQ(as("owner", "PATCH", "/api/workspaces/default", R"({"name":"red"})").status, 409);
  EXPECT_EQ(as("owner", "POST", "/api/workspaces", R"({"name":")" + id + R"("})").status, 409)
      << "an id is not a name of another";
  for (const char* bad : {"", "Red", "a b", "a/b", "..", ".", "-a", "a\\u0000", "x'; DROP TABLE workspaces; --",
                          "\\u001b[2J", "<b>", "r\\u00f6t", "%2e%2e", "red\\n", "\\u202ered"}) {
    const std::string body = R"({"name":")" + std::string(bad) + R"("})";
    EXPECT_EQ(as("owner", "POST", "/api/workspaces", body).status, 400) << bad;
    EXPECT_EQ(as("owner", "PATCH", "/api/workspaces/red", body).status, 400) << bad;
  }
  EXPECT_EQ(as("owner", "POST", "/api/workspaces", R"({"name":")" + std::string(65, 'a') + R"("})").status, 400);
  EXPECT_EQ(as("owner", "POST", "/api/workspaces", R"({"name":")" + std::string(64, 'a') + R"("})").status, 201);
  EXPECT_EQ(as("owner", "POST", "/api/workspaces", "{}").status, 400);
  EXPECT_EQ(as("owner", "POST", "/api/workspaces", R"({"name":"ok","isDefault":true})").status, 400);
  const std::string nasty = "%' OR 1=1 --";
  for (const std::string& path : {"/" + nasty, "/" + nasty + "/members", "/" + nasty + "/agents"})
    EXPECT_EQ(as("owner", "GET", "/api/workspaces" + path).status, 404) << path;
  EXPECT_EQ(as("owner", "DELETE", "/api/workspaces/" + nasty).status, 404);
  EXPECT_EQ(as("owner", "PUT", "/api/workspaces/red/members/" + nasty).status, 404);
  EXPECT_EQ(as("owner", "PUT", "/api/workspaces/red/agents/" + nasty).status, 404);
  EXPECT_EQ(as("owner", "PUT", "/api/workspaces/red/agents/did:vaultys:" + std::string(40, '9')).status, 404);
  EXPECT_EQ(as("owner", "GET", "/api/workspaces?name=" + nasty).parsed()["pagination"]["total"], 0);
  EXPECT_EQ(as("owner", "POST", "/api/users", R"({"name":"ok","workspaces":[")" + nasty + R"("]})").status, 404);
  EXPECT_EQ(as("owner", "POST", "/api/users", R"({"name":"ok","workspaces":"red"})").status, 400);
}

TEST_F(Workspaces, AreBounded) {
  ASSERT_TRUE(store
                  ->writeBlocking([](store::ControlWriter& w) -> Status {
                    for (int i = 0; i < 999; ++i) {
                      const std::string name = "w" + std::to_string(i);
                      VC_TRY(w.putWorkspace({.id = store::WorkspaceId(name), .name = name}));
                    }
                    return {};
                  })
                  .ok());
  restart();
  EXPECT_EQ(as("owner", "POST", "/api/workspaces", R"({"name":"more"})").status, 429);
  EXPECT_EQ(as("owner", "DELETE", "/api/workspaces/w1").status, 200);
  EXPECT_EQ(as("owner", "POST", "/api/workspaces", R"({"name":"more"})").status, 201);
}

// The caller is looked at again where the change is written.
TEST_F(Workspaces, AreNotChangedByWhoHasJustLostTheRight) {
  const std::string id = add("red");
  struct Attempt {
    const char *method, *path, *body;
  };
  const std::vector<Attempt> attempts = {
      {"POST", "/api/workspaces", R"({"name":"mine"})"},
      {"PATCH", "/api/workspaces/red", R"({"name":"mine"})"},
      {"DELETE", "/api/workspaces/red", ""},
      {"PUT", "/api/workspaces/red/members/admin", ""},
      {"DELETE", "/api/workspaces/default/members/member", ""},
  };
  for (const Attempt& a : attempts) {
    auto answer = std::make_shared<Answer>();
    ASSERT_TRUE(store
                    ->writeBlocking([](store::ControlWriter& w) {
                      return w.putUser({.id = store::UserId("admin"), .name = "admin", .role = "member"});
                    })
                    .ok());
    api->handle(
        std::make_shared<FakeExchange>(requestBy(secret("admin", kAllScopes), a.method, a.path, a.body), answer));
    loop.runUntilIdle();
    EXPECT_EQ(answer->status, 403) << a.method << ' ' << a.path << answer->body;
  }
  EXPECT_EQ(show("red")["id"], id);
  EXPECT_EQ(membersOf("red"), (std::set<std::string>{}));
}

TEST_F(Workspaces, WithADamagedDefaultOneNobodySeesMore) {
  add("red");
  ASSERT_EQ(as("owner", "PUT", "/api/workspaces/red/agents/" + kDid.value).status, 200);
  ASSERT_EQ(as("owner", "DELETE", "/api/workspaces/default/agents/" + kDid.value).status, 200);
  // As the store reads when the row is damaged: it is not there.
  ASSERT_TRUE(store->writeBlocking([&](store::ControlWriter& w) { return w.deleteWorkspace(theDefault()); }).ok());
  restart();
  EXPECT_EQ(show("default")["isDefault"], true);
  EXPECT_EQ(membersOf("default"), (std::set<std::string>{}));
  EXPECT_EQ(show("default")["agents"], 0);
  EXPECT_EQ(as("member", "GET", kAgentPath).status, 404);
}

}  // namespace
}  // namespace vaultysclaw::control::testing
