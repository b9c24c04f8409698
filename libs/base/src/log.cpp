#include "base/log.hpp"

#include "base/utf8.hpp"

namespace vaultysclaw {

std::string_view name(LogLevel level) {
  switch (level) {
    case LogLevel::Debug:
      return "debug";
    case LogLevel::Info:
      return "info";
    case LogLevel::Warn:
      return "warn";
    case LogLevel::Error:
      return "error";
  }
  return "error";
}

Logger& nullLogger() {
  class Null final : public Logger {
    void log(LogLevel, std::string_view, std::string) override {}
  };
  static Null instance;
  return instance;
}

std::string printable(std::string_view text, std::size_t maxBytes) {
  const bool cut = text.size() > maxBytes;
  if (cut) {
    text = text.substr(0, maxBytes);
    text.remove_suffix(incompleteUtf8Tail(text));
  }
  const bool utf8 = isValidUtf8(text);
  std::string out;
  out.reserve(text.size() + 3);
  for (char c : text) {
    const auto u = static_cast<unsigned char>(c);
    out.push_back(u < 0x20 || u == 0x7f || (!utf8 && u >= 0x80) ? '?' : c);
  }
  if (cut) out += "...";
  return out;
}

}  // namespace vaultysclaw
