// The execution journal: one line for each beginning and each end of a handler, appended by the agents of a crash run
// as the handler runs, and believed by the checker. A line is one write(2) to a file opened with O_APPEND, so it is
// whole, and survives the death of its process (the machine does not die in these runs, so nothing is synced).
//
//   <unix ms> <agent> <pid> begin <intent id> <work number>
//   <unix ms> <agent> <pid> success|failed|stopped <intent id> <mark>
//   <unix ms> <agent> <pid> chat|chatted <conversation id> <chunks>
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "base/descriptor.hpp"

namespace vaultysclaw::crash {

struct JournalLine {
  std::int64_t at = 0;  // unix ms
  std::string agent;
  int pid = 0;
  std::string what, id, mark;
};

// Synchronised by the kernel: any thread of any process.
class JournalWriter {
 public:
  JournalWriter(const std::filesystem::path& path, std::string agent);
  // Throws std::runtime_error when the line cannot be written: then nothing that happens counts any more.
  void write(std::string_view what, std::string_view id, std::string_view mark) const;

 private:
  Descriptor file_;
  std::string agent_;
};

// Reads what has been added since the last time. One thread at a time.
class JournalReader {
 public:
  explicit JournalReader(std::filesystem::path path) : path_(std::move(path)) {}
  // Throws std::runtime_error for a line that is none.
  std::vector<JournalLine> readNew();

 private:
  std::filesystem::path path_;
  std::uint64_t offset_ = 0;
};

std::int64_t unixMillis();

}  // namespace vaultysclaw::crash
