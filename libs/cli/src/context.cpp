#include "context.hpp"

#include <filesystem>

#include "base/ids.hpp"
#include "base/log.hpp"

namespace vaultysclaw::cli {
namespace {

constexpr std::size_t kMaxTokenBytes = 4096;

std::string trimmed(std::string_view text) {
  const auto from = text.find_first_not_of(" \t\r\n");
  if (from == std::string_view::npos) return {};
  return std::string(text.substr(from, text.find_last_not_of(" \t\r\n") - from + 1));
}

}  // namespace

Context::Context(Environment& environment, GlobalOptions options)
    : environment_(environment),
      options_(std::move(options)),
      painter_(environment, environment.outTerminal),
      errorPainter_(environment, environment.errTerminal) {}

int Context::fail(int exitCode, const std::string& message, const std::string& next) {
  err() << errorPainter_.paint(Style::Bad, "vaultysclaw: ") << terminalText(message) << '\n';
  if (!next.empty()) err() << "  " << terminalText(next) << '\n';
  exitCode_ = exitCode;
  return exitCode;
}

void Context::printJson(const Answer& answer) {
  const std::string line = trimmed(answer.raw);
  out() << (environment_.outTerminal == Terminal::Yes ? terminalText(line) : line) << '\n';
}

HttpClient* Context::client() {
  if (client_) return &*client_;
  if (!options_.allowPlaintext && travelsInTheClear(options_.url)) {
    fail(kUsage, "everybody on the way to " + options_.url + " could read the API token",
         "Use https:// (see control-plane --tls-cert), or --allow-plaintext where the network itself is protected.");
    return nullptr;
  }
  ClientOptions connection{options_.url, environment_.variable("VAULTYSCLAW_TOKEN").value_or(""), options_.caFile};
  if (connection.token.empty()) {
    const std::filesystem::path path(options_.tokenFile);
    auto content = makeSystemFileStore()->readPrivate(path, kMaxTokenBytes);
    if (!content) {
      const bool missing = content.error().code == Errc::NotFound;
      fail(kFailed, "no API token: " + content.error().message,
           missing ? "The control plane writes it at its first start, into its data directory: give the file with "
                     "--token-file or VAULTYSCLAW_TOKEN_FILE."
                   : "Make the file readable by you alone: chmod 600 " + options_.tokenFile);
      return nullptr;
    }
    connection.token = trimmed(asText(content->view()));
  }
  if (connection.token.find_first_of("\r\n") != std::string::npos) {
    fail(kFailed, "the API token holds a line break", "Check VAULTYSCLAW_TOKEN or " + options_.tokenFile);
    return nullptr;
  }
  client_.emplace(std::move(connection));
  return &*client_;
}

// What shows the things of which the control plane says that one is missing.
static std::string whereToLook(std::string_view error) {
  constexpr std::pair<std::string_view, std::string_view> kLists[] = {
      {"no user ", "users list"},      {"no key ", "keys list"},
      {"no policy ", "policies list"}, {"no workspace ", "workspaces list"},
      {"no grant ", "grants list"},    {"no peer grant ", "peers list"},
      {"no intent ", "intents"},       {"no registration ", "registrations list"}};
  for (const auto& [missing, list] : kLists) {
    if (error.starts_with(missing)) return "'vaultysclaw " + std::string(list) + "' shows what there is.";
  }
  if (error.find(" is not in the workspace ") != std::string_view::npos)
    return "'vaultysclaw workspaces members' and 'vaultysclaw workspaces agents' show who is.";
  return "'vaultysclaw agents' and 'vaultysclaw registrations list' show what there is.";
}

void Context::explain(const Error& error) {
  switch (error.code) {
    case Errc::Unavailable:
      fail(kCannotConnect, error.message,
           "Is it running? 'vaultysclaw control-plane' starts one; --url or VAULTYSCLAW_URL says where it is.");
      return;
    case Errc::Unauthenticated:
      fail(kCannotConnect, error.message, "Give the certificate authority that signed it with --ca-file.");
      return;
    case Errc::InvalidArgument:
      fail(kUsage, error.message, "Check --url or VAULTYSCLAW_URL.");
      return;
    case Errc::DeadlineExceeded:
    case Errc::ConnectionLost:
      fail(kCannotConnect, error.message);
      return;
    default:
      fail(kFailed, error.message);
  }
}

void Context::explain(const ClientReply& reply) {
  const Json body = Json::parse(reply.body, nullptr, false);
  if (!body.is_object() || !body.contains("error")) {
    fail(kCannotConnect,
         "what answers at " + options_.url + " is not a VaultysClaw control plane (HTTP status " +
             std::to_string(reply.status) + ")",
         "Check --url or VAULTYSCLAW_URL.");
    return;
  }
  std::string next;
  switch (reply.status) {
    case 401:
      next = environment_.variable("VAULTYSCLAW_TOKEN").value_or("").empty()
                 ? "The token came from " + options_.tokenFile +
                       ": is that this control plane's file? --token-file gives another."
                 : "The token came from VAULTYSCLAW_TOKEN.";
      break;
    case 403:
      if (textOf(body, "error").find("your key may not") != std::string::npos)
        next = "A user with the right role makes a wider one: vaultysclaw keys create --scopes ...";
      break;
    case 404:
      next = whereToLook(textOf(body, "error"));
      break;
    case 503:
      next = "'vaultysclaw agents' shows which agents are connected.";
      break;
    case 504:
      next = "--timeout gives the agent longer.";
      break;
    default:
      break;
  }
  fail(kFailed, textOf(body, "error"), next);
  if (!body.contains("details") || !body["details"].is_object() || body["details"].size() < 2) return;
  for (const auto& [member, reason] : body["details"].items()) {
    err() << "  " << terminalText(member) << ": "
          << terminalText(reason.is_string() ? reason.get<std::string>() : reason.dump()) << '\n';
  }
}

std::optional<Answer> Context::call(const std::string& method, const std::string& path, const std::string& body,
                                    Duration timeout) {
  HttpClient* http = client();
  if (http == nullptr) return std::nullopt;
  auto reply = http->request(method, path, body, timeout);
  if (!reply) {
    explain(reply.error());
    return std::nullopt;
  }
  if (reply->status == 204) return Answer{Json::object(), "{}"};
  if (reply->status < 200 || reply->status >= 300) {
    explain(*reply);
    return std::nullopt;
  }
  Answer answer{Json::parse(reply->body, nullptr, false), std::move(reply->body)};
  if (!answer.body.is_object()) {
    explain(ClientReply{reply->status, answer.raw});
    return std::nullopt;
  }
  return answer;
}

std::optional<std::string> Context::agentDid(const std::string& didOrName) {
  if (isValidDid(didOrName)) return didOrName;
  auto found = call("GET", "/api/agents?limit=500&name=" + percentEncode(didOrName));
  if (!found) return std::nullopt;
  const Json& items = found->body["items"];
  if (items.is_array() && items.size() == 1) return textOf(items[0], "did");
  if (!items.is_array() || items.empty()) {
    fail(kFailed, "no agent has the name or DID '" + didOrName + "'", "'vaultysclaw agents' lists them.");
    return std::nullopt;
  }
  std::string dids;
  for (const Json& item : items) dids += "\n    " + textOf(item, "did");
  fail(kFailed, "several agents are called '" + didOrName + "': give the DID of one" + dids);
  return std::nullopt;
}

std::optional<std::string> Context::registrationId(const std::string& idOrName) {
  auto pending = call("GET", "/api/registrations?status=pending&limit=500");
  if (!pending) return std::nullopt;
  std::vector<std::string> ids;
  for (const Json& item : pending->body["items"]) {
    if (textOf(item, "id") == idOrName) return idOrName;
    if (textOf(item, "name") == idOrName || textOf(item, "did") == idOrName) ids.push_back(textOf(item, "id"));
  }
  if (ids.size() == 1) return ids.front();
  if (ids.empty()) return idOrName;  // perhaps decided already: the control plane says so
  std::string list;
  for (const std::string& id : ids) list += "\n    " + id;
  fail(kFailed, "several registrations are for '" + idOrName + "': give the id of one" + list);
  return std::nullopt;
}

std::string textOf(const Json& object, const char* member) {
  const auto it = object.find(member);
  if (it == object.end() || it->is_null()) return {};
  return it->is_string() ? it->get<std::string>() : it->dump();
}

std::string joined(const Json& object, const char* member, const char* separator) {
  std::string out;
  const auto it = object.find(member);
  if (it == object.end() || !it->is_array()) return out;
  for (const Json& entry : *it)
    out += (out.empty() ? "" : separator) + (entry.is_string() ? entry.get<std::string>() : entry.dump());
  return out;
}

std::string shortTime(const std::string& iso) {
  if (iso.size() < 19 || iso[10] != 'T') return iso;
  return iso.substr(0, 10) + " " + iso.substr(11, 8);
}

}  // namespace vaultysclaw::cli
