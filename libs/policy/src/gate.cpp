#include "policy/gate.hpp"

#include <algorithm>

namespace vaultysclaw::policy {
namespace {

std::string_view capabilityOf(std::string_view action) {
  return action == "agent" ? std::string_view("agent_communication") : action;
}

bool contains(const std::vector<std::string>& list, std::string_view wanted) {
  return std::find(list.begin(), list.end(), wanted) != list.end();
}

// In the order of `a`. The lists come from the network: no pairwise comparison.
std::vector<std::string> common(const std::vector<std::string>& a, const std::vector<std::string>& b) {
  std::vector<std::string_view> sorted(b.begin(), b.end());
  std::sort(sorted.begin(), sorted.end());
  std::vector<std::string> out;
  std::copy_if(a.begin(), a.end(), std::back_inserter(out), [&](const std::string& x) {
    return std::binary_search(sorted.begin(), sorted.end(), std::string_view(x));
  });
  return out;
}

// The smaller one; absent means no limit.
template <class T>
std::optional<T> lower(const std::optional<T>& a, const std::optional<T>& b) {
  if (a && b) return std::min(*a, *b);
  return a ? a : b;
}

std::vector<std::string> commonDomains(const std::vector<std::string>& a, const std::vector<std::string>& b) {
  if (a.empty()) return b;
  if (b.empty()) return a;
  auto out = common(a, b);
  if (out.empty()) out.emplace_back(kNoDomain);
  return out;
}

bool windowIsOver(const Usage& usage, WallTime now) {
  return now < usage.hourWindowStart || now - usage.hourWindowStart > kRateWindow;
}

Error denied(std::string message) {
  return {Errc::PolicyDenied, std::move(message)};
}

Status checkRate(std::int64_t limit, const Usage& usage, WallTime now) {
  const bool fresh = windowIsOver(usage, now);
  if ((fresh ? 0 : usage.requestsThisHour) < limit) return {};
  const WallTime start = fresh ? now : usage.hourWindowStart;
  const auto left = std::chrono::ceil<std::chrono::seconds>(start + kRateWindow - now);
  return denied("Hourly request limit reached (" + std::to_string(limit) + " req/h) — resets in " +
                std::to_string(left.count()) + "s");
}

bool allows(const LiveDelegation& delegation, const Did& user, std::optional<std::string_view> action, WallTime now) {
  if (delegation.userDid != user || (delegation.expiresAt && now > *delegation.expiresAt)) return false;
  return action ? grantsCapability(delegation.capabilities, *action) : !delegation.capabilities.empty();
}

}  // namespace

bool grantsCapability(const std::vector<std::string>& granted, std::string_view action) {
  return contains(granted, capabilityOf(action));
}

Grant narrowest(const Grant& a, const Grant& b) {
  Grant out;
  out.capabilities = common(a.capabilities, b.capabilities);
  out.limits.maxTokensPerDay = lower(a.limits.maxTokensPerDay, b.limits.maxTokensPerDay);
  out.limits.maxRequestsPerHour = lower(a.limits.maxRequestsPerHour, b.limits.maxRequestsPerHour);
  out.limits.allowedDomains = commonDomains(a.limits.allowedDomains, b.limits.allowedDomains);
  out.policyExpiresAt = lower(a.policyExpiresAt, b.policyExpiresAt);
  const bool fromB = !a.policyId || (b.policyId && b.policyExpiresAt && out.policyExpiresAt != a.policyExpiresAt);
  out.policyId = fromB ? b.policyId : a.policyId;
  return out;
}

Status authorise(const Request& request, const Grant& grant, const Usage& usage,
                 const std::vector<LiveDelegation>& delegations, WallTime now) {
  if (request.action && !grantsCapability(grant.capabilities, *request.action)) {
    return denied("Capability '" + std::string(*request.action) + "' not granted");
  }
  if (grant.policyExpiresAt && now > *grant.policyExpiresAt) {
    return denied("Policy '" + grant.policyId.value_or("unknown") + "' has expired — action blocked");
  }
  if (grant.limits.maxTokensPerDay && usage.tokensToday >= *grant.limits.maxTokensPerDay) {
    return denied("Daily token budget exhausted (used " + std::to_string(usage.tokensToday) + " / limit " +
                  std::to_string(*grant.limits.maxTokensPerDay) + ")");
  }
  if (grant.limits.maxRequestsPerHour) VC_TRY(checkRate(*grant.limits.maxRequestsPerHour, usage, now));
  if (request.userDid) {
    const bool delegated = std::any_of(delegations.begin(), delegations.end(), [&](const LiveDelegation& d) {
      return allows(d, *request.userDid, request.action, now);
    });
    if (!delegated) {
      return denied("User '" + request.userDid->value + "' has no valid delegation for '" +
                    std::string(request.action.value_or("chat")) + "'");
    }
  }
  return {};
}

Usage countRequest(Usage usage, WallTime now) {
  if (windowIsOver(usage, now)) {
    usage.hourWindowStart = now;
    usage.requestsThisHour = 0;
  }
  ++usage.requestsThisHour;
  return usage;
}

std::int64_t utcDay(WallTime t) {
  return std::chrono::floor<std::chrono::days>(t).time_since_epoch().count();
}

}  // namespace vaultysclaw::policy
