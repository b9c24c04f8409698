// The thin layer over SQLite's C API: owned connections and statements, bound parameters, errors as Result.
// SQL texts are constants of this library; values reach them by binding alone.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

#include "base/bytes.hpp"
#include "base/ids.hpp"
#include "base/ports.hpp"
#include "base/result.hpp"

struct sqlite3;
struct sqlite3_stmt;

namespace vaultysclaw::store::sqlite {

class Database;

// A prepared statement on loan from its Database's cache; destroying it resets it and clears what was bound.
// One thread at a time, and must not outlive the Database.
class Statement {
 public:
  Statement(Statement&& other) noexcept
      : db_(other.db_), stmt_(std::exchange(other.stmt_, nullptr)), column_(other.column_), copies_(other.copies_) {}
  Statement& operator=(Statement&&) = delete;
  Statement(const Statement&) = delete;
  ~Statement();

  // True when a row is ready, false at the end. Reading columns starts anew at the leftmost.
  Result<bool> step();

  // Each returns the next column to the right of the current row. NULL reads as empty, 0 or nothing.
  std::string text();
  Bytes blob();
  std::int64_t integer();
  WallTime time() { return fromUnixMillis(integer()); }
  std::optional<std::string> optionalText();
  std::optional<std::int64_t> optionalInteger();
  std::optional<WallTime> optionalTime();

 private:
  friend class Database;
  Statement(Database& db, sqlite3_stmt* stmt) : db_(&db), stmt_(stmt) {}

  Status check(int rc);
  bool nextIsNull() const;
  template <class... Args>
  Status bindAll(const Args&... args) {
    int at = 0;
    Status bound;
    static_cast<void>(((bound = bindOne(++at, args)).ok() && ...));
    return bound;
  }
  Status bindOne(int at, std::string_view value);
  Status bindOne(int at, const std::string& value) { return bindOne(at, std::string_view(value)); }
  Status bindOne(int at, const char* value) { return bindOne(at, std::string_view(value)); }
  Status bindOne(int at, const Bytes& value);
  Status bindOne(int at, std::int64_t value);
  Status bindOne(int at, int value) { return bindOne(at, std::int64_t{value}); }
  Status bindOne(int at, WallTime value) { return bindOne(at, toUnixMillis(value)); }
  Status bindOne(int at, std::nullopt_t);
  template <class Tag>
  Status bindOne(int at, const Id<Tag>& id) {
    return bindOne(at, std::string_view(id.value));
  }
  template <class T>
  Status bindOne(int at, const std::optional<T>& value) {
    return value ? bindOne(at, *value) : bindOne(at, std::nullopt);
  }

  Database* db_;
  sqlite3_stmt* stmt_;
  int column_ = 0;
  bool copies_ = true;  // whether what is bound is copied
};

enum class Access : bool { Read, Write };

// One connection. One thread at a time; owned by a store. Blocking. Errors carry SQLite's text and the file's path:
// Malformed (damaged, not a database), Busy (another process writes), Conflict (a constraint), TooLarge, Io, Internal.
class Database {
 public:
  // Opens an existing file with everything set that a connection of ours needs. An Access::Read connection refuses to
  // write. Does not change the file, not even by a checkpoint when closed, until allowCheckpointOnClose().
  static Result<Database> open(const std::filesystem::path& path, Access access);

  Database(Database&& other) noexcept;
  Database& operator=(Database&&) = delete;
  Database(const Database&) = delete;
  ~Database();

  // Statements come from a cache keyed by text; a text must not be in use twice at a time.
  template <class... Args>
  Result<Statement> query(std::string_view sql, const Args&... args) {
    VC_TRY_ASSIGN(Statement statement, prepare(sql));
    VC_TRY(statement.bindAll(args...));
    return statement;
  }
  // Binds, runs to the end, drops rows. Returns how many rows INSERT, UPDATE or DELETE changed.
  template <class... Args>
  Result<std::int64_t> run(std::string_view sql, const Args&... args) {
    VC_TRY_ASSIGN(Statement statement, prepare(sql));
    statement.copies_ = false;  // the arguments outlive it
    VC_TRY(statement.bindAll(args...));
    return finish(statement);
  }
  // The first column of the first row of a constant query, as a number; 0 when there is no row.
  Result<std::int64_t> number(std::string_view sql);
  // Several constant statements, as in migrations.
  Status script(const char* sql);
  // A write transaction. One that could not be undone for want of memory is undone first.
  Status begin();
  // Ends the transaction that is open. One that cannot commit may still be open afterwards.
  Status commit();
  // Undoes the transaction, if one is open. The error that led here is the one that counts.
  void rollback();

  // Whether a transaction is open: SQLite ends one by itself after some failures (disk full, I/O).
  bool inTransaction() const;
  void allowCheckpointOnClose();
  // For the writing connection: keeps readers that follow one another without a gap from making the log grow for ever.
  void boundLog();
  const std::filesystem::path& path() const { return path_; }

 private:
  friend class Statement;
  Database(sqlite3* handle, std::filesystem::path path);
  Result<Statement> prepare(std::string_view sql);
  Result<std::int64_t> finish(Statement& statement);
  Status configure(Access access);
  Error error(int rc) const;
  void close();

  struct TextHash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
  };

  sqlite3* handle_;
  std::filesystem::path path_;
  std::unordered_map<std::string, sqlite3_stmt*, TextHash, std::equal_to<>> statements_;
  std::unique_ptr<int> restartAt_;  // the log's pages from which on a checkpoint waits for readers; see boundLog()
};

// Runs `body` in a transaction: commits when it succeeds, undoes everything when it or the commit fails.
template <class Body>
Status inTransaction(Database& db, Body&& body) {
  VC_TRY(db.begin());
  Status status = body();
  if (status.ok()) {
    status = db.commit();
    if (status.ok()) return {};
  }
  db.rollback();
  return status;
}

}  // namespace vaultysclaw::store::sqlite
