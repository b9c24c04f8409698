#include "sqlite/database.hpp"

#include <sqlite3.h>

#include <memory>

#include "base/failpoint.hpp"
#include "sqlite/damage_log.hpp"
#include "sqlite/row_sum.hpp"

namespace vaultysclaw::store::sqlite {
namespace {

constexpr int kBusyTimeoutMillis = 5000;

// The log is moved into the database when it has this many pages, SQLite's default: 4,000 and 16,000 cost an intent as
// much.
constexpr int kCheckpointPages = 1000;
// As many pages as journal_size_limit has room for. From then on the writer waits this long for readers, whose
// snapshots keep the log from starting over.
constexpr int kLongLogPages = 16'000;
constexpr int kReadersTimeoutMillis = 250;

Errc codeOf(int rc) {
  switch (rc & 0xff) {
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return Errc::Malformed;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return Errc::Busy;
    case SQLITE_CONSTRAINT:
      return Errc::Conflict;
    case SQLITE_TOOBIG:
      return Errc::TooLarge;
    case SQLITE_FULL:
    case SQLITE_IOERR:
    case SQLITE_CANTOPEN:
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_AUTH:
    case SQLITE_NOLFS:
      return Errc::Io;
    default:
      return Errc::Internal;
  }
}

std::string_view adviceFor(int rc) {
  switch (rc & 0xff) {
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return "; the file is damaged: restore it from a backup";
    case SQLITE_BUSY:
      return "; another program has the file open: end it and try again";
    case SQLITE_FULL:
      return "; free some disk space";
    default:
      return "";
  }
}

Error makeError(const std::filesystem::path& path, int rc, const char* text) {
  return Error{codeOf(rc), path.string() + ": " + text + std::string(adviceFor(rc))};
}

}  // namespace

Statement::~Statement() {
  if (stmt_ == nullptr) return;
  sqlite3_reset(stmt_);
  sqlite3_clear_bindings(stmt_);
}

Status Statement::check(int rc) {
  return rc == SQLITE_OK ? Status() : Status(db_->error(rc));
}

Result<bool> Statement::step() {
  column_ = 0;
  if (std::exchange(unread_, false)) return db_->error(SQLITE_NOMEM);
  const int rc = sqlite3_step(stmt_);
  if (rc == SQLITE_ROW) return true;
  if (rc == SQLITE_DONE) return false;
  return db_->error(rc);
}

Status Statement::bindOne(int at, std::string_view value) {
  // A null pointer would bind NULL instead of the empty text.
  return check(sqlite3_bind_text64(stmt_, at, value.data() != nullptr ? value.data() : "", value.size(),
                                   copies_ ? SQLITE_TRANSIENT : SQLITE_STATIC, SQLITE_UTF8));
}
Status Statement::bindOne(int at, const Bytes& value) {
  if (value.empty()) return check(sqlite3_bind_zeroblob(stmt_, at, 0));
  return check(sqlite3_bind_blob64(stmt_, at, value.data(), value.size(), copies_ ? SQLITE_TRANSIENT : SQLITE_STATIC));
}
Status Statement::bindOne(int at, std::int64_t value) {
  return check(sqlite3_bind_int64(stmt_, at, value));
}
Status Statement::bindOne(int at, std::nullopt_t) {
  return check(sqlite3_bind_null(stmt_, at));
}

bool Statement::nextIsNull() const {
  return sqlite3_column_type(stmt_, column_) == SQLITE_NULL;
}

std::string Statement::text() {
  const bool null = nextIsNull();  // asked first, for a text that finds no memory turns into NULL
  const int at = column_++;
  const unsigned char* data = sqlite3_column_text(stmt_, at);  // before the size, which depends on the conversion
  const int size = sqlite3_column_bytes(stmt_, at);
  if (data == nullptr && !null) unread_ = true;
  return data == nullptr ? std::string()
                         : std::string(reinterpret_cast<const char*>(data), static_cast<std::size_t>(size));
}
Bytes Statement::blob() {
  const int at = column_++;
  const int stored = sqlite3_column_bytes(stmt_, at);
  const auto* data = static_cast<const std::uint8_t*>(sqlite3_column_blob(stmt_, at));
  const int size = sqlite3_column_bytes(stmt_, at);
  if (data == nullptr && stored != 0) unread_ = true;
  return data == nullptr ? Bytes() : Bytes(data, data + size);
}
std::int64_t Statement::integer() {
  return sqlite3_column_int64(stmt_, column_++);
}
std::optional<std::string> Statement::optionalText() {
  if (nextIsNull()) return ++column_, std::nullopt;
  return text();
}
std::optional<std::int64_t> Statement::optionalInteger() {
  if (nextIsNull()) return ++column_, std::nullopt;
  return integer();
}
std::optional<WallTime> Statement::optionalTime() {
  if (nextIsNull()) return ++column_, std::nullopt;
  return time();
}

Result<bool> Statement::intact() {
  const bool right = integer() == 1;
  if (std::exchange(unread_, false)) return db_->error(SQLITE_NOMEM);
  return right;
}

Result<Database> Database::open(const std::filesystem::path& path, Access access) {
  sqlite3* handle = nullptr;
  const int rc = sqlite3_open_v2(path.c_str(), &handle,
                                 SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, nullptr);
  if (handle == nullptr) return Error{Errc::Internal, path.string() + ": no memory for a database connection"};
  Database db(handle, path);
  if (rc != SQLITE_OK) return db.error(rc);
  VC_TRY(db.configure(access));
  return db;
}

Database::Database(sqlite3* handle, std::filesystem::path path) : handle_(handle), path_(std::move(path)) {}

Database::Database(Database&& other) noexcept
    : handle_(std::exchange(other.handle_, nullptr)),
      path_(std::move(other.path_)),
      statements_(std::move(other.statements_)),
      damage_(std::move(other.damage_)),
      restartAt_(std::move(other.restartAt_)) {
  other.statements_.clear();
}

Database::~Database() {
  close();
}

void Database::close() {
  for (const auto& entry : statements_) sqlite3_finalize(entry.second);
  statements_.clear();
  if (handle_ != nullptr) sqlite3_close(std::exchange(handle_, nullptr));
}

Status Database::configure(Access access) {
  const auto option = [&](int op, int value) {
    const int rc = sqlite3_db_config(handle_, op, value, nullptr);
    return rc == SQLITE_OK ? Status() : Status(error(rc));
  };
  VC_TRY(option(SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1));
  VC_TRY(option(SQLITE_DBCONFIG_DEFENSIVE, 1));
  VC_TRY(option(SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0));
  VC_TRY(option(SQLITE_DBCONFIG_DQS_DML, 0));
  VC_TRY(option(SQLITE_DBCONFIG_DQS_DDL, 0));
  VC_TRY(option(SQLITE_DBCONFIG_ENABLE_FKEY, 1));
  sqlite3_limit(handle_, SQLITE_LIMIT_ATTACHED, 0);
  sqlite3_busy_timeout(handle_, kBusyTimeoutMillis);
  if (const int rc = registerRowSum(handle_); rc != SQLITE_OK) return error(rc);
  VC_TRY(
      script("PRAGMA synchronous=FULL; PRAGMA cell_size_check=ON; PRAGMA temp_store=MEMORY; "
             "PRAGMA journal_size_limit=67108864;"));
  if (access == Access::Read) VC_TRY(script("PRAGMA query_only=ON;"));
  // Prepared now, so that undoing what failed for want of memory needs none.
  VC_TRY(prepare("ROLLBACK"));
  return {};
}

void Database::boundLog() {
  restartAt_ = std::make_unique<int>(kLongLogPages);
  // An error is none of the commit's, which is durable: a later one tries again.
  const auto afterCommit = [](void* state, sqlite3* handle, const char* name, int pages) {
    int& restartAt = *static_cast<int*>(state);
    if (pages < kCheckpointPages) {
      restartAt = kLongLogPages;
      return SQLITE_OK;
    }
    int mode = SQLITE_CHECKPOINT_PASSIVE;
    if (pages >= restartAt) {
      mode = SQLITE_CHECKPOINT_RESTART;
      restartAt = pages + kLongLogPages;
    }
    sqlite3_busy_timeout(handle, kReadersTimeoutMillis);
    VC_FAILPOINT("store.checkpoint");
    sqlite3_wal_checkpoint_v2(handle, name, mode, nullptr, nullptr);
    VC_FAILPOINT("store.checkpointed");
    sqlite3_busy_timeout(handle, kBusyTimeoutMillis);
    return SQLITE_OK;
  };
  sqlite3_wal_hook(handle_, afterCommit, restartAt_.get());
}

void Database::allowCheckpointOnClose() {
  sqlite3_db_config(handle_, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0, nullptr);
}

Result<Statement> Database::prepare(std::string_view sql) {
  const auto found = statements_.find(sql);
  if (found != statements_.end()) {
    VC_ASSERT(sqlite3_stmt_busy(found->second) == 0, "a statement is used twice at a time");
    return Statement(*this, found->second);
  }
  sqlite3_stmt* stmt = nullptr;
  const int rc =
      sqlite3_prepare_v3(handle_, sql.data(), static_cast<int>(sql.size()), SQLITE_PREPARE_PERSISTENT, &stmt, nullptr);
  if (rc != SQLITE_OK) return error(rc);
  VC_ASSERT(stmt != nullptr, "an SQL text without a statement");
  statements_.emplace(sql, stmt);
  return Statement(*this, stmt);
}

Result<std::int64_t> Database::finish(Statement& statement) {
  for (;;) {
    VC_TRY_ASSIGN(const bool row, statement.step());
    if (!row) return sqlite3_changes64(handle_);
  }
}

Result<std::int64_t> Database::number(std::string_view sql) {
  VC_TRY_ASSIGN(Statement statement, query(sql));
  VC_TRY_ASSIGN(const bool row, statement.step());
  return row ? statement.integer() : 0;
}

Status Database::script(const char* sql) {
  const int rc = sqlite3_exec(handle_, sql, nullptr, nullptr, nullptr);
  if (rc != SQLITE_OK) return error(rc);
  return {};
}

Status Database::begin() {
  rollback();
  const auto begun = run("BEGIN IMMEDIATE");
  return begun.ok() ? Status() : Status(begun.error());
}

void Database::rollback() {
  if (inTransaction()) static_cast<void>(run("ROLLBACK"));
}

Status Database::commit() {
  VC_TRY(VC_FAILPOINT_STATUS("store.commit"));
  VC_TRY(run("COMMIT"));
  VC_FAILPOINT("store.committed");
  return {};
}

Error Database::damaged(const char* table, std::string key) const {
  return Error{Errc::Malformed, text(DamagedRow{table, std::move(key), path_.string()})};
}

void Database::leftOut(const char* table, std::string key) {
  if (damage_) damage_->leftOut({table, std::move(key), path_.string()});
}

bool Database::inTransaction() const {
  return sqlite3_get_autocommit(handle_) == 0;
}

Error Database::error(int rc) const {
  return makeError(path_, rc, sqlite3_errmsg(handle_));
}

}  // namespace vaultysclaw::store::sqlite
