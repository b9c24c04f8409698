// What entitlements are made of: who may what, as one immutable value for the workers, and the tokens signed from it.
// Pure, any thread.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "control/grants.hpp"
#include "identity/hash.hpp"
#include "identity/vaultys_id.hpp"
#include "protocol/messages.hpp"

namespace vaultysclaw::control {

// Who may what at a moment. Immutable.
struct Facts {
  struct Person {
    store::UserId id;
    std::string name;
    Role role = Role::Member;
    std::vector<std::size_t> lines{};  // of `lines`
  };
  // A grant that is not revoked, of a member who is not disabled.
  struct Line {
    std::string id;
    store::UserId user;
    Did userDid;
    std::optional<Did> agent;
    std::vector<std::string> capabilities;
    std::optional<WallTime> expiresAt;
    std::vector<store::WorkspaceId> workspaces;  // of the user; sorted
  };
  struct Peer {
    std::string id;
    Did target;
    std::string targetName, skill;
    std::vector<std::string> capabilities;
    std::optional<WallTime> expiresAt;
  };
  std::map<Did, Person> people;                     // who are not disabled
  std::vector<std::pair<std::string, Did>> byRole;  // admins and owners: user id and DID
  std::vector<Line> lines;
  std::map<Did, std::vector<std::size_t>> named;  // lines for this agent alone
  std::vector<std::size_t> forAll;
  std::map<Did, std::vector<Peer>> peers;  // by source
  // For whom there has ever been one: an agent that has stored it must be told when it is gone.
  std::set<Did> everNamed, everPeers;
  bool everForAll = false, anyUser = false;
  std::int64_t grantsRevision = 0, peersRevision = 0;  // of the books
};

// What an agent was sent over its connection.
struct SentSet {
  std::optional<identity::Sha256> digest{};  // absent: nothing yet
  WallTime issuedAt{};
  bool empty = true;
};
struct Sent {
  SentSet delegations, peers;
};

// An agent that may have to be told.
struct Entitled {
  Did did;
  bool intentV2 = false;
  std::vector<std::string> capabilities;       // what it was approved for, whatever narrows that now
  std::vector<store::WorkspaceId> workspaces;  // its own; sorted
  Sent was;
};
struct EntitlementTokens {
  // Absent: it has it already.
  std::optional<protocol::DelegationUpdate> delegations;
  std::optional<protocol::AgentPeerCatalog> peers;
  Sent is;
  std::size_t leftOut = 0;  // for which there was no room in one message
};

// A day and an hour (docs/protocol.md 7.4, 7.6): how long their tokens live at most.
inline constexpr milliseconds kDelegationLife = std::chrono::hours(24), kPeerGrantLife = std::chrono::hours(1);
// When a set is to be sent anew: at half the life of its tokens and a little later, not for all agents at once. Nothing
// for an empty one.
std::optional<WallTime> renewalOf(const SentSet& set, milliseconds life, const Did& agent);

// Times are rounded down to a 24th of a token's life, so that an agent that connects again soon gets the same bytes,
// and need not store them again.
EntitlementTokens makeEntitlements(const identity::VaultysId& self, const Facts& facts, const Entitled& agent,
                                   WallTime now);
// Whether the agent can have something to hold, or have stored something that it must drop.
bool concerns(const Facts& facts, const Did& agent, bool intentV2);

// Whether the line counts for an agent of these workspaces (sorted).
bool covers(const Facts::Line& line, const Did& agent, const std::vector<store::WorkspaceId>& workspaces, WallTime now);

}  // namespace vaultysclaw::control
