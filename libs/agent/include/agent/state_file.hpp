// State files that agents of one Runtime may share: who has them open, and the order of what is asked of them.
// Internal: not installed.
#pragma once

#include <atomic>
#include <condition_variable>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "base/ports.hpp"
#include "store/agent_state.hpp"

namespace vaultysclaw::detail {

// What the agents of one file ask of it, in the order asked. All that has queued up shares a transaction and its sync.
// Synchronised. Shared by its users and the task under way; the workers outlive it.
class StateFile : public std::enable_shared_from_this<StateFile> {
 public:
  // After a commit that several works have shared, the worker waits `gather` for more before it begins the next, if
  // several agents use the file; less when 64 are there. Works that come one after the other never wait.
  StateFile(std::shared_ptr<store::AgentStateFile> file, Workers& workers, Duration gather)
      : workers_(workers), gather_(gather), file_(std::move(file)) {}

  using Work = store::AgentStateFile::Work;
  using Done = std::function<void(Status)>;
  // `work` as AgentStateFile::together() wants it; SQL and nothing that takes long. `done` runs once its outcome is
  // certain, and before any later work. Both run on a worker and must not throw. False when too many wait, or the
  // workers take no more; then neither runs.
  [[nodiscard]] bool submit(Work work, Done done);
  // As submit, and waits. `stored` runs where `done` would, when it is durable. Busy when too many wait. Blocking. Not
  // from within a work or its `done`.
  Status runBlocking(Work work, const Task& stored);

  static Error busy();

 private:
  friend class StateFiles;
  struct Batch {
    std::vector<Work> works;
    std::vector<Done> done;
  };
  static constexpr std::size_t kMaxWaiting = 16'384;
  // Bounds the log and the memory that one transaction takes.
  static constexpr std::size_t kMaxPerCommit = 1'000;
  // What a commit costs, above all its sync, is hardly noticed when this many share it.
  static constexpr std::size_t kEnoughPerCommit = 64;

  bool add(Work work, Done done);
  bool schedule();
  void run();
  std::size_t commit(std::unique_lock<std::mutex>& lock) noexcept;
  void rest();
  // For good; nobody uses it any more. Blocking.
  void close();

  Workers& workers_;
  const Duration gather_;
  std::atomic<std::size_t> agents_{0};
  std::shared_ptr<store::AgentStateFile> file_;  // changes only while nobody commits
  std::mutex mutex_;
  std::condition_variable more_;     // for who gathers
  std::condition_variable changed_;  // for who waits until nobody commits
  Batch waiting_;                    // guarded by mutex_, as what follows
  bool scheduled_ = false;           // run() waits for a worker
  bool committing_ = false;          // somebody takes batches; at most one does
  bool closed_ = false;
};

// One agent's rows in a state file. Destroying it is blocking, and closes the file when it was the last one's.
class OpenState {
 public:
  OpenState(std::shared_ptr<StateFile> file, std::unique_ptr<store::AgentState> rows, Task release)
      : file_(std::move(file)), rows_(std::move(rows)), release_(std::move(release)) {}
  OpenState(const OpenState&) = delete;
  OpenState& operator=(const OpenState&) = delete;
  ~OpenState() {
    rows_.reset();
    file_.reset();
    release_();
  }
  StateFile& file() { return *file_; }
  store::AgentState& rows() { return *rows_; }

 private:
  std::shared_ptr<StateFile> file_;
  std::unique_ptr<store::AgentState> rows_;
  Task release_;
};

// The open files of one Runtime, by canonical path. Blocking. Synchronised. Outlives what it opens.
class StateFiles {
 public:
  StateFiles(Workers& workers, Duration gather) : workers_(workers), gather_(gather) {}

  // Errors as store::openAgentStateFile(), and Conflict when the agent's rows are out already.
  Result<std::unique_ptr<OpenState>> open(const std::filesystem::path& path, const Did& agent,
                                          store::OnDamagedRow onDamagedRow = {});

 private:
  void release(const std::string& key);

  Workers& workers_;
  const Duration gather_;
  std::mutex mutex_;  // held while a file is opened or closed: who opens it again waits until it is closed
  std::map<std::string, std::shared_ptr<StateFile>> open_;  // guarded by mutex_
};

}  // namespace vaultysclaw::detail
