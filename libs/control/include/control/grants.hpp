// What users may have agents do, and what agents may ask of each other: the decisions, as operators make them. What is
// signed and sent for them is made of these rows (docs/protocol.md 7.4, 7.6).
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "control/people.hpp"

namespace vaultysclaw::control {

// A row, and its capabilities read. Of a row that cannot be read they are none.
template <class Row>
struct Granted {
  Row row;
  std::vector<std::string> capabilities;
};
using UserGrant = Granted<store::GrantRow>;
using PeerGrant = Granted<store::PeerGrantRow>;

// A grant is live up to and including the millisecond of its expiry, as the agent sees it.
enum class GrantState : std::uint8_t { Live, Expired, Revoked };
std::string_view name(GrantState state);
template <class Row>
GrantState stateOf(const Row& row, WallTime now) {
  if (row.revokedAt) return GrantState::Revoked;
  return row.expiresAt && now > *row.expiresAt ? GrantState::Expired : GrantState::Live;
}

// A grant after a change. `stale`: it has another version than the caller thought; nothing was changed.
template <class Row>
struct ChangedGrant {
  Granted<Row> grant;
  bool stale = false;
  std::vector<Did> sentTo = {};  // the agents that were told before the reply
};

// What both kinds have in common. Confined to ports.loop, callbacks too; owned by the control plane. Every reply comes
// exactly once, never before the call returns. Nothing here blocks the loop but load(), which is for the start.
template <class Row>
class GrantBook {
 public:
  using RowId = decltype(Row::id);
  using Entry = Granted<Row>;
  using Changed = ChangedGrant<Row>;
  // Rows that are kept; then the oldest one that is revoked or expired is forgotten.
  static constexpr std::size_t kMaxRows = 10'000;

  virtual ~GrantBook() = default;
  GrantBook(const GrantBook&) = delete;
  GrantBook& operator=(const GrantBook&) = delete;

  const std::vector<Entry>& all() const { return entries_; }  // by creation
  const Entry* find(const RowId& id) const;
  // Grows with each change of all().
  std::int64_t revision() const { return revision_; }

  // Ends a grant for good; one that is revoked already stays as it is. NotFound; PolicyDenied.
  void revoke(Principal by, RowId id, std::optional<std::int64_t> expectedVersion, Reply<Changed> reply);

  // Told of a change after its commit; calls back, before the reply, with the agents that were sent something for it.
  // Set by the control plane.
  std::function<void(const Row& row, std::function<void(std::vector<Did>)> sent)> onChanged;

 protected:
  // As the store has them; `number` counts the readings on the writer's thread, for what follows them may come in
  // another order.
  struct Rows {
    std::vector<Entry> entries;
    std::int64_t number = 0;
  };
  using Work = std::function<Result<Changed>(store::ControlWriter&)>;

  explicit GrantBook(ControlPorts ports) : ports_(ports) {}
  Status load();
  void commit(Work work, Reply<Changed> reply);
  // Revokes, within a transaction of somebody else, those that `concerned` picks.
  Along revoking(std::function<bool(const Row&)> concerned, std::string actor, std::string why);
  // Makes room for one more row.
  static Status makeRoom(store::ControlWriter& writer, WallTime now);
  void follow(Rows rows);

  ControlPorts ports_;
  std::shared_ptr<char> alive_ = std::make_shared<char>();

 private:
  static Status read(store::ControlReader& reader, Rows& rows, std::int64_t& readings);
  void announce(Changed changed, const Reply<Changed>& reply);

  std::vector<Entry> entries_;
  std::int64_t revision_ = 0;
  std::shared_ptr<std::int64_t> readings_ = std::make_shared<std::int64_t>(0);  // the writer's thread alone
};

struct GrantRequest {
  std::string user;          // id, name or DID
  std::optional<Did> agent;  // absent: all that share a workspace with the user
  std::vector<std::string> capabilities;
  std::optional<WallTime> expiresAt;
};

// Delegations: what users may have agents do.
class Grants final : public GrantBook<store::GrantRow> {
 public:
  static Result<std::unique_ptr<Grants>> create(ControlPorts ports);
  // Errors: PolicyDenied, NotFound (user, agent), InvalidArgument, Busy (too many live ones).
  void create(Principal by, GrantRequest request, Reply<Changed> reply);
  // Revokes those of a user, or of an agent, that is being removed by `actor`.
  Along without(const store::UserId& user, std::string actor);
  Along without(const Did& agent, std::string actor);

 private:
  using GrantBook::GrantBook;
};

struct PeerGrantRequest {
  Did source, target;
  std::vector<std::string> capabilities;  // each of them granted to the target
  std::string skill;
  std::optional<WallTime> expiresAt;
};

// What agents may ask of other agents.
class PeerGrants final : public GrantBook<store::PeerGrantRow> {
 public:
  static constexpr std::size_t kMaxSkillBytes = 1024;
  static Result<std::unique_ptr<PeerGrants>> create(ControlPorts ports);
  // Errors as Grants::create.
  void create(Principal by, PeerGrantRequest request, Reply<Changed> reply);
  Along without(const Did& agent, std::string actor);

 private:
  using GrantBook::GrantBook;
};

}  // namespace vaultysclaw::control
