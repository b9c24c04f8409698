#include "agent/trust.hpp"

namespace vaultysclaw::detail {
namespace {

// Keys of the state file. The first two exclude each other.
constexpr const char* kIdKey = "control_plane_id";    // base64 of the id, version 1
constexpr const char* kDidKey = "control_plane_did";  // of one whose id is not known yet
constexpr const char* kFeaturesKey = "control_plane_features";

}  // namespace

Result<std::optional<Pin>> readPin(store::AgentState& state) {
  Pin pin;
  VC_TRY_ASSIGN(const auto did, state.get(kDidKey));
  VC_TRY_ASSIGN(const auto id, state.get(kIdKey));
  if (id) {
    VC_TRY_ASSIGN(const Bytes bytes, base64Decode(*id));
    VC_TRY_ASSIGN(const identity::VaultysId known, identity::VaultysId::fromId(bytes));
    pin.id = known.toVersion(identity::IdVersion::V1);
    pin.did = pin.id->did().value;
  } else if (did) {
    if (!isValidDid(*did)) return Error{Errc::Malformed, "a stored DID that is none"};
    pin.did = *did;
  } else {
    return std::optional<Pin>();
  }
  VC_TRY_ASSIGN(const auto features, state.get(kFeaturesKey));
  if (features) {
    VC_TRY_ASSIGN(pin.features, identity::Features::fromText(*features));
  }
  return std::optional(std::move(pin));
}

Status storePin(store::AgentState& state, const identity::VaultysId& controlPlane, const identity::Features& features) {
  return state.putAll({{kIdKey, base64Encode(controlPlane.toVersion(identity::IdVersion::V1).id())},
                       {kDidKey, std::nullopt},
                       {kFeaturesKey, features.text()}});
}

Status trustOnly(store::AgentState& state, const Did& controlPlane) {
  return state.putAll({{kIdKey, std::nullopt}, {kDidKey, controlPlane.value}, {kFeaturesKey, std::nullopt}});
}

Status trustNext(store::AgentState& state) {
  return state.putAll({{kIdKey, std::nullopt}, {kDidKey, std::nullopt}, {kFeaturesKey, std::nullopt}});
}

}  // namespace vaultysclaw::detail
