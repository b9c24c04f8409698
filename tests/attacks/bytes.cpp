#include "bytes.hpp"

#include <algorithm>

#include "base/assert.hpp"
#include "identity/hash.hpp"

namespace vaultysclaw::attacks {
namespace {

std::size_t nextMessage = 0;

auto findIn(const Map& map, std::string_view name) {
  return std::find_if(map.begin(), map.end(),
                      [&](const auto& entry) { return entry.first.string() && *entry.first.string() == name; });
}

void putText(Bytes& out, std::string_view text) {
  out.push_back(static_cast<std::uint8_t>(0xa0 | text.size()));  // no look at the length
  append(out, asBytes(text));
}

const std::string& textOf(const Map& map, std::string_view name) {
  const Value* v = member(map, name);
  VC_ASSERT(v && v->string(), "a handshake without that text");
  return *v->string();
}

Bytes unsignedV0(const Map& handshake) {
  Bytes out{0x87};
  for (const char* name : {"protocol", "service"}) {
    putText(out, name);
    putText(out, textOf(handshake, name));
  }
  putText(out, "timestamp");
  out.push_back(0xd3);
  const std::int64_t timestamp = member(handshake, "timestamp")->asInteger().value_or(0);
  for (int shift = 56; shift >= 0; shift -= 8) out.push_back(static_cast<std::uint8_t>(timestamp >> shift));
  for (const char* name : {"pk1", "pk2", "nonce"}) {
    const Bytes& bytes = *member(handshake, name)->bytes();
    putText(out, name);
    out.insert(out.end(),
               {0xc5, static_cast<std::uint8_t>(bytes.size() >> 8), static_cast<std::uint8_t>(bytes.size())});
    append(out, bytes);
  }
  putText(out, "metadata");
  out.push_back(0x80);
  return out;
}

IdVersion versionOf(const Map& handshake) {
  const Value* v = member(handshake, "version");
  return v && v->asInteger() == 0 ? IdVersion::V0 : IdVersion::V1;
}

}  // namespace

std::string envelope(std::string_view type, const Json& payload, const Json& more) {
  Json message{{"messageId", "attack-" + std::to_string(++nextMessage)},
               {"type", type},
               {"payload", payload},
               {"timestamp", "2026-05-28T20:26:40.000Z"}};
  message.update(more);
  return message.dump();
}

Json parsed(std::string_view text) {
  return Json::parse(text, nullptr, false);
}

std::string typeOf(std::string_view text) {
  const Json message = parsed(text);
  return message.is_object() && message.contains("type") ? message["type"].get<std::string>() : "";
}

Value number(std::int64_t n) {
  return Value::integer(n);
}
Value texts(const std::vector<std::string>& items) {
  msgpack::Array out;
  for (const auto& item : items) out.emplace_back(item);
  return out;
}

const Value* member(const Map& map, std::string_view name) {
  const auto it = findIn(map, name);
  return it == map.end() ? nullptr : &it->second;
}
Value* member(Map& map, std::string_view name) {
  return const_cast<Value*>(member(static_cast<const Map&>(map), name));
}
void put(Map& map, std::string_view name, Value value) {
  if (Value* found = member(map, name))
    *found = std::move(value);
  else
    map.emplace_back(Value(name), std::move(value));
}
void drop(Map& map, std::string_view name) {
  if (const auto it = findIn(map, name); it != map.end()) map.erase(it);
}
Map& submap(Map& map, std::string_view name) {
  if (!member(map, name)) put(map, name, Map{});
  const Map* inner = member(map, name)->map();
  VC_ASSERT(inner, "a member that is no map");
  return const_cast<Map&>(*inner);
}
std::string hex(const Value* bytes) {
  return bytes && bytes->bytes() ? hexEncode(*bytes->bytes()) : "";
}

Map initOf(const VaultysId& self, IdVersion version, WallTime now, const Bytes& nonce, const Map& statement) {
  Map metadata;
  if (!statement.empty()) metadata.emplace_back("pk1", statement);
  return {{"version", number(static_cast<int>(version))},
          {"protocol", "p2p"},
          {"service", "auth"},
          {"timestamp", number(toUnixMillis(now))},
          {"pk1", self.toVersion(version).id()},
          {"nonce", nonce},
          {"metadata", std::move(metadata)}};
}

Map step1Of(const VaultysId& self, Map init, const Bytes& nonce, const Map& statement) {
  Bytes both = *member(init, "nonce")->bytes();
  append(both, nonce);
  Map metadata = *member(init, "metadata")->map();
  if (!statement.empty()) metadata.emplace_back("pk2", statement);
  const Value pk1 = *member(init, "pk1");
  const IdVersion version = versionOf(init);
  for (const char* name : {"pk1", "nonce", "metadata"}) drop(init, name);
  init.emplace_back("pk1", pk1);
  init.emplace_back("pk2", self.toVersion(version).id());
  init.emplace_back("nonce", std::move(both));
  init.emplace_back("sign2", Bytes{});
  init.emplace_back("metadata", std::move(metadata));
  signAs(self, init);
  return init;
}

void signAs(const VaultysId& self, Map& step1) {
  put(step1, "sign2", self.sign(unsignedOf(step1)));
}

Map completeOf(const VaultysId& self, Map step1) {
  const Bytes body = unsignedOf(step1);
  Bytes signature = versionOf(step1) == IdVersion::V0 ? self.toVersion(IdVersion::V0).signV0(body) : self.sign(body);
  Map out;
  for (auto& [key, value] : step1) {
    if (*key.string() == "sign2") out.emplace_back("sign1", std::move(signature));
    out.emplace_back(std::move(key), std::move(value));
  }
  return out;
}

Bytes unsignedOf(const Map& handshake) {
  if (versionOf(handshake) == IdVersion::V0) return unsignedV0(handshake);
  Map bare = handshake;
  drop(bare, "sign1");
  drop(bare, "sign2");
  return msgpack::encode(bare);
}

Step stepOf(const Map& handshake) {
  if (member(handshake, "sign1")) return Step::Complete;
  if (member(handshake, "sign2")) return Step::Step1;
  return member(handshake, "pk1") ? Step::Init : Step::None;
}

std::optional<Map> handshakeIn(std::string_view text) {
  const Json message = parsed(text);
  if (!message.is_object() || message.value("type", "") != "auth_challenge") return std::nullopt;
  const auto bytes = base64Decode(message["payload"].value("data", ""));
  if (!bytes || bytes->empty()) return std::nullopt;
  const auto value = msgpack::decode(*bytes);
  return value && value->map() ? std::optional(*value->map()) : std::nullopt;
}

std::string withHandshake(std::string_view text, const Map& handshake) {
  Json message = parsed(text);
  message["payload"]["data"] = base64Encode(msgpack::encode(handshake));
  return message.dump();
}

std::string tokenOf(BytesView body, BytesView signature) {
  Bytes token;
  for (int shift = 0; shift < 32; shift += 8) token.push_back(static_cast<std::uint8_t>(body.size() >> shift));
  append(token, body);
  append(token, signature);
  return base64Encode(token);
}
std::string tokenBy(const VaultysId& signer, const Map& body) {
  const Bytes bytes = msgpack::encode(body);
  return tokenOf(bytes, signer.sign(bytes));
}

Map intentBody(const std::string& id, const std::string& action, const std::string& agentDid, WallTime now) {
  return {{"type", "intent"},
          {"id", id},
          {"action", action},
          {"agentId", agentDid},
          {"timestamp", number(toUnixMillis(now))}};
}
void addHashes(Map& intent, std::string_view params, std::optional<std::string> userDid, WallTime expiresAt) {
  intent.emplace_back("paramsHash", BytesView(identity::sha256(asBytes(params))));
  if (userDid) intent.emplace_back("userDid", *userDid);
  intent.emplace_back("expiresAt", number(toUnixMillis(expiresAt)));
}
Map delegationBody(const std::string& userDid, const std::string& agentDid, const std::vector<std::string>& granted,
                   WallTime now, std::optional<WallTime> expiresAt) {
  Map body{{"type", "delegation"},
           {"userDid", userDid},
           {"agentDid", agentDid},
           {"capabilities", texts(granted)},
           {"issuedAt", number(toUnixMillis(now))}};
  if (expiresAt) body.emplace_back("expiresAt", number(toUnixMillis(*expiresAt)));
  return body;
}

std::string intentText(const std::string& id, const std::string& action, std::string_view params,
                       const std::optional<std::string>& signature, const Json& payloadMore) {
  Json payload{{"id", id}, {"action", action}, {"params", "@params@"}, {"timestamp", "2026-05-28T20:26:40.000Z"}};
  payload.update(payloadMore);
  Json more{{"messageId", id}};
  if (signature) more["signature"] = *signature;
  std::string text = envelope("intent", payload, more);
  const std::string mark = "\"@params@\"";
  return text.replace(text.find(mark), mark.size(), params);
}

}  // namespace vaultysclaw::attacks
