#include "spd_logger.hpp"

#include <spdlog/logger.h>
#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/ansicolor_sink.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <unistd.h>

#include <cstdlib>

#include "base/json_writer.hpp"

namespace vaultysclaw::cli {
namespace {

constexpr std::size_t kMaxMessageBytes = 8192;

spdlog::level::level_enum spdLevel(LogLevel level) {
  switch (level) {
    case LogLevel::Debug:
      return spdlog::level::debug;
    case LogLevel::Info:
      return spdlog::level::info;
    case LogLevel::Warn:
      return spdlog::level::warn;
    case LogLevel::Error:
      return spdlog::level::err;
  }
  return spdlog::level::err;
}

spdlog::sink_ptr makeSink(LogFormat format) {
  const char* noColor = std::getenv("NO_COLOR");
  const bool colours =
      format == LogFormat::Text && isatty(STDERR_FILENO) == 1 && (noColor == nullptr || *noColor == '\0');
  if (colours) return std::make_shared<spdlog::sinks::ansicolor_stderr_sink_mt>();
  return std::make_shared<spdlog::sinks::stderr_sink_mt>();
}

class SpdLogger final : public Logger {
 public:
  SpdLogger(LogLevel least, LogFormat format) : format_(format), logger_("vaultysclaw", makeSink(format)) {
    const char* pattern = format == LogFormat::JsonLines ? "{\"time\":\"%Y-%m-%dT%H:%M:%S.%eZ\",%v}"
                                                         : "%Y-%m-%dT%H:%M:%S.%eZ %^%-7l%$ %v";
    logger_.set_formatter(std::make_unique<spdlog::pattern_formatter>(pattern, spdlog::pattern_time_type::utc));
    logger_.set_level(spdLevel(least));
    logger_.flush_on(spdlog::level::trace);
    logger_.set_error_handler([](const std::string&) {});  // nowhere left to complain to
  }

  void log(LogLevel level, std::string_view component, std::string message) override {
    if (!logger_.should_log(spdLevel(level))) return;
    message = printable(message, kMaxMessageBytes);
    std::string line;
    if (format_ == LogFormat::JsonLines) {
      JsonWriter w;
      w.beginObject();
      w.member("level", name(level));
      w.member("component", component);
      w.member("message", message);
      w.endObject();
      line = w.take();
      line = line.substr(1, line.size() - 2);  // the pattern writes the braces and the time
    } else {
      line = "[" + std::string(component) + "] " + message;
    }
    logger_.log(spdLevel(level), spdlog::string_view_t(line.data(), line.size()));
  }

 private:
  LogFormat format_;
  spdlog::logger logger_;
};

}  // namespace

std::unique_ptr<Logger> makeLogger(LogLevel least, LogFormat format) {
  return std::make_unique<SpdLogger>(least, format);
}

}  // namespace vaultysclaw::cli
