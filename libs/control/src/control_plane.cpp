// The hub: takes connections in, owns every part, and passes what happens from one to the other.
#include "control/control_plane.hpp"

#include <algorithm>
#include <tuple>
#include <unordered_map>

#include "chats.hpp"
#include "control/grants.hpp"
#include "control/people.hpp"
#include "control/policies.hpp"
#include "control/workspaces.hpp"
#include "entitlements.hpp"
#include "intents.hpp"
#include "journal.hpp"
#include "registrations.hpp"
#include "registry.hpp"
#include "rows.hpp"
#include "session.hpp"

namespace vaultysclaw::control {
namespace {

class Hub final : public ControlPlane, private SessionHost {
 public:
  Hub(ControlPorts ports, identity::VaultysId self, const ControlOptions& options)
      : context_{ports, options, std::move(self), {}},
        journal_(context_),
        registry_(context_, journal_),
        registrations_(
            context_, journal_, registry_, [this](const Did& did, const auto& in) { workspaces_->placed(did, in); },
            [this](Session& s, const store::AgentRow& row) { admit(s, row.did, nullptr); }),
        entitlements_(context_, registry_),
        intents_(context_, journal_, registry_, entitlements_),
        chats_(context_, journal_, registry_, entitlements_) {}
  ~Hub() override { shutdown(); }

  Status load();
  void openEntitlements();

  const identity::VaultysId& self() const override { return context_.self; }
  People& people() override { return *people_; }
  Workspaces& workspaces() override { return *workspaces_; }
  Policies& policies() override { return *policies_; }
  Grants& grants() override { return *grants_; }
  PeerGrants& peerGrants() override { return *peerGrants_; }
  void accept(std::unique_ptr<net::Connection> connection) override;
  void shutdown() override;

  std::vector<AgentView> agents() const override;
  std::optional<AgentView> agent(const Did& did) const override;
  void deleteAgent(const Did& did, std::string actor, Reply<std::monostate> reply) override;
  void updateGrant(const Did& did, GrantChange change, std::string reason, std::string actor,
                   Reply<AgentView> reply) override;
  void resetPin(const Did& did, std::string actor, Reply<AgentView> reply) override;
  void pause(const Did& did, std::string reason, std::string actor, Reply<AgentView> reply) override;
  void resume(const Did& did, std::string actor, Reply<AgentView> reply) override;

  void registrations(std::optional<std::string> status, store::Page page,
                     Reply<store::Listing<store::RegistrationRow>> reply) override;
  void approve(const RegistrationId& id, Approval approval, Reply<store::AgentRow> reply) override {
    if (!open(reply)) return;
    // Answered when the agent has its certificate too, and what else it needs: what it is asked next is not refused.
    registrations_.approve(id, std::move(approval), [this, reply = std::move(reply)](Result<store::AgentRow> row) {
      if (!row) return reply(std::move(row));
      const Did did = row->did;
      entitlements_.whenCurrent(did, [reply, row = std::move(row)] { reply(row); });
    });
  }
  void reject(const RegistrationId& id, std::string reason, std::string actor, Reply<std::monostate> reply) override {
    if (open(reply)) registrations_.reject(id, std::move(reason), std::move(actor), std::move(reply));
  }

  std::optional<IntentId> run(RunRequest request, Reply<RunResult> reply) override {
    return open(reply) ? intents_.run(std::move(request), std::move(reply)) : std::nullopt;
  }
  void cancelIntent(const IntentId& id, std::string_view reason) override { intents_.cancel(id, reason); }
  void cancelIntent(const IntentId& id, std::string actor, IntentsOf whose, Reply<std::monostate> reply) override {
    if (open(reply)) intents_.cancelFor(std::move(actor), id, std::move(whose), std::move(reply));
  }
  void send(RunRequest request, Reply<SentIntent> reply) override {
    if (open(reply)) intents_.send(std::move(request), std::move(reply));
  }
  void broadcast(RunRequest request, const AgentFilter& among, Reply<std::vector<SentIntent>> reply) override {
    if (open(reply)) intents_.broadcast(std::move(request), among, std::move(reply));
  }
  void intents(store::IntentFilter filter, store::Page page, Reply<store::Listing<IntentView>> reply) override {
    intents_.list(std::move(filter), page, std::move(reply));
  }
  void intent(const IntentId& id, IntentsOf whose, Reply<IntentView> reply) override {
    intents_.read(id, std::move(whose), std::move(reply));
  }

  void chat(ChatRequest request, ChatEvents events, std::function<void(Result<StartedChat>)> reply) override {
    if (open<StartedChat>(reply)) chats_.start(std::move(request), std::move(events), std::move(reply));
  }
  void resumeChat(const Did& did, const ConversationId& conversation, std::uint64_t fromEvent, ChatEvents events,
                  std::function<void(Result<StartedChat>)> reply) override {
    if (open<StartedChat>(reply)) chats_.resume(did, conversation, fromEvent, std::move(events), std::move(reply));
  }
  void cancelChat(const Did& did, const ConversationId& conversation, Reply<std::monostate> reply) override {
    if (open(reply)) chats_.cancel(did, conversation, std::move(reply));
  }

  void audit(store::AuditFilter filter, store::Page page, Reply<AuditView> reply) override;
  void verifyAudit(Reply<AuditCheck> reply) override;
  Counters counters() const override;

 private:
  // SessionHost
  Result<Certified> certify(const Session& session, const Did& claimed, identity::IdVersion version,
                            const identity::Features& listed) override;
  const policy::Grant* granted(const Did& did) const override;
  void onProved(Session& session, Candidate candidate) override;
  void onFirstRecord(Session& session) override;
  void onMessage(Session& session, protocol::Message message) override;
  void onReady(Session& session) override;
  void onRefused(Session& session, const Error& error) override;
  void onClosed(Session& session) override;
  void onGone(Session& session) override;

  // Makes `session` the connection of a known agent. `candidate` is absent when it has waited for its approval.
  void admit(Session& session, const Did& did, const Candidate* candidate);
  void onHeartbeat(Session& session, Agent& agent, const protocol::Heartbeat& heartbeat);
  // Those of the agents whose grant is another one now and that are connected: they are told, and get a certificate.
  std::vector<Did> narrowAgain(const std::vector<Did>& agents, const std::string& reason);
  // The session stops counting against the limits on handshakes under way.
  void leaveHandshake(const Session& session);
  AgentView viewOf(const Agent& agent) const;
  // Answers with the agent as it is now, and sends `told` to it.
  void answerWith(const Did& did, const Status& status, std::optional<protocol::Payload> told, Reply<AgentView>& reply);

  template <class T>
  bool open(Reply<T>& reply) const {
    if (!stopped_) return true;
    context_.replyLater<T>(std::move(reply), shuttingDown());
    return false;
  }

  Context context_;
  Journal journal_;
  std::unique_ptr<People> people_;
  std::unique_ptr<Workspaces> workspaces_;
  std::unique_ptr<Policies> policies_;
  std::unique_ptr<Grants> grants_;
  std::unique_ptr<PeerGrants> peerGrants_;
  Registry registry_;
  Registrations registrations_;
  Entitlements entitlements_;
  Intents intents_;
  Chats chats_;
  bool stopped_ = false;
  std::uint64_t nextSession_ = 1;
  std::unordered_map<std::uint64_t, std::shared_ptr<Session>> sessions_;
  std::unordered_map<std::uint64_t, std::string> underWay_;  // sessions in their first handshake, and their address
  std::unordered_map<std::string, std::size_t> underWayAt_;  // by address
};

Status Hub::load() {
  VC_TRY_ASSIGN(people_, People::create(context_.ports));
  VC_TRY_ASSIGN(workspaces_, Workspaces::create(context_.ports, *people_));
  VC_TRY_ASSIGN(policies_, Policies::create(context_.ports, *workspaces_));
  VC_TRY_ASSIGN(grants_, Grants::create(context_.ports));
  VC_TRY_ASSIGN(peerGrants_, PeerGrants::create(context_.ports));
  openEntitlements();
  registry_.narrow = [this](const Did& did, const policy::Grant& approved) { return policies_->narrow(did, approved); };
  policies_->onChanged = [this](const std::vector<Did>& agents, const std::string& reason) {
    return narrowAgain(agents, reason);
  };
  workspaces_->onRemoved = [this](const store::WorkspaceId& workspace, WallTime at) {
    policies_->workspaceRemoved(workspace, at);
  };
  workspaces_->onAgentsMoved = [this](const std::vector<Did>& agents) {
    entitlements_.agentsMoved(agents);
    return narrowAgain(agents, "the agent's workspaces changed");
  };
  std::vector<store::AgentRow> agents;
  std::vector<store::RegistrationRow> waiting;
  VC_TRY(context_.ports.store.readBlocking([&](store::ControlReader& reader) -> Status {
    VC_TRY_ASSIGN(agents, reader.agents());
    VC_TRY_ASSIGN(waiting, reader.pendingRegistrations());
    return {};
  }));
  for (auto& row : agents) VC_TRY(registry_.load(std::move(row)));
  for (auto& row : waiting) registrations_.load(std::move(row));
  return intents_.recover();
}

void Hub::openEntitlements() {
  entitlements_.open({*people_, *workspaces_, *grants_, *peerGrants_});
  people_->onUsersChanged = [this] { entitlements_.usersChanged(); };
  people_->alongRemoval = [this](const store::UserId& user, std::string actor) {
    return grants_->without(user, std::move(actor));
  };
  workspaces_->onUsersMoved = [this](const std::vector<store::UserId>&) { entitlements_.usersMoved(); };
  grants_->onChanged = [this](const store::GrantRow& row, Entitlements::SentTo sent) {
    entitlements_.grantChanged(row, std::move(sent));
  };
  peerGrants_->onChanged = [this](const store::PeerGrantRow& row, Entitlements::SentTo sent) {
    entitlements_.grantChanged(row, std::move(sent));
  };
}

// ---- connections ----------------------------------------------------------------------------------------------------

void Hub::accept(std::unique_ptr<net::Connection> connection) {
  const std::string address = connection->peer().address;
  const std::uint64_t id = nextSession_++;
  SessionHost& host = *this;
  auto session = std::make_shared<Session>(context_, host, id, std::move(connection));
  sessions_.emplace(id, session);
  const auto here = underWayAt_.find(address);
  const bool full = underWay_.size() >= context_.options.maxHandshakes ||
                    (here != underWayAt_.end() && here->second >= context_.options.maxHandshakesPerAddress);
  underWay_.emplace(id, address);
  ++underWayAt_[address];
  session->start();
  if (stopped_) return session->close(net::close_code::kGoingAway, "the control plane is shutting down");
  if (full) session->refuse(Error{Errc::Busy, "too many handshakes are under way; connect again later"});
}

void Hub::leaveHandshake(const Session& session) {
  const auto it = underWay_.find(session.id());
  if (it == underWay_.end()) return;
  if (const auto here = underWayAt_.find(it->second); here != underWayAt_.end() && --here->second == 0)
    underWayAt_.erase(here);
  underWay_.erase(it);
}

Result<Certified> Hub::certify(const Session&, const Did& claimed, identity::IdVersion version,
                               const identity::Features& listed) {
  const Agent* agent = registry_.find(claimed);
  const auto proved =
      agent ? Registrations::Proved{agent->row.handshakeVersion, agent->row.features} : registrations_.proved(claimed);
  const std::string reset =
      "; if the agent was really set back, an operator lets it in again with 'vaultysclaw agents "
      "reset-pin " +
      claimed.value + "'";
  if (version == identity::IdVersion::V0 && proved.handshakeVersion >= 1) {
    return Error{Errc::PolicyDenied, "version 0 handshakes are refused for " + claimed.value +
                                         ", which has completed version 1: its certificate would not be protected" +
                                         reset};
  }
  VC_TRY_ASSIGN(const auto pinned, identity::Features::fromText(proved.features));
  if (const std::string missing = listed.missing(pinned); !missing.empty()) {
    return Error{Errc::PolicyDenied,
                 claimed.value + " does not list " + missing + ", which it has listed before" + reset};
  }
  return agent ? Certified{true, agent->grant} : Certified{};
}

const policy::Grant* Hub::granted(const Did& did) const {
  const Agent* agent = registry_.find(did);
  return agent ? &agent->grant : nullptr;
}

void Hub::onFirstRecord(Session& session) {
  const Agent* agent = registry_.find(session.did());
  if (agent && agent->session.get() == &session) return registry_.pin(session.did(), session.listed());
  registrations_.onFirstRecord(session);
}

void Hub::onProved(Session& session, Candidate candidate) {
  leaveHandshake(session);
  // What was certified may have been decided otherwise while the handshake ran.
  const auto version = candidate.handshakeVersion >= 1 ? identity::IdVersion::V1 : identity::IdVersion::V0;
  if (auto now = certify(session, candidate.did, version, candidate.features); !now) return session.refuse(now.error());
  const bool known = registry_.find(candidate.did) != nullptr;
  if (candidate.certified.known && !known) {
    return session.refuse(
        Error{Errc::PolicyDenied, "the agent was removed during its handshake; connect again to register"});
  }
  if (known) return admit(session, candidate.did, &candidate);
  registrations_.onProved(session, candidate);
}

void Hub::admit(Session& session, const Did& did, const Candidate* candidate) {
  Agent* agent = registry_.find(did);
  VC_ASSERT(agent, "admit() of an agent that is not in the registry");
  const auto old = std::exchange(agent->session, session.shared_from_this());
  agent->connectedAt = context_.now();
  agent->row.lastSeenAt = agent->connectedAt;
  agent->seenStoredAt = context_.ports.clock.steady();
  agent->lastHeartbeat.reset();
  if (candidate && candidate->handshakeVersion > agent->row.handshakeVersion)
    agent->row.handshakeVersion = candidate->handshakeVersion;

  Registry::Change change = [seen = *agent->connectedAt, version = agent->row.handshakeVersion,
                             name = candidate ? std::optional(candidate->name) : std::nullopt,
                             requested = candidate && candidate->statedCapabilities
                                             ? std::optional(capabilitiesToJson(candidate->capabilities))
                                             : std::nullopt](store::AgentRow& row) -> Status {
    row.lastSeenAt = seen;
    row.handshakeVersion = std::max(row.handshakeVersion, version);
    if (name) row.name = *name;
    if (requested) row.requestedCapabilities = *requested;
    return {};
  };
  const auto& peer = session.peer();
  registry_.changeSurely(did, std::move(change),
                         AuditEntry{did.value, "agent.connect", did.value,
                                    details({{"address", peer.address},
                                             {"transport", peer.transport},
                                             {"sealed", session.inUse().seal ? "true" : "false"},
                                             {"handshakeVersion", std::to_string(agent->row.handshakeVersion)}})});
  context_.ports.log.info("agent", printable(agent->row.name) + " (" + did.value + ") connected from " + peer.address);
  session.connect(did, agent->grant);
  if (agent->row.paused) session.tell(protocol::Pause{*agent->row.paused});
  chats_.agentBack(did);
  if (old && old.get() != &session)
    old->close(net::close_code::kNormal, "replaced by another connection of this agent");
}

void Hub::onRefused(Session& session, const Error& error) {
  const std::string who = session.did().empty() ? session.peer().address : session.did().value;
  const bool recorded = journal_.recordRefusal(who, printable(error.message));
  context_.ports.log.log(recorded ? LogLevel::Info : LogLevel::Debug, "session",
                         "refused " + who + ": " + printable(error.message));
}

void Hub::onClosed(Session& session) {
  leaveHandshake(session);
  registrations_.onClosed(session);
  Agent* agent = registry_.find(session.did());
  if (!agent || agent->session.get() != &session) return;
  agent->session.reset();
  agent->connectedAt.reset();
  journal_.record({session.did().value, "agent.disconnect", session.did().value, "{}"});
  context_.ports.log.info("agent", printable(agent->row.name) + " (" + session.did().value + ") disconnected");
  entitlements_.agentGone(session.did());
  if (stopped_) return;  // shutdown() answers what is pending
  intents_.agentGone(session.did());
  chats_.agentGone(session.did());
}

void Hub::onReady(Session& session) {
  const Agent* agent = registry_.find(session.did());
  if (!agent || agent->session.get() != &session) return;
  // First what the agent judges by, then what has waited for it.
  entitlements_.agentReady(session, [this, did = session.did()] { intents_.agentReady(did); });
}

void Hub::onGone(Session& session) {
  sessions_.erase(session.id());
}

void Hub::onMessage(Session& session, protocol::Message message) {
  Agent* agent = registry_.find(session.did());
  if (!agent || agent->session.get() != &session) return;
  using namespace protocol;
  bool wanted = true;
  if (const auto* heartbeat = std::get_if<Heartbeat>(&message.payload)) {
    onHeartbeat(session, *agent, *heartbeat);
  } else if (auto* result = std::get_if<IntentResult>(&message.payload)) {
    registry_.seen(*agent);
    wanted = intents_.onResult(session, std::move(*result));
  } else if (const auto* ack = std::get_if<IntentAck>(&message.payload)) {
    intents_.onAck(session.did(), *ack);
  } else if (const auto* chunk = std::get_if<ChatResponse>(&message.payload)) {
    wanted = chats_.onResponse(session.did(), *chunk);
  } else if (const auto* approval = std::get_if<ToolApprovalRequest>(&message.payload)) {
    // Nobody is asked, so the answer is no, at once: the agent would wait in vain.
    session.send(ToolApprovalResponse{approval->requestId, false, "this control plane takes no tool approvals"});
  } else {
    wanted = false;  // answers to questions that were not asked, and types of another version
  }
  if (wanted) return;
  ++context_.counters.messagesRefused;
  context_.ports.log.debug("agent", session.did().value + ": dropped an unexpected message");
}

void Hub::onHeartbeat(Session& session, Agent& agent, const protocol::Heartbeat& heartbeat) {
  for (const auto& call : heartbeat.stuckCalls) {
    const auto& before = agent.lastHeartbeat ? agent.lastHeartbeat->stuckCalls : std::vector<protocol::StuckCall>();
    const auto known = [&](const protocol::StuckCall& one) { return one.id == call.id && one.action == call.action; };
    if (std::none_of(before.begin(), before.end(), known))
      context_.ports.log.warn("agent", session.did().value + ": its handler of " + printable(call.action) + " (" +
                                           printable(call.id) + ") still runs " + std::to_string(call.overdueSeconds) +
                                           " s after its deadline");
  }
  agent.lastHeartbeat = heartbeat;
  registry_.seen(agent);
  session.send(protocol::Pong{toIso8601(context_.now()), heartbeat.syncId});
}

void Hub::shutdown() {
  if (std::exchange(stopped_, true)) return;
  intents_.shutdown();
  chats_.shutdown();
  std::vector<std::shared_ptr<Session>> open;
  for (const auto& [id, session] : sessions_) open.push_back(session);
  for (const auto& session : open) session->close(net::close_code::kGoingAway, "the control plane is shutting down");
}

// ---- agents ---------------------------------------------------------------------------------------------------------

AgentView Hub::viewOf(const Agent& agent) const {
  AgentView view;
  view.row = agent.row;
  view.granted = agent.grant;
  view.policies = policies_->of(agent.row.did);
  view.workspaces = workspaces_->of(agent.row.did);
  view.lastHeartbeat = agent.lastHeartbeat;
  view.pendingIntents = intents_.pending(agent.row.did);
  if (agent.session) {
    view.status = AgentStatus::Connected;
    view.connectedAt = agent.connectedAt;
    view.address = agent.session->peer().address;
    view.transport = agent.session->peer().transport;
    view.protection = agent.session->peer().protection;
    view.sealed = agent.session->inUse().seal;
    view.certificateCurrent = agent.session->certificateCurrent();
    view.features = agent.session->inUse().names();
  }
  return view;
}

std::vector<AgentView> Hub::agents() const {
  std::vector<AgentView> out;
  out.reserve(registry_.all().size());
  for (const auto& [did, agent] : registry_.all()) out.push_back(viewOf(agent));
  std::sort(out.begin(), out.end(), [](const AgentView& a, const AgentView& b) {
    return std::tie(a.row.createdAt, a.row.did) < std::tie(b.row.createdAt, b.row.did);
  });
  return out;
}

std::optional<AgentView> Hub::agent(const Did& did) const {
  const Agent* found = registry_.find(did);
  return found ? std::optional(viewOf(*found)) : std::nullopt;
}

void Hub::deleteAgent(const Did& did, std::string actor, Reply<std::monostate> reply) {
  if (!open(reply)) return;
  Along grants = grants_->without(did, actor), peers = peerGrants_->without(did, actor);
  auto also = [grants = std::move(grants.work), peers = std::move(peers.work)](store::ControlWriter& writer) -> Status {
    VC_TRY(grants(writer));
    return peers(writer);
  };
  registry_.remove(did, std::move(also), AuditEntry{std::move(actor), "agent.delete", did.value, "{}"},
                   [this, did, grantsGone = std::move(grants.committed), peersGone = std::move(peers.committed),
                    reply = std::move(reply)](const Status& status) {
                     if (!status) return reply(status.error());
                     grantsGone();
                     peersGone();
                     intents_.agentRemoved(did);
                     if (Agent* agent = registry_.find(did)) {
                       if (const auto session = agent->session) {
                         session->send(protocol::AuthFailed{"revoked"});
                         session->close(net::close_code::kPolicy, "an operator removed this agent");
                       }
                     }
                     registry_.drop(did);
                     entitlements_.agentRemoved(did);
                     chats_.agentRemoved(did);
                     // A turn later: a change of its workspaces that was committed before may still be on its way here.
                     context_.ports.loop.post(context_.ifAlive([this, did] { workspaces_->forgotten(did); }));
                     reply(std::monostate{});
                   });
}

void Hub::updateGrant(const Did& did, GrantChange wanted, std::string reason, std::string actor,
                      Reply<AgentView> reply) {
  if (!open(reply)) return;
  AuditEntry entry{std::move(actor), "agent.update", did.value, "{}", std::make_shared<std::string>()};
  Registry::Change change = [wanted = std::move(wanted), reason,
                             audited = entry.detailsOfWork](store::AgentRow& row) -> Status {
    VC_TRY_ASSIGN(auto grant, grantOf(row));
    if (wanted.ifTag && *wanted.ifTag != grantTag(row))
      return Error{Errc::Conflict, "what the agent " + row.did.value + " is approved for was changed meanwhile"};
    wanted.apply(grant);
    VC_TRY(checkGrant(grant));
    const store::AgentRow before = row;
    setGrant(row, grant);
    *audited = grantDetails(row, reason, std::nullopt, &before);
    return {};
  };
  registry_.change(did, std::move(change), std::move(entry),
                   [this, did, reason = std::move(reason), reply = std::move(reply)](Result<store::AgentRow> row) {
                     if (!row) return reply(row.error());
                     const Agent* agent = registry_.find(did);
                     if (!agent) return reply(noAgent(did));
                     if (agent->session) agent->session->reissue(reason.empty() ? "Certificate reissue" : reason);
                     entitlements_.agentChanged(did);
                     reply(viewOf(*agent));
                   });
}

std::vector<Did> Hub::narrowAgain(const std::vector<Did>& agents, const std::string& reason) {
  std::vector<Did> told;
  for (const Did& did : agents) {
    if (!registry_.narrowAgain(did)) continue;
    Session* session = registry_.live(did);
    if (session == nullptr) continue;
    session->reissue(reason);
    told.push_back(did);
  }
  return told;
}

void Hub::answerWith(const Did& did, const Status& status, std::optional<protocol::Payload> told,
                     Reply<AgentView>& reply) {
  if (!status) return reply(status.error());
  const Agent* agent = registry_.find(did);
  if (!agent) return reply(noAgent(did));
  if (told && agent->session) agent->session->tell(std::move(*told));
  reply(viewOf(*agent));
}

void Hub::resetPin(const Did& did, std::string actor, Reply<AgentView> reply) {
  if (!open(reply)) return;
  registry_.resetPin(
      did, AuditEntry{std::move(actor), "agent.reset-pin", did.value},
      [this, did, reply = std::move(reply)](const Status& status) mutable { answerWith(did, status, {}, reply); });
}

void Hub::pause(const Did& did, std::string reason, std::string actor, Reply<AgentView> reply) {
  if (!open(reply)) return;
  AuditEntry entry{std::move(actor), "agent.pause", did.value, details({{"reason", reason}})};
  Registry::Change change = [reason](store::AgentRow& row) -> Status {
    row.paused = reason;
    return {};
  };
  registry_.change(
      did, std::move(change), std::move(entry),
      [this, did, reason = std::move(reason), reply = std::move(reply)](const Result<store::AgentRow>& row) mutable {
        answerWith(did, row ? Status() : row.error(), protocol::Pause{std::move(reason)}, reply);
      });
}

void Hub::resume(const Did& did, std::string actor, Reply<AgentView> reply) {
  if (!open(reply)) return;
  Registry::Change change = [](store::AgentRow& row) -> Status {
    row.paused.reset();
    return {};
  };
  registry_.change(did, std::move(change), AuditEntry{std::move(actor), "agent.resume", did.value},
                   [this, did, reply = std::move(reply)](const Result<store::AgentRow>& row) mutable {
                     answerWith(did, row ? Status() : row.error(), protocol::Resume{}, reply);
                     if (row) intents_.agentReady(did);
                   });
}

// ---- reading --------------------------------------------------------------------------------------------------------

void Hub::registrations(std::optional<std::string> status, store::Page page,
                        Reply<store::Listing<store::RegistrationRow>> reply) {
  context_.readLater<store::Listing<store::RegistrationRow>>(
      [status = std::move(status), page](store::ControlReader& reader) { return reader.registrations(status, page); },
      std::move(reply));
}

void Hub::audit(store::AuditFilter filter, store::Page page, Reply<AuditView> reply) {
  context_.readLater<AuditView>(
      [filter = std::move(filter), page](store::ControlReader& reader) -> Result<AuditView> {
        VC_TRY_ASSIGN(auto rows, reader.audit(filter, page));
        return AuditView{std::move(rows)};
      },
      std::move(reply));
}

void Hub::verifyAudit(Reply<AuditCheck> reply) {
  context_.readLater<AuditCheck>([](store::ControlReader& reader) { return verifyChain(reader); }, std::move(reply));
}

Counters Hub::counters() const {
  Counters out = context_.counters;
  out.openConnections = sessions_.size();
  out.pendingRegistrations = registrations_.count();
  out.connectedAgents =
      static_cast<std::size_t>(std::count_if(registry_.all().begin(), registry_.all().end(),
                                             [](const auto& entry) { return entry.second.session != nullptr; }));
  return out;
}

}  // namespace

Error noAgent(const Did& did) {
  return {Errc::NotFound, "no agent has the DID " + printable(did.value)};
}

Error noIntent(const IntentId& id) {
  return {Errc::NotFound, "no intent has the id " + printable(id.value)};
}

Result<std::unique_ptr<ControlPlane>> ControlPlane::create(ControlPorts ports, identity::VaultysId self,
                                                           ControlOptions options) {
  if (!self.hasSecret()) return Error{Errc::InvalidArgument, "the control plane's identity has no secret"};
  if (self.type() != identity::IdType::Machine)
    return Error{Errc::InvalidArgument, "the control plane's identity must be a machine"};
  auto hub = std::make_unique<Hub>(ports, self.toVersion(identity::IdVersion::V1), options);
  VC_TRY(hub->load());
  return std::unique_ptr<ControlPlane>(std::move(hub));
}

}  // namespace vaultysclaw::control
