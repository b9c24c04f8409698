// What the parts of People share: rows, as the writer sees them.
#pragma once

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "book.hpp"

namespace vaultysclaw::control {

inline Error denied(std::string text) {
  return {Errc::PolicyDenied, std::move(text)};
}

template <class Rows>
auto rowOf(Rows& rows, std::string_view id) {
  return std::find_if(rows.begin(), rows.end(), [&](const auto& row) { return row.id.value == id; });
}

template <class Rows>
auto userOf(Rows& rows, std::string_view idOrName) {
  const auto byId = rowOf(rows, idOrName);
  if (byId != rows.end()) return byId;
  return std::find_if(rows.begin(), rows.end(), [&](const auto& row) { return row.name == idOrName; });
}

inline bool worksAt(const store::ApiTokenRow& key, WallTime now) {
  return !key.revokedAt && (!key.expiresAt || *key.expiresAt > now);
}

// Nothing for a user who is disabled.
inline std::optional<Principal> principalOf(const store::UserRow& user, const store::ApiTokenRow& key) {
  const auto role = roleFrom(user.role);
  if (!role || user.disabled) return std::nullopt;
  return Principal{user.id, user.name, *role, Scopes::fromText(key.scopes), key.id, key.expiresAt, std::nullopt};
}
inline std::optional<Principal> principalOf(const store::UserRow& user, const store::LoginRow& login) {
  const auto role = roleFrom(user.role);
  if (!role || user.disabled) return std::nullopt;
  return Principal{user.id, user.name, *role, Scopes::all(), {}, std::nullopt, login.id};
}

inline Role roleOf(const store::UserRow& user) {
  return roleFrom(user.role).value_or(Role::Owner);  // of an unknown one nobody but an owner may change anything
}

// All users and keys as the writer sees them, and the caller.
struct Present {
  std::vector<store::UserRow> users;
  std::vector<store::ApiTokenRow> keys;
  Principal by;
};
inline Result<Present> look(store::ControlWriter& writer, const Principal& by, WallTime now, Permission permission) {
  Present present;
  VC_TRY_ASSIGN(present.by, stillMay(writer, by, now, permission));
  VC_TRY_ASSIGN(present.users, writer.users());
  VC_TRY_ASSIGN(present.keys, writer.apiTokens());
  return present;
}

inline Status mayManage(const Principal& by, const store::UserRow& user) {
  if (roleOf(user) == Role::Owner && by.role != Role::Owner) return denied("only an owner may change an owner");
  return {};
}

// How many there were.
Result<std::size_t> endLogins(store::ControlWriter& writer, const store::UserId& user);

}  // namespace vaultysclaw::control
