// A TCP relay on loopback whose connections can be cut, as a network does it.
#pragma once

#include <atomic>
#include <cstdint>
#include <thread>
#include <utility>
#include <vector>

namespace vaultysclaw::system_test {

// Owns a thread. Any thread may call.
class Relay {
 public:
  // Listens on a free port and leads to `upstream`, both on 127.0.0.1.
  explicit Relay(int upstream);
  Relay(const Relay&) = delete;
  Relay& operator=(const Relay&) = delete;
  ~Relay();

  int port() const { return port_; }
  // Resets every connection there is, soon; later ones are relayed again.
  void cut() { cut_ = true; }

 private:
  void serve();
  void accept();
  // False when one side has ended.
  static bool forward(int from, int to);
  static void reset(int socket);

  const int upstream_;
  int listener_ = -1;
  int port_ = 0;
  std::vector<std::pair<int, int>> open_;  // of the thread
  std::atomic<bool> cut_{false}, stop_{false};
  std::thread thread_;
};

}  // namespace vaultysclaw::system_test
