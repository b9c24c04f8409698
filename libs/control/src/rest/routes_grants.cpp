#include <algorithm>

#include "control/grants.hpp"
#include "rest/core.hpp"
#include "rest/versions.hpp"

namespace vaultysclaw::control::rest {
namespace {

constexpr std::size_t kMaxUserBytes = 128;  // an id, a name or a DID

template <class Entry>
void writeTerms(JsonWriter& w, const Entry& grant, WallTime now) {
  w.key("capabilities").beginArray();
  for (const std::string& capability : grant.capabilities) w.value(capability);
  w.endArray();
  w.member("status", name(stateOf(grant.row, now)));
  writeTimeOrNull(w, "expiresAt", grant.row.expiresAt);
  w.member("createdAt", toIso8601(grant.row.createdAt));
  w.member("createdBy", grant.row.createdBy);
  writeTimeOrNull(w, "revokedAt", grant.row.revokedAt);
  w.member("version", grant.row.version);
}

Error noGrant(std::string_view id, std::string_view kind = "grant") {
  return {Errc::NotFound, "no " + std::string(kind) + " has the id '" + printable(id, 100) + "'"};
}

std::optional<std::string> readStatus(Query& q) {
  return q.oneOf("status", {"live", "expired", "revoked"});
}

std::optional<Did> readDidOf(Query& q, std::string_view name) {
  auto did = q.text(name);
  if (did && !isValidDid(*did)) q.problem(name, "is not a DID (did:vaultys: and 40 hex digits)");
  return did ? std::optional(Did(std::move(*did))) : std::nullopt;
}

// As `capabilities`, or one `capability` as the original's clients give it.
std::vector<std::string> readGranted(Body& body) {
  auto list = readCapabilities(body, "capabilities");
  auto one = body.text("capability", 64);
  if (list && one) body.problem("capability", "cannot stand beside capabilities: give one of them");
  if (one && !list) list.emplace(1, std::move(*one));
  if (!list || list->empty()) body.problem("capabilities", "must name at least one");
  return list.value_or(std::vector<std::string>());
}

Did readAgent(Body& body, std::string_view name) {
  Did did(body.requiredText(name, kMaxIdBytes));
  if (!did.empty() && !isValidDid(did.value)) body.problem(name, "is not a DID (did:vaultys: and 40 hex digits)");
  return did;
}

}  // namespace

// ---- what users may have agents do ----------------------------------------------------------------------------------

void Core::writeGrant(JsonWriter& w, const UserGrant& grant) const {
  const store::UserRow* user = people_.find(grant.row.user.value);
  w.beginObject();
  w.member("id", grant.row.id.value);
  w.member("userId", grant.row.user.value);
  w.key("user");
  user != nullptr ? w.value(user->name) : w.null();
  w.key("userDid");
  user != nullptr ? w.value(user->did) : w.null();
  w.member("did", grant.row.agent ? grant.row.agent->value : std::string("*"));
  writeTerms(w, grant, ports_.clock.now());
  w.endObject();
}

Reply<Grants::Changed> Core::replyGrant(const Call& call, int status) {
  return [self = shared_from_this(), call, status](const Result<Grants::Changed>& reply) {
    if (!reply) return self->fail(call, reply.error());
    if (reply->stale) return self->fail(call, staleVersion("the grant"));
    JsonWriter w;
    w.beginObject().key("grant");
    self->writeGrant(w, reply->grant);
    writeSentTo(w, reply->sentTo);
    w.endObject();
    self->respond(call, versionedResponse(status, w.take(), reply->grant.row.version));
  };
}

bool Core::mayKnow(const Call& call, const UserGrant& grant) const {
  return grant.row.user == call.principal().user || mayDo(call.principal(), Permission::Oversee);
}

void Core::listGrants(Call call) {
  Query q = query(call);
  const auto user = q.text("user");
  const auto did = readDidOf(q, "did");
  const auto status = readStatus(q);
  const store::Page page = q.page();
  if (auto bad = q.finish()) return fail(call, *bad);
  const store::UserRow* of = user ? people_.find(*user) : nullptr;
  const bool own = of != nullptr && of->id == call.principal().user;
  if (user && !own && !mayDo(call.principal(), Permission::Oversee)) return fail(call, notAllowed(Permission::Oversee));
  if (user && of == nullptr) return fail(call, noUser(*user));
  const WallTime now = ports_.clock.now();
  std::vector<UserGrant> grants = plane_.grants().all();
  std::reverse(grants.begin(), grants.end());
  std::erase_if(grants, [&](const UserGrant& grant) {
    return !mayKnow(call, grant) || (of != nullptr && grant.row.user != of->id) ||
           (did && grant.row.agent && *grant.row.agent != *did) || (status && name(stateOf(grant.row, now)) != *status);
  });
  JsonWriter w;
  writePage(w, grants, page, [&](const UserGrant& grant) { writeGrant(w, grant); });
  respondJson(call, w);
}

void Core::getGrant(Call call) {
  const UserGrant* grant = plane_.grants().find(store::GrantId(call.params.front()));
  if (grant == nullptr || !mayKnow(call, *grant)) return fail(call, noGrant(call.params.front()));
  JsonWriter w;
  writeGrant(w, *grant);
  respond(call, versionedResponse(200, w.take(), grant->row.version));
}

void Core::addGrant(Call call) {
  auto body = this->body(call);
  if (!body) return;
  std::string user = body->requiredText("user", kMaxUserBytes);
  addGrantTo(call, std::move(*body), std::move(user));
}

void Core::addGrantTo(const Call& call, Body body, std::string user) {
  GrantRequest request;
  request.user = std::move(user);
  const char* member = body.has("agentDid") && !body.has("did") ? "agentDid" : "did";
  const auto did = body.text(member, kMaxIdBytes);
  if (did && *did != "*") {
    if (!isValidDid(*did)) body.problem(member, "is neither a DID (did:vaultys: and 40 hex digits) nor *");
    request.agent = Did(*did);
  }
  request.capabilities = readGranted(body);
  request.expiresAt = body.time("expiresAt");
  if (auto bad = body.finish()) return fail(call, *bad);
  plane_.grants().create(call.principal(), std::move(request), replyGrant(call, 201));
}

void Core::revokeGrant(Call call) {
  revokeGrantNamed(call, store::GrantId(call.params.front()));
}

void Core::revokeGrantNamed(const Call& call, const store::GrantId& id) {
  plane_.grants().revoke(call.principal(), id, expectedVersion(call.request()), replyGrant(call, 200));
}

// ---- those of one user, as the original has them --------------------------------------------------------------------

std::vector<UserGrant> Core::grantsOf(const store::UserId& user) const {
  std::vector<UserGrant> grants = plane_.grants().all();
  std::reverse(grants.begin(), grants.end());
  std::erase_if(grants, [&](const UserGrant& grant) { return grant.row.user != user; });
  return grants;
}

void Core::listGrantsOf(Call call) {
  Query q = query(call);
  if (auto bad = q.finish()) return fail(call, *bad);
  const std::string& which = call.params.front();
  const store::UserRow* user = people_.find(which);
  const bool own = user != nullptr && user->id == call.principal().user;
  if (!own && !mayDo(call.principal(), Permission::Oversee)) return fail(call, notAllowed(Permission::Oversee));
  if (user == nullptr) return fail(call, noUser(which));
  JsonWriter w;
  w.beginObject();
  w.key("grants").beginArray();
  for (const UserGrant& grant : grantsOf(user->id)) writeGrant(w, grant);
  w.endArray();
  w.endObject();
  respondJson(call, w);
}

void Core::addGrantOf(Call call) {
  auto body = this->body(call);
  if (body) addGrantTo(call, std::move(*body), call.params.front());
}

void Core::revokeGrantOf(Call call) {
  const store::UserRow* user = people_.find(call.params.front());
  const store::GrantId id(call.params.at(1));
  const UserGrant* grant = plane_.grants().find(id);
  if (user == nullptr) return fail(call, noUser(call.params.front()));
  if (grant == nullptr || grant->row.user != user->id) return fail(call, noGrant(id.value));
  revokeGrantNamed(call, id);
}

// ---- what agents may ask of each other ------------------------------------------------------------------------------

void Core::writePeerGrant(JsonWriter& w, const PeerGrant& grant) const {
  const auto agent = [&](const char* did, const char* named, const Did& which) {
    w.member(did, which.value);
    w.key(named);
    const auto view = plane_.agent(which);
    view ? w.value(view->row.name) : w.null();
  };
  w.beginObject();
  w.member("id", grant.row.id.value);
  agent("source", "sourceName", grant.row.source);
  agent("target", "targetName", grant.row.target);
  w.member("skillDescription", grant.row.skill);
  writeTerms(w, grant, ports_.clock.now());
  w.endObject();
}

Reply<PeerGrants::Changed> Core::replyPeerGrant(const Call& call, int status) {
  return [self = shared_from_this(), call, status](const Result<PeerGrants::Changed>& reply) {
    if (!reply) return self->fail(call, reply.error());
    if (reply->stale) return self->fail(call, staleVersion("the peer grant"));
    JsonWriter w;
    w.beginObject().key("peerGrant");
    self->writePeerGrant(w, reply->grant);
    writeSentTo(w, reply->sentTo);
    w.endObject();
    self->respond(call, versionedResponse(status, w.take(), reply->grant.row.version));
  };
}

void Core::listPeerGrants(Call call) {
  Query q = query(call);
  const auto source = readDidOf(q, "source");
  const auto target = readDidOf(q, "target");
  const auto status = readStatus(q);
  const store::Page page = q.page();
  if (auto bad = q.finish()) return fail(call, *bad);
  const WallTime now = ports_.clock.now();
  std::vector<PeerGrant> grants = plane_.peerGrants().all();
  std::reverse(grants.begin(), grants.end());
  std::erase_if(grants, [&](const PeerGrant& grant) {
    return (source && grant.row.source != *source) || (target && grant.row.target != *target) ||
           (status && name(stateOf(grant.row, now)) != *status);
  });
  JsonWriter w;
  writePage(w, grants, page, [&](const PeerGrant& grant) { writePeerGrant(w, grant); });
  respondJson(call, w);
}

void Core::getPeerGrant(Call call) {
  const PeerGrant* grant = plane_.peerGrants().find(store::PeerGrantId(call.params.front()));
  if (grant == nullptr) return fail(call, noGrant(call.params.front(), "peer grant"));
  JsonWriter w;
  writePeerGrant(w, *grant);
  respond(call, versionedResponse(200, w.take(), grant->row.version));
}

void Core::addPeerGrant(Call call) {
  auto body = this->body(call);
  if (!body) return;
  PeerGrantRequest request;
  request.source = readAgent(*body, "source");
  request.target = readAgent(*body, "target");
  request.capabilities = readGranted(*body);
  request.skill = body->text("skillDescription", PeerGrants::kMaxSkillBytes).value_or("");
  request.expiresAt = body->time("expiresAt");
  if (auto bad = body->finish()) return fail(call, *bad);
  plane_.peerGrants().create(call.principal(), std::move(request), replyPeerGrant(call, 201));
}

void Core::revokePeerGrant(Call call) {
  plane_.peerGrants().revoke(call.principal(), store::PeerGrantId(call.params.front()), expectedVersion(call.request()),
                             replyPeerGrant(call, 200));
}

}  // namespace vaultysclaw::control::rest
