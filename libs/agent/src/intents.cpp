// Intents, and what all calls have in common: admission to the queue, deadlines, cancelling, answering.
#include <algorithm>

#include "base/log.hpp"
#include "convert.hpp"
#include "core.hpp"
#include "identity/tokens.hpp"

namespace vaultysclaw::detail {
namespace {

constexpr seconds kMaxAhead{60};
constexpr seconds kMaxAge{300};
constexpr std::chrono::hours kKeepIntents{24};
constexpr std::chrono::minutes kTidyInterval{10};

// Tells a resend from another intent under the same id.
std::string fingerprintOf(const protocol::Intent& intent) {
  std::string text = intent.action;
  text += '\0';
  text += intent.userDid ? intent.userDid->value : "";
  text += '\0';
  text += intent.params.text;
  return hexEncode(identity::sha256(asBytes(text)));
}

protocol::IntentResult failedResult(const std::string& intentId, const Error& error, WallTime now) {
  protocol::IntentResult result;
  result.intentId = IntentId(intentId);
  result.status = protocol::ResultStatus::Failed;
  result.error = error.message;
  result.code = std::string(wireCode(error.code));
  result.executedAt = now;
  return result;
}

}  // namespace

// ---- intents
// ---------------------------------------------------------------------------------------------------------

// After this the payload's action, and with a params hash its params and user too, are what the control plane signed.
Status AgentCore::checkIntent(const protocol::Message& message, const protocol::Intent& intent) {
  const auto refuse = [](std::string_view why) {
    return Error{Errc::BadSignature, "Intent signature verification failed: " + std::string(why)};
  };
  if (!message.signature) return refuse("it is not signed");
  const WallTime now = ports_.clock().now();
  auto verified = identity::verifyIntentToken(*message.signature, *controlPlane_, now);
  if (!verified)
    return Error{verified.error().code, "Intent signature verification failed: " + verified.error().message};
  if (verified->id != message.messageId || verified->id != intent.id.value)
    return refuse("it is signed for another id");
  if (verified->agentId != did().value) return refuse("it is signed for another agent");
  if (verified->action != intent.action) return refuse("another action is signed");
  if (verified->timestamp > now + kMaxAhead)
    return Error{Errc::Expired,
                 "The intent is dated " +
                     std::to_string(std::chrono::duration_cast<seconds>(verified->timestamp - now).count()) +
                     " s in the future: a clock is wrong"};
  if (verified->timestamp < now - kMaxAge)
    return Error{Errc::Expired,
                 "The intent is " +
                     std::to_string(std::chrono::duration_cast<seconds>(now - verified->timestamp).count()) +
                     " s old; at most 300 s are allowed"};
  if (verified->paramsHash) {
    if (*verified->paramsHash != identity::sha256(asBytes(intent.params.text)))
      return refuse("other params are signed");
    const std::string user = intent.userDid ? intent.userDid->value : "";
    if (verified->userDid.value_or("") != user) return refuse("another user is signed");
  }
  return {};
}

void AgentCore::refuseIntent(const std::string& intentId, const Error& error) {
  log(LogSeverity::Warn, "Refused intent " + printable(intentId) + ": " + error.message);
  send(failedResult(intentId, error, ports_.clock().now()));
  send(protocol::IntentAck{intentId, false, error.message});
}

void AgentCore::onIntent(const protocol::Message& message, protocol::Intent& intent) {
  const std::string& id = message.messageId;
  if (Status valid = checkIntent(message, intent); !valid) return refuseIntent(id, valid.error());
  if (stopping_) return refuseIntent(id, {Errc::Interrupted, "the agent is stopping"});
  if (accepting_.contains(id)) return;  // the same message twice in a row: the first one answers
  if (!roomForCall()) return refuseIntent(id, {Errc::Busy, "the agent is busy: too many calls wait"});

  auto call = newCall(CallKind::Intent, id, intent.action, intent.timeoutMs);
  call->intentId = id;
  if (intent.userDid) call->userDid = call->callerDid = intent.userDid->value;
  if (intent.trace) {
    call->traceparent = intent.trace->traceparent;
    call->tracestate = intent.trace->tracestate;
  }
  store::SeenIntent seen;
  seen.controlPlaneDid = controlPlane_->did().value;
  seen.intentId = id;
  seen.fingerprint = fingerprintOf(intent);
  seen.acceptedAt = ports_.clock().now();
  accepting_.insert(id);
  const SteadyTime now = ports_.clock().steady();
  const bool tidy = now >= nextTidy_;
  if (tidy) nextTidy_ = now + kTidyInterval;
  onState<Result<std::optional<store::SeenIntent>>>(
      [seen, tidy](store::AgentState& state) -> Result<std::optional<store::SeenIntent>> {
        if (tidy) VC_TRY(state.forgetIntents(seen.acceptedAt - kKeepIntents));
        return state.acceptIntent(seen);
      },
      [this, call, params = std::move(intent.params), fingerprint = seen.fingerprint](auto stored) {
        accepting_.erase(call->id);
        onAccepted(call, params, fingerprint, std::move(stored));
      });
}

void AgentCore::onAccepted(std::shared_ptr<Call> call, protocol::RawJson params, const std::string& fingerprint,
                           Result<std::optional<store::SeenIntent>> stored) {
  const std::string& id = call->id;
  if (!stored)
    return refuseIntent(
        id, {stored.error().code, "the intent cannot be recorded, so it does not run: " + stored.error().message});
  if (*stored) {
    const store::SeenIntent& seen = **stored;
    if (seen.fingerprint != fingerprint) {
      log(LogSeverity::Error, "Refused intent " + printable(id) + ": its id was used for another intent");
      send(protocol::IntentAck{id, false, "intent id reused"});
    } else if (seen.state == store::SeenIntent::State::Finished) {
      log(LogSeverity::Info, "Intent " + printable(id) + " came again; its result is sent again");
      sendResult(seen.result);
    } else if (seen.state == store::SeenIntent::State::Interrupted) {
      refuseIntent(id, {Errc::Interrupted, "a restart of the agent interrupted this intent; it does not run again"});
    }
    return;
  }
  log(LogSeverity::Info, "Intent received: " + printable(call->action) + " (" + printable(id) + ")");
  journal_->intentReceived(id, call->action, parse(params));
  const bool queued = launch(
      call, nullptr, [self = shared_from_this(), call, params = std::move(params)] { self->runIntent(call, params); });
  if (!queued) finishIntent(call, {false, {}, "the agent is stopping", Errc::Interrupted});
}

void AgentCore::runIntent(const std::shared_ptr<Call>& call, const protocol::RawJson& params) {
  Outcome outcome = runHandler(call, call->action, [&](CallContext& context) {
    const Json output = agent_.executeIntent(call->action, parse(params), context);
    auto text = write(output, "the handler's result");
    if (!text) throw std::runtime_error(text.error().message);
    return std::move(text->text);
  });
  ports_.loop().post([self = shared_from_this(), call, outcome = std::move(outcome)] { self->endCall(call, outcome); });
}

void AgentCore::finishIntent(const std::shared_ptr<Call>& call, const Outcome& outcome) {
  protocol::IntentResult result;
  if (outcome.success) {
    result.intentId = IntentId(call->id);
    result.status = protocol::ResultStatus::Success;
    result.output = protocol::RawJson{outcome.output};
    result.executedAt = ports_.clock().now();
  } else {
    result = failedResult(call->id, {outcome.code, outcome.error}, ports_.clock().now());
    log(LogSeverity::Error, "Intent " + printable(call->id) + " failed: " + outcome.error);
  }
  journal_->intentFinished(call->id, outcome.success,
                           outcome.success ? std::optional(parse(*result.output)) : std::nullopt, result.error);
  recordIntent(call->id, std::move(result));
}

// Durable first, then on the wire: a result that was seen is never followed by another one.
void AgentCore::recordIntent(const std::string& intentId, protocol::IntentResult result) {
  protocol::Message message;
  message.messageId = newId();
  message.agentId = did().value;
  message.timestamp = toIso8601(ports_.clock().now());
  message.payload = std::move(result);
  std::string text = protocol::encode(message);
  onState<Status>([cp = controlPlane_->did().value, intentId,
                   text](store::AgentState& state) { return state.finishIntent(cp, intentId, text); },
                  [this, intentId, text](const Status& saved) {
                    if (!saved)
                      log(LogSeverity::Error,
                          "The result of intent " + printable(intentId) +
                              " cannot be stored and cannot be sent again later: " + saved.error().message);
                    sendResult(text);
                  });
}

void AgentCore::sendInterrupted() {
  for (const auto& intent : std::exchange(setup_.interrupted, {})) {
    if (intent.controlPlaneDid != controlPlane_->did().value) continue;
    refuseIntent(intent.intentId, {Errc::Interrupted, "a restart of the agent interrupted this intent"});
  }
}

// ---- calls
// -----------------------------------------------------------------------------------------------------------

std::shared_ptr<Call> AgentCore::newCall(CallKind kind, std::string id, std::string action,
                                         std::optional<std::int64_t> timeoutMs) {
  auto call = std::make_shared<Call>();
  call->kind = kind;
  call->number = nextCall_++;
  call->id = std::move(id);
  call->action = std::move(action);
  call->callerDid = controlPlane_->did().value;
  call->core = weak_from_this();
  milliseconds limit = kind == CallKind::Knowledge ? setup_.config.knowledgeDeadline : setup_.config.defaultDeadline;
  constexpr std::int64_t kDayMs = 24 * 3600 * 1000;
  if (timeoutMs) limit = milliseconds(std::clamp<std::int64_t>(*timeoutMs, 0, kDayMs));
  call->deadline = ports_.clock().steady() + limit;
  return call;
}

bool AgentCore::roomForCall() const {
  return waitingCalls_ + accepting_.size() < setup_.config.maxQueuedCalls && !journal_->overloaded();
}

bool AgentCore::launch(std::shared_ptr<Call> call, std::shared_ptr<ChatStream> stream, Task job) {
  if (stopping_) return false;
  Running running;
  running.call = call;
  running.stream = std::move(stream);
  running.deadline =
      ports_.loop().after(call->deadline - ports_.clock().steady(), [weak = weak_from_this(), number = call->number] {
        if (auto self = weak.lock()) self->onDeadline(number);
      });
  calls_.emplace(call->number, std::move(running));
  ++waitingCalls_;
  const bool queued = lanes_->submit(JobKind::Call, [self = shared_from_this(), job = std::move(job)] {
    --self->waitingCalls_;
    job();
  });
  if (!queued) {
    --waitingCalls_;
    calls_.erase(call->number);
  }
  return queued;
}

void AgentCore::stopCall(const std::shared_ptr<Call>& call, StopReason reason) {
  StopReason none = StopReason::None;
  if (!call->reason.compare_exchange_strong(none, reason)) return;
  // Callbacks of the token are user code, which never runs on the loop.
  journal_->events().post([call] { call->stop.request_stop(); });
}

void AgentCore::onDeadline(std::uint64_t number) {
  const auto found = calls_.find(number);
  if (found == calls_.end()) return;
  const auto call = found->second.call;
  stopCall(call, StopReason::Deadline);
  if (call->reason == StopReason::Deadline)
    answer(call, {false, {}, "the deadline has passed", Errc::DeadlineExceeded});
}

void AgentCore::onCancel(const protocol::Cancel& cancel) {
  for (auto& [number, running] : calls_) {
    const Call& call = *running.call;
    const bool meant =
        (cancel.intentId && call.kind == CallKind::Intent && call.id == cancel.intentId->value) ||
        (cancel.conversationId && call.kind == CallKind::Chat && call.id == cancel.conversationId->value) ||
        (cancel.requestId && call.kind == CallKind::Task && call.id == cancel.requestId->value);
    if (meant) stopCall(running.call, StopReason::CallerCancelled);
  }
}

// What the caller hears; the handler may still be at work.
void AgentCore::answer(const std::shared_ptr<Call>& call, const Outcome& outcome) {
  if (call->answered.exchange(true)) return;
  switch (call->kind) {
    case CallKind::Intent:
      return finishIntent(call, outcome);
    case CallKind::Chat:
      // A handler that finished has closed its stream itself.
      if (!outcome.success) sendChatError(call->id, outcome.error, "llm_error", outcome.code);
      return;
    case CallKind::Task:
    case CallKind::Knowledge:
      return finishTask(call, outcome);
  }
}

void AgentCore::endCall(const std::shared_ptr<Call>& call, const Outcome& outcome) {
  calls_.erase(call->number);
  if (call->kind == CallKind::Chat) {
    // Its stream has posted the end of the answer, which may wait behind chunks for a slow connection.
  } else if (call->answered) {
    log(LogSeverity::Warn, "Dropped the late result of " + printable(call->action) + " (" + printable(call->id) + ")");
  } else {
    answer(call, outcome);
  }
  continueStop();
}

}  // namespace vaultysclaw::detail
