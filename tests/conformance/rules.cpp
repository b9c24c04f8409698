#include "rules.hpp"

#include <algorithm>
#include <array>
#include <cmath>

#include "base/msgpack.hpp"

namespace vaultysclaw::conformance {
namespace {

using identity::VaultysId;
using msgpack::Value;

constexpr std::array<std::string_view, 10> kOrder{"version", "protocol", "service", "timestamp", "pk1",
                                                  "pk2",     "nonce",    "sign1",   "sign2",     "metadata"};

bool membersInOrder(const Value& map) {
  std::size_t next = 0;
  for (const auto& [name, value] : *map.map()) {
    if (name.string() == nullptr || value.isNil()) return false;
    const auto* at = std::find(kOrder.begin() + next, kOrder.end(), *name.string());
    if (at == kOrder.end()) return false;
    next = static_cast<std::size_t>(at - kOrder.begin()) + 1;
  }
  return true;
}

std::string_view text(const Value& map, std::string_view name) {
  const Value* v = map.find(name);
  return v != nullptr && v->string() != nullptr ? std::string_view(*v->string()) : std::string_view();
}

std::optional<Rule> metadataRule(const Value& map, bool isInit) {
  const Value* metadata = map.find("metadata");
  if (metadata == nullptr || metadata->map() == nullptr) return Rule::MetadataForm;
  for (const char* name : {"pk1", "pk2"}) {
    const Value* statement = metadata->find(name);
    if (statement != nullptr && statement->map() == nullptr) return Rule::MetadataForm;
  }
  return isInit && metadata->find("pk2") != nullptr ? std::optional(Rule::MetadataForm) : std::nullopt;
}

std::optional<Rule> peerRule(const Value& id, std::int64_t version, const VaultysId& self) {
  if (id.bytes() == nullptr) return Rule::IdForm;
  if (const auto rule = brokenIdRule(*id.bytes())) return rule;
  const auto peer = VaultysId::fromId(*id.bytes());
  if (!peer.ok()) return std::nullopt;
  if (peer->type() != identity::IdType::Machine) return Rule::MachinesOnly;
  if (static_cast<std::int64_t>(peer->version()) != version) return Rule::IdVersion;
  if (peer->didV1() == self.didV1()) return Rule::OwnIdentity;
  return std::nullopt;
}

// Whether a member that is not the sender's to say differs from what the receiver sent.
bool changesForeignField(const Value& message, const Value& before, Receiver receiver) {
  for (const std::string_view name : kOrder) {
    const Value* now = message.find(name);
    const Value* then = before.find(name);
    const bool theirs = receiver == Receiver::InitiatorAfterInit
                            ? name == "pk2" || name == "sign2" || name == "nonce" || name == "metadata"
                            : name == "sign1";
    if (!theirs && (now == nullptr) != (then == nullptr)) return true;
    if (!theirs && now != nullptr && !(*now == *then)) return true;
  }
  if (receiver != Receiver::InitiatorAfterInit) return false;
  const Value* now = message.find("metadata")->find("pk1");
  const Value* then = before.find("metadata")->find("pk1");
  return (now == nullptr) != (then == nullptr) || (now != nullptr && !(*now == *then));
}

}  // namespace

const std::vector<Rule>& allRules() {
  static const std::vector<Rule> rules{Rule::AgentServiceVersion1,
                                       Rule::BinaryPackForm,
                                       Rule::CanonicalForm,
                                       Rule::IdForm,
                                       Rule::IdVersion,
                                       Rule::MachinesOnly,
                                       Rule::MetadataForm,
                                       Rule::NeverInitiateVersion0,
                                       Rule::OnlyOwnFields,
                                       Rule::OwnIdentity,
                                       Rule::ProtocolAndService,
                                       Rule::SmallOrderKey,
                                       Rule::StateInOrder,
                                       Rule::TimestampInteger,
                                       Rule::TokenMembers,
                                       Rule::VersionField};
  return rules;
}

std::string_view key(Rule rule) {
  switch (rule) {
    case Rule::AgentServiceVersion1:
      return "agent-service-version-1";
    case Rule::BinaryPackForm:
      return "binarypack-form";
    case Rule::CanonicalForm:
      return "canonical-form";
    case Rule::IdForm:
      return "id-form";
    case Rule::IdVersion:
      return "id-version";
    case Rule::MachinesOnly:
      return "machines-only";
    case Rule::MetadataForm:
      return "metadata-form";
    case Rule::NeverInitiateVersion0:
      return "never-initiate-version-0";
    case Rule::OnlyOwnFields:
      return "only-own-fields";
    case Rule::OwnIdentity:
      return "own-identity";
    case Rule::ProtocolAndService:
      return "protocol-and-service";
    case Rule::SmallOrderKey:
      return "small-order-key";
    case Rule::StateInOrder:
      return "state-in-order";
    case Rule::TimestampInteger:
      return "timestamp-integer";
    case Rule::TokenMembers:
      return "token-members";
    case Rule::VersionField:
      return "version-field";
  }
  return "";
}

std::optional<Rule> brokenIdRule(BytesView id) {
  const auto parsed = VaultysId::fromId(id);
  if (parsed.ok() || parsed.error().code == Errc::Unsupported) return std::nullopt;
  return parsed.error().code == Errc::InvalidArgument ? Rule::SmallOrderKey : Rule::IdForm;
}

std::optional<Rule> brokenRule(BytesView message, Receiver receiver, const VaultysId& self, BytesView previous) {
  const auto decoded = msgpack::decode(message);
  if (!decoded.ok() || decoded->map() == nullptr) return std::nullopt;
  const Value& map = *decoded;
  const Value* version = map.find("version");
  const auto number = version != nullptr ? version->asInteger() : std::nullopt;
  if (!number || *number < 0 || *number > 1) return Rule::VersionField;
  const Value* timestamp = map.find("timestamp");
  // A whole number written as a float breaks the canonical form, for the original reads it as an integer.
  if (timestamp == nullptr || !timestamp->asInteger()) {
    const double* d = timestamp != nullptr ? std::get_if<double>(&timestamp->data()) : nullptr;
    return d != nullptr && std::trunc(*d) == *d ? Rule::CanonicalForm : Rule::TimestampInteger;
  }
  const bool isInit = map.find("pk2") == nullptr;
  if (const auto rule = metadataRule(map, isInit)) return rule;
  if (!msgpack::isCanonical(message) || !membersInOrder(map)) return Rule::CanonicalForm;

  const std::string_view service = text(map, "service");
  if (text(map, "protocol") != "p2p" || (service != "auth" && service != "register" && service != "agent")) {
    return Rule::ProtocolAndService;
  }
  if (service == "agent" && *number == 0) return Rule::AgentServiceVersion1;
  const bool initiator = receiver == Receiver::InitiatorFresh || receiver == Receiver::InitiatorAfterInit;
  if (const Value* peer = map.find(initiator ? "pk2" : "pk1")) {
    if (const auto rule = peerRule(*peer, *number, self)) return rule;
  }
  if (receiver == Receiver::InitiatorFresh || (receiver == Receiver::ResponderFresh && !isInit))
    return Rule::StateInOrder;
  if (const auto before = msgpack::decode(previous); !previous.empty() && before.ok()) {
    if (changesForeignField(map, *before, receiver)) return Rule::OnlyOwnFields;
  }
  if (initiator && *number == 0) return Rule::NeverInitiateVersion0;
  return std::nullopt;
}

}  // namespace vaultysclaw::conformance
