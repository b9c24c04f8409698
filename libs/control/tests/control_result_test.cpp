// intent-v2, signed results and their acknowledgement (docs/protocol.md 7.4, 7.5), and pausing (7.8).
#include "control_fixture.hpp"

namespace vaultysclaw::control::testing {
namespace {

using namespace protocol;

class Results : public ControlTest {
 protected:
  void SetUp() override { start(); }
  static TestAgent::Options full(std::vector<std::string> features = TestAgent::allFeatures()) {
    TestAgent::Options o;
    o.features = std::move(features);
    return o;
  }
  static std::string hashOf(const IntentResult& result) {
    return hexEncode(identity::tokenBodyHash(*result.signature).value());
  }
  struct Asked {
    std::unique_ptr<TestAgent> agent;
    Waiting<RunResult> reply;
    IntentId id;
  };
  Asked ask(std::vector<std::string> features = TestAgent::allFeatures()) {
    auto agent = connectedAgent(full(std::move(features)));
    auto reply = runIntent(agent->did(), "echo", R"({"n": 1.50})");
    const IntentId id = agent->last<Intent>()->id;
    return {std::move(agent), reply, id};
  }
  IntentResult signedResult(const TestAgent& agent, const IntentId& id, std::string output = R"({"done":1})") {
    auto result = agent.resultOf(id, std::move(output));
    agent.signResult(result);
    return result;
  }
};

// ---- intent-v2 ------------------------------------------------------------------------------------------------------

TEST_F(Results, IntentsBindParamsAndTime) {
  auto agent = connectedAgent(full());
  RunRequest request;
  request.did = agent->did();
  request.action = "echo";
  request.timeout = seconds(7);
  for (const char* params : {R"({"n": 1.50, "é":[1,null]})", "{}"}) {
    request.params.text = params;
    Waiting<RunResult> reply;
    plane->run(request, reply);
    run();
    const auto token =
        identity::verifyIntentToken(agent->received.back().signature.value_or(""), self, clock.now()).value();
    ASSERT_TRUE(token.paramsHash);
    EXPECT_EQ(*token.paramsHash, identity::sha256(asBytes(params)));
    EXPECT_EQ(token.expiresAt, clock.now() + seconds(7));
    EXPECT_FALSE(token.userDid);
  }
  EXPECT_TRUE(agent->problems.empty()) << agent->problems.front();
  // Long after it has expired the row still proves what was asked.
  const IntentId id = agent->last<Intent>()->id;
  clock.jumpWall(std::chrono::hours(24));
  EXPECT_TRUE(intentRow(id).signatureValid);
}

TEST_F(Results, OtherAgentsGetTheTokenTheyKnow) {
  for (const auto& features :
       {std::vector<std::string>{}, TestAgent::allFeaturesBut("intent-v2"), TestAgent::allFeaturesBut("seal")}) {
    auto [agent, reply, id] = ask(features);
    EXPECT_TRUE(agent->problems.empty()) << agent->problems.front();
    const auto token = identity::verifyIntentToken(*agent->received.back().signature, self, clock.now()).value();
    EXPECT_FALSE(token.paramsHash || token.expiresAt);
  }
}

TEST_F(Results, ChangedParamsShowInTheStore) {
  auto [agent, reply, id] = ask();
  auto row = intentRow(id).row;
  row.id = IntentId("copy");
  row.params = R"({"n": 1.51})";
  ASSERT_TRUE(store->writeBlocking([&](store::ControlWriter& w) { return w.insertIntent(row); }).ok());
  EXPECT_FALSE(intentRow(row.id).signatureValid);
}

TEST_F(Results, TracesAndDeadlinesGoWithTheWork) {
  auto agent = connectedAgent();
  RunRequest request;
  request.did = agent->did();
  request.action = "echo";
  request.timeout = seconds(7);
  request.trace = TraceContext{"00-trace", "a=1"};
  Waiting<RunResult> reply;
  plane->run(request, reply);
  ControlPlane::StartedChat chat;
  control::ChatRequest ask;
  ask.did = agent->did();
  ask.messages = {{"user", "hi", {}}};
  ask.timeout = seconds(9);
  ask.trace = TraceContext{"00-chat", ""};
  std::string ended;
  ChatEvents events;
  events.onError = [&](std::string_view code, std::string_view) { ended = code; };
  plane->chat(ask, events, [&](Result<ControlPlane::StartedChat> r) { chat = std::move(r).value(); });
  run();
  ASSERT_TRUE(agent->last<Intent>() && agent->last<protocol::ChatRequest>());
  EXPECT_EQ(agent->last<Intent>()->timeoutMs, 7000);
  EXPECT_EQ(agent->last<Intent>()->trace->traceparent, "00-trace");
  EXPECT_EQ(agent->last<Intent>()->trace->tracestate, "a=1");
  EXPECT_EQ(intentRow(agent->last<Intent>()->id).row.traceparent, "00-trace");
  EXPECT_EQ(agent->last<protocol::ChatRequest>()->timeoutMs, 9000);
  EXPECT_EQ(agent->last<protocol::ChatRequest>()->trace->traceparent, "00-chat");
  loop.advance(seconds(9));
  EXPECT_EQ(ended, "deadline_exceeded");

  ask.timeout = std::chrono::hours(1);
  std::optional<Error> refused;
  plane->chat(ask, {}, [&](const Result<ControlPlane::StartedChat>& r) { refused = r.error(); });
  run();
  EXPECT_EQ(refused->code, Errc::InvalidArgument);
}

// ---- signed results -------------------------------------------------------------------------------------------------

TEST_F(Results, ASignedOneIsStoredWithItsProofAndAcknowledged) {
  auto [agent, reply, id] = ask();
  const auto result = signedResult(*agent, id, R"({"echo":  1.50})");
  agent->send(result);
  agent->send(IntentAck{id.value, true, {}});
  run();
  ASSERT_TRUE(reply.done() && reply->ok());
  EXPECT_EQ((*reply)->output->text, R"({"echo":  1.50})");
  EXPECT_EQ((*reply)->executedAt, result.executedAt);
  ASSERT_TRUE(agent->last<ResultAck>());
  EXPECT_EQ(agent->last<ResultAck>()->intentId, id);
  EXPECT_EQ(agent->last<ResultAck>()->resultHash, hashOf(result));
  EXPECT_FALSE(agent->last<ResultAck>()->refused);
  const auto view = intentRow(id);
  EXPECT_EQ(view.row.resultToken, result.signature);
  EXPECT_EQ(view.resultSignatureValid, true);
  EXPECT_EQ(plane->counters().intentsSucceeded, 1U);
  EXPECT_EQ(plane->counters().resultsRefused, 0U);
  expectAuditHolds();

  Waiting<std::monostate> deleted;
  plane->deleteAgent(agent->did(), "operator", deleted);
  run();
  EXPECT_EQ(intentRow(id).resultSignatureValid, true) << "its registration still says who it was";
}

TEST_F(Results, AFailureIsSignedToo) {
  auto [agent, reply, id] = ask();
  auto result = agent->resultOf(id, "out of paper", ResultStatus::Failed);
  result.code = "busy";
  agent->signResult(result);
  agent->send(result);
  agent->send(IntentAck{id.value, false, "out of paper", "busy"});  // repeats it, and must not come first
  run();
  ASSERT_TRUE(reply.done() && reply->ok());
  EXPECT_EQ((*reply)->status, "failed");
  EXPECT_EQ((*reply)->code, "busy");
  EXPECT_EQ(intentRow(id).resultSignatureValid, true);
  EXPECT_EQ(plane->counters().intentsFailed, 1U);
}

TEST_F(Results, UnsignedForgedOrMismatchingOnesDoNotCount) {
  auto [agent, reply, id] = ask();
  auto other = connectedAgent(full());
  const IntentResult good = signedResult(*agent, id);
  std::size_t refused = 0;
  const auto expectRefused = [&](const IntentResult& result, const char* what) {
    agent->received.clear();
    agent->send(result);
    run();
    EXPECT_FALSE(reply.done()) << what;
    ASSERT_TRUE(agent->last<ResultAck>()) << what;
    EXPECT_EQ(agent->last<ResultAck>()->intentId, id);
    EXPECT_TRUE(agent->last<ResultAck>()->refused) << what;
    EXPECT_FALSE(agent->last<ResultAck>()->resultHash) << what;
    EXPECT_EQ(plane->counters().resultsRefused, ++refused) << what;
  };
  const auto bent = [&](const char* what, auto&& change) {
    IntentResult result = good;
    change(result);
    expectRefused(result, what);
  };
  bent("unsigned", [](auto& r) { r.signature.reset(); });
  bent("garbage", [](auto& r) { r.signature = "AAAA"; });
  bent("an intent's token", [&](auto& r) { r.signature = intentRow(id).row.token; });
  bent("another signer", [&](auto& r) { agent->signResult(r, agent->tokenOf(r), other->identity()); });
  bent("another key", [&](auto& r) { r.publicKey = base64Encode(other->identity().id()); });
  bent("the output", [](auto& r) { r.output->text = R"({"done":2})"; });
  bent("spaces", [](auto& r) { r.output->text = R"({"done": 1})"; });
  bent("no output", [](auto& r) { r.output.reset(); });
  bent("the status", [](auto& r) { r.status = ResultStatus::Failed; });
  bent("the error", [](auto& r) { r.error = "x"; });
  bent("the code", [](auto& r) { r.code = "busy"; });
  bent("the time", [](auto& r) { r.executedAt += milliseconds(1); });
  const auto token = [&](const char* what, auto&& change) {
    IntentResult result = good;
    auto body = agent->tokenOf(result);
    change(body);
    agent->signResult(result, body);
    expectRefused(result, what);
  };
  token("an output hash more", [](auto& t) { t.outputHash.reset(); });
  token("another intent", [](auto& t) { t.intentId = "other"; });
  token("another agent", [&](auto& t) { t.agentDid = other->did().value; });
  token("another control plane", [&](auto& t) { t.controlPlaneDid = other->did().value; });
  token("another question", [](auto& t) { t.intentHash[0] ^= 1; });

  agent->send(good);
  run();
  EXPECT_TRUE(reply.done() && reply->ok()) << "the first valid one counts";
  EXPECT_EQ(plane->counters().intentsSucceeded, 1U);
  EXPECT_EQ(plane->counters().intentsFailed, 0U);
}

TEST_F(Results, ThePublicKeyMayBeLeftOut) {
  auto [agent, reply, id] = ask();
  auto result = signedResult(*agent, id);
  result.publicKey.reset();
  agent->send(result);
  run();
  EXPECT_TRUE(reply.done() && reply->ok());
}

TEST_F(Results, OnlyTheAgentThatWasAskedCanAnswer) {
  auto [agent, reply, id] = ask();
  auto other = connectedAgent(full());
  auto forged = other->resultOf(id, "\"forged\"");
  auto body = other->tokenOf(forged);
  body.intentHash = agent->tokenOf(forged).intentHash;
  other->signResult(forged, body);
  other->send(forged);
  run();
  EXPECT_FALSE(reply.done());
  ASSERT_TRUE(other->last<ResultAck>());
  EXPECT_TRUE(other->last<ResultAck>()->refused);
  agent->disconnect();
  run();
  other->send(forged);
  run();
  EXPECT_EQ(intentRow(id).row.status, "pending");
}

TEST_F(Results, NeedNoSignatureAndGetNoAckWithoutTheFeatures) {
  for (const auto& features : {TestAgent::allFeaturesBut("signed-results"), TestAgent::allFeaturesBut("result-ack")}) {
    auto [agent, reply, id] = ask(features);
    agent->sendResult(id, "1");
    agent->sendResult(id, "2");
    run();
    EXPECT_TRUE(reply.done() && reply->ok());
    EXPECT_FALSE(agent->last<ResultAck>());
    EXPECT_EQ(intentRow(id).row.resultToken.has_value(), agent->uses("signed-results"));
  }
}

// ---- late, repeated and refused -------------------------------------------------------------------------------------

TEST_F(Results, ThatComeAgainAreAcknowledgedWithWhatIsStored) {
  auto [agent, reply, id] = ask();
  const auto first = signedResult(*agent, id, "1"), second = signedResult(*agent, id, "2");
  agent->send(first);
  run();
  for (const auto& again : {first, second}) {
    agent->received.clear();
    agent->send(again);
    run();
    ASSERT_TRUE(agent->last<ResultAck>());
    EXPECT_EQ(agent->last<ResultAck>()->resultHash, hashOf(first)) << "the agent sees which one counts";
  }
  EXPECT_EQ(intentRow(id).row.output, "1");
  EXPECT_EQ(audited("intent.result"), 1U);
}

TEST_F(Results, TwoAtOnceCountOnce) {
  auto [agent, reply, id] = ask();
  const auto first = signedResult(*agent, id, "1"), second = signedResult(*agent, id, "2");
  agent->send(first);
  agent->send(second);
  run();
  EXPECT_EQ(agent->count<ResultAck>(), 2U);
  EXPECT_EQ(agent->last<ResultAck>()->resultHash, hashOf(first));
  EXPECT_EQ(intentRow(id).row.output, "1");
  EXPECT_EQ(plane->counters().intentsSucceeded, 1U);
}

TEST_F(Results, LateOnesCountForLostAndTimedOutIntents) {
  for (const bool lost : {true, false}) {
    // One that can be sent an intent again loses none.
    auto [agent, reply, id] = lost ? ask(TestAgent::allFeaturesBut("intent-v2")) : ask();
    const auto result = signedResult(*agent, id);
    auto wrong = result;
    auto body = agent->tokenOf(result);
    body.intentHash[0] ^= 1;
    agent->signResult(wrong, body);
    if (lost) {
      agent->disconnect();
      run();
      agent->connect();
    } else {
      loop.advance(seconds(60));
    }
    run();
    ASSERT_TRUE(reply.done());
    EXPECT_FALSE(reply->ok());
    EXPECT_EQ(intentRow(id).row.status, lost ? "lost" : "timeout");
    agent->send(wrong);
    run();
    EXPECT_EQ(intentRow(id).row.status, lost ? "lost" : "timeout");
    ASSERT_TRUE(agent->last<ResultAck>());
    EXPECT_TRUE(agent->last<ResultAck>()->refused);
    const auto before = audited("intent.result");
    agent->send(result);
    run();
    EXPECT_EQ(agent->last<ResultAck>()->resultHash, hashOf(result));
    EXPECT_EQ(intentRow(id).row.status, "success");
    EXPECT_EQ(intentRow(id).resultSignatureValid, true);
    EXPECT_EQ(audited("intent.result"), before + 1);
  }
}

TEST_F(Results, OfAnEarlierProcessCountToo) {
  auto [agent, reply, id] = ask();
  const auto result = signedResult(*agent, id);
  restart();
  agent->connect();
  run();
  EXPECT_EQ(intentRow(id).row.status, "pending");
  agent->send(result);
  run();
  EXPECT_EQ(intentRow(id).row.status, "success");
  EXPECT_EQ(agent->last<ResultAck>()->resultHash, hashOf(result));
  EXPECT_EQ(intentRow(id).resultSignatureValid, true);
}

TEST_F(Results, UnknownOnesAreRefused) {
  auto [agent, reply, id] = ask();
  auto unknown = agent->resultOf(IntentId("never-sent"), "1");
  agent->signResult(unknown);
  agent->send(unknown);
  run();
  ASSERT_TRUE(agent->last<ResultAck>());
  EXPECT_EQ(agent->last<ResultAck>()->intentId, IntentId("never-sent"));
  EXPECT_TRUE(agent->last<ResultAck>()->refused);
}

TEST_F(Results, AfterARefusalOfTheIntentAreRefused) {
  auto [agent, reply, id] = ask();
  agent->send(IntentAck{id.value, false, "no", "busy"});
  run();
  ASSERT_TRUE(reply.done() && reply->ok());
  EXPECT_EQ((*reply)->code, "busy") << "the agent's own";
  EXPECT_EQ((*reply)->error, "no");
  agent->send(signedResult(*agent, id));
  run();
  ASSERT_TRUE(agent->last<ResultAck>());
  EXPECT_TRUE(agent->last<ResultAck>()->refused) << "it ended without a result that could be replaced";
  EXPECT_EQ(intentRow(id).row.status, "failed");
}

TEST_F(Results, ARefusalWithoutACodeIsPolicyDenied) {
  auto [agent, reply, id] = ask();
  agent->send(IntentAck{id.value, false, "no"});
  run();
  EXPECT_EQ((*reply)->code, "policy_denied");
}

TEST_F(Results, ARefusalThatFollowsAForgedResultEndsTheIntent) {
  auto [agent, reply, id] = ask();
  auto forged = agent->resultOf(id, "1");
  forged.signature = "AAAA";
  agent->send(forged);
  agent->send(IntentAck{id.value, false, "no", "busy"});
  run();
  ASSERT_TRUE(reply.done() && reply->ok());
  EXPECT_EQ((*reply)->status, "failed");
  EXPECT_EQ((*reply)->code, "busy");
}

TEST_F(Results, ChangedRowsShow) {
  auto [agent, reply, id] = ask();
  agent->send(signedResult(*agent, id));
  run();
  const auto good = intentRow(id).row;
  int n = 0;
  const auto stored = [&](auto&& change) {
    auto row = good;
    row.id = IntentId("copy" + std::to_string(++n));
    change(row);
    EXPECT_TRUE(store->writeBlocking([&](store::ControlWriter& w) { return w.insertIntent(row); }).ok());
    return intentRow(row.id).resultSignatureValid;
  };
  EXPECT_EQ(stored([](auto&) {}), false) << "another intent's result";
  EXPECT_EQ(stored([](auto& r) { r.resultToken.reset(); }), std::nullopt);
  EXPECT_EQ(intentRow(id).resultSignatureValid, true);
  Waiting<store::Listing<ControlPlane::IntentView>> listed;
  plane->intents({}, {}, listed);
  run();
  EXPECT_EQ(listed->value().items.back().resultSignatureValid, true);
}

TEST_F(Results, AFullStoreOrPoolOnlyDelaysThem) {
  struct Full final : Workers {
    explicit Full(Workers& w) : below(w) {}
    bool submit(Task task) override { return !busy && below.submit(std::move(task)); }
    Workers& below;
    bool busy = false;
  } full(workers);
  workersPort = &full;
  restart();
  auto [agent, reply, id] = ask();
  full.busy = true;
  agent->send(signedResult(*agent, id));
  agent->send(IntentAck{id.value, true, {}});
  run();
  loop.advance(seconds(1));
  EXPECT_FALSE(reply.done());
  full.busy = false;
  loop.advance(seconds(1));
  ASSERT_TRUE(reply.done() && reply->ok());
  EXPECT_TRUE(agent->last<ResultAck>());
  plane.reset();
  run();
}

TEST_F(Results, AnswersOnTheirWayOutlastADeadlineAndADisconnect) {
  for (const bool gone : {true, false}) {
    struct Held final : Workers {
      explicit Held(Workers& w) : below(w) {}
      bool submit(Task task) override {
        if (!holding) return below.submit(std::move(task));
        held.push_back(std::move(task));
        return true;
      }
      void release() {
        holding = false;
        for (auto& task : std::exchange(held, {})) ASSERT_TRUE(below.submit(std::move(task)));
      }
      Workers& below;
      bool holding = false;
      std::vector<Task> held;
    } held(workers);
    workersPort = &held;
    restart();
    auto [agent, reply, id] = ask();
    held.holding = true;
    agent->send(signedResult(*agent, id));
    run();
    if (gone)
      agent->disconnect();
    else
      loop.advance(seconds(60));
    run();
    EXPECT_FALSE(reply.done()) << "a valid answer is here already";
    held.release();
    run();
    ASSERT_TRUE(reply.done() && reply->ok());
    EXPECT_EQ(intentRow(id).row.status, "success");

    auto [second, unanswered, other] = ask(TestAgent::allFeaturesBut("intent-v2"));
    held.holding = true;
    auto forged = signedResult(*second, other);
    forged.output->text = "\"changed\"";
    second->send(forged);
    run();
    if (gone)
      second->disconnect();
    else
      loop.advance(seconds(60));
    held.release();
    run();
    ASSERT_TRUE(unanswered.done());
    EXPECT_FALSE(unanswered->ok());
    EXPECT_EQ(intentRow(other).row.status, gone ? "lost" : "timeout");
    plane.reset();
    run();
  }
}

// ---- pause ----------------------------------------------------------------------------------------------------------

class Pausing : public Results {
 protected:
  AgentView pause(const Did& did, const std::string& reason) {
    Waiting<AgentView> reply;
    plane->pause(did, reason, "somebody", reply);
    EXPECT_FALSE(reply.done());
    run();
    EXPECT_TRUE(reply->ok());
    return **reply;
  }
  AgentView resume(const Did& did) {
    Waiting<AgentView> reply;
    plane->resume(did, "somebody", reply);
    run();
    EXPECT_TRUE(reply->ok());
    return **reply;
  }
  Error chatError(const Did& did) {
    std::optional<Error> out;
    control::ChatRequest request;
    request.did = did;
    request.messages = {{"user", "hi", {}}};
    plane->chat(request, {}, [&](Result<ControlPlane::StartedChat> r) {
      if (!r) out = r.error();
    });
    run();
    return out.value_or(Error{Errc::Internal, "no error"});
  }
};

TEST_F(Pausing, RefusesEverythingWithTheReasonUntilResumed) {
  auto agent = connectedAgent(full());
  auto other = connectedAgent(full());
  EXPECT_EQ(pause(agent->did(), "under repair").row.paused, "under repair");
  ASSERT_TRUE(agent->last<Pause>());
  EXPECT_EQ(agent->last<Pause>()->reason, "under repair");
  const auto refused = runIntent(agent->did());
  EXPECT_EQ(refused->error().code, Errc::PolicyDenied);
  EXPECT_NE(refused->error().message.find("under repair"), std::string::npos);
  EXPECT_EQ(chatError(agent->did()).code, Errc::PolicyDenied);
  Waiting<std::vector<SentIntent>> sent;
  RunRequest request;
  request.action = "echo";
  plane->broadcast(request, nullptr, sent);
  run();
  ASSERT_EQ((*sent)->size(), 1U);
  EXPECT_EQ((*sent)->front().did, other->did());
  EXPECT_FALSE(agent->last<Intent>());

  restart();
  agent->connect();
  run();
  EXPECT_EQ(agent->count<Pause>(), 1U) << "told after every connect";
  EXPECT_EQ(runIntent(agent->did())->error().code, Errc::PolicyDenied);
  EXPECT_FALSE(resume(agent->did()).row.paused);
  EXPECT_TRUE(agent->last<Resume>());
  EXPECT_FALSE(runIntent(agent->did()).done());
  EXPECT_EQ(audited("agent.pause"), 1U);
  EXPECT_EQ(audited("agent.resume"), 1U);
  agent->connect();
  run();
  EXPECT_FALSE(agent->last<Pause>());
}

TEST_F(Pausing, IsToldToThoseThatUnderstandAndHoldsForAll) {
  auto agent = connectedAgent();
  pause(agent->did(), "r");
  EXPECT_FALSE(agent->last<Pause>());
  EXPECT_EQ(runIntent(agent->did())->error().code, Errc::PolicyDenied);
  agent->disconnect();
  run();
  resume(agent->did());
  Waiting<AgentView> unknown;
  plane->pause(Did("did:vaultys:00ff"), "r", "somebody", unknown);
  run();
  EXPECT_EQ(unknown->error().code, Errc::NotFound);
}

}  // namespace
}  // namespace vaultysclaw::control::testing
