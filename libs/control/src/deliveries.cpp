// Intents that wait for their agent: those that may (a ttl), and those whose connection broke before their answer came.
#include <algorithm>

#include "base/json_writer.hpp"
#include "intents.hpp"
#include "sending.hpp"

namespace vaultysclaw::control {
namespace {

constexpr Duration kRetryInterval = milliseconds(20);  // when workers or the store have too much to do
constexpr Duration kRetryAfterFailure = seconds(1);    // when the store fails
constexpr Duration kLeastBackOff = milliseconds(100), kMostBackOff = seconds(60);  // when the agent has too much to do
// Of one intent that its agent has not refused to take. So many tokens are known of each (store::kMaxIntentTokens), and
// an answer to any counts: one that was sent more often just waits.
constexpr std::size_t kMaxAttempts = 60;

}  // namespace

// Intents of one agent on their way through a worker and the store, to be sent in this order.
struct Intents::Batch {
  struct Item {
    IntentId id;
    Duration timeout{};  // what is left of it
    std::string action, params;
    std::optional<Did> userDid;
    SignedIntent made;
    bool read = false;                   // it fits into this batch
    bool recorded = false;               // it may be sent
    std::optional<Error> unusable = {};  // its row is damaged, or gone
  };
  std::vector<Item> items;
  WallTime now{};
  bool intentV2 = false, resendable = false;
  std::size_t room = 0;  // for params, in bytes; the first may be longer when nothing else is under way
  bool firstMayBeLonger = false;

  Status read(store::ControlReader& reader) {
    std::size_t used = 0;
    for (auto& item : items) {
      auto found = reader.intent(item.id);
      if (!found && found.error().code != Errc::Malformed) return found.error();
      if (!found || !*found) {
        item.unusable = found ? Error{Errc::NotFound, "the intent is not in the store any more"} : found.error();
        continue;
      }
      auto& row = *found;
      const std::size_t size = row->params.size();
      if (used + size > room && !(used == 0 && firstMayBeLonger)) return {};
      used += size;
      item.params = std::move(row->params);
      item.action = std::move(row->action);
      item.read = true;
    }
    return {};
  }
  void sign(const identity::VaultysId& self, const Did& did) {
    for (auto& item : items) {
      if (item.read)
        item.made = signIntent(self, item.id, did, item.action, item.params, item.userDid, now,
                               intentV2 ? std::optional(item.timeout) : std::nullopt);
    }
  }
  Status record(store::ControlWriter& writer, std::string& details) {
    JsonWriter w;
    w.beginObject();
    w.key("intentIds").beginArray();
    bool any = false;
    for (auto& item : items) {
      if (item.unusable) continue;
      if (!item.read) break;
      const Status status = writer.recordSend(
          item.id, {item.made.token, now, now + std::chrono::duration_cast<milliseconds>(item.timeout), resendable});
      if (!status && status.error().code == Errc::Conflict) continue;  // it has ended meanwhile
      if (!status && (status.error().code == Errc::Malformed || status.error().code == Errc::NotFound)) {
        item.unusable = status.error();
        continue;
      }
      VC_TRY(status);
      item.recorded = any = true;
      w.value(item.id.value);
    }
    w.endArray();
    w.endObject();
    details = w.take();
    return any ? Status() : Error{Errc::Conflict, "they have all ended"};
  }
};

// ---- the line -------------------------------------------------------------------------------------------------------

void Intents::enqueue(const IntentId& id, Pending& intent) {
  leaveWindow(intent);
  intent.stage = Stage::Waiting;
  if (intent.attempts < kMaxAttempts) lines_.at(intent.order.did).waiting.emplace(intent.place, id);
}

void Intents::leaveWindow(Pending& intent) {
  if (!std::exchange(intent.inWindow, false)) return;
  Line& line = lines_.at(intent.order.did);
  line.full = false;
  --line.unanswered;
  line.bytes -= std::exchange(intent.bytes, 0);
}

void Intents::giveBack(const IntentId& id, Pending& intent, store::IntentEventRow event) {
  const SteadyTime now = context_.ports.clock.steady();
  if (!intent.order.ttl || intent.waitUntil <= now) {
    enqueue(id, intent);
    note(id, std::move(event.event), std::move(event.detail));
    return;
  }
  leaveWindow(intent);
  intent.stage = Stage::Waiting;
  intent.attempts = 0;
  setQueued(intent, true);
  startExpiry(id, intent);
  // Not in the line before that is stored, so that it cannot undo the next sending.
  journal_.writeSurely(
      [id, event = std::move(event)](store::ControlWriter& writer) -> Status {
        const Status queued = writer.requeueIntent(id);
        if (!queued && queued.error().code == Errc::Conflict) return {};
        VC_TRY(queued);
        return writer.addIntentEvent(id, event);
      },
      std::nullopt,
      [this, id](const Status&) {
        const auto it = pending_.find(id);
        if (it == pending_.end() || it->second.stage != Stage::Waiting || !it->second.queued) return;
        enqueue(id, it->second);
        pump(it->second.order.did);
      },
      Journal::HearsOf::Success);
}

void Intents::startDeadline(const IntentId& id, Pending& intent, SteadyTime due) {
  intent.due = due;
  intent.deadline = context_.ports.loop.after(due - context_.ports.clock.steady(), [this, id] {
    ++context_.counters.intentsTimedOut;
    if (const auto late = pending_.find(id); late != pending_.end() && !late->second.cancelled)
      tellToStop(id, late->second, "the time for the intent is over");
    fail(id, "timeout", Error{Errc::DeadlineExceeded, "the agent did not answer in time; the intent may still run"});
  });
}

void Intents::startExpiry(const IntentId& id, Pending& intent) {
  intent.deadline = context_.ports.loop.after(intent.waitUntil - context_.ports.clock.steady(), [this, id] {
    ++context_.counters.intentsExpired;
    const auto late = pending_.find(id);
    if (late == pending_.end()) return;
    const Order& order = late->second.order;
    fail(id, "expired",
         Error{Errc::DeadlineExceeded, "agent " + order.did.value + " did not take the intent within the " +
                                           std::to_string(order.ttl->count()) +
                                           " s that it could wait; it has not run"});
  });
}

// ---- sending --------------------------------------------------------------------------------------------------------

void Intents::agentReady(const Did& did) {
  const auto line = lines_.find(did);
  Session* session = registry_.live(did);
  if (line == lines_.end() || !session || !session->ready() || stopped_) return;
  std::vector<IntentId> moved;
  const auto ids = line->second.all;
  for (const auto& id : ids) {
    Pending& intent = pending_.at(id);
    const bool sentBefore = intent.stage == Stage::Sent && intent.session != session->id();
    if (sentBefore && intent.cancelled) {
      tellToStop(id, intent, *intent.cancelled);
      continue;
    }
    if (!sentBefore || !intent.resendable) continue;
    enqueue(id, intent);  // it was sent over a connection that this one replaced
    moved.push_back(id);
  }
  for (const auto& id : moved) note(id, "connection_lost", "replaced by another one of this agent");
  pump(did);
}

void Intents::agentGone(const Did& did) {
  const auto line = lines_.find(did);
  if (line == lines_.end()) return;
  line->second.width = kWindow;
  line->second.backOff = Duration(0);
  line->second.pausing = false;
  line->second.retry.reset();
  const auto ids = line->second.all;
  auto moved = std::make_shared<std::vector<IntentId>>();
  for (const auto& id : ids) {
    Pending& intent = pending_.at(id);
    if (intent.stage == Stage::Starting || intent.stage == Stage::Waiting || intent.stage == Stage::Preparing) continue;
    if (!intent.resendable) {
      fail(id, "lost", Error{Errc::Unavailable, "the agent disconnected before it answered; the intent may have run"});
    } else if (intent.stage == Stage::Sent && !intent.cancelled) {
      enqueue(id, intent);
      moved->push_back(id);
    }
  }
  if (moved->empty()) return;
  journal_.writeSurely(
      [moved, at = context_.now()](store::ControlWriter& writer) -> Status {
        for (const auto& id : *moved) VC_TRY(writer.addIntentEvent(id, {at, "connection_lost", "", {}}));
        return {};
      },
      std::nullopt);
}

void Intents::pump(const Did& did) {
  const auto found = lines_.find(did);
  const Agent* agent = registry_.find(did);
  if (found == lines_.end() || !agent || !agent->session || !agent->session->ready() || agent->row.paused || stopped_)
    return;
  if (!agent->session->inUse().resendable()) {
    std::vector<IntentId> unsafe;
    for (const auto& [place, id] : found->second.waiting) {
      if (!pending_.at(id).queued) unsafe.push_back(id);
    }
    // All of them first, for an end pumps the line too.
    for (const auto& id : unsafe) found->second.waiting.erase(pending_.at(id).place);
    for (const auto& id : unsafe) {
      fail(id, "lost",
           Error{Errc::Unavailable,
                 "the agent has come back without the features that make sending again safe; the intent may have run"});
    }
    if (!unsafe.empty()) return pump(did);
  }
  Line& line = found->second;
  if (line.preparing || line.pausing || line.waiting.empty() || line.unanswered >= line.width) return;
  if (line.full || line.bytes >= kWindowBytes) return;  // until some are answered

  const Session& session = *agent->session;
  auto batch = std::make_shared<Batch>();
  batch->now = context_.now();
  batch->intentV2 = session.inUse().intentV2;
  batch->resendable = session.inUse().resendable();
  batch->room = kWindowBytes - line.bytes;
  batch->firstMayBeLonger = line.bytes == 0;
  const SteadyTime now = context_.ports.clock.steady();
  std::vector<std::pair<IntentId, Error>> denied;  // to whoever could when he asked
  for (const auto& [place, id] : line.waiting) {
    if (line.unanswered + batch->items.size() >= line.width) break;
    const Pending& intent = pending_.at(id);
    const Order& order = intent.order;
    if (const Status may = intent.queued ? entitlements_.check(order.userDid, did, order.action) : Status(); !may) {
      denied.emplace_back(id, may.error());
      continue;
    }
    // One that is about to time out is not worth a millisecond.
    const Duration left = intent.queued ? intent.order.timeout : std::max<Duration>(intent.due - now, milliseconds(1));
    batch->items.push_back({id, left, {}, {}, intent.order.userDid, {}});
  }
  if (!denied.empty()) {
    for (const auto& [id, error] : denied) line.waiting.erase(pending_.at(id).place);
    for (const auto& [id, error] : denied) fail(id, "failed", error);
    return pump(did);
  }
  auto audited = std::make_shared<std::string>();
  auto prepare = [batch, did, audited, self = context_.self,
                  &database = context_.ports.store]() -> Result<Journal::Prepared> {
    VC_TRY(database.readBlocking([&](store::ControlReader& reader) { return batch->read(reader); }));
    batch->sign(self, did);
    return Journal::Prepared{[batch, audited](store::ControlWriter& writer) { return batch->record(writer, *audited); },
                             AuditEntry{"system", "intent.deliver", did.value, "{}", audited}};
  };
  if (!journal_.prepare(std::move(prepare), [this, did, batch](const Status& status) {
        entitlements_.whenCurrent(did, [this, did, batch, status] { onPrepared(did, batch, status); });
      }))
    return retryLater(did, line, kRetryInterval);
  line.preparing = true;
  for (const auto& item : batch->items) {
    Pending& intent = pending_.at(item.id);
    line.waiting.erase(intent.place);
    intent.stage = Stage::Preparing;
    intent.inWindow = true;
    ++line.unanswered;
  }
}

void Intents::onPrepared(const Did& did, const std::shared_ptr<Batch>& batch, const Status& status) {
  const auto found = lines_.find(did);
  VC_ASSERT(found != lines_.end(), "a line stays while a batch of it is under way");
  found->second.preparing = false;
  for (std::size_t i = 0; i < batch->items.size(); ++i) {
    const auto& item = batch->items[i];
    const auto it = pending_.find(item.id);
    if (it == pending_.end()) continue;
    Pending& intent = it->second;
    const bool recorded = status && item.recorded;
    if (recorded) {
      if (intent.asked.size() >= static_cast<std::size_t>(store::kMaxIntentTokens))
        intent.asked.erase(intent.asked.begin());
      intent.asked.push_back(item.made.hash);
    }
    if (intent.stage != Stage::Preparing) continue;  // answered or cancelled meanwhile
    if (item.unusable) {                             // others must not wait behind it
      context_.ports.log.error("intent", "cannot send the intent " + item.id.value + ": " + item.unusable->message);
      fail(item.id, "lost", *item.unusable);
    } else if (recorded)
      deliver(item.id, intent, *batch, i);
    else
      enqueue(item.id, intent);
  }
  // Nothing in between has removed it: what is in it has not ended, or deliver() ended it and the line with it.
  const auto line = lines_.find(did);
  if (line == lines_.end()) return;
  if (line->second.all.empty()) {
    lines_.erase(line);
    return;
  }
  if (!status && status.error().code != Errc::Conflict) {
    const bool full = status.error().code == Errc::Busy;
    if (!full)
      context_.ports.log.error("intent", "could not send what waits for " + did.value + ": " + status.error().message);
    return retryLater(did, line->second, full ? kRetryInterval : kRetryAfterFailure);
  }
  const auto unread = [](const Batch::Item& item) { return !item.read && !item.unusable; };
  if (std::any_of(batch->items.begin(), batch->items.end(), unread)) line->second.full = line->second.bytes > 0;
  pump(did);
}

void Intents::deliver(const IntentId& id, Pending& intent, Batch& batch, std::size_t at) {
  auto& item = batch.items[at];
  const bool first = intent.queued;
  setQueued(intent, false);
  intent.intentV2 = batch.intentV2;
  intent.resendable = batch.resendable;
  if (first) startDeadline(id, intent, context_.ports.clock.steady() + item.timeout);
  const Agent* agent = registry_.find(intent.order.did);
  Session* session = agent ? agent->session.get() : nullptr;
  const bool fits = session && session->ready() && !agent->row.paused && !stopped_ &&
                    session->inUse().intentV2 == batch.intentV2 && session->inUse().resendable() == batch.resendable;
  const std::size_t size = item.params.size();
  if (fits && session->send(messageOf(id, item.action, std::move(item.params), named(intent.order, session->inUse()),
                                      batch.now, item.timeout, intent.order.trace),
                            id.value, std::move(item.made.token))) {
    ++(first ? context_.counters.intentsSent : context_.counters.intentsResent);
    intent.stage = Stage::Sent;
    intent.session = session->id();
    intent.bytes = size;
    lines_.at(intent.order.did).bytes += size;
    ++intent.attempts;
    return;
  }
  if (first && !intent.resendable && (!intent.order.ttl || intent.waitUntil <= context_.ports.clock.steady())) {
    intent.stage = Stage::Sent;
    return fail(id, "lost", Error{Errc::Unavailable, "the agent went away before the intent was sent"});
  }
  if (first) return giveBack(id, intent, {context_.now(), "connection_lost", "before it was sent", {}});
  enqueue(id, intent);
}

// ---- an agent with too much to do -----------------------------------------------------------------------------------

void Intents::retryLater(const Did& did, Line& line, Duration delay) {
  if (std::exchange(line.pausing, true)) return;
  line.retry = context_.ports.loop.after(delay, [this, did] {
    const auto found = lines_.find(did);
    if (found == lines_.end()) return;
    found->second.pausing = false;
    pump(did);
  });
}

void Intents::busy(const Did& did) {
  Line& line = lines_.at(did);
  line.width = 1;
  if (line.pausing) return;
  line.backOff = std::clamp<Duration>(line.backOff * 2, kLeastBackOff, kMostBackOff);
  retryLater(did, line, line.backOff);
}

}  // namespace vaultysclaw::control
