#include <arpa/inet.h>

#include <algorithm>
#include <array>

#include "text.hpp"
#include "webrtc/sdp.hpp"

namespace vaultysclaw::webrtc {
namespace {

constexpr std::size_t kMaxLineBytes = 1024;
constexpr std::string_view kPrefix = "candidate:";
constexpr std::array<std::string_view, 4> kTypes{"host", "srflx", "prflx", "relay"};

bool isAlphanumeric(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

bool sameIgnoringCase(std::string_view a, std::string_view lower) {
  return std::equal(a.begin(), a.end(), lower.begin(), lower.end(),
                    [](char x, char y) { return (x >= 'A' && x <= 'Z' ? static_cast<char>(x + 32) : x) == y; });
}

// What browsers put in place of a private address: one label and ".local".
bool isHiddenName(std::string_view text) {
  constexpr std::string_view kSuffix = ".local";
  if (!text.ends_with(kSuffix) || text.size() == kSuffix.size() || text.size() > 63 + kSuffix.size()) return false;
  text.remove_suffix(kSuffix.size());
  return std::all_of(text.begin(), text.end(), [](char c) { return isAlphanumeric(c) || c == '-'; });
}

Error malformed(std::string_view what) {
  return {Errc::Malformed, "ICE candidate: " + std::string(what)};
}

}  // namespace

bool isIpAddress(std::string_view text) {
  std::array<char, INET6_ADDRSTRLEN + 1> copy{};
  if (text.empty() || text.size() >= copy.size() || text.find('\0') != std::string_view::npos) return false;
  std::copy(text.begin(), text.end(), copy.begin());
  in6_addr address{};
  return inet_pton(AF_INET, copy.data(), &address) == 1 || inet_pton(AF_INET6, copy.data(), &address) == 1;
}

bool isIceText(std::string_view text, std::size_t atLeast, std::size_t atMost) {
  return text.size() >= atLeast && text.size() <= atMost &&
         std::all_of(text.begin(), text.end(), [](char c) { return isAlphanumeric(c) || c == '+' || c == '/'; });
}

Result<Candidate> parseCandidate(std::string_view line) {
  if (line.size() > kMaxLineBytes) return Error{Errc::TooLarge, "ICE candidate: over 1 KiB"};
  if (!line.starts_with(kPrefix)) return malformed("does not begin with \"candidate:\"");
  if (std::any_of(line.begin(), line.end(), [](char c) { return c < 0x20 || c > 0x7e; }))
    return malformed("characters that are not printable ASCII");
  line.remove_prefix(kPrefix.size());

  Candidate c;
  c.foundation = cut(line, ' ');
  if (!isIceText(c.foundation, 1, 32)) return malformed("the foundation");
  const auto component = parseNumber<std::uint16_t>(cut(line, ' '), 256);
  if (!component || *component == 0) return malformed("the component");
  c.component = *component;

  const std::string_view transport = cut(line, ' ');
  if (sameIgnoringCase(transport, "tcp"))
    c.transport = CandidateTransport::Tcp;
  else if (!sameIgnoringCase(transport, "udp"))
    return malformed("the transport is neither UDP nor TCP");

  const auto priority = parseNumber<std::uint32_t>(cut(line, ' '), 0x7fffffff);
  if (!priority || *priority == 0) return malformed("the priority");
  c.priority = *priority;
  c.address = cut(line, ' ');
  if (!isIpAddress(c.address) && !isHiddenName(c.address)) return malformed("the address");
  const auto port = parseNumber<std::uint16_t>(cut(line, ' '));
  if (!port) return malformed("the port");
  c.port = *port;

  if (cut(line, ' ') != "typ") return malformed("\"typ\" is missing");
  const auto type = std::find(kTypes.begin(), kTypes.end(), cut(line, ' '));
  if (type == kTypes.end()) return malformed("the type");
  c.type = static_cast<CandidateType>(type - kTypes.begin());

  bool relatedPort = false;
  while (!line.empty()) {
    const std::string_view name = cut(line, ' ');
    const std::string_view value = cut(line, ' ');
    if (name.empty() || value.empty()) return malformed("an extension without a value");
    if (name == "raddr") {
      if (!c.relatedAddress.empty() || !(isIpAddress(value) || isHiddenName(value)))
        return malformed("the related address");
      c.relatedAddress = value;
    } else if (name == "rport") {
      const auto number = parseNumber<std::uint16_t>(value);
      if (relatedPort || !number) return malformed("the related port");
      relatedPort = true;
      c.relatedPort = *number;
    } else if (name == "tcptype") {
      if (!c.tcpType.empty() || (value != "active" && value != "passive" && value != "so"))
        return malformed("the TCP type");
      c.tcpType = value;
    }
  }
  if ((c.transport == CandidateTransport::Tcp) == c.tcpType.empty())
    return malformed("TCP candidates, and no others, have a tcptype");
  if (c.relatedAddress.empty() == relatedPort) return malformed("raddr and rport go together");
  return c;
}

std::string writeCandidate(const Candidate& c) {
  std::string out(kPrefix);
  out += c.foundation + ' ' + std::to_string(c.component);
  out += c.transport == CandidateTransport::Udp ? " udp " : " tcp ";
  out += std::to_string(c.priority) + ' ' + c.address + ' ' + std::to_string(c.port) + " typ ";
  out += kTypes[static_cast<std::size_t>(c.type)];
  if (!c.relatedAddress.empty()) out += " raddr " + c.relatedAddress + " rport " + std::to_string(c.relatedPort);
  if (!c.tcpType.empty()) out += " tcptype " + c.tcpType;
  return out;
}

}  // namespace vaultysclaw::webrtc
