// Tasks and knowledge sources: calls that are no intents.
#include "base/log.hpp"
#include "convert.hpp"
#include "core.hpp"

namespace vaultysclaw::detail {
namespace {

protocol::KnowledgeSyncResult failedSync(const std::string& sourceId, std::string error) {
  protocol::KnowledgeSyncResult result;
  result.sourceId = sourceId;
  result.status = "error";
  result.errors = {std::move(error)};
  return result;
}

}  // namespace

void AgentCore::sendTaskStatus(const Call& call, std::string status, const Outcome* outcome) {
  protocol::TaskStatus task;
  task.taskId = call.id;
  task.action = call.action;
  task.status = std::move(status);
  if (outcome != nullptr && outcome->success) task.result = protocol::RawJson{outcome->output};
  if (outcome != nullptr && !outcome->success) task.error = outcome->error;
  if (phase_ == Phase::Authenticated) send(std::move(task));
}

void AgentCore::onTask(const protocol::Message& message, protocol::TaskEnqueue& wire) {
  auto call = newCall(CallKind::Task, message.messageId, wire.action, std::nullopt);
  const auto refuse = [&](std::string why) {
    const Outcome outcome{false, {}, std::move(why), Errc::Busy};
    sendTaskStatus(*call, "failed", &outcome);
  };
  if (stopping_) return refuse("the agent is stopping");
  if (paused_) return refuse(pausedError(*paused_).message);
  if (!roomForCall()) return refuse("the agent is busy: too many calls wait");
  if (wire.scheduledAt) {
    const auto at = fromIso8601(*wire.scheduledAt);
    if (!at || *at > ports_.clock().now() + seconds(1))
      return refuse("this agent runs tasks at once; it cannot keep one for later");
  }
  sendTaskStatus(*call, "pending", nullptr);
  const bool queued = launch(call, nullptr, [self = shared_from_this(), call, wire = std::move(wire)] {
    self->ports_.loop().post([self, call] {
      if (!call->answered) self->sendTaskStatus(*call, "running", nullptr);
    });
    Outcome outcome = self->runHandler(call, call->action, [&](CallContext& context) {
      const Json output = self->agent_.onTaskEnqueue(convert(wire, call->id), context);
      auto text = write(output, "the task's result");
      if (!text) throw std::runtime_error(text.error().message);
      return std::move(text->text);
    });
    self->ports_.loop().post([self, call, outcome = std::move(outcome)] { self->endCall(call, outcome); });
  });
  if (!queued) refuse("the agent is stopping");
}

void AgentCore::onKnowledge(protocol::KnowledgeSync& wire) {
  const std::string sourceId = wire.sourceId;
  if (stopping_) {
    send(failedSync(sourceId, "the agent is stopping"));
    return;
  }
  if (!roomForCall()) {
    send(failedSync(sourceId, "the agent is busy: too many calls wait"));
    return;
  }
  auto source = std::make_shared<const KnowledgeSource>(convert(wire));
  callHook("onKnowledgeSources", [source](BaseAgentRuntime& agent) { agent.onKnowledgeSources({source.get(), 1}); });
  auto call = newCall(CallKind::Knowledge, sourceId, "knowledge_sync", std::nullopt);
  const bool queued = launch(call, nullptr, [self = shared_from_this(), call, source] {
    Outcome outcome = self->runHandler(call, std::nullopt, [&](CallContext& context) {
      const KnowledgeResult result = self->agent_.onKnowledgeSync(*source, context);
      return Json{{"docs", result.docsProcessed}, {"chunks", result.chunksCreated}, {"errors", result.errors}}.dump(
          -1, ' ', false, Json::error_handler_t::replace);
    });
    self->ports_.loop().post([self, call, outcome = std::move(outcome)] { self->endCall(call, outcome); });
  });
  if (!queued) send(failedSync(sourceId, "the agent is stopping"));
}

void AgentCore::finishTask(const std::shared_ptr<Call>& call, const Outcome& outcome) {
  if (!outcome.success)
    log(LogSeverity::Error, printable(call->action) + " (" + printable(call->id) + ") failed: " + outcome.error);
  if (call->kind == CallKind::Task) return sendTaskStatus(*call, outcome.success ? "success" : "failed", &outcome);
  if (phase_ != Phase::Authenticated) return;
  if (!outcome.success) {
    send(failedSync(call->id, outcome.error));
    return;
  }
  const Json output = parse(protocol::RawJson{outcome.output});
  protocol::KnowledgeSyncResult result;
  result.sourceId = call->id;
  result.docsProcessed = output.value("docs", std::int64_t{0});
  result.chunksCreated = output.value("chunks", std::int64_t{0});
  result.errors = output.value("errors", std::vector<std::string>{});
  result.status = result.errors.empty() ? "ready" : "error";
  send(std::move(result));
}

}  // namespace vaultysclaw::detail
