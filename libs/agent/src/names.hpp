// Names that the agent writes into signed metadata and into its state file. Internal.
#pragma once

namespace vaultysclaw::detail {

namespace pk1 {
inline constexpr const char* kName = "name";
inline constexpr const char* kCapabilities = "capabilities";
inline constexpr const char* kFeatures = "features";
}  // namespace pk1

// Key of the state file: base64 of the pinned control plane's id, version 1.
inline constexpr const char* kControlPlaneKey = "control_plane_id";

}  // namespace vaultysclaw::detail
