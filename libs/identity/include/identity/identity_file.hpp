// Identity files: one line, the base64 of a secret; mode 0600.
#pragma once

#include <filesystem>

#include "base/ports.hpp"
#include "identity/vaultys_id.hpp"

namespace vaultysclaw::identity {

// Reads the identity at `path`. Errors say the path and what to do: NotFound, PolicyDenied (others may read it),
// Malformed (truncated, foreign, another kind of file), Unsupported (an algorithm of the future), Io. Blocking.
Result<VaultysId> loadIdentity(FileStore& files, const std::filesystem::path& path);
// As loadIdentity, and creates a machine identity when there is no file. Two processes that start at once end up with
// the same identity. Blocking.
Result<VaultysId> loadOrCreateIdentity(FileStore& files, const std::filesystem::path& path, Entropy& entropy);
// Refuses to replace an existing file (Conflict). Blocking.
Status saveNewIdentity(FileStore& files, const std::filesystem::path& path, const VaultysId& identity);

// The text form, for tests and fuzzing: what loadIdentity does with the bytes of a file.
Result<VaultysId> parseIdentityFile(BytesView content);

}  // namespace vaultysclaw::identity
