// What the control plane remembers. The interface knows ids, text and bytes, no protocol types, so that one contract
// test serves every backend (SQLite here; PostgreSQL can follow).
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/bytes.hpp"
#include "base/ids.hpp"
#include "base/ports.hpp"
#include "base/result.hpp"
#include "store/damage.hpp"
#include "store/governance.hpp"

namespace vaultysclaw::store {

// A list of intents must not need gigabytes because of what agents answered: longer params and outputs are read one by
// one.
inline constexpr std::size_t kMaxListedBytes = std::size_t{64} << 10;

// JSON texts (capabilities, limits, details) are written and read by the caller; the store keeps them as they are.
struct AgentRow {
  Did did{};
  Bytes publicId{};  // version 1 form
  std::string name{};
  std::string capabilities = "[]";  // JSON array: granted
  std::string requestedCapabilities = "[]";
  std::string limits = "{}";  // JSON object: ResourceLimits
  std::optional<std::string> policyId{};
  std::optional<WallTime> policyExpiresAt{};
  int handshakeVersion = 1;  // the highest one completed: only resetPin() lowers it
  WallTime createdAt{};
  std::optional<WallTime> lastSeenAt{};
  std::string features{};               // what it has listed over a sealed connection, as identity::Features::text()
  std::optional<std::string> paused{};  // why it gets no work; absent: it does
};

struct RegistrationRow {
  RegistrationId id{};
  Did did{};
  Bytes publicId{};
  std::string name{};
  std::string requestedCapabilities = "[]";
  std::string address{};  // where it came from
  std::string status{};   // pending, approved, rejected, expired
  std::string reason{};
  int handshakeVersion = 1;
  WallTime createdAt{};
  std::optional<WallTime> decidedAt{};
  std::string decidedBy{};
};

struct IntentRow {
  IntentId id{};
  Did did{};
  std::string action{};
  std::string params{};                 // raw JSON bytes as sent
  std::string token{};                  // the signed intent token as first sent; empty: it was not sent yet
  std::string status{};                 // queued, pending, success, failed, timeout, lost, expired
  std::optional<std::string> output{};  // raw JSON bytes as received
  std::optional<std::string> error{}, code{};
  std::optional<std::string> userDid{};
  std::string requestedBy{};
  WallTime createdAt{};
  std::optional<WallTime> executedAt{};  // the agent's claim
  std::optional<WallTime> finishedAt{};
  std::optional<std::string> resultToken{};  // signed by the agent, as received
  std::optional<std::string> traceparent{};
  bool paramsOmitted = false, outputOmitted = false;  // in lists, which leave out what is over kMaxListedBytes
  std::int64_t timeoutMs = 0;                         // what the agent gets, from the first sending on
  std::optional<std::int64_t> ttlSeconds{};           // how long it may wait to be sent; absent: not at all
  std::optional<WallTime> sentAt{}, deadline{};       // first sent; when it ends without an answer
  std::int64_t sends = 0;                             // how often it was sent; 0 also in rows from before this was kept
  bool resendable = false;                      // the agent it was sent to answers it again, and never runs it twice
  std::optional<std::string> idempotencyKey{};  // unique for each requestedBy
};

// What happened to an intent beside what its row tells.
struct IntentEventRow {
  WallTime at{};
  std::string event{};  // for example "resent"
  std::string detail{};
  std::optional<std::string> token{};  // of an intent that was sent again: what was signed for that
};
// Of one intent, not counting those with a token. The last one is "more", and what follows it is not kept.
inline constexpr std::int64_t kMaxIntentEvents = 64;
// Of one intent; older ones are forgotten, but for the first.
inline constexpr std::int64_t kMaxIntentTokens = 64;

// One sending of an intent.
struct IntentSend {
  std::string token{};
  WallTime at{}, deadline{};
  bool resendable = false;
};

// An intent that has not ended, without params, and its place in the order of insertion.
struct OpenIntent {
  std::int64_t place = 0;
  IntentRow row{};
};

// One audited act. `hash` = SHA-256 over the previous row's hash and this row's fields (audit.cpp in libs/control makes
// and checks it), so that a changed, missing or reordered row shows.
struct AuditRow {
  std::int64_t seq = 0;  // 1, 2, ... without a gap
  WallTime at{};
  std::string actor{};   // a DID, "user:NAME", "system", or "operator" in rows from before there were users
  std::string action{};  // for example "registration.approve"
  std::string target{};
  std::string details = "{}";  // JSON object
  Bytes previousHash{}, hash{};
};

struct Page {
  std::int64_t offset = 0;
  std::int64_t limit = 50;
};
template <class Row>
struct Listing {
  std::vector<Row> items{};
  std::int64_t total = 0;
};
// Whose intents: those that `requestedBy` has asked for since then, for a name may have been another's before.
struct IntentOwner {
  std::string requestedBy{};
  WallTime since{};
  bool owns(const std::string& by, WallTime at) const { return by == requestedBy && at >= since; }
};
struct IntentFilter {
  std::optional<Did> did{};
  std::optional<std::string> status{};
  std::optional<IntentOwner> owner{};
};
struct AuditFilter {
  std::optional<std::string> actor{}, action{}, target{};
};

// Valid within the call it was given to. One thread at a time. Blocking. Besides what is named, everything can fail
// with Io, Busy, Malformed (a damaged file, or row); lists leave out rows that are damaged (damage.hpp); pages and
// counts that are negative are InvalidArgument.
class ControlReader {
 public:
  virtual ~ControlReader() = default;
  virtual Result<std::optional<AgentRow>> agent(const Did& did) = 0;
  virtual Result<std::vector<AgentRow>> agents() = 0;  // all, by creation
  // The public id of an agent, also of one that was deleted, as long as its registration is there.
  virtual Result<std::optional<Bytes>> publicId(const Did& did) = 0;
  virtual Result<std::optional<RegistrationRow>> registration(const RegistrationId& id) = 0;
  virtual Result<std::vector<RegistrationRow>> pendingRegistrations() = 0;
  virtual Result<Listing<RegistrationRow>> registrations(std::optional<std::string> status,
                                                         Page page) = 0;  // newest first
  virtual Result<std::optional<IntentRow>> intent(const IntentId& id) = 0;
  // The last inserted first. Params and outputs over kMaxListedBytes are left out, result tokens of that size empty,
  // errors cut at 4096 characters.
  virtual Result<Listing<IntentRow>> intents(const IntentFilter& filter, Page page) = 0;
  virtual Result<std::optional<IntentRow>> intentByKey(const std::string& requestedBy, const std::string& key) = 0;
  // In the order they were written.
  virtual Result<std::vector<IntentEventRow>> intentEvents(const IntentId& id) = 0;
  // Those of this status, "queued" or "pending", whose place is greater than `after`; in order, at most `count`.
  virtual Result<std::vector<OpenIntent>> openIntents(const std::string& status, std::int64_t after,
                                                      std::int64_t count) = 0;
  virtual Result<Listing<AuditRow>> audit(const AuditFilter& filter, Page page) = 0;                // newest first
  virtual Result<std::vector<AuditRow>> auditRange(std::int64_t firstSeq, std::int64_t count) = 0;  // in order
  virtual Result<std::optional<AuditRow>> lastAudit() = 0;
  virtual Result<std::vector<UserRow>> users() = 0;  // all, by creation
  virtual Result<std::vector<ApiTokenRow>> apiTokens() = 0;
  virtual Result<std::vector<LoginRow>> logins() = 0;
  virtual Result<std::vector<WorkspaceRow>> workspaces() = 0;  // these six too by creation
  virtual Result<std::vector<MemberRow>> members() = 0;
  virtual Result<std::vector<PlacementRow>> placements() = 0;
  virtual Result<std::vector<PolicyRow>> policies() = 0;
  virtual Result<std::vector<GrantRow>> grants() = 0;
  virtual Result<std::vector<PeerGrantRow>> peerGrants() = 0;
  virtual Result<std::optional<std::string>> meta(const std::string& key) = 0;
};

// As ControlReader; sees what it wrote itself.
class ControlWriter : public ControlReader {
 public:
  virtual Status putAgent(const AgentRow& row) = 0;  // inserts or replaces; the handshake version stays the highest
  virtual Status deleteAgent(const Did& did) = 0;    // and its placements; its intents stay. NotFound when absent
  // Forgets features and handshake version (0), so that a weaker handshake is accepted again. NotFound when absent.
  virtual Status resetPin(const Did& did) = 0;
  virtual Status touchAgent(const Did& did, WallTime seen) = 0;    // NotFound when absent
  virtual Status putRegistration(const RegistrationRow& row) = 0;  // inserts or replaces
  // Conflict when the id exists, or the key of this requestedBy.
  virtual Status insertIntent(const IntentRow& row) = 0;
  // A queued or pending intent is about to be sent: it becomes pending. Its first token stands in the row, later ones
  // among the events ("resent", with the number). Conflict when it has ended, NotFound when unknown.
  virtual Status recordSend(const IntentId& id, const IntentSend& send) = 0;
  // A pending intent that its agent has refused to take waits again: it becomes queued. Conflict, NotFound.
  virtual Status requeueIntent(const IntentId& id) = 0;
  virtual Status addIntentEvent(const IntentId& id, const IntentEventRow& event) = 0;  // without a token
  // Ends a queued or pending intent: takes status, output, error, code, times and result token from `row`, the rest
  // stays. One that ended without an answer (lost, timeout) may still become success or failed. Conflict when it has
  // ended otherwise (the first answer counts), NotFound when unknown, InvalidArgument when `row` has not ended itself.
  virtual Status finishIntent(const IntentRow& row) = 0;
  virtual Status appendAudit(const AuditRow& row) = 0;     // Conflict unless seq is the next one
  virtual Status putUser(const UserRow& row) = 0;          // inserts or replaces; Conflict when another has the name
  virtual Status deleteUser(const UserId& id) = 0;         // and tokens, logins, memberships. NotFound when absent
  virtual Status deleteApiToken(const TokenId& id) = 0;    // NotFound when absent
  virtual Status putApiToken(const ApiTokenRow& row) = 0;  // inserts or replaces; Conflict when another has the hash
  // Each put inserts or replaces. Each delete is NotFound when the row is absent.
  virtual Status putLogin(const LoginRow& row) = 0;  // Conflict when another has the hash
  virtual Status deleteLogin(const LoginId& id) = 0;
  virtual Status putWorkspace(const WorkspaceRow& row) = 0;   // Conflict when another has the name
  virtual Status deleteWorkspace(const WorkspaceId& id) = 0;  // and its members and placements
  virtual Status putMember(const MemberRow& row) = 0;
  virtual Status deleteMember(const MemberRow& row) = 0;
  virtual Status putPlacement(const PlacementRow& row) = 0;
  virtual Status deletePlacement(const PlacementRow& row) = 0;
  virtual Status putPolicy(const PolicyRow& row) = 0;
  virtual Status deletePolicy(const PolicyId& id) = 0;
  virtual Status putGrant(const GrantRow& row) = 0;
  virtual Status deleteGrant(const GrantId& id) = 0;
  virtual Status putPeerGrant(const PeerGrantRow& row) = 0;
  virtual Status deletePeerGrant(const PeerGrantId& id) = 0;
  virtual Status putMeta(const std::string& key, std::string_view value) = 0;
};

// Synchronised. Owned by main(). Destroying it finishes what has been submitted.
class ControlStore {
 public:
  virtual ~ControlStore() = default;

  using Work = std::function<Status(ControlWriter&)>;
  // Queues `work` for the one writer. Works that queue up share a transaction and its fsync; each runs in a savepoint
  // of its own, so one that fails undoes itself alone; if the commit fails, all of them have failed. `done` (may be
  // empty) runs on the writer's thread after the commit (or with the error): post from there to your own executor.
  // Works and `done` run in the order submitted and must not throw; `done` may call write(). False when 10,000 wait:
  // Busy; nothing will run.
  [[nodiscard]] virtual bool write(Work work, std::function<void(Status)> done) = 0;
  // As write, and waits. Blocking. Never from within a work or its `done`.
  virtual Status writeBlocking(const Work& work) = 0;

  // Runs `query` on one consistent snapshot. Blocking; from any thread, four at once; Busy after ten seconds of
  // waiting.
  virtual Status readBlocking(const std::function<Status(ControlReader&)>& query) = 0;
};

enum class WriterThread : bool { No, Yes };  // No: write() runs at once on the caller's thread, for deterministic tests
struct ControlStoreOptions {
  std::filesystem::path path{};  // a file; its directory must exist
  WriterThread writerThread = WriterThread::Yes;
  // After a commit that several works shared, the writer's thread waits this long for more before it begins the next;
  // less when 64 are there. Works that come one after the other never wait.
  Duration gather = milliseconds(2);
  OnDamagedRow onDamagedRow{};
};
// Opens or creates (0600), migrates to the current schema. WAL, synchronous=FULL. Errors: Io, Conflict (another process
// holds it), Malformed (not our database), Unsupported (a newer schema: says which version is needed).
Result<std::unique_ptr<ControlStore>> openControlStore(ControlStoreOptions options);

}  // namespace vaultysclaw::store
