// Results of intents: made, signed, stored and sent. Internal.
#pragma once

#include <optional>
#include <string>

#include "base/ports.hpp"
#include "call.hpp"
#include "identity/vaultys_id.hpp"
#include "protocol/messages.hpp"
#include "store/agent_state.hpp"

namespace vaultysclaw::detail {

// One message of an agent, as text. Any thread.
std::string encodeMessage(protocol::Payload payload, const Did& agent, Clock& clock, Entropy& entropy);

// A result as it is sent and as it is stored.
struct ReadyResult {
  std::string text;  // the encoded message
  std::string hash;  // hex SHA-256 of its signed body; empty when it is not signed
  std::string intentId;
  bool success = false;
  std::optional<std::string> error, code;
};

// Which intent a result answers, and whether its control plane wants it signed.
struct Answered {
  std::string controlPlaneDid;
  std::string intentHash;  // hex SHA-256 of the accepted token's body; empty: unknown, so the result cannot be signed
  bool sign = false;
};

protocol::IntentResult failedResult(const std::string& intentId, const Error& error, WallTime now);
protocol::IntentResult resultOf(const Call& call, const Outcome& outcome, WallTime executedAt);

// Signs (25 µs) and encodes.
ReadyResult makeResult(protocol::IntentResult result, const Answered& answered, const identity::VaultysId& self,
                       Clock& clock, Entropy& entropy);
// Back from what was stored; signed now, when it was made for a control plane that did not want that yet and this one
// does. Malformed.
Result<ReadyResult> readResult(const store::SeenIntent& stored, bool sign, const identity::VaultysId& self,
                               Clock& clock, Entropy& entropy);

// The answer to an intent that a restart has interrupted, for AgentState::interruptRunning.
store::FinishedIntent interruptedResult(const store::SeenIntent& intent, bool sign, const identity::VaultysId& self,
                                        Clock& clock, Entropy& entropy);

}  // namespace vaultysclaw::detail
