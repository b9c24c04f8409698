// Messages that end in a hook.
#include <algorithm>

#include "base/log.hpp"
#include "convert.hpp"
#include "core.hpp"
#include "identity/hash.hpp"
#include "identity/tokens.hpp"
#include "vaultysclaw/peer_manager.hpp"

namespace vaultysclaw::detail {
namespace {

constexpr std::size_t kMaxGrants = 10'000;

struct Verified {
  std::vector<DelegationGrant> shown;
  std::vector<policy::LiveDelegation> live;
  std::vector<store::StoredDelegation> stored;
};

constexpr std::chrono::hours kMaxDelegationLife{24};
constexpr seconds kMaxAhead{60};

enum class Rules : bool { Original, IntentV2 };  // docs/protocol.md 7.4

std::string_view problemWith(const identity::DelegationToken& token, const Did& self, WallTime now, Rules rules) {
  if (rules == Rules::Original)
    return token.agentDid == "*" || token.agentDid == self.value ? "" : "it is for another agent";
  if (token.agentDid != self.value) return "it does not name this agent, as intent-v2 requires";
  if (!token.expiresAt) return "it never expires, which intent-v2 does not allow";
  if (token.issuedAt > now + kMaxAhead) return "it is dated in the future";
  // Without a sum: the times may be any numbers.
  if (token.issuedAt < *token.expiresAt - kMaxDelegationLife) return "it lives longer than 24 h";
  return "";
}

// Only the token's fields count, not those beside it.
Verified verifyDelegations(const std::vector<store::StoredDelegation>& entries, const identity::VaultysId& issuer,
                           const Did& self, WallTime now, Rules rules, std::string* problem) {
  Verified all;
  for (const auto& entry : entries) {
    auto token = identity::verifyDelegationToken(entry.certificate, issuer, now);
    if (!token) {
      *problem = token.error().message;
      continue;
    }
    if (const std::string_view wrong = problemWith(*token, self, now, rules); !wrong.empty()) {
      *problem = wrong;
      continue;
    }
    all.shown.push_back({entry.id, token->userDid, token->capabilities, token->expiresAt});
    all.live.push_back({Did(token->userDid), token->capabilities, token->expiresAt});
    all.stored.push_back(entry);
  }
  return all;
}

// In any order: the store has one of its own.
identity::Sha256 digestOf(std::vector<store::StoredDelegation> all) {
  std::sort(all.begin(), all.end(), [](const auto& a, const auto& b) { return a.id < b.id; });
  std::string text;
  for (const auto& one : all) text += std::to_string(one.id.size()) + ' ' + one.id + one.certificate + '\n';
  return identity::sha256(asBytes(text));
}

}  // namespace

void AgentCore::loadDelegations() {
  if (!controlPlane_) return;
  storedDelegations_ = digestOf(setup_.delegations);
  strictDelegations_ = setup_.features.with(listed_).has(identity::feature::kIntentV2);
  std::string problem;
  Verified verified = verifyDelegations(setup_.delegations, *controlPlane_, did(), ports_.clock().now(),
                                        strictDelegations_ ? Rules::IntentV2 : Rules::Original, &problem);
  shared_.with([&](Shared& s) { s.delegations = std::move(verified.live); });
  setup_.delegations.clear();
}

// Those that were taken by looser rules count no longer; the control plane sends the set that follows the stricter
// ones.
void AgentCore::judgeDelegations() {
  const bool strict = inUse_.has(identity::feature::kIntentV2);
  if (strict && !std::exchange(strictDelegations_, strict)) shared_.with([](Shared& s) { s.delegations.clear(); });
}

void AgentCore::onDelegations(const protocol::DelegationUpdate& update) {
  if (update.delegations.size() > kMaxGrants)
    return log(LogSeverity::Error, "Ignored a delegation_update with more than 10000 entries");
  std::vector<store::StoredDelegation> entries;
  entries.reserve(update.delegations.size());
  for (const auto& d : update.delegations) entries.push_back({d.id, d.certificate});
  std::string problem;
  auto verified = std::make_shared<Verified>(
      verifyDelegations(entries, *controlPlane_, did(), ports_.clock().now(),
                        inUse_.has(identity::feature::kIntentV2) ? Rules::IntentV2 : Rules::Original, &problem));
  if (verified->stored.size() != entries.size())
    log(LogSeverity::Warn, std::to_string(entries.size() - verified->stored.size()) + " of " +
                               std::to_string(entries.size()) + " delegations are not valid and ignored: " + problem);
  // What was revoked ends now; what was added counts now, and after a restart only if it could be stored.
  shared_.with([&](Shared& s) { s.delegations = verified->live; });
  // After each connect the control plane says again what the state has already.
  if (const auto digest = digestOf(verified->stored); storedDelegations_ != digest) {
    storedDelegations_ = digest;
    onState<Status>([stored = verified->stored](store::AgentState& state) { return state.replaceDelegations(stored); },
                    [this](const Status& saved) {
                      if (saved) return;
                      storedDelegations_.reset();
                      log(LogSeverity::Error, "The delegations cannot be stored: " + saved.error().message);
                    });
  }
  callHook("onDelegationUpdate", [verified](BaseAgentRuntime& agent) { agent.onDelegationUpdate(verified->shown); });
}

void AgentCore::onPeerCatalog(const protocol::AgentPeerCatalog& catalog) {
  if (catalog.peers.size() > kMaxGrants)
    return log(LogSeverity::Error, "Ignored an agent_peer_catalog with more than 10000 entries");
  std::vector<AgentPeerGrant> grants;
  std::string problem;
  for (const auto& p : catalog.peers) {
    auto token = identity::verifyPeerGrantToken(p.certificate, *controlPlane_, ports_.clock().now());
    if (!token || token->sourceDid != did().value) {
      problem = token ? "it is for another agent" : token.error().message;
      continue;
    }
    AgentPeerGrant grant;
    grant.id = p.id;
    grant.sourceDid = token->sourceDid;
    grant.targetDid = token->targetDid;
    grant.targetName = token->targetName;
    grant.skillDescription = token->skillDescription;
    grant.capabilities = token->capabilities;
    grant.certificate = p.certificate;
    grant.expiresAt = token->expiresAt;
    grant.channelId = p.channelId;
    grants.push_back(std::move(grant));
  }
  if (grants.size() != catalog.peers.size())
    log(LogSeverity::Warn, std::to_string(catalog.peers.size() - grants.size()) + " of " +
                               std::to_string(catalog.peers.size()) +
                               " peer grants are not valid and ignored: " + problem);
  log(LogSeverity::Info, "Peer catalog updated: " + std::to_string(grants.size()) + " peer grant(s)");
  shared_.with([&](Shared& s) { s.peers = grants; });
  agent_.peerManager().updatePeerCatalog(grants);
  callHook("onPeerCatalogUpdated",
           [grants = std::move(grants)](BaseAgentRuntime& agent) { agent.onPeerCatalogUpdated(grants); });
}

void AgentCore::onLlmConfig(const protocol::LlmConfigUpdate& update) {
  std::optional<LlmConfig> config;
  if (update.config) config = convert(*update.config);
  callHook("onLlmConfig", [config = std::move(config)](BaseAgentRuntime& agent) { agent.onLlmConfig(config); });
}

void AgentCore::onSkills(const protocol::SkillsConfig& wire) {
  std::vector<SkillConfig> skills;
  for (const auto& skill : wire.skills) skills.push_back(convert(skill));
  callHook("onSkillsConfig", [skills = std::move(skills)](BaseAgentRuntime& agent) { agent.onSkillsConfig(skills); });
}

void AgentCore::onGetSessions(const protocol::GetChatSessions& get) {
  callHook("onGetChatSessions", [self = shared_from_this(), limit = get.limit](BaseAgentRuntime& agent) {
    protocol::ChatSessionsResponse response;
    for (const auto& session : agent.onGetChatSessions(limit)) response.sessions.push_back(convert(session));
    self->sendSoon(std::move(response));
  });
}

void AgentCore::onGetHistory(const protocol::GetChatHistory& get) {
  callHook("onGetChatHistory", [self = shared_from_this(), id = get.sessionId](BaseAgentRuntime& agent) {
    protocol::ChatHistoryResponse response;
    response.sessionId = id;
    for (const auto& entry : agent.onGetChatHistory(id)) {
      auto message = convert(entry);
      if (!message) throw std::runtime_error(message.error().message);
      response.messages.push_back(std::move(message).value());
    }
    self->sendSoon(std::move(response));
  });
}

}  // namespace vaultysclaw::detail
