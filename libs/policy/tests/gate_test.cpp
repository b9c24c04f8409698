#include "policy/gate.hpp"

#include <gtest/gtest.h>

#include <algorithm>

namespace vaultysclaw::policy {
namespace {

using std::chrono::hours;
using std::chrono::minutes;

const WallTime kNow = fromIso8601("2026-11-22T13:00:00Z").value();
const Did kUser{"did:vaultys:0122222222222222222222222222222222222222"};

Grant grantOf(std::vector<std::string> capabilities) {
  Grant grant;
  grant.capabilities = std::move(capabilities);
  return grant;
}

// Empty when the gate opens, else the refusal.
std::string refusal(const Status& status) {
  if (status) return {};
  EXPECT_EQ(status.error().code, Errc::PolicyDenied);
  return status.error().message;
}

TEST(Capabilities, EmptyListGrantsNothing) {
  EXPECT_FALSE(grantsCapability({}, "api_call"));
  EXPECT_FALSE(grantsCapability({}, "agent"));
  EXPECT_FALSE(grantsCapability({}, ""));
}

TEST(Capabilities, AgentMeansAgentCommunication) {
  EXPECT_TRUE(grantsCapability({"agent_communication"}, "agent"));
  EXPECT_TRUE(grantsCapability({"agent_communication"}, "agent_communication"));
  EXPECT_FALSE(grantsCapability({"agent"}, "agent"));
  EXPECT_FALSE(grantsCapability({"api_call"}, "api_cal"));
}

TEST(Gate, OpensForAGrantedAction) {
  EXPECT_EQ(refusal(authorise({"api_call", {}}, grantOf({"api_call"}), {}, {}, kNow)), "");
}

TEST(Gate, RefusesInTheOrderOfTheGates) {
  Grant grant = grantOf({"api_call"});
  grant.policyId = "policy-1";
  grant.policyExpiresAt = kNow - milliseconds(1);
  grant.limits.maxTokensPerDay = 10;
  grant.limits.maxRequestsPerHour = 2;
  Usage usage{10, 2, kNow - minutes(10)};
  Request request{"system_command", kUser};

  EXPECT_EQ(refusal(authorise(request, grant, usage, {}, kNow)), "Capability 'system_command' not granted");
  request.action = "api_call";
  EXPECT_EQ(refusal(authorise(request, grant, usage, {}, kNow)), "Policy 'policy-1' has expired — action blocked");
  grant.policyExpiresAt = kNow;
  EXPECT_EQ(refusal(authorise(request, grant, usage, {}, kNow)), "Daily token budget exhausted (used 10 / limit 10)");
  usage.tokensToday = 9;
  EXPECT_EQ(refusal(authorise(request, grant, usage, {}, kNow)),
            "Hourly request limit reached (2 req/h) — resets in 3000s");
  usage.requestsThisHour = 1;
  EXPECT_EQ(refusal(authorise(request, grant, usage, {}, kNow)),
            "User '" + kUser.value + "' has no valid delegation for 'api_call'");
  EXPECT_EQ(refusal(authorise(request, grant, usage, {{kUser, {"api_call"}, {}}}, kNow)), "");
}

TEST(Gate, NamesAnExpiredPolicyWithoutId) {
  Grant grant = grantOf({"a"});
  grant.policyExpiresAt = kNow - milliseconds(1);
  EXPECT_EQ(refusal(authorise({"a", {}}, grant, {}, {}, kNow)), "Policy 'unknown' has expired — action blocked");
}

TEST(Gate, ZeroLimitsRefuse) {
  Grant grant = grantOf({"a"});
  grant.limits.maxRequestsPerHour = 0;
  EXPECT_EQ(refusal(authorise({"a", {}}, grant, {}, {}, kNow)),
            "Hourly request limit reached (0 req/h) — resets in 3600s");
  grant.limits.maxTokensPerDay = 0;
  EXPECT_EQ(refusal(authorise({"a", {}}, grant, {}, {}, kNow)), "Daily token budget exhausted (used 0 / limit 0)");
}

TEST(Gate, WindowEndsJustAfterOneHour) {
  Grant grant = grantOf({"a"});
  grant.limits.maxRequestsPerHour = 1;
  const Usage usage{0, 1, kNow};
  const auto at = [&](auto later) { return refusal(authorise({"a", {}}, grant, usage, {}, kNow + later)); };
  EXPECT_EQ(at(milliseconds(0)), "Hourly request limit reached (1 req/h) — resets in 3600s");
  EXPECT_EQ(at(milliseconds(1)), "Hourly request limit reached (1 req/h) — resets in 3600s");
  EXPECT_EQ(at(milliseconds(1000)), "Hourly request limit reached (1 req/h) — resets in 3599s");
  EXPECT_EQ(at(hours(1) - milliseconds(1)), "Hourly request limit reached (1 req/h) — resets in 1s");
  EXPECT_EQ(at(hours(1)), "Hourly request limit reached (1 req/h) — resets in 0s");
  EXPECT_EQ(at(hours(1) + milliseconds(1)), "");
  EXPECT_EQ(at(milliseconds(-1)), "") << "a clock that was set back locks nobody out";
}

TEST(Gate, CountsInWindows) {
  Usage usage = countRequest({}, kNow);
  EXPECT_EQ(usage.requestsThisHour, 1);
  EXPECT_EQ(usage.hourWindowStart, kNow);
  usage = countRequest(usage, kNow + hours(1));
  EXPECT_EQ(usage.requestsThisHour, 2);
  EXPECT_EQ(usage.hourWindowStart, kNow);
  usage.tokensToday = 7;
  usage = countRequest(usage, kNow + hours(1) + milliseconds(1));
  EXPECT_EQ(usage.requestsThisHour, 1);
  EXPECT_EQ(usage.hourWindowStart, kNow + hours(1) + milliseconds(1));
  EXPECT_EQ(usage.tokensToday, 7);
}

TEST(Gate, AllowsExactlyTheLimit) {
  Grant grant = grantOf({"a"});
  grant.limits.maxRequestsPerHour = 3;
  Usage usage;
  int ran = 0;
  for (int i = 0; i < 10; ++i) {
    if (!authorise({"a", {}}, grant, usage, {}, kNow + minutes(i))) continue;
    usage = countRequest(usage, kNow + minutes(i));
    ++ran;
  }
  EXPECT_EQ(ran, 3);
}

TEST(Gate, MatchesDelegations) {
  const Grant grant = grantOf({"api_call", "agent_communication"});
  const Did other{"did:vaultys:0133333333333333333333333333333333333333"};
  const auto open = [&](std::string_view action, LiveDelegation delegation) {
    return authorise({action, kUser}, grant, {}, {std::move(delegation)}, kNow).ok();
  };
  EXPECT_TRUE(open("api_call", {kUser, {"x", "api_call"}, {}}));
  EXPECT_TRUE(open("agent", {kUser, {"agent_communication"}, {}}));
  EXPECT_FALSE(open("agent", {kUser, {"agent"}, {}}));
  EXPECT_FALSE(open("api_call", {kUser, {}, {}}));
  EXPECT_FALSE(open("api_call", {kUser, {"agent_communication"}, {}}));
  EXPECT_FALSE(open("api_call", {other, {"api_call"}, {}}));
  EXPECT_TRUE(open("api_call", {kUser, {"api_call"}, kNow}));
  EXPECT_FALSE(open("api_call", {kUser, {"api_call"}, kNow - milliseconds(1)}));
  EXPECT_FALSE(authorise({"api_call", Did{}}, grant, {}, {{kUser, {"api_call"}, {}}}, kNow).ok());
}

TEST(Gate, LetsADelegationWidenNothing) {
  EXPECT_EQ(refusal(authorise({"mail_send", kUser}, grantOf({"api_call"}), {}, {{kUser, {"mail_send"}, {}}}, kNow)),
            "Capability 'mail_send' not granted");
}

TEST(Gate, ChatPassesAllButTheCapability) {
  Grant grant;
  EXPECT_EQ(refusal(authorise({}, grant, {}, {}, kNow)), "");
  EXPECT_EQ(refusal(authorise({{}, kUser}, grant, {}, {{kUser, {}, {}}}, kNow)),
            "User '" + kUser.value + "' has no valid delegation for 'chat'");
  EXPECT_EQ(refusal(authorise({{}, kUser}, grant, {}, {{kUser, {"api_call"}, {}}}, kNow)), "");
  grant.limits.maxTokensPerDay = 5;
  EXPECT_EQ(refusal(authorise({}, grant, {5, 0, {}}, {}, kNow)), "Daily token budget exhausted (used 5 / limit 5)");
  grant.policyExpiresAt = kNow - hours(1);
  EXPECT_FALSE(authorise({}, grant, {}, {}, kNow).ok());
}

TEST(Narrowest, TakesTheStricterOfBoth) {
  Grant a = grantOf({"api_call", "file_access", "mail_send"});
  a.limits = {100, {}, {"a.example", "b.example"}};
  a.policyId = "a";
  a.policyExpiresAt = kNow;
  Grant b = grantOf({"mail_send", "api_call", "system_command"});
  b.limits = {200, 5, {"b.example"}};
  b.policyId = "b";
  b.policyExpiresAt = kNow - hours(1);

  const Grant both = narrowest(a, b);
  EXPECT_EQ(both.capabilities, (std::vector<std::string>{"api_call", "mail_send"}));
  EXPECT_EQ(both.limits, (protocol::ResourceLimits{100, 5, {"b.example"}}));
  EXPECT_EQ(both.policyId, "b");
  EXPECT_EQ(both.policyExpiresAt, kNow - hours(1));

  Grant swapped = narrowest(b, a);
  std::sort(swapped.capabilities.begin(), swapped.capabilities.end());
  EXPECT_EQ(swapped, both);
  EXPECT_EQ(narrowest(a, a), a);
  EXPECT_EQ(narrowest(both, a), both);
}

TEST(Narrowest, AbsentLimitsRestrictNothing) {
  Grant a = grantOf({"x"});
  Grant b = grantOf({"x"});
  b.limits = {1, 2, {"d"}};
  b.policyId = "p";
  b.policyExpiresAt = kNow;
  EXPECT_EQ(narrowest(a, b), b);
  EXPECT_EQ(narrowest(b, a), b);
  EXPECT_TRUE(narrowest(grantOf({"x"}), grantOf({})).capabilities.empty());
}

TEST(Narrowest, KeepsTheOrderOfLongListsOfDomains) {
  Grant a, b;
  std::vector<std::string> expected;
  for (int i = 0; i < 200'000; ++i) {  // compared pair by pair, this takes minutes
    const std::string name = std::to_string(i * 7919 % 200'003) + ".example";
    a.limits.allowedDomains.push_back(name);
    b.limits.allowedDomains.push_back(i % 2 == 0 ? name : "other." + name);
    if (i % 2 == 0) expected.push_back(name);
  }
  std::reverse(b.limits.allowedDomains.begin(), b.limits.allowedDomains.end());
  EXPECT_EQ(narrowest(a, b).limits.allowedDomains, expected);
}

TEST(Narrowest, DomainsWithoutACommonOneAllowNone) {
  Grant a, b;
  a.limits.allowedDomains = {"a.example"};
  b.limits.allowedDomains = {"b.example"};
  const std::vector<std::string> none{std::string(kNoDomain)};
  const Grant both = narrowest(a, b);
  EXPECT_EQ(both.limits.allowedDomains, none);
  EXPECT_EQ(narrowest(both, a).limits.allowedDomains, none);
  EXPECT_EQ(narrowest(Grant{}, both).limits.allowedDomains, none);
}

TEST(UtcDay, ChangesAtMidnight) {
  EXPECT_EQ(utcDay(WallTime{}), 0);
  EXPECT_EQ(utcDay(WallTime{} - milliseconds(1)), -1);
  EXPECT_EQ(utcDay(fromIso8601("2026-11-22T23:59:59.999Z").value()) + 1,
            utcDay(fromIso8601("2026-11-23T00:00:00.000Z").value()));
}

}  // namespace
}  // namespace vaultysclaw::policy
