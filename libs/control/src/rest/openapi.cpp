#include "rest/openapi.hpp"

#include <algorithm>

#include "base/bytes.hpp"
#include "identity/hash.hpp"

namespace vaultysclaw::control::rest {
namespace {

using Json = nlohmann::ordered_json;

constexpr Permission kPermissions[] = {Permission::Open, Permission::Own,     Permission::Read,  Permission::Oversee,
                                       Permission::Run,  Permission::Operate, Permission::Manage};

// /api/agents/:did as OpenAPI writes it: /api/agents/{did}.
std::string templateOf(std::string_view pattern) {
  std::string out;
  bool inName = false;
  for (const char c : pattern) {
    if (c == ':') {
      out += '{';
      inName = true;
      continue;
    }
    if (c == '/' && std::exchange(inName, false)) out += '}';
    out += c;
  }
  return inName ? out + '}' : out;
}

std::string lower(std::string_view method) {
  std::string out(method);
  std::transform(out.begin(), out.end(), out.begin(), [](char c) { return static_cast<char>(c - 'A' + 'a'); });
  return out;
}

Json reference(std::string_view response) {
  return {{"$ref", "#/components/responses/" + std::string(response)}};
}

// What the key must have, as roles of the security scheme; a session will do too.
Json securityOf(Permission needs) {
  std::string_view scope;
  switch (needs) {
    case Permission::Open:
      return Json::array();
    case Permission::Own:
      break;
    case Permission::Read:
    case Permission::Oversee:
      scope = "read";
      break;
    case Permission::Run:
      scope = "run";
      break;
    case Permission::Operate:
      scope = "operate";
      break;
    case Permission::Manage:
      scope = "admin";
      break;
  }
  Json scopes = Json::array();
  if (!scope.empty()) scopes.push_back(scope);
  return Json::array({Json{{"apiKey", std::move(scopes)}}, Json{{"session", Json::array()}}});
}

// The answers that follow from what a route needs and takes, beside its own; by status.
Json answersOf(const Json& operation, Permission needs) {
  std::map<std::string, Json> all;
  for (const auto& [status, answer] : operation.at("responses").items()) all.emplace(status, answer);
  all.emplace("400", reference("Invalid"));
  all.emplace("421", reference("WrongHost"));
  if (needs != Permission::Open) {
    all.emplace("401", reference("Unauthenticated"));
    all.emplace("429", reference("Busy"));
    all.emplace("403", reference("Denied"));
  }
  if (operation.contains("requestBody")) {
    all.emplace("413", reference("TooLarge"));
    all.emplace("415", reference("NotJson"));
  }
  all.emplace("default", reference("Failed"));  // behind the digits
  Json out = Json::object();
  for (auto& [status, answer] : all) out[status] = std::move(answer);
  return out;
}

Json completed(const Json& operation, const Json& tag, Permission needs) {
  Json out;
  out["tags"] = Json::array({tag});
  for (const auto& [name, value] : operation.items()) {
    if (name != "responses") out[name] = value;
    if (name != "operationId") continue;
    out["x-vaultysclaw-permission"] = permissionWord(needs);
    out["security"] = securityOf(needs);
  }
  out["responses"] = answersOf(operation, needs);
  return out;
}

void addNew(Json& into, const Json& members) {
  for (const auto& [name, value] : members.items()) {
    VC_ASSERT(!into.contains(name), "two parts of the OpenAPI document have the same name");
    into[name] = value;
  }
}

}  // namespace

std::string_view permissionWord(Permission permission) {
  switch (permission) {
    case Permission::Open:
      return "open";
    case Permission::Own:
      return "own";
    case Permission::Read:
      return "read";
    case Permission::Oversee:
      return "oversee";
    case Permission::Run:
      return "run";
    case Permission::Operate:
      return "operate";
    case Permission::Manage:
      return "manage";
  }
  return "";
}

std::optional<Permission> permissionFrom(std::string_view word) {
  for (const Permission permission : kPermissions) {
    if (word == permissionWord(permission)) return permission;
  }
  return std::nullopt;
}

OpenApi::OpenApi(const std::vector<RouteNeeds>& routes, std::string_view version) {
  for (const std::string_view text : openApiParts()) {
    const Json part = Json::parse(text);
    if (document_.is_null()) {
      document_ = part;
      continue;
    }
    document_["tags"].push_back(part.at("tag"));
    for (const auto& [path, operations] : part.at("paths").items()) {
      Json complete = Json::object();
      for (const auto& [method, operation] : operations.items()) {
        const auto route = std::find_if(routes.begin(), routes.end(), [&, &p = path, &m = method](const RouteNeeds& r) {
          return templateOf(r.pattern) == p && lower(r.method) == m;
        });
        if (method == "parameters") {
          complete[method] = operation;
        } else if (route != routes.end()) {  // one without a route is not answered
          complete[method] = completed(operation, part.at("tag").at("name"), route->needs);
        }
      }
      addNew(document_["paths"], {{path, std::move(complete)}});
    }
    for (const auto& [section, members] : part.at("components").items())
      addNew(document_["components"][section], members);
  }
  document_["info"]["version"] = version;
  json_ = document_.dump();
  const std::string_view style = docsPageStyle().front();
  page_ = docsPage(document_, style);
  pagePolicy_ = "default-src 'none'; style-src 'sha256-" + base64Encode(identity::sha256(asBytes(style))) +
                "'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
}

OpenApi::Operation OpenApi::operation(std::string_view method, std::string_view pattern) const {
  const Json& paths = document_.at("paths");
  const auto path = paths.find(templateOf(pattern));
  if (path == paths.end()) return {};
  const auto found = path->find(lower(method));
  if (found == path->end()) return {};
  return {found->at("operationId").get<std::string>(), found->at("summary").get<std::string>()};
}

}  // namespace vaultysclaw::control::rest
