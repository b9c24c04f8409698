#include "store_dump.hpp"

namespace vaultysclaw::store {
namespace {

// Long texts as their length and hash.
std::string brief(std::string_view text) {
  if (text.size() <= 200) return '"' + std::string(text) + '"';
  return std::to_string(text.size()) + " bytes, " + std::to_string(std::hash<std::string_view>{}(text));
}
std::string brief(const Bytes& bytes) {
  return hexEncode(bytes);
}
std::string brief(WallTime at) {
  return std::to_string(toUnixMillis(at));
}
std::string brief(std::int64_t number) {
  return std::to_string(number);
}
template <class T>
std::string brief(const std::optional<T>& value) {
  return value ? brief(*value) : "-";
}

template <class... Fields>
void line(std::string& out, const char* what, const Fields&... fields) {
  out += what;
  ((out += ' ', out += brief(fields)), ...);
  out += '\n';
}

constexpr Page kEverything{0, 1'000'000};

void add(std::string& out, const AgentRow& a) {
  line(out, "agent", a.did.value, a.publicId, a.name, a.capabilities, a.requestedCapabilities, a.limits, a.policyId,
       a.policyExpiresAt, std::int64_t{a.handshakeVersion}, a.createdAt, a.lastSeenAt, a.features, a.paused);
}
void add(std::string& out, const RegistrationRow& r) {
  line(out, "registration", r.id.value, r.did.value, r.publicId, r.name, r.requestedCapabilities, r.address, r.status,
       r.reason, std::int64_t{r.handshakeVersion}, r.createdAt, r.decidedAt, r.decidedBy);
}
void add(std::string& out, const IntentRow& i) {
  line(out, "intent", i.id.value, i.did.value, i.action, i.params, i.token, i.status, i.output, i.error, i.code,
       i.userDid, i.requestedBy, i.createdAt, i.executedAt, i.finishedAt, i.resultToken, i.traceparent, i.timeoutMs,
       i.ttlSeconds, i.sentAt, i.deadline, i.sends, std::int64_t{i.resendable}, i.idempotencyKey);
}
void add(std::string& out, const IntentId& of, const IntentEventRow& e) {
  line(out, "event", of.value, e.at, e.event, e.detail, e.token);
}
void add(std::string& out, const AuditRow& a) {
  line(out, "audit", a.seq, a.at, a.actor, a.action, a.target, a.details, a.previousHash, a.hash);
}

}  // namespace

Result<std::string> dumpOf(ControlStore& store, const std::vector<std::string>& metaKeys) {
  std::string out;
  const Status read = store.readBlocking([&](ControlReader& r) -> Status {
    VC_TRY_ASSIGN(const auto agents, r.agents());
    for (const AgentRow& listed : agents) {
      VC_TRY_ASSIGN(const auto agent, r.agent(listed.did));
      VC_TRY_ASSIGN(const auto publicId, r.publicId(listed.did));
      if (agent) add(out, *agent);
      line(out, "public id", publicId);
    }
    VC_TRY_ASSIGN(const auto pendingRegistrations, r.pendingRegistrations());
    line(out, "registrations pending", static_cast<std::int64_t>(pendingRegistrations.size()));
    VC_TRY_ASSIGN(const auto registrations, r.registrations({}, kEverything));
    line(out, "registrations", registrations.total);
    for (const RegistrationRow& listed : registrations.items) {
      VC_TRY_ASSIGN(const auto registration, r.registration(listed.id));
      if (registration) add(out, *registration);
    }
    VC_TRY_ASSIGN(const auto intents, r.intents({}, kEverything));
    line(out, "intents", intents.total);
    for (const IntentRow& listed : intents.items) {
      VC_TRY_ASSIGN(const auto intent, r.intent(listed.id));
      if (intent) add(out, *intent);
      VC_TRY_ASSIGN(const auto events, r.intentEvents(listed.id));
      for (const IntentEventRow& event : events) add(out, listed.id, event);
    }
    for (const char* status : {"queued", "pending"}) {
      VC_TRY_ASSIGN(const auto open, r.openIntents(status, 0, kEverything.limit));
      for (const OpenIntent& intent : open) line(out, "open", intent.row.id.value, intent.row.status, intent.row.token);
    }
    for (const char* status : {"queued", "pending", "success", "failed", "lost", "timeout"}) {
      VC_TRY_ASSIGN(const auto some, r.intents({{}, status}, kEverything));
      line(out, status, some.total, static_cast<std::int64_t>(some.items.size()));
    }
    VC_TRY_ASSIGN(const auto audit, r.audit({}, kEverything));
    line(out, "audited", audit.total, static_cast<std::int64_t>(audit.items.size()));
    VC_TRY_ASSIGN(const auto chain, r.auditRange(1, kEverything.limit));
    for (const AuditRow& row : chain) add(out, row);
    VC_TRY_ASSIGN(const auto last, r.lastAudit());
    if (last) line(out, "last", last->seq);
    VC_TRY_ASSIGN(const auto users, r.users());
    for (const UserRow& u : users)
      line(out, "user", u.id.value, u.name, u.role, u.disabled, u.createdAt, u.version, u.did, u.passwordHash);
    VC_TRY_ASSIGN(const auto tokens, r.apiTokens());
    for (const ApiTokenRow& t : tokens) {
      line(out, "token", t.id.value, t.name, t.hash, t.createdAt, t.user.value, t.scopes, t.expiresAt, t.lastUsedAt,
           t.revokedAt);
    }
    for (const std::string& key : metaKeys) {
      VC_TRY_ASSIGN(const auto value, r.meta(key));
      line(out, "meta", key, value);
    }
    return {};
  });
  if (!read.ok()) return read.error();
  return out;
}

Result<std::string> dumpOf(AgentState& state, const std::vector<std::pair<std::string, std::string>>& intents,
                           const std::vector<std::string>& valueKeys) {
  std::string out;
  std::vector<std::string> controlPlanes;
  for (const auto& [controlPlane, id] : intents) {
    VC_TRY_ASSIGN(const auto seen, state.seenIntent(controlPlane, id));
    if (seen) {
      line(out, "intent", seen->controlPlaneDid, seen->intentId, seen->fingerprint, seen->intentHash,
           static_cast<std::int64_t>(seen->state), seen->result, seen->acceptedAt);
    }
    if (controlPlanes.empty() || controlPlanes.back() != controlPlane) controlPlanes.push_back(controlPlane);
  }
  for (const std::string& controlPlane : controlPlanes) {
    VC_TRY_ASSIGN(const auto outbox, state.outbox(controlPlane));
    for (const OutboxEntry& e : outbox)
      line(out, "outbox", controlPlane, e.intentId, e.resultHash, static_cast<std::int64_t>(e.bytes));
  }
  VC_TRY_ASSIGN(const auto u, state.usage());
  line(out, "usage", u.utcDay, u.promptToday, u.completionToday, u.promptTotal, u.completionTotal, u.promptUnsynced,
       u.completionUnsynced, u.syncId, u.promptSyncing, u.completionSyncing, u.requestsThisHour, u.hourWindowStart);
  VC_TRY_ASSIGN(const auto delegations, state.delegations());
  for (const StoredDelegation& d : delegations) line(out, "delegation", d.id, d.certificate);
  for (const std::string& key : valueKeys) {
    VC_TRY_ASSIGN(const auto value, state.get(key));
    line(out, "value", key, value);
  }
  return out;
}

}  // namespace vaultysclaw::store
