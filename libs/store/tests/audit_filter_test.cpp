// What of the audit a filter finds, against every row looked at one by one.
#include <algorithm>
#include <random>

#include "store/control_store.hpp"
#include "store_testing.hpp"

namespace vaultysclaw::store {
namespace {

using Numbers = std::vector<std::int64_t>;

class AuditFilters : public ::testing::Test {
 protected:
  AuditFilters() {
    auto opened = openControlStore({.path = directory_ / "control.db", .writerThread = WriterThread::No});
    EXPECT_TRUE(opened.ok());
    store_ = std::move(*opened);
  }

  void append(WallTime at, std::string actor, std::string action, std::string target) {
    rows_.push_back({.seq = static_cast<std::int64_t>(rows_.size()) + 1,
                     .at = at,
                     .actor = std::move(actor),
                     .action = std::move(action),
                     .target = std::move(target),
                     .previousHash = {},
                     .hash = {1}});
  }
  void append(std::int64_t at, std::string action = "a") { append(fromUnixMillis(at), "me", std::move(action), "t"); }
  // What was appended since the last call.
  void write() {
    VC_EXPECT_OK(store_->writeBlocking([&](ControlWriter& w) -> Status {
      for (; written_ < rows_.size(); ++written_) VC_TRY(w.appendAudit(rows_[written_]));
      return {};
    }));
  }
  Listing<AuditRow> read(const AuditFilter& filter, Page page = {0, 1'000'000}) {
    Listing<AuditRow> listing;
    VC_EXPECT_OK(store_->readBlocking([&](ControlReader& r) -> Status {
      VC_TRY_ASSIGN(listing, r.audit(filter, page));
      return {};
    }));
    return listing;
  }
  static Numbers numbersOf(const Listing<AuditRow>& listing) {
    Numbers numbers;
    for (const AuditRow& row : listing.items) numbers.push_back(row.seq);
    return numbers;
  }
  Numbers expected(const AuditFilter& f) const {
    Numbers numbers;
    for (const AuditRow& row : rows_) {
      if ((f.actor && row.actor != *f.actor) || (f.action && row.action != *f.action) ||
          (f.target && row.target != *f.target) || (f.actionPrefix && !row.action.starts_with(*f.actionPrefix)) ||
          (f.since && row.at < *f.since) || (f.until && row.at >= *f.until) || (f.before && row.seq >= *f.before) ||
          (f.after && row.seq <= *f.after))
        continue;
      numbers.push_back(row.seq);
    }
    if (!f.after) std::reverse(numbers.begin(), numbers.end());
    return numbers;
  }
  void compare(const AuditFilter& filter) {
    const Listing<AuditRow> found = read(filter);
    const Numbers wanted = expected(filter);
    EXPECT_EQ(numbersOf(found), wanted);
    const bool counted = !filter.before && !filter.after;
    EXPECT_EQ(found.total, counted ? static_cast<std::int64_t>(wanted.size()) : 0);
  }

  TemporaryDirectory directory_;
  std::unique_ptr<ControlStore> store_;
  std::vector<AuditRow> rows_;
  std::size_t written_ = 0;
};

AuditFilter between(std::optional<std::int64_t> since, std::optional<std::int64_t> until) {
  AuditFilter filter;
  if (since) filter.since = fromUnixMillis(*since);
  if (until) filter.until = fromUnixMillis(*until);
  return filter;
}

TEST_F(AuditFilters, TimesAreFromTheFirstOnAndBeforeTheSecond) {
  for (std::int64_t at : {10, 20, 20, 30}) append(at);
  write();
  EXPECT_EQ(numbersOf(read(between(20, {}))), (Numbers{4, 3, 2}));
  EXPECT_EQ(numbersOf(read(between({}, 20))), (Numbers{1}));
  EXPECT_EQ(numbersOf(read(between(20, 21))), (Numbers{3, 2}));
  EXPECT_EQ(numbersOf(read(between(20, 20))), Numbers());
  EXPECT_EQ(numbersOf(read(between(31, {}))), Numbers());
  EXPECT_EQ(read(between(20, {})).total, 3);
}

// Whole blocks of rows are left out by their times; none that counts is, whatever the clock did.
TEST_F(AuditFilters, FindARowByItsTimeAlsoWhenTheClockWasSetBack) {
  std::int64_t clock = 1'000'000;
  for (int i = 0; i < 6000; ++i) {
    if (i == 2500) clock -= 900'000;  // back, and for good
    if (i == 4100) clock += 800'000;
    append(clock += i % 7 == 0 ? -3 : 10);  // two that were written at once may have changed places
  }
  write();
  for (std::int64_t at = 0; at < 1'100'000; at += 7'919) {
    compare(between(at, {}));
    compare(between({}, at));
    compare(between(at, at + 500));
    compare(between(at, at + 100'000));
  }
  // Rows that come later are found as well, those of new blocks and those behind them.
  for (int round = 0; round < 4; ++round) {
    for (int i = 0; i < 700; ++i) append(clock += 10);
    write();
    compare(between(clock - 20'000, {}));
    compare(between(clock - 10, {}));
    compare(between(clock - 9'000, clock - 8'000));
    compare(between(0, 150'000));
  }
}

TEST_F(AuditFilters, AnActionMayBeGivenByItsBeginning) {
  for (const char* action : {"key.create", "intent.send", "key.revoke", "keys", "intent.result", "intent.cancel",
                             "key.", "kex", "key\xff", "k"})
    append(1, action);
  write();
  for (const char* prefix : {"key.", "key", "k", "", "intent.", "intent.c", "intent.send", "intent.result", "zzz",
                             "key\xff", "\xff", "key.create", "i"}) {
    AuditFilter filter;
    filter.actionPrefix = prefix;
    compare(filter);
    filter.before = 9;
    compare(filter);
    filter = {};
    filter.actionPrefix = prefix;
    filter.action = "intent.send";
    compare(filter);
  }
}

TEST_F(AuditFilters, PagesByNumberStayWhileRowsAreAdded) {
  for (int i = 0; i < 25; ++i) append(i, i % 2 == 0 ? "even" : "odd");
  write();
  Numbers seen;
  AuditFilter filter;
  filter.action = "even";
  filter.before = 1000;
  for (;;) {
    const Numbers page = numbersOf(read(filter, {.offset = 0, .limit = 4}));
    seen.insert(seen.end(), page.begin(), page.end());
    if (page.size() < 4) break;
    filter.before = page.back();
    append(100, "even");
    write();
  }
  EXPECT_EQ(seen, (Numbers{25, 23, 21, 19, 17, 15, 13, 11, 9, 7, 5, 3, 1}));
}

TEST_F(AuditFilters, AfterANumberTheOldestComeFirst) {
  for (int i = 0; i < 5; ++i) append(i);
  write();
  AuditFilter filter;
  filter.after = 2;
  EXPECT_EQ(numbersOf(read(filter)), (Numbers{3, 4, 5}));
  EXPECT_EQ(numbersOf(read(filter, {.offset = 0, .limit = 2})), (Numbers{3, 4}));
  filter.before = 5;
  EXPECT_EQ(numbersOf(read(filter)), (Numbers{3, 4}));
  filter.after = 5;
  filter.before.reset();
  EXPECT_EQ(numbersOf(read(filter)), Numbers());
  filter.after = std::numeric_limits<std::int64_t>::max();
  EXPECT_EQ(numbersOf(read(filter)), Numbers());
}

TEST_F(AuditFilters, AllTogetherFindWhatEachFinds) {
  std::mt19937_64 random(7);
  const auto one = [&](std::initializer_list<const char*> of) {
    return std::string(*(of.begin() + static_cast<std::ptrdiff_t>(random() % of.size())));
  };
  const auto actor = [&] { return one({"user:ann", "user:bob", "system"}); };
  const auto action = [&] { return one({"intent.send", "intent.result", "key.create", "key.revoke", "agent.pause"}); };
  for (int i = 0; i < 3000; ++i)
    append(fromUnixMillis(i * 10 + static_cast<std::int64_t>(random() % 30)), actor(), action(), one({"x", "y"}));
  write();
  const auto sometimes = [&] { return random() % 3 == 0; };
  for (int i = 0; i < 300; ++i) {
    AuditFilter filter;
    if (sometimes()) filter.actor = actor();
    if (sometimes()) filter.action = action();
    if (sometimes()) filter.target = "x";
    if (sometimes()) filter.actionPrefix = one({"key.", "intent.", "a", "intent.r", ""});
    if (sometimes()) filter.since = fromUnixMillis(static_cast<std::int64_t>(random() % 32'000));
    if (sometimes()) filter.until = fromUnixMillis(static_cast<std::int64_t>(random() % 32'000));
    if (sometimes()) filter.before = static_cast<std::int64_t>(random() % 3'200);
    if (sometimes()) filter.after = static_cast<std::int64_t>(random() % 3'200);
    compare(filter);
  }
}

// What a writer has not committed is not remembered.
TEST_F(AuditFilters, AWriterFindsItsOwnRowsByTheirTimes) {
  for (int i = 0; i < 1500; ++i) append(i);
  EXPECT_FALSE(store_
                   ->writeBlocking([&](ControlWriter& w) -> Status {
                     for (const AuditRow& row : rows_) VC_TRY(w.appendAudit(row));
                     VC_TRY_ASSIGN(const auto found, w.audit(between(1499, {}), {}));
                     EXPECT_EQ(found.total, 1);
                     return Error{Errc::Conflict, "undone"};
                   })
                   .ok());
  EXPECT_EQ(read(between(0, {})).total, 0);
  rows_.clear();
  for (int i = 0; i < 1500; ++i) append(5'000 + i);
  write();
  compare(between(5'000, {}));
  compare(between(0, 5'000));
}

}  // namespace
}  // namespace vaultysclaw::store
