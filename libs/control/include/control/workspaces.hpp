// Workspaces: which users and which agents belong together.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "control/people.hpp"

namespace vaultysclaw::control {

// What came of a change. `stale`: the workspace has another version than the caller thought; nothing was changed.
struct ChangedWorkspace {
  store::WorkspaceRow row;
  bool stale = false;
  std::vector<Did> sentTo;  // agents that were sent something for it
};

// Who is in which workspaces, looked up both ways. Confined to one thread.
template <class Key>
class Belonging {
 public:
  void add(const Key& key, const store::WorkspaceId& workspace) {
    of_[key].insert(workspace);
    in_[workspace].insert(key);
  }
  void remove(const Key& key, const store::WorkspaceId& workspace) {
    erase(of_, key, workspace);
    erase(in_, workspace, key);
  }
  void forget(const Key& key) {
    for (const auto& workspace : std::set(of(key))) remove(key, workspace);
  }
  void forgetWorkspace(const store::WorkspaceId& workspace) {
    for (const auto& key : std::set(in(workspace))) remove(key, workspace);
  }
  const std::set<store::WorkspaceId>& of(const Key& key) const { return found(of_, key); }
  const std::set<Key>& in(const store::WorkspaceId& workspace) const { return found(in_, workspace); }

 private:
  template <class A, class B>
  static const std::set<B>& found(const std::map<A, std::set<B>>& map, const A& key) {
    static const std::set<B> none;
    const auto it = map.find(key);
    return it == map.end() ? none : it->second;
  }
  template <class A, class B>
  static void erase(std::map<A, std::set<B>>& map, const A& key, const B& value) {
    const auto it = map.find(key);
    if (it == map.end()) return;
    it->second.erase(value);
    if (it->second.empty()) map.erase(it);
  }

  std::map<Key, std::set<store::WorkspaceId>> of_;
  std::map<store::WorkspaceId, std::set<Key>> in_;
};

// Confined to ports.loop, callbacks too; every reply comes exactly once, never before the call returns. Owned by the
// control plane. What a change needs is checked again where it is written; changes count from the next request on.
// Nothing here blocks the loop but create(), which is for the start.
class Workspaces {
 public:
  static constexpr std::size_t kMaxWorkspaces = 1000;

  // Makes the default workspace when there is none. In a store that knows nothing of workspaces all users and agents
  // belong to it from then on. `people` must outlive this, which follows users that come and go.
  static Result<std::unique_ptr<Workspaces>> create(ControlPorts ports, People& people);

  const std::vector<store::WorkspaceRow>& all() const { return rows_; }
  const store::WorkspaceRow* find(std::string_view idOrName) const;
  std::vector<store::WorkspaceId> of(const Did& agent) const;
  std::vector<store::WorkspaceId> of(const store::UserId& user) const;
  std::vector<Did> agentsOf(const store::WorkspaceId& workspace) const;
  const std::set<Did>& agentsIn(const store::WorkspaceId& workspace) const { return agents_.in(workspace); }
  const std::set<store::UserId>& usersIn(const store::WorkspaceId& workspace) const { return users_.in(workspace); }
  // Whether the two have a workspace in common.
  bool shares(const store::UserId& user, const Did& agent) const;
  // Whether `who` may know of the agent or the workspace at all: admins and owners of every one, members of those they
  // share a workspace with, or are in. What one may not know of is answered as if it did not exist.
  bool mayKnow(const Principal& who, const Did& agent) const;
  bool mayKnow(const Principal& who, const store::WorkspaceId& workspace) const;

  // Errors: PolicyDenied (the caller may not do this), NotFound (workspace, user or agent, or it is not in there),
  // Conflict (the name is taken; the default one cannot be removed), InvalidArgument (no name), Busy (too many).
  void add(Principal by, std::string name, Reply<ChangedWorkspace> reply);
  void rename(Principal by, store::WorkspaceId id, std::string name, std::optional<std::int64_t> expectedVersion,
              Reply<ChangedWorkspace> reply);
  // Its policies are revoked with it.
  void remove(Principal by, store::WorkspaceId id, std::optional<std::int64_t> expectedVersion,
              Reply<ChangedWorkspace> reply);
  // Putting in what is in there already changes nothing. `user`: id or name.
  enum class Way : bool { In, Out };
  void moveMember(Way way, Principal by, store::WorkspaceId id, std::string user, Reply<ChangedWorkspace> reply);
  void moveAgent(Way way, Principal by, store::WorkspaceId id, Did agent, Reply<ChangedWorkspace> reply);

  // Told of agents whose workspaces have changed, or that lost one, after the commit and before the reply; returns
  // those that were sent something for it. Set by the control plane.
  std::function<std::vector<Did>(const std::vector<Did>& agents)> onAgentsMoved;
  // Told of a workspace that was removed, and when, before those that it moves; its policies were revoked with it.
  std::function<void(const store::WorkspaceId& workspace, WallTime at)> onRemoved;
  // Told of users whose workspaces have changed.
  std::function<void(const std::vector<store::UserId>& users)> onUsersMoved;

  // An agent was approved into these, and that is committed; or it was removed. Nobody is told.
  void placed(const Did& agent, const std::vector<store::WorkspaceId>& in);
  void forgotten(const Did& agent) { agents_.forget(agent); }

 private:
  // What a change does to who belongs where.
  struct Moves {
    std::vector<store::MemberRow> joined, left;
    std::vector<store::PlacementRow> placed, displaced;
    std::optional<store::WorkspaceId> removed;
    WallTime removedAt{};
  };
  using Work = std::function<Result<ChangedWorkspace>(store::ControlWriter&, Moves&)>;

  explicit Workspaces(ControlPorts ports) : ports_(ports) {}
  Status load();
  void commit(Work work, Reply<ChangedWorkspace> reply);
  // Memory follows a commit, and whom it moves is told. Returns the agents that were sent something.
  std::vector<Did> follow(const Moves& moves);

  ControlPorts ports_;
  std::vector<store::WorkspaceRow> rows_;
  Belonging<store::UserId> users_;
  Belonging<Did> agents_;
  std::shared_ptr<char> alive_ = std::make_shared<char>();
};

// Those that are named by id or name, each once; the default one when nothing is said. NotFound.
Result<std::vector<store::WorkspaceId>> chosenWorkspaces(store::ControlReader& reader,
                                                         const std::optional<std::vector<std::string>>& idsOrNames);

// For the audit: the ids with commas between them.
std::string textOf(const std::vector<store::WorkspaceId>& ids);

// NotFound, of a workspace that was asked for by `which`.
Error noWorkspace(std::string_view which);

}  // namespace vaultysclaw::control
