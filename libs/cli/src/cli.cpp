#include "cli/cli.hpp"

#include <CLI/CLI.hpp>
#include <charconv>
#include <map>

#include "base/ports.hpp"
#include "commands.hpp"
#include "completion.hpp"
#include "control_plane_command.hpp"

#ifndef VC_VERSION
#define VC_VERSION "0.0.0"
#endif

namespace vaultysclaw::cli {
namespace {

constexpr const char* kCommon =
    "\nThe options of 'vaultysclaw --help' (--url, --token-file, --ca-file, --json) work here too.";

// Turns what --expires was given into the time that REST takes; otherwise says what is wrong.
std::string readExpiry(std::string& given) {
  if (fromIso8601(given)) return {};
  const std::string wrong =
      "'" + terminalText(given) + "' is neither a time like 2027-01-31T12:00:00Z nor a while like 30d, 12h or 45m";
  std::int64_t count = 0;
  const char* end = given.data() + given.size();
  const auto parsed = std::from_chars(given.data(), end, count);
  constexpr std::int64_t kMost = 100'000;
  if (parsed.ec != std::errc{} || parsed.ptr + 1 != end || count < 1 || count > kMost) return wrong;
  const std::int64_t minutes = *parsed.ptr == 'm' ? 1 : *parsed.ptr == 'h' ? 60 : *parsed.ptr == 'd' ? 24 * 60 : 0;
  if (minutes == 0) return wrong;
  given = toIso8601(makeSystemClock()->now() + std::chrono::minutes(count * minutes));
  return {};
}

// The command line as CLI11 objects, and for each subcommand what it does. Lives as long as one run(): options are
// bound to its members.
class CommandLine {
 public:
  CommandLine() : app_("Runs and operates agents under zero trust.", "vaultysclaw") {
    app_.require_subcommand(0, 1);
    app_.get_formatter()->column_width(38);
    app_.set_version_flag("--version", std::string("vaultysclaw ") + VC_VERSION, "Prints the version and ends");
    app_.footer(
        "Examples:\n"
        "  vaultysclaw control-plane                     starts a control plane here\n"
        "  vaultysclaw registrations approve echo-agent  lets an agent in\n"
        "  vaultysclaw run echo-agent text_generation '{\"prompt\": \"hello\"}'\n"
        "  vaultysclaw chat echo-agent                   talks to it\n\n"
        "Ends with 0 when all went well, 1 when the operation failed, 2 for a wrong command line, 3 when there is no\n"
        "connection. The command line counts before the configuration file, and that before the environment.");
    text(app_, "--url", global_.url, "Where the control plane's REST API is")->envname("VAULTYSCLAW_URL");
    file(app_, "--token-file", global_.tokenFile, "File with the API token; VAULTYSCLAW_TOKEN holds the token itself")
        ->envname("VAULTYSCLAW_TOKEN_FILE");
    file(app_, "--ca-file", global_.caFile, "PEM file with the authorities to trust for https")
        ->envname("VAULTYSCLAW_CA_FILE");
    app_.add_flag("--allow-plaintext", global_.allowPlaintext, "Sends the token over http:// to another machine too")
        ->envname("VAULTYSCLAW_ALLOW_PLAINTEXT");
    app_.add_flag("--json", global_.json, "Prints JSON for programs instead of text for people");
    auto* config = app_.set_config("--config", "", "TOML file with options; a [section] for each subcommand");
    config->envname("VAULTYSCLAW_CONFIG");
    kinds_[config] = {ValueKind::File, {}};

    addControlPlane();
    addAgents();
    addRegistrations();
    addRun();
    addChat();
    addIntents();
    addAudit();
    addUsers();
    addKeys();
    addWorkspaces();
    addPolicies();
    addGrants();
    addPeers();
    addId();
    addCompletion();
  }

  int run(std::vector<std::string> args, Environment& environment) {
    std::reverse(args.begin(), args.end());  // as CLI11 wants them
    try {
      app_.parse(std::move(args));
    } catch (const CLI::ParseError& error) {
      const int code = app_.exit(error, environment.out, environment.err);
      return code == 0 ? kOk : kUsage;
    }
    const std::function<int(Context&)>* chosen = nullptr;
    for (const auto& [command, action] : actions_) {  // parents stand before their subcommands
      if (command->parsed()) chosen = &action;
    }
    if (chosen == nullptr) {
      environment.err << app_.help();
      return kUsage;
    }
    Context context(environment, global_);
    return (*chosen)(context);
  }

 private:
  struct Hint {
    ValueKind kind = ValueKind::Text;
    std::vector<std::string> choices;
  };
  using Action = std::function<int(Context&)>;

  CLI::App& command(CLI::App& parent, const char* name, const char* about, const std::string& examples, Action action) {
    CLI::App* added = parent.add_subcommand(name, about);
    added->fallthrough();
    added->footer("Examples:\n" + examples + kCommon);
    if (action) actions_.emplace_back(added, std::move(action));
    return *added;
  }
  CLI::Option* hinted(CLI::Option* option, Hint hint) {
    kinds_[option] = std::move(hint);
    return option;
  }
  CLI::Option* text(CLI::App& app, const char* name, std::string& into, const char* about) {
    CLI::Option* option = app.add_option(name, into, about);
    return into.empty() ? option : option->capture_default_str();
  }
  CLI::Option* file(CLI::App& app, const char* name, std::string& into, const char* about) {
    return hinted(text(app, name, into, about), {ValueKind::File, {}});
  }
  CLI::Option* agent(CLI::App& app, const char* name, std::string& into) {
    return hinted(app.add_option(name, into, "The agent: its name, or its DID when several share the name"),
                  {ValueKind::Agent, {}});
  }
  CLI::Option* choice(CLI::App& app, const char* name, std::string& into, const char* about,
                      const std::vector<std::string>& of) {
    return hinted(text(app, name, into, about), {ValueKind::Choice, of})->check(CLI::IsMember(of));
  }
  static void page(CLI::App& app, PageOptions& into) {
    app.add_option("--limit", into.limit, "How many at most")->capture_default_str()->check(CLI::Range(1, 500));
    app.add_option("--offset", into.offset, "How many to skip")->check(CLI::Range(0, 1'000'000'000));
  }

  static void workspaces(CLI::App& app, std::vector<std::string>& into, const char* about) {
    app.add_option("--workspaces,--workspace", into, about)->delimiter(',')->allow_extra_args(false);
  }

  void addControlPlane() {
    auto& c = command(app_, "control-plane", "Starts a control plane and serves until a signal comes",
                      "  vaultysclaw control-plane\n"
                      "  vaultysclaw control-plane --bind 0.0.0.0 --tls-cert cert.pem --tls-key key.pem --allow-host "
                      "claw.example.org\n"
                      "  vaultysclaw control-plane --http-port 0 --ws-port 0 --ready-file /run/claw/ready.json",
                      [this](Context& context) { return serveControlPlane(context, serve_); });
    hinted(text(c, "--data", serve_.data, "Directory of the identity, the database and the API token"),
           {ValueKind::Directory, {}})
        ->envname("VAULTYSCLAW_DATA");
    c.add_option("--http-port", serve_.httpPort, "Port of REST, and of agents at /ws; 0: any free one")
        ->capture_default_str()
        ->envname("VAULTYSCLAW_HTTP_PORT");
    c.add_option("--ws-port", serve_.wsPort, "Port of agents; 0: any free one")
        ->capture_default_str()
        ->envname("VAULTYSCLAW_WS_PORT");
    text(c, "--bind", serve_.bind, "IP address to listen on")->envname("VAULTYSCLAW_BIND");
    c.add_flag("--allow-plaintext-bind", serve_.allowPlaintextBind, "Listens without TLS where others can reach it")
        ->envname("VAULTYSCLAW_ALLOW_PLAINTEXT_BIND");
    c.add_flag("--tls-in-front", serve_.tlsInFront,
               "Something in front does TLS and passes the Host header on: people may log in by what comes from there")
        ->envname("VAULTYSCLAW_TLS_IN_FRONT");
    file(c, "--tls-cert", serve_.tlsCert, "PEM file with the certificate chain")->envname("VAULTYSCLAW_TLS_CERT");
    file(c, "--tls-key", serve_.tlsKey, "PEM file with its key")->envname("VAULTYSCLAW_TLS_KEY");
    c.add_option("--allow-host", serve_.allowedHosts,
                 "Name that requests may be addressed to, besides localhost and IP addresses")
        ->delimiter(',')
        ->allow_extra_args(false)
        ->envname("VAULTYSCLAW_ALLOW_HOST");
    choice(c, "--log-level", serve_.logLevel, "What to log", {"debug", "info", "warn", "error"})
        ->envname("VAULTYSCLAW_LOG_LEVEL");
    choice(c, "--log-format", serve_.logFormat, "How to log, on standard error", {"text", "json"})
        ->envname("VAULTYSCLAW_LOG_FORMAT");
    c.add_option("--drain", serve_.drainSeconds, "Seconds that open work gets at the end")
        ->capture_default_str()
        ->check(CLI::Range(0.0, 3600.0));
    c.add_option("--ping-interval", serve_.pingSeconds,
                 "Seconds of silence before an agent is asked for a sign of life; twice as many, and it counts as gone")
        ->capture_default_str()
        ->check(CLI::Range(0.05, 3600.0));
    file(c, "--ready-file", serve_.readyFile, "Writes {httpPort, wsPort, did, tokenFile} there once it serves");
  }

  void addGrantOptions(CLI::App& c) {
    c.add_option("--capabilities,--capability", capabilities_, "What it may do, separated by commas")
        ->delimiter(',')
        ->allow_extra_args(false);
    c.add_flag("--no-capabilities", noCapabilities_, "It may do nothing (chat aside)")->excludes("--capabilities");
    c.add_option("--max-tokens-per-day", grant_.maxTokensPerDay, "Language model tokens, prompt and answer")
        ->check(CLI::NonNegativeNumber);
    c.add_option("--max-requests-per-hour", grant_.maxRequestsPerHour, "Intents and chats")
        ->check(CLI::NonNegativeNumber);
    c.add_option("--allowed-domains", grant_.allowedDomains, "Hosts that it may reach, separated by commas")
        ->delimiter(',')
        ->allow_extra_args(false);
    text(c, "--expires", grant_.expiresAt, "When this ends: 2027-01-31T12:00:00Z, or 30d, 12h, 45m from now")
        ->transform(CLI::Validator([](std::string& given) { return readExpiry(given); }, ""));
  }
  const GrantOptions& grant() {
    if (noCapabilities_) grant_.capabilities.emplace();
    if (!capabilities_.empty()) grant_.capabilities = capabilities_;
    return grant_;
  }

  void addAgents() {
    auto& c = command(
        app_, "agents", "Lists agents; shows, changes, pauses or deletes one",
        "  vaultysclaw agents --status connected\n  vaultysclaw agents get echo-agent\n"
        "  vaultysclaw agents grant echo-agent --capabilities text_generation,file_access --max-requests-per-hour 100",
        [this](Context& context) { return listAgents(context, agents_); });
    c.require_subcommand(0, 1);
    choice(c, "--status", agents_.status, "Only these", {"connected", "offline"});
    text(c, "--search", agents_.search, "Only those with this in their name or DID");
    page(c, agents_.page);
    auto& get = command(c, "get", "Shows one agent", "  vaultysclaw agents get echo-agent --json",
                        [this](Context& context) { return showAgent(context, agent_); });
    agent(get, "agent", agent_)->required();
    auto& grant =
        command(c, "grant", "Changes what an agent may do; what is not given stays as it is",
                "  vaultysclaw agents grant echo-agent --capabilities text_generation --reason 'no longer needs files'",
                [this](Context& context) { return grantAgent(context, agent_, this->grant()); });
    agent(grant, "agent", agent_)->required();
    addGrantOptions(grant);
    text(grant, "--policy-id", grant_.policyId, "Name of the policy this follows");
    text(grant, "--reason", grant_.reason, "Goes to the agent and into the audit");
    auto& remove =
        command(c, "delete", "Deletes an agent and closes its connection", "  vaultysclaw agents delete echo-agent",
                [this](Context& context) { return deleteAgent(context, agent_); });
    agent(remove, "agent", agent_)->required();
    auto& pause = command(c, "pause", "Gives an agent no more intents and chats until it is resumed",
                          "  vaultysclaw agents pause echo-agent --reason 'under repair'",
                          [this](Context& context) { return pauseAgent(context, agent_, reason_); });
    agent(pause, "agent", agent_)->required();
    text(pause, "--reason", reason_, "Goes to the agent, to whoever asks for work, and into the audit");
    auto& resume = command(c, "resume", "Lets a paused agent go on", "  vaultysclaw agents resume echo-agent",
                           [this](Context& context) { return resumeAgent(context, agent_); });
    agent(resume, "agent", agent_)->required();
    auto& reset = command(c, "reset-pin",
                          "Accepts a weaker handshake from an agent than it has shown before, as after a downgrade",
                          "  vaultysclaw agents reset-pin echo-agent",
                          [this](Context& context) { return resetAgentPin(context, agent_); });
    agent(reset, "agent", agent_)->required();
  }

  void addRegistrations() {
    auto& c = command(app_, "registrations", "Lists who wants in; lets in or keeps out",
                      "  vaultysclaw registrations list\n  vaultysclaw registrations approve echo-agent --capabilities "
                      "text_generation\n"
                      "  vaultysclaw registrations reject echo-agent --reason 'unknown machine'",
                      nullptr);
    c.require_subcommand(1);
    auto& list = command(c, "list", "Lists registrations", "  vaultysclaw registrations list --status all",
                         [this](Context& context) { return listRegistrations(context, registrations_); });
    choice(list, "--status", registrations_.status, "Only these",
           {"pending", "approved", "rejected", "expired", "all"});
    page(list, registrations_.page);
    const char* which = "The registration: its id, or the name or DID of the agent that waits";
    auto& approve = command(
        c, "approve", "Lets an agent in; without --capabilities it gets all it asked for",
        "  vaultysclaw registrations approve echo-agent --capabilities text_generation --max-requests-per-hour 100 "
        "--expires 30d",
        [this](Context& context) { return approveRegistration(context, registration_, grant()); });
    approve.add_option("registration", registration_, which)->required();
    addGrantOptions(approve);
    workspaces(approve, grant_.workspaces,
               "Into which workspaces, by name or id, separated by commas; default without it");
    text(approve, "--policy-id", grant_.policyId, "Name of the policy this follows");
    auto& reject = command(c, "reject", "Keeps an agent out",
                           "  vaultysclaw registrations reject echo-agent --reason 'unknown machine'",
                           [this](Context& context) { return rejectRegistration(context, registration_, reason_); });
    reject.add_option("registration", registration_, which)->required();
    text(reject, "--reason", reason_, "Goes to the agent and into the audit");
  }

  void addRun() {
    auto& c = command(app_, "run", "Runs an action on an agent and prints its output",
                      "  vaultysclaw run echo-agent text_generation '{\"prompt\": \"hello\"}'\n"
                      "  vaultysclaw run echo-agent text_generation @params.json --timeout 5\n"
                      "  jq -n '{prompt: 1}' | vaultysclaw run echo-agent text_generation - --json",
                      [this](Context& context) { return runAction(context, run_); });
    agent(c, "agent", run_.agent)->required();
    c.add_option("action", run_.action, "What to do: one of the agent's capabilities")->required();
    c.add_option("params", run_.params, "A JSON object, @FILE or - for standard input")->capture_default_str();
    c.add_option("--timeout", run_.timeoutSeconds, "Seconds that the agent gets")
        ->capture_default_str()
        ->check(CLI::Range(0.001, 300.0));
    c.add_option("--ttl", run_.ttlSeconds,
                 "Seconds that it may wait for an agent that is away or paused; at most 300, with --no-wait 604800")
        ->check(CLI::Range(1, 604'800));
    c.add_option("--idempotency-key", run_.idempotencyKey,
                 "Name of your choice: the same key again gives the same intent, and never a second run")
        ->check(CLI::Validator(
            [](std::string& given) {
              return given.empty() || given.size() > 128 ? std::string("must be 1 to 128 characters") : std::string();
            },
            ""));
    c.add_flag("--no-wait", run_.noWait, "Prints the intent's id instead of waiting for its result");
  }

  void addChat() {
    auto& c = command(app_, "chat",
                      "Talks to an agent; without a message, until you end it. A broken connection is made again, and "
                      "Ctrl-C stops an answer",
                      "  vaultysclaw chat echo-agent 'What can you do?'\n  vaultysclaw chat echo-agent\n"
                      "  git diff | vaultysclaw chat reviewer -",
                      [this](Context& context) {
                        if (messageOption_->count() > 0) chat_.message = message_;
                        return chat(context, chat_);
                      });
    agent(c, "agent", chat_.agent)->required();
    messageOption_ = c.add_option("message", message_, "What to say; - takes it from standard input");
    text(c, "--conversation", chat_.conversation, "Id of a conversation to go on with");
    c.add_flag("--thinking", chat_.thinking, "Shows the agent's reasoning too, where it gives any");
  }

  void addIntents() {
    auto& c =
        command(app_, "intents", "Lists what was asked of agents and what came of it",
                "  vaultysclaw intents --agent echo-agent --status failed\n  vaultysclaw intents show 0190b6a2-...",
                [this](Context& context) { return listIntents(context, intents_); });
    c.require_subcommand(0, 1);
    agent(c, "--agent", intents_.agent);
    choice(c, "--status", intents_.status, "Only these",
           {"queued", "pending", "success", "failed", "timeout", "lost", "expired"});
    page(c, intents_.page);
    auto& show = command(c, "show", "Shows one intent and what happened to it",
                         "  vaultysclaw intents show 0190b6a2-...\n  vaultysclaw intents show 0190b6a2-... --json",
                         [this](Context& context) { return showIntent(context, intent_); });
    show.alias("get");
    show.add_option("intent", intent_, "The intent's id")->required();
    auto& cancel = command(c, "cancel", "Stops an intent: one that waits ends, an agent that runs it is told",
                           "  vaultysclaw intents cancel 0190b6a2-...",
                           [this](Context& context) { return cancelIntent(context, intent_); });
    cancel.add_option("intent", intent_, "The intent's id")->required();
  }

  void addAudit() {
    auto& c = command(app_, "audit", "Lists what was done and by whom; checks that nobody changed it",
                      "  vaultysclaw audit --action registration.approve\n"
                      "  vaultysclaw audit --action 'key.*' --since 2027-01-31T00:00:00Z\n  vaultysclaw audit verify",
                      [this](Context& context) { return listAudit(context, audit_); });
    c.require_subcommand(0, 1);
    text(c, "--actor", audit_.actor, "Only what this DID, user:NAME or system did");
    text(c, "--action", audit_.action, "Only this kind, or all that begin so: 'key.*'");
    text(c, "--target", audit_.target, "Only what was done to this");
    text(c, "--since", audit_.since, "Only from this time on, as 2027-01-31T12:00:00Z");
    text(c, "--until", audit_.until, "Only before this time");
    c.add_option("--before", audit_.before, "Only with a smaller number (SEQ)")->check(CLI::PositiveNumber);
    c.add_option("--after", audit_.after, "Only with a greater number, the oldest first")
        ->check(CLI::NonNegativeNumber);
    page(c, audit_.page);
    command(c, "verify", "Checks the hash chain over all rows", "  vaultysclaw audit verify",
            [](Context& context) { return verifyAudit(context); });
  }

  void addUsers() {
    auto& c = command(app_, "users", "Lists who may use this control plane; adds, changes or removes one",
                      "  vaultysclaw users list\n  vaultysclaw users add bob --role admin\n"
                      "  vaultysclaw users set-password bob\n  vaultysclaw users disable bob",
                      nullptr);
    c.require_subcommand(1);
    auto& list = command(c, "list", "Lists users", "  vaultysclaw users list --json",
                         [this](Context& context) { return listUsers(context, userPage_); });
    page(list, userPage_);
    const auto one = [&](const char* name, const char* about, const std::string& example,
                         int (*action)(Context&, const std::string&)) {
      auto& added = command(c, name, about, "  vaultysclaw users " + example,
                            [this, action](Context& context) { return action(context, user_); });
      added.add_option("user", user_, "The user: name or id")->required();
    };
    const std::vector<std::string> roles = {"owner", "admin", "member"};
    const char* aboutRole = "member: reads and runs; admin: operates and manages; owner: manages owners too";
    auto& add = command(
        c, "add", "Adds a user, who then needs a key or a password",
        "  vaultysclaw users add bob --role member\n  vaultysclaw users add carol --workspaces research,default\n"
        "  pass show bob | vaultysclaw users add bob --password-stdin",
        [this](Context& context) { return addUser(context, newUser_); });
    add.add_option("user", newUser_.user, "Name: 1 to 64 of a-z, 0-9, . _ and -")->required();
    choice(add, "--role", newUser_.role, aboutRole, roles);
    workspaces(add, newUser_.workspaces, "Which to join, by name or id, separated by commas; default without it");
    add.add_flag("--password-stdin", newUser_.passwordFromInput, "Sets a password too: a line of standard input");
    auto& password =
        command(c, "set-password",
                "Sets a user's password and ends the user's sessions; asks for it, or takes a line of "
                "standard input",
                "  vaultysclaw users set-password bob\n  pass show bob | vaultysclaw users set-password bob",
                [this](Context& context) { return setUserPassword(context, setPassword_); });
    password.add_option("user", setPassword_.user, "The user: name or id")->required();
    password.add_flag("--current", setPassword_.withCurrent,
                      "Takes the current password first: with it a narrow key sets your own");
    one("show", "Shows one user", "show bob --json", showUser);
    auto& role = command(c, "set-role", "Changes what a user may do at most", "  vaultysclaw users set-role bob admin",
                         [this](Context& context) { return setUserRole(context, user_, newRole_); });
    role.add_option("user", user_, "The user: name or id")->required();
    choice(role, "role", newRole_, aboutRole, roles)->required();
    one("disable", "Ends a user's sessions, and lets no key and no log-in of the user in until it is enabled",
        "disable bob", disableUser);
    one("enable", "Lets a disabled user in again", "enable bob", enableUser);
    one("remove", "Removes a user and the user's keys and sessions", "remove bob", removeUser);
  }

  void addKeys() {
    auto& c =
        command(app_, "keys", "Lists, makes and revokes API keys",
                "  vaultysclaw keys list\n"
                "  vaultysclaw keys create --user bob --name laptop --scopes read,run --expires 90d --out bob.key\n"
                "  vaultysclaw keys revoke 0190c0de-...",
                nullptr);
    c.require_subcommand(1);
    const char* whose = "Whose, by name or id; your own without it";
    auto& list = command(c, "list", "Lists keys, never the secrets", "  vaultysclaw keys list --user bob",
                         [this](Context& context) { return listKeys(context, keys_); });
    text(list, "--user", keys_.user, whose);
    page(list, keys_.page);
    auto& create = command(c, "create", "Makes a key and prints it this once",
                           "  vaultysclaw keys create --name ci --scopes read,run --expires 30d --out ci.key",
                           [this](Context& context) { return createKey(context, keys_); });
    text(create, "--user", keys_.user, whose);
    text(create, "--name", keys_.name, "To tell it from others");
    create.add_option("--scopes,--scope", keys_.scopes, "Some of read, run, operate, admin, separated by commas")
        ->delimiter(',')
        ->allow_extra_args(false)
        ->capture_default_str()
        ->check(CLI::IsMember({"read", "run", "operate", "admin"}));
    text(create, "--expires", keys_.expiresAt, "When it ends: 2027-01-31T12:00:00Z, or 30d, 12h, 45m from now")
        ->transform(CLI::Validator([](std::string& given) { return readExpiry(given); }, ""));
    file(create, "--out", keys_.outFile, "Writes the key to this new file, for you alone, and does not print it");
    auto& revoke = command(c, "revoke", "Ends a key at once", "  vaultysclaw keys revoke 0190c0de-... --user bob",
                           [this](Context& context) { return revokeKey(context, keys_); });
    revoke.add_option("id", keys_.id, "Its id, as 'vaultysclaw keys list' shows it")->required();
    text(revoke, "--user", keys_.user, whose);
  }

  void addWorkspaces() {
    auto& c = command(app_, "workspaces", "Says which users and agents belong together: members see no other agents",
                      "  vaultysclaw workspaces list\n  vaultysclaw workspaces add research\n"
                      "  vaultysclaw workspaces add-member research bob\n"
                      "  vaultysclaw workspaces add-agent research echo-agent\n"
                      "  vaultysclaw workspaces remove-agent default echo-agent   now only research sees it",
                      nullptr);
    c.require_subcommand(1);
    auto& list = command(c, "list", "Lists workspaces; a member's own", "  vaultysclaw workspaces list --json",
                         [this](Context& context) { return listWorkspaces(context, workspacePage_); });
    page(list, workspacePage_);
    const auto one = [&](const char* name, const char* about, const std::string& example,
                         std::function<int(Context&)> action) -> CLI::App& {
      auto& added = command(c, name, about, "  vaultysclaw workspaces " + example, std::move(action));
      added.add_option("workspace", workspace_, "The workspace: name or id")->required();
      return added;
    };
    auto& add = command(c, "add", "Adds a workspace with nobody in it", "  vaultysclaw workspaces add research",
                        [this](Context& context) { return addWorkspace(context, workspace_); });
    add.add_option("workspace", workspace_, "Name: 1 to 64 of a-z, 0-9, . _ and -")->required();
    one("show", "Shows one workspace", "show research --json",
        [this](Context& context) { return showWorkspace(context, workspace_); });
    auto& rename = one("rename", "Gives a workspace another name", "rename research labs",
                       [this](Context& context) { return renameWorkspace(context, workspace_, workspaceName_); });
    rename.add_option("name", workspaceName_, "The new name")->required();
    one("remove", "Removes a workspace and its policies; its users and agents stay", "remove research",
        [this](Context& context) { return removeWorkspace(context, workspace_); });
    page(one("members", "Lists its users", "members research",
             [this](Context& context) { return listMembers(context, workspace_, workspacePage_); }),
         workspacePage_);
    page(one("agents", "Lists its agents", "agents research",
             [this](Context& context) { return listPlaced(context, workspace_, workspacePage_); }),
         workspacePage_);
    const auto member = [&](const char* name, const char* about, const std::string& example, Way way) {
      one(name, about, example, [this, way](Context& context) { return moveMember(context, way, workspace_, user_); })
          .add_option("user", user_, "The user: name or id")
          ->required();
    };
    member("add-member", "Puts a user into a workspace", "add-member research bob", Way::In);
    member("remove-member", "Takes a user out of a workspace", "remove-member research bob", Way::Out);
    const auto placed = [&](const char* name, const char* about, const std::string& example, Way way) {
      agent(one(name, about, example,
                [this, way](Context& context) { return moveAgent(context, way, workspace_, agent_); }),
            "agent", agent_)
          ->required();
    };
    placed("add-agent", "Puts an agent into a workspace", "add-agent research echo-agent", Way::In);
    placed("remove-agent", "Takes an agent out of a workspace", "remove-agent research echo-agent", Way::Out);
  }

  void addTerms(CLI::App& c) {
    c.add_option("--capabilities,--capability", grants_.capabilities, "What it is for, separated by commas")
        ->delimiter(',')
        ->allow_extra_args(false)
        ->required();
    text(c, "--expires", grants_.expiresAt, "When it ends: 2027-01-31T12:00:00Z, or 30d, 12h, 45m from now")
        ->transform(CLI::Validator([](std::string& given) { return readExpiry(given); }, ""));
  }
  void addGrantId(CLI::App& parent, const char* name, const char* about, const std::string& example,
                  int (*action)(Context&, const std::string&)) {
    auto& one = command(parent, name, about, example + " 0190c0de-...",
                        [this, action](Context& context) { return action(context, grantId_); });
    one.add_option("id", grantId_, "Its id, as the list shows it")->required();
  }

  void addGrants() {
    auto& c = command(app_, "grants", "Lists what users may have agents do; gives or revokes a grant",
                      "  vaultysclaw grants list --user bob\n"
                      "  vaultysclaw grants add bob echo-agent --capabilities text_generation --expires 30d\n"
                      "  vaultysclaw grants add bob --all-agents --capabilities text_generation\n"
                      "  vaultysclaw grants revoke 0190c0de-...",
                      nullptr);
    c.require_subcommand(1);
    auto& list = command(c, "list", "Lists grants, the newest first", "  vaultysclaw grants list --status live",
                         [this](Context& context) { return listGrants(context, grants_); });
    text(list, "--user", grants_.user, "Only those of this user, by name or id");
    agent(list, "--agent", grants_.agent);
    choice(list, "--status", grants_.status, "Only these", {"live", "expired", "revoked", "all"});
    page(list, grants_.page);
    auto& add = command(c, "add", "Lets a member have an agent do something; admins and owners need no grant",
                        "  vaultysclaw grants add bob echo-agent --capabilities text_generation",
                        [this](Context& context) { return addGrant(context, grants_); });
    add.add_option("user", grants_.user, "The user: name or id")->required();
    agent(add, "agent", grants_.agent);
    add.add_flag("--all-agents", grants_.allAgents, "For every agent that shares a workspace with the user");
    addTerms(add);
    addGrantId(c, "show", "Shows one grant", "  vaultysclaw grants show", showGrant);
    addGrantId(c, "revoke", "Ends a grant; connected agents are told at once", "  vaultysclaw grants revoke",
               revokeGrant);
  }

  void addPeers() {
    auto& c =
        command(app_, "peers", "Lists what agents may ask of each other; gives or revokes a grant",
                "  vaultysclaw peers list --target echo-agent\n"
                "  vaultysclaw peers grant planner echo-agent --capabilities text_generation --skill 'writes texts'\n"
                "  vaultysclaw peers revoke 0190c0de-...",
                nullptr);
    c.require_subcommand(1);
    auto& list = command(c, "list", "Lists them, the newest first", "  vaultysclaw peers list --status live",
                         [this](Context& context) { return listPeers(context, grants_); });
    agent(list, "--source", grants_.agent);
    agent(list, "--target", grants_.target);
    choice(list, "--status", grants_.status, "Only these", {"live", "expired", "revoked", "all"});
    page(list, grants_.page);
    auto& grant = command(c, "grant", "Lets one agent ask another for what that one is granted itself",
                          "  vaultysclaw peers grant planner echo-agent --capabilities text_generation",
                          [this](Context& context) { return grantPeer(context, grants_); });
    agent(grant, "source", grants_.agent)->required();
    agent(grant, "target", grants_.target)->required();
    addTerms(grant);
    text(grant, "--skill", grants_.skill, "What the target is good for, in words for people and models");
    addGrantId(c, "revoke", "Ends one; the agent that could ask is told at once", "  vaultysclaw peers revoke",
               revokePeer);
  }

  void addPolicies() {
    auto& c = command(app_, "policies", "Lists what narrows agents beyond their approval; adds or revokes one",
                      "  vaultysclaw policies list --agent echo-agent\n"
                      "  vaultysclaw policies add --agent echo-agent --max-requests-per-hour 100 --expires 30d\n"
                      "  vaultysclaw policies add --workspace lab --no-capabilities --reason 'stop everything'\n"
                      "  vaultysclaw policies revoke 0190c0de-...",
                      nullptr);
    c.require_subcommand(1);
    auto& list = command(c, "list", "Lists policies, the newest first", "  vaultysclaw policies list --status live",
                         [this](Context& context) { return listPolicies(context, policies_); });
    agent(list, "--agent", policies_.agent);
    text(list, "--workspace", policies_.workspace, "Only those of this workspace, by name or id");
    choice(list, "--status", policies_.status, "Only these", {"live", "expired", "revoked", "all"});
    page(list, policies_.page);
    auto& add = command(c, "add",
                        "Narrows an agent, or all agents of a workspace; connected ones get a new certificate at once",
                        "  vaultysclaw policies add --agent echo-agent --capabilities text_generation\n"
                        "  vaultysclaw policies add --workspace lab --max-tokens-per-day 100000 --name 'lab budget'",
                        [this](Context& context) { return addPolicy(context, policies_, this->grant()); });
    auto* for1 = agent(add, "--agent", policies_.agent);
    text(add, "--workspace", policies_.workspace, "The workspace, by name or id")->excludes(for1);
    text(add, "--name", policies_.name, "To tell it from others");
    addGrantOptions(add);
    text(add, "--reason", grant_.reason, "Goes to the agents and into the audit");
    for (const char* name : {"show", "revoke"}) {
      const bool show = std::string_view(name) == "show";
      auto& one =
          command(c, name, show ? "Shows one policy" : "Revokes a policy: what it narrowed is lifted at once",
                  std::string("  vaultysclaw policies ") + name + " 0190c0de-...", [this, show](Context& context) {
                    return show ? showPolicy(context, policy_) : revokePolicy(context, policy_);
                  });
      one.add_option("policy", policy_, "Its id, as 'vaultysclaw policies list' shows it")->required();
    }
  }

  void addId() {
    auto& c = command(app_, "id", "Makes or shows an identity file; says whom its agent trusts",
                      "  vaultysclaw id new ./agent.id\n  vaultysclaw id show ./agent.id --json\n"
                      "  vaultysclaw id trust ./agent.id",
                      nullptr);
    c.require_subcommand(1);
    auto& make = command(c, "new", "Makes a new identity in a new file", "  vaultysclaw id new ./agent.id",
                         [this](Context& context) { return newIdentity(context, path_); });
    file(make, "path", path_, "The file")->required();
    auto& show =
        command(c, "show", "Prints an identity's DID and fingerprint, never its secret",
                "  vaultysclaw id show ./agent.id", [this](Context& context) { return showIdentity(context, path_); });
    file(show, "path", path_, "The file")->required();
    addTrust(c);
  }

  void addTrust(CLI::App& parent) {
    auto& c = command(parent, "trust", "Shows or changes which control plane a stopped agent belongs to",
                      "  vaultysclaw id trust ./agent.id\n"
                      "  vaultysclaw id trust ./agent.id did:vaultys:00...   only this one from now on\n"
                      "  vaultysclaw id trust ./agent.id --reset             the next one that approves it",
                      [this](Context& context) { return trustControlPlane(context, trust_); });
    file(c, "path", trust_.path, "The agent's identity file")->required();
    auto* did = c.add_option("did", trust_.did, "DID of the control plane, as it shows it when it starts");
    file(c, "--state", trust_.statePath,
         "The agent's state file, alone or shared, if it is not beside the identity file");
    c.add_flag("--reset", trust_.reset, "Forgets the control plane")->excludes(did);
  }

  void addCompletion() {
    auto& c = command(
        app_, "completion", "Prints a completion script for a shell",
        "  source <(vaultysclaw completion bash)\n  vaultysclaw completion zsh > ~/.zsh/completions/_vaultysclaw",
        [this](Context& context) {
          std::vector<CompletionCommand> commands;
          describe(app_, "", commands);
          context.out() << (shell_ == "zsh" ? zshCompletion(commands) : bashCompletion(commands));
          return kOk;
        });
    choice(c, "shell", shell_, "Which shell", {"bash", "zsh"})->required();
  }

  void describe(const CLI::App& app, const std::string& path, std::vector<CompletionCommand>& into) const {
    CompletionCommand described;
    described.path = path;
    for (const CLI::Option* option : app.get_options()) {
      const auto known = kinds_.find(option);
      const Hint hint = known != kinds_.end()
                            ? known->second
                            : Hint{option->get_items_expected_max() == 0 ? ValueKind::None : ValueKind::Text, {}};
      if (option->get_positional()) {
        if (described.firstArgument != ValueKind::None) continue;
        described.firstArgument = hint.kind;
        described.choices = hint.choices;
        continue;
      }
      for (const std::string& name : option->get_lnames()) {
        described.options.push_back({"--" + name, option->get_description(), hint.kind, hint.choices});
      }
    }
    const auto children = app.get_subcommands([](const CLI::App*) { return true; });
    for (const CLI::App* child : children)
      described.subcommands.emplace_back(child->get_name(), child->get_description());
    into.push_back(std::move(described));
    for (const CLI::App* child : children) describe(*child, path + " " + child->get_name(), into);
  }

  CLI::App app_;
  GlobalOptions global_;
  std::vector<std::pair<const CLI::App*, Action>> actions_;
  std::map<const CLI::Option*, Hint> kinds_;

  ControlPlaneOptions serve_;
  AgentsOptions agents_;
  RegistrationsOptions registrations_;
  GrantOptions grant_;
  std::vector<std::string> capabilities_;
  bool noCapabilities_ = false;
  RunOptions run_;
  ChatOptions chat_;
  CLI::Option* messageOption_ = nullptr;
  IntentsOptions intents_;
  AuditOptions audit_;
  TrustOptions trust_;
  PageOptions userPage_;
  KeysOptions keys_;
  PoliciesOptions policies_;
  GrantsOptions grants_;
  std::string grantId_;
  std::string policy_;
  AddUserOptions newUser_;
  SetPasswordOptions setPassword_;
  std::string user_, newRole_;
  PageOptions workspacePage_;
  std::string workspace_, workspaceName_;
  std::string agent_, registration_, reason_, message_, intent_, path_, shell_;
};

}  // namespace

int run(std::vector<std::string> args, Environment& environment) {
  CommandLine commandLine;
  return commandLine.run(std::move(args), environment);
}

}  // namespace vaultysclaw::cli
