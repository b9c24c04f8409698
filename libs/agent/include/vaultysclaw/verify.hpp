// Verification of control-plane signatures, for programs that handle intent messages themselves.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "vaultysclaw/export.hpp"

namespace vaultysclaw {

// Whether the text is an `intent` message whose signature is by the control plane with this id (the bytes of its
// VaultysId), whose token names the envelope's messageId and agentId, and whose signed action is the payload's; when
// the token covers params, user and expiry, those too. Says nothing about replays: the runtime keeps track of those.
// When false, `why` (if given) gets a sentence. Pure; any thread.
VC_API bool verifyIntentMessage(std::string_view message, std::span<const std::uint8_t> controlPlaneId,
                                std::string* why = nullptr);

}  // namespace vaultysclaw
