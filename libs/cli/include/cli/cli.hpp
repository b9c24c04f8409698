// The command line: everything behind `vaultysclaw`. apps/vaultysclaw/main.cpp passes the process's streams in; tests
// pass their own.
#pragma once

#include <functional>
#include <iosfwd>
#include <optional>
#include <string>
#include <vector>

#include "base/ports.hpp"

namespace vaultysclaw::cli {

// What the process ends with.
inline constexpr int kOk = 0, kFailed = 1, kUsage = 2, kCannotConnect = 3;

enum class Terminal : bool { No, Yes };

// The process around a command. Must outlive run().
struct Environment {
  std::istream& in;
  std::ostream& out;
  std::ostream& err;
  Terminal inTerminal = Terminal::No, outTerminal = Terminal::No, errTerminal = Terminal::No;
  std::function<std::optional<std::string>(const std::string& name)> variable;  // of the environment
  // For tests; absent: the system's. `pause` waits before a connection is tried again.
  Clock* clock = nullptr;
  std::function<void(Duration)> pause = {};
};

// Runs one command and returns the exit code. `args` without the program's name. Blocking: until the command is done;
// the subcommand control-plane takes over SIGINT and SIGTERM and serves until one comes. One call at a time in a
// process.
int run(std::vector<std::string> args, Environment& environment);

}  // namespace vaultysclaw::cli
