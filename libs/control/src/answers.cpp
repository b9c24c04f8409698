// What agents answer: results, late ones too, and refusals.
#include <algorithm>

#include "intents.hpp"
#include "results.hpp"
#include "rows.hpp"
#include "sending.hpp"

namespace vaultysclaw::control {
namespace {

constexpr Duration kRetryInterval = milliseconds(20);  // when workers or the store have too much to do
constexpr Duration kMaxRetryInterval = seconds(5);     // when the disk fails, and goes on failing

constexpr std::size_t kMaxEventDetail = 500;

Error otherIntent() {
  return Error{Errc::PolicyDenied, "the signed result answers another intent than the one that was sent"};
}

// Whether a refusal says only that the agent cannot take the intent now. It looks up the id before it refuses, so that
// it has not taken it before either.
bool notNow(const std::string& code, bool paused) {
  return code == wireCode(Errc::Busy) || code == wireCode(Errc::Interrupted) ||
         (paused && code == wireCode(Errc::PolicyDenied));
}

}  // namespace

bool Intents::onAck(const Did& from, const protocol::IntentAck& ack) {
  if (ack.success) return true;
  const IntentId id(ack.messageId);
  const auto it = pending_.find(id);
  if (it == pending_.end() || it->second.order.did != from) return false;
  Pending& intent = it->second;
  // After a result that is being verified it only repeats it.
  if (intent.stage != Stage::Sent && intent.stage != Stage::Answering) return false;
  const bool counts = intent.stage == Stage::Sent;
  RunResult refused;
  refused.intentId = id;
  refused.status = "failed";
  refused.error = ack.reason.value_or("the agent refused the intent");
  refused.code = ack.code.value_or(std::string(wireCode(Errc::PolicyDenied)));
  if (counts && waitsAfter(refused, id, intent)) return true;
  // It will not run it.
  if (counts) ++context_.counters.intentsFailed;
  end(id, {"failed", std::move(refused)});
  return true;
}

bool Intents::waitsAfter(const RunResult& refused, const IntentId& id, Pending& intent) {
  const Did did = intent.order.did;
  const Agent* agent = registry_.find(did);
  const bool ttlLeft = intent.order.ttl && intent.waitUntil > context_.ports.clock.steady();
  const bool mayWait = ttlLeft || (intent.resendable && (intent.order.ttl || intent.asked.size() > 1));
  if (!mayWait || intent.cancelled || !refused.code || !notNow(*refused.code, agent && agent->row.paused)) return false;
  giveBack(id, intent, {context_.now(), "busy", printable(refused.error.value_or(""), kMaxEventDetail), {}});
  busy(did);
  return true;
}

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
  if (mine && it->second.asked.empty()) return false;
  // Also one that is about to be sent again: its agent has kept the answer to an earlier sending.
  const bool waiting = mine && it->second.stage != Stage::Answering;
  if (waiting && !mustSign) {
    const bool success = result.status == protocol::ResultStatus::Success;
    // Without signed results the refusal comes as a result first; the intent_ack that repeats it changes nothing.
    if (!success && it->second.stage == Stage::Sent && waitsAfter(resultOf(result), id, it->second)) return true;
    ++(success ? context_.counters.intentsSucceeded : context_.counters.intentsFailed);
    end(id, {std::string(statusName(result.status)), resultOf(result)});
    return true;
  }
  auto answer = std::make_shared<Answer>();
  if (!waiting) {
    auto& late = lateAnswers_[from];
    answer->bytes = (result.output ? result.output->text.size() : 0) + result.error.value_or("").size() +
                    result.signature.value_or("").size();
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
    if (it->second.stage == Stage::Waiting) lines_.at(from).waiting.erase(it->second.place);
    it->second.stage = Stage::Answering;
    answer->waited = true;
    answer->asked = it->second.asked;
  }
  submit(std::move(answer));
  return true;
}

void Intents::submit(std::shared_ptr<Answer> answer) {
  const bool waiting = answer->waited;
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
    const auto& asked = answer->asked;
    if (answer->waited && std::find(asked.begin(), asked.end(), token.intentHash) == asked.end()) return otherIntent();
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
  retryTimer_ = context_.ports.loop.after(std::max(kRetryInterval, retryDelay_), [this] {
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
  if (!hasEnded(*asked)) return Error{Errc::Unavailable, "the intent's end is not stored yet"};
  if (answer.stored || (asked->status != "lost" && asked->status != "timeout"))
    return Error{Errc::Conflict, "the intent has ended already as " + asked->status};
  if (answer.agent) {
    VC_TRY_ASSIGN(const auto events, writer.intentEvents(answer.row.id));
    if (!asksFor(answer.intentHash, asked->token, events)) return otherIntent();
  }
  // The row tells of the better end from now on.
  VC_TRY(writer.addIntentEvent(asked->id, {asked->finishedAt.value_or(asked->createdAt),
                                           asked->status == "timeout" ? "timed_out" : asked->status,
                                           asked->error.value_or(""),
                                           {}}));
  VC_TRY(writer.addIntentEvent(asked->id, {answer.row.finishedAt.value_or(asked->createdAt), "late_result", "", {}}));
  return writer.finishIntent(answer.row);
}

void Intents::onAnswered(const std::shared_ptr<Answer>& answer, const Status& status) {
  if (!status && status.error().code == Errc::Busy) return tryAgain(answer);
  const IntentId& id = answer->row.id;
  const Did& from = answer->row.did;
  const bool waiting = answer->waited;
  if (!waiting) {
    const auto late = lateAnswers_.find(from);
    late->second.bytes -= answer->bytes;
    if (--late->second.count == 0) lateAnswers_.erase(late);
  }
  if (waiting && (status || answer->verified)) {
    if (auto intent = take(id)) Intents::answer(*intent, resultOf(answer->result));
  }
  if (status) {
    retryDelay_ = Duration(0);
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
    intent.stage = Stage::Sent;
    if (intent.deferred) return end(id, *std::exchange(intent.deferred, std::nullopt));
    const Session* session = registry_.live(from);
    const bool there = session && session->id() == intent.session && !intent.queued;
    if (intent.cancelled && intent.queued)
      return fail(id, "failed", Error{Errc::Cancelled, *intent.cancelled + " before the intent was sent"});
    if (there || intent.cancelled || !(intent.resendable || intent.queued)) return;
    enqueue(id, intent);
    return pump(from);
  }
  if (error.code == Errc::NotFound || error.code == Errc::Conflict || error.code == Errc::PolicyDenied)
    return refuse(from, id, error.message);
  // Nothing is acknowledged that is not stored: the agent keeps it, and sends it again when it connects next.
  context_.ports.log.error("intent", "could not store the result of " + id.value + ": " + error.message);
  if (!waiting || error.code == Errc::Malformed) return;  // a damaged row stays damaged
  // Nobody else ends the row, which says `pending` until the disk works again.
  retryDelay_ = std::clamp(retryDelay_ * 2, kRetryInterval, kMaxRetryInterval);
  tryAgain(answer);
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

}  // namespace vaultysclaw::control
