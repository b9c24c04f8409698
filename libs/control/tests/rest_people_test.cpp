// Users and API keys over REST, and those who want more than they may.
#include "people_fixture.hpp"

namespace vaultysclaw::control::testing {
namespace {

class People : public PeopleFixture {
 protected:
  std::string makeKey(const std::string& role, const std::string& body) {
    const Answer made = as(role, "POST", "/api/keys", body);
    EXPECT_EQ(made.status, 201) << made.body;
    return made.status == 201 ? made.parsed()["key"].get<std::string>() : "";
  }
  int me(const std::string& key) { return by(key, "GET", "/api/me").status; }
};

TEST_F(People, AreWhoTheControlPlaneSaysAsked) {
  ASSERT_EQ(as("member", "POST", kAgentPath + "/run", R"({"action":"echo"})").status, 200);
  EXPECT_EQ(plane.asked->requestedBy, "user:member");
  ASSERT_EQ(as("admin", "POST", "/api/intents/i-7/cancel").status, 202);
  EXPECT_EQ(plane.cancelledIntents.back(), "i-7 by user:admin");
  ASSERT_EQ(as("admin", "POST", "/api/registrations/r/approve", "{}").status, 200);
  EXPECT_EQ(plane.approval->actor, "user:admin");
  const json me = by(secret("admin", "run"), "GET", "/api/me").parsed();
  EXPECT_EQ(me["user"]["name"], "admin");
  EXPECT_EQ(me["scopes"], json::array({"run"}));
  EXPECT_EQ(by(secret("member", kAllScopes), "GET", "/api/me").parsed()["scopes"], json::array({"read", "run"}));
}

TEST_F(People, AreChangedAndTheAuditSaysFromWhatToWhat) {
  const Answer made = as("admin", "POST", "/api/users", R"({"name":"bob"})");
  ASSERT_EQ(made.status, 201) << made.body;
  EXPECT_EQ(made.header("ETag"), "\"1\"");
  const std::string id = made.parsed()["id"];
  EXPECT_EQ(as("admin", "POST", "/api/users", R"({"name":"bob"})").status, 409);
  const Answer changed = as("admin", "PATCH", "/api/users/" + id, R"({"role":"admin","disabled":true})");
  EXPECT_EQ(changed.parsed()["role"], "admin");
  EXPECT_EQ(changed.header("ETag"), "\"2\"");
  EXPECT_EQ(as("owner", "DELETE", "/api/users/" + id).status, 204);
  EXPECT_EQ(as("owner", "GET", "/api/users/" + id).status, 404);
  const auto rows = audited();
  ASSERT_EQ(rows.size(), 3U);
  EXPECT_EQ(rows[1].actor, "user:admin");
  EXPECT_EQ(rows[1].action, "user.change");
  EXPECT_EQ(rows[1].details, R"({"name":"bob","from":"member","to":"admin, disabled"})");
  EXPECT_EQ(rows[2].action, "user.remove");
}

TEST_F(People, LoseNoUpdate) {
  auto change = requestBy(secret("owner", "admin"), "PATCH", "/api/users/member", R"({"role":"admin"})");
  change.headers.emplace_back("If-Match", "\"1\"");
  EXPECT_EQ(send(change).status, 200);
  EXPECT_EQ(send(change).status, 412);
  for (const char* other : {"1", "\"\"", "\"2", "W/\"2\"", "\"2x\"", "\"99999999999999999999\""}) {
    change.headers.back().second = other;
    EXPECT_EQ(send(change).status, 412) << other;
  }
  auto removal = requestBy(secret("owner", "admin"), "DELETE", "/api/users/member");
  removal.headers.emplace_back("If-Match", "\"1\"");
  EXPECT_EQ(send(removal).status, 412);
  removal.headers.back().second = "\"2\"";
  EXPECT_EQ(send(removal).status, 204);
}

TEST_F(People, AlwaysHaveAnOwner) {
  EXPECT_EQ(as("owner", "PATCH", "/api/users/owner", R"({"role":"admin"})").status, 409);
  EXPECT_EQ(as("owner", "PATCH", "/api/users/owner", R"({"disabled":true})").status, 409);
  EXPECT_EQ(as("owner", "DELETE", "/api/users/owner").status, 409);
  ASSERT_EQ(as("owner", "PATCH", "/api/users/admin", R"({"role":"owner","disabled":true})").status, 200);
  EXPECT_EQ(as("owner", "DELETE", "/api/users/owner").status, 409) << "a disabled owner is none";
  ASSERT_EQ(as("owner", "PATCH", "/api/users/admin", R"({"disabled":false})").status, 200);
  EXPECT_EQ(as("owner", "DELETE", "/api/users/owner").status, 204);
  EXPECT_EQ(me(secret("owner", "read")), 401);
}

TEST_F(People, DoNotRaiseThemselves) {
  const struct {
    const char *who, *method, *path, *body;
  } attempts[] = {
      {"member", "PATCH", "/api/users/member", R"({"role":"owner"})"},
      {"member", "POST", "/api/users", R"({"name":"eve","role":"admin"})"},
      {"member", "DELETE", "/api/users/admin", ""},
      {"member", "POST", "/api/keys", R"({"name":"k","scopes":["read","operate"]})"},
      {"member", "POST", "/api/keys", R"({"name":"k","scopes":["read"],"user":"admin"})"},
      {"member", "POST", "/api/keys", R"({"name":"k","scopes":["read"],"user":"nobody"})"},
      {"member", "GET", "/api/keys?user=admin", ""},
      {"member", "DELETE", "/api/keys/key of admin: read?user=admin", ""},
      {"admin", "PATCH", "/api/users/admin", R"({"role":"owner"})"},
      {"admin", "PATCH", "/api/users/owner", R"({"role":"member"})"},
      {"admin", "PATCH", "/api/users/owner", R"({"disabled":true})"},
      {"admin", "DELETE", "/api/users/owner", ""},
      {"admin", "POST", "/api/users", R"({"name":"eve","role":"owner"})"},
      {"admin", "POST", "/api/keys", R"({"name":"k","scopes":["read"],"user":"owner"})"},
      {"admin", "POST", "/api/keys", R"({"name":"k","scopes":["operate"],"user":"member"})"},
      {"admin", "DELETE", "/api/keys/key of owner: read?user=owner", ""},
  };
  for (const auto& a : attempts) {
    const Answer answer = as(a.who, a.method, a.path, a.body);
    EXPECT_EQ(answer.status, 403) << a.who << ' ' << a.method << ' ' << a.path << ' ' << a.body << answer.body;
  }
  // By a key that is narrower than its user.
  EXPECT_EQ(by(secret("owner", "read"), "POST", "/api/keys", R"({"name":"k","scopes":["admin"]})").status, 403);
  EXPECT_EQ(by(secret("owner", "admin"), "POST", "/api/keys", R"({"name":"k","scopes":["read"]})").status, 403);
  EXPECT_EQ(by(secret("member", "read"), "DELETE", "/api/keys/key of member: run").status, 403);
  EXPECT_TRUE(audited().empty());
  const auto users = storedUsers();
  ASSERT_EQ(users.size(), 3U);
  for (const auto& user : users) EXPECT_EQ(user.role, user.id.value);
}

TEST_F(People, DoNotReachAnothersKeyByItsId) {
  EXPECT_EQ(as("member", "DELETE", "/api/keys/key of admin: read").status, 404);
  EXPECT_EQ(as("admin", "DELETE", "/api/keys/key of member: read").status, 404) << "only when ?user names whose it is";
  EXPECT_EQ(as("admin", "DELETE", "/api/keys/key of owner: read?user=member").status, 404);
  EXPECT_EQ(as("admin", "DELETE", "/api/keys/key of member: read?user=member").status, 204);
  EXPECT_EQ(me(secret("member", "read")), 401);
  EXPECT_EQ(me(secret("admin", "read")), 200);
}

TEST_F(People, AreOutAtTheNextRequest) {
  const std::string key = makeKey("member", R"({"name":"mine","scopes":["read"]})");
  EXPECT_EQ(me(key), 200);
  const Answer list = as("member", "GET", "/api/keys");
  EXPECT_EQ(list.body.find(key), std::string::npos) << "a key is shown once";
  const std::string id = list.parsed()["items"].back()["id"];
  EXPECT_EQ(as("member", "DELETE", "/api/keys/" + id).status, 204);
  EXPECT_EQ(me(key), 401);
  restart();
  EXPECT_EQ(me(key), 401);
  EXPECT_EQ(me(secret("member", "read")), 200);
  EXPECT_EQ(as("admin", "PATCH", "/api/users/member", R"({"disabled":true})").status, 200);
  EXPECT_EQ(me(secret("member", "read")), 401);
  EXPECT_EQ(as("admin", "PATCH", "/api/users/member", R"({"disabled":false})").status, 200);
  EXPECT_EQ(me(secret("member", "read")), 200);
  EXPECT_EQ(as("owner", "PATCH", "/api/users/admin", R"({"role":"member"})").status, 200);
  EXPECT_EQ(as("admin", "GET", "/api/users").status, 403) << "a lower role counts at once";
  EXPECT_EQ(as("owner", "DELETE", "/api/users/member").status, 204);
  EXPECT_EQ(me(secret("member", "read")), 401);
}

TEST_F(People, DoNotOutliveTheirKeys) {
  const std::string soon = toIso8601(clock.now() + std::chrono::hours(1));
  const std::string later = toIso8601(clock.now() + std::chrono::hours(2));
  const std::string key = makeKey("member", R"({"name":"k","scopes":["read"],"expiresAt":")" + soon + R"("})");
  const std::string ask = R"({"name":"k","scopes":["read"],"expiresAt":")";
  EXPECT_EQ(by(key, "POST", "/api/keys", ask + later + R"("})").status, 403);
  const Answer heir = by(key, "POST", "/api/keys", R"({"name":"k","scopes":["read"]})");
  ASSERT_EQ(heir.status, 201) << heir.body;
  EXPECT_EQ(heir.parsed()["expiresAt"], soon);
  EXPECT_EQ(as("member", "POST", "/api/keys", ask + toIso8601(clock.now()) + R"("})").status, 400);
  EXPECT_EQ(me(key), 200);
  clock.advance(std::chrono::hours(1));
  EXPECT_EQ(me(key), 401);
  EXPECT_EQ(me(heir.parsed()["key"]), 401);
}

TEST_F(People, UseOfAKeyIsNotedOnceAMinute) {
  const auto noted = [&] {
    std::optional<WallTime> at;
    EXPECT_TRUE(store
                    ->readBlocking([&](store::ControlReader& r) -> Status {
                      VC_TRY_ASSIGN(const auto keys, r.apiTokens());
                      for (const auto& key : keys) {
                        if (key.id == keyRow("member", "read").id) at = key.lastUsedAt;
                      }
                      return {};
                    })
                    .ok());
    return at;
  };
  EXPECT_FALSE(noted());
  me(secret("member", "read"));
  const auto first = noted();
  EXPECT_EQ(first, clock.now());
  clock.advance(seconds(59));
  me(secret("member", "read"));
  EXPECT_EQ(noted(), first);
  clock.advance(seconds(1));
  me(secret("member", "read"));
  EXPECT_EQ(noted(), clock.now());
}

TEST_F(People, EachKeyHasItsShareOfRequests) {
  RestOptions few;
  few.maxRequestsPerKey = 3;
  restart(few);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(me(secret("member", "read")), 200);
  clock.advance(seconds(10));
  const Answer refused = by(secret("member", "read"), "GET", "/api/me");
  EXPECT_EQ(refused.status, 429);
  EXPECT_EQ(refused.header("Retry-After"), "50");
  EXPECT_EQ(me(secret("member", "run")), 200);
  clock.advance(seconds(50));
  EXPECT_EQ(me(secret("member", "read")), 200);
}

TEST_F(People, KeysAreBoundedPerUser) {
  int made = 0;
  while (made < 100 && as("member", "POST", "/api/keys", R"({"name":"k","scopes":["read"]})").status == 201) ++made;
  EXPECT_EQ(made, 45) << "five are there already";
  EXPECT_EQ(as("member", "POST", "/api/keys", R"({"name":"k","scopes":["read"]})").status, 429);
  for (int i = 0; i < 120; ++i) {
    const json keys = as("member", "GET", "/api/keys?limit=500").parsed()["items"];
    ASSERT_LE(keys.size(), 100U) << "revoked ones are forgotten in the end";
    for (const auto& key : keys) {
      if (key["name"] != "k" || !key["revokedAt"].is_null()) continue;
      ASSERT_EQ(as("member", "DELETE", "/api/keys/" + key["id"].get<std::string>()).status, 204);
      break;
    }
    ASSERT_EQ(as("member", "POST", "/api/keys", R"({"name":"k","scopes":["read"]})").status, 201);
  }
}

TEST_F(People, TextsThatAreNoNamesAreRefused) {
  for (const char* bad : {"", "Bob", "a b", "a/b", "-a", ".", "a\\u0000", "a'; DROP TABLE users; --", "\\u001b[2J",
                          "<b>", "b\\u00f6b", "user:bob"}) {
    const std::string text = R"(")" + std::string(bad) + R"(")";
    EXPECT_EQ(as("owner", "POST", "/api/users", R"({"name":)" + text + "}").status, 400) << bad;
    EXPECT_EQ(as("owner", "POST", "/api/users", R"({"name":"ok","role":)" + text + "}").status, 400) << bad;
    EXPECT_EQ(as("owner", "POST", "/api/keys", R"({"name":"ok","scopes":[)" + text + "]}").status, 400) << bad;
  }
  EXPECT_EQ(as("owner", "POST", "/api/users", R"({"name":")" + std::string(65, 'a') + R"("})").status, 400);
  EXPECT_EQ(as("owner", "POST", "/api/keys", R"({"name":"a\u001b","scopes":["read"]})").status, 400);
  EXPECT_EQ(as("owner", "POST", "/api/keys", R"({"name":"a","scopes":["read run"]})").status, 400);
  EXPECT_EQ(as("owner", "POST", "/api/keys", R"({"name":"a","scopes":[]})").status, 400);
  const std::string nasty = "%' OR 1=1 --";
  EXPECT_EQ(as("owner", "POST", "/api/keys", R"({"name":"a","scopes":["read"],"user":")" + nasty + R"("})").status,
            404);
  EXPECT_EQ(as("owner", "GET", "/api/users/" + nasty).status, 404);
  EXPECT_EQ(as("owner", "PATCH", "/api/users/" + nasty, R"({"role":"admin"})").status, 404);
  EXPECT_EQ(as("owner", "DELETE", "/api/users/" + nasty).status, 404);
  EXPECT_EQ(as("owner", "DELETE", "/api/keys/" + nasty).status, 404);
  EXPECT_EQ(as("owner", "GET", "/api/keys?user=" + nasty).status, 404);
  EXPECT_EQ(storedUsers().size(), 3U);
}

}  // namespace
}  // namespace vaultysclaw::control::testing
