#include "identity/identity_file.hpp"

namespace vaultysclaw::identity {
namespace {

namespace fs = std::filesystem;
// An Ed25519 secret takes 104 characters, the longest known (hybrid) 112; the rest is room for line ends.
constexpr std::size_t kMaxFileBytes = 4096;

Bytes fileContent(const VaultysId& identity) {
  const SecretBytes secret = identity.secret();
  std::string line = base64Encode(secret.view());
  Bytes out;
  out.reserve(line.size() + 1);
  append(out, asBytes(line));
  out.push_back('\n');
  wipe(line);
  return out;
}

}  // namespace

Result<VaultysId> parseIdentityFile(BytesView content) {
  std::string_view text = asText(content);
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r' || text.back() == ' ')) text.remove_suffix(1);
  if (text.empty()) return Error{Errc::Malformed, "the file is empty"};
  if (text.size() > kMaxFileBytes || text.find_first_of("\n\r \t") != std::string_view::npos) {
    return Error{Errc::Malformed, "the file does not hold one line of base64"};
  }
  auto decoded = base64Decode(text);
  if (!decoded.ok()) return Error{Errc::Malformed, "the file does not hold one line of base64"};
  const SecretBytes secret(std::move(*decoded));
  return VaultysId::fromSecret(secret.view());
}

Result<VaultysId> loadIdentity(FileStore& files, const fs::path& path) {
  VC_TRY_ASSIGN(const SecretBytes content, files.readPrivate(path, kMaxFileBytes));
  auto identity = parseIdentityFile(content.view());
  if (!identity.ok()) {
    const std::string advice = identity.error().code == Errc::Unsupported
                                   ? ". Use an Ed25519 identity here"
                                   : ". Restore it from a backup, or move it away to start with a new identity";
    return Error{identity.error().code, "no identity in " + path.string() + ": " + identity.error().message + advice};
  }
  return identity;
}

Status saveNewIdentity(FileStore& files, const fs::path& path, const VaultysId& identity) {
  const SecretBytes content(fileContent(identity));
  return files.createPrivate(path, content.view());
}

Result<VaultysId> loadOrCreateIdentity(FileStore& files, const fs::path& path, Entropy& entropy) {
  auto loaded = loadIdentity(files, path);
  if (loaded.ok() || loaded.error().code != Errc::NotFound) return loaded;
  VaultysId created = VaultysId::generate(IdType::Machine, entropy);
  const Status saved = saveNewIdentity(files, path, created);
  if (saved.ok()) return created;
  // Another process was faster: its identity is the one that stays.
  if (saved.error().code == Errc::Conflict) return loadIdentity(files, path);
  return saved.error();
}

}  // namespace vaultysclaw::identity
