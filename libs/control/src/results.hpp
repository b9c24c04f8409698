// What an agent signed about an intent (docs/protocol.md 7.5), against what it says and what we sent. Pure; any thread.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "identity/tokens.hpp"
#include "protocol/messages.hpp"
#include "store/control_store.hpp"

namespace vaultysclaw::control {

std::string_view statusName(protocol::ResultStatus status);

// The signed body of `result`, if `agent` signed it for this control plane and exactly this content. Whether its
// intentHash is that of an intent we sent is the caller's to check. Errors: BadSignature, Malformed, PolicyDenied (says
// what differs).
Result<identity::ResultToken> checkResult(const protocol::IntentResult& result, const identity::VaultysId& agent,
                                          const Did& controlPlane);

// Whether `intentHash` is of one of the tokens that were signed for an intent: the first one, or those among its
// events.
bool asksFor(const identity::Sha256& intentHash, const std::string& firstToken,
             const std::vector<store::IntentEventRow>& events);

// What a stored intent proves, read again.
struct StoredProof {
  bool intent = false;              // the tokens are ours and sign the row's id, action, agent, user and params
  std::optional<bool> result = {};  // the result token is the agent's and signs the row's end; absent: cannot be told
};
// `agent` is who the row names; null when nothing is known of it any more. What a list has left out is not compared.
StoredProof proofOf(const store::IntentRow& row, const std::vector<store::IntentEventRow>& events,
                    const identity::VaultysId& self, const identity::VaultysId* agent);

// The identity behind a DID, from the store; nothing when it is not known any more or the row was changed. Blocking.
Result<std::optional<identity::VaultysId>> identityOf(store::ControlReader& reader, const Did& did);

}  // namespace vaultysclaw::control
