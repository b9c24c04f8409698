#include "registry.hpp"

#include <algorithm>

#include "rows.hpp"

namespace vaultysclaw::control {
namespace {

// The columns that grantOf() reads.
bool sameGrant(const store::AgentRow& a, const store::AgentRow& b) {
  return a.capabilities == b.capabilities && a.limits == b.limits && a.policyId == b.policyId &&
         a.policyExpiresAt == b.policyExpiresAt;
}

}  // namespace

Status Registry::load(store::AgentRow row) {
  // A row that came back from the store for another reason, a connection above all, need not be read again.
  const auto known = agents_.find(row.did);
  const bool same =
      known != agents_.end() && sameGrant(known->second.row, row) && known->second.row.features == row.features;
  policy::Grant approved;
  if (same) {
    approved = known->second.approved;
  } else {
    VC_TRY_ASSIGN(approved, grantOf(row));
    VC_TRY(identity::Features::fromText(row.features));
  }
  Agent& agent = agents_[row.did];
  // What memory knows ahead of the store stays.
  if (agent.row.did == row.did) {
    row.handshakeVersion = std::max(row.handshakeVersion, agent.row.handshakeVersion);
    if (agent.row.lastSeenAt && (!row.lastSeenAt || *row.lastSeenAt < *agent.row.lastSeenAt))
      row.lastSeenAt = agent.row.lastSeenAt;
  }
  agent.row = std::move(row);
  agent.approved = std::move(approved);
  agent.grant = narrow(agent.row.did, agent.approved);
  return {};
}

bool Registry::narrowAgain(const Did& did) {
  Agent* agent = find(did);
  if (!agent) return false;
  policy::Grant grant = narrow(did, agent->approved);
  if (grant == agent->grant) return false;
  agent->grant = std::move(grant);
  return true;
}

Agent* Registry::find(const Did& did) {
  const auto it = agents_.find(did);
  return it == agents_.end() ? nullptr : &it->second;
}

const Agent* Registry::find(const Did& did) const {
  const auto it = agents_.find(did);
  return it == agents_.end() ? nullptr : &it->second;
}

Session* Registry::live(const Did& did) {
  Agent* agent = find(did);
  return agent ? agent->session.get() : nullptr;
}

std::vector<Did> Registry::dids() const {
  std::vector<Did> out;
  out.reserve(agents_.size());
  for (const auto& [did, agent] : agents_) out.push_back(did);
  return out;
}

Journal::Work Registry::changing(const Did& did, Change change, std::shared_ptr<std::optional<store::AgentRow>> out) {
  return [did, change = std::move(change), out = std::move(out)](store::ControlWriter& writer) -> Status {
    VC_TRY_ASSIGN(auto row, writer.agent(did));
    if (!row) return noAgent(did);
    VC_TRY(change(*row));
    VC_TRY(writer.putAgent(*row));
    *out = std::move(row);
    return {};
  };
}

void Registry::change(const Did& did, Change change, AuditEntry entry, Done done) {
  auto row = std::make_shared<std::optional<store::AgentRow>>();
  journal_.write(changing(did, std::move(change), row), std::move(entry),
                 [this, did, row, done = std::move(done)](const Status& status) {
                   if (!status) return done(status.error());
                   if (find(did)) {
                     if (auto loaded = load(**row); !loaded) return done(loaded.error());
                   }
                   done(std::move(**row));
                 });
}

void Registry::changeSurely(const Did& did, Change change, std::optional<AuditEntry> entry) {
  auto row = std::make_shared<std::optional<store::AgentRow>>();
  journal_.writeSurely(changing(did, std::move(change), row), std::move(entry), [this, did, row](const Status& status) {
    if (!status || !find(did)) return;
    if (auto loaded = load(**row); !loaded) context_.ports.log.error("registry", loaded.error().message);
  });
}

void Registry::pin(const Did& did, const std::string& features) {
  const Agent* agent = find(did);
  if (!agent || agent->row.features == features) return;
  changeSurely(
      did,
      [features](store::AgentRow& row) -> Status {
        row.features = features;
        return {};
      },
      AuditEntry{did.value, "agent.pin", did.value, details({{"features", features}})});
}

void Registry::resetPin(const Did& did, AuditEntry entry, std::function<void(Status)> done) {
  journal_.write([did](store::ControlWriter& writer) { return writer.resetPin(did); }, std::move(entry),
                 [this, did, done = std::move(done)](const Status& status) {
                   if (Agent* agent = find(did); agent && status) {
                     agent->row.features.clear();
                     agent->row.handshakeVersion = 0;
                   }
                   done(status);
                 });
}

void Registry::remove(const Did& did, Journal::Work also, AuditEntry entry, std::function<void(Status)> done) {
  auto work = [did, also = std::move(also)](store::ControlWriter& writer) -> Status {
    VC_TRY(writer.deleteAgent(did));
    return also(writer);
  };
  journal_.write(std::move(work), std::move(entry), std::move(done));
}

void Registry::seen(Agent& agent) {
  const SteadyTime now = context_.ports.clock.steady();
  const WallTime wall = context_.now();
  agent.row.lastSeenAt = wall;
  if (now - agent.seenStoredAt < std::chrono::minutes(1)) return;
  agent.seenStoredAt = now;
  journal_.writeSurely(
      [did = agent.row.did, wall](store::ControlWriter& writer) -> Status {
        const Status touched = writer.touchAgent(did, wall);
        if (!touched && touched.error().code == Errc::NotFound) return {};  // removed meanwhile
        return touched;
      },
      std::nullopt);
}

}  // namespace vaultysclaw::control
