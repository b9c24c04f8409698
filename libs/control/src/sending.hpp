// What a sent intent is made of, and how a stored one reads. Pure, any thread.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "control/control_plane.hpp"
#include "identity/hash.hpp"

namespace vaultysclaw::control {

struct SignedIntent {
  std::string token;
  identity::Sha256 hash{};  // of its body
};
// `life`: how long the agent has for it. Present for an agent that speaks intent-v2 (docs/protocol.md 7.4); without it
// params and `user` are not signed.
SignedIntent signIntent(const identity::VaultysId& self, const IntentId& id, const Did& agent,
                        const std::string& action, std::string_view params, const std::optional<Did>& user,
                        WallTime now, std::optional<Duration> life);
protocol::Intent messageOf(const IntentId& id, const std::string& action, std::string params, std::optional<Did> user,
                           WallTime now, Duration timeout, const std::optional<protocol::TraceContext>& trace);

bool isIdempotencyKey(std::string_view key);

bool hasEnded(const store::IntentRow& row);
// What the caller of a run heard, or would have heard, of an intent that has ended.
Result<RunResult> endOf(const store::IntentRow& row);

// What happened to an intent, in order, from its row and its events.
std::vector<ControlPlane::IntentView::Event> historyOf(const store::IntentRow& row,
                                                       const std::vector<store::IntentEventRow>& events);

}  // namespace vaultysclaw::control
