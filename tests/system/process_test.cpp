// The product as its users run it: the real binary and real agents as processes on loopback.
#include "processes.hpp"

#include <sys/stat.h>

#include "gate.hpp"
#include "http_client.hpp"
#include "net/io_loop.hpp"

namespace vaultysclaw::system_test {
namespace {

const std::string kHttpProxy = VC_HTTP_PROXY_BINARY;

TEST_F(Processes, AgentRegistersIsApprovedAndAnswers) {
  ASSERT_NO_FATAL_FAILURE(startControlPlane());
  startProbe();
  ASSERT_NO_FATAL_FAILURE(approveProbe());

  const Json run = cliJson({"run", "probe", "text_generation", R"({"prompt":"h\u00e9llo"})"});
  EXPECT_EQ(run["status"], "success");
  EXPECT_EQ(run["output"]["params"]["prompt"], "h\u00e9llo");
  EXPECT_EQ(run["output"]["caller"], cliJson({"users", "show", "owner"})["did"]) << "the user whose key asked";

  const Output failed = cli({"run", "probe", "text_generation", R"({"fail":"out of paper"})"});
  EXPECT_EQ(failed.status, 1);
  EXPECT_THAT(failed.out + failed.err, HasSubstr("out of paper"));

  const Output refused = cli({"run", "probe", "mail_send", "{}"});
  EXPECT_EQ(refused.status, 1);
  EXPECT_THAT(refused.out + refused.err, HasSubstr("Capability 'mail_send' not granted"));

  const Output late = cli({"run", "probe", "text_generation", R"({"sleepMs":60000})", "--timeout", "1"});
  EXPECT_EQ(late.status, 1);

  const Output chat = cli({"chat", "probe", "Grüße, 世界"});
  EXPECT_EQ(chat.status, 0) << chat.err;
  EXPECT_THAT(chat.out, HasSubstr("Grüße, 世界"));

  const Output broken = cli({"chat", "probe", "fail"});
  EXPECT_EQ(broken.status, 1);
  EXPECT_THAT(broken.err, HasSubstr("the model said no"));

  const Json intents = cliJson({"intents"});
  ASSERT_GE(intents["items"].size(), 3u);
  for (const auto& row : intents["items"]) EXPECT_TRUE(row["signatureValid"]);
}

TEST_F(Processes, BothSidesSurviveBeingKilled) {
  ASSERT_NO_FATAL_FAILURE(startControlPlane());
  startProbe();
  ASSERT_NO_FATAL_FAILURE(approveProbe());
  const std::string firstDid = did_;

  controlPlane_->signal(SIGKILL);
  ASSERT_TRUE(controlPlane_->wait(10s));
  ASSERT_NO_FATAL_FAILURE(startControlPlane());
  EXPECT_EQ(did_, firstDid);
  ASSERT_TRUE(eventually([&] { return probeIs("connected"); }));
  EXPECT_EQ(cliJson({"run", "probe", "text_generation", "{}"})["status"], "success");

  probe_->signal(SIGKILL);
  ASSERT_TRUE(probe_->wait(10s));
  ASSERT_TRUE(eventually([&] { return probeIs("offline"); }));
  const Output away = cli({"run", "probe", "text_generation", "{}"});
  EXPECT_EQ(away.status, 1);
  EXPECT_THAT(away.err, HasSubstr("not connected"));
  startProbe();
  ASSERT_TRUE(eventually([&] { return probeIs("connected"); }));
  EXPECT_EQ(cliJson({"run", "probe", "text_generation", "{}"})["status"], "success");
}

TEST_F(Processes, WhatAKilledControlPlaneHasAcceptedIsAnsweredOnce) {
  ASSERT_NO_FATAL_FAILURE(startControlPlane());
  startProbe();
  ASSERT_NO_FATAL_FAILURE(approveProbe());
  std::map<std::string, std::string> ids;  // by mark
  for (int i = 0; i < 4; ++i) ids["sent" + std::to_string(i)] = post("sent" + std::to_string(i), 200);
  ASSERT_NO_FATAL_FAILURE(killControlPlane());
  ASSERT_NO_FATAL_FAILURE(startControlPlane());
  for (const auto& [mark, id] : ids) {
    EXPECT_TRUE(eventually([&] { return intentStatus(id) == "success"; })) << mark;
    EXPECT_EQ(runsOf(mark), 1u) << mark;
  }

  ASSERT_NO_FATAL_FAILURE(killProbe());
  ASSERT_TRUE(eventually([&] { return probeIs("offline"); }));
  std::map<std::string, std::string> waiting;
  for (int i = 0; i < 3; ++i)
    waiting["queued" + std::to_string(i)] = post("queued" + std::to_string(i), 0, {"--ttl", "1000"});
  ASSERT_NO_FATAL_FAILURE(killControlPlane());
  ASSERT_NO_FATAL_FAILURE(startControlPlane());
  for (const auto& [mark, id] : waiting) EXPECT_EQ(intentStatus(id), "queued") << mark;
  startProbe();
  for (const auto& [mark, id] : waiting) {
    EXPECT_TRUE(eventually([&] { return intentStatus(id) == "success"; })) << mark;
    EXPECT_EQ(runsOf(mark), 1u) << mark;
  }
}

TEST_F(Processes, ACallerComesBackToAKilledControlPlaneWithItsKey) {
  ASSERT_NO_FATAL_FAILURE(startControlPlane());
  startProbe();
  ASSERT_NO_FATAL_FAILURE(approveProbe());
  const std::string id = post("keyed", 300, {"--idempotency-key", "k"});
  ASSERT_NO_FATAL_FAILURE(killControlPlane());
  ASSERT_NO_FATAL_FAILURE(startControlPlane());
  const Json run = cliJson(
      {"run", "probe", "text_generation", Json{{"mark", "keyed"}, {"sleepMs", 300}}.dump(), "--idempotency-key", "k"});
  EXPECT_EQ(run["intentId"], id);
  EXPECT_EQ(run["status"], "success");
  EXPECT_EQ(run["replayed"], true);
  EXPECT_EQ(runsOf("keyed"), 1u);
  const Output other = cli({"run", "probe", "text_generation", "{}", "--idempotency-key", "k"});
  EXPECT_EQ(other.status, 1);
  EXPECT_THAT(other.err, HasSubstr(id));
}

TEST_F(Processes, AnAgentThatIsKilledWhileItRunsAnswersInterrupted) {
  ASSERT_NO_FATAL_FAILURE(startControlPlane());
  startProbe();
  ASSERT_NO_FATAL_FAILURE(approveProbe());
  const std::string id = post("cut short", 60'000);
  ASSERT_TRUE(eventually([&] { return runsOf("cut short") == 1; }));
  ASSERT_NO_FATAL_FAILURE(killProbe());
  ASSERT_TRUE(eventually([&] { return probeIs("offline"); }));
  EXPECT_EQ(intentStatus(id), "pending");
  startProbe();
  ASSERT_TRUE(eventually([&] { return intentStatus(id) == "failed"; }));
  const Json intent = cliJson({"intents", "show", id});
  EXPECT_EQ(intent["code"], "interrupted");
  EXPECT_EQ(intent["resultSignatureValid"], true);
  EXPECT_EQ(runsOf("cut short"), 1u);
  EXPECT_EQ(intent["history"][2]["event"], "connection_lost");
}

TEST_F(Processes, RegistrationsSurviveARestartAndApprovalHoldsForAnAbsentAgent) {
  ASSERT_NO_FATAL_FAILURE(startControlPlane());
  startProbe();
  ASSERT_TRUE(eventually([&] { return !cliJson({"registrations", "list", "--status", "pending"})["items"].empty(); }));
  probe_->signal(SIGKILL);
  ASSERT_TRUE(probe_->wait(10s));
  controlPlane_->signal(SIGKILL);
  ASSERT_TRUE(controlPlane_->wait(10s));

  ASSERT_NO_FATAL_FAILURE(startControlPlane());
  const Output approved = cli({"registrations", "approve", "probe", "--capability", "text_generation"});
  ASSERT_EQ(approved.status, 0) << approved.err;
  startProbe();
  ASSERT_TRUE(eventually([&] { return probeIs("connected"); }));
  EXPECT_EQ(cliJson({"run", "probe", "text_generation", "{}"})["status"], "success");
  const Output refused = cli({"run", "probe", "api_call", "{}"});
  EXPECT_THAT(refused.out + refused.err, HasSubstr("Capability 'api_call' not granted"));
}

TEST_F(Processes, RejectedAgentStopsAndSaysWhy) {
  ASSERT_NO_FATAL_FAILURE(startControlPlane());
  startProbe();
  ASSERT_TRUE(eventually([&] { return !cliJson({"registrations", "list", "--status", "pending"})["items"].empty(); }));
  EXPECT_EQ(cli({"registrations", "reject", "probe", "--reason", "unknown machine"}).status, 0);
  ASSERT_TRUE(eventually([&] { return probe_->out().find("status stopped") != std::string::npos; }));
  EXPECT_THAT(probe_->out(), HasSubstr("unknown machine"));
}

TEST_F(Processes, AChatWhoseCallerLeavesIsStoppedInTheAgent) {
  ASSERT_NO_FATAL_FAILURE(startControlPlane());
  startProbe();
  ASSERT_NO_FATAL_FAILURE(approveProbe());
  ChildProcess chat("chat", {kProduct, "chat", "probe", "forever"},
                    {{"VAULTYSCLAW_URL", "http://127.0.0.1:" + std::to_string(httpPort_)},
                     {"VAULTYSCLAW_TOKEN_FILE", (directory_.path() / "cp/api.token").string()}},
                    directory_.path());
  ASSERT_TRUE(eventually([&] { return chat.out().find("tick tick") != std::string::npos; })) << chat.err();
  chat.signal(SIGINT);
  EXPECT_EQ(chat.wait(10s), 1);
  EXPECT_THAT(chat.err(), HasSubstr("stopped"));
  EXPECT_TRUE(eventually([&] { return probe_->out().find("chat stopped") != std::string::npos; })) << probe_->out();
  EXPECT_EQ(cliJson({"run", "probe", "text_generation", "{}"})["status"], "success");
}

TEST_F(Processes, AChatOutlivesCutsOfBothItsConnections) {
  ASSERT_NO_FATAL_FAILURE(startControlPlane());
  Gate gate;
  const std::size_t agents = gate.add(), readers = gate.add();
  gate.leadTo(agents, static_cast<std::uint16_t>(wsPort_));
  gate.leadTo(readers, static_cast<std::uint16_t>(httpPort_));
  startProbe("ws", {{"PROBE_WS_URL", "ws://127.0.0.1:" + std::to_string(gate.port(agents))}});
  ASSERT_NO_FATAL_FAILURE(approveProbe());
  ChildProcess chat("chat", {kProduct, "chat", "probe", "count"},
                    {{"VAULTYSCLAW_URL", "http://127.0.0.1:" + std::to_string(gate.port(readers))},
                     {"VAULTYSCLAW_TOKEN_FILE", (directory_.path() / "cp/api.token").string()}},
                    directory_.path());
  const auto heard = [&](const std::string& text) {
    return eventually([&] { return chat.out().find(text) != std::string::npos || !chat.running(); });
  };
  ASSERT_TRUE(heard(" 10 "));
  gate.cut(agents);
  ASSERT_TRUE(heard(" 30 "));
  gate.cut(readers);
  ASSERT_TRUE(heard(" 60 "));
  gate.cut(agents);
  gate.cut(readers);
  EXPECT_EQ(chat.wait(60s), 0) << chat.err();
  std::string whole;
  for (int i = 0; i < 100; ++i) whole += std::to_string(i) + " ";
  EXPECT_EQ(chat.out(), whole + "\n");
}

TEST_F(Processes, AChatThatCannotGoOnSaysWhy) {
  ASSERT_NO_FATAL_FAILURE(startControlPlane());
  startProbe();
  ASSERT_NO_FATAL_FAILURE(approveProbe());
  std::optional<ChildProcess> chat;
  const auto talk = [&](const std::string& name) {
    chat.emplace(
        name, std::vector<std::string>{kProduct, "chat", "probe", "forever"},
        std::map<std::string, std::string>{{"VAULTYSCLAW_URL", "http://127.0.0.1:" + std::to_string(httpPort_)},
                                           {"VAULTYSCLAW_TOKEN_FILE", (directory_.path() / "cp/api.token").string()}},
        directory_.path());
    ASSERT_TRUE(eventually([&] { return chat->out().find("tick tick") != std::string::npos; })) << chat->err();
  };
  ASSERT_NO_FATAL_FAILURE(talk("chat-1"));
  probe_->signal(SIGKILL);
  ASSERT_TRUE(probe_->wait(10s));
  startProbe();
  EXPECT_EQ(chat->wait(30s), 1);
  EXPECT_THAT(chat->err(), HasSubstr("it was restarted"));

  ASSERT_TRUE(eventually([&] { return probeIs("connected"); }));
  ASSERT_NO_FATAL_FAILURE(talk("chat-2"));
  controlPlane_->signal(SIGKILL);
  ASSERT_TRUE(controlPlane_->wait(10s));
  ASSERT_NO_FATAL_FAILURE(startControlPlane());
  EXPECT_EQ(chat->wait(30s), 1);
  EXPECT_THAT(chat->err(), HasSubstr("the control plane was restarted"));
}

TEST_F(Processes, HttpProxyExampleForwardsIntentsAndChats) {
  net::IoLoop loop("api");
  net::ServerHandlers handlers;
  handlers.onRequest = [](std::shared_ptr<net::HttpExchange> exchange) {
    const auto& request = exchange->request();
    const Json body = Json::parse(request.body);
    if (request.path == "/text_generation") return exchange->respond({200, {}, Json{{"got", body}}.dump()});
    if (request.path == "/chat") {
      return exchange->respond({200, {}, Json{{"reply", "pong " + body["message"].get<std::string>()}}.dump()});
    }
    exchange->respond({503, {}, "out of order"});
  };
  auto api = net::listen(loop, {}, std::move(handlers));
  ASSERT_TRUE(api.ok()) << api.error().message;

  ASSERT_NO_FATAL_FAILURE(startControlPlane());
  ChildProcess proxy("http-proxy",
                     {kHttpProxy, "--api-base", "http://127.0.0.1:" + std::to_string((*api)->port()), "--capability",
                      "text_generation", "--capability", "broken"},
                     {{"CONTROL_PLANE_URL", "http://127.0.0.1:" + std::to_string(httpPort_)},
                      {"CONTROL_PLANE_WS_URL", "ws://127.0.0.1:" + std::to_string(wsPort_)},
                      {"VAULTYS_ID_PATH", (directory_.path() / "proxy.id").string()}},
                     directory_.path());
  ASSERT_TRUE(eventually([&] { return cli({"registrations", "approve", "http-proxy"}).status == 0; })) << proxy.err();
  ASSERT_TRUE(eventually([&] { return cli({"run", "http-proxy", "text_generation", "{}"}).status == 0; }))
      << proxy.err();
  EXPECT_EQ(cliJson({"run", "http-proxy", "text_generation", R"({"a":[1]})"})["output"]["got"]["a"][0], 1);
  const Output broken = cli({"run", "http-proxy", "broken", "{}"});
  EXPECT_EQ(broken.status, 1);
  EXPECT_THAT(broken.err, HasSubstr("API error 503: out of order"));
  EXPECT_THAT(cli({"chat", "http-proxy", "ping"}).out, HasSubstr("pong ping"));
  api->reset();
}

TEST_F(Processes, ShutDownInOrderOnSigterm) {
  ASSERT_NO_FATAL_FAILURE(startControlPlane());
  startProbe();
  ASSERT_NO_FATAL_FAILURE(approveProbe());
  probe_->signal(SIGTERM);
  EXPECT_EQ(probe_->wait(20s), 0) << probe_->err();
  controlPlane_->signal(SIGTERM);
  EXPECT_EQ(controlPlane_->wait(20s), 0) << controlPlane_->err();
}

TEST_F(Processes, TlsEndToEnd) {
  const std::string key = (directory_.path() / "key.pem").string();
  const std::string certificate = (directory_.path() / "cert.pem").string();
  const Output made = runProcess(
      {"/usr/bin/openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout",
       key, "-out", certificate, "-days", "2", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"},
      {}, directory_.path());
  ASSERT_EQ(made.status, 0) << made.err;
  scheme_ = "https";
  ASSERT_NO_FATAL_FAILURE(startControlPlane({"--tls-cert", certificate, "--tls-key", key}));
  const auto withCa = [&](std::vector<std::string> arguments) {
    arguments.insert(arguments.end(), {"--ca-file", certificate});
    return cli(std::move(arguments));
  };
  startProbe("wss", {{"PROBE_CA", certificate}});
  ASSERT_TRUE(eventually([&] { return withCa({"registrations", "approve", "probe"}).status == 0; }));
  ASSERT_TRUE(eventually([&] { return withCa({"run", "probe", "text_generation", "{}"}).status == 0; }));

  const Output untrusted = cli({"agents"});
  EXPECT_EQ(untrusted.status, 3);
  EXPECT_THAT(untrusted.err, HasSubstr("--ca-file"));
}

TEST_F(Processes, SecretsAreNobodyElsesAndCommandsExplainThemselves) {
  ASSERT_NO_FATAL_FAILURE(startControlPlane());
  for (const char* const name : {"api.token", "control-plane.id", "control.db"}) {
    struct stat info{};
    ASSERT_EQ(::stat((directory_.path() / "cp" / name).c_str(), &info), 0) << name;
    EXPECT_EQ(info.st_mode & 0777, 0600u) << name;
  }
  const std::string token = readFile(directory_.path() / "cp/api.token");
  EXPECT_EQ((controlPlane_->out() + controlPlane_->err()).find(token.substr(0, 20)), std::string::npos);

  const Output unknown = cli({"run", "nobody", "text_generation", "{}"});
  EXPECT_EQ(unknown.status, 1);
  EXPECT_THAT(unknown.err, HasSubstr("vaultysclaw agents"));
  const Output unauthorised = cli({"agents"}, {{"VAULTYSCLAW_TOKEN", "vcp_wrong"}});
  EXPECT_EQ(unauthorised.status, 1);
  EXPECT_THAT(unauthorised.err, HasSubstr("token"));
  const Output badJson = cli({"run", "nobody", "x", "{not json"});
  EXPECT_NE(badJson.status, 0);

  controlPlane_->signal(SIGTERM);
  ASSERT_TRUE(controlPlane_->wait(20s));
  const Output away = cli({"agents"});
  EXPECT_EQ(away.status, 3);
  EXPECT_THAT(away.err, HasSubstr("vaultysclaw control-plane"));
}

TEST_F(Processes, ALogInWorksInTheRealServerAndOutlastsAKill) {
  ASSERT_NO_FATAL_FAILURE(startControlPlane());
  const auto http = [&](const std::string& what, const Headers& headers, const std::string& body = "") {
    HttpClient client(static_cast<std::uint16_t>(httpPort_), "");
    const auto space = what.find(' ');
    return client.exchange({what.substr(0, space), what.substr(space + 1), body, headers}).value_or(HttpReply{});
  };
  const std::string words = "a way that is quite long";
  const Output set =
      runProcess({"/bin/sh", "-c",
                  "echo '" + words + "' | '" + kProduct + "' --url http://127.0.0.1:" + std::to_string(httpPort_) +
                      " --token-file '" + (directory_.path() / "cp/api.token").string() + "' users set-password owner"},
                 {}, directory_.path());
  ASSERT_EQ(set.status, 0) << set.err;
  const HttpReply wrong = http("POST /api/session", {}, R"({"user":"owner","password":"another way"})");
  EXPECT_EQ(wrong.status, 401) << wrong.body;
  const HttpReply in = http("POST /api/session", {}, Json{{"user", "owner"}, {"password", words}}.dump());
  ASSERT_EQ(in.status, 200) << in.body;
  ASSERT_TRUE(in.headers.contains("set-cookie"));
  const std::string cookie = in.headers.at("set-cookie").substr(0, in.headers.at("set-cookie").find(';'));
  const Headers session{{"Cookie", cookie}, {"X-CSRF-Token", Json::parse(in.body).value("csrfToken", "")}};

  killControlPlane();
  ASSERT_NO_FATAL_FAILURE(startControlPlane());
  EXPECT_EQ(http("GET /api/me", {{"Cookie", cookie}}).status, 200);
  EXPECT_EQ(http("POST /api/users", {{"Cookie", cookie}}, R"({"name":"eve"})").status, 403);
  EXPECT_EQ(http("POST /api/users", session, R"({"name":"eve"})").status, 201);
  EXPECT_EQ(http("DELETE /api/session", session).status, 204);
  EXPECT_EQ(http("GET /api/me", {{"Cookie", cookie}}).status, 401);
  EXPECT_EQ((controlPlane_->out() + controlPlane_->err()).find(cookie.substr(cookie.find('=') + 1)), std::string::npos);
}

TEST_F(Processes, ASecondControlPlaneOnTheSameDataIsRefused) {
  ASSERT_NO_FATAL_FAILURE(startControlPlane());
  const Output second = runProcess(
      {kProduct, "control-plane", "--data", (directory_.path() / "cp").string(), "--http-port", "0", "--ws-port", "0"},
      {}, directory_.path());
  EXPECT_EQ(second.status, 1);
  EXPECT_THAT(second.err, HasSubstr("in use by process"));
}

TEST_F(Processes, PlaintextOutsideLoopbackIsRefused) {
  const Output open = runProcess({kProduct, "control-plane", "--data", (directory_.path() / "cp").string(), "--bind",
                                  "0.0.0.0", "--http-port", "0", "--ws-port", "0"},
                                 {}, directory_.path());
  EXPECT_NE(open.status, 0);
  EXPECT_THAT(open.err, HasSubstr("--tls-cert"));
}

}  // namespace
}  // namespace vaultysclaw::system_test
