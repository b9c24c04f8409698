// What is done to the world in a round. Which harm, to whom and for how long follows from the seed and the round alone.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace vaultysclaw::crash {

enum class HarmKind : std::uint8_t {
  Kill,      // SIGKILL, and started again afterwards
  Stop,      // SIGSTOP, and SIGCONT afterwards
  Cut,       // the link's connections are reset, and new ones refused for a while
  HalfOpen,  // they end on one side only: the other is never told
  Swallow,   // what is sent disappears, on those connections for good
  Stall,     // nothing gets through, and all of it comes later
  Trickle,   // a few bytes at a time
  Corrupt,   // bits change
};
enum class VictimKind : std::uint8_t { ControlPlane, Agent, AgentLink, CallerLink };

struct Harm {
  HarmKind kind = HarmKind::Kill;
  VictimKind victim = VictimKind::ControlPlane;
  std::size_t agent = 0;                                    // which one, or whose link
  std::chrono::milliseconds before{0}, lasts{0}, after{0};  // under load
  std::chrono::milliseconds delay{0};                       // on every link, all the time
  bool nearIsTold = false;                                  // HalfOpen: which side is
};

// Bytes between callers and control plane are never changed: nothing protects HTTP on loopback, so what a caller was
// told would be no promise.
Harm chooseHarm(std::uint64_t seed, std::uint64_t round, std::size_t agents);

// "kill control-plane", "corrupt link of agent-2".
std::string describe(const Harm& harm);

}  // namespace vaultysclaw::crash
