// The wire names of messages. Immutable.
#pragma once

#include <optional>
#include <string_view>

#include "protocol/messages.hpp"

namespace vaultysclaw::protocol {

// Position in Payload of the alternative with this wire name; empty for a type that this version does not know.
std::optional<std::size_t> payloadIndex(std::string_view type);

}  // namespace vaultysclaw::protocol
