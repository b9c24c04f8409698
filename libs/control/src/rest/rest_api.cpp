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
  if (under(rest, "/agents") || under(rest, "/registrations") || under(rest, "/intents"))
    return "/api" + std::string(rest);
  if (rest == "/governance/audit") return "/api/audit";
  return std::nullopt;
}

}  // namespace

const std::vector<Core::Route>& Core::routes() {
  static const std::vector<Route> all = {
      {"GET", "/health", Permission::Open, &Core::health, "Whether the control plane serves; no token"},
      {"GET", "/metrics", Permission::Open, &Core::metrics, "Counters in Prometheus text format; no token"},
      {"GET", "/api", Permission::Own, &Core::index, "This list"},
      {"GET", "/api/agents", Permission::Read, &Core::listAgents, "Agents: ?status, name, search, limit, offset"},
      {"GET", "/api/agents/:did", Permission::Read, &Core::getAgent, "One agent"},
      {"PATCH", "/api/agents/:did", Permission::Operate, &Core::patchAgent,
       "Changes what an agent is granted: {capabilities, resourceLimits, policyId, policyExpiresAt, reason}"},
      {"DELETE", "/api/agents/:did", Permission::Operate, &Core::deleteAgent,
       "Removes an agent and closes its connection"},
      {"POST", "/api/agents/:did/pause", Permission::Operate, &Core::pause, "Gives an agent no more work: {reason}"},
      {"POST", "/api/agents/:did/resume", Permission::Operate, &Core::resume, "Lets a paused agent go on"},
      {"POST", "/api/agents/:did/reset-pin", Permission::Operate, &Core::resetPin,
       "Accepts a weaker handshake from an agent than it has shown before"},
      {"POST", "/api/agents/:did/run", Permission::Run, &Core::runOnAgent,
       "Runs an action and waits for its result: {action, params, timeoutMs, ttlSeconds, idempotencyKey}"},
      {"GET", "/api/registrations", Permission::Oversee, &Core::listRegistrations,
       "Registrations: ?status, limit, offset"},
      {"POST", "/api/registrations/:id/approve", Permission::Operate, &Core::approve,
       "Lets an agent in: {capabilities, resourceLimits, policyId, policyExpiresAt}"},
      {"POST", "/api/registrations/:id/reject", Permission::Operate, &Core::reject, "Keeps an agent out: {reason}"},
      {"POST", "/api/intents", Permission::Run, &Core::sendIntent,
       "Sends an intent and does not wait: {did, action, params, timeoutMs, ttlSeconds, idempotencyKey}"},
      {"POST", "/api/intents/broadcast", Permission::Run, &Core::broadcastIntent,
       "Sends to every connected agent that is granted the action: {action, params, timeoutMs}"},
      {"GET", "/api/intents", Permission::Read, &Core::listIntents, "Intents: ?did, status, limit, offset"},
      {"GET", "/api/intents/:id", Permission::Read, &Core::getIntent,
       "One intent with its signed tokens and its history"},
      {"POST", "/api/intents/:id/cancel", Permission::Run, &Core::cancelIntent,
       "Nobody wants this intent's result any more"},
      {"POST", "/api/chat", Permission::Run, &Core::chat,
       "Talks to an agent, answered as server-sent events: {did, message or messages, conversationId, stream, "
       "thinking, timeoutMs, resumable}"},
      {"GET", "/api/chat/:did/:conversationId", Permission::Run, &Core::resumeChat,
       "Goes on reading an answer that is resumable: ?fromSeq, or the header Last-Event-ID"},
      {"DELETE", "/api/chat/:did/:conversationId", Permission::Run, &Core::cancelChat,
       "Stops an answer and forgets it"},
      {"GET", "/api/audit", Permission::Oversee, &Core::listAudit,
       "What was done: ?actor, action, target, limit, offset"},
      {"GET", "/api/audit/verify", Permission::Oversee, &Core::verifyAudit, "Checks the audit's hash chain"},
      {"POST", "/api/session", Permission::Open, &Core::logIn, "Logs in, answered with a cookie: {user, password}"},
      {"GET", "/api/session", Permission::Own, &Core::session, "The session that a cookie is of, and its CSRF token"},
      {"DELETE", "/api/session", Permission::Own, &Core::logOut, "Logs out"},
      {"GET", "/api/me", Permission::Own, &Core::me, "Whose key or session this is, and what it may do"},
      {"GET", "/api/users", Permission::Oversee, &Core::listUsers, "Users: ?name, limit, offset"},
      {"POST", "/api/users", Permission::Manage, &Core::addUser, "Adds a user: {name, role}"},
      {"GET", "/api/users/:id", Permission::Oversee, &Core::getUser, "One user, by id or name"},
      {"PATCH", "/api/users/:id", Permission::Manage, &Core::changeUser, "Changes a user: {role, disabled}; If-Match"},
      {"DELETE", "/api/users/:id", Permission::Manage, &Core::removeUser,
       "Removes a user and the user's keys; If-Match"},
      {"POST", "/api/users/:id/password", Permission::Own, &Core::setPassword,
       "Sets your password, or another user's, and ends the sessions: {password, currentPassword}"},
      {"GET", "/api/keys", Permission::Own, &Core::listKeys, "Your API keys, or those of ?user; limit, offset"},
      {"POST", "/api/keys", Permission::Own, &Core::createKey, "Makes an API key: {name, scopes, expiresAt, user}"},
      {"DELETE", "/api/keys/:id", Permission::Own, &Core::revokeKey, "Revokes one of your API keys, or of ?user"},
  };
  return all;
}

Core::Core(ControlPorts ports, ControlPlane& plane, RestOptions options)
    : ports_(ports),
      plane_(plane),
      options_(std::move(options)),
      people_(plane.people()),
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
  for (auto& header : commonHeaders()) response.headers.push_back(std::move(header));
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

std::optional<Did> Core::didOf(const Call& call) const {
  const std::string& text = call.params.front();
  if (isValidDid(text)) return Did(text);
  fail(call,
       Error{Errc::NotFound, "'" + printable(text, 100) +
                                 "' is not a DID (did:vaultys: and 40 hex digits): GET /api/agents lists the agents"});
  return std::nullopt;
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

Did readDid(Body& body) {
  for (const char* alias : {"agentId", "agentDid"}) {
    if (body.has("did") || !body.has(alias)) continue;
    Did did(body.requiredText(alias, kMaxIdBytes));
    if (!did.empty() && !isValidDid(did.value)) body.problem(alias, "is not a DID (did:vaultys: and 40 hex digits)");
    return did;
  }
  Did did(body.requiredText("did", kMaxIdBytes));
  if (!did.empty() && !isValidDid(did.value)) body.problem("did", "is not a DID (did:vaultys: and 40 hex digits)");
  return did;
}

void readWork(Body& body, const Call& call, RunRequest& into) {
  into.action = body.requiredText("action", 64);
  if (auto params = body.rawObject("params")) into.params = std::move(*params);
  if (auto ms = body.integer("timeoutMs", 1, 86'400'000)) into.timeout = milliseconds(*ms);
  into.requestedBy = call.actor();
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
