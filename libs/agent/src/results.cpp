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
// Between two attempts to store results, while the disk fails.
constexpr Duration kLeastStoreRetry = milliseconds(100), kMostStoreRetry = seconds(5);

using Stored = std::vector<std::pair<std::string, Result<store::SeenIntent>>>;
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

protocol::IntentResult resultOf(const Call& call, const Outcome& outcome, WallTime now) {
  if (!outcome.success) return failedResult(call.id, {outcome.code, outcome.error}, now);
  protocol::IntentResult result;
  result.intentId = IntentId(call.id);
  result.status = protocol::ResultStatus::Success;
  result.output = protocol::RawJson{outcome.output};
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

// A result on its way into the state.
struct AgentCore::Finishing {
  std::shared_ptr<Call> call;
  ReadyResult ready;
  bool failed = false;       // to be stored, before
  std::uint64_t sentOn = 0;  // the connection over which it went out although it was not stored
  std::vector<store::SettledResult> settled;
  std::optional<store::StoredUsage> usage;
};

// Any thread.
ReadyResult AgentCore::readyResult(const Call& call, const Outcome& outcome, bool sign) const {
  return makeResult(resultOf(call, outcome, ports_.clock().now()), {controlPlane_->did().value, call.intentHash, sign},
                    setup_.self, ports_.clock(), ports_.entropy());
}

void AgentCore::finishIntent(const std::shared_ptr<Call>& call, const Outcome& outcome) {
  if (!outcome.success) log(LogSeverity::Error, "Intent " + printable(call->id) + " failed: " + outcome.error);
  journal_->intentFinished(call->id, outcome.success, outcome.success ? std::optional(outcome.output) : std::nullopt,
                           outcome.success ? std::nullopt : std::optional(outcome.error));
  auto job = std::make_shared<Finishing>();
  job->call = call;
  job->settled = std::exchange(settled_, {});
  began();
  const bool sign = signsResults();
  if (outcome.ready && sign == call->signsResult) {
    job->ready = std::move(*outcome.ready);
    return submitResult(job);
  }
  const bool queued = worker_->submit([self = shared_from_this(), job, outcome, sign] {
    job->ready = self->readyResult(*job->call, outcome, sign);
    self->submitResult(job);
  });
  if (queued) return;
  backOnLoop([this, job] {
    log(LogSeverity::Error,
        "The result of intent " + printable(job->call->id) + " is lost: " + StateFile::busy().message);
  });
}

// On the loop or a worker.
void AgentCore::submitResult(const std::shared_ptr<Finishing>& job) {
  const auto back = [self = shared_from_this(), job](Status stored) {
    if (stored.ok()) self->usage_.saved(job->usage);
    self->backOnLoop([self, job, stored = std::move(stored)] { self->onStored(job, stored); });
  };
  if (!setup_.state->file().submit([self = shared_from_this(), job] { return self->storeResult(*job); }, back))
    back(StateFile::busy());
}

// Within a transaction of the state file.
Status AgentCore::storeResult(Finishing& job) {
  job.usage = usage_.unsaved();
  return setup_.state->rows().finishIntent(controlPlane_->did().value, job.call->id, {job.ready.text, job.ready.hash},
                                           {job.usage, job.settled});
}

// Durable first, then on the wire: a result that was seen is never followed by another one.
void AgentCore::onStored(const std::shared_ptr<Finishing>& job, const Status& stored) {
  ReadyResult& ready = job->ready;
  if (!stored) {
    const bool again = !stopping_ && (stored.error().code == Errc::Io || stored.error().code == Errc::Busy);
    if (!std::exchange(job->failed, true) || !again)
      log(LogSeverity::Error, "The result of intent " + printable(ready.intentId) + " cannot be stored" +
                                  (again ? " yet" : ", and may be lost") + ": " + stored.error().message);
    if (job->sentOn == 0 && sendResult(ready)) job->sentOn = connectionNumber_;
    if (again) storeAgainLater(job);
    return;
  }
  storeRetryDelay_ = Duration(0);
  outbox_.add(job->call->number, {ready.intentId, ready.hash, ready.text.size()});
  if (job->sentOn != 0 && job->sentOn == connectionNumber_) {
    outbox_.find(ready.intentId)->sentOn = connectionNumber_;
    if (!inUse_.has(identity::feature::kResultAck)) settle(ready.intentId, store::SeenIntent::State::Delivered);
    return;
  }
  // Behind others that wait, or for a connection that is busy, it comes with the next batch.
  if (phase_ == Phase::Authenticated && connection_->queuedBytes() < kBusyConnectionBytes) deliver(ready);
}

// A disk that has failed is tried until it works; what waits counts as the outbox's, which bounds it.
void AgentCore::storeAgainLater(const std::shared_ptr<Finishing>& job) {
  unstored_.push_back(job);
  if (unstored_.size() > 1) return;
  storeRetryDelay_ = std::clamp<Duration>(storeRetryDelay_ * 2, kLeastStoreRetry, kMostStoreRetry);
  storeRetryTimer_ = ports_.loop().after(storeRetryDelay_, [weak = weak_from_this()] {
    if (auto self = weak.lock()) self->storeAgain();
  });
}

void AgentCore::storeAgain() {
  storeRetryTimer_.reset();
  for (const auto& job : std::exchange(unstored_, {})) {
    began();
    submitResult(job);
  }
}

bool AgentCore::sendResult(const ReadyResult& result) {
  if (phase_ != Phase::Authenticated || !sendText(result.text)) return false;
  // A control plane that acknowledges results needs no word that one has succeeded.
  if (result.success && inUse_.has(identity::feature::kResultAck)) return true;
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
  onState<Entries>(
      [cp = controlPlane_->did().value](store::AgentState& state) -> Entries { return state.outbox(cp); },
      [this](Entries entries) {
        if (!entries) {
          outboxLoaded_ = false;
          return log(LogSeverity::Error, "The results that wait to be sent cannot be read: " + entries.error().message);
        }
        for (auto& e : *entries) outbox_.add(nextCall_++, {std::move(e.intentId), std::move(e.resultHash), e.bytes});
        if (!entries->empty())
          log(LogSeverity::Info, std::to_string(entries->size()) + " results of before wait for the control plane");
        resendResults();
      });
}

// What the control plane lists now, or, while there is no connection, has listed last.
bool AgentCore::signsResults() const {
  return setup_.features.with(listed_).has(identity::feature::kSignedResults);
}

// One batch after the other, as the connection drains.
void AgentCore::resendResults() {
  if (resending_ || phase_ != Phase::Authenticated || !connection_ || peerEnded_ || sendFailed_) return;
  if (!outboxLoaded_) return loadOutbox();  // it could not be read before
  if (connection_->queuedBytes() >= kBusyConnectionBytes) return;
  auto ids = outbox_.unsent(connectionNumber_, kBatchResults, kBatchBytes);
  if (ids.empty()) return;
  resending_ = true;
  onState<Result<Stored>>(
      [cp = controlPlane_->did().value, ids = std::move(ids)](store::AgentState& state) -> Result<Stored> {
        Stored all;
        for (const auto& id : ids) {
          VC_TRY_ASSIGN(auto seen, state.seenIntent(cp, id));
          all.emplace_back(
              id, seen ? Result<store::SeenIntent>(std::move(*seen)) : Error{Errc::NotFound, "it is no longer stored"});
        }
        return all;
      },
      [this, number = connectionNumber_](Result<Stored> stored) {
        const auto failed = [this](const Error& why) {
          resending_ = false;
          log(LogSeverity::Error, "Results cannot be sent again: " + why.message);
        };
        if (!stored) return failed(stored.error());
        began();
        auto all = std::make_shared<Stored>(std::move(*stored));
        const bool queued = worker_->submit([self = shared_from_this(), all, number, sign = signsResults()] {
          auto texts = std::make_shared<Texts>();
          for (auto& [id, seen] : *all)
            texts->emplace_back(
                id, seen ? readResult(*seen, sign, self->setup_.self, self->ports_.clock(), self->ports_.entropy())
                         : Result<ReadyResult>(seen.error()));
          self->backOnLoop([self, texts, number] { self->sendAgain(std::move(*texts), number); });
        });
        if (!queued) backOnLoop([failed] { failed(StateFile::busy()); });
      });
}

void AgentCore::sendAgain(Texts texts, std::uint64_t connection) {
  resending_ = false;
  for (auto& [id, ready] : texts) {
    Outbox::Entry* entry = outbox_.find(id);
    if (entry == nullptr || connection != connectionNumber_ || entry->sentOn == connection) continue;
    if (ready) {
      deliver(*ready);
      continue;
    }
    log(LogSeverity::Error, "The result of intent " + printable(id) + " cannot be sent: " + ready.error().message);
    entry->sentOn = connection;
  }
  resendResults();
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
