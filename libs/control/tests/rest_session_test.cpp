// Logging in with a password, sessions by cookie, and passwords.
#include <gmock/gmock.h>

#include "login_fixture.hpp"

namespace vaultysclaw::control::testing {
namespace {

using std::chrono::hours;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;
using ::testing::Not;

class LogIn : public LoginFixture {};

TEST_F(LogIn, GivesACookieAndAToken) {
  const Answer answer = tryLogIn({}, "member", passwordOf("member"));
  ASSERT_EQ(answer.status, 200) << answer.body;
  const json body = answer.parsed();
  EXPECT_EQ(body["user"]["name"], "member");
  EXPECT_EQ(body["user"]["hasPassword"], true);
  EXPECT_EQ(body["user"].contains("passwordHash"), false);
  EXPECT_EQ(body["scopes"], json({"read", "run"})) << "all scopes, of which the role leaves these";
  EXPECT_EQ(body["expiresAt"], toIso8601(clock.now() + hours(7 * 24)));
  EXPECT_EQ(body.size(), 4U);
  EXPECT_THAT(answer.header("Set-Cookie"), MatchesRegex("vcs=[0-9a-f]{64}; Path=/; HttpOnly; SameSite=Strict"));
  EXPECT_EQ(answer.header("Cache-Control"), "no-store");

  const Browser browser = after({}, answer);
  const Answer again = browse(browser, "GET", "/api/session");
  EXPECT_EQ(again.status, 200);
  EXPECT_EQ(again.parsed(), body) << "a page that is loaded anew gets its token";
  EXPECT_EQ(again.header("Set-Cookie"), "");
  const json me = browse(browser, "GET", "/api/me").parsed();
  EXPECT_EQ(me["user"]["name"], "member");
  EXPECT_TRUE(me["keyId"].is_null());
  EXPECT_TRUE(me["keyExpiresAt"].is_null());
  EXPECT_EQ(me["scopes"], json({"read", "run"}));
}

TEST_F(LogIn, CookieIsForTheWayItCame) {
  const Browser tls{.address = "10.1.1.1", .protection = net::Protection::VerifiedTls};
  const Browser secure = logIn("member", tls);
  EXPECT_THAT(tryLogIn(tls, "member", passwordOf("member")).header("Set-Cookie"),
              MatchesRegex("__Host-vcs=[0-9a-f]{64}; Path=/; HttpOnly; SameSite=Strict; Secure"));
  EXPECT_EQ(me(secure), 200);
  Browser wrongName = secure;
  wrongName.cookie = "vcs" + secure.cookie.substr(secure.cookie.find('='));
  EXPECT_EQ(me(wrongName), 401) << "the name without __Host- may have been set by anybody";
  Browser local = secure;
  local.protection = net::Protection::Loopback;
  EXPECT_EQ(me(local), 401);
  Browser several = secure;
  several.cookie = "a=b; " + secure.cookie + " ;c=\"d\";;e";
  EXPECT_EQ(me(several), 200);
}

TEST_F(LogIn, NeedsAWayThatIsProtected) {
  const Browser far{.address = "10.1.1.1", .protection = net::Protection::None};
  const int before = scryptRuns();
  const Answer refused = tryLogIn(far, "member", passwordOf("member"));
  EXPECT_EQ(refused.status, 403);
  EXPECT_THAT(refused.body, HasSubstr("--tls-in-front"));
  EXPECT_EQ(scryptRuns(), before);
  Browser stray = logIn("member");
  stray.address = far.address;
  stray.protection = far.protection;
  EXPECT_EQ(me(stray), 401) << "a cookie in the clear is none";

  options.tlsInFront = TlsInFront::Yes;
  restart(options);
  const Answer proxied = tryLogIn(far, "member", passwordOf("member"));
  EXPECT_EQ(proxied.status, 200);
  EXPECT_THAT(proxied.header("Set-Cookie"), MatchesRegex("__Host-vcs=.*; Secure"));
  EXPECT_EQ(me(after(far, proxied)), 200);
}

TEST_F(LogIn, LogOutEndsTheSessionAndTakesTheCookie) {
  const Browser browser = logIn("member"), other = logIn("member");
  const Answer out = browse(browser, "DELETE", "/api/session");
  EXPECT_EQ(out.status, 204);
  EXPECT_EQ(out.header("Set-Cookie"), "vcs=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0");
  EXPECT_EQ(me(browser), 401);
  EXPECT_EQ(me(other), 200);
  EXPECT_EQ(browse(browser, "DELETE", "/api/session").status, 401);
  restart(options);
  EXPECT_EQ(me(browser), 401);
  EXPECT_EQ(as("member", "GET", "/api/session").status, 404) << "a key is no session";
  EXPECT_EQ(as("member", "DELETE", "/api/session").status, 404);
}

TEST_F(LogIn, SessionEndsWhenItIsNotUsed) {
  const Browser used = logIn("member"), unused = logIn("member");
  clock.advance(hours(12) - seconds(1));
  EXPECT_EQ(me(used), 200);
  clock.advance(seconds(1));
  EXPECT_EQ(me(unused), 401);
  clock.advance(hours(12) - seconds(2));
  EXPECT_EQ(me(used), 200);
  clock.advance(hours(12));
  EXPECT_EQ(me(used), 401);
}

TEST_F(LogIn, SessionEndsHoweverMuchItIsUsed) {
  const Browser browser = logIn("member");
  for (int i = 0; i < 7 * 24 - 1; ++i) {
    clock.advance(hours(1));
    ASSERT_EQ(me(browser), 200) << i;
  }
  clock.advance(hours(1) - seconds(1));
  EXPECT_EQ(me(browser), 200);
  clock.advance(seconds(1));
  EXPECT_EQ(me(browser), 401);
  logIn("member");
  EXPECT_EQ(storedLogins().size(), 1U) << "those that are over are forgotten";
}

TEST_F(LogIn, SessionOutlastsARestart) {
  const Browser browser = logIn("member");
  clock.advance(hours(11));
  EXPECT_EQ(me(browser), 200);
  loop.advance(seconds(10));  // in which the use is noted
  restart(options);
  EXPECT_EQ(me(browser), 200);
  EXPECT_EQ(browse(browser, "POST", "/api/keys", R"({"name":"k","scopes":["read"]})").status, 201)
      << "and so does its token";
  clock.advance(hours(11));
  EXPECT_EQ(me(browser), 200) << "counted from its last use, not from its begin";
  restart(options);
  clock.advance(hours(2));
  EXPECT_EQ(me(browser), 401) << "what was not noted is forgotten";
}

TEST_F(LogIn, UseIsNotedOnceAMinute) {
  const Browser browser = logIn("member");
  const WallTime begin = clock.now();
  clock.advance(seconds(59));
  EXPECT_EQ(me(browser), 200);
  loop.advance(seconds(10));
  EXPECT_EQ(storedLogins().front().lastUsedAt, begin);
  const WallTime used = clock.now();
  EXPECT_EQ(me(browser), 200);
  EXPECT_EQ(storedLogins().front().lastUsedAt, begin) << "a request costs no commit";
  loop.advance(seconds(5));
  EXPECT_EQ(storedLogins().front().lastUsedAt, used);
  EXPECT_EQ(me(browser), 200);
  loop.advance(seconds(50));
  EXPECT_EQ(storedLogins().front().lastUsedAt, used);
}

TEST_F(LogIn, NotedUseBringsNoSessionBack) {
  const Browser browser = logIn("member");
  clock.advance(seconds(61));
  EXPECT_EQ(me(browser), 200);
  EXPECT_EQ(browse(browser, "DELETE", "/api/session").status, 204);
  loop.advance(seconds(10));
  EXPECT_TRUE(storedLogins().empty());
}

TEST_F(LogIn, UserHasTwentySessionsAndTheOldestGoes) {
  std::vector<Browser> browsers;
  const Browser other = logIn("admin");
  for (int i = 0; i < 21; ++i) {
    browsers.push_back(logIn("member"));
    clock.advance(seconds(1));
  }
  EXPECT_EQ(me(browsers[0]), 401);
  for (std::size_t i = 1; i < browsers.size(); ++i) EXPECT_EQ(me(browsers[i]), 200) << i;
  EXPECT_EQ(storedLogins().size(), 21U);
  EXPECT_EQ(me(other), 200);
}

TEST_F(LogIn, RoleCountsFromTheNextRequestOn) {
  const Browser browser = logIn("member");
  EXPECT_EQ(browse(browser, "GET", "/api/users").status, 403);
  EXPECT_EQ(as("owner", "PATCH", "/api/users/member", R"({"role":"admin"})").status, 200);
  EXPECT_EQ(browse(browser, "GET", "/api/users").status, 200);
  EXPECT_EQ(browse(browser, "GET", "/api/session").parsed()["scopes"], json({"read", "run", "operate", "admin"}));
  EXPECT_EQ(as("owner", "PATCH", "/api/users/member", R"({"role":"member"})").status, 200);
  EXPECT_EQ(browse(browser, "GET", "/api/users").status, 403);
}

TEST_F(LogIn, MakesKeysThatWorkBesides) {
  const Browser browser = logIn("member");
  const Answer made = browse(browser, "POST", "/api/keys", R"({"name":"k","scopes":["read"]})");
  ASSERT_EQ(made.status, 201) << made.body;
  EXPECT_EQ(by(made.parsed()["key"], "GET", "/api/me").status, 200);
  EXPECT_EQ(browse(browser, "POST", "/api/keys", R"({"name":"k","scopes":["operate"]})").status, 403);
  EXPECT_EQ(browse(browser, "DELETE", "/api/keys/" + made.parsed()["id"].get<std::string>()).status, 204);
}

TEST_F(LogIn, IsAuditedAndSoIsALogOut) {
  const Browser browser = logIn("member", {.address = "127.0.0.7"});
  const auto opened = audited("session.open");
  ASSERT_EQ(opened.size(), 1U);
  EXPECT_EQ(opened[0].actor, "user:member");
  EXPECT_EQ(opened[0].target, storedLogins().front().id.value);
  EXPECT_EQ(json::parse(opened[0].details)["address"], "127.0.0.7");
  browse(browser, "DELETE", "/api/session");
  ASSERT_EQ(audited("session.close").size(), 1U);
  EXPECT_EQ(audited("session.close")[0].target, opened[0].target);
  const auto passwords = audited("user.password");
  ASSERT_EQ(passwords.size(), 3U);
  EXPECT_EQ(passwords[0].actor, "user:owner");
  EXPECT_EQ(passwords[0].target, "member");
  EXPECT_EQ(json::parse(passwords[0].details)["sessionsEnded"], "0");
}

TEST_F(LogIn, RefusalsAreAuditedUpToABound) {
  for (int i = 0; i < 30; ++i) {
    tryLogIn({.address = "127.0.1." + std::to_string(i)},
             i % 4 == 0 ? "member" : "my secret password " + std::to_string(i), "wrong");
  }
  auto rows = audited("session.refused");
  ASSERT_EQ(rows.size(), 10U);
  EXPECT_EQ(rows[0].actor, "system");
  EXPECT_EQ(rows[0].target, "member");
  EXPECT_EQ(json::parse(rows[0].details)["reason"], "wrong password");
  for (const auto& row : rows) EXPECT_THAT(row.target + row.details, Not(HasSubstr("secret"))) << "people mix them up";
  clock.advance(seconds(61));
  tryLogIn({.address = "127.0.2.1"}, "nobody", "wrong");
  rows = audited("session.refused");
  EXPECT_EQ(json::parse(rows.back().details)["suppressedBefore"], "17") << "22 and 5 were refused";
}

TEST_F(LogIn, HashOfAnEarlierCostIsMadeAnew) {
  const Browser before = logIn("member");
  const store::UserRow old = storedUser("member");
  EXPECT_THAT(old.passwordHash, HasSubstr("$scrypt$ln=4,r=1,p=1$"));
  options.logins.cost = {5, 1, 1};
  restart(options);
  EXPECT_EQ(tryLogIn({.address = "127.0.0.2"}, "member", "wrong password").status, 401);
  EXPECT_EQ(storedUser("member").passwordHash, old.passwordHash) << "only whoever knows it makes it anew";
  const Browser now = logIn("member");
  const store::UserRow upgraded = storedUser("member");
  EXPECT_THAT(upgraded.passwordHash, HasSubstr("$scrypt$ln=5,r=1,p=1$"));
  EXPECT_EQ(upgraded.version, old.version) << "nothing that anybody sees has changed";
  EXPECT_EQ(me(before), 200) << "nor is it another password";
  EXPECT_EQ(me(now), 200);
  const int runs = scryptRuns();
  logIn("member");
  EXPECT_EQ(scryptRuns() - runs, 1);
  EXPECT_EQ(storedUser("member").passwordHash, upgraded.passwordHash);
}

TEST_F(LogIn, PasswordsAreLongAndNotTheFirstToBeGuessed) {
  const auto problem = [&](const std::string& password) -> std::string {
    const Answer a = setPassword("owner", "member", password);
    return a.status == 204 ? "" : a.parsed()["details"].value("password", a.body);
  };
  EXPECT_THAT(problem("elevenbytes"), HasSubstr("at least 12 bytes"));
  EXPECT_THAT(problem(std::string(1025, 'x')), HasSubstr("1024"));
  EXPECT_THAT(problem("MEMBERmember1"), HasSubstr("name"));
  EXPECT_THAT(problem("Password123!"), HasSubstr("guessed"));
  EXPECT_THAT(problem("1234567890123"), HasSubstr("guessed"));
  EXPECT_EQ(problem("brown teapot"), "") << "twelve bytes, of whatever kind";
  EXPECT_EQ(problem("\xc3\xa4\xc3\xb6\xc3\xbc\xe2\x82\xac und viel Text"), "");
  std::string longest;
  while (longest.size() < 1024) longest += "sixteen letters ";
  EXPECT_EQ(problem(longest), "");
  EXPECT_EQ(tryLogIn({}, "member", longest).status, 200);
  EXPECT_EQ(tryLogIn({}, "member", longest.substr(0, 1023)).status, 401) << "no byte is left out";
  EXPECT_EQ(setPassword("owner", "nobody", "brown teapot").status, 404);
  EXPECT_EQ(as("owner", "POST", "/api/users/member/password", "{}").status, 400);
  EXPECT_EQ(as("owner", "POST", "/api/users/member/password", R"({"password":7})").status, 400);
  EXPECT_EQ(as("owner", "POST", "/api/users/member/password", R"({"password":"brown \ud800 teapot"})").status, 400);
}

TEST_F(LogIn, OwnPasswordChangesWithTheCurrentOne) {
  const Browser browser = logIn("member"), other = logIn("member");
  const auto change = [&](const json& body) {
    return browse(browser, "POST", "/api/users/member/password", body.dump());
  };
  const Answer without = change({{"password", "another long one"}});
  EXPECT_EQ(without.status, 400);
  EXPECT_TRUE(without.parsed()["details"].contains("currentPassword"));
  EXPECT_EQ(change({{"password", "another long one"}, {"currentPassword", "not this one"}}).status, 403);
  EXPECT_EQ(me(browser), 200);
  const Answer changed = change({{"password", "another long one"}, {"currentPassword", passwordOf("member")}});
  EXPECT_EQ(changed.status, 204) << changed.body;
  EXPECT_THAT(changed.header("Set-Cookie"), HasSubstr("Max-Age=0"));
  EXPECT_EQ(me(browser), 401) << "all sessions end";
  EXPECT_EQ(me(other), 401);
  EXPECT_EQ(json::parse(audited("user.password").back().details)["sessionsEnded"], "2");
  EXPECT_EQ(tryLogIn({}, "member", passwordOf("member")).status, 401);
  EXPECT_EQ(tryLogIn({}, "member", "another long one").status, 200);
  EXPECT_EQ(as("member", "GET", "/api/me").status, 200) << "keys stay";
}

TEST_F(LogIn, AdminsSetPasswordsOfMembersAndOwnersThoseOfAll) {
  const Browser admin = logIn("admin"), owner = logIn("owner"), member = logIn("member");
  const std::string body = R"({"password":"another long one"})";
  EXPECT_EQ(browse(member, "POST", "/api/users/admin/password", body).status, 403);
  EXPECT_EQ(browse(member, "POST", "/api/users/nobody/password", body).status, 403) << "as if there were one";
  EXPECT_EQ(browse(admin, "POST", "/api/users/owner/password", body).status, 403);
  EXPECT_EQ(me(owner), 200);
  EXPECT_EQ(browse(admin, "POST", "/api/users/member/password", body).status, 204);
  EXPECT_EQ(me(member), 401);
  EXPECT_EQ(browse(owner, "POST", "/api/users/admin/password", body).status, 204);
  EXPECT_EQ(me(admin), 401);
}

TEST_F(LogIn, HashesTwoAtATimeAndLetsSixteenWait) {
  std::vector<std::shared_ptr<Answer>> answers;
  const int before = scryptRuns();
  for (int i = 0; i < 20; ++i) {
    const Browser from{.address = "127.0.3." + std::to_string(i)};
    auto answer = std::make_shared<Answer>();
    const std::string user = "user" + std::to_string(i);
    auto r = browserRequest(from, "POST", "/api/session", loginBody(user, "wrong password"));
    api->handle(std::make_shared<FakeExchange>(std::move(r), answer));
    answers.push_back(std::move(answer));
  }
  loop.runUntilIdle(4);  // two hashes, and the answers to those that were one too many
  EXPECT_EQ(scryptRuns() - before, 2);
  for (int i = 0; i < 20; ++i) EXPECT_EQ(answers[static_cast<std::size_t>(i)]->status, i < 18 ? 0 : 429) << i;
  EXPECT_EQ(answers[19]->header("Retry-After"), "1");
  loop.runUntilIdle();
  EXPECT_EQ(scryptRuns() - before, 18);
  for (std::size_t i = 0; i < 18; ++i) EXPECT_EQ(answers[i]->status, 401) << i;
  logIn("member");
}

TEST_F(LogIn, OneAddressDoesNotTakeAllPlaces) {
  std::vector<std::shared_ptr<Answer>> answers;
  for (int i = 0; i < 5; ++i) {
    auto answer = std::make_shared<Answer>();
    auto r = browserRequest({}, "POST", "/api/session", loginBody("user" + std::to_string(i), "wrong password"));
    api->handle(std::make_shared<FakeExchange>(std::move(r), answer));
    answers.push_back(std::move(answer));
  }
  loop.runUntilIdle();
  for (std::size_t i = 0; i < 5; ++i) EXPECT_EQ(answers[i]->status, i < 4 ? 401 : 429) << i;
}

TEST_F(LogIn, WhatIsUnderWayAtTheEndIsAnswered) {
  std::vector<std::shared_ptr<Answer>> answers;
  for (int i = 0; i < 3; ++i) {
    auto answer = std::make_shared<Answer>();
    auto r = browserRequest({}, "POST", "/api/session", loginBody("member", passwordOf("member")));
    api->handle(std::make_shared<FakeExchange>(std::move(r), answer));
    answers.push_back(std::move(answer));
  }
  api.reset();
  plane.close();
  loop.runUntilIdle();
  for (const auto& answer : answers) EXPECT_EQ(answer->status, 503);
  EXPECT_TRUE(storedLogins().empty());
}

TEST_F(LogIn, BodyIsStrict) {
  for (const char* bad : {"{}", R"({"user":"member"})", R"({"user":"","password":"x"})",
                          R"({"user":"member","password":7})", R"({"user":"member","password":"x","more":1})"}) {
    EXPECT_EQ(browse({}, "POST", "/api/session", bad).status, 400) << bad;
  }
  EXPECT_EQ(browse({}, "POST", "/api/session", loginBody("member", std::string(1025, 'x'))).status, 400);
  auto form = browserRequest({}, "POST", "/api/session", "user=member&password=x");
  for (auto& [name, value] : form.headers) {
    if (name == "Content-Type") value = "application/x-www-form-urlencoded";
  }
  EXPECT_EQ(send(form).status, 415);
  EXPECT_EQ(browse({}, "PUT", "/api/session", "{}").status, 401) << "other methods are no log-in";
}

}  // namespace
}  // namespace vaultysclaw::control::testing
