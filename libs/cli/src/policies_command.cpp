// Policies: what narrows agents.
#include "base/json_writer.hpp"
#include "commands.hpp"

namespace vaultysclaw::cli {
namespace {

std::string targetOf(const Json& policy) {
  const std::string did = textOf(policy, "did");
  return did.empty() ? "workspace " + textOf(policy, "workspaceId") : did;
}

std::string limitOf(const Json& policy, const char* name) {
  return textOf(policy.value("resourceLimits", Json::object()), name);
}

std::string capabilitiesOf(const Json& policy) {
  const auto it = policy.find("capabilities");
  if (it == policy.end() || it->is_null()) return "as approved";
  return it->empty() ? "none" : joined(policy, "capabilities", ",");
}

Style styleOf(const std::string& status) {
  if (status == "live") return Style::Good;
  return status == "expired" ? Style::Warning : Style::Dim;
}

void printPolicies(Context& context, const Json& policies) {
  Table table({"NAME", "FOR", "STATUS", "CAPABILITIES", "TOKENS/DAY", "REQUESTS/H", "EXPIRES", "ID"});
  for (const Json& policy : policies) {
    const std::string status = textOf(policy, "status");
    table.row({{textOf(policy, "name"), Style::Bold},
               {targetOf(policy), {}},
               {status, styleOf(status)},
               {capabilitiesOf(policy), {}},
               {limitOf(policy, "maxTokensPerDay"), {}},
               {limitOf(policy, "maxRequestsPerHour"), {}},
               {shortTime(textOf(policy, "expiresAt")), {}},
               {textOf(policy, "id"), Style::Dim}});
  }
  table.print(context.out(), context.painter());
}

// What POST and DELETE answer.
int printChanged(Context& context, const Answer& answer) {
  if (context.json()) return context.printJson(answer), kOk;
  printPolicies(context, Json::array({answer.body["policy"]}));
  printSentTo(context, answer.body);
  return kOk;
}

}  // namespace

void printSentTo(Context& context, const Json& body) {
  const std::size_t count = body.value("sentTo", Json::array()).size();
  context.err() << (count == 0 ? "No connected agent had to be told; those that are away hear of it when they come.\n"
                               : "Sent to " + std::to_string(count) + (count == 1 ? " agent.\n" : " agents.\n"));
}

int listPolicies(Context& context, const PoliciesOptions& options) {
  std::string query = pageQuery(options.page);
  if (!options.agent.empty()) {
    const auto did = context.agentDid(options.agent);
    if (!did) return context.exitCode();
    query += "&did=" + percentEncode(*did);
  }
  if (!options.workspace.empty()) query += "&workspace=" + percentEncode(options.workspace);
  if (options.status != "all") query += "&status=" + options.status;
  auto answer = context.call("GET", "/api/policies?" + query);
  if (!answer) return context.exitCode();
  if (context.json()) return context.printJson(*answer), kOk;
  if (answer->body["items"].empty()) return context.err() << "No policies.\n", kOk;
  printPolicies(context, answer->body["items"]);
  printMore(context, answer->body, options.page);
  return kOk;
}

int addPolicy(Context& context, const PoliciesOptions& options, const GrantOptions& to) {
  JsonWriter w;
  w.beginObject();
  if (!options.name.empty()) w.member("name", options.name);
  if (!options.agent.empty()) {
    const auto did = context.agentDid(options.agent);
    if (!did) return context.exitCode();
    w.member("did", *did);
  }
  if (!options.workspace.empty()) w.member("workspace", options.workspace);
  writeCapabilitiesAndLimits(w, to);
  if (!to.expiresAt.empty()) w.member("expiresAt", to.expiresAt);
  if (!to.reason.empty()) w.member("reason", to.reason);
  w.endObject();
  auto answer = context.call("POST", "/api/policies", w.take());
  return answer ? printChanged(context, *answer) : context.exitCode();
}

int showPolicy(Context& context, const std::string& id) {
  auto answer = context.call("GET", "/api/policies/" + percentEncode(id));
  if (!answer) return context.exitCode();
  if (context.json()) return context.printJson(*answer), kOk;
  printPolicies(context, Json::array({answer->body}));
  return kOk;
}

int revokePolicy(Context& context, const std::string& id) {
  auto answer = context.call("DELETE", "/api/policies/" + percentEncode(id));
  return answer ? printChanged(context, *answer) : context.exitCode();
}

}  // namespace vaultysclaw::cli
