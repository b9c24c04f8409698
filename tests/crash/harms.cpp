#include "harms.hpp"

#include <array>

#include "random.hpp"

namespace vaultysclaw::crash {

using std::chrono::milliseconds;

Harm chooseHarm(std::uint64_t seed, std::uint64_t round, std::size_t agents) {
  Random random(seed, round);
  Harm harm;
  harm.agent = static_cast<std::size_t>(random.below(static_cast<int>(agents)));
  harm.before = milliseconds(random.between(80, 400));
  harm.lasts = milliseconds(random.between(20, 400));
  harm.after = milliseconds(random.between(40, 200));
  harm.delay = milliseconds(random.percent(50) ? 0 : random.between(1, 4));
  harm.nearIsTold = random.percent(50);
  const int who = random.below(100);
  if (who < 30) {
    harm.victim = VictimKind::ControlPlane;
    harm.kind = random.percent(75) ? HarmKind::Kill : HarmKind::Stop;
  } else if (who < 55) {
    harm.victim = VictimKind::Agent;
    harm.kind = random.percent(75) ? HarmKind::Kill : HarmKind::Stop;
  } else if (who < 88) {
    constexpr std::array kKinds{HarmKind::Cut,   HarmKind::HalfOpen, HarmKind::Swallow,
                                HarmKind::Stall, HarmKind::Trickle,  HarmKind::Corrupt};
    harm.victim = VictimKind::AgentLink;
    harm.kind = kKinds.at(static_cast<std::size_t>(random.below(kKinds.size())));
  } else {
    constexpr std::array kKinds{HarmKind::Cut, HarmKind::HalfOpen, HarmKind::Stall, HarmKind::Trickle};
    harm.victim = VictimKind::CallerLink;
    harm.kind = kKinds.at(static_cast<std::size_t>(random.below(kKinds.size())));
    harm.nearIsTold = true;  // a caller notices nothing before its limit: the control plane is who is left alone
  }
  // Both sides need half a second of silence to notice, so a stop that is to be noticed lasts longer.
  if (harm.kind == HarmKind::Stop || harm.kind == HarmKind::Stall) harm.lasts *= 2;
  return harm;
}

std::string describe(const Harm& harm) {
  constexpr std::array kKinds{"kill", "stop", "cut", "half-open", "swallow", "stall", "trickle", "corrupt"};
  const std::string agent = "agent-" + std::to_string(harm.agent);
  const std::array<std::string, 4> victims{"control-plane", agent, "link of " + agent, "link of callers"};
  return std::string(kKinds.at(static_cast<std::size_t>(harm.kind))) + " " +
         victims.at(static_cast<std::size_t>(harm.victim));
}

}  // namespace vaultysclaw::crash
