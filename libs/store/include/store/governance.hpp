// What the control plane remembers of people and of what they decided: rows, as control_store.hpp reads and writes
// them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/bytes.hpp"
#include "base/ids.hpp"
#include "base/ports.hpp"

namespace vaultysclaw::store {

using UserId = Id<struct UserIdTag>;
using LoginId = Id<struct LoginIdTag>;
using WorkspaceId = Id<struct WorkspaceIdTag>;
using GrantId = Id<struct GrantIdTag>;
using PeerGrantId = Id<struct PeerGrantIdTag>;

struct UserRow {
  UserId id{};
  std::string name{};  // unique
  std::string role{};  // owner, admin, member
  bool disabled = false;
  WallTime createdAt{};
  std::int64_t version = 1;    // grows with each change
  std::string did{};           // whom signed intents and delegations name; empty: of a store from before there were any
  std::string passwordHash{};  // empty: cannot log in
  bool operator==(const UserRow&) const = default;
};

struct ApiTokenRow {
  TokenId id{};
  std::string name{};
  Bytes hash{};  // SHA-256 of the token: it has 256 random bits, so a slow hash adds nothing
  WallTime createdAt{};
  UserId user{};         // whose it is; empty: of a store from before there were users
  std::string scopes{};  // words with a space between them
  std::optional<WallTime> expiresAt{}, lastUsedAt{}, revokedAt{};
  bool operator==(const ApiTokenRow&) const = default;
};

// A session that a user has logged in to.
struct LoginRow {
  LoginId id{};
  UserId user{};
  Bytes hash{};  // SHA-256 of the cookie
  WallTime createdAt{}, lastUsedAt{}, expiresAt{};
  std::string address{};  // where the log-in came from
  bool operator==(const LoginRow&) const = default;
};

struct WorkspaceRow {
  WorkspaceId id{};
  std::string name{};  // unique
  bool isDefault = false;
  WallTime createdAt{};
  std::int64_t version = 1;
  bool operator==(const WorkspaceRow&) const = default;
};

// A user of a workspace.
struct MemberRow {
  WorkspaceId workspace{};
  UserId user{};
  auto operator<=>(const MemberRow&) const = default;
};

// An agent of a workspace.
struct PlacementRow {
  WorkspaceId workspace{};
  Did agent{};
  auto operator<=>(const PlacementRow&) const = default;
};

// What narrows one agent, or all of a workspace. JSON texts as in AgentRow.
struct PolicyRow {
  PolicyId id{};
  std::string name{};
  std::optional<Did> agent{};
  std::optional<WorkspaceId> workspace{};     // exactly one of the two
  std::optional<std::string> capabilities{};  // JSON array; absent: these are not narrowed
  std::string limits = "{}";
  std::optional<WallTime> expiresAt{};
  WallTime createdAt{};
  std::string createdBy{};
  std::optional<WallTime> revokedAt{};
  std::int64_t version = 1;
  bool operator==(const PolicyRow&) const = default;
};

// What a user may have an agent do.
struct GrantRow {
  GrantId id{};
  UserId user{};
  std::optional<Did> agent{};  // absent: every agent
  std::string capabilities = "[]";
  WallTime createdAt{};
  std::string createdBy{};
  std::optional<WallTime> expiresAt{}, revokedAt{};
  std::int64_t version = 1;
  bool operator==(const GrantRow&) const = default;
};

// What one agent may ask of another.
struct PeerGrantRow {
  PeerGrantId id{};
  Did source{}, target{};
  std::string capabilities = "[]";
  std::string skill{};  // what the target is good for, in words for people and models
  WallTime createdAt{};
  std::string createdBy{};
  std::optional<WallTime> expiresAt{}, revokedAt{};
  std::int64_t version = 1;
  bool operator==(const PeerGrantRow&) const = default;
};

}  // namespace vaultysclaw::store
