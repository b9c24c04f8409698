#include "process_file.hpp"

#include <signal.h>

#include <algorithm>
#include <fstream>

#include "child_process.hpp"

namespace vaultysclaw::harness {

std::set<int> ProcessFile::endForerunners() {
  std::set<int> all;
  std::ifstream in(directory_ / "processes");
  for (int pid = 0; in >> pid;) {
    all.insert(pid);
    std::string command = readFile("/proc/" + std::to_string(pid) + "/cmdline");
    std::replace(command.begin(), command.end(), '\0', ' ');
    if (command.find(directory_.string() + "/") == std::string::npos) continue;
    ::kill(pid, SIGKILL);
    eventually([&] { return ::kill(pid, 0) != 0; }, std::chrono::seconds(10));
  }
  return all;
}

void ProcessFile::note(pid_t pid) {
  if (noted_.insert(pid).second) std::ofstream(directory_ / "processes", std::ios::app) << pid << std::endl;
}

}  // namespace vaultysclaw::harness
