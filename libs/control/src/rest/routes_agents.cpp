#include <algorithm>

#include "rest/core.hpp"
#include "rest/versions.hpp"
#include "rows.hpp"

namespace vaultysclaw::control::rest {
namespace {

constexpr seconds kMaxRunTtl{300};

char lowerAscii(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

bool containsIgnoringCase(std::string_view text, std::string_view part) {
  const auto same = [](char a, char b) { return lowerAscii(a) == lowerAscii(b); };
  return std::search(text.begin(), text.end(), part.begin(), part.end(), same) != text.end();
}

}  // namespace

void Core::listAgents(Call call) {
  Query q = query(call);
  const auto status = q.oneOf("status", {"connected", "offline"});
  const auto online = q.oneOf("online", {"true", "false"});  // the original's name for it
  const auto name = q.text("name");
  const auto search = q.text("search");
  const store::Page page = q.page();
  if (auto bad = q.finish()) return fail(call, *bad);

  std::vector<AgentView> agents = plane_.agents();
  std::erase_if(agents, [&](const AgentView& agent) {
    if (!workspaces_.mayKnow(call.principal(), agent.row.did)) return true;
    const bool connected = agent.status == AgentStatus::Connected;
    return (status && (*status == "connected") != connected) || (online && (*online == "true") != connected) ||
           (name && agent.row.name != *name) ||
           (search && !containsIgnoringCase(agent.row.name, *search) &&
            !containsIgnoringCase(agent.row.did.value, *search));
  });
  const auto total = static_cast<std::int64_t>(agents.size());
  const auto from = static_cast<std::size_t>(std::min(page.offset, total));
  const auto to = static_cast<std::size_t>(std::min(page.offset + page.limit, total));

  JsonWriter w;
  w.beginObject();
  w.key("items").beginArray();
  for (std::size_t i = from; i < to; ++i) writeAgentFor(call, w, std::move(agents[i]));
  w.endArray();
  writePagination(w, total, page, to - from);
  if (call.original) {
    w.member("total", total);
    w.member("page", page.offset / page.limit + 1);
    w.member("pageSize", page.limit);
    w.member("totalPages", (total + page.limit - 1) / page.limit);
  }
  w.endObject();
  respondJson(call, w);
}

void Core::getAgent(Call call) {
  const auto did = didOf(call);
  if (!did) return;
  const auto agent = plane_.agent(*did);
  if (!agent) return fail(call, noAgent(*did));
  JsonWriter w;
  writeAgentFor(call, w, *agent);
  respond(call, taggedResponse(200, w.take(), grantTag(agent->row)));
}

void Core::deleteAgent(Call call) {
  const auto did = didOf(call);
  if (!did) return;
  plane_.deleteAgent(*did, call.actor(), [self = shared_from_this(), call](Result<std::monostate> reply) {
    if (!reply) return self->fail(call, reply.error());
    net::HttpResponse response;
    response.status = 204;
    self->respond(call, std::move(response));
  });
}

void Core::patchAgent(Call call) {
  const auto did = didOf(call);
  if (!did) return;
  auto body = this->body(call);
  if (!body) return;
  // Absent leaves as it is; null takes away.
  GrantChange change;
  const char* members[] = {"capabilities", "resourceLimits", "policyId", "policyExpiresAt"};
  if (std::none_of(std::begin(members), std::end(members), [&](const char* m) { return body->has(m); })) {
    body->problem("body", "changes nothing: give capabilities, resourceLimits, policyId or policyExpiresAt");
  }
  if (body->isNull("capabilities")) body->problem("capabilities", "must be a list: [] takes all of them away");
  change.capabilities = readCapabilities(*body, "capabilities");
  readLimitChanges(*body, "resourceLimits", change);
  if (body->isNull("policyId")) change.policyId.emplace();
  if (auto id = body->text("policyId", kMaxIdBytes)) change.policyId.emplace(std::move(*id));
  if (body->isNull("policyExpiresAt")) change.policyExpiresAt.emplace();
  if (auto at = body->time("policyExpiresAt")) change.policyExpiresAt.emplace(*at);
  std::string reason = body->text("reason", 512).value_or("changed by the operator");
  if (auto bad = body->finish()) return fail(call, *bad);
  if (!plane_.agent(*did)) return fail(call, noAgent(*did));

  change.ifTag = expectedTag(call.request());
  plane_.updateGrant(*did, std::move(change), std::move(reason), call.actor(),
                     [self = shared_from_this(), call](const Result<AgentView>& reply) {
                       if (!reply && reply.error().code == Errc::Conflict)
                         return self->fail(call, staleVersion("the agent"));
                       if (!reply) return self->fail(call, reply.error());
                       JsonWriter w;
                       self->writeAgentFor(call, w, *reply);
                       self->respond(call, taggedResponse(200, w.take(), grantTag(reply->row)));
                     });
}

Reply<AgentView> Core::replyAgent(const Call& call) {
  return [self = shared_from_this(), call](const Result<AgentView>& reply) {
    if (!reply) return self->fail(call, reply.error());
    JsonWriter w;
    self->writeAgentFor(call, w, *reply);
    self->respondJson(call, w);
  };
}

void Core::writeAgentFor(const Call& call, JsonWriter& w, AgentView agent) const {
  if (call.principal().role < Role::Admin) {
    std::erase_if(agent.workspaces, [&](const auto& id) { return !workspaces_.mayKnow(call.principal(), id); });
    // These may be of other workspaces, and the calls other users'.
    agent.policies.clear();
    if (agent.lastHeartbeat) agent.lastHeartbeat->stuckCalls.clear();
  }
  writeAgent(w, agent);
}

void Core::pause(Call call) {
  const auto did = didOf(call);
  if (!did) return;
  auto body = this->body(call);
  if (!body) return;
  std::string reason = body->text("reason", 512).value_or("paused by the operator");
  if (auto bad = body->finish()) return fail(call, *bad);
  plane_.pause(*did, std::move(reason), call.actor(), replyAgent(call));
}

void Core::resume(Call call) {
  const auto did = didOf(call);
  if (!did) return;
  auto body = this->body(call);
  if (!body) return;
  if (auto bad = body->finish()) return fail(call, *bad);
  plane_.resume(*did, call.actor(), replyAgent(call));
}

void Core::resetPin(Call call) {
  const auto did = didOf(call);
  if (!did) return;
  auto body = this->body(call);
  if (!body) return;
  if (auto bad = body->finish()) return fail(call, *bad);
  plane_.resetPin(*did, call.actor(), replyAgent(call));
}

void Core::runOnAgent(Call call) {
  const auto did = didOf(call);
  if (!did) return;
  auto body = this->body(call);
  if (!body) return;
  RunRequest request;
  request.did = *did;
  readWork(*body, call, request);
  readDurability(*body, call.request(), kMaxRunTtl, request);
  if (auto bad = body->finish()) return fail(call, *bad);

  const bool mayComeBack = request.idempotencyKey.has_value();
  const auto id = plane_.run(std::move(request), [self = shared_from_this(), call](Result<RunResult> reply) {
    if (!reply) return self->fail(call, reply.error());
    JsonWriter w;
    w.beginObject();
    w.member("intentId", reply->intentId.value);
    w.member("status", reply->status);
    w.key("output").rawValue(reply->output ? std::string_view(reply->output->text) : "null");
    w.key("error");
    if (reply->error) {
      w.value(*reply->error);
    } else {
      w.null();
    }
    w.memberIf("code", reply->code);
    w.key("executedAt");
    if (reply->executedAt) {
      w.value(toIso8601(*reply->executedAt));
    } else {
      w.null();
    }
    if (reply->replayed) w.member("replayed", true);
    w.endObject();
    self->respondJson(call, w);
  });
  if (!id || mayComeBack) return;
  call.exchange->onClientGone([weak = weak_from_this(), id = *id] {
    if (const auto self = weak.lock(); self && !self->closed_) self->plane_.cancelIntent(id, "the client has gone");
  });
}

void Core::listRegistrations(Call call) {
  Query q = query(call);
  auto status = q.oneOf("status", {"pending", "approved", "rejected", "expired"});
  const store::Page page = q.page();
  if (auto bad = q.finish()) return fail(call, *bad);
  plane_.registrations(std::move(status), page,
                       [self = shared_from_this(), call, page](Result<store::Listing<store::RegistrationRow>> reply) {
                         if (!reply) return self->fail(call, reply.error());
                         JsonWriter w;
                         w.beginObject();
                         // The original's clients look for the list under this name.
                         for (const char* name : {"items", "registrations"}) {
                           if (name == std::string_view("registrations") && !call.original) continue;
                           w.key(name).beginArray();
                           for (const store::RegistrationRow& row : reply->items) writeRegistration(w, row);
                           w.endArray();
                         }
                         if (call.original) w.key("availableCapabilities").beginArray().endArray();
                         writePagination(w, reply->total, page, reply->items.size());
                         w.endObject();
                         self->respondJson(call, w);
                       });
}

void Core::approve(Call call) {
  auto body = this->body(call);
  if (!body) return;
  Approval approval;
  approval.actor = call.actor();
  approval.capabilities = readCapabilities(*body, "capabilities");
  if (auto limits = readLimits(*body, "resourceLimits")) approval.limits = std::move(*limits);
  approval.policyId = body->text("policyId", kMaxIdBytes);
  approval.policyExpiresAt = body->time("policyExpiresAt");
  approval.workspaces = readWorkspaces(*body);
  if (auto bad = body->finish()) return fail(call, *bad);

  plane_.approve(RegistrationId(call.params.front()), std::move(approval),
                 [self = shared_from_this(), call](Result<store::AgentRow> reply) {
                   if (!reply) return self->fail(call, reply.error());
                   JsonWriter w;
                   w.beginObject();
                   w.member("success", true);
                   w.member("registrationId", call.params.front());
                   w.member("did", reply->did.value);
                   w.member("agentDid", reply->did.value);
                   w.member("name", reply->name);
                   w.key("capabilities").rawValue(reply->capabilities);
                   w.endObject();
                   self->respondJson(call, w);
                 });
}

void Core::reject(Call call) {
  auto body = this->body(call);
  if (!body) return;
  std::string reason = body->text("reason", 512).value_or("rejected by the operator");
  if (auto bad = body->finish()) return fail(call, *bad);
  plane_.reject(RegistrationId(call.params.front()), std::move(reason), call.actor(),
                [self = shared_from_this(), call](Result<std::monostate> reply) {
                  if (!reply) return self->fail(call, reply.error());
                  JsonWriter w;
                  w.beginObject();
                  w.member("success", true);
                  w.member("registrationId", call.params.front());
                  w.endObject();
                  self->respondJson(call, w);
                });
}

}  // namespace vaultysclaw::control::rest
