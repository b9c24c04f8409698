#include "rest_fakes.hpp"

namespace vaultysclaw::control::testing {
namespace {

class RestSecurity : public RestFixture {
 protected:
  Answer withToken(const std::string& authorization, std::string address = "10.1.1.1",
                   std::string path = "/api/agents") {
    auto r = request("GET", std::move(path));
    r.headers = {{"Host", "localhost"}};
    if (!authorization.empty()) r.headers.emplace_back("Authorization", authorization);
    r.peer.address = std::move(address);
    return send(r);
  }
  int withHost(const std::string& host) {
    auto r = request("GET", "/health");
    r.headers = {{"Host", host}};
    return send(r).status;
  }
};

TEST_F(RestSecurity, EveryApiPathNeedsTheToken) {
  for (const char* path :
       {"/api", "/api/agents", "/api/admin/agents", "/api/nothing", "/api/chat", "/api/audit/verify"}) {
    const Answer a = withToken("", "10.1.1.1", path);
    EXPECT_EQ(a.status, 401) << path;
    EXPECT_EQ(a.header("WWW-Authenticate"), "Bearer realm=\"vaultysclaw\"");
    EXPECT_NE(a.parsed()["error"].get<std::string>().find("api.token"), std::string::npos);
  }
  EXPECT_EQ(withToken("Basic abc").status, 401);
  EXPECT_EQ(withToken("Bearer ").status, 401);
  EXPECT_EQ(withToken("Bearer " + kToken + "x").status, 401);
  EXPECT_EQ(withToken("Bearer " + kToken.substr(1)).status, 401);
  EXPECT_EQ(withToken("bearer " + kToken).status, 200);
}

TEST_F(RestSecurity, AnswersNeverRepeatTheToken) {
  const std::string wrong = "vcp_" + std::string(64, 'b');
  EXPECT_EQ(withToken("Bearer " + wrong).body.find(wrong), std::string::npos);
}

TEST_F(RestSecurity, WrongTokensAreLimitedPerAddressAndTheRightOnePasses) {
  for (int i = 0; i < 10; ++i) EXPECT_EQ(withToken("Bearer wrong").status, 401);
  const Answer a = withToken("Bearer wrong");
  EXPECT_EQ(a.status, 429);
  EXPECT_EQ(a.header("Retry-After"), "60");
  EXPECT_EQ(withToken("Bearer wrong", "10.2.2.2").status, 401);
  EXPECT_EQ(withToken("Bearer " + kToken).status, 200);
  clock.advance(seconds(61));
  EXPECT_EQ(withToken("Bearer wrong").status, 401);
}

TEST_F(RestSecurity, ManyAddressesDoNotGrowTheTable) {
  for (int i = 0; i < 6000; ++i)
    withToken("Bearer wrong", "10.0." + std::to_string(i / 256) + "." + std::to_string(i % 256));
  EXPECT_EQ(withToken("Bearer wrong", "10.9.9.9").status, 429);  // the crowd beyond the table shares one count
  EXPECT_EQ(withToken("Bearer " + kToken, "10.9.9.9").status, 200);
}

TEST_F(RestSecurity, ForeignHostNamesAreRefused) {
  for (const char* good : {"localhost", "LOCALHOST:3000", "127.0.0.1:3000", "10.0.0.5", "[::1]:3000", "[::1]",
                           "[2001:DB8::7]:3000", "[::ffff:127.0.0.1]:3000", "claw.lan:443"}) {
    EXPECT_EQ(withHost(good), 200) << good;
  }
  for (const char* bad :
       {"evil.example", "evil.example:3000", "localhost.evil.example", "127.0.0.1.evil.example", "[evil]", "1.2.3",
        "localhost@evil.example", "[::1].evil.example", "[::1]evil:3000", "[::1", "localhost.", "[fe80::1%25eth0]"}) {
    EXPECT_EQ(withHost(bad), 421) << bad;
  }
  EXPECT_EQ(withHost(""), 400);
  EXPECT_EQ(withHost(":3000"), 400);
  auto r = request("GET", "/health");
  r.headers.clear();
  EXPECT_EQ(send(r).status, 400);
}

TEST_F(RestSecurity, AnswersCarrySecurityHeadersAndNoCors) {
  auto cross = request("OPTIONS", "/api/agents");
  cross.headers.emplace_back("Origin", "https://evil.example");
  for (const Answer& a : {send("GET", "/api/agents"), send("GET", "/none"), withToken(""), send(cross)}) {
    EXPECT_EQ(a.header("X-Content-Type-Options"), "nosniff");
    EXPECT_EQ(a.header("Cache-Control"), "no-store");
    EXPECT_EQ(a.header("Access-Control-Allow-Origin"), "");
  }
  EXPECT_EQ(send(cross).status, 405);
}

TEST_F(RestSecurity, ForeignTextIsMadePrintable) {
  const Answer a = send("POST", kAgentPath + "/run", "{\"action\":\"x\",\"a\\u0007\\u001b[2J\":1}");
  EXPECT_EQ(a.status, 400);
  EXPECT_TRUE(a.parsed()["details"].contains("a??[2J")) << a.body;
}

}  // namespace
}  // namespace vaultysclaw::control::testing
