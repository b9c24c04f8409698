// Roles, scopes and what they allow. Pure.
#include "control/people.hpp"

namespace vaultysclaw::control {
namespace {

struct NamedScope {
  Scope scope;
  std::string_view word;
};
constexpr NamedScope kScopes[] = {
    {Scope::Read, "read"}, {Scope::Run, "run"}, {Scope::Operate, "operate"}, {Scope::Admin, "admin"}};

Scopes scopesOf(Role role) {
  return role == Role::Member ? Scopes{Scope::Read, Scope::Run} : Scopes::all();
}

}  // namespace

std::string_view name(Role role) {
  switch (role) {
    case Role::Member:
      return "member";
    case Role::Admin:
      return "admin";
    case Role::Owner:
      return "owner";
  }
  return "";
}

std::optional<Role> roleFrom(std::string_view text) {
  for (const Role role : {Role::Member, Role::Admin, Role::Owner}) {
    if (text == name(role)) return role;
  }
  return std::nullopt;
}

std::optional<Scopes> Scopes::from(const std::vector<std::string>& words) {
  Scopes scopes;
  for (const std::string& word : words) {
    const Scopes one = fromText(word);
    if (one.bits_ == 0 || word.find(' ') != std::string::npos) return std::nullopt;
    scopes.bits_ |= one.bits_;
  }
  return scopes.bits_ == 0 ? std::nullopt : std::optional(scopes);
}

Scopes Scopes::fromText(std::string_view text) {
  Scopes scopes;
  while (!text.empty()) {
    const auto end = text.find(' ');
    for (const auto& [scope, word] : kScopes) {
      if (text.substr(0, end) == word) scopes.bits_ |= static_cast<unsigned>(scope);
    }
    text = end == std::string_view::npos ? std::string_view() : text.substr(end + 1);
  }
  return scopes;
}

std::vector<std::string> Scopes::words() const {
  std::vector<std::string> out;
  for (const auto& [scope, word] : kScopes) {
    if (has(scope)) out.emplace_back(word);
  }
  return out;
}

std::string Scopes::text() const {
  std::string out;
  for (const std::string& word : words()) out += (out.empty() ? "" : " ") + word;
  return out;
}

std::string_view name(Permission permission) {
  switch (permission) {
    case Permission::Open:
      return "none";
    case Permission::Own:
      return "any key or session";
    case Permission::Read:
      return "scope read";
    case Permission::Oversee:
      return "scope read of an admin or owner";
    case Permission::Run:
      return "scope run";
    case Permission::Operate:
      return "scope operate of an admin or owner";
    case Permission::Manage:
      return "scope admin of an admin or owner";
  }
  return "";
}

Scopes Principal::effective() const {
  return scopes.both(scopesOf(role));
}

bool mayDo(const Principal& who, Permission permission) {
  const Scopes may = who.effective();
  switch (permission) {
    case Permission::Open:
    case Permission::Own:
      return true;
    case Permission::Read:
      return may.has(Scope::Read);
    case Permission::Oversee:
      return may.has(Scope::Read) && who.role >= Role::Admin;
    case Permission::Run:
      return may.has(Scope::Run);
    case Permission::Operate:
      return may.has(Scope::Operate);
    case Permission::Manage:
      return may.has(Scope::Admin);
  }
  return false;
}

bool isUserName(std::string_view text) {
  constexpr std::string_view kLettersAndDigits = "abcdefghijklmnopqrstuvwxyz0123456789";
  if (text.empty() || text.size() > 64 || kLettersAndDigits.find(text.front()) == std::string_view::npos) return false;
  return text.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789._-") == std::string_view::npos;
}

}  // namespace vaultysclaw::control
