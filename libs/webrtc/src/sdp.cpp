#include "webrtc/sdp.hpp"

#include <algorithm>
#include <limits>

#include "text.hpp"

namespace vaultysclaw::webrtc {
namespace {

constexpr std::size_t kMaxLines = 1000;
constexpr std::size_t kMaxMidBytes = 32;

Error malformed(std::string_view what) {
  return {Errc::Malformed, "SDP: " + std::string(what)};
}
Error unsupported(std::string_view what) {
  return {Errc::Unsupported, "SDP: " + std::string(what)};
}

// RFC 8866 "token", as far as a mid takes it.
bool isToken(std::string_view text) {
  return !text.empty() && text.size() <= kMaxMidBytes && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view("!#$%&'*+-.^_`{|}~").find(c) != std::string_view::npos;
  });
}

int hexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

// "AB:CD:..." of 32 bytes.
std::optional<Fingerprint> parseFingerprint(std::string_view text) {
  Fingerprint out{};
  if (text.size() != out.size() * 3 - 1) return std::nullopt;
  for (std::size_t i = 0; i < out.size(); ++i) {
    const int high = hexDigit(text[3 * i]), low = hexDigit(text[3 * i + 1]);
    if (high < 0 || low < 0 || (i + 1 < out.size() && text[3 * i + 2] != ':')) return std::nullopt;
    out[i] = static_cast<std::uint8_t>(high << 4 | low);
  }
  return out;
}

// Attributes that may stand for the session or for the medium, where they count more.
struct Attributes {
  std::optional<std::string> ufrag, pwd;
  std::optional<Fingerprint> fingerprint;
  std::optional<DtlsSetup> setup;
  std::optional<Trickle> trickle;
};

class Parser {
 public:
  explicit Parser(SdpType type) { description_.type = type; }

  Result<SessionDescription> parse(std::string_view text) {
    if (text.size() > kMaxSdpBytes) return Error{Errc::TooLarge, "SDP: over 32 KiB"};
    std::size_t number = 0;
    while (!text.empty()) {
      std::string_view line = cut(text, '\n');
      if (line.ends_with('\r')) line.remove_suffix(1);
      if (++number > kMaxLines) return Error{Errc::TooLarge, "SDP: over 1000 lines"};
      if (line.empty() && text.empty()) break;
      if (line.size() < 2 || line[1] != '=' || line[0] < 'a' || line[0] > 'z')
        return malformed("line " + std::to_string(number) + " is not of the form x=value");
      if (std::any_of(line.begin(), line.end(), [](char c) { return c == '\0' || c == '\r'; }))
        return malformed("a control character in line " + std::to_string(number));
      if ((number == 1) != (line[0] == 'v')) return malformed("v=0 is the first line, and once");
      VC_TRY(take(line[0], line.substr(2)));
    }
    return finish();
  }

 private:
  Status take(char type, std::string_view value) {
    switch (type) {
      case 'v':
        return value == "0" ? Status() : Status(malformed("not version 0"));
      case 'o':
        return origin(value);
      case 'm':
        return medium(value);
      case 'a':
        return attribute(value);
      default:
        return {};
    }
  }

  Status origin(std::string_view value) {
    if (hasOrigin_ || hasMedium_) return malformed("o= stands once, before the media");
    hasOrigin_ = true;
    (void)cut(value, ' ');
    const auto id = parseNumber<std::uint64_t>(cut(value, ' '));
    if (!id) return malformed("the session's number");
    description_.sessionId = *id;
    return {};
  }

  Status medium(std::string_view value) {
    if (hasMedium_) return unsupported("more than one medium");
    hasMedium_ = true;
    if (cut(value, ' ') != "application") return unsupported("media other than data channels");
    const auto port = parseNumber<std::uint16_t>(cut(value, ' '));
    if (!port) return malformed("the medium's port");
    if (*port == 0) return unsupported("the other side declines data channels");
    const std::string_view protocol = cut(value, ' ');
    if (protocol != "UDP/DTLS/SCTP" && protocol != "TCP/DTLS/SCTP")
      return unsupported("media other than data channels");
    if (value != "webrtc-datachannel") return unsupported("media other than data channels");
    return {};
  }

  Status attribute(std::string_view value) {
    const std::string_view name = cut(value, ':');
    Attributes& level = hasMedium_ ? medium_ : session_;
    if (name == "ice-ufrag") return once(level.ufrag, isIceText(value, 4, 256), std::string(value), name);
    if (name == "ice-pwd") return once(level.pwd, isIceText(value, 22, 256), std::string(value), name);
    if (name == "fingerprint") return fingerprint(level, value);
    if (name == "setup") return setup(level, value);
    if (name == "ice-options") {
      bool trickle = false;
      while (!value.empty()) trickle |= cut(value, ' ') == "trickle";
      return once(level.trickle, true, trickle ? Trickle::Yes : Trickle::No, name);
    }
    return hasMedium_ ? mediumAttribute(name, value) : Status();
  }

  Status mediumAttribute(std::string_view name, std::string_view value) {
    if (name == "mid") return once(mid_, isToken(value), std::string(value), name);
    if (name == "sctp-port") {
      const auto port = parseNumber<std::uint16_t>(value);
      return once(sctpPort_, port && *port != 0, port.value_or(0), name);
    }
    if (name == "max-message-size") {
      const auto size = parseNumber<std::uint64_t>(value);
      return once(maxMessageSize_, size.has_value(), size.value_or(0), name);
    }
    if (name == "candidate") {
      if (description_.candidates.size() >= kMaxSdpCandidates) return Error{Errc::TooLarge, "SDP: too many candidates"};
      VC_TRY_ASSIGN(Candidate candidate, parseCandidate("candidate:" + std::string(value)));
      description_.candidates.push_back(std::move(candidate));
    }
    return {};
  }

  Status fingerprint(Attributes& level, std::string_view value) {
    std::string hash(cut(value, ' '));
    std::transform(hash.begin(), hash.end(), hash.begin(),
                   [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
    if (hash != "sha-256") return {};  // further fingerprints of the same certificate
    const auto parsed = parseFingerprint(value);
    return once(level.fingerprint, parsed.has_value(), parsed.value_or(Fingerprint{}), "fingerprint");
  }

  Status setup(Attributes& level, std::string_view value) {
    if (value == "actpass") return once(level.setup, true, DtlsSetup::ActPass, "setup");
    if (value == "active") return once(level.setup, true, DtlsSetup::Active, "setup");
    return once(level.setup, value == "passive", DtlsSetup::Passive, "setup");
  }

  template <class T, class V>
  static Status once(std::optional<T>& slot, bool valid, V value, std::string_view name) {
    if (!valid) return malformed("a=" + std::string(name));
    if (slot) return malformed("a=" + std::string(name) + " twice");
    slot = std::move(value);
    return {};
  }

  template <class T>
  static std::optional<T> chosen(std::optional<T>& medium, std::optional<T>& session) {
    return medium ? std::move(medium) : std::move(session);
  }

  Result<SessionDescription> finish() {
    if (!hasOrigin_) return malformed("o= is missing");
    if (!hasMedium_) return unsupported("no data channels");
    auto ufrag = chosen(medium_.ufrag, session_.ufrag);
    auto pwd = chosen(medium_.pwd, session_.pwd);
    if (!ufrag || !pwd) return malformed("a=ice-ufrag or a=ice-pwd is missing");
    const auto print = chosen(medium_.fingerprint, session_.fingerprint);
    if (!print) return unsupported("no SHA-256 fingerprint");
    const auto role = chosen(medium_.setup, session_.setup);
    if (!role) return malformed("a=setup is missing");
    if (description_.type == SdpType::Answer && *role == DtlsSetup::ActPass)
      return malformed("an answer chooses active or passive");
    if (!mid_) return malformed("a=mid is missing");
    if (!sctpPort_) return malformed("a=sctp-port is missing");
    description_.mid = std::move(*mid_);
    description_.iceUfrag = std::move(*ufrag);
    description_.icePwd = std::move(*pwd);
    description_.trickle = chosen(medium_.trickle, session_.trickle).value_or(Trickle::No);
    description_.setup = *role;
    description_.fingerprint = *print;
    description_.sctpPort = *sctpPort_;
    description_.maxMessageSize = maxMessageSize_.value_or(kDefaultMaxMessageSize);
    return std::move(description_);
  }

  SessionDescription description_;
  Attributes session_, medium_;
  std::optional<std::string> mid_;
  std::optional<std::uint16_t> sctpPort_;
  std::optional<std::uint64_t> maxMessageSize_;
  bool hasOrigin_ = false, hasMedium_ = false;
};

std::string fingerprintText(const Fingerprint& fingerprint) {
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  std::string out;
  for (const std::uint8_t byte : fingerprint) {
    if (!out.empty()) out += ':';
    out += kDigits[byte >> 4];
    out += kDigits[byte & 15];
  }
  return out;
}

std::string_view setupText(DtlsSetup setup) {
  switch (setup) {
    case DtlsSetup::ActPass:
      return "actpass";
    case DtlsSetup::Active:
      return "active";
    case DtlsSetup::Passive:
      return "passive";
  }
  return "";
}

}  // namespace

Result<SessionDescription> parseSdp(SdpType type, std::string_view text) {
  return Parser(type).parse(text);
}

std::string writeSdp(const SessionDescription& d) {
  std::string out;
  const auto line = [&](std::string_view text) { out.append(text).append("\r\n"); };
  line("v=0");
  line("o=- " + std::to_string(d.sessionId) + " 2 IN IP4 127.0.0.1");
  line("s=-");
  line("t=0 0");
  line("a=group:BUNDLE " + d.mid);
  line("m=application 9 UDP/DTLS/SCTP webrtc-datachannel");
  line("c=IN IP4 0.0.0.0");
  line("a=ice-ufrag:" + d.iceUfrag);
  line("a=ice-pwd:" + d.icePwd);
  if (d.trickle == Trickle::Yes) line("a=ice-options:trickle");
  line("a=fingerprint:sha-256 " + fingerprintText(d.fingerprint));
  line("a=setup:" + std::string(setupText(d.setup)));
  line("a=mid:" + d.mid);
  line("a=sctp-port:" + std::to_string(d.sctpPort));
  line("a=max-message-size:" + std::to_string(d.maxMessageSize));
  for (const Candidate& candidate : d.candidates) line("a=" + writeCandidate(candidate));
  return out;
}

}  // namespace vaultysclaw::webrtc
