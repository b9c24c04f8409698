// The control plane itself: who is connected, who may do what, what was asked and answered. Transport and HTTP stand
// outside: connections come in through accept(), operators through the methods (libs/control's rest_api calls them).
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/log.hpp"
#include "base/ports.hpp"
#include "base/result.hpp"
#include "identity/vaultys_id.hpp"
#include "net/connection.hpp"
#include "policy/gate.hpp"
#include "protocol/messages.hpp"
#include "store/control_store.hpp"

namespace vaultysclaw::control {

// Effects, wired by main() or by a test. All must outlive the ControlPlane.
struct ControlPorts {
  Executor& loop;
  Workers& workers;  // signatures and blocking reads
  Clock& clock;
  Entropy& entropy;
  store::ControlStore& store;
  Logger& log;
};

struct ControlOptions {
  Duration handshakeTimeout = seconds(60);
  Duration registrationTimeout = std::chrono::minutes(10);
  Duration defaultIntentTimeout = seconds(60);
  Duration maxIntentTimeout = seconds(300);
  Duration chatTimeout = std::chrono::minutes(10);
  Duration heartbeatTimeout = seconds(90);  // no message for so long: the connection is closed
  // docs/protocol.md 7.7
  std::size_t maxHandshakes = 1024, maxHandshakesPerAddress = 16;
  std::size_t maxPendingRegistrations = 256, maxPendingRegistrationsPerAddress = 8;
  std::size_t maxPendingIntentsPerAgent = 1024, maxChatsPerAgent = 64;
  std::size_t maxPendingIntents = 100'000;  // of all agents, those that wait to be sent included
  // How long an answer goes on without its agent's connection, without a reader, and is kept after its end (7.8).
  Duration chatResumeTime = std::chrono::minutes(2);
  std::size_t maxKeptChatBytes = std::size_t{1} << 20;        // of an answer that can be read again: its newest events
  std::size_t maxKeptChatBytesInAll = std::size_t{64} << 20;  // then those that are over go first
  std::size_t maxKeptQuestionBytes = std::size_t{64} << 20;   // in all, of questions that may have to be sent again
  // Outputs of results that nobody waits for any more and that are on their way to the store; one may be longer.
  std::size_t maxLateResultBytesPerAgent = std::size_t{32} << 20;
};

enum class AgentStatus : std::uint8_t { Offline, Connected };

struct AgentView {
  store::AgentRow row;
  policy::Grant granted;           // what is in force: the row's grant, narrowed by these policies
  std::vector<PolicyId> policies;  // its own, then its workspaces'
  std::vector<store::WorkspaceId> workspaces;
  AgentStatus status = AgentStatus::Offline;
  std::optional<WallTime> connectedAt;
  std::string address, transport;  // these five are the live connection's
  net::Protection protection = net::Protection::None;
  bool sealed = false;
  bool certificateCurrent = false;    // the agent has a certificate for what it is granted now
  std::vector<std::string> features;  // in use, sorted
  std::optional<protocol::Heartbeat> lastHeartbeat;
  std::size_t pendingIntents = 0;
};

struct RunRequest {
  Did did;
  std::string action;
  protocol::RawJson params{"{}"};
  std::optional<Duration> timeout;  // default and maximum from the options; from the first sending on
  // How long it may wait for an agent that is away or paused; absent: not at all.
  std::optional<seconds> ttl;
  // The same key of the same requestedBy is the same intent. 1 to 128 printable ASCII characters.
  std::optional<std::string> idempotencyKey;
  std::string requestedBy = "operator";
  std::optional<Did> userDid;  // the user whom it is for, and whose delegation it needs; absent: nobody's
  std::optional<protocol::TraceContext> trace;
};
struct RunResult {
  IntentId intentId;
  std::string status;  // success, failed
  std::optional<protocol::RawJson> output;
  std::optional<std::string> error, code;
  std::optional<WallTime> executedAt;
  bool replayed = false;  // the answer to an intent that was there already, under this idempotency key
};
struct SentIntent {
  IntentId intentId;
  Did did;
  std::string status = "pending";  // or queued; when replayed, any
  bool replayed = false;
};

// Approval with what is really granted. Absent capabilities: all that were requested.
struct Approval {
  std::optional<std::vector<std::string>> capabilities;
  protocol::ResourceLimits limits;
  std::optional<std::string> policyId;
  std::optional<WallTime> policyExpiresAt;
  std::optional<std::vector<std::string>> workspaces;  // ids or names; absent: the default one
  std::string actor = "operator";
};

// What to change of a grant. Absent: stays as it is; an absent value inside: taken away.
struct GrantChange {
  std::optional<std::vector<std::string>> capabilities;
  std::optional<std::optional<std::int64_t>> maxTokensPerDay, maxRequestsPerHour;
  std::optional<std::vector<std::string>> allowedDomains;
  std::optional<std::optional<std::string>> policyId;
  std::optional<std::optional<WallTime>> policyExpiresAt;
  // The grant that is to be changed, as grantTag() names it; of another one nothing changes (Conflict).
  std::optional<std::string> ifTag = std::nullopt;

  static GrantChange toExactly(const policy::Grant& grant);
  void apply(policy::Grant& grant) const;
};

// Whether an answer goes on, for a while, when nobody reads it, and can be read again.
enum class Resumable : bool { No, Yes };
struct ChatRequest {
  Did did;
  std::optional<ConversationId> conversationId;  // absent: a new one
  std::vector<protocol::ChatMessageEntry> messages;
  std::optional<bool> stream, thinking;
  std::optional<Duration> timeout;  // at most, and by default, ControlOptions::chatTimeout
  std::string requestedBy = "operator";
  std::optional<Did> userDid;  // as RunRequest::userDid
  std::optional<protocol::TraceContext> trace;
  Resumable resumable = Resumable::No;
};
struct ChatEvents {
  std::function<void(std::string_view text)> onChunk;
  std::function<void(std::string_view text)> onThinking;
  std::function<void()> onDone;                                               // last
  std::function<void(std::string_view code, std::string_view text)> onError;  // last, instead of onDone
};
// Destroyed before the end: nothing more is heard, and the conversation ends (an agent that can be told to stop is
// told), at once, or, when it is resumable, if nobody resumes it in time.
using ChatHandle = Timer;

struct Counters {  // since start, for /metrics
  std::uint64_t handshakesCompleted = 0, handshakesFailed = 0, handshakesRefused = 0;
  std::uint64_t intentsSent = 0, intentsSucceeded = 0, intentsFailed = 0, intentsTimedOut = 0;
  std::uint64_t intentsResent = 0, intentsExpired = 0;
  std::uint64_t resultsRefused = 0;
  std::uint64_t channelsSealed = 0, channelsBroken = 0;
  std::uint64_t chatsStarted = 0, chatsResumed = 0, chatChunks = 0, messagesIn = 0, messagesOut = 0,
                messagesRefused = 0;
  std::size_t connectedAgents = 0, openConnections = 0, pendingIntents = 0, queuedIntents = 0;
  std::size_t pendingRegistrations = 0, activeChats = 0;
};

template <class T>
using Reply = std::function<void(Result<T>)>;

class People;
class Policies;
class Workspaces;
class Grants;
class PeerGrants;

// Confined to ports.loop, callbacks too; every reply comes exactly once, never before the call returns. Destroying it
// drops replies that wait for the store: shutdown() first, and let the loop run.
// Owned by main(). Nothing here blocks the loop: signatures and reads run on workers, commits on the store's writer.
class ControlPlane {
 public:
  // `self`: the control plane's identity, with its secret. Loads agents and registrations from the store, and the
  // intents that an earlier process left open: those that can go on do, the rest ends (blocking, so construct before
  // serving; on ports.loop).
  static Result<std::unique_ptr<ControlPlane>> create(ControlPorts ports, identity::VaultysId self,
                                                      ControlOptions options = {});
  virtual ~ControlPlane() = default;

  virtual const identity::VaultysId& self() const = 0;

  virtual People& people() = 0;
  virtual Workspaces& workspaces() = 0;
  virtual Policies& policies() = 0;
  virtual Grants& grants() = 0;
  virtual PeerGrants& peerGrants() = 0;

  // Takes over a fresh connection from an agent.
  virtual void accept(std::unique_ptr<net::Connection> connection) = 0;
  // Closes every connection (1001) and answers whoever waits with Interrupted. Intents that can be sent again, or were
  // not sent yet, stay open in the store for the next process; the others end.
  virtual void shutdown() = 0;

  virtual std::vector<AgentView> agents() const = 0;
  virtual std::optional<AgentView> agent(const Did& did) const = 0;
  // Removes the agent, ends its intents and closes its connection; it may register anew. NotFound.
  virtual void deleteAgent(const Did& did, std::string actor, Reply<std::monostate> reply) = 0;
  // Changes the grant of a known agent as it stands when the change is stored, so that two changes at once never undo
  // each other. Before the reply its open connection is told; the new certificate follows. NotFound; InvalidArgument;
  // Conflict (GrantChange::ifTag).
  virtual void updateGrant(const Did& did, GrantChange change, std::string reason, std::string actor,
                           Reply<AgentView> reply) = 0;

  // Forgets how well the agent has been able to protect its connections, so that a weaker handshake is accepted again
  // (docs/protocol.md 7.2). NotFound.
  virtual void resetPin(const Did& did, std::string actor, Reply<AgentView> reply) = 0;
  // No intents and no chats for this agent until it is resumed; it is told, at once and after each connect. NotFound.
  virtual void pause(const Did& did, std::string reason, std::string actor, Reply<AgentView> reply) = 0;
  virtual void resume(const Did& did, std::string actor, Reply<AgentView> reply) = 0;

  virtual void registrations(std::optional<std::string> status, store::Page page,
                             Reply<store::Listing<store::RegistrationRow>> reply) = 0;
  // Holds even when the agent is away; when it is there, replies once it has its certificate, or after two seconds.
  // NotFound; Conflict (decided already, expired); InvalidArgument (capabilities
  // that were not requested); NotFound for a workspace too.
  virtual void approve(const RegistrationId& id, Approval approval, Reply<store::AgentRow> reply) = 0;
  virtual void reject(const RegistrationId& id, std::string reason, std::string actor, Reply<std::monostate> reply) = 0;

  // Signs, stores, sends, waits for the agent's result, however often its connection breaks meanwhile. Errors: NotFound
  // (unknown agent), Unavailable (not connected, or gone for good), DeadlineExceeded, Busy, PolicyDenied (paused),
  // InvalidArgument, Conflict (the key is another intent's). A failed intent is a RunResult, not an error.
  // Returns the intent's id, for cancelIntent(), when one was made.
  virtual std::optional<IntentId> run(RunRequest request, Reply<RunResult> reply) = 0;
  // Nobody waits for this intent any more: an agent that can be told to stop is told, and its answer ends the intent;
  // one that has not been sent yet ends as failed. Ids that are not pending are ignored.
  virtual void cancelIntent(const IntentId& id, std::string_view reason) = 0;
  // Whose intents are asked about; absent: everybody's. Another's is NotFound, as one that does not exist.
  using IntentsOf = std::optional<store::IntentOwner>;
  // As cancelIntent, asked for by `actor`; replies once that is stored. NotFound; Conflict when it has ended.
  virtual void cancelIntent(const IntentId& id, std::string actor, IntentsOf whose, Reply<std::monostate> reply) = 0;
  // As run, but replies once the intent is stored, and sent unless it waits; the result is stored when it comes.
  virtual void send(RunRequest request, Reply<SentIntent> reply) = 0;
  // Sends to every connected agent that `among` holds for, or to all without it, that is granted `action` and not
  // paused. An empty list when there is none.
  using AgentFilter = std::function<bool(const Did&)>;
  virtual void broadcast(RunRequest requestWithoutDid, const AgentFilter& among,
                         Reply<std::vector<SentIntent>> reply) = 0;
  struct IntentView {
    store::IntentRow row;
    bool signatureValid = false;  // verified again when read, as is the other
    // Absent: no signed result, one too long for a list, or one of an agent that nothing is known of any more.
    std::optional<bool> resultSignatureValid;
    // Of one intent alone: what happened to it, in order, and every token that was signed for it.
    struct Event {
      WallTime at;
      std::string event, detail;
    };
    std::vector<Event> history;
    std::vector<std::string> tokens;
  };
  virtual void intents(store::IntentFilter filter, store::Page page, Reply<store::Listing<IntentView>> reply) = 0;
  virtual void intent(const IntentId& id, IntentsOf whose, Reply<IntentView> reply) = 0;

  // Errors: NotFound, Unavailable, Busy, PolicyDenied (paused), InvalidArgument; then nothing else is called. On
  // success the conversation id, and `events` follow until onDone or onError, as long as the handle lives (it is given
  // to `reply`'s caller).
  struct StartedChat {
    ConversationId conversationId;
    ChatHandle handle;
  };
  virtual void chat(ChatRequest request, ChatEvents events, std::function<void(Result<StartedChat>)> reply) = 0;
  // The events of a resumable chat from number `fromEvent` on: those that are kept, then the others as they come. The
  // chunks, thoughts and the end of an answer are numbered from 0. Whoever has listened hears an error `conflict`.
  // NotFound; Expired (over and heard, or no longer kept); InvalidArgument (there is no such event yet).
  virtual void resumeChat(const Did& did, const ConversationId& conversation, std::uint64_t fromEvent,
                          ChatEvents events, std::function<void(Result<StartedChat>)> reply) = 0;
  // Whoever listens hears an error `cancelled`, and an agent that can be told to stop is told. What is kept goes.
  // NotFound.
  virtual void cancelChat(const Did& did, const ConversationId& conversation, Reply<std::monostate> reply) = 0;

  struct AuditView {
    store::Listing<store::AuditRow> rows;
  };
  virtual void audit(store::AuditFilter filter, store::Page page, Reply<AuditView> reply) = 0;
  struct AuditCheck {
    std::int64_t rows = 0;
    std::optional<std::int64_t> firstBroken;  // seq of the first row that does not fit
  };
  virtual void verifyAudit(Reply<AuditCheck> reply) = 0;

  virtual Counters counters() const = 0;
};

// NotFound: one text for what does not exist and for what the caller may not know of.
Error noAgent(const Did& did);
Error noIntent(const IntentId& id);

// API tokens: "vcp_" and 64 hex digits; only the SHA-256 is stored. Blocking; used at start.
// Makes one and writes it to `tokenFile` (0600) when the store has none or the file has gone (who may write the data
// directory owns the control plane anyway; earlier tokens stay valid); else leaves both as they are.
Status ensureApiToken(store::ControlStore& store, FileStore& files, const std::filesystem::path& tokenFile,
                      Clock& clock, Entropy& entropy);

}  // namespace vaultysclaw::control
