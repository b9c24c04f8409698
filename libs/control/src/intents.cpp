#include "intents.hpp"

#include <algorithm>

#include "identity/tokens.hpp"
#include "protocol/codec.hpp"

namespace vaultysclaw::control {
namespace {

// Room for the envelope around the parameters.
constexpr std::size_t kMaxParamsBytes = protocol::kMaxMessageBytes - (std::size_t{64} << 10);

ControlPlane::IntentView viewOf(store::IntentRow row, const identity::VaultysId& self, WallTime now) {
  ControlPlane::IntentView view;
  const auto token = identity::verifyIntentToken(row.token, self, now);
  view.signatureValid =
      token && token->id == row.id.value && token->action == row.action && token->agentId == row.did.value;
  view.row = std::move(row);
  return view;
}

std::string_view statusName(protocol::ResultStatus status) {
  return status == protocol::ResultStatus::Success ? "success" : "failed";
}

}  // namespace

Status Intents::recover(store::ControlStore& store, WallTime now) {
  return store.writeBlocking([now](store::ControlWriter& writer) -> Status {
    for (;;) {
      VC_TRY_ASSIGN(auto rows, writer.intents({std::nullopt, "pending"}, {0, 500}));
      if (rows.items.empty()) return {};
      for (auto& row : rows.items) {
        row.status = "lost";
        row.error = "the control plane restarted before the agent answered; it may have run";
        row.code = std::string(wireCode(Errc::Interrupted));
        row.finishedAt = now;
        VC_TRY(writer.finishIntent(row));
      }
    }
  });
}

Result<Duration> Intents::check(RunRequest& request) {
  if (request.action.empty() || !protocol::checkCapabilities({request.action})) {
    return Error{Errc::InvalidArgument, "action must be 1 to 64 characters"};
  }
  auto params = protocol::validateJson(request.params.text, kMaxParamsBytes);
  if (!params) return Error{Errc::InvalidArgument, "params: " + params.error().message};
  request.params = std::move(params).value();
  const Duration timeout = request.timeout.value_or(context_.options.defaultIntentTimeout);
  if (timeout <= Duration(0)) return Error{Errc::InvalidArgument, "the timeout must be greater than zero"};
  if (timeout > context_.options.maxIntentTimeout) {
    return Error{Errc::InvalidArgument,
                 "the timeout must be at most " +
                     std::to_string(std::chrono::duration_cast<seconds>(context_.options.maxIntentTimeout).count()) +
                     " s"};
  }
  return timeout;
}

std::optional<IntentId> Intents::run(RunRequest request, Reply<RunResult> reply) {
  return start(std::move(request), nullptr, std::move(reply));
}
void Intents::send(RunRequest request, Reply<SentIntent> reply) {
  start(std::move(request), std::move(reply), nullptr);
}

std::optional<IntentId> Intents::start(RunRequest request, Reply<SentIntent> onSent, Reply<RunResult> onResult) {
  const auto refuse = [&](Error error) {
    context_.replyLater<SentIntent>(std::move(onSent), error);
    context_.replyLater<RunResult>(std::move(onResult), std::move(error));
    return std::optional<IntentId>();
  };
  const auto timeout = check(request);
  if (!timeout) return refuse(timeout.error());
  if (!registry_.find(request.did)) return refuse(Error{Errc::NotFound, "no agent " + printable(request.did.value)});
  if (!registry_.live(request.did))
    return refuse(Error{Errc::Unavailable, "agent " + request.did.value + " is not connected"});
  if (pending(request.did) >= context_.options.maxPendingIntentsPerAgent) {
    return refuse(Error{Errc::Busy, "agent " + request.did.value + " has " + std::to_string(pending(request.did)) +
                                        " intents pending, as many as it may; try again later"});
  }
  const IntentId id(context_.newId());
  Pending intent;
  intent.did = request.did;
  intent.action = request.action;
  intent.requestedBy = request.requestedBy;
  intent.params = std::move(request.params);
  intent.createdAt = context_.now();
  intent.timeout = *timeout;

  auto token = std::make_shared<std::string>();
  auto onLoop = context_.ifAlive([this, id, token] { onSigned(id, std::move(*token)); });
  auto task = [self = context_.self,
               body = identity::IntentToken{id.value, intent.action, intent.did.value, intent.createdAt, {}, {}, {}},
               token, &loop = context_.ports.loop, onLoop]() mutable {
    *token = identity::signToken(self, body);
    loop.post(std::move(onLoop));
  };
  if (!context_.ports.workers.submit(std::move(task))) {
    return refuse(Error{Errc::Busy, "the control plane is overloaded; try again later"});
  }
  intent.onSent = std::move(onSent);
  intent.onResult = std::move(onResult);
  byAgent_[intent.did].insert(id);
  pending_.emplace(id, std::move(intent));
  context_.counters.pendingIntents = pending_.size();
  return id;
}

void Intents::cancel(const IntentId& id, std::string_view reason) {
  const auto it = pending_.find(id);
  if (it == pending_.end() || it->second.cancelled) return;
  it->second.cancelled = std::string(reason);
  if (it->second.stage == Stage::Sent) tellToStop(id, it->second, reason);
}

void Intents::tellToStop(const IntentId& id, const Pending& intent, std::string_view reason) {
  if (Session* session = registry_.live(intent.did)) session->tell(protocol::Cancel{id, {}, {}, std::string(reason)});
}

void Intents::onSigned(const IntentId& id, std::string token) {
  const auto it = pending_.find(id);
  if (it == pending_.end()) return;  // the agent has gone meanwhile
  Pending& intent = it->second;
  intent.stage = Stage::Storing;
  intent.token = std::move(token);
  store::IntentRow row;
  row.id = id;
  row.did = intent.did;
  row.action = intent.action;
  row.params = intent.params.text;
  row.token = intent.token;
  row.status = "pending";
  row.requestedBy = intent.requestedBy;
  row.createdAt = intent.createdAt;
  AuditEntry entry{intent.requestedBy, "intent.send", intent.did.value,
                   details({{"intentId", id.value}, {"action", intent.action}})};
  journal_.write([row = std::move(row)](store::ControlWriter& writer) { return writer.insertIntent(row); },
                 std::move(entry), [this, id](const Status& status) { onStored(id, status); });
}

void Intents::onStored(const IntentId& id, const Status& status) {
  const auto it = pending_.find(id);
  if (it == pending_.end()) return;
  Pending& intent = it->second;
  if (!status) {
    intent.stage = Stage::Signing;  // there is no row to end
    return fail(id, "failed", status.error());
  }
  if (intent.cancelled) {
    return fail(id, "failed", Error{Errc::Cancelled, *intent.cancelled + " before the intent was sent"});
  }
  Session* session = registry_.live(intent.did);
  protocol::Intent message;
  message.id = id;
  message.action = intent.action;
  message.params = std::move(intent.params);
  message.timestamp = toIso8601(intent.createdAt);
  message.timeoutMs = std::chrono::duration_cast<milliseconds>(intent.timeout).count();
  intent.stage = Stage::Sent;
  if (!session || !session->send(std::move(message), id.value, std::move(intent.token))) {
    return fail(id, "lost",
                Error{Errc::Unavailable, "agent " + intent.did.value + " went away before the intent was sent"});
  }
  ++context_.counters.intentsSent;
  intent.deadline = context_.ports.loop.after(intent.timeout, [this, id] {
    ++context_.counters.intentsTimedOut;
    if (const auto late = pending_.find(id); late != pending_.end() && !late->second.cancelled)
      tellToStop(id, late->second, "the time for the intent is over");
    fail(id, "timeout", Error{Errc::DeadlineExceeded, "the agent did not answer in time; the intent may still run"});
  });
  if (intent.onSent) std::exchange(intent.onSent, nullptr)(SentIntent{id, intent.did});
}

void Intents::fail(const IntentId& id, std::string status, Error error) {
  Outcome outcome;
  outcome.status = std::move(status);
  outcome.error = error.message;
  outcome.code = std::string(wireCode(error.code));
  finish(id, std::move(outcome), std::move(error));
}

void Intents::finish(const IntentId& id, Outcome outcome, Result<RunResult> answer) {
  auto node = pending_.extract(id);
  if (node.empty()) return;
  auto intent = std::make_shared<Pending>(std::move(node.mapped()));
  intent->deadline.reset();
  if (auto& ids = byAgent_[intent->did]; ids.erase(id) && ids.empty()) byAgent_.erase(intent->did);
  context_.counters.pendingIntents = pending_.size();

  auto reply = [this, intent, answer = std::move(answer)](const Status&) {
    if (intent->onSent) {
      intent->onSent(answer ? Result<SentIntent>(Error{Errc::Internal, "the intent ended before it was sent"})
                            : answer.error());
    }
    if (intent->onResult) intent->onResult(answer);
  };
  if (intent->stage == Stage::Signing) {  // nothing is stored yet
    context_.ports.loop.post(context_.ifAlive([reply] { reply(Status{}); }));
    return;
  }
  store::IntentRow row;
  row.id = id;
  row.did = intent->did;
  row.status = outcome.status;
  if (outcome.output) row.output = std::move(outcome.output->text);
  row.error = std::move(outcome.error);
  row.code = outcome.code;
  row.executedAt = outcome.executedAt;
  row.finishedAt = context_.now();
  const bool answered = outcome.status == "success" || outcome.status == "failed";
  AuditEntry entry{answered ? intent->did.value : "system", "intent.result", intent->did.value,
                   details({{"intentId", id.value}, {"status", outcome.status}, {"code", outcome.code.value_or("")}})};
  journal_.writeSurely([row = std::move(row)](store::ControlWriter& writer) { return writer.finishIntent(row); },
                       std::move(entry), std::move(reply));
}

bool Intents::onResult(const Did& from, const protocol::IntentResult& result) {
  const auto it = pending_.find(result.intentId);
  if (it == pending_.end()) return onLateResult(from, result);
  if (it->second.did != from || it->second.stage != Stage::Sent) return false;
  const bool success = result.status == protocol::ResultStatus::Success;
  ++(success ? context_.counters.intentsSucceeded : context_.counters.intentsFailed);
  RunResult answer;
  answer.intentId = result.intentId;
  answer.status = std::string(statusName(result.status));
  answer.output = result.output;
  answer.error = result.error;
  answer.code = result.code;
  answer.executedAt = result.executedAt;
  Outcome outcome{answer.status, answer.output, answer.error, answer.code, answer.executedAt};
  finish(result.intentId, std::move(outcome), std::move(answer));
  return true;
}

bool Intents::onLateResult(const Did& from, const protocol::IntentResult& result) {
  auto& underWay = lateAnswers_[from];
  if (underWay >= context_.options.maxPendingIntentsPerAgent) return false;
  ++underWay;
  store::IntentRow row;
  row.id = result.intentId;
  row.did = from;
  row.status = std::string(statusName(result.status));
  if (result.output) row.output = result.output->text;
  row.error = result.error;
  row.code = result.code;
  row.executedAt = result.executedAt;
  row.finishedAt = context_.now();
  AuditEntry entry{from.value, "intent.result", from.value,
                   details({{"intentId", row.id.value}, {"status", row.status}, {"code", row.code.value_or("")}})};
  auto work = [row = std::move(row)](store::ControlWriter& writer) -> Status {
    VC_TRY_ASSIGN(const auto asked, writer.intent(row.id));
    if (!asked || asked->did != row.did || asked->status != "lost")
      return Error{Errc::NotFound, "no intent of this agent that was lost"};
    return writer.finishIntent(row);
  };
  journal_.write(std::move(work), std::move(entry),
                 [this, from, success = result.status == protocol::ResultStatus::Success](const Status& status) {
                   if (const auto it = lateAnswers_.find(from); --it->second == 0) lateAnswers_.erase(it);
                   if (status) {
                     ++(success ? context_.counters.intentsSucceeded : context_.counters.intentsFailed);
                     return;
                   }
                   ++context_.counters.messagesRefused;
                   context_.ports.log.debug("agent", from.value + ": dropped an answer: " + status.error().message);
                 });
  return true;
}

bool Intents::onAck(const Did& from, const protocol::IntentAck& ack) {
  if (ack.success) return true;
  const IntentId id(ack.messageId);
  const auto it = pending_.find(id);
  if (it == pending_.end() || it->second.did != from || it->second.stage != Stage::Sent) return false;
  // Refused without a result: the agent will not run it.
  protocol::IntentResult refused;
  refused.intentId = id;
  refused.error = ack.reason.value_or("the agent refused the intent");
  refused.code = std::string(wireCode(Errc::PolicyDenied));
  refused.executedAt = context_.now();
  return onResult(from, refused);
}

void Intents::agentGone(const Did& did, const Error& why) {
  const auto it = byAgent_.find(did);
  if (it == byAgent_.end()) return;
  const auto ids = it->second;
  for (const auto& id : ids) fail(id, "lost", why);
}

void Intents::shutdown() {
  std::vector<IntentId> ids;
  for (const auto& [id, intent] : pending_) ids.push_back(id);
  for (const auto& id : ids) {
    // Callers hear at once: the loop may not run long enough for the commit.
    Pending& intent = pending_.at(id);
    context_.replyLater<SentIntent>(std::exchange(intent.onSent, nullptr), shuttingDown());
    context_.replyLater<RunResult>(std::exchange(intent.onResult, nullptr), shuttingDown());
    fail(id, "lost", shuttingDown());
  }
}

std::size_t Intents::pending(const Did& did) const {
  const auto it = byAgent_.find(did);
  return it == byAgent_.end() ? 0 : it->second.size();
}

void Intents::broadcast(RunRequest request, Reply<std::vector<SentIntent>> reply) {
  if (auto ok = check(request); !ok) return context_.replyLater<std::vector<SentIntent>>(std::move(reply), ok.error());
  std::vector<Did> targets;
  for (const auto& [did, agent] : registry_.all()) {
    if (agent.session && policy::grantsCapability(agent.grant.capabilities, request.action)) targets.push_back(did);
  }
  if (targets.empty()) return context_.replyLater<std::vector<SentIntent>>(std::move(reply), std::vector<SentIntent>{});
  struct Gathered {
    std::size_t waiting;
    std::vector<SentIntent> sent;
    Reply<std::vector<SentIntent>> reply;
  };
  auto gathered = std::make_shared<Gathered>(Gathered{targets.size(), {}, std::move(reply)});
  for (const auto& did : targets) {
    RunRequest one = request;
    one.did = did;
    send(std::move(one), [gathered](Result<SentIntent> sent) {
      if (sent) gathered->sent.push_back(std::move(sent).value());
      if (--gathered->waiting == 0) gathered->reply(std::move(gathered->sent));
    });
  }
}

void Intents::list(store::IntentFilter filter, store::Page page,
                   Reply<store::Listing<ControlPlane::IntentView>> reply) {
  using Views = store::Listing<ControlPlane::IntentView>;
  context_.readLater<Views>(
      [filter = std::move(filter), page, self = context_.self,
       now = context_.now()](store::ControlReader& reader) -> Result<Views> {
        VC_TRY_ASSIGN(auto rows, reader.intents(filter, page));
        Views views;
        views.total = rows.total;
        for (auto& row : rows.items) views.items.push_back(viewOf(std::move(row), self, now));
        return views;
      },
      std::move(reply));
}

void Intents::read(const IntentId& id, Reply<ControlPlane::IntentView> reply) {
  context_.readLater<ControlPlane::IntentView>(
      [id, self = context_.self,
       now = context_.now()](store::ControlReader& reader) -> Result<ControlPlane::IntentView> {
        VC_TRY_ASSIGN(auto row, reader.intent(id));
        if (!row) return Error{Errc::NotFound, "no intent " + printable(id.value)};
        return viewOf(std::move(*row), self, now);
      },
      std::move(reply));
}

}  // namespace vaultysclaw::control
