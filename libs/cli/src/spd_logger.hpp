// The Logger of a running program: one line per entry on standard error, by spdlog.
#pragma once

#include <memory>
#include <string>

#include "base/log.hpp"

namespace vaultysclaw::cli {

enum class LogFormat : bool { Text, JsonLines };

// Text: "2026-01-31T12:00:00.000Z info  [hub] ..."; JSON: one object per line. Control characters in messages become
// '?'.
std::unique_ptr<Logger> makeLogger(LogLevel least, LogFormat format);

}  // namespace vaultysclaw::cli
