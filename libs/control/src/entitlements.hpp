// What a connected agent must hold beside its certificate: delegations of the users who may have it do something, and
// its own grants to other agents (docs/protocol.md 7.4, 7.6).
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "control/grants.hpp"
#include "control/workspaces.hpp"
#include "entitlement_tokens.hpp"
#include "registry.hpp"

namespace vaultysclaw::control {

// Owned by the hub. Confined to the loop; tokens are signed on workers, for a few agents at a time.
//
// An agent is sent its sets when its connection is ready, after every change that concerns it and at half-life, and
// nothing that it has been sent over this connection already. Changes that come together are one message.
class Entitlements {
 public:
  struct Books {
    People& people;
    Workspaces& workspaces;
    Grants& grants;
    PeerGrants& peers;
  };
  Entitlements(Context& context, Registry& registry) : context_(context), registry_(registry) {}
  // Once, at start, before anything else.
  void open(const Books& books);

  // Whether `user` may have the agent do this; without an action: chat with it. PolicyDenied, with what to do. Nobody
  // in particular (no user) may.
  Status check(const std::optional<Did>& user, const Did& agent, std::optional<std::string_view> action);
  // Whether work for `user` names the user to an agent of such a connection, which then judges by a delegation.
  bool names(const Did& user, const InUse& inUse);

  // The agent's connection is ready: sends what it must hold, then calls `then`.
  void agentReady(Session& session, Task then);
  void agentGone(const Did& did);
  // Its grants, and those of others for it, have been revoked.
  void agentRemoved(const Did& did);
  // What the agent is granted, or called, has changed.
  void agentChanged(const Did& did) { enqueue(did, Place::Last); }
  void usersChanged();
  void usersMoved() { everybody(); }
  void agentsMoved(const std::vector<Did>& agents);
  using SentTo = std::function<void(std::vector<Did>)>;
  // A grant was given or revoked: tells the agents that it concerns, then who was told. Two seconds at most.
  void grantChanged(const store::GrantRow& row, SentTo sent);
  void grantChanged(const store::PeerGrantRow& row, SentTo sent);

  // Runs `then`, perhaps at once, when the agent has what it must hold, or is gone; after two seconds at the latest.
  // What is sent in `then` comes after the delegation that it needs.
  void whenCurrent(const Did& did, Task then);

 private:
  using Waiting = std::function<void(bool sent)>;
  struct Held {
    std::uint64_t session = 0;  // the connection that `was` was sent over
    Sent was;
    std::uint64_t job = 0;               // that makes its tokens; 0: none
    bool queued = false, again = false;  // again: something has changed while its tokens are being made
    bool sent = false;                   // something, since the last one stopped waiting
    std::vector<Waiting> waits;
    Timer waitsTimer, renewal;
  };
  struct Batch;
  enum class Place : bool { First, Last };

  const Facts& facts();
  Held& heldOver(const Session& session);
  void everybody();
  void enqueue(const Did& did, Place place);
  void tell(const std::vector<Did>& agents, SentTo sent);
  void pump();
  void pumpSoon(Duration delay);
  void onMade(const std::shared_ptr<Batch>& batch);
  void send(const Did& did, Session& session, Held& held, EntitlementTokens made);
  void await(Held& held, const Did& did, Waiting wait);
  void endWaits(const Did& did);

  Context& context_;
  Registry& registry_;
  std::optional<Books> books_;
  std::shared_ptr<const Facts> facts_;  // null: to be made anew
  std::map<Did, Held> held_;            // of agents with a connection
  std::deque<Did> queue_;
  std::size_t batches_ = 0;
  std::uint64_t lastJob_ = 0;
  bool pumping_ = false;
  Timer pumpTimer_;
};

}  // namespace vaultysclaw::control
