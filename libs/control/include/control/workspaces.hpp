// Workspaces: which users and which agents belong together.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string_view>
#include <vector>

#include "control/people.hpp"

namespace vaultysclaw::control {

// Confined to ports.loop, callbacks too. Owned by the control plane. Nothing here blocks the loop but create(), which
// is for the start.
class Workspaces {
 public:
  static Result<std::unique_ptr<Workspaces>> create(ControlPorts ports);

  const std::vector<store::WorkspaceRow>& all() const { return rows_; }
  const store::WorkspaceRow* find(std::string_view idOrName) const;
  std::vector<store::WorkspaceId> of(const Did& agent) const;
  std::vector<store::WorkspaceId> of(const store::UserId& user) const;
  std::vector<Did> agentsOf(const store::WorkspaceId& workspace) const;
  std::vector<store::UserId> membersOf(const store::WorkspaceId& workspace) const;
  // Whether the two have a workspace in common.
  bool shares(const store::UserId& user, const Did& agent) const;

  // Told of agents whose workspaces have changed, or that lost one, after the commit and before the reply; returns
  // those that were sent something for it. Set by the control plane.
  std::function<std::vector<Did>(const std::vector<Did>& agents)> onAgentsMoved;
  // Told of users whose workspaces have changed.
  std::function<void(const std::vector<store::UserId>& users)> onUsersMoved;

 private:
  explicit Workspaces(ControlPorts ports) : ports_(ports) {}

  ControlPorts ports_;
  std::vector<store::WorkspaceRow> rows_;
  std::map<store::UserId, std::set<store::WorkspaceId>> ofUser_;
  std::map<Did, std::set<store::WorkspaceId>> ofAgent_;
  std::shared_ptr<char> alive_ = std::make_shared<char>();
};

}  // namespace vaultysclaw::control
