// Names that the agent writes into signed metadata. Internal.
#pragma once

namespace vaultysclaw::detail::pk1 {

inline constexpr const char* kName = "name";
inline constexpr const char* kCapabilities = "capabilities";
inline constexpr const char* kFeatures = "features";
inline constexpr const char* kDh = "dh";
inline constexpr const char* kChannel = "channel";

}  // namespace vaultysclaw::detail::pk1
