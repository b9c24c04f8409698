#include "../src/url.hpp"

#include <gtest/gtest.h>

#include <map>

#include "../src/http_text.hpp"

namespace vaultysclaw::net {
namespace {

TEST(Url, Parses) {
  const auto u = parseUrl("WSS://Example.COM:8443/a/b?c=d#f", "url");
  ASSERT_TRUE(u.ok());
  EXPECT_EQ(u->scheme, "wss");
  EXPECT_EQ(u->host, "example.com");
  EXPECT_EQ(u->port, 8443);
  EXPECT_EQ(u->target, "/a/b?c=d");
  EXPECT_EQ(parseUrl("ws://h", "url")->authority(), "h:80");
  EXPECT_EQ(parseUrl("wss://[::1]?q", "url")->authority(), "[::1]:443");
  EXPECT_EQ(parseUrl("wss://[::1]?q", "url")->target, "/?q");
  EXPECT_EQ(parseUrl("http://a:b@h:1", "url")->userinfo, "a:b");
}

TEST(Url, RefusesNonsense) {
  for (const char* bad : {"", "h", "ws://", "ws://:80", "ws://h:", "ws://h:0", "ws://h:65536", "ws://h:8x", "ftp://h",
                          "ws://h/ x", "ws://h/\r\nX: y", "ws://[::1", "ws://[::1]80", "ws://h:1:2", "ws://h\xc3\xa4"})
    EXPECT_FALSE(parseUrl(bad, "url").ok()) << bad;
}

TEST(Proxy, FollowsTheEnvironmentsRules) {
  std::map<std::string, std::string> values;
  const Environment env = [&](const char* n) { return values.count(n) ? std::optional(values[n]) : std::nullopt; };
  const auto pick = [&](const char* url, const char* configured = "") -> std::string {
    const auto p = chooseProxy(*parseUrl(url, "url"), configured, env);
    if (!p) return "error";
    return *p ? (*p)->authority() : "none";
  };
  EXPECT_EQ(pick("ws://cp"), "none");
  values = {{"HTTP_PROXY", "http://plain:3128"}, {"https_proxy", "tls:3129"}, {"ALL_PROXY", "http://all:1"}};
  EXPECT_EQ(pick("ws://cp"), "plain:3128");
  EXPECT_EQ(pick("wss://cp"), "tls:3129");
  EXPECT_EQ(pick("wss://cp", "direct"), "none");
  EXPECT_EQ(pick("ws://127.0.0.1:80"), "none");
  EXPECT_EQ(pick("ws://localhost"), "none");
  EXPECT_EQ(pick("ws://127.0.0.1", "http://mine:9"), "mine:9");
  values.erase("HTTP_PROXY");
  EXPECT_EQ(pick("ws://cp"), "all:1");
  values["all_proxy"] = "socks5://s:1";
  EXPECT_EQ(pick("ws://cp"), "error");

  values = {{"HTTP_PROXY", "http://p:1"},
            {"NO_PROXY", " .corp.example, exact.org ,10.0.0.0/8,[fd00::1]:80,port.net:81"}};
  for (const char* exempt : {"ws://a.corp.example", "ws://corp.example", "ws://exact.org", "ws://sub.exact.org",
                             "ws://10.1.2.3", "ws://[fd00::1]", "ws://port.net:81"})
    EXPECT_EQ(pick(exempt), "none") << exempt;
  for (const char* through : {"ws://notexact.org", "ws://11.1.2.3", "ws://port.net", "ws://xcorp.example"})
    EXPECT_EQ(pick(through), "p:1") << through;
  values["NO_PROXY"] = "*";
  EXPECT_EQ(pick("ws://cp"), "none");
}

TEST(HttpText, ParsesTargets) {
  HttpRequest r;
  ASSERT_TRUE(parseTarget("/a%20b/%C3%A4?x=1+2&y=%26&flag&x=3", r));
  EXPECT_EQ(r.path, "/a b/\xc3\xa4");
  EXPECT_EQ(r.queryValue("x"), "1 2");
  EXPECT_EQ(r.queryValue("y"), "&");
  EXPECT_EQ(r.queryValue("flag"), "");
  EXPECT_FALSE(r.queryValue("z"));
  HttpRequest absolute;
  ASSERT_TRUE(parseTarget("http://h?q=1", absolute));
  EXPECT_EQ(absolute.path, "/");
  for (const char* bad : {"", "a", "*", "/%", "/%4", "/%zz", "/%00", "/?a=%", "h:80", "http:/x"}) {
    HttpRequest x;
    EXPECT_FALSE(parseTarget(bad, x)) << bad;
  }
}

TEST(HttpText, HeadersCannotBeSplit) {
  const std::string head =
      answerHead(200, {{"X\r\nY", "a\r\nSet-Cookie: b"}, {"content-length", "9"}}, {Framing::Length, 3, true, 1});
  EXPECT_EQ(head, "HTTP/1.1 200 OK\r\nX  Y: a  Set-Cookie: b\r\nContent-Length: 3\r\n\r\n");
}

}  // namespace
}  // namespace vaultysclaw::net
