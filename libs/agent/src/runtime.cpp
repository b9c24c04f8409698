#include "vaultysclaw/runtime.hpp"

#include "agent/ports.hpp"
#include "net/io_loop.hpp"

namespace vaultysclaw {
namespace {

// Members in the order of their needs: what is destroyed first stops using what comes before it.
class SystemPorts final : public detail::RuntimePorts {
 public:
  explicit SystemPorts(std::size_t stateThreads)
      : clock_(makeSystemClock()),
        entropy_(makeSystemEntropy()),
        files_(makeSystemFileStore()),
        loop_("vc-agent-io"),
        dialer_(net::makeWebSocketDialer(loop_)),
        stateWorkers_(makeThreadPool("vc-agent-disk", stateThreads, kMaxStateTasks)),
        // Whoever gathers keeps a thread from everything else.
        stateFiles_(*stateWorkers_, stateThreads > 1 ? kGather : Duration(0)) {}

  Executor& loop() override { return loop_; }
  Clock& clock() override { return *clock_; }
  Entropy& entropy() override { return *entropy_; }
  FileStore& files() override { return *files_; }
  net::Dialer& dialer() override { return *dialer_; }
  Workers& stateWorkers() override { return *stateWorkers_; }
  std::unique_ptr<detail::Lanes> makeLanes(std::size_t threads) override { return detail::makeThreadLanes(threads); }
  std::unique_ptr<detail::EventQueue> makeEvents() override { return detail::makeThreadEvents(); }
  Result<std::unique_ptr<detail::OpenState>> openState(const std::filesystem::path& path, const Did& agent,
                                                       store::OnDamagedRow onDamagedRow) override {
    return stateFiles_.open(path, agent, std::move(onDamagedRow));
  }

 private:
  static constexpr std::size_t kMaxStateTasks = 65536;
  static constexpr Duration kGather = milliseconds(2);

  std::unique_ptr<Clock> clock_;
  std::unique_ptr<Entropy> entropy_;
  std::unique_ptr<FileStore> files_;
  net::IoLoop loop_;
  std::unique_ptr<net::Dialer> dialer_;
  std::unique_ptr<Workers> stateWorkers_;
  detail::StateFiles stateFiles_;
};

// Of a Runtime that agents share. They wait for the disk most of the time, and a disk serves several at once.
constexpr std::size_t kSharedStateThreads = 8;

}  // namespace

std::unique_ptr<detail::RuntimePorts> detail::makeSystemPorts(std::size_t stateThreads) {
  return std::make_unique<SystemPorts>(stateThreads);
}

Runtime::Runtime() : Runtime(detail::makeSystemPorts(kSharedStateThreads)) {}
Runtime::Runtime(std::unique_ptr<detail::RuntimePorts> ports) : ports_(std::move(ports)) {}
Runtime::~Runtime() = default;

}  // namespace vaultysclaw
