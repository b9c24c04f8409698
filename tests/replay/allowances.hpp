// The one table of what may differ between us and the recordings. Nothing else may.
#pragma once

#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "transcript.hpp"

namespace vaultysclaw::replay {

enum class Side : std::uint8_t { ControlPlane, Agent };  // which of ours stands in the original's place

// What one replay remembers between messages.
struct Ledger {
  explicit Ledger(const Transcript& t) : transcript(t) {}
  const Transcript& transcript;
  std::map<std::string, std::string> oursOf, recordedOf;  // ids that stand for one another
  std::set<std::string> seen;                             // ids and nonces of ours, which must never come twice
  std::map<int, json> sent;                               // our messages, opened, by the recorded seq
  json step1;                                             // the last STEP1 that our agent was given, opened
  WallTime agentStartedAt;
};

// One difference, for the check that must judge it.
struct Difference {
  std::string path;
  const json* recorded;  // null: the recorded message has no such member
  const json* ours;      // null: ours has none
  const json& message;   // ours, as sent
  WallTime at;           // when it came
};
// Empty when the difference is the expected one; else what is wrong with ours.
using Check = std::function<std::string(const Difference&, Ledger&)>;

struct Uses {
  int full, rejected, clientErrors;
  int in(const std::string& transcript) const {
    return transcript == "full" ? full : transcript == "rejected" ? rejected : clientErrors;
  }
};

struct Allowance {
  enum class What : std::uint8_t {
    Differs,  // the member at `path` is as `check` wants it
    NotSent,  // ours sends nothing in place of the recorded message
    Instead,  // ours sends another message, which `check` judges, in place of the recorded one
    More,     // ours sends a message, which `check` judges, after the recorded one `seqs`
    Played,   // the replay itself departs from the recording here, at `path`
  };
  Side side;
  What what;
  std::string kind;       // kindOf() the recorded message (of ours for More); "*": any
  std::string path;       // "payload.data.nonce"; what stands below it is part of it
  std::vector<int> seqs;  // of the recorded messages; empty: all
  Check check;
  Uses uses;  // exactly how often in each transcript; the row counts only where this is not 0
  std::string reason;
};

const std::vector<Allowance>& allowances();

}  // namespace vaultysclaw::replay
