// The REST API over a scripted control plane and a real store with an owner, an admin and a member.
#pragma once

#include "rest_fakes.hpp"

namespace vaultysclaw::control::testing {

inline const std::vector<std::string> kRoles = {"member", "admin", "owner"};
inline const std::vector<std::string> kScopeNames = {"read", "run", "operate", "admin"};
inline const std::string kAllScopes = "read run operate admin";

class PeopleFixture : public RestFixture {
 protected:
  PeopleFixture() {
    // Every role has a key for each scope, and one for all.
    EXPECT_TRUE(store
                    ->writeBlocking([&](store::ControlWriter& w) -> Status {
                      for (const std::string& role : kRoles) {
                        VC_TRY(w.putUser({.id = store::UserId(role), .name = role, .role = role}));
                        VC_TRY(w.putMember({theDefault(), store::UserId(role)}));
                        VC_TRY(w.putApiToken(keyRow(role, kAllScopes)));
                        for (const std::string& scope : kScopeNames) VC_TRY(w.putApiToken(keyRow(role, scope)));
                      }
                      return {};
                    })
                    .ok());
    restart();
  }
  store::WorkspaceId theDefault() {
    for (const store::WorkspaceRow& row : plane.workspaces().all()) {
      if (row.isDefault) return row.id;
    }
    ADD_FAILURE() << "there is no default workspace";
    return {};
  }
  static std::string secret(const std::string& role, const std::string& scopes) { return role + "/" + scopes; }
  static store::ApiTokenRow keyRow(const std::string& role, const std::string& scopes) {
    const auto hash = identity::sha256(asBytes(secret(role, scopes)));
    return {.id = TokenId("key of " + role + ": " + scopes),
            .name = scopes,
            .hash = Bytes(hash.begin(), hash.end()),
            .user = store::UserId(role),
            .scopes = scopes};
  }
  net::HttpRequest requestBy(const std::string& key, const std::string& method, const std::string& target,
                             const std::string& body = "") {
    net::HttpRequest r = request(method, target, body);
    for (auto& [name, value] : r.headers) {
      if (name == "Authorization") value = "Bearer " + key;
    }
    return r;
  }
  Answer by(const std::string& key, const std::string& method, const std::string& target,
            const std::string& body = "") {
    return send(requestBy(key, method, target, body));
  }
  // By a key with all scopes.
  Answer as(const std::string& role, const std::string& method, const std::string& target,
            const std::string& body = "") {
    return by(secret(role, kAllScopes), method, target, body);
  }
  std::vector<store::UserRow> storedUsers() {
    std::vector<store::UserRow> users;
    EXPECT_TRUE(store
                    ->readBlocking([&](store::ControlReader& r) -> Status {
                      VC_TRY_ASSIGN(users, r.users());
                      return {};
                    })
                    .ok());
    return users;
  }
  // What people have done.
  std::vector<store::AuditRow> audited() {
    std::vector<store::AuditRow> rows;
    EXPECT_TRUE(store
                    ->readBlocking([&](store::ControlReader& r) -> Status {
                      VC_TRY_ASSIGN(rows, r.auditRange(1, 1000));
                      return {};
                    })
                    .ok());
    std::erase_if(rows,
                  [](const store::AuditRow& row) { return row.actor == "system" && row.action == "workspace.add"; });
    return rows;
  }
};

}  // namespace vaultysclaw::control::testing
