#include "../src/audit.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <functional>

#include "base/msgpack.hpp"
#include "base/temporary_directory.hpp"
#include "identity/hash.hpp"

namespace vaultysclaw::control {
namespace {

// A chain in memory that a test may bend; only what verifyChain asks works.
class BentReader final : public store::ControlReader {
 public:
  explicit BentReader(std::vector<store::AuditRow> rows) : rows_(std::move(rows)) {}
  Result<std::vector<store::AuditRow>> auditRange(std::int64_t firstSeq, std::int64_t count) override {
    std::vector<store::AuditRow> out;
    for (const auto& row : rows_) {
      if (row.seq >= firstSeq && std::ssize(out) < count) out.push_back(row);
    }
    return out;
  }
  Result<std::optional<store::AgentRow>> agent(const Did&) override { return no(); }
  Result<std::vector<store::AgentRow>> agents() override { return no(); }
  Result<std::optional<Bytes>> publicId(const Did&) override { return no(); }
  Result<std::optional<store::RegistrationRow>> registration(const RegistrationId&) override { return no(); }
  Result<std::vector<store::RegistrationRow>> pendingRegistrations() override { return no(); }
  Result<store::Listing<store::RegistrationRow>> registrations(std::optional<std::string>, store::Page) override {
    return no();
  }
  Result<std::optional<store::IntentRow>> intent(const IntentId&) override { return no(); }
  Result<store::Listing<store::IntentRow>> intents(const store::IntentFilter&, store::Page) override { return no(); }
  Result<store::Listing<store::AuditRow>> audit(const store::AuditFilter&, store::Page) override { return no(); }
  Result<std::optional<store::AuditRow>> lastAudit() override { return no(); }
  Result<std::vector<store::UserRow>> users() override { return no(); }
  Result<std::vector<store::ApiTokenRow>> apiTokens() override { return no(); }
  Result<std::vector<store::LoginRow>> logins() override { return no(); }
  Result<std::vector<store::WorkspaceRow>> workspaces() override { return no(); }
  Result<std::vector<store::MemberRow>> members() override { return no(); }
  Result<std::vector<store::PlacementRow>> placements() override { return no(); }
  Result<std::vector<store::PolicyRow>> policies() override { return no(); }
  Result<std::vector<store::GrantRow>> grants() override { return no(); }
  Result<std::vector<store::PeerGrantRow>> peerGrants() override { return no(); }
  Result<std::optional<store::IntentRow>> intentByKey(const std::string&, const std::string&) override { return no(); }
  Result<std::vector<store::IntentEventRow>> intentEvents(const IntentId&) override { return no(); }
  Result<std::vector<store::OpenIntent>> openIntents(const std::string&, std::int64_t, std::int64_t) override {
    return no();
  }
  Result<std::optional<std::string>> meta(const std::string&) override { return no(); }

 private:
  static Error no() { return {Errc::Unsupported, "not in this test"}; }
  std::vector<store::AuditRow> rows_;
};

class AuditTest : public ::testing::Test {
 protected:
  AuditTest() {
    auto opened = store::openControlStore({.path = directory_ / "c.db", .writerThread = store::WriterThread::No});
    EXPECT_TRUE(opened.ok());
    store_ = std::move(*opened);
  }
  ~AuditTest() override { store_.reset(); }

  Status append(const std::string& target) {
    return store_->writeBlocking([&](store::ControlWriter& writer) {
      return log_.append(writer, fromUnixMillis(1'700'000'000'000), "operator", "registration.approve", target,
                         R"({"a":1})");
    });
  }
  std::vector<store::AuditRow> chain(int rows) {
    std::vector<store::AuditRow> out;
    for (int i = 1; i <= rows; ++i) EXPECT_TRUE(append("t" + std::to_string(i)).ok());
    EXPECT_TRUE(store_
                    ->readBlocking([&](store::ControlReader& reader) -> Status {
                      VC_TRY_ASSIGN(out, reader.auditRange(1, 10'000));
                      return {};
                    })
                    .ok());
    return out;
  }
  static ControlPlane::AuditCheck check(std::vector<store::AuditRow> rows) {
    BentReader reader(std::move(rows));
    auto result = verifyChain(reader);
    EXPECT_TRUE(result.ok());
    return *result;
  }

  vaultysclaw::testing::TemporaryDirectory directory_;
  std::unique_ptr<store::ControlStore> store_;
  AuditLog log_;
};

TEST_F(AuditTest, HashCoversTheDocumentedBytes) {
  const store::AuditRow row{.seq = 1,
                            .at = fromUnixMillis(-2),
                            .actor = "a",
                            .action = "b",
                            .target = "c",
                            .details = "{}",
                            .previousHash = {7},
                            .hash = {1, 2, 3}};
  // fixarray 7, bin8 1 byte, 1, -2, four short texts
  const Bytes bytes{0x97, 0xc4, 1, 7, 1, 0xfe, 0xa1, 'a', 0xa1, 'b', 0xa1, 'c', 0xa2, '{', '}'};
  EXPECT_EQ(auditHash(row), toBytes(identity::sha256(bytes)));
}

TEST_F(AuditTest, NumbersAndChainsRows) {
  const auto rows = chain(3);
  ASSERT_EQ(rows.size(), 3u);
  EXPECT_EQ(rows[0].previousHash, Bytes(32, 0));
  EXPECT_EQ(rows[1].previousHash, rows[0].hash);
  EXPECT_EQ(rows[2].seq, 3);
  EXPECT_EQ(rows[2].target, "t3");
  EXPECT_EQ(check(rows).rows, 3);
  EXPECT_FALSE(check(rows).firstBroken);
  EXPECT_EQ(check({}).rows, 0);
  EXPECT_FALSE(check({}).firstBroken);
}

TEST_F(AuditTest, LeavesNoRowWhenTheWorkFails) {
  EXPECT_FALSE(store_
                   ->writeBlocking([&](store::ControlWriter& writer) -> Status {
                     VC_TRY(log_.append(writer, {}, "x", "y", "z", "{}"));
                     return Error{Errc::Failed, "after the audit"};
                   })
                   .ok());
  EXPECT_EQ(chain(1).size(), 1u);
}

TEST_F(AuditTest, ShowsEveryChange) {
  const auto good = chain(5);
  const std::function<void(store::AuditRow&)> changes[] = {
      [](auto& r) { r.at += milliseconds(1); }, [](auto& r) { r.actor += "x"; },
      [](auto& r) { r.action += "x"; },         [](auto& r) { r.target += "x"; },
      [](auto& r) { r.details += " "; },        [](auto& r) { std::swap(r.actor, r.action); },
      [](auto& r) { r.previousHash[0] ^= 1; },  [](auto& r) { r.previousHash.clear(); },
      [](auto& r) { r.hash[31] ^= 1; },         [](auto& r) { r.hash.clear(); },
  };
  for (std::size_t at = 0; at < good.size(); ++at) {
    for (const auto& change : changes) {
      auto rows = good;
      change(rows[at]);
      EXPECT_EQ(check(rows).firstBroken, good[at].seq);
      EXPECT_EQ(check(rows).rows, static_cast<std::int64_t>(at));
    }
  }
  auto rehashed = good;  // a forger who recomputes one hash breaks the next row
  rehashed[1].target = "forged";
  rehashed[1].hash = auditHash(rehashed[1]);
  EXPECT_EQ(check(rehashed).firstBroken, 3);
}

TEST_F(AuditTest, ShowsMissingInsertedAndReorderedRows) {
  const auto good = chain(4);
  auto missing = good;
  missing.erase(missing.begin() + 1);
  EXPECT_EQ(check(missing).firstBroken, 3);
  auto headless = good;
  headless.erase(headless.begin());
  EXPECT_EQ(check(headless).firstBroken, 2);
  auto early = good;
  early.insert(early.begin(), good[0]);
  early[0].seq = -5;
  EXPECT_EQ(check(early).firstBroken, -5);
  auto swapped = good;
  std::swap(swapped[1].seq, swapped[2].seq);
  std::swap(swapped[1], swapped[2]);
  EXPECT_EQ(check(swapped).firstBroken, 2);
}

TEST_F(AuditTest, ChecksBeyondOnePage) {
  std::vector<store::AuditRow> rows;
  for (std::int64_t seq = 1; seq <= 2000; ++seq) {
    store::AuditRow row{.seq = seq, .actor = "a", .previousHash = rows.empty() ? Bytes(32, 0) : rows.back().hash};
    row.hash = auditHash(row);
    rows.push_back(std::move(row));
  }
  EXPECT_EQ(check(rows).rows, 2000);
  rows[1000].actor = "b";
  EXPECT_EQ(check(rows).firstBroken, 1001);
}

}  // namespace
}  // namespace vaultysclaw::control
