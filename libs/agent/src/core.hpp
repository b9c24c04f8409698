// The agent's heart: connection, handshake, grants, calls. Internal.
//
// Everything is confined to the I/O loop unless it says otherwise. Handlers run on lanes and post their outcomes back;
// signatures and disk work run on workers and post their results back. core.cpp: messages; link.cpp: the connection
// and its channel; stopping.cpp; handshake.cpp; calls.cpp; intents.cpp; chats.cpp; tasks.cpp; hooks.cpp; approvals.cpp;
// heartbeat.cpp.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "agent/ports.hpp"
#include "agent/trust.hpp"
#include "answers.hpp"
#include "base/guarded.hpp"
#include "call.hpp"
#include "identity/challenger.hpp"
#include "identity/features.hpp"
#include "identity/seal.hpp"
#include "identity/tokens.hpp"
#include "identity/vaultys_id.hpp"
#include "journal.hpp"
#include "net/backoff.hpp"
#include "net/connection.hpp"
#include "outbox.hpp"
#include "policy/gate.hpp"
#include "protocol/codec.hpp"
#include "results.hpp"
#include "serial_queue.hpp"
#include "usage.hpp"
#include "vaultysclaw/base_agent_runtime.hpp"

namespace vaultysclaw::detail {

struct ApprovalWait;

// What start() has loaded.
struct CoreSetup {
  AgentRuntimeConfig config;
  std::string wsUrl;
  identity::VaultysId self;  // version 1 form
  std::unique_ptr<OpenState> state;
  store::StoredUsage usage;
  identity::Features features;  // what this agent lists
  std::optional<Pin> pin;
  std::vector<store::StoredDelegation> delegations;
};

class AgentCore : public std::enable_shared_from_this<AgentCore> {
 public:
  AgentCore(CoreSetup setup, BaseAgentRuntime& agent, RuntimePorts& ports, std::shared_ptr<Journal> journal);
  ~AgentCore();

  // ---- any thread ----
  void begin();
  void requestStop(std::string reason);
  // Waits until the loop has let go of everything, naming stuck calls in the log, then ends the lanes. Blocking.
  void finishStop();
  static bool onHandlerThread(const AgentCore* core);

  const Did& did() const { return setup_.self.did(); }
  void fill(AgentInfo& info) const;
  std::vector<AgentPeerGrant> peerCatalog() const {
    return shared_.with([](const Shared& s) { return s.peers; });
  }
  Clock& clock() { return ports_.clock(); }
  Executor& loop() { return ports_.loop(); }
  RuntimePorts& ports() { return ports_; }
  UsageBook& usage() { return usage_; }
  Journal& journal() { return *journal_; }
  bool connected() const { return linkUp_.load(); }
  void setActiveLlm(std::string provider, std::string model);
  // `life`: until it expires; an hour if absent. Empty when not connected. Throws AgentError.
  std::string openApproval(std::string_view toolName, const Json& args, std::optional<std::string> conversationId,
                           std::optional<milliseconds> life, std::shared_ptr<ApprovalWait> wait);
  ToolApprovalResponse awaitApproval(const std::shared_ptr<Call>& call, std::string_view toolName, const Json& args);
  // False when not connected, and, with a log line, for what is no valid message. Sent on the loop's next turn.
  bool sendSoon(protocol::Payload payload);
  void chatChunk(std::shared_ptr<ChatStream> stream, std::string chunk, bool thinking);
  void chatEnd(std::shared_ptr<ChatStream> stream, std::optional<std::string> error, std::string errorCode, Errc code);

 private:
  enum class Phase : std::uint8_t {
    Idle,
    Dialing,
    AwaitChallenge,  // connected; the first auth_challenge "" is due
    Registering,     // `register` is sent; the second one is due
    Proving,         // INIT is sent
    Proved,          // COMPLETE is sent; auth_complete or registration_pending is due
    Pending,         // an operator decides
    Authenticated,
  };
  // What other threads read.
  struct Shared {
    policy::Grant grant;
    std::vector<policy::LiveDelegation> delegations;
    std::vector<AgentPeerGrant> peers;
    std::string controlPlaneDid;
    std::string transport;
    std::optional<Timestamp> lastHeartbeat;
    std::pair<std::string, std::string> activeLlm;
    std::optional<std::string> paused;      // why nothing may run
    std::optional<TokenUsage> budgetToday;  // what getDailyTokenUsageForBudget said last, if it differs from ours
    struct Stuck {
      std::uint64_t number = 0;
      std::string action, id;
      SteadyTime deadline{};
    };
    std::vector<Stuck> stuck;  // at most one for each handler thread
  };
  struct Running {
    std::shared_ptr<Call> call;
    Timer deadline;
    std::shared_ptr<ChatStream> stream;
  };
  struct Approval {
    std::shared_ptr<ApprovalWait> wait;  // null: the answer goes to onToolApprovalResponse
    std::string argsHash;
    Timer expiry;
  };

  // link.cpp
  void dial();
  void onDialed(Result<std::unique_ptr<net::Connection>> connection);
  void onFrame(net::FrameKind kind, std::string_view data);
  void onUnsealed(net::FrameKind kind, std::string_view data);
  void onText(std::string_view text);
  void onPeerEnd();
  void onClosed(const net::CloseReason& reason);
  // In order: the channel is ended and what is queued goes out first. `why` is what the log says.
  void leave(std::string why);
  void dropConnection(std::string why);
  void scheduleDial(const std::string& why);
  void armHandshakeTimer(Duration limit, std::string why);
  void acceptLongMessages();
  bool send(protocol::Payload payload);
  bool sendText(std::string text);
  bool sendUnsealed(std::string text);
  bool maySend(std::size_t bytes);
  bool sendFrame(net::FrameKind kind, std::string data);

  // stopping.cpp
  void halt(std::string reason);
  void continueStop();
  void stopped();

  // core.cpp
  void dispatch(protocol::Message& message);
  // Any thread.
  std::string compose(protocol::Payload payload);
  // As compose, for what user code made: an error when it would be no valid message.
  Result<std::string> composeChecked(protocol::Payload payload);
  std::string newId() { return newUuid(ports_.clock(), ports_.entropy()); }
  void log(LogSeverity level, std::string message, Json data = nullptr) {
    journal_->log(level, std::move(message), std::move(data));
  }
  // Runs `work` within a transaction of the state file, and `then` with its result on the loop once that is durable.
  template <class R>
  void onState(std::function<R(store::AgentState&)> work, std::function<void(R)> then);
  // What a stopping agent waits for: each began() on the loop is followed by one backOnLoop() from any thread.
  void began() { ++stateOps_; }
  void backOnLoop(Task then);
  // Runs `hook` on a lane as a hook; what it throws is logged.
  // False when it is not going to run.
  bool callHook(const char* name, std::function<void(BaseAgentRuntime&)> hook);
  void guardHook(const char* name, const std::function<void(BaseAgentRuntime&)>& hook);

  // handshake.cpp
  void onAuthChallenge(const protocol::Message& message, const protocol::AuthChallenge& challenge);
  void startHandshake(const std::string& sessionId);
  void onStep1(const protocol::AuthChallenge& challenge);
  void onAuthComplete(const protocol::AuthComplete& complete);
  void onAuthFailed(const protocol::AuthFailed& failed);
  void onPending(const protocol::RegistrationPending& pending);
  void onApproved(const protocol::RegistrationApproved& approved);
  void onRejected(const protocol::RegistrationRejected& rejected);
  void onUpdateCapabilities(const protocol::UpdateCapabilities& update);
  Status acceptPeer(const identity::VaultysId& peer);
  // For good on a connection that nobody else can speak on; else the agent tries again.
  void refusedFor(std::string reason);
  // Judges what the control plane has signed, before we prove ourselves to it: the first handshake of a connection, and
  // a later one.
  Status beginChannel(const identity::Initiator& handshake);
  Status checkReissue(const identity::Initiator& handshake) const;
  // What is to be remembered of the control plane, once it has proved who it is.
  void pinControlPlane();
  void rememberFeatures();
  std::string trustCommand(const std::string& argument) const;
  void noteServerTime(const protocol::Message& message);
  std::string clockHint() const;
  void publishGrant();

  // intents.cpp. An intent's way: onIntent; on a worker examine, accept, recordAccepted; onAccepted.
  struct Acceptance;
  void onIntent(protocol::Message& message, protocol::Intent& intent);
  Status roomForIntent() const;
  void examine(const std::shared_ptr<Acceptance>& job);
  Status judge(Acceptance& job);
  Status accept(Acceptance& job);
  store::Repeatable repeatable(const std::string& action) const;
  void recordAccepted(Acceptance& job, const Status& stored);
  // Whether it is the control plane's and meant for this agent.
  Result<identity::IntentToken> checkIntent(const Acceptance& job) const;
  // Whether it may be accepted, if it is new.
  Status judgeToken(const identity::IntentToken& token, const protocol::Intent& intent,
                    const identity::Sha256& paramsHash);
  void endAcceptance(const std::shared_ptr<Acceptance>& job, Status stored);
  void onAccepted(Acceptance& job, const Status& stored);
  void answerKnown(const store::SeenIntent& seen, const std::string& fingerprint);
  void refuseIntent(const std::string& intentId, const Error& error);
  void runIntent(const std::shared_ptr<Call>& call, const protocol::RawJson& params);

  // results.cpp. A result's way: made on the handler's lane (or, without a handler, by a worker); finishIntent;
  // submitResult; on a worker storeResult; onStored.
  struct Finishing;
  ReadyResult readyResult(const Call& call, const Outcome& outcome, bool sign) const;
  void finishIntent(const std::shared_ptr<Call>& call, const Outcome& outcome);
  void submitResult(const std::shared_ptr<Finishing>& job);
  Status storeResult(Finishing& job);
  void onStored(const std::shared_ptr<Finishing>& job, const Status& stored);
  void storeAgainLater(const std::shared_ptr<Finishing>& job);
  void storeAgain();
  bool sendResult(const ReadyResult& result);
  // Sends a stored one, and keeps account of it.
  void deliver(const ReadyResult& result);
  void loadOutbox();
  void resendResults();
  bool signsResults() const;
  void sendAgain(std::vector<std::pair<std::string, Result<ReadyResult>>> texts, std::uint64_t connection);
  void onResultAck(const protocol::ResultAck& ack);
  void settle(const std::string& intentId, store::SeenIntent::State state);
  void flushSettled();

  // calls.cpp
  std::shared_ptr<Call> newCall(CallKind kind, std::string id, std::string action,
                                std::optional<std::int64_t> timeoutMs);
  bool launch(std::shared_ptr<Call> call, std::shared_ptr<ChatStream> stream, Task job);
  bool roomForCall() const;
  void stopCall(const std::shared_ptr<Call>& call, StopReason reason);
  void onDeadline(std::uint64_t number);
  void watchStuck(std::uint64_t number, Duration wait);
  void reportStuck(const Call& call);
  // Of `shared`, as of now.
  std::vector<StuckHandler> stuckHandlers(const Shared& shared) const;
  void onCancel(const protocol::Cancel& cancel);
  void answer(const std::shared_ptr<Call>& call, const Outcome& outcome);
  void endCall(const std::shared_ptr<Call>& call, const Outcome& outcome);
  Outcome runHandler(const std::shared_ptr<Call>& call, std::optional<std::string_view> action,
                     const std::function<std::string(CallContext&)>& handler);
  Status admit(Call& call, std::optional<std::string_view> action);
  void releaseRequest(Call& call);
  void setPaused(std::optional<std::string> reason);
  static Error pausedError(const std::string& reason);

  // chats.cpp
  void onChat(const std::string& questionId, protocol::ChatRequest& request);
  void runChat(const std::shared_ptr<Call>& call, const std::shared_ptr<ChatStream>& stream,
               const std::vector<protocol::ChatMessageEntry>& messages);
  // Of a question that is not answered; it has no number.
  void sendChatError(const std::string& conversationId, std::optional<std::string> questionId, const std::string& error,
                     std::string errorCode, Errc code);
  void endAnswer(const ChatStream& stream, AnswerEnd end);
  void answerGrew(Answer& answer);
  void abandon(Answer& answer);
  void onChatResume(const protocol::ChatResume& resume);
  // The connection is lost: what can be resumed waits for that, the rest is over.
  void cutChats();
  void watchAnswers();
  void flushChats();

  // tasks.cpp
  void onTask(const protocol::Message& message, protocol::TaskEnqueue& task);
  void onKnowledge(protocol::KnowledgeSync& sync);
  void finishTask(const std::shared_ptr<Call>& call, const Outcome& outcome);
  void sendTaskStatus(const Call& call, std::string status, const Outcome* outcome);

  // hooks.cpp
  void onDelegations(const protocol::DelegationUpdate& update);
  void loadDelegations();
  void judgeDelegations();
  void onPeerCatalog(const protocol::AgentPeerCatalog& catalog);
  void onLlmConfig(const protocol::LlmConfigUpdate& update);
  void onSkills(const protocol::SkillsConfig& skills);
  void onGetSessions(const protocol::GetChatSessions& get);
  void onGetHistory(const protocol::GetChatHistory& get);

  // approvals.cpp
  void addApproval(const protocol::ToolApprovalRequest& request, std::shared_ptr<ApprovalWait> wait);
  void endApproval(const ToolApprovalResponse& response);
  void answerApproval(const std::shared_ptr<ApprovalWait>& wait, const ToolApprovalResponse& response);
  void onApprovalResponse(const protocol::ToolApprovalResponse& response);

  // heartbeat.cpp
  void saveUsage(Task then);
  void scheduleHeartbeat();
  void sendHeartbeat();
  void writeHeartbeat(const UsageBook::Sync& sync);
  void pollBudget();
  void onPong(const protocol::Pong& pong);
  std::chrono::seconds uptime() const;

  CoreSetup setup_;
  BaseAgentRuntime& agent_;
  RuntimePorts& ports_;
  std::shared_ptr<Journal> journal_;
  UsageBook usage_;
  std::unique_ptr<Lanes> lanes_;
  std::shared_ptr<SerialQueue> worker_;
  const SteadyTime startedAt_;
  std::atomic<bool> linkUp_{false};  // Authenticated, and not stopping
  std::atomic<std::size_t> waitingCalls_{0};
  std::atomic<bool> budgetPolled_{false};  // a hook that asks for the budget is queued
  Guarded<Shared> shared_;
  std::mutex stopMutex_;
  std::condition_variable stopChanged_;
  bool loopDone_ = false;                  // guarded by stopMutex_
  std::vector<std::string> runningNames_;  // guarded by stopMutex_: for finishStop's log

  // Confined to the loop from here on.
  Phase phase_ = Phase::Idle;
  net::Backoff backoff_;
  net::Pending dialing_;
  std::unique_ptr<net::Connection> connection_;
  std::uint64_t connectionNumber_ = 0;
  Timer reconnectTimer_, handshakeTimer_, heartbeatTimer_, drainTimer_;
  bool everConnected_ = false;
  int badMessages_ = 0, earlyHandshakes_ = 0;
  std::optional<std::string> expectedClose_;  // why we are about to lose this connection, when we know better

  // The channel of this connection (docs/protocol.md 7.3).
  std::optional<identity::SealKeys> sealKeys_;  // of the first handshake, until COMPLETE
  std::optional<identity::SealedChannel> seal_;
  bool sealOpened_ = false;  // a record of the control plane's has opened
  bool peerEnded_ = false;   // it has ended its direction in order
  bool sendFailed_ = false;  // a message was lost: nothing may follow it
  Timer sealTimer_;

  // What the first complete handshake of this connection has settled.
  struct Agreed {
    identity::VaultysId peer;
    identity::Features listed;
  };
  std::optional<Agreed> agreed_;
  identity::Features inUse_;
  std::unique_ptr<identity::Initiator> initiator_;
  std::optional<Error> foreignPeer_;  // who signed our handshake and is not the control plane we belong to
  std::string sessionId_;
  std::optional<policy::Grant> certificate_;     // of the last complete handshake
  std::optional<policy::Grant> candidate_;       // of a handshake whose auth_complete is due
  std::string candidateText_, certificateText_;  // base64 of COMPLETE
  // Whose signatures count: pinned. Set once, so that work posted afterwards may read it on any thread.
  std::optional<identity::VaultysId> controlPlane_;
  std::string trustedDid_;                             // the only one to pin, if the state names it
  identity::Features listed_;                          // what the pinned one listed last
  std::optional<identity::Sha256> storedDelegations_;  // digest of what the state has
  bool strictDelegations_ = false;                     // those in force were checked by the rules of intent-v2
  std::vector<std::string> announced_;                 // capabilities that the next handshake names
  std::optional<milliseconds> serverClock_;

  std::map<std::uint64_t, Running> calls_;
  // Results are sent by rising number; those of an earlier process have lower ones.
  std::uint64_t nextCall_ = std::uint64_t{1} << 32;
  std::map<std::string, std::shared_ptr<Call>> accepting_;  // intents on their way into the state
  std::size_t stateOps_ = 0;                                // begun, and not back on the loop
  SteadyTime nextTidy_{};                                   // when old intents are forgotten again
  Outbox outbox_;
  bool outboxLoaded_ = false, resending_ = false;
  std::vector<store::SettledResult> settled_;  // that the state does not know of yet
  Timer settleTimer_;
  std::vector<std::shared_ptr<Finishing>> unstored_;  // results that the disk did not take yet
  Duration storeRetryDelay_{0};
  Timer storeRetryTimer_;
  std::optional<std::string> paused_;  // by the control plane, and why
  Answers answers_;                    // to chats
  Timer answerTimer_;
  std::optional<SteadyTime> answerTimerAt_;
  std::map<std::string, Approval> approvals_;  // by request id, which sorts by time
  std::string openHeartbeat_;                  // sync id of the last heartbeat, until its pong
  bool stopping_ = false;
  bool draining_ = false;  // stopping, and no call runs any more
  std::string stopReason_;
};

// A handler that waits for an approval. Synchronised.
struct ApprovalWait {
  std::mutex mutex;
  std::condition_variable changed;
  std::optional<ToolApprovalResponse> response;
};

template <class R>
void AgentCore::onState(std::function<R(store::AgentState&)> work, std::function<void(R)> then) {
  struct Job {
    std::function<R(store::AgentState&)> work;
    std::function<void(R)> then;
    std::optional<R> result;
  };
  auto job = std::make_shared<Job>(Job{std::move(work), std::move(then), std::nullopt});
  const auto finish = [self = shared_from_this(), job](const Status& stored) {
    if (!stored.ok() && (!job->result || job->result->ok())) job->result.emplace(stored.error());
    self->backOnLoop([job] { job->then(std::move(*job->result)); });
  };
  began();
  const bool queued = setup_.state->file().submit(
      [self = shared_from_this(), job]() -> Status {
        job->result.emplace(job->work(self->setup_.state->rows()));
        return job->result->ok() ? Status() : Status(job->result->error());
      },
      finish);
  if (!queued) finish(StateFile::busy());
}

}  // namespace vaultysclaw::detail
