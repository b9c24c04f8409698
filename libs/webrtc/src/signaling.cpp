#include "webrtc/signaling.hpp"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "base/json_writer.hpp"
#include "base/utf8.hpp"
#include "protocol/codec.hpp"

namespace vaultysclaw::webrtc {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::size_t kMaxIdBytes = 256;
constexpr std::array<std::string_view, 10> kTypes{"OPEN",  "ERROR",  "ID-TAKEN",  "INVALID-KEY", "HEARTBEAT",
                                                  "OFFER", "ANSWER", "CANDIDATE", "LEAVE",       "EXPIRE"};
constexpr std::array<std::string_view, 4> kSerializations{"binary", "binary-utf8", "json", "raw"};

Error malformed(std::string_view what) {
  return {Errc::Malformed, "signaling: " + std::string(what)};
}

// A JSON object that passed the rules for everything foreign: bounded depth, UTF-8, no member twice.
Result<Json> parseObject(std::string_view text) {
  const auto valid = protocol::validateJson(text, kMaxSignalBytes);
  if (!valid) return Error{valid.error().code, "signaling: " + valid.error().message};
  Json json = Json::parse(valid->text, nullptr, false);
  if (!json.is_object()) return malformed("not a JSON object");
  return json;
}

const Json* member(const Json& object, const char* name) {
  const auto at = object.find(name);
  return at != object.end() && !at->is_null() ? &*at : nullptr;
}

// Empty when absent.
Result<std::string> text(const Json& object, const char* name) {
  const Json* value = member(object, name);
  if (value == nullptr) return std::string();
  if (!value->is_string()) return malformed(std::string(name) + " is not a text");
  return value->get<std::string>();
}

Result<std::string> requiredText(const Json& object, const char* name) {
  VC_TRY_ASSIGN(std::string value, text(object, name));
  if (value.empty()) return malformed(std::string(name) + " is missing");
  return value;
}

Result<PeerConnectionId> connection(const Json& payload) {
  VC_TRY_ASSIGN(std::string id, requiredText(payload, "connectionId"));
  if (!isValidWireId(id)) return malformed("connectionId is not 1 to 128 printable characters");
  return PeerConnectionId(std::move(id));
}

// A payload of a data connection.
Result<Json> dataPayload(std::string_view payload) {
  VC_TRY_ASSIGN(Json json, parseObject(payload));
  VC_TRY_ASSIGN(const std::string type, requiredText(json, "type"));
  if (type != "data") return Error{Errc::Unsupported, "signaling: only data connections are supported"};
  return json;
}

Result<SessionDescription> description(const Json& payload, SdpType type) {
  const Json* sdp = member(payload, "sdp");
  if (sdp == nullptr || !sdp->is_object()) return malformed("sdp is not an object");
  VC_TRY_ASSIGN(const std::string kind, requiredText(*sdp, "type"));
  if (kind != (type == SdpType::Offer ? "offer" : "answer")) return malformed("a description of the wrong type");
  VC_TRY_ASSIGN(const std::string lines, requiredText(*sdp, "sdp"));
  return parseSdp(type, lines);
}

void writeDescription(JsonWriter& w, const SessionDescription& d) {
  w.key("sdp").beginObject();
  w.member("sdp", writeSdp(d));
  w.member("type", d.type == SdpType::Offer ? "offer" : "answer");
  w.endObject();
  w.member("type", "data");
}

}  // namespace

std::string_view name(SignalType type) {
  return kTypes[static_cast<std::size_t>(type)];
}
std::string_view name(Serialization serialization) {
  return kSerializations[static_cast<std::size_t>(serialization)];
}

bool isPeerId(std::string_view id) {
  return !id.empty() && id.size() <= kMaxIdBytes && isValidUtf8(id) &&
         std::none_of(id.begin(), id.end(), [](char c) { return (c >= 0 && c < 0x20) || c == 0x7f; });
}

bool isClientPeerId(std::string_view id) {
  if (id.empty() || id.size() > kMaxIdBytes) return false;
  bool separated = true;  // a separator may not come now
  for (const char c : id) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    if (!plain && (separated || (c != ' ' && c != '-' && c != '_'))) return false;
    separated = !plain;
  }
  return !separated;
}

Result<SignalMessage> decodeSignal(std::string_view wire) {
  VC_TRY_ASSIGN(const Json json, parseObject(wire));
  VC_TRY_ASSIGN(const std::string type, requiredText(json, "type"));
  const auto known = std::find(kTypes.begin(), kTypes.end(), type);
  if (known == kTypes.end()) return Error{Errc::Unsupported, "signaling: an unknown type of message"};
  SignalMessage message;
  message.type = static_cast<SignalType>(known - kTypes.begin());
  VC_TRY_ASSIGN(message.src.value, text(json, "src"));
  VC_TRY_ASSIGN(message.dst.value, text(json, "dst"));
  for (const PeerId* id : {&message.src, &message.dst}) {
    if (!id->empty() && !isPeerId(id->value)) return malformed("an id that is too long or has control characters");
  }
  // Written again by the rules of JavaScript's own JSON, as the original's server does.
  if (const Json* payload = member(json, "payload")) message.payload = payload->dump();
  return message;
}

std::string encodeSignal(const SignalMessage& message) {
  JsonWriter w;
  w.beginObject().member("type", name(message.type));
  if (!message.src.empty()) w.member("src", message.src.value);
  if (!message.dst.empty()) w.member("dst", message.dst.value);
  if (!message.payload.empty()) w.key("payload").rawValue(message.payload);
  w.endObject();
  return w.take();
}

Result<PeerConnectionId> connectionOf(std::string_view payload) {
  VC_TRY_ASSIGN(const Json json, parseObject(payload));
  return connection(json);
}

Result<OfferPayload> decodeOffer(std::string_view payload) {
  VC_TRY_ASSIGN(const Json json, dataPayload(payload));
  OfferPayload offer;
  VC_TRY_ASSIGN(offer.connection, connection(json));
  VC_TRY_ASSIGN(offer.description, description(json, SdpType::Offer));
  VC_TRY_ASSIGN(offer.label, text(json, "label"));
  if (offer.label.size() > kMaxLabelBytes) return Error{Errc::TooLarge, "signaling: the label is over 1 KiB"};
  if (offer.label.empty()) offer.label = offer.connection.value;
  if (const Json* metadata = member(json, "metadata")) offer.metadata = metadata->dump();
  if (const Json* reliable = member(json, "reliable")) {
    if (!reliable->is_boolean()) return malformed("reliable is not a boolean");
    offer.reliable = reliable->get<bool>() ? Ordered::Yes : Ordered::No;
  }
  VC_TRY_ASSIGN(const std::string serialization, text(json, "serialization"));
  if (serialization.empty() || serialization == "default") return offer;
  const auto known = std::find(kSerializations.begin(), kSerializations.end(), serialization);
  if (known == kSerializations.end()) return Error{Errc::Unsupported, "signaling: an unknown serialization"};
  offer.serialization = static_cast<Serialization>(known - kSerializations.begin());
  return offer;
}

Result<AnswerPayload> decodeAnswer(std::string_view payload) {
  VC_TRY_ASSIGN(const Json json, dataPayload(payload));
  AnswerPayload answer;
  VC_TRY_ASSIGN(answer.connection, connection(json));
  VC_TRY_ASSIGN(answer.description, description(json, SdpType::Answer));
  return answer;
}

Result<CandidatePayload> decodeCandidate(std::string_view payload) {
  VC_TRY_ASSIGN(const Json json, dataPayload(payload));
  CandidatePayload out;
  VC_TRY_ASSIGN(out.connection, connection(json));
  const Json* candidate = member(json, "candidate");
  if (candidate == nullptr || !candidate->is_object()) return malformed("candidate is not an object");
  VC_TRY_ASSIGN(const std::string line, requiredText(*candidate, "candidate"));
  VC_TRY_ASSIGN(out.candidate, parseCandidate(line));
  VC_TRY_ASSIGN(out.mid, text(*candidate, "sdpMid"));
  if (out.mid.size() > 32) return Error{Errc::TooLarge, "signaling: sdpMid is over 32 bytes"};
  if (const Json* line0 = member(*candidate, "sdpMLineIndex"); line0 != nullptr && *line0 != 0)
    return malformed("sdpMLineIndex is not 0");
  VC_TRY_ASSIGN(out.ufrag, text(*candidate, "usernameFragment"));
  if (!out.ufrag.empty() && !isIceText(out.ufrag, 4, 256)) return malformed("usernameFragment");
  return out;
}

std::string encodePayload(const OfferPayload& offer) {
  JsonWriter w;
  w.beginObject();
  writeDescription(w, offer.description);
  w.member("connectionId", offer.connection.value);
  if (!offer.metadata.empty()) w.key("metadata").rawValue(offer.metadata);
  w.member("label", offer.label);
  w.member("reliable", offer.reliable == Ordered::Yes);
  // PeerJS's own clients write "binary" for both of its names.
  w.member("serialization",
           name(offer.serialization == Serialization::BinaryUtf8 ? Serialization::Binary : offer.serialization));
  w.endObject();
  return w.take();
}

std::string encodePayload(const AnswerPayload& answer) {
  JsonWriter w;
  w.beginObject();
  writeDescription(w, answer.description);
  w.member("connectionId", answer.connection.value);
  w.endObject();
  return w.take();
}

std::string encodePayload(const CandidatePayload& c) {
  JsonWriter w;
  w.beginObject().key("candidate").beginObject();
  w.member("candidate", writeCandidate(c.candidate));
  w.member("sdpMid", c.mid);
  w.member("sdpMLineIndex", 0);
  if (!c.ufrag.empty()) w.member("usernameFragment", c.ufrag);
  w.endObject();
  w.member("type", "data");
  w.member("connectionId", c.connection.value);
  w.endObject();
  return w.take();
}

std::string errorPayload(std::string_view message) {
  JsonWriter w;
  w.beginObject().member("msg", message).endObject();
  return w.take();
}

std::string errorText(std::string_view payload) {
  const auto json = parseObject(payload);
  if (!json) return {};
  const auto message = text(*json, "msg");
  return message ? *message : std::string();
}

}  // namespace vaultysclaw::webrtc
