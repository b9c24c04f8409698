// Who may ask for what: every route, asked by every role with a key of every scope.
#include <set>

#include "people_fixture.hpp"

namespace vaultysclaw::control::testing {
namespace {

// The scopes that open a route: r read, x run, o operate, a admin. With any other the answer is 403.
struct Row {
  const char *method, *path;
  int status;  // when it is allowed
  const char *member, *admin, *owner;
  const char* body = "";
};

const std::vector<Row> kMatrix = {
    {"GET", "/health", 200, "rxoa", "rxoa", "rxoa"},
    {"GET", "/metrics", 200, "rxoa", "rxoa", "rxoa"},
    {"GET", "/api", 200, "rxoa", "rxoa", "rxoa"},
    {"GET", "/api/agents", 200, "r---", "r---", "r---"},
    {"GET", "/api/agents/:did", 200, "r---", "r---", "r---"},
    {"PATCH", "/api/agents/:did", 200, "----", "--o-", "--o-", R"({"capabilities":[]})"},
    {"DELETE", "/api/agents/:did", 204, "----", "--o-", "--o-"},
    {"POST", "/api/agents/:did/pause", 200, "----", "--o-", "--o-"},
    {"POST", "/api/agents/:did/resume", 200, "----", "--o-", "--o-"},
    {"POST", "/api/agents/:did/reset-pin", 200, "----", "--o-", "--o-"},
    {"POST", "/api/agents/:did/run", 200, "-x--", "-x--", "-x--", R"({"action":"echo"})"},
    {"GET", "/api/registrations", 200, "----", "r---", "r---"},
    {"POST", "/api/registrations/:id/approve", 200, "----", "--o-", "--o-"},
    {"POST", "/api/registrations/:id/reject", 200, "----", "--o-", "--o-"},
    {"POST", "/api/intents", 202, "-x--", "-x--", "-x--", R"({"did":"DID","action":"echo"})"},
    {"POST", "/api/intents/broadcast", 202, "-x--", "-x--", "-x--", R"({"action":"echo"})"},
    {"GET", "/api/intents", 200, "r---", "r---", "r---"},
    {"GET", "/api/intents/:id", 200, "r---", "r---", "r---"},
    {"POST", "/api/intents/:id/cancel", 202, "-x--", "-x--", "-x--"},
    {"POST", "/api/chat", 200, "-x--", "-x--", "-x--", R"({"did":"DID","message":"hello"})"},
    {"GET", "/api/chat/:did/:conversationId", 200, "-x--", "-x--", "-x--"},
    {"DELETE", "/api/chat/:did/:conversationId", 204, "-x--", "-x--", "-x--"},
    {"GET", "/api/audit", 200, "----", "r---", "r---"},
    {"GET", "/api/audit/verify", 200, "----", "r---", "r---"},
    {"GET", "/api/me", 200, "rxoa", "rxoa", "rxoa"},
    {"GET", "/api/users", 200, "----", "r---", "r---"},
    {"POST", "/api/users", 201, "----", "---a", "---a", R"({"name":"NEW"})"},
    {"GET", "/api/users/:id", 200, "----", "r---", "r---"},
    {"PATCH", "/api/users/:id", 200, "----", "---a", "---a", R"({"role":"admin"})"},
    {"DELETE", "/api/users/:id", 204, "----", "---a", "---a"},
    {"GET", "/api/keys", 200, "rxoa", "rxoa", "rxoa"},
    // A member's key for what a member may not do gives nothing, so it cannot be handed on either.
    {"POST", "/api/keys", 201, "rx--", "rxoa", "rxoa", R"({"name":"k","scopes":["SCOPE"]})"},
    {"DELETE", "/api/keys/:id", 204, "rxoa", "rxoa", "rxoa"},
    {"GET", "/api/policies", 200, "----", "r---", "r---"},
    {"POST", "/api/policies", 201, "----", "--o-", "--o-", R"({"did":"DID","capabilities":["echo"]})"},
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
     R"({"source":"OTHER","target":"DID","capabilities":["echo"]})"},
    {"GET", "/api/peer-grants/:id", 200, "----", "r---", "r---"},
    {"DELETE", "/api/peer-grants/:id", 200, "----", "--o-", "--o-"},
};

void replace(std::string& text, const std::string& what, const std::string& with) {
  if (const auto at = text.find(what); at != std::string::npos) text.replace(at, what.size(), with);
}

const std::string kOtherDid = "did:vaultys:" + std::string(40, '2');

class Matrix : public PeopleFixture {
 protected:
  Matrix() {
    const auto agents = [](store::ControlWriter& w) -> Status {
      VC_TRY(w.putAgent({.did = Did(kOtherDid), .publicId = {2}, .name = "other"}));
      return w.putAgent({.did = kDid, .publicId = {1}, .name = "echo", .capabilities = R"(["echo"])"});
    };
    EXPECT_TRUE(store->writeBlocking(agents).ok());
  }
  Answer ask(const Row& row, const std::string& role, const std::string& scope) {
    const std::string fresh = "u" + std::to_string(++count_);
    std::string path = row.path, body = row.body;
    if (path == "/api/users/:id") {
      const Answer made = as("owner", "POST", "/api/users", R"({"name":")" + fresh + R"("})");
      EXPECT_EQ(made.status, 201) << made.body;
      replace(path, ":id", made.parsed()["id"]);
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
             R"({"source":")" + kOtherDid + R"(","target":")" + kDid.value + R"(","capabilities":["echo"]})");
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
    replace(path, ":did", kDid.value);
    if (path.starts_with("/api/users/")) replace(path, ":id", role);
    replace(path, ":id", "x");
    replace(path, ":conversationId", "c");
    replace(body, "DID", kDid.value);
    replace(body, "OTHER", kOtherDid);
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

TEST_F(Matrix, HasARowForEveryRoute) {
  std::set<std::string> rows, routes;
  for (const Row& row : kMatrix) rows.insert(std::string(row.method) + " " + row.path);
  const json index = as("owner", "GET", "/api").parsed();
  for (const auto& route : index["routes"])
    routes.insert(route["method"].get<std::string>() + " " + route["path"].get<std::string>());
  EXPECT_EQ(rows, routes);
}

TEST_F(Matrix, WithoutAKeyOnlyHealthAndMetricsAnswer) {
  for (const Row& row : kMatrix) {
    auto r = request(row.method, row.path, row.body);
    std::erase_if(r.headers, [](const auto& header) { return header.first == "Authorization"; });
    const bool open = std::string(row.path) == "/health" || std::string(row.path) == "/metrics";
    EXPECT_EQ(send(r).status, open ? 200 : 401) << row.path;
  }
}

}  // namespace
}  // namespace vaultysclaw::control::testing
