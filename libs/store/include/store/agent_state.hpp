// What an agent must remember across restarts: counters, seen intents, delegations, the control plane's key.
// One SQLite file beside the identity file (mode 0600), and `<file>.lock`, which tells a second process that it is
// held.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/ids.hpp"
#include "base/ports.hpp"
#include "base/result.hpp"

namespace vaultysclaw::store {

struct SeenIntent {
  std::string controlPlaneDid{};
  std::string intentId{};
  std::string fingerprint{};  // of what the intent asks for: action, user and params; tells a resend from a reuse
  enum class State : std::uint8_t { Running = 0, Finished = 1, Interrupted = 2 };
  State state = State::Running;
  std::string result{};  // the encoded result payload, once finished
  WallTime acceptedAt{};
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
};

// Blocking; each method is one durable transaction (synchronous=FULL) that has committed when it returns.
// Synchronised. Owned by the runtime; one per identity: opening a file that another process holds is Conflict.
class AgentState {
 public:
  virtual ~AgentState() = default;

  // Inserts as Running if (control plane, id) is new and returns nothing; else returns what is stored.
  virtual Result<std::optional<SeenIntent>> acceptIntent(const SeenIntent& intent) = 0;
  // What is stored, without inserting.
  virtual Result<std::optional<SeenIntent>> seenIntent(const std::string& controlPlaneDid,
                                                       const std::string& intentId) = 0;
  // Running becomes Finished. Conflict when it has ended already (the first answer counts), NotFound when unknown.
  virtual Status finishIntent(const std::string& controlPlaneDid, const std::string& intentId,
                              std::string_view result) = 0;
  // At start: what was running when the process ended becomes Interrupted; returns those.
  virtual Result<std::vector<SeenIntent>> interruptRunning() = 0;
  // Forgets finished and interrupted intents accepted before `before`.
  virtual Status forgetIntents(WallTime before) = 0;

  virtual Result<StoredUsage> usage() = 0;  // all zero before the first saveUsage
  virtual Status saveUsage(const StoredUsage& usage) = 0;

  virtual Result<std::vector<StoredDelegation>> delegations() = 0;
  // Keeps the order given.
  virtual Status replaceDelegations(const std::vector<StoredDelegation>& all) = 0;

  // Small values by name (whom the agent trusts). putAll: all or none; nothing as a value removes it.
  virtual Result<std::optional<std::string>> get(const std::string& key) = 0;
  virtual Status putAll(const std::vector<std::pair<std::string, std::optional<std::string>>>& values) = 0;
};

// Opens or creates; the directory must exist. A file that is not ours or too new is left as it is. Errors: Io, Conflict
// (held by another process), Malformed (not an agent's state, or damaged), Unsupported (a newer schema).
Result<std::unique_ptr<AgentState>> openAgentState(const std::filesystem::path& path);

}  // namespace vaultysclaw::store
