// JSON text to and from the values of PeerJS's serializations. Internal; pure.
#pragma once

#include "base/msgpack.hpp"
#include "base/result.hpp"

namespace vaultysclaw::webrtc {

// InvalidArgument for bytes, NaN, infinities, text that is not UTF-8 and keys that are not text: JSON has no word for
// them.
Result<std::string> toJson(const msgpack::Value& value);
// Malformed; TooLarge.
Result<msgpack::Value> fromJson(std::string_view text, std::size_t maxBytes);

}  // namespace vaultysclaw::webrtc
