// The messages of PeerJS signaling (docs/peerjs-protocol.md section 3), to and from their JSON. Pure; thread-safe.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/ids.hpp"
#include "base/result.hpp"
#include "webrtc/dcep.hpp"
#include "webrtc/sdp.hpp"

namespace vaultysclaw::webrtc {

using PeerId = Id<struct PeerIdTag>;                      // how a peer is known to its signaling server
using PeerConnectionId = Id<struct PeerConnectionIdTag>;  // "dc_" and random text, chosen by the offering side

enum class SignalType : std::uint8_t {
  Open,
  Error,
  IdTaken,
  InvalidKey,
  Heartbeat,
  Offer,
  Answer,
  Candidate,
  Leave,
  Expire,
};
std::string_view name(SignalType type);  // as on the wire, "ID-TAKEN" for example

// One signaling message; what is empty is absent. `payload` is JSON text, which a server passes on as it is.
struct SignalMessage {
  SignalType type = SignalType::Heartbeat;
  PeerId src = {};
  PeerId dst = {};
  std::string payload = {};
  bool operator==(const SignalMessage&) const = default;
};

inline constexpr std::size_t kMaxSignalBytes = std::size_t{128} << 10;

// Malformed for what is no JSON object (docs/protocol.md 7.7 has the rules), for mistyped members and for ids that
// isPeerId() refuses; Unsupported for an unknown type, which a receiver ignores; TooLarge over kMaxSignalBytes.
Result<SignalMessage> decodeSignal(std::string_view text);
std::string encodeSignal(const SignalMessage& message);

// What the server of PeerJS takes and our bounds allow: 1 to 256 bytes of UTF-8 without control characters.
bool isPeerId(std::string_view id);
// What its client takes, too: letters and digits, with single spaces, '-' or '_' between them.
bool isClientPeerId(std::string_view id);

enum class Serialization : std::uint8_t { Binary, BinaryUtf8, Json, Raw };
std::string_view name(Serialization serialization);

// The payload of an offer for a data connection.
struct OfferPayload {
  PeerConnectionId connection = {};
  SessionDescription description = {};
  std::string label = {};          // at most kMaxLabelBytes; absent reads as the connection's id
  std::string metadata = {};       // JSON text of the application; empty: none
  Ordered reliable = Ordered::No;  // PeerJS's name for an ordered channel
  Serialization serialization = Serialization::Binary;
};
struct AnswerPayload {
  PeerConnectionId connection = {};
  SessionDescription description = {};
};
struct CandidatePayload {
  PeerConnectionId connection = {};
  Candidate candidate = {};
  std::string mid = {};
  std::string ufrag = {};  // of the sender; empty when it does not say
};

// Unsupported for media connections and unknown serializations; else Malformed or TooLarge.
Result<OfferPayload> decodeOffer(std::string_view payload);
Result<AnswerPayload> decodeAnswer(std::string_view payload);
Result<CandidatePayload> decodeCandidate(std::string_view payload);
std::string encodePayload(const OfferPayload& offer);
std::string encodePayload(const AnswerPayload& answer);
std::string encodePayload(const CandidatePayload& candidate);
std::string errorPayload(std::string_view message);  // {"msg": ...}
// The text of an error payload, for people; empty when there is none.
std::string errorText(std::string_view payload);
// The connection that a payload belongs to, before anything else of it is looked at.
Result<PeerConnectionId> connectionOf(std::string_view payload);

}  // namespace vaultysclaw::webrtc
