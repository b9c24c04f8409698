#include "usage.hpp"

#include <algorithm>

namespace vaultysclaw::detail {
namespace {

// Exact in JSON, and two of them never overflow a sum.
constexpr std::int64_t kMaxCount = std::int64_t{1} << 52;

void increase(std::int64_t& counter, std::int64_t by) {
  by = std::clamp<std::int64_t>(by, 0, kMaxCount);
  counter = std::min(std::clamp<std::int64_t>(counter, 0, kMaxCount) + by, kMaxCount);
}

}  // namespace

UsageBook::UsageBook(OpenState& state, store::StoredUsage stored, Clock& clock)
    : state_(&state), clock_(clock), usage_(stored), written_(stored) {}

void UsageBook::rollDay(store::StoredUsage& usage) const {
  const std::int64_t day = policy::utcDay(clock_.now());
  // What was counted while the clock was far ahead counts for today; else its day would never end.
  if (usage.utcDay > day + 1) usage.utcDay = day;
  // A clock that goes back does not give the budget of a day a second time.
  if (day <= usage.utcDay) return;
  usage.utcDay = day;
  usage.promptToday = usage.completionToday = 0;
}

TokenUsage UsageBook::today() const {
  std::lock_guard lock(mutex_);
  store::StoredUsage now = usage_;
  rollDay(now);
  return {now.promptToday, now.completionToday};
}

TokenUsage UsageBook::total() const {
  std::lock_guard lock(mutex_);
  return {usage_.promptTotal, usage_.completionTotal};
}

Status UsageBook::add(const TokenUsage& tokens) {
  {
    std::lock_guard lock(mutex_);
    rollDay(usage_);
    increase(usage_.promptToday, tokens.promptTokens);
    increase(usage_.promptTotal, tokens.promptTokens);
    increase(usage_.promptUnsynced, tokens.promptTokens);
    increase(usage_.completionToday, tokens.completionTokens);
    increase(usage_.completionTotal, tokens.completionTokens);
    increase(usage_.completionUnsynced, tokens.completionTokens);
  }
  return save();
}

Status UsageBook::admit(const policy::Request& request, const policy::Grant& grant,
                        const std::vector<policy::LiveDelegation>& delegations, const TokenUsage& budgetToday,
                        Reserved reserved) {
  {
    std::lock_guard lock(mutex_);
    if (reserved == Reserved::Yes) --reserved_;
    const WallTime now = clock_.now();
    policy::Usage usage{budgetToday.total(), usage_.requestsThisHour, usage_.hourWindowStart};
    VC_TRY(policy::authorise(request, grant, usage, delegations, now));
    // As in the original, what runs without a limit does not count: a limit begins with a window of its own.
    if (grant.limits.maxRequestsPerHour) usage = policy::countRequest(usage, now);
    usage_.requestsThisHour = usage.requestsThisHour;
    usage_.hourWindowStart = usage.hourWindowStart;
  }
  return reserved == Reserved::Yes ? Status() : save();
}

void UsageBook::reserve() {
  std::lock_guard lock(mutex_);
  ++reserved_;
}

void UsageBook::release() {
  std::lock_guard lock(mutex_);
  --reserved_;
}

// With mutex_ held.
store::StoredUsage UsageBook::toStore() const {
  store::StoredUsage all = usage_;
  if (reserved_ == 0) return all;
  const policy::Usage first = policy::countRequest({0, all.requestsThisHour, all.hourWindowStart}, clock_.now());
  all.requestsThisHour = first.requestsThisHour + reserved_ - 1;
  all.hourWindowStart = first.hourWindowStart;
  return all;
}

UsageBook::Sync UsageBook::openSync(const std::string& newId) {
  std::lock_guard lock(mutex_);
  if (!usage_.syncId.empty())
    return {usage_.syncId, {usage_.promptSyncing, usage_.completionSyncing}, written_.syncId != usage_.syncId};
  const TokenUsage delta{usage_.promptUnsynced, usage_.completionUnsynced};
  if (delta == TokenUsage{}) return {newId, delta};
  usage_.syncId = newId;
  usage_.promptSyncing = delta.promptTokens;
  usage_.completionSyncing = delta.completionTokens;
  return {newId, delta, true};
}

bool UsageBook::acknowledge(const std::string& id) {
  std::lock_guard lock(mutex_);
  if (usage_.syncId.empty() || usage_.syncId != id) return false;
  usage_.promptUnsynced = std::max<std::int64_t>(usage_.promptUnsynced - usage_.promptSyncing, 0);
  usage_.completionUnsynced = std::max<std::int64_t>(usage_.completionUnsynced - usage_.completionSyncing, 0);
  usage_.syncId.clear();
  usage_.promptSyncing = usage_.completionSyncing = 0;
  return true;
}

StateFile::Work UsageBook::writeUnsaved(std::shared_ptr<std::optional<store::StoredUsage>> taken) const {
  return [this, taken = std::move(taken), rows = &state_->rows()]() -> Status {
    *taken = unsaved();
    return *taken ? rows->saveUsage(**taken) : Status();
  };
}

Status UsageBook::save() {
  std::shared_lock open(stateMutex_);
  if (state_ == nullptr) return Error{Errc::Unavailable, "the agent has stopped"};
  if (!unsaved()) return {};  // a request without a limit counts nothing, and a commit costs more than the request
  auto taken = std::make_shared<std::optional<store::StoredUsage>>();
  return state_->file().runBlocking(writeUnsaved(taken), [this, taken] { saved(*taken); });
}

void UsageBook::saveSoon(std::function<void(Status)> then) {
  std::shared_lock open(stateMutex_);
  if (state_ == nullptr) return then(Error{Errc::Unavailable, "the agent has stopped"});
  auto taken = std::make_shared<std::optional<store::StoredUsage>>();
  const bool queued = state_->file().submit(writeUnsaved(taken), [this, taken, then](Status status) {
    if (status.ok()) saved(*taken);
    then(std::move(status));
  });
  if (!queued) then(StateFile::busy());
}

std::optional<store::StoredUsage> UsageBook::unsaved() const {
  std::lock_guard lock(mutex_);
  const store::StoredUsage now = toStore();
  return now == written_ ? std::nullopt : std::optional(now);
}

void UsageBook::saved(const std::optional<store::StoredUsage>& written) {
  if (!written) return;
  std::lock_guard lock(mutex_);
  written_ = *written;
}

void UsageBook::close() {
  std::lock_guard closing(stateMutex_);
  state_ = nullptr;
}

}  // namespace vaultysclaw::detail
