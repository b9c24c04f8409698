#include "url.hpp"

#include <algorithm>
#include <boost/asio/ip/address.hpp>
#include <boost/asio/ip/network_v4.hpp>
#include <charconv>
#include <cstdlib>

#include "base/log.hpp"
#include "net/io_loop.hpp"

namespace vaultysclaw::net {

namespace {

namespace ip = boost::asio::ip;

char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

std::string lowered(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(), lower);
  return out;
}

std::optional<std::uint16_t> parsePort(std::string_view text) {
  std::uint16_t port = 0;
  const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), port);
  if (ec != std::errc{} || end != text.data() + text.size() || port == 0) return std::nullopt;
  return port;
}

std::optional<std::uint16_t> defaultPort(std::string_view scheme) {
  if (scheme == "ws" || scheme == "http") return 80;
  if (scheme == "wss" || scheme == "https") return 443;
  return std::nullopt;
}

// Splits "host:port", "[v6]:port" or a bare host; the port part stays empty when there is none.
bool splitHostPort(std::string_view text, std::string& host, std::string_view& port) {
  if (text.starts_with('[')) {
    const auto end = text.find(']');
    if (end == std::string_view::npos) return false;
    host = lowered(text.substr(1, end - 1));
    text.remove_prefix(end + 1);
    if (!text.empty() && !text.starts_with(':')) return false;
    port = text.empty() ? text : text.substr(1);
    return text != ":";
  }
  const auto colon = text.find(':');
  host = lowered(text.substr(0, colon));
  if (colon == std::string_view::npos) return true;
  port = text.substr(colon + 1);
  return !port.empty();
}

bool isInNetwork(std::string_view network, std::string_view host) {
  boost::system::error_code ec;
  const auto net = ip::make_network_v4(network, ec);
  if (ec) return false;
  const auto address = ip::make_address_v4(host, ec);
  return !ec && ip::network_v4(address, net.prefix_length()).canonical() == net.canonical();
}

// One entry of NO_PROXY: "*", a host, a domain with or without a leading dot, an address, an IPv4 network; each but
// the network may carry a port.
bool exempts(std::string_view entry, const Url& url) {
  if (entry == "*") return true;
  if (entry.find('/') != std::string_view::npos) return isInNetwork(entry, url.host);
  std::string host;
  std::string_view port;
  if (std::count(entry.begin(), entry.end(), ':') > 1 && !entry.starts_with('['))
    host = lowered(entry);  // bare IPv6
  else if (!splitHostPort(entry, host, port))
    return false;
  if (!port.empty() && parsePort(port) != url.port) return false;
  if (host.starts_with("*.")) host.erase(0, 1);
  if (host.empty()) return false;
  if (host.starts_with('.')) return url.host.ends_with(host) || url.host == std::string_view(host).substr(1);
  return url.host == host || url.host.ends_with("." + host);
}

bool isExempt(const Url& url, std::string_view list) {
  while (!list.empty()) {
    const auto comma = list.find(',');
    std::string_view entry = list.substr(0, comma);
    list.remove_prefix(comma == std::string_view::npos ? list.size() : comma + 1);
    while (entry.starts_with(' ')) entry.remove_prefix(1);
    while (entry.ends_with(' ')) entry.remove_suffix(1);
    if (!entry.empty() && exempts(entry, url)) return true;
  }
  return false;
}

Result<Url> parseProxy(std::string_view text, const std::string& what) {
  const std::string withScheme =
      text.find("://") == std::string_view::npos ? "http://" + std::string(text) : std::string(text);
  if (!lowered(withScheme).starts_with("http://"))
    return Error{Errc::InvalidArgument,
                 what +
                     " names a proxy that is not http://: only HTTP proxies (CONNECT) work; give "
                     "one, or \"direct\" as the proxy to use none"};
  return parseUrl(withScheme, what);
}

}  // namespace

std::string Url::authority() const {
  const bool v6 = host.find(':') != std::string::npos;
  return (v6 ? "[" + host + "]" : host) + ":" + std::to_string(port);
}

Result<Url> parseUrl(std::string_view text, std::string_view what) {
  const auto bad = [&](const std::string& why) { return Error{Errc::InvalidArgument, std::string(what) + " " + why}; };
  for (const char c : text) {
    if (c <= ' ' || c > '~')
      return bad("holds a space, a control character or a non-ASCII character; percent-encode it");
  }
  const auto schemeEnd = text.find("://");
  if (schemeEnd == std::string_view::npos) return bad("has no scheme; write for example ws://host:8080/path");
  Url url;
  url.scheme = lowered(text.substr(0, schemeEnd));
  const auto port = defaultPort(url.scheme);
  if (!port) return bad("has the scheme \"" + printable(url.scheme, 20) + "\", which is none of ws, wss, http, https");
  url.port = *port;
  text.remove_prefix(schemeEnd + 3);

  const auto authorityEnd = text.find_first_of("/?#");
  std::string_view authority = text.substr(0, authorityEnd);
  std::string_view rest = authorityEnd == std::string_view::npos ? std::string_view() : text.substr(authorityEnd);
  rest = rest.substr(0, rest.find('#'));
  url.target = rest.starts_with('/') ? std::string(rest) : "/" + std::string(rest);

  if (const auto at = authority.rfind('@'); at != std::string_view::npos) {
    url.userinfo = authority.substr(0, at);
    authority.remove_prefix(at + 1);
  }
  std::string_view portText;
  if (!splitHostPort(authority, url.host, portText) || url.host.empty()) return bad("has no valid host");
  if (!portText.empty()) {
    const auto given = parsePort(portText);
    if (!given) return bad("has a port that is not a number from 1 to 65535");
    url.port = *given;
  }
  return url;
}

Environment processEnvironment() {
  return [](const char* name) -> std::optional<std::string> {
    const char* value = std::getenv(name);
    if (value == nullptr || *value == '\0') return std::nullopt;
    return value;
  };
}

Result<std::optional<Url>> chooseProxy(const Url& url, std::string_view configured, const Environment& environment) {
  if (configured == "direct") return std::optional<Url>();
  if (!configured.empty()) {
    VC_TRY_ASSIGN(Url proxy, parseProxy(configured, "the proxy URL"));
    return std::optional<Url>(std::move(proxy));
  }
  if (isLoopbackAddress(url.host) || url.host.ends_with(".localhost")) return std::optional<Url>();

  const auto lookUp = [&](const char* small, const char* capital) {
    auto value = environment(small);
    return value ? std::make_pair(std::move(value), small) : std::make_pair(environment(capital), capital);
  };
  auto [value, name] = url.scheme == "wss" || url.scheme == "https" ? lookUp("https_proxy", "HTTPS_PROXY")
                                                                    : lookUp("http_proxy", "HTTP_PROXY");
  if (!value) std::tie(value, name) = lookUp("all_proxy", "ALL_PROXY");
  if (!value) return std::optional<Url>();
  if (const auto exempt = lookUp("no_proxy", "NO_PROXY").first; exempt && isExempt(url, *exempt))
    return std::optional<Url>();
  VC_TRY_ASSIGN(Url proxy, parseProxy(*value, std::string("the environment variable ") + name));
  return std::optional<Url>(std::move(proxy));
}

std::optional<std::string> percentDecode(std::string_view text, bool plusIsSpace) {
  const auto digit = [](char c) {
    if (c >= '0' && c <= '9') return c - '0';
    const char l = lower(c);
    return l >= 'a' && l <= 'f' ? l - 'a' + 10 : -1;
  };
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    char c = text[i];
    if (c == '%') {
      if (text.size() - i < 3) return std::nullopt;
      const int high = digit(text[i + 1]);
      const int low = digit(text[i + 2]);
      if (high < 0 || low < 0) return std::nullopt;
      c = static_cast<char>(high * 16 + low);
      i += 2;
    } else if (c == '+' && plusIsSpace) {
      c = ' ';
    }
    if (c == '\0') return std::nullopt;
    out.push_back(c);
  }
  return out;
}

}  // namespace vaultysclaw::net
