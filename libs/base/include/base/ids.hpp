// Identifiers as types: mixing two kinds up does not compile.
#pragma once

#include <compare>
#include <functional>
#include <string>
#include <string_view>
#include <utility>

namespace vaultysclaw {

// The text of an identifier of one kind. Value type; the text is not validated (see isValidWireId).
template <class Tag>
struct Id {
  std::string value;

  Id() = default;
  explicit Id(std::string text) : value(std::move(text)) {}
  bool empty() const { return value.empty(); }
  auto operator<=>(const Id&) const = default;
};

using Did = Id<struct DidTag>;            // "did:vaultys:" and 40 hex digits
using IntentId = Id<struct IntentIdTag>;  // also the messageId of the intent message
using MessageId = Id<struct MessageIdTag>;
using ConversationId = Id<struct ConversationIdTag>;
using RegistrationId = Id<struct RegistrationIdTag>;
using RequestId = Id<struct RequestIdTag>;  // tool approvals, peer calls
using PolicyId = Id<struct PolicyIdTag>;
using TokenId = Id<struct TokenIdTag>;  // an API token's row, not its secret

// 1 to 128 printable ASCII characters: what every identifier on the wire must be (docs/protocol.md 7.7).
bool isValidWireId(std::string_view id);
// "did:vaultys:" followed by 40 lower-case hex digits.
bool isValidDid(std::string_view did);

class Clock;
class Entropy;
// UUID version 7 (RFC 9562 section 5.7): sorts by time, 74 random bits. Lower case, 36 characters.
std::string newUuid(Clock& clock, Entropy& entropy);

}  // namespace vaultysclaw

template <class Tag>
struct std::hash<vaultysclaw::Id<Tag>> {
  std::size_t operator()(const vaultysclaw::Id<Tag>& id) const noexcept { return std::hash<std::string>{}(id.value); }
};
