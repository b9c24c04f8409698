// The REST API's inside: one object that every handler is a method of, kept alive by the answers under way.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/json_writer.hpp"
#include "control/grants.hpp"
#include "control/logins.hpp"
#include "control/people.hpp"
#include "control/rest_api.hpp"
#include "control/workspaces.hpp"
#include "rest/gatekeeper.hpp"
#include "rest/openapi.hpp"
#include "rest/request_body.hpp"
#include "rest/views.hpp"

namespace vaultysclaw::control::rest {

// One request on its way through. `params` are the path's variable segments, in order.
struct Call {
  std::shared_ptr<net::HttpExchange> exchange;
  std::vector<std::string> params;
  bool original = false;                        // asked through one of the original's /api/admin paths
  std::optional<Principal> who = std::nullopt;  // absent on paths that need no key

  const net::HttpRequest& request() const { return exchange->request(); }
  const Principal& principal() const {
    VC_ASSERT(who.has_value(), "a route that needs no key asks who calls");
    return *who;
  }
  std::string actor() const { return principal().actor(); }
};

class EventStream;

// An agent that a body names. Core::didOf() makes a DID of it, for callers who may know of that agent.
class GivenDid {
 public:
  explicit GivenDid(std::string text) : text_(std::move(text)) {}

 private:
  friend class Core;
  std::string text_;
};

// Confined to the control plane's loop.
class Core : public std::enable_shared_from_this<Core> {
 public:
  using Handler = void (Core::*)(Call);
  struct Route {
    std::string_view method, pattern;
    Permission needs;
    Handler handler;
  };
  static const std::vector<Route>& routes();

  Core(ControlPorts ports, ControlPlane& plane, RestOptions options);
  void handle(std::shared_ptr<net::HttpExchange> exchange);
  // The control plane may go from here on; answers under way keep this object.
  void close() {
    closed_ = true;
    logins_.close();
  }

  // routes_system.cpp
  void health(Call call);
  void metrics(Call call);
  void index(Call call);
  void openApi(Call call);
  void docs(Call call);
  // routes_audit.cpp
  void listAudit(Call call);
  void verifyAudit(Call call);
  // routes_agents.cpp
  void listAgents(Call call);
  void getAgent(Call call);
  void deleteAgent(Call call);
  void patchAgent(Call call);
  void resetPin(Call call);
  void pause(Call call);
  void resume(Call call);
  void runOnAgent(Call call);
  void listRegistrations(Call call);
  void approve(Call call);
  void reject(Call call);
  // routes_intents.cpp
  void sendIntent(Call call);
  void broadcastIntent(Call call);
  void listIntents(Call call);
  void getIntent(Call call);
  void cancelIntent(Call call);
  // routes_chat.cpp
  void chat(Call call);
  void resumeChat(Call call);
  void cancelChat(Call call);

  // routes_people.cpp
  void me(Call call);
  void listUsers(Call call);
  void getUser(Call call);
  void addUser(Call call);
  void changeUser(Call call);
  void removeUser(Call call);
  void listKeys(Call call);
  void createKey(Call call);
  void revokeKey(Call call);
  // routes_workspaces.cpp
  void listWorkspaces(Call call);
  void addWorkspace(Call call);
  void getWorkspace(Call call);
  void renameWorkspace(Call call);
  void removeWorkspace(Call call);
  void listMembers(Call call);
  void addMember(Call call);
  void removeMember(Call call);
  void listPlaced(Call call);
  void addPlaced(Call call);
  void removePlaced(Call call);

  // routes_policies.cpp
  void listPolicies(Call call);
  void getPolicy(Call call);
  void addPolicy(Call call);
  void revokePolicy(Call call);
  // routes_grants.cpp
  void listGrants(Call call);
  void getGrant(Call call);
  void addGrant(Call call);
  void revokeGrant(Call call);
  void listGrantsOf(Call call);
  void addGrantOf(Call call);
  void revokeGrantOf(Call call);
  void listPeerGrants(Call call);
  void getPeerGrant(Call call);
  void addPeerGrant(Call call);
  void revokePeerGrant(Call call);

  // routes_session.cpp
  void logIn(Call call);
  void session(Call call);
  void logOut(Call call);
  void setPassword(Call call);

 private:
  // Whether the route that this asks for answers without a key.
  static bool isOpen(const net::HttpRequest& request, std::string_view path);
  void dispatch(Call call, std::string path);
  // Made when it is first asked for.
  const OpenApi& document();
  // Answers 429 and is false when too many of those long texts that need no key were asked for just now.
  bool mayReadDocument(const Call& call);
  // Every answer leaves through these: they add the headers that all answers have, unless it has its own.
  void respond(const Call& call, net::HttpResponse response) const;
  void respondJson(const Call& call, JsonWriter& w, int status = 200) const;
  void fail(const Call& call, const ApiError& error) const;
  void fail(const Call& call, const Error& error) const { fail(call, toApiError(error)); }
  // The request's body; answers and returns nothing when there is none to use.
  std::optional<Body> body(const Call& call) const;
  // `shown`: what the caller calls the conversation; absent: what the control plane calls it.
  std::function<void(Result<ControlPlane::StartedChat>)> replyStream(const Call& call,
                                                                     const std::shared_ptr<EventStream>& stream,
                                                                     std::optional<ConversationId> shown);
  // Answers 429 and is true when this attempt has to wait.
  bool mustWait(const Call& call, const std::string& userName) const;
  void respondSession(const Call& call, const Principal& who, const std::string& secret, net::Headers headers) const;
  // Answers with the agent as it is now.
  Reply<AgentView> replyAgent(const Call& call);
  // Every agent that a request names comes through these two. They answer 404, and return nothing, for text that is no
  // DID and for an agent that the caller may not know of, as for one that does not exist.
  std::optional<Did> didOf(const Call& call, std::size_t param = 0) const;  // of the path
  std::optional<Did> didOf(const Call& call, const GivenDid& given) const;  // of the body
  // For whom the caller asks: whom intents, chats and delegations name.
  Did forWhom(const Call& call) const;
  // `action` and `params` of a request for work, who asks, and its trace.
  void readWork(Body& body, const Call& call, RunRequest& into) const;
  // Whose intents the caller may know of: admins and owners everybody's, members their own.
  ControlPlane::IntentsOf intentsOf(const Call& call) const;
  // What the control plane and the agent call the conversation that the caller calls `given`. Members name
  // conversations in a space of their own, so that nobody reads, stops or goes on with another's by its name.
  static ConversationId conversationOf(const Call& call, const std::string& given);
  // The workspace of the path, by id or name; answers 404 when there is none that the caller may know of.
  std::optional<store::WorkspaceRow> workspaceOf(const Call& call) const;
  // The agent as the caller may see it.
  void writeAgentFor(const Call& call, JsonWriter& w, AgentView agent) const;
  void writeUser(JsonWriter& w, const store::UserRow& row) const;
  net::HttpResponse userResponse(int status, const store::UserRow& row) const;
  void writeWorkspace(JsonWriter& w, const store::WorkspaceRow& row) const;
  void writeGrant(JsonWriter& w, const UserGrant& grant) const;
  // The grant after a change and who was told of it, or what went wrong.
  Reply<Grants::Changed> replyGrant(const Call& call, int status);
  Reply<PeerGrants::Changed> replyPeerGrant(const Call& call, int status);
  void writePeerGrant(JsonWriter& w, const PeerGrant& grant) const;
  // Whether the caller may see it.
  bool mayKnow(const Call& call, const UserGrant& grant) const;
  void addGrantTo(const Call& call, Body body, std::string user);
  void revokeGrantNamed(const Call& call, const store::GrantId& id);
  std::vector<UserGrant> grantsOf(const store::UserId& user) const;  // the newest first
  net::HttpResponse workspaceResponse(int status, const store::WorkspaceRow& row) const;
  void moveMember(Call call, Workspaces::Way way);
  void movePlaced(Call call, Workspaces::Way way);
  // 200 with the agents that were sent something, or what went wrong.
  Reply<ChangedWorkspace> replySentTo(const Call& call);
  Query query(const Call& call) const {
    return Query(call.request(), call.original ? Query::Unknown::Ignore : Query::Unknown::Refuse);
  }

  ControlPorts ports_;
  ControlPlane& plane_;
  RestOptions options_;
  People& people_;  // the plane's, as the next
  Workspaces& workspaces_;
  Logins logins_;
  Gatekeeper gatekeeper_;
  std::unique_ptr<const OpenApi> document_;
  SteadyTime documentsSince_;  // a minute begins
  std::size_t documentsRead_ = 0;
  SteadyTime started_;
  bool closed_ = false;
};

inline constexpr std::size_t kMaxIdBytes = 128;

// Members that several routes share.
std::optional<protocol::ResourceLimits> readLimits(Body& body, std::string_view name);
// As members of a change: absent ones stay, null takes a limit away, or all of them.
void readLimitChanges(Body& body, std::string_view name, GrantChange& into);
std::optional<std::vector<std::string>> readCapabilities(Body& body, std::string_view name);
// `did`, or agentId and agentDid as the original's clients write it.
GivenDid readDid(Body& body);
// `workspaces`: ids or names.
std::optional<std::vector<std::string>> readWorkspaces(Body& body);
// `ttlSeconds`, at most `maxTtl`, and the idempotency key: a member of the body or the header Idempotency-Key.
void readDurability(Body& body, const net::HttpRequest& request, seconds maxTtl, RunRequest& into);
ApiError notAllowed(Permission needs);
void writeUser(JsonWriter& w, const store::UserRow& row);
void writeScopes(JsonWriter& w, Scopes scopes);
// What every answer carries: nothing is cached, sniffed or framed.
net::Headers commonHeaders();

}  // namespace vaultysclaw::control::rest
