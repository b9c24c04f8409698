#include "../src/rest/json_split.hpp"
#include "rest_fakes.hpp"

namespace vaultysclaw::control::testing {
namespace {

class RestRoutes : public RestFixture {};

TEST_F(RestRoutes, HealthNeedsNoTokenAndSaysWhoItIs) {
  auto r = request("GET", "/health");
  r.headers = {{"Host", "localhost"}};
  clock.advance(seconds(61));
  const Answer a = send(r);
  EXPECT_EQ(a.status, 200);
  EXPECT_EQ(a.parsed()["status"], "ok");
  EXPECT_EQ(a.parsed()["version"], "9.9");
  EXPECT_EQ(a.parsed()["did"], plane.self().didV1().value);
  EXPECT_EQ(a.parsed()["uptime"], 61);
  r.path = "/api/public/health";
  EXPECT_EQ(send(r).status, 200);
}

TEST_F(RestRoutes, MetricsAreWellFormedAndNameNobody) {
  plane.counts.intentsSent = 42;
  plane.counts.connectedAgents = 3;
  const Answer a = send("GET", "/metrics");
  EXPECT_EQ(a.status, 200);
  EXPECT_EQ(a.header("Content-Type"), "text/plain; version=0.0.4; charset=utf-8");
  EXPECT_NE(a.body.find("\nvaultysclaw_intents_sent_total 42\n"), std::string::npos);
  EXPECT_NE(a.body.find("# TYPE vaultysclaw_connected_agents gauge\nvaultysclaw_connected_agents 3\n"),
            std::string::npos);
  EXPECT_EQ(a.body.find("did:"), std::string::npos);
}

TEST_F(RestRoutes, IndexListsEveryRoute) {
  const Answer a = send("GET", "/api");
  EXPECT_EQ(a.status, 200);
  EXPECT_GE(a.parsed()["routes"].size(), 18U);
}

TEST_F(RestRoutes, ListsAgentsWithPagination) {
  AgentView second = plane.known.front();
  second.row.did = Did("did:vaultys:" + std::string(40, '2'));
  second.row.name = "Batch";
  second.status = AgentStatus::Offline;
  plane.known.push_back(second);

  json all = send("GET", "/api/agents").parsed();
  EXPECT_EQ(all["items"].size(), 2U);
  EXPECT_EQ(all["pagination"], (json{{"total", 2}, {"limit", 50}, {"offset", 0}, {"hasMore", false}}));
  EXPECT_EQ(all["items"][0]["capabilities"], (json{"echo", "read"}));
  EXPECT_EQ(all["items"][0]["resourceLimits"]["maxTokensPerDay"], 100);

  json first = send("GET", "/api/agents?limit=1").parsed();
  EXPECT_EQ(first["items"].size(), 1U);
  EXPECT_EQ(first["pagination"]["hasMore"], true);
  EXPECT_EQ(send("GET", "/api/agents?offset=9").parsed()["items"].size(), 0U);
  EXPECT_EQ(send("GET", "/api/agents?status=offline").parsed()["items"][0]["name"], "Batch");
  EXPECT_EQ(send("GET", "/api/agents?name=echo").parsed()["items"].size(), 1U);
  EXPECT_EQ(send("GET", "/api/agents?search=BAT").parsed()["items"].size(), 1U);
}

TEST_F(RestRoutes, RefusesWrongQueryParametersByName) {
  const Answer a = send("GET", "/api/agents?limit=0&offset=x&status=gone&state=1");
  EXPECT_EQ(a.status, 400);
  EXPECT_EQ(a.parsed()["code"], "invalid_argument");
  EXPECT_EQ(a.parsed()["details"].size(), 4U);
  EXPECT_EQ(a.parsed()["details"]["limit"], "must be a whole number from 1 to 500");
  EXPECT_EQ(
      a.parsed()["details"]["state"],
      "is not a parameter this route knows: it knows limit, name, offset, online, page, pageSize, search, status");
}

TEST_F(RestRoutes, GetsOneAgent) {
  const Answer a = send("GET", kAgentPath);
  EXPECT_EQ(a.status, 200);
  EXPECT_EQ(a.parsed()["name"], "echo");
  EXPECT_EQ(a.parsed()["online"], true);
  EXPECT_EQ(send("GET", "/api/agents/did:vaultys:" + std::string(40, '9')).status, 404);
  const Answer odd = send("GET", "/api/agents/echo");
  EXPECT_EQ(odd.status, 404);
  EXPECT_NE(odd.parsed()["error"].get<std::string>().find("is not a DID"), std::string::npos);
}

TEST_F(RestRoutes, AnAgentShowsHowItIsProtected) {
  json agent = send("GET", kAgentPath).parsed();
  EXPECT_EQ(agent["protection"], "none");
  EXPECT_EQ(agent["sealed"], false);
  EXPECT_EQ(agent["features"], json::array());
  EXPECT_EQ(agent["paused"], nullptr);
  EXPECT_EQ(agent["certificateCurrent"], false);
  plane.known.front().certificateCurrent = true;
  plane.known.front().sealed = true;
  plane.known.front().protection = net::Protection::VerifiedTls;
  plane.known.front().features = {"control-v2", "seal"};
  agent = send("GET", kAgentPath).parsed();
  EXPECT_EQ(agent["protection"], "tls");
  EXPECT_EQ(agent["sealed"], true);
  EXPECT_EQ(agent["certificateCurrent"], true);
  EXPECT_EQ(agent["features"], (json{"control-v2", "seal"}));
  plane.known.front().status = AgentStatus::Offline;
  EXPECT_EQ(send("GET", kAgentPath).parsed()["protection"], nullptr);
}

TEST_F(RestRoutes, PausesResumesAndResets) {
  const Answer paused = send("POST", kAgentPath + "/pause", R"({"reason":"under repair"})");
  EXPECT_EQ(paused.status, 200);
  EXPECT_EQ(paused.parsed()["paused"], "under repair");
  EXPECT_EQ(plane.lastId, "pause " + kDid.value);
  EXPECT_EQ(send("POST", kAgentPath + "/resume").parsed()["paused"], nullptr);
  EXPECT_EQ(plane.lastId, "resume " + kDid.value);
  EXPECT_EQ(send("POST", kAgentPath + "/pause").parsed()["paused"], "paused by the operator");
  EXPECT_EQ(send("POST", kAgentPath + "/reset-pin").status, 200);
  EXPECT_EQ(plane.lastId, "reset " + kDid.value);
  EXPECT_EQ(send("POST", "/api/admin/agents/" + kDid.value + "/resume").status, 200);
  for (const char* route : {"/pause", "/resume", "/reset-pin"}) {
    EXPECT_EQ(send("POST", kAgentPath + route, R"({"surprise":1})").status, 400);
    EXPECT_EQ(send("GET", kAgentPath + route).status, 405);
    plane.error = Error{Errc::NotFound, "no such agent"};
    EXPECT_EQ(send("POST", kAgentPath + route).status, 404);
    plane.error.reset();
  }
}

TEST_F(RestRoutes, TracesAreHandedOnWhenTheyAreWellFormed) {
  const std::string parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
  const auto traced = [&](net::Headers headers) {
    auto r = request("POST", kAgentPath + "/run", R"({"action":"echo"})");
    for (auto& header : headers) r.headers.push_back(std::move(header));
    EXPECT_EQ(send(r).status, 200) << "tracing never makes a request fail";
    return plane.asked->trace;
  };
  EXPECT_FALSE(traced({}));
  EXPECT_EQ(traced({{"Traceparent", parent}})->traceparent, parent);
  EXPECT_EQ(traced({{"traceparent", parent}, {"tracestate", "a=1"}, {"TraceState", "b@c=x y, ,d=2"}})->tracestate,
            "a=1,b@c=x y, ,d=2");
  EXPECT_EQ(traced({{"traceparent", "cc" + parent.substr(2) + "-what-comes-later"}})->traceparent.substr(0, 3), "cc-");
  for (const std::string& bad : std::vector<std::string>{
           std::string(), parent + "-x", parent + "0", "ff" + parent.substr(2), "0" + parent, parent.substr(0, 54),
           "00-" + std::string(32, '0') + parent.substr(35), parent.substr(0, 36) + std::string(16, '0') + "-01",
           "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01", "00_" + parent.substr(3),
           "cc" + parent.substr(2) + "x", parent.substr(0, 53) + "0g",
           "cc" + parent.substr(2) + "-" + std::string(500, 'x')})
    EXPECT_FALSE(traced({{"traceparent", bad}, {"tracestate", "a=1"}})) << bad;
  EXPECT_FALSE(traced({{"traceparent", parent}, {"traceparent", parent}}));
  std::string many;
  for (int i = 0; i < 33; ++i) many += "k" + std::to_string(i) + "=1,";
  for (const std::string& bad :
       {std::string("a"), std::string("=1"), std::string("a="), std::string("A=1"), std::string("a=1,a=2"),
        std::string("a=b=c"), std::string("a=\x7f"), many, "a=" + std::string(257, 'x'),
        "a=" + std::string(250, 'x') + ",b=" + std::string(255, 'x') + ",c=123456"}) {
    const auto trace = traced({{"traceparent", parent}, {"tracestate", bad}});
    ASSERT_TRUE(trace) << bad;
    EXPECT_EQ(trace->tracestate, "") << bad;
  }
  auto r = request("POST", "/api/chat", R"({"did":")" + kDid.value + R"(","message":"hi","timeoutMs":7000})");
  r.headers.emplace_back("traceparent", parent);
  send(r);
  EXPECT_EQ(plane.chatRequest->trace->traceparent, parent);
  EXPECT_EQ(plane.chatRequest->timeout, Duration(seconds(7)));
}

TEST_F(RestRoutes, DeletesAnAgent) {
  EXPECT_EQ(send("DELETE", kAgentPath).status, 204);
  EXPECT_EQ(plane.lastId, kDid.value);
  plane.error = Error{Errc::NotFound, "no such agent"};
  EXPECT_EQ(send("DELETE", kAgentPath).status, 404);
}

TEST_F(RestRoutes, PatchKeepsWhatIsAbsentAndClearsWhatIsNull) {
  EXPECT_EQ(send("PATCH", kAgentPath, R"({"capabilities":["echo"],"reason":"less"})").status, 200);
  EXPECT_EQ(plane.grant->capabilities, std::vector<std::string>{"echo"});
  EXPECT_EQ(plane.grant->policyId, "p-1");
  EXPECT_EQ(plane.grant->limits.maxTokensPerDay, 100);
  EXPECT_EQ(plane.lastReason, "less");

  const char* body =
      R"({"policyId":null,"resourceLimits":{"maxRequestsPerHour":5},"policyExpiresAt":"2030-01-02T03:04:05Z"})";
  EXPECT_EQ(send("PATCH", kAgentPath, body).status, 200);
  EXPECT_EQ(plane.grant->capabilities.size(), 2U);
  EXPECT_FALSE(plane.grant->policyId.has_value());
  EXPECT_EQ(plane.grant->limits.maxTokensPerDay, 100) << "one limit given leaves the others";
  EXPECT_EQ(plane.grant->limits.maxRequestsPerHour, 5);
  EXPECT_EQ(toIso8601(*plane.grant->policyExpiresAt), "2030-01-02T03:04:05.000Z");

  EXPECT_EQ(send("PATCH", kAgentPath, R"({"resourceLimits":{"maxTokensPerDay":null}})").status, 200);
  EXPECT_FALSE(plane.grant->limits.maxTokensPerDay.has_value());
  EXPECT_EQ(send("PATCH", kAgentPath, R"({"resourceLimits":null})").status, 200);
  EXPECT_EQ(plane.grant->limits, protocol::ResourceLimits{});
}

TEST_F(RestRoutes, AMemberIsNamedOnceInDetails) {
  const Answer a = send("GET", "/api/agents?what=1&what=2");
  EXPECT_EQ(a.status, 400);
  EXPECT_EQ(a.body.find("\"what\":"), a.body.rfind("\"what\":"));
}

TEST_F(RestRoutes, ARunWhoseClientGoesIsCancelled) {
  plane.holdReplies = true;
  auto a = start(request("POST", kAgentPath + "/run", R"({"action":"echo"})"));
  EXPECT_EQ(a->status, 0);
  a->onGone();
  EXPECT_EQ(plane.cancelledIntents, std::vector<std::string>{"i-run"});
  plane.releaseHeld();
  EXPECT_EQ(a->status, 200) << "a client that has only ended its sending side still reads";

  auto last = start(request("POST", kAgentPath + "/run", R"({"action":"echo"})"));
  api.reset();
  last->onGone();
  EXPECT_EQ(plane.cancelledIntents.size(), 1U) << "the control plane may be gone by now";
}

TEST_F(RestRoutes, PatchNamesEveryMistake) {
  const Answer a =
      send("PATCH", kAgentPath,
           R"({"capabilities":null,"resourceLimits":{"maxTokensPerDay":-1,"perDay":3},"policyExpiresAt":"soon"})");
  EXPECT_EQ(a.status, 400);
  const json details = a.parsed()["details"];
  EXPECT_EQ(details.size(), 4U) << details;
  EXPECT_TRUE(details.contains("capabilities"));
  EXPECT_TRUE(details.contains("resourceLimits.maxTokensPerDay"));
  EXPECT_TRUE(details.contains("resourceLimits.perDay"));
  EXPECT_TRUE(details.contains("policyExpiresAt"));
  EXPECT_FALSE(plane.grant.has_value());
  EXPECT_EQ(send("PATCH", kAgentPath, "{}").status, 400);
}

TEST_F(RestRoutes, RunForwardsParamsByteForByteAndAnswersTheResult) {
  plane.runResult = {IntentId("i-7"), "success",    protocol::RawJson{"{ \"z\":1.50 ,\"a\":[]}"},
                     std::nullopt,    std::nullopt, fromUnixMillis(0)};
  const std::string params = "{ \"b\" : 1.0e2, \"a\":\"}\\\"{\\u00e9\" ,\"n\":[ 1,{}]\t}";
  const Answer a =
      send("POST", kAgentPath + "/run", "{\"params\": " + params + " ,\"action\":\"echo\",\"timeoutMs\":1500}");
  EXPECT_EQ(a.status, 200);
  EXPECT_EQ(plane.asked->params.text, params);
  EXPECT_EQ(plane.asked->action, "echo");
  EXPECT_EQ(plane.asked->timeout, milliseconds(1500));
  EXPECT_NE(a.body.find("\"output\":{ \"z\":1.50 ,\"a\":[]}"), std::string::npos);
  EXPECT_EQ(a.parsed()["executedAt"], "1970-01-01T00:00:00.000Z");
  EXPECT_TRUE(a.parsed()["error"].is_null());
  EXPECT_FALSE(a.parsed().contains("code"));

  send("POST", kAgentPath + "/run", R"({"action":"echo"})");
  EXPECT_EQ(plane.asked->params.text, "{}");
  EXPECT_FALSE(plane.asked->timeout.has_value());
}

TEST_F(RestRoutes, RunAnswers200ForAFailedIntentAndAStatusForWhatNeverRan) {
  plane.runResult = {IntentId("i"),   "failed",    std::nullopt, "Capability 'x' not granted",
                     "policy_denied", std::nullopt};
  const Answer failed = send("POST", kAgentPath + "/run", R"({"action":"x"})");
  EXPECT_EQ(failed.status, 200);
  EXPECT_EQ(failed.parsed()["status"], "failed");
  EXPECT_EQ(failed.parsed()["code"], "policy_denied");
  EXPECT_TRUE(failed.parsed()["output"].is_null());

  const std::pair<Errc, int> cases[] = {
      {Errc::NotFound, 404}, {Errc::Unavailable, 503}, {Errc::DeadlineExceeded, 504}, {Errc::Busy, 429}};
  for (const auto& [code, status] : cases) {
    plane.error = Error{code, "why"};
    const Answer a = send("POST", kAgentPath + "/run", R"({"action":"x"})");
    EXPECT_EQ(a.status, status);
    EXPECT_EQ(a.parsed()["statusCode"], status);
    EXPECT_EQ(a.parsed()["code"], name(code));
    EXPECT_EQ(a.parsed()["error"], "why");
    EXPECT_TRUE(a.parsed()["details"].is_object());
    EXPECT_EQ(a.parsed()["timestamp"], toIso8601(clock.now()));
  }
}

TEST_F(RestRoutes, RefusesBodiesThatAreNotWhatIsAsked) {
  const std::pair<const char*, const char*> cases[] = {
      {R"({})", "action"},
      {R"({"action":7})", "action"},
      {R"({"action":""})", "action"},
      {R"({"action":"x","params":[1]})", "params"},
      {R"({"action":"x","timeoutMs":0})", "timeoutMs"},
      {R"({"action":"x","timeoutMs":1.5})", "timeoutMs"},
      {R"({"action":"x","timeoutMs":99999999999999999999})", "timeoutMs"},
      {R"({"action":"x","parms":{}})", "parms"},
      {R"([])", "body"},
  };
  for (const auto& [body, member] : cases) {
    const Answer a = send("POST", kAgentPath + "/run", body);
    EXPECT_EQ(a.status, 400) << body;
    EXPECT_TRUE(a.parsed()["details"].contains(member)) << body << " -> " << a.body;
    EXPECT_NE(a.parsed()["error"].get<std::string>().find(member), std::string::npos) << a.body;
  }
  for (const char* body :
       {"{", "{\"action\":\"a\",\"action\":\"b\"}", "{\"action\":\"\xff\"}", "{} x", "\xef\xbb\xbf{}"}) {
    const Answer a = send("POST", kAgentPath + "/run", body);
    EXPECT_EQ(a.status, 400) << body;
    EXPECT_EQ(a.parsed()["code"], "malformed") << body;
  }
  EXPECT_FALSE(plane.asked.has_value());
}

TEST_F(RestRoutes, RefusesOtherContentTypes) {
  auto r = request("POST", kAgentPath + "/run", R"({"action":"x"})");
  r.headers.back().second = "text/plain";
  EXPECT_EQ(send(r).status, 415);
  r.headers.pop_back();
  EXPECT_EQ(send(r).status, 415);
  r.headers.emplace_back("content-type", "Application/JSON ; charset=utf-8");
  EXPECT_EQ(send(r).status, 200);
}

TEST_F(RestRoutes, WrongMethodsAndPathsAnswerJson) {
  const Answer method = send("PUT", kAgentPath);
  EXPECT_EQ(method.status, 405);
  EXPECT_EQ(method.header("Allow"), "GET, HEAD, PATCH, DELETE");
  EXPECT_EQ(method.parsed()["statusCode"], 405);
  for (const char* path :
       {"/api/nothing", "/api/agents/", "/api/agents//run", "/", "/apix", "//", "/api/agents/a/b/c"}) {
    const Answer a = send("GET", path);
    EXPECT_EQ(a.status, 404) << path;
    EXPECT_EQ(a.parsed()["code"], "not_found");
  }
  const Answer head = send("HEAD", "/health");
  EXPECT_EQ(head.status, 200);
  EXPECT_TRUE(head.body.empty());
}

TEST_F(RestRoutes, SendsAndBroadcastsIntents) {
  const Answer one =
      send("POST", "/api/intents", R"({"did":")" + kDid.value + R"(","action":"echo","params":{"a":1}})");
  EXPECT_EQ(one.status, 202);
  EXPECT_EQ(one.parsed()["intentId"], "i-1");
  EXPECT_EQ(one.parsed()["sentTo"], json::array({kDid.value}));
  EXPECT_EQ(send("POST", "/api/intents", R"({"agentId":")" + kDid.value + R"(","action":"echo"})").status, 202);
  EXPECT_TRUE(send("POST", "/api/intents", R"({"did":"me","action":"echo"})").parsed()["details"].contains("did"));

  plane.sent = {{IntentId("i-1"), kDid}};
  const Answer many = send("POST", "/api/intents/broadcast", R"({"action":"echo"})");
  EXPECT_EQ(many.status, 202);
  EXPECT_EQ(many.parsed()["count"], 1);
  EXPECT_EQ(many.parsed()["intents"][0]["did"], kDid.value);
}

TEST_F(RestRoutes, ListsIntentsWithSignatures) {
  ControlPlane::IntentView view;
  view.row.id = IntentId("i-1");
  view.row.did = kDid;
  view.row.params = R"({"x": 1})";
  view.row.status = "success";
  view.row.output = "[1]";
  view.row.token = "dG9rZW4=";
  view.signatureValid = true;
  plane.intentRows = {view};
  const Answer a = send("GET", "/api/intents?did=" + kDid.value + "&status=success&limit=5&offset=0");
  EXPECT_EQ(a.status, 200);
  EXPECT_EQ(plane.intentFilter.did, kDid);
  EXPECT_EQ(plane.intentFilter.status, "success");
  EXPECT_EQ(plane.lastPage.limit, 5);
  EXPECT_EQ(a.parsed()["items"][0]["signatureValid"], true);
  EXPECT_EQ(a.parsed()["items"][0]["output"], json::array({1}));
  EXPECT_FALSE(a.parsed()["items"][0].contains("token"));
  EXPECT_EQ(send("GET", "/api/intents?did=x").status, 400);

  const Answer one = send("GET", "/api/intents/i-1");
  EXPECT_EQ(one.parsed()["token"], "dG9rZW4=");
  EXPECT_EQ(one.parsed()["resultSigned"], false);
  EXPECT_EQ(one.parsed()["resultSignatureValid"], nullptr);
  EXPECT_EQ(one.parsed()["resultToken"], nullptr);
  EXPECT_EQ(one.parsed()["traceparent"], nullptr);
  plane.intentRows.front().row.resultToken = "cmVz";
  plane.intentRows.front().resultSignatureValid = true;
  plane.intentRows.front().row.traceparent = "00-x";
  const json full = send("GET", "/api/intents/i-1").parsed();
  EXPECT_EQ(full["resultSigned"], true);
  EXPECT_EQ(full["resultSignatureValid"], true);
  EXPECT_EQ(full["resultToken"], "cmVz");
  EXPECT_EQ(full["traceparent"], "00-x");
  plane.error = Error{Errc::NotFound, "no such intent"};
  EXPECT_EQ(send("GET", "/api/intents/i-2").status, 404);
}

TEST_F(RestRoutes, ListsApprovesAndRejectsRegistrations) {
  store::RegistrationRow row;
  row.id = RegistrationId("r-1");
  row.did = kDid;
  row.status = "pending";
  row.requestedCapabilities = R"(["echo"])";
  plane.registrationRows = {row};
  const Answer list = send("GET", "/api/registrations?status=pending");
  EXPECT_EQ(list.status, 200);
  EXPECT_EQ(plane.statusFilter, "pending");
  EXPECT_EQ(list.parsed()["items"][0]["id"], "r-1");
  EXPECT_EQ(list.parsed()["pagination"]["hasMore"], true);

  EXPECT_EQ(send("POST", "/api/registrations/r-1/approve").status, 200);
  EXPECT_FALSE(plane.approval->capabilities.has_value());
  const Answer a = send("POST", "/api/registrations/r-1/approve",
                        R"({"capabilities":["echo"],"resourceLimits":{"allowedDomains":["a.b"]},"policyId":"p"})");
  EXPECT_EQ(a.status, 200);
  EXPECT_EQ(a.parsed()["agentDid"], kDid.value);
  EXPECT_EQ(plane.approval->capabilities, std::vector<std::string>{"echo"});
  EXPECT_EQ(plane.approval->limits.allowedDomains, std::vector<std::string>{"a.b"});
  EXPECT_EQ(send("POST", "/api/registrations/r-1/approve", R"({"capabilities":"echo"})").status, 400);

  EXPECT_EQ(send("POST", "/api/registrations/r-1/reject", R"({"reason":"unknown"})").status, 200);
  EXPECT_EQ(plane.lastReason, "unknown");
  plane.error = Error{Errc::Conflict, "decided already"};
  EXPECT_EQ(send("POST", "/api/registrations/r-1/reject").status, 409);
}

TEST_F(RestRoutes, ReadsAndVerifiesTheAudit) {
  store::AuditRow row;
  row.seq = 1;
  row.action = "registration.approve";
  row.details = R"({"a":1})";
  row.hash = {0xab};
  plane.auditRows = {row};
  const Answer a = send("GET", "/api/audit?actor=operator&action=registration.approve&target=t");
  EXPECT_EQ(a.parsed()["items"][0]["details"]["a"], 1);
  EXPECT_EQ(a.parsed()["items"][0]["hash"], "ab");
  EXPECT_EQ(plane.auditFilter.actor, "operator");
  EXPECT_EQ(plane.auditFilter.target, "t");

  plane.check = {12, std::nullopt};
  EXPECT_EQ(send("GET", "/api/audit/verify").parsed(), (json{{"valid", true}, {"rows", 12}, {"firstBroken", nullptr}}));
  plane.check = {12, 5};
  EXPECT_EQ(send("GET", "/api/audit/verify").parsed(), (json{{"valid", false}, {"rows", 12}, {"firstBroken", 5}}));
}

TEST_F(RestRoutes, FiltersTheAuditByTimeAndByTheBeginningOfAnAction) {
  EXPECT_EQ(send("GET", "/api/audit?action=key.*&since=1970-01-01T00:00:01Z&until=1970-01-01T02:00:02+02:00").status,
            200);
  EXPECT_EQ(plane.auditFilter.actionPrefix, "key.");
  EXPECT_EQ(plane.auditFilter.action, std::nullopt);
  EXPECT_EQ(plane.auditFilter.since, fromUnixMillis(1000));
  EXPECT_EQ(plane.auditFilter.until, fromUnixMillis(2000));
  EXPECT_EQ(send("GET", "/api/audit?action=*").status, 200);
  EXPECT_EQ(plane.auditFilter.actionPrefix, "");
  EXPECT_EQ(send("GET", "/api/audit?action=k*y").status, 200);
  EXPECT_EQ(plane.auditFilter.action, "k*y");
  const json wrong = send("GET", "/api/audit?since=yesterday&before=0&after=-1").parsed()["details"];
  EXPECT_EQ(wrong.size(), 3u) << wrong;
}

TEST_F(RestRoutes, PagesTheAuditByNumber) {
  for (std::int64_t seq : {9, 8, 7}) plane.auditRows.push_back({.seq = seq});
  // One row more than wanted was asked for, and is not shown.
  const json page = send("GET", "/api/audit?before=10&limit=2").parsed();
  EXPECT_EQ(plane.lastPage.limit, 3);
  EXPECT_EQ(page["items"].size(), 2u);
  EXPECT_EQ(page["pagination"], (json{{"limit", 2}, {"hasMore", true}, {"nextBefore", 8}}));
  EXPECT_EQ(send("GET", "/api/audit?before=10&limit=3").parsed()["pagination"],
            (json{{"limit", 3}, {"hasMore", false}}));
  EXPECT_EQ(send("GET", "/api/audit?after=0&limit=2").parsed()["pagination"],
            (json{{"limit", 2}, {"hasMore", true}, {"nextAfter", 8}}));
  plane.auditRows.clear();
  EXPECT_EQ(send("GET", "/api/audit?after=4").parsed()["pagination"],
            (json{{"limit", 50}, {"hasMore", false}, {"nextAfter", 4}}));
  EXPECT_EQ(send("GET", "/api/audit?before=10&offset=1").status, 400);
  EXPECT_EQ(send("GET", "/api/audit?after=0&page=2").status, 400);
  EXPECT_EQ(send("GET", "/api/audit?before=10&page=1").status, 200);
}

TEST_F(RestRoutes, TheFirstPageOfTheAuditSaysHowToGoOn) {
  plane.auditRows.push_back({.seq = 9});
  plane.auditTotal = 3;
  EXPECT_EQ(send("GET", "/api/audit?limit=1").parsed()["pagination"],
            (json{{"total", 3}, {"limit", 1}, {"offset", 0}, {"hasMore", true}, {"nextBefore", 9}}));
  plane.auditTotal = 1;
  EXPECT_EQ(send("GET", "/api/audit?limit=1").parsed()["pagination"],
            (json{{"total", 1}, {"limit", 1}, {"offset", 0}, {"hasMore", false}}));
}

TEST_F(RestRoutes, OriginalPathsAnswer) {
  const json agents = send("GET", "/api/admin/agents?page=1&pageSize=20&sortBy=name").parsed();
  EXPECT_EQ(agents["total"], 1);
  EXPECT_EQ(agents["totalPages"], 1);
  EXPECT_EQ(agents["pageSize"], 20);
  EXPECT_EQ(send("GET", "/api/admin/agents/" + kDid.value).parsed()["did"], kDid.value);
  EXPECT_EQ(send("POST", "/api/admin/agents/" + kDid.value + "/run", R"({"action":"echo","params":{}})").status, 200);
  EXPECT_TRUE(send("GET", "/api/admin/registrations").parsed()["registrations"].is_array());
  EXPECT_EQ(send("POST", "/api/admin/registrations/r-1/approve", R"({"capabilities":["echo"]})").parsed()["success"],
            true);
  EXPECT_EQ(send("GET", "/api/admin/governance/audit").status, 200);
  EXPECT_EQ(send("GET", "/api/admin/users").status, 404);
}

TEST(JsonSplit, KeepsTheBytesOfEveryMember) {
  using rest::splitArray;
  using rest::splitObject;
  const auto members = splitObject(" {\"a\" : [1, {\"b\":\"]}\"}] ,\"c\\\"\":\"\\\\\",\"d\":-1.5e3}\n");
  ASSERT_EQ(members.size(), 3U);
  EXPECT_EQ(members[0].first, "a");
  EXPECT_EQ(members[0].second, "[1, {\"b\":\"]}\"}]");
  EXPECT_EQ(members[1].first, "c\\\"");
  EXPECT_EQ(members[1].second, "\"\\\\\"");
  EXPECT_EQ(members[2].second, "-1.5e3");
  EXPECT_TRUE(splitObject("{ }").empty());
  EXPECT_EQ(splitArray("[ {} , \"x,]\" ,3 ]"), (std::vector<std::string_view>{"{}", "\"x,]\"", "3"}));
  EXPECT_TRUE(splitArray("[]").empty());
}

TEST(JsonSplit, NeverReadsPastTheEnd) {
  const std::string whole = R"({"a":[1,{"b":"\"}"}],"c":{"d":null},"e":"\u00e9"})";
  for (std::size_t n = 0; n <= whole.size(); ++n) {
    const std::string cut = whole.substr(0, n);  // its own allocation, so that ASan sees an overread
    rest::splitObject(cut);
    rest::splitArray("[" + cut);
  }
}

}  // namespace
}  // namespace vaultysclaw::control::testing
