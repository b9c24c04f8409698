// Makes failpoints act, in test programs. One that links `vc_failpoint_arming` obeys, from its first instruction on,
// the variable VC_FAILPOINTS:
//
//   VC_FAILPOINTS=list                             prints every point of the program, one a line, and ends it; a point
//                                                  that can fail has " fail" behind its name
//   VC_FAILPOINTS=store.commit=kill                SIGKILL when the point is first reached
//   VC_FAILPOINTS=store.commit=kill@3              ... when it is reached for the third time
//   VC_FAILPOINTS=store.commit=pause@3             SIGSTOP: all threads stop until SIGCONT
//   VC_FAILPOINTS=store.commit=fail@3              the place gets an Io error; other times it goes on
//   VC_FAILPOINTS=store.commit=fail@3+             ... that time and every later one
//   VC_FAILPOINTS=store.commit=fail,b=pause@2      several
//
// Each act is told on standard error. What cannot be obeyed (no such point, one that cannot fail) ends the program with
// status 64, so that no test runs without the fault it is about.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/failpoint.hpp"

namespace vaultysclaw::failpoint {

enum class Act : std::uint8_t { Kill, Pause, Fail };
enum class Repeat : bool { No, Yes };
struct Order {
  std::string point;
  Act act = Act::Kill;
  std::uint64_t hit = 1;
  Repeat repeat = Repeat::No;
};

// InvalidArgument: not the syntax above, or nothing that `points` can do.
Result<std::vector<Order>> parseOrders(std::string_view text, const std::vector<Point>& points);

// From now on, counting anew; an empty list disarms. No point may be reached meanwhile.
void arm(std::vector<Order> orders);

}  // namespace vaultysclaw::failpoint
