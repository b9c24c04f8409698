#include <algorithm>

#include "base/json_writer.hpp"
#include "commands.hpp"

namespace vaultysclaw::cli {
namespace {

std::string parameter(const char* name, const std::string& value) {
  return value.empty() ? "" : std::string("&") + name + "=" + percentEncode(value);
}

void line(Context& context, const char* label, const std::string& value, Style style = Style::Plain) {
  if (value.empty()) return;
  std::string padded(label);
  padded.resize(22, ' ');
  context.out() << context.painter().paint(Style::Dim, padded) << context.painter().paint(style, terminalText(value))
                << '\n';
}

std::string limitsText(const Json& agent) {
  const auto it = agent.find("resourceLimits");
  return it == agent.end() || it->empty() ? "" : it->dump();
}

// How the agent's connection is protected; empty when it is not there.
std::string protectionText(const Json& agent) {
  if (agent.value("sealed", false)) return "sealed";
  return textOf(agent, "protection");
}
// A paused agent gets no work, connected or not.
std::string statusText(const Json& agent) {
  return textOf(agent, "paused").empty() ? textOf(agent, "status") : "paused";
}

void printAgent(Context& context, const Json& agent) {
  line(context, "name", textOf(agent, "name"), Style::Bold);
  line(context, "DID", textOf(agent, "did"));
  line(context, "status", textOf(agent, "status"), statusStyle(textOf(agent, "status")));
  line(context, "paused", textOf(agent, "paused"), Style::Warning);
  const std::string inForce = joined(agent, "capabilities");
  const std::string approved = joined(agent.value("approved", Json::object()), "capabilities");
  line(context, "capabilities", inForce.empty() ? "none" : inForce);
  if (approved != inForce) line(context, "approved", approved);
  line(context, "requested", joined(agent, "requestedCapabilities"));
  line(context, "limits", limitsText(agent));
  line(context, "policy", textOf(agent, "policyId"));
  line(context, "workspaces", joined(agent, "workspaces"));
  line(context, "policy expires", textOf(agent, "policyExpiresAt"));
  line(context, "policies", joined(agent, "policies"));
  line(context, "workspaces", joined(agent, "workspaces"));
  line(context, "handshake version", textOf(agent, "handshakeVersion"));
  line(context, "registered", textOf(agent, "registeredAt"));
  line(context, "last seen", textOf(agent, "lastSeen"));
  line(context, "connected since", textOf(agent, "connectedAt"));
  line(context, "address", textOf(agent, "address"));
  line(context, "transport", textOf(agent, "transport"));
  line(context, "protection", textOf(agent, "protection"));
  if (!textOf(agent, "connectedAt").empty()) {
    const bool sealed = agent.value("sealed", false);
    line(context, "sealed", sealed ? "yes" : "no", sealed ? Style::Good : Style::Warning);
  }
  line(context, "features", joined(agent, "features"));
  line(context, "pending intents", textOf(agent, "pendingIntents"));
  const Json beat = agent.value("lastHeartbeat", Json());
  if (!beat.is_object()) return;
  for (const Json& call : beat.value("stuckCalls", Json::array())) {
    line(context, "stuck handler",
         textOf(call, "action") + " (" + textOf(call, "id") + "), " + textOf(call, "overdueSeconds") +
             " s over its deadline",
         Style::Warning);
  }
}

// Null when nothing was signed: it was never sent.
std::string signatureText(const Json& intent) {
  const auto it = intent.find("signatureValid");
  if (it != intent.end() && it->is_null()) return "";
  return intent.value("signatureValid", false) ? "valid" : "INVALID";
}

void printHistory(Context& context, const Json& history) {
  context.out() << context.painter().paint(Style::Dim, "history") << '\n';
  for (const Json& event : history) {
    std::string what = textOf(event, "event");
    std::replace(what.begin(), what.end(), '_', ' ');
    const std::string detail = textOf(event, "detail");
    if (!detail.empty()) what += what == "sent" || what == "resent" ? " (number " + detail + ")" : ": " + detail;
    context.out() << "  " << terminalText(textOf(event, "at")) << "  " << terminalText(what) << '\n';
  }
}

int changeAgent(Context& context, const std::string& agent, const char* what, const std::string& body) {
  const auto did = context.agentDid(agent);
  if (!did) return context.exitCode();
  auto answer = context.call("POST", "/api/agents/" + percentEncode(*did) + what, body);
  if (!answer) return context.exitCode();
  if (context.json()) return context.printJson(*answer), kOk;
  printAgent(context, answer->body);
  return kOk;
}

void writeGrant(JsonWriter& w, const GrantOptions& options) {
  writeCapabilitiesAndLimits(w, options);
  if (!options.policyId.empty()) w.member("policyId", options.policyId);
  if (!options.expiresAt.empty()) w.member("policyExpiresAt", options.expiresAt);
  if (options.workspaces.empty()) return;
  w.key("workspaces").beginArray();
  for (const std::string& workspace : options.workspaces) w.value(workspace);
  w.endArray();
}

}  // namespace

void writeCapabilitiesAndLimits(JsonWriter& w, const GrantOptions& options) {
  if (options.capabilities) {
    w.key("capabilities").beginArray();
    for (const std::string& capability : *options.capabilities) w.value(capability);
    w.endArray();
  }
  if (options.maxTokensPerDay || options.maxRequestsPerHour || !options.allowedDomains.empty()) {
    w.key("resourceLimits").beginObject();
    w.memberIf("maxTokensPerDay", options.maxTokensPerDay);
    w.memberIf("maxRequestsPerHour", options.maxRequestsPerHour);
    if (!options.allowedDomains.empty()) {
      w.key("allowedDomains").beginArray();
      for (const std::string& domain : options.allowedDomains) w.value(domain);
      w.endArray();
    }
    w.endObject();
  }
}

std::string pageQuery(const PageOptions& page) {
  return "limit=" + std::to_string(page.limit) + "&offset=" + std::to_string(page.offset);
}

void printMore(Context& context, const Json& body, const PageOptions& page) {
  const auto it = body.find("pagination");
  if (it == body.end() || !it->value("hasMore", false)) return;
  const auto next = static_cast<std::int64_t>(page.offset) + page.limit;
  context.err() << "(" << terminalText(textOf(*it, "total")) << " in all: --offset " << next << " shows the next)\n";
}

void printAgents(Context& context, const Json& agents) {
  Table table({"NAME", "STATUS", "PROTECTION", "CAPABILITIES", "LAST SEEN", "DID"});
  for (const Json& agent : agents) {
    const std::string status = statusText(agent);
    table.row({{textOf(agent, "name"), Style::Bold},
               {status, statusStyle(status)},
               {protectionText(agent), {}},
               {joined(agent, "capabilities", ","), {}},
               {shortTime(textOf(agent, "lastSeen")), {}},
               {textOf(agent, "did"), Style::Dim}});
  }
  table.print(context.out(), context.painter());
}

int listAgents(Context& context, const AgentsOptions& options) {
  auto answer = context.call("GET", "/api/agents?" + pageQuery(options.page) + parameter("status", options.status) +
                                        parameter("search", options.search));
  if (!answer) return context.exitCode();
  if (context.json()) return context.printJson(*answer), kOk;
  const Json& items = answer->body["items"];
  if (items.empty()) {
    context.err() << "No agents. One that connects waits in 'vaultysclaw registrations list' until it is approved.\n";
    return kOk;
  }
  printAgents(context, items);
  printMore(context, answer->body, options.page);
  return kOk;
}

int showAgent(Context& context, const std::string& agent) {
  const auto did = context.agentDid(agent);
  if (!did) return context.exitCode();
  auto answer = context.call("GET", "/api/agents/" + percentEncode(*did));
  if (!answer) return context.exitCode();
  if (context.json()) return context.printJson(*answer), kOk;
  printAgent(context, answer->body);
  return kOk;
}

int deleteAgent(Context& context, const std::string& agent) {
  const auto did = context.agentDid(agent);
  if (!did) return context.exitCode();
  auto answer = context.call("DELETE", "/api/agents/" + percentEncode(*did));
  if (!answer) return context.exitCode();
  if (context.json()) {
    JsonWriter w;
    w.beginObject().member("deleted", *did).endObject();
    context.out() << w.take() << '\n';
  } else {
    context.out() << "Deleted " << terminalText(*did) << ". It may register anew.\n";
  }
  return kOk;
}

int pauseAgent(Context& context, const std::string& agent, const std::string& reason) {
  JsonWriter w;
  w.beginObject();
  if (!reason.empty()) w.member("reason", reason);
  w.endObject();
  return changeAgent(context, agent, "/pause", w.take());
}

int resumeAgent(Context& context, const std::string& agent) {
  return changeAgent(context, agent, "/resume", "{}");
}

int resetAgentPin(Context& context, const std::string& agent) {
  return changeAgent(context, agent, "/reset-pin", "{}");
}

int grantAgent(Context& context, const std::string& agent, const GrantOptions& options) {
  const auto did = context.agentDid(agent);
  if (!did) return context.exitCode();
  JsonWriter w;
  w.beginObject();
  writeGrant(w, options);
  if (!options.reason.empty()) w.member("reason", options.reason);
  w.endObject();
  auto answer = context.call("PATCH", "/api/agents/" + percentEncode(*did), w.take());
  if (!answer) return context.exitCode();
  if (context.json()) return context.printJson(*answer), kOk;
  printAgent(context, answer->body);
  return kOk;
}

int listRegistrations(Context& context, const RegistrationsOptions& options) {
  const std::string status = options.status == "all" ? "" : options.status;
  auto answer = context.call("GET", "/api/registrations?" + pageQuery(options.page) + parameter("status", status));
  if (!answer) return context.exitCode();
  if (context.json()) return context.printJson(*answer), kOk;
  const Json& items = answer->body["items"];
  if (items.empty()) {
    context.err() << (status.empty() ? "No registrations.\n" : "No registrations are " + status + ".\n");
    return kOk;
  }
  Table table({"NAME", "STATUS", "WANTS", "FROM", "REQUESTED", "ID", "DID"});
  for (const Json& row : items) {
    const std::string state = textOf(row, "status");
    table.row({{textOf(row, "name"), Style::Bold},
               {state, statusStyle(state)},
               {joined(row, "requestedCapabilities", ","), {}},
               {textOf(row, "address"), {}},
               {shortTime(textOf(row, "requestedAt")), {}},
               {textOf(row, "id"), {}},
               {textOf(row, "did"), Style::Dim}});
  }
  table.print(context.out(), context.painter());
  printMore(context, answer->body, options.page);
  return kOk;
}

int approveRegistration(Context& context, const std::string& registration, const GrantOptions& options) {
  const auto id = context.registrationId(registration);
  if (!id) return context.exitCode();
  JsonWriter w;
  w.beginObject();
  writeGrant(w, options);
  w.endObject();
  auto answer = context.call("POST", "/api/registrations/" + percentEncode(*id) + "/approve", w.take());
  if (!answer) return context.exitCode();
  if (context.json()) return context.printJson(*answer), kOk;
  const std::string granted = joined(answer->body, "capabilities");
  context.out() << "Approved " << terminalText(textOf(answer->body, "name")) << " ("
                << terminalText(textOf(answer->body, "did"))
                << "), granted: " << (granted.empty() ? "nothing" : terminalText(granted)) << '\n';
  return kOk;
}

int rejectRegistration(Context& context, const std::string& registration, const std::string& reason) {
  const auto id = context.registrationId(registration);
  if (!id) return context.exitCode();
  JsonWriter w;
  w.beginObject();
  if (!reason.empty()) w.member("reason", reason);
  w.endObject();
  auto answer = context.call("POST", "/api/registrations/" + percentEncode(*id) + "/reject", w.take());
  if (!answer) return context.exitCode();
  if (context.json()) return context.printJson(*answer), kOk;
  context.out() << "Rejected " << terminalText(*id) << '\n';
  return kOk;
}

int listIntents(Context& context, const IntentsOptions& options) {
  std::string did;
  if (!options.agent.empty()) {
    auto resolved = context.agentDid(options.agent);
    if (!resolved) return context.exitCode();
    did = *resolved;
  }
  auto answer = context.call(
      "GET", "/api/intents?" + pageQuery(options.page) + parameter("did", did) + parameter("status", options.status));
  if (!answer) return context.exitCode();
  if (context.json()) return context.printJson(*answer), kOk;
  if (answer->body["items"].empty()) return context.err() << "No intents.\n", kOk;
  Table table({"SENT", "ACTION", "STATUS", "SIGNATURE", "ID", "AGENT", "ERROR"});
  for (const Json& row : answer->body["items"]) {
    const std::string status = textOf(row, "status");
    const std::string signature = signatureText(row);
    table.row({{shortTime(textOf(row, "createdAt")), {}},
               {textOf(row, "action"), Style::Bold},
               {status, statusStyle(status)},
               {signature, statusStyle(signature)},
               {textOf(row, "intentId"), {}},
               {textOf(row, "did"), Style::Dim},
               {textOf(row, "error").substr(0, 120), {}}});
  }
  table.print(context.out(), context.painter());
  printMore(context, answer->body, options.page);
  return kOk;
}

int showIntent(Context& context, const std::string& id) {
  auto answer = context.call("GET", "/api/intents/" + percentEncode(id));
  if (!answer) return context.exitCode();
  if (context.json()) return context.printJson(*answer), kOk;
  const Json& row = answer->body;
  line(context, "id", textOf(row, "intentId"));
  line(context, "agent", textOf(row, "did"));
  line(context, "action", textOf(row, "action"), Style::Bold);
  line(context, "status", textOf(row, "status"), statusStyle(textOf(row, "status")));
  line(context, "signature", signatureText(row), statusStyle(signatureText(row)));
  if (row.value("resultSigned", false)) {
    const std::string valid = textOf(row, "resultSignatureValid");
    const std::string result = valid == "true" ? "valid" : valid == "false" ? "INVALID" : "not checked";
    line(context, "result signature", result, statusStyle(result));
  }
  line(context, "params", textOf(row, "params"));
  line(context, "output", textOf(row, "output"));
  line(context, "error", textOf(row, "error"));
  line(context, "code", textOf(row, "code"));
  line(context, "requested by", textOf(row, "requestedBy"));
  line(context, "trace", textOf(row, "traceparent"));
  line(context, "idempotency key", textOf(row, "idempotencyKey"));
  line(context, "accepted", textOf(row, "createdAt"));
  line(context, "may wait", textOf(row, "ttlSeconds").empty() ? "" : textOf(row, "ttlSeconds") + " s");
  line(context, "sent", textOf(row, "sentAt"));
  line(context, "executed", textOf(row, "executedAt"));
  line(context, "finished", textOf(row, "finishedAt"));
  if (const auto history = row.find("history"); history != row.end() && history->is_array())
    printHistory(context, *history);
  return kOk;
}

int cancelIntent(Context& context, const std::string& id) {
  auto answer = context.call("POST", "/api/intents/" + percentEncode(id) + "/cancel", "{}");
  if (!answer) return context.exitCode();
  if (context.json()) return context.printJson(*answer), kOk;
  context.out() << "Cancelling " << terminalText(textOf(answer->body, "intentId")) << "\n";
  return kOk;
}

int listAudit(Context& context, const AuditOptions& options) {
  auto answer = context.call("GET", "/api/audit?" + pageQuery(options.page) + parameter("actor", options.actor) +
                                        parameter("action", options.action) + parameter("target", options.target));
  if (!answer) return context.exitCode();
  if (context.json()) return context.printJson(*answer), kOk;
  if (answer->body["items"].empty()) return context.err() << "Nothing in the audit.\n", kOk;
  Table table({"SEQ", "AT", "ACTOR", "ACTION", "TARGET", "DETAILS"});
  for (const Json& row : answer->body["items"]) {
    table.row({{textOf(row, "seq"), Style::Dim},
               {shortTime(textOf(row, "at")), {}},
               {textOf(row, "actor"), {}},
               {textOf(row, "action"), Style::Bold},
               {textOf(row, "target"), {}},
               {textOf(row, "details").substr(0, 160), Style::Dim}});
  }
  table.print(context.out(), context.painter());
  printMore(context, answer->body, options.page);
  return kOk;
}

int verifyAudit(Context& context) {
  auto answer = context.call("GET", "/api/audit/verify", "", seconds(300));
  if (!answer) return context.exitCode();
  const bool valid = answer->body.value("valid", false);
  if (context.json()) return context.printJson(*answer), valid ? kOk : kFailed;
  if (!valid) {
    return context.fail(kFailed,
                        "the audit is broken at row " + textOf(answer->body, "firstBroken") +
                            ": it or one before it was changed, removed or moved",
                        "Keep the database file as evidence and compare it with a backup.");
  }
  context.out() << "The audit's " << terminalText(textOf(answer->body, "rows")) << " rows are "
                << context.painter().paint(Style::Good, "intact") << ".\n";
  return kOk;
}

}  // namespace vaultysclaw::cli
