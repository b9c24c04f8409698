// Crash rounds: load, one harm to one victim, recovery, examination.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>

#include "harms.hpp"

namespace vaultysclaw::crash {

struct RoundsPlan {
  std::filesystem::path directory;  // data, logs and records; must exist
  std::uint64_t seed = 1;
  std::uint64_t first = 0, count = 20;  // rounds
  std::size_t agents = 4;
  int callers = 8;
  bool keepGoing = false;                      // after a violation
  bool brokenAgents = false;                   // to see that this is noticed
  std::chrono::milliseconds patience{30'000};  // until the world has recovered and nothing is left to be said
};

struct RoundsVerdict {
  std::uint64_t rounds = 0, requests = 0;
  std::uint64_t lost = 0, duplicated = 0, stuck = 0, wrong = 0;
  std::uint64_t violations() const { return lost + duplicated + stuck + wrong; }
};

using Say = std::function<void(const std::string&)>;

// Plays the rounds. Each is written to rounds.jsonl in the directory as it ends, what is found to violations.txt.
// Blocking. Throws std::runtime_error when the world cannot be made or used.
RoundsVerdict playRounds(const RoundsPlan& plan, const Say& say);

// What the records in the directory say, over all runs: a table of harms, recovery times, violations.
std::string summary(const std::filesystem::path& directory);
// The round that comes after those in the records, and their seed.
struct Recorded {
  std::uint64_t seed = 0, next = 0;
  bool any = false;
};
Recorded recorded(const std::filesystem::path& directory);

}  // namespace vaultysclaw::crash
