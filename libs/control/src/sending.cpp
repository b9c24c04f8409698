#include "sending.hpp"

#include <algorithm>

#include "identity/tokens.hpp"

namespace vaultysclaw::control {
namespace {

constexpr Duration kMaxTokenLife = seconds(300);  // docs/protocol.md 7.4

}  // namespace

SignedIntent signIntent(const identity::VaultysId& self, const IntentId& id, const Did& agent,
                        const std::string& action, std::string_view params, const std::optional<Did>& user,
                        WallTime now, std::optional<Duration> life) {
  identity::IntentToken body{id.value, action, agent.value, now, {}, {}, {}};
  if (life) {
    body.paramsHash = identity::sha256(asBytes(params));
    if (user) body.userDid = user->value;
    body.expiresAt = now + std::chrono::duration_cast<milliseconds>(std::min<Duration>(*life, kMaxTokenLife));
  }
  SignedIntent out;
  out.token = identity::signToken(self, body);
  const auto hash = identity::tokenBodyHash(out.token);
  VC_ASSERT(hash.ok(), "a token that was just made has a body");
  out.hash = *hash;
  return out;
}

protocol::Intent messageOf(const IntentId& id, const std::string& action, std::string params, std::optional<Did> user,
                           WallTime now, Duration timeout, const std::optional<protocol::TraceContext>& trace) {
  protocol::Intent message;
  message.id = id;
  message.action = action;
  message.params.text = std::move(params);
  message.userDid = std::move(user);
  message.timestamp = toIso8601(now);
  message.timeoutMs = std::chrono::duration_cast<milliseconds>(timeout).count();
  message.trace = trace;
  return message;
}

bool isIdempotencyKey(std::string_view key) {
  return !key.empty() && key.size() <= 128 &&
         std::all_of(key.begin(), key.end(), [](char c) { return c >= ' ' && c <= '~'; });
}

bool hasEnded(const store::IntentRow& row) {
  return row.status != "queued" && row.status != "pending";
}

Result<RunResult> endOf(const store::IntentRow& row) {
  const std::string error = row.error.value_or("the intent ended without an answer");
  if (row.status == "timeout" || row.status == "expired") return Error{Errc::DeadlineExceeded, error};
  if (row.status == "lost") {
    const bool interrupted = row.code == std::string(wireCode(Errc::Interrupted));
    return Error{interrupted ? Errc::Interrupted : Errc::Unavailable, error};
  }
  RunResult out;
  out.intentId = row.id;
  out.status = row.status;
  if (row.output) out.output = protocol::RawJson{*row.output};
  out.error = row.error;
  out.code = row.code;
  out.executedAt = row.executedAt;
  return out;
}

std::vector<ControlPlane::IntentView::Event> historyOf(const store::IntentRow& row,
                                                       const std::vector<store::IntentEventRow>& events) {
  std::vector<ControlPlane::IntentView::Event> out;
  out.push_back({row.createdAt, "accepted", {}});
  if (row.ttlSeconds && row.sentAt.value_or(WallTime::max()) != row.createdAt)
    out.push_back({row.createdAt, "queued", {}});
  // Every stored event is later: an intent that was not sent yet waits, expires or is cancelled, which its row tells.
  if (!row.token.empty()) out.push_back({row.sentAt.value_or(row.createdAt), "sent", "1"});
  for (const auto& event : events) out.push_back({event.at, event.event, event.detail});
  if (!hasEnded(row)) return out;
  const WallTime at = row.finishedAt.value_or(row.createdAt);
  if (row.status == "timeout")
    out.push_back({at, "timed_out", row.error.value_or("")});
  else if (row.status == "success" || row.status == "failed")
    out.push_back({at, "finished", row.status});
  else
    out.push_back({at, row.status, row.error.value_or("")});
  return out;
}

}  // namespace vaultysclaw::control
