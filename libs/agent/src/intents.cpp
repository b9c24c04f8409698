// Intents: what is checked, remembered and run (docs/protocol.md 7.4).
#include <algorithm>

#include "base/log.hpp"
#include "convert.hpp"
#include "core.hpp"
#include "identity/tokens.hpp"

namespace vaultysclaw::detail {
namespace {

constexpr seconds kMaxAhead{60};
constexpr seconds kMaxAge{300};
constexpr seconds kMaxLife{300};
constexpr std::chrono::hours kKeepIntents{24};
constexpr std::chrono::minutes kTidyInterval{10};

// Tells a resend from another intent under the same id.
std::string fingerprintOf(const protocol::Intent& intent, const identity::Sha256& paramsHash) {
  std::string text = intent.action;
  text += '\0';
  text += intent.userDid ? intent.userDid->value : "";
  text += '\0';
  text += asText(paramsHash);
  return hexEncode(identity::sha256(asBytes(text)));
}

Error badSignature(std::string_view why) {
  return {Errc::BadSignature, "Intent signature verification failed: " + std::string(why)};
}

std::string secondsText(milliseconds d) {
  return std::to_string(std::chrono::duration_cast<seconds>(d).count()) + " s";
}

}  // namespace

// An intent on its way into the state: what the worker needs, and what it finds out.
struct AgentCore::Acceptance {
  std::string messageId;
  std::optional<std::string> signature;
  protocol::Intent intent;
  std::shared_ptr<Call> call;
  Status room;  // whether the loop would take another call
  bool v2 = false;
  bool tidy = false;
  std::vector<store::SettledResult> settled;

  Status genuine;   // else nothing was looked up
  Status admitted;  // whether it may be accepted if it is new
  std::string fingerprint;
  WallTime acceptedAt{};
  bool counted = false;  // its request is reserved in the usage book
  std::optional<store::StoredUsage> usage;
  std::optional<store::SeenIntent> seen;
};

// After this the payload's action is what the control plane has signed, and with a params hash (judgeToken) its params
// and user too.
Result<identity::IntentToken> AgentCore::checkIntent(const Acceptance& job) const {
  if (!job.signature) return badSignature("it is not signed");
  // Its expiry counts only when the intent is new: see judgeToken.
  auto token = identity::verifyIntentToken(*job.signature, *controlPlane_, WallTime::min());
  if (!token) return Error{token.error().code, badSignature(token.error().message).message};
  if (token->id != job.messageId || token->id != job.intent.id.value)
    return badSignature("it is signed for another id");
  if (token->agentId != did().value) return badSignature("it is signed for another agent");
  if (token->action != job.intent.action) return badSignature("another action is signed");
  if (job.v2 && (!token->paramsHash || !token->expiresAt))
    return badSignature("its token has no paramsHash or no expiresAt, which intent-v2 requires");
  return token;
}

Status AgentCore::judgeToken(const identity::IntentToken& token, const protocol::Intent& intent,
                             const identity::Sha256& paramsHash) {
  if (token.paramsHash) {
    if (*token.paramsHash != paramsHash) return badSignature("other params are signed");
    if (token.userDid.value_or("") != (intent.userDid ? intent.userDid->value : ""))
      return badSignature("another user is signed");
  }
  const WallTime now = ports_.clock().now();
  // Compared, not subtracted, first: a timestamp may be any number.
  if (token.timestamp > now + kMaxAhead) {
    const bool near = token.timestamp < now + kKeepIntents;
    return Error{Errc::Expired, "The intent is dated " + (near ? secondsText(token.timestamp - now) : "over a day") +
                                    " in the future: a clock is wrong"};
  }
  if (token.timestamp < now - kMaxAge) {
    const bool near = token.timestamp > now - kKeepIntents;
    return Error{Errc::Expired, "The intent is " + (near ? secondsText(now - token.timestamp) : "over a day") +
                                    " old; at most 300 s are allowed"};
  }
  if (token.expiresAt && *token.expiresAt > token.timestamp + kMaxLife)
    return Error{Errc::InvalidArgument, "The intent's token lives longer than the 300 s that are allowed"};
  if (token.expiresAt && *token.expiresAt < now)
    return Error{Errc::Expired, "The intent's token has expired " + secondsText(now - *token.expiresAt) + " ago"};
  return {};
}

// What is wrong with the moment, whatever the intent is.
Status AgentCore::roomForIntent() const {
  if (stopping_) return Error{Errc::Interrupted, "the agent is stopping"};
  if (paused_) return pausedError(*paused_);
  if (!roomForCall()) return Error{Errc::Busy, "the agent is busy: too many calls wait"};
  if (outbox_.full(accepting_.size() + calls_.size() + unstored_.size()))
    return Error{Errc::Busy, "the agent is busy: too many results wait for the control plane's acknowledgement"};
  return {};
}

void AgentCore::refuseIntent(const std::string& intentId, const Error& error) {
  log(LogSeverity::Warn, "Refused intent " + printable(intentId) + ": " + error.message);
  if (phase_ != Phase::Authenticated) return;
  // A signed result is for what was accepted; this was not.
  if (!inUse_.has(identity::feature::kSignedResults)) send(failedResult(intentId, error, ports_.clock().now()));
  send(protocol::IntentAck{intentId, false, error.message, std::string(wireCode(error.code))});
}

void AgentCore::onIntent(protocol::Message& message, protocol::Intent& intent) {
  const std::string& id = message.messageId;
  if (accepting_.contains(id)) return;  // the same message twice in a row: the first one answers
  auto job = std::make_shared<Acceptance>();
  job->messageId = id;
  job->signature = std::move(message.signature);
  job->room = roomForIntent();
  job->v2 = inUse_.has(identity::feature::kIntentV2);
  job->settled = std::exchange(settled_, {});
  const SteadyTime now = ports_.clock().steady();
  job->tidy = now >= nextTidy_;
  if (job->tidy) nextTidy_ = now + kTidyInterval;
  job->call = newCall(CallKind::Intent, id, intent.action, intent.timeoutMs);
  job->call->intentId = id;
  job->call->signsResult = signsResults();
  if (intent.trace) {
    job->call->traceparent = intent.trace->traceparent;
    job->call->tracestate = intent.trace->tracestate;
  }
  job->intent = std::move(intent);
  accepting_.emplace(id, job->call);
  began();
  // The signature (35 µs) is verified on a worker, so that neither a loop with many agents nor the file they share has
  // much to do for each intent.
  if (!worker_->submit([self = shared_from_this(), job] { self->examine(job); })) endAcceptance(job, StateFile::busy());
}

void AgentCore::endAcceptance(const std::shared_ptr<Acceptance>& job, Status stored) {
  backOnLoop([this, job, stored = std::move(stored)] {
    accepting_.erase(job->messageId);
    onAccepted(*job, stored);
  });
}

// From here on workers, one intent of this agent after the other, so they are accepted in the order in which they came.
void AgentCore::examine(const std::shared_ptr<Acceptance>& job) {
  job->genuine = judge(*job);
  if (!job->genuine && job->settled.empty()) return endAcceptance(job, {});
  const bool queued = setup_.state->file().submit([self = shared_from_this(), job] { return self->accept(*job); },
                                                  [self = shared_from_this(), job](Status stored) {
                                                    self->recordAccepted(*job, stored);
                                                    self->endAcceptance(job, std::move(stored));
                                                  });
  if (!queued) endAcceptance(job, StateFile::busy());
}

// Whether it is genuine; fills in what follows from that.
Status AgentCore::judge(Acceptance& job) {
  VC_TRY_ASSIGN(const identity::IntentToken token, checkIntent(job));
  VC_TRY_ASSIGN(const identity::Sha256 intentHash, identity::tokenBodyHash(*job.signature));
  const identity::Sha256 paramsHash = identity::sha256(asBytes(job.intent.params.text));
  job.fingerprint = fingerprintOf(job.intent, paramsHash);
  job.admitted = judgeToken(token, job.intent, paramsHash);
  if (job.admitted) job.admitted = job.room;
  job.acceptedAt = ports_.clock().now();

  Call& call = *job.call;
  call.action = token.action;
  const auto user = token.paramsHash     ? token.userDid
                    : job.intent.userDid ? std::optional(job.intent.userDid->value)
                                         : std::nullopt;
  if (user) call.userDid = call.callerDid = *user;
  call.intentHash = hexEncode(intentHash);
  return {};
}

// Within a transaction of the state file.
Status AgentCore::accept(Acceptance& job) {
  store::AgentState& rows = setup_.state->rows();
  const std::string& controlPlane = controlPlane_->did().value;
  if (!job.genuine) return rows.settle(controlPlane, job.settled);
  // Only a new intent can be refused for its age or for want of room. One that is known has its answer already, or is
  // about to, and another one would contradict it.
  if (job.tidy) VC_TRY(rows.forgetIntents(controlPlane, job.acceptedAt - kKeepIntents));
  if (!job.admitted) {
    VC_TRY_ASSIGN(job.seen, rows.seenIntent(controlPlane, job.call->id));
    return job.settled.empty() ? Status() : rows.settle(controlPlane, job.settled);
  }
  // Looking up, accepting and counting the request are one durable step.
  job.counted = shared_.with([](const Shared& s) { return s.grant.limits.maxRequestsPerHour.has_value(); });
  if (job.counted) usage_.reserve();
  job.usage = usage_.unsaved();
  VC_TRY_ASSIGN(job.seen, rows.acceptIntent({.controlPlaneDid = controlPlane,
                                             .intentId = job.call->id,
                                             .fingerprint = job.fingerprint,
                                             .intentHash = job.call->intentHash,
                                             .acceptedAt = job.acceptedAt,
                                             .repeatable = repeatable(job.call->action)},
                                            {job.usage, job.settled}));
  return {};
}

store::Repeatable AgentCore::repeatable(const std::string& action) const {
  const auto& all = setup_.config.repeatableActions;
  return std::find(all.begin(), all.end(), action) != all.end() ? store::Repeatable::Yes : store::Repeatable::No;
}

// When the transaction has ended, and before the next one begins.
void AgentCore::recordAccepted(Acceptance& job, const Status& stored) {
  if (stored.ok()) usage_.saved(job.usage);
  job.call->reserved = job.counted && stored.ok() && !job.seen;
  if (job.counted && !job.call->reserved) usage_.release();
}

// On the loop again.
void AgentCore::onAccepted(Acceptance& job, const Status& stored) {
  const std::shared_ptr<Call>& call = job.call;
  const std::string& id = call->id;
  if (!job.genuine) return refuseIntent(id, job.genuine.error());
  // What was found is an older row, and durable whatever became of this transaction.
  if (job.seen) return answerKnown(*job.seen, job.fingerprint);
  // Busy, for nobody knows whether this id was accepted before: the control plane may send it again.
  if (!stored)
    return refuseIntent(
        id, {Errc::Busy, "the intent cannot be recorded, so it is not begun now: " + stored.error().message});
  if (!job.admitted) return refuseIntent(id, job.admitted.error());
  log(LogSeverity::Info, "Intent received: " + printable(call->action) + " (" + printable(id) + ")");
  journal_->intentReceived(id, call->action, job.intent.params.text);
  const bool queued = launch(call, nullptr, [self = shared_from_this(), call, params = std::move(job.intent.params)] {
    self->runIntent(call, params);
  });
  if (queued) return;
  releaseRequest(*call);
  finishIntent(call, {false, {}, "the agent is stopping", Errc::Interrupted});
}

void AgentCore::answerKnown(const store::SeenIntent& seen, const std::string& fingerprint) {
  const std::string& id = seen.intentId;
  if (seen.fingerprint != fingerprint) {
    log(LogSeverity::Error, "Refused intent " + printable(id) + ": its id was used for another intent");
    if (phase_ == Phase::Authenticated)
      send(protocol::IntentAck{id, false, "intent id reused", std::string(wireCode(Errc::Replayed))});
    return;
  }
  if (seen.state == store::SeenIntent::State::Running) return;
  auto result = readResult(seen, signsResults(), setup_.self, ports_.clock(), ports_.entropy());
  if (!result) {
    log(LogSeverity::Error, "Intent " + printable(id) + " came again; " + result.error().message);
    return;
  }
  log(LogSeverity::Info, "Intent " + printable(id) + " came again; its result is sent again");
  deliver(*result);
}

void AgentCore::runIntent(const std::shared_ptr<Call>& call, const protocol::RawJson& params) {
  Outcome outcome = runHandler(call, call->action, [&](CallContext& context) {
    const Json output = agent_.executeIntent(call->action, parse(params), context);
    auto text = write(output, "the handler's result");
    if (!text) throw std::runtime_error(text.error().message);
    return std::move(text->text);
  });
  // This thread is awake and has nothing else to do; a worker would have to be woken for the signature.
  outcome.ready = std::make_shared<ReadyResult>(readyResult(*call, outcome, call->signsResult));
  ports_.loop().post([self = shared_from_this(), call, outcome = std::move(outcome)] { self->endCall(call, outcome); });
}

}  // namespace vaultysclaw::detail
