// The people of a control plane: users with roles, and the API keys that speak for them.
#pragma once

#include <functional>
#include <initializer_list>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "control/control_plane.hpp"

namespace vaultysclaw::control {

enum class Role : std::uint8_t { Member, Admin, Owner };  // each may more than the one before
std::string_view name(Role role);
std::optional<Role> roleFrom(std::string_view text);

enum class Scope : std::uint8_t { Read = 1, Run = 2, Operate = 4, Admin = 8 };

// A set of scopes. Value type.
class Scopes {
 public:
  Scopes() = default;
  Scopes(std::initializer_list<Scope> scopes) {
    for (const Scope scope : scopes) bits_ |= static_cast<unsigned>(scope);
  }
  static Scopes all() { return {Scope::Read, Scope::Run, Scope::Operate, Scope::Admin}; }
  // Nothing when a word is no scope, or none is given.
  static std::optional<Scopes> from(const std::vector<std::string>& words);
  // As the store keeps them; words that are no scope give nothing.
  static Scopes fromText(std::string_view text);

  bool has(Scope scope) const { return (bits_ & static_cast<unsigned>(scope)) != 0; }
  bool within(Scopes other) const { return (bits_ & ~other.bits_) == 0; }
  Scopes both(Scopes other) const {
    Scopes common;
    common.bits_ = bits_ & other.bits_;
    return common;
  }
  std::vector<std::string> words() const;
  std::string text() const;  // with blanks between them

 private:
  unsigned bits_ = 0;
};

// What a request needs.
enum class Permission : std::uint8_t {
  Open,     // nothing, not even a key
  Own,      // a key, whatever its scopes: for what is the caller's own
  Read,     // scope read
  Oversee,  // scope read, of an admin or owner: what others do
  Run,      // scope run
  Operate,  // scope operate, of an admin or owner
  Manage,   // scope admin, of an admin or owner
};
std::string_view name(Permission permission);

// Who asks: a user by one of the user's keys or in a session, as both were when the request came.
struct Principal {
  store::UserId user{};
  std::string userName{};
  Role role = Role::Member;
  Scopes scopes{};  // the key's; all in a session
  TokenId key{};    // empty in a session
  std::optional<WallTime> keyExpiresAt{};
  std::optional<store::LoginId> login{};  // the session

  std::string actor() const { return "user:" + userName; }
  Scopes effective() const;  // of the key's scopes those that the role has
};
// The one place where it is decided who may do what.
bool mayDo(const Principal& who, Permission permission);

struct UserChange {
  std::optional<Role> role;
  std::optional<bool> disabled;
};
// `stale`: the user has another version than the caller thought; nothing was changed.
struct ChangedUser {
  store::UserRow row;
  bool stale = false;
};
struct KeyRequest {
  std::string name;
  Scopes scopes;
  std::optional<WallTime> expiresAt;
  std::optional<std::string> user;  // id or name; absent: the caller's own
};
struct NewKey {
  store::ApiTokenRow row;
  std::string secret;  // shown this once
};

// A user who has shown the password that makes `checkedHash`.
struct LoginRequest {
  store::UserId user;
  std::string checkedHash;
  std::string newHash;                     // of the same password at today's cost; empty: the old one stays
  std::optional<store::LoginId> replaces;  // a session that ends with this one's begin
  std::string address;
  Duration idle, lifetime;
};
struct NewLogin {
  store::LoginRow row;
  std::string secret;  // the cookie
};
struct PasswordChange {
  store::UserId user;
  std::string newHash;
  // What the current password was checked against; absent: it was not shown.
  std::optional<std::string> checkedHash;
};

// What somebody else adds to a change: `work` to its transaction, on the writer's thread, and `committed` to what
// follows its commit, on the loop and before its reply.
struct Along {
  std::function<Status(store::ControlWriter&)> work;
  Task committed;
};

// Owned by the control plane. Confined to ports.loop, callbacks too; every reply comes exactly once, never before the
// call returns. What a change needs is checked again where it is written, so that of two at once the second sees the
// first. Changes count from the next request on. Nothing here blocks the loop but create(), which is for the start.
class People {
 public:
  static constexpr std::size_t kMaxUsers = 1000, kMaxKeysPerUser = 50;  // keys that are not revoked
  static constexpr std::size_t kMaxLoginsPerUser = 20;                  // then the oldest goes

  static Result<std::unique_ptr<People>> create(ControlPorts ports);

  // Whose key this is. Nothing when it is unknown, revoked or expired, or its user is disabled or gone. Compares with
  // every key, in constant time each; notes the use of a key at most once a minute.
  std::optional<Principal> authenticate(std::string_view secret);

  const std::vector<store::UserRow>& users() const { return users_; }
  const store::UserRow* find(std::string_view idNameOrDid) const;
  // Of one user, revoked ones too.
  std::vector<store::ApiTokenRow> keysOf(const store::UserId& user) const;

  // Errors: PolicyDenied (the caller may not do this), Conflict (the name is taken; it is the last owner), NotFound,
  // InvalidArgument, Busy (too many).
  // `workspaces`: ids or names of those that the user joins; absent: the default one.
  void addUser(Principal by, std::string name, Role role, std::optional<std::vector<std::string>> workspaces,
               Reply<store::UserRow> reply);
  void changeUser(Principal by, store::UserId id, UserChange change, std::optional<std::int64_t> expectedVersion,
                  Reply<ChangedUser> reply);
  void removeUser(Principal by, store::UserId id, std::optional<std::int64_t> expectedVersion,
                  Reply<ChangedUser> reply);
  void createKey(Principal by, KeyRequest request, Reply<NewKey> reply);
  // `user`: id or name of whose key it is; absent: the caller's own. NotFound for another's key.
  void revokeKey(Principal by, TokenId key, std::optional<std::string> user, Reply<std::monostate> reply);

  // Whose session a cookie is. Nothing when it is unknown, over or not used for `idle`, or its user is disabled or
  // gone. Notes its use at most once a minute.
  std::optional<Principal> authenticateLogin(std::string_view secret, Duration idle);
  const store::LoginRow* login(const store::LoginId& id) const;
  std::size_t countLogins() const { return logins_.size(); }
  // Whether this user has a session that began there.
  bool isKnownAt(const store::UserId& user, std::string_view address) const;
  // Unauthenticated when the user is gone or disabled, or has another password by now.
  void openLogin(LoginRequest request, Reply<NewLogin> reply);
  // Ends the caller's session.
  void closeLogin(Principal by, Reply<std::monostate> reply);
  // Ends all sessions of that user. Errors: PolicyDenied, NotFound, Conflict (the password was changed meanwhile).
  void setPassword(Principal by, PasswordChange change, Reply<std::monostate> reply);
  // Whether `by` may set it: the own one or, as one who manages, that of another. A password opens all that its user
  // may do, for as long as there is the user, so a key that gives less, or ends, sets none unless who asks
  // `knowsCurrent`.
  enum class KnowsCurrent : bool { No, Yes };
  static Status maySetPassword(const Principal& by, const store::UserRow& user, KnowsCurrent knows);

  // Told after a commit that changed a user, before its reply. Set by the control plane.
  std::function<void()> onUsersChanged;
  // Asked what belongs into the transaction that removes a user, for `actor`. Set by the control plane.
  std::function<Along(const store::UserId& user, std::string actor)> alongRemoval;
  // The same of one that has come, with the user's workspaces, or gone. Set by the workspaces.
  std::function<void(const store::UserId&, const std::vector<store::WorkspaceId>&)> onUserAdded;
  std::function<void(const store::UserId&)> onUserRemoved;

 private:
  explicit People(ControlPorts ports) : ports_(ports) {}
  template <class T>
  void commit(std::function<Result<T>(store::ControlWriter&)> work, Reply<T> reply,
              std::function<void()> then = nullptr);
  void noteUse(store::ApiTokenRow& key);
  void noteUse(store::LoginRow& login);
  void noteLogins();
  void follow(std::vector<store::LoginRow> logins);

  ControlPorts ports_;
  std::vector<store::UserRow> users_;
  std::vector<store::ApiTokenRow> keys_;
  std::map<Bytes, store::LoginRow> logins_;  // by hash
  std::set<store::LoginId> unnoted_;         // were used, and the store does not know
  Timer noteTimer_;
  std::shared_ptr<char> alive_ = std::make_shared<char>();
};

// A DID for a user: signed intents and delegations name it. Nobody holds its key, for the control plane vouches for its
// users.
std::string newUserDid(Entropy& entropy);

// NotFound, of a user that was asked for by `which`.
Error noUser(std::string_view which);

// Unauthenticated, of whoever does not log in: the same whatever the reason.
Error noLogin();

// 1 to 64 lower-case letters, digits and . _ -, beginning with a letter or digit.
bool isUserName(std::string_view text);

}  // namespace vaultysclaw::control
