// Intents: taken in, sent the first time, ended.
#include "intents.hpp"

#include <algorithm>

#include "protocol/codec.hpp"
#include "results.hpp"
#include "rows.hpp"
#include "sending.hpp"

namespace vaultysclaw::control {
namespace {

// Room for the envelope around the parameters.
constexpr std::size_t kMaxParamsBytes = protocol::kMaxMessageBytes - (std::size_t{64} << 10);
constexpr std::size_t kMaxWaitingCallers = 64;  // of one intent
constexpr seconds kMaxTtl{604'800};

std::string secondsText(Duration d) {
  return std::to_string(std::chrono::duration_cast<seconds>(d).count()) + " s";
}

Error keyTaken(const store::IntentRow& existing) {
  return Error{Errc::Conflict, "the idempotency key belongs to the intent " + existing.id.value +
                                   ", which has another agent, action, params or ttl; use a new key"};
}

std::vector<Reply<RunResult>> replayed(std::vector<Reply<RunResult>> replies) {
  for (auto& reply : replies) {
    reply = [reply = std::move(reply)](Result<RunResult> result) {
      if (result) result->replayed = true;
      reply(std::move(result));
    };
  }
  return replies;
}

}  // namespace

// ---- taking in ------------------------------------------------------------------------------------------------------

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
                 "the timeout must be at most " + secondsText(context_.options.maxIntentTimeout)};
  }
  if (request.ttl && (*request.ttl < seconds(1) || *request.ttl > kMaxTtl))
    return Error{Errc::InvalidArgument, "the ttl must be 1 to " + secondsText(kMaxTtl)};
  if (request.idempotencyKey && !isIdempotencyKey(*request.idempotencyKey))
    return Error{Errc::InvalidArgument, "the idempotency key must be 1 to 128 printable ASCII characters"};
  Order order;
  order.did = std::move(request.did);
  order.action = std::move(request.action);
  order.requestedBy = std::move(request.requestedBy);
  order.params = std::make_shared<const std::string>(std::move(params->text));
  order.timeout = timeout;
  order.ttl = request.ttl;
  order.key = std::move(request.idempotencyKey);
  order.userDid = std::move(request.userDid);
  order.trace = std::move(request.trace);
  return order;
}

std::optional<IntentId> Intents::run(RunRequest request, Reply<RunResult> reply) {
  return start(check(std::move(request)), nullptr, std::move(reply));
}
void Intents::send(RunRequest request, Reply<SentIntent> reply) {
  start(check(std::move(request)), std::move(reply), nullptr);
}

Status Intents::admits(const Order& order) const {
  const Did& did = order.did;
  const Agent* agent = registry_.find(did);
  if (!agent) return noAgent(did);
  VC_TRY(entitlements_.check(order.userDid, did, order.action));
  if (agent->row.paused && !order.ttl) return pausedError(agent->row);
  if (!agent->session && !order.ttl) return Error{Errc::Unavailable, "agent " + did.value + " is not connected"};
  if (pending(did) >= context_.options.maxPendingIntentsPerAgent) {
    return Error{Errc::Busy, "agent " + did.value + " has " + std::to_string(pending(did)) +
                                 " intents pending, as many as it may; try again later"};
  }
  if (pending_.size() >= context_.options.maxPendingIntents) {
    return Error{Errc::Busy, std::to_string(pending_.size()) +
                                 " intents are pending, as many as the control plane takes; try again later"};
  }
  return {};
}

bool Intents::direct(const Order& order) const {
  if (!order.ttl) return true;
  const Agent* agent = registry_.find(order.did);
  const auto line = lines_.find(order.did);
  return agent->session && agent->session->ready() && !agent->row.paused &&
         (line == lines_.end() || line->second.waiting.empty());
}

std::optional<IntentId> Intents::start(Result<Order> order, Reply<SentIntent> onSent, Reply<RunResult> onResult) {
  const auto refuse = [&](Error error) {
    context_.replyLater<SentIntent>(std::move(onSent), error);
    context_.replyLater<RunResult>(std::move(onResult), std::move(error));
    return std::optional<IntentId>();
  };
  if (!order) return refuse(order.error());
  if (const Status admitted = admits(*order); !admitted) {
    if (!order->key) return refuse(admitted.error());
    lookUp(std::move(*order), admitted.error(), std::move(onSent), std::move(onResult));
    return std::nullopt;
  }
  const IntentId id(context_.newId());
  Pending intent;
  intent.order = std::move(*order);
  intent.createdAt = context_.now();
  intent.made = std::make_shared<Made>();
  intent.queued = !direct(intent.order);
  if (!intent.queued) {
    const InUse& inUse = registry_.find(intent.order.did)->session->inUse();
    intent.intentV2 = inUse.intentV2;
    intent.resendable = inUse.resendable();
  }
  if (!commit(id, intent)) return refuse(Error{Errc::Busy, "the control plane is overloaded; try again later"});
  if (onSent) intent.onSent.push_back(std::move(onSent));
  if (onResult) intent.onResult.push_back(std::move(onResult));
  add(id, std::move(intent));
  return id;
}

// On its way through a worker, which signs it if it is sent at once, and the store. One that waits is signed when it is
// sent, so that its token is fresh then.
bool Intents::commit(const IntentId& id, Pending& intent) {
  auto prepare = [self = context_.self, id, order = intent.order, createdAt = intent.createdAt, made = intent.made,
                  queued = intent.queued, v2 = intent.intentV2,
                  resendable = intent.resendable]() -> Result<Journal::Prepared> {
    store::IntentRow row;
    row.id = id;
    row.did = order.did;
    row.action = order.action;
    row.params = *order.params;
    row.status = queued ? "queued" : "pending";
    row.requestedBy = order.requestedBy;
    row.createdAt = createdAt;
    if (order.trace) row.traceparent = order.trace->traceparent;
    row.timeoutMs = std::chrono::duration_cast<milliseconds>(order.timeout).count();
    if (order.ttl) row.ttlSeconds = order.ttl->count();
    row.idempotencyKey = order.key;
    if (order.userDid) row.userDid = order.userDid->value;
    if (!queued) {
      const SignedIntent token = signIntent(self, id, order.did, order.action, *order.params, order.userDid, createdAt,
                                            v2 ? std::optional(order.timeout) : std::nullopt);
      made->token = token.token;
      made->hash = token.hash;
      row.token = made->token;
      row.sentAt = createdAt;
      row.deadline = createdAt + std::chrono::duration_cast<milliseconds>(order.timeout);
      row.sends = 1;
      row.resendable = resendable;
    }
    AuditEntry entry{order.requestedBy, queued ? "intent.queue" : "intent.send", order.did.value,
                     details({{"intentId", id.value}, {"action", order.action}})};
    auto work = [row = std::move(row), made](store::ControlWriter& writer) -> Status {
      if (row.idempotencyKey) {
        VC_TRY_ASSIGN(made->existing, writer.intentByKey(row.requestedBy, *row.idempotencyKey));
        if (made->existing) return Error{Errc::Replayed, "the key has an intent already"};
      }
      return writer.insertIntent(row);
    };
    return Journal::Prepared{std::move(work), std::move(entry)};
  };
  return journal_.prepare(std::move(prepare), [this, id](const Status& status) { onStored(id, status); });
}

void Intents::onStored(const IntentId& id, const Status& status) {
  const auto it = pending_.find(id);
  if (it == pending_.end()) return;
  Pending& intent = it->second;
  if (!status) {  // there is no row to end
    auto unsent = take(id);
    if (!unsent->made->existing) return answer(*unsent, status.error());
    return replay(unsent->order, std::move(*unsent->made->existing), std::move(unsent->onSent),
                  std::move(unsent->onResult));
  }
  if (intent.queued || !intent.order.userDid) return begin(id);
  entitlements_.whenCurrent(intent.order.did, [this, id] { begin(id); });
}

void Intents::begin(const IntentId& id) {
  const auto it = pending_.find(id);
  if (it == pending_.end()) return;
  Pending& intent = it->second;
  intent.stage = Stage::Waiting;
  if (!intent.queued) intent.asked.push_back(intent.made->hash);
  if (intent.deferred) return end(id, *std::exchange(intent.deferred, std::nullopt));
  if (intent.cancelled)
    return fail(id, "failed", Error{Errc::Cancelled, *intent.cancelled + " before the intent was sent"});
  if (intent.order.ttl) intent.waitUntil = context_.ports.clock.steady() + *intent.order.ttl;
  if (!intent.queued) return sendFirst(id);
  intent.order.params = nullptr;
  startExpiry(id, intent);
  enqueue(id, intent);
  accepted(id, intent);
  pump(intent.order.did);
}

void Intents::sendFirst(const IntentId& id) {
  Pending& intent = pending_.at(id);
  const Did did = intent.order.did;
  if (stopped_ && intent.resendable) {  // the next process goes on with it
    take(id);
    return;
  }
  Agent* agent = registry_.find(did);
  Session* session = agent ? agent->session.get() : nullptr;
  const bool wanted = session && !(intent.order.ttl && agent->row.paused);
  const bool fits =
      wanted && session->inUse().intentV2 == intent.intentV2 && session->inUse().resendable() == intent.resendable;
  const auto params = std::exchange(intent.order.params, nullptr);
  if (const Status may = entitlements_.check(intent.order.userDid, did, intent.order.action); !may)
    return fail(id, "failed", may.error());  // it could when it asked
  const SteadyTime due = context_.ports.clock.steady() + intent.order.timeout;
  if (fits && session->send(messageOf(id, intent.order.action, *params, named(intent.order, session->inUse()),
                                      intent.createdAt, intent.order.timeout, intent.order.trace),
                            id.value, std::move(intent.made->token))) {
    ++context_.counters.intentsSent;
    intent.made = nullptr;
    intent.stage = Stage::Sent;
    intent.session = session->id();
    ++intent.attempts;
    startDeadline(id, intent, due);
    return accepted(id, intent);
  }
  intent.made = nullptr;
  if (!intent.order.ttl && !intent.resendable) {
    const char* how = wanted && !fits ? " connected with other features" : " went away";
    return fail(id, "lost", Error{Errc::Unavailable, "agent " + did.value + how + " before the intent was sent"});
  }
  startDeadline(id, intent, due);
  accepted(id, intent);
  giveBack(id, intent, {context_.now(), "connection_lost", "before it was sent", {}});
  pump(did);
}

// Whoever asked hears of it: it is stored.
void Intents::accepted(const IntentId& id, Pending& intent) {
  const SentIntent sent{id, intent.order.did, intent.queued ? "queued" : "pending", false};
  for (const auto& reply : std::exchange(intent.onSent, {})) reply(sent);
}

void Intents::broadcast(RunRequest request, const ControlPlane::AgentFilter& among,
                        Reply<std::vector<SentIntent>> reply) {
  const auto order = check(std::move(request));
  if (!order) return context_.replyLater<std::vector<SentIntent>>(std::move(reply), order.error());
  std::vector<Did> targets;
  for (const auto& [did, agent] : registry_.all()) {
    if (among && !among(did)) continue;
    if (agent.session && !agent.row.paused && policy::grantsCapability(agent.grant.capabilities, order->action) &&
        entitlements_.check(order->userDid, did, order->action))
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

// ---- idempotency keys -----------------------------------------------------------------------------------------------

// It cannot be taken in now, but it may have been before.
void Intents::lookUp(Order order, Error refusal, Reply<SentIntent> onSent, Reply<RunResult> onResult) {
  using Found = std::shared_ptr<store::IntentRow>;
  std::vector<Reply<SentIntent>> sent;
  std::vector<Reply<RunResult>> results;
  if (onSent) sent.push_back(std::move(onSent));
  if (onResult) results.push_back(std::move(onResult));
  auto query = [by = order.requestedBy, key = *order.key](store::ControlReader& reader) -> Result<Found> {
    VC_TRY_ASSIGN(auto row, reader.intentByKey(by, key));
    return row ? std::make_shared<store::IntentRow>(std::move(*row)) : nullptr;
  };
  auto done = context_.ifAlive([this, order = std::move(order), refusal = std::move(refusal), sent = std::move(sent),
                                results = std::move(results)](Result<Found> found) mutable {
    if (found && *found) return replay(order, std::move(**found), std::move(sent), std::move(results));
    const Error error = found ? refusal : found.error();
    for (const auto& reply : sent) reply(error);
    for (const auto& reply : results) reply(error);
  });
  context_.readLater<Found>(std::move(query), std::move(done));
}

void Intents::replay(const Order& order, store::IntentRow existing, std::vector<Reply<SentIntent>> onSent,
                     std::vector<Reply<RunResult>> onResult) {
  const std::int64_t ttl = order.ttl ? order.ttl->count() : 0;
  const auto refuse = [&](const Error& error) {
    for (const auto& reply : onSent) reply(error);
    for (const auto& reply : onResult) reply(error);
  };
  if (existing.did != order.did || existing.action != order.action || existing.params != *order.params ||
      existing.ttlSeconds.value_or(0) != ttl)
    return refuse(keyTaken(existing));
  for (const auto& reply : onSent) reply(SentIntent{existing.id, existing.did, existing.status, true});
  if (onResult.empty()) return;
  onResult = replayed(std::move(onResult));
  if (const auto it = pending_.find(existing.id); it != pending_.end()) {
    auto& waiting = it->second.onResult;
    onSent.clear();
    if (waiting.size() + onResult.size() > kMaxWaitingCallers)
      return refuse(Error{Errc::Busy, "too many callers wait for the intent " + existing.id.value});
    std::move(onResult.begin(), onResult.end(), std::back_inserter(waiting));
    return;
  }
  if (hasEnded(existing)) {
    for (const auto& reply : onResult) reply(endOf(existing));
    return;
  }
  // It has ended since, and the writer stores that before it reads this.
  auto row = std::make_shared<std::optional<store::IntentRow>>();
  journal_.writeSurely(
      [row, id = existing.id](store::ControlWriter& writer) -> Status {
        VC_TRY_ASSIGN(*row, writer.intent(id));
        return {};
      },
      std::nullopt,
      [row, onResult = std::move(onResult)](const Status& status) {
        Result<RunResult> result = Error{Errc::Busy, "the intent's end is not stored yet; try again"};
        if (!status) result = status.error();
        if (status && *row && hasEnded(**row)) result = endOf(**row);
        for (const auto& reply : onResult) reply(result);
      });
}

// ---- cancelling -----------------------------------------------------------------------------------------------------

void Intents::cancel(const IntentId& id, std::string_view reason) {
  const auto it = pending_.find(id);
  if (it == pending_.end() || it->second.cancelled) return;
  Pending& intent = it->second;
  intent.cancelled = std::string(reason);
  if (intent.stage == Stage::Starting) return;
  if (intent.queued && intent.stage != Stage::Answering)
    return fail(id, "failed", Error{Errc::Cancelled, *intent.cancelled + " before the intent was sent"});
  note(id, "cancelled", *intent.cancelled);
  if (intent.stage == Stage::Answering) return;
  // An agent that has it stops and answers; one that does not must not get it any more.
  if (intent.stage == Stage::Waiting) lines_.at(intent.order.did).waiting.erase(intent.place);
  intent.stage = Stage::Sent;
  tellToStop(id, intent, reason);
}

void Intents::cancelFor(std::string actor, const IntentId& id, ControlPlane::IntentsOf whose,
                        Reply<std::monostate> reply) {
  const auto it = pending_.find(id);
  if (it != pending_.end() && (!whose || whose->owns(it->second.order.requestedBy, it->second.createdAt))) {
    const Did did = it->second.order.did;
    cancel(id, "cancelled by " + actor);
    return journal_.write(nullptr,
                          AuditEntry{std::move(actor), "intent.cancel", did.value, details({{"intentId", id.value}})},
                          [reply = std::move(reply)](const Status& status) {
                            reply(status ? Result<std::monostate>(std::monostate{}) : status.error());
                          });
  }
  context_.readLater<std::monostate>(
      [id, whose = std::move(whose)](store::ControlReader& reader) -> Result<std::monostate> {
        VC_TRY_ASSIGN(const auto row, reader.intent(id));
        if (!row || (whose && !whose->owns(row->requestedBy, row->createdAt))) return noIntent(id);
        return Error{Errc::Conflict, "the intent has ended already" + (hasEnded(*row) ? " as " + row->status : "")};
      },
      std::move(reply));
}

void Intents::tellToStop(const IntentId& id, const Pending& intent, std::string_view reason) {
  if (Session* session = registry_.live(intent.order.did))
    session->tell(protocol::Cancel{id, {}, {}, std::string(reason)});
}

// ---- ending ---------------------------------------------------------------------------------------------------------

void Intents::add(const IntentId& id, Pending intent) {
  intent.place = nextPlace_++;
  queued_ += intent.queued;
  lines_[intent.order.did].all.insert(id);
  pending_.emplace(id, std::move(intent));
  count();
}

void Intents::count() {
  context_.counters.pendingIntents = pending_.size() - queued_;
  context_.counters.queuedIntents = queued_;
}

void Intents::setQueued(Pending& intent, bool queued) {
  if (std::exchange(intent.queued, queued) == queued) return;
  queued ? ++queued_ : --queued_;
  count();
}

std::optional<Intents::Pending> Intents::take(const IntentId& id) {
  auto node = pending_.extract(id);
  if (node.empty()) return std::nullopt;
  Pending intent = std::move(node.mapped());
  intent.deadline.reset();
  queued_ -= intent.queued;
  count();
  const Did& did = intent.order.did;
  Line& line = lines_.at(did);
  line.all.erase(id);
  line.waiting.erase(intent.place);
  if (intent.inWindow) {  // its agent gets along
    line.width = std::min(line.width * 2, kWindow);
    line.backOff = Duration(0);
    leaveWindow(intent);
  }
  if (line.all.empty() && !line.preparing)
    lines_.erase(did);
  else if (!line.waiting.empty())
    pump(did);
  return intent;
}

void Intents::answer(Pending& intent, const Result<RunResult>& answer) {
  for (const auto& reply : intent.onSent) {
    reply(answer ? Result<SentIntent>(Error{Errc::Internal, "the intent ended before it was sent"}) : answer.error());
  }
  for (const auto& reply : intent.onResult) reply(answer);
}

void Intents::note(const IntentId& id, std::string event, std::string detail) {
  store::IntentEventRow row{context_.now(), std::move(event), std::move(detail), {}};
  journal_.writeSurely(
      [id, row = std::move(row)](store::ControlWriter& writer) { return writer.addIntentEvent(id, row); },
      std::nullopt);
}

void Intents::end(const IntentId& id, End how) {
  const auto it = pending_.find(id);
  if (it == pending_.end()) return;
  if (it->second.stage == Stage::Starting || it->second.stage == Stage::Answering) {
    if (!it->second.deferred) it->second.deferred = std::move(how);
    return;
  }
  auto intent = std::make_shared<Pending>(*take(id));
  const bool answered = how.answer && (how.status == "success" || how.status == "failed");
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

void Intents::agentRemoved(const Did& did) {
  const auto line = lines_.find(did);
  if (line == lines_.end()) return;
  const auto ids = line->second.all;
  for (const auto& id : ids) {
    const auto intent = pending_.find(id);
    if (intent == pending_.end()) continue;  // the end of one before has ended it too
    if (intent->second.queued)
      fail(id, "failed", Error{Errc::NotFound, "the agent was removed before it took the intent"});
    else
      fail(id, "lost", Error{Errc::NotFound, "the agent was removed before it answered; the intent may have run"});
  }
}

void Intents::shutdown() {
  stopped_ = true;
  std::vector<IntentId> ids;
  for (const auto& [id, intent] : pending_) ids.push_back(id);
  for (const auto& id : ids) {
    // Callers hear at once: the loop may not run long enough for the commit.
    Pending& intent = pending_.at(id);
    for (auto& reply : std::exchange(intent.onSent, {}))
      context_.replyLater<SentIntent>(std::move(reply), shuttingDown());
    for (auto& reply : std::exchange(intent.onResult, {}))
      context_.replyLater<RunResult>(std::move(reply), shuttingDown());
    const bool settled = intent.stage != Stage::Starting && intent.stage != Stage::Answering;
    if (!intent.resendable && !intent.queued)
      fail(id, "lost", shuttingDown());
    else if (settled)
      take(id);  // the next process goes on with it
  }
}

std::size_t Intents::pending(const Did& did) const {
  const auto it = lines_.find(did);
  return it == lines_.end() ? 0 : it->second.all.size();
}

}  // namespace vaultysclaw::control
