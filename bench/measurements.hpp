// What is measured, and how much of it. Each function starts its own control plane and agents and ends them.
#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>

#include "report.hpp"

namespace vaultysclaw::bench {

struct Plan {
  std::string mode;            // "full", "quick", "smoke"
  int floorRounds;             // samples of sign, verify, fsync
  int starts;                  // of the echo agent
  std::size_t latencyIntents;  // one at a time
  std::size_t herd;            // SDK agents under load
  std::size_t inFlight;        // requests at once
  std::chrono::milliseconds warmUp, load;
  std::size_t churners;  // agents that reconnect
  std::chrono::milliseconds churnWarmUp, churn;
  std::size_t crowd;      // agents connected at once
  std::string only = {};  // a part; empty: all
};

// The parts of a run, in order; `only` of a plan names one of them.
inline constexpr std::string_view kParts[] = {"floor", "echo", "herd", "churn", "crowd"};

Plan fullPlan();
Plan quickPlan();
Plan smokePlan();

using Progress = std::function<void(const std::string&)>;

// Everything, in order; data below `directory`, which must exist.
Figures measureAll(const Plan& plan, const std::filesystem::path& directory, const Progress& progress);

}  // namespace vaultysclaw::bench
