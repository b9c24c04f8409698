// Rows of users, log-ins, workspaces, policies and grants: kept as written, gone with what they belong to, never
// believed when they are damaged.
#include <gtest/gtest.h>
#include <sqlite3.h>

#include "store/control_store.hpp"
#include "store_testing.hpp"

namespace vaultysclaw::store {
namespace sqlite {
int registerRowSum(sqlite3* db);  // to write rows as an earlier version has
}
namespace {

const std::string kNasty = "a'; DROP TABLE users; -- \"\xC3\xA9\x01";

WallTime at(std::int64_t ms) {
  return fromUnixMillis(ms);
}

class GovernanceRows : public ::testing::Test {
 protected:
  GovernanceRows() { reopen(); }
  void reopen() {
    store_.reset();
    auto opened = openControlStore(
        {.path = path_, .writerThread = WriterThread::No, .onDamagedRow = [this](const DamagedRow& row) {
           told_.push_back(row.table + " " + row.key);
         }});
    ASSERT_TRUE(opened.ok()) << opened.error().message;
    store_ = std::move(*opened);
  }
  void sql(const std::string& text) {
    store_.reset();
    sqlite3* db = nullptr;
    ASSERT_EQ(sqlite3_open(path_.c_str(), &db), SQLITE_OK);
    ASSERT_EQ(sqlite::registerRowSum(db), SQLITE_OK);
    EXPECT_EQ(sqlite3_exec(db, text.c_str(), nullptr, nullptr, nullptr), SQLITE_OK) << sqlite3_errmsg(db);
    sqlite3_close(db);
    reopen();
  }
  Status write(const ControlStore::Work& work) { return store_->writeBlocking(work); }
  template <class Row>
  std::vector<Row> all(Result<std::vector<Row>> (ControlReader::*list)()) {
    std::vector<Row> out;
    VC_EXPECT_OK(store_->readBlocking([&](ControlReader& r) -> Status {
      VC_TRY_ASSIGN(out, (r.*list)());
      return {};
    }));
    return out;
  }
  // Written, replaced by `changed`, read after a restart, deleted, and gone.
  template <class Row, class Put, class Delete>
  void keeps(const Row& row, const Row& changed, Result<std::vector<Row>> (ControlReader::*list)(), Put put,
             Delete remove) {
    VC_EXPECT_OK(write([&](ControlWriter& w) { return (w.*put)(row); }));
    EXPECT_EQ(all(list), std::vector<Row>{row});
    VC_EXPECT_OK(write([&](ControlWriter& w) { return (w.*put)(changed); }));
    reopen();
    EXPECT_EQ(all(list), std::vector<Row>{changed});
    VC_EXPECT_OK(write([&](ControlWriter& w) { return remove(w, changed); }));
    EXPECT_TRUE(all(list).empty());
    VC_EXPECT_ERROR(Errc::NotFound, write([&](ControlWriter& w) { return remove(w, changed); }));
  }

  TemporaryDirectory directory_;
  std::filesystem::path path_ = directory_ / "store.db";
  std::vector<std::string> told_;
  std::unique_ptr<ControlStore> store_;
};

TEST_F(GovernanceRows, AreKeptAsWritten) {
  keeps(LoginRow{LoginId("l"), UserId("u"), Bytes(32, 1), at(1), at(2), at(3), kNasty},
        LoginRow{LoginId("l"), UserId("u"), Bytes(32, 1), at(1), at(9), at(3), kNasty}, &ControlReader::logins,
        &ControlWriter::putLogin, [](ControlWriter& w, const LoginRow& row) { return w.deleteLogin(row.id); });
  keeps(WorkspaceRow{WorkspaceId("w"), kNasty, true, at(1), 1},
        WorkspaceRow{WorkspaceId("w"), "other", false, at(1), 2}, &ControlReader::workspaces,
        &ControlWriter::putWorkspace,
        [](ControlWriter& w, const WorkspaceRow& row) { return w.deleteWorkspace(row.id); });
  const MemberRow member{WorkspaceId(kNasty), UserId("u")};
  keeps(member, member, &ControlReader::members, &ControlWriter::putMember,
        [](ControlWriter& w, const MemberRow& row) { return w.deleteMember(row); });
  const PlacementRow placement{WorkspaceId("w"), Did(kNasty)};
  keeps(placement, placement, &ControlReader::placements, &ControlWriter::putPlacement,
        [](ControlWriter& w, const PlacementRow& row) { return w.deletePlacement(row); });
  PolicyRow policy{PolicyId("p"), kNasty, Did("a"), {}, R"(["x"])", R"({"maxTokensPerDay":1})",
                   at(5),         at(1),  "user:o", {}, 1};
  PolicyRow revoked = policy;
  revoked.agent.reset();
  revoked.workspace = WorkspaceId("w");
  revoked.capabilities.reset();
  revoked.expiresAt.reset();
  revoked.revokedAt = at(7);
  revoked.version = 2;
  keeps(policy, revoked, &ControlReader::policies, &ControlWriter::putPolicy,
        [](ControlWriter& w, const PolicyRow& row) { return w.deletePolicy(row.id); });
  const GrantRow grant{GrantId("g"), UserId("u"), Did("a"), R"(["x"])", at(1), "user:o", at(5), {}, 1};
  keeps(grant, GrantRow{GrantId("g"), UserId("u"), {}, "[]", at(1), "user:o", {}, at(7), 2}, &ControlReader::grants,
        &ControlWriter::putGrant, [](ControlWriter& w, const GrantRow& row) { return w.deleteGrant(row.id); });
  const PeerGrantRow peer{PeerGrantId("g"), Did("a"), Did("b"), R"(["x"])", kNasty, at(1), "user:o", at(5), {}, 1};
  PeerGrantRow revokedPeer = peer;
  revokedPeer.revokedAt = at(9);
  keeps(peer, revokedPeer, &ControlReader::peerGrants, &ControlWriter::putPeerGrant,
        [](ControlWriter& w, const PeerGrantRow& row) { return w.deletePeerGrant(row.id); });
  const UserRow user{UserId("u"), "ann", "owner", false, at(1), 3, "did:vaultys:01", "scrypt$"};
  VC_EXPECT_OK(write([&](ControlWriter& w) { return w.putUser(user); }));
  EXPECT_EQ(all(&ControlReader::users), std::vector<UserRow>{user});
}

TEST_F(GovernanceRows, AreListedByCreation) {
  VC_EXPECT_OK(write([](ControlWriter& w) -> Status {
    for (const int i : {3, 1, 2})
      VC_TRY(w.putGrant({.id = GrantId(std::to_string(i)), .user = UserId("u"), .createdAt = at(i)}));
    return {};
  }));
  std::string order;
  for (const GrantRow& row : all(&ControlReader::grants)) order += row.id.value;
  EXPECT_EQ(order, "123");
}

TEST_F(GovernanceRows, TwoWorkspacesOrCookiesAreNeverTheSame) {
  VC_EXPECT_OK(write([](ControlWriter& w) { return w.putWorkspace({.id = WorkspaceId("1"), .name = "n"}); }));
  VC_EXPECT_ERROR(Errc::Conflict,
                  write([](ControlWriter& w) { return w.putWorkspace({.id = WorkspaceId("2"), .name = "n"}); }));
  VC_EXPECT_OK(write([](ControlWriter& w) { return w.putLogin({.id = LoginId("1"), .hash = Bytes(32, 1)}); }));
  VC_EXPECT_ERROR(Errc::Conflict,
                  write([](ControlWriter& w) { return w.putLogin({.id = LoginId("2"), .hash = Bytes(32, 1)}); }));
}

TEST_F(GovernanceRows, GoWithWhatTheyBelongTo) {
  VC_EXPECT_OK(write([](ControlWriter& w) -> Status {
    VC_TRY(w.putAgent({.did = Did("a"), .publicId = {1}}));
    for (const char* id : {"1", "2"}) {
      VC_TRY(w.putUser({.id = UserId(id), .name = id}));
      VC_TRY(w.putWorkspace({.id = WorkspaceId(id), .name = id}));
      VC_TRY(w.putMember({WorkspaceId(id), UserId("1")}));
      VC_TRY(w.putMember({WorkspaceId(id), UserId("2")}));
      VC_TRY(w.putPlacement({WorkspaceId(id), Did("a")}));
      VC_TRY(w.putPlacement({WorkspaceId(id), Did("b")}));
      VC_TRY(w.putLogin({.id = LoginId(id), .user = UserId(id), .hash = Bytes(32, static_cast<std::uint8_t>(*id))}));
    }
    VC_TRY(w.deleteUser(UserId("1")));
    VC_TRY(w.deleteAgent(Did("a")));
    return w.deleteWorkspace(WorkspaceId("1"));
  }));
  EXPECT_EQ(all(&ControlReader::logins).at(0).id, LoginId("2"));
  EXPECT_EQ(all(&ControlReader::logins).size(), 1U);
  EXPECT_EQ(all(&ControlReader::members), (std::vector<MemberRow>{{WorkspaceId("2"), UserId("2")}}));
  EXPECT_EQ(all(&ControlReader::placements), (std::vector<PlacementRow>{{WorkspaceId("2"), Did("b")}}));
}

TEST_F(GovernanceRows, ThatAreDamagedGrantNothing) {
  VC_EXPECT_OK(write([](ControlWriter& w) -> Status {
    VC_TRY(w.putLogin({.id = LoginId("1"), .user = UserId("u"), .hash = Bytes(32, 1)}));
    VC_TRY(w.putWorkspace({.id = WorkspaceId("1"), .name = "n"}));
    VC_TRY(w.putMember({WorkspaceId("1"), UserId("u")}));
    VC_TRY(w.putPlacement({WorkspaceId("1"), Did("a")}));
    VC_TRY(w.putPolicy({.id = PolicyId("1")}));
    VC_TRY(w.putGrant({.id = GrantId("1"), .user = UserId("u")}));
    return w.putPeerGrant({.id = PeerGrantId("1"), .source = Did("a"), .target = Did("b")});
  }));
  sql("UPDATE logins SET user_id = 'x'; UPDATE workspaces SET name = 'x'; UPDATE members SET user_id = 'x';"
      "UPDATE placements SET agent = 'x'; UPDATE policies SET capabilities = '[]'; UPDATE grants SET user_id = 'x';"
      "UPDATE peer_grants SET target = 'x'");
  EXPECT_TRUE(all(&ControlReader::logins).empty());
  EXPECT_TRUE(all(&ControlReader::workspaces).empty());
  EXPECT_TRUE(all(&ControlReader::members).empty());
  EXPECT_TRUE(all(&ControlReader::placements).empty());
  EXPECT_TRUE(all(&ControlReader::policies).empty());
  EXPECT_TRUE(all(&ControlReader::grants).empty());
  EXPECT_TRUE(all(&ControlReader::peerGrants).empty());
  EXPECT_EQ(told_, (std::vector<std::string>{"logins 1", "workspaces 1", "members x of 1", "placements x of 1",
                                             "policies 1", "grants 1", "peer_grants 1"}));
}

TEST_F(GovernanceRows, OfVersion6GetNewSumsAndDamagedOnesDoNot) {
  // As the version before has them.
  sql("DROP TABLE logins; DROP TABLE workspaces; DROP TABLE members; DROP TABLE placements; DROP TABLE policies;"
      "DROP TABLE grants; DROP TABLE peer_grants; ALTER TABLE users DROP COLUMN did;"
      "ALTER TABLE users DROP COLUMN password_hash; PRAGMA user_version = 6;"
      "INSERT INTO users (id, name, role, disabled, created_at, version, sum) VALUES ('1', 'ann', 'owner', 0, 5, 2, "
      "row_sum('users', '1', 'ann', 'owner', 0, 5, 2)), ('2', 'eve', 'owner', 0, 6, 1, 77);");
  const UserRow ann{UserId("1"), "ann", "owner", false, at(5), 2, "", ""};
  EXPECT_EQ(all(&ControlReader::users), std::vector<UserRow>{ann});
  EXPECT_EQ(told_, std::vector<std::string>{"users 2"});
  VC_EXPECT_OK(write([](ControlWriter& w) { return w.putGrant({.id = GrantId("1"), .user = UserId("1")}); }));
}

}  // namespace
}  // namespace vaultysclaw::store
