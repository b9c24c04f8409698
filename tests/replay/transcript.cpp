#include "transcript.hpp"

#include <fstream>
#include <set>
#include <stdexcept>

#include "base/msgpack.hpp"

namespace vaultysclaw::replay {
namespace {

using identity::HandshakeMessage;
using identity::IdVersion;
using identity::VaultysId;

template <class T>
T valueOr(Result<T> result, const std::string& what) {
  if (!result) throw std::runtime_error(what + ": " + result.error().message);
  return std::move(result).value();
}

json toJson(const msgpack::Value& value) {
  struct {
    json operator()(msgpack::Nil) const { return nullptr; }
    json operator()(const Bytes& b) const { return hexEncode(b); }
    json operator()(const msgpack::Array& a) const {
      json out = json::array();
      for (const auto& item : a) out.push_back(toJson(item));
      return out;
    }
    json operator()(const msgpack::Map& m) const {
      json out = json::object();
      for (const auto& [key, member] : m) out[key.string() ? *key.string() : "(no text)"] = toJson(member);
      return out;
    }
    json operator()(bool b) const { return b; }
    json operator()(std::uint64_t n) const { return n; }
    json operator()(std::int64_t n) const { return n; }
    json operator()(float n) const { return n; }
    json operator()(double n) const { return n; }
    json operator()(const std::string& s) const { return s; }
  } convert;
  return std::visit(convert, value.data());
}

// {body, signature} of base64(uint32le(length of body) ‖ body ‖ signature).
json openedToken(const std::string& token) {
  const auto bytes = base64Decode(token);
  if (!bytes || bytes->size() < 4) return token;
  const std::size_t length = (*bytes)[0] | (*bytes)[1] << 8 | (*bytes)[2] << 16;
  if ((*bytes)[3] != 0 || bytes->size() < 4 + length) return token;
  const BytesView body = BytesView(*bytes).subspan(4, length);
  const auto map = msgpack::decode(body);
  if (!map) return token;
  return {{"body", toJson(*map)}, {"signature", hexEncode(BytesView(*bytes).subspan(4 + length))}};
}

const std::string* handshakeText(const json& message) {
  if (!message.is_object() || message.value("type", "") != "auth_challenge") return nullptr;
  const auto& payload = message["payload"];
  const auto data = payload.find("data");
  if (data == payload.end() || !data->is_string() || data->get_ref<const std::string&>().empty()) return nullptr;
  return &data->get_ref<const std::string&>();
}

}  // namespace

Transcript loadTranscript(const std::string& name) {
  const std::string path = std::string(VC_SOURCE_DIR) + "/tests/vectors/ws_transcript_" + name + ".json";
  std::ifstream file(path);
  if (!file) throw std::runtime_error("cannot read " + path);
  const json recording = json::parse(file);
  const auto identityOf = [&](const char* side) {
    return valueOr(VaultysId::fromSecretBase64(recording[side]["secret_base64"].get<std::string>()), path);
  };
  Transcript transcript{name,
                        identityOf("server"),
                        identityOf("agent"),
                        fromUnixMillis(recording["started_at_ms"].get<std::int64_t>()),
                        {}};
  std::set<int> ended;  // connections that one side has closed: the other side's end is an echo
  for (const auto& item : recording["messages"]) {
    Entry entry{Entry::Kind::Step, item["seq"], milliseconds(item["ms"].get<std::int64_t>()), item["conn"], {}, {}};
    const std::string direction = item["dir"], event = item.value("event", "");
    if (direction != "event") {
      entry.kind = direction == "agent->server" ? Entry::Kind::ToServer : Entry::Kind::ToAgent;
      entry.message = item["message"];
    } else if (event == "connected") {
      entry.kind = Entry::Kind::Connected;
    } else if (event.rfind("step: ", 0) == 0) {
      entry.step = event.substr(6);
    } else {
      const std::string start = "closed by ";
      if (event.rfind(start, 0) != 0) throw std::runtime_error(path + ": unknown event '" + event + "'");
      const std::string side = event.substr(start.size(), event.find(' ', start.size()) - start.size());
      std::string rest = event.substr(start.size() + side.size() + 1);
      const auto space = rest.find(' ');
      entry.kind = side == "server" ? Entry::Kind::ClosedByServer : Entry::Kind::ClosedByAgent;
      if (ended.insert(entry.connection).second)
        entry.message = {{"type", "close"},
                         {"by", side},
                         {"code", std::stoi(rest.substr(0, space))},
                         {"reason", space == std::string::npos ? "" : rest.substr(space + 1)}};
    }
    transcript.entries.push_back(std::move(entry));
  }
  return transcript;
}

std::vector<Entry> Transcript::stepAfter(int seq) const {
  std::vector<Entry> out;
  for (auto i = static_cast<std::size_t>(seq) + 1; i < entries.size(); ++i) {
    if (entries[i].kind == Entry::Kind::Step) break;
    out.push_back(entries[i]);
  }
  return out;
}

std::string kindOf(const json& message) {
  if (!message.is_object()) return "text";
  if (handshakeText(message)) {
    if (const auto handshake = handshakeIn(message)) {
      switch (handshake->kind().value()) {
        case HandshakeMessage::Kind::Init:
          return "INIT";
        case HandshakeMessage::Kind::Step1:
          return "STEP1";
        case HandshakeMessage::Kind::Complete:
          return "COMPLETE";
      }
    }
  }
  return message.value("type", "");
}

json opened(const json& message) {
  json out = message;
  if (const auto* text = handshakeText(message)) {
    const auto bytes = base64Decode(*text);
    if (const auto map = bytes ? msgpack::decode(*bytes) : Result<msgpack::Value>(bytes.error()))
      out["payload"]["data"] = toJson(*map);
  }
  if (out.is_object() && out.contains("signature")) out["signature"] = openedToken(out["signature"]);
  return out;
}

Result<HandshakeMessage> handshakeIn(const json& message) {
  const auto* text = handshakeText(message);
  if (!text) return Error{Errc::Malformed, "not a handshake"};
  VC_TRY_ASSIGN(const auto bytes, base64Decode(*text));
  VC_TRY_ASSIGN(auto handshake, identity::decodeHandshake(bytes));
  VC_TRY(handshake.kind());
  return handshake;
}

std::string textOf(const json& message) {
  return message.is_string() ? message.get<std::string>() : message.dump();
}

bool initiatorSigned(const HandshakeMessage& complete) {
  const auto initiator = valueOr(VaultysId::fromId(complete.pk1), "pk1");
  const Bytes said = identity::unsignedHandshake(complete);
  return complete.version == IdVersion::V0 ? initiator.verifyV0(said, complete.sign1)
                                           : initiator.verify(said, complete.sign1);
}

bool responderSigned(const HandshakeMessage& message) {
  return valueOr(VaultysId::fromId(message.pk2), "pk2").verify(identity::unsignedHandshake(message), message.sign2);
}

HandshakeMessage completeFor(const VaultysId& agent, HandshakeMessage step1) {
  const VaultysId self = agent.toVersion(step1.version);
  const Bytes said = identity::unsignedHandshake(step1);
  step1.sign1 = step1.version == IdVersion::V0 ? self.signV0(said) : self.sign(said);
  return step1;
}

HandshakeMessage step1For(const VaultysId& server, const HandshakeMessage& init, const HandshakeMessage& recorded) {
  HandshakeMessage step1 = init;
  step1.pk2 = server.toVersion(init.version).id();
  step1.nonce.insert(step1.nonce.end(), recorded.nonce.begin() + 16, recorded.nonce.end());
  for (const auto& [key, member] : recorded.metadata) {
    if (key.string() && *key.string() == "pk2") step1.metadata.emplace_back(key, member);
  }
  step1.sign2 = server.sign(identity::unsignedHandshake(step1));
  return step1;
}

}  // namespace vaultysclaw::replay
