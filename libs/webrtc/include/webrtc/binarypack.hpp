// BinaryPack: what PeerJS puts on a data channel (docs/peerjs-protocol.md section 7). Related to MessagePack, with
// other codes for strings and bytes; its values are those of base/msgpack.hpp. Pure; thread-safe.
#pragma once

#include "base/bytes.hpp"
#include "base/msgpack.hpp"
#include "base/ports.hpp"
#include "base/result.hpp"

namespace vaultysclaw::webrtc::binarypack {

using msgpack::Array;
using msgpack::Map;
using msgpack::Value;

struct DecodeLimits {
  std::size_t maxDepth = 64;
  std::size_t maxItems = 65536;  // values in the whole tree, keys included
};

// Writes what peerjs-js-binarypack 2.1.0 writes, but for numbers that its own decoder reads back wrong: whole numbers
// from -2^53 to below -2^31 and those over 64 bits go as float64, 2^63 as an unsigned integer, and every fraction as
// correct IEEE 754. Numbers with a whole value (3.0, -0.0) go as integers, as in JavaScript. InvalidArgument for NaN
// and the infinities, text that is not UTF-8, keys that are not text, and a key twice in one map; TooLarge for nesting
// that unpack() refuses.
Result<Bytes> pack(const Value& value);

// Exactly one value and nothing after it. Undefined reads as nil, float32 as float64, whole-numbered keys as their
// text. Malformed for what no BinaryPack writer makes: missing or further bytes, unassigned codes, text that is not
// UTF-8, a key twice in one map, other keys. TooLarge over a limit. Memory is bounded by the input's size and by
// maxItems.
Result<Value> unpack(BytesView bytes, const DecodeLimits& limits = {});

// BinaryPack has no dates: JavaScript sends their text. This is the text of `time` in a sender whose time zone is UTC.
Value date(WallTime time);

}  // namespace vaultysclaw::webrtc::binarypack
