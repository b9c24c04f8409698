#include "world.hpp"

#include <signal.h>

#include <algorithm>
#include <stdexcept>

#include "interrupt.hpp"

namespace vaultysclaw::crash {
namespace {

using harness::Flow;
using harness::Told;
using namespace std::chrono_literals;
namespace fs = std::filesystem;

constexpr auto kStartLimit = 60s;
constexpr std::uintmax_t kLongLog = std::uintmax_t{4} << 20;

const std::vector<std::string> kControlPlaneOptions{"--drain", "0", "--ping-interval", "0.25"};

}  // namespace

std::string World::product() {
  return VC_PRODUCT_BINARY;
}

World::World(fs::path directory, std::size_t agents, const std::string& controlPlane)
    : directory_(std::move(directory)),
      controlPlane_(controlPlane, directory_, kControlPlaneOptions),
      agents_(agents),
      processFile_(directory_),
      callerLink_(gate_.add()) {
  fs::create_directories(directory_ / "agents");
  for (std::size_t i = 0; i < agents; ++i) {
    names_.push_back("agent-" + std::to_string(i));
    agentLinks_.push_back(gate_.add());
  }
  // They have ended with their run, or end now.
  killed_ = processFile_.endForerunners();
}

void World::noteProcesses() {
  for (const auto& [name, pid] : processes()) processFile_.note(pid);
}

std::vector<std::pair<std::string, pid_t>> World::processes() {
  std::vector<std::pair<std::string, pid_t>> out;
  if (controlPlane_.running()) out.emplace_back("control-plane", controlPlane_.process().pid());
  for (std::size_t i = 0; i < agents_.size(); ++i) {
    if (agentRuns(i)) out.emplace_back(names_[i], agents_[i]->pid());
  }
  return out;
}

void World::startControlPlane(std::map<std::string, std::string> environment) {
  if (controlPlane_.running()) killed_.insert(controlPlane_.process().pid());
  controlPlane_.start(std::move(environment));
  gate_.leadTo(callerLink_, controlPlane_.httpPort());
  for (const auto link : agentLinks_) gate_.leadTo(link, controlPlane_.wsPort());
  noteProcesses();
}

void World::killAgent(std::size_t agent) {
  if (!agentRuns(agent)) return;
  killed_.insert(agents_[agent]->pid());
  agents_[agent]->signal(SIGKILL);
  if (!agents_[agent]->wait(30s)) throw std::runtime_error(names_[agent] + " cannot be killed");
}

void World::startAgent(std::size_t agent, std::map<std::string, std::string> environment) {
  killAgent(agent);
  const std::string port = std::to_string(gate_.port(agentLinks_[agent]));
  std::vector<std::string> arguments{VC_CRASH_AGENT_BINARY,
                                     "--hasty",
                                     "http://127.0.0.1:" + port,
                                     "ws://127.0.0.1:" + port,
                                     (directory_ / "agents").string(),
                                     journal().string(),
                                     names_[agent]};
  if (agentsAreBroken_) arguments.insert(arguments.begin() + 1, "--twice");
  agents_[agent] =
      std::make_unique<harness::ChildProcess>(names_[agent], std::move(arguments), std::move(environment), directory_);
  noteProcesses();
}

void World::start(std::map<std::string, std::string> environment) {
  startControlPlane(std::move(environment));
  for (std::size_t i = 0; i < agents_.size(); ++i) startAgent(i);
  harness::waitFor(
      "the agents",
      [&] {
        auto store = view();
        store.approvePending();
        return absentAgents().empty();
      },
      kStartLimit, 20ms);
}

std::vector<std::string> World::agentDids() {
  const auto known = view().agents();
  std::vector<std::string> dids;
  for (const auto& name : names_) {
    const auto it = std::find_if(known.begin(), known.end(), [&](const auto& a) { return a.name == name; });
    if (it == known.end()) throw std::runtime_error(name + " is not registered");
    dids.push_back(it->did);
  }
  return dids;
}

std::vector<std::string> World::absentAgents() {
  const auto known = view().agents();
  std::vector<std::string> absent;
  for (const auto& name : names_) {
    const bool here =
        std::any_of(known.begin(), known.end(), [&](const auto& a) { return a.name == name && a.connected; });
    if (!here) absent.push_back(name);
  }
  return absent;
}

std::vector<std::string> World::unexpectedEnds() {
  std::vector<std::string> out;
  const auto look = [&](const std::string& name, harness::ChildProcess& process) {
    if (process.running() || !killed_.insert(process.pid()).second) return;
    out.push_back(name + " ended by itself with status " + std::to_string(process.wait(0ms).value_or(-1)));
  };
  look("control-plane", controlPlane_.process());
  for (std::size_t i = 0; i < agents_.size(); ++i) look(names_[i], *agents_[i]);
  return out;
}

void World::restartDead() {
  if (!controlPlane_.running()) startControlPlane();
  for (std::size_t i = 0; i < agents_.size(); ++i) {
    if (!agentRuns(i)) startAgent(i);
  }
}

void World::setDelay(std::chrono::milliseconds delay) {
  gate_.setDelay(callerLink_, delay);
  for (const auto link : agentLinks_) gate_.setDelay(link, delay);
}

void World::apply(const Harm& harm) {
  harness::ChildProcess& process =
      harm.victim == VictimKind::ControlPlane ? controlPlane_.process() : *agents_[harm.agent];
  const std::size_t link = harm.victim == VictimKind::CallerLink ? callerLink_ : agentLinks_[harm.agent];
  switch (harm.kind) {
    case HarmKind::Kill:
      killed_.insert(process.pid());
      process.signal(SIGKILL);
      if (!process.wait(30s)) throw std::runtime_error(describe(harm) + ": it does not die");
      return;
    case HarmKind::Stop:
      return process.signal(SIGSTOP);
    case HarmKind::Cut:
      gate_.leadTo(link, 0);
      return gate_.cut(link);
    case HarmKind::HalfOpen:
      return gate_.cut(link, harm.nearIsTold ? Told::Near : Told::Far);
    case HarmKind::Swallow:
      return gate_.setFlow(link, Flow::Swallow);
    case HarmKind::Stall:
      return gate_.setFlow(link, Flow::Stall);
    case HarmKind::Trickle:
      return gate_.setFlow(link, Flow::Trickle);
    case HarmKind::Corrupt:
      return gate_.setFlow(link, Flow::Corrupt);
  }
}

void World::undo(const Harm& harm) {
  const bool ofCallers = harm.victim == VictimKind::CallerLink;
  const std::size_t link = ofCallers ? callerLink_ : agentLinks_[harm.agent];
  switch (harm.kind) {
    case HarmKind::Kill:
      return restartDead();
    case HarmKind::Stop:
      return (harm.victim == VictimKind::ControlPlane ? controlPlane_.process() : *agents_[harm.agent]).signal(SIGCONT);
    case HarmKind::Cut:
      return gate_.leadTo(link, ofCallers ? controlPlane_.httpPort() : controlPlane_.wsPort());
    case HarmKind::HalfOpen:
      return;
    case HarmKind::Swallow:
    case HarmKind::Stall:
    case HarmKind::Trickle:
      return gate_.setFlow(link, Flow::Pass);
    case HarmKind::Corrupt:
      gate_.setFlow(link, Flow::Pass);
      // The length of a WebSocket frame is nobody's to protect: one that was changed keeps its reader waiting for bytes
      // until the handshake's 60 s or the heartbeat's 90 s are over, which is more than a round has.
      return gate_.cutCorrupted(link);
  }
}

void World::trimLogs() {
  for (const auto& entry : fs::directory_iterator(directory_)) {
    const auto extension = entry.path().extension();
    std::error_code ignored;
    if ((extension == ".out" || extension == ".err") && entry.file_size(ignored) > kLongLog)
      fs::resize_file(entry.path(), 0, ignored);
  }
}

}  // namespace vaultysclaw::crash
