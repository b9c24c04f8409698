#include "base/failpoint_arming.hpp"

#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <csignal>
#include <cstdlib>
#include <memory>

namespace vaultysclaw::failpoint {
namespace {

struct Armed {
  Order order;
  std::atomic<std::uint64_t> hits = 0;
};

// Written by arm() alone, while no point is reached.
std::vector<std::unique_ptr<Armed>>& armed() {
  static std::vector<std::unique_ptr<Armed>> all;
  return all;
}

void say(int descriptor, std::string text) {
  text += '\n';
  [[maybe_unused]] const ssize_t written = ::write(descriptor, text.data(), text.size());
}

Status obey(const Point& point) {
  for (const auto& each : armed()) {
    const Order& order = each->order;
    if (order.point != point.name) continue;
    const std::uint64_t hit = each->hits.fetch_add(1) + 1;
    if (hit != order.hit && !(order.repeat == Repeat::Yes && hit > order.hit)) continue;
    const std::string where = "failpoint " + order.point + ", hit " + std::to_string(hit) + ": ";
    switch (order.act) {
      case Act::Kill:
        say(STDERR_FILENO, where + "kill");
        ::kill(::getpid(), SIGKILL);
        for (;;) ::pause();  // this thread goes no further, whichever is told first
      case Act::Pause:
        say(STDERR_FILENO, where + "pause");
        std::raise(SIGSTOP);
        break;
      case Act::Fail:
        say(STDERR_FILENO, where + "fail");
        return Error{Errc::Io, "failpoint " + order.point};
    }
  }
  return {};
}

Result<Order> parseOrder(std::string_view text, const std::vector<Point>& points) {
  const auto refuse = [&](std::string why) {
    return Error{Errc::InvalidArgument, "VC_FAILPOINTS: " + std::string(text) + ": " + std::move(why)};
  };
  Order order;
  const std::size_t equals = text.find('=');
  order.point = text.substr(0, equals);
  const auto point =
      std::find_if(points.begin(), points.end(), [&](const Point& each) { return each.name == order.point; });
  if (point == points.end()) return refuse("no such point; VC_FAILPOINTS=list shows all");
  std::string_view act = equals == std::string_view::npos ? "" : text.substr(equals + 1);
  if (const std::size_t at = act.find('@'); at != std::string_view::npos) {
    std::string_view hit = act.substr(at + 1);
    act = act.substr(0, at);
    if (hit.ends_with('+')) {
      order.repeat = Repeat::Yes;
      hit.remove_suffix(1);
    }
    const auto [end, failed] = std::from_chars(hit.data(), hit.data() + hit.size(), order.hit);
    if (failed != std::errc() || end != hit.data() + hit.size() || order.hit == 0)
      return refuse("after @ comes the number of a hit, from 1 on, and perhaps +");
  }
  if (act == "kill")
    order.act = Act::Kill;
  else if (act == "pause")
    order.act = Act::Pause;
  else if (act == "fail")
    order.act = Act::Fail;
  else
    return refuse("what happens there is kill, pause or fail");
  if (order.act == Act::Fail && !point->canFail) return refuse("this point cannot fail");
  return order;
}

// Before main(), so that no point is missed.
[[maybe_unused]] const bool obeysEnvironment = [] {
  const char* const text = std::getenv("VC_FAILPOINTS");
  if (text == nullptr || *text == '\0') return false;
  if (std::string_view(text) == "list") {
    std::string list;
    for (const Point& point : all()) list += std::string(point.name) + (point.canFail ? " fail\n" : "\n");
    if (!list.empty()) list.pop_back();
    say(STDOUT_FILENO, list);
    ::_exit(0);
  }
  auto orders = parseOrders(text, all());
  if (!orders) {
    say(STDERR_FILENO, orders.error().message);
    ::_exit(64);
  }
  arm(std::move(*orders));
  return true;
}();

}  // namespace

Result<std::vector<Order>> parseOrders(std::string_view text, const std::vector<Point>& points) {
  std::vector<Order> orders;
  while (!text.empty()) {
    const std::size_t comma = std::min(text.find(','), text.size());
    VC_TRY_ASSIGN(Order order, parseOrder(text.substr(0, comma), points));
    orders.push_back(std::move(order));
    text.remove_prefix(std::min(comma + 1, text.size()));
  }
  return orders;
}

void arm(std::vector<Order> orders) {
  setHandler(nullptr);
  armed().clear();
  for (Order& order : orders) {
    armed().push_back(std::make_unique<Armed>());
    armed().back()->order = std::move(order);
  }
  if (!armed().empty()) setHandler(obey);
}

}  // namespace vaultysclaw::failpoint
