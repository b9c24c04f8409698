// The program: hands the process's streams and environment to libs/cli.
#include <unistd.h>

#include <cstdlib>
#include <iostream>

#include "cli/cli.hpp"

int main(int argc, char** argv) {
  namespace cli = vaultysclaw::cli;
  const auto terminal = [](int descriptor) { return isatty(descriptor) == 1 ? cli::Terminal::Yes : cli::Terminal::No; };
  cli::Environment environment{std::cin,
                               std::cout,
                               std::cerr,
                               terminal(STDIN_FILENO),
                               terminal(STDOUT_FILENO),
                               terminal(STDERR_FILENO),
                               [](const std::string& name) -> std::optional<std::string> {
                                 const char* value = std::getenv(name.c_str());
                                 return value == nullptr ? std::nullopt : std::optional<std::string>(value);
                               }};
  return cli::run({argv + 1, argv + argc}, environment);
}
