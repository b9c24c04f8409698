// Session descriptions and ICE candidates for one connection of data channels (the part of RFC 8866, 8829, 8839, 8841
// and 8842 that it takes). Pure; thread-safe. What is read comes from anybody: everything is bounded, and nothing but
// the fields below is passed on.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"

namespace vaultysclaw::webrtc {

enum class CandidateType : std::uint8_t { Host, ServerReflexive, PeerReflexive, Relay };
enum class CandidateTransport : std::uint8_t { Udp, Tcp };

// One address at which a side may be reached. Value type.
struct Candidate {
  std::string foundation = {};
  std::uint16_t component = 1;
  CandidateTransport transport = CandidateTransport::Udp;
  std::uint32_t priority = 0;
  std::string address = {};  // an IP address, or the "<name>.local" by which browsers hide one
  std::uint16_t port = 0;
  CandidateType type = CandidateType::Host;
  std::string relatedAddress = {};  // an IP address; empty: none
  std::uint16_t relatedPort = 0;
  std::string tcpType = {};  // "active", "passive" or "so"; empty for UDP
  bool operator==(const Candidate&) const = default;
  bool hidesAddress() const { return address.ends_with(".local"); }
};

// "candidate:..." as in RFC 8839 section 5.1, at most 1 KiB. Extensions are read over. Malformed; TooLarge.
Result<Candidate> parseCandidate(std::string_view line);
std::string writeCandidate(const Candidate& candidate);

enum class SdpType : std::uint8_t { Offer, Answer };
// Who opens the DTLS connection (RFC 8842).
enum class DtlsSetup : std::uint8_t { ActPass, Active, Passive };
enum class Trickle : bool { No, Yes };

using Fingerprint = std::array<std::uint8_t, 32>;  // SHA-256 of the certificate

inline constexpr std::uint64_t kDefaultMaxMessageSize = 65536;  // when a description does not say (RFC 8841)

struct SessionDescription {
  SdpType type = SdpType::Offer;
  std::uint64_t sessionId = 0;  // below 2^63
  std::string mid = "0";
  std::string iceUfrag = {};
  std::string icePwd = {};
  Trickle trickle = Trickle::Yes;
  DtlsSetup setup = DtlsSetup::ActPass;
  Fingerprint fingerprint = {};
  std::uint16_t sctpPort = 5000;
  std::uint64_t maxMessageSize = kDefaultMaxMessageSize;  // bytes; 0: no limit
  std::vector<Candidate> candidates = {};
  bool operator==(const SessionDescription&) const = default;
};

inline constexpr std::size_t kMaxSdpBytes = std::size_t{32} << 10;
inline constexpr std::size_t kMaxSdpCandidates = 64;

// Malformed; TooLarge; Unsupported for descriptions without data channels, with other media, or without a SHA-256
// fingerprint. Attributes may stand for the session or for the medium; unknown ones are read over.
Result<SessionDescription> parseSdp(SdpType type, std::string_view text);
std::string writeSdp(const SessionDescription& description);

// Letters, digits, '+' and '/': the alphabet of ICE user names, passwords and foundations.
bool isIceText(std::string_view text, std::size_t atLeast, std::size_t atMost);

}  // namespace vaultysclaw::webrtc
