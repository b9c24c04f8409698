#include "control/workspaces.hpp"

#include <algorithm>

namespace vaultysclaw::control {
namespace {

template <class Key>
std::vector<store::WorkspaceId> found(const std::map<Key, std::set<store::WorkspaceId>>& in, const Key& key) {
  const auto it = in.find(key);
  return it == in.end() ? std::vector<store::WorkspaceId>()
                        : std::vector<store::WorkspaceId>(it->second.begin(), it->second.end());
}

template <class Key>
std::vector<Key> keysWith(const std::map<Key, std::set<store::WorkspaceId>>& in, const store::WorkspaceId& workspace) {
  std::vector<Key> out;
  for (const auto& [key, workspaces] : in) {
    if (workspaces.contains(workspace)) out.push_back(key);
  }
  return out;
}

}  // namespace

Result<std::unique_ptr<Workspaces>> Workspaces::create(ControlPorts ports) {
  std::unique_ptr<Workspaces> out(new Workspaces(ports));
  const auto read = [&](store::ControlReader& reader) -> Status {
    VC_TRY_ASSIGN(out->rows_, reader.workspaces());
    VC_TRY_ASSIGN(const auto members, reader.members());
    for (const auto& row : members) out->ofUser_[row.user].insert(row.workspace);
    VC_TRY_ASSIGN(const auto placements, reader.placements());
    for (const auto& row : placements) out->ofAgent_[row.agent].insert(row.workspace);
    return {};
  };
  VC_TRY(ports.store.readBlocking(read));
  return out;
}

const store::WorkspaceRow* Workspaces::find(std::string_view idOrName) const {
  const auto byId = [&](const store::WorkspaceRow& row) { return row.id.value == idOrName; };
  auto it = std::find_if(rows_.begin(), rows_.end(), byId);
  if (it == rows_.end())
    it = std::find_if(rows_.begin(), rows_.end(), [&](const auto& row) { return row.name == idOrName; });
  return it == rows_.end() ? nullptr : &*it;
}

std::vector<store::WorkspaceId> Workspaces::of(const Did& agent) const {
  return found(ofAgent_, agent);
}

std::vector<store::WorkspaceId> Workspaces::of(const store::UserId& user) const {
  return found(ofUser_, user);
}

std::vector<Did> Workspaces::agentsOf(const store::WorkspaceId& workspace) const {
  return keysWith(ofAgent_, workspace);
}

std::vector<store::UserId> Workspaces::membersOf(const store::WorkspaceId& workspace) const {
  return keysWith(ofUser_, workspace);
}

bool Workspaces::shares(const store::UserId& user, const Did& agent) const {
  const auto users = ofUser_.find(user);
  const auto agents = ofAgent_.find(agent);
  if (users == ofUser_.end() || agents == ofAgent_.end()) return false;
  return std::any_of(users->second.begin(), users->second.end(),
                     [&](const store::WorkspaceId& id) { return agents->second.contains(id); });
}

}  // namespace vaultysclaw::control
