// What the kernel knows about a process.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <string>

namespace vaultysclaw::harness {

// CPU time that all threads of the process have used, also those that have ended. Finer than the clock ticks of
// /proc/PID/stat: a clock of the kernel's scheduler.
std::chrono::nanoseconds cpuTime(pid_t pid);

struct Memory {
  double residentKib = 0;
  int threads = 0;
};
Memory memoryOf(pid_t pid);

// CPU time of the whole machine, all processes, idle time left out.
std::chrono::nanoseconds machineCpuTime();

std::string cpuModel();
int usableCores();

}  // namespace vaultysclaw::harness
