// How results are made and stored, sent until they are acknowledged, and let go (docs/protocol.md 7.5).
#include "results.hpp"

#include <algorithm>

#include "base/log.hpp"
#include "core.hpp"
#include "identity/hash.hpp"
#include "identity/tokens.hpp"

namespace vaultysclaw::detail {
namespace {

// One look into the state reads this much of the outbox.
constexpr std::size_t kBatchResults = 64;
constexpr std::size_t kBatchBytes = std::size_t{4} << 20;
// Above this, results wait in the outbox until the connection has drained.
constexpr std::size_t kBusyConnectionBytes = std::size_t{8} << 20;
// An acknowledgement that is lost costs one more delivery, so it waits for another write to ride on.
constexpr Duration kSettleDelay = seconds(1);

using Texts = std::vector<std::pair<std::string, Result<ReadyResult>>>;

}  // namespace

std::string encodeMessage(protocol::Payload payload, const Did& agent, Clock& clock, Entropy& entropy) {
  protocol::Message message;
  message.messageId = newUuid(clock, entropy);
  const bool named =
      !std::holds_alternative<protocol::Register>(payload) && !std::holds_alternative<protocol::AuthChallenge>(payload);
  if (named) message.agentId = agent.value;
  message.timestamp = toIso8601(clock.now());
  message.payload = std::move(payload);
  return protocol::encode(message);
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

ReadyResult makeResult(protocol::IntentResult result, const Answered& answered, const identity::VaultysId& self,
                       Clock& clock, Entropy& entropy) {
  ReadyResult ready;
  ready.intentId = result.intentId.value;
  ready.success = result.status == protocol::ResultStatus::Success;
  ready.error = result.error;
  ready.code = result.code;
  const auto intentHash = hexDecode(answered.intentHash);
  if (identity::ResultToken token; answered.sign && intentHash && intentHash->size() == token.intentHash.size()) {
    token.intentId = ready.intentId;
    token.status = ready.success ? "success" : "failed";
    if (result.output) token.outputHash = identity::sha256(asBytes(result.output->text));
    token.error = result.error;
    token.code = result.code;
    token.executedAt = result.executedAt;
    token.agentDid = self.didV1().value;
    token.controlPlaneDid = answered.controlPlaneDid;
    std::copy(intentHash->begin(), intentHash->end(), token.intentHash.begin());
    result.signature = identity::signToken(self, token);
    result.publicKey = base64Encode(self.id());
    ready.hash = hexEncode(*identity::tokenBodyHash(*result.signature));
  }
  ready.text = encodeMessage(std::move(result), self.didV1(), clock, entropy);
  return ready;
}

Result<ReadyResult> readResult(const store::SeenIntent& stored, bool sign, const identity::VaultysId& self,
                               Clock& clock, Entropy& entropy) {
  VC_TRY_ASSIGN(protocol::Message message, protocol::decode(stored.result));
  auto* result = std::get_if<protocol::IntentResult>(&message.payload);
  if (result == nullptr) return Error{Errc::Malformed, "the stored result is no result"};
  if (sign && !result->signature)
    return makeResult(std::move(*result), {stored.controlPlaneDid, stored.intentHash, sign}, self, clock, entropy);
  ReadyResult ready{stored.result,          {},
                    result->intentId.value, result->status == protocol::ResultStatus::Success,
                    result->error,          result->code};
  if (result->signature) {
    VC_TRY_ASSIGN(const identity::Sha256 hash, identity::tokenBodyHash(*result->signature));
    ready.hash = hexEncode(hash);
  }
  return ready;
}

store::FinishedIntent interruptedResult(const store::SeenIntent& intent, bool sign, const identity::VaultysId& self,
                                        Clock& clock, Entropy& entropy) {
  const Error error{Errc::Interrupted, "a restart of the agent interrupted this intent; it does not run again"};
  ReadyResult ready = makeResult(failedResult(intent.intentId, error, clock.now()),
                                 {intent.controlPlaneDid, intent.intentHash, sign}, self, clock, entropy);
  return {std::move(ready.text), std::move(ready.hash)};
}

// ---- AgentCore

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
  struct Stored {
    ReadyResult ready;
    Status saved;
  };
  auto work = [self = shared_from_this(), call, result = std::move(result), sign = signsResults(),
               settled = std::exchange(settled_, {})](store::AgentState& state) mutable -> Result<Stored> {
    const std::string controlPlane = self->controlPlane_->did().value;
    Stored stored;
    stored.ready = makeResult(std::move(result), {controlPlane, call->intentHash, sign}, self->setup_.self,
                              self->ports_.clock(), self->ports_.entropy());
    stored.saved = self->usage_.saveWith([&](const std::optional<store::StoredUsage>& usage) {
      return state.finishIntent(controlPlane, call->id, {stored.ready.text, stored.ready.hash}, {usage, settled});
    });
    return stored;
  };
  // Durable first, then on the wire: a result that was seen is never followed by another one.
  onState<Result<Stored>>(std::move(work), [this, call](Result<Stored> stored) {
    if (!stored)
      return log(LogSeverity::Error,
                 "The result of intent " + printable(call->id) + " is lost: " + stored.error().message);
    ReadyResult& ready = stored->ready;
    if (!stored->saved) {
      log(LogSeverity::Error, "The result of intent " + printable(ready.intentId) +
                                  " cannot be stored and is sent only once: " + stored->saved.error().message);
      sendResult(ready);
      return;
    }
    outbox_.add(call->number, {ready.intentId, ready.hash, ready.text.size()});
    // Behind others that wait, or for a connection that is busy, it comes with the next batch.
    if (phase_ == Phase::Authenticated && connection_->queuedBytes() < kBusyConnectionBytes) deliver(ready);
  });
}

bool AgentCore::sendResult(const ReadyResult& result) {
  if (phase_ != Phase::Authenticated || !sendText(result.text)) return false;
  send(protocol::IntentAck{result.intentId, result.success, result.error, result.code});
  return true;
}

void AgentCore::deliver(const ReadyResult& result) {
  Outbox::Entry* entry = outbox_.find(result.intentId);
  if (entry != nullptr) {
    entry->sentOn = connectionNumber_;
    entry->hash = result.hash;
  }
  if (!sendResult(result) || entry == nullptr || inUse_.has(identity::feature::kResultAck)) return;
  // Nobody is going to acknowledge it: written is delivered.
  settle(result.intentId, store::SeenIntent::State::Delivered);
}

void AgentCore::loadOutbox() {
  if (std::exchange(outboxLoaded_, true)) return resendResults();
  using Entries = Result<std::vector<store::OutboxEntry>>;
  onState<Entries>([cp = controlPlane_->did().value](store::AgentState& state) -> Entries { return state.outbox(cp); },
                   [this](Entries entries) {
                     if (!entries) {
                       outboxLoaded_ = false;
                       return log(LogSeverity::Error,
                                  "The results that wait to be sent cannot be read: " + entries.error().message);
                     }
                     std::uint64_t order = 0;
                     for (auto& e : *entries)
                       outbox_.add(++order, {std::move(e.intentId), std::move(e.resultHash), e.bytes});
                     if (order > 0)
                       log(LogSeverity::Info, std::to_string(order) + " results of before wait for the control plane");
                     resendResults();
                   });
}

Result<ReadyResult> AgentCore::storedResult(store::AgentState& state, const std::string& intentId, bool sign) {
  VC_TRY_ASSIGN(const auto seen, state.seenIntent(controlPlane_->did().value, intentId));
  if (!seen) return Error{Errc::NotFound, "it is no longer stored"};
  return readResult(*seen, sign, setup_.self, ports_.clock(), ports_.entropy());
}

// What the control plane lists now, or, while there is no connection, has listed last.
bool AgentCore::signsResults() const {
  return setup_.features.with(listed_).has(identity::feature::kSignedResults);
}

// One batch after the other, as the connection drains.
void AgentCore::resendResults() {
  if (resending_ || !outboxLoaded_ || phase_ != Phase::Authenticated || !connection_ || peerEnded_ || sendFailed_)
    return;
  if (connection_->queuedBytes() >= kBusyConnectionBytes) return;
  auto ids = outbox_.unsent(connectionNumber_, kBatchResults, kBatchBytes);
  if (ids.empty()) return;
  resending_ = true;
  onState<Result<Texts>>(
      [self = shared_from_this(), ids = std::move(ids),
       sign = signsResults()](store::AgentState& state) -> Result<Texts> {
        Texts texts;
        for (const auto& id : ids) texts.emplace_back(id, self->storedResult(state, id, sign));
        return texts;
      },
      [this, number = connectionNumber_](Result<Texts> texts) {
        resending_ = false;
        if (!texts) return log(LogSeverity::Error, "Results cannot be sent again: " + texts.error().message);
        for (auto& [id, ready] : *texts) {
          Outbox::Entry* entry = outbox_.find(id);
          if (entry == nullptr || number != connectionNumber_ || entry->sentOn == number) continue;
          if (ready) {
            deliver(*ready);
            continue;
          }
          log(LogSeverity::Error,
              "The result of intent " + printable(id) + " cannot be sent: " + ready.error().message);
          entry->sentOn = number;
        }
        resendResults();
      });
}

void AgentCore::onResultAck(const protocol::ResultAck& ack) {
  const std::string& id = ack.intentId.value;
  const Outbox::Entry* entry = outbox_.find(id);
  if (!inUse_.has(identity::feature::kResultAck) || entry == nullptr)
    return log(LogSeverity::Debug, "Ignored an acknowledgement of result " + printable(id) + ", which does not wait");
  if (ack.resultHash == entry->hash) return settle(id, store::SeenIntent::State::Delivered);
  log(LogSeverity::Error, "The control plane keeps no result of ours for intent " + printable(id) + ": " +
                              (ack.refused ? printable(*ack.refused) : "it has another one") +
                              ". The result is kept aside for 24 h and not sent again");
  settle(id, store::SeenIntent::State::Rejected);
}

void AgentCore::settle(const std::string& intentId, store::SeenIntent::State state) {
  outbox_.remove(intentId);
  settled_.push_back({intentId, state});
  if (settled_.size() > 1) return;
  settleTimer_ = ports_.loop().after(kSettleDelay, [weak = weak_from_this()] {
    if (auto self = weak.lock()) self->flushSettled();
  });
}

void AgentCore::flushSettled() {
  if (settled_.empty()) return;
  onState<Status>([cp = controlPlane_->did().value, settled = std::exchange(settled_, {})](
                      store::AgentState& state) { return state.settle(cp, settled); },
                  [this](const Status& saved) {
                    if (!saved)
                      log(LogSeverity::Warn, "Acknowledgements cannot be stored, so some results are sent again: " +
                                                 saved.error().message);
                  });
}

}  // namespace vaultysclaw::detail
