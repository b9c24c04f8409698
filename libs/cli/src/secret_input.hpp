// Secrets that people type or programs pipe in.
#pragma once

#include <optional>
#include <string>

#include "context.hpp"

namespace vaultysclaw::cli {

// Asks with `prompt` on a terminal, which does not show what is typed; takes one line of anything else. Blocking. Empty
// when there is none, or Ctrl-C was typed: said so. The caller wipes it.
std::optional<std::string> readSecret(Context& context, const std::string& prompt);

}  // namespace vaultysclaw::cli
