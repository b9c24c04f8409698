#include "registrations.hpp"

#include <algorithm>

#include "control/workspaces.hpp"
#include "protocol/codec.hpp"
#include "rows.hpp"

namespace vaultysclaw::control {
namespace {

// The row, if it still waits for a decision.
Result<store::RegistrationRow> undecided(store::ControlReader& reader, const RegistrationId& id) {
  VC_TRY_ASSIGN(auto row, reader.registration(id));
  if (!row) return Error{Errc::NotFound, "no registration " + printable(id.value)};
  if (row->status == "pending") return std::move(*row);
  return Error{Errc::Conflict, "registration " + row->id.value + " is " + row->status + " already"};
}

Status decide(store::ControlWriter& writer, store::RegistrationRow& row, std::string status, std::string reason,
              std::string by, WallTime at) {
  row.status = std::move(status);
  row.reason = std::move(reason);
  row.decidedAt = at;
  row.decidedBy = std::move(by);
  return writer.putRegistration(row);
}

// What is granted: the request, or the part of it that the operator chose.
Result<policy::Grant> approvedGrant(const store::RegistrationRow& row, const Approval& approval) {
  VC_TRY_ASSIGN(auto requested, capabilitiesFromJson(row.requestedCapabilities));
  policy::Grant grant;
  grant.capabilities = approval.capabilities.value_or(requested);
  grant.limits = approval.limits;
  grant.policyId = approval.policyId;
  grant.policyExpiresAt = approval.policyExpiresAt;
  for (const auto& capability : grant.capabilities) {
    if (std::find(requested.begin(), requested.end(), capability) == requested.end()) {
      return Error{Errc::InvalidArgument,
                   "capability '" + printable(capability) + "' was not requested by " + row.did.value};
    }
  }
  VC_TRY(checkGrant(grant));
  return grant;
}

}  // namespace

void Registrations::load(store::RegistrationRow row) {
  Pending& pending = pending_[row.did];
  pending.id = row.id;
  pending.address = row.address;
  pending.handshakeVersion = row.handshakeVersion;
  pending.stored = true;
  // Timers are set on the loop only, and this runs before it serves anybody.
  context_.ports.loop.post(
      context_.ifAlive([this, did = row.did, createdAt = row.createdAt] { expireAt(did, createdAt); }));
}

Registrations::Proved Registrations::proved(const Did& did) const {
  const auto it = pending_.find(did);
  return it == pending_.end() ? Proved{} : Proved{it->second.handshakeVersion, it->second.features};
}

void Registrations::onFirstRecord(Session& session) {
  const auto it = pending_.find(session.did());
  if (it != pending_.end() && it->second.session.get() == &session) it->second.features = session.listed();
}

Status Registrations::checkLimits(const std::string& address) const {
  if (pending_.size() >= context_.options.maxPendingRegistrations) {
    return Error{Errc::Busy, "too many registrations are waiting for an operator; connect again later"};
  }
  const auto here =
      std::count_if(pending_.begin(), pending_.end(), [&](const auto& p) { return p.second.address == address; });
  if (static_cast<std::size_t>(here) >= context_.options.maxPendingRegistrationsPerAddress) {
    return Error{Errc::Busy,
                 "too many registrations from your address are waiting for an operator; connect again later"};
  }
  return {};
}

void Registrations::announce(Session& session, const RegistrationId& id) {
  session.send(protocol::RegistrationPending{id, "Identity verified. Registration pending admin approval."});
}

void Registrations::onProved(Session& session, const Candidate& candidate) {
  const Did did = candidate.did;
  if (const auto it = pending_.find(did); it != pending_.end()) {
    Pending& pending = it->second;
    auto old = std::exchange(pending.session, session.shared_from_this());
    pending.handshakeVersion = std::max(pending.handshakeVersion, candidate.handshakeVersion);
    session.awaitApproval(did);
    if (pending.stored) announce(session, pending.id);
    if (old) old->close(net::close_code::kNormal, "replaced by another connection of this agent");
    return;
  }
  if (auto free = checkLimits(session.peer().address); !free) return session.refuse(free.error());

  store::RegistrationRow row;
  row.id = RegistrationId(context_.newId());
  row.did = did;
  row.publicId = candidate.publicId;
  row.name = candidate.name;
  row.requestedCapabilities = capabilitiesToJson(candidate.capabilities);
  row.address = session.peer().address;
  row.status = "pending";
  row.handshakeVersion = candidate.handshakeVersion;
  row.createdAt = context_.now();

  Pending& pending = pending_[did];
  pending.id = row.id;
  pending.address = row.address;
  pending.handshakeVersion = row.handshakeVersion;
  pending.session = session.shared_from_this();
  expireAt(did, row.createdAt);
  session.awaitApproval(did);

  AuditEntry entry{did.value, "registration.pending", row.id.value,
                   details({{"name", row.name}, {"address", row.address}, {"requested", row.requestedCapabilities}})};
  auto stored = [this, did, id = row.id](const Status& status) {
    const auto it = pending_.find(did);
    if (it == pending_.end() || it->second.id != id) return;
    if (status) {
      it->second.stored = true;
      if (it->second.session) announce(*it->second.session, id);
      return;
    }
    auto lost = take(did, id);
    if (lost && lost->session)
      lost->session->refuse(Error{Errc::Busy, "the registration could not be stored; connect again later"});
  };
  journal_.write([row](store::ControlWriter& writer) { return writer.putRegistration(row); }, std::move(entry),
                 std::move(stored));
}

void Registrations::onClosed(Session& session) {
  const auto it = pending_.find(session.did());
  if (it != pending_.end() && it->second.session.get() == &session) it->second.session.reset();
}

std::optional<Registrations::Pending> Registrations::take(const Did& did, const RegistrationId& id) {
  const auto it = pending_.find(did);
  if (it == pending_.end() || it->second.id != id) return std::nullopt;
  Pending out = std::move(it->second);
  pending_.erase(it);
  return out;
}

void Registrations::expireAt(const Did& did, WallTime createdAt) {
  const Duration left =
      createdAt + std::chrono::duration_cast<milliseconds>(context_.options.registrationTimeout) - context_.now();
  const auto it = pending_.find(did);
  if (it == pending_.end()) return;
  it->second.expiry = context_.ports.loop.after(left, [this, did] { expire(did); });
}

void Registrations::expire(const Did& did) {
  const auto it = pending_.find(did);
  if (it == pending_.end()) return;
  const RegistrationId id = it->second.id;
  auto done = [this, did, id](const Status& status) {
    const bool decided = !status && (status.error().code == Errc::Conflict || status.error().code == Errc::NotFound);
    if (!status && !decided) {
      if (const auto waiting = pending_.find(did); waiting != pending_.end()) {
        waiting->second.expiry = context_.ports.loop.after(seconds(1), [this, did] { expire(did); });
      }
    }
    if (!status) return;  // else a decision came first, and takes the entry
    auto expired = take(did, id);
    if (expired && expired->session) {
      expired->session->refuse(
          Error{Errc::Expired, "Registration approval timeout: no operator decided in time; connect again"});
    }
  };
  journal_.write(
      [id, now = context_.now()](store::ControlWriter& writer) -> Status {
        VC_TRY_ASSIGN(auto row, undecided(writer, id));
        return decide(writer, row, "expired", "no operator decided in time", "system", now);
      },
      AuditEntry{"system", "registration.expire", id.value, details({{"did", did.value}})}, std::move(done));
}

void Registrations::approve(const RegistrationId& id, Approval approval, Reply<store::AgentRow> reply) {
  auto agent = std::make_shared<store::AgentRow>();
  auto in = std::make_shared<std::vector<store::WorkspaceId>>();
  const auto waiting = std::find_if(pending_.begin(), pending_.end(), [&](const auto& p) { return p.second.id == id; });
  const Proved proved = waiting == pending_.end() ? Proved{} : this->proved(waiting->first);
  AuditEntry entry{approval.actor, "registration.approve", id.value, "{}", std::make_shared<std::string>()};
  auto work = [id, approval, agent, in, proved, audited = entry.detailsOfWork,
               now = context_.now()](store::ControlWriter& writer) -> Status {
    VC_TRY_ASSIGN(auto row, undecided(writer, id));
    VC_TRY_ASSIGN(auto grant, approvedGrant(row, approval));
    agent->did = row.did;
    agent->publicId = row.publicId;
    agent->name = row.name;
    agent->requestedCapabilities = row.requestedCapabilities;
    agent->handshakeVersion = std::max(row.handshakeVersion, proved.handshakeVersion);
    agent->features = proved.features;
    agent->createdAt = now;
    setGrant(*agent, grant);
    VC_TRY_ASSIGN(*in, chosenWorkspaces(writer, approval.workspaces));
    *audited = grantDetails(*agent, "", textOf(*in));
    VC_TRY(writer.putAgent(*agent));
    for (const store::WorkspaceId& workspace : *in) VC_TRY(writer.putPlacement({workspace, agent->did}));
    return decide(writer, row, "approved", "", approval.actor, now);
  };
  journal_.write(
      std::move(work), std::move(entry), [this, id, agent, in, reply = std::move(reply)](const Status& status) {
        if (!status) return reply(status.error());
        const auto decided = take(agent->did, id);
        placed_(agent->did, *in);
        if (auto loaded = registry_.load(*agent); !loaded) return reply(loaded.error());
        if (decided && !decided->features.empty()) registry_.pin(agent->did, decided->features);
        if (decided && decided->session) {
          decided->session->send(protocol::RegistrationApproved{id, registry_.find(agent->did)->grant.capabilities});
          admit_(*decided->session, *agent);
        }
        reply(*agent);
      });
}

void Registrations::reject(const RegistrationId& id, std::string reason, std::string actor,
                           Reply<std::monostate> reply) {
  auto did = std::make_shared<Did>();
  auto work = [id, reason, actor, did, now = context_.now()](store::ControlWriter& writer) -> Status {
    VC_TRY_ASSIGN(auto row, undecided(writer, id));
    *did = row.did;
    return decide(writer, row, "rejected", reason, actor, now);
  };
  AuditEntry entry{actor, "registration.reject", id.value, details({{"reason", reason}})};
  journal_.write(std::move(work), std::move(entry),
                 [this, id, did, reason, reply = std::move(reply)](const Status& status) {
                   if (!status) return reply(status.error());
                   const auto decided = take(*did, id);
                   if (decided && decided->session) {
                     decided->session->send(protocol::RegistrationRejected{id, reason});
                     decided->session->close(net::close_code::kPolicy, "registration rejected");
                   }
                   reply(std::monostate{});
                 });
}

}  // namespace vaultysclaw::control
