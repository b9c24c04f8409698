#include "sqlite/open_file.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <optional>
#include <vector>

#include "base/descriptor.hpp"
#include "base/failpoint.hpp"
#include "sqlite/log_check.hpp"

namespace vaultysclaw::store::sqlite {
namespace {

namespace fs = std::filesystem;

constexpr mode_t kPrivate = 0600;
// Files up to this size are checked as a whole when opened; larger ones show damage when it is read.
constexpr std::uintmax_t kFullCheckBytes = 64u << 20;

fs::path withSuffix(const fs::path& path, const char* suffix) {
  fs::path out = path;
  out += suffix;
  return out;
}

const char* kindOf(std::uint32_t applicationId) {
  if (applicationId == static_cast<std::uint32_t>(kAgentStateId)) return "a VaultysClaw agent's state";
  if (applicationId == static_cast<std::uint32_t>(kControlStoreId)) return "a VaultysClaw control plane's database";
  return "a database of another program";
}

Error newerSchema(const fs::path& path, const Schema& schema, std::int64_t found) {
  return Error{Errc::Unsupported, path.string() + " was written by a newer VaultysClaw: its " + schema.what +
                                      " has schema version " + std::to_string(found) +
                                      ", and this program knows up to " + std::to_string(schema.version()) +
                                      "; run a version that knows schema " + std::to_string(found)};
}

enum class Found : bool { Nothing, Ours };

// Reads the header without SQLite, which might recover or checkpoint what it opens. Our files carry the application id
// in the file proper from the moment they have their name (see create), so a log beside it cannot hide it.
Result<Found> recognise(const fs::path& path, const Schema& schema) {
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (file.get() < 0) {
    if (errno == ENOENT) return Found::Nothing;
    return ioError("cannot open", path);
  }
  struct stat info{};
  if (::fstat(file.get(), &info) != 0) return ioError("cannot inspect", path);
  if (!S_ISREG(info.st_mode)) return Error{Errc::Malformed, path.string() + " is not a regular file"};
  if (info.st_size == 0) return Found::Nothing;

  // https://www.sqlite.org/fileformat2.html section 1.3
  std::array<unsigned char, 100> header{};
  const ssize_t got = ::pread(file.get(), header.data(), header.size(), 0);
  if (got < 0) return ioError("cannot read", path);
  constexpr std::string_view kMagic("SQLite format 3\0", 16);
  if (got != ssize_t{header.size()} || asText(header).substr(0, kMagic.size()) != kMagic) {
    return Error{Errc::Malformed, path.string() + " is not a database; name another file for the " + schema.what +
                                      ", or restore it from a backup"};
  }
  const auto bigEndian = [&](std::size_t at) {
    return std::uint32_t{header[at]} << 24 | std::uint32_t{header[at + 1]} << 16 | std::uint32_t{header[at + 2]} << 8 |
           std::uint32_t{header[at + 3]};
  };
  const std::uint32_t applicationId = bigEndian(68);
  if (applicationId != static_cast<std::uint32_t>(schema.applicationId)) {
    return Error{Errc::Malformed,
                 path.string() + " is " + kindOf(applicationId) + "; name another file for the " + schema.what};
  }
  const std::uint32_t version = bigEndian(60);
  if (version > schema.version()) return newerSchema(path, schema, version);
  return Found::Ours;
}

Result<std::int64_t> schemaVersion(Database& db, const Schema& schema) {
  VC_TRY_ASSIGN(const std::int64_t version, db.number("PRAGMA user_version"));
  if (version > schema.version()) return newerSchema(db.path(), schema, version);
  if (version < 0) return Error{Errc::Malformed, db.path().string() + " has a negative schema version"};
  return version;
}

Status migrate(Database& db, const Schema& schema, std::int64_t from) {
  for (std::int64_t version = from; version < schema.version(); ++version) {
    const auto step = [&]() -> Status {
      VC_TRY(db.script(schema.migrations[static_cast<std::size_t>(version)]));
      // PRAGMA takes no bound values; both are numbers of ours.
      return db.script(("PRAGMA application_id=" + std::to_string(schema.applicationId) +
                        "; PRAGMA user_version=" + std::to_string(version + 1))
                           .c_str());
    };
    VC_TRY(inTransaction(db, step));
  }
  return {};
}

Status createPrivate(const fs::path& path) {
  const Descriptor file(::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, kPrivate));
  if (file.get() < 0) return ioError("cannot create", path);
  if (::fchmod(file.get(), kPrivate) != 0) return ioError("cannot set the mode of", path);
  return {};
}

Status removeFile(const fs::path& path) {
  if (::unlink(path.c_str()) == 0 || errno == ENOENT) return {};
  return ioError("cannot remove", path);
}

Status syncFile(const fs::path& path, int flags) {
  const Descriptor file(::open(path.c_str(), flags | O_CLOEXEC));
  if (file.get() < 0 || ::fsync(file.get()) != 0) return ioError("cannot sync", path);
  return {};
}

// Builds the file under another name and renames it: whatever moment a crash picks, `path` is absent or complete.
Status create(const fs::path& path, const Schema& schema) {
  const fs::path fresh = withSuffix(path, ".new");
  for (const char* suffix : {"", "-journal", "-wal", "-shm"}) VC_TRY(removeFile(withSuffix(fresh, suffix)));
  // A log that lost its database must never be applied to another one.
  for (const char* suffix : {"-journal", "-wal", "-shm"}) VC_TRY(removeFile(withSuffix(path, suffix)));
  VC_TRY(createPrivate(fresh));
  {
    VC_TRY_ASSIGN(Database db, Database::open(fresh, Access::Write));
    VC_TRY(migrate(db, schema, 0));
  }
  VC_TRY(syncFile(fresh, O_RDONLY));
  VC_TRY(VC_FAILPOINT_STATUS("store.create"));
  if (::rename(fresh.c_str(), path.c_str()) != 0) return ioError("cannot create", path);
  VC_FAILPOINT("store.created");
  return syncFile(path.parent_path(), O_RDONLY | O_DIRECTORY);
}

// For files that a copy or an older umask left open to others. SQLite gives new logs the mode of the database.
Status makePrivate(const fs::path& path) {
  for (const char* suffix : {"", "-wal", "-shm"}) {
    const fs::path file = withSuffix(path, suffix);
    struct stat info{};
    if (::stat(file.c_str(), &info) != 0) continue;
    if ((info.st_mode & 077) != 0 && ::chmod(file.c_str(), kPrivate) != 0) {
      return ioError("others may read, and the mode cannot be set to 0600 of", file);
    }
  }
  return {};
}

Status useWriteAheadLog(Database& db) {
  // The answer comes before the change is committed: the statement must end, and what counts is what is so afterwards.
  VC_TRY(db.run("PRAGMA journal_mode=WAL"));
  VC_TRY_ASSIGN(Statement mode, db.query("PRAGMA journal_mode"));
  VC_TRY_ASSIGN(const bool row, mode.step());
  if (row && mode.text() == "wal") return {};
  return Error{Errc::Io, db.path().string() +
                             ": this file system cannot keep a write-ahead log (a network drive?); "
                             "use a local disk"};
}

bool isLarge(const Database& db) {
  std::error_code ignored;
  return fs::file_size(db.path(), ignored) > kFullCheckBytes;
}

Error damagedFile(const Database& db, const std::string& finding) {
  return Error{Errc::Malformed, db.path().string() + " is damaged (" + finding + "); restore it from a backup"};
}

Result<std::vector<std::string>> findings(Database& db, const char* pragma) {
  std::vector<std::string> all;
  VC_TRY_ASSIGN(Statement check, db.query(pragma));
  for (;;) {
    VC_TRY_ASSIGN(const bool row, check.step());
    if (!row) return all;
    std::string finding = check.text();
    if (finding != "ok") all.push_back(std::move(finding));
  }
}

// Whether it is about values in one row, which the row's sum covers.
bool isOfOneRow(std::string_view finding) {
  return finding.find(" value in ") != std::string_view::npos || finding.starts_with("CHECK constraint failed");
}

// The structure of all pages. A row that holds nonsense is left to those who read it.
Status quickCheck(Database& db) {
  if (isLarge(db)) return {};
  VC_TRY_ASSIGN(auto found, findings(db, "PRAGMA quick_check(100)"));
  // A page that could not be read for a moment looks damaged to the check.
  if (!found.empty()) {
    VC_TRY_ASSIGN(found, findings(db, "PRAGMA quick_check(100)"));
  }
  for (const std::string& finding : found) {
    if (!isOfOneRow(finding)) return damagedFile(db, finding);
  }
  return {};
}

// Of a finding that an index has more entries than there are rows: those rows are gone.
bool tellsOfLostRows(const std::string& finding, const std::vector<std::string>& all) {
  constexpr std::string_view kWrong = "wrong # of entries in index ";
  if (!finding.starts_with(kWrong)) return false;
  const std::string missing = " missing from index " + finding.substr(kWrong.size());
  return std::none_of(all.begin(), all.end(), [&](const std::string& other) { return other.ends_with(missing); });
}

// An index that does not lead to its rows would hide them: an intent that has run would look new. When all rows are as
// they were written, it is the indexes that are damaged, and they are made anew. When a row is not, its old key still
// leads there, and whoever follows it learns of the damage.
Status checkIndexes(Database& db, const Schema& schema) {
  if (isLarge(db)) return {};
  VC_TRY_ASSIGN(auto found, findings(db, "PRAGMA integrity_check(100)"));
  if (!found.empty()) {
    VC_TRY_ASSIGN(found, findings(db, "PRAGMA integrity_check(100)"));
  }
  if (std::all_of(found.begin(), found.end(), isOfOneRow)) return {};
  for (const std::string& finding : found) {
    if (tellsOfLostRows(finding, found)) return damagedFile(db, finding);
  }
  VC_TRY_ASSIGN(const std::int64_t damagedRows, db.number(schema.damagedRows));
  if (damagedRows > 0) return {};
  VC_TRY(db.script("REINDEX"));
  VC_TRY_ASSIGN(const auto left, findings(db, "PRAGMA integrity_check(1)"));
  return left.empty() ? Status() : Status(damagedFile(db, left[0]));
}

}  // namespace

Result<FileLock> FileLock::acquire(const fs::path& path) {
  const fs::path name = withSuffix(path, ".lock");
  FileLock lock(::open(name.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, kPrivate));
  if (lock.fd_ < 0) return ioError("cannot create the lock file", name);
  int rc = 0;
  do {
    rc = ::flock(lock.fd_, LOCK_EX | LOCK_NB);
  } while (rc != 0 && errno == EINTR);
  if (rc != 0) {
    if (errno != EWOULDBLOCK) return ioError("cannot lock", name);
    std::array<char, 24> pid{};
    const ssize_t got = ::pread(lock.fd_, pid.data(), pid.size() - 1, 0);
    const std::string holder = got > 0 ? " " + std::string(pid.data(), static_cast<std::size_t>(got)) : "";
    return Error{Errc::Conflict,
                 path.string() + " is in use by process" + holder + "; stop that one first, or name another file"};
  }
  // The number only helps whoever meets the lock; without it the lock holds all the same.
  const std::string pid = std::to_string(::getpid());
  if (::ftruncate(lock.fd_, 0) == 0) {
    [[maybe_unused]] const ssize_t written = ::pwrite(lock.fd_, pid.data(), pid.size(), 0);
  }
  return lock;
}

FileLock::~FileLock() {
  if (fd_ >= 0) ::close(fd_);
}

Result<OwnedFile> openOwned(const fs::path& path, const Schema& schema) {
  std::error_code failed;
  // The lock's name must not depend on the way that leads to the file.
  const fs::path real = fs::weakly_canonical(fs::absolute(path, failed), failed);
  if (failed || path.empty()) return Error{Errc::Io, "cannot find " + path.string() + ": " + failed.message()};
  if (!fs::is_directory(real.parent_path(), failed)) {
    return Error{Errc::Io, "the directory " + real.parent_path().string() + " for the " + schema.what +
                               " does not exist; create it first"};
  }
  VC_TRY_ASSIGN(FileLock lock, FileLock::acquire(real));
  VC_TRY_ASSIGN(const Found found, recognise(real, schema));
  if (found == Found::Nothing) VC_TRY(create(real, schema));
  VC_TRY(makePrivate(real));
  VC_TRY(checkLog(real));
  VC_TRY_ASSIGN(Database db, Database::open(real, Access::Write));
  VC_TRY_ASSIGN(const std::int64_t version, schemaVersion(db, schema));
  VC_TRY(quickCheck(db));
  VC_TRY(useWriteAheadLog(db));
  // SQLite makes the log with the first thing it reads, and would not tell if its name could not be synced: all commits
  // would go with it.
  VC_TRY(db.number("SELECT count(*) FROM sqlite_schema"));
  VC_TRY(syncFile(real.parent_path(), O_RDONLY | O_DIRECTORY));
  VC_TRY(migrate(db, schema, version));
  VC_TRY(checkIndexes(db, schema));
  db.allowCheckpointOnClose();
  return OwnedFile{std::move(lock), std::move(db)};
}

}  // namespace vaultysclaw::store::sqlite
