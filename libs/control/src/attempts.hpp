// Failed attempts, counted by who makes them, and how long the next one has to wait.
#pragma once

#include <map>
#include <string>

#include "base/ports.hpp"

namespace vaultysclaw::control {

// Owned by Logins. Confined to the loop. When there are too many to count, those with the fewest failures go first: who
// floods it with names makes it forget none that somebody really tries to guess.
class Attempts {
 public:
  struct Bounds {
    std::size_t freeOnes;
    Duration maxWait, forgetAfter;  // the latter of quiet, and longer
    std::size_t maxCounted;
  };
  Attempts(Bounds bounds, Clock& clock) : bounds_(bounds), clock_(clock) {}

  // Zero: it need not wait.
  Duration wait(const std::string& who) const;
  // Counts one as failed until it succeeds, so that those at once are counted too.
  void begin(const std::string& who);
  void succeeded(const std::string& who);
  std::size_t counted() const { return table_.size(); }

 private:
  struct Count {
    std::size_t failed = 0;
    SteadyTime last{};
  };
  void makeRoom(SteadyTime now);

  Bounds bounds_;
  Clock& clock_;
  std::map<std::string, Count> table_;
};

// One client's addresses are one: of IPv6 all that begin with the same 64 bits, for a client has as many as it likes.
std::string clientOf(const std::string& address);

}  // namespace vaultysclaw::control
