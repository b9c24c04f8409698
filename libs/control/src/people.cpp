#include "control/people.hpp"

#include <algorithm>

#include "audit.hpp"
#include "control/workspaces.hpp"
#include "identity/tokens.hpp"
#include "journal.hpp"
#include "people_rows.hpp"

namespace vaultysclaw::control {
namespace {

constexpr seconds kNoteUseEvery{60};
// Of one user; then the oldest revoked one is forgotten.
constexpr std::size_t kMaxKeyRowsPerUser = 100;

Status keepsAnOwner(const std::vector<store::UserRow>& users, const store::UserRow& without) {
  const bool another = std::any_of(users.begin(), users.end(), [&](const store::UserRow& user) {
    return user.id != without.id && !user.disabled && user.role == name(Role::Owner);
  });
  if (another || without.disabled || without.role != name(Role::Owner)) return {};
  return Error{Errc::Conflict, "'" + without.name + "' is the last owner who is not disabled: make another one first"};
}

std::string stateText(const store::UserRow& user) {
  return user.role + (user.disabled ? ", disabled" : "");
}

std::string timeText(const std::optional<WallTime>& time) {
  return time ? toIso8601(*time) : "";
}

Error noKey(const TokenId& which) {
  return {Errc::NotFound, "no key of this user has the id '" + printable(which.value, 100) + "'"};
}

// Makes room for one more row among the keys of `user`.
Status forgetOldest(store::ControlWriter& writer, const std::vector<store::ApiTokenRow>& keys,
                    const store::UserId& user, WallTime now) {
  std::size_t rows = 0, working = 0;
  const store::ApiTokenRow* oldest = nullptr;
  for (const store::ApiTokenRow& key : keys) {
    if (key.user != user) continue;
    ++rows;
    if (worksAt(key, now)) {
      ++working;
    } else if (oldest == nullptr) {
      oldest = &key;
    }
  }
  if (working >= People::kMaxKeysPerUser) {
    return Error{Errc::Busy, "this user has " + std::to_string(working) + " keys already: revoke one first"};
  }
  if (rows < kMaxKeyRowsPerUser || oldest == nullptr) return {};
  return writer.deleteApiToken(oldest->id);
}

}  // namespace

Result<Principal> stillMay(store::ControlReader& reader, const Principal& by, WallTime now, Permission permission) {
  VC_TRY_ASSIGN(const auto users, reader.users());
  const auto user = rowOf(users, by.user.value);
  std::optional<Principal> still;
  if (user != users.end() && by.login) {
    VC_TRY_ASSIGN(const auto logins, reader.logins());
    const auto login = rowOf(logins, by.login->value);
    if (login != logins.end() && login->user == user->id && login->expiresAt > now) still = principalOf(*user, *login);
  } else if (user != users.end()) {
    VC_TRY_ASSIGN(const auto keys, reader.apiTokens());
    const auto key = rowOf(keys, by.key.value);
    if (key != keys.end() && key->user == user->id && worksAt(*key, now)) still = principalOf(*user, *key);
  }
  if (still && mayDo(*still, permission)) return std::move(*still);
  return denied("what you may do has just changed");
}

Status appendAudit(store::ControlWriter& writer, WallTime at, const Principal& by, const char* action,
                   std::string target, std::string detailsJson) {
  return AuditLog().append(writer, at, by.actor(), action, std::move(target), std::move(detailsJson));
}

std::string newUserDid(Entropy& entropy) {
  return identity::VaultysId::generate(identity::IdType::Person, entropy).didV1().value;
}

Error noUser(std::string_view which) {
  return {Errc::NotFound, "no user has the id or name '" + printable(which, 100) + "'"};
}

Result<std::unique_ptr<People>> People::create(ControlPorts ports) {
  std::unique_ptr<People> people(new People(ports));
  const auto read = [&](store::ControlReader& reader) -> Status {
    VC_TRY_ASSIGN(people->users_, reader.users());
    VC_TRY_ASSIGN(people->keys_, reader.apiTokens());
    VC_TRY_ASSIGN(auto logins, reader.logins());
    people->follow(std::move(logins));
    return {};
  };
  VC_TRY(ports.store.readBlocking(read));
  const auto nameless = [](const store::UserRow& user) { return user.did.empty(); };
  if (std::none_of(people->users_.begin(), people->users_.end(), nameless)) return people;
  // Of a store from before users had DIDs.
  const auto nameThem = [&](store::ControlWriter& writer) -> Status {
    for (store::UserRow& user : people->users_) {
      if (!nameless(user)) continue;
      user.did = newUserDid(ports.entropy);
      VC_TRY(writer.putUser(user));
    }
    return {};
  };
  VC_TRY(ports.store.writeBlocking(nameThem));
  return people;
}

std::optional<Principal> People::authenticate(std::string_view secret) {
  const identity::Sha256 hash = identity::sha256(asBytes(secret));
  store::ApiTokenRow* found = nullptr;
  for (store::ApiTokenRow& key : keys_) {  // all of them, always
    if (constantTimeEqual(key.hash, hash)) found = &key;
  }
  if (found == nullptr || !worksAt(*found, ports_.clock.now())) return std::nullopt;
  const auto user = rowOf(users_, found->user.value);
  if (user == users_.end()) return std::nullopt;
  auto principal = principalOf(*user, *found);
  if (principal) noteUse(*found);
  return principal;
}

// A request must not cost a commit; a use that is not noted, for the writer is busy, is noted with a later request.
void People::noteUse(store::ApiTokenRow& key) {
  const WallTime now = ports_.clock.now();
  if (key.lastUsedAt && *key.lastUsedAt <= now && now - *key.lastUsedAt < kNoteUseEvery) return;
  key.lastUsedAt = now;
  const auto note = [id = key.id, now](store::ControlWriter& writer) -> Status {
    VC_TRY_ASSIGN(auto keys, writer.apiTokens());
    const auto row = rowOf(keys, id.value);
    if (row == keys.end()) return {};
    row->lastUsedAt = now;
    return writer.putApiToken(*row);
  };
  if (!ports_.store.write(note, nullptr)) ports_.log.debug("people", "the use of a key was not noted");
}

const store::UserRow* People::find(std::string_view idNameOrDid) const {
  auto found = userOf(users_, idNameOrDid);
  if (found == users_.end())
    found = std::find_if(users_.begin(), users_.end(), [&](const auto& user) { return user.did == idNameOrDid; });
  return found == users_.end() ? nullptr : &*found;
}

std::vector<store::ApiTokenRow> People::keysOf(const store::UserId& user) const {
  std::vector<store::ApiTokenRow> out;
  for (const store::ApiTokenRow& key : keys_) {
    if (key.user == user) out.push_back(key);
  }
  return out;
}

template <class T>
void People::commit(std::function<Result<T>(store::ControlWriter&)> work, Reply<T> reply, std::function<void()> then) {
  struct Rows {
    std::vector<store::UserRow> users;
    std::vector<store::ApiTokenRow> keys;
    std::vector<store::LoginRow> logins;
  };
  commitChange<T, Rows>(
      ports_, alive_, std::move(work),
      [](store::ControlReader& reader, Rows& rows) -> Status {
        VC_TRY_ASSIGN(rows.users, reader.users());
        VC_TRY_ASSIGN(rows.keys, reader.apiTokens());
        VC_TRY_ASSIGN(rows.logins, reader.logins());
        return {};
      },
      [this, then = std::move(then)](Rows rows) {
        const bool changed = rows.users != users_;
        users_ = std::move(rows.users);
        keys_ = std::move(rows.keys);
        follow(std::move(rows.logins));
        if (then) then();
        if (changed && onUsersChanged) onUsersChanged();
      },
      std::move(reply));
}
// For people_logins.cpp.
template void People::commit(std::function<Result<NewLogin>(store::ControlWriter&)> work, Reply<NewLogin> reply,
                             std::function<void()> then);
template void People::commit(std::function<Result<std::monostate>(store::ControlWriter&)> work,
                             Reply<std::monostate> reply, std::function<void()> then);

void People::addUser(Principal by, std::string userName, Role role, std::optional<std::vector<std::string>> workspaces,
                     Reply<store::UserRow> reply) {
  store::UserRow row;
  row.id = store::UserId(newUuid(ports_.clock, ports_.entropy));
  row.name = std::move(userName);
  row.role = name(role);
  row.createdAt = ports_.clock.now();
  row.did = newUserDid(ports_.entropy);
  auto joined = std::make_shared<std::vector<store::WorkspaceId>>();
  commit<store::UserRow>(
      [by = std::move(by), row, role, workspaces = std::move(workspaces),
       joined](store::ControlWriter& writer) -> Result<store::UserRow> {
        VC_TRY_ASSIGN(const Present now, look(writer, by, row.createdAt, Permission::Manage));
        if (!isUserName(row.name)) return Error{Errc::InvalidArgument, "'" + printable(row.name) + "' is no user name"};
        if (role == Role::Owner && now.by.role != Role::Owner) return denied("only an owner may make an owner");
        if (now.users.size() >= kMaxUsers) return Error{Errc::Busy, "there are too many users: remove one first"};
        if (userOf(now.users, row.name) != now.users.end())
          return Error{Errc::Conflict, "there is a user '" + row.name + "' already"};
        VC_TRY_ASSIGN(*joined, chosenWorkspaces(writer, workspaces));
        VC_TRY(writer.putUser(row));
        for (const store::WorkspaceId& id : *joined) VC_TRY(writer.putMember({id, row.id}));
        VC_TRY(appendAudit(writer, row.createdAt, now.by, "user.add", row.id.value,
                           details({{"name", row.name}, {"role", row.role}, {"workspaces", textOf(*joined)}})));
        return row;
      },
      std::move(reply),
      [this, id = row.id, joined] {
        if (onUserAdded) onUserAdded(id, *joined);
      });
}

void People::changeUser(Principal by, store::UserId id, UserChange change, std::optional<std::int64_t> expectedVersion,
                        Reply<ChangedUser> reply) {
  commit<ChangedUser>(
      [by = std::move(by), id = std::move(id), change, expectedVersion,
       at = ports_.clock.now()](store::ControlWriter& writer) -> Result<ChangedUser> {
        VC_TRY_ASSIGN(const Present now, look(writer, by, at, Permission::Manage));
        const auto found = rowOf(now.users, id.value);
        if (found == now.users.end()) return noUser(id.value);
        VC_TRY(mayManage(now.by, *found));
        if (change.role == Role::Owner && now.by.role != Role::Owner) return denied("only an owner may make an owner");
        if (expectedVersion && *expectedVersion != found->version) return ChangedUser{*found, true};
        store::UserRow row = *found;
        if (change.role) row.role = name(*change.role);
        if (change.disabled) row.disabled = *change.disabled;
        if (row.disabled || row.role != name(Role::Owner)) VC_TRY(keepsAnOwner(now.users, *found));
        ++row.version;
        VC_TRY(writer.putUser(row));
        if (row.disabled) VC_TRY(endLogins(writer, row.id));
        VC_TRY(appendAudit(writer, at, now.by, "user.change", id.value,
                           details({{"name", row.name}, {"from", stateText(*found)}, {"to", stateText(row)}})));
        return ChangedUser{row, false};
      },
      std::move(reply));
}

void People::removeUser(Principal by, store::UserId id, std::optional<std::int64_t> expectedVersion,
                        Reply<ChangedUser> reply) {
  Along along = alongRemoval ? alongRemoval(id, by.actor()) : Along{};
  commit<ChangedUser>(
      [by = std::move(by), id, expectedVersion, also = std::move(along.work),
       at = ports_.clock.now()](store::ControlWriter& writer) -> Result<ChangedUser> {
        VC_TRY_ASSIGN(const Present now, look(writer, by, at, Permission::Manage));
        const auto found = rowOf(now.users, id.value);
        if (found == now.users.end()) return noUser(id.value);
        VC_TRY(mayManage(now.by, *found));
        if (expectedVersion && *expectedVersion != found->version) return ChangedUser{*found, true};
        VC_TRY(keepsAnOwner(now.users, *found));
        if (also) VC_TRY(also(writer));
        VC_TRY(writer.deleteUser(id));
        VC_TRY(appendAudit(writer, at, now.by, "user.remove", id.value,
                           details({{"name", found->name}, {"from", stateText(*found)}, {"to", "removed"}})));
        return ChangedUser{*found, false};
      },
      std::move(reply),
      [this, id, committed = std::move(along.committed)] {
        if (find(id.value) != nullptr) return;  // it was another version
        if (onUserRemoved) onUserRemoved(id);
        if (committed) committed();
      });
}

void People::createKey(Principal by, KeyRequest request, Reply<NewKey> reply) {
  std::array<std::uint8_t, 32> random{};
  ports_.entropy.fill(random);
  NewKey made;
  made.secret = "vcp_" + hexEncode(random);
  wipe(random);
  made.row.id = TokenId(newUuid(ports_.clock, ports_.entropy));
  made.row.name = request.name;
  const auto hash = identity::sha256(asBytes(made.secret));
  made.row.hash.assign(hash.begin(), hash.end());
  made.row.createdAt = ports_.clock.now();
  made.row.scopes = request.scopes.text();
  commit<NewKey>(
      [by = std::move(by), request = std::move(request),
       made = std::move(made)](store::ControlWriter& writer) -> Result<NewKey> {
        const WallTime at = made.row.createdAt;
        VC_TRY_ASSIGN(const Present now, look(writer, by, at, Permission::Own));
        const auto user = userOf(now.users, request.user.value_or(now.by.user.value));
        const bool own = user != now.users.end() && user->id == now.by.user;
        if (!own && !mayDo(now.by, Permission::Manage))
          return denied("a key for another user needs " + std::string(name(Permission::Manage)));
        if (user == now.users.end()) return noUser(*request.user);
        VC_TRY(mayManage(now.by, *user));
        if (!request.scopes.within(now.by.effective()))
          return denied("a key cannot have more scopes than you have: " + now.by.effective().text());
        Principal holder = now.by;
        holder.role = roleOf(*user);
        holder.scopes = request.scopes;
        if (!request.scopes.within(holder.effective()))
          return denied("a " + user->role + " cannot have a key with these scopes");
        if (request.expiresAt && *request.expiresAt <= at)
          return Error{Errc::InvalidArgument, "expiresAt is in the past"};
        NewKey out = made;
        out.row.user = user->id;
        out.row.expiresAt = request.expiresAt ? request.expiresAt : now.by.keyExpiresAt;
        if (now.by.keyExpiresAt && *out.row.expiresAt > *now.by.keyExpiresAt)
          return denied("a key cannot outlive the one that makes it: " + timeText(now.by.keyExpiresAt));
        VC_TRY(forgetOldest(writer, now.keys, user->id, at));
        VC_TRY(writer.putApiToken(out.row));
        VC_TRY(appendAudit(writer, at, now.by, "key.create", out.row.id.value,
                           details({{"user", user->name},
                                    {"name", out.row.name},
                                    {"scopes", out.row.scopes},
                                    {"expiresAt", timeText(out.row.expiresAt)}})));
        return out;
      },
      std::move(reply));
}

void People::revokeKey(Principal by, TokenId id, std::optional<std::string> user, Reply<std::monostate> reply) {
  commit<std::monostate>(
      [by = std::move(by), id = std::move(id), user = std::move(user),
       at = ports_.clock.now()](store::ControlWriter& writer) -> Result<std::monostate> {
        VC_TRY_ASSIGN(const Present now, look(writer, by, at, Permission::Own));
        const auto owner = userOf(now.users, user.value_or(now.by.user.value));
        const bool own = owner != now.users.end() && owner->id == now.by.user;
        if (!own && !mayDo(now.by, Permission::Manage))
          return denied("a key of another user needs " + std::string(name(Permission::Manage)));
        if (owner == now.users.end()) return noUser(*user);
        VC_TRY(mayManage(now.by, *owner));
        const auto found = rowOf(now.keys, id.value);
        if (found == now.keys.end() || found->user != owner->id) return noKey(id);
        // Or a key that may only read could take the others away.
        if (id != now.by.key && !mayDo(now.by, Permission::Manage) &&
            !Scopes::fromText(found->scopes).within(now.by.scopes))
          return denied("this key has more scopes than yours");
        if (found->revokedAt) return std::monostate{};
        store::ApiTokenRow row = *found;
        row.revokedAt = at;
        VC_TRY(writer.putApiToken(row));
        VC_TRY(appendAudit(writer, at, now.by, "key.revoke", id.value,
                           details({{"user", owner->name}, {"name", row.name}, {"scopes", row.scopes}})));
        return std::monostate{};
      },
      std::move(reply));
}

}  // namespace vaultysclaw::control
