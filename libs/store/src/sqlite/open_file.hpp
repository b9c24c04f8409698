// Opening a database file that belongs to this process alone: lock, recognition, creation, migration.
#pragma once

#include <filesystem>
#include <span>
#include <string>

#include "base/result.hpp"
#include "sqlite/database.hpp"

namespace vaultysclaw::store::sqlite {

// What a kind of file is made of. Migration i brings version i to i + 1; each runs in one transaction.
struct Schema {
  const char* what;            // for messages: "agent state"
  std::int32_t applicationId;  // in the file's header; tells our kinds apart and from foreign files
  std::span<const char* const> migrations;
  const char* damagedRows;  // a query for how many rows do not fit their sums

  std::int64_t version() const { return static_cast<std::int64_t>(migrations.size()); }
};

inline constexpr std::int32_t kAgentStateId = 0x56436173;    // "VCas"
inline constexpr std::int32_t kControlStoreId = 0x56436373;  // "VCcs"

// An advisory lock (flock) on `<path>.lock`, held until destroyed. The file stays behind: removing it would let two
// processes lock two different files of that name.
class FileLock {
 public:
  // Conflict when it is held, also by this process; Io.
  static Result<FileLock> acquire(const std::filesystem::path& path);
  FileLock(FileLock&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  FileLock& operator=(FileLock&&) = delete;
  FileLock(const FileLock&) = delete;
  ~FileLock();

 private:
  explicit FileLock(int fd) : fd_(fd) {}
  int fd_;
};

// Members in this order: the connection closes before the lock goes.
struct OwnedFile {
  FileLock lock;
  Database db;  // for writing; db.path() has symbolic links resolved
};

// Opens or creates (0600), migrates, switches to WAL. A file that is foreign or too new is left byte for byte as it is.
// Errors: Io, Conflict (held), Malformed (not of this kind, or damaged), Unsupported (a newer schema).
Result<OwnedFile> openOwned(const std::filesystem::path& path, const Schema& schema);

}  // namespace vaultysclaw::store::sqlite
