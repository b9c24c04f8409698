#include "config.hpp"

#include <algorithm>
#include <charconv>
#include <optional>

#include "agent/trust.hpp"
#include "base/ids.hpp"
#include "base/log.hpp"
#include "base/ports.hpp"
#include "net/io_loop.hpp"
#include "protocol/codec.hpp"
#include "vaultysclaw/error.hpp"

namespace vaultysclaw::detail {
namespace {

struct Url {
  std::string scheme;
  std::string host;  // with the brackets of an IPv6 address
  std::optional<std::uint16_t> port;
  std::string path;  // and query
};

Error badUrl(std::string_view option, std::string_view url, std::string_view why) {
  return {Errc::InvalidArgument, std::string(option) + " is '" + printable(url) + "': " + std::string(why)};
}

Result<Url> parseUrl(std::string_view option, std::string_view text, std::string_view plain, std::string_view tls) {
  const std::string expected =
      "it must look like " + std::string(plain) + "://host[:port][/path] or " + std::string(tls) + "://...";
  Url url;
  const auto colon = text.find("://");
  if (colon == std::string_view::npos) return badUrl(option, text, expected);
  for (const char c : text.substr(0, colon)) url.scheme += static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
  if (url.scheme != plain && url.scheme != tls) return badUrl(option, text, expected);
  std::string_view rest = text.substr(colon + 3);
  const bool printableOnly = std::all_of(rest.begin(), rest.end(), [](char c) { return c > 0x20 && c < 0x7f; });
  if (!printableOnly || rest.find('#') != std::string_view::npos) return badUrl(option, text, expected);
  const auto slash = std::min(rest.find('/'), rest.find('?'));
  std::string_view authority = rest.substr(0, slash);
  if (slash != std::string_view::npos) url.path = rest.substr(slash);
  if (authority.find('@') != std::string_view::npos)
    return badUrl(option, "(hidden)", "it must not hold a user name or password");
  const auto bracket = authority.rfind(']');
  const auto portColon = authority.find(':', bracket == std::string_view::npos ? 0 : bracket);
  url.host = authority.substr(0, portColon);
  if (url.host.empty()) return badUrl(option, text, expected);
  if (portColon != std::string_view::npos) {
    const std::string_view digits = authority.substr(portColon + 1);
    std::uint16_t port = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), port);
    if (error != std::errc() || end != digits.data() + digits.size() || port == 0)
      return badUrl(option, text, "the port must be a number from 1 to 65535");
    url.port = port;
  }
  return url;
}

// Bounds under which no sum of a time and a duration can overflow.
Status checkDuration(std::string_view option, milliseconds value) {
  constexpr milliseconds kLongest = std::chrono::hours(24 * 365);
  if (value >= milliseconds(1) && value <= kLongest) return {};
  return Error{Errc::InvalidArgument, std::string(option) + " must be from 1 ms to 365 days"};
}

bool isLoopbackHost(std::string_view host) {
  if (host == "localhost") return true;
  if (host.size() > 2 && host.front() == '[') host = host.substr(1, host.size() - 2);
  return net::isLoopbackAddress(host);
}

}  // namespace

Result<std::string> deriveWebSocketUrl(const AgentRuntimeConfig& config) {
  if (!config.controlPlaneWsUrl.empty()) {
    VC_TRY(parseUrl("controlPlaneWsUrl", config.controlPlaneWsUrl, "ws", "wss"));
    return config.controlPlaneWsUrl;
  }
  VC_TRY_ASSIGN(const Url url, parseUrl("controlPlaneUrl", config.controlPlaneUrl, "http", "https"));
  const std::string scheme = url.scheme == "https" ? "wss://" : "ws://";
  if (url.port == 3000) return scheme + url.host + ":8080";
  return scheme + url.host + (url.port ? ":" + std::to_string(*url.port) : "") + "/ws";
}

Status checkConfig(const AgentRuntimeConfig& config) {
  if (Status name = protocol::checkName(config.name); config.name.empty() || !name)
    return Error{Errc::InvalidArgument, "name must have 1 to 128 characters; it is shown in the dashboard"};
  if (config.vaultysIdPath.empty())
    return Error{Errc::InvalidArgument, "vaultysIdPath is empty: name the file that keeps this agent's identity"};
  if (Status capabilities = protocol::checkCapabilities(config.requestedCapabilities); !capabilities)
    return Error{Errc::InvalidArgument, "requestedCapabilities: " + capabilities.error().message};
  if (Status actions = protocol::checkCapabilities(config.repeatableActions); !actions)
    return Error{Errc::InvalidArgument, "repeatableActions: " + actions.error().message};
  const std::pair<const char*, const std::string*> peerjs[] = {{"peerjsControlPlaneId", &config.peerjsControlPlaneId},
                                                               {"peerjsServerUrl", &config.peerjsServerUrl},
                                                               {"peerjsServer", &config.peerjsServer}};
  for (const auto& [option, value] : peerjs) {
    if (value->empty()) continue;
    return Error{Errc::Unsupported,
                 std::string(option) +
                     " is set, but WebRTC is not available yet in this version: leave it empty and give "
                     "controlPlaneWsUrl"};
  }
  if (!config.controlPlaneDid.empty() && !isValidDid(config.controlPlaneDid))
    return Error{Errc::InvalidArgument, "controlPlaneDid is '" + printable(config.controlPlaneDid) +
                                            "': it must be did:vaultys: and 40 lower-case hex digits"};
  if (config.handlerThreads == 0 || config.handlerThreads > 1024)
    return Error{Errc::InvalidArgument, "handlerThreads must be from 1 to 1024"};
  if (config.maxQueuedCalls == 0 || config.maxQueuedCalls > 65536)
    return Error{Errc::InvalidArgument, "maxQueuedCalls must be from 1 to 65536"};
  VC_TRY(checkDuration("defaultDeadline", config.defaultDeadline));
  VC_TRY(checkDuration("knowledgeDeadline", config.knowledgeDeadline));
  VC_TRY(checkDuration("stopGrace", config.stopGrace));
  VC_TRY(checkDuration("heartbeatInterval", config.heartbeatInterval));
  VC_TRY(checkDuration("backoff.initial", config.backoff.initial));
  VC_TRY(checkDuration("backoff.maximum", config.backoff.maximum));
  if (config.backoff.maximum < config.backoff.initial)
    return Error{Errc::InvalidArgument, "backoff.maximum must not be shorter than backoff.initial"};
  if (!(config.backoff.jitter >= 0.0 && config.backoff.jitter <= 1.0))
    return Error{Errc::InvalidArgument, "backoff.jitter must be from 0 to 1"};
  if (config.controlPlaneUrl.empty())
    return Error{Errc::InvalidArgument,
                 "controlPlaneUrl is empty: give the URL of the control plane, for example http://localhost:3000"};
  VC_TRY(parseUrl("controlPlaneUrl", config.controlPlaneUrl, "http", "https"));
  return {};
}

Status checkProtection(const AgentRuntimeConfig& config, const std::string& wsUrl, bool pinned) {
  VC_TRY_ASSIGN(const Url url, parseUrl("controlPlaneWsUrl", wsUrl, "ws", "wss"));
  if (url.scheme != "ws" || isLoopbackHost(url.host) || config.allowPlaintext) return {};
  if (pinned || !config.controlPlaneDid.empty()) return {};
  return Error{Errc::InvalidArgument,
               "'" + wsUrl +
                   "' is not encrypted and leads to another machine, and this agent does not know its control plane "
                   "yet: whoever answers could be anybody. Set controlPlaneDid to the DID that the control plane shows "
                   "when it starts, use wss://, or set allowPlaintext for a network you trust"};
}

std::string statePath(const AgentRuntimeConfig& config) {
  return config.statePath.empty() ? defaultStatePath(config.vaultysIdPath) : config.statePath;
}

}  // namespace vaultysclaw::detail

namespace vaultysclaw {

std::string webSocketUrl(const AgentRuntimeConfig& config) {
  auto url = detail::deriveWebSocketUrl(config);
  if (!url) throw AgentError(std::string(name(url.error().code)), url.error().message);
  return *url;
}

}  // namespace vaultysclaw
