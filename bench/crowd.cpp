// vc_bench_crowd: many bare agents in one process. Prints "connected" once all of them are, then keeps them connected
// with heartbeats every 30 s (hold) or lets one after the other drop its connection and come back (churn). Ends with a
// signal.
//
//   vc_bench_crowd hold|churn AGENTS WS_URL...         (the agents are spread over the URLs)
#include <unistd.h>

#include <deque>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "crowd_agent.hpp"
#include "net/io_loop.hpp"

namespace vaultysclaw::bench {
namespace {

// As many registrations as may wait from one address.
constexpr std::size_t kRegisteringAtATime = 8;
// Reconnects under way: enough to keep a control plane busy, fewer than it allows an address (16), for it may still
// count a connection that has just ended.
constexpr std::size_t kReconnectingAtATime = 12;
constexpr seconds kHeartbeatInterval{30};
constexpr milliseconds kPauseAfterFailure{20};
constexpr std::size_t kMaxFailures = 10'000;

enum class Mode : std::uint8_t { Hold, Churn };

// Confined to the loop.
class Crowd {
 public:
  Crowd(CrowdPorts ports, Mode mode, std::size_t count, const std::vector<std::string>& urls)
      : ports_(ports), mode_(mode) {
    agents_.reserve(count);
    for (std::size_t i = 0; i < count; ++i) {
      CrowdAgent::Hooks hooks;
      hooks.onConnected = [this, i] { onConnected(i); };
      hooks.onLost = [this, i](const std::string& why) { onLost(i, why); };
      agents_.push_back(
          std::make_unique<CrowdAgent>(ports, "crowd-" + std::to_string(i), urls[i % urls.size()], std::move(hooks)));
      idle_.push_back(i);
    }
    underWay_.resize(count, false);
    connectMore();
  }

 private:
  void connectMore() {
    while (!idle_.empty() && connecting_ < (complete_ ? kReconnectingAtATime : kRegisteringAtATime)) {
      const std::size_t next = idle_.front();
      idle_.pop_front();
      underWay_[next] = true;
      ++connecting_;
      agents_[next]->connect();
    }
  }
  // Not from within the agent's own callback.
  void connectSoon(Duration delay) {
    if (wake_) return;
    wake_ = ports_.loop.after(delay, [this] {
      wake_.reset();
      if (mode_ == Mode::Churn && complete_) dropWhoConnected();
      connectMore();
    });
  }
  void dropWhoConnected() {
    for (const std::size_t i : arrived_) {
      if (agents_[i]->connected()) {
        agents_[i]->disconnect();
        idle_.push_back(i);
      }
    }
    arrived_.clear();
  }

  void onConnected(std::size_t i) {
    underWay_[i] = false;
    --connecting_;
    ++connected_;
    if (mode_ == Mode::Churn) arrived_.push_back(i);
    if (!complete_ && connected_ == agents_.size()) {
      complete_ = true;
      std::cout << "connected" << std::endl;
      if (mode_ == Mode::Hold) beat();
    }
    connectSoon(Duration(0));
  }

  void onLost(std::size_t i, const std::string& why) {
    if (underWay_[i]) {
      underWay_[i] = false;
      --connecting_;
    } else if (!complete_) {
      --connected_;
    }
    idle_.push_back(i);
    if (++failures_ <= 20) std::cerr << "crowd-" << i << ": " << why << '\n';
    if (failures_ > kMaxFailures) {
      std::cerr << "crowd: too many connections fail\n";
      _exit(1);
    }
    connectSoon(kPauseAfterFailure);
  }

  // Every second the next thirtieth of the crowd.
  void beat() {
    const std::size_t share = agents_.size() / static_cast<std::size_t>(kHeartbeatInterval.count()) + 1;
    for (std::size_t n = 0; n < share; ++n) {
      CrowdAgent& agent = *agents_[nextBeat_++ % agents_.size()];
      if (agent.connected()) agent.sendHeartbeat();
    }
    beat_ = ports_.loop.after(seconds(1), [this] { beat(); });
  }

  CrowdPorts ports_;
  const Mode mode_;
  std::vector<std::unique_ptr<CrowdAgent>> agents_;
  std::vector<bool> underWay_;        // connect() was called and has not ended
  std::deque<std::size_t> idle_;      // to be connected
  std::vector<std::size_t> arrived_;  // churn: connected, to be dropped
  std::size_t connecting_ = 0, connected_ = 0, failures_ = 0, nextBeat_ = 0;
  bool complete_ = false;  // all were connected at once
  std::optional<Timer> wake_;
  Timer beat_;
};

int run(int argc, char** argv) {
  const std::string mode = argc > 3 ? argv[1] : "";
  if (mode != "hold" && mode != "churn") {
    std::cerr << "usage: vc_bench_crowd hold|churn AGENTS WS_URL...\n";
    return 2;
  }
  net::IoLoop loop("crowd");
  const auto clock = makeSystemClock();
  const auto entropy = makeSystemEntropy();
  const auto dialer = net::makeWebSocketDialer(loop);
  const CrowdPorts ports{loop, *clock, *entropy, *dialer};
  std::unique_ptr<Crowd> crowd;
  loop.runBlocking([&] {
    crowd = std::make_unique<Crowd>(ports, mode == "hold" ? Mode::Hold : Mode::Churn, std::stoul(argv[2]),
                                    std::vector<std::string>(argv + 3, argv + argc));
  });
  for (;;) pause();  // the signal that ends this process needs no answer: there is nothing to save
}

}  // namespace
}  // namespace vaultysclaw::bench

int main(int argc, char** argv) {
  return vaultysclaw::bench::run(argc, argv);
}
