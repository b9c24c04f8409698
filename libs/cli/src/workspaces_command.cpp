// Workspaces, and the users and agents in them.
#include "base/json_writer.hpp"
#include "commands.hpp"

namespace vaultysclaw::cli {
namespace {

std::string pathOf(const std::string& workspace) {
  return "/api/workspaces/" + percentEncode(workspace);
}

void printWorkspaces(Context& context, const Json& workspaces) {
  Table table({"NAME", "MEMBERS", "AGENTS", "CREATED", "ID"});
  for (const Json& workspace : workspaces) {
    table.row({{textOf(workspace, "name") + (workspace.value("isDefault", false) ? " (default)" : ""), Style::Bold},
               {textOf(workspace, "members"), {}},
               {textOf(workspace, "agents"), {}},
               {shortTime(textOf(workspace, "createdAt")), {}},
               {textOf(workspace, "id"), Style::Dim}});
  }
  table.print(context.out(), context.painter());
}

// One workspace as a list of one.
int printWorkspace(Context& context, const std::optional<Answer>& answer) {
  if (!answer) return context.exitCode();
  if (context.json()) return context.printJson(*answer), kOk;
  printWorkspaces(context, Json::array({answer->body}));
  return kOk;
}

std::string moved(Way way, const std::string& what, const std::string& workspace) {
  return terminalText(what) + (way == Way::In ? " is in " : " is no longer in ") + terminalText(workspace) + ".\n";
}

}  // namespace

int listWorkspaces(Context& context, const PageOptions& page) {
  auto answer = context.call("GET", "/api/workspaces?" + pageQuery(page));
  if (!answer) return context.exitCode();
  if (context.json()) return context.printJson(*answer), kOk;
  if (answer->body["items"].empty())
    return context.err() << "You are in no workspace. An admin puts you into one: vaultysclaw workspaces add-member\n",
           kOk;
  printWorkspaces(context, answer->body["items"]);
  printMore(context, answer->body, page);
  return kOk;
}

int addWorkspace(Context& context, const std::string& workspace) {
  JsonWriter w;
  w.beginObject().member("name", workspace).endObject();
  const auto answer = context.call("POST", "/api/workspaces", w.take());
  if (answer && !context.json())
    context.err() << "'vaultysclaw workspaces add-member' and 'add-agent' put users and agents into it.\n";
  return printWorkspace(context, answer);
}

int showWorkspace(Context& context, const std::string& workspace) {
  return printWorkspace(context, context.call("GET", pathOf(workspace)));
}

int renameWorkspace(Context& context, const std::string& workspace, const std::string& name) {
  JsonWriter w;
  w.beginObject().member("name", name).endObject();
  return printWorkspace(context, context.call("PATCH", pathOf(workspace), w.take()));
}

int removeWorkspace(Context& context, const std::string& workspace) {
  const auto answer = context.call("DELETE", pathOf(workspace));
  if (!answer) return context.exitCode();
  if (context.json()) return context.printJson(*answer), kOk;
  context.out() << "Removed " << terminalText(workspace) << ". Its users and agents stay.\n";
  printSentTo(context, answer->body);
  return kOk;
}

int listMembers(Context& context, const std::string& workspace, const PageOptions& page) {
  auto answer = context.call("GET", pathOf(workspace) + "/members?" + pageQuery(page));
  if (!answer) return context.exitCode();
  if (context.json()) return context.printJson(*answer), kOk;
  if (answer->body["items"].empty())
    return context.err() << "Nobody is in it. 'vaultysclaw workspaces add-member' puts a user into it.\n", kOk;
  Table table({"NAME", "ROLE", "ID"});
  for (const Json& user : answer->body["items"])
    table.row({{textOf(user, "name"), Style::Bold}, {textOf(user, "role"), {}}, {textOf(user, "id"), Style::Dim}});
  table.print(context.out(), context.painter());
  printMore(context, answer->body, page);
  return kOk;
}

int listPlaced(Context& context, const std::string& workspace, const PageOptions& page) {
  auto answer = context.call("GET", pathOf(workspace) + "/agents?" + pageQuery(page));
  if (!answer) return context.exitCode();
  if (context.json()) return context.printJson(*answer), kOk;
  if (answer->body["items"].empty())
    return context.err() << "No agent is in it. 'vaultysclaw workspaces add-agent' puts one into it.\n", kOk;
  printAgents(context, answer->body["items"]);
  printMore(context, answer->body, page);
  return kOk;
}

int moveMember(Context& context, Way way, const std::string& workspace, const std::string& user) {
  const auto answer =
      context.call(way == Way::In ? "PUT" : "DELETE", pathOf(workspace) + "/members/" + percentEncode(user));
  if (!answer) return context.exitCode();
  if (context.json()) return context.printJson(*answer), kOk;
  context.out() << moved(way, user, workspace);
  return kOk;
}

int moveAgent(Context& context, Way way, const std::string& workspace, const std::string& agent) {
  const auto did = context.agentDid(agent);
  if (!did) return context.exitCode();
  const auto answer =
      context.call(way == Way::In ? "PUT" : "DELETE", pathOf(workspace) + "/agents/" + percentEncode(*did));
  if (!answer) return context.exitCode();
  if (context.json()) return context.printJson(*answer), kOk;
  context.out() << moved(way, agent, workspace);
  printSentTo(context, answer->body);
  return kOk;
}

}  // namespace vaultysclaw::cli
