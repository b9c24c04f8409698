#include "base/failpoint.hpp"

#include <algorithm>
#include <cstring>
#include <span>

namespace vaultysclaw::failpoint {
// Not in an anonymous namespace, for a weak name cannot have internal linkage.
namespace detail {

// The linker makes these two names for a section whose name is an identifier; weak, for there may be no point at all.
extern const Point* const first[] __asm__("__start_vc_failpoints") __attribute__((weak, visibility("hidden")));
extern const Point* const last[] __asm__("__stop_vc_failpoints") __attribute__((weak, visibility("hidden")));

}  // namespace detail

std::atomic<Handler> detail::handler = nullptr;

Handler setHandler(Handler handler) {
  return detail::handler.exchange(handler);
}

std::vector<Point> all() {
  // To the compiler these are two arrays, and a pointer into one never reaches the other: it must not see which they
  // are.
  const Point* const* each = detail::first;
  const Point* const* end = detail::last;
  __asm__("" : "+r"(each), "+r"(end));
  std::vector<Point> points;
  for (; each != end; ++each) points.push_back(**each);
  std::sort(points.begin(), points.end(),
            [](const Point& a, const Point& b) { return std::strcmp(a.name, b.name) < 0; });
  const auto same = [](const Point& a, const Point& b) { return std::strcmp(a.name, b.name) == 0; };
  points.erase(std::unique(points.begin(), points.end(), same), points.end());
  return points;
}

}  // namespace vaultysclaw::failpoint
