#include "identity/handshake_message.hpp"

#include <algorithm>
#include <optional>

#include "base/assert.hpp"
#include "base/msgpack_writer.hpp"

namespace vaultysclaw::identity {
namespace {

constexpr std::size_t kNonceHalf = 16;
constexpr std::size_t kUsualBytes = 1024;

Error malformed(std::string_view member) {
  return Error{Errc::Malformed,
               "a handshake message whose member '" + std::string(member) + "' is missing or of the wrong type"};
}

enum class Signatures : bool { Omitted, Written };

// Six of these are made in one handshake.
Bytes encoded(const HandshakeMessage& m, Signatures signatures) {
  const bool sign = signatures == Signatures::Written;
  const std::pair<std::string_view, const Bytes*> optional[] = {{"pk1", &m.pk1},
                                                                {"pk2", &m.pk2},
                                                                {"nonce", &m.nonce},
                                                                {"sign1", sign ? &m.sign1 : nullptr},
                                                                {"sign2", sign ? &m.sign2 : nullptr}};
  const auto isThere = [](const auto& member) { return member.second != nullptr && !member.second->empty(); };
  Bytes out;
  out.reserve(kUsualBytes);
  msgpack::Writer w(out);
  w.beginMap(5 + static_cast<std::size_t>(std::count_if(std::begin(optional), std::end(optional), isThere)));
  w.text("version");
  w.integer(static_cast<std::uint8_t>(m.version));
  w.text("protocol");
  w.text(m.protocol);
  w.text("service");
  w.text(m.service);
  w.text("timestamp");
  w.integer(m.timestamp);
  for (const auto& member : optional) {
    if (!isThere(member)) continue;
    w.text(member.first);
    w.binary(*member.second);
  }
  w.text("metadata");
  w.map(m.metadata);
  return out;
}

// Version 0 lengths have no form but one byte for text and two for bytes.
void putText(Bytes& out, std::string_view text) {
  VC_ASSERT(text.size() < 32, "a text that version 0 cannot write");
  out.push_back(static_cast<std::uint8_t>(0xa0 | text.size()));
  append(out, asBytes(text));
}
void putBin16(Bytes& out, std::string_view name, const Bytes& bytes) {
  VC_ASSERT(bytes.size() <= 0xffff, "a byte string that version 0 cannot write");
  putText(out, name);
  out.push_back(0xc5);
  out.push_back(static_cast<std::uint8_t>(bytes.size() >> 8));
  out.push_back(static_cast<std::uint8_t>(bytes.size()));
  append(out, bytes);
}

Bytes unsignedV0(const HandshakeMessage& m) {
  Bytes out{0x87};
  putText(out, "protocol");
  putText(out, m.protocol);
  putText(out, "service");
  putText(out, m.service);
  putText(out, "timestamp");
  if (m.timestamp > 0xffffffff) {
    out.push_back(0xd3);  // the one number that is not in its smallest form
    for (int shift = 56; shift >= 0; shift -= 8) out.push_back(static_cast<std::uint8_t>(m.timestamp >> shift));
  } else {
    append(out, msgpack::encode(msgpack::Value::integer(m.timestamp)));
  }
  putBin16(out, "pk1", m.pk1);
  putBin16(out, "pk2", m.pk2);
  putBin16(out, "nonce", m.nonce);
  putText(out, "metadata");
  out.push_back(0x80);
  return out;
}

}  // namespace

Result<HandshakeMessage::Kind> HandshakeMessage::kind() const {
  if (pk2.empty() && sign1.empty() && sign2.empty() && nonce.size() == kNonceHalf) return Kind::Init;
  if (!pk2.empty() && !sign2.empty() && nonce.size() == 2 * kNonceHalf)
    return sign1.empty() ? Kind::Step1 : Kind::Complete;
  return Error{Errc::Malformed, "a handshake message that is neither INIT nor STEP1 nor COMPLETE"};
}

Result<HandshakeMessage> decodeHandshake(BytesView bytes) {
  if (bytes.size() > kMaxHandshakeBytes) {
    return Error{Errc::TooLarge, "a handshake message of " + std::to_string(bytes.size()) + " bytes; " +
                                     std::to_string(kMaxHandshakeBytes) + " are allowed"};
  }
  VC_TRY_ASSIGN(const msgpack::Value map, msgpack::decode(bytes));
  HandshakeMessage m;
  const msgpack::Value* const version = map.find("version");
  const auto number = version != nullptr ? version->asInteger() : std::nullopt;
  if (!number || (*number != 0 && *number != 1)) return malformed("version");
  m.version = static_cast<IdVersion>(*number);
  for (auto [name, text] : {std::pair("protocol", &m.protocol), std::pair("service", &m.service)}) {
    const msgpack::Value* const v = map.find(name);
    if (v == nullptr || v->string() == nullptr || v->string()->empty()) return malformed(name);
    *text = *v->string();
  }
  const msgpack::Value* const timestamp = map.find("timestamp");
  const auto ms = timestamp != nullptr ? timestamp->asInteger() : std::nullopt;
  if (!ms || *ms <= 0) return malformed("timestamp");
  m.timestamp = *ms;
  for (auto [name, field] : {std::pair("pk1", &m.pk1), std::pair("nonce", &m.nonce), std::pair("pk2", &m.pk2),
                             std::pair("sign1", &m.sign1), std::pair("sign2", &m.sign2)}) {
    const msgpack::Value* const v = map.find(name);
    if (v == nullptr) continue;
    if (v->bytes() == nullptr) return malformed(name);
    *field = *v->bytes();
  }
  if (m.pk1.empty()) return malformed("pk1");
  if (m.nonce.empty()) return malformed("nonce");
  const msgpack::Value* const metadata = map.find("metadata");
  if (metadata == nullptr || metadata->map() == nullptr || !msgpack::isPlain(*metadata)) return malformed("metadata");
  for (const char* const name : {"pk1", "pk2"}) {
    const msgpack::Value* const statement = metadata->find(name);
    if (statement != nullptr && statement->map() == nullptr) return malformed(std::string("metadata.") + name);
  }
  m.metadata = *metadata->map();

  const Bytes again = encodeHandshake(m);
  if (!std::equal(again.begin(), again.end(), bytes.begin(), bytes.end())) {
    return Error{Errc::Malformed,
                 "a handshake message that is not in its canonical form: member order, unknown or "
                 "repeated members, or a longer encoding than needed"};
  }
  return m;
}

Bytes encodeHandshake(const HandshakeMessage& m) {
  return encoded(m, Signatures::Written);
}

Bytes unsignedHandshake(const HandshakeMessage& m) {
  return m.version == IdVersion::V0 ? unsignedV0(m) : encoded(m, Signatures::Omitted);
}

}  // namespace vaultysclaw::identity
