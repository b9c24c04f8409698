// Users and their API keys.
#include "base/json_writer.hpp"
#include "base/ports.hpp"
#include "commands.hpp"

namespace vaultysclaw::cli {
namespace {

std::string stateOf(const Json& user) {
  return user.value("disabled", false) ? "disabled" : "enabled";
}

void printUsers(Context& context, const Json& users) {
  Table table({"NAME", "ROLE", "STATE", "CREATED", "ID"});
  for (const Json& user : users) {
    table.row({{textOf(user, "name"), Style::Bold},
               {textOf(user, "role"), {}},
               {stateOf(user), user.value("disabled", false) ? Style::Warning : Style::Plain},
               {shortTime(textOf(user, "createdAt")), {}},
               {textOf(user, "id"), Style::Dim}});
  }
  table.print(context.out(), context.painter());
}

// One user as a list of one.
int printUser(Context& context, const Answer& answer) {
  if (context.json()) return context.printJson(answer), kOk;
  printUsers(context, Json::array({answer.body}));
  return kOk;
}

// The user by name (or id), as the control plane has it now.
std::optional<Answer> userOf(Context& context, const std::string& user) {
  return context.call("GET", "/api/users/" + percentEncode(user));
}

int changeUser(Context& context, const std::string& user, const std::string& body) {
  const auto found = userOf(context, user);
  if (!found) return context.exitCode();
  auto answer = context.call("PATCH", "/api/users/" + percentEncode(textOf(found->body, "id")), body);
  if (!answer) return context.exitCode();
  return printUser(context, *answer);
}

std::string ofUser(const std::string& user, const char* separator) {
  return user.empty() ? "" : separator + ("user=" + percentEncode(user));
}

}  // namespace

int listUsers(Context& context, const PageOptions& page) {
  auto answer = context.call("GET", "/api/users?" + pageQuery(page));
  if (!answer) return context.exitCode();
  if (context.json()) return context.printJson(*answer), kOk;
  printUsers(context, answer->body["items"]);
  printMore(context, answer->body, page);
  return kOk;
}

int addUser(Context& context, const std::string& user, const std::string& role,
            const std::vector<std::string>& workspaces) {
  JsonWriter w;
  w.beginObject().member("name", user).member("role", role);
  if (!workspaces.empty()) {
    w.key("workspaces").beginArray();
    for (const std::string& workspace : workspaces) w.value(workspace);
    w.endArray();
  }
  w.endObject();
  auto answer = context.call("POST", "/api/users", w.take());
  if (!answer) return context.exitCode();
  if (!context.json())
    context.err() << "'vaultysclaw keys create --user " << terminalText(user) << "' makes a key for this user.\n";
  return printUser(context, *answer);
}

int showUser(Context& context, const std::string& user) {
  const auto answer = userOf(context, user);
  return answer ? printUser(context, *answer) : context.exitCode();
}

int setUserRole(Context& context, const std::string& user, const std::string& role) {
  JsonWriter w;
  w.beginObject().member("role", role).endObject();
  return changeUser(context, user, w.take());
}

int disableUser(Context& context, const std::string& user) {
  return changeUser(context, user, R"({"disabled":true})");
}

int enableUser(Context& context, const std::string& user) {
  return changeUser(context, user, R"({"disabled":false})");
}

int removeUser(Context& context, const std::string& user) {
  const auto found = userOf(context, user);
  if (!found) return context.exitCode();
  const std::string id = textOf(found->body, "id");
  if (!context.call("DELETE", "/api/users/" + percentEncode(id))) return context.exitCode();
  if (context.json()) {
    JsonWriter w;
    w.beginObject().member("removed", id).endObject();
    context.out() << w.take() << '\n';
  } else {
    context.out() << "Removed " << terminalText(textOf(found->body, "name")) << " and the keys of that user.\n";
  }
  return kOk;
}

int listKeys(Context& context, const KeysOptions& options) {
  auto answer = context.call("GET", "/api/keys?" + pageQuery(options.page) + ofUser(options.user, "&"));
  if (!answer) return context.exitCode();
  if (context.json()) return context.printJson(*answer), kOk;
  if (answer->body["items"].empty()) return context.err() << "No keys.\n", kOk;
  Table table({"NAME", "SCOPES", "STATE", "EXPIRES", "LAST USED", "ID"});
  for (const Json& key : answer->body["items"]) {
    const bool revoked = !textOf(key, "revokedAt").empty();
    table.row({{textOf(key, "name"), Style::Bold},
               {joined(key, "scopes", ","), {}},
               {revoked ? "revoked" : "valid", revoked ? Style::Dim : Style::Plain},
               {shortTime(textOf(key, "expiresAt")), {}},
               {shortTime(textOf(key, "lastUsedAt")), {}},
               {textOf(key, "id"), Style::Dim}});
  }
  table.print(context.out(), context.painter());
  printMore(context, answer->body, options.page);
  return kOk;
}

int createKey(Context& context, const KeysOptions& options) {
  JsonWriter w;
  w.beginObject();
  w.member("name", options.name);
  w.key("scopes").beginArray();
  for (const std::string& scope : options.scopes) w.value(scope);
  w.endArray();
  if (!options.user.empty()) w.member("user", options.user);
  if (!options.expiresAt.empty()) w.member("expiresAt", options.expiresAt);
  w.endObject();
  auto answer = context.call("POST", "/api/keys", w.take());
  if (!answer) return context.exitCode();
  const std::string id = textOf(answer->body, "id"), key = textOf(answer->body, "key");
  if (!options.outFile.empty()) {
    const auto written = makeSystemFileStore()->createPrivate(options.outFile, asBytes(key + "\n"));
    if (!written) {
      // A key that nobody has must not stay valid.
      const bool revoked =
          context.call("DELETE", "/api/keys/" + percentEncode(id) + ofUser(options.user, "?")).has_value();
      return context.fail(kFailed, "the key was not written: " + written.error().message,
                          revoked ? "It was revoked again. Give --out a file that is not there yet."
                                  : "Revoke it: vaultysclaw keys revoke " + id);
    }
    answer->body.erase("key");
    answer->raw = answer->body.dump();
  }
  if (context.json()) return context.printJson(*answer), kOk;
  if (options.outFile.empty()) {
    context.err() << "The key, which is shown this once (id " << terminalText(id) << "):\n";
    context.out() << terminalText(key) << '\n';
  } else {
    context.out() << "The key " << terminalText(id) << " is in the file " << terminalText(options.outFile) << ".\n";
  }
  return kOk;
}

int revokeKey(Context& context, const KeysOptions& options) {
  if (!context.call("DELETE", "/api/keys/" + percentEncode(options.id) + ofUser(options.user, "?")))
    return context.exitCode();
  if (context.json()) {
    JsonWriter w;
    w.beginObject().member("revoked", options.id).endObject();
    context.out() << w.take() << '\n';
  } else {
    context.out() << "Revoked " << terminalText(options.id) << ". It stops with the next request.\n";
  }
  return kOk;
}

}  // namespace vaultysclaw::cli
