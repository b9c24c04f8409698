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
  std::string token{};                  // the signed intent token as sent
  std::string status{};                 // pending, success, failed, timeout, lost
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
};

// One audited act. `hash` = SHA-256 over the previous row's hash and this row's fields (audit.cpp in libs/control makes
// and checks it), so that a changed, missing or reordered row shows.
struct AuditRow {
  std::int64_t seq = 0;  // 1, 2, ... without a gap
  WallTime at{};
  std::string actor{};   // a DID, "operator" or "system"
  std::string action{};  // for example "registration.approve"
  std::string target{};
  std::string details = "{}";  // JSON object
  Bytes previousHash{}, hash{};
};

struct ApiTokenRow {
  TokenId id{};
  std::string name{};
  Bytes hash{};  // SHA-256 of the token: it has 256 random bits, so a slow hash adds nothing
  WallTime createdAt{};
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
struct IntentFilter {
  std::optional<Did> did{};
  std::optional<std::string> status{};
};
struct AuditFilter {
  std::optional<std::string> actor{}, action{}, target{};
};

// Valid within the call it was given to. One thread at a time. Blocking. Besides what is named, everything can fail
// with Io, Busy, Malformed (a damaged file); pages and counts that are negative are InvalidArgument.
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
  virtual Result<Listing<AuditRow>> audit(const AuditFilter& filter, Page page) = 0;                // newest first
  virtual Result<std::vector<AuditRow>> auditRange(std::int64_t firstSeq, std::int64_t count) = 0;  // in order
  virtual Result<std::optional<AuditRow>> lastAudit() = 0;
  virtual Result<std::vector<ApiTokenRow>> apiTokens() = 0;
  virtual Result<std::optional<std::string>> meta(const std::string& key) = 0;
};

// As ControlReader; sees what it wrote itself.
class ControlWriter : public ControlReader {
 public:
  virtual Status putAgent(const AgentRow& row) = 0;  // inserts or replaces; the handshake version stays the highest
  virtual Status deleteAgent(const Did& did) = 0;    // NotFound when absent. Its intents stay
  // Forgets features and handshake version (0), so that a weaker handshake is accepted again. NotFound when absent.
  virtual Status resetPin(const Did& did) = 0;
  virtual Status touchAgent(const Did& did, WallTime seen) = 0;    // NotFound when absent
  virtual Status putRegistration(const RegistrationRow& row) = 0;  // inserts or replaces
  virtual Status insertIntent(const IntentRow& row) = 0;           // Conflict when the id exists
  // Ends a pending intent: takes status, output, error, code, times and result token from `row`, the rest stays. One
  // that ended without an answer (lost, timeout) may still become success or failed. Conflict when it has ended
  // otherwise (the first answer counts), NotFound when unknown, InvalidArgument when `row` is pending itself.
  virtual Status finishIntent(const IntentRow& row) = 0;
  virtual Status appendAudit(const AuditRow& row) = 0;     // Conflict unless seq is the next one
  virtual Status putApiToken(const ApiTokenRow& row) = 0;  // inserts or replaces; Conflict when another has the hash
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
};
// Opens or creates (0600), migrates to the current schema. WAL, synchronous=FULL. Errors: Io, Conflict (another process
// holds it), Malformed (not our database), Unsupported (a newer schema: says which version is needed).
Result<std::unique_ptr<ControlStore>> openControlStore(ControlStoreOptions options);

}  // namespace vaultysclaw::store
