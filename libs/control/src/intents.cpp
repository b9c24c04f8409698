#include "intents.hpp"

#include <algorithm>

#include "identity/tokens.hpp"
#include "protocol/codec.hpp"
#include "results.hpp"

namespace vaultysclaw::control {
namespace {

// Room for the envelope around the parameters.
constexpr std::size_t kMaxParamsBytes = protocol::kMaxMessageBytes - (std::size_t{64} << 10);
constexpr Duration kRetryInterval = milliseconds(20);  // when workers or the store have too much to do
constexpr Duration kMaxTokenLife = seconds(300);       // docs/protocol.md 7.4

ControlPlane::IntentView viewOf(store::IntentRow row, const identity::VaultysId& self,
                                const std::optional<identity::VaultysId>& agent) {
  ControlPlane::IntentView view;
  const StoredProof proof = proofOf(row, self, agent ? &*agent : nullptr);
  view.signatureValid = proof.intent;
  view.resultSignatureValid = proof.result;
  view.row = std::move(row);
  return view;
}

Error otherIntent() {
  return Error{Errc::PolicyDenied, "the signed result answers another intent than the one that was sent"};
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

// ---- sending --------------------------------------------------------------------------------------------------------

Result<Intents::Order> Intents::check(RunRequest request) {
  if (request.action.empty() || !protocol::checkCapabilities({request.action})) {
    return Error{Errc::InvalidArgument, "action must be 1 to 64 characters"};
  }
  auto params = protocol::validateJson(request.params.text, kMaxParamsBytes);
  if (!params) return Error{Errc::InvalidArgument, "params: " + params.error().message};
  const Duration timeout = request.timeout.value_or(context_.options.defaultIntentTimeout);
  if (timeout <= Duration(0)) return Error{Errc::InvalidArgument, "the timeout must be greater than zero"};
  if (timeout > context_.options.maxIntentTimeout) {
    return Error{Errc::InvalidArgument,
                 "the timeout must be at most " +
                     std::to_string(std::chrono::duration_cast<seconds>(context_.options.maxIntentTimeout).count()) +
                     " s"};
  }
  return Order{std::move(request.did),
               std::move(request.action),
               std::move(request.requestedBy),
               std::make_shared<const std::string>(std::move(params->text)),
               timeout,
               std::move(request.trace)};
}

std::optional<IntentId> Intents::run(RunRequest request, Reply<RunResult> reply) {
  return start(check(std::move(request)), nullptr, std::move(reply));
}
void Intents::send(RunRequest request, Reply<SentIntent> reply) {
  start(check(std::move(request)), std::move(reply), nullptr);
}

std::optional<IntentId> Intents::start(Result<Order> order, Reply<SentIntent> onSent, Reply<RunResult> onResult) {
  const auto refuse = [&](Error error) {
    context_.replyLater<SentIntent>(std::move(onSent), error);
    context_.replyLater<RunResult>(std::move(onResult), std::move(error));
    return std::optional<IntentId>();
  };
  if (!order) return refuse(order.error());
  const Did did = order->did;
  const Agent* agent = registry_.find(did);
  if (!agent) return refuse(Error{Errc::NotFound, "no agent " + printable(did.value)});
  if (agent->row.paused) return refuse(pausedError(agent->row));
  if (!agent->session) return refuse(Error{Errc::Unavailable, "agent " + did.value + " is not connected"});
  if (pending(did) >= context_.options.maxPendingIntentsPerAgent) {
    return refuse(Error{Errc::Busy, "agent " + did.value + " has " + std::to_string(pending(did)) +
                                        " intents pending, as many as it may; try again later"});
  }
  const IntentId id(context_.newId());
  Pending intent;
  intent.order = std::move(*order);
  intent.createdAt = context_.now();
  intent.token = std::make_shared<Signed>();
  intent.intentV2 = agent->session->inUse().intentV2;
  auto prepare = [self = context_.self, id, order = intent.order, createdAt = intent.createdAt, token = intent.token,
                  v2 = intent.intentV2]() -> Result<Journal::Prepared> {
    identity::IntentToken body{id.value, order.action, order.did.value, createdAt, {}, {}, {}};
    if (v2) {
      body.paramsHash = identity::sha256(asBytes(*order.params));
      body.expiresAt =
          createdAt + std::chrono::duration_cast<milliseconds>(std::min<Duration>(order.timeout, kMaxTokenLife));
    }
    token->token = identity::signToken(self, body);
    VC_TRY_ASSIGN(token->hash, identity::tokenBodyHash(token->token));
    store::IntentRow row;
    row.id = id;
    row.did = order.did;
    row.action = order.action;
    row.params = *order.params;
    row.token = token->token;
    row.status = "pending";
    row.requestedBy = order.requestedBy;
    row.createdAt = createdAt;
    if (order.trace) row.traceparent = order.trace->traceparent;
    AuditEntry entry{order.requestedBy, "intent.send", order.did.value,
                     details({{"intentId", id.value}, {"action", order.action}})};
    return Journal::Prepared{[row = std::move(row)](store::ControlWriter& writer) { return writer.insertIntent(row); },
                             std::move(entry)};
  };
  if (!journal_.prepare(std::move(prepare), [this, id](const Status& status) { onStored(id, status); })) {
    return refuse(Error{Errc::Busy, "the control plane is overloaded; try again later"});
  }
  intent.onSent = std::move(onSent);
  intent.onResult = std::move(onResult);
  byAgent_[did].insert(id);
  pending_.emplace(id, std::move(intent));
  context_.counters.pendingIntents = pending_.size();
  return id;
}

void Intents::cancel(const IntentId& id, std::string_view reason) {
  const auto it = pending_.find(id);
  if (it == pending_.end() || it->second.cancelled) return;
  it->second.cancelled = std::string(reason);
  if (it->second.stage == Pending::Stage::Sent) tellToStop(id, it->second, reason);
}

void Intents::tellToStop(const IntentId& id, const Pending& intent, std::string_view reason) {
  if (Session* session = registry_.live(intent.order.did))
    session->tell(protocol::Cancel{id, {}, {}, std::string(reason)});
}

void Intents::onStored(const IntentId& id, const Status& status) {
  const auto it = pending_.find(id);
  if (it == pending_.end()) return;
  Pending& intent = it->second;
  if (!status) {  // there is no row to end
    auto unsent = take(id);
    return answer(*unsent, status.error());
  }
  intent.stage = Pending::Stage::Sent;
  if (intent.deferred) return end(id, *std::exchange(intent.deferred, std::nullopt));
  if (intent.cancelled) {
    return fail(id, "failed", Error{Errc::Cancelled, *intent.cancelled + " before the intent was sent"});
  }
  Session* session = registry_.live(intent.order.did);
  const auto gone = [&](const char* how) {
    fail(id, "lost", Error{Errc::Unavailable, "agent " + intent.order.did.value + how + " before the intent was sent"});
  };
  if (session && session->inUse().intentV2 != intent.intentV2) return gone(" connected with other features");
  protocol::Intent message;
  message.id = id;
  message.action = intent.order.action;
  message.params.text = *std::exchange(intent.order.params, nullptr);
  message.timestamp = toIso8601(intent.createdAt);
  message.timeoutMs = std::chrono::duration_cast<milliseconds>(intent.order.timeout).count();
  message.trace = std::move(intent.order.trace);
  if (!session || !session->send(std::move(message), id.value, std::move(intent.token->token)))
    return gone(" went away");
  ++context_.counters.intentsSent;
  intent.deadline = context_.ports.loop.after(intent.order.timeout, [this, id] {
    ++context_.counters.intentsTimedOut;
    if (const auto late = pending_.find(id); late != pending_.end() && !late->second.cancelled)
      tellToStop(id, late->second, "the time for the intent is over");
    fail(id, "timeout", Error{Errc::DeadlineExceeded, "the agent did not answer in time; the intent may still run"});
  });
  if (intent.onSent) std::exchange(intent.onSent, nullptr)(SentIntent{id, intent.order.did});
}

void Intents::broadcast(RunRequest request, Reply<std::vector<SentIntent>> reply) {
  const auto order = check(std::move(request));
  if (!order) return context_.replyLater<std::vector<SentIntent>>(std::move(reply), order.error());
  std::vector<Did> targets;
  for (const auto& [did, agent] : registry_.all()) {
    if (agent.session && !agent.row.paused && policy::grantsCapability(agent.grant.capabilities, order->action))
      targets.push_back(did);
  }
  if (targets.empty()) return context_.replyLater<std::vector<SentIntent>>(std::move(reply), std::vector<SentIntent>{});
  struct Gathered {
    std::size_t waiting;
    std::vector<SentIntent> sent;
    Reply<std::vector<SentIntent>> reply;
  };
  auto gathered = std::make_shared<Gathered>(Gathered{targets.size(), {}, std::move(reply)});
  for (const auto& did : targets) {
    Order one = *order;
    one.did = did;
    start(
        std::move(one),
        [gathered](Result<SentIntent> sent) {
          if (sent) gathered->sent.push_back(std::move(sent).value());
          if (--gathered->waiting == 0) gathered->reply(std::move(gathered->sent));
        },
        nullptr);
  }
}

// ---- ending ---------------------------------------------------------------------------------------------------------

std::optional<Intents::Pending> Intents::take(const IntentId& id) {
  auto node = pending_.extract(id);
  if (node.empty()) return std::nullopt;
  Pending intent = std::move(node.mapped());
  intent.deadline.reset();
  const auto ids = byAgent_.find(intent.order.did);
  if (ids->second.erase(id) && ids->second.empty()) byAgent_.erase(ids);
  context_.counters.pendingIntents = pending_.size();
  return intent;
}

void Intents::answer(Pending& intent, const Result<RunResult>& answer) {
  if (intent.onSent) {
    intent.onSent(answer ? Result<SentIntent>(Error{Errc::Internal, "the intent ended before it was sent"})
                         : answer.error());
  }
  if (intent.onResult) intent.onResult(answer);
}

void Intents::end(const IntentId& id, End how) {
  const auto it = pending_.find(id);
  if (it == pending_.end()) return;
  if (it->second.stage != Pending::Stage::Sent) {
    if (!it->second.deferred) it->second.deferred = std::move(how);
    return;
  }
  auto intent = std::make_shared<Pending>(*take(id));
  const bool answered = how.status == "success" || how.status == "failed";
  store::IntentRow row;
  row.id = id;
  row.status = std::move(how.status);
  if (how.answer) {
    if (how.answer->output) row.output = how.answer->output->text;
    row.error = how.answer->error;
    row.code = how.answer->code;
    row.executedAt = how.answer->executedAt;
  } else {
    row.error = how.answer.error().message;
    row.code = std::string(wireCode(how.answer.error().code));
  }
  row.finishedAt = context_.now();
  const std::string& did = intent->order.did.value;
  AuditEntry entry{answered ? did : "system", "intent.result", did,
                   details({{"intentId", id.value}, {"status", row.status}, {"code", row.code.value_or("")}})};
  journal_.writeSurely([row = std::move(row)](store::ControlWriter& writer) { return writer.finishIntent(row); },
                       std::move(entry),
                       [intent, answer = std::move(how.answer)](const Status&) { Intents::answer(*intent, answer); });
}

bool Intents::onAck(const Did& from, const protocol::IntentAck& ack) {
  if (ack.success) return true;
  const IntentId id(ack.messageId);
  const auto it = pending_.find(id);
  if (it == pending_.end() || it->second.order.did != from || it->second.stage == Pending::Stage::Starting)
    return false;
  // Refused without a result: the agent will not run it. After a result that is being verified it only repeats it.
  const bool counts = it->second.stage == Pending::Stage::Sent;
  RunResult refused;
  refused.intentId = id;
  refused.status = "failed";
  refused.error = ack.reason.value_or("the agent refused the intent");
  refused.code = ack.code.value_or(std::string(wireCode(Errc::PolicyDenied)));
  if (counts) ++context_.counters.intentsFailed;
  end(id, {"failed", std::move(refused)});
  return true;
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

// ---- results --------------------------------------------------------------------------------------------------------

RunResult Intents::resultOf(const protocol::IntentResult& result) {
  return {result.intentId,  std::string(statusName(result.status)), result.output, result.error, result.code,
          result.executedAt};
}

bool Intents::onResult(Session& session, protocol::IntentResult result) {
  const Did from = session.did();
  const IntentId id = result.intentId;
  const bool mustSign = session.inUse().signedResults;
  if (mustSign && !result.signature) {
    refuse(from, id, "a result of this connection must be signed");
    return true;
  }
  const auto it = pending_.find(id);
  const bool mine = it != pending_.end() && it->second.order.did == from;
  if (mine && it->second.stage == Pending::Stage::Starting) return false;
  const bool waiting = mine && it->second.stage == Pending::Stage::Sent;
  if (waiting && !mustSign) {
    const bool success = result.status == protocol::ResultStatus::Success;
    ++(success ? context_.counters.intentsSucceeded : context_.counters.intentsFailed);
    end(id, {std::string(statusName(result.status)), resultOf(result)});
    return true;
  }
  auto answer = std::make_shared<Answer>();
  if (!waiting) {
    auto& late = lateAnswers_[from];
    answer->bytes = result.output ? result.output->text.size() : 0;
    if (late.count >= context_.options.maxPendingIntentsPerAgent ||
        (late.count > 0 && late.bytes + answer->bytes > context_.options.maxLateResultBytesPerAgent)) {
      // Not dropped in silence: an agent with an outbox sends them again after its next handshake.
      session.closeSoon(net::close_code::kTryLater, "more results at once than can be stored; connect again later");
      return false;
    }
    ++late.count;
    late.bytes += answer->bytes;
  }
  answer->row.id = id;
  answer->row.did = from;
  answer->row.status = std::string(statusName(result.status));
  if (result.output) answer->row.output = result.output->text;
  answer->row.error = result.error;
  answer->row.code = result.code;
  answer->row.executedAt = result.executedAt;
  answer->row.finishedAt = context_.now();
  answer->result = std::move(result);
  if (mustSign) {
    answer->agent = session.identity();
    answer->row.resultToken = answer->result.signature;
  }
  if (waiting) {
    it->second.stage = Pending::Stage::Answering;
    answer->asked = it->second.token->hash;
  }
  submit(std::move(answer));
  return true;
}

void Intents::submit(std::shared_ptr<Answer> answer) {
  const bool waiting = answer->asked.has_value();
  Journal::Work work = [answer, waiting](store::ControlWriter& writer) {
    return waiting ? writer.finishIntent(answer->row) : finishLate(*answer, writer);
  };
  const std::string& did = answer->row.did.value;
  AuditEntry entry{did, "intent.result", did,
                   details({{"intentId", answer->row.id.value},
                            {"status", answer->row.status},
                            {"code", answer->row.code.value_or("")},
                            {waiting ? "signed" : "late", "true"}})};
  Journal::Done done = [this, answer](const Status& status) { onAnswered(answer, status); };
  if (!answer->agent || answer->verified) return journal_.write(std::move(work), std::move(entry), std::move(done));
  auto prepare = [answer, ours = context_.self.didV1(), work = std::move(work),
                  entry = std::move(entry)]() mutable -> Result<Journal::Prepared> {
    VC_TRY_ASSIGN(const auto token, checkResult(answer->result, *answer->agent, ours));
    if (answer->asked && *answer->asked != token.intentHash) return otherIntent();
    answer->intentHash = token.intentHash;
    VC_TRY_ASSIGN(const auto hash, identity::tokenBodyHash(*answer->result.signature));
    answer->hash = hexEncode(hash);
    answer->verified = true;
    return Journal::Prepared{std::move(work), std::move(entry)};
  };
  if (!journal_.prepare(std::move(prepare), std::move(done))) tryAgain(std::move(answer));
}

void Intents::tryAgain(std::shared_ptr<Answer> answer) {
  waitingAnswers_.push_back(std::move(answer));
  if (waitingAnswers_.size() > 1) return;
  retryTimer_ = context_.ports.loop.after(kRetryInterval, [this] {
    const auto waiting = std::exchange(waitingAnswers_, {});
    for (const auto& one : waiting) submit(one);
  });
}

Status Intents::finishLate(Answer& answer, store::ControlWriter& writer) {
  VC_TRY_ASSIGN(const auto asked, writer.intent(answer.row.id));
  if (!asked || asked->did != answer.row.did) return Error{Errc::NotFound, "no such intent was sent to this agent"};
  if (asked->resultToken) {
    VC_TRY_ASSIGN(const auto hash, identity::tokenBodyHash(*asked->resultToken));
    answer.stored = hexEncode(hash);
  }
  if (asked->status == "pending") return Error{Errc::Unavailable, "the intent's end is not stored yet"};
  if (answer.stored || (asked->status != "lost" && asked->status != "timeout"))
    return Error{Errc::Conflict, "the intent has ended already as " + asked->status};
  if (answer.agent) {
    VC_TRY_ASSIGN(const auto hash, identity::tokenBodyHash(asked->token));
    if (hash != answer.intentHash) return otherIntent();
  }
  return writer.finishIntent(answer.row);
}

void Intents::onAnswered(const std::shared_ptr<Answer>& answer, const Status& status) {
  if (!status && status.error().code == Errc::Busy) return tryAgain(answer);
  const IntentId& id = answer->row.id;
  const Did& from = answer->row.did;
  const bool waiting = answer->asked.has_value();
  if (!waiting) {
    const auto late = lateAnswers_.find(from);
    late->second.bytes -= answer->bytes;
    if (--late->second.count == 0) lateAnswers_.erase(late);
  }
  if (waiting && (status || answer->verified)) {
    if (auto intent = take(id)) Intents::answer(*intent, resultOf(answer->result));
  }
  if (status) {
    ++(answer->row.status == "success" ? context_.counters.intentsSucceeded : context_.counters.intentsFailed);
    return acknowledge(from, {id, answer->hash, std::nullopt});
  }
  const Error& error = status.error();
  if (answer->stored) {
    acknowledge(from, {id, answer->stored, std::nullopt});
    if (*answer->stored != answer->hash) ++context_.counters.messagesRefused;
    return;
  }
  if (answer->agent && !answer->verified) {
    refuse(from, id, error.message);
    if (!waiting) return;
    Pending& intent = pending_.at(id);
    intent.stage = Pending::Stage::Sent;
    if (intent.deferred) end(id, *std::exchange(intent.deferred, std::nullopt));
    return;
  }
  if (error.code == Errc::NotFound || error.code == Errc::Conflict || error.code == Errc::PolicyDenied)
    return refuse(from, id, error.message);
  // Nothing is acknowledged that is not stored: the agent sends it again when it connects next.
  context_.ports.log.error("intent", "could not store the result of " + id.value + ": " + error.message);
}

void Intents::refuse(const Did& from, const IntentId& id, const std::string& why) {
  ++context_.counters.messagesRefused;
  ++context_.counters.resultsRefused;
  context_.ports.log.warn("intent", from.value + ": a result for " + printable(id.value) + " does not count: " + why);
  acknowledge(from, {id, std::nullopt, why});
}

void Intents::acknowledge(const Did& to, protocol::ResultAck ack) {
  Session* session = registry_.live(to);
  if (session && session->inUse().resultAck) session->send(std::move(ack));
}

// ---- reading --------------------------------------------------------------------------------------------------------

void Intents::list(store::IntentFilter filter, store::Page page,
                   Reply<store::Listing<ControlPlane::IntentView>> reply) {
  using Views = store::Listing<ControlPlane::IntentView>;
  context_.readLater<Views>(
      [filter = std::move(filter), page, self = context_.self](store::ControlReader& reader) -> Result<Views> {
        VC_TRY_ASSIGN(auto rows, reader.intents(filter, page));
        Views views;
        views.total = rows.total;
        std::map<Did, std::optional<identity::VaultysId>> agents;
        for (auto& row : rows.items) {
          auto& agent = agents[row.did];
          if (row.resultToken && !agent) {
            VC_TRY_ASSIGN(agent, identityOf(reader, row.did));
          }
          views.items.push_back(viewOf(std::move(row), self, agent));
        }
        return views;
      },
      std::move(reply));
}

void Intents::read(const IntentId& id, Reply<ControlPlane::IntentView> reply) {
  context_.readLater<ControlPlane::IntentView>(
      [id, self = context_.self](store::ControlReader& reader) -> Result<ControlPlane::IntentView> {
        VC_TRY_ASSIGN(auto row, reader.intent(id));
        if (!row) return Error{Errc::NotFound, "no intent " + printable(id.value)};
        std::optional<identity::VaultysId> agent;
        if (row->resultToken) {
          VC_TRY_ASSIGN(agent, identityOf(reader, row->did));
        }
        return viewOf(std::move(*row), self, agent);
      },
      std::move(reply));
}

}  // namespace vaultysclaw::control
