// Compares what ours sends with the recording, member by member, and keeps account of the allowances.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "allowances.hpp"

namespace vaultysclaw::replay {

// What one of ours sent, or, with type "close", how it ended the connection.
struct Heard {
  json message;
  WallTime at;
};

// Of one replay. Failures are gtest failures with the recorded and our value. One thread.
class Comparison {
 public:
  Comparison(Side side, const Transcript& transcript);

  // Whether ours sends something in the place of this recorded message. notSent() counts.
  bool isSent(const Entry& recorded) const;
  bool notSent(const Entry& recorded);
  // `ours`: null when nothing came.
  void compare(const Entry& recorded, const Heard* ours);
  // Ours sent something that has no recorded counterpart, after `recorded`.
  void more(const Entry& recorded, const Heard& ours);
  // Whether the replay is to depart from the recording at this entry; counts.
  bool departs(const Entry& entry, const std::string& path);
  // Every allowance was used exactly as often as it says. Prints the account.
  void finish();

  // `message` of the recorded side, with the ids that stand for ours.
  json withOurIds(json message) const;
  Ledger& ledger() { return ledger_; }

 private:
  const Allowance* find(Allowance::What what, const std::string& kind, const std::string& path, int seq) const;
  void judge(const Allowance& allowance, const Difference& difference);
  void walk(const json* recorded, const json* ours, const std::string& path);
  void fail(const std::string& path, const json* recorded, const json* ours, const std::string& why);

  const Side side_;
  Ledger ledger_;
  std::map<const Allowance*, int> used_;
  int compared_ = 0, values_ = 0, absent_ = 0, extra_ = 0;

  // Of the message that is being compared.
  const Entry* entry_ = nullptr;
  const Heard* heard_ = nullptr;
  std::string kind_;
};

}  // namespace vaultysclaw::replay
