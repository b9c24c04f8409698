#include "control/policies.hpp"
#include "rest/core.hpp"
#include "rest/versions.hpp"

namespace vaultysclaw::control::rest {
namespace {

constexpr std::size_t kMaxNameBytes = 64;

std::string_view statusOf(const store::PolicyRow& row, WallTime now) {
  if (row.revokedAt) return "revoked";
  return row.expiresAt && *row.expiresAt < now ? "expired" : "live";
}

void writePolicy(JsonWriter& w, const store::PolicyRow& row, WallTime now) {
  const auto orNull = [&](const char* member, const auto& value) {
    w.key(member);
    value ? w.value(value->value) : w.null();
  };
  w.beginObject();
  w.member("id", row.id.value);
  w.member("name", row.name);
  orNull("did", row.agent);
  orNull("workspaceId", row.workspace);
  w.key("capabilities").rawValue(row.capabilities.value_or("null"));
  w.key("resourceLimits").rawValue(row.limits);
  writeTimeOrNull(w, "expiresAt", row.expiresAt);
  w.member("status", statusOf(row, now));
  w.member("createdAt", toIso8601(row.createdAt));
  w.member("createdBy", row.createdBy);
  writeTimeOrNull(w, "revokedAt", row.revokedAt);
  w.member("version", row.version);
  w.endObject();
}

std::string changedJson(const ChangedPolicy& changed, WallTime now) {
  JsonWriter w;
  w.beginObject();
  w.key("policy");
  writePolicy(w, changed.row, now);
  writeSentTo(w, changed.sentTo);
  w.endObject();
  return w.take();
}

}  // namespace

void Core::listPolicies(Call call) {
  Query q = query(call);
  const auto did = q.text("did");
  const auto workspace = q.text("workspace");
  const auto status = q.oneOf("status", {"live", "expired", "revoked"});
  const store::Page page = q.page();
  if (auto bad = q.finish()) return fail(call, *bad);
  const store::WorkspaceRow* of = workspace ? workspaces_.find(*workspace) : nullptr;
  const WallTime now = ports_.clock.now();
  std::vector<store::PolicyRow> rows = plane_.policies().all();
  std::reverse(rows.begin(), rows.end());
  std::erase_if(rows, [&](const store::PolicyRow& row) {
    return (did && (!row.agent || row.agent->value != *did)) ||
           (workspace && (of == nullptr || !row.workspace || *row.workspace != of->id)) ||
           (status && statusOf(row, now) != *status);
  });
  JsonWriter w;
  writePage(w, rows, page, call.original ? "policies" : "",
            [&](const store::PolicyRow& row) { writePolicy(w, row, now); });
  respondJson(call, w);
}

void Core::getPolicy(Call call) {
  const store::PolicyRow* row = plane_.policies().find(PolicyId(call.params.front()));
  if (row == nullptr) return fail(call, noPolicy(call.params.front()));
  JsonWriter w;
  writePolicy(w, *row, ports_.clock.now());
  respond(call, versionedResponse(200, w.take(), row->version));
}

void Core::addPolicy(Call call) {
  auto body = this->body(call);
  if (!body) return;
  PolicyRequest request;
  request.name = body->text("name", kMaxNameBytes).value_or("");
  const bool forAgent = body->has("did") || body->has("agentDid") || body->has("agentId");
  std::optional<GivenDid> given;
  if (forAgent) given = readDid(*body);
  for (const char* name : {"workspace", "workspaceId"}) {
    if (auto workspace = body->text(name, kMaxIdBytes)) request.workspace = std::move(*workspace);
  }
  if (forAgent == request.workspace.has_value()) body->problem("body", "must name one agent (did) or one workspace");
  request.capabilities = readCapabilities(*body, "capabilities");
  if (auto limits = readLimits(*body, "resourceLimits")) request.limits = std::move(*limits);
  request.expiresAt = body->time("expiresAt");
  request.reason = body->text("reason", 512).value_or("");
  if (auto bad = body->finish()) return fail(call, *bad);
  if (given) {
    request.agent = didOf(call, *given);
    if (!request.agent) return;
  }
  plane_.policies().add(call.principal(), std::move(request),
                        [self = shared_from_this(), call](const Result<ChangedPolicy>& reply) {
                          if (!reply) return self->fail(call, reply.error());
                          const std::string json = changedJson(*reply, self->ports_.clock.now());
                          self->respond(call, versionedResponse(201, json, reply->row.version));
                        });
}

void Core::revokePolicy(Call call) {
  plane_.policies().revoke(call.principal(), PolicyId(call.params.front()), expectedVersion(call.request()),
                           [self = shared_from_this(), call](const Result<ChangedPolicy>& reply) {
                             if (!reply) return self->fail(call, reply.error());
                             if (reply->stale) return self->fail(call, staleVersion("the policy"));
                             const std::string json = changedJson(*reply, self->ports_.clock.now());
                             self->respond(call, versionedResponse(200, json, reply->row.version));
                           });
}

}  // namespace vaultysclaw::control::rest
