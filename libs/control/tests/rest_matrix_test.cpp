// Who may ask for what: every route, asked by every role with a key of every scope.
#include <set>

#include "people_fixture.hpp"

namespace vaultysclaw::control::testing {
namespace {

// What a member gets who is allowed to ask, and asks about an agent, intent, chat or workspace that is not the
// member's: the same as for one that does not exist, or a list without it. Admins and owners get what the row says.
enum class Elsewhere { NamesNone, Hidden, LeftOut };
using enum Elsewhere;

// The scopes that open a route: r read, x run, o operate, a admin. With any other the answer is 403.
struct Row {
  const char *method, *path;
  int status;  // when it is allowed
  const char *member, *admin, *owner;
  const char* body = "";
  Elsewhere elsewhere = NamesNone;
};

const std::vector<Row> kMatrix = {
    {"GET", "/health", 200, "rxoa", "rxoa", "rxoa"},
    {"GET", "/metrics", 200, "rxoa", "rxoa", "rxoa"},
    {"GET", "/api", 200, "rxoa", "rxoa", "rxoa"},
    {"GET", "/api/openapi.json", 200, "rxoa", "rxoa", "rxoa"},
    {"GET", "/api/docs", 200, "rxoa", "rxoa", "rxoa"},
    {"GET", "/api/agents", 200, "r---", "r---", "r---", "", LeftOut},
    {"GET", "/api/agents/:did", 200, "r---", "r---", "r---", "", Hidden},
    {"PATCH", "/api/agents/:did", 200, "----", "--o-", "--o-", R"({"capabilities":[]})", Hidden},
    {"DELETE", "/api/agents/:did", 204, "----", "--o-", "--o-", "", Hidden},
    {"POST", "/api/agents/:did/pause", 200, "----", "--o-", "--o-", "", Hidden},
    {"POST", "/api/agents/:did/resume", 200, "----", "--o-", "--o-", "", Hidden},
    {"POST", "/api/agents/:did/reset-pin", 200, "----", "--o-", "--o-", "", Hidden},
    {"POST", "/api/agents/:did/run", 200, "-x--", "-x--", "-x--", R"({"action":"echo"})", Hidden},
    {"GET", "/api/registrations", 200, "----", "r---", "r---"},
    {"POST", "/api/registrations/:id/approve", 200, "----", "--o-", "--o-"},
    {"POST", "/api/registrations/:id/reject", 200, "----", "--o-", "--o-"},
    {"POST", "/api/intents", 202, "-x--", "-x--", "-x--", R"({"did":"DID","action":"echo"})", Hidden},
    {"POST", "/api/intents/broadcast", 202, "-x--", "-x--", "-x--", R"({"action":"echo"})", LeftOut},
    {"GET", "/api/intents", 200, "r---", "r---", "r---", "", LeftOut},
    {"GET", "/api/intents/:id", 200, "r---", "r---", "r---", "", Hidden},
    {"POST", "/api/intents/:id/cancel", 202, "-x--", "-x--", "-x--", "", Hidden},
    {"POST", "/api/chat", 200, "-x--", "-x--", "-x--", R"({"did":"DID","message":"hello"})", Hidden},
    {"GET", "/api/chat/:did/:conversationId", 200, "-x--", "-x--", "-x--", "", Hidden},
    {"DELETE", "/api/chat/:did/:conversationId", 204, "-x--", "-x--", "-x--", "", Hidden},
    {"GET", "/api/audit", 200, "----", "r---", "r---"},
    {"GET", "/api/audit/verify", 200, "----", "r---", "r---"},
    {"POST", "/api/session", 403, "rxoa", "rxoa", "rxoa"},  // open, but nobody logs in over a way that is not protected
    {"GET", "/api/session", 404, "rxoa", "rxoa", "rxoa"},   // for a key is no session
    {"DELETE", "/api/session", 404, "rxoa", "rxoa", "rxoa"},
    {"GET", "/api/me", 200, "rxoa", "rxoa", "rxoa"},
    {"GET", "/api/users", 200, "----", "r---", "r---"},
    {"POST", "/api/users", 201, "----", "---a", "---a", R"({"name":"NEW"})"},
    {"GET", "/api/users/:id", 200, "----", "r---", "r---"},
    {"PATCH", "/api/users/:id", 200, "----", "---a", "---a", R"({"role":"admin"})"},
    {"DELETE", "/api/users/:id", 204, "----", "---a", "---a"},
    // Also one's own: a password opens more than one scope does.
    {"POST", "/api/users/:id/password", 204, "----", "----", "----", R"({"password":"quite a long way"})"},
    {"GET", "/api/keys", 200, "rxoa", "rxoa", "rxoa"},
    // A member's key for what a member may not do gives nothing, so it cannot be handed on either.
    {"POST", "/api/keys", 201, "rx--", "rxoa", "rxoa", R"({"name":"k","scopes":["SCOPE"]})"},
    {"DELETE", "/api/keys/:id", 204, "rxoa", "rxoa", "rxoa"},
    {"GET", "/api/policies", 200, "----", "r---", "r---"},
    {"POST", "/api/policies", 201, "----", "--o-", "--o-", R"({"did":"DID","capabilities":["echo"]})", Hidden},
    {"GET", "/api/policies/:id", 200, "----", "r---", "r---"},
    {"DELETE", "/api/policies/:id", 200, "----", "--o-", "--o-"},
    {"GET", "/api/grants", 200, "r---", "r---", "r---"},
    {"POST", "/api/grants", 201, "----", "--o-", "--o-", R"({"user":"member","capabilities":["echo"]})"},
    {"GET", "/api/grants/:id", 200, "r---", "r---", "r---"},
    {"DELETE", "/api/grants/:id", 200, "----", "--o-", "--o-"},
    {"GET", "/api/users/:id/grants", 200, "r---", "r---", "r---"},
    {"POST", "/api/users/:id/grants", 201, "----", "--o-", "--o-", R"({"capabilities":["echo"]})"},
    {"DELETE", "/api/users/:id/grants/:grant", 200, "----", "--o-", "--o-"},
    {"GET", "/api/peer-grants", 200, "----", "r---", "r---"},
    {"POST", "/api/peer-grants", 201, "----", "--o-", "--o-",
     R"({"source":"SECRET","target":"TARGET","capabilities":["echo"]})"},
    {"GET", "/api/peer-grants/:id", 200, "----", "r---", "r---"},
    {"DELETE", "/api/peer-grants/:id", 200, "----", "--o-", "--o-"},
    {"GET", "/api/workspaces", 200, "r---", "r---", "r---", "", LeftOut},
    {"POST", "/api/workspaces", 201, "----", "---a", "---a", R"({"name":"NEW"})"},
    {"GET", "/api/workspaces/:id", 200, "r---", "r---", "r---", "", Hidden},
    {"PATCH", "/api/workspaces/:id", 200, "----", "---a", "---a", R"({"name":"NEW"})", Hidden},
    {"DELETE", "/api/workspaces/:id", 200, "----", "---a", "---a", "", Hidden},
    {"GET", "/api/workspaces/:id/members", 200, "r---", "r---", "r---", "", Hidden},
    {"PUT", "/api/workspaces/:id/members/:user", 204, "----", "---a", "---a", "", Hidden},
    {"DELETE", "/api/workspaces/:id/members/:user", 204, "----", "---a", "---a", "", Hidden},
    {"GET", "/api/workspaces/:id/agents", 200, "r---", "r---", "r---", "", Hidden},
    {"PUT", "/api/workspaces/:id/agents/:did", 200, "----", "---a", "---a", "", Hidden},
    {"DELETE", "/api/workspaces/:id/agents/:did", 200, "----", "---a", "---a", "", Hidden},
};

void replace(std::string& text, const std::string& what, const std::string& with) {
  if (const auto at = text.find(what); at != std::string::npos) text.replace(at, what.size(), with);
}

const Did kSecretDid("did:vaultys:" + std::string(40, '5'));

class Matrix : public PeopleFixture {
 protected:
  // What is asked about: of the caller's workspace, the intents the caller's own, or of another one, and another's.
  enum class Place { Own, Other };

  Matrix() {
    // A workspace, an agent in it and a user's intent there, of which the member must not hear.
    EXPECT_TRUE(store
                    ->writeBlocking([](store::ControlWriter& w) -> Status {
                      VC_TRY(w.putAgent({.did = kSecretDid, .publicId = {1}, .name = "secret-agent"}));
                      VC_TRY(w.putAgent({.did = kDid, .publicId = {1}, .name = "echo", .capabilities = R"(["echo"])"}));
                      VC_TRY(w.putWorkspace({.id = store::WorkspaceId("secret-id"), .name = "secret-space"}));
                      return w.putPlacement({store::WorkspaceId("secret-id"), kSecretDid});
                    })
                    .ok());
    restart();
    AgentView secret = plane.known.front();
    secret.row.did = kSecretDid;
    secret.row.name = "secret-agent";
    plane.known.push_back(secret);
    plane.sent = {{IntentId("i-own"), kDid}, {IntentId("i-secret"), kSecretDid}};
  }

  // Another workspace, or a new one where the request would leave less of it.
  std::string workspaceFor(const Row& row, const std::string& fresh, const Did& did, Place place) {
    const std::string path = row.path;
    const bool changes = std::string(row.method) != "GET";
    if (!changes || path.find("/members") != std::string::npos)
      return place == Place::Own ? theDefault().value : "secret-id";
    const std::string id = as("owner", "POST", "/api/workspaces", R"({"name":"w)" + fresh + R"("})").parsed()["id"];
    if (path.find("/agents") != std::string::npos && std::string(row.method) == "DELETE") {
      EXPECT_EQ(as("owner", "PUT", "/api/workspaces/" + id + "/agents/" + did.value).status, 200);
    }
    return id;
  }
  Answer ask(const Row& row, const std::string& role, const std::string& scope, Place place = Place::Own) {
    const std::string fresh = "u" + std::to_string(++count_);
    const Did did = place == Place::Own ? kDid : kSecretDid;
    std::string path = row.path, body = row.body;
    if (path == "/api/users/:id/grants") {  // members see their own
      replace(path, ":id", role);
    } else if (path.ends_with("/:user") || (path.starts_with("/api/users/:id") && !path.ends_with("/:grant"))) {
      const Answer made = as("owner", "POST", "/api/users", R"({"name":")" + fresh + R"("})");
      EXPECT_EQ(made.status, 201) << made.body;
      replace(path, "/users/:id", "/users/" + made.parsed()["id"].get<std::string>());
      replace(path, ":user", fresh);
    } else if (path == "/api/policies/:id") {
      const Answer made = as("owner", "POST", "/api/policies", R"({"did":")" + kDid.value + R"(","capabilities":[]})");
      EXPECT_EQ(made.status, 201) << made.body;
      replace(path, ":id", made.parsed()["policy"]["id"]);
    } else if (path == "/api/grants/:id" || path == "/api/users/:id/grants/:grant") {
      const Answer made = as("owner", "POST", "/api/grants", R"({"user":")" + role + R"(","capabilities":["echo"]})");
      EXPECT_EQ(made.status, 201) << made.body;
      replace(path, ":grant", made.parsed()["grant"]["id"]);
      replace(path, "/api/grants/:id", "/api/grants/" + made.parsed()["grant"]["id"].get<std::string>());
    } else if (path == "/api/peer-grants/:id") {
      const Answer made =
          as("owner", "POST", "/api/peer-grants",
             R"({"source":")" + kSecretDid.value + R"(","target":")" + kDid.value + R"(","capabilities":["echo"]})");
      EXPECT_EQ(made.status, 201) << made.body;
      replace(path, ":id", made.parsed()["peerGrant"]["id"]);
    } else if (path == "/api/keys/:id") {
      store::ApiTokenRow key = keyRow(role, scope);
      key.id = TokenId(fresh);
      key.hash = Bytes(32, 0);
      key.hash[0] = static_cast<std::uint8_t>(count_);
      key.hash[1] = static_cast<std::uint8_t>(count_ >> 8);
      EXPECT_TRUE(store->writeBlocking([&](store::ControlWriter& w) { return w.putApiToken(key); }).ok());
      path = "/api/keys/" + fresh;
    }
    if (path.find("/workspaces/:id") != std::string::npos) {
      const std::string id = workspaceFor(row, fresh, did, place);
      if (path.ends_with("/:user") ||
          (row.method == std::string("DELETE") && path.find("/members/") != std::string::npos))
        as("owner", "PUT", "/api/workspaces/" + id + "/members/" + fresh);
      replace(path, ":id", id);
    }
    ControlPlane::IntentView intent;
    intent.row.requestedBy = place == Place::Own ? "user:" + role : "user:secret";
    intent.row.did = did;
    intent.row.createdAt = clock.now();
    plane.intentRows = {intent};
    replace(path, ":did", did.value);
    if (path.starts_with("/api/users/")) replace(path, ":id", role);
    replace(path, ":id", "x");
    replace(path, ":conversationId", "c");
    replace(body, "SECRET", kSecretDid.value);
    replace(body, "TARGET", kDid.value);
    replace(body, "DID", did.value);
    replace(body, "NEW", "n" + fresh);
    replace(body, "SCOPE", scope);
    return by(secret(role, scope), row.method, path, body);
  }

 private:
  int count_ = 0;
};

TEST_F(Matrix, IsWhatEachRoleMayDoWithEachScope) {
  for (const Row& row : kMatrix) {
    const char* columns[] = {row.member, row.admin, row.owner};
    for (std::size_t role = 0; role < kRoles.size(); ++role) {
      for (std::size_t scope = 0; scope < kScopeNames.size(); ++scope) {
        const Answer answer = ask(row, kRoles[role], kScopeNames[scope]);
        EXPECT_EQ(answer.status, columns[role][scope] == '-' ? 403 : row.status)
            << row.method << ' ' << row.path << " by a key of the " << kRoles[role] << " with the scope "
            << kScopeNames[scope] << ": " << answer.body;
      }
    }
  }
}

TEST_F(Matrix, IsWhatEachRoleMayDoInAWorkspaceThatIsNotTheMembers) {
  for (const Row& row : kMatrix) {
    if (row.elsewhere == NamesNone) continue;
    const char* columns[] = {row.member, row.admin, row.owner};
    for (std::size_t role = 0; role < kRoles.size(); ++role) {
      const bool member = kRoles[role] == "member";
      for (std::size_t scope = 0; scope < kScopeNames.size(); ++scope) {
        const Answer answer = ask(row, kRoles[role], kScopeNames[scope], Place::Other);
        const std::string what = std::string(row.method) + ' ' + row.path + " by a key of the " + kRoles[role] +
                                 " with the scope " + kScopeNames[scope] + ": " + answer.body;
        const bool allowed = columns[role][scope] != '-';
        EXPECT_EQ(answer.status, !allowed ? 403 : member && row.elsewhere == Hidden ? 404 : row.status) << what;
        const bool shown = answer.body.find("secret-") != std::string::npos ||
                           (row.elsewhere == LeftOut && answer.body.find(kSecretDid.value) != std::string::npos);
        if (row.elsewhere == LeftOut) {
          EXPECT_EQ(shown, allowed && !member) << what;
        } else if (!allowed) {
          EXPECT_FALSE(shown) << what;
        }
      }
    }
  }
}

TEST_F(Matrix, SaysOfEveryRouteThatNamesSomethingWhatOthersGet) {
  const std::set<std::string> lists = {"GET /api/agents", "GET /api/intents", "POST /api/intents/broadcast",
                                       "GET /api/workspaces"};
  for (const Row& row : kMatrix) {
    const std::string path = row.path, body = row.body;
    const bool names = path.find(":did") != std::string::npos || body.find("DID") != std::string::npos ||
                       path.starts_with("/api/intents/:id") || path.starts_with("/api/workspaces/:id");
    const bool isList = lists.contains(std::string(row.method) + " " + path);
    EXPECT_EQ(row.elsewhere, names ? Hidden : isList ? LeftOut : NamesNone) << row.method << ' ' << path;
  }
}

TEST_F(Matrix, HasARowForEveryRoute) {
  std::set<std::string> rows, routes;
  for (const Row& row : kMatrix) rows.insert(std::string(row.method) + " " + row.path);
  const json index = as("owner", "GET", "/api").parsed();
  for (const auto& route : index["routes"])
    routes.insert(route["method"].get<std::string>() + " " + route["path"].get<std::string>());
  EXPECT_EQ(rows, routes);
}

TEST_F(Matrix, WithoutAKeyOnlyWhatIsOpenAnswers) {
  const std::set<std::string> kOpen = {"GET /health", "GET /metrics", "GET /api/openapi.json", "GET /api/docs",
                                       "POST /api/session"};
  for (const Row& row : kMatrix) {
    auto r = request(row.method, row.path, row.body);
    std::erase_if(r.headers, [](const auto& header) { return header.first == "Authorization"; });
    const bool open = kOpen.contains(std::string(row.method) + " " + row.path);
    EXPECT_EQ(send(r).status, open ? row.status : 401) << row.path;
  }
}

}  // namespace
}  // namespace vaultysclaw::control::testing
