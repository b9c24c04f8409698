// The processes of a run, in a file: a run that is killed leaves its children behind, and they hold its data.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <set>

namespace vaultysclaw::harness {

// One thread at a time.
class ProcessFile {
 public:
  explicit ProcessFile(std::filesystem::path directory) : directory_(std::move(directory)) {}
  // Ends what an earlier run left running; only processes that name the directory in their command line are touched.
  // Blocks until they have gone. Returns every process that the file names.
  std::set<int> endForerunners();
  void note(pid_t pid);

 private:
  std::filesystem::path directory_;
  std::set<int> noted_;
};

}  // namespace vaultysclaw::harness
