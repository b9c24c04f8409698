// What every backend of ControlStore must do: add a Backend to kBackends, and all of it runs there too.
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "store/control_store.hpp"
#include "store_testing.hpp"

namespace vaultysclaw::store {
namespace {

struct Backend {
  const char* name;
  WriterThread writerThread;
  // Opens what earlier calls with the same directory wrote.
  Result<std::unique_ptr<ControlStore>> (*open)(const TemporaryDirectory& directory, WriterThread writerThread);
};

Result<std::unique_ptr<ControlStore>> openSqlite(const TemporaryDirectory& directory, WriterThread writerThread) {
  return openControlStore({.path = directory / "control.db", .writerThread = writerThread});
}

constexpr Backend kBackends[] = {{"SqliteWithThread", WriterThread::Yes, openSqlite},
                                 {"SqliteOnCaller", WriterThread::No, openSqlite}};

// Quotes, control characters, NUL and bytes that are not UTF-8: everything a foreign name may try.
constexpr char kNastyText[] = "'); DROP TABLE agents; -- \" ; \0 \n \xc3\xa9 \xff %s";
const std::string kNasty(kNastyText, sizeof kNastyText - 1);

class ControlStoreContract : public ::testing::TestWithParam<Backend> {
 protected:
  void SetUp() override { reopen(); }

  void reopen() {
    store_.reset();
    auto opened = GetParam().open(directory_, GetParam().writerThread);
    ASSERT_TRUE(opened.ok()) << opened.error().message;
    store_ = std::move(*opened);
  }
  // Durability of each write: whoever reads next is a new store on the same file.
  Status write(const ControlStore::Work& work) {
    const Status status = store_->writeBlocking(work);
    reopen();
    return status;
  }
  template <class Read>
  auto read(Read&& query) {
    std::optional<std::invoke_result_t<Read, ControlReader&>> out;
    VC_EXPECT_OK(store_->readBlocking([&](ControlReader& reader) -> Status {
      out.emplace(query(reader));
      return {};
    }));
    EXPECT_TRUE(out->ok()) << (out->ok() ? "" : out->error().message);
    return std::move(**out);
  }

  static AgentRow agent(const std::string& did) {
    return {.did = Did(did),
            .publicId = {1, 0, 255},
            .name = kNasty,
            .capabilities = R"(["a"])",
            .requestedCapabilities = R"(["a","b"])",
            .limits = R"({"x":1})",
            .policyId = kNasty,
            .policyExpiresAt = fromUnixMillis(99),
            .handshakeVersion = 2,
            .createdAt = fromUnixMillis(5),
            .lastSeenAt = fromUnixMillis(-1),
            .features = "a\nb",
            .paused = kNasty};
  }
  static IntentRow intent(const std::string& id, const std::string& did = "d1", std::int64_t at = 10) {
    return {.id = IntentId(id),
            .did = Did(did),
            .action = "act",
            .params = R"({"q":"'"})",
            .token = "tok",
            .status = "pending",
            .requestedBy = "operator",
            .createdAt = fromUnixMillis(at)};
  }
  static AuditRow auditRow(std::int64_t seq, const std::string& actor = "operator", const std::string& action = "a") {
    return {.seq = seq,
            .at = fromUnixMillis(seq),
            .actor = actor,
            .action = action,
            .target = kNasty,
            .details = "{}",
            .previousHash = {9},
            .hash = {8, 7}};
  }

  TemporaryDirectory directory_;
  std::unique_ptr<ControlStore> store_;
};

TEST_P(ControlStoreContract, KeepsAgents) {
  AgentRow bare{.did = Did("did:2"), .publicId = {}, .name = "", .createdAt = fromUnixMillis(4)};
  VC_EXPECT_OK(write([&](ControlWriter& w) { return w.putAgent(agent("did:1")); }));
  VC_EXPECT_OK(write([&](ControlWriter& w) { return w.putAgent(bare); }));
  const auto one = read([](ControlReader& r) { return r.agent(Did("did:1")); });
  ASSERT_TRUE(one);
  EXPECT_EQ(one->did, Did("did:1"));
  EXPECT_EQ(one->publicId, (Bytes{1, 0, 255}));
  EXPECT_EQ(one->name, kNasty);
  EXPECT_EQ(one->capabilities, R"(["a"])");
  EXPECT_EQ(one->requestedCapabilities, R"(["a","b"])");
  EXPECT_EQ(one->limits, R"({"x":1})");
  EXPECT_EQ(one->policyId, kNasty);
  EXPECT_EQ(one->policyExpiresAt, fromUnixMillis(99));
  EXPECT_EQ(one->handshakeVersion, 2);
  EXPECT_EQ(one->createdAt, fromUnixMillis(5));
  EXPECT_EQ(one->lastSeenAt, fromUnixMillis(-1));
  EXPECT_EQ(one->features, "a\nb");
  EXPECT_EQ(one->paused, kNasty);
  const auto all = read([](ControlReader& r) { return r.agents(); });
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(all[0].did, Did("did:2"));
  EXPECT_FALSE(all[0].policyId || all[0].policyExpiresAt || all[0].lastSeenAt || all[0].paused);
  EXPECT_EQ(all[0].features, "");
  EXPECT_FALSE(read([](ControlReader& r) { return r.agent(Did("did:' OR 1=1 --")); }));
}

TEST_P(ControlStoreContract, ReplacesAgentsButNeverLowersTheHandshakeVersion) {
  VC_EXPECT_OK(write([&](ControlWriter& w) { return w.putAgent(agent("did:1")); }));
  AgentRow changed = agent("did:1");
  changed.name = "new";
  changed.policyId.reset();
  changed.handshakeVersion = 1;
  VC_EXPECT_OK(write([&](ControlWriter& w) { return w.putAgent(changed); }));
  const auto one = read([](ControlReader& r) { return r.agent(Did("did:1")); });
  EXPECT_EQ(one->name, "new");
  EXPECT_FALSE(one->policyId);
  EXPECT_EQ(one->handshakeVersion, 2);
  VC_EXPECT_OK(write([&](ControlWriter& w) { return w.touchAgent(Did("did:1"), fromUnixMillis(77)); }));
  EXPECT_EQ(read([](ControlReader& r) { return r.agent(Did("did:1")); })->lastSeenAt, fromUnixMillis(77));
}

TEST_P(ControlStoreContract, ResetsPinsAlone) {
  VC_EXPECT_OK(write([&](ControlWriter& w) { return w.putAgent(agent("did:1")); }));
  VC_EXPECT_OK(write([&](ControlWriter& w) { return w.putAgent(agent("did:2")); }));
  VC_EXPECT_OK(write([&](ControlWriter& w) { return w.resetPin(Did("did:1")); }));
  VC_EXPECT_ERROR(Errc::NotFound, write([&](ControlWriter& w) { return w.resetPin(Did("did:3")); }));
  const auto one = read([](ControlReader& r) { return r.agent(Did("did:1")); });
  EXPECT_EQ(one->features, "");
  EXPECT_EQ(one->handshakeVersion, 0);
  EXPECT_EQ(one->name, kNasty);
  EXPECT_EQ(one->paused, kNasty);
  EXPECT_EQ(read([](ControlReader& r) { return r.agent(Did("did:2")); })->features, "a\nb");
  AgentRow again = *one;
  again.handshakeVersion = 1;
  VC_EXPECT_OK(write([&](ControlWriter& w) { return w.putAgent(again); }));
  EXPECT_EQ(read([](ControlReader& r) { return r.agent(Did("did:1")); })->handshakeVersion, 1);
}

TEST_P(ControlStoreContract, KnowsThePublicIdOfADeletedAgent) {
  RegistrationRow row{.id = RegistrationId("r1"), .did = Did("d1"), .publicId = {4, 5}, .status = "approved"};
  VC_EXPECT_OK(write([&](ControlWriter& w) { return w.putRegistration(row); }));
  EXPECT_EQ(read([](ControlReader& r) { return r.publicId(Did("d1")); }), (Bytes{4, 5}));
  VC_EXPECT_OK(write([&](ControlWriter& w) { return w.putAgent(agent("d1")); }));
  EXPECT_EQ(read([](ControlReader& r) { return r.publicId(Did("d1")); }), (Bytes{1, 0, 255}));
  VC_EXPECT_OK(write([&](ControlWriter& w) { return w.deleteAgent(Did("d1")); }));
  EXPECT_EQ(read([](ControlReader& r) { return r.publicId(Did("d1")); }), (Bytes{4, 5}));
  EXPECT_FALSE(read([](ControlReader& r) { return r.publicId(Did("d2")); }));
}

TEST_P(ControlStoreContract, DeletesAgentsAndLeavesTheirIntents) {
  VC_EXPECT_OK(write([&](ControlWriter& w) { return w.putAgent(agent("d1")); }));
  VC_EXPECT_OK(write([&](ControlWriter& w) { return w.insertIntent(intent("i1")); }));
  VC_EXPECT_OK(write([&](ControlWriter& w) { return w.deleteAgent(Did("d1")); }));
  VC_EXPECT_ERROR(Errc::NotFound, write([&](ControlWriter& w) { return w.deleteAgent(Did("d1")); }));
  VC_EXPECT_ERROR(Errc::NotFound, write([&](ControlWriter& w) { return w.touchAgent(Did("d1"), {}); }));
  EXPECT_TRUE(read([](ControlReader& r) { return r.intent(IntentId("i1")); }));
}

TEST_P(ControlStoreContract, KeepsRegistrations) {
  RegistrationRow row{.id = RegistrationId("r1"),
                      .did = Did("d1"),
                      .publicId = {3},
                      .name = kNasty,
                      .requestedCapabilities = "[]",
                      .address = "127.0.0.1",
                      .status = "pending",
                      .reason = "",
                      .handshakeVersion = 2,
                      .createdAt = fromUnixMillis(50)};
  VC_EXPECT_OK(write([&](ControlWriter& w) { return w.putRegistration(row); }));
  row.id = RegistrationId("r2");
  row.createdAt = fromUnixMillis(40);
  VC_EXPECT_OK(write([&](ControlWriter& w) { return w.putRegistration(row); }));
  auto pending = read([](ControlReader& r) { return r.pendingRegistrations(); });
  ASSERT_EQ(pending.size(), 2u);
  EXPECT_EQ(pending[0].id, RegistrationId("r2"));
  row.status = "rejected";
  row.reason = kNasty;
  row.decidedAt = fromUnixMillis(60);
  row.decidedBy = "operator";
  VC_EXPECT_OK(write([&](ControlWriter& w) { return w.putRegistration(row); }));
  EXPECT_EQ(read([](ControlReader& r) { return r.pendingRegistrations(); }).size(), 1u);
  const auto decided = read([](ControlReader& r) { return r.registration(RegistrationId("r2")); });
  ASSERT_TRUE(decided);
  EXPECT_EQ(decided->did, Did("d1"));
  EXPECT_EQ(decided->publicId, Bytes{3});
  EXPECT_EQ(decided->name, kNasty);
  EXPECT_EQ(decided->address, "127.0.0.1");
  EXPECT_EQ(decided->status, "rejected");
  EXPECT_EQ(decided->reason, kNasty);
  EXPECT_EQ(decided->handshakeVersion, 2);
  EXPECT_EQ(decided->createdAt, fromUnixMillis(40));
  EXPECT_EQ(decided->decidedAt, fromUnixMillis(60));
  EXPECT_EQ(decided->decidedBy, "operator");
  const auto all = read([](ControlReader& r) { return r.registrations(std::nullopt, {}); });
  EXPECT_EQ(all.total, 2);
  EXPECT_EQ(all.items[0].id, RegistrationId("r1"));
  const auto rejected = read([](ControlReader& r) { return r.registrations("rejected", {}); });
  EXPECT_EQ(rejected.total, 1);
  EXPECT_EQ(rejected.items[0].id, RegistrationId("r2"));
  EXPECT_FALSE(read([](ControlReader& r) { return r.registration(RegistrationId("r3")); }));
}

TEST_P(ControlStoreContract, EndsIntentsOnce) {
  VC_EXPECT_OK(write([&](ControlWriter& w) { return w.insertIntent(intent("i1")); }));
  IntentRow other = intent("i1");
  other.action = "other";
  VC_EXPECT_ERROR(Errc::Conflict, write([&](ControlWriter& w) { return w.insertIntent(other); }));
  IntentRow end = intent("i1");
  end.action = "ignored";
  VC_EXPECT_ERROR(Errc::InvalidArgument, write([&](ControlWriter& w) { return w.finishIntent(end); }));
  end.status = "success";
  end.output = R"({"big":1.50})";
  end.executedAt = fromUnixMillis(20);
  end.finishedAt = fromUnixMillis(30);
  end.resultToken = "signed";
  end.traceparent = "ignored";
  VC_EXPECT_OK(write([&](ControlWriter& w) { return w.finishIntent(end); }));
  end.status = "failed";
  end.error = "late";
  VC_EXPECT_ERROR(Errc::Conflict, write([&](ControlWriter& w) { return w.finishIntent(end); }));
  end.id = IntentId("i2");
  VC_EXPECT_ERROR(Errc::NotFound, write([&](ControlWriter& w) { return w.finishIntent(end); }));
  const auto row = read([](ControlReader& r) { return r.intent(IntentId("i1")); });
  ASSERT_TRUE(row);
  EXPECT_EQ(row->action, "act");
  EXPECT_EQ(row->params, R"({"q":"'"})");
  EXPECT_EQ(row->token, "tok");
  EXPECT_EQ(row->status, "success");
  EXPECT_EQ(row->output, R"({"big":1.50})");
  EXPECT_FALSE(row->error || row->code || row->userDid);
  EXPECT_EQ(row->requestedBy, "operator");
  EXPECT_EQ(row->executedAt, fromUnixMillis(20));
  EXPECT_EQ(row->finishedAt, fromUnixMillis(30));
  EXPECT_EQ(row->resultToken, "signed");
  EXPECT_FALSE(row->traceparent);
}

TEST_P(ControlStoreContract, AnIntentThatEndedWithoutAnAnswerTakesALateOneOnce) {
  for (const std::string ended : {"lost", "timeout"}) {
    IntentRow end = intent(ended);
    end.traceparent = "00-1";
    VC_EXPECT_OK(write([&](ControlWriter& w) { return w.insertIntent(end); }));
    end.status = ended;
    VC_EXPECT_OK(write([&](ControlWriter& w) { return w.finishIntent(end); }));
    for (const char* without : {"timeout", "lost"}) {
      end.status = without;
      VC_EXPECT_ERROR(Errc::Conflict, write([&](ControlWriter& w) { return w.finishIntent(end); }));
    }
    end.status = "success";
    end.output = "1";
    end.resultToken = "signed";
    VC_EXPECT_OK(write([&](ControlWriter& w) { return w.finishIntent(end); }));
    end.status = "failed";
    VC_EXPECT_ERROR(Errc::Conflict, write([&](ControlWriter& w) { return w.finishIntent(end); }));
    const auto row = read([&](ControlReader& r) { return r.intent(IntentId(ended)); });
    EXPECT_EQ(row->status, "success");
    EXPECT_EQ(row->output, "1");
    EXPECT_EQ(row->resultToken, "signed");
    EXPECT_EQ(row->traceparent, "00-1");
  }
}

TEST_P(ControlStoreContract, AnIntentThatWaitsIsSentAndSentAgain) {
  IntentRow row = intent("i1");
  row.token = "";
  row.status = "queued";
  row.timeoutMs = 60'000;
  row.ttlSeconds = 7;
  VC_EXPECT_OK(write([&](ControlWriter& w) { return w.insertIntent(row); }));
  const auto send = [&](const std::string& token, int at, bool resendable) {
    return write([&](ControlWriter& w) {
      return w.recordSend(IntentId("i1"), {token, fromUnixMillis(at), fromUnixMillis(at + 60'000), resendable});
    });
  };
  const auto now = [&] { return *read([](ControlReader& r) { return r.intent(IntentId("i1")); }); };
  EXPECT_EQ(now().timeoutMs, 60'000);
  EXPECT_EQ(now().ttlSeconds, 7);
  EXPECT_FALSE(now().sentAt || now().deadline || now().resendable);
  VC_EXPECT_OK(send("one", 10, false));
  EXPECT_EQ(now().status, "pending");
  EXPECT_EQ(now().token, "one");
  EXPECT_EQ(now().sentAt, fromUnixMillis(10));
  EXPECT_EQ(now().deadline, fromUnixMillis(60'010));
  EXPECT_EQ(now().sends, 1);
  EXPECT_FALSE(now().resendable);
  VC_EXPECT_OK(write(
      [&](ControlWriter& w) { return w.addIntentEvent(IntentId("i1"), {fromUnixMillis(11), "busy", kNasty, {}}); }));
  VC_EXPECT_OK(write([&](ControlWriter& w) { return w.requeueIntent(IntentId("i1")); }));
  EXPECT_EQ(now().status, "queued");
  EXPECT_FALSE(now().deadline);
  VC_EXPECT_ERROR(Errc::Conflict, write([&](ControlWriter& w) { return w.requeueIntent(IntentId("i1")); }));
  VC_EXPECT_OK(send("two", 20, true));
  EXPECT_EQ(now().status, "pending");
  EXPECT_EQ(now().token, "one") << "the first";
  EXPECT_EQ(now().sentAt, fromUnixMillis(10));
  EXPECT_EQ(now().deadline, fromUnixMillis(60'020));
  EXPECT_EQ(now().sends, 2);
  EXPECT_TRUE(now().resendable);
  const auto events = read([](ControlReader& r) { return r.intentEvents(IntentId("i1")); });
  ASSERT_EQ(events.size(), 2U);
  EXPECT_EQ(events[0].event, "busy");
  EXPECT_EQ(events[0].detail, kNasty);
  EXPECT_FALSE(events[0].token);
  EXPECT_EQ(events[1].event, "resent");
  EXPECT_EQ(events[1].detail, "2");
  EXPECT_EQ(events[1].token, "two");
  EXPECT_EQ(events[1].at, fromUnixMillis(20));
  IntentRow end = now();
  end.status = "success";
  VC_EXPECT_OK(write([&](ControlWriter& w) { return w.finishIntent(end); }));
  VC_EXPECT_ERROR(Errc::Conflict, send("three", 30, true));
  VC_EXPECT_ERROR(Errc::Conflict, write([&](ControlWriter& w) { return w.requeueIntent(IntentId("i1")); }));
  VC_EXPECT_ERROR(Errc::NotFound, write([&](ControlWriter& w) { return w.recordSend(IntentId("i2"), {}); }));
  VC_EXPECT_ERROR(Errc::NotFound, write([&](ControlWriter& w) { return w.requeueIntent(IntentId("i2")); }));
}

TEST_P(ControlStoreContract, AQueuedIntentEndsUnsent) {
  IntentRow row = intent("i1");
  row.status = "queued";
  VC_EXPECT_OK(write([&](ControlWriter& w) { return w.insertIntent(row); }));
  VC_EXPECT_ERROR(Errc::InvalidArgument, write([&](ControlWriter& w) { return w.finishIntent(row); }));
  row.status = "expired";
  VC_EXPECT_OK(write([&](ControlWriter& w) { return w.finishIntent(row); }));
  row.status = "success";
  VC_EXPECT_ERROR(Errc::Conflict, write([&](ControlWriter& w) { return w.finishIntent(row); }));
}

TEST_P(ControlStoreContract, EventsAndTokensOfAnIntentAreBounded) {
  VC_EXPECT_OK(write([&](ControlWriter& w) { return w.insertIntent(intent("i1")); }));
  const int many = static_cast<int>(kMaxIntentEvents) + 40;
  for (int i = 1; i <= many; ++i) {
    VC_EXPECT_OK(write([&](ControlWriter& w) -> Status {
      VC_TRY(w.addIntentEvent(IntentId("i1"), {fromUnixMillis(i), "busy", std::to_string(i), {}}));
      return w.recordSend(IntentId("i1"), {"t" + std::to_string(i), fromUnixMillis(i), fromUnixMillis(i), true});
    }));
  }
  std::vector<std::string> tokens;
  std::int64_t others = 0;
  std::string last;
  for (const auto& event : read([](ControlReader& r) { return r.intentEvents(IntentId("i1")); })) {
    if (event.token) {
      tokens.push_back(*event.token);
    } else {
      ++others;
      last = event.event;
    }
  }
  EXPECT_EQ(others, kMaxIntentEvents);
  EXPECT_EQ(last, "more");
  EXPECT_EQ(static_cast<std::int64_t>(tokens.size()), kMaxIntentTokens - 1);
  EXPECT_EQ(tokens.back(), "t" + std::to_string(many));
  EXPECT_EQ(read([](ControlReader& r) { return r.intent(IntentId("i1")); })->token, "tok") << "the first one stays";
}

TEST_P(ControlStoreContract, AKeyBelongsToOneIntentOfItsCaller) {
  IntentRow row = intent("i1");
  row.idempotencyKey = kNasty;
  VC_EXPECT_OK(write([&](ControlWriter& w) { return w.insertIntent(row); }));
  row.id = IntentId("i2");
  VC_EXPECT_ERROR(Errc::Conflict, write([&](ControlWriter& w) { return w.insertIntent(row); }));
  row.requestedBy = "other";
  VC_EXPECT_OK(write([&](ControlWriter& w) { return w.insertIntent(row); }));
  for (const char* id : {"i3", "i4"}) VC_EXPECT_OK(write([&](ControlWriter& w) { return w.insertIntent(intent(id)); }));
  EXPECT_EQ(read([](ControlReader& r) { return r.intentByKey("operator", kNasty); })->id, IntentId("i1"));
  EXPECT_EQ(read([](ControlReader& r) { return r.intentByKey("other", kNasty); })->id, IntentId("i2"));
  EXPECT_FALSE(read([](ControlReader& r) { return r.intentByKey("operator", ""); }));
}

TEST_P(ControlStoreContract, ListsWhatIsOpenInOrder) {
  VC_EXPECT_OK(write([&](ControlWriter& w) -> Status {
    for (int i = 0; i < 9; ++i) {
      IntentRow row = intent("i" + std::to_string(i));
      row.status = i % 3 == 0 ? "queued" : i % 3 == 1 ? "pending" : "success";
      VC_TRY(w.insertIntent(row));
    }
    return {};
  }));
  const auto first = read([](ControlReader& r) { return r.openIntents("pending", 0, 2); });
  ASSERT_EQ(first.size(), 2U);
  EXPECT_EQ(first[0].row.id, IntentId("i1"));
  EXPECT_EQ(first[1].row.id, IntentId("i4"));
  EXPECT_EQ(first[1].row.token, "tok");
  EXPECT_TRUE(first[1].row.paramsOmitted);
  EXPECT_EQ(first[1].row.params, "");
  const auto rest = read([&](ControlReader& r) { return r.openIntents("pending", first[1].place, 2); });
  ASSERT_EQ(rest.size(), 1U);
  EXPECT_EQ(rest[0].row.id, IntentId("i7"));
  const auto queued = read([](ControlReader& r) { return r.openIntents("queued", 0, 10); });
  ASSERT_EQ(queued.size(), 3U);
  EXPECT_LT(queued[0].place, first[0].place);
}

TEST_P(ControlStoreContract, ListsLeaveOutWhatIsLong) {
  IntentRow row = intent("long");
  row.params = "\"" + std::string(kMaxListedBytes - 1, 'x') + "\"";
  row.status = "success";
  row.output = row.params;
  row.error = std::string(5000, 'e');
  row.resultToken = std::string(kMaxListedBytes + 1, 't');
  VC_EXPECT_OK(write([&](ControlWriter& w) { return w.insertIntent(row); }));
  row.id = IntentId("fits");
  row.params = row.params.substr(1);
  row.output = row.params;
  row.resultToken->pop_back();
  VC_EXPECT_OK(write([&](ControlWriter& w) { return w.insertIntent(row); }));
  const auto listing = read([](ControlReader& r) { return r.intents({}, {}); });
  ASSERT_EQ(listing.items.size(), 2U);
  EXPECT_FALSE(listing.items[0].paramsOmitted || listing.items[0].outputOmitted);
  EXPECT_EQ(listing.items[0].params, row.params);
  EXPECT_EQ(listing.items[0].output, row.params);
  EXPECT_TRUE(listing.items[1].paramsOmitted && listing.items[1].outputOmitted);
  EXPECT_EQ(listing.items[1].params, "");
  EXPECT_FALSE(listing.items[1].output);
  EXPECT_EQ(listing.items[1].error->size(), 4096U);
  EXPECT_EQ(listing.items[0].resultToken, row.resultToken);
  EXPECT_EQ(listing.items[1].resultToken, "") << "there is one, but not in a list";
  const auto alone = read([](ControlReader& r) { return r.intent(IntentId("long")); });
  EXPECT_EQ(alone->output->size(), kMaxListedBytes + 1);
  EXPECT_FALSE(alone->outputOmitted);
}

TEST_P(ControlStoreContract, ListsIntentsNewestFirstWithTotals) {
  VC_EXPECT_OK(write([&](ControlWriter& w) -> Status {
    for (int i = 0; i < 10; ++i) {
      IntentRow row = intent("i" + std::to_string(i), i % 2 == 0 ? "even" : "odd", i < 5 ? 100 : 100 + i);
      if (i == 3) row.status = "lost";
      VC_TRY(w.insertIntent(row));
    }
    return {};
  }));
  const auto ids = [&](const IntentFilter& filter, Page page) {
    const auto listing = read([&](ControlReader& r) { return r.intents(filter, page); });
    std::string out = std::to_string(listing.total) + ":";
    for (const auto& row : listing.items) out += " " + row.id.value;
    return out;
  };
  EXPECT_EQ(ids({}, {}), "10: i9 i8 i7 i6 i5 i4 i3 i2 i1 i0");  // equal times: the later insertion first
  EXPECT_EQ(ids({}, {.offset = 2, .limit = 3}), "10: i7 i6 i5");
  EXPECT_EQ(ids({}, {.offset = 10, .limit = 3}), "10:");
  EXPECT_EQ(ids({}, {.offset = 0, .limit = 0}), "10:");
  EXPECT_EQ(ids({.did = Did("odd")}, {}), "5: i9 i7 i5 i3 i1");
  EXPECT_EQ(ids({.status = "lost"}, {}), "1: i3");
  EXPECT_EQ(ids({.status = "success"}, {}), "0:");
  VC_EXPECT_OK(write([&](ControlWriter& w) -> Status {
    IntentRow row = intent("i0", "even", 100);
    row.status = "success";
    VC_TRY(w.finishIntent(row));
    row.id = IntentId("i6");
    return w.finishIntent(row);
  }));
  EXPECT_EQ(ids({.status = "success"}, {}), "2: i6 i0");
  EXPECT_EQ(ids({.status = "pending"}, {.limit = 3}), "7: i9 i8 i7");
  EXPECT_EQ(ids({.did = Did("even"), .status = "success"}, {}), "2: i6 i0");
  EXPECT_EQ(ids({.did = Did("odd"), .status = "pending"}, {.limit = 1}), "4: i9");
  EXPECT_EQ(ids({.did = Did("odd' OR '1'='1")}, {}), "0:");

  VC_EXPECT_OK(write([&](ControlWriter& w) -> Status {
    for (int i = 0; i < 3; ++i) {
      IntentRow row = intent("own" + std::to_string(i), i == 0 ? "even" : "odd", 200 + i);
      row.requestedBy = "user:ann";
      VC_TRY(w.insertIntent(row));
    }
    IntentRow done = intent("own1", "odd", 201);
    done.status = "success";
    return w.finishIntent(done);
  }));
  const auto at = [](std::int64_t millis) { return fromUnixMillis(millis); };
  EXPECT_EQ(ids({.owner = IntentOwner{"user:ann", at(0)}}, {}), "3: own2 own1 own0");
  EXPECT_EQ(ids({.owner = IntentOwner{"user:ann", at(0)}}, {.offset = 1, .limit = 1}), "3: own1");
  EXPECT_EQ(ids({.owner = IntentOwner{"user:ann", at(201)}}, {}), "2: own2 own1") << "a name may have been another's";
  EXPECT_EQ(ids({.did = Did("odd"), .owner = IntentOwner{"user:ann", at(0)}}, {}), "2: own2 own1");
  EXPECT_EQ(ids({.status = "success", .owner = IntentOwner{"user:ann", at(0)}}, {}), "1: own1");
  EXPECT_EQ(ids({.status = "pending", .owner = IntentOwner{"user:ann", at(0)}}, {}), "2: own2 own0");
  EXPECT_EQ(ids({.did = Did("even"), .status = "pending", .owner = IntentOwner{"user:ann", at(0)}}, {}), "1: own0");
  EXPECT_EQ(ids({.owner = IntentOwner{"user:ann' OR '1'='1", at(0)}}, {}), "0:");
  VC_EXPECT_ERROR(Errc::InvalidArgument, store_->readBlocking([](ControlReader& r) -> Status {
    const auto listing = r.intents({}, {.limit = -1});
    return listing.ok() ? Status() : Status(listing.error());
  }));
}

TEST_P(ControlStoreContract, NumbersAuditRowsWithoutGaps) {
  EXPECT_FALSE(read([](ControlReader& r) { return r.lastAudit(); }));
  VC_EXPECT_ERROR(Errc::Conflict, write([&](ControlWriter& w) { return w.appendAudit(auditRow(2)); }));
  VC_EXPECT_OK(write([&](ControlWriter& w) { return w.appendAudit(auditRow(1)); }));
  VC_EXPECT_ERROR(Errc::Conflict, write([&](ControlWriter& w) { return w.appendAudit(auditRow(1)); }));
  VC_EXPECT_ERROR(Errc::Conflict, write([&](ControlWriter& w) { return w.appendAudit(auditRow(3)); }));
  VC_EXPECT_OK(write([&](ControlWriter& w) { return w.appendAudit(auditRow(2, "system", "b")); }));
  VC_EXPECT_OK(write([&](ControlWriter& w) { return w.appendAudit(auditRow(3)); }));
  const auto last = read([](ControlReader& r) { return r.lastAudit(); });
  ASSERT_TRUE(last);
  EXPECT_EQ(last->seq, 3);
  EXPECT_EQ(last->at, fromUnixMillis(3));
  EXPECT_EQ(last->target, kNasty);
  EXPECT_EQ(last->previousHash, Bytes{9});
  EXPECT_EQ(last->hash, (Bytes{8, 7}));
  const auto range = read([](ControlReader& r) { return r.auditRange(2, 10); });
  ASSERT_EQ(range.size(), 2u);
  EXPECT_EQ(range[0].seq, 2);
  const auto newest = read([](ControlReader& r) { return r.audit({}, {.limit = 1}); });
  EXPECT_EQ(newest.total, 3);
  EXPECT_EQ(newest.items.at(0).seq, 3);
  EXPECT_EQ(read([](ControlReader& r) { return r.audit({.actor = "system"}, {}); }).total, 1);
  EXPECT_EQ(read([](ControlReader& r) { return r.audit({.action = "a"}, {}); }).total, 2);
  VC_EXPECT_OK(write([&](ControlWriter& w) { return w.appendAudit(auditRow(4, "operator", "intent.send")); }));
  const auto sent = read([](ControlReader& r) { return r.audit({.action = "intent.send"}, {}); });
  EXPECT_EQ(sent.total, 1);
  EXPECT_EQ(sent.items.at(0).seq, 4);
  EXPECT_EQ(read([](ControlReader& r) { return r.audit({.target = kNasty}, {}); }).total, 4);
  EXPECT_EQ(
      read([](ControlReader& r) { return r.audit({.actor = "operator", .action = "a", .target = "none"}, {}); }).total,
      0);
}

TEST_P(ControlStoreContract, KeepsUsersAndTheirKeys) {
  const UserRow ann{.id = UserId("u1"), .name = kNasty, .role = "owner", .createdAt = fromUnixMillis(1)};
  UserRow bob{.id = UserId("u2"), .name = "bob", .role = "member", .disabled = true, .version = 7};
  bob.createdAt = fromUnixMillis(2);
  VC_EXPECT_OK(write([&](ControlWriter& w) -> Status {
    VC_TRY(w.putUser(ann));
    return w.putUser(bob);
  }));
  UserRow twin = ann;
  twin.id = UserId("u3");
  VC_EXPECT_ERROR(Errc::Conflict, write([&](ControlWriter& w) { return w.putUser(twin); }));
  auto users = read([](ControlReader& r) { return r.users(); });
  ASSERT_EQ(users.size(), 2u);
  EXPECT_EQ(users[0].name, kNasty);
  EXPECT_EQ(users[0].role, "owner");
  EXPECT_FALSE(users[0].disabled);
  EXPECT_TRUE(users[1].disabled);
  EXPECT_EQ(users[1].version, 7);

  const ApiTokenRow key{.id = TokenId("t1"),
                        .name = "k",
                        .hash = Bytes(32, 5),
                        .createdAt = fromUnixMillis(1),
                        .user = bob.id,
                        .scopes = "read run",
                        .expiresAt = fromUnixMillis(3),
                        .lastUsedAt = fromUnixMillis(4),
                        .revokedAt = fromUnixMillis(5)};
  VC_EXPECT_OK(write([&](ControlWriter& w) { return w.putApiToken(key); }));
  auto keys = read([](ControlReader& r) { return r.apiTokens(); });
  ASSERT_EQ(keys.size(), 1u);
  EXPECT_EQ(keys[0].user, bob.id);
  EXPECT_EQ(keys[0].scopes, "read run");
  EXPECT_EQ(keys[0].expiresAt, key.expiresAt);
  EXPECT_EQ(keys[0].lastUsedAt, key.lastUsedAt);
  EXPECT_EQ(keys[0].revokedAt, key.revokedAt);
  VC_EXPECT_OK(write([&](ControlWriter& w) { return w.deleteUser(bob.id); }));
  EXPECT_TRUE(read([](ControlReader& r) { return r.apiTokens(); }).empty()) << "keys go with their user";
  VC_EXPECT_ERROR(Errc::NotFound, write([&](ControlWriter& w) { return w.deleteUser(bob.id); }));
  VC_EXPECT_ERROR(Errc::NotFound, write([&](ControlWriter& w) { return w.deleteApiToken(key.id); }));
}

TEST_P(ControlStoreContract, KeepsTokensAndMeta) {
  const ApiTokenRow token{.id = TokenId("t1"), .name = kNasty, .hash = Bytes(32, 5), .createdAt = fromUnixMillis(1)};
  VC_EXPECT_OK(write([&](ControlWriter& w) { return w.putApiToken(token); }));
  ApiTokenRow same = token;
  same.id = TokenId("t2");
  VC_EXPECT_ERROR(Errc::Conflict, write([&](ControlWriter& w) { return w.putApiToken(same); }));
  const auto tokens = read([](ControlReader& r) { return r.apiTokens(); });
  ASSERT_EQ(tokens.size(), 1u);
  EXPECT_EQ(tokens[0].id, TokenId("t1"));
  EXPECT_EQ(tokens[0].name, kNasty);
  EXPECT_EQ(tokens[0].hash, Bytes(32, 5));
  VC_EXPECT_OK(write([&](ControlWriter& w) { return w.putMeta(kNasty, "x"); }));
  VC_EXPECT_OK(write([&](ControlWriter& w) { return w.putMeta(kNasty, kNasty); }));
  EXPECT_EQ(read([](ControlReader& r) { return r.meta(kNasty); }), kNasty);
  EXPECT_FALSE(read([](ControlReader& r) { return r.meta("other"); }));
}

TEST_P(ControlStoreContract, UndoesAFailedWorkAlone) {
  const auto put = [](const char* key, Status outcome) {
    return [=](ControlWriter& w) -> Status {
      VC_TRY(w.putMeta(key, "x"));
      EXPECT_TRUE(w.meta(key)->has_value());  // a work sees what it wrote
      return outcome;
    };
  };
  std::vector<Status> outcomes(3);
  ASSERT_TRUE(store_->write(put("a", {}), [&](Status s) { outcomes[0] = s; }));
  ASSERT_TRUE(store_->write(put("b", Error{Errc::PolicyDenied, "no"}), [&](Status s) { outcomes[1] = s; }));
  ASSERT_TRUE(store_->write(put("c", {}), [&](Status s) { outcomes[2] = s; }));
  ASSERT_TRUE(store_->write(put("d", {}), nullptr));
  reopen();
  VC_EXPECT_OK(outcomes[0]);
  VC_EXPECT_ERROR(Errc::PolicyDenied, outcomes[1]);
  VC_EXPECT_OK(outcomes[2]);
  EXPECT_TRUE(read([](ControlReader& r) { return r.meta("a"); }));
  EXPECT_FALSE(read([](ControlReader& r) { return r.meta("b"); }));
  EXPECT_TRUE(read([](ControlReader& r) { return r.meta("c"); }));
  EXPECT_TRUE(read([](ControlReader& r) { return r.meta("d"); }));
}

TEST_P(ControlStoreContract, HandsTheErrorOfAReadBack) {
  VC_EXPECT_ERROR(Errc::Expired,
                  store_->readBlocking([](ControlReader&) -> Status { return Error{Errc::Expired, "x"}; }));
}

TEST_P(ControlStoreContract, LetsDoneWriteAgain) {
  std::optional<Status> second;
  ASSERT_TRUE(store_->write([](ControlWriter& w) { return w.putMeta("first", "x"); },
                            [&](Status) {
                              EXPECT_TRUE(store_->write([](ControlWriter& w) { return w.putMeta("second", "x"); },
                                                        [&](Status s) { second = s; }));
                            }));
  VC_EXPECT_OK(store_->writeBlocking([](ControlWriter&) -> Status { return {}; }));
  reopen();
  ASSERT_TRUE(second);
  VC_EXPECT_OK(*second);
}

TEST_P(ControlStoreContract, ServesWritersAndReadersAtOnce) {
  constexpr int kWriters = 4, kEach = 50;
  std::atomic<int> committed = 0, conflicts = 0;
  std::atomic<bool> writing = true;
  std::vector<std::thread> threads;
  for (int t = 0; t < kWriters; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kEach; ++i) {
        // Two rows that belong together, and every id tried twice.
        const std::string id = std::to_string(t / 2) + "-" + std::to_string(i);
        const Status status = store_->writeBlocking([&](ControlWriter& w) -> Status {
          VC_TRY_ASSIGN(const auto last, w.lastAudit());
          VC_TRY(w.appendAudit(auditRow(last ? last->seq + 1 : 1)));
          return w.insertIntent(intent(id));
        });
        if (status.ok())
          ++committed;
        else if (status.error().code == Errc::Conflict)
          ++conflicts;
      }
    });
  }
  std::vector<std::thread> readers;
  for (int t = 0; t < 6; ++t) {
    readers.emplace_back([&] {
      std::int64_t before = 0;
      do {
        VC_EXPECT_OK(store_->readBlocking([&](ControlReader& r) -> Status {
          VC_TRY_ASSIGN(const auto intents, r.intents({}, {.limit = 1}));
          VC_TRY_ASSIGN(const auto audit, r.audit({}, {.limit = 1}));
          EXPECT_EQ(intents.total, audit.total);  // one snapshot
          EXPECT_GE(intents.total, before);
          before = intents.total;
          return {};
        }));
      } while (writing);
    });
  }
  for (auto& thread : threads) thread.join();
  writing = false;
  for (auto& thread : readers) thread.join();
  EXPECT_EQ(committed, kWriters * kEach / 2);
  EXPECT_EQ(conflicts, kWriters * kEach / 2);
  reopen();
  EXPECT_EQ(read([](ControlReader& r) { return r.intents({}, {}); }).total, kWriters * kEach / 2);
  EXPECT_EQ(read([](ControlReader& r) { return r.lastAudit(); })->seq, kWriters * kEach / 2);
}

INSTANTIATE_TEST_SUITE_P(Backends, ControlStoreContract, ::testing::ValuesIn(kBackends),
                         [](const auto& param) { return std::string(param.param.name); });

}  // namespace
}  // namespace vaultysclaw::store
