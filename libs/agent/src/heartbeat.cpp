#include <unistd.h>

#include <algorithm>
#include <fstream>

#include "core.hpp"

namespace vaultysclaw::detail {
namespace {

protocol::TokenCount convert(const TokenUsage& usage) {
  // A subclass may say anything; the sum must stay a number.
  constexpr std::int64_t kMost = std::int64_t{1} << 52;
  return {std::clamp<std::int64_t>(usage.promptTokens, 0, kMost),
          std::clamp<std::int64_t>(usage.completionTokens, 0, kMost)};
}

// Resident memory in bytes; 0 when the system does not say.
std::int64_t residentBytes() {
  std::ifstream statm("/proc/self/statm");
  std::int64_t size = 0, resident = 0;
  if (!(statm >> size >> resident)) return 0;
  return resident * sysconf(_SC_PAGESIZE);
}

}  // namespace

std::chrono::seconds AgentCore::uptime() const {
  return std::chrono::duration_cast<std::chrono::seconds>(ports_.clock().steady() - startedAt_);
}

// `then` runs on the loop, whether it can be stored or not.
void AgentCore::saveUsage(Task then) {
  began();
  usage_.saveSoon([self = shared_from_this(), then = std::move(then)](const Status& saved) {
    self->backOnLoop([self, then, saved] {
      if (!saved) self->log(LogSeverity::Error, "The usage counters cannot be stored: " + saved.error().message);
      then();
    });
  });
}

void AgentCore::scheduleHeartbeat() {
  heartbeatTimer_ = ports_.loop().after(setup_.config.heartbeatInterval, [weak = weak_from_this()] {
    const auto self = weak.lock();
    if (!self) return;
    self->sendHeartbeat();
    self->scheduleHeartbeat();
  });
}

void AgentCore::sendHeartbeat() {
  if (phase_ != Phase::Authenticated) return;
  const UsageBook::Sync sync = usage_.openSync(newId());
  if (!sync.opened) return writeHeartbeat(sync);
  // After a restart the same delta goes out under the same id, so it is counted once.
  saveUsage([this] {
    const UsageBook::Sync now = usage_.openSync(newId());
    writeHeartbeat(now.opened ? UsageBook::Sync{newId(), {}} : now);
  });
}

void AgentCore::writeHeartbeat(const UsageBook::Sync& sync) {
  if (phase_ != Phase::Authenticated) return;
  protocol::Heartbeat heartbeat;
  heartbeat.uptimeSeconds = uptime().count();
  heartbeat.rssBytes = residentBytes();
  heartbeat.name = setup_.config.name;
  heartbeat.usageTotal = convert(usage_.total());
  heartbeat.usageSinceLastSync = convert(sync.delta);
  heartbeat.syncId = sync.id;
  const Timestamp now = ports_.clock().now();
  const auto [llm, budget, stuck] = shared_.with([&](Shared& s) {
    s.lastHeartbeat = now;
    return std::tuple(s.activeLlm, s.budgetToday, stuckHandlers(s));
  });
  for (const auto& one : stuck) heartbeat.stuckCalls.push_back({one.action, one.id, one.overdue.count()});
  heartbeat.usageDaily = convert(budget.value_or(usage_.today()));
  if (!llm.first.empty()) {
    heartbeat.llmProvider = llm.first;
    heartbeat.llmModel = llm.second;
  }
  openHeartbeat_ = sync.id;
  send(std::move(heartbeat));
  journal_->heartbeat(uptime());
  pollBudget();
}

// An overridden budget is asked for on the handler lane; the heartbeat after shows it.
void AgentCore::pollBudget() {
  if (budgetPolled_.exchange(true)) return;  // one at a time: a busy handler thread must not collect them
  const bool queued = callHook("getDailyTokenUsageForBudget", [self = shared_from_this()](BaseAgentRuntime& agent) {
    self->budgetPolled_ = false;
    const TokenUsage budget = agent.getDailyTokenUsageForBudget();
    const TokenUsage ours = self->usage_.today();
    self->shared_.with([&](Shared& s) { s.budgetToday = budget == ours ? std::nullopt : std::optional(budget); });
  });
  if (!queued) budgetPolled_ = false;
}

void AgentCore::onPong(const protocol::Pong& pong) {
  // The original echoes no id: its pong answers the last heartbeat.
  const std::string id = pong.syncId.value_or(openHeartbeat_);
  openHeartbeat_.clear();
  if (id.empty() || !usage_.acknowledge(id)) return;
  saveUsage([] {});
}

}  // namespace vaultysclaw::detail
