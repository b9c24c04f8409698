#include "completion.hpp"

#include <set>

namespace vaultysclaw::cli {
namespace {

// Agent names are foreign text: they reach the shell as data in arrays and never through eval or word lists that
// expand. Names with a backslash in JSON (quotes, control characters) are left out.
constexpr const char* kAgentNames =
    "_vaultysclaw_agents() {\n"
    "  vaultysclaw agents --json --limit 500 2>/dev/null | grep -o '\"name\":\"[^\"]*\"' | grep -v '\\\\' | cut -d'\"' "
    "-f4\n"
    "}\n\n";

std::string quoted(std::string_view text) {
  std::string out = "'";
  for (const char c : text) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}

std::string words(const std::vector<std::string>& list) {
  std::string out;
  for (const std::string& word : list) out += (out.empty() ? "" : " ") + word;
  return out;
}

// The loop both shells share: finds the subcommand (`cmd`) and how many arguments it has already (`args`).
std::string walk(const std::vector<CompletionCommand>& commands, const char* loop, const char* word) {
  std::set<std::string> withValue;
  std::string paths;
  for (const auto& command : commands) {
    for (const auto& option : command.options) {
      if (option.kind != ValueKind::None) withValue.insert(option.name);
    }
    if (!command.path.empty()) paths += (paths.empty() ? "" : "|") + quoted(command.path);
  }
  std::string values;
  for (const std::string& name : withValue) values += (values.empty() ? "" : "|") + name;
  return std::string(loop) + "    word=" + word +
         "\n"
         "    if [[ -n $skip ]]; then skip=; continue; fi\n"
         "    case \"$word\" in\n"
         "      " +
         values +
         ") skip=1; continue ;;\n"
         "      -*) continue ;;\n"
         "    esac\n"
         "    case \"$cmd $word\" in\n"
         "      " +
         paths +
         ") cmd=\"$cmd $word\" ;;\n"
         "      *) args=$((args + 1)) ;;\n"
         "    esac\n"
         "  done\n";
}

// case "$cmd $prev" for the values of options; options of the program itself work everywhere.
template <class Action>
std::string optionValues(const std::vector<CompletionCommand>& commands, Action action) {
  std::string own, global;
  for (const auto& command : commands) {
    for (const auto& option : command.options) {
      if (option.kind == ValueKind::None) continue;
      const std::string pattern =
          command.path.empty() ? "*" + quoted(" " + option.name) : quoted(command.path + " " + option.name);
      (command.path.empty() ? global : own) +=
          "    " + pattern + ") " + action(option.kind, option.choices) + "; return ;;\n";
    }
  }
  return "  case \"$cmd $prev\" in\n" + own + global + "  esac\n";
}

}  // namespace

std::string bashCompletion(const std::vector<CompletionCommand>& commands) {
  const auto action = [](ValueKind kind, const std::vector<std::string>& choices) -> std::string {
    switch (kind) {
      case ValueKind::File:
        return "COMPREPLY=($(compgen -f -- \"$cur\"))";
      case ValueKind::Directory:
        return "COMPREPLY=($(compgen -d -- \"$cur\"))";
      case ValueKind::Agent:
        return "_vaultysclaw_reply_agents \"$cur\"";
      case ValueKind::Choice:
        return "COMPREPLY=($(compgen -W " + quoted(words(choices)) + " -- \"$cur\"))";
      case ValueKind::None:
      case ValueKind::Text:
        break;
    }
    return ":";
  };
  std::string out =
      "# bash completion for vaultysclaw. Load it with:  source <(vaultysclaw completion bash)\n"
      "# or keep it: vaultysclaw completion bash > ~/.local/share/bash-completion/completions/vaultysclaw\n\n";
  out += kAgentNames;
  out +=
      "_vaultysclaw_reply_agents() {\n"
      "  local name\n"
      "  while IFS= read -r name; do\n"
      "    [[ $name == \"$1\"* ]] && COMPREPLY+=(\"$(printf '%q' \"$name\")\")\n"
      "  done < <(_vaultysclaw_agents)\n"
      "}\n\n"
      "_vaultysclaw() {\n"
      "  local cur=\"${COMP_WORDS[COMP_CWORD]}\" prev=\"${COMP_WORDS[COMP_CWORD-1]}\" cmd= word skip= args=0 i\n"
      "  COMPREPLY=()\n";
  out += walk(commands, "  for ((i = 1; i < COMP_CWORD; i++)); do\n", "\"${COMP_WORDS[i]}\"");
  out += optionValues(commands, action);
  out += "  case \"$cmd\" in\n";
  std::vector<std::string> global;
  for (const auto& option : commands.front().options) global.push_back(option.name);
  for (const auto& command : commands) {
    std::vector<std::string> options, plain;
    for (const auto& option : command.options) options.push_back(option.name);
    if (!command.path.empty()) options.insert(options.end(), global.begin(), global.end());
    for (const auto& [name, about] : command.subcommands) plain.push_back(name);
    out += "    " + quoted(command.path) + ")\n";
    out += "      if [[ $cur == -* ]]; then COMPREPLY=($(compgen -W " + quoted(words(options)) +
           " -- \"$cur\")); return; fi\n";
    if (!plain.empty())
      out += "      [[ $args -eq 0 ]] && COMPREPLY=($(compgen -W " + quoted(words(plain)) + " -- \"$cur\"))\n";
    if (command.firstArgument != ValueKind::None && command.firstArgument != ValueKind::Text) {
      out += "      [[ $args -eq 0 ]] && " + action(command.firstArgument, command.choices) + "\n";
    }
    out += "      ;;\n";
  }
  out += "  esac\n  return 0\n}\ncomplete -F _vaultysclaw vaultysclaw\n";
  return out;
}

std::string zshCompletion(const std::vector<CompletionCommand>& commands) {
  const auto action = [](ValueKind kind, const std::vector<std::string>& choices) -> std::string {
    switch (kind) {
      case ValueKind::File:
        return "_files";
      case ValueKind::Directory:
        return "_files -/";
      case ValueKind::Agent:
        return "names=(${(f)\"$(_vaultysclaw_agents)\"}); compadd -a names";
      case ValueKind::Choice:
        return "compadd -- " + words(choices);
      case ValueKind::None:
      case ValueKind::Text:
        break;
    }
    return ":";
  };
  std::string out =
      "#compdef vaultysclaw\n"
      "# zsh completion for vaultysclaw. Keep it in a directory of $fpath:\n"
      "#   vaultysclaw completion zsh > ~/.zsh/completions/_vaultysclaw\n\n";
  out += kAgentNames;
  out +=
      "_vaultysclaw() {\n"
      "  local cur=\"${words[CURRENT]}\" prev=\"${words[CURRENT-1]}\" cmd= word skip= args=0 i\n"
      "  local -a names flags subcommands\n";
  out += walk(commands, "  for ((i = 2; i < CURRENT; i++)); do\n", "\"${words[i]}\"");
  out += optionValues(commands, action);
  const auto described = [](std::string_view name, std::string about) {
    if (const auto end = about.find('\n'); end != std::string::npos) about.resize(end);
    return quoted(std::string(name) + ":" + about);
  };
  const auto optionWords = [&](const CompletionCommand& command) {
    std::string list;
    for (const auto& option : command.options) list += " " + described(option.name, option.about);
    return list;
  };
  out += "  case \"$cmd\" in\n";
  for (const auto& command : commands) {
    out += "    " + quoted(command.path) + ")\n      flags=(" + optionWords(command);
    if (!command.path.empty()) out += optionWords(commands.front());
    out += ")\n      if [[ $cur == -* ]]; then _describe -o option flags; return; fi\n";
    if (!command.subcommands.empty()) {
      out += "      subcommands=(";
      for (const auto& [name, about] : command.subcommands) out += " " + described(name, about);
      out += ")\n      (( args == 0 )) && _describe command subcommands\n";
    }
    if (command.firstArgument != ValueKind::None && command.firstArgument != ValueKind::Text) {
      out += "      if (( args == 0 )); then " + action(command.firstArgument, command.choices) + "; fi\n";
    }
    out += "      ;;\n";
  }
  out +=
      "  esac\n}\n\n"
      "if [[ $funcstack[1] == _vaultysclaw ]]; then _vaultysclaw \"$@\"; else compdef _vaultysclaw vaultysclaw; fi\n";
  return out;
}

}  // namespace vaultysclaw::cli
