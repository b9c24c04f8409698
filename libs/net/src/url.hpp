// URLs of WebSocket servers and proxies, the choice of a proxy, and percent-encoding. Internal; pure but for the
// environment, which comes in as a function.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.hpp"

namespace vaultysclaw::net {

struct Url {
  std::string scheme = {};    // lower case
  std::string userinfo = {};  // as written
  std::string host = {};      // lower case, without brackets
  std::uint16_t port = 0;     // the scheme's when the URL has none
  std::string target = {};    // path and query, begins with '/'

  // "host:port" with brackets around IPv6.
  std::string authority() const;
};

// `what` names the setting in the error. Schemes: ws, wss, http, https.
Result<Url> parseUrl(std::string_view text, std::string_view what);

using Environment = std::function<std::optional<std::string>(const char* name)>;
Environment processEnvironment();

// The proxy for `url`, if any. `configured` is DialOptions::proxyUrl.
Result<std::optional<Url>> chooseProxy(const Url& url, std::string_view configured, const Environment& environment);

// Empty when a '%' is not followed by two hex digits or the result holds a zero byte.
std::optional<std::string> percentDecode(std::string_view text, bool plusIsSpace);

}  // namespace vaultysclaw::net
