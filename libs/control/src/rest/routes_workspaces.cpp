#include "rest/core.hpp"
#include "rest/versions.hpp"

namespace vaultysclaw::control::rest {
namespace {

constexpr std::size_t kMaxNameBytes = 64;

std::string readName(Body& body) {
  std::string name = body.requiredText("name", kMaxNameBytes);
  if (!name.empty() && !isUserName(name))
    body.problem("name", "must be 1 to 64 of a-z, 0-9, . _ and -, beginning with a letter or digit");
  return name;
}

}  // namespace

std::optional<store::WorkspaceRow> Core::workspaceOf(const Call& call) const {
  const std::string& which = call.params.front();
  const store::WorkspaceRow* row = workspaces_.find(which);
  if (row != nullptr && workspaces_.mayKnow(call.principal(), row->id)) return *row;
  fail(call, noWorkspace(which));
  return std::nullopt;
}

void Core::writeWorkspace(JsonWriter& w, const store::WorkspaceRow& row) const {
  w.beginObject();
  w.member("id", row.id.value);
  w.member("name", row.name);
  w.member("isDefault", row.isDefault);
  w.member("members", static_cast<std::uint64_t>(workspaces_.usersIn(row.id).size()));
  w.member("agents", static_cast<std::uint64_t>(workspaces_.agentsIn(row.id).size()));
  w.member("createdAt", toIso8601(row.createdAt));
  w.member("version", row.version);
  w.endObject();
}

net::HttpResponse Core::workspaceResponse(int status, const store::WorkspaceRow& row) const {
  JsonWriter w;
  writeWorkspace(w, row);
  return versionedResponse(status, w.take(), row.version);
}

Reply<ChangedWorkspace> Core::replySentTo(const Call& call) {
  return [self = shared_from_this(), call](const Result<ChangedWorkspace>& reply) {
    if (!reply) return self->fail(call, reply.error());
    if (reply->stale) return self->fail(call, staleVersion("the workspace"));
    JsonWriter w;
    w.beginObject();
    writeSentTo(w, reply->sentTo);
    w.endObject();
    self->respondJson(call, w);
  };
}

void Core::listWorkspaces(Call call) {
  Query q = query(call);
  const auto name = q.text("name");
  const store::Page page = q.page();
  if (auto bad = q.finish()) return fail(call, *bad);
  std::vector<store::WorkspaceRow> rows = workspaces_.all();
  std::erase_if(rows, [&](const store::WorkspaceRow& row) {
    return !workspaces_.mayKnow(call.principal(), row.id) || (name && row.name != *name);
  });
  JsonWriter w;
  writePage(w, rows, page, [&](const store::WorkspaceRow& row) { writeWorkspace(w, row); });
  respondJson(call, w);
}

void Core::addWorkspace(Call call) {
  auto body = this->body(call);
  if (!body) return;
  std::string name = readName(*body);
  if (auto bad = body->finish()) return fail(call, *bad);
  workspaces_.add(call.principal(), std::move(name),
                  [self = shared_from_this(), call](const Result<ChangedWorkspace>& reply) {
                    if (!reply) return self->fail(call, reply.error());
                    self->respond(call, self->workspaceResponse(201, reply->row));
                  });
}

void Core::getWorkspace(Call call) {
  if (const auto row = workspaceOf(call)) respond(call, workspaceResponse(200, *row));
}

void Core::renameWorkspace(Call call) {
  const auto row = workspaceOf(call);
  if (!row) return;
  auto body = this->body(call);
  if (!body) return;
  std::string name = readName(*body);
  if (auto bad = body->finish()) return fail(call, *bad);
  workspaces_.rename(call.principal(), row->id, std::move(name), expectedVersion(call.request()),
                     [self = shared_from_this(), call](const Result<ChangedWorkspace>& reply) {
                       if (!reply) return self->fail(call, reply.error());
                       if (reply->stale) return self->fail(call, staleVersion("the workspace"));
                       self->respond(call, self->workspaceResponse(200, reply->row));
                     });
}

void Core::removeWorkspace(Call call) {
  if (const auto row = workspaceOf(call))
    workspaces_.remove(call.principal(), row->id, expectedVersion(call.request()), replySentTo(call));
}

// ---- users and agents of one ----------------------------------------------------------------------------------------

void Core::listMembers(Call call) {
  const auto row = workspaceOf(call);
  if (!row) return;
  Query q = query(call);
  const store::Page page = q.page();
  if (auto bad = q.finish()) return fail(call, *bad);
  std::vector<store::UserRow> users = people_.users();
  const auto& in = workspaces_.usersIn(row->id);
  std::erase_if(users, [&](const store::UserRow& user) { return !in.contains(user.id); });
  std::sort(users.begin(), users.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  JsonWriter w;
  writePage(w, users, page, [&](const store::UserRow& user) {
    w.beginObject().member("id", user.id.value).member("name", user.name).member("role", user.role).endObject();
  });
  respondJson(call, w);
}

void Core::addMember(Call call) {
  moveMember(std::move(call), Workspaces::Way::In);
}

void Core::removeMember(Call call) {
  moveMember(std::move(call), Workspaces::Way::Out);
}

void Core::moveMember(Call call, Workspaces::Way way) {
  const auto row = workspaceOf(call);
  if (!row) return;
  auto body = this->body(call);
  if (!body) return;
  if (auto bad = body->finish()) return fail(call, *bad);
  workspaces_.moveMember(way, call.principal(), row->id, call.params.at(1),
                         [self = shared_from_this(), call](const Result<ChangedWorkspace>& reply) {
                           if (!reply) return self->fail(call, reply.error());
                           self->respond(call, {204, {}, {}});
                         });
}

void Core::listPlaced(Call call) {
  const auto row = workspaceOf(call);
  if (!row) return;
  Query q = query(call);
  const store::Page page = q.page();
  if (auto bad = q.finish()) return fail(call, *bad);
  std::vector<AgentView> agents = plane_.agents();
  const std::vector<Did> placed = workspaces_.agentsOf(row->id);  // sorted
  std::erase_if(
      agents, [&](const AgentView& agent) { return !std::binary_search(placed.begin(), placed.end(), agent.row.did); });
  JsonWriter w;
  writePage(w, agents, page, [&](const AgentView& agent) { writeAgentFor(call, w, agent); });
  respondJson(call, w);
}

void Core::addPlaced(Call call) {
  movePlaced(std::move(call), Workspaces::Way::In);
}

void Core::removePlaced(Call call) {
  movePlaced(std::move(call), Workspaces::Way::Out);
}

void Core::movePlaced(Call call, Workspaces::Way way) {
  const auto row = workspaceOf(call);
  if (!row) return;
  const auto did = didOf(call, 1);
  if (!did) return;
  auto body = this->body(call);
  if (!body) return;
  if (auto bad = body->finish()) return fail(call, *bad);
  workspaces_.moveAgent(way, call.principal(), row->id, *did, replySentTo(call));
}

}  // namespace vaultysclaw::control::rest
