#include "measurements.hpp"

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <optional>
#include <stdexcept>

#include "floor.hpp"
#include "interrupt.hpp"
#include "process_figures.hpp"
#include "site.hpp"

namespace vaultysclaw::bench {
namespace {

using namespace std::chrono_literals;
using harness::ChildProcess;
using harness::cpuModel;
using harness::cpuTime;
using harness::machineCpuTime;
using harness::Memory;
using harness::memoryOf;
using harness::readFile;
using harness::rest;
using harness::usableCores;
using harness::waitFor;
using std::chrono::milliseconds;

constexpr const char* kIntent = R"({"action":"text_generation","params":{"prompt":"say hello to the world"}})";
constexpr const char* kSucceeded = R"("status":"success")";
// As many as the crowd lets come back at a time.
constexpr double kReconnectingAtATime = 12;

double toSeconds(Clock::duration d) {
  return std::chrono::duration<double>(d).count();
}
double toMillis(Clock::duration d) {
  return std::chrono::duration<double, std::milli>(d).count();
}
double toMicros(std::chrono::nanoseconds d) {
  return std::chrono::duration<double, std::micro>(d).count();
}

// `share` from 0 to 1. Not empty.
double quantile(std::vector<double> values, double share) {
  const auto at = static_cast<std::size_t>(share * static_cast<double>(values.size() - 1));
  std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(at), values.end());
  return values[at];
}

bool said(const ChildProcess& agents, const std::string& text) {
  return agents.out().find(text) != std::string::npos || agents.err().find(text) != std::string::npos;
}

void requireSuccess(const Reply& reply) {
  if (reply.status != 200 || reply.body.find(kSucceeded) == std::string_view::npos)
    throw std::runtime_error("an intent failed: " + std::to_string(reply.status) + " " + std::string(reply.body));
}

std::string runPath(const std::string& did) {
  return "/api/agents/" + did + "/run";
}

class Measurements {
 public:
  Measurements(const Plan& plan, std::filesystem::path directory, const Progress& progress)
      : plan_(plan), directory_(std::move(directory)), progress_(progress) {}

  Figures all() {
    figures_.mode = plan_.mode;
    figures_.cpuModel = cpuModel();
    figures_.cores = usableCores();
    if (wants("floor")) floor();
    if (wants("echo")) echo();
    if (wants("herd")) herd();
    if (wants("churn")) churn();
    if (wants("crowd")) crowd();
    figures_.sealed = allSealed_.value_or(false);
    return figures_;
  }

 private:
  bool wants(std::string_view part) const { return plan_.only.empty() || plan_.only == part; }

  // A fresh directory; `name` tells what the site is for.
  std::filesystem::path fresh(const std::string& name) const {
    const auto path = directory_ / name;
    std::filesystem::create_directory(path);
    return path;
  }

  void floor() {
    progress_("signatures and durable appends");
    const Floor floor = measureFloor(directory_, plan_.floorRounds);
    figures_.signUs = floor.signUs;
    figures_.verifyUs = floor.verifyUs;
    figures_.fsyncMs = floor.fsyncMs;
  }

  // The connected agents. The run counts as sealed when the control plane says so of every agent in every part.
  std::vector<std::string> agentsOf(Site& site) {
    auto agents = site.connectedAgents();
    allSealed_ = allSealed_.value_or(true) && !agents.dids.empty() && agents.sealed;
    return std::move(agents.dids);
  }

  ChildProcess startEcho(const Site& site, int number) const {
    return site.start("echo-" + std::to_string(number), {VC_ECHO_BINARY},
                      {{"CONTROL_PLANE_URL", site.httpUrl()},
                       {"CONTROL_PLANE_WS_URL", site.agentUrls().front()},
                       {"VAULTYS_ID_PATH", (site.directory() / "echo.id").string()}});
  }

  void echo() {
    progress_("control plane, idle");
    Site site(fresh("echo"));
    figures_.cpIdleRssMib = site.settledResidentKib() / 1024;

    progress_("echo agent: starts");
    {
      ChildProcess echo = startEcho(site, 0);
      site.approveUntil("the echo agent", echo, [&] { return said(echo, "status → connected"); }, 60s);
    }
    std::vector<double> starts;
    for (int i = 1; i < plan_.starts; ++i) starts.push_back(startOnce(site, i));
    const auto began = Clock::now();
    ChildProcess echo = startEcho(site, plan_.starts);
    waitFor("the echo agent's connection", [&] { return said(echo, "status → connected"); }, 30s, 200us);
    starts.push_back(toMillis(Clock::now() - began));
    figures_.agentStartMs = quantile(starts, 0.5);

    progress_("echo agent: one intent at a time");
    auto load = site.load(1);
    const std::string intent = load.request("POST", runPath(agentsOf(site).at(0)), kIntent);
    std::vector<double> latencies;
    std::size_t left = plan_.latencyIntents + plan_.latencyIntents / 10;  // the first tenth warms up
    load.drive([&]() -> const std::string* { return left > 0 ? &intent : nullptr; },
               [&](const Reply& reply, Clock::duration took) {
                 requireSuccess(reply);
                 if (--left < plan_.latencyIntents) latencies.push_back(toMillis(took));
               },
               Clock::now() + 5min);
    figures_.latencyP50Ms = quantile(latencies, 0.5);
    figures_.latencyP99Ms = quantile(latencies, 0.99);
    const Memory memory = memoryOf(echo.pid());
    figures_.agentRssMib = memory.residentKib / 1024;
    figures_.agentThreads = memory.threads;
  }

  // From exec to connected, with an identity that is approved.
  double startOnce(const Site& site, int number) const {
    const auto began = Clock::now();
    ChildProcess echo = startEcho(site, number);
    waitFor("the echo agent's connection", [&] { return said(echo, "status → connected"); }, 30s, 200us);
    const double took = toMillis(Clock::now() - began);
    echo.signal(SIGTERM);
    waitFor("the echo agent's end", [&] { return !echo.running(); }, 30s);
    return took;
  }

  void herd() {
    progress_(std::to_string(plan_.herd) + " agents: starting");
    Site site(fresh("herd"));
    ChildProcess herd = site.start("herd", {VC_HERD_BINARY, site.httpUrl(), site.agentUrls().front(),
                                            site.directory().string(), std::to_string(plan_.herd)});
    site.approveUntil("the herd's connections", herd, [&] { return said(herd, "connected\n"); }, 5min);
    progress_(std::to_string(plan_.herd) + " agents: " + std::to_string(plan_.inFlight) + " intents in flight");
    auto load = site.load(plan_.inFlight);
    std::vector<std::string> intents;
    for (const auto& did : agentsOf(site)) intents.push_back(load.request("POST", runPath(did), kIntent));

    struct Moment {
      Clock::time_point at;
      std::chrono::nanoseconds controlPlane, agents, load, machine;
      std::size_t done;
    };
    std::size_t next = 0, done = 0;
    const auto look = [&] {
      return Moment{Clock::now(), cpuTime(site.pid()), cpuTime(herd.pid()), cpuTime(getpid()), machineCpuTime(), done};
    };
    const auto warm = Clock::now() + plan_.warmUp, end = warm + plan_.load;
    std::optional<Moment> first, last;
    load.drive([&]() -> const std::string* { return last ? nullptr : &intents[next++ % intents.size()]; },
               [&](const Reply& reply, Clock::duration) {
                 requireSuccess(reply);
                 ++done;
                 const auto now = Clock::now();
                 if (!first && now >= warm) first = look();
                 if (!last && now >= end) last = look();
               },
               end + 60s);
    if (!first || !last || last->done == first->done) throw std::runtime_error("no intent came through under load");
    const auto intentsDone = static_cast<double>(last->done - first->done);
    const double took = toSeconds(last->at - first->at);
    const auto ours =
        (last->controlPlane - first->controlPlane) + (last->agents - first->agents) + (last->load - first->load);
    figures_.intentsMeasured = intentsDone;
    figures_.intentsPerSecond = intentsDone / took;
    figures_.cpCpuUsPerIntent = toMicros(last->controlPlane - first->controlPlane) / intentsDone;
    figures_.agentCpuUsPerIntent = toMicros(last->agents - first->agents) / intentsDone;
    // The kernel's own threads count as others, those that write our data too.
    const double others = toSeconds(last->machine - first->machine - ours) / (took * figures_.cores);
    figures_.otherCpuPercent = std::max(0.0, 100 * others);
  }

  ChildProcess startCrowd(const Site& site, const std::string& mode, std::size_t count) const {
    std::vector<std::string> arguments{VC_CROWD_BINARY, mode, std::to_string(count)};
    for (const auto& url : site.agentUrls()) arguments.push_back(url);
    return site.start("crowd", std::move(arguments));
  }

  void churn() {
    progress_(std::to_string(plan_.churners) + " agents: reconnecting");
    Site site(fresh("churn"));
    ChildProcess crowd = startCrowd(site, "churn", plan_.churners);
    site.approveUntil("the crowd's connections", crowd, [&] { return said(crowd, "connected\n"); }, 5min);
    rest(plan_.churnWarmUp);
    const double completedBefore = site.metric("handshakes_completed_total");
    const double sealedBefore = site.metric("channels_sealed_total");
    const auto cpuBefore = cpuTime(site.pid());
    const auto before = Clock::now();
    rest(plan_.churn);
    const double completed = site.metric("handshakes_completed_total") - completedBefore;
    const double sealed = site.metric("channels_sealed_total") - sealedBefore;
    const auto cpu = cpuTime(site.pid()) - cpuBefore;
    if (completed < 1) throw std::runtime_error("no handshake was completed");
    // A handshake may come through between the two readings.
    allSealed_ = allSealed_.value_or(true) && sealed >= completed - kReconnectingAtATime;
    figures_.handshakesMeasured = completed;
    figures_.handshakesPerSecond = completed / toSeconds(Clock::now() - before);
    figures_.cpCpuUsPerHandshake = toMicros(cpu) / completed;
  }

  void crowd() {
    progress_(std::to_string(plan_.crowd) + " agents: connecting");
    Site site(fresh("crowd"));
    const double idle = site.settledResidentKib();
    ChildProcess crowd = startCrowd(site, "hold", plan_.crowd);
    site.approveUntil("the crowd's connections", crowd, [&] { return said(crowd, "connected\n"); }, 15min);
    progress_(std::to_string(plan_.crowd) + " agents: memory");
    const double resident = site.settledResidentKib();
    figures_.agentsConnected = site.metric("connected_agents");
    figures_.cpRssKibPerAgent = (resident - idle) / figures_.agentsConnected;
    static_cast<void>(agentsOf(site));
    if (figures_.agentsConnected < static_cast<double>(plan_.crowd))
      progress_("only " + std::to_string(static_cast<int>(figures_.agentsConnected)) + " stayed connected");
  }

  const Plan& plan_;
  const std::filesystem::path directory_;
  const Progress& progress_;
  Figures figures_;
  std::optional<bool> allSealed_;  // of what was measured so far
};

}  // namespace

Plan fullPlan() {
  return {"full", 1000, 15, 3000, 50, 64, 3s, 15s, 256, 3s, 15s, 10'000};
}
Plan quickPlan() {
  return {"quick", 300, 7, 1000, 50, 64, 1s, 6s, 128, 1s, 5s, 2000};
}
Plan smokePlan() {
  return {"smoke", 5, 1, 10, 3, 4, 0s, 200ms, 4, 0s, 200ms, 16};
}

Figures measureAll(const Plan& plan, const std::filesystem::path& directory, const Progress& progress) {
  return Measurements(plan, directory, progress).all();
}

}  // namespace vaultysclaw::bench
