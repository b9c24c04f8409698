#include "rest/views.hpp"

#include <nlohmann/json.hpp>

#include "rows.hpp"

namespace vaultysclaw::control::rest {
namespace {

using nlohmann::json;

// Raw JSON the store kept; a row that lacks it must not break the answer.
void writeRaw(JsonWriter& w, std::string_view name, std::string_view raw, std::string_view otherwise) {
  w.key(name).rawValue(raw.empty() ? otherwise : raw);
}

template <class T>
void writeOrNull(JsonWriter& w, std::string_view name, const std::optional<T>& value) {
  w.key(name);
  if (value) {
    w.value(*value);
  } else {
    w.null();
  }
}

const char* protectionName(net::Protection protection) {
  switch (protection) {
    case net::Protection::None:
      return "none";
    case net::Protection::Loopback:
      return "loopback";
    case net::Protection::VerifiedTls:
      return "tls";
  }
  return "none";
}

void writeHeartbeat(JsonWriter& w, const protocol::Heartbeat& beat) {
  w.beginObject();
  w.member("uptimeSeconds", beat.uptimeSeconds);
  w.member("rssBytes", beat.rssBytes);
  w.member("tokensToday", beat.usageDaily.total());
  w.member("tokensTotal", beat.usageTotal.total());
  w.key("stuckCalls").beginArray();
  for (const auto& call : beat.stuckCalls) {
    w.beginObject().member("action", call.action).member("id", call.id);
    w.member("overdueSeconds", call.overdueSeconds).endObject();
  }
  w.endArray();
  w.endObject();
}

}  // namespace

void writeTimeOrNull(JsonWriter& w, std::string_view name, const std::optional<WallTime>& value) {
  w.key(name);
  if (value) {
    w.value(toIso8601(*value));
  } else {
    w.null();
  }
}

void writeSentTo(JsonWriter& w, const std::vector<Did>& agents) {
  writeIds(w, "sentTo", agents);
}

void writeLimits(JsonWriter& w, const protocol::ResourceLimits& limits) {
  w.beginObject();
  w.memberIf("maxTokensPerDay", limits.maxTokensPerDay);
  w.memberIf("maxRequestsPerHour", limits.maxRequestsPerHour);
  if (!limits.allowedDomains.empty()) {
    w.key("allowedDomains").beginArray();
    for (const std::string& domain : limits.allowedDomains) w.value(domain);
    w.endArray();
  }
  w.endObject();
}

void writeAgent(JsonWriter& w, const AgentView& agent) {
  const store::AgentRow& row = agent.row;
  const bool online = agent.status == AgentStatus::Connected;
  w.beginObject();
  w.member("did", row.did.value);
  w.member("name", row.name);
  w.member("status", online ? "connected" : "offline");
  w.member("online", online);
  w.key("capabilities").rawValue(capabilitiesToJson(agent.granted.capabilities));
  w.key("resourceLimits");
  writeLimits(w, agent.granted.limits);
  writeOrNull(w, "policyId", agent.granted.policyId);
  writeTimeOrNull(w, "policyExpiresAt", agent.granted.policyExpiresAt);
  w.key("approved").beginObject();
  writeRaw(w, "capabilities", row.capabilities, "[]");
  writeRaw(w, "resourceLimits", row.limits, "{}");
  writeOrNull(w, "policyId", row.policyId);
  writeTimeOrNull(w, "policyExpiresAt", row.policyExpiresAt);
  w.endObject();
  writeRaw(w, "requestedCapabilities", row.requestedCapabilities, "[]");
  writeIds(w, "policies", agent.policies);
  writeIds(w, "workspaces", agent.workspaces);
  w.member("handshakeVersion", row.handshakeVersion);
  w.member("registeredAt", toIso8601(row.createdAt));
  writeTimeOrNull(w, "lastSeen", row.lastSeenAt);
  writeTimeOrNull(w, "connectedAt", agent.connectedAt);
  writeOrNull(w, "address", online ? std::optional(agent.address) : std::nullopt);
  writeOrNull(w, "transport", online ? std::optional(agent.transport) : std::nullopt);
  writeOrNull(w, "protection", online ? std::optional<std::string>(protectionName(agent.protection)) : std::nullopt);
  w.member("sealed", agent.sealed);
  w.member("certificateCurrent", agent.certificateCurrent);
  w.key("features").beginArray();
  for (const std::string& feature : agent.features) w.value(feature);
  w.endArray();
  writeOrNull(w, "paused", row.paused);
  w.member("pendingIntents", static_cast<std::uint64_t>(agent.pendingIntents));
  w.key("lastHeartbeat");
  if (agent.lastHeartbeat) {
    writeHeartbeat(w, *agent.lastHeartbeat);
  } else {
    w.null();
  }
  w.key("reportedLlm");
  if (agent.lastHeartbeat && agent.lastHeartbeat->llmProvider && agent.lastHeartbeat->llmModel) {
    w.beginObject();
    w.member("provider", *agent.lastHeartbeat->llmProvider);
    w.member("model", *agent.lastHeartbeat->llmModel);
    w.endObject();
  } else {
    w.null();
  }
  w.endObject();
}

void writeRegistration(JsonWriter& w, const store::RegistrationRow& row) {
  w.beginObject();
  w.member("id", row.id.value);
  w.member("did", row.did.value);
  w.member("name", row.name);
  w.member("status", row.status);
  writeRaw(w, "requestedCapabilities", row.requestedCapabilities, "[]");
  w.member("address", row.address);
  w.member("handshakeVersion", row.handshakeVersion);
  w.member("requestedAt", toIso8601(row.createdAt));
  writeTimeOrNull(w, "decidedAt", row.decidedAt);
  writeOrNull(w, "decidedBy", row.decidedBy.empty() ? std::nullopt : std::optional(row.decidedBy));
  writeOrNull(w, "reason", row.reason.empty() ? std::nullopt : std::optional(row.reason));
  w.endObject();
}

void writeIntent(JsonWriter& w, const ControlPlane::IntentView& intent, Detail detail) {
  const store::IntentRow& row = intent.row;
  w.beginObject();
  w.member("intentId", row.id.value);
  w.member("did", row.did.value);
  w.member("action", row.action);
  writeRaw(w, "params", row.params, row.paramsOmitted ? "null" : "{}");
  w.member("status", row.status);
  writeRaw(w, "output", row.output.value_or(""), "null");
  writeOrNull(w, "error", row.error);
  writeOrNull(w, "code", row.code);
  writeOrNull(w, "userDid", row.userDid);
  w.member("requestedBy", row.requestedBy);
  // Nothing was signed for one that was never sent.
  const bool unsent = row.token.empty() && row.status != "success" && row.status != "timeout";
  writeOrNull(w, "signatureValid", unsent ? std::nullopt : std::optional(intent.signatureValid));
  w.member("resultSigned", row.resultToken.has_value());
  writeOrNull(w, "resultSignatureValid", intent.resultSignatureValid);
  writeOrNull(w, "traceparent", row.traceparent);
  w.member("createdAt", toIso8601(row.createdAt));
  w.key("ttlSeconds");
  if (row.ttlSeconds) {
    w.value(*row.ttlSeconds);
  } else {
    w.null();
  }
  writeOrNull(w, "idempotencyKey", row.idempotencyKey);
  writeTimeOrNull(w, "sentAt", row.sentAt);
  w.member("sends", row.sends);
  writeTimeOrNull(w, "executedAt", row.executedAt);
  writeTimeOrNull(w, "finishedAt", row.finishedAt);
  if (row.paramsOmitted) w.member("paramsOmitted", true);
  if (row.outputOmitted) w.member("outputOmitted", true);
  if (detail == Detail::Full) {
    w.member("token", row.token);
    w.key("tokens").beginArray();
    for (const std::string& token : intent.tokens) w.value(token);
    w.endArray();
    writeOrNull(w, "resultToken", row.resultToken);
    w.key("history").beginArray();
    for (const auto& event : intent.history) {
      w.beginObject();
      w.member("at", toIso8601(event.at));
      w.member("event", event.event);
      if (!event.detail.empty()) w.member("detail", event.detail);
      w.endObject();
    }
    w.endArray();
  }
  w.endObject();
}

void writeAudit(JsonWriter& w, const store::AuditRow& row) {
  w.beginObject();
  w.member("seq", row.seq);
  w.member("at", toIso8601(row.at));
  w.member("actor", row.actor);
  w.member("action", row.action);
  w.member("target", row.target);
  writeRaw(w, "details", row.details, "{}");
  w.member("hash", hexEncode(row.hash));
  w.endObject();
}

void writePagination(JsonWriter& w, std::int64_t total, store::Page page, std::size_t returned) {
  w.key("pagination").beginObject();
  w.member("total", total);
  w.member("limit", page.limit);
  w.member("offset", page.offset);
  w.member("hasMore", page.offset + static_cast<std::int64_t>(returned) < total);
  w.endObject();
}

std::vector<std::string> capabilitiesFrom(const std::string& text) {
  const json value = json::parse(text, nullptr, false);
  std::vector<std::string> out;
  if (!value.is_array()) return out;
  for (const json& entry : value) {
    if (entry.is_string()) out.push_back(entry.get<std::string>());
  }
  return out;
}

protocol::ResourceLimits limitsFrom(const std::string& text) {
  const json value = json::parse(text, nullptr, false);
  protocol::ResourceLimits limits;
  if (!value.is_object()) return limits;
  const auto number = [&](const char* name) -> std::optional<std::int64_t> {
    const auto it = value.find(name);
    return it != value.end() && it->is_number_integer() ? std::optional(it->get<std::int64_t>()) : std::nullopt;
  };
  limits.maxTokensPerDay = number("maxTokensPerDay");
  limits.maxRequestsPerHour = number("maxRequestsPerHour");
  if (const auto it = value.find("allowedDomains"); it != value.end())
    limits.allowedDomains = capabilitiesFrom(it->dump());
  return limits;
}

std::string metricsText(const Counters& c, const std::string& version, double uptimeSeconds) {
  std::string out;
  const auto metric = [&](const char* name, const char* type, const char* help, const std::string& value) {
    const std::string full = std::string("vaultysclaw_") + name;
    out += "# HELP " + full + " " + help + "\n# TYPE " + full + " " + type + "\n" + full + " " + value + "\n";
  };
  const auto counter = [&](const char* name, const char* help, std::uint64_t value) {
    metric(name, "counter", help, std::to_string(value));
  };
  const auto gauge = [&](const char* name, const char* help, std::size_t value) {
    metric(name, "gauge", help, std::to_string(value));
  };
  out += "# HELP vaultysclaw_build_info The running version.\n# TYPE vaultysclaw_build_info gauge\n";
  out += "vaultysclaw_build_info{version=\"" + version + "\"} 1\n";
  metric("uptime_seconds", "gauge", "Seconds since start.", json(uptimeSeconds).dump());
  gauge("connected_agents", "Agents connected and authenticated now.", c.connectedAgents);
  gauge("open_connections", "Connections to the hub, authenticated or not.", c.openConnections);
  gauge("pending_intents", "Intents sent and not answered yet.", c.pendingIntents);
  gauge("queued_intents", "Intents that wait for their agent and were not taken by it yet.", c.queuedIntents);
  gauge("pending_registrations", "Registrations waiting for an operator.", c.pendingRegistrations);
  gauge("active_chats", "Conversations being answered now.", c.activeChats);
  counter("handshakes_completed_total", "Handshakes that proved an identity.", c.handshakesCompleted);
  counter("handshakes_failed_total", "Handshakes that ended in an error.", c.handshakesFailed);
  counter("handshakes_refused_total", "Handshakes refused over a limit.", c.handshakesRefused);
  counter("intents_sent_total", "Intents sent to agents.", c.intentsSent);
  counter("intents_succeeded_total", "Intents answered with success.", c.intentsSucceeded);
  counter("intents_failed_total", "Intents answered with a failure.", c.intentsFailed);
  counter("intents_timed_out_total", "Intents without an answer before their deadline.", c.intentsTimedOut);
  counter("intents_resent_total", "Intents sent to their agent again.", c.intentsResent);
  counter("intents_expired_total", "Intents that no agent took in the time they could wait.", c.intentsExpired);
  counter("results_refused_total", "Results that were not signed as they must be, or answered nothing.",
          c.resultsRefused);
  counter("channels_sealed_total", "Handshakes that made a sealed channel.", c.channelsSealed);
  counter("channels_broken_total", "Sealed connections closed for data that did not open.", c.channelsBroken);
  counter("chats_started_total", "Conversations started.", c.chatsStarted);
  counter("chats_resumed_total", "Times that the rest of an answer was asked for.", c.chatsResumed);
  counter("chat_chunks_total", "Pieces of answers received.", c.chatChunks);
  counter("messages_received_total", "Messages from agents.", c.messagesIn);
  counter("messages_sent_total", "Messages to agents.", c.messagesOut);
  counter("messages_refused_total", "Messages from agents that broke a rule.", c.messagesRefused);
  return out;
}

}  // namespace vaultysclaw::control::rest
