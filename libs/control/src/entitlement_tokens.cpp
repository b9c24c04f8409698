#include "entitlement_tokens.hpp"

#include <algorithm>

#include "identity/tokens.hpp"

namespace vaultysclaw::control {
namespace {

// Of one message: what an agent takes, and what leaves room for the rest of a message of 16 MiB.
constexpr std::size_t kMaxEntries = 10'000, kMaxBytes = std::size_t{12} << 20;
constexpr std::size_t kEntryBytes = 512;  // beside texts
constexpr int kRounds = 24;               // of a token's life, to which times are rounded down
constexpr std::string_view kChat = "chat";

// One token to be.
struct Item {
  std::string_view id;
  std::string_view other;                  // the user, or the target
  std::string_view name = {}, skill = {};  // of a target
  const std::vector<std::string>* capabilities = nullptr;
  std::optional<WallTime> expiresAt = std::nullopt;
};

WallTime roundedDown(WallTime now, milliseconds life) {
  const std::int64_t step = life.count() / kRounds, ms = toUnixMillis(now);
  return fromUnixMillis(ms - ms % step);
}

WallTime expiryOf(const Item& item, WallTime issuedAt, milliseconds life) {
  return item.expiresAt ? std::min<WallTime>(*item.expiresAt, issuedAt + life) : issuedAt + life;
}

identity::Sha256 digestOf(const std::vector<Item>& items) {
  std::string text;
  const auto add = [&](std::string_view part) {
    text += std::to_string(part.size());
    text += ' ';
    text += part;
  };
  for (const Item& item : items) {
    add(item.id);
    add(item.other);
    add(item.name);
    add(item.skill);
    for (const std::string& capability : *item.capabilities) add(capability);
    text += item.expiresAt ? std::to_string(toUnixMillis(*item.expiresAt)) : "never";
    text += '\n';
  }
  return identity::sha256(asBytes(text));
}

std::size_t bytesOf(const Item& item, std::size_t certificate) {
  std::size_t bytes = kEntryBytes + item.id.size() + item.name.size() + item.skill.size() + certificate;
  for (const std::string& capability : *item.capabilities) bytes += capability.size() + 3;
  return bytes;
}

bool live(const std::optional<WallTime>& expiresAt, WallTime now) {
  return !expiresAt || now <= *expiresAt;
}

const std::vector<std::string>& chatAlone() {
  static const std::vector<std::string> only{std::string(kChat)};
  return only;
}

std::vector<Item> delegationsOf(const Facts& facts, const Entitled& agent, WallTime now) {
  std::vector<Item> items;
  if (agent.intentV2) {
    // An agent that is granted nothing can still be talked to.
    const auto& capabilities = agent.capabilities.empty() ? chatAlone() : agent.capabilities;
    for (const auto& [user, did] : facts.byRole) items.push_back({user, did.value, {}, {}, &capabilities, {}});
  }
  const auto take = [&](std::size_t index) {
    const Facts::Line& line = facts.lines[index];
    if (covers(line, agent.did, agent.workspaces, now))
      items.push_back({line.id, line.userDid.value, {}, {}, &line.capabilities, line.expiresAt});
  };
  if (const auto named = facts.named.find(agent.did); named != facts.named.end())
    for (const std::size_t index : named->second) take(index);
  for (const std::size_t index : facts.forAll) take(index);
  return items;
}

std::vector<Item> peersOf(const Facts& facts, const Did& agent, WallTime now) {
  std::vector<Item> items;
  const auto found = facts.peers.find(agent);
  if (found == facts.peers.end()) return items;
  for (const Facts::Peer& peer : found->second) {
    if (live(peer.expiresAt, now))
      items.push_back({peer.id, peer.target.value, peer.targetName, peer.skill, &peer.capabilities, peer.expiresAt});
  }
  return items;
}

// What the agent has to be sent now, as far as it does not have it; `sign` makes an entry of each item.
template <class Entry, class Sign>
std::optional<std::vector<Entry>> renewed(SentSet& set, const std::vector<Item>& items, bool everAny, milliseconds life,
                                          const Did& agent, WallTime now, std::size_t& leftOut, const Sign& sign) {
  const identity::Sha256 digest = digestOf(items);
  const auto renewal = renewalOf(set, life, agent);
  if (set.digest == digest && !(renewal && *renewal <= now)) return std::nullopt;
  const bool first = !set.digest;
  set = {digest, roundedDown(now, life), items.empty()};
  if (first && items.empty() && !everAny) return std::nullopt;  // it has none, and nobody has made it hold one
  std::vector<Entry> entries;
  std::size_t bytes = 0;
  for (const Item& item : items) {
    if (entries.size() >= kMaxEntries || bytes >= kMaxBytes) {
      leftOut += items.size() - entries.size();
      break;
    }
    entries.push_back(sign(item, set.issuedAt));
    bytes += bytesOf(item, entries.back().certificate.size());
  }
  return entries;
}

}  // namespace

bool covers(const Facts::Line& line, const Did& agent, const std::vector<store::WorkspaceId>& workspaces,
            WallTime now) {
  if ((line.agent && *line.agent != agent) || !live(line.expiresAt, now)) return false;
  return std::any_of(workspaces.begin(), workspaces.end(), [&](const store::WorkspaceId& id) {
    return std::binary_search(line.workspaces.begin(), line.workspaces.end(), id);
  });
}

bool concerns(const Facts& facts, const Did& agent, bool intentV2) {
  return (intentV2 && facts.anyUser) || facts.everForAll || facts.everNamed.contains(agent) ||
         facts.everPeers.contains(agent);
}

std::optional<WallTime> renewalOf(const SentSet& set, milliseconds life, const Did& agent) {
  if (set.empty) return std::nullopt;
  const auto spread = identity::sha256(asBytes(agent.value)).front();
  return set.issuedAt + life / 2 + milliseconds(life.count() / kRounds * spread / 256);
}

EntitlementTokens makeEntitlements(const identity::VaultysId& self, const Facts& facts, const Entitled& agent,
                                   WallTime now) {
  EntitlementTokens out;
  out.is = agent.was;
  const bool everDelegated =
      (agent.intentV2 && facts.anyUser) || facts.everForAll || facts.everNamed.contains(agent.did);
  const auto delegate = [&](const Item& item, WallTime issuedAt) {
    const WallTime expiresAt = expiryOf(item, issuedAt, kDelegationLife);
    const identity::DelegationToken token{std::string(item.other), agent.did.value, *item.capabilities, issuedAt,
                                          expiresAt};
    const std::string id(item.id);
    return protocol::DelegationEntry{id,
                                     id,
                                     token.userDid,
                                     token.agentDid,
                                     token.capabilities,
                                     identity::signToken(self, token),
                                     toIso8601(expiresAt)};
  };
  if (auto entries =
          renewed<protocol::DelegationEntry>(out.is.delegations, delegationsOf(facts, agent, now), everDelegated,
                                             kDelegationLife, agent.did, now, out.leftOut, delegate))
    out.delegations = protocol::DelegationUpdate{std::move(*entries)};

  const auto introduce = [&](const Item& item, WallTime issuedAt) {
    const WallTime expiresAt = expiryOf(item, issuedAt, kPeerGrantLife);
    const std::string id(item.id);
    const identity::PeerGrantToken token{agent.did.value,
                                         std::string(item.other),
                                         std::string(item.name),
                                         std::string(item.skill),
                                         *item.capabilities,
                                         issuedAt,
                                         expiresAt,
                                         id};
    return protocol::PeerGrantEntry{id,
                                    token.sourceDid,
                                    token.targetDid,
                                    token.targetName,
                                    token.skillDescription,
                                    token.capabilities,
                                    identity::signToken(self, token),
                                    toIso8601(expiresAt),
                                    {}};
  };
  if (auto entries = renewed<protocol::PeerGrantEntry>(out.is.peers, peersOf(facts, agent.did, now),
                                                       facts.everPeers.contains(agent.did), kPeerGrantLife, agent.did,
                                                       now, out.leftOut, introduce))
    out.peers = protocol::AgentPeerCatalog{std::move(*entries)};
  return out;
}

}  // namespace vaultysclaw::control
