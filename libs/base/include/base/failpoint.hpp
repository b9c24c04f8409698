// Named places in the product at which a test makes the process die, stop or fail (docs/reliability.md).
//
// A point costs one relaxed load and a branch that is never taken. What acts on it, and what reads the environment to
// know which, is no part of the product: it is linked into test programs alone (testing/base/failpoint_arming.hpp).
// Without it no variable, flag or file can make a point do anything.
#pragma once

#include <atomic>
#include <vector>

#include "base/result.hpp"

namespace vaultysclaw::failpoint {

// Names read `where.what`: "store.committed". Several places may share one, and its count of hits.
struct Point {
  const char* name;
  bool canFail;  // its caller takes an error from it
};

// What happens at a point that is reached. It runs on whatever thread reaches one, under whatever lock that holds.
using Handler = Status (*)(const Point& point);

namespace detail {
extern std::atomic<Handler> handler;
}

// Synchronised. Returns the handler of before; null: points do nothing, as in the product.
Handler setHandler(Handler handler);

// Every point that is linked into this program (or shared library), sorted by name.
std::vector<Point> all();

inline Status reach(const Point& point) {
  const Handler handler = detail::handler.load(std::memory_order_relaxed);
  if (handler == nullptr) [[likely]]
    return {};
  return handler(point);
}

}  // namespace vaultysclaw::failpoint

// Both belong into functions of .cpp files, neither inline nor templates: the list of points is a section of the object
// file, which such functions share.
#define VC_FAILPOINT_(pointName, pointCanFail)                                                                     \
  static constexpr ::vaultysclaw::failpoint::Point vcPoint{pointName, pointCanFail};                               \
  [[gnu::section("vc_failpoints"), gnu::used]] static const ::vaultysclaw::failpoint::Point* const vcListedPoint = \
      &vcPoint

// A statement.
#define VC_FAILPOINT(name)                                       \
  do {                                                           \
    VC_FAILPOINT_(name, false);                                  \
    static_cast<void>(::vaultysclaw::failpoint::reach(vcPoint)); \
  } while (false)

// An expression: a Status, which is an error when the test wants one.
#define VC_FAILPOINT_STATUS(name)                    \
  ([]() -> ::vaultysclaw::Status {                   \
    VC_FAILPOINT_(name, true);                       \
    return ::vaultysclaw::failpoint::reach(vcPoint); \
  }())
