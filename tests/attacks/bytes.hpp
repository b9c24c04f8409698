// Messages, handshakes and tokens as attackers write them: member by member, in any order, with any content. Nothing
// here refuses anything. Of ours they use the MessagePack encoder, JSON, and the signature primitive with keys they
// hold. Pure.
#pragma once

#include <nlohmann/json.hpp>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.hpp"
#include "base/msgpack.hpp"
#include "base/ports.hpp"
#include "identity/vaultys_id.hpp"

namespace vaultysclaw::attacks {

using Json = nlohmann::json;
using identity::IdVersion;
using identity::VaultysId;
using msgpack::Map;
using msgpack::Value;

// ---- messages ------------------------------------------------------------------------------------------------------

// An envelope with a fresh messageId. `more`: further members of the envelope, which win over the usual ones.
std::string envelope(std::string_view type, const Json& payload, const Json& more = Json::object());
// Not an object: discarded JSON.
Json parsed(std::string_view text);
std::string typeOf(std::string_view text);

// ---- handshakes ----------------------------------------------------------------------------------------------------

Value number(std::int64_t n);
Value texts(const std::vector<std::string>& items);
// Null when there is none.
Value* member(Map& map, std::string_view name);
const Value* member(const Map& map, std::string_view name);
const Value* member(Map&& map, std::string_view name) = delete;
// In place, or at the end.
void put(Map& map, std::string_view name, Value value);
void drop(Map& map, std::string_view name);
// The member as a map that can be changed in place; made when there is none.
Map& submap(Map& map, std::string_view name);
std::string hex(const Value* bytes);

// An INIT as an honest agent would write it, but for `statement` (metadata.pk1; none when empty).
Map initOf(const VaultysId& self, IdVersion version, WallTime now, const Bytes& nonce, const Map& statement);
// The STEP1 of `self`, signed, for an INIT: `nonce` is the second half, `statement` metadata.pk2 (none when empty).
Map step1Of(const VaultysId& self, Map init, const Bytes& nonce, const Map& statement);
Map completeOf(const VaultysId& self, Map step1);
// What a version 0 or 1 party signs. Version 0 is written by hand without looking at any length, as the first
// implementation of the protocol does.
Bytes unsignedOf(const Map& handshake);
void signAs(const VaultysId& self, Map& step1);  // sign2, again

enum class Step : std::uint8_t { None, Init, Step1, Complete };
Step stepOf(const Map& handshake);
// The handshake that an auth_challenge carries; nothing when it is another message.
std::optional<Map> handshakeIn(std::string_view text);
// The same message with another handshake in it.
std::string withHandshake(std::string_view text, const Map& handshake);

// ---- tokens --------------------------------------------------------------------------------------------------------

std::string tokenOf(BytesView body, BytesView signature);
std::string tokenBy(const VaultysId& signer, const Map& body);
// As an honest control plane signs an intent of its own, in the first form of the token.
Map intentBody(const std::string& id, const std::string& action, const std::string& agentDid, WallTime now);
// The members of the feature intent-v2, for `params` as they stand in the message.
void addHashes(Map& intent, std::string_view params, std::optional<std::string> userDid, WallTime expiresAt);
Map delegationBody(const std::string& userDid, const std::string& agentDid, const std::vector<std::string>& granted,
                   WallTime now, std::optional<WallTime> expiresAt);
// An intent message whose `params` are put in as text, so that they may be anything.
std::string intentText(const std::string& id, const std::string& action, std::string_view params,
                       const std::optional<std::string>& signature, const Json& payloadMore = Json::object());

}  // namespace vaultysclaw::attacks
