// Signed intents: sent to an agent, awaited, answered once.
#pragma once

#include <map>
#include <set>

#include "identity/hash.hpp"
#include "registry.hpp"

namespace vaultysclaw::control {

// Owned by the hub. Confined to the loop; signing and verifying happen on workers. An intent is committed before it is
// sent, and its end before a caller hears of it. The first valid answer from the agent it was sent to counts.
class Intents {
 public:
  Intents(Context& context, Journal& journal, Registry& registry)
      : context_(context), journal_(journal), registry_(registry) {}

  // Ends, as lost, what an earlier process left pending. Blocking; at start.
  static Status recover(store::ControlStore& store, WallTime now);

  std::optional<IntentId> run(RunRequest request, Reply<RunResult> reply);
  void cancel(const IntentId& id, std::string_view reason);
  void send(RunRequest request, Reply<SentIntent> reply);
  void broadcast(RunRequest request, Reply<std::vector<SentIntent>> reply);

  // From a connected agent. False when it is dropped without more ado: the agent has too many on their way, or it knows
  // of an intent that was not sent yet. Every other one is judged later (docs/protocol.md 7.5): one that is signed, if
  // the connection's features say so, ends its intent, also when that ended without an answer (lost, timeout) before.
  bool onResult(Session& session, protocol::IntentResult result);
  bool onAck(const Did& from, const protocol::IntentAck& ack);
  // Ends everything that is pending with `did` as lost.
  void agentGone(const Did& did, const Error& why);
  void shutdown();

  std::size_t pending(const Did& did) const;

  void list(store::IntentFilter filter, store::Page page, Reply<store::Listing<ControlPlane::IntentView>> reply);
  void read(const IntentId& id, Reply<ControlPlane::IntentView> reply);

 private:
  // A request that has passed check(). Copies share the params.
  struct Order {
    Did did;
    std::string action, requestedBy;
    std::shared_ptr<const std::string> params;
    Duration timeout{};
    std::optional<protocol::TraceContext> trace;
  };
  // How an intent ends that no signed result ends.
  struct End {
    std::string status;  // success, failed, timeout, lost
    Result<RunResult> answer;
    static End failure(std::string status, Error error) { return {std::move(status), std::move(error)}; }
  };
  // Made on a worker.
  struct Signed {
    std::string token;
    identity::Sha256 hash{};
  };
  struct Pending {
    Order order;
    WallTime createdAt{};
    std::shared_ptr<Signed> token;
    bool intentV2 = false;
    // Starting: on its way to the store, unsent. Answering: a signed result is being verified and stored.
    enum class Stage : std::uint8_t { Starting, Sent, Answering } stage = Stage::Starting;
    // What would have ended it meanwhile; counts if it does not come to a better end.
    std::optional<End> deferred;
    Reply<SentIntent> onSent;  // at most one of the two is waiting
    Reply<RunResult> onResult;
    Timer deadline;
    std::optional<std::string> cancelled;  // why
  };
  // A result on its way through a worker, if it is signed, and the store.
  struct Answer {
    protocol::IntentResult result;
    store::IntentRow row;                      // what finishIntent takes of it
    std::optional<identity::Sha256> asked;     // of the intent's token, when the intent is pending
    std::optional<identity::VaultysId> agent;  // who must have signed it; absent: unsigned
    identity::Sha256 intentHash{};             // as signed
    bool verified = false;                     // it may be stored
    std::string hash;                          // hex, of its body
    std::size_t bytes = 0;                     // what it counts for in lateAnswers_
    std::optional<std::string> stored;         // the hash of another result that has counted already
  };

  Result<Order> check(RunRequest request);
  // The id, when an intent was made.
  std::optional<IntentId> start(Result<Order> order, Reply<SentIntent> onSent, Reply<RunResult> onResult);
  void tellToStop(const IntentId& id, const Pending& intent, std::string_view reason);
  void onStored(const IntentId& id, const Status& status);
  void end(const IntentId& id, End end);
  void fail(const IntentId& id, std::string status, Error error) {
    end(id, End::failure(std::move(status), std::move(error)));
  }
  std::optional<Pending> take(const IntentId& id);
  static void answer(Pending& intent, const Result<RunResult>& answer);

  void submit(std::shared_ptr<Answer> answer);
  void tryAgain(std::shared_ptr<Answer> answer);
  void onAnswered(const std::shared_ptr<Answer>& answer, const Status& status);
  // Not counted; the agent is told why, if it listens.
  void refuse(const Did& from, const IntentId& id, const std::string& why);
  void acknowledge(const Did& to, protocol::ResultAck ack);
  static RunResult resultOf(const protocol::IntentResult& result);
  static Status finishLate(Answer& answer, store::ControlWriter& writer);

  Context& context_;
  Journal& journal_;
  Registry& registry_;
  std::map<IntentId, Pending> pending_;
  std::map<Did, std::set<IntentId>> byAgent_;
  struct Late {
    std::size_t count = 0, bytes = 0;
  };
  std::map<Did, Late> lateAnswers_;                      // on their way through workers and store
  std::vector<std::shared_ptr<Answer>> waitingAnswers_;  // for workers and store to have less to do
  Timer retryTimer_;
};

}  // namespace vaultysclaw::control
