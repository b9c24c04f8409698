// Users, what they log in with, workspaces, policies and grants: reading and writing their rows.
#include "sqlite/control_sums.hpp"
#include "sqlite/control_writer.hpp"
#include "sqlite/row_lists.hpp"

namespace vaultysclaw::store::sqlite {
namespace {

// Inserts or replaces. `values` are the parameters in the order of `columns`; the sum is made of them.
#define VC_PUT(table, columns, values, updates) \
  "INSERT INTO " table " (" columns ", sum) VALUES (" values ", row_sum('" table "', " values ")) " updates

#define VC_LOGIN_UPDATES                                                                                    \
  "ON CONFLICT (id) DO UPDATE SET user_id = excluded.user_id, hash = excluded.hash, created_at = "          \
  "excluded.created_at, last_used_at = excluded.last_used_at, expires_at = excluded.expires_at, address = " \
  "excluded.address, sum = excluded.sum"
#define VC_WORKSPACE_UPDATES                                                                             \
  "ON CONFLICT (id) DO UPDATE SET name = excluded.name, is_default = excluded.is_default, created_at = " \
  "excluded.created_at, version = excluded.version, sum = excluded.sum"
#define VC_MEMBER_UPDATES "ON CONFLICT (workspace, user_id) DO UPDATE SET sum = excluded.sum"
#define VC_PLACEMENT_UPDATES "ON CONFLICT (workspace, agent) DO UPDATE SET sum = excluded.sum"
#define VC_POLICY_UPDATES                                                                                           \
  "ON CONFLICT (id) DO UPDATE SET name = excluded.name, agent = excluded.agent, workspace = excluded.workspace, "   \
  "capabilities = excluded.capabilities, limits = excluded.limits, expires_at = excluded.expires_at, created_at = " \
  "excluded.created_at, created_by = excluded.created_by, revoked_at = excluded.revoked_at, version = "             \
  "excluded.version, sum = excluded.sum"
#define VC_GRANT_UPDATES                                                                                     \
  "ON CONFLICT (id) DO UPDATE SET user_id = excluded.user_id, agent = excluded.agent, capabilities = "       \
  "excluded.capabilities, created_at = excluded.created_at, created_by = excluded.created_by, expires_at = " \
  "excluded.expires_at, revoked_at = excluded.revoked_at, version = excluded.version, sum = excluded.sum"
#define VC_PEER_GRANT_UPDATES                                                                           \
  "ON CONFLICT (id) DO UPDATE SET source = excluded.source, target = excluded.target, capabilities = "  \
  "excluded.capabilities, skill = excluded.skill, created_at = excluded.created_at, created_by = "      \
  "excluded.created_by, expires_at = excluded.expires_at, revoked_at = excluded.revoked_at, version = " \
  "excluded.version, sum = excluded.sum"

template <class Kind>
std::optional<Kind> optionalId(Statement& row) {
  auto text = row.optionalText();
  return text ? std::optional(Kind(std::move(*text))) : std::nullopt;
}

#define VC_USER_COLUMNS "id, name, role, disabled, created_at, version, did, password_hash, " VC_USER_IS_INTACT
UserRow readUser(Statement& row) {
  return {.id = UserId(row.text()),
          .name = row.text(),
          .role = row.text(),
          .disabled = row.integer() != 0,
          .createdAt = row.time(),
          .version = row.integer(),
          .did = row.text(),
          .passwordHash = row.text()};
}

#define VC_API_TOKEN_COLUMNS \
  "id, name, hash, created_at, user_id, scopes, expires_at, last_used_at, revoked_at, " VC_API_TOKEN_IS_INTACT
ApiTokenRow readApiToken(Statement& row) {
  return {.id = TokenId(row.text()),
          .name = row.text(),
          .hash = row.blob(),
          .createdAt = row.time(),
          .user = UserId(row.text()),
          .scopes = row.text(),
          .expiresAt = row.optionalTime(),
          .lastUsedAt = row.optionalTime(),
          .revokedAt = row.optionalTime()};
}
LoginRow readLogin(Statement& row) {
  LoginRow out;
  out.id = LoginId(row.text());
  out.user = UserId(row.text());
  out.hash = row.blob();
  out.createdAt = row.time();
  out.lastUsedAt = row.time();
  out.expiresAt = row.time();
  out.address = row.text();
  return out;
}
WorkspaceRow readWorkspace(Statement& row) {
  WorkspaceRow out;
  out.id = WorkspaceId(row.text());
  out.name = row.text();
  out.isDefault = row.integer() != 0;
  out.createdAt = row.time();
  out.version = row.integer();
  return out;
}
MemberRow readMember(Statement& row) {
  MemberRow out;
  out.workspace = WorkspaceId(row.text());
  out.user = UserId(row.text());
  return out;
}
PlacementRow readPlacement(Statement& row) {
  PlacementRow out;
  out.workspace = WorkspaceId(row.text());
  out.agent = Did(row.text());
  return out;
}
PolicyRow readPolicy(Statement& row) {
  PolicyRow out;
  out.id = PolicyId(row.text());
  out.name = row.text();
  out.agent = optionalId<Did>(row);
  out.workspace = optionalId<WorkspaceId>(row);
  out.capabilities = row.optionalText();
  out.limits = row.text();
  out.expiresAt = row.optionalTime();
  out.createdAt = row.time();
  out.createdBy = row.text();
  out.revokedAt = row.optionalTime();
  out.version = row.integer();
  return out;
}
GrantRow readGrant(Statement& row) {
  GrantRow out;
  out.id = GrantId(row.text());
  out.user = UserId(row.text());
  out.agent = optionalId<Did>(row);
  out.capabilities = row.text();
  out.createdAt = row.time();
  out.createdBy = row.text();
  out.expiresAt = row.optionalTime();
  out.revokedAt = row.optionalTime();
  out.version = row.integer();
  return out;
}
PeerGrantRow readPeerGrant(Statement& row) {
  PeerGrantRow out;
  out.id = PeerGrantId(row.text());
  out.source = Did(row.text());
  out.target = Did(row.text());
  out.capabilities = row.text();
  out.skill = row.text();
  out.createdAt = row.time();
  out.createdBy = row.text();
  out.expiresAt = row.optionalTime();
  out.revokedAt = row.optionalTime();
  out.version = row.integer();
  return out;
}

Status done(const Result<std::int64_t>& changed) {
  return changed.ok() ? Status() : Status(changed.error());
}

Status gone(const Result<std::int64_t>& deleted, const std::string& key) {
  if (!deleted.ok()) return deleted.error();
  if (*deleted == 1) return {};
  return Error{Errc::NotFound, "no row " + key};
}

}  // namespace

Result<std::vector<UserRow>> listUsers(Database& db) {
  return all(db, "users", db.query("SELECT " VC_USER_COLUMNS " FROM users ORDER BY created_at, rowid"), readUser);
}

Result<std::vector<ApiTokenRow>> listApiTokens(Database& db) {
  return all(db, "api_tokens", db.query("SELECT " VC_API_TOKEN_COLUMNS " FROM api_tokens ORDER BY created_at, rowid"),
             readApiToken);
}

Result<std::vector<LoginRow>> listLogins(Database& db) {
  return all(db, "logins",
             db.query("SELECT " VC_LOGIN_COLUMNS ", " VC_LOGIN_IS_INTACT " FROM logins ORDER BY created_at, rowid"),
             readLogin);
}

Result<std::vector<WorkspaceRow>> listWorkspaces(Database& db) {
  return all(db, "workspaces",
             db.query("SELECT " VC_WORKSPACE_COLUMNS ", " VC_WORKSPACE_IS_INTACT
                      " FROM workspaces ORDER BY created_at, rowid"),
             readWorkspace);
}

Result<std::vector<MemberRow>> listMembers(Database& db) {
  return all(db, "members",
             db.query("SELECT " VC_MEMBER_COLUMNS ", " VC_MEMBER_IS_INTACT " FROM members ORDER BY rowid"), readMember);
}

Result<std::vector<PlacementRow>> listPlacements(Database& db) {
  return all(db, "placements",
             db.query("SELECT " VC_PLACEMENT_COLUMNS ", " VC_PLACEMENT_IS_INTACT " FROM placements ORDER BY rowid"),
             readPlacement);
}

Result<std::vector<PolicyRow>> listPolicies(Database& db) {
  return all(db, "policies",
             db.query("SELECT " VC_POLICY_COLUMNS ", " VC_POLICY_IS_INTACT " FROM policies ORDER BY created_at, rowid"),
             readPolicy);
}

Result<std::vector<GrantRow>> listGrants(Database& db) {
  return all(db, "grants",
             db.query("SELECT " VC_GRANT_COLUMNS ", " VC_GRANT_IS_INTACT " FROM grants ORDER BY created_at, rowid"),
             readGrant);
}

Result<std::vector<PeerGrantRow>> listPeerGrants(Database& db) {
  return all(db, "peer_grants",
             db.query("SELECT " VC_PEER_GRANT_COLUMNS ", " VC_PEER_GRANT_IS_INTACT
                      " FROM peer_grants ORDER BY created_at, rowid"),
             readPeerGrant);
}

Status Writer::putUser(const UserRow& row) {
  return done(db_.run(
      "INSERT INTO users (id, name, role, disabled, created_at, version, did, password_hash, sum) VALUES (?1, ?2, ?3, "
      "?4, ?5, ?6, ?7, ?8, row_sum('users', ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)) ON CONFLICT (id) DO UPDATE SET "
      "name = excluded.name, role = excluded.role, disabled = excluded.disabled, created_at = excluded.created_at, "
      "version = excluded.version, did = excluded.did, password_hash = excluded.password_hash, sum = excluded.sum",
      row.id, row.name, row.role, row.disabled, row.createdAt, row.version, row.did, row.passwordHash));
}

Status Writer::deleteUser(const UserId& id) {
  VC_TRY(done(db_.run("DELETE FROM api_tokens WHERE user_id = ?", id)));
  VC_TRY(done(db_.run("DELETE FROM logins WHERE user_id = ?", id)));
  VC_TRY(done(db_.run("DELETE FROM members WHERE user_id = ?", id)));
  VC_TRY_ASSIGN(const std::int64_t changed, db_.run("DELETE FROM users WHERE id = ?", id));
  if (changed == 1) return {};
  return Error{Errc::NotFound, "no user has the id " + id.value};
}

Status Writer::deleteApiToken(const TokenId& id) {
  VC_TRY_ASSIGN(const std::int64_t changed, db_.run("DELETE FROM api_tokens WHERE id = ?", id));
  if (changed == 1) return {};
  return Error{Errc::NotFound, "no API key has the id " + id.value};
}

Status Writer::putApiToken(const ApiTokenRow& row) {
  return done(db_.run(
      "INSERT INTO api_tokens (id, name, hash, created_at, user_id, scopes, expires_at, last_used_at, "
      "revoked_at, sum) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, "
      "row_sum('api_tokens', ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)) ON CONFLICT (id) DO UPDATE SET "
      "name = excluded.name, hash = excluded.hash, created_at = excluded.created_at, "
      "user_id = excluded.user_id, scopes = excluded.scopes, expires_at = excluded.expires_at, "
      "last_used_at = excluded.last_used_at, revoked_at = excluded.revoked_at, sum = excluded.sum",
      row.id, row.name, row.hash, row.createdAt, row.user, row.scopes, row.expiresAt, row.lastUsedAt, row.revokedAt));
}

Status Writer::putLogin(const LoginRow& row) {
  return done(db_.run(VC_PUT("logins", VC_LOGIN_COLUMNS, "?1, ?2, ?3, ?4, ?5, ?6, ?7", VC_LOGIN_UPDATES), row.id,
                      row.user, row.hash, row.createdAt, row.lastUsedAt, row.expiresAt, row.address));
}

Status Writer::deleteLogin(const LoginId& id) {
  return gone(db_.run("DELETE FROM logins WHERE id = ?", id), id.value);
}

Status Writer::putWorkspace(const WorkspaceRow& row) {
  return done(db_.run(VC_PUT("workspaces", VC_WORKSPACE_COLUMNS, "?1, ?2, ?3, ?4, ?5", VC_WORKSPACE_UPDATES), row.id,
                      row.name, row.isDefault, row.createdAt, row.version));
}

Status Writer::deleteWorkspace(const WorkspaceId& id) {
  VC_TRY(done(db_.run("DELETE FROM members WHERE workspace = ?", id)));
  VC_TRY(done(db_.run("DELETE FROM placements WHERE workspace = ?", id)));
  return gone(db_.run("DELETE FROM workspaces WHERE id = ?", id), id.value);
}

Status Writer::putMember(const MemberRow& row) {
  return done(db_.run(VC_PUT("members", VC_MEMBER_COLUMNS, "?1, ?2", VC_MEMBER_UPDATES), row.workspace, row.user));
}

Status Writer::deleteMember(const MemberRow& row) {
  return gone(db_.run("DELETE FROM members WHERE workspace = ? AND user_id = ?", row.workspace, row.user), keyOf(row));
}

Status Writer::putPlacement(const PlacementRow& row) {
  return done(
      db_.run(VC_PUT("placements", VC_PLACEMENT_COLUMNS, "?1, ?2", VC_PLACEMENT_UPDATES), row.workspace, row.agent));
}

Status Writer::deletePlacement(const PlacementRow& row) {
  return gone(db_.run("DELETE FROM placements WHERE workspace = ? AND agent = ?", row.workspace, row.agent),
              keyOf(row));
}

Status Writer::putPolicy(const PolicyRow& row) {
  return done(
      db_.run(VC_PUT("policies", VC_POLICY_COLUMNS, "?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11", VC_POLICY_UPDATES),
              row.id, row.name, row.agent, row.workspace, row.capabilities, row.limits, row.expiresAt, row.createdAt,
              row.createdBy, row.revokedAt, row.version));
}

Status Writer::deletePolicy(const PolicyId& id) {
  return gone(db_.run("DELETE FROM policies WHERE id = ?", id), id.value);
}

Status Writer::putGrant(const GrantRow& row) {
  return done(db_.run(VC_PUT("grants", VC_GRANT_COLUMNS, "?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9", VC_GRANT_UPDATES),
                      row.id, row.user, row.agent, row.capabilities, row.createdAt, row.createdBy, row.expiresAt,
                      row.revokedAt, row.version));
}

Status Writer::deleteGrant(const GrantId& id) {
  return gone(db_.run("DELETE FROM grants WHERE id = ?", id), id.value);
}

Status Writer::putPeerGrant(const PeerGrantRow& row) {
  return done(db_.run(
      VC_PUT("peer_grants", VC_PEER_GRANT_COLUMNS, "?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10", VC_PEER_GRANT_UPDATES),
      row.id, row.source, row.target, row.capabilities, row.skill, row.createdAt, row.createdBy, row.expiresAt,
      row.revokedAt, row.version));
}

Status Writer::deletePeerGrant(const PeerGrantId& id) {
  return gone(db_.run("DELETE FROM peer_grants WHERE id = ?", id), id.value);
}

}  // namespace vaultysclaw::store::sqlite
