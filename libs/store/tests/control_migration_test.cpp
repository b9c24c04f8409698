// A database of an earlier schema keeps everything when it is opened.
#include <gtest/gtest.h>
#include <sqlite3.h>

#include "store/control_store.hpp"
#include "store_testing.hpp"

namespace vaultysclaw::store {
namespace {

// Version 1, as it was: never to be changed.
constexpr const char* kSchema1 = R"sql(
CREATE TABLE agents (
  did TEXT PRIMARY KEY,
  public_id BLOB NOT NULL,
  name TEXT NOT NULL,
  capabilities TEXT NOT NULL,
  requested_capabilities TEXT NOT NULL,
  limits TEXT NOT NULL,
  policy_id TEXT,
  policy_expires_at INTEGER,
  handshake_version INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  last_seen_at INTEGER
) STRICT;
CREATE TABLE registrations (
  id TEXT PRIMARY KEY,
  did TEXT NOT NULL,
  public_id BLOB NOT NULL,
  name TEXT NOT NULL,
  requested_capabilities TEXT NOT NULL,
  address TEXT NOT NULL,
  status TEXT NOT NULL,
  reason TEXT NOT NULL,
  handshake_version INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  decided_at INTEGER,
  decided_by TEXT NOT NULL
) STRICT;
CREATE INDEX registrations_by_time ON registrations (created_at);
CREATE INDEX registrations_by_status ON registrations (status, created_at);
CREATE TABLE intents (
  id TEXT PRIMARY KEY,
  did TEXT NOT NULL,
  action TEXT NOT NULL,
  params TEXT NOT NULL,
  token TEXT NOT NULL,
  status TEXT NOT NULL,
  output TEXT,
  error TEXT,
  code TEXT,
  user_did TEXT,
  requested_by TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  executed_at INTEGER,
  finished_at INTEGER
) STRICT;
CREATE INDEX intents_by_time ON intents (created_at);
CREATE INDEX intents_by_agent ON intents (did, created_at);
CREATE INDEX intents_by_status ON intents (status, created_at);
CREATE TABLE audit (
  seq INTEGER PRIMARY KEY,
  at INTEGER NOT NULL,
  actor TEXT NOT NULL,
  action TEXT NOT NULL,
  target TEXT NOT NULL,
  details TEXT NOT NULL,
  previous_hash BLOB NOT NULL,
  hash BLOB NOT NULL
) STRICT;
CREATE INDEX audit_by_actor ON audit (actor);
CREATE INDEX audit_by_action ON audit (action);
CREATE INDEX audit_by_target ON audit (target);
CREATE TABLE api_tokens (
  id TEXT PRIMARY KEY,
  name TEXT NOT NULL,
  hash BLOB NOT NULL UNIQUE,
  created_at INTEGER NOT NULL
) STRICT;
CREATE TABLE meta (
  key TEXT PRIMARY KEY,
  value BLOB NOT NULL
) STRICT;
PRAGMA application_id = 1447256947;
PRAGMA user_version = 1;
)sql";

constexpr const char* kRows1 = R"sql(
INSERT INTO agents VALUES ('d1', x'0102', 'name', '["a"]', '["a","b"]', '{"x":1}', 'p', 99, 1, 5, 6);
INSERT INTO registrations VALUES ('r1', 'd1', x'0102', 'name', '["a"]', '::1', 'approved', '', 1, 4, 5, 'operator');
INSERT INTO intents VALUES ('i1', 'd1', 'echo', '{"n":1}', 'token', 'success', '[1]', NULL, NULL, NULL, 'operator', 7,
                            8, 9);
INSERT INTO intents VALUES ('i2', 'd1', 'echo', '{}', 'token', 'timeout', NULL, 'late', 'deadline_exceeded', NULL,
                            'operator', 7, NULL, 9);
INSERT INTO audit VALUES (1, 5, 'operator', 'registration.approve', 'r1', '{}', x'00', x'01');
INSERT INTO api_tokens VALUES ('t1', 'operator', x'0304', 3);
INSERT INTO meta VALUES ('k', x'76');
)sql";

class ControlMigration : public ::testing::Test {
 protected:
  void run(const char* sql) {
    sqlite3* db = nullptr;
    ASSERT_EQ(sqlite3_open(path_.c_str(), &db), SQLITE_OK);
    EXPECT_EQ(sqlite3_exec(db, sql, nullptr, nullptr, nullptr), SQLITE_OK) << sqlite3_errmsg(db);
    sqlite3_close(db);
  }
  TemporaryDirectory directory_;
  std::filesystem::path path_ = directory_ / "control.db";
};

TEST_F(ControlMigration, FromVersion1KeepsEveryRow) {
  run(kSchema1);
  run(kRows1);
  for (int opened = 0; opened < 2; ++opened) {  // the second time there is nothing to migrate
    auto store = openControlStore({.path = path_, .writerThread = WriterThread::No});
    ASSERT_TRUE(store.ok()) << store.error().message;
    VC_EXPECT_OK((*store)->readBlocking([](ControlReader& r) -> Status {
      VC_TRY_ASSIGN(const auto agent, r.agent(Did("d1")));
      EXPECT_EQ(agent->publicId, (Bytes{1, 2}));
      EXPECT_EQ(agent->policyExpiresAt, fromUnixMillis(99));
      EXPECT_EQ(agent->handshakeVersion, 1);
      EXPECT_EQ(agent->lastSeenAt, fromUnixMillis(6));
      EXPECT_EQ(agent->features, "") << "nothing is held against an agent that nothing is known of";
      EXPECT_FALSE(agent->paused);
      VC_TRY_ASSIGN(const auto intent, r.intent(IntentId("i1")));
      EXPECT_EQ(intent->status, "success");
      EXPECT_EQ(intent->output, "[1]");
      EXPECT_EQ(intent->finishedAt, fromUnixMillis(9));
      EXPECT_FALSE(intent->resultToken || intent->traceparent);
      EXPECT_FALSE(intent->resendable || intent->ttlSeconds || intent->deadline || intent->idempotencyKey)
          << "nothing is sent again that nobody knows enough of";
      VC_TRY_ASSIGN(const auto events, r.intentEvents(IntentId("i1")));
      EXPECT_TRUE(events.empty());
      VC_TRY_ASSIGN(const auto registrations, r.registrations("approved", {}));
      EXPECT_EQ(registrations.total, 1);
      VC_TRY_ASSIGN(const auto audit, r.lastAudit());
      EXPECT_EQ(audit->hash, (Bytes{1}));
      VC_TRY_ASSIGN(const auto tokens, r.apiTokens());
      EXPECT_EQ(tokens.size(), 1U);
      if (tokens.size() == 1) {
        EXPECT_EQ(tokens[0].hash, (Bytes{3, 4}));
        EXPECT_TRUE(tokens[0].user.empty() && tokens[0].scopes.empty());
        EXPECT_FALSE(tokens[0].expiresAt || tokens[0].lastUsedAt || tokens[0].revokedAt);
      }
      VC_TRY_ASSIGN(const auto users, r.users());
      EXPECT_TRUE(users.empty());
      VC_TRY_ASSIGN(const auto meta, r.meta("k"));
      EXPECT_EQ(meta, "v");
      return {};
    }));
  }
  auto store = openControlStore({.path = path_, .writerThread = WriterThread::No});
  VC_EXPECT_OK((*store)->writeBlocking([](ControlWriter& w) -> Status {
    VC_TRY_ASSIGN(auto agent, w.agent(Did("d1")));
    VC_TRY_ASSIGN(auto late, w.intent(IntentId("i2")));
    if (!agent || !late) return Error{Errc::NotFound, "rows are missing"};
    agent->features = "seal";
    agent->paused = "why";
    VC_TRY(w.putAgent(*agent));
    late->status = "success";
    late->resultToken = "signed";
    return w.finishIntent(*late);
  }));
}

}  // namespace
}  // namespace vaultysclaw::store
