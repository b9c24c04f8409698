// What becomes of files: ours are private, durable and held by one process; others are never touched.
#include <gtest/gtest.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <unistd.h>

#include <functional>

#include "../src/sqlite/database.hpp"
#include "store/agent_state.hpp"
#include "store/control_store.hpp"
#include "store_testing.hpp"

namespace vaultysclaw::store {
namespace {

namespace fs = std::filesystem;

struct Kind {
  const char* name;
  Status (*open)(const fs::path& path, const std::function<void()>& whileOpen);
};

Status openAgent(const fs::path& path, const std::function<void()>& whileOpen) {
  VC_TRY_ASSIGN(const auto state, openAgentState(path, Did("did:vaultys:agent")));
  VC_TRY(state->putAll({{"k", "value"}}));
  VC_TRY(state->get("k"));
  VC_TRY(state->delegations());
  VC_TRY(state->usage());
  VC_TRY(state->interruptRunning([](const SeenIntent&) { return FinishedIntent{}; }));
  whileOpen();
  return {};
}
Status openControl(const fs::path& path, const std::function<void()>& whileOpen) {
  VC_TRY_ASSIGN(const auto store, openControlStore({.path = path}));
  VC_TRY(store->writeBlocking([](ControlWriter& w) { return w.putMeta("k", "value"); }));
  const auto query = [](ControlReader& r) -> Status {
    VC_TRY(r.agents());
    VC_TRY(r.audit({}, {}));
    VC_TRY(r.meta("k"));
    return {};
  };
  VC_TRY(store->readBlocking(query));
  whileOpen();
  return {};
}
constexpr Kind kKinds[] = {{"Agent", openAgent}, {"Control", openControl}};

// Runs SQL as another program would. With Keep::Log the changes stay in the write-ahead log.
enum class Keep : bool { Nothing, Log };
void runSql(const fs::path& path, const char* sql, Keep keep = Keep::Nothing) {
  sqlite3* db = nullptr;
  ASSERT_EQ(sqlite3_open(path.c_str(), &db), SQLITE_OK);
  if (keep == Keep::Log) sqlite3_db_config(db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, nullptr);
  EXPECT_EQ(sqlite3_exec(db, sql, nullptr, nullptr, nullptr), SQLITE_OK) << sqlite3_errmsg(db);
  sqlite3_close(db);
}

mode_t modeOf(const fs::path& path) {
  struct stat info{};
  EXPECT_EQ(::stat(path.c_str(), &info), 0) << path;
  return info.st_mode & 07777;
}

class FileSafety : public ::testing::TestWithParam<Kind> {
 protected:
  Status open(const std::function<void()>& whileOpen = [] {}) { return GetParam().open(path_, whileOpen); }
  // Refused with `code`, and the file keeps every byte.
  void expectRefusedUntouched(Errc code) {
    const std::string before = contentOf(path_), log = contentOf(path_.string() + "-wal");
    VC_EXPECT_ERROR(code, open());
    EXPECT_TRUE(contentOf(path_) == before);
    EXPECT_TRUE(contentOf(path_.string() + "-wal") == log);
  }
  TemporaryDirectory directory_;
  fs::path path_ = directory_ / "file.db";
};

TEST_P(FileSafety, MakesEveryFilePrivateWhateverTheUmask) {
  const mode_t before = ::umask(0);
  VC_EXPECT_OK(open([&] {
    for (const auto& entry : fs::directory_iterator(directory_.path())) EXPECT_EQ(modeOf(entry.path()), 0600u) << entry;
    for (const char* suffix : {"", "-wal", "-shm", ".lock"}) EXPECT_TRUE(fs::exists(path_.string() + suffix)) << suffix;
  }));
  fs::permissions(path_, fs::perms(0644));
  VC_EXPECT_OK(open());
  ::umask(before);
  EXPECT_EQ(modeOf(path_), 0600u);
  EXPECT_FALSE(fs::exists(path_.string() + "-wal"));  // a clean end leaves nothing but the database and the lock
}

TEST_P(FileSafety, IsDurable) {
  VC_EXPECT_OK(open([&] {
    for (const auto access : {sqlite::Access::Read, sqlite::Access::Write}) {
      auto db = sqlite::Database::open(path_, access);
      ASSERT_TRUE(db.ok());
      EXPECT_EQ(*db->number("PRAGMA synchronous"), 2);
      EXPECT_EQ(*db->number("PRAGMA foreign_keys"), 1);
      EXPECT_EQ(*db->number("PRAGMA trusted_schema"), 0);
      EXPECT_EQ(*db->number("PRAGMA cell_size_check"), 1);
      EXPECT_EQ(*db->number("PRAGMA query_only"), access == sqlite::Access::Read ? 1 : 0);
      EXPECT_GT(*db->number("PRAGMA busy_timeout"), 0);
      auto mode = db->query("PRAGMA journal_mode");
      ASSERT_TRUE(mode.ok() && *mode->step());
      EXPECT_EQ(mode->text(), "wal");
    }
  }));
}

TEST_P(FileSafety, RefusesASecondHolder) {
  fs::create_symlink("file.db", directory_ / "link.db");
  VC_EXPECT_OK(open([&] {
    VC_EXPECT_ERROR(Errc::Conflict, open());
    const Status second = GetParam().open(directory_ / "link.db", [] {});
    VC_EXPECT_ERROR(Errc::Conflict, second);
    EXPECT_NE(second.error().message.find(std::to_string(::getpid())), std::string::npos) << second.error().message;
  }));
  VC_EXPECT_OK(GetParam().open(directory_ / "link.db", [] {}));
  EXPECT_TRUE(fs::is_symlink(directory_ / "link.db"));
}

TEST_P(FileSafety, LeavesForeignFilesAlone) {
  runSql(path_, "CREATE TABLE theirs (a); INSERT INTO theirs VALUES (1);");
  expectRefusedUntouched(Errc::Malformed);
  runSql(path_, "PRAGMA journal_mode=WAL; INSERT INTO theirs VALUES (2);", Keep::Log);
  ASSERT_TRUE(fs::exists(path_.string() + "-wal"));
  expectRefusedUntouched(Errc::Malformed);
  fs::remove(path_.string() + "-wal");
  for (const std::string& text : {std::string("x"), std::string("a page of text\n"), std::string(5000, '\0'),
                                  std::string("SQLite format 3\0", 16)}) {
    writeContent(path_, text);
    expectRefusedUntouched(Errc::Malformed);
  }
}

TEST_P(FileSafety, TellsOurKindsApart) {
  for (const Kind& other : kKinds) {
    if (other.open == GetParam().open) continue;
    VC_EXPECT_OK(other.open(path_, [] {}));
  }
  expectRefusedUntouched(Errc::Malformed);
}

TEST_P(FileSafety, RefusesWhatIsNoFile) {
  fs::create_directory(path_);
  VC_EXPECT_ERROR(Errc::Malformed, open());
  fs::remove(path_);
  ASSERT_EQ(::mkfifo(path_.c_str(), 0600), 0);
  VC_EXPECT_ERROR(Errc::Malformed, open());
  path_ = directory_ / "missing/file.db";
  VC_EXPECT_ERROR(Errc::Io, open());
  path_ = "";
  VC_EXPECT_ERROR(Errc::Io, open());
}

TEST_P(FileSafety, RefusesANewerSchema) {
  VC_EXPECT_OK(open());
  runSql(path_, "PRAGMA user_version=99", Keep::Log);
  expectRefusedUntouched(Errc::Unsupported);  // the version stands in the log alone
  runSql(path_, "PRAGMA wal_checkpoint(TRUNCATE)");
  expectRefusedUntouched(Errc::Unsupported);
  const Status refused = open();
  EXPECT_NE(refused.error().message.find("99"), std::string::npos) << refused.error().message;
  runSql(path_, "PRAGMA user_version=-1");
  VC_EXPECT_ERROR(Errc::Unsupported, open());
}

TEST_P(FileSafety, OpensAfterACrashWhileCreating) {
  writeContent(path_, "");
  writeContent(path_.string() + "-wal", "a log of some database that is gone");
  writeContent(path_.string() + ".new", "half a database");
  writeContent(path_.string() + ".new-journal", "and its journal");
  VC_EXPECT_OK(open());
  EXPECT_FALSE(fs::exists(path_.string() + ".new"));
  VC_EXPECT_OK(open());
}

TEST_P(FileSafety, KeepsWhatTheLogHoldsAfterACrash) {
  VC_EXPECT_OK(open([&] {
    // The files as a killed process leaves them.
    fs::create_directory(directory_ / "copy");
    for (const char* suffix : {"", "-wal"}) {
      writeContent(directory_ / "copy" / (std::string("file.db") + suffix), contentOf(path_.string() + suffix));
    }
  }));
  const fs::path copy = directory_ / "copy" / "file.db";
  VC_EXPECT_OK(GetParam().open(copy, [] {}));
  auto db = sqlite::Database::open(copy, sqlite::Access::Read);
  ASSERT_TRUE(db.ok());
  EXPECT_EQ(*db->number(std::string(GetParam().name) == "Agent" ? "SELECT count(*) FROM small_values"
                                                                : "SELECT count(*) FROM meta"),
            1);
}

TEST_P(FileSafety, SurvivesTruncation) {
  VC_EXPECT_OK(open());
  const std::string whole = contentOf(path_);
  for (std::size_t length = 1; length < whole.size(); length += length < 128 ? 3 : 1021) {
    SCOPED_TRACE(length);
    writeContent(path_, whole.substr(0, length));
    const Status status = open();
    // The last page may end in unused bytes, whose loss is none.
    if (!status.ok())
      EXPECT_EQ(status.error().code, Errc::Malformed) << status.error().message;
    else
      EXPECT_GT(length + 4096, whole.size());
    for (const char* suffix : {"-wal", "-shm"}) fs::remove(path_.string() + suffix);
  }
}

TEST_P(FileSafety, SurvivesFlippedBits) {
  VC_EXPECT_OK(open());
  const std::string whole = contentOf(path_);
  int refused = 0;
  for (std::size_t at = 0; at < whole.size(); at += at < 100 ? 3 : 997) {
    SCOPED_TRACE(at);
    std::string damaged = whole;
    damaged[at] = static_cast<char>(damaged[at] ^ (1 << (at % 8)));
    writeContent(path_, damaged);
    if (!open().ok()) ++refused;
    for (const char* suffix : {"-wal", "-shm", "-journal"}) fs::remove(path_.string() + suffix);
  }
  EXPECT_GT(refused, 6);  // the magic and the application id at least
}

INSTANTIATE_TEST_SUITE_P(Kinds, FileSafety, ::testing::ValuesIn(kKinds),
                         [](const auto& param) { return std::string(param.param.name); });

}  // namespace
}  // namespace vaultysclaw::store
