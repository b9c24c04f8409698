#include "store_subject.hpp"

#include "base/assert.hpp"
#include "store_dump.hpp"
#include "store_work.hpp"

namespace vaultysclaw::store {
namespace {

// Spread among what is there.
template <class T, class Make>
void addLarge(std::vector<T>& steps, int count, Make&& make) {
  for (int i = 0; i < count; ++i) {
    const auto at = static_cast<std::ptrdiff_t>(steps.size()) * i / count;
    steps.insert(steps.begin() + at, make());
  }
}

class ControlSubject final : public Subject {
 public:
  ControlSubject(std::uint64_t seed, SubjectSize size) {
    std::mt19937_64 random(seed);
    for (int i = 0; i < size.small; ++i) {
      auto& batch = batches_.emplace_back();
      for (std::uint64_t n = 1 + random() % 3; n > 0; --n) batch.push_back(randomControlWork(random));
    }
    addLarge(batches_, size.large, [&] { return Batch(1, largeControlWork(random, 900'000)); });
  }
  Status open(const std::filesystem::path& directory) override {
    VC_TRY_ASSIGN(store_, openControlStore({.path = directory / "store.db", .writerThread = WriterThread::No}));
    return {};
  }
  void close() override { store_.reset(); }
  std::size_t steps() const override { return batches_.size(); }
  void run(std::size_t step, const std::function<void(std::size_t, const Status&)>& told) override {
    const auto& batch = batches_[step];
    if (batch.size() == 1) return submit(batch[0], 0, told);
    // What is submitted while another one is being reported shares a commit.
    const auto submitAll = [&](const Status&) {
      for (std::size_t i = 0; i < batch.size(); ++i) submit(batch[i], i, told);
    };
    VC_ASSERT(store_->write([](ControlWriter&) -> Status { return {}; }, submitAll), "a queue that is empty takes it");
  }
  Status apply(std::size_t step, std::size_t work) override { return store_->writeBlocking(batches_[step][work]); }
  Result<std::string> dump() override { return dumpOf(*store_, controlMetaKeys()); }

 private:
  using Batch = std::vector<ControlStore::Work>;

  void submit(const ControlStore::Work& work, std::size_t number,
              const std::function<void(std::size_t, const Status&)>& told) {
    const bool queued = store_->write(work, [&told, number](const Status& status) { told(number, status); });
    VC_ASSERT(queued, "the queue has room");
  }

  std::vector<Batch> batches_;
  std::unique_ptr<ControlStore> store_;
};

class AgentSubject final : public Subject {
 public:
  AgentSubject(std::uint64_t seed, SubjectSize size) {
    std::mt19937_64 random(seed);
    for (int i = 0; i < 2 * size.small; ++i) {
      auto& batch = batches_.emplace_back();
      for (std::uint64_t n = random() % 2 == 0 ? 1 : 1 + random() % 4; n > 0; --n)
        batch.push_back({random() % 4 == 0 ? std::size_t{1} : 0, randomAgentWork(random)});
    }
    addLarge(batches_, size.large, [&] { return Batch(1, {0, largeAgentWork(random, 300'000)}); });
  }
  Status open(const std::filesystem::path& directory) override {
    VC_TRY_ASSIGN(file_, openAgentStateFile(directory / "store.db"));
    for (const char* did : {"did:agent:one", "did:agent:two"}) {
      auto agent = file_->agent(Did(did));
      if (!agent.ok()) return close(), Status(agent.error());
      agents_.push_back(std::move(*agent));
    }
    return {};
  }
  void close() override {
    agents_.clear();
    file_.reset();
  }
  std::size_t steps() const override { return batches_.size(); }
  void run(std::size_t step, const std::function<void(std::size_t, const Status&)>& told) override {
    const Batch& batch = batches_[step];
    if (batch.size() == 1) return told(0, apply(step, 0));
    std::vector<AgentStateFile::Work> works;
    for (std::size_t i = 0; i < batch.size(); ++i) works.push_back([this, step, i] { return apply(step, i); });
    const auto statuses = file_->together(works);
    for (std::size_t i = 0; i < batch.size(); ++i) told(i, statuses[i]);
  }
  Status apply(std::size_t step, std::size_t work) override {
    const Work& which = batches_[step][work];
    return which.work(*agents_[which.agent]);
  }
  Result<std::string> dump() override {
    std::string all;
    for (const auto& agent : agents_) {
      VC_TRY_ASSIGN(const std::string one, dumpOf(*agent, agentIntents(), agentValueKeys()));
      all += one;
    }
    return all;
  }

 private:
  struct Work {
    std::size_t agent;
    AgentWork work;
  };
  using Batch = std::vector<Work>;

  std::vector<Batch> batches_;
  std::shared_ptr<AgentStateFile> file_;
  std::vector<std::unique_ptr<AgentState>> agents_;
};

template <class T>
std::unique_ptr<Subject> makeSubject(std::uint64_t seed, SubjectSize size) {
  return std::make_unique<T>(seed, size);
}

}  // namespace

const SubjectKind kSubjectKinds[2] = {{"ControlStore", makeSubject<ControlSubject>},
                                      {"AgentState", makeSubject<AgentSubject>}};

}  // namespace vaultysclaw::store
