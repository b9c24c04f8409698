#include "store/control_store.hpp"

#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>

#include "sqlite/control_writer.hpp"
#include "sqlite/damage_log.hpp"
#include "sqlite/group_commit.hpp"

namespace vaultysclaw::store {
namespace {

using sqlite::Access;
using sqlite::Database;

constexpr std::size_t kMaxWaiting = 10'000;
// Bounds the memory and the log that one transaction takes; a disk syncs long before this matters for speed.
constexpr std::size_t kMaxPerCommit = 1'000;
// What a commit costs, above all its sync, is hardly noticed when this many share it.
constexpr std::size_t kEnoughPerCommit = 64;
constexpr std::size_t kMaxReaders = 4;
constexpr seconds kReaderWait{10};

struct Job {
  ControlStore::Work work;
  std::function<void(Status)> done;
  Status status;
};

// Runs jobs on the writing connection. Confined to whichever thread drains the queue.
class Committer {
 public:
  Committer(Database db, std::shared_ptr<sqlite::DamageLog> damage) : db_(std::move(db)), writer_(db_) {
    db_.boundLog();
    db_.tellOfDamage(std::move(damage));
  }

  // Every job's status is final when this returns.
  void commit(std::vector<Job>& jobs) {
    std::vector<Status> statuses = sqlite::commitTogether(
        db_, jobs.size(), [&](std::size_t i) { return jobs[i].work(writer_); }, [&] { writer_.forget(); });
    for (std::size_t i = 0; i < jobs.size(); ++i) jobs[i].status = std::move(statuses[i]);
  }

  const std::filesystem::path& path() const { return db_.path(); }

 private:
  Database db_;
  sqlite::Writer writer_;
};

// Connections for reading, opened as they are needed. Synchronised.
class ReaderPool {
 public:
  ReaderPool(std::filesystem::path path, std::shared_ptr<sqlite::DamageLog> damage)
      : path_(std::move(path)), damage_(std::move(damage)) {}

  Status read(const std::function<Status(ControlReader&)>& query) {
    VC_TRY_ASSIGN(std::unique_ptr<Database> db, take());
    const Status status = runOn(*db, query);
    giveBack(std::move(db));
    return status;
  }

 private:
  Status runOn(Database& db, const std::function<Status(ControlReader&)>& query) {
    VC_TRY(db.run("BEGIN"));
    sqlite::Reads<ControlReader> reader(db, &auditTimes_);
    const Status status = query(reader);
    if (db.inTransaction()) {
      const auto ended = db.run("ROLLBACK");  // nothing was written: this only ends the snapshot
      if (status.ok() && !ended.ok()) return ended.error();
    }
    return status;
  }

  Result<std::unique_ptr<Database>> take() {
    {
      std::unique_lock lock(mutex_);
      const bool available =
          released_.wait_for(lock, kReaderWait, [&] { return !idle_.empty() || open_ < kMaxReaders; });
      if (!available) return Error{Errc::Busy, "too many reads of " + path_.string() + " at once; try again"};
      if (!idle_.empty()) {
        std::unique_ptr<Database> db = std::move(idle_.back());
        idle_.pop_back();
        return db;
      }
      ++open_;
    }
    auto opened = Database::open(path_, Access::Read);
    if (opened.ok()) {
      opened->tellOfDamage(damage_);
      return std::make_unique<Database>(std::move(*opened));
    }
    giveBack(nullptr);
    return opened.error();
  }

  // A connection that cannot leave its transaction would show an ever older snapshot: it is closed.
  void giveBack(std::unique_ptr<Database> db) {
    std::lock_guard lock(mutex_);
    if (db != nullptr && !db->inTransaction())
      idle_.push_back(std::move(db));
    else
      --open_;
    released_.notify_one();
  }

  const std::filesystem::path path_;
  const std::shared_ptr<sqlite::DamageLog> damage_;
  sqlite::AuditTimes auditTimes_;
  std::mutex mutex_;  // protects what follows
  std::condition_variable released_;
  std::vector<std::unique_ptr<Database>> idle_;
  std::size_t open_ = 0;
};

class SqliteControlStore final : public ControlStore {
 public:
  SqliteControlStore(sqlite::OwnedFile file, const ControlStoreOptions& options)
      : lock_(std::move(file.lock)),
        damage_(std::make_shared<sqlite::DamageLog>(options.onDamagedRow)),
        committer_(std::move(file.db), damage_),
        readers_(committer_.path(), damage_),
        gather_(options.gather) {
    if (options.writerThread == WriterThread::Yes) thread_ = std::thread([this] { threadMain(); });
  }

  ~SqliteControlStore() override {
    {
      std::lock_guard lock(mutex_);
      VC_ASSERT(drainer_ != std::this_thread::get_id(), "a control store is destroyed from within its own writer");
      stopping_ = true;
    }
    wake_.notify_all();
    if (thread_.joinable()) thread_.join();
  }

  bool write(Work work, std::function<void(Status)> done) override {
    bool enough = false;
    {
      std::lock_guard lock(mutex_);
      if (queue_.size() >= kMaxWaiting) return false;
      queue_.push_back({std::move(work), std::move(done), {}});
      enough = queue_.size() == wakeAt_;
    }
    if (!thread_.joinable())
      drainHere();
    else if (enough)
      wake_.notify_one();
    return true;
  }

  Status writeBlocking(const Work& work) override {
    struct Answer {
      std::mutex mutex;
      std::condition_variable ready;
      std::optional<Status> status;
    };
    {
      std::lock_guard lock(mutex_);
      VC_ASSERT(drainer_ != std::this_thread::get_id(), "writeBlocking from within the writer would wait for itself");
    }
    // Shared, for the writer may still hold the lock when the waiter has gone on.
    const auto answer = std::make_shared<Answer>();
    const bool queued = write(work, [answer](Status status) {
      std::lock_guard lock(answer->mutex);
      answer->status = std::move(status);
      answer->ready.notify_all();
    });
    if (!queued) return Error{Errc::Busy, "too many writes are waiting for the database; try again"};
    std::unique_lock lock(answer->mutex);
    answer->ready.wait(lock, [&] { return answer->status.has_value(); });
    return *answer->status;
  }

  Status readBlocking(const std::function<Status(ControlReader&)>& query) override { return readers_.read(query); }

 private:
  void threadMain() {
    std::unique_lock lock(mutex_);
    for (;;) {
      wakeAt_ = 1;
      wake_.wait(lock, [&] { return stopping_ || !queue_.empty(); });
      if (queue_.empty()) return;
      drain(lock);
    }
  }

  void gather(std::unique_lock<std::mutex>& lock) {
    wakeAt_ = kEnoughPerCommit;
    wake_.wait_for(lock, gather_, [&] { return stopping_ || queue_.size() >= kEnoughPerCommit; });
  }

  // Without a thread of its own: the caller runs the queue, unless somebody (perhaps itself, further up) does already.
  void drainHere() {
    std::unique_lock lock(mutex_);
    if (drainer_ == std::thread::id()) drain(lock);
  }

  // noexcept: a work that throws is a bug, and must not leave half a transaction open.
  void drain(std::unique_lock<std::mutex>& lock) noexcept {
    drainer_ = std::this_thread::get_id();
    while (!queue_.empty()) {
      std::vector<Job> jobs;
      while (!queue_.empty() && jobs.size() < kMaxPerCommit) {
        jobs.push_back(std::move(queue_.front()));
        queue_.pop_front();
      }
      lock.unlock();
      committer_.commit(jobs);
      for (Job& job : jobs) {
        job.work = nullptr;
        if (job.done) job.done(std::move(job.status));
        job.done = nullptr;
      }
      lock.lock();
      if (thread_.joinable() && jobs.size() > 1) gather(lock);  // the waiting begins with the commit, not with a job
    }
    drainer_ = {};
  }

  // In this order: the readers close, then the writer, whose closing moves the log into the database, then the lock
  // goes.
  sqlite::FileLock lock_;
  const std::shared_ptr<sqlite::DamageLog> damage_;
  Committer committer_;  // used by the drainer alone
  ReaderPool readers_;
  const Duration gather_;

  std::mutex mutex_;  // protects what follows
  std::condition_variable wake_;
  std::deque<Job> queue_;
  std::size_t wakeAt_ = 1;   // how many jobs the writer's thread waits for
  std::thread::id drainer_;  // who runs works right now; the default id: nobody
  bool stopping_ = false;

  std::thread thread_;  // constant after construction
};

}  // namespace

Result<std::unique_ptr<ControlStore>> openControlStore(ControlStoreOptions options) {
  VC_TRY_ASSIGN(sqlite::OwnedFile file, sqlite::openOwned(options.path, sqlite::kControlSchema));
  return std::unique_ptr<ControlStore>(std::make_unique<SqliteControlStore>(std::move(file), options));
}

}  // namespace vaultysclaw::store
