// Signed intents: accepted, sent to an agent, awaited, answered once.
#pragma once

#include <map>
#include <set>

#include "entitlements.hpp"
#include "identity/hash.hpp"
#include "registry.hpp"

namespace vaultysclaw::control {

// Owned by the hub. Confined to the loop; signing, verifying and reading happen on workers. An intent is committed
// before it is sent or its caller hears of it, and its end before anybody hears of that. The first valid answer from
// the agent it was sent to counts.
//
// intents.cpp takes intents in and ends them, deliveries.cpp sends those that wait, answers.cpp takes results,
// recovery.cpp goes on with what an earlier process left open, intent_views.cpp reads.
class Intents {
 public:
  Intents(Context& context, Journal& journal, Registry& registry, Entitlements& entitlements)
      : context_(context), journal_(journal), registry_(registry), entitlements_(entitlements) {}

  // Takes over what an earlier process left open: what can go on waits for its agent, the rest ends. Blocking; at
  // start, when the registry is loaded.
  Status recover();

  std::optional<IntentId> run(RunRequest request, Reply<RunResult> reply);
  void cancel(const IntentId& id, std::string_view reason);
  // Replies after the commit. NotFound; Conflict when it has ended.
  void cancelFor(std::string actor, const IntentId& id, ControlPlane::IntentsOf whose, Reply<std::monostate> reply);
  void send(RunRequest request, Reply<SentIntent> reply);
  void broadcast(RunRequest request, const ControlPlane::AgentFilter& among, Reply<std::vector<SentIntent>> reply);

  // From a connected agent. False when it is dropped without more ado: the agent has too many on their way, or it knows
  // of an intent that was not sent yet. Every other one is judged later (docs/protocol.md 7.5): one that is signed, if
  // the connection's features say so, ends its intent, also when that ended without an answer (lost, timeout) before.
  bool onResult(Session& session, protocol::IntentResult result);
  bool onAck(const Did& from, const protocol::IntentAck& ack);
  // Its connection is ready for work, or it was resumed: what waits for it is sent.
  void agentReady(const Did& did);
  // Its connection is gone: what can be sent again waits for the next one, the rest ends as lost.
  void agentGone(const Did& did);
  // It was removed: everything ends.
  void agentRemoved(const Did& did);
  void shutdown();

  std::size_t pending(const Did& did) const;

  void list(store::IntentFilter filter, store::Page page, Reply<store::Listing<ControlPlane::IntentView>> reply);
  void read(const IntentId& id, ControlPlane::IntentsOf whose, Reply<ControlPlane::IntentView> reply);

 private:
  // A request that has passed check(). Copies share the params.
  struct Order {
    Did did;
    std::string action, requestedBy;
    std::shared_ptr<const std::string> params;  // until it is stored; null afterwards, for it is read from there
    Duration timeout{};
    std::optional<seconds> ttl;
    std::optional<std::string> key;
    std::optional<Did> userDid;
    std::optional<protocol::TraceContext> trace;
  };
  // How an intent ends that no signed result ends.
  struct End {
    std::string status;  // success, failed, timeout, lost, expired
    Result<RunResult> answer;
    static End failure(std::string status, Error error) { return {std::move(status), std::move(error)}; }
  };
  // Made on a worker or by the store's writer.
  struct Made {
    std::string token;
    identity::Sha256 hash{};
    std::optional<store::IntentRow> existing;  // the intent that has this key already: nothing was made
  };
  struct Pending {
    Order order;
    std::uint64_t place = 0;  // in the order in which intents were accepted
    WallTime createdAt{};
    std::shared_ptr<Made> made;                 // while Starting
    std::vector<identity::Sha256> asked;        // of every token that was signed for it: a result of any counts
    bool intentV2 = false, resendable = false;  // of the connection it was last signed for
    // Starting: on its way to the store for the first time. Waiting: for its agent. Preparing: being signed and stored
    // for a sending from there. Answering: a signed result is being verified and stored.
    enum class Stage : std::uint8_t { Starting, Waiting, Preparing, Sent, Answering } stage = Stage::Starting;
    bool queued = false;        // as stored: no agent has taken it
    bool inWindow = false;      // of its line
    std::uint64_t session = 0;  // whose connection it was last sent over
    std::size_t bytes = 0, attempts = 0;
    // What would have ended it meanwhile; counts if it does not come to a better end.
    std::optional<End> deferred;
    std::vector<Reply<SentIntent>> onSent;
    std::vector<Reply<RunResult>> onResult;
    SteadyTime waitUntil{};                // with a ttl: when it expires if no agent has taken it
    SteadyTime due{};                      // when it ends without an answer, once it was sent
    Timer deadline;                        // for either
    std::optional<std::string> cancelled;  // why
  };
  using Stage = Pending::Stage;
  // What is open for one agent. What waits is sent in order, a few at a time, so that no agent needs more places in its
  // queue than that; and one that has too much to do is asked again after a while, by a single intent.
  struct Line {
    std::set<IntentId> all;
    std::map<std::uint64_t, IntentId> waiting;  // by place
    std::size_t unanswered = 0, bytes = 0;      // sent from here, or about to be
    std::size_t width = kWindow;                // how many may be
    bool preparing = false, pausing = false;    // a batch is under way; `retry` runs
    bool full = false;                          // the next one is too long for what is left of the window
    Duration backOff{0};
    Timer retry;
  };
  struct Batch;
  // A result on its way through a worker, if it is signed, and the store.
  struct Answer {
    protocol::IntentResult result;
    store::IntentRow row;                      // what finishIntent takes of it
    bool waited = false;                       // its intent is pending, and Answering
    std::vector<identity::Sha256> asked;       // of that intent's tokens
    std::optional<identity::VaultysId> agent;  // who must have signed it; absent: unsigned
    identity::Sha256 intentHash{};             // as signed
    bool verified = false;                     // it may be stored
    std::string hash;                          // hex, of its body
    std::size_t bytes = 0;                     // what it counts for in lateAnswers_
    std::optional<std::string> stored;         // the hash of another result that has counted already
  };

  static constexpr std::size_t kWindow = 16, kWindowBytes = std::size_t{8} << 20;

  // intents.cpp
  Result<Order> check(RunRequest request);
  // Why it cannot be taken in at this moment.
  Status admits(const Order& order) const;
  // Whom a message over such a connection names.
  std::optional<Did> named(const Order& order, const InUse& inUse) const {
    return order.userDid && entitlements_.names(*order.userDid, inUse) ? order.userDid : std::nullopt;
  }
  // Whether it can be sent right away.
  bool direct(const Order& order) const;
  // The id, when an intent was made.
  std::optional<IntentId> start(Result<Order> order, Reply<SentIntent> onSent, Reply<RunResult> onResult);
  bool commit(const IntentId& id, Pending& intent);
  void onStored(const IntentId& id, const Status& status);
  // It is stored, and its agent has what it needs for it.
  void begin(const IntentId& id);
  void sendFirst(const IntentId& id);
  void accepted(const IntentId& id, Pending& intent);
  void lookUp(Order order, Error refusal, Reply<SentIntent> onSent, Reply<RunResult> onResult);
  // Answers as the intent that has the key already.
  void replay(const Order& order, store::IntentRow existing, std::vector<Reply<SentIntent>> onSent,
              std::vector<Reply<RunResult>> onResult);
  void tellToStop(const IntentId& id, const Pending& intent, std::string_view reason);
  void end(const IntentId& id, End end);
  void fail(const IntentId& id, std::string status, Error error) {
    end(id, End::failure(std::move(status), std::move(error)));
  }
  std::optional<Pending> take(const IntentId& id);
  // answers.cpp: whether an agent's refusal leaves the intent waiting for it, and if so, gives it back.
  bool waitsAfter(const RunResult& refused, const IntentId& id, Pending& intent);
  static void answer(Pending& intent, const Result<RunResult>& answer);
  void note(const IntentId& id, std::string event, std::string detail);
  void add(const IntentId& id, Pending intent);
  void setQueued(Pending& intent, bool queued);
  void count();

  // deliveries.cpp
  void enqueue(const IntentId& id, Pending& intent);
  // Gives an intent back that its agent did not take: to the queue of the store when it may wait, else to the line.
  void giveBack(const IntentId& id, Pending& intent, store::IntentEventRow event);
  void leaveWindow(Pending& intent);
  void startDeadline(const IntentId& id, Pending& intent, SteadyTime due);
  void startExpiry(const IntentId& id, Pending& intent);
  void pump(const Did& did);
  void onPrepared(const Did& did, const std::shared_ptr<Batch>& batch, const Status& status);
  void deliver(const IntentId& id, Pending& intent, Batch& batch, std::size_t at);
  void retryLater(const Did& did, Line& line, Duration delay);
  void busy(const Did& did);

  // answers.cpp
  void submit(std::shared_ptr<Answer> answer);
  void tryAgain(std::shared_ptr<Answer> answer);
  void onAnswered(const std::shared_ptr<Answer>& answer, const Status& status);
  // Not counted; the agent is told why, if it listens.
  void refuse(const Did& from, const IntentId& id, const std::string& why);
  void acknowledge(const Did& to, protocol::ResultAck ack);
  static RunResult resultOf(const protocol::IntentResult& result);
  static Status finishLate(Answer& answer, store::ControlWriter& writer);

  // recovery.cpp
  Status resume(store::OpenIntent open, const std::vector<store::IntentEventRow>& events);

  Context& context_;
  Journal& journal_;
  Registry& registry_;
  Entitlements& entitlements_;
  std::map<IntentId, Pending> pending_;
  std::map<Did, Line> lines_;
  std::uint64_t nextPlace_ = 1;
  std::size_t queued_ = 0;
  bool stopped_ = false;
  struct Late {
    std::size_t count = 0, bytes = 0;
  };
  std::map<Did, Late> lateAnswers_;                      // on their way through workers and store
  std::vector<std::shared_ptr<Answer>> waitingAnswers_;  // for workers and store to have less to do
  Timer retryTimer_;
  Duration retryDelay_{0};  // doubled by each failure of the disk
};

}  // namespace vaultysclaw::control
