// Which control plane an agent belongs to, as its state file says (docs/protocol.md 7.2). Used by the runtime, and by
// the command line while the agent is stopped. Internal: not installed. Blocking; any thread.
#pragma once

#include <optional>
#include <string>

#include "base/ids.hpp"
#include "identity/features.hpp"
#include "identity/vaultys_id.hpp"
#include "store/agent_state.hpp"

namespace vaultysclaw::detail {

// Where an agent keeps its state unless it is told otherwise.
inline std::string defaultStatePath(const std::string& identityPath) {
  return identityPath + ".state";
}

struct Pin {
  std::string did;
  std::optional<identity::VaultysId> id;  // version 1 form; absent until a handshake has shown it
  identity::Features features;            // what this control plane listed last
};

// Nothing when the agent trusts the first control plane that approves it. Malformed for a pin that cannot be read.
Result<std::optional<Pin>> readPin(store::AgentState& state);
// What a handshake has proved: the control plane's id and its list of features, in one durable step.
Status storePin(store::AgentState& state, const identity::VaultysId& controlPlane, const identity::Features& features);
// From now on only this control plane; what another one had listed is forgotten.
Status trustOnly(store::AgentState& state, const Did& controlPlane);
// The next control plane that approves the agent is trusted, as on the first start.
Status trustNext(store::AgentState& state);

}  // namespace vaultysclaw::detail
