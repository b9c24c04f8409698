// What an earlier process left open, when this one begins.
#include <algorithm>

#include "identity/tokens.hpp"
#include "intents.hpp"
#include "sending.hpp"

namespace vaultysclaw::control {
namespace {

constexpr std::int64_t kPage = 500;

struct Left {
  store::OpenIntent open;
  std::vector<store::IntentEventRow> events;
};

std::optional<WallTime> waitsUntil(const store::IntentRow& row) {
  return row.ttlSeconds ? std::optional(row.createdAt + seconds(*row.ttlSeconds)) : std::nullopt;
}

// Absent: it goes on.
struct Ended {
  std::string status;
  Error error;
};
std::optional<Ended> endAtStart(const store::IntentRow& row, bool known, WallTime now) {
  const bool queued = row.status == "queued";
  if (!known && queued) return Ended{"failed", {Errc::NotFound, "the agent was removed before it took the intent"}};
  if (!known)
    return Ended{"lost", {Errc::NotFound, "the agent was removed before it answered; the intent may have run"}};
  if (queued && waitsUntil(row).value_or(now) <= now)
    return Ended{
        "expired",
        {Errc::DeadlineExceeded,
         "the time that the intent could wait for its agent was over before the control plane started again; it "
         "has not run"}};
  if (queued) return std::nullopt;
  if (!row.resendable || !row.deadline)
    return Ended{"lost",
                 {Errc::Interrupted,
                  "the control plane restarted before the agent answered, and this agent cannot be "
                  "sent an intent again; it may have run"}};
  if (*row.deadline <= now)
    return Ended{"timeout",
                 {Errc::DeadlineExceeded,
                  "the agent did not answer in time, which was over before the control plane started again; the intent "
                  "may have run"}};
  return std::nullopt;
}

Status readLeft(store::ControlReader& reader, const std::string& status, std::vector<Left>& into) {
  for (std::int64_t after = 0;;) {
    VC_TRY_ASSIGN(auto page, reader.openIntents(status, after, kPage));
    if (page.empty()) return {};
    after = page.back().place;
    for (auto& open : page) {
      Left left{std::move(open), {}};
      // Those that were sent: their other tokens, and whether somebody wanted them to stop.
      if (!left.open.row.token.empty()) {
        VC_TRY_ASSIGN(left.events, reader.intentEvents(left.open.row.id));
        std::erase_if(left.events, [](const auto& event) { return !event.token && event.event != "cancelled"; });
      }
      into.push_back(std::move(left));
    }
  }
}

}  // namespace

Status Intents::recover() {
  const WallTime now = context_.now();
  std::vector<Left> all;
  const auto left = [&](store::ControlReader& reader) -> Status {
    VC_TRY(readLeft(reader, "pending", all));
    return readLeft(reader, "queued", all);
  };
  VC_TRY(context_.ports.store.readBlocking(left));
  std::sort(all.begin(), all.end(), [](const Left& a, const Left& b) { return a.open.place < b.open.place; });

  std::vector<store::IntentRow> ended;
  for (auto& one : all) {
    store::IntentRow& row = one.open.row;
    auto how = endAtStart(row, registry_.find(row.did) != nullptr, now);
    if (!how) {
      VC_TRY(resume(std::move(one.open), one.events));
      continue;
    }
    if (how->status == "timeout") ++context_.counters.intentsTimedOut;
    if (how->status == "expired") ++context_.counters.intentsExpired;
    row.status = std::move(how->status);
    row.error = std::move(how->error.message);
    row.code = std::string(wireCode(how->error.code));
    row.finishedAt = now;
    ended.push_back(std::move(row));
  }
  for (std::size_t from = 0; from < ended.size(); from += kPage) {
    const std::size_t to = std::min(ended.size(), from + kPage);
    const auto finish = [&](store::ControlWriter& writer) -> Result<std::vector<AuditEntry>> {
      std::vector<AuditEntry> entries;
      for (std::size_t i = from; i < to; ++i) {
        const store::IntentRow& row = ended[i];
        VC_TRY(writer.finishIntent(row));
        entries.push_back({"system", "intent.result", row.did.value,
                           details({{"intentId", row.id.value}, {"status", row.status}, {"code", *row.code}})});
      }
      return entries;
    };
    VC_TRY(journal_.writeBlocking(finish));
  }
  if (!all.empty()) {
    context_.ports.log.info("intent", std::to_string(pending_.size()) + " intents of an earlier process go on, " +
                                          std::to_string(ended.size()) + " have ended");
  }
  return {};
}

Status Intents::resume(store::OpenIntent open, const std::vector<store::IntentEventRow>& events) {
  store::IntentRow& row = open.row;
  Pending intent;
  intent.order.did = std::move(row.did);
  intent.order.action = std::move(row.action);
  intent.order.requestedBy = std::move(row.requestedBy);
  intent.order.timeout = milliseconds(std::max<std::int64_t>(row.timeoutMs, 1));
  if (row.ttlSeconds) intent.order.ttl = seconds(*row.ttlSeconds);
  intent.order.key = std::move(row.idempotencyKey);
  if (row.userDid) intent.order.userDid = Did(*row.userDid);
  if (row.traceparent) intent.order.trace = protocol::TraceContext{*row.traceparent, {}};
  intent.createdAt = row.createdAt;
  intent.resendable = row.resendable;
  intent.queued = row.status == "queued";
  intent.stage = Stage::Waiting;
  if (!row.token.empty()) {
    VC_TRY_ASSIGN(const auto hash, identity::tokenBodyHash(row.token));
    intent.asked.push_back(hash);
  }
  for (const auto& event : events) {
    if (event.event == "cancelled") intent.cancelled = event.detail;
    if (!event.token) continue;
    VC_TRY_ASSIGN(const auto hash, identity::tokenBodyHash(*event.token));
    intent.asked.push_back(hash);
  }
  if (!intent.queued) intent.attempts = intent.asked.size();
  // By the wall's clock, for it goes on while no process runs; never longer than the whole of it, should that clock
  // have been set back.
  const SteadyTime now = context_.ports.clock.steady();
  const auto left = [&](std::optional<WallTime> until, Duration most) {
    return std::clamp<Duration>(until.value_or(context_.now()) - context_.now(), Duration(0), most);
  };
  if (intent.order.ttl) intent.waitUntil = now + left(waitsUntil(row), *intent.order.ttl);
  const IntentId id = row.id;
  const Duration rest = left(row.deadline, intent.order.timeout);
  add(id, std::move(intent));
  Pending& added = pending_.at(id);
  if (added.queued) {
    startExpiry(id, added);
  } else {
    startDeadline(id, added, now + rest);
  }
  if (added.cancelled && !added.queued)
    added.stage = Stage::Sent;  // its agent is told when it comes
  else
    enqueue(id, added);
  return {};
}

}  // namespace vaultysclaw::control
