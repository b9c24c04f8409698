// The agents that have been approved: rows of the store kept in memory, and the live connection of each.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "context.hpp"
#include "journal.hpp"
#include "session.hpp"

namespace vaultysclaw::control {

struct Agent {
  store::AgentRow row;               // as committed, but for lastSeenAt and handshakeVersion, which may be ahead
  policy::Grant approved;            // the row's
  policy::Grant grant;               // what is in force: the same, narrowed by policies
  std::shared_ptr<Session> session;  // null: offline
  std::optional<WallTime> connectedAt;
  std::optional<protocol::Heartbeat> lastHeartbeat;
  SteadyTime seenStoredAt{};
};

// Owned by the hub. Confined to the loop. Rows change by works that read the row on the store's writer, change it and
// put it back, so that two changes under way at once never undo each other.
class Registry {
 public:
  Registry(Context& context, Journal& journal) : context_(context), journal_(journal) {}

  // What is in force of what an agent was approved for. Set by the hub before the first load().
  std::function<policy::Grant(const Did& agent, const policy::Grant& approved)> narrow;
  // Malformed when the row's columns cannot be read.
  Status load(store::AgentRow row);
  // Narrows anew; whether that changed what is in force. False for unknown agents.
  bool narrowAgain(const Did& did);
  Agent* find(const Did& did);
  const Agent* find(const Did& did) const;
  // Null when the agent is unknown or offline.
  Session* live(const Did& did);
  std::vector<Did> dids() const;
  const std::map<Did, Agent>& all() const { return agents_; }

  using Change = std::function<Status(store::AgentRow&)>;
  using Done = std::function<void(Result<store::AgentRow>)>;
  // `change` runs on the writer's thread. After the commit the row in memory follows, then `done` runs. NotFound.
  void change(const Did& did, Change change, AuditEntry entry, Done done);
  // As change, for what has happened already: never refused for a full queue.
  void changeSurely(const Did& did, Change change, std::optional<AuditEntry> entry);
  // Notes the features that an agent has listed over a sealed connection, if they differ from those known.
  void pin(const Did& did, const std::string& features);
  // Forgets features and handshake version. NotFound.
  void resetPin(const Did& did, AuditEntry entry, std::function<void(Status)> done);
  // `also` belongs to the same transaction.
  void remove(const Did& did, Journal::Work also, AuditEntry entry, std::function<void(Status)> done);
  void drop(const Did& did) { agents_.erase(did); }

  // Notes that the agent gave a sign of life; stored at most once a minute.
  void seen(Agent& agent);

 private:
  Journal::Work changing(const Did& did, Change change, std::shared_ptr<std::optional<store::AgentRow>> out);

  Context& context_;
  Journal& journal_;
  std::map<Did, Agent> agents_;
};

}  // namespace vaultysclaw::control
