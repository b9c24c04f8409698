// Messages to and from text. Pure; thread-safe.
#pragma once

#include <string>
#include <string_view>

#include "base/result.hpp"
#include "protocol/messages.hpp"

namespace vaultysclaw::protocol {

inline constexpr std::size_t kMaxMessageBytes = std::size_t{16} << 20;
inline constexpr std::size_t kMaxUnapprovedMessageBytes = std::size_t{64} << 10;
inline constexpr std::size_t kMaxDepth = 64;
// For free-standing values: one that passes validateJson() fits at every place of a message that takes a RawJson.
inline constexpr std::size_t kMaxValueDepth = kMaxDepth - 4;
// Items in one list of a message, other than capabilities and domains, which have limits of their own.
inline constexpr std::size_t kMaxListItems = 10'000;
inline constexpr std::size_t kMaxDomains = 1024;
inline constexpr std::size_t kMaxDomainBytes = 253;

// Reads one message. Malformed for whatever docs/protocol.md 7.7 refuses (BOM, invalid UTF-8, bytes after the value, a
// member twice in one object, depth over 64, lone surrogates in RawJson values), for a missing or mistyped member, and
// for ids, names and lists over their limits; the message says which member. TooLarge over `maxBytes`.
Result<Message> decode(std::string_view text, std::size_t maxBytes = kMaxMessageBytes);

// Writes one message; members in the order of docs/protocol.md, absent ones left out.
std::string encode(const Message& message);

// The wire name of the payload's type, for example "auth_challenge".
std::string_view typeName(const Payload& payload);

// Validates free-standing JSON by the same rules (depth: kMaxValueDepth), for bodies of HTTP requests and handler
// results. White space around the value is cut off.
Result<RawJson> validateJson(std::string_view text, std::size_t maxBytes = kMaxMessageBytes);

// Limits of 7.7 on names (1 to 128 code points, no control characters) and capability lists (64 names of 64 printable
// ASCII characters); used by the decoder and by the REST API. InvalidArgument.
Status checkName(std::string_view name);
Status checkCapabilities(const std::vector<std::string>& capabilities);

}  // namespace vaultysclaw::protocol
