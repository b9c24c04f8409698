// Works for a store, made up from a seed: the same seed gives the same works, whatever became of the earlier ones.
#pragma once

#include <functional>
#include <random>
#include <string>
#include <vector>

#include "store/agent_state.hpp"
#include "store/control_store.hpp"

namespace vaultysclaw::store {

// One to four writes of every kind, which belong together. One in eight gives up at the end.
ControlStore::Work randomControlWork(std::mt19937_64& random);
std::vector<std::string> controlMetaKeys();
// All of one size, to fill the log.
ControlStore::Work largeControlWork(std::mt19937_64& random, std::size_t bytes);

using AgentWork = std::function<Status(AgentState&)>;
AgentWork randomAgentWork(std::mt19937_64& random);
AgentWork largeAgentWork(std::mt19937_64& random, std::size_t bytes);
std::vector<std::pair<std::string, std::string>> agentIntents();
std::vector<std::string> agentValueKeys();

}  // namespace vaultysclaw::store
