// Host names that never reach a name server. In the program that links slow_lookup.cpp, names under .invalid are
// unknown, and "slow.invalid" is looked up until a SlowLookup lets go.
#pragma once

namespace vaultysclaw::net {

// At most one at a time.
class SlowLookup {
 public:
  SlowLookup();
  ~SlowLookup();  // lets go
  void waitUntilEntered();
  void letGo();
};

}  // namespace vaultysclaw::net
