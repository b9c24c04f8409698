#include "control/control_plane.hpp"
#include "identity/tokens.hpp"

namespace vaultysclaw::control {

namespace {
constexpr std::size_t kMaxTokenFileBytes = 4096;
}

Status ensureApiToken(store::ControlStore& store, FileStore& files, const std::filesystem::path& tokenFile,
                      Clock& clock, Entropy& entropy) {
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
