// Everything that a store's public interface tells, as text, one row a line: two stores that give the same are the
// same.
#pragma once

#include <functional>
#include <string>

#include "base/result.hpp"
#include "store/agent_state.hpp"
#include "store/control_store.hpp"

namespace vaultysclaw::store {

// `metaKeys` and the like name what no list shows.
Result<std::string> dumpOf(ControlStore& store, const std::vector<std::string>& metaKeys);
Result<std::string> dumpOf(AgentState& state, const std::vector<std::pair<std::string, std::string>>& intents,
                           const std::vector<std::string>& valueKeys);

}  // namespace vaultysclaw::store
