// The REST API with people who have passwords, and browsers that log in.
#pragma once

#include "people_fixture.hpp"

namespace vaultysclaw::control::testing {

// A browser on this machine, unless it is told otherwise.
struct Browser {
  std::string cookie = {}, csrf = {};  // the cookie as it is sent: name=value
  std::string address = "127.0.0.1";
  net::Protection protection = net::Protection::Loopback;
  net::Headers headers = {};  // besides
};

inline std::string passwordOf(const std::string& user) {
  return "quite a long way for " + user;
}

class LoginFixture : public PeopleFixture {
 protected:
  LoginFixture() {
    options.logins.cost = {4, 1, 1};  // as cheap as it gets
    restart(options);
    for (const std::string& role : kRoles) {
      const Answer set = setPassword("owner", role, passwordOf(role));
      EXPECT_EQ(set.status, 204) << set.body;
    }
  }
  // By a key of `by`, which has all scopes.
  Answer setPassword(const std::string& by, const std::string& user, const std::string& password) {
    return as(by, "POST", "/api/users/" + user + "/password", json{{"password", password}}.dump());
  }
  net::HttpRequest browserRequest(const Browser& from, const std::string& method, const std::string& target,
                                  const std::string& body = "") {
    net::HttpRequest r = request(method, target, body);
    std::erase_if(r.headers, [](const auto& header) { return header.first == "Authorization"; });
    if (!from.cookie.empty()) r.headers.emplace_back("Cookie", from.cookie);
    if (!from.csrf.empty()) r.headers.emplace_back("X-CSRF-Token", from.csrf);
    for (const auto& header : from.headers) r.headers.push_back(header);
    r.peer.address = from.address;
    r.peer.protection = from.protection;
    return r;
  }
  Answer browse(const Browser& from, const std::string& method, const std::string& target,
                const std::string& body = "") {
    return send(browserRequest(from, method, target, body));
  }
  static std::string loginBody(const std::string& user, const std::string& password) {
    return json{{"user", user}, {"password", password}}.dump();
  }
  Answer tryLogIn(const Browser& from, const std::string& user, const std::string& password) {
    return browse(from, "POST", "/api/session", loginBody(user, password));
  }
  // What the browser has after that answer.
  static Browser after(Browser from, const Answer& answer) {
    const std::string set = answer.header("Set-Cookie");
    from.cookie = set.substr(0, set.find(';'));
    from.csrf = answer.parsed().value("csrfToken", "");
    return from;
  }
  Browser logIn(const std::string& user, Browser from = {}) {
    const Answer answer = tryLogIn(from, user, passwordOf(user));
    EXPECT_EQ(answer.status, 200) << answer.body;
    return answer.status == 200 ? after(from, answer) : from;
  }
  int me(const Browser& from) { return browse(from, "GET", "/api/me").status; }
  // How often scrypt has run. Gives the loop no turn.
  int scryptRuns() {
    auto answer = std::make_shared<Answer>();
    api->handle(std::make_shared<FakeExchange>(request("GET", "/metrics"), answer));
    const std::string name = "\nvaultysclaw_password_hashes_total ", text = answer->body;
    const auto at = text.find(name);
    EXPECT_NE(at, std::string::npos);
    return std::stoi(text.substr(at + name.size()));
  }
  std::vector<store::LoginRow> storedLogins() {
    std::vector<store::LoginRow> logins;
    EXPECT_TRUE(store
                    ->readBlocking([&](store::ControlReader& r) -> Status {
                      VC_TRY_ASSIGN(logins, r.logins());
                      return {};
                    })
                    .ok());
    return logins;
  }
  store::UserRow storedUser(const std::string& name) {
    for (const store::UserRow& user : storedUsers()) {
      if (user.name == name) return user;
    }
    return {};
  }
  std::vector<store::AuditRow> audited(const std::string& action) {
    std::vector<store::AuditRow> rows = PeopleFixture::audited();
    std::erase_if(rows, [&](const store::AuditRow& row) { return row.action != action; });
    return rows;
  }

  RestOptions options;
};

}  // namespace vaultysclaw::control::testing
