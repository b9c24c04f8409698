#include "report.hpp"

#include <cstdio>
#include <cstdlib>

namespace vaultysclaw::conformance {

void Report::add(const Case& c) {
  Counts& counts = files_[file_];
  if (c.failure) {
    ++counts.failed;
    std::printf("FAILED %s: %s: %s\n", file_.c_str(), c.name.c_str(), c.failure->c_str());
  } else if (c.notSupported) {
    ++counts.notSupported;
  } else if (c.stricter) {
    ++counts.stricter;
    ++stricter_[*c.stricter];
  } else {
    ++counts.passed;
  }
}

void Report::print() const {
  std::printf("%-20s %8s %8s %22s %15s\n", "", "passed", "failed", "deliberately stricter", "not supported");
  for (const auto& [file, n] : files_) {
    std::printf("%-20s %8d %8d %22d %15d\n", file.c_str(), n.passed, n.failed, n.stricter, n.notSupported);
  }
  for (const auto& [rule, n] : stricter_) std::printf("  stricter: %-28s %d\n", std::string(key(rule)).c_str(), n);
}

bool Report::anyFailed() const {
  for (const auto& [file, n] : files_) {
    if (n.failed != 0) return true;
  }
  return false;
}

Bytes hexOf(const Json& text) {
  auto bytes = hexDecode(textOf(text));
  if (!bytes.ok()) {
    std::fprintf(stderr, "broken vector file: not hexadecimal: %.60s\n", text.dump().c_str());
    std::exit(2);
  }
  return std::move(*bytes);
}

std::string textOf(const Json& text) {
  if (!text.is_string()) {
    std::fprintf(stderr, "broken vector file: not a string: %.60s\n", text.dump().c_str());
    std::exit(2);
  }
  return text.get<std::string>();
}

}  // namespace vaultysclaw::conformance
