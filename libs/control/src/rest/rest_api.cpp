#include "control/rest_api.hpp"

#include <algorithm>

#include "protocol/codec.hpp"
#include "rest/core.hpp"
#include "rest/trace_context.hpp"

namespace vaultysclaw::control {
namespace rest {
namespace {

std::vector<std::string_view> segments(std::string_view path) {
  std::vector<std::string_view> out;
  while (!path.empty()) {
    path.remove_prefix(1);  // the slash
    const auto end = path.find('/');
    out.push_back(path.substr(0, end));
    path = end == std::string_view::npos ? std::string_view() : path.substr(end);
  }
  return out;
}

// The variable segments when `path` fits `pattern`.
std::optional<std::vector<std::string>> match(std::string_view pattern, const std::vector<std::string_view>& path) {
  const auto wanted = segments(pattern);
  if (wanted.size() != path.size()) return std::nullopt;
  std::vector<std::string> params;
  for (std::size_t i = 0; i < path.size(); ++i) {
    if (wanted[i].front() == ':') {
      if (path[i].empty()) return std::nullopt;
      params.emplace_back(path[i]);
    } else if (wanted[i] != path[i]) {
      return std::nullopt;
    }
  }
  return params;
}

std::string_view methodOf(const net::HttpRequest& request) {
  return request.method == "HEAD" ? std::string_view("GET") : std::string_view(request.method);
}

bool under(std::string_view path, std::string_view prefix) {
  return path == prefix || (path.starts_with(prefix) && path[prefix.size()] == '/');
}

// Where the original has a route of ours under another path.
std::optional<std::string> fromOriginal(std::string_view path) {
  constexpr std::string_view kAdmin = "/api/admin";
  if (path == "/api/public/health") return "/health";
  if (!under(path, kAdmin)) return std::nullopt;
  const std::string_view rest = path.substr(kAdmin.size());
  if (under(rest, "/agents") || under(rest, "/registrations") || under(rest, "/intents") || under(rest, "/policies"))
    return "/api" + std::string(rest);
  if (under(rest, "/users") && rest.find("/grants") != std::string_view::npos) return "/api" + std::string(rest);
  if (rest == "/governance/audit") return "/api/audit";
  return std::nullopt;
}

}  // namespace

// What each takes and answers stands in rest/openapi/*.json.
const std::vector<Core::Route>& Core::routes() {
  static const std::vector<Route> all = {
      {"GET", "/health", Permission::Open, &Core::health},
      {"GET", "/metrics", Permission::Open, &Core::metrics},
      {"GET", "/api", Permission::Own, &Core::index},
      {"GET", "/api/openapi.json", Permission::Open, &Core::openApi},
      {"GET", "/api/docs", Permission::Open, &Core::docs},
      {"GET", "/api/agents", Permission::Read, &Core::listAgents},
      {"GET", "/api/agents/:did", Permission::Read, &Core::getAgent},
      {"PATCH", "/api/agents/:did", Permission::Operate, &Core::patchAgent},
      {"DELETE", "/api/agents/:did", Permission::Operate, &Core::deleteAgent},
      {"POST", "/api/agents/:did/pause", Permission::Operate, &Core::pause},
      {"POST", "/api/agents/:did/resume", Permission::Operate, &Core::resume},
      {"POST", "/api/agents/:did/reset-pin", Permission::Operate, &Core::resetPin},
      {"POST", "/api/agents/:did/run", Permission::Run, &Core::runOnAgent},
      {"GET", "/api/registrations", Permission::Oversee, &Core::listRegistrations},
      {"POST", "/api/registrations/:id/approve", Permission::Operate, &Core::approve},
      {"POST", "/api/registrations/:id/reject", Permission::Operate, &Core::reject},
      {"POST", "/api/intents", Permission::Run, &Core::sendIntent},
      {"POST", "/api/intents/broadcast", Permission::Run, &Core::broadcastIntent},
      {"GET", "/api/intents", Permission::Read, &Core::listIntents},
      {"GET", "/api/intents/:id", Permission::Read, &Core::getIntent},
      {"POST", "/api/intents/:id/cancel", Permission::Run, &Core::cancelIntent},
      {"POST", "/api/chat", Permission::Run, &Core::chat},
      {"GET", "/api/chat/:did/:conversationId", Permission::Run, &Core::resumeChat},
      {"DELETE", "/api/chat/:did/:conversationId", Permission::Run, &Core::cancelChat},
      {"GET", "/api/audit", Permission::Oversee, &Core::listAudit},
      {"GET", "/api/audit/verify", Permission::Oversee, &Core::verifyAudit},
      {"POST", "/api/session", Permission::Open, &Core::logIn},
      {"GET", "/api/session", Permission::Own, &Core::session},
      {"DELETE", "/api/session", Permission::Own, &Core::logOut},
      {"GET", "/api/me", Permission::Own, &Core::me},
      {"GET", "/api/users", Permission::Oversee, &Core::listUsers},
      {"POST", "/api/users", Permission::Manage, &Core::addUser},
      {"GET", "/api/users/:id", Permission::Oversee, &Core::getUser},
      {"PATCH", "/api/users/:id", Permission::Manage, &Core::changeUser},
      {"DELETE", "/api/users/:id", Permission::Manage, &Core::removeUser},
      {"POST", "/api/users/:id/password", Permission::Own, &Core::setPassword},
      {"GET", "/api/keys", Permission::Own, &Core::listKeys},
      {"POST", "/api/keys", Permission::Own, &Core::createKey},
      {"DELETE", "/api/keys/:id", Permission::Own, &Core::revokeKey},
      {"GET", "/api/workspaces", Permission::Read, &Core::listWorkspaces},
      {"POST", "/api/workspaces", Permission::Manage, &Core::addWorkspace},
      {"GET", "/api/workspaces/:id", Permission::Read, &Core::getWorkspace},
      {"PATCH", "/api/workspaces/:id", Permission::Manage, &Core::renameWorkspace},
      {"DELETE", "/api/workspaces/:id", Permission::Manage, &Core::removeWorkspace},
      {"GET", "/api/workspaces/:id/members", Permission::Read, &Core::listMembers},
      {"PUT", "/api/workspaces/:id/members/:user", Permission::Manage, &Core::addMember},
      {"DELETE", "/api/workspaces/:id/members/:user", Permission::Manage, &Core::removeMember},
      {"GET", "/api/workspaces/:id/agents", Permission::Read, &Core::listPlaced},
      {"PUT", "/api/workspaces/:id/agents/:did", Permission::Manage, &Core::addPlaced},
      {"DELETE", "/api/workspaces/:id/agents/:did", Permission::Manage, &Core::removePlaced},
      {"GET", "/api/policies", Permission::Oversee, &Core::listPolicies},
      {"POST", "/api/policies", Permission::Operate, &Core::addPolicy},
      {"GET", "/api/policies/:id", Permission::Oversee, &Core::getPolicy},
      {"DELETE", "/api/policies/:id", Permission::Operate, &Core::revokePolicy},
      {"GET", "/api/users/:id/grants", Permission::Read, &Core::listGrantsOf},
      {"POST", "/api/users/:id/grants", Permission::Operate, &Core::addGrantOf},
      {"DELETE", "/api/users/:id/grants/:grant", Permission::Operate, &Core::revokeGrantOf},
      {"GET", "/api/grants", Permission::Read, &Core::listGrants},
      {"POST", "/api/grants", Permission::Operate, &Core::addGrant},
      {"GET", "/api/grants/:id", Permission::Read, &Core::getGrant},
      {"DELETE", "/api/grants/:id", Permission::Operate, &Core::revokeGrant},
      {"GET", "/api/peer-grants", Permission::Oversee, &Core::listPeerGrants},
      {"POST", "/api/peer-grants", Permission::Operate, &Core::addPeerGrant},
      {"GET", "/api/peer-grants/:id", Permission::Oversee, &Core::getPeerGrant},
      {"DELETE", "/api/peer-grants/:id", Permission::Operate, &Core::revokePeerGrant},
  };
  return all;
}

Core::Core(ControlPorts ports, ControlPlane& plane, RestOptions options)
    : ports_(ports),
      plane_(plane),
      options_(std::move(options)),
      people_(plane.people()),
      workspaces_(plane.workspaces()),
      logins_(ports, people_, options_.logins),
      gatekeeper_({options_.allowedHosts, options_.maxFailedLogins, options_.maxRequestsPerKey, options_.tlsInFront,
                   options_.logins.idle},
                  people_, ports.clock, ports.log),
      started_(ports.clock.steady()) {}

void Core::handle(std::shared_ptr<net::HttpExchange> exchange) {
  Call call{std::move(exchange), {}, false, std::nullopt};
  if (auto refused = gatekeeper_.checkHost(call.request())) return fail(call, *refused);
  std::string path = call.request().path;
  if (auto ours = fromOriginal(path)) {
    call.original = true;
    path = std::move(*ours);
  }
  if (under(path, "/api") && !isOpen(call.request(), path)) {
    auto admitted = gatekeeper_.admit(call.request());
    if (const auto* refused = std::get_if<ApiError>(&admitted)) return fail(call, *refused);
    call.who = std::get<Principal>(std::move(admitted));
  }
  dispatch(std::move(call), std::move(path));
}

bool Core::isOpen(const net::HttpRequest& request, std::string_view path) {
  const auto parts = segments(path);
  return std::any_of(routes().begin(), routes().end(), [&](const Route& route) {
    return route.needs == Permission::Open && route.method == methodOf(request) && match(route.pattern, parts);
  });
}

void Core::dispatch(Call call, std::string path) {
  const auto parts = segments(path);
  const std::string_view method = methodOf(call.request());
  std::string allowed;
  for (const Route& route : routes()) {
    auto params = match(route.pattern, parts);
    if (!params) continue;
    if (route.method == method) {
      if (route.needs != Permission::Open && (!call.who || !mayDo(*call.who, route.needs)))
        return fail(call, notAllowed(route.needs));
      call.params = std::move(*params);
      return (this->*route.handler)(std::move(call));
    }
    allowed += (allowed.empty() ? "" : ", ") + std::string(route.method);
    if (route.method == "GET") allowed += ", HEAD";
  }
  if (!allowed.empty()) {
    return fail(call,
                ApiError{Errc::Unsupported, "this path answers " + allowed + " only", 405, {}, {{"Allow", allowed}}});
  }
  fail(call, ApiError{Errc::NotFound, "there is no such path: GET /api lists the routes", 0, {}, {}});
}

ApiError notAllowed(Permission needs) {
  return {Errc::PolicyDenied,
          "your key may not do this: it needs " + std::string(name(needs)) + "; GET /api/me shows what it may",
          0,
          {},
          {}};
}

net::Headers commonHeaders() {
  return {{"Cache-Control", "no-store"},
          {"X-Content-Type-Options", "nosniff"},
          {"Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"},
          {"Referrer-Policy", "no-referrer"}};
}

void Core::respond(const Call& call, net::HttpResponse response) const {
  for (auto& header : commonHeaders()) {
    const bool given = std::any_of(response.headers.begin(), response.headers.end(),
                                   [&](const auto& own) { return own.first == header.first; });
    if (!given) response.headers.push_back(std::move(header));
  }
  if (call.request().method == "HEAD") response.body.clear();
  call.exchange->respond(std::move(response));
}

void Core::respondJson(const Call& call, JsonWriter& w, int status) const {
  respond(call, jsonResponse(status, w.take()));
}

void Core::fail(const Call& call, const ApiError& error) const {
  respond(call, errorResponse(error, ports_.clock.now()));
}

std::optional<Body> Core::body(const Call& call) const {
  auto parsed = Body::parse(call.request());
  if (auto* error = std::get_if<ApiError>(&parsed)) {
    fail(call, *error);
    return std::nullopt;
  }
  return std::get<Body>(std::move(parsed));
}

std::optional<Did> Core::didOf(const Call& call, std::size_t param) const {
  const std::string& text = call.params.at(param);
  if (isValidDid(text)) return didOf(call, GivenDid(text));
  fail(call,
       Error{Errc::NotFound, "'" + printable(text, 100) +
                                 "' is not a DID (did:vaultys: and 40 hex digits): GET /api/agents lists the agents"});
  return std::nullopt;
}

std::optional<Did> Core::didOf(const Call& call, const GivenDid& given) const {
  Did did(given.text_);
  if (workspaces_.mayKnow(call.principal(), did)) return did;
  fail(call, noAgent(did));
  return std::nullopt;
}

ControlPlane::IntentsOf Core::intentsOf(const Call& call) const {
  const Principal& who = call.principal();
  if (who.role >= Role::Admin) return std::nullopt;
  const store::UserRow* row = people_.find(who.user.value);
  return store::IntentOwner{who.actor(), row != nullptr ? row->createdAt : ports_.clock.now()};
}

void readLimitChanges(Body& body, std::string_view name, GrantChange& into) {
  if (body.isNull(name)) {
    into.maxTokensPerDay.emplace();
    into.maxRequestsPerHour.emplace();
    into.allowedDomains.emplace();
  }
  auto inner = body.object(name);
  if (!inner) return;
  constexpr std::int64_t kMost = 1'000'000'000'000'000;
  if (inner->has("maxTokensPerDay")) into.maxTokensPerDay = inner->integer("maxTokensPerDay", 0, kMost);
  if (inner->has("maxRequestsPerHour")) into.maxRequestsPerHour = inner->integer("maxRequestsPerHour", 0, kMost);
  if (inner->has("allowedDomains")) {
    into.allowedDomains = inner->textList("allowedDomains", 256, 253).value_or(std::vector<std::string>{});
  }
  body.absorb(std::move(*inner));
}

std::optional<protocol::ResourceLimits> readLimits(Body& body, std::string_view name) {
  GrantChange change;
  readLimitChanges(body, name, change);
  policy::Grant grant;
  change.apply(grant);
  return grant.limits;
}

std::optional<std::vector<std::string>> readCapabilities(Body& body, std::string_view name) {
  auto list = body.textList(name, 64, 64);
  if (!list) return std::nullopt;
  if (auto checked = protocol::checkCapabilities(*list); !checked)
    body.problem(name, "are not valid: " + checked.error().message);
  return list;
}

GivenDid readDid(Body& body) {
  const char* member = "did";
  for (const char* alias : {"agentId", "agentDid"}) {
    if (!body.has(member) && body.has(alias)) member = alias;
  }
  std::string text = body.requiredText(member, kMaxIdBytes);
  if (!text.empty() && !isValidDid(text)) body.problem(member, "is not a DID (did:vaultys: and 40 hex digits)");
  return GivenDid(std::move(text));
}

std::optional<std::vector<std::string>> readWorkspaces(Body& body) {
  return body.textList("workspaces", Workspaces::kMaxWorkspaces, kMaxIdBytes);
}

Did Core::forWhom(const Call& call) const {
  const store::UserId& user = call.principal().user;
  const store::UserRow* row = people_.find(user.value);
  return Did(row != nullptr ? row->did : user.value);  // of one who has just gone nobody knows it, so it is refused
}

void Core::readWork(Body& body, const Call& call, RunRequest& into) const {
  into.action = body.requiredText("action", 64);
  if (auto params = body.rawObject("params")) into.params = std::move(*params);
  if (auto ms = body.integer("timeoutMs", 1, 86'400'000)) into.timeout = milliseconds(*ms);
  into.requestedBy = call.actor();
  into.userDid = forWhom(call);
  into.trace = traceContextOf(call.request());
}

namespace {

class RestApiImpl final : public RestApi {
 public:
  explicit RestApiImpl(std::shared_ptr<Core> core) : core_(std::move(core)) {}
  ~RestApiImpl() override { core_->close(); }
  RestApiImpl(const RestApiImpl&) = delete;
  RestApiImpl& operator=(const RestApiImpl&) = delete;
  void handle(std::shared_ptr<net::HttpExchange> exchange) override { core_->handle(std::move(exchange)); }

 private:
  std::shared_ptr<Core> core_;  // shared with the answers under way
};

}  // namespace
}  // namespace rest

Result<std::unique_ptr<RestApi>> makeRestApi(ControlPorts ports, ControlPlane& plane, RestOptions options) {
  auto core = std::make_shared<rest::Core>(ports, plane, std::move(options));
  return std::unique_ptr<RestApi>(std::make_unique<rest::RestApiImpl>(std::move(core)));
}

}  // namespace vaultysclaw::control
