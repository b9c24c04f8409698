#include "site.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "interrupt.hpp"
#include "process_figures.hpp"

namespace vaultysclaw::bench {
namespace {

using Json = nlohmann::json;
using harness::ChildProcess;
using harness::memoryOf;
using harness::waitFor;
using namespace std::chrono_literals;

constexpr std::size_t kOperatorConnections = 8;

std::string endOf(const std::string& text) {
  constexpr std::size_t kShown = 2000;
  return text.size() > kShown ? "..." + text.substr(text.size() - kShown) : text;
}

}  // namespace

Site::Site(std::filesystem::path directory)
    : directory_(std::move(directory)), controlPlane_(VC_PRODUCT_BINARY, directory_, {"--drain", "0"}) {
  controlPlane_.start();
  operator_.emplace(controlPlane_.httpPort(), controlPlane_.token(), kOperatorConnections);
}

std::vector<std::string> Site::agentUrls() const {
  return {"ws://127.0.0.1:" + std::to_string(controlPlane_.wsPort()),
          "ws://127.0.0.1:" + std::to_string(controlPlane_.httpPort()) + "/ws"};
}

double Site::metric(const std::string& name) {
  const std::string text = operator_->call("GET", "/metrics");
  const std::string line = "\nvaultysclaw_" + name + " ";
  const auto at = text.find(line);
  if (at == std::string::npos) throw std::runtime_error("/metrics has no " + name);
  return std::stod(text.substr(at + line.size()));
}

ChildProcess Site::start(const std::string& name, std::vector<std::string> arguments,
                         std::map<std::string, std::string> environment) const {
  return {name, std::move(arguments), std::move(environment), directory_};
}

void Site::approvePending() {
  const Json page = Json::parse(operator_->call("GET", "/api/registrations?status=pending&limit=500"));
  std::vector<std::string> requests;
  for (const auto& item : page.at("items"))
    requests.push_back(
        operator_->request("POST", "/api/registrations/" + item.at("id").get<std::string>() + "/approve", "{}"));
  std::size_t next = 0;
  operator_->drive([&]() -> const std::string* { return next < requests.size() ? &requests[next++] : nullptr; },
                   [](const Reply& reply, Clock::duration) {
                     // 409: decided already, when the list was read while an earlier decision was being stored.
                     if (reply.status != 200 && reply.status != 409)
                       throw std::runtime_error("an approval failed: " + std::string(reply.body));
                   },
                   Clock::now() + 60s);
}

void Site::approveUntil(const std::string& what, ChildProcess& agents, const std::function<bool()>& reached,
                        std::chrono::milliseconds limit) {
  waitFor(
      what,
      [&] {
        if (!agents.running()) throw std::runtime_error(what + ": the process ended: " + endOf(agents.err()));
        if (reached()) return true;
        approvePending();
        return false;
      },
      limit);
}

Site::ConnectedAgents Site::connectedAgents() {
  ConnectedAgents out;
  for (;;) {
    const Json page = Json::parse(
        operator_->call("GET", "/api/agents?status=connected&limit=500&offset=" + std::to_string(out.dids.size())));
    for (const auto& agent : page.at("items")) {
      out.dids.push_back(agent.at("did"));
      out.sealed = out.sealed && agent.at("sealed").get<bool>();
    }
    if (!page.at("pagination").at("hasMore").get<bool>()) return out;
  }
}

double Site::settledResidentKib() {
  constexpr int kStill = 5;  // looks in a row without a change of 0.5 %
  double last = 0;
  int still = 0;
  waitFor(
      "the control plane's memory to settle",
      [&] {
        const double now = memoryOf(pid()).residentKib;
        still = std::abs(now - last) <= last / 200 ? still + 1 : 0;
        last = now;
        return still >= kStill;
      },
      60s, 200ms);
  return last;
}

}  // namespace vaultysclaw::bench
