// Strangers that have proved who they are and wait for an operator's decision.
#pragma once

#include <map>
#include <memory>

#include "registry.hpp"

namespace vaultysclaw::control {

// Owned by the hub. Confined to the loop. A registration belongs to a DID, not to a connection: it survives reconnects
// and restarts, and a decision made while the agent is away holds. The store decides between a decision and the expiry:
// whichever commits first.
class Registrations {
 public:
  // Called when an approved agent that is waiting on `session` may be connected.
  using Admit = std::function<void(Session& session, const store::AgentRow& row)>;
  // Called before, when an agent has been approved into these workspaces.
  using Placed = std::function<void(const Did& did, const std::vector<store::WorkspaceId>& in)>;
  Registrations(Context& context, Journal& journal, Registry& registry, Placed placed, Admit admit)
      : context_(context),
        journal_(journal),
        registry_(registry),
        placed_(std::move(placed)),
        admit_(std::move(admit)) {}

  // From the store, at start. Those whose time has passed expire on the loop's next turn.
  void load(store::RegistrationRow row);
  std::size_t count() const { return pending_.size(); }
  // What a DID has proved while it waits.
  struct Proved {
    int handshakeVersion = 0;
    std::string features;  // identity::Features::text()
  };
  Proved proved(const Did& did) const;

  // `session` has proved the identity of an unknown agent: registers it, or lets it wait for the decision under way.
  void onProved(Session& session, const Candidate& candidate);
  // The first record of `session`, which waits here, has opened.
  void onFirstRecord(Session& session);
  void onClosed(Session& session);

  void approve(const RegistrationId& id, Approval approval, Reply<store::AgentRow> reply);
  void reject(const RegistrationId& id, std::string reason, std::string actor, Reply<std::monostate> reply);

 private:
  struct Pending {
    RegistrationId id;
    std::string address;
    int handshakeVersion = 1;
    std::string features;  // in memory alone: only approved agents are held to them
    bool stored = false;
    std::shared_ptr<Session> session;  // null: away
    Timer expiry;
  };
  void announce(Session& session, const RegistrationId& id);
  void expireAt(const Did& did, WallTime createdAt);
  void expire(const Did& did);
  // Takes the pending entry out; null when another decision has done so.
  std::optional<Pending> take(const Did& did, const RegistrationId& id);
  Status checkLimits(const std::string& address) const;

  Context& context_;
  Journal& journal_;
  Registry& registry_;
  Placed placed_;
  Admit admit_;
  std::map<Did, Pending> pending_;
};

}  // namespace vaultysclaw::control
