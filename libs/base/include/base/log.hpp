// Where log lines go. Libraries log through this port; main() decides on format and target.
#pragma once

#include <functional>
#include <string>
#include <string_view>

namespace vaultysclaw {

enum class LogLevel { Debug, Info, Warn, Error };
std::string_view name(LogLevel level);

// Synchronised. Never blocks for long, never throws. Text must hold no secret.
class Logger {
 public:
  virtual ~Logger() = default;
  virtual void log(LogLevel level, std::string_view component, std::string message) = 0;

  void debug(std::string_view component, std::string m) { log(LogLevel::Debug, component, std::move(m)); }
  void info(std::string_view component, std::string m) { log(LogLevel::Info, component, std::move(m)); }
  void warn(std::string_view component, std::string m) { log(LogLevel::Warn, component, std::move(m)); }
  void error(std::string_view component, std::string m) { log(LogLevel::Error, component, std::move(m)); }
};

// Drops everything; for tests and tools.
Logger& nullLogger();

// Replaces control characters and invalid UTF-8, and cuts at `maxBytes`: what foreign text needs before it is logged or
// printed on a terminal.
std::string printable(std::string_view text, std::size_t maxBytes = 200);

}  // namespace vaultysclaw
