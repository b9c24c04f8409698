#include "control/policies.hpp"

#include <algorithm>

#include "base/json_writer.hpp"
#include "book.hpp"
#include "people_rows.hpp"
#include "rows.hpp"

namespace vaultysclaw::control {
namespace {

// A policy as the audit tells it.
void write(JsonWriter& w, const char* member, const store::PolicyRow& row) {
  w.key(member).beginObject();
  w.member("name", row.name);
  if (row.agent) w.member("did", row.agent->value);
  if (row.workspace) w.member("workspace", row.workspace->value);
  if (row.capabilities) w.key("capabilities").rawValue(*row.capabilities);
  w.key("resourceLimits").rawValue(row.limits);
  if (row.expiresAt) w.member("expiresAt", toIso8601(*row.expiresAt));
  w.endObject();
}

std::string change(const store::PolicyRow* before, const store::PolicyRow* after, const std::string& reason) {
  JsonWriter w;
  w.beginObject();
  if (before != nullptr) write(w, "before", *before);
  if (after != nullptr) write(w, "after", *after);
  if (!reason.empty()) w.member("reason", reason);
  w.endObject();
  return w.take();
}

// The row's target, which must be there.
Status place(store::ControlWriter& writer, const PolicyRequest& request, store::PolicyRow& row) {
  if (request.agent) {
    VC_TRY_ASSIGN(const auto agent, writer.agent(*request.agent));
    if (!agent) return Error{Errc::NotFound, "no agent has the DID " + printable(request.agent->value, 100)};
    row.agent = request.agent;
    return {};
  }
  VC_TRY_ASSIGN(const auto chosen, chosenWorkspaces(writer, {{request.workspace.value_or("")}}));
  row.workspace = chosen.front();
  return {};
}

Status makeRoom(store::ControlWriter& writer) {
  VC_TRY_ASSIGN(const auto rows, writer.policies());
  if (rows.size() < Policies::kMaxRows) return {};
  const auto oldest = std::find_if(rows.begin(), rows.end(), [](const auto& row) { return row.revokedAt.has_value(); });
  if (oldest == rows.end()) return Error{Errc::Busy, "there are too many policies: revoke one first"};
  return writer.deletePolicy(oldest->id);
}

}  // namespace

Error noPolicy(std::string_view which) {
  return {Errc::NotFound, "no policy has the id '" + printable(which, 100) + "'"};
}

Status Policies::read(store::ControlReader& reader, Rows& rows) {
  VC_TRY_ASSIGN(rows.all, reader.policies());
  for (const store::PolicyRow& row : rows.all) {
    if (row.revokedAt) continue;
    Narrowing narrowing{row.id, {}, row.capabilities.has_value()};
    if (row.capabilities) {
      VC_TRY_ASSIGN(narrowing.to.capabilities, capabilitiesFromJson(*row.capabilities));
    }
    VC_TRY_ASSIGN(narrowing.to.limits, limitsFromJson(row.limits));
    narrowing.to.policyId = row.id.value;
    narrowing.to.policyExpiresAt = row.expiresAt;
    (row.agent ? rows.ofAgent[*row.agent] : rows.ofWorkspace[row.workspace.value_or(store::WorkspaceId())])
        .push_back(std::move(narrowing));
  }
  return {};
}

Result<std::unique_ptr<Policies>> Policies::create(ControlPorts ports, const Workspaces& workspaces) {
  std::unique_ptr<Policies> out(new Policies(ports, workspaces));
  Rows rows;
  VC_TRY(ports.store.readBlocking([&](store::ControlReader& reader) { return read(reader, rows); }));
  out->rows_ = std::move(rows.all);
  out->ofAgent_ = std::move(rows.ofAgent);
  out->ofWorkspace_ = std::move(rows.ofWorkspace);
  return out;
}

const store::PolicyRow* Policies::find(const PolicyId& id) const {
  const auto found = rowOf(rows_, id.value);
  return found == rows_.end() ? nullptr : &*found;
}

template <class Visit>
void Policies::forEach(const Did& agent, Visit visit) const {
  if (ofAgent_.empty() && ofWorkspace_.empty()) return;
  if (const auto own = ofAgent_.find(agent); own != ofAgent_.end())
    std::for_each(own->second.begin(), own->second.end(), visit);
  if (ofWorkspace_.empty()) return;
  for (const store::WorkspaceId& workspace : workspaces_.of(agent)) {
    const auto found = ofWorkspace_.find(workspace);
    if (found != ofWorkspace_.end()) std::for_each(found->second.begin(), found->second.end(), visit);
  }
}

std::vector<PolicyId> Policies::of(const Did& agent) const {
  std::vector<PolicyId> out;
  forEach(agent, [&](const Narrowing& narrowing) { out.push_back(narrowing.id); });
  return out;
}

policy::Grant Policies::narrow(const Did& agent, policy::Grant approved) const {
  forEach(agent, [&](const Narrowing& narrowing) {
    policy::Grant to = narrowing.to;
    if (!narrowing.capabilities) to.capabilities = approved.capabilities;
    approved = policy::narrowest(approved, to);
  });
  return approved;
}

void Policies::commit(std::function<Result<ChangedPolicy>(store::ControlWriter&)> work, std::string reason,
                      Reply<ChangedPolicy> reply) {
  commitChange<ChangedPolicy, Rows>(
      ports_, alive_, std::move(work), &Policies::read,
      [this](Rows rows) {
        rows_ = std::move(rows.all);
        ofAgent_ = std::move(rows.ofAgent);
        ofWorkspace_ = std::move(rows.ofWorkspace);
      },
      [this, alive = std::weak_ptr<char>(alive_), reason = std::move(reason),
       reply = std::move(reply)](Result<ChangedPolicy> changed) {
        if (changed && !changed->stale && alive.lock() && onChanged) {
          const store::PolicyRow& row = changed->row;
          changed->sentTo = onChanged(row.agent ? std::vector<Did>{*row.agent}
                                                : workspaces_.agentsOf(row.workspace.value_or(store::WorkspaceId())),
                                      reason);
        }
        reply(std::move(changed));
      });
}

void Policies::workspaceRemoved(const store::WorkspaceId& workspace, WallTime at) {
  ofWorkspace_.erase(workspace);
  for (store::PolicyRow& row : rows_) {
    if (row.workspace != workspace || row.revokedAt) continue;
    row.revokedAt = at;
    ++row.version;
  }
}

void Policies::add(Principal by, PolicyRequest request, Reply<ChangedPolicy> reply) {
  store::PolicyRow row;
  row.id = PolicyId(newUuid(ports_.clock, ports_.entropy));
  row.name = request.name;
  if (request.capabilities) row.capabilities = capabilitiesToJson(*request.capabilities);
  row.limits = limitsToJson(request.limits);
  row.expiresAt = request.expiresAt;
  row.createdAt = ports_.clock.now();
  row.createdBy = by.actor();
  const std::string reason = request.reason.empty() ? "a policy was added" : request.reason;
  commit(
      [by = std::move(by), request = std::move(request),
       made = std::move(row)](store::ControlWriter& writer) -> Result<ChangedPolicy> {
        store::PolicyRow policy = made;
        VC_TRY(stillMay(writer, by, policy.createdAt, Permission::Operate));
        if (request.agent.has_value() == request.workspace.has_value())
          return Error{Errc::InvalidArgument, "a policy is for one agent or for one workspace"};
        if (!request.capabilities && !hasLimits(request.limits) && !request.expiresAt)
          return Error{Errc::InvalidArgument, "the policy narrows nothing"};
        VC_TRY(checkGrant({request.capabilities.value_or(std::vector<std::string>()), request.limits, {}, {}}));
        if (request.expiresAt && *request.expiresAt <= policy.createdAt)
          return Error{Errc::InvalidArgument, "expiresAt is in the past"};
        VC_TRY(place(writer, request, policy));
        VC_TRY(makeRoom(writer));
        VC_TRY(writer.putPolicy(policy));
        VC_TRY(appendAudit(writer, policy.createdAt, by, "policy.add", policy.id.value,
                           change(nullptr, &policy, request.reason)));
        return ChangedPolicy{policy, {}, false};
      },
      reason, std::move(reply));
}

void Policies::revoke(Principal by, PolicyId id, std::optional<std::int64_t> expectedVersion,
                      Reply<ChangedPolicy> reply) {
  commit(
      [by = std::move(by), id = std::move(id), expectedVersion,
       at = ports_.clock.now()](store::ControlWriter& writer) -> Result<ChangedPolicy> {
        VC_TRY(stillMay(writer, by, at, Permission::Operate));
        VC_TRY_ASSIGN(const auto rows, writer.policies());
        const auto found = rowOf(rows, id.value);
        if (found == rows.end()) return noPolicy(id.value);
        if (expectedVersion && *expectedVersion != found->version) return ChangedPolicy{*found, {}, true};
        if (found->revokedAt) return Error{Errc::Conflict, "the policy " + id.value + " is revoked already"};
        store::PolicyRow row = *found;
        row.revokedAt = at;
        ++row.version;
        VC_TRY(writer.putPolicy(row));
        VC_TRY(appendAudit(writer, at, by, "policy.revoke", id.value, change(&*found, nullptr, "")));
        return ChangedPolicy{row, {}, false};
      },
      "a policy was revoked", std::move(reply));
}

}  // namespace vaultysclaw::control
