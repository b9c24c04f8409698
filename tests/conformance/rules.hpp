// Where we refuse on purpose what the original accepts. Each rule has a row in docs/stricter.md; the program compares
// the two lists. A refusal without a rule is a failure.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "identity/handshake_message.hpp"

namespace vaultysclaw::conformance {

enum class Rule {
  AgentServiceVersion1,
  BinaryPackForm,
  CanonicalForm,
  IdForm,
  IdVersion,
  MachinesOnly,
  MetadataForm,
  NeverInitiateVersion0,
  OnlyOwnFields,
  OwnIdentity,
  ProtocolAndService,
  SmallOrderKey,
  StateInOrder,
  TimestampInteger,
  TokenMembers,
  VersionField,
};
std::string_view key(Rule rule);  // as docs/stricter.md writes it
const std::vector<Rule>& allRules();

enum class Receiver { ResponderFresh, InitiatorFresh, InitiatorAfterInit, ResponderAfterStep1 };

// The rule that a handshake message breaks, found without asking the state machines. `previous`: what the receiver sent
// before, empty if nothing.
std::optional<Rule> brokenRule(BytesView message, Receiver receiver, const identity::VaultysId& self,
                               BytesView previous);
// The rule that a public id breaks.
std::optional<Rule> brokenIdRule(BytesView id);

}  // namespace vaultysclaw::conformance
