// Real processes under our control: started, read, waited for with a deadline, always ended and reaped.
#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <sys/types.h>

#include "base/temporary_directory.hpp"

namespace vaultysclaw::harness {

using vaultysclaw::testing::TemporaryDirectory;

struct Output {
  int status = -1;  // exit status; 128 + signal when a signal ended it
  std::string out, err;
};

// A process whose output goes to files, so that it never blocks on a full pipe. Killed by the destructor.
class ChildProcess {
 public:
  // `environment` is added to ours. `workDirectory` receives the output files <name>.out and <name>.err.
  ChildProcess(std::string name, std::vector<std::string> arguments, std::map<std::string, std::string> environment,
               std::filesystem::path workDirectory);
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;
  ~ChildProcess();

  pid_t pid() const { return pid_; }
  void signal(int number) const;
  // The exit status, or nothing when the process still runs after `deadline`.
  std::optional<int> wait(std::chrono::milliseconds deadline);
  bool running();
  std::string out() const;
  std::string err() const;

 private:
  std::filesystem::path outFile_, errFile_;
  pid_t pid_ = -1;
  std::optional<int> status_;
};

// Runs to the end; a process that takes longer than 60 s is killed (status -1).
Output runProcess(std::vector<std::string> arguments, std::map<std::string, std::string> environment,
                  const std::filesystem::path& workDirectory);

// Polls until `condition` holds; false after `deadline`.
bool eventually(const std::function<bool()>& condition,
                std::chrono::milliseconds deadline = std::chrono::milliseconds(30'000));

std::string readFile(const std::filesystem::path& path);

}  // namespace vaultysclaw::harness
