#include "control/rest_api.hpp"

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
       "Lets an agent in: {capabilities, resourceLimits, policyId, policyExpiresAt, workspaces}"},
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
      {"GET", "/api/me", Permission::Own, &Core::me, "Whose key this is, and what it may do"},
      {"GET", "/api/users", Permission::Oversee, &Core::listUsers, "Users: ?name, limit, offset"},
      {"POST", "/api/users", Permission::Manage, &Core::addUser, "Adds a user: {name, role, workspaces}"},
      {"GET", "/api/users/:id", Permission::Oversee, &Core::getUser, "One user, by id or name"},
      {"PATCH", "/api/users/:id", Permission::Manage, &Core::changeUser, "Changes a user: {role, disabled}; If-Match"},
      {"DELETE", "/api/users/:id", Permission::Manage, &Core::removeUser,
       "Removes a user and the user's keys; If-Match"},
      {"GET", "/api/users/:id/grants", Permission::Read, &Core::listGrantsOf,
       "What a user may have agents do; members see their own"},
      {"POST", "/api/users/:id/grants", Permission::Operate, &Core::addGrantOf,
       "As POST /api/grants, for this user: {did, capabilities, expiresAt}"},
      {"DELETE", "/api/users/:id/grants/:grant", Permission::Operate, &Core::revokeGrantOf,
       "Ends a grant of this user; If-Match"},
      {"GET", "/api/keys", Permission::Own, &Core::listKeys, "Your API keys, or those of ?user; limit, offset"},
      {"POST", "/api/keys", Permission::Own, &Core::createKey, "Makes an API key: {name, scopes, expiresAt, user}"},
      {"DELETE", "/api/keys/:id", Permission::Own, &Core::revokeKey, "Revokes one of your API keys, or of ?user"},
      {"GET", "/api/workspaces", Permission::Read, &Core::listWorkspaces, "Workspaces: ?name, limit, offset"},
      {"POST", "/api/workspaces", Permission::Manage, &Core::addWorkspace, "Adds a workspace: {name}"},
      {"GET", "/api/workspaces/:id", Permission::Read, &Core::getWorkspace, "One workspace, by id or name"},
      {"PATCH", "/api/workspaces/:id", Permission::Manage, &Core::renameWorkspace,
       "Renames a workspace: {name}; If-Match"},
      {"DELETE", "/api/workspaces/:id", Permission::Manage, &Core::removeWorkspace,
       "Removes a workspace and its policies; If-Match"},
      {"GET", "/api/workspaces/:id/members", Permission::Read, &Core::listMembers, "Its users: ?limit, offset"},
      {"PUT", "/api/workspaces/:id/members/:user", Permission::Manage, &Core::addMember,
       "Puts a user, by id or name, into a workspace"},
      {"DELETE", "/api/workspaces/:id/members/:user", Permission::Manage, &Core::removeMember,
       "Takes a user out of a workspace"},
      {"GET", "/api/workspaces/:id/agents", Permission::Read, &Core::listPlaced, "Its agents: ?limit, offset"},
      {"PUT", "/api/workspaces/:id/agents/:did", Permission::Manage, &Core::addPlaced,
       "Puts an agent into a workspace"},
      {"DELETE", "/api/workspaces/:id/agents/:did", Permission::Manage, &Core::removePlaced,
       "Takes an agent out of a workspace"},
      {"GET", "/api/policies", Permission::Oversee, &Core::listPolicies,
       "Policies: ?did, workspace, status, limit, offset"},
      {"POST", "/api/policies", Permission::Operate, &Core::addPolicy,
       "Narrows an agent or a workspace: {name, did or workspace, capabilities, resourceLimits, expiresAt, reason}"},
      {"GET", "/api/policies/:id", Permission::Oversee, &Core::getPolicy, "One policy"},
      {"DELETE", "/api/policies/:id", Permission::Operate, &Core::revokePolicy, "Revokes a policy; If-Match"},
      {"GET", "/api/grants", Permission::Read, &Core::listGrants,
       "What users may have agents do; members see their own: ?user, did, status, limit, offset"},
      {"POST", "/api/grants", Permission::Operate, &Core::addGrant,
       "Lets a user have an agent, or all, do something: {user, did, capabilities, expiresAt}"},
      {"GET", "/api/grants/:id", Permission::Read, &Core::getGrant, "One grant"},
      {"DELETE", "/api/grants/:id", Permission::Operate, &Core::revokeGrant, "Ends a grant; If-Match"},
      {"GET", "/api/peer-grants", Permission::Oversee, &Core::listPeerGrants,
       "What agents may ask of each other: ?source, target, status, limit, offset"},
      {"POST", "/api/peer-grants", Permission::Operate, &Core::addPeerGrant,
       "Lets an agent ask another: {source, target, capabilities, skillDescription, expiresAt}"},
      {"GET", "/api/peer-grants/:id", Permission::Oversee, &Core::getPeerGrant, "One peer grant"},
      {"DELETE", "/api/peer-grants/:id", Permission::Operate, &Core::revokePeerGrant, "Ends a peer grant; If-Match"},
  };
  return all;
}

Core::Core(ControlPorts ports, ControlPlane& plane, RestOptions options)
    : ports_(ports),
      plane_(plane),
      options_(std::move(options)),
      people_(plane.people()),
      workspaces_(plane.workspaces()),
      gatekeeper_({options_.allowedHosts, options_.maxFailedLogins, options_.maxRequestsPerKey}, people_, ports.clock,
                  ports.log),
      started_(ports.clock.steady()) {}

void Core::handle(std::shared_ptr<net::HttpExchange> exchange) {
  Call call{std::move(exchange), {}, false, std::nullopt};
  if (auto refused = gatekeeper_.checkHost(call.request())) return fail(call, *refused);
  std::string path = call.request().path;
  if (auto ours = fromOriginal(path)) {
    call.original = true;
    path = std::move(*ours);
  }
  if (under(path, "/api")) {
    auto admitted = gatekeeper_.admit(call.request());
    if (const auto* refused = std::get_if<ApiError>(&admitted)) return fail(call, *refused);
    call.who = std::get<Principal>(std::move(admitted));
  }
  dispatch(std::move(call), std::move(path));
}

void Core::dispatch(Call call, std::string path) {
  const auto parts = segments(path);
  std::string_view method = call.request().method;
  if (method == "HEAD") method = "GET";
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
