#include "sqlite/group_commit.hpp"

namespace vaultysclaw::store::sqlite {
namespace {

class Group {
 public:
  Group(Database& db, std::size_t count, const std::function<Status(std::size_t)>& work,
        const std::function<void()>& undone)
      : db_(db), work_(work), undone_(undone), statuses_(count) {}

  std::vector<Status> run() {
    std::size_t next = 0;
    while (next < statuses_.size()) next = commitFrom(next);
    return std::move(statuses_);
  }

 private:
  // One transaction from `first` on. Returns the first work it has not decided: SQLite ends a transaction by itself on
  // a full disk or an I/O error, and then what stands behind the work that met it deserves a try of its own.
  std::size_t commitFrom(std::size_t first) {
    const std::size_t count = statuses_.size();
    if (first + 1 == count) {
      commitAlone(first);
      return count;
    }
    const auto failAll = [&](std::size_t end, const Error& error) {
      undone_();
      for (std::size_t i = first; i < end; ++i) {
        if (statuses_[i].ok()) statuses_[i] = error;
      }
      return end;
    };
    if (const Status begun = db_.begin(); !begun.ok()) return failAll(count, begun.error());
    for (std::size_t i = first; i < count; ++i) {
      const Status broken = runInSavepoint(i);
      if (!broken.ok()) {
        db_.rollback();
        return failAll(i + 1, broken.error());
      }
    }
    const Status committed = db_.commit();
    if (committed.ok()) return count;
    db_.rollback();
    return failAll(count, committed.error());
  }

  // The transaction undoes what a savepoint would.
  void commitAlone(std::size_t i) {
    statuses_[i] = inTransaction(db_, [&] { return work_(i); });
    if (!statuses_[i].ok()) undone_();
  }

  // The work's own outcome goes to its status; an error returned means that the transaction is lost.
  Status runInSavepoint(std::size_t i) {
    Status& status = statuses_[i];
    VC_TRY(db_.run("SAVEPOINT work"));
    status = work_(i);
    if (!db_.inTransaction()) {
      return status.ok() ? Error{Errc::Io, db_.path().string() + ": the transaction was undone"} : status.error();
    }
    if (!status.ok()) {
      undone_();
      VC_TRY(db_.run("ROLLBACK TO work"));
    }
    VC_TRY(db_.run("RELEASE work"));
    return {};
  }

  Database& db_;
  const std::function<Status(std::size_t)>& work_;
  const std::function<void()>& undone_;
  std::vector<Status> statuses_;
};

}  // namespace

std::vector<Status> commitTogether(Database& db, std::size_t count, const std::function<Status(std::size_t)>& work,
                                   const std::function<void()>& undone) {
  return Group(db, count, work, undone).run();
}

}  // namespace vaultysclaw::store::sqlite
