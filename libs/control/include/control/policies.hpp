// Policies: what narrows an agent, or all agents of a workspace, beyond what it was approved for.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "control/people.hpp"
#include "control/workspaces.hpp"
#include "policy/gate.hpp"

namespace vaultysclaw::control {

struct PolicyRequest {
  std::string name;
  std::optional<Did> agent;
  std::optional<std::string> workspace;                  // id or name; exactly one of the two
  std::optional<std::vector<std::string>> capabilities;  // absent: these are not narrowed
  protocol::ResourceLimits limits;
  std::optional<WallTime> expiresAt;
  std::string reason;  // agents are told
};

struct ChangedPolicy {
  store::PolicyRow row;
  std::vector<Did> sentTo;  // the connected agents that get a new certificate for it
  bool stale = false;       // it has another version than the caller thought; nothing was changed
};

// Owned by the control plane. Confined to ports.loop, callbacks too; every reply comes exactly once, never before the
// call returns. Nothing here blocks the loop but create(), which is for the start.
//
// A policy only narrows. One that has expired still counts, and the agent refuses everything under it, until it is
// revoked: what was limited in time does not become unlimited by itself. One that names a DID outlives the agent.
class Policies {
 public:
  // Of those that are revoked the oldest are forgotten to keep within this.
  static constexpr std::size_t kMaxRows = 10'000;

  static Result<std::unique_ptr<Policies>> create(ControlPorts ports, const Workspaces& workspaces);

  const std::vector<store::PolicyRow>& all() const { return rows_; }  // by creation, revoked ones too
  const store::PolicyRow* find(const PolicyId& id) const;
  // Those in force for the agent: its own, then its workspaces'.
  std::vector<PolicyId> of(const Did& agent) const;
  // What is left of what the agent was approved for.
  policy::Grant narrow(const Did& agent, policy::Grant approved) const;

  // Errors: PolicyDenied, NotFound (the agent or workspace), InvalidArgument, Busy (too many).
  void add(Principal by, PolicyRequest request, Reply<ChangedPolicy> reply);
  // NotFound; Conflict when it is revoked already.
  void revoke(Principal by, PolicyId id, std::optional<std::int64_t> expectedVersion, Reply<ChangedPolicy> reply);

  // A workspace was removed then, and its policies revoked with it, which is committed.
  void workspaceRemoved(const store::WorkspaceId& workspace, WallTime at);

  // Told of agents that a change concerns, after its commit and before its reply; returns those that were sent a new
  // certificate. Set by the control plane.
  std::function<std::vector<Did>(const std::vector<Did>& agents, const std::string& reason)> onChanged;

 private:
  struct Narrowing {
    PolicyId id;
    policy::Grant to;
    bool capabilities = false;  // whether it narrows them
  };
  struct Rows {
    std::vector<store::PolicyRow> all;
    std::map<Did, std::vector<Narrowing>> ofAgent;
    std::map<store::WorkspaceId, std::vector<Narrowing>> ofWorkspace;
  };

  Policies(ControlPorts ports, const Workspaces& workspaces) : ports_(ports), workspaces_(workspaces) {}
  static Status read(store::ControlReader& reader, Rows& rows);
  void commit(std::function<Result<ChangedPolicy>(store::ControlWriter&)> work, std::string reason,
              Reply<ChangedPolicy> reply);
  template <class Visit>
  void forEach(const Did& agent, Visit visit) const;

  ControlPorts ports_;
  const Workspaces& workspaces_;
  std::vector<store::PolicyRow> rows_;
  std::map<Did, std::vector<Narrowing>> ofAgent_;
  std::map<store::WorkspaceId, std::vector<Narrowing>> ofWorkspace_;
  std::shared_ptr<char> alive_ = std::make_shared<char>();
};

// NotFound, of a policy that was asked for by `which`.
Error noPolicy(std::string_view which);

}  // namespace vaultysclaw::control
