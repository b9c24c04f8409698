// A TCP gate in user space: stands between callers, agents and the control plane, and does to their connections what
// networks do.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace vaultysclaw::harness {

// What happens to bytes on a link while it is set.
enum class Flow : std::uint8_t {
  Pass,
  Stall,    // nothing gets through, and nothing is lost: it comes later
  Swallow,  // what is read disappears; a connection that lost bytes stays open and silent for good
  Trickle,  // a few bytes at a time
  Corrupt,  // now and then one bit is another
};

// Which end of a link's connections hears that they have ended.
enum class Told : std::uint8_t { Both, Near, Far };  // near: who connected to the gate

struct GateCounts {
  std::uint64_t connections = 0, bytes = 0, swallowed = 0, corrupted = 0;
};

// One thread of its own moves the bytes; every function may be called from any thread and does not block. A link is
// known by the index that add() gave it. Buffers are bounded: who sends faster than the other side reads is made to
// wait.
class Gate {
 public:
  Gate();
  Gate(const Gate&) = delete;
  Gate& operator=(const Gate&) = delete;
  ~Gate();

  // Listens on a free port of the loopback address. Throws std::system_error.
  std::size_t add();
  std::uint16_t port(std::size_t link) const;
  // Where new connections lead; 0: nowhere, they are refused.
  void leadTo(std::size_t link, std::uint16_t port);
  void setFlow(std::size_t link, Flow flow);
  // Everything takes at least so long, each way.
  void setDelay(std::size_t link, std::chrono::milliseconds delay);
  // Ends the link's connections with a reset. Who is not told keeps a connection that never says anything again.
  void cut(std::size_t link, Told told = Told::Both);
  // As cut(), for those connections alone that had bits changed.
  void cutCorrupted(std::size_t link);
  GateCounts counts(std::size_t link) const;

 private:
  struct Link;
  struct Pair;
  void run();
  void wake() const;

  mutable std::mutex mutex_;  // over links_ and what they own
  std::vector<std::unique_ptr<Link>> links_;
  int wakeUp_ = -1;
  bool ending_ = false;
  std::uint64_t random_ = 0x9E3779B97F4A7C15ULL;
  std::thread thread_;
};

}  // namespace vaultysclaw::harness
