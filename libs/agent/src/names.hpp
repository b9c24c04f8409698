// Names that the agent writes into signed metadata and into its state file. Internal.
#pragma once

namespace vaultysclaw::detail {

namespace pk1 {
inline constexpr const char* kName = "name";
inline constexpr const char* kCapabilities = "capabilities";
inline constexpr const char* kFeatures = "features";
}  // namespace pk1

// The one feature listed: this agent understands `cancel` (docs/protocol.md 7.2 and 7.8).
inline constexpr const char* kControlFeature = "control-v2";

// Key of the state file: base64 of the pinned control plane's id, version 1.
inline constexpr const char* kControlPlaneKey = "control_plane_id";

}  // namespace vaultysclaw::detail
