#include "control/grants.hpp"

#include <algorithm>
#include <map>

#include "audit.hpp"
#include "base/log.hpp"
#include "base/utf8.hpp"
#include "book.hpp"
#include "journal.hpp"
#include "protocol/codec.hpp"
#include "rows.hpp"

namespace vaultysclaw::control {
namespace {

// What differs between the two tables.
Result<std::vector<store::GrantRow>> rowsOf(store::ControlReader& reader, const store::GrantRow*) {
  return reader.grants();
}
Result<std::vector<store::PeerGrantRow>> rowsOf(store::ControlReader& reader, const store::PeerGrantRow*) {
  return reader.peerGrants();
}
Status put(store::ControlWriter& writer, const store::GrantRow& row) {
  return writer.putGrant(row);
}
Status put(store::ControlWriter& writer, const store::PeerGrantRow& row) {
  return writer.putPeerGrant(row);
}
Status forget(store::ControlWriter& writer, const store::GrantRow& row) {
  return writer.deleteGrant(row.id);
}
Status forget(store::ControlWriter& writer, const store::PeerGrantRow& row) {
  return writer.deletePeerGrant(row.id);
}
template <class Row>
constexpr const Row* kTable = nullptr;
template <class Row>
constexpr const char* kRevoked = "grant.revoke";
template <>
constexpr const char* kRevoked<store::PeerGrantRow> = "peer-grant.revoke";

std::string timeText(const std::optional<WallTime>& time) {
  return time ? toIso8601(*time) : "";
}

// Of users by id, for the audit.
using Names = std::map<store::UserId, std::string>;
Result<Names> namesFor(store::ControlReader& reader, const store::GrantRow*) {
  VC_TRY_ASSIGN(const auto users, reader.users());
  Names names;
  for (const store::UserRow& user : users) names.emplace(user.id, user.name);
  return names;
}
Result<Names> namesFor(store::ControlReader&, const store::PeerGrantRow*) {
  return Names();
}

std::string detailsOf(const store::GrantRow& row, const Names& names, std::string_view from, std::string_view to,
                      std::string_view why = "") {
  const auto user = names.find(row.user);
  return details({{"user", user == names.end() ? row.user.value : user->second},
                  {"did", row.agent ? row.agent->value : "*"},
                  {"capabilities", row.capabilities},
                  {"expiresAt", timeText(row.expiresAt)},
                  {"from", from},
                  {"to", to},
                  {"reason", why}});
}
std::string detailsOf(const store::PeerGrantRow& row, const Names&, std::string_view from, std::string_view to,
                      std::string_view why = "") {
  return details({{"source", row.source.value},
                  {"target", row.target.value},
                  {"capabilities", row.capabilities},
                  {"expiresAt", timeText(row.expiresAt)},
                  {"from", from},
                  {"to", to},
                  {"reason", why}});
}

Error noGrant(std::string_view id) {
  return {Errc::NotFound, "no grant has the id '" + printable(id, 100) + "'"};
}
std::vector<std::string> capabilitiesIn(const std::string& json) {
  auto read = capabilitiesFromJson(json);
  return read ? std::move(*read) : std::vector<std::string>();
}

Status checkTerms(const std::vector<std::string>& capabilities, const std::optional<WallTime>& expiresAt,
                  WallTime now) {
  if (capabilities.empty()) return Error{Errc::InvalidArgument, "capabilities must name at least one"};
  if (auto ok = protocol::checkCapabilities(capabilities); !ok)
    return Error{Errc::InvalidArgument, "capabilities: " + ok.error().message};
  if (expiresAt && *expiresAt <= now) return Error{Errc::InvalidArgument, "expiresAt is in the past"};
  return {};
}

Result<store::UserRow> userOf(store::ControlReader& reader, const std::string& which) {
  VC_TRY_ASSIGN(const auto users, reader.users());
  for (const auto member : {&store::UserRow::did, &store::UserRow::name}) {
    for (const store::UserRow& user : users) {
      if (user.*member == which || user.id.value == which) return user;
    }
  }
  return noUser(which);
}

Result<store::AgentRow> agentOf(store::ControlReader& reader, const Did& did) {
  VC_TRY_ASSIGN(auto row, reader.agent(did));
  if (!row) return noAgent(did);
  return std::move(*row);
}

}  // namespace

std::string_view name(GrantState state) {
  switch (state) {
    case GrantState::Live:
      return "live";
    case GrantState::Expired:
      return "expired";
    case GrantState::Revoked:
      return "revoked";
  }
  return "";
}

// ---- both kinds -----------------------------------------------------------------------------------------------------

template <class Row>
Status GrantBook<Row>::read(store::ControlReader& reader, Rows& rows, std::int64_t& readings) {
  VC_TRY_ASSIGN(auto found, rowsOf(reader, kTable<Row>));
  rows.entries.reserve(found.size());
  for (Row& row : found) {
    auto capabilities = capabilitiesIn(row.capabilities);
    rows.entries.push_back({std::move(row), std::move(capabilities)});
  }
  rows.number = ++readings;
  return {};
}

template <class Row>
Status GrantBook<Row>::load() {
  Rows rows;
  VC_TRY(ports_.store.readBlocking([&](store::ControlReader& reader) { return read(reader, rows, *readings_); }));
  follow(std::move(rows));
  return {};
}

template <class Row>
void GrantBook<Row>::follow(Rows rows) {
  if (rows.number <= revision_) return;
  revision_ = rows.number;
  entries_ = std::move(rows.entries);
}

template <class Row>
const Granted<Row>* GrantBook<Row>::find(const RowId& id) const {
  const auto it =
      std::find_if(entries_.begin(), entries_.end(), [&](const Entry& entry) { return entry.row.id == id; });
  return it == entries_.end() ? nullptr : &*it;
}

template <class Row>
void GrantBook<Row>::commit(Work work, Reply<Changed> reply) {
  commitChange<Changed, Rows>(
      ports_, alive_, std::move(work),
      [readings = readings_](store::ControlReader& reader, Rows& rows) { return read(reader, rows, *readings); },
      [this](Rows rows) { follow(std::move(rows)); },
      [this, alive = std::weak_ptr<char>(alive_), reply = std::move(reply)](Result<Changed> changed) {
        if (!changed || changed->stale || !alive.lock()) return reply(std::move(changed));
        announce(std::move(*changed), reply);
      });
}

template <class Row>
void GrantBook<Row>::announce(Changed changed, const Reply<Changed>& reply) {
  if (!onChanged) return reply(std::move(changed));
  const Row row = changed.grant.row;
  onChanged(row, [reply, held = std::make_shared<Changed>(std::move(changed))](std::vector<Did> sentTo) {
    held->sentTo = std::move(sentTo);
    reply(std::move(*held));
  });
}

template <class Row>
void GrantBook<Row>::revoke(Principal by, RowId id, std::optional<std::int64_t> expectedVersion, Reply<Changed> reply) {
  commit(
      [by = std::move(by), id = std::move(id), expectedVersion,
       at = ports_.clock.now()](store::ControlWriter& writer) -> Result<Changed> {
        VC_TRY_ASSIGN(const Principal now, stillMay(writer, by, at, Permission::Operate));
        VC_TRY_ASSIGN(auto rows, rowsOf(writer, kTable<Row>));
        const auto found = std::find_if(rows.begin(), rows.end(), [&](const Row& row) { return row.id == id; });
        if (found == rows.end()) return noGrant(id.value);
        Entry entry{*found, capabilitiesIn(found->capabilities)};
        if (expectedVersion && *expectedVersion != found->version) return Changed{std::move(entry), true};
        if (found->revokedAt) return Changed{std::move(entry)};
        entry.row.revokedAt = at;
        ++entry.row.version;
        VC_TRY(put(writer, entry.row));
        VC_TRY_ASSIGN(const Names names, namesFor(writer, kTable<Row>));
        VC_TRY(appendAudit(writer, at, now, kRevoked<Row>, id.value,
                           detailsOf(entry.row, names, name(stateOf(*found, at)), name(GrantState::Revoked))));
        return Changed{std::move(entry)};
      },
      std::move(reply));
}

template <class Row>
Along GrantBook<Row>::revoking(std::function<bool(const Row&)> concerned, std::string actor, std::string why) {
  auto rows = std::make_shared<Rows>();
  Along along;
  along.work = [rows, concerned = std::move(concerned), actor = std::move(actor), why = std::move(why),
                readings = readings_, at = ports_.clock.now()](store::ControlWriter& writer) -> Status {
    VC_TRY_ASSIGN(auto all, rowsOf(writer, kTable<Row>));
    VC_TRY_ASSIGN(const Names names, namesFor(writer, kTable<Row>));
    for (Row& row : all) {
      if (row.revokedAt || !concerned(row)) continue;
      const std::string_view before = name(stateOf(row, at));
      row.revokedAt = at;
      ++row.version;
      VC_TRY(put(writer, row));
      VC_TRY(AuditLog().append(writer, at, actor, kRevoked<Row>, row.id.value,
                               detailsOf(row, names, before, name(GrantState::Revoked), why)));
    }
    return read(writer, *rows, *readings);
  };
  along.committed = [this, rows, alive = std::weak_ptr<char>(alive_)] {
    if (alive.lock()) follow(std::move(*rows));
  };
  return along;
}

template <class Row>
Status GrantBook<Row>::makeRoom(store::ControlWriter& writer, WallTime now) {
  VC_TRY_ASSIGN(const auto rows, rowsOf(writer, kTable<Row>));
  if (rows.size() < kMaxRows) return {};
  const auto over =
      std::find_if(rows.begin(), rows.end(), [&](const Row& row) { return stateOf(row, now) != GrantState::Live; });
  if (over == rows.end())
    return Error{Errc::Busy, "there are " + std::to_string(rows.size()) + " live grants already: revoke one first"};
  return forget(writer, *over);
}

template class GrantBook<store::GrantRow>;
template class GrantBook<store::PeerGrantRow>;

// ---- delegations ----------------------------------------------------------------------------------------------------

Result<std::unique_ptr<Grants>> Grants::create(ControlPorts ports) {
  std::unique_ptr<Grants> book(new Grants(ports));
  VC_TRY(book->load());
  return book;
}

void Grants::create(Principal by, GrantRequest request, Reply<Changed> reply) {
  store::GrantRow row;
  row.id = store::GrantId(newUuid(ports_.clock, ports_.entropy));
  row.agent = request.agent;
  row.createdAt = ports_.clock.now();
  row.expiresAt = request.expiresAt;
  commit(
      [by = std::move(by), request = std::move(request), row](store::ControlWriter& writer) -> Result<Changed> {
        const WallTime at = row.createdAt;
        VC_TRY_ASSIGN(const Principal now, stillMay(writer, by, at, Permission::Operate));
        VC_TRY(checkTerms(request.capabilities, row.expiresAt, at));
        VC_TRY_ASSIGN(const store::UserRow user, userOf(writer, request.user));
        if (row.agent) VC_TRY(agentOf(writer, *row.agent));
        Entry made{row, request.capabilities};
        made.row.user = user.id;
        made.row.capabilities = capabilitiesToJson(request.capabilities);
        made.row.createdBy = now.actor();
        VC_TRY(makeRoom(writer, at));
        VC_TRY(put(writer, made.row));
        VC_TRY(appendAudit(writer, at, now, "grant.add", row.id.value,
                           detailsOf(made.row, {{user.id, user.name}}, "none", name(GrantState::Live))));
        return Changed{std::move(made)};
      },
      std::move(reply));
}

Along Grants::without(const store::UserId& user, std::string actor) {
  return revoking([user](const store::GrantRow& row) { return row.user == user; }, std::move(actor),
                  "the user was removed");
}

Along Grants::without(const Did& agent, std::string actor) {
  return revoking([agent](const store::GrantRow& row) { return row.agent == agent; }, std::move(actor),
                  "the agent was removed");
}

// ---- peer grants ----------------------------------------------------------------------------------------------------

Result<std::unique_ptr<PeerGrants>> PeerGrants::create(ControlPorts ports) {
  std::unique_ptr<PeerGrants> book(new PeerGrants(ports));
  VC_TRY(book->load());
  return book;
}

void PeerGrants::create(Principal by, PeerGrantRequest request, Reply<Changed> reply) {
  store::PeerGrantRow row;
  row.id = store::PeerGrantId(newUuid(ports_.clock, ports_.entropy));
  row.source = request.source;
  row.target = request.target;
  row.skill = request.skill;
  row.capabilities = capabilitiesToJson(request.capabilities);
  row.createdAt = ports_.clock.now();
  row.expiresAt = request.expiresAt;
  commit(
      [by = std::move(by), request = std::move(request), row](store::ControlWriter& writer) -> Result<Changed> {
        const WallTime at = row.createdAt;
        VC_TRY_ASSIGN(const Principal now, stillMay(writer, by, at, Permission::Operate));
        VC_TRY(checkTerms(request.capabilities, row.expiresAt, at));
        if (row.source == row.target) return Error{Errc::InvalidArgument, "an agent needs no grant for itself"};
        if (row.skill.size() > kMaxSkillBytes || !isValidUtf8(row.skill))
          return Error{Errc::InvalidArgument, "skillDescription must be UTF-8 text of at most 1024 bytes"};
        VC_TRY(agentOf(writer, row.source));
        VC_TRY_ASSIGN(const store::AgentRow target, agentOf(writer, row.target));
        VC_TRY_ASSIGN(const auto has, capabilitiesFromJson(target.capabilities));
        for (const std::string& wanted : request.capabilities) {
          if (std::find(has.begin(), has.end(), wanted) == has.end())
            return Error{Errc::InvalidArgument,
                         "capabilities: '" + wanted + "' is not granted to the target, " + row.target.value};
        }
        Entry made{row, request.capabilities};
        made.row.createdBy = now.actor();
        VC_TRY(makeRoom(writer, at));
        VC_TRY(put(writer, made.row));
        VC_TRY(appendAudit(writer, at, now, "peer-grant.add", row.id.value,
                           detailsOf(made.row, {}, "none", name(GrantState::Live))));
        return Changed{std::move(made)};
      },
      std::move(reply));
}

Along PeerGrants::without(const Did& agent, std::string actor) {
  return revoking([agent](const store::PeerGrantRow& row) { return row.source == agent || row.target == agent; },
                  std::move(actor), "the agent was removed");
}

}  // namespace vaultysclaw::control
