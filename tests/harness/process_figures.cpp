#include "process_figures.hpp"

#include <sched.h>
#include <time.h>
#include <unistd.h>

#include <fstream>
#include <sstream>
#include <stdexcept>

namespace vaultysclaw::harness {

std::chrono::nanoseconds cpuTime(pid_t pid) {
  clockid_t clock{};
  timespec used{};
  if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &used) != 0)
    throw std::runtime_error("process " + std::to_string(pid) + " has gone");
  return std::chrono::seconds(used.tv_sec) + std::chrono::nanoseconds(used.tv_nsec);
}

Memory memoryOf(pid_t pid) {
  std::ifstream status("/proc/" + std::to_string(pid) + "/status");
  Memory memory;
  for (std::string name; status >> name; status.ignore(4096, '\n')) {
    if (name == "VmRSS:") status >> memory.residentKib;
    if (name == "Threads:") status >> memory.threads;
  }
  if (memory.threads == 0) throw std::runtime_error("process " + std::to_string(pid) + " has gone");
  return memory;
}

std::chrono::nanoseconds machineCpuTime() {
  std::ifstream stat("/proc/stat");
  std::string label;
  // user, nice, system, idle, iowait, irq, softirq, steal
  std::int64_t ticks[8] = {};
  stat >> label;
  for (auto& t : ticks) stat >> t;
  const std::int64_t busy = ticks[0] + ticks[1] + ticks[2] + ticks[5] + ticks[6];
  return std::chrono::nanoseconds(busy * (1'000'000'000 / sysconf(_SC_CLK_TCK)));
}

std::string cpuModel() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    if (line.starts_with("model name")) return line.substr(line.find(':') + 2);
  }
  return "unknown";
}

int usableCores() {
  cpu_set_t set;
  return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
}

}  // namespace vaultysclaw::harness
