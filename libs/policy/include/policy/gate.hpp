// The one gate before any work an agent does for somebody (docs/protocol.md section 5 and 7.8). Pure: state comes in,
// a decision comes out.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.hpp"
#include "base/ports.hpp"
#include "base/result.hpp"
#include "protocol/messages.hpp"

namespace vaultysclaw::policy {

// What the agent's certificate grants: built from the handshake's metadata alone. An empty list of capabilities grants
// nothing; an empty list of domains restricts nothing, as in the original.
struct Grant {
  std::vector<std::string> capabilities;
  protocol::ResourceLimits limits;
  std::optional<std::string> policyId;
  std::optional<WallTime> policyExpiresAt;
  bool operator==(const Grant&) const = default;
};

// `agent` as an action means the capability agent_communication.
bool grantsCapability(const std::vector<std::string>& granted, std::string_view action);
// Stands in a list of domains that allows none (RFC 6761: the name never resolves), for an empty list would allow all.
inline constexpr std::string_view kNoDomain = "none.invalid";
// What both allow: used when a message narrows a certificate. Common capabilities, the smaller limits, the earlier
// expiry with its policy id, common domains; domains without a common one become kNoDomain.
Grant narrowest(const Grant& a, const Grant& b);

// Durable counters as they stand just before the call.
struct Usage {
  std::int64_t tokensToday = 0;       // prompt and completion, this UTC day
  std::int64_t requestsThisHour = 0;  // accepted in the current window
  WallTime hourWindowStart{};         // epoch: no window yet
};
// A window opens with the first request after the last one was over. It still counts exactly one hour after its start;
// one that starts in the future (the clock was set back) is over.
inline constexpr std::chrono::hours kRateWindow{1};

// A delegation already verified under the pinned key. At the instant of `expiresAt` it is still live.
struct LiveDelegation {
  Did userDid;
  std::vector<std::string> capabilities;
  std::optional<WallTime> expiresAt;
};

struct Request {
  std::optional<std::string_view> action;  // absent: chat, which has no capability name
  std::optional<Did> userDid;
};

// The five gates in order; the first that refuses gives the error (PolicyDenied, text as in section 5). A policy is
// still in force at the instant it expires. A chat for a user needs a live delegation of that user that grants
// anything.
Status authorise(const Request& request, const Grant& grant, const Usage& usage,
                 const std::vector<LiveDelegation>& delegations, WallTime now);

// Counters after one accepted request: opens a new window when the last one is over.
Usage countRequest(Usage usage, WallTime now);

// Number of the UTC day, for the daily token counter.
std::int64_t utcDay(WallTime t);

}  // namespace vaultysclaw::policy
