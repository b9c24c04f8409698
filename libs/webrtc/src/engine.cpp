#include "engine.hpp"

#include <pthread.h>
#include <signal.h>

#include <mutex>

#include "base/assert.hpp"
#include "peer_core.hpp"
#include "peer_front.hpp"
#include "sctp.hpp"

namespace vaultysclaw::webrtc {
namespace {

constexpr milliseconds kTick(10);  // usrsctp's own granularity
constexpr int kTrue = 1;

std::atomic<bool>& engineExists() {
  static std::atomic<bool> exists = false;
  return exists;
}

}  // namespace

Result<std::unique_ptr<Engine>> startEngine(Clock& clock, Entropy& entropy) {
  VC_TRY_ASSIGN(const Libraries* libraries, loadLibraries());
  if (engineExists().exchange(true)) return Error{Errc::Conflict, "this process has a WebRTC engine already"};
  return std::unique_ptr<Engine>(std::make_unique<EngineImpl>(*libraries, clock, entropy));
}

EngineImpl::EngineImpl(const Libraries& libraries, Clock& clock, Entropy& entropy)
    : lib_(libraries), clock_(clock), entropy_(entropy), context_(libraries.mainContextNew()) {
  thread_ = std::thread([this] { run(); });
}

EngineImpl::~EngineImpl() {
  stopping_ = true;
  lib_.mainContextWakeup(context_);
  thread_.join();
  lib_.mainContextUnref(context_);
  engineExists() = false;
}

std::unique_ptr<PeerConnection> EngineImpl::connect(Executor& executor, PeerOptions options,
                                                    PeerConnection::Callbacks callbacks) {
  return makePeerFront(*this, executor, std::move(options), std::move(callbacks));
}

void EngineImpl::post(Task task) {
  posted_.with([&](auto& queue) { queue.push_back(std::move(task)); });
  lib_.mainContextWakeup(context_);
}

void EngineImpl::run() {
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, nullptr);
  pthread_setname_np(pthread_self(), "vc-webrtc");
  lib_.mainContextPushThreadDefault(context_);
  SctpTransport::setUp(lib_);
  while (!stopping_) {
    lib_.mainContextIteration(context_, kTrue);
    runPosted();
  }
  runPosted();
  for (const auto& peer : std::set(peers_)) peer->abort();
  runPosted();
  stopTicking();
  while (lib_.mainContextIteration(context_, 0) != 0) {
  }
  lib_.mainContextPopThreadDefault(context_);
}

void EngineImpl::runPosted() {
  for (;;) {
    std::deque<Task> tasks;
    posted_.with([&](auto& queue) { tasks.swap(queue); });
    if (tasks.empty()) return;
    for (Task& task : tasks) {
      task();
      task = nullptr;  // what it holds dies before the next one runs
    }
  }
}

void EngineImpl::add(std::shared_ptr<PeerCore> peer) {
  peers_.insert(std::move(peer));
  startTicking();
}

void EngineImpl::remove(const std::shared_ptr<PeerCore>& peer) {
  peers_.erase(peer);
  if (peers_.empty()) stopTicking();
}

void EngineImpl::startTicking() {
  if (ticker_ != nullptr) return;
  lastTimers_ = clock_.steady();
  ticker_ = lib_.timeoutSourceNew(static_cast<unsigned>(kTick.count()));
  lib_.sourceSetCallback(
      ticker_,
      [](void* self) {
        static_cast<EngineImpl*>(self)->tick();
        return kTrue;
      },
      this, nullptr);
  lib_.sourceAttach(ticker_, context_);
}

void EngineImpl::stopTicking() {
  if (ticker_ == nullptr) return;
  lib_.sourceDestroy(ticker_);
  lib_.sourceUnref(ticker_);
  ticker_ = nullptr;
}

void EngineImpl::tick() {
  driveTimers();
  for (const auto& peer : std::set(peers_)) peer->tick();
}

void EngineImpl::driveTimers() {
  const auto elapsed = std::chrono::duration_cast<milliseconds>(clock_.steady() - lastTimers_);
  if (elapsed < kTick) return;
  lastTimers_ += elapsed;
  lib_.sctpHandleTimers(static_cast<std::uint32_t>(elapsed.count()));
}

}  // namespace vaultysclaw::webrtc
