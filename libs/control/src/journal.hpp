// Durable writes of the control plane, each with the audit row that belongs to it.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "audit.hpp"
#include "context.hpp"

namespace vaultysclaw::control {

struct AuditEntry {
  std::string actor, action, target;
  std::string details = "{}";  // JSON object
  // Set: the work before fills it, and it stands for `details`.
  std::shared_ptr<std::string> detailsOfWork = nullptr;
};

// Owned by the hub. Confined to the loop.
class Journal {
 public:
  explicit Journal(Context& context);

  using Work = store::ControlStore::Work;
  using Done = std::function<void(Status)>;

  // Runs `work` on the store's writer, then appends `entry` in the same transaction: both or none become durable.
  // `done` runs on the loop after the commit, never before the call returns. Busy when the writer's queue is full.
  void write(Work work, AuditEntry entry, Done done);
  // As write, for a row that takes work to make: `prepare` runs on a worker, and what it returns goes to the store from
  // there, without a turn of the loop in between. Its error, or Busy, goes to `done`. False, and nothing will run, when
  // the workers have too much to do.
  struct Prepared {
    Work work;
    AuditEntry entry;
  };
  [[nodiscard]] bool prepare(std::function<Result<Prepared>()> prepare, Done done);
  // For what has happened already and must not be lost: a full queue is tried again until it takes the work, and a disk
  // that fails until it works, with growing pauses, up to 100,000 works. Failures are logged, and `done` hears of the
  // first one, for nobody is to wait for a disk; without `work` there is no second try.
  // With HearsOf::Success `done` waits for the disk instead, unless more works wait for it than are kept.
  enum class HearsOf : bool { FirstFailure, Success };
  void writeSurely(Work work, std::optional<AuditEntry> entry, Done done = nullptr,
                   HearsOf hears = HearsOf::FirstFailure);
  void record(AuditEntry entry) { writeSurely(nullptr, std::move(entry)); }
  // Blocking; at start. `work` fills the entries; nothing is written when there are none.
  using Audited = std::function<Result<std::vector<AuditEntry>>(store::ControlWriter&)>;
  Status writeBlocking(const Audited& work);
  // For events that strangers cause at will: at most kRefusalsPerMinute rows; the next row says how many were left out.
  // False for those that are left out.
  bool recordRefusal(std::string target, std::string_view reason);

  static constexpr int kRefusalsPerMinute = 10;

 private:
  static Work withAudit(std::shared_ptr<AuditLog> audit, WallTime at, Work work, std::optional<AuditEntry> entry);
  Work withAudit(Work work, std::optional<AuditEntry> entry) {
    return withAudit(audit_, context_.now(), std::move(work), std::move(entry));
  }
  // `done` as something that a thread elsewhere can hand back to the loop, where alone it is run and destroyed.
  using Box = std::shared_ptr<Done>;
  Box boxed(Done done);
  // From any thread: what a commit has finished goes back to the loop in one task, not one each.
  class Returns : public std::enable_shared_from_this<Returns> {
   public:
    explicit Returns(Executor& loop) : loop_(loop) {}
    void giveBack(Box box, Status status);

   private:
    void deliver();

    Executor& loop_;
    std::mutex mutex_;
    std::vector<std::pair<Box, Status>> finished_;  // protected; a task is on its way while there are any
  };
  bool submit(const Work& work, const Done& done);
  struct Sure {
    Work work;
    std::string what;
    Done done;
    bool mustSucceed = false;  // rows say something else until it does
    HearsOf hears = HearsOf::FirstFailure;
  };
  void submitSurely(std::shared_ptr<Sure> sure);
  void onSure(const std::shared_ptr<Sure>& sure, const Status& status);
  void retry();

  Context& context_;
  std::shared_ptr<AuditLog> audit_ = std::make_shared<AuditLog>();
  std::shared_ptr<Returns> returns_;
  std::deque<std::shared_ptr<Sure>> backlog_;  // what the store was too busy for, in order
  std::deque<std::shared_ptr<Sure>> failed_;   // what the disk did not take
  Timer backlogTimer_, failedTimer_;
  Duration failedDelay_{0};
  SteadyTime windowStart_{};
  int refusalsInWindow_ = 0;
  std::uint64_t suppressed_ = 0;
};

// What a row grants, for the audit; of an approval also into which workspaces.
std::string grantDetails(const store::AgentRow& row, std::string_view reason,
                         const std::optional<std::string>& workspaces = std::nullopt);
// A JSON object of string members, for AuditEntry::details.
std::string details(std::initializer_list<std::pair<std::string_view, std::string_view>> members);

}  // namespace vaultysclaw::control
