#include "journal.hpp"

#include <algorithm>

#include "base/json_writer.hpp"

namespace vaultysclaw::control {
namespace {

constexpr Duration kRetryInterval = milliseconds(100);
constexpr Duration kMaxRetryInterval = seconds(5);
constexpr std::size_t kMaxFailed = 100'000;
constexpr const char* kStoreIsFull = "too many writes are waiting for the store; try again later";

}  // namespace

Journal::Journal(Context& context)
    : context_(context),
      returns_(std::make_shared<Returns>(context.ports.loop)),
      windowStart_(context.ports.clock.steady()) {}

Journal::Work Journal::withAudit(std::shared_ptr<AuditLog> audit, WallTime at, Work work,
                                 std::optional<AuditEntry> entry) {
  return [work = std::move(work), entry = std::move(entry), audit = std::move(audit),
          at](store::ControlWriter& writer) -> Status {
    if (work) VC_TRY(work(writer));
    if (entry)
      VC_TRY(audit->append(writer, at, entry->actor, entry->action, entry->target,
                           entry->detailsOfWork ? *entry->detailsOfWork : entry->details));
    return {};
  };
}

Journal::Box Journal::boxed(Done done) {
  return std::make_shared<Done>(context_.ifAlive([done = std::move(done)](Status status) {
    if (done) done(std::move(status));
  }));
}

void Journal::Returns::giveBack(Box box, Status status) {
  {
    std::lock_guard lock(mutex_);
    finished_.emplace_back(std::move(box), std::move(status));
    if (finished_.size() > 1) return;
  }
  loop_.post([self = shared_from_this()] { self->deliver(); });
}

void Journal::Returns::deliver() {
  std::vector<std::pair<Box, Status>> finished;
  {
    std::lock_guard lock(mutex_);
    finished.swap(finished_);
  }
  for (auto& [box, status] : finished) {
    const Done run = std::move(*box);
    run(std::move(status));
  }
}

bool Journal::submit(const Work& work, const Done& done) {
  return context_.ports.store.write(
      work, [returns = returns_, box = boxed(done)](Status status) { returns->giveBack(box, std::move(status)); });
}

bool Journal::prepare(std::function<Result<Prepared>()> prepare, Done done) {
  auto task = [returns = returns_, &database = context_.ports.store, audit = audit_, at = context_.now(),
               prepare = std::move(prepare), box = boxed(std::move(done))]() mutable {
    auto prepared = prepare();
    prepare = nullptr;
    if (!prepared) return returns->giveBack(std::move(box), prepared.error());
    const bool queued =
        database.write(withAudit(std::move(audit), at, std::move(prepared->work), std::move(prepared->entry)),
                       [returns, box](Status status) { returns->giveBack(box, std::move(status)); });
    if (!queued) returns->giveBack(std::move(box), Error{Errc::Busy, kStoreIsFull});
  };
  return context_.ports.workers.submit(std::move(task));
}

void Journal::write(Work work, AuditEntry entry, Done done) {
  if (submit(withAudit(std::move(work), std::move(entry)), done)) return;
  context_.ports.loop.post(context_.ifAlive([done = std::move(done)] { done(Error{Errc::Busy, kStoreIsFull}); }));
}

void Journal::writeSurely(Work work, std::optional<AuditEntry> entry, Done done, HearsOf hears) {
  const bool changesRows = work != nullptr;
  auto sure = std::make_shared<Sure>();
  sure->what = entry ? entry->action : "a row";
  sure->done = std::move(done);
  sure->mustSucceed = changesRows;
  sure->hears = hears;
  sure->work = withAudit(std::move(work), std::move(entry));
  submitSurely(std::move(sure));
}

void Journal::submitSurely(std::shared_ptr<Sure> sure) {
  if (!backlog_.empty() || !submit(sure->work, [this, sure](const Status& status) { onSure(sure, status); })) {
    backlog_.push_back(std::move(sure));
    if (backlog_.size() == 1) backlogTimer_ = context_.ports.loop.after(kRetryInterval, [this] { retry(); });
  }
}

void Journal::onSure(const std::shared_ptr<Sure>& sure, const Status& status) {
  if (status) failedDelay_ = Duration(0);
  if (!status) context_.ports.log.error("store", "could not store " + sure->what + ": " + status.error().message);
  const bool disk = !status && (status.error().code == Errc::Io || status.error().code == Errc::Busy);
  const bool again = disk && sure->mustSucceed && failed_.size() < kMaxFailed;
  if (!again || sure->hears == HearsOf::FirstFailure) {
    if (const Done done = std::exchange(sure->done, nullptr)) done(status);
  }
  if (!again) return;
  failed_.push_back(sure);
  if (failed_.size() > 1) return;
  failedDelay_ = std::clamp(failedDelay_ * 2, kRetryInterval, kMaxRetryInterval);
  failedTimer_ = context_.ports.loop.after(failedDelay_, [this] {
    const auto failed = std::exchange(failed_, {});
    for (const auto& one : failed) submitSurely(one);
  });
}

void Journal::retry() {
  const auto backlog = std::exchange(backlog_, {});
  for (const auto& one : backlog) submitSurely(one);
}

Status Journal::writeBlocking(const Audited& work) {
  return context_.ports.store.writeBlocking(
      [&work, audit = audit_, at = context_.now()](store::ControlWriter& writer) -> Status {
        VC_TRY_ASSIGN(const auto entries, work(writer));
        for (const auto& entry : entries)
          VC_TRY(audit->append(writer, at, entry.actor, entry.action, entry.target, entry.details));
        return {};
      });
}

bool Journal::recordRefusal(std::string target, std::string_view reason) {
  const SteadyTime now = context_.ports.clock.steady();
  if (now - windowStart_ >= std::chrono::minutes(1)) {
    windowStart_ = now;
    refusalsInWindow_ = 0;
  }
  if (refusalsInWindow_ >= kRefusalsPerMinute) {
    ++suppressed_;
    return false;
  }
  ++refusalsInWindow_;
  record({"system", "handshake.refused", std::move(target),
          details({{"reason", reason}, {"suppressedBefore", std::to_string(std::exchange(suppressed_, 0))}})});
  return true;
}

std::string grantDetails(const store::AgentRow& row, std::string_view reason,
                         const std::optional<std::string>& workspaces) {
  JsonWriter w;
  w.beginObject();
  w.member("did", row.did.value);
  w.member("capabilities", row.capabilities);
  w.member("limits", row.limits);
  w.member("policyId", row.policyId.value_or(""));
  w.member("policyExpiresAt", row.policyExpiresAt ? toIso8601(*row.policyExpiresAt) : "");
  w.member("reason", reason);
  w.memberIf("workspaces", workspaces);
  w.endObject();
  return w.take();
}

std::string details(std::initializer_list<std::pair<std::string_view, std::string_view>> members) {
  JsonWriter w;
  w.beginObject();
  for (const auto& [name, value] : members) w.member(name, value);
  w.endObject();
  return w.take();
}

}  // namespace vaultysclaw::control
