// What agents must remember across restarts: counters, intents and their results, delegations, whom they trust.
// One SQLite file (mode 0600), for one agent or for several of one process, and `<file>.lock`, which tells a second
// process that it is held.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/ids.hpp"
#include "base/ports.hpp"
#include "base/result.hpp"
#include "store/damage.hpp"

namespace vaultysclaw::store {

enum class Repeatable : bool { No, Yes };  // whether an intent may run again after a crash has interrupted it

struct SeenIntent {
  std::string controlPlaneDid{};
  std::string intentId{};
  std::string fingerprint{};  // of what the intent asks for: action, user and params; tells a resend from a reuse
  std::string intentHash{};   // hex SHA-256 of the accepted token's body; empty for those of an older version's file
  // Finished: its result waits to be delivered. Rejected: the control plane will never take it.
  enum class State : std::uint8_t { Running = 0, Finished = 1, Delivered = 3, Rejected = 4 };
  State state = State::Running;
  std::string result{};  // the encoded result message, once finished
  WallTime acceptedAt{};
  Repeatable repeatable = Repeatable::No;
};

// A result that waits to be delivered.
struct OutboxEntry {
  std::string intentId{};
  std::string resultHash{};  // hex SHA-256 of its signed body; empty when it is not signed
  std::size_t bytes = 0;     // of the encoded message
};

struct SettledResult {
  std::string intentId{};
  SeenIntent::State state = SeenIntent::State::Delivered;  // or Rejected
};

struct FinishedIntent {
  std::string result{};
  std::string resultHash{};
};

struct StoredDelegation {
  std::string id{};
  std::string certificate{};
};

struct StoredUsage {
  std::int64_t utcDay = 0;
  std::int64_t promptToday = 0, completionToday = 0;
  std::int64_t promptTotal = 0, completionTotal = 0;
  std::int64_t promptUnsynced = 0, completionUnsynced = 0;
  // The open sync: what of the unsynced is reported under this id, and not acknowledged yet. Empty: none is open.
  std::string syncId{};
  std::int64_t promptSyncing = 0, completionSyncing = 0;
  std::int64_t requestsThisHour = 0;
  WallTime hourWindowStart{};
  bool operator==(const StoredUsage&) const = default;
};

// What is written along with an intent, in the same transaction.
struct Riders {
  std::optional<StoredUsage> usage{};
  std::vector<SettledResult> settled{};  // of the intent's control plane
};

// The rows of one agent. One that is damaged is Malformed for who asks for it, and left out of lists (damage.hpp).
// Blocking; each method is one durable transaction (synchronous=FULL) that has committed when it
// returns, but for those called by a work of AgentStateFile::together(). Synchronised. Owned by the runtime; keeps its
// file open.
class AgentState {
 public:
  virtual ~AgentState() = default;

  // Inserts as Running if (control plane, id) is new and returns nothing; else returns what is stored. The riders are
  // written in either case.
  virtual Result<std::optional<SeenIntent>> acceptIntent(const SeenIntent& intent, const Riders& riders = {}) = 0;
  // What is stored, without inserting.
  virtual Result<std::optional<SeenIntent>> seenIntent(const std::string& controlPlaneDid,
                                                       const std::string& intentId) = 0;
  // Running becomes Finished. Conflict when it has ended already (the first answer counts), NotFound when unknown;
  // nothing is written then.
  virtual Status finishIntent(const std::string& controlPlaneDid, const std::string& intentId,
                              const FinishedIntent& finished, const Riders& riders = {}) = 0;
  // At start: what was running when the process ended is finished with what `answer` says. Without an answer it is
  // forgotten, so that it is new when it comes again. Returns how many there were.
  using Interrupted = std::function<std::optional<FinishedIntent>(const SeenIntent&)>;
  virtual Result<std::size_t> interruptRunning(const Interrupted& answer) = 0;
  // The finished intents of one control plane, in the order in which they were accepted.
  virtual Result<std::vector<OutboxEntry>> outbox(const std::string& controlPlaneDid) = 0;
  // Finished becomes Delivered or Rejected; others stay as they are.
  virtual Status settle(const std::string& controlPlaneDid, const std::vector<SettledResult>& settled) = 0;
  // Forgets what was accepted before `before`, but for what is running and what `controlPlaneDid` is still to get. Of
  // the file's other agents, what they have delivered by then goes with it.
  virtual Status forgetIntents(const std::string& controlPlaneDid, WallTime before) = 0;

  virtual Result<StoredUsage> usage() = 0;  // all zero before the first saveUsage
  virtual Status saveUsage(const StoredUsage& usage) = 0;

  virtual Result<std::vector<StoredDelegation>> delegations() = 0;
  // Keeps the order given.
  virtual Status replaceDelegations(const std::vector<StoredDelegation>& all) = 0;

  // Small values by name (whom the agent trusts). putAll: all or none; nothing as a value removes it.
  virtual Result<std::optional<std::string>> get(const std::string& key) = 0;
  virtual Status putAll(const std::vector<std::pair<std::string, std::optional<std::string>>>& values) = 0;
};

// One file and the rows of any number of agents, each of which sees its own alone. Blocking. Synchronised.
class AgentStateFile {
 public:
  virtual ~AgentStateFile() = default;

  // The rows of one agent, none when it is new. A file from before several agents could share one belongs to the first
  // that asks. Conflict while the same agent's rows are out already.
  virtual Result<std::unique_ptr<AgentState>> agent(const Did& did, OnDamagedRow onDamagedRow = {}) = 0;

  // Calls methods of this file's AgentStates and returns the error of the one that failed. Must neither throw nor call
  // together().
  using Work = std::function<Status()>;
  // Runs the works in order and in one durable transaction; that has committed when this returns. Each work that fails
  // undoes itself alone; when the commit fails, all have failed. Returns the outcome of each. Whoever calls an
  // AgentState meanwhile waits.
  virtual std::vector<Status> together(std::span<const Work> works) = 0;
};

// Opens or creates; the directory must exist. A file that is not ours or too new is left as it is. Errors: Io, Conflict
// (held by another process, or by this one), Malformed (not an agent's state, or damaged), Unsupported (a newer
// schema).
Result<std::shared_ptr<AgentStateFile>> openAgentStateFile(const std::filesystem::path& path);
// For one agent alone.
Result<std::unique_ptr<AgentState>> openAgentState(const std::filesystem::path& path, const Did& agent);

}  // namespace vaultysclaw::store
