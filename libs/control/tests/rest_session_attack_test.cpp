// Attacks on log-ins and sessions. Each first shows that the honest form succeeds.
#include <gmock/gmock.h>

#include <filesystem>
#include <fstream>

#include "login_fixture.hpp"

namespace vaultysclaw::control::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class LogInAttack : public LoginFixture {
 protected:
  static Browser with(Browser from, const std::string& header, const std::string& value) {
    from.headers.emplace_back(header, value);
    return from;
  }
  // Something that changes something, and that a member may do.
  int change(const Browser& from) {
    return browse(from, "POST", "/api/keys", R"({"name":"k","scopes":["read"]})").status;
  }
  static std::string secretOf(const Browser& browser) { return browser.cookie.substr(browser.cookie.find('=') + 1); }
};

TEST_F(LogInAttack, ForgedRequestsLackTheToken) {
  const Browser browser = logIn("member"), other = logIn("member"), admin = logIn("admin");
  EXPECT_EQ(change(browser), 201);
  Browser forged = browser;
  for (const std::string& token : {std::string(), other.csrf, admin.csrf, secretOf(browser), browser.csrf.substr(1),
                                   browser.csrf + "0", std::string(64, '0')}) {
    forged.csrf = token;
    EXPECT_EQ(change(forged), 403) << token;
    EXPECT_EQ(browse(forged, "PATCH", "/api/agents/" + kDid.value, R"({"capabilities":[]})").status, 403);
    EXPECT_EQ(browse(forged, "POST", kAgentPath + "/run", R"({"action":"echo"})").status, 403);
    EXPECT_EQ(browse(forged, "DELETE", "/api/session").status, 403) << "nor is anybody logged out";
    EXPECT_EQ(browse(forged, "OPTIONS", "/api/agents").status, 403) << "whatever is not GET or HEAD";
    EXPECT_EQ(browse(forged, "POST", "/api/admin/intents", R"({"did":"x","action":"echo"})").status, 403);
    EXPECT_EQ(me(forged), 200) << "reading needs none";
  }
  EXPECT_FALSE(plane.asked.has_value());
  EXPECT_EQ(as("member", "GET", "/api/keys?limit=500").parsed()["items"].size(), 6U) << "the honest one alone";
  EXPECT_NE(browser.csrf, secretOf(browser));
}

TEST_F(LogInAttack, PagesOfOtherOriginsAreRefusedEvenWithTheToken) {
  const Browser browser = logIn("member");
  EXPECT_EQ(change(with(browser, "Origin", "http://127.0.0.1:3000")), 201);
  EXPECT_EQ(change(with(browser, "Sec-Fetch-Site", "same-origin")), 201);
  for (const char* origin : {"https://evil.example", "null", "http://127.0.0.1:3001", "http://127.0.0.1",
                             "https://127.0.0.1:3000", "http://localhost:3000", "http://127.0.0.1:30000", "",
                             "http://127.0.0.1:3000.evil.example", "http://evil.example/http://127.0.0.1:3000"}) {
    EXPECT_EQ(change(with(browser, "Origin", origin)), 403) << origin;
  }
  for (const char* site : {"cross-site", "same-site", "none", "SAME-ORIGIN", ""}) {
    EXPECT_EQ(change(with(browser, "Sec-Fetch-Site", site)), 403) << site;
  }
  EXPECT_EQ(change(with(with(browser, "Origin", "http://127.0.0.1:3000"), "Sec-Fetch-Site", "cross-site")), 403);
  // SameSite does not keep another port of this machine away, so reading is refused as well.
  EXPECT_EQ(me(with(browser, "Sec-Fetch-Site", "same-site")), 403);
  EXPECT_EQ(me(with(browser, "Sec-Fetch-Site", "cross-site")), 403);
  EXPECT_EQ(me(with(browser, "Sec-Fetch-Site", "same-origin")), 200);
  EXPECT_EQ(me(with(browser, "Sec-Fetch-Site", "none")), 200) << "typed into the address bar";
}

TEST_F(LogInAttack, OriginOfTlsIsHttps) {
  Browser browser = logIn("member", {.address = "10.1.1.1", .protection = net::Protection::VerifiedTls});
  EXPECT_EQ(change(with(browser, "Origin", "https://127.0.0.1:3000")), 201);
  EXPECT_EQ(change(with(browser, "Origin", "http://127.0.0.1:3000")), 403);
  const auto at = [&](const char* host, const char* origin) {
    auto r = browserRequest(with(browser, "Origin", origin), "POST", "/api/keys", R"({"name":"k","scopes":["read"]})");
    for (auto& [name, value] : r.headers) {
      if (name == "Host") value = host;
    }
    return send(r).status;
  };
  EXPECT_EQ(at("[::1]:443", "https://[::1]"), 201) << "browsers leave out the scheme's own port";
  EXPECT_EQ(at("LOCALHOST", "https://localhost"), 201);
  EXPECT_EQ(at("localhost", "https://localhost:444"), 403);
}

TEST_F(LogInAttack, NobodyIsLoggedInByAForeignPage) {
  const int before = scryptRuns();
  for (const char* origin : {"https://evil.example", "null", "http://localhost:3000"}) {
    const Answer refused = tryLogIn(with({}, "Origin", origin), "member", passwordOf("member"));
    EXPECT_EQ(refused.status, 403) << origin;
    EXPECT_EQ(refused.header("Set-Cookie"), "");
  }
  EXPECT_EQ(tryLogIn(with({}, "Sec-Fetch-Site", "cross-site"), "member", passwordOf("member")).status, 403);
  EXPECT_EQ(scryptRuns(), before);
  EXPECT_EQ(tryLogIn(with({}, "Origin", "http://127.0.0.1:3000"), "member", passwordOf("member")).status, 200);
}

TEST_F(LogInAttack, ACookieThatWasPlantedIsNotTheOneThatIsGiven) {
  Browser victim;
  victim.cookie = "vcs=" + std::string(64, '7');  // chosen by the attacker
  const Browser after = logIn("member", victim);
  EXPECT_NE(after.cookie, victim.cookie);
  EXPECT_EQ(me(victim), 401);
  // Or a session of the attacker's own.
  const Browser attacker = logIn("admin");
  Browser planted;
  planted.cookie = attacker.cookie;
  const Browser now = logIn("member", planted);
  EXPECT_NE(now.cookie, attacker.cookie);
  EXPECT_EQ(me(attacker), 401) << "the session that was there is ended";
  EXPECT_EQ(browse(now, "GET", "/api/me").parsed()["user"]["name"], "member");
  // A log-in that fails ends nothing.
  EXPECT_EQ(tryLogIn(now, "member", "wrong password").status, 401);
  EXPECT_EQ(me(now), 200);
  // And with every one a fresh cookie.
  EXPECT_NE(logIn("member", now).cookie, now.cookie);
  EXPECT_EQ(me(now), 401);
}

TEST_F(LogInAttack, TwoCookiesOfOneNameAreNone) {
  const Browser browser = logIn("member"), attacker = logIn("admin");
  Browser tossed = browser;
  tossed.cookie = attacker.cookie + "; " + browser.cookie;
  EXPECT_EQ(me(tossed), 401);
  EXPECT_EQ(me(with(browser, "Cookie", attacker.cookie)), 401) << "in a header of its own";
}

TEST_F(LogInAttack, AStolenCookieEndsWithTheSession) {
  const auto steal = [&] { return logIn("member"); };
  const Browser one = steal(), two = steal();
  EXPECT_EQ(browse(one, "DELETE", "/api/session").status, 204);
  EXPECT_EQ(me(one), 401);
  EXPECT_EQ(change(one), 401);
  EXPECT_EQ(me(two), 200);
  EXPECT_EQ(setPassword("owner", "member", "another long one").status, 204);
  EXPECT_EQ(me(two), 401);
  EXPECT_EQ(setPassword("owner", "member", passwordOf("member")).status, 204);
  EXPECT_EQ(me(two), 401) << "not even with the old password back";

  const Browser three = steal();
  EXPECT_EQ(as("admin", "PATCH", "/api/users/member", R"({"disabled":true})").status, 200);
  EXPECT_EQ(me(three), 401);
  EXPECT_TRUE(storedLogins().empty());
  EXPECT_EQ(as("admin", "PATCH", "/api/users/member", R"({"disabled":false})").status, 200);
  EXPECT_EQ(me(three), 401) << "enabling brings no session back";

  const Browser four = steal();
  EXPECT_EQ(as("admin", "DELETE", "/api/users/member").status, 204);
  EXPECT_EQ(me(four), 401);
  EXPECT_TRUE(storedLogins().empty());
  EXPECT_EQ(as("admin", "POST", "/api/users", R"({"name":"member"})").status, 201);
  EXPECT_EQ(me(four), 401) << "nor does another user of the name";
  restart(options);
  for (const Browser& b : {one, two, three, four}) EXPECT_EQ(me(b), 401);
}

TEST_F(LogInAttack, ASessionEndsWhileItsRequestWaitsForTheStore) {
  const Browser admin = logIn("admin");
  // Both are admitted before either is written; the log-out is first.
  auto out = std::make_shared<Answer>(), add = std::make_shared<Answer>();
  api->handle(std::make_shared<FakeExchange>(browserRequest(admin, "DELETE", "/api/session"), out));
  api->handle(std::make_shared<FakeExchange>(browserRequest(admin, "POST", "/api/users", R"({"name":"eve"})"), add));
  loop.runUntilIdle();
  EXPECT_EQ(out->status, 204);
  EXPECT_EQ(add->status, 403);
  EXPECT_EQ(storedUser("eve").name, "");
}

TEST_F(LogInAttack, APasswordThatChangesDuringTheLogInDoesNotLetIn) {
  auto changed = std::make_shared<Answer>(), opened = std::make_shared<Answer>();
  auto change = requestBy(secret("owner", kAllScopes), "POST", "/api/users/member/password",
                          json{{"password", "another long one"}}.dump());
  api->handle(std::make_shared<FakeExchange>(std::move(change), changed));
  auto login = browserRequest({}, "POST", "/api/session", loginBody("member", passwordOf("member")));
  api->handle(std::make_shared<FakeExchange>(std::move(login), opened));
  loop.runUntilIdle();
  EXPECT_EQ(changed->status, 204);
  EXPECT_EQ(opened->status, 401);
  EXPECT_TRUE(storedLogins().empty());
}

TEST_F(LogInAttack, WhoIsThereIsNotToldByWorkOrAnswer) {
  EXPECT_EQ(as("owner", "POST", "/api/users", R"({"name":"silent"})").status, 201);
  EXPECT_EQ(as("owner", "PATCH", "/api/users/admin", R"({"disabled":true})").status, 200);
  const std::string id = storedUser("owner").id.value;
  std::vector<std::string> bodies;
  int address = 0;
  for (const auto& [user, password] :
       std::vector<std::pair<std::string, std::string>>{{"member", "wrong password"},
                                                        {"nobody", "wrong password"},
                                                        {"silent", "wrong password"},
                                                        {"admin", "wrong password"},
                                                        {"admin", passwordOf("admin")},
                                                        {"member", "short"},
                                                        {"member", ""},
                                                        {"no name at all\n", "wrong password"},
                                                        {"MEMBER", passwordOf("member")}}) {
    const int before = scryptRuns();
    const Answer refused = tryLogIn({.address = "127.0.4." + std::to_string(++address)}, user, password);
    EXPECT_EQ(scryptRuns() - before, 1) << user;
    EXPECT_EQ(refused.status, 401) << user;
    EXPECT_EQ(refused.header("Set-Cookie"), "");
    bodies.push_back(refused.body + std::to_string(refused.headers.size()));
  }
  for (const std::string& body : bodies) EXPECT_EQ(body, bodies.front()) << "the clock stands still";
  EXPECT_EQ(audited("session.refused").size(), 9U);
}

TEST_F(LogInAttack, GuessingIsBoundedPerName) {
  int tried = 0, next = 0;
  const auto guess = [&](const std::string& user) {
    const Answer a = tryLogIn({.address = "127.1." + std::to_string(next / 200) + "." + std::to_string(next % 200)},
                              user, "guess number " + std::to_string(tried));
    ++next;
    return a;
  };
  for (const std::string user : {"member", "nobody"}) {
    for (int i = 0; i < 5; ++i) EXPECT_EQ(guess(user).status, 401);
    const int before = scryptRuns();
    const Answer refused = guess(user);
    EXPECT_EQ(refused.status, 429) << "of " << user << ", who need not be there";
    EXPECT_EQ(refused.header("Retry-After"), "1");
    EXPECT_EQ(scryptRuns(), before) << "and costs nothing";
    EXPECT_EQ(tryLogIn({.address = "127.9.9.9"}, user, passwordOf(user)).status, 429) << "nor is the right one told";
  }
  // A day, as fast as it goes.
  int guesses = 0;
  const SteadyTime end = clock.steady() + std::chrono::hours(24);
  while (clock.steady() < end) {
    const Answer a = guess("member");
    if (a.status == 401) {
      ASSERT_LT(++guesses, 110);
      continue;
    }
    ASSERT_EQ(a.status, 429);
    clock.advance(seconds(std::stoi(a.header("Retry-After"))));
  }
  clock.advance(std::chrono::hours(1));
  logIn("member");
}

TEST_F(LogInAttack, GuessingIsBoundedPerAddress) {
  const Browser attacker{.address = "127.0.0.66"};
  for (int i = 0; i < 20; ++i) EXPECT_EQ(tryLogIn(attacker, "user" + std::to_string(i), "wrong password").status, 401);
  const Answer refused = tryLogIn(attacker, "user20", "wrong password");
  EXPECT_EQ(refused.status, 429);
  EXPECT_EQ(tryLogIn(attacker, "member", passwordOf("member")).status, 429);
  EXPECT_EQ(tryLogIn({.address = "127.0.0.67"}, "member", passwordOf("member")).status, 200) << "others go on";
  clock.advance(seconds(std::stoi(refused.header("Retry-After"))));
  EXPECT_EQ(tryLogIn(attacker, "user20", "wrong password").status, 401);
  EXPECT_EQ(tryLogIn(attacker, "user21", "wrong password").header("Retry-After"), "2") << "it grows";
  // All addresses of one network of IPv6 are one.
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(tryLogIn({.address = "2001:db8:1:2::" + std::to_string(i)}, "v6user" + std::to_string(i), "wrong").status,
              401);
  }
  EXPECT_EQ(tryLogIn({.address = "2001:db8:1:2:ffff::1"}, "v6user", "wrong").status, 429);
}

TEST_F(LogInAttack, RightLogInsDoNotHideGuesses) {
  const Browser attacker{.address = "127.0.0.66"};  // who has a password of his own, member's
  int guesses = 0;
  for (int i = 0; i < 60; ++i) {
    if (tryLogIn(attacker, "user" + std::to_string(i), "wrong password").status == 401) ++guesses;
    tryLogIn(attacker, "member", passwordOf("member"));
  }
  EXPECT_EQ(guesses, 20);
}

TEST_F(LogInAttack, NobodyLocksOutAUserWhoIsKnownThere) {
  const Browser home{.address = "127.0.0.5"};
  logIn("member", home);
  for (int i = 0; i < 8; ++i) tryLogIn({.address = "127.0.5." + std::to_string(i)}, "member", "wrong password");
  EXPECT_EQ(tryLogIn({.address = "127.0.0.6"}, "member", passwordOf("member")).status, 429);
  EXPECT_EQ(tryLogIn(home, "member", passwordOf("member")).status, 200);
}

TEST_F(LogInAttack, CurrentPasswordIsNotGuessedFromAStolenSession) {
  const Browser stolen = logIn("member");
  int checked = 0;
  for (int i = 0; i < 50; ++i) {
    const json guess = {{"password", "another long one"}, {"currentPassword", "guess number " + std::to_string(i)}};
    const Answer a = browse(stolen, "POST", "/api/users/member/password", guess.dump());
    EXPECT_TRUE(a.status == 403 || a.status == 429) << a.status;
    if (a.status == 403) ++checked;
  }
  EXPECT_LE(checked, 20);
  EXPECT_EQ(tryLogIn({.address = "127.0.0.9"}, "member", "another long one").status, 429);
  clock.advance(std::chrono::hours(2));
  logIn("member");
}

TEST_F(LogInAttack, AKeyMakesNoPasswordThatOpensMoreThanItself) {
  const std::string body = R"({"password":"another long one"})";
  const auto set = [&](const std::string& key, const std::string& user, const std::string& text) {
    return by(key, "POST", "/api/users/" + user + "/password", text).status;
  };
  for (const std::string& role : kRoles) {
    for (const std::string& scope : kScopeNames) {
      EXPECT_EQ(set(secret(role, scope), role, body), 403) << role << ' ' << scope;
      EXPECT_EQ(set(secret(role, scope), "member", body), 403) << role << ' ' << scope;
    }
  }
  EXPECT_EQ(set(secret("admin", kAllScopes), "owner", body), 403);
  EXPECT_EQ(set(secret("member", kAllScopes), "admin", body), 403);
  // One that ends would live on in the password.
  const Answer made =
      as("member", "POST", "/api/keys",
         json{{"name", "k"}, {"scopes", {"read", "run"}}, {"expiresAt", toIso8601(clock.now() + std::chrono::hours(1))}}
             .dump());
  ASSERT_EQ(made.status, 201) << made.body;
  EXPECT_EQ(set(made.parsed()["key"], "member", body), 403);
  for (const std::string& role : kRoles) logIn(role);
  // Who knows the current one gains nothing by the key.
  const std::string known = json{{"password", "another long one"}, {"currentPassword", passwordOf("member")}}.dump();
  EXPECT_EQ(set(secret("member", "read"), "member", known), 204);
  EXPECT_EQ(set(secret("admin", "admin"), "member",
                json{{"password", "yet another one"}, {"currentPassword", "another long one"}}.dump()),
            403)
      << "but not for somebody else";
  EXPECT_EQ(set(secret("member", kAllScopes), "member", body), 204);
}

TEST_F(LogInAttack, AHeaderAuthorizationIsJudgedAlone) {
  const Browser browser = logIn("admin");
  for (const char* value : {"Bearer wrong", "Basic YWRtaW46eA==", "Bearer ", ""}) {
    EXPECT_EQ(me(with(browser, "Authorization", value)), 401) << value;
  }
  Browser forged = browser;
  forged.csrf.clear();
  // A key needs no token, and the cookie adds nothing to it.
  const Browser keyed = with(forged, "Authorization", "Bearer " + secret("member", "read"));
  EXPECT_EQ(browse(keyed, "GET", "/api/me").parsed()["user"]["name"], "member");
  EXPECT_EQ(browse(keyed, "POST", "/api/users", R"({"name":"eve"})").status, 403);
  EXPECT_EQ(browse(keyed, "DELETE", "/api/session").status, 404);
  EXPECT_EQ(me(browser), 200);
}

TEST_F(LogInAttack, ASessionMayDoWhatItsRoleMay) {
  struct Try {
    const char *method, *path, *body;
    int member, admin;
  };
  const Browser member = logIn("member"), admin = logIn("admin");
  for (const Try& t : std::initializer_list<Try>{{"GET", "/api/users", "", 403, 200},
                                                 {"GET", "/api/audit", "", 403, 200},
                                                 {"POST", "/api/users", R"({"name":"eve"})", 403, 201},
                                                 {"POST", "/api/users", R"({"name":"o","role":"owner"})", 403, 403},
                                                 {"PATCH", "/api/users/member", R"({"role":"member"})", 403, 200},
                                                 {"PATCH", "/api/users/owner", R"({"role":"member"})", 403, 403},
                                                 {"GET", "/api/keys?user=owner", "", 403, 200},
                                                 {"GET", "/api/agents", "", 200, 200}}) {
    EXPECT_EQ(browse(member, t.method, t.path, t.body).status, t.member) << t.method << ' ' << t.path;
    EXPECT_EQ(browse(admin, t.method, t.path, t.body).status, t.admin) << t.method << ' ' << t.path;
  }
}

TEST_F(LogInAttack, WrongCookiesAreLimitedPerAddressAndTheRightOnePasses) {
  const Browser browser = logIn("member");
  Browser wrong;
  wrong.cookie = "vcs=" + std::string(64, '0');
  for (int i = 0; i < 10; ++i) EXPECT_EQ(me(wrong), 401);
  EXPECT_EQ(me(wrong), 429);
  EXPECT_EQ(me(browser), 200);
  Browser other = browser;
  other.cookie = "VCS" + browser.cookie.substr(3);
  EXPECT_EQ(me(other), 401) << "no cookie of ours is no attempt";
}

TEST_F(LogInAttack, EachSessionHasItsShareOfRequests) {
  options.maxRequestsPerKey = 3;
  restart(options);
  const Browser browser = logIn("member"), other = logIn("member");
  for (int i = 0; i < 3; ++i) EXPECT_EQ(me(browser), 200);
  EXPECT_EQ(me(browser), 429);
  EXPECT_EQ(me(other), 200);
}

TEST_F(LogInAttack, TheFilesAndAnswersHoldNoSecret) {
  const Browser browser = logIn("member");
  tryLogIn({}, "member", "a wrong password");
  const std::string bad = json{{"password", "short secret"}, {"currentPassword", "not this secret"}}.dump();
  const Answer answer = browse(browser, "POST", "/api/users/member/password", bad);
  EXPECT_THAT(answer.body, Not(HasSubstr("secret")));
  std::string all;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(directory / "")) {
    std::ifstream file(entry.path(), std::ios::binary);
    all.append(std::istreambuf_iterator<char>(file), {});
  }
  EXPECT_THAT(all, HasSubstr("$scrypt$"));
  for (const std::string& secret :
       {secretOf(browser), browser.csrf, passwordOf("member"), std::string("a wrong password")})
    EXPECT_EQ(all.find(secret), std::string::npos) << secret;
}

}  // namespace
}  // namespace vaultysclaw::control::testing
