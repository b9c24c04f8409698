#include "control/workspaces.hpp"

#include <algorithm>

#include "audit.hpp"
#include "book.hpp"
#include "identity/tokens.hpp"
#include "journal.hpp"

namespace vaultysclaw::control {
namespace {

constexpr std::string_view kDefaultName = "default";

template <class Key>
std::vector<Key> listed(const std::set<Key>& keys) {
  return {keys.begin(), keys.end()};
}

// By id, or else by name.
template <class Rows>
auto named(Rows& rows, std::string_view idOrName) {
  const auto byId = std::find_if(rows.begin(), rows.end(), [&](const auto& row) { return row.id.value == idOrName; });
  if (byId != rows.end()) return byId;
  return std::find_if(rows.begin(), rows.end(), [&](const auto& row) { return row.name == idOrName; });
}

Error badName(std::string_view text) {
  return {Errc::InvalidArgument, "'" + printable(text, 100) + "' is no workspace name"};
}

Error nameTaken(const std::string& text) {
  return {Errc::Conflict, "there is a workspace '" + text + "' already"};
}

// What a change of a workspace finds in the store.
struct Present {
  std::vector<store::WorkspaceRow> rows;
  Principal by;
};
Result<Present> look(store::ControlWriter& writer, const Principal& by, WallTime now) {
  Present present;
  VC_TRY_ASSIGN(present.by, stillMay(writer, by, now, Permission::Manage));
  VC_TRY_ASSIGN(present.rows, writer.workspaces());
  return present;
}
Result<store::WorkspaceRow> rowOf(const Present& present, const store::WorkspaceId& id) {
  const auto row =
      std::find_if(present.rows.begin(), present.rows.end(), [&](const auto& one) { return one.id == id; });
  return row == present.rows.end() ? Result<store::WorkspaceRow>(noWorkspace(id.value)) : *row;
}

template <class Rows, class Row>
bool contains(const Rows& rows, const Row& row) {
  return std::find(rows.begin(), rows.end(), row) != rows.end();
}

template <class Row>
auto inWorkspace(std::vector<Row> rows, const store::WorkspaceId& id) {
  std::erase_if(rows, [&](const Row& row) { return row.workspace != id; });
  return rows;
}

// Policies of a workspace that goes narrow nobody any more, and say so.
Result<std::size_t> revokePoliciesOf(store::ControlWriter& writer, const store::WorkspaceId& id, WallTime now) {
  std::size_t revoked = 0;
  VC_TRY_ASSIGN(auto policies, writer.policies());
  for (store::PolicyRow& policy : policies) {
    if (policy.workspace != id || policy.revokedAt) continue;
    policy.revokedAt = now;
    ++policy.version;
    VC_TRY(writer.putPolicy(policy));
    ++revoked;
  }
  return revoked;
}

// In a store from before there were workspaces everybody belongs to the default one. Where there are others, whose
// default one is damaged, a new one is empty: nobody comes to see more by a damaged row.
Status makeDefault(store::ControlWriter& writer, store::WorkspaceRow row) {
  VC_TRY_ASSIGN(const auto others, writer.workspaces());
  VC_TRY_ASSIGN(const auto members, writer.members());
  VC_TRY_ASSIGN(const auto placements, writer.placements());
  const bool upgrade = others.empty() && members.empty() && placements.empty();
  Status stored = writer.putWorkspace(row);
  for (int n = 2; !stored && stored.error().code == Errc::Conflict && n < 100; ++n) {  // a damaged row keeps its name
    row.name = std::string(kDefaultName) + "-" + std::to_string(n);
    stored = writer.putWorkspace(row);
  }
  VC_TRY(std::move(stored));
  if (upgrade) {
    VC_TRY_ASSIGN(const auto users, writer.users());
    for (const auto& user : users) VC_TRY(writer.putMember({row.id, user.id}));
    VC_TRY_ASSIGN(const auto agents, writer.agents());
    for (const auto& agent : agents) VC_TRY(writer.putPlacement({row.id, agent.did}));
  }
  return AuditLog().append(writer, row.createdAt, "system", "workspace.add", row.id.value,
                           details({{"name", row.name}}));
}

}  // namespace

Error noWorkspace(std::string_view which) {
  return {Errc::NotFound, "no workspace has the id or name '" + printable(which, 100) + "'"};
}

std::string textOf(const std::vector<store::WorkspaceId>& ids) {
  std::string out;
  for (const auto& id : ids) out += (out.empty() ? "" : ",") + id.value;
  return out;
}

Result<std::vector<store::WorkspaceId>> chosenWorkspaces(store::ControlReader& reader,
                                                         const std::optional<std::vector<std::string>>& idsOrNames) {
  VC_TRY_ASSIGN(const auto rows, reader.workspaces());
  std::vector<store::WorkspaceId> out;
  if (!idsOrNames) {
    for (const auto& row : rows) {
      if (row.isDefault) out.push_back(row.id);
    }
    return out;
  }
  for (const std::string& which : *idsOrNames) {
    const auto row = named(rows, which);
    if (row == rows.end()) return noWorkspace(which);
    if (!contains(out, row->id)) out.push_back(row->id);
  }
  return out;
}

Result<std::unique_ptr<Workspaces>> Workspaces::create(ControlPorts ports, People& people) {
  std::unique_ptr<Workspaces> out(new Workspaces(ports));
  VC_TRY(out->load());
  const auto isDefault = [](const store::WorkspaceRow& row) { return row.isDefault; };
  if (std::none_of(out->rows_.begin(), out->rows_.end(), isDefault)) {
    store::WorkspaceRow row;
    row.id = store::WorkspaceId(newUuid(ports.clock, ports.entropy));
    row.name = kDefaultName;
    row.isDefault = true;
    row.createdAt = ports.clock.now();
    VC_TRY(ports.store.writeBlocking([&](store::ControlWriter& writer) { return makeDefault(writer, row); }));
    VC_TRY(out->load());
  }
  people.onUserAdded = [book = out.get()](const store::UserId& user, const std::vector<store::WorkspaceId>& in) {
    for (const store::WorkspaceId& id : in) book->users_.add(user, id);
  };
  people.onUserRemoved = [book = out.get()](const store::UserId& user) { book->users_.forget(user); };
  return out;
}

Status Workspaces::load() {
  users_ = {};
  agents_ = {};
  const auto read = [this](store::ControlReader& reader) -> Status {
    VC_TRY_ASSIGN(rows_, reader.workspaces());
    VC_TRY_ASSIGN(const auto members, reader.members());
    for (const auto& row : members) users_.add(row.user, row.workspace);
    VC_TRY_ASSIGN(const auto placements, reader.placements());
    for (const auto& row : placements) agents_.add(row.agent, row.workspace);
    return {};
  };
  return ports_.store.readBlocking(read);
}

// ---- reading --------------------------------------------------------------------------------------------------------

const store::WorkspaceRow* Workspaces::find(std::string_view idOrName) const {
  const auto it = named(rows_, idOrName);
  return it == rows_.end() ? nullptr : &*it;
}

std::vector<store::WorkspaceId> Workspaces::of(const Did& agent) const {
  return listed(agents_.of(agent));
}

std::vector<store::WorkspaceId> Workspaces::of(const store::UserId& user) const {
  return listed(users_.of(user));
}

std::vector<Did> Workspaces::agentsOf(const store::WorkspaceId& workspace) const {
  return listed(agents_.in(workspace));
}

bool Workspaces::shares(const store::UserId& user, const Did& agent) const {
  const auto& theirs = agents_.of(agent);
  const auto& own = users_.of(user);
  return std::any_of(own.begin(), own.end(), [&](const store::WorkspaceId& id) { return theirs.contains(id); });
}

bool Workspaces::mayKnow(const Principal& who, const Did& agent) const {
  return who.role >= Role::Admin || shares(who.user, agent);
}

bool Workspaces::mayKnow(const Principal& who, const store::WorkspaceId& workspace) const {
  return who.role >= Role::Admin || users_.of(who.user).contains(workspace);
}

// ---- changing -------------------------------------------------------------------------------------------------------

void Workspaces::placed(const Did& agent, const std::vector<store::WorkspaceId>& in) {
  agents_.forget(agent);
  for (const store::WorkspaceId& id : in) agents_.add(agent, id);
}

std::vector<Did> Workspaces::follow(const Moves& moves) {
  std::set<store::UserId> users;
  std::set<Did> agents;
  for (const auto& row : moves.joined) users.insert(row.user), users_.add(row.user, row.workspace);
  for (const auto& row : moves.left) users.insert(row.user), users_.remove(row.user, row.workspace);
  for (const auto& row : moves.placed) agents.insert(row.agent), agents_.add(row.agent, row.workspace);
  for (const auto& row : moves.displaced) agents.insert(row.agent), agents_.remove(row.agent, row.workspace);
  if (moves.removed) {
    users = users_.in(*moves.removed);
    agents = agents_.in(*moves.removed);
    users_.forgetWorkspace(*moves.removed);
    agents_.forgetWorkspace(*moves.removed);
    if (onRemoved) onRemoved(*moves.removed, moves.removedAt);
  }
  if (onUsersMoved && !users.empty()) onUsersMoved({users.begin(), users.end()});
  if (!onAgentsMoved || agents.empty()) return {};
  return onAgentsMoved({agents.begin(), agents.end()});
}

void Workspaces::commit(Work work, Reply<ChangedWorkspace> reply) {
  struct Shared {
    Moves moves;
    std::vector<Did> sentTo;
  };
  using Rows = std::vector<store::WorkspaceRow>;
  auto shared = std::make_shared<Shared>();
  commitChange<ChangedWorkspace, Rows>(
      ports_, alive_,
      [shared, work = std::move(work)](store::ControlWriter& writer) { return work(writer, shared->moves); },
      [](store::ControlReader& reader, Rows& rows) -> Status {
        VC_TRY_ASSIGN(rows, reader.workspaces());
        return {};
      },
      [this, shared](Rows rows) {
        rows_ = std::move(rows);
        shared->sentTo = follow(shared->moves);
      },
      [shared, reply = std::move(reply)](Result<ChangedWorkspace> changed) {
        if (changed) changed->sentTo = std::move(shared->sentTo);
        reply(std::move(changed));
      });
}

void Workspaces::add(Principal by, std::string name, Reply<ChangedWorkspace> reply) {
  store::WorkspaceRow row;
  row.id = store::WorkspaceId(newUuid(ports_.clock, ports_.entropy));
  row.name = std::move(name);
  row.createdAt = ports_.clock.now();
  commit(
      [by = std::move(by), row = std::move(row)](store::ControlWriter& writer, Moves&) -> Result<ChangedWorkspace> {
        VC_TRY_ASSIGN(const Present now, look(writer, by, row.createdAt));
        if (!isUserName(row.name)) return badName(row.name);
        if (now.rows.size() >= kMaxWorkspaces)
          return Error{Errc::Busy, "there are too many workspaces: remove one first"};
        if (named(now.rows, row.name) != now.rows.end()) return nameTaken(row.name);
        VC_TRY(writer.putWorkspace(row));
        VC_TRY(
            appendAudit(writer, row.createdAt, now.by, "workspace.add", row.id.value, details({{"name", row.name}})));
        return ChangedWorkspace{row, false, {}};
      },
      std::move(reply));
}

void Workspaces::rename(Principal by, store::WorkspaceId id, std::string name,
                        std::optional<std::int64_t> expectedVersion, Reply<ChangedWorkspace> reply) {
  commit(
      [by = std::move(by), id = std::move(id), name = std::move(name), expectedVersion, at = ports_.clock.now()](
          store::ControlWriter& writer, Moves&) -> Result<ChangedWorkspace> {
        VC_TRY_ASSIGN(const Present now, look(writer, by, at));
        if (!isUserName(name)) return badName(name);
        VC_TRY_ASSIGN(auto row, rowOf(now, id));
        if (expectedVersion && *expectedVersion != row.version) return ChangedWorkspace{row, true, {}};
        const auto same = named(now.rows, name);
        if (same != now.rows.end() && same->id != id) return nameTaken(name);
        const std::string before = std::exchange(row.name, name);
        ++row.version;
        VC_TRY(writer.putWorkspace(row));
        VC_TRY(appendAudit(writer, at, now.by, "workspace.rename", id.value,
                           details({{"from", before}, {"to", row.name}})));
        return ChangedWorkspace{row, false, {}};
      },
      std::move(reply));
}

void Workspaces::remove(Principal by, store::WorkspaceId id, std::optional<std::int64_t> expectedVersion,
                        Reply<ChangedWorkspace> reply) {
  commit(
      [by = std::move(by), id = std::move(id), expectedVersion, at = ports_.clock.now()](
          store::ControlWriter& writer, Moves& moves) -> Result<ChangedWorkspace> {
        VC_TRY_ASSIGN(const Present now, look(writer, by, at));
        VC_TRY_ASSIGN(const auto row, rowOf(now, id));
        if (expectedVersion && *expectedVersion != row.version) return ChangedWorkspace{row, true, {}};
        if (row.isDefault) return Error{Errc::Conflict, "the default workspace cannot be removed"};
        VC_TRY_ASSIGN(auto members, writer.members());
        VC_TRY_ASSIGN(auto placements, writer.placements());
        VC_TRY_ASSIGN(const std::size_t policies, revokePoliciesOf(writer, id, at));
        VC_TRY(writer.deleteWorkspace(id));
        VC_TRY(appendAudit(writer, at, now.by, "workspace.remove", id.value,
                           details({{"name", row.name},
                                    {"members", std::to_string(inWorkspace(std::move(members), id).size())},
                                    {"agents", std::to_string(inWorkspace(std::move(placements), id).size())},
                                    {"policies", std::to_string(policies)}})));
        moves.removed = id;
        moves.removedAt = at;
        return ChangedWorkspace{row, false, {}};
      },
      std::move(reply));
}

void Workspaces::moveMember(Way way, Principal by, store::WorkspaceId id, std::string which,
                            Reply<ChangedWorkspace> reply) {
  commit(
      [way, by = std::move(by), id = std::move(id), which = std::move(which), at = ports_.clock.now()](
          store::ControlWriter& writer, Moves& moves) -> Result<ChangedWorkspace> {
        VC_TRY_ASSIGN(const Present now, look(writer, by, at));
        VC_TRY_ASSIGN(const auto row, rowOf(now, id));
        VC_TRY_ASSIGN(const auto users, writer.users());
        const auto user = named(users, which);
        if (user == users.end()) return noUser(which);
        const store::MemberRow member{id, user->id};
        VC_TRY_ASSIGN(const auto members, writer.members());
        const bool isIn = contains(members, member), in = way == Way::In;
        if (!isIn && !in)
          return Error{Errc::NotFound, "'" + user->name + "' is not in the workspace '" + row.name + "'"};
        if (isIn && in) return ChangedWorkspace{row, false, {}};
        VC_TRY(in ? writer.putMember(member) : writer.deleteMember(member));
        VC_TRY(appendAudit(writer, at, now.by, in ? "workspace.add-member" : "workspace.remove-member", id.value,
                           details({{"name", row.name}, {"user", user->id.value}, {"userName", user->name}})));
        (in ? moves.joined : moves.left).push_back(member);
        return ChangedWorkspace{row, false, {}};
      },
      std::move(reply));
}

void Workspaces::moveAgent(Way way, Principal by, store::WorkspaceId id, Did did, Reply<ChangedWorkspace> reply) {
  commit(
      [way, by = std::move(by), placement = store::PlacementRow{std::move(id), std::move(did)},
       at = ports_.clock.now()](store::ControlWriter& writer, Moves& moves) -> Result<ChangedWorkspace> {
        VC_TRY_ASSIGN(const Present now, look(writer, by, at));
        VC_TRY_ASSIGN(const auto row, rowOf(now, placement.workspace));
        VC_TRY_ASSIGN(const auto agent, writer.agent(placement.agent));
        if (!agent) return noAgent(placement.agent);
        VC_TRY_ASSIGN(const auto placements, writer.placements());
        const bool isIn = contains(placements, placement), in = way == Way::In;
        if (!isIn && !in)
          return Error{Errc::NotFound,
                       "the agent " + placement.agent.value + " is not in the workspace '" + row.name + "'"};
        if (isIn && in) return ChangedWorkspace{row, false, {}};
        VC_TRY(in ? writer.putPlacement(placement) : writer.deletePlacement(placement));
        VC_TRY(appendAudit(writer, at, now.by, in ? "workspace.add-agent" : "workspace.remove-agent", row.id.value,
                           details({{"name", row.name}, {"did", placement.agent.value}, {"agent", agent->name}})));
        (in ? moves.placed : moves.displaced).push_back(placement);
        return ChangedWorkspace{row, false, {}};
      },
      std::move(reply));
}

}  // namespace vaultysclaw::control
