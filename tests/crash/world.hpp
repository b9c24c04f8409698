// The processes of a crash run, and the gate between them: a control plane, agents, a link for each agent and one for
// all callers.
#pragma once

#include <filesystem>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "child_process.hpp"
#include "control_plane_process.hpp"
#include "gate.hpp"
#include "harms.hpp"
#include "process_file.hpp"
#include "store_view.hpp"

namespace vaultysclaw::crash {

// One thread at a time. Everything ends with it. Failures throw std::runtime_error.
class World {
 public:
  // Data below `directory`, which must exist; what is there already is used again. `controlPlane` is the program.
  World(std::filesystem::path directory, std::size_t agents, const std::string& controlPlane = product());
  static std::string product();
  // From their next start on agents do what is wrong on purpose.
  void breakAgents() { agentsAreBroken_ = true; }
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  // Starts everything anew, lets the agents in and waits until all are connected. `environment` is the control plane's.
  void start(std::map<std::string, std::string> environment = {});
  // One process alone, with a change to its environment for this once.
  void startControlPlane(std::map<std::string, std::string> environment = {});
  void startAgent(std::size_t agent, std::map<std::string, std::string> environment = {});
  void setDelay(std::chrono::milliseconds delay);  // of every link
  void apply(const Harm& harm);
  void undo(const Harm& harm);
  // Starts what has ended and should run.
  void restartDead();
  // Processes that ended and that nobody killed; each is named once.
  std::vector<std::string> unexpectedEnds();

  // Everyone the world knows of is connected; the names of those who are not.
  std::vector<std::string> absentAgents();

  StoreView view() const { return {controlPlane_.httpPort(), controlPlane_.token()}; }
  std::uint16_t callerPort() const { return gate_.port(callerLink_); }
  const std::string& token() const { return controlPlane_.token(); }
  const std::vector<std::string>& agentNames() const { return names_; }
  std::vector<std::string> agentDids();
  std::filesystem::path journal() const { return directory_ / "journal"; }
  const std::filesystem::path& directory() const { return directory_; }
  // Of processes that were killed.
  const std::set<int>& killed() const { return killed_; }
  std::vector<std::pair<std::string, pid_t>> processes();
  // Cuts logs that have grown long, once nobody needs them any more.
  void trimLogs();
  bool controlPlaneRuns() { return controlPlane_.running(); }
  bool agentRuns(std::size_t agent) { return agents_[agent] && agents_[agent]->running(); }

 private:
  void killAgent(std::size_t agent);
  void noteProcesses();

  std::filesystem::path directory_;
  harness::ControlPlaneProcess controlPlane_;
  harness::Gate gate_;
  std::vector<std::string> names_;
  std::vector<std::unique_ptr<harness::ChildProcess>> agents_;
  harness::ProcessFile processFile_;
  std::vector<std::size_t> agentLinks_;
  std::size_t callerLink_;
  bool agentsAreBroken_ = false;
  std::set<int> killed_;
};

}  // namespace vaultysclaw::crash
