#include <sys/stat.h>

#include "cli_fakes.hpp"

namespace vaultysclaw::cli::testing {
namespace {

class CliPeople : public CliFixture {
 protected:
  static json user(const std::string& name) {
    return {{"id", "u-1"},      {"name", name}, {"role", "member"},
            {"disabled", true}, {"version", 3}, {"createdAt", "2026-01-31T12:00:00.000Z"}};
  }
  static json key(bool revoked) {
    json made = {{"id", "k-1"},          {"name", "ci"},          {"scopes", {"read", "run"}},
                 {"expiresAt", nullptr}, {"lastUsedAt", nullptr}, {"revokedAt", nullptr}};
    if (revoked) made["revokedAt"] = "2026-01-31T12:00:00.000Z";
    return made;
  }
};

TEST_F(CliPeople, UsersAreATable) {
  on("GET /api/users", listing({user("bob\x1b[2J")}));
  const Outcome o = run({"users", "list"});
  EXPECT_EQ(o.code, kOk) << o.err;
  EXPECT_THAT(o.out, HasSubstr("NAME"));
  EXPECT_THAT(o.out, HasSubstr("bob?[2J"));
  EXPECT_THAT(o.out, HasSubstr("disabled"));
}

TEST_F(CliPeople, UsersAreChangedByName) {
  on("GET /api/users/bob", user("bob"));
  on("PATCH /api/users/u-1", user("bob"));
  on("DELETE /api/users/u-1", Reply{204, "", {}});
  on("POST /api/users", user("bob"), 201);
  EXPECT_EQ(run({"users", "add", "bob", "--role", "admin"}).code, kOk);
  EXPECT_EQ(requests().back().body, R"({"name":"bob","role":"admin"})");
  EXPECT_EQ(run({"users", "show", "bob"}).code, kOk);
  EXPECT_EQ(run({"users", "set-role", "bob", "owner"}).code, kOk);
  EXPECT_EQ(requests().back().body, R"({"role":"owner"})");
  EXPECT_EQ(run({"users", "disable", "bob"}).code, kOk);
  EXPECT_EQ(requests().back().body, R"({"disabled":true})");
  EXPECT_EQ(run({"users", "enable", "bob"}).code, kOk);
  EXPECT_EQ(requests().back().body, R"({"disabled":false})");
  const Outcome removed = run({"users", "remove", "bob", "--json"});
  EXPECT_EQ(removed.out, "{\"removed\":\"u-1\"}\n") << removed.err;
  EXPECT_EQ(run({"users", "set-role", "bob", "king"}).code, kUsage);
  on("GET /api/users/eve", json{{"error", "no user has the id or name 'eve'"}}, 404);
  EXPECT_THAT(run({"users", "disable", "eve"}).err, HasSubstr("users list"));
}

TEST_F(CliPeople, ANewKeyIsPrintedOnceOrWrittenForOneAlone) {
  json made = key(false);
  made["key"] = "vcp_secret";
  on("POST /api/keys", made, 201);
  const Outcome printed = run({"keys", "create", "--name", "ci", "--scopes", "read,run", "--user", "bob"});
  EXPECT_EQ(printed.out, "vcp_secret\n") << printed.err;
  EXPECT_EQ(requests().back().body, R"({"name":"ci","scopes":["read","run"],"user":"bob"})");

  const std::string path = (directory / "ci.key").string();
  const Outcome written = run({"keys", "create", "--out", path, "--json"});
  EXPECT_EQ(written.code, kOk) << written.err;
  EXPECT_THAT(written.out + written.err, Not(HasSubstr("vcp_secret")));
  struct stat is{};
  ASSERT_EQ(::stat(path.c_str(), &is), 0);
  EXPECT_EQ(is.st_mode & 0777U, 0600U);
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  EXPECT_EQ(line, "vcp_secret");

  on("DELETE /api/keys/k-1", Reply{204, "", {}});
  const Outcome again = run({"keys", "create", "--out", path});
  EXPECT_EQ(again.code, kFailed) << "no file is overwritten";
  EXPECT_THAT(again.out + again.err, Not(HasSubstr("vcp_secret")));
  EXPECT_EQ(requests().back().method, "DELETE") << "and a key that nobody has is revoked";
  EXPECT_EQ(run({"keys", "create", "--scopes", "all"}).code, kUsage);
}

TEST_F(CliPeople, KeysAreListedAndRevoked) {
  on("GET /api/keys", listing({key(false), key(true)}));
  const Outcome list = run({"keys", "list", "--user", "bob"});
  EXPECT_THAT(list.out, HasSubstr("read,run"));
  EXPECT_THAT(list.out, HasSubstr("revoked"));
  EXPECT_EQ(requests().back().query["user"], "bob");
  on("DELETE /api/keys/k-1", Reply{204, "", {}});
  EXPECT_EQ(run({"keys", "revoke", "k-1", "--user", "bob"}).code, kOk);
  EXPECT_EQ(requests().back().query["user"], "bob");
  on("GET /api/keys", json{{"error", "your key may not do this: it needs scope read"}}, 403);
  EXPECT_THAT(run({"keys", "list"}).err, HasSubstr("keys create --scopes"));
}

}  // namespace
}  // namespace vaultysclaw::cli::testing
