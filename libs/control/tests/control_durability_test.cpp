// Intents that outlast their connection, their control plane, and an agent that is away: each is answered once.
#include <sqlite3.h>

#include "durability_fixture.hpp"

namespace vaultysclaw::control::testing {
namespace {

// ---- sending again --------------------------------------------------------------------------------------------------

TEST_F(Durability, ABrokenConnectionSendsTheIntentAgainWithAFreshToken) {
  auto agent = connectedAgent(full());
  auto reply = ask(request(agent->did()));
  const IntentId id = agent->last<Intent>()->id;
  const auto first = agent->received.back().signature;
  agent->disconnect();
  run();
  EXPECT_FALSE(reply.done());
  EXPECT_EQ(status(id), "pending");
  loop.advance(seconds(20));
  comeBack(*agent);
  ASSERT_EQ(agent->count<Intent>(), 1U);
  const auto* again = agent->last<Intent>();
  EXPECT_EQ(again->id, id);
  EXPECT_EQ(again->params.text, R"({"n":1})");
  EXPECT_EQ(again->timeoutMs, 40'000) << "what is left of the 60 s";
  const auto message = std::find_if(agent->received.begin(), agent->received.end(),
                                    [](const auto& m) { return std::holds_alternative<Intent>(m.payload); });
  EXPECT_NE(message->signature, first);
  const auto token = identity::verifyIntentToken(message->signature.value_or(""), self, clock.now());
  ASSERT_TRUE(token.ok());
  EXPECT_EQ(token->timestamp, clock.now());
  EXPECT_EQ(token->expiresAt, clock.now() + seconds(40));
  EXPECT_TRUE(agent->problems.empty());
  agent->sendResult(id, "7");
  run();
  ASSERT_TRUE(reply.done() && reply->ok());
  EXPECT_EQ((*reply)->output->text, "7");
  const auto view = intentRow(id);
  EXPECT_TRUE(view.signatureValid);
  EXPECT_EQ(view.resultSignatureValid, true);
  EXPECT_EQ(view.tokens.size(), 2U);
  EXPECT_EQ(history(id), (std::vector<std::string>{"accepted", "sent", "connection_lost", "resent", "finished"}));
  EXPECT_EQ(plane->counters().intentsResent, 1U);
  expectAuditHolds();
}

TEST_F(Durability, AResultOfAnEarlierSendingCounts) {
  auto agent = connectedAgent(full());
  auto reply = ask(request(agent->did()));
  const IntentId id = agent->last<Intent>()->id;
  auto kept = agent->resultOf(id, "1");
  agent->signResult(kept);
  agent->disconnect();
  run();
  loop.advance(seconds(1));
  comeBack(*agent);
  ASSERT_EQ(agent->count<Intent>(), 1U);
  agent->send(kept);
  run();
  ASSERT_TRUE(reply.done() && reply->ok());
  EXPECT_EQ(intentRow(id).resultSignatureValid, true);
  Waiting<store::Listing<ControlPlane::IntentView>> listed;
  plane->intents({}, {}, listed);
  run();
  EXPECT_EQ(listed->value().items.front().resultSignatureValid, true);
}

TEST_F(Durability, AResultThatComesBeforeTheIntentIsSentAgainEndsIt) {
  auto agent = connectedAgent(full());
  auto reply = ask(request(agent->did()));
  auto kept = agent->resultOf(agent->last<Intent>()->id, "1");
  agent->signResult(kept);
  agent->disconnect();
  run();
  bool sent = false;
  agent->onMessage = [&](const protocol::Message& m) {
    if (std::holds_alternative<AuthComplete>(m.payload) && !std::exchange(sent, true)) agent->send(kept);
  };
  comeBack(*agent);
  ASSERT_TRUE(reply.done() && reply->ok());
  EXPECT_EQ(agent->last<ResultAck>()->refused, std::nullopt);
}

TEST_F(Durability, AResultForATokenOfAnotherIntentDoesNotCount) {
  auto agent = connectedAgent(full());
  auto one = ask(request(agent->did()));
  const IntentId first = agent->last<Intent>()->id;
  auto two = ask(request(agent->did()));
  const IntentId second = agent->last<Intent>()->id;
  agent->disconnect();
  run();
  loop.advance(seconds(1));
  comeBack(*agent);
  auto swapped = agent->resultOf(first, "1");
  auto body = agent->tokenOf(swapped);
  body.intentHash = agent->tokenOf(agent->resultOf(second, "1")).intentHash;
  agent->signResult(swapped, body);
  agent->send(swapped);
  run();
  EXPECT_FALSE(one.done() || two.done());
  ASSERT_TRUE(agent->last<ResultAck>());
  EXPECT_TRUE(agent->last<ResultAck>()->refused);
  agent->sendResult(first, "1");
  run();
  EXPECT_TRUE(one.done() && one->ok());
}

TEST_F(Durability, ALateResultOfAnySendingCounts) {
  auto agent = connectedAgent(full());
  auto reply = ask(request(agent->did()));
  const IntentId id = agent->last<Intent>()->id;
  auto early = agent->resultOf(id, "1");
  agent->signResult(early);
  agent->disconnect();
  run();
  loop.advance(seconds(1));
  comeBack(*agent);
  loop.advance(seconds(59));
  EXPECT_EQ(status(id), "timeout");
  EXPECT_EQ(reply->error().code, Errc::DeadlineExceeded);
  agent->send(early);
  run();
  EXPECT_EQ(status(id), "success");
  EXPECT_EQ(intentRow(id).resultSignatureValid, true);
  EXPECT_EQ(history(id), (std::vector<std::string>{"accepted", "sent", "connection_lost", "resent", "timed_out",
                                                   "late_result", "finished"}));
}

TEST_F(Durability, WithoutTheFeaturesThatMakeItSafeNothingIsSentAgain) {
  for (const char* missing : {"intent-v2", "result-ack"}) {
    TestAgent::Options o;
    o.features = TestAgent::allFeaturesBut(missing);
    auto agent = connectedAgent(o);
    auto reply = ask(request(agent->did()));
    const IntentId id = agent->last<Intent>()->id;
    agent->disconnect();
    run();
    ASSERT_TRUE(reply.done());
    EXPECT_EQ(reply->error().code, Errc::Unavailable);
    EXPECT_EQ(status(id), "lost");
    comeBack(*agent);
    EXPECT_EQ(agent->count<Intent>(), 0U);
  }
}

TEST_F(Durability, AnAgentThatComesBackWithoutTheFeaturesIsNotSentItAgain) {
  auto unsealed = full();
  std::erase(unsealed.features, "seal");  // else they are pinned
  auto agent = connectedAgent(unsealed);
  auto reply = ask(request(agent->did()));
  const IntentId id = agent->last<Intent>()->id;
  agent->disconnect();
  run();
  agent->options.features = {"intent-v2"};
  comeBack(*agent);
  EXPECT_EQ(agent->count<Intent>(), 0U);
  ASSERT_TRUE(reply.done());
  EXPECT_EQ(reply->error().code, Errc::Unavailable);
  EXPECT_EQ(status(id), "lost");
}

TEST_F(Durability, ManyAreSentAgainInOrderAFewAtATime) {
  auto agent = connectedAgent(full());
  std::vector<Waiting<SentIntent>> sent;
  for (int i = 0; i < 50; ++i) sent.push_back(post(request(agent->did())));
  agent->disconnect();
  run();
  comeBack(*agent);
  EXPECT_EQ(agent->count<Intent>(), 16U);
  for (std::size_t answered = 0; answered < 50; ++answered) {
    const auto seen = intentsOf(*agent);
    ASSERT_GT(seen.size(), answered);
    EXPECT_EQ(seen[answered], (*sent[answered])->intentId);
    EXPECT_LE(seen.size() - answered, 16U);
    agent->sendResult(seen[answered], "1");
    run();
  }
  EXPECT_EQ(agent->count<Intent>(), 50U);
  EXPECT_EQ(plane->counters().pendingIntents, 0U);
}

TEST_F(Durability, LongParamsAreSentAgainOneAfterTheOther) {
  auto agent = connectedAgent(full());
  std::vector<Waiting<SentIntent>> sent;
  for (int i = 0; i < 4; ++i) {
    auto r = request(agent->did());
    r.params.text = R"({"x":")" + std::string(std::size_t{5} << 20, 'x') + "\"}";
    sent.push_back(post(r));
  }
  agent->disconnect();
  run();
  comeBack(*agent);
  for (std::size_t n = 1; n <= 4; ++n) {
    ASSERT_EQ(agent->count<Intent>(), n);
    agent->sendResult((*sent[n - 1])->intentId, "1");
    run();
  }
}

TEST_F(Durability, AnotherConnectionOfTheAgentIsSentWhatTheFirstMayHaveLost) {
  auto agent = connectedAgent(full());
  auto reply = ask(request(agent->did()));
  auto again = sameAgent(*agent);
  again->connect();
  run();
  ASSERT_EQ(again->count<Intent>(), 1U);
  again->sendResult(again->last<Intent>()->id, "7");
  run();
  EXPECT_TRUE(reply.done() && reply->ok());
}

TEST_F(Durability, AnAgentThatIsBusyIsAskedAgainLater) {
  auto agent = connectedAgent(full());
  auto reply = ask(request(agent->did()));
  const IntentId id = agent->last<Intent>()->id;
  agent->disconnect();
  run();
  comeBack(*agent);
  for (std::size_t n = 1; n <= 3; ++n) {
    ASSERT_EQ(agent->count<Intent>(), n);
    agent->send(IntentAck{id.value, false, "too many calls wait", "busy"});
    run();
    EXPECT_EQ(agent->count<Intent>(), n) << "not at once";
    EXPECT_FALSE(reply.done());
    loop.advance(seconds(2));
  }
  agent->sendResult(id, "1");
  run();
  EXPECT_TRUE(reply.done() && reply->ok());
  const auto events = history(id);
  EXPECT_EQ(std::count(events.begin(), events.end(), "busy"), 3);
}

TEST_F(Durability, AnAgentThatStaysBusyRunsIntoTheDeadline) {
  auto agent = connectedAgent(full());
  auto reply = ask(request(agent->did()));
  const IntentId id = agent->last<Intent>()->id;
  agent->onMessage = [&](const protocol::Message& m) {
    if (std::holds_alternative<Intent>(m.payload)) agent->send(IntentAck{id.value, false, "no", "busy"});
  };
  agent->disconnect();
  run();
  comeBack(*agent);
  loop.advance(seconds(61));
  ASSERT_TRUE(reply.done());
  EXPECT_EQ(reply->error().code, Errc::DeadlineExceeded);
  EXPECT_EQ(status(id), "timeout");
}

TEST_F(Durability, ARefusalForAnotherReasonEndsIt) {
  auto agent = connectedAgent(full());
  auto reply = ask(request(agent->did()));
  const IntentId id = agent->last<Intent>()->id;
  agent->disconnect();
  run();
  comeBack(*agent);
  agent->send(IntentAck{id.value, false, "no such capability", "policy_denied"});
  run();
  ASSERT_TRUE(reply.done() && reply->ok());
  EXPECT_EQ((*reply)->code, "policy_denied");
}

TEST_F(Durability, APausedAgentIsSentItAgainWhenItIsResumed) {
  auto agent = connectedAgent(full());
  auto reply = ask(request(agent->did()));
  agent->disconnect();
  run();
  Waiting<AgentView> paused, resumed;
  plane->pause(agent->did(), "repair", "operator", paused);
  run();
  comeBack(*agent);
  EXPECT_EQ(agent->count<Intent>(), 0U);
  plane->resume(agent->did(), "operator", resumed);
  run();
  ASSERT_EQ(agent->count<Intent>(), 1U);
  agent->sendResult(agent->last<Intent>()->id, "1");
  run();
  EXPECT_TRUE(reply.done() && reply->ok());
}

// ---- waiting --------------------------------------------------------------------------------------------------------

TEST_F(Durability, AnIntentWaitsForAnAgentThatIsAway) {
  auto agent = awayAgent();
  auto sent = post(request(agent->did(), seconds(3600)));
  ASSERT_TRUE(sent.done() && sent->ok()) << sent->error().message;
  EXPECT_EQ((*sent)->status, "queued");
  const IntentId id = (*sent)->intentId;
  EXPECT_EQ(status(id), "queued");
  EXPECT_EQ(intentRow(id).row.token, "");
  EXPECT_EQ(plane->counters().queuedIntents, 1U);
  EXPECT_EQ(plane->counters().pendingIntents, 0U);
  loop.advance(seconds(3000));
  comeBack(*agent);
  ASSERT_EQ(agent->count<Intent>(), 1U);
  EXPECT_TRUE(agent->problems.empty()) << agent->problems.front();
  EXPECT_EQ(agent->last<Intent>()->timeoutMs, 60'000);
  EXPECT_EQ(status(id), "pending");
  EXPECT_EQ(plane->counters().queuedIntents, 0U);
  agent->sendResult(id, "1");
  run();
  EXPECT_EQ(status(id), "success");
  EXPECT_TRUE(intentRow(id).signatureValid);
  EXPECT_EQ(history(id), (std::vector<std::string>{"accepted", "queued", "sent", "finished"}));
  expectAuditHolds();
}

TEST_F(Durability, WithoutATtlItDoesNotWait) {
  auto agent = awayAgent();
  EXPECT_EQ(post(request(agent->did()))->error().code, Errc::Unavailable);
  EXPECT_EQ(plane->counters().queuedIntents, 0U);
}

TEST_F(Durability, AnAgentOfTheOriginalGetsWhatHasWaitedOnce) {
  auto agent = awayAgent({});
  auto reply = ask(request(agent->did(), seconds(100)));
  comeBack(*agent);
  ASSERT_EQ(agent->count<Intent>(), 1U);
  const IntentId id = agent->last<Intent>()->id;
  agent->disconnect();
  run();
  ASSERT_TRUE(reply.done());
  EXPECT_EQ(status(id), "lost");
  comeBack(*agent);
  EXPECT_EQ(agent->count<Intent>(), 0U);
}

TEST_F(Durability, WhatWaitsTooLongExpires) {
  auto agent = awayAgent();
  auto reply = ask(request(agent->did(), seconds(100)));
  loop.advance(seconds(99));
  EXPECT_FALSE(reply.done());
  loop.advance(seconds(1));
  ASSERT_TRUE(reply.done());
  EXPECT_EQ(reply->error().code, Errc::DeadlineExceeded);
  Waiting<store::Listing<ControlPlane::IntentView>> listed;
  plane->intents({std::nullopt, "expired"}, {}, listed);
  run();
  ASSERT_EQ(listed->value().items.size(), 1U);
  EXPECT_EQ(listed->value().items.front().row.code, "deadline_exceeded");
  EXPECT_EQ(plane->counters().intentsExpired, 1U);
  comeBack(*agent);
  EXPECT_EQ(agent->count<Intent>(), 0U);
  EXPECT_EQ(audited("intent.result"), 1U);
}

TEST_F(Durability, WhatWaitsGoesToANewCertificateOnly) {
  auto agent = awayAgent();
  auto sent = post(request(agent->did(), seconds(100)));
  ASSERT_TRUE(updateGrant(agent->did(), {{"echo", "more"}, {}, {}, {}}).ok());
  comeBack(*agent);
  EXPECT_EQ(agent->certifiedCapabilities(), names({"echo", "more"}));
  EXPECT_EQ(agent->count<Intent>(), 1U);
}

TEST_F(Durability, APausedAgentIsWaitedFor) {
  auto agent = connectedAgent(full());
  Waiting<AgentView> paused, resumed;
  plane->pause(agent->did(), "repair", "operator", paused);
  run();
  auto sent = post(request(agent->did(), seconds(100)));
  ASSERT_TRUE(sent->ok());
  EXPECT_EQ(agent->count<Intent>(), 0U);
  plane->resume(agent->did(), "operator", resumed);
  run();
  EXPECT_EQ(agent->count<Intent>(), 1U);
}

TEST_F(Durability, OneThatMayWaitGoesOutAtOnceWhenItsAgentIsThere) {
  auto agent = connectedAgent(full());
  auto sent = post(request(agent->did(), seconds(100)));
  EXPECT_EQ((*sent)->status, "pending");
  EXPECT_EQ(agent->count<Intent>(), 1U);
}

TEST_F(Durability, ABusyAgentPutsOneThatMayWaitBack) {
  auto agent = connectedAgent(full());
  auto reply = ask(request(agent->did(), seconds(3600)));
  const IntentId id = agent->last<Intent>()->id;
  agent->send(IntentAck{id.value, false, "full", "busy"});
  run();
  EXPECT_EQ(status(id), "queued");
  agent->disconnect();
  run();
  loop.advance(seconds(600));
  EXPECT_FALSE(reply.done()) << "no agent has taken it: its time has not begun";
  comeBack(*agent);
  ASSERT_EQ(agent->count<Intent>(), 1U);
  EXPECT_EQ(agent->last<Intent>()->timeoutMs, 60'000);
  agent->sendResult(id, "1");
  run();
  EXPECT_TRUE(reply.done() && reply->ok());
  EXPECT_EQ(intentRow(id).resultSignatureValid, true);
}

TEST_F(Durability, ARefusalThatComesAsAnUnsignedResultPutsItBackToo) {
  TestAgent::Options o = full();
  o.features = {"control-v2", "intent-v2", "seal"};
  auto agent = connectedAgent(o);
  auto reply = ask(request(agent->did(), seconds(3600)));
  const IntentId id = agent->last<Intent>()->id;
  IntentResult refused;
  refused.intentId = id;
  refused.status = ResultStatus::Failed;
  refused.error = "full";
  refused.code = "busy";
  agent->send(refused);
  agent->send(IntentAck{id.value, false, "full", "busy"});
  run();
  EXPECT_FALSE(reply.done());
  EXPECT_EQ(status(id), "queued");
  EXPECT_EQ(history(id), (std::vector<std::string>{"accepted", "sent", "busy"}));
  loop.advance(seconds(1));
  EXPECT_EQ(agent->count<Intent>(), 2U);
}

TEST_F(Durability, ARefusalEndsOneThatCannotBeSentAgainWhenItsTimeToWaitIsOver) {
  auto agent = connectedAgent();
  auto one = ask(request(agent->did(), seconds(1))), two = ask(request(agent->did(), seconds(1)));
  const auto ids = intentsOf(*agent);
  ASSERT_EQ(ids.size(), 2U);
  loop.advance(seconds(2));
  for (const auto& id : ids) agent->send(IntentAck{id.value, false, "full", "busy"});
  run();
  for (const auto* reply : {&one, &two}) {
    ASSERT_TRUE(reply->done() && (*reply)->ok());
    EXPECT_EQ((**reply)->code, "busy") << "it has said that it does not run it";
  }
}

TEST_F(Durability, ADamagedRowHoldsUpNoOther) {
  auto agent = awayAgent();
  auto damaged = ask(request(agent->did(), seconds(3600))), whole = ask(request(agent->did(), seconds(3600)));
  plane.reset();
  store.reset();
  sqlite3* db = nullptr;
  ASSERT_EQ(sqlite3_open(storePath().c_str(), &db), SQLITE_OK);
  EXPECT_EQ(sqlite3_exec(db, "UPDATE intents SET params = '{\"n\":2}' WHERE rowid = (SELECT min(rowid) FROM intents)",
                         nullptr, nullptr, nullptr),
            SQLITE_OK);
  sqlite3_close(db);
  openStore();
  restart();
  comeBack(*agent);
  ASSERT_EQ(intentsOf(*agent).size(), 1U);
  EXPECT_EQ(status(intentsOf(*agent).front()), "pending") << "the whole one";
}

TEST_F(Durability, ABusyAgentRefusesAFirstSendingAtOnce) {
  auto agent = connectedAgent(full());
  auto reply = ask(request(agent->did()));
  agent->send(IntentAck{agent->last<Intent>()->id.value, false, "full", "busy"});
  run();
  ASSERT_TRUE(reply.done() && reply->ok());
  EXPECT_EQ((*reply)->code, "busy");
}

TEST_F(Durability, WhatWaitsIsBounded) {
  options.maxPendingIntentsPerAgent = 2;
  options.maxPendingIntents = 3;
  restart();
  auto one = awayAgent(), two = awayAgent();
  for (int i = 0; i < 2; ++i) EXPECT_TRUE(post(request(one->did(), seconds(100)))->ok());
  EXPECT_EQ(post(request(one->did(), seconds(100)))->error().code, Errc::Busy);
  EXPECT_TRUE(post(request(two->did(), seconds(100)))->ok());
  EXPECT_EQ(post(request(two->did(), seconds(100)))->error().code, Errc::Busy) << "of all agents";
}

// ---- cancelling, removing -------------------------------------------------------------------------------------------

TEST_F(Durability, ACallerThatGoesAwayCancelsWhatWaits) {
  auto agent = awayAgent();
  Waiting<RunResult> reply;
  const auto id = plane->run(request(agent->did(), seconds(100)), reply);
  run();
  plane->cancelIntent(*id, "the client has gone");
  run();
  EXPECT_EQ(reply->error().code, Errc::Cancelled);
  EXPECT_EQ(status(*id), "failed");
  EXPECT_EQ(intentRow(*id).row.code, "cancelled");
  comeBack(*agent);
  EXPECT_EQ(agent->count<Intent>(), 0U);
}

TEST_F(Durability, ACancelledIntentIsNotSentAgainButItsAgentIsTold) {
  for (const bool restarted : {false, true}) {
    auto agent = connectedAgent(full());
    Waiting<RunResult> reply;
    const auto id = plane->run(request(agent->did()), reply);
    run();
    agent->disconnect();
    run();
    plane->cancelIntent(*id, "the client has gone");
    run();
    if (restarted) restart();
    comeBack(*agent);
    EXPECT_EQ(agent->count<Intent>(), 0U);
    ASSERT_EQ(agent->count<protocol::Cancel>(), 1U);
    EXPECT_EQ(agent->last<protocol::Cancel>()->intentId, *id);
    loop.advance(seconds(60));
    EXPECT_EQ(status(*id), "timeout");
  }
}

TEST_F(Durability, AnOperatorCancels) {
  auto agent = connectedAgent(full());
  const auto cancel = [&](const IntentId& id) {
    Waiting<std::monostate> reply;
    plane->cancelIntent(id, "operator", std::nullopt, reply);
    run();
    return *reply;
  };
  auto reply = ask(request(agent->did()));
  const IntentId id = agent->last<Intent>()->id;
  EXPECT_TRUE(cancel(id).ok());
  EXPECT_EQ(agent->count<protocol::Cancel>(), 1U);
  agent->sendResult(id, "1");
  run();
  EXPECT_EQ(cancel(id).error().code, Errc::Conflict);
  EXPECT_EQ(cancel(IntentId("unknown")).error().code, Errc::NotFound);
  EXPECT_EQ(audited("intent.cancel"), 1U);
  EXPECT_EQ(history(id), (std::vector<std::string>{"accepted", "sent", "cancelled", "finished"}));
}

TEST_F(Durability, RemovingAnAgentEndsItsIntents) {
  auto agent = connectedAgent(full());
  auto sent = ask(request(agent->did()));
  const IntentId first = agent->last<Intent>()->id;
  agent->disconnect();
  run();
  auto waiting = ask(request(agent->did(), seconds(100)));
  Waiting<std::monostate> removed;
  plane->deleteAgent(agent->did(), "operator", removed);
  run();
  ASSERT_TRUE(removed->ok());
  ASSERT_TRUE(sent.done() && waiting.done());
  EXPECT_EQ(sent->error().code, Errc::NotFound);
  EXPECT_EQ(waiting->error().code, Errc::NotFound);
  EXPECT_EQ(status(first), "lost");
  EXPECT_EQ(plane->counters().pendingIntents + plane->counters().queuedIntents, 0U);
}

// ---- restarts -------------------------------------------------------------------------------------------------------

TEST_F(Durability, ARestartGoesOnWithEveryIntent) {
  for (const bool inOrder : {false, true}) {
    auto agent = connectedAgent(full());
    auto pending = ask(request(agent->did()));
    const IntentId first = agent->last<Intent>()->id;
    agent->disconnect();
    run();
    auto queued = post(request(agent->did(), seconds(1000)));
    const IntentId second = (*queued)->intentId;
    loop.advance(seconds(10));
    inOrder ? shutDownAndStart() : restart();
    EXPECT_EQ(pending->error().code, Errc::Interrupted);
    EXPECT_EQ(status(first), "pending");
    EXPECT_EQ(status(second), "queued");
    loop.advance(seconds(10));
    comeBack(*agent);
    EXPECT_EQ(intentsOf(*agent), (std::vector<IntentId>{first, second}));
    EXPECT_TRUE(agent->problems.empty());
    agent->sendResult(first, "1");
    agent->sendResult(second, "2");
    run();
    EXPECT_EQ(status(first), "success");
    EXPECT_EQ(status(second), "success");
    EXPECT_EQ(intentRow(first).resultSignatureValid, true);
    EXPECT_EQ(agent->last<ResultAck>()->refused, std::nullopt);
    expectAuditHolds();
  }
}

TEST_F(Durability, ARestartKeepsDeadlines) {
  auto agent = connectedAgent(full());
  ask(request(agent->did()));
  const IntentId first = agent->last<Intent>()->id;
  agent->disconnect();
  run();
  const IntentId second = (*post(request(agent->did(), seconds(100))))->intentId;
  loop.advance(seconds(30));
  restart();
  loop.advance(seconds(29));
  EXPECT_EQ(status(first), "pending");
  loop.advance(seconds(1));
  EXPECT_EQ(status(first), "timeout");
  loop.advance(seconds(39));
  EXPECT_EQ(status(second), "queued");
  loop.advance(seconds(1));
  EXPECT_EQ(status(second), "expired");
}

TEST_F(Durability, WhatIsOverWhileNothingRunsEndsAtTheStart) {
  auto agent = connectedAgent(full());
  ask(request(agent->did()));
  const IntentId first = agent->last<Intent>()->id;
  agent->disconnect();
  run();
  const IntentId second = (*post(request(agent->did(), seconds(100))))->intentId;
  network.cutAll();
  plane.reset();
  run();
  clock.advance(seconds(200));
  start();
  EXPECT_EQ(status(first), "timeout");
  EXPECT_EQ(status(second), "expired");
  EXPECT_EQ(plane->counters().pendingIntents + plane->counters().queuedIntents, 0U);
  EXPECT_EQ(audited("intent.result"), 2U);
  expectAuditHolds();
}

TEST_F(Durability, ARestartEndsWhatCannotBeSentAgain) {
  auto agent = connectedAgent();
  auto sent = post(request(agent->did()));
  const IntentId id = (*sent)->intentId;
  store::IntentRow left = intentRow(id).row;
  plane.reset();
  run();
  left.id = IntentId("left-behind");  // as a killed process leaves it
  left.status = "pending";
  ASSERT_TRUE(store->writeBlocking([&](store::ControlWriter& w) { return w.insertIntent(left); }).ok());
  start();
  EXPECT_EQ(status(left.id), "lost");
  EXPECT_EQ(intentRow(left.id).row.code, "interrupted");
}

TEST_F(Durability, AKilledProcessLosesNothingThatItHasAccepted) {
  auto agent = connectedAgent(full());
  Waiting<SentIntent> sent;
  plane->send(request(agent->did()), sent);
  while (!sent.done()) loop.runUntilIdle(1);
  const IntentId id = (*sent)->intentId;
  restart();  // before the agent has read anything
  comeBack(*agent);
  ASSERT_EQ(intentsOf(*agent), std::vector<IntentId>{id});
  agent->sendResult(id, "1");
  run();
  EXPECT_EQ(status(id), "success");
}

TEST_F(Durability, TheHistoryIsBounded) {
  auto agent = connectedAgent(full());
  auto reply = ask(request(agent->did(), seconds(604'800)));
  const IntentId id = agent->last<Intent>()->id;
  agent->onMessage = [&](const protocol::Message& m) {
    if (std::holds_alternative<Intent>(m.payload)) agent->send(IntentAck{id.value, false, "no", "busy"});
  };
  agent->send(IntentAck{id.value, false, "no", "busy"});
  run();
  for (int i = 0; i < 200; ++i) {
    agent->send(Heartbeat{});
    loop.advance(seconds(60));
  }
  EXPECT_FALSE(reply.done());
  const auto events = history(id);
  EXPECT_EQ(std::count(events.begin(), events.end(), "busy"), store::kMaxIntentEvents - 1);
  EXPECT_EQ(std::count(events.begin(), events.end(), "more"), 1);
  EXPECT_EQ(std::count(events.begin(), events.end(), "resent"), store::kMaxIntentTokens - 1);
  EXPECT_GT(intentRow(id).row.sends, 100);
  // A cancellation is kept behind them, for it decides what a restart does.
  agent->onMessage = nullptr;
  agent->send(Heartbeat{});
  loop.advance(seconds(61));
  ASSERT_EQ(status(id), "pending");
  agent->disconnect();
  run();
  plane->cancelIntent(id, "nobody needs it");
  run();
  const auto after = history(id);
  EXPECT_EQ(std::count(after.begin(), after.end(), "cancelled"), 1);
}

}  // namespace
}  // namespace vaultysclaw::control::testing
