#include "control_fixture.hpp"
#include "identity/tokens.hpp"

namespace vaultysclaw::control::testing {
namespace {

using namespace protocol;

class Intents : public ControlTest {
 protected:
  void SetUp() override { start(); }
};

TEST_F(Intents, AreSignedSentAnsweredAndStored) {
  auto agent = connectedAgent();
  auto reply = runIntent(agent->did(), "echo", R"({"n": 1.50, "é":[1,null]})");
  ASSERT_FALSE(reply.done());
  const auto* intent = agent->last<Intent>();
  ASSERT_TRUE(intent);
  EXPECT_EQ(intent->params.text, R"({"n": 1.50, "é":[1,null]})") << "bytes as given";
  const auto& message = agent->received.back();
  EXPECT_EQ(message.messageId, intent->id.value);
  EXPECT_EQ(message.agentId, agent->did().value);
  const auto token = identity::verifyIntentToken(message.signature.value_or(""), self, clock.now());
  ASSERT_TRUE(token.ok());
  EXPECT_EQ(token->id, intent->id.value);
  EXPECT_EQ(token->action, "echo");
  EXPECT_EQ(token->agentId, agent->did().value);
  EXPECT_EQ(intentRow(intent->id).row.status, "pending") << "stored before it was sent";
  EXPECT_EQ(plane->agent(agent->did())->pendingIntents, 1U);

  agent->sendResult(intent->id, R"({"echo":  1.50})");
  run();
  ASSERT_TRUE(reply.done());
  ASSERT_TRUE(reply->ok()) << reply->error().message;
  EXPECT_EQ((*reply)->status, "success");
  EXPECT_EQ((*reply)->output->text, R"({"echo":  1.50})");
  const auto view = intentRow(intent->id);
  EXPECT_EQ(view.row.status, "success");
  EXPECT_EQ(view.row.output, R"({"echo":  1.50})") << "raw bytes";
  EXPECT_EQ(view.row.params, R"({"n": 1.50, "é":[1,null]})");
  EXPECT_TRUE(view.signatureValid);
  EXPECT_EQ(plane->counters().intentsSucceeded, 1U);
  EXPECT_EQ(plane->counters().pendingIntents, 0U);
  EXPECT_EQ(audited("intent.send"), 1U);
  EXPECT_EQ(audited("intent.result"), 1U);
  expectAuditHolds();
}

TEST_F(Intents, FailuresAreResults) {
  auto agent = connectedAgent();
  auto reply = runIntent(agent->did());
  agent->sendResult(agent->last<Intent>()->id, "disk on fire", ResultStatus::Failed);
  agent->send(IntentAck{agent->last<Intent>()->id.value, false, "disk on fire"});
  run();
  ASSERT_TRUE(reply->ok());
  EXPECT_EQ((*reply)->status, "failed");
  EXPECT_EQ((*reply)->error, "disk on fire");
  EXPECT_EQ(plane->counters().intentsFailed, 1U);
}

TEST_F(Intents, RefusalWithoutAResultEndsThem) {
  auto agent = connectedAgent();
  auto reply = runIntent(agent->did());
  agent->send(IntentAck{agent->last<Intent>()->id.value, false, "intent id reused"});
  run();
  ASSERT_TRUE(reply.done());
  EXPECT_EQ((*reply)->error, "intent id reused");
}

TEST_F(Intents, RefuseUnknownOfflineAndInvalid) {
  auto agent = connectedAgent();
  EXPECT_EQ(runIntent(Did("did:vaultys:00ff"))->error().code, Errc::NotFound);
  EXPECT_EQ(runIntent(agent->did(), "")->error().code, Errc::InvalidArgument);
  EXPECT_EQ(runIntent(agent->did(), "echo", R"({"a":1,"a":2})")->error().code, Errc::InvalidArgument);
  EXPECT_EQ(runIntent(agent->did(), "echo", "{")->error().code, Errc::InvalidArgument);
  agent->disconnect();
  run();
  EXPECT_EQ(runIntent(agent->did())->error().code, Errc::Unavailable);
  EXPECT_EQ(plane->counters().intentsSent, 0U);
}

TEST_F(Intents, TimeOutAndTakeALateResult) {
  auto agent = connectedAgent();
  auto reply = runIntent(agent->did());
  const IntentId id = agent->last<Intent>()->id;
  loop.advance(seconds(59));
  EXPECT_FALSE(reply.done());
  loop.advance(seconds(1));
  ASSERT_TRUE(reply.done());
  EXPECT_EQ(reply->error().code, Errc::DeadlineExceeded);
  EXPECT_EQ(intentRow(id).row.status, "timeout");
  EXPECT_EQ(plane->counters().intentsTimedOut, 1U);
  agent->sendResult(id, "1");
  agent->sendResult(id, "2");
  run();
  EXPECT_EQ(intentRow(id).row.status, "success");
  EXPECT_EQ(intentRow(id).row.output, "1");
  EXPECT_EQ(audited("intent.result"), 2U) << "the timeout and the answer";
  EXPECT_EQ(plane->counters().intentsSucceeded, 1U);
}

TEST_F(Intents, DisconnectAnswersUnavailableAndStoresLost) {
  auto agent = connectedAgent();
  auto first = runIntent(agent->did());
  const IntentId id = agent->last<Intent>()->id;
  auto second = runIntent(agent->did());
  agent->disconnect();
  run();
  ASSERT_TRUE(first.done() && second.done());
  EXPECT_EQ(first->error().code, Errc::Unavailable);
  EXPECT_EQ(intentRow(id).row.status, "lost");
}

TEST_F(Intents, ALostOneTakesTheAnswerThatItsAgentKept) {
  auto agent = connectedAgent();
  auto other = connectedAgent();
  auto reply = runIntent(agent->did());
  const IntentId id = agent->last<Intent>()->id;
  agent->disconnect();
  run();
  agent->connect();
  run();
  other->sendResult(id, "\"forged\"");
  run();
  EXPECT_EQ(intentRow(id).row.status, "lost");
  agent->sendResult(id, "\"kept\"");
  agent->sendResult(id, "\"again\"");
  run();
  EXPECT_EQ(intentRow(id).row.status, "success");
  EXPECT_EQ(intentRow(id).row.output, "\"kept\"");
  EXPECT_EQ(reply->error().code, Errc::Unavailable) << "the caller heard then that the agent had gone";
  EXPECT_EQ(audited("intent.result"), 2U) << "the loss and the answer";
  EXPECT_EQ(plane->counters().messagesRefused, 2U);
  expectAuditHolds();
}

class Cancels : public Intents {
 protected:
  std::unique_ptr<TestAgent> listening() {
    TestAgent::Options o;
    o.features = {"unknown", "control-v2"};
    return connectedAgent(o);
  }
  std::optional<IntentId> runCancellable(const Did& did, const Waiting<RunResult>& reply) {
    RunRequest request;
    request.did = did;
    request.action = "echo";
    return plane->run(request, reply);
  }
  static protocol::IntentResult cancelledResult(const IntentId& id) {
    protocol::IntentResult result;
    result.intentId = id;
    result.error = "stopped";
    result.code = "cancelled";
    return result;
  }
};

TEST_F(Cancels, TellTheAgentAndTakeItsAnswer) {
  auto agent = listening();
  Waiting<RunResult> reply;
  const auto id = runCancellable(agent->did(), reply);
  ASSERT_TRUE(id);
  run();
  plane->cancelIntent(*id, "the client has gone");
  plane->cancelIntent(*id, "the client has gone");
  plane->cancelIntent(IntentId("unknown"), "");
  run();
  ASSERT_EQ(agent->count<protocol::Cancel>(), 1U);
  EXPECT_EQ(agent->last<protocol::Cancel>()->intentId, *id);
  EXPECT_EQ(agent->last<protocol::Cancel>()->reason, "the client has gone");
  EXPECT_EQ(intentRow(*id).row.status, "pending");
  agent->send(cancelledResult(*id));
  run();
  EXPECT_EQ((*reply)->code, "cancelled");
  EXPECT_EQ(intentRow(*id).row.status, "failed");
  EXPECT_EQ(intentRow(*id).row.code, "cancelled");
  plane->cancelIntent(*id, "");
  run();
  EXPECT_EQ(agent->count<protocol::Cancel>(), 1U);
}

TEST_F(Cancels, BeforeTheIntentIsSentEndItUnsent) {
  auto agent = listening();
  Waiting<RunResult> reply;
  const auto id = runCancellable(agent->did(), reply);
  plane->cancelIntent(*id, "the client has gone");
  run();
  EXPECT_EQ(reply->error().code, Errc::Cancelled);
  EXPECT_FALSE(agent->last<Intent>());
  EXPECT_FALSE(agent->last<protocol::Cancel>());
  EXPECT_EQ(intentRow(*id).row.status, "failed");
  EXPECT_EQ(intentRow(*id).row.code, "cancelled");
}

TEST_F(Cancels, FollowATimeout) {
  auto agent = listening();
  auto reply = runIntent(agent->did());
  const IntentId id = agent->last<Intent>()->id;
  loop.advance(seconds(60));
  ASSERT_TRUE(agent->last<protocol::Cancel>());
  EXPECT_EQ(agent->last<protocol::Cancel>()->intentId, id);
  agent->send(cancelledResult(id));
  run();
  EXPECT_EQ(intentRow(id).row.status, "failed");
  EXPECT_EQ(intentRow(id).row.code, "cancelled");
}

TEST_F(Cancels, GoToNobodyThatDidNotListTheFeatureInASignedHandshake) {
  TestAgent::Options original;
  original.version = IdVersion::V0;
  original.features = {"control-v2"};
  for (const auto& o : {TestAgent::Options(), original}) {
    auto agent = connectedAgent(o);
    Waiting<RunResult> reply;
    const auto id = runCancellable(agent->did(), reply);
    run();
    plane->cancelIntent(*id, "the client has gone");
    loop.advance(seconds(60));
    EXPECT_EQ(reply->error().code, Errc::DeadlineExceeded);
    EXPECT_FALSE(agent->last<protocol::Cancel>());
  }
}

TEST_F(Intents, TheFirstAnswerCountsAndOnlyFromItsAgent) {
  auto agent = connectedAgent();
  auto other = connectedAgent();
  auto reply = runIntent(agent->did());
  const IntentId id = agent->last<Intent>()->id;
  other->sendResult(id, "\"forged\"");
  other->send(IntentAck{id.value, false, "forged"});
  agent->sendResult(IntentId("no-such-intent"), "1");
  run();
  EXPECT_FALSE(reply.done());
  agent->sendResult(id, "\"one\"");
  agent->sendResult(id, "\"two\"");
  run();
  ASSERT_TRUE(reply->ok());
  EXPECT_EQ((*reply)->output->text, "\"one\"");
  EXPECT_EQ(intentRow(id).row.output, "\"one\"");
  EXPECT_EQ(plane->counters().messagesRefused, 3U);
}

TEST_F(Intents, AnswerComesOverANewConnectionOfTheSameAgent) {
  auto agent = connectedAgent();
  auto reply = runIntent(agent->did());
  const IntentId id = agent->last<Intent>()->id;
  auto again = sameAgent(*agent);
  again->connect();
  run();
  ASSERT_TRUE(again->connected());
  EXPECT_TRUE(agent->closed);
  EXPECT_FALSE(reply.done());
  again->sendResult(id, "7");
  run();
  EXPECT_EQ((*reply)->output->text, "7");
}

TEST_F(Intents, AreBoundedPerAgent) {
  options.maxPendingIntentsPerAgent = 3;
  restart();
  auto agent = connectedAgent();
  for (int i = 0; i < 3; ++i) EXPECT_FALSE(runIntent(agent->did()).done());
  EXPECT_EQ(runIntent(agent->did())->error().code, Errc::Busy);
}

TEST_F(Intents, LateAnswersAreBoundedInBytesAndTheirSenderComesBackWithTheRest) {
  options.maxLateResultBytesPerAgent = 30;
  restart();
  auto agent = connectedAgent();
  const std::string output = '"' + std::string(38, 'x') + '"';
  agent->sendResult(IntentId("i-1"), output);
  run();
  EXPECT_FALSE(agent->closed) << "one may be longer";
  agent->sendResult(IntentId("i-2"), "1");
  agent->sendResult(IntentId("i-3"), output);
  run();
  ASSERT_TRUE(agent->closed);
  EXPECT_EQ(agent->closed->code, net::close_code::kTryLater);
  agent->connect();
  run();
  EXPECT_TRUE(agent->connected());
  agent->sendResult(IntentId("i-3"), output);
  run();
  EXPECT_FALSE(agent->closed) << "those before have left the count";
}

TEST_F(Intents, SendRepliesOnceSentAndStoresTheResultLater) {
  auto agent = connectedAgent();
  Waiting<SentIntent> sent;
  RunRequest request;
  request.did = agent->did();
  request.action = "echo";
  plane->send(request, sent);
  EXPECT_FALSE(sent.done());
  run();
  ASSERT_TRUE(sent->ok());
  agent->sendResult((*sent)->intentId, "3");
  run();
  EXPECT_EQ(intentRow((*sent)->intentId).row.output, "3");
}

TEST_F(Intents, BroadcastReachesThoseThatAreGrantedTheAction) {
  TestAgent::Options o;
  o.capabilities = {"other"};
  auto one = connectedAgent();
  auto two = connectedAgent();
  auto without = connectedAgent(o);
  auto away = connectedAgent();
  away->disconnect();
  run();
  Waiting<std::vector<SentIntent>> reply;
  RunRequest request;
  request.action = "echo";
  plane->broadcast(request, nullptr, reply);
  run();
  ASSERT_TRUE(reply->ok());
  EXPECT_EQ((*reply)->size(), 2U);
  EXPECT_TRUE(one->last<Intent>() && two->last<Intent>());
  EXPECT_FALSE(without->last<Intent>());
  request.action = "nobody_has_this";
  Waiting<std::vector<SentIntent>> none;
  plane->broadcast(request, nullptr, none);
  run();
  ASSERT_TRUE(none->ok());
  EXPECT_TRUE((*none)->empty());
}

TEST_F(Intents, PendingOnesOfAnEarlierProcessAreLost) {
  auto agent = connectedAgent();
  auto reply = runIntent(agent->did());
  const IntentId id = agent->last<Intent>()->id;
  // A killed process ends nothing in the store: put the row back as it was.
  store::IntentRow row = intentRow(id).row;
  plane.reset();
  run();
  row.id = IntentId("left-behind");
  ASSERT_TRUE(store->writeBlocking([&](store::ControlWriter& w) { return w.insertIntent(row); }).ok());
  start();
  EXPECT_EQ(intentRow(row.id).row.status, "lost");
}

TEST_F(Intents, ShutdownAnswersInterruptedAndClosesGoingAway) {
  auto agent = connectedAgent();
  auto reply = runIntent(agent->did());
  const IntentId id = agent->last<Intent>()->id;
  plane->shutdown();
  EXPECT_FALSE(reply.done());
  run();
  ASSERT_TRUE(reply.done());
  EXPECT_EQ(reply->error().code, Errc::Interrupted);
  ASSERT_TRUE(agent->closed);
  EXPECT_EQ(agent->closed->code, net::close_code::kGoingAway);
  EXPECT_EQ(intentRow(id).row.status, "lost");
  EXPECT_EQ(runIntent(agent->did())->error().code, Errc::Interrupted);
  agent->connect();
  run();
  EXPECT_TRUE(agent->closed) << "nobody is taken in any more";
}

TEST_F(Intents, ChangedRowsShow) {
  auto agent = connectedAgent();
  runIntent(agent->did());
  const IntentId id = agent->last<Intent>()->id;
  store::IntentRow row = intentRow(id).row;
  row.id = IntentId("copied-token");
  ASSERT_TRUE(store->writeBlocking([&](store::ControlWriter& w) { return w.insertIntent(row); }).ok());
  EXPECT_TRUE(intentRow(id).signatureValid);
  EXPECT_FALSE(intentRow(row.id).signatureValid);
}

}  // namespace
}  // namespace vaultysclaw::control::testing
