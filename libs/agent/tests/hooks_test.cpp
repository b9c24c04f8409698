#include "agent_fixture.hpp"

namespace vaultysclaw::testing {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class Hooks : public AgentTest {
 protected:
  void say(protocol::Payload payload) {
    cp.send(std::move(payload));
    world.run();
  }
};

TEST_F(Hooks, OnAuthCompleteGetsWhatTheCertificateSays) {
  cp.capabilities = {"api_call"};
  cp.maxTokensPerDay = 50000;
  cp.policyId = "policy-1";
  connect();
  ASSERT_EQ(agent->auths.size(), 1u);
  const auto& info = agent->auths[0];
  EXPECT_EQ(info.did, agent->getDid());
  EXPECT_EQ(info.controlPlaneDid, cp.id().didV1().value);
  EXPECT_THAT(info.capabilities, ElementsAre("api_call"));
  EXPECT_EQ(info.limits.maxTokensPerDay, 50000);
  EXPECT_EQ(info.policyId, "policy-1");
}

TEST_F(Hooks, OnLlmConfig) {
  connect();
  cp.sendRaw(
      R"({"messageId":"m1","type":"llm_config","payload":{"config":{"provider":"openai","model":"gpt","apiKey":"k","future":1}},"timestamp":"2026-01-01T00:00:00.000Z"})");
  world.run();
  ASSERT_TRUE(agent->llm);
  EXPECT_EQ(agent->llm->model, "gpt");
  EXPECT_EQ(agent->llm->apiKey, "k");
  EXPECT_EQ(agent->llm->raw["future"], 1);
  cp.sendRaw(
      R"({"messageId":"m2","type":"llm_config","payload":{"config":null},"timestamp":"2026-01-01T00:00:00.000Z"})");
  world.run();
  EXPECT_THAT(agent->hooks, Contains("onLlmConfig none"));
  EXPECT_FALSE(agent->llm);
}

TEST_F(Hooks, OnDelegationUpdateShowsVerifiedOnesOnly) {
  connect();
  protocol::DelegationUpdate update;
  update.delegations = {cp.delegation("did:vaultys:0122222222222222222222222222222222222222", {"api_call"}),
                        cp.delegation("did:vaultys:0133333333333333333333333333333333333333", {"api_call"})};
  update.delegations[1].certificate = update.delegations[0].certificate.substr(8);
  update.delegations[0].capabilities = {"system_command"};  // a claim beside the token
  say(update);
  ASSERT_EQ(agent->delegations.size(), 1u);
  EXPECT_THAT(agent->delegations[0].capabilities, ElementsAre("api_call"));
  EXPECT_TRUE(logged("1 of 2 delegations are not valid"));
}

TEST_F(Hooks, DelegationsThatTheStateHasAreNotWrittenAgain) {
  connect();
  protocol::DelegationUpdate update;
  update.delegations = {cp.delegation("did:vaultys:0122222222222222222222222222222222222222", {"api_call"}),
                        cp.delegation("did:vaultys:0133333333333333333333333333333333333333", {"api_call"})};
  int writes = 0;
  world.agentWorkersTake = [&] { return ++writes > 0; };
  say(update);
  EXPECT_GT(std::exchange(writes, 0), 0);
  std::swap(update.delegations[0], update.delegations[1]);
  say(update);
  EXPECT_EQ(writes, 0) << "the same in another order";
  ASSERT_EQ(agent->delegations.size(), 2u) << "but the hook hears of them";
  update.delegations.pop_back();
  say(update);
  EXPECT_GT(writes, 0);
}

TEST_F(Hooks, OnPeerCatalogUpdated) {
  connect();
  identity::PeerGrantToken token;
  token.sourceDid = agent->getDid();
  token.targetDid = "did:vaultys:00274b28a7152af6cf41b48c4d6b1bb9694adb6f";
  token.targetName = "peer-agent";
  token.capabilities = {"agent_communication"};
  token.issuedAt = world.clock.now();
  protocol::PeerGrantEntry good;
  good.id = "pg-1";
  good.sourceDid = token.sourceDid;
  good.targetDid = token.targetDid;
  good.certificate = identity::signToken(cp.id(), token);
  protocol::PeerGrantEntry bad = good;
  token.sourceDid = token.targetDid;
  bad.certificate = identity::signToken(cp.id(), token);
  say(protocol::AgentPeerCatalog{{good, bad}});
  ASSERT_EQ(agent->peers.size(), 1u);
  EXPECT_EQ(agent->peers[0].targetName, "peer-agent");
  EXPECT_EQ(agent->getPeerCatalog().size(), 1u);
  try {
    agent->invokePeer(good.targetDid, "x");
    FAIL();
  } catch (const PeerError& e) {
    EXPECT_THAT(e.what(), HasSubstr("not available yet in this version"));
  }
}

TEST_F(Hooks, OnSkillsConfig) {
  connect();
  protocol::Skill skill;
  skill.name = "summarise";
  skill.enabled = true;
  skill.config = protocol::RawJson{R"({"a":1})"};
  say(protocol::SkillsConfig{{skill}});
  ASSERT_EQ(agent->skills.size(), 1u);
  EXPECT_EQ(agent->skills[0].config["a"], 1);
}

TEST_F(Hooks, KnowledgeSyncIsAnsweredNotSupportedByDefault) {
  connect();
  protocol::KnowledgeSync sync;
  sync.sourceId = "k1";
  sync.sourceName = "Docs";
  sync.sourceType = "files";
  sync.fileAttachments = {{"f1", "a.txt", "text/plain", 3, "YWJj"}};
  say(sync);
  ASSERT_EQ(agent->sources.size(), 1u);
  EXPECT_EQ(agent->sources[0].fileAttachments[0].name, "a.txt");
  auto answer = cp.last<protocol::KnowledgeSyncResult>();
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->status, "error");
  EXPECT_THAT(answer->errors.at(0), HasSubstr("not supported"));
  agent->knowledge = KnowledgeResult{4, 9, {}};
  say(sync);
  answer = cp.last<protocol::KnowledgeSyncResult>();
  EXPECT_EQ(answer->status, "ready");
  EXPECT_EQ(answer->docsProcessed, 4);
  EXPECT_EQ(answer->chunksCreated, 9);
}

TEST_F(Hooks, TasksRunThroughTheGatesAndReportTheirStatus) {
  connect();
  protocol::TaskEnqueue task;
  task.action = "text_generation";
  task.params = protocol::RawJson{R"({"x":1})"};
  const std::string id = cp.send(task);
  world.run();
  std::vector<std::string> seen;
  for (const auto& s : cp.all<protocol::TaskStatus>()) {
    EXPECT_EQ(s.taskId, id);
    seen.push_back(s.status);
  }
  EXPECT_THAT(seen, ElementsAre("pending", "running", "success"));
  EXPECT_EQ(Json::parse(cp.last<protocol::TaskStatus>()->result->text)["echo"]["params"]["x"], 1);
  task.action = "system_command";
  say(task);
  EXPECT_EQ(cp.last<protocol::TaskStatus>()->status, "failed");
  EXPECT_EQ(cp.last<protocol::TaskStatus>()->error, "Capability 'system_command' not granted");
  EXPECT_EQ(agent->intents, 1);
}

TEST_F(Hooks, Schedules) {
  connect();
  protocol::ScheduleUpdate update;
  update.id = "s1";
  update.name = "nightly";
  update.cron = "0 0 * * *";
  update.action = "api_call";
  say(update);
  say(protocol::ScheduleDelete{"s1"});
  ASSERT_EQ(agent->schedules.size(), 1u);
  EXPECT_EQ(agent->schedules[0].cron, "0 0 * * *");
  EXPECT_THAT(agent->hooks, Contains("onScheduleDelete s1"));
}

TEST_F(Hooks, SessionsAndHistory) {
  connect();
  say(protocol::GetChatSessions{5});
  say(protocol::GetChatHistory{"s1"});
  EXPECT_THAT(agent->hooks, Contains("onGetChatSessions 5"));
  ASSERT_TRUE(cp.last<protocol::ChatSessionsResponse>());
  EXPECT_EQ(cp.last<protocol::ChatSessionsResponse>()->sessions.at(0).title, "Title");
  ASSERT_TRUE(cp.last<protocol::ChatHistoryResponse>());
  EXPECT_EQ(cp.last<protocol::ChatHistoryResponse>()->messages.at(0).toolCalls->text, "[1]");
}

TEST_F(Hooks, OnError) {
  connect();
  say(protocol::ErrorMessage{"something"});
  EXPECT_THAT(agent->errors, ElementsAre("something"));
  EXPECT_TRUE(logged("something"));
}

TEST_F(Hooks, ThatThrowAreLogged) {
  connect();
  agent->onHook = [] { throw std::runtime_error("hook broke"); };
  say(protocol::SkillsConfig{});
  EXPECT_TRUE(logged("onSkillsConfig threw: hook broke"));
  EXPECT_EQ(agent->getStatus(), AgentStatus::Connected);
}

TEST_F(Hooks, ObsoletePolicyUpdatesAreAcknowledged) {
  connect();
  const std::string id = cp.send(protocol::PolicyUpdate{protocol::RawJson{"{}"}});
  world.run();
  ASSERT_EQ(acks().size(), 1u);
  EXPECT_EQ(acks()[0].messageId, id);
  EXPECT_TRUE(acks()[0].success);
}

TEST_F(Hooks, ApprovalsBlockTheHandlerUntilAnswered) {
  connect();
  world.lanes->held = true;
  ToolApprovalResponse answer;
  agent->intent = [&](auto, const auto&, CallContext& call) {
    answer = agent->requestToolApproval(call, "shell", {{"cmd", "ls"}});
    return Json(answer.approved);
  };
  intent("i1", "text_generation");
  cp.onHeard = [&](const protocol::Message& message) {
    const auto* request = std::get_if<protocol::ToolApprovalRequest>(&message.payload);
    if (request == nullptr) return;
    EXPECT_EQ(request->args.text, R"({"cmd":"ls"})");
    cp.send(protocol::ToolApprovalResponse{RequestId("unknown"), true, {}});
    cp.send(protocol::ToolApprovalResponse{request->requestId, true, "fine"});
    cp.send(protocol::ToolApprovalResponse{request->requestId, false, "again"});  // single use
  };
  world.runHandler();
  EXPECT_TRUE(answer.approved);
  EXPECT_EQ(answer.reason, "fine");
  EXPECT_EQ(result("i1")->output->text, "true");
  EXPECT_TRUE(logged("not asked for"));
}

TEST_F(Hooks, ApprovalsNobodyAnswersExpireClosed) {
  connect();
  world.lanes->held = true;
  ToolApprovalResponse answer{"", true, {}};
  agent->intent = [&](auto, const auto&, CallContext& call) {
    answer = agent->requestToolApproval(call, "shell", Json::object());
    return Json(1);
  };
  intent("i1", "text_generation", {.timeoutMs = 5000});
  world.runHandler();
  EXPECT_FALSE(answer.approved);
  EXPECT_THAT(answer.reason.value_or(""), HasSubstr("in time"));
  EXPECT_EQ(code("i1"), "deadline_exceeded");
}

TEST_F(Hooks, OnToolApprovalResponse) {
  connect();
  const std::string id = agent->sendToolApprovalRequest("shell", Json::object(), "c1");
  world.run();
  ASSERT_TRUE(cp.last<protocol::ToolApprovalRequest>());
  EXPECT_EQ(cp.last<protocol::ToolApprovalRequest>()->conversationId->value, "c1");
  say(protocol::ToolApprovalResponse{RequestId(id), true, {}});
  ASSERT_EQ(agent->approvals.size(), 1u);
  EXPECT_TRUE(agent->approvals[0].approved);
}

TEST_F(Hooks, Senders) {
  make();
  EXPECT_FALSE(agent->sendChannelMessage("ch", "text"));
  agent->start();
  world.run();
  ToolExecutionReport report;
  report.toolName = "shell";
  report.result = Json{{"ok", true}};
  report.approved = true;
  report.duration = milliseconds(12);
  report.intentId = "i1";
  EXPECT_TRUE(agent->reportToolExecution(report));
  EXPECT_TRUE(agent->sendChannelMessage("ch", "text", "thread", Json{{"a", 1}}));
  const std::vector<KnowledgeSourceStatus> status = {{"k1", "ready", 1, 2, {}}};
  EXPECT_TRUE(agent->sendKnowledgeStatus(status));
  world.run();
  EXPECT_EQ(cp.last<protocol::ToolExecution>()->durationMs, 12);
  EXPECT_EQ(cp.last<protocol::ChannelMessageSend>()->metadata->text, R"({"a":1})");
  EXPECT_EQ(cp.last<protocol::KnowledgeStatusSync>()->sources.at(0).chunkCount, 2);
  report.args = "\xff";
  EXPECT_THROW(agent->reportToolExecution(report), AgentError);
}

TEST_F(Hooks, AListenerThatThrowsHurtsNobody) {
  make();
  const auto bad = agent->on<StatusChanged>([](const StatusChanged&) { throw std::runtime_error("listener"); });
  agent->start();
  world.run();
  EXPECT_EQ(agent->getStatus(), AgentStatus::Connected);
  bool found = false;
  for (const auto& log : agent->getRecentLogs()) found = found || log.message.find("A listener threw") == 0;
  EXPECT_TRUE(found);
}

TEST_F(Hooks, AResetSubscriptionHearsNothingMore) {
  make();
  int heard = 0;
  auto subscription = agent->on<StatusChanged>([&](const StatusChanged&) { ++heard; });
  subscription.reset();
  agent->start();
  world.run();
  EXPECT_EQ(heard, 0);
}

}  // namespace
}  // namespace vaultysclaw::testing
