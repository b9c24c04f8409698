// Grants: what users may have agents do, and agents ask of each other.
#include "base/json_writer.hpp"
#include "commands.hpp"

namespace vaultysclaw::cli {
namespace {

Style styleOf(const std::string& status) {
  if (status == "live") return Style::Good;
  return status == "expired" ? Style::Warning : Style::Dim;
}

std::string userOf(const Json& grant) {
  const std::string name = textOf(grant, "user");
  return name.empty() ? textOf(grant, "userId") + " (removed)" : name;
}

std::string agentOf(const Json& grant, const char* did, const char* name) {
  const std::string named = textOf(grant, name);
  return named.empty() ? textOf(grant, did) : named;
}

void printGrants(Context& context, const Json& grants) {
  Table table({"USER", "AGENT", "STATUS", "CAPABILITIES", "EXPIRES", "BY", "ID"});
  for (const Json& grant : grants) {
    const std::string status = textOf(grant, "status"), did = textOf(grant, "did");
    table.row({{userOf(grant), Style::Bold},
               {did == "*" ? "all" : did, {}},
               {status, styleOf(status)},
               {joined(grant, "capabilities", ","), {}},
               {shortTime(textOf(grant, "expiresAt")), {}},
               {textOf(grant, "createdBy"), {}},
               {textOf(grant, "id"), Style::Dim}});
  }
  table.print(context.out(), context.painter());
}

void printPeers(Context& context, const Json& grants) {
  Table table({"FROM", "TO", "STATUS", "CAPABILITIES", "EXPIRES", "SKILL", "ID"});
  for (const Json& grant : grants) {
    const std::string status = textOf(grant, "status");
    table.row({{agentOf(grant, "source", "sourceName"), Style::Bold},
               {agentOf(grant, "target", "targetName"), {}},
               {status, styleOf(status)},
               {joined(grant, "capabilities", ","), {}},
               {shortTime(textOf(grant, "expiresAt")), {}},
               {textOf(grant, "skillDescription"), {}},
               {textOf(grant, "id"), Style::Dim}});
  }
  table.print(context.out(), context.painter());
}

using Print = void (*)(Context&, const Json&);

int printList(Context& context, const std::string& path, const PageOptions& page, Print print) {
  auto answer = context.call("GET", path);
  if (!answer) return context.exitCode();
  if (context.json()) return context.printJson(*answer), kOk;
  if (answer->body["items"].empty()) return context.err() << "No grants.\n", kOk;
  print(context, answer->body["items"]);
  printMore(context, answer->body, page);
  return kOk;
}

int printOne(Context& context, const std::string& path, Print print) {
  auto answer = context.call("GET", path);
  if (!answer) return context.exitCode();
  if (context.json()) return context.printJson(*answer), kOk;
  print(context, Json::array({answer->body}));
  return kOk;
}

// What POST and DELETE answer.
int printChanged(Context& context, const std::optional<Answer>& answer, const char* member, Print print) {
  if (!answer) return context.exitCode();
  if (context.json()) return context.printJson(*answer), kOk;
  print(context, Json::array({answer->body[member]}));
  printSentTo(context, answer->body);
  return kOk;
}

void writeTerms(JsonWriter& w, const GrantsOptions& options) {
  w.key("capabilities").beginArray();
  for (const std::string& capability : options.capabilities) w.value(capability);
  w.endArray();
  if (!options.expiresAt.empty()) w.member("expiresAt", options.expiresAt);
}

std::string statusQuery(const GrantsOptions& options) {
  return options.status == "all" ? "" : "&status=" + options.status;
}

}  // namespace

int listGrants(Context& context, const GrantsOptions& options) {
  std::string query = pageQuery(options.page) + statusQuery(options);
  if (!options.user.empty()) query += "&user=" + percentEncode(options.user);
  if (!options.agent.empty()) {
    const auto did = context.agentDid(options.agent);
    if (!did) return context.exitCode();
    query += "&did=" + percentEncode(*did);
  }
  return printList(context, "/api/grants?" + query, options.page, printGrants);
}

int addGrant(Context& context, const GrantsOptions& options) {
  JsonWriter w;
  w.beginObject().member("user", options.user);
  if (options.agent.empty() != options.allAgents)
    return context.fail(kUsage, "a grant is for one agent, or for all of them", "Give an agent, or --all-agents.");
  if (!options.allAgents) {
    const auto did = context.agentDid(options.agent);
    if (!did) return context.exitCode();
    w.member("did", *did);
  }
  writeTerms(w, options);
  w.endObject();
  return printChanged(context, context.call("POST", "/api/grants", w.take()), "grant", printGrants);
}

int showGrant(Context& context, const std::string& id) {
  return printOne(context, "/api/grants/" + percentEncode(id), printGrants);
}

int revokeGrant(Context& context, const std::string& id) {
  return printChanged(context, context.call("DELETE", "/api/grants/" + percentEncode(id)), "grant", printGrants);
}

int listPeers(Context& context, const GrantsOptions& options) {
  std::string query = pageQuery(options.page) + statusQuery(options);
  for (const auto& [name, agent] : {std::pair("source", &options.agent), std::pair("target", &options.target)}) {
    if (agent->empty()) continue;
    const auto did = context.agentDid(*agent);
    if (!did) return context.exitCode();
    query += std::string("&") + name + "=" + percentEncode(*did);
  }
  return printList(context, "/api/peer-grants?" + query, options.page, printPeers);
}

int grantPeer(Context& context, const GrantsOptions& options) {
  const auto source = context.agentDid(options.agent);
  if (!source) return context.exitCode();
  const auto target = context.agentDid(options.target);
  if (!target) return context.exitCode();
  JsonWriter w;
  w.beginObject().member("source", *source).member("target", *target);
  writeTerms(w, options);
  if (!options.skill.empty()) w.member("skillDescription", options.skill);
  w.endObject();
  return printChanged(context, context.call("POST", "/api/peer-grants", w.take()), "peerGrant", printPeers);
}

int revokePeer(Context& context, const std::string& id) {
  return printChanged(context, context.call("DELETE", "/api/peer-grants/" + percentEncode(id)), "peerGrant",
                      printPeers);
}

}  // namespace vaultysclaw::cli
