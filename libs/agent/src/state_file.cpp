#include "agent/state_file.hpp"

#include <optional>

namespace vaultysclaw::detail {

Error StateFile::busy() {
  return {Errc::Busy, "the state file cannot keep up: too many writes wait for the disk"};
}

// With mutex_ held, as the next three.
bool StateFile::add(Work work, Done done) {
  if (closed_ || waiting_.works.size() >= kMaxWaiting) return false;
  waiting_.works.push_back(std::move(work));
  waiting_.done.push_back(std::move(done));
  if (committing_ && waiting_.works.size() == kEnoughPerCommit) more_.notify_one();
  return true;
}

// Whether what waits is going to be committed.
bool StateFile::schedule() {
  if (committing_ || scheduled_) return true;
  return scheduled_ = workers_.submit([self = shared_from_this()] { self->run(); });
}

// Nobody commits any more, until somebody does again.
void StateFile::rest() {
  committing_ = false;
  changed_.notify_all();
}

bool StateFile::submit(Work work, Done done) {
  std::lock_guard lock(mutex_);
  if (!add(std::move(work), std::move(done))) return false;
  if (schedule()) return true;
  waiting_.works.pop_back();
  waiting_.done.pop_back();
  return false;
}

Status StateFile::runBlocking(Work work, const Task& stored) {
  std::optional<Status> answer;
  std::condition_variable answered;  // of this caller alone: a commit with many callers wakes each of them once
  std::unique_lock lock(mutex_);
  const bool added = add(std::move(work), [&](Status status) {
    if (status.ok()) stored();
    std::lock_guard answering(mutex_);
    answer = std::move(status);
    answered.notify_one();
  });
  if (!added) return busy();
  // Who waits may as well do it, but goes on when its own work is done. Whoever commits leaves nothing behind that
  // nobody is going to commit.
  while (!answer) {
    if (committing_) {
      answered.wait(lock, [&] { return answer.has_value(); });
      continue;
    }
    committing_ = true;
    commit(lock);
    rest();
  }
  while (!waiting_.works.empty() && !schedule()) {
    committing_ = true;
    commit(lock);
    rest();
  }
  return *answer;
}

void StateFile::run() {
  std::unique_lock lock(mutex_);
  scheduled_ = false;
  if (committing_) return;
  committing_ = true;
  while (!waiting_.works.empty()) {
    const std::size_t shared = commit(lock);
    if (shared < 2 || agents_ < 2 || gather_ <= Duration(0)) continue;
    more_.wait_for(lock, gather_, [&] { return closed_ || waiting_.works.size() >= kEnoughPerCommit; });
  }
  rest();
}

// Takes one batch and commits it; the lock is open meanwhile. Returns how many it held. noexcept: a work that throws is
// a bug, and must not leave half a transaction open.
std::size_t StateFile::commit(std::unique_lock<std::mutex>& lock) noexcept {
  Batch batch;
  std::swap(batch, waiting_);
  if (batch.works.size() > kMaxPerCommit) {
    const auto split = [](auto& all, auto& later) {
      later.assign(std::make_move_iterator(all.begin() + kMaxPerCommit), std::make_move_iterator(all.end()));
      all.resize(kMaxPerCommit);
    };
    split(batch.works, waiting_.works);
    split(batch.done, waiting_.done);
  }
  lock.unlock();
  const std::vector<Status> statuses = file_->together(batch.works);
  for (std::size_t i = 0; i < statuses.size(); ++i) {
    batch.works[i] = nullptr;  // what it holds goes before its outcome is told
    batch.done[i](statuses[i]);
    batch.done[i] = nullptr;
  }
  lock.lock();
  return statuses.size();
}

void StateFile::close() {
  std::unique_lock lock(mutex_);
  closed_ = true;
  more_.notify_all();
  changed_.wait(lock, [&] { return !committing_; });
  VC_ASSERT(waiting_.works.empty(), "a state file is closed while somebody waits for it");
  file_.reset();
}

Result<std::unique_ptr<OpenState>> StateFiles::open(const std::filesystem::path& path, const Did& agent,
                                                    store::OnDamagedRow onDamagedRow) {
  std::error_code failed;
  const auto real = std::filesystem::weakly_canonical(std::filesystem::absolute(path, failed), failed);
  if (failed || path.empty()) return Error{Errc::Io, "cannot find " + path.string() + ": " + failed.message()};
  std::lock_guard lock(mutex_);
  auto& file = open_[real.string()];
  const auto rows = [&]() -> Result<std::unique_ptr<store::AgentState>> {
    if (!file) {
      VC_TRY_ASSIGN(auto opened, store::openAgentStateFile(real));
      file = std::make_shared<StateFile>(std::move(opened), workers_, gather_);
    }
    return file->file_->agent(agent, std::move(onDamagedRow));
  };
  auto opened = rows();
  if (!opened) {
    if (file && file->agents_ == 0) file->close();
    if (!file || file->agents_ == 0) open_.erase(real.string());
    return opened.error();
  }
  ++file->agents_;
  return std::make_unique<OpenState>(file, std::move(*opened), [this, key = real.string()] { release(key); });
}

void StateFiles::release(const std::string& key) {
  std::lock_guard lock(mutex_);
  const auto file = open_.find(key);
  if (--file->second->agents_ > 0) return;
  file->second->close();
  open_.erase(file);
}

}  // namespace vaultysclaw::detail
