// What a soak measured: one line of a CSV file for each sample, and the verdict over them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace vaultysclaw::crash {

struct ProcessSample {
  std::string name;
  double residentMib = 0;
  int descriptors = 0, threads = 0;
};

struct SoakSample {
  double minutes = 0;                  // of soaking, breaks left out
  int run = 1;                         // counts on each time the processes were started anew
  std::uint64_t done = 0, errors = 0;  // of the whole soak
  double cpu = 0;  // percent of all cores that the soak used since the last sample, its load included
  double storeMib = 0;
  std::vector<ProcessSample> processes;
};

// Appends to the file, and writes its head when it is new. Throws std::runtime_error.
void appendSample(const std::filesystem::path& file, const SoakSample& sample);
std::vector<SoakSample> readSamples(const std::filesystem::path& file);

struct SoakVerdict {
  bool level = false;
  std::string text;  // for people
};
// Judges the longest stretch without a restart: memory, descriptors and threads of each process are level when the
// median of the last third is within 5 % of the middle third's, or within 2 MiB, 2 descriptors or 1 thread. Falling
// counts as level. The first third is for warming up.
SoakVerdict judge(const std::vector<SoakSample>& samples);

}  // namespace vaultysclaw::crash
