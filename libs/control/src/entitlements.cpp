#include "entitlements.hpp"

#include <algorithm>

namespace vaultysclaw::control {
namespace {

constexpr std::size_t kAgentsPerBatch = 64, kMaxBatches = 2;
constexpr Duration kRetryInterval = milliseconds(20);  // when the workers have too much to do
constexpr Duration kMaxWait = seconds(2);

std::vector<store::WorkspaceId> sorted(std::vector<store::WorkspaceId> ids) {
  std::sort(ids.begin(), ids.end());
  return ids;
}

Error denied(std::string text) {
  return {Errc::PolicyDenied, std::move(text)};
}

}  // namespace

// Some agents on their way through a worker.
struct Entitlements::Batch {
  struct Item {
    std::uint64_t session = 0, job = 0;
    Entitled agent;
    EntitlementTokens made{};
  };
  std::vector<Item> items;
  std::shared_ptr<const Facts> facts;
  WallTime now{};

  void make(const identity::VaultysId& self) {
    for (Item& item : items) item.made = makeEntitlements(self, *facts, item.agent, now);
  }
};

void Entitlements::open(const Books& books) {
  books_.emplace(books);
}

const Facts& Entitlements::facts() {
  const Books& books = *books_;
  if (facts_ && facts_->grantsRevision == books.grants.revision() && facts_->peersRevision == books.peers.revision())
    return *facts_;
  Facts made;
  made.grantsRevision = books.grants.revision();
  made.peersRevision = books.peers.revision();
  std::map<store::UserId, Did> members;
  for (const store::UserRow& user : books.people.users()) {
    made.anyUser = true;
    const auto role = roleFrom(user.role);
    if (user.disabled || !role) continue;
    const Did did(user.did);
    made.people.emplace(did, Facts::Person{user.id, user.name, *role});
    if (*role == Role::Member)
      members.emplace(user.id, did);
    else
      made.byRole.emplace_back(user.id.value, did);
  }
  for (const auto& [row, capabilities] : books.grants.all()) {
    if (row.agent)
      made.everNamed.insert(*row.agent);
    else
      made.everForAll = true;
    const auto member = members.find(row.user);
    if (row.revokedAt || member == members.end()) continue;
    const std::size_t index = made.lines.size();
    made.lines.push_back({row.id.value, row.user, member->second, row.agent, capabilities, row.expiresAt,
                          sorted(books.workspaces.of(row.user))});
    made.people.at(member->second).lines.push_back(index);
    (row.agent ? made.named[*row.agent] : made.forAll).push_back(index);
  }
  for (const auto& [row, capabilities] : books.peers.all()) {
    made.everPeers.insert(row.source);
    const Agent* target = registry_.find(row.target);
    if (row.revokedAt || target == nullptr) continue;
    made.peers[row.source].push_back(
        {row.id.value, row.target, target->row.name, row.skill, capabilities, row.expiresAt});
  }
  facts_ = std::make_shared<const Facts>(std::move(made));
  return *facts_;
}

// ---- who may what ---------------------------------------------------------------------------------------------------

Status Entitlements::check(const std::optional<Did>& user, const Did& agent, std::optional<std::string_view> action) {
  if (!user) return {};
  const Facts& now = facts();
  const auto found = now.people.find(*user);
  if (found == now.people.end()) return denied("the user it is for is not known here any more, or disabled");
  const Facts::Person& person = found->second;
  if (person.role != Role::Member) return {};
  const auto workspaces = sorted(books_->workspaces.of(agent));
  const bool granted = std::any_of(person.lines.begin(), person.lines.end(), [&](std::size_t index) {
    const Facts::Line& line = now.lines[index];
    if (!covers(line, agent, workspaces, context_.now())) return false;
    return action ? policy::grantsCapability(line.capabilities, *action) : !line.capabilities.empty();
  });
  if (granted) return {};
  if (!books_->workspaces.shares(person.id, agent))
    return denied("the user '" + person.name + "' and the agent " + agent.value + " share no workspace");
  const std::string wanted = action ? printable(*action) : std::string("NAME");
  return denied("the user '" + person.name + "' has no grant for " + (action ? "'" + wanted + "'" : "chats") +
                " with the agent " + agent.value + ": an operator gives one with 'vaultysclaw grants add " +
                person.name + " " + agent.value + " --capabilities " + wanted + "'");
}

bool Entitlements::names(const Did& user, const InUse& inUse) {
  const auto found = facts().people.find(user);
  // Of somebody who may nothing any more it is named too, so that the agent refuses.
  return inUse.intentV2 || found == facts().people.end() || found->second.role == Role::Member;
}

// ---- what has changed -----------------------------------------------------------------------------------------------

void Entitlements::agentReady(Session& session, Task then) {
  const Did did = session.did();
  const auto known = held_.find(did);
  if (!concerns(facts(), did, session.inUse().intentV2) && (known == held_.end() || known->second.job == 0)) {
    then();
    return endWaits(did);
  }
  Held& held = heldOver(session);
  await(held, did, [then = std::move(then)](bool) { then(); });
  enqueue(did, Place::First);
}

void Entitlements::agentGone(const Did& did) {
  endWaits(did);
  if (!registry_.live(did)) held_.erase(did);
}

void Entitlements::agentRemoved(const Did& did) {
  for (const auto& [row, capabilities] : books_->peers.all()) {
    if (row.target == did) enqueue(row.source, Place::Last);
  }
}

// What was sent over another connection counts no longer.
Entitlements::Held& Entitlements::heldOver(const Session& session) {
  Held& held = held_[session.did()];
  if (std::exchange(held.session, session.id()) == session.id()) return held;
  held.was = {};
  held.renewal.reset();
  return held;
}

void Entitlements::usersChanged() {
  const auto before = std::exchange(facts_, nullptr);
  const Facts& now = facts();
  if (!before) return everybody();
  const auto sameLine = [](const Facts::Line& a, const Facts::Line& b) { return a.id == b.id; };
  // A user without a grant, or a change of one who is no member, concerns nobody.
  const bool same = before->byRole == now.byRole && std::equal(before->lines.begin(), before->lines.end(),
                                                               now.lines.begin(), now.lines.end(), sameLine);
  if (!same) everybody();
}

void Entitlements::agentsMoved(const std::vector<Did>& agents) {
  for (const Did& did : agents) enqueue(did, Place::Last);
}

void Entitlements::everybody() {
  facts_ = nullptr;
  for (const Did& did : registry_.dids()) enqueue(did, Place::Last);
}

void Entitlements::grantChanged(const store::GrantRow& row, SentTo sent) {
  tell(row.agent ? std::vector<Did>{*row.agent} : registry_.dids(), std::move(sent));
}

void Entitlements::grantChanged(const store::PeerGrantRow& row, SentTo sent) {
  tell({row.source}, std::move(sent));
}

void Entitlements::tell(const std::vector<Did>& agents, SentTo sent) {
  struct Gathered {
    std::size_t waiting = 1;
    std::vector<Did> told;
    SentTo sent;
    void one() {
      if (--waiting == 0) sent(std::move(told));
    }
  };
  auto gathered = std::make_shared<Gathered>();
  gathered->sent = std::move(sent);
  for (const Did& did : agents) {
    const Session* session = registry_.live(did);
    if (!session || !session->ready()) continue;  // it is sent what holds when it is ready
    ++gathered->waiting;
    enqueue(did, Place::First);
    await(held_[did], did, [gathered, did](bool told) {
      if (told) gathered->told.push_back(did);
      gathered->one();
    });
  }
  gathered->one();
}

// ---- waiting --------------------------------------------------------------------------------------------------------

void Entitlements::whenCurrent(const Did& did, Task then) {
  const Session* session = registry_.live(did);
  if (!session) return then();
  const auto known = held_.find(did);
  const bool making = known != held_.end() && (known->second.queued || known->second.job != 0);
  if (session->ready() && !making) return then();
  if (making && known->second.queued && known->second.waits.empty()) queue_.push_front(did);  // others can wait
  await(held_[did], did, [then = std::move(then)](bool) { then(); });
}

void Entitlements::await(Held& held, const Did& did, Waiting wait) {
  held.waits.push_back(std::move(wait));
  if (held.waits.size() == 1) held.waitsTimer = context_.ports.loop.after(kMaxWait, [this, did] { endWaits(did); });
}

void Entitlements::endWaits(const Did& did) {
  const auto known = held_.find(did);
  if (known == held_.end()) return;
  known->second.waitsTimer.reset();
  const bool sent = std::exchange(known->second.sent, false);
  // They may change what is held.
  const auto waits = std::exchange(known->second.waits, {});
  for (const Waiting& wait : waits) wait(sent);
}

// ---- making and sending ---------------------------------------------------------------------------------------------

void Entitlements::enqueue(const Did& did, Place place) {
  const Session* session = registry_.live(did);
  if (!session || !session->ready()) return;
  Held& held = heldOver(*session);
  if (held.job != 0) {
    held.again = true;
    return;
  }
  if (std::exchange(held.queued, true)) return;
  place == Place::First ? queue_.push_front(did) : queue_.push_back(did);
  pumpSoon(Duration(0));
}

void Entitlements::pumpSoon(Duration delay) {
  if (std::exchange(pumping_, true)) return;
  // On a later turn, for changes that come together.
  pumpTimer_ = context_.ports.loop.after(delay, [this] {
    pumping_ = false;
    pump();
  });
}

void Entitlements::pump() {
  while (!queue_.empty() && batches_ < kMaxBatches) {
    auto batch = std::make_shared<Batch>();
    facts();
    batch->facts = facts_;
    batch->now = context_.now();
    std::vector<Did> taken;
    while (!queue_.empty() && batch->items.size() < kAgentsPerBatch) {
      const Did did = queue_.front();
      queue_.pop_front();
      const auto known = held_.find(did);
      const Agent* agent = registry_.find(did);
      if (known == held_.end() || !known->second.queued || !agent || !agent->session) continue;
      known->second.queued = false;
      known->second.job = ++lastJob_;
      taken.push_back(did);
      batch->items.push_back({known->second.session,
                              known->second.job,
                              {did, agent->session->inUse().intentV2, agent->approved.capabilities,
                               sorted(books_->workspaces.of(did)), known->second.was}});
    }
    if (batch->items.empty()) continue;
    auto& loop = context_.ports.loop;
    // Destroyed on the loop alone: what it calls belongs there.
    auto done = std::make_shared<Task>(context_.ifAlive([this, batch] { onMade(batch); }));
    const bool submitted = context_.ports.workers.submit([batch, done, self = context_.self, &loop]() mutable {
      batch->make(self);
      loop.post([done = std::move(done)] {
        const Task run = std::exchange(*done, nullptr);
        run();
      });
    });
    if (!submitted) {
      for (auto it = taken.rbegin(); it != taken.rend(); ++it) {
        Held& held = held_.at(*it);
        held.job = 0;
        held.queued = true;
        queue_.push_front(*it);
      }
      return pumpSoon(kRetryInterval);
    }
    ++batches_;
  }
}

void Entitlements::onMade(const std::shared_ptr<Batch>& batch) {
  --batches_;
  for (auto& item : batch->items) {
    const Did& did = item.agent.did;
    const auto known = held_.find(did);
    if (known == held_.end() || known->second.job != item.job) continue;  // it has gone, and may have come back
    Held& held = known->second;
    held.job = 0;
    Session* session = registry_.live(did);
    if (session && session->id() == item.session && held.session == item.session)
      send(did, *session, held, std::move(item.made));
    if (std::exchange(held.again, false)) {
      enqueue(did, Place::First);
      continue;
    }
    endWaits(did);
  }
  pump();
}

void Entitlements::send(const Did& did, Session& session, Held& held, EntitlementTokens made) {
  if (made.leftOut > 0)
    context_.ports.log.error("grants", did.value + ": " + std::to_string(made.leftOut) +
                                           " grants do not fit into one message, and are left out: revoke some");
  held.was = made.is;
  held.sent = held.sent || made.delegations || made.peers;
  if (made.delegations) session.send(std::move(*made.delegations));
  if (made.peers) session.send(std::move(*made.peers));
  const auto delegations = renewalOf(held.was.delegations, kDelegationLife, did);
  const auto peers = renewalOf(held.was.peers, kPeerGrantLife, did);
  held.renewal.reset();
  if (!delegations && !peers) return;
  const WallTime next = std::min(delegations.value_or(WallTime::max()), peers.value_or(WallTime::max()));
  held.renewal = context_.ports.loop.after(std::max<Duration>(next - context_.now(), Duration(0)),
                                           [this, did] { enqueue(did, Place::Last); });
}

}  // namespace vaultysclaw::control
