#include <algorithm>

#include "audit.hpp"
#include "control/workspaces.hpp"
#include "identity/tokens.hpp"
#include "journal.hpp"

namespace vaultysclaw::control {

namespace {

constexpr std::size_t kMaxTokenFileBytes = 4096;

// An owner who is not disabled. A store without users gets one, and the tokens that are there are that owner's.
Result<store::UserRow> ensureOwner(store::ControlStore& store, Clock& clock, Entropy& entropy) {
  std::optional<store::UserRow> owner;
  store::UserRow first;
  first.id = store::UserId(newUuid(clock, entropy));
  first.name = first.role = name(Role::Owner);
  first.createdAt = clock.now();
  first.did = newUserDid(entropy);
  const auto work = [&](store::ControlWriter& writer) -> Status {
    VC_TRY_ASSIGN(const auto users, writer.users());
    const auto found = std::find_if(users.begin(), users.end(), [](const store::UserRow& user) {
      return !user.disabled && user.role == name(Role::Owner);
    });
    if (found != users.end()) {
      owner = *found;
      return {};
    }
    if (!users.empty()) return Error{Errc::Conflict, "no owner is left among the users: restore a backup"};
    VC_TRY(writer.putUser(first));
    VC_TRY_ASSIGN(const auto joined, chosenWorkspaces(writer, std::nullopt));
    for (const store::WorkspaceId& id : joined) VC_TRY(writer.putMember({id, first.id}));
    VC_TRY_ASSIGN(auto tokens, writer.apiTokens());
    for (store::ApiTokenRow& token : tokens) {
      token.user = first.id;
      token.scopes = Scopes::all().text();
      VC_TRY(writer.putApiToken(token));
    }
    owner = first;
    return AuditLog().append(writer, first.createdAt, "system", "user.add", first.id.value,
                             details({{"name", first.name}, {"role", first.role}}));
  };
  VC_TRY(store.writeBlocking(work));
  return *owner;
}

}  // namespace

Status ensureApiToken(store::ControlStore& store, FileStore& files, const std::filesystem::path& tokenFile,
                      Clock& clock, Entropy& entropy) {
  VC_TRY_ASSIGN(const store::UserRow owner, ensureOwner(store, clock, entropy));
  bool exists = false;
  VC_TRY(store.readBlocking([&](store::ControlReader& reader) -> Status {
    VC_TRY_ASSIGN(const auto tokens, reader.apiTokens());
    exists = !tokens.empty();
    return {};
  }));
  if (exists) {
    const auto file = files.readPrivate(tokenFile, kMaxTokenFileBytes);
    if (file.ok() || file.error().code != Errc::NotFound) return {};
  }
  std::array<std::uint8_t, 32> secret{};
  entropy.fill(secret);
  std::string token = "vcp_" + hexEncode(secret);
  wipe(secret);
  store::ApiTokenRow row;
  row.id = TokenId(newUuid(clock, entropy));
  row.name = "initial";
  const auto hash = identity::sha256(asBytes(token));
  row.hash.assign(hash.begin(), hash.end());
  row.createdAt = clock.now();
  row.user = owner.id;
  row.scopes = Scopes::all().text();
  // The file first: a token that is stored but written nowhere could never be used.
  std::string line = token + '\n';
  Status status = files.writePrivate(tokenFile, asBytes(line));
  wipe(token);
  wipe(line);
  if (!status)
    return Error{status.error().code, "API token file " + tokenFile.string() + ": " + status.error().message};
  return store.writeBlocking([&row](store::ControlWriter& writer) { return writer.putApiToken(row); });
}

}  // namespace vaultysclaw::control
