// ttlSeconds, idempotency keys, cancelling and the history of an intent, over REST.
#include "rest_fakes.hpp"

namespace vaultysclaw::control::testing {
namespace {

class RestDurability : public RestFixture {
 protected:
  const std::string runPath = "/api/agents/" + kDid.value + "/run";
  std::string post(const std::string& members) const {
    return R"({"did":")" + kDid.value + R"(","action":"echo")" + members + "}";
  }
  net::HttpRequest keyed(const std::string& header, const std::string& members = "") {
    auto r = request("POST", "/api/intents", post(members));
    r.headers.emplace_back("idempotency-KEY", header);
    return r;
  }
};

TEST_F(RestDurability, AnIntentThatMayWaitIsAnsweredAsQueued) {
  const Answer a = send("POST", "/api/intents", post(R"(,"ttlSeconds":604800)"));
  EXPECT_EQ(a.status, 202);
  EXPECT_EQ(plane.asked->ttl, seconds(604'800));
  EXPECT_EQ(a.parsed()["status"], "queued");
  EXPECT_FALSE(a.parsed().contains("replayed"));
  EXPECT_EQ(send("POST", "/api/intents", post("")).parsed()["status"], "pending");
  EXPECT_FALSE(plane.asked->ttl);
}

TEST_F(RestDurability, TtlsHaveBounds) {
  for (const char* ttl : {"0", "-1", "604801", "1.5", "\"1\""})
    EXPECT_TRUE(send("POST", "/api/intents", post(R"(,"ttlSeconds":)" + std::string(ttl)))
                    .parsed()["details"]
                    .contains("ttlSeconds"))
        << ttl;
  EXPECT_EQ(send("POST", runPath, R"({"action":"echo","ttlSeconds":301})").status, 400) << "somebody waits";
  EXPECT_EQ(send("POST", runPath, R"({"action":"echo","ttlSeconds":300})").status, 200);
  EXPECT_EQ(plane.asked->ttl, seconds(300));
  EXPECT_EQ(send("POST", "/api/intents/broadcast", R"({"action":"echo","ttlSeconds":3})").status, 400);
}

TEST_F(RestDurability, TheKeyIsAHeaderOrAMember) {
  EXPECT_EQ(send(keyed("k 1")).status, 202);
  EXPECT_EQ(plane.asked->idempotencyKey, "k 1");
  EXPECT_EQ(send(keyed(R"( "a\"b\\c" )")).status, 202);
  EXPECT_EQ(plane.asked->idempotencyKey, R"(a"b\c)") << "a quoted string";
  EXPECT_EQ(send(keyed("k", R"(,"idempotencyKey":"k")")).status, 202);
  EXPECT_EQ(send("POST", "/api/intents", post(R"(,"idempotencyKey":"member")")).status, 202);
  EXPECT_EQ(plane.asked->idempotencyKey, "member");
  send("POST", "/api/intents", post(""));
  EXPECT_FALSE(plane.asked->idempotencyKey);
}

TEST_F(RestDurability, BadKeysAreRefused) {
  for (const std::string& header :
       {std::string(), std::string("\"\""), std::string("\"open"), std::string("\"a\"b"), std::string("\"a\\b\""),
        std::string(129, 'k'), std::string("k\x01"), std::string("\xc3\xa9")})
    EXPECT_EQ(send(keyed(header)).status, 400) << header;
  EXPECT_TRUE(send(keyed("one", R"(,"idempotencyKey":"two")")).parsed()["details"].contains("Idempotency-Key"));
  auto twice = keyed("k");
  twice.headers.emplace_back("Idempotency-Key", "k");
  EXPECT_EQ(send(twice).status, 400);
  for (const std::string& member :
       {std::string(R"("")"), std::string(R"("\u00e9")"), '"' + std::string(129, 'k') + '"'})
    EXPECT_EQ(send("POST", "/api/intents", post(R"(,"idempotencyKey":)" + member)).status, 400) << member;
  auto broadcast = request("POST", "/api/intents/broadcast", R"({"action":"echo"})");
  broadcast.headers.emplace_back("Idempotency-Key", "k");
  EXPECT_EQ(send(broadcast).status, 400);
}

TEST_F(RestDurability, AReplayIsMarked) {
  plane.replayed = true;
  plane.runResult.status = "success";
  plane.runResult.replayed = true;
  EXPECT_EQ(send(keyed("k")).parsed()["replayed"], true);
  EXPECT_EQ(send("POST", runPath, R"({"action":"echo","idempotencyKey":"k"})").parsed()["replayed"], true);
  plane.error = Error{Errc::Conflict, "the idempotency key belongs to another intent"};
  EXPECT_EQ(send(keyed("k")).status, 409);
}

TEST_F(RestDurability, ACallerWithAKeyMayComeBack) {
  plane.holdReplies = true;
  auto keyedRun = start(request("POST", runPath, R"({"action":"echo","idempotencyKey":"k"})"));
  EXPECT_FALSE(keyedRun->onGone) << "nothing is cancelled when it goes";
  auto plain = start(request("POST", runPath, R"({"action":"echo"})"));
  ASSERT_TRUE(plain->onGone);
}

TEST_F(RestDurability, AnOperatorCancels) {
  const Answer a = send("POST", "/api/intents/i-7/cancel");
  EXPECT_EQ(a.status, 202);
  EXPECT_EQ(a.parsed()["intentId"], "i-7");
  EXPECT_EQ(plane.cancelledIntents, std::vector<std::string>{"i-7 by user:owner"});
  EXPECT_EQ(send("POST", "/api/intents/i-7/cancel", R"({"why":1})").status, 400);
  plane.error = Error{Errc::Conflict, "the intent has ended already as success"};
  EXPECT_EQ(send("POST", "/api/intents/i-7/cancel").status, 409);
  plane.error = Error{Errc::NotFound, "no intent"};
  EXPECT_EQ(send("POST", "/api/intents/i-7/cancel").status, 404);
}

TEST_F(RestDurability, OneIntentHasItsHistoryAndTokens) {
  ControlPlane::IntentView view;
  view.row.id = IntentId("i-1");
  view.row.token = "one";
  view.row.status = "pending";
  view.row.sends = 2;
  view.row.ttlSeconds = 9;
  view.row.idempotencyKey = "k";
  view.row.sentAt = clock.now();
  view.tokens = {"one", "two"};
  view.history = {{clock.now(), "accepted", ""}, {clock.now(), "resent", "2"}};
  plane.intentRows = {view};
  const json one = send("GET", "/api/intents/i-1").parsed();
  EXPECT_EQ(one["tokens"], (json{"one", "two"}));
  EXPECT_EQ(one["sends"], 2);
  EXPECT_EQ(one["ttlSeconds"], 9);
  EXPECT_EQ(one["idempotencyKey"], "k");
  EXPECT_EQ(one["sentAt"], toIso8601(clock.now()));
  ASSERT_EQ(one["history"].size(), 2U);
  EXPECT_EQ(one["history"][0], (json{{"at", toIso8601(clock.now())}, {"event", "accepted"}}));
  EXPECT_EQ(one["history"][1]["detail"], "2");
  const json listed = send("GET", "/api/intents?status=queued").parsed();
  EXPECT_FALSE(listed["items"][0].contains("history"));
}

TEST_F(RestDurability, WhatWasNeverSentHasNoSignature) {
  ControlPlane::IntentView view;
  view.row.status = "queued";
  plane.intentRows = {view};
  EXPECT_TRUE(send("GET", "/api/intents/i-1").parsed()["signatureValid"].is_null());
  plane.intentRows.front().row.status = "success";
  EXPECT_EQ(send("GET", "/api/intents/i-1").parsed()["signatureValid"], false) << "somebody took its token away";
}

TEST_F(RestDurability, MetricsCountThem) {
  plane.counts.queuedIntents = 3;
  plane.counts.intentsResent = 4;
  plane.counts.intentsExpired = 5;
  const std::string text = send("GET", "/metrics").body;
  for (const char* line : {"vaultysclaw_queued_intents 3\n", "vaultysclaw_intents_resent_total 4\n",
                           "vaultysclaw_intents_expired_total 5\n"})
    EXPECT_NE(text.find(line), std::string::npos) << line;
}

}  // namespace
}  // namespace vaultysclaw::control::testing
