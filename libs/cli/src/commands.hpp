// The subcommands. Each takes what the command line said and returns the exit code.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/json_writer.hpp"
#include "context.hpp"

namespace vaultysclaw::cli {

struct PageOptions {
  int limit = 50;
  int offset = 0;
};

// For the query of a list, and what to say when there is more of it.
std::string pageQuery(const PageOptions& page);
void printMore(Context& context, const Json& body, const PageOptions& page);

// The table of `vaultysclaw agents`.
void printAgents(Context& context, const Json& agents);

struct AgentsOptions {
  std::string status, search;
  PageOptions page;
};
int listAgents(Context& context, const AgentsOptions& options);
int showAgent(Context& context, const std::string& agent);
int deleteAgent(Context& context, const std::string& agent);
int pauseAgent(Context& context, const std::string& agent, const std::string& reason);
int resumeAgent(Context& context, const std::string& agent);
int resetAgentPin(Context& context, const std::string& agent);

// What an operator grants. Absent members are left out of the request.
struct GrantOptions {
  std::optional<std::vector<std::string>> capabilities;
  std::optional<std::int64_t> maxTokensPerDay, maxRequestsPerHour;
  std::vector<std::string> allowedDomains;
  std::string policyId, expiresAt, reason;
  std::vector<std::string> workspaces;  // of an approval; empty: not said
};
// Members of a request's body.
void writeCapabilitiesAndLimits(JsonWriter& w, const GrantOptions& options);
int grantAgent(Context& context, const std::string& agent, const GrantOptions& options);

struct RegistrationsOptions {
  std::string status = "pending";
  PageOptions page;
};
int listRegistrations(Context& context, const RegistrationsOptions& options);
int approveRegistration(Context& context, const std::string& registration, const GrantOptions& options);
int rejectRegistration(Context& context, const std::string& registration, const std::string& reason);

struct RunOptions {
  std::string agent, action;
  std::string params = "{}";  // JSON, @file or - for standard input
  double timeoutSeconds = 60;
  int ttlSeconds = 0;          // 0: it does not wait for its agent
  std::string idempotencyKey;  // empty: none
  bool noWait = false;
};
int runAction(Context& context, const RunOptions& options);

struct ChatOptions {
  std::string agent;
  std::optional<std::string> message;
  std::string conversation;
  bool thinking = false;
};
int chat(Context& context, const ChatOptions& options);

struct IntentsOptions {
  std::string agent, status;
  PageOptions page;
};
int listIntents(Context& context, const IntentsOptions& options);
int showIntent(Context& context, const std::string& id);
int cancelIntent(Context& context, const std::string& id);

struct AuditOptions {
  std::string actor, action, target, since, until;
  std::optional<std::int64_t> before, after;
  PageOptions page;
};
int listAudit(Context& context, const AuditOptions& options);
int verifyAudit(Context& context);

// A user is given by name, or by id.
int listUsers(Context& context, const PageOptions& page);
struct AddUserOptions {
  std::string user;
  std::string role = "member";
  std::vector<std::string> workspaces;  // empty: the default one
  bool passwordFromInput = false;
};
int addUser(Context& context, const AddUserOptions& options);
struct SetPasswordOptions {
  std::string user;
  bool withCurrent = false;
};
int setUserPassword(Context& context, const SetPasswordOptions& options);
int showUser(Context& context, const std::string& user);
int setUserRole(Context& context, const std::string& user, const std::string& role);
int disableUser(Context& context, const std::string& user);
int enableUser(Context& context, const std::string& user);
int removeUser(Context& context, const std::string& user);

struct KeysOptions {
  std::string user;  // empty: one's own
  std::string name = "key", expiresAt, outFile, id;
  std::vector<std::string> scopes{"read"};
  PageOptions page;
};
int listKeys(Context& context, const KeysOptions& options);
int createKey(Context& context, const KeysOptions& options);
int revokeKey(Context& context, const KeysOptions& options);

// A workspace is given by name, or by id.
int listWorkspaces(Context& context, const PageOptions& page);
int addWorkspace(Context& context, const std::string& workspace);
int showWorkspace(Context& context, const std::string& workspace);
int renameWorkspace(Context& context, const std::string& workspace, const std::string& name);
int removeWorkspace(Context& context, const std::string& workspace);
int listMembers(Context& context, const std::string& workspace, const PageOptions& page);
int listPlaced(Context& context, const std::string& workspace, const PageOptions& page);
enum class Way : bool { In, Out };
int moveMember(Context& context, Way way, const std::string& workspace, const std::string& user);
int moveAgent(Context& context, Way way, const std::string& workspace, const std::string& agent);

struct PoliciesOptions {
  std::string agent, workspace, name;
  std::string status = "all";
  PageOptions page;
};
int listPolicies(Context& context, const PoliciesOptions& options);
int addPolicy(Context& context, const PoliciesOptions& options, const GrantOptions& to);
int showPolicy(Context& context, const std::string& id);
int revokePolicy(Context& context, const std::string& id);
// How many agents were told of a change: the member `sentTo`.
void printSentTo(Context& context, const Json& body);

// Of users and of agents' peers. A user is given by name, id or DID.
struct GrantsOptions {
  std::string user, agent, target, expiresAt, skill;  // of peers `agent` is who asks
  std::vector<std::string> capabilities;
  bool allAgents = false;
  std::string status = "all";
  PageOptions page;
};
int listGrants(Context& context, const GrantsOptions& options);
int addGrant(Context& context, const GrantsOptions& options);
int showGrant(Context& context, const std::string& id);
int revokeGrant(Context& context, const std::string& id);
int listPeers(Context& context, const GrantsOptions& options);
int grantPeer(Context& context, const GrantsOptions& options);
int revokePeer(Context& context, const std::string& id);

int newIdentity(Context& context, const std::string& path);
int showIdentity(Context& context, const std::string& path);
struct TrustOptions {
  std::string path;       // of the identity file
  std::string statePath;  // empty: beside it
  std::string did;        // empty: only show
  bool reset = false;
};
int trustControlPlane(Context& context, const TrustOptions& options);

}  // namespace vaultysclaw::cli
