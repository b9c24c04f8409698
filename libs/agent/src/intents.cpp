// Intents: what is checked, remembered and answered.
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
constexpr std::size_t kMaxUnsent = 1000;

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

Error badSignature(std::string_view why) {
  return {Errc::BadSignature, "Intent signature verification failed: " + std::string(why)};
}

// The ack that goes with a stored result repeats what is in it.
Result<ReadyResult> readResult(std::string text) {
  VC_TRY_ASSIGN(const protocol::Message message, protocol::decode(text));
  const auto* result = std::get_if<protocol::IntentResult>(&message.payload);
  if (result == nullptr) return Error{Errc::Malformed, "the stored result is no result"};
  return ReadyResult{std::move(text), result->intentId.value, result->status == protocol::ResultStatus::Success,
                     result->error};
}

}  // namespace

// After this the payload's action, and with a params hash its params and user too (admitIntent), are what the control
// plane signed.
Result<identity::IntentToken> AgentCore::checkIntent(const protocol::Message& message, const protocol::Intent& intent) {
  if (!message.signature) return badSignature("it is not signed");
  auto verified = identity::verifyIntentToken(*message.signature, *controlPlane_, ports_.clock().now());
  if (!verified)
    return Error{verified.error().code, "Intent signature verification failed: " + verified.error().message};
  if (verified->id != message.messageId || verified->id != intent.id.value)
    return badSignature("it is signed for another id");
  if (verified->agentId != did().value) return badSignature("it is signed for another agent");
  if (verified->action != intent.action) return badSignature("another action is signed");
  return verified;
}

Status AgentCore::admitIntent(const identity::IntentToken& token, const protocol::Intent& intent) const {
  if (token.paramsHash) {
    if (*token.paramsHash != identity::sha256(asBytes(intent.params.text)))
      return badSignature("other params are signed");
    const std::string user = intent.userDid ? intent.userDid->value : "";
    if (token.userDid.value_or("") != user) return badSignature("another user is signed");
  }
  const WallTime now = ports_.clock().now();
  const auto secondsText = [](milliseconds d) {
    return std::to_string(std::chrono::duration_cast<seconds>(d).count()) + " s";
  };
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
  if (stopping_) return Error{Errc::Interrupted, "the agent is stopping"};
  if (!roomForCall()) return Error{Errc::Busy, "the agent is busy: too many calls wait"};
  return {};
}

void AgentCore::refuseIntent(const std::string& intentId, const Error& error) {
  log(LogSeverity::Warn, "Refused intent " + printable(intentId) + ": " + error.message);
  send(failedResult(intentId, error, ports_.clock().now()));
  send(protocol::IntentAck{intentId, false, error.message});
}

void AgentCore::onIntent(const protocol::Message& message, protocol::Intent& intent) {
  const std::string& id = message.messageId;
  auto token = checkIntent(message, intent);
  if (!token) return refuseIntent(id, token.error());
  if (accepting_.contains(id)) return;  // the same message twice in a row: the first one answers
  // Only a new intent can be refused for its age or for want of room. One that is known has its answer already, or is
  // about to, and another one would contradict it.
  const Status admitted = admitIntent(*token, intent);

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
  // Looking up and accepting are one durable step.
  onState<Result<IntentLookup>>(
      [seen, tidy, accept = admitted.ok()](store::AgentState& state) -> Result<IntentLookup> {
        if (tidy) VC_TRY(state.forgetIntents(seen.acceptedAt - kKeepIntents));
        IntentLookup lookup;
        VC_TRY_ASSIGN(lookup.seen,
                      accept ? state.acceptIntent(seen) : state.seenIntent(seen.controlPlaneDid, seen.intentId));
        if (lookup.seen && lookup.seen->state == store::SeenIntent::State::Finished) {
          VC_TRY_ASSIGN(lookup.result, readResult(std::exchange(lookup.seen->result, {})));
        }
        return lookup;
      },
      [this, call, admitted, fingerprint = seen.fingerprint,
       params = admitted ? std::move(intent.params) : protocol::RawJson{}](auto found) {
        accepting_.erase(call->id);
        onLookup(call, params, fingerprint, admitted, std::move(found));
      });
}

void AgentCore::onLookup(std::shared_ptr<Call> call, protocol::RawJson params, const std::string& fingerprint,
                         const Status& admitted, Result<IntentLookup> found) {
  const std::string& id = call->id;
  if (!found)
    return refuseIntent(
        id, {found.error().code, "the intent cannot be recorded, so it does not run: " + found.error().message});
  if (found->seen) {
    const store::SeenIntent& seen = *found->seen;
    if (seen.fingerprint != fingerprint) {
      log(LogSeverity::Error, "Refused intent " + printable(id) + ": its id was used for another intent");
      send(protocol::IntentAck{id, false, "intent id reused"});
    } else if (found->result) {
      log(LogSeverity::Info, "Intent " + printable(id) + " came again; its result is sent again");
      sendResult(std::move(*found->result));
    } else if (seen.state == store::SeenIntent::State::Interrupted) {
      refuseIntent(id, {Errc::Interrupted, "a restart of the agent interrupted this intent; it does not run again"});
    }
    return;
  }
  if (!admitted) return refuseIntent(id, admitted.error());
  log(LogSeverity::Info, "Intent received: " + printable(call->action) + " (" + printable(id) + ")");
  journal_->intentReceived(id, call->action, params.text);
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
                           outcome.success ? std::optional(result.output->text) : std::nullopt, result.error);
  recordIntent(std::move(result));
}

// Durable first, then on the wire: a result that was seen is never followed by another one.
void AgentCore::recordIntent(protocol::IntentResult result) {
  ReadyResult ready;
  ready.intentId = result.intentId.value;
  ready.success = result.status == protocol::ResultStatus::Success;
  ready.error = result.error;
  ready.text = compose(std::move(result));
  auto work = [cp = controlPlane_->did().value, id = ready.intentId, text = ready.text](store::AgentState& state) {
    return state.finishIntent(cp, id, text);
  };
  onState<Status>(std::move(work), [this, ready = std::move(ready)](const Status& saved) {
    if (!saved)
      log(LogSeverity::Error, "The result of intent " + printable(ready.intentId) +
                                  " cannot be stored and cannot be sent again later: " + saved.error().message);
    sendResult(ready);
  });
}

void AgentCore::sendResult(ReadyResult result) {
  if (phase_ != Phase::Authenticated || !sendText(result.text)) {
    if (unsent_.size() >= kMaxUnsent) {
      log(LogSeverity::Error,
          "Too many results wait for a connection: the oldest is only sent when it is asked for again");
      unsent_.pop_front();
    }
    unsent_.push_back(std::move(result));
    return;
  }
  send(protocol::IntentAck{result.intentId, result.success, result.error});
}

void AgentCore::sendInterrupted() {
  for (const auto& intent : std::exchange(setup_.interrupted, {})) {
    if (intent.controlPlaneDid != controlPlane_->did().value) continue;
    refuseIntent(intent.intentId, {Errc::Interrupted, "a restart of the agent interrupted this intent"});
  }
}

}  // namespace vaultysclaw::detail
