// Gathers the records of a world and has them checked, again and again until nothing is left to be said against them.
#pragma once

#include <chrono>
#include <set>
#include <string>
#include <vector>

#include "checker.hpp"
#include "journal.hpp"
#include "ledger.hpp"
#include "world.hpp"

namespace vaultysclaw::crash {

// One thread at a time; blocks. Callers are silent while it looks.
class Examiner {
 public:
  Examiner(World& world, Ledger& ledger);

  // Looks at what has changed since the last time nothing was found, until nothing is found or `patience` is over.
  std::vector<Violation> settle(std::chrono::milliseconds patience);
  // Every intent there is, the number of rows and the audit chain.
  std::vector<Violation> examineEverything();
  // A process that was killed since the last time nothing was found: its chats may break off.
  void noteDeath(const std::string& process) { all_.died.insert(process); }
  // Errors with this text are made on purpose from now on.
  void expectError(const std::string& text) { all_.injected = text; }
  // Does not hold what was found against the world any longer.
  void forgive();

  const Evidence& evidence() const { return all_; }
  // What the callers went through, since the beginning.
  struct Hardships {
    std::uint64_t chats = 0, chatsTakenUp = 0;  // chats whose stream broke and went on
    std::uint64_t askedAgain = 0;               // requests that were answered after an attempt without an answer
  };
  const Hardships& hardships() const { return hardships_; }

 private:
  void readRecords();
  std::vector<Violation> look();
  Evidence part() const;
  void readJournal();
  void addHistories(const std::vector<Violation>& found);

  World& world_;
  Ledger& ledger_;
  JournalReader journal_;
  Evidence all_;                       // all but the chats, of which the part under examination
  std::set<std::string> ids_, works_;  // under examination
  std::int64_t since_;                 // rows made since then are
  Hardships hardships_;
};

}  // namespace vaultysclaw::crash
