// Completion scripts for bash and zsh, made from the command line's own description, so that they cannot fall behind
// it.
#pragma once

#include <string>
#include <vector>

namespace vaultysclaw::cli {

enum class ValueKind : std::uint8_t { None, Text, File, Directory, Agent, Choice };

struct CompletionOption {
  std::string name;  // with its dashes
  std::string about;
  ValueKind kind = ValueKind::None;  // None: a flag
  std::vector<std::string> choices;
};
struct CompletionCommand {
  std::string path;  // "" for the program itself, else " agents get"
  std::vector<CompletionOption> options;
  std::vector<std::pair<std::string, std::string>> subcommands;  // name and description
  ValueKind firstArgument = ValueKind::None;
  std::vector<std::string> choices;  // of the first argument
};

std::string bashCompletion(const std::vector<CompletionCommand>& commands);
std::string zshCompletion(const std::vector<CompletionCommand>& commands);

}  // namespace vaultysclaw::cli
