// The thread of WebRTC. Internal.
#pragma once

#include <atomic>
#include <deque>
#include <set>
#include <thread>

#include "base/guarded.hpp"
#include "libraries.hpp"
#include "webrtc/peer_connection.hpp"

namespace vaultysclaw::webrtc {

class PeerCore;

class EngineImpl final : public Engine {
 public:
  EngineImpl(const Libraries& libraries, Clock& clock, Entropy& entropy);
  ~EngineImpl() override;
  std::unique_ptr<PeerConnection> connect(Executor& executor, PeerOptions options,
                                          PeerConnection::Callbacks callbacks) override;

  // From any thread; runs on the engine's, after what it does now.
  void post(Task task);

  // On the engine's thread.
  void add(std::shared_ptr<PeerCore> peer);
  void remove(const std::shared_ptr<PeerCore>& peer);
  // Drives usrsctp's timers when they are due: also from within floods of datagrams, during which GLib runs nothing.
  void driveTimers();
  const Libraries& libraries() const { return lib_; }
  glib::MainContext* context() const { return context_; }
  Clock& clock() { return clock_; }
  Entropy& entropy() { return entropy_; }

 private:
  void run();
  void runPosted();
  void tick();
  void startTicking();
  void stopTicking();

  const Libraries& lib_;
  Clock& clock_;
  Entropy& entropy_;
  glib::MainContext* context_;
  glib::Source* ticker_ = nullptr;
  SteadyTime lastTimers_;
  std::set<std::shared_ptr<PeerCore>> peers_;
  Guarded<std::deque<Task>> posted_;
  std::atomic<bool> stopping_ = false;
  std::thread thread_;
};

}  // namespace vaultysclaw::webrtc
