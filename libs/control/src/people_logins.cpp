// Of People: sessions and passwords.
#include <algorithm>

#include "audit.hpp"
#include "identity/hash.hpp"
#include "journal.hpp"
#include "people_rows.hpp"

namespace vaultysclaw::control {
namespace {

constexpr seconds kNoteUseEvery{60};
constexpr seconds kNoteAfter{5};  // those that were used meanwhile share a commit
constexpr std::size_t kSecretBytes = 32;

Bytes hashOf(std::string_view secret) {
  return toBytes(identity::sha256(asBytes(secret)));
}

// Makes room for one more session of `user`, and forgets those of all users that are over.
Status forgetLogins(store::ControlWriter& writer, const LoginRequest& request, WallTime now) {
  VC_TRY_ASSIGN(const auto logins, writer.logins());
  std::vector<const store::LoginRow*> left;
  for (const store::LoginRow& login : logins) {
    const bool over = login.expiresAt <= now || now - login.lastUsedAt >= request.idle;
    if (over || login.id == request.replaces) {
      VC_TRY(writer.deleteLogin(login.id));
    } else if (login.user == request.user) {
      left.push_back(&login);
    }
  }
  for (std::size_t i = 0; i + People::kMaxLoginsPerUser <= left.size(); ++i)  // the oldest stand first
    VC_TRY(writer.deleteLogin(left[i]->id));
  return {};
}

}  // namespace

Error noLogin() {
  return {Errc::Unauthenticated, "the user name or the password is wrong"};
}

Result<std::size_t> endLogins(store::ControlWriter& writer, const store::UserId& user) {
  VC_TRY_ASSIGN(const auto logins, writer.logins());
  std::size_t ended = 0;
  for (const store::LoginRow& login : logins) {
    if (login.user != user) continue;
    VC_TRY(writer.deleteLogin(login.id));
    ++ended;
  }
  return ended;
}

// What a request has seen here is not forgotten when rows come that do not know it yet.
void People::follow(std::vector<store::LoginRow> logins) {
  std::map<Bytes, store::LoginRow> followed;
  for (store::LoginRow& row : logins) {
    const auto before = logins_.find(row.hash);
    if (before != logins_.end()) row.lastUsedAt = std::max(row.lastUsedAt, before->second.lastUsedAt);
    Bytes hash = row.hash;
    followed.emplace(std::move(hash), std::move(row));
  }
  logins_ = std::move(followed);
}

// The map compares in time that depends on the hash of what was sent, and from a hash nobody comes to the secret.
std::optional<Principal> People::authenticateLogin(std::string_view secret, Duration idle) {
  const auto found = logins_.find(hashOf(secret));
  if (found == logins_.end()) return std::nullopt;
  store::LoginRow& login = found->second;
  const WallTime now = ports_.clock.now();
  if (login.expiresAt <= now || now - login.lastUsedAt >= idle) return std::nullopt;
  const auto user = rowOf(users_, login.user.value);
  if (user == users_.end()) return std::nullopt;
  auto principal = principalOf(*user, login);
  if (principal) noteUse(login);
  return principal;
}

void People::noteUse(store::LoginRow& login) {
  const WallTime now = ports_.clock.now();
  if (now - login.lastUsedAt < kNoteUseEvery) return;
  login.lastUsedAt = now;
  unnoted_.insert(login.id);
  if (unnoted_.size() == 1) noteTimer_ = ports_.loop.after(kNoteAfter, [this] { noteLogins(); });
}

// A request must not cost a commit. A use that is not noted, for the writer is busy, is noted with a later one.
void People::noteLogins() {
  std::map<store::LoginId, WallTime> used;
  for (const auto& [hash, login] : logins_) {
    if (unnoted_.contains(login.id)) used.emplace(login.id, login.lastUsedAt);
  }
  unnoted_.clear();
  const auto note = [used = std::move(used)](store::ControlWriter& writer) -> Status {
    VC_TRY_ASSIGN(auto logins, writer.logins());
    for (store::LoginRow& login : logins) {
      const auto at = used.find(login.id);
      if (at == used.end()) continue;
      login.lastUsedAt = std::max(login.lastUsedAt, at->second);
      VC_TRY(writer.putLogin(login));
    }
    return {};
  };
  if (!ports_.store.write(note, nullptr)) ports_.log.debug("people", "the use of sessions was not noted");
}

const store::LoginRow* People::login(const store::LoginId& id) const {
  const auto found =
      std::find_if(logins_.begin(), logins_.end(), [&](const auto& entry) { return entry.second.id == id; });
  return found == logins_.end() ? nullptr : &found->second;
}

bool People::isKnownAt(const store::UserId& user, std::string_view address) const {
  return std::any_of(logins_.begin(), logins_.end(), [&](const auto& entry) {
    const store::LoginRow& login = entry.second;
    return login.user == user && login.address == address && login.expiresAt > ports_.clock.now();
  });
}

void People::openLogin(LoginRequest request, Reply<NewLogin> reply) {
  std::array<std::uint8_t, kSecretBytes> random{};
  ports_.entropy.fill(random);
  NewLogin made;
  made.secret = hexEncode(random);
  wipe(random);
  made.row.id = store::LoginId(newUuid(ports_.clock, ports_.entropy));
  made.row.user = request.user;
  made.row.hash = hashOf(made.secret);
  made.row.createdAt = made.row.lastUsedAt = ports_.clock.now();
  made.row.expiresAt = made.row.createdAt + std::chrono::duration_cast<milliseconds>(request.lifetime);
  made.row.address = request.address;
  commit<NewLogin>(
      [request = std::move(request), made = std::move(made)](store::ControlWriter& writer) -> Result<NewLogin> {
        const WallTime at = made.row.createdAt;
        VC_TRY_ASSIGN(const auto users, writer.users());
        const auto user = rowOf(users, request.user.value);
        if (user == users.end() || user->passwordHash != request.checkedHash) return noLogin();
        const auto who = principalOf(*user, made.row);
        if (!who) return noLogin();
        VC_TRY(forgetLogins(writer, request, at));
        VC_TRY(writer.putLogin(made.row));
        if (!request.newHash.empty()) {
          store::UserRow upgraded = *user;
          upgraded.passwordHash = request.newHash;
          VC_TRY(writer.putUser(upgraded));
        }
        VC_TRY(appendAudit(writer, at, *who, "session.open", made.row.id.value,
                           details({{"user", user->name},
                                    {"address", request.address},
                                    {"expiresAt", toIso8601(made.row.expiresAt)},
                                    {"replaces", request.replaces ? request.replaces->value : ""}})));
        return made;
      },
      std::move(reply));
}

void People::closeLogin(Principal by, Reply<std::monostate> reply) {
  commit<std::monostate>(
      [by = std::move(by), at = ports_.clock.now()](store::ControlWriter& writer) -> Result<std::monostate> {
        VC_TRY_ASSIGN(const Principal now, stillMay(writer, by, at, Permission::Own));
        if (!now.login) return Error{Errc::NotFound, "this request came in no session"};
        VC_TRY(writer.deleteLogin(*now.login));
        VC_TRY(appendAudit(writer, at, now, "session.close", now.login->value, details({{"user", now.userName}})));
        return std::monostate{};
      },
      std::move(reply));
}

Status People::maySetPassword(const Principal& by, const store::UserRow& user, KnowsCurrent knows) {
  if (user.id != by.user && !mayDo(by, Permission::Manage))
    return denied("the password of another user needs " + std::string(name(Permission::Manage)));
  VC_TRY(mayManage(by, user));
  if (by.login || (user.id == by.user && knows == KnowsCurrent::Yes)) return {};
  Principal holder = by;
  holder.role = roleOf(user);
  holder.scopes = Scopes::all();
  if (by.keyExpiresAt || !holder.effective().within(by.effective()))
    return denied(
        "a password gives all that its user may do: to set it takes a key with all of these scopes that does not "
        "expire, or the current password, or a session");
  return {};
}

void People::setPassword(Principal by, PasswordChange change, Reply<std::monostate> reply) {
  commit<std::monostate>(
      [by = std::move(by), change = std::move(change),
       at = ports_.clock.now()](store::ControlWriter& writer) -> Result<std::monostate> {
        VC_TRY_ASSIGN(const Present now, look(writer, by, at, Permission::Own));
        const auto user = rowOf(now.users, change.user.value);
        const KnowsCurrent knows = change.checkedHash ? KnowsCurrent::Yes : KnowsCurrent::No;
        if (user == now.users.end()) return noUser(change.user.value);
        VC_TRY(maySetPassword(now.by, *user, knows));
        if (change.checkedHash && *change.checkedHash != user->passwordHash)
          return Error{Errc::Conflict, "the password was changed meanwhile"};
        store::UserRow row = *user;
        row.passwordHash = change.newHash;
        ++row.version;
        VC_TRY(writer.putUser(row));
        VC_TRY_ASSIGN(const std::size_t ended, endLogins(writer, row.id));
        VC_TRY(appendAudit(writer, at, now.by, "user.password", row.id.value,
                           details({{"name", row.name},
                                    {"from", user->passwordHash.empty() ? "none" : "set"},
                                    {"to", "set"},
                                    {"sessionsEnded", std::to_string(ended)}})));
        return std::monostate{};
      },
      std::move(reply));
}

}  // namespace vaultysclaw::control
