#include "cli_fakes.hpp"
#include "store/agent_state.hpp"

namespace vaultysclaw::cli::testing {
namespace {

class Cli : public CliFixture {};

TEST_F(Cli, AgentsAreATableWithAlignedColumns) {
  on("GET /api/agents", [] {
    json sealed = agent("echo", kDid), plain = agent("old", kDid),
         paused = agent("a longer n\u00e4me", kOtherDid, "offline");
    sealed["sealed"] = true;
    sealed["protection"] = plain["protection"] = "loopback";
    paused["paused"] = "under repair";
    return listing({sealed, plain, paused});
  }());
  const Outcome r = run({"agents"});
  EXPECT_EQ(r.code, kOk) << r.err;
  EXPECT_EQ(r.out,
            "NAME           STATUS     PROTECTION  CAPABILITIES  LAST SEEN            DID\n"
            "echo           connected  sealed      echo,read     2026-01-31 12:00:00  " +
                kDid +
                "\n"
                "old            connected  loopback    echo,read     2026-01-31 12:00:00  " +
                kDid +
                "\n"
                "a longer n\u00e4me  paused     -           echo,read     2026-01-31 12:00:00  " +
                kOtherDid + "\n");
  EXPECT_EQ(requests().front().authorization, "Bearer vcp_test");
}

TEST_F(Cli, JsonIsTheAnswerAsItCame) {
  const json body = listing({agent("echo", kDid)});
  on("GET /api/agents", body);
  EXPECT_EQ(run({"agents", "--json"}).out, body.dump() + "\n");
  EXPECT_EQ(run({"--json", "agents", "--status", "connected", "--limit", "7"}).code, kOk);
  EXPECT_EQ(requests().back().query["status"], "connected");
  EXPECT_EQ(requests().back().query["limit"], "7");
}

TEST_F(Cli, ColoursAreForTerminalsWithoutNoColor) {
  on("GET /api/agents", listing({agent("echo", kDid)}));
  environment["TERM"] = "xterm";
  EXPECT_THAT(run({"agents"}, "", Terminal::Yes).out, HasSubstr("\033[32mconnected\033[0m"));
  EXPECT_THAT(run({"agents"}).out, Not(HasSubstr("\033")));
  environment["NO_COLOR"] = "1";
  EXPECT_THAT(run({"agents"}, "", Terminal::Yes).out, Not(HasSubstr("\033")));
}

TEST_F(Cli, ForeignTextCannotDriveTheTerminal) {
  environment["NO_COLOR"] = "1";
  on("GET /api/agents", listing({agent("e\x1b[2J\u009b1m\nx", kDid)}));
  const std::string out = run({"agents"}, "", Terminal::Yes).out;
  EXPECT_THAT(out, HasSubstr("e?[2J?1m x"));
  on("POST /api/agents/" + kDid + "/run", json{{"status", "success"}, {"output", "\u009b31m\x07"}, {"intentId", "i"}});
  EXPECT_THAT(run({"run", kDid, "x"}, "", Terminal::Yes).out, Not(HasSubstr("\u009b")));
}

TEST_F(Cli, NamesBecomeDidsWhenOnlyOneAgentHasThem) {
  on("GET /api/agents", listing({agent("echo", kDid)}));
  on("GET /api/agents/" + kDid, agent("echo", kDid));
  const Outcome r = run({"agents", "get", "echo"});
  EXPECT_EQ(r.code, kOk) << r.err;
  EXPECT_THAT(r.out, HasSubstr(kDid));
  EXPECT_EQ(requests().front().query["name"], "echo");

  on("GET /api/agents", listing({agent("echo", kDid), agent("echo", kOtherDid)}));
  const Outcome two = run({"agents", "get", "echo"});
  EXPECT_EQ(two.code, kFailed);
  EXPECT_THAT(two.err, HasSubstr(kOtherDid));

  on("GET /api/agents", listing(json::array()));
  const Outcome none = run({"agents", "get", "echo"});
  EXPECT_EQ(none.code, kFailed);
  EXPECT_THAT(none.err, HasSubstr("'vaultysclaw agents' lists them"));
}

TEST_F(Cli, GrantsAndDeletes) {
  on("PATCH /api/agents/" + kDid, agent("echo", kDid));
  EXPECT_EQ(
      run({"agents", "grant", kDid, "--capabilities", "echo,read", "--max-tokens-per-day", "9", "--reason", "r"}).code,
      kOk);
  EXPECT_EQ(json::parse(requests().back().body),
            (json{{"capabilities", {"echo", "read"}}, {"resourceLimits", {{"maxTokensPerDay", 9}}}, {"reason", "r"}}));
  EXPECT_EQ(run({"agents", "grant", kDid, "--no-capabilities"}).code, kOk);
  EXPECT_EQ(json::parse(requests().back().body), (json{{"capabilities", json::array()}}));
  on("DELETE /api/agents/" + kDid, Reply{204, "", {}});
  EXPECT_EQ(run({"agents", "delete", kDid}).code, kOk);
}

TEST_F(Cli, PausesResumesAndResets) {
  json shown = agent("echo", kDid);
  shown["connectedAt"] = "2026-01-31T12:00:00.000Z";
  shown["sealed"] = false;
  shown["protection"] = "tls";
  shown["features"] = {"control-v2", "seal"};
  shown["paused"] = "under repair";
  on("GET /api/agents", listing({agent("echo", kDid)}));
  on("POST /api/agents/" + kDid + "/pause", shown);
  on("POST /api/agents/" + kDid + "/resume", agent("echo", kDid));
  on("POST /api/agents/" + kDid + "/reset-pin", agent("echo", kDid));
  const Outcome paused = run({"agents", "pause", "echo", "--reason", "under repair"});
  EXPECT_EQ(paused.code, kOk) << paused.err;
  EXPECT_EQ(json::parse(requests().back().body), (json{{"reason", "under repair"}}));
  for (const char* line : {"paused                under repair", "protection            tls",
                           "sealed                no", "features              control-v2, seal"})
    EXPECT_THAT(paused.out, HasSubstr(line));
  EXPECT_EQ(run({"agents", "pause", kDid}).code, kOk);
  EXPECT_EQ(requests().back().body, "{}");
  EXPECT_THAT(run({"agents", "resume", kDid}).out, Not(HasSubstr("paused")));
  EXPECT_EQ(requests().back().path, "/api/agents/" + kDid + "/resume");
  EXPECT_EQ(json::parse(run({"agents", "reset-pin", kDid, "--json"}).out)["did"], kDid);
  EXPECT_EQ(requests().back().path, "/api/agents/" + kDid + "/reset-pin");
  for (const char* command : {"pause", "resume", "reset-pin"}) EXPECT_EQ(run({"agents", command}).code, kUsage);
  const std::string completion = run({"completion", "bash"}).out;
  for (const char* command : {"pause", "resume", "reset-pin"}) EXPECT_THAT(completion, HasSubstr(command));
}

TEST_F(Cli, AnIntentShowsBothSignatures) {
  json intent = {{"intentId", "i-1"}, {"did", kDid}, {"status", "success"}, {"signatureValid", true}};
  on("GET /api/intents/i-1", intent);
  EXPECT_THAT(run({"intents", "get", "i-1"}).out, Not(HasSubstr("result signature")));
  intent["resultSigned"] = true;
  for (const auto& [valid, text] : {std::pair<json, const char*>{true, "result signature      valid"},
                                    {false, "result signature      INVALID"},
                                    {nullptr, "result signature      not checked"}}) {
    intent["resultSignatureValid"] = valid;
    on("GET /api/intents/i-1", intent);
    EXPECT_THAT(run({"intents", "get", "i-1"}).out, HasSubstr(text));
  }
}

TEST_F(Cli, AnIntentShowsWhatHappenedToIt) {
  json intent = {{"intentId", "i-1"}, {"did", kDid}, {"status", "queued"}, {"signatureValid", nullptr}};
  intent["history"] = {{{"at", "2026-01-31T12:00:00.000Z"}, {"event", "accepted"}},
                       {{"at", "2026-01-31T12:00:01.000Z"}, {"event", "resent"}, {"detail", "2"}},
                       {{"at", "2026-01-31T12:00:02.000Z"}, {"event", "connection_lost"}, {"detail", "why"}}};
  on("GET /api/intents/i-1", intent);
  const std::string shown = run({"intents", "show", "i-1"}).out;
  EXPECT_THAT(shown, Not(HasSubstr("INVALID"))) << "nothing was signed yet";
  EXPECT_THAT(shown, HasSubstr("2026-01-31T12:00:00.000Z  accepted\n"));
  EXPECT_THAT(shown, HasSubstr("resent (number 2)\n"));
  EXPECT_THAT(shown, HasSubstr("connection lost: why\n"));
}

TEST_F(Cli, CancelsAnIntent) {
  on("POST /api/intents/i-1/cancel", json{{"intentId", "i-1"}, {"cancelling", true}}, 202);
  EXPECT_THAT(run({"intents", "cancel", "i-1"}).out, HasSubstr("i-1"));
  on("POST /api/intents/i-1/cancel", json{{"error", "the intent has ended already"}, {"code", "conflict"}}, 409);
  EXPECT_EQ(run({"intents", "cancel", "i-1"}).code, kFailed);
  EXPECT_EQ(run({"intents", "cancel"}).code, kUsage);
}

TEST_F(Cli, RunMayWaitForItsAgentUnderAKey) {
  on("GET /api/agents", listing({agent("echo", kDid)}));
  on("POST /api/agents/" + kDid + "/run", json{{"intentId", "i-1"}, {"status", "success"}, {"output", 1}});
  EXPECT_EQ(run({"run", "echo", "act", "--ttl", "5", "--idempotency-key", "k 1"}).code, kOk);
  json body = json::parse(requests().back().body);
  EXPECT_EQ(body["ttlSeconds"], 5);
  EXPECT_EQ(body["idempotencyKey"], "k 1");
  EXPECT_EQ(run({"run", "echo", "act"}).code, kOk);
  body = json::parse(requests().back().body);
  EXPECT_FALSE(body.contains("ttlSeconds") || body.contains("idempotencyKey"));
  EXPECT_EQ(run({"run", "echo", "act", "--ttl", "301"}).code, kUsage);
  on("POST /api/intents", json{{"intentId", "i-2"}, {"status", "queued"}}, 202);
  const Outcome queued = run({"run", "echo", "act", "--ttl", "604800", "--no-wait"});
  EXPECT_EQ(queued.code, kOk) << queued.err;
  EXPECT_THAT(queued.out, HasSubstr("Waits: i-2"));
  EXPECT_THAT(queued.err, HasSubstr("intents show i-2"));
}

TEST_F(Cli, ApprovesByNameAndRejectsById) {
  const json row = {
      {"id", "r-1"}, {"did", kDid}, {"name", "echo"}, {"status", "pending"}, {"requestedCapabilities", {"echo"}}};
  on("GET /api/registrations", listing({row}));
  on("POST /api/registrations/r-1/approve", json{{"name", "echo"}, {"did", kDid}, {"capabilities", {"echo"}}});
  on("POST /api/registrations/r-1/reject", json{{"success", true}});
  EXPECT_THAT(run({"registrations", "list"}).out, HasSubstr("r-1"));
  const Outcome approved =
      run({"registrations", "approve", "echo", "--capability", "echo", "--expires", "2030-01-01T00:00:00Z"});
  EXPECT_EQ(approved.code, kOk) << approved.err;
  EXPECT_THAT(approved.out, HasSubstr("granted: echo"));
  EXPECT_EQ(json::parse(requests().back().body),
            (json{{"capabilities", {"echo"}}, {"policyExpiresAt", "2030-01-01T00:00:00Z"}}));
  EXPECT_EQ(run({"registrations", "reject", "r-1", "--reason", "no"}).code, kOk);
  EXPECT_EQ(json::parse(requests().back().body), (json{{"reason", "no"}}));
  // One that is decided already goes to the control plane, which knows why not.
  on("POST /api/registrations/r-9/approve", json{{"error", "decided already"}, {"code", "conflict"}}, 409);
  const Outcome late = run({"registrations", "approve", "r-9"});
  EXPECT_EQ(late.code, kFailed);
  EXPECT_THAT(late.err, HasSubstr("decided already"));
}

TEST_F(Cli, LimitsAndExpiryGoWithTheApproval) {
  on("GET /api/registrations", listing({}));
  on("POST /api/registrations/r-1/approve", json{{"name", "echo"}, {"did", kDid}, {"capabilities", json::array()}});
  EXPECT_EQ(run({"registrations", "approve", "r-1", "--no-capabilities", "--max-tokens-per-day", "0",
                 "--max-requests-per-hour", "7", "--expires", "90m"})
                .code,
            kOk);
  const json body = json::parse(requests().back().body);
  EXPECT_EQ(body["capabilities"], json::array());
  EXPECT_EQ(body["resourceLimits"], (json{{"maxTokensPerDay", 0}, {"maxRequestsPerHour", 7}}));
  const auto expires = fromIso8601(body["policyExpiresAt"].get<std::string>());
  ASSERT_TRUE(expires.ok()) << body;
  const auto now = makeSystemClock()->now();
  EXPECT_GT(*expires, now);
  EXPECT_LE(*expires, now + std::chrono::minutes(90));
  for (const char* wrong : {"soon", "12", "0d", "-1d", "1.5h", "d", "99999999999999999999d", "5w", "1d "}) {
    const Outcome refused = run({"registrations", "approve", "r-1", "--expires", wrong});
    EXPECT_EQ(refused.code, kUsage) << wrong;
    EXPECT_THAT(refused.err, HasSubstr("30d")) << wrong;
  }
}

TEST_F(Cli, LoopbackIsReachedWithoutAProxy) {
  on("GET /api/agents", listing({agent("echo", kDid)}));
  ::setenv("http_proxy", "http://127.0.0.1:1", 1);
  const Outcome reached = run({"agents"});
  ::unsetenv("http_proxy");
  EXPECT_EQ(reached.code, kOk) << reached.err;
}

TEST_F(Cli, ChatEventsAsJsonCannotDriveTheTerminal) {
  on("POST /api/chat", Reply{200, "", {"data: {\"chunk\":\"\xc2\x9b\x32J\"}\n\n", "data: [DONE]\n\n"}});
  EXPECT_THAT(run({"--json", "chat", kDid, "hi"}, "", Terminal::Yes).out, Not(HasSubstr("\xc2\x9b")));
  EXPECT_THAT(run({"--json", "chat", kDid, "hi"}).out, HasSubstr("\xc2\x9b")) << "programs get what came";
}

TEST_F(Cli, RunSendsParamsByteForByteFromEverySource) {
  on("POST /api/agents/" + kDid + "/run", json{{"intentId", "i"}, {"status", "success"}, {"output", {{"a", 1}}}});
  const std::string params = "{ \"z\" : 1.0,\"a\":[ ]}";
  EXPECT_EQ(run({"run", kDid, "echo", params, "--timeout", "1.5"}).out, "{\n  \"a\": 1\n}\n");
  EXPECT_EQ(requests().back().body, "{\"action\":\"echo\",\"params\":" + params + ",\"timeoutMs\":1500}");
  run({"run", kDid, "echo", "-"}, params);
  EXPECT_THAT(requests().back().body, HasSubstr(params));
  std::ofstream(directory.file("p.json")) << params;
  run({"run", kDid, "echo", "@" + directory.file("p.json")});
  EXPECT_THAT(requests().back().body, HasSubstr(params));

  const std::size_t before = requests().size();
  for (const std::string bad : {"{", "[1]", "", "@/does/not/exist", "{} {}"})
    EXPECT_EQ(run({"run", kDid, "echo", bad}).code, kUsage) << bad;
  EXPECT_EQ(requests().size(), before);
}

TEST_F(Cli, RunEndsWithOneWhenTheIntentFails) {
  on("POST /api/agents/" + kDid + "/run", json{{"intentId", "i-3"},
                                               {"status", "failed"},
                                               {"output", nullptr},
                                               {"error", "out of paper"},
                                               {"code", "failed"}});
  const Outcome text = run({"run", kDid, "print"});
  EXPECT_EQ(text.code, kFailed);
  EXPECT_THAT(text.err, HasSubstr("out of paper (failed)"));
  const Outcome asJson = run({"run", kDid, "print", "--json"});
  EXPECT_EQ(asJson.code, kFailed);
  EXPECT_EQ(json::parse(asJson.out)["error"], "out of paper");
  on("POST /api/intents", json{{"intentId", "i-4"}}, 202);
  EXPECT_THAT(run({"run", kDid, "print", "--no-wait"}).out, HasSubstr("i-4"));
}

TEST_F(Cli, ChatStreamsAndRemembers) {
  const Reply reply{
      200,
      "",
      {"data: {\"conversationId\":\"c-1\"}\n\n", ": keep-alive\n\ndata: {\"thinking\":\"hm\"}\n\ndata: {\"chu",
       "nk\":\"Gr\u00fc\"}\n\ndata: {\"chunk\":\"\u00dfe\"}\n\n", "data: [DONE]\n\n"}};
  on("POST /api/chat", reply);
  const Outcome one = run({"chat", kDid, "hello"});
  EXPECT_EQ(one.code, kOk) << one.err;
  EXPECT_EQ(one.out, "Gr\u00fc\u00dfe\n");
  EXPECT_THAT(run({"chat", kDid, "-", "--thinking"}, "from a pipe").out, HasSubstr("hm"));
  EXPECT_EQ(json::parse(requests().back().body)["messages"][0]["content"], "from a pipe");

  const Outcome talk = run({"chat", kDid}, "one\n\ntwo\n/exit\nthree\n");
  EXPECT_EQ(talk.code, kOk);
  const json last = json::parse(requests().back().body);
  EXPECT_EQ(last["conversationId"], "c-1");
  ASSERT_EQ(last["messages"].size(), 3U);
  EXPECT_EQ(last["messages"][1], (json{{"role", "assistant"}, {"content", "Gr\u00fc\u00dfe"}}));
  EXPECT_EQ(last["messages"][2]["content"], "two");

  const Outcome lines = run({"chat", kDid, "hello", "--json"});
  EXPECT_THAT(lines.out, ::testing::StartsWith("{\"conversationId\":\"c-1\"}\n"));
}

TEST_F(Cli, ChatSaysWhenItFailsOrBreaksOff) {
  on("POST /api/chat",
     Reply{200,
           "",
           {"data: {\"chunk\":\"par\"}\n\ndata: {\"error\":\"no\",\"code\":\"policy_denied\"}\n\ndata: [DONE]\n\n"}});
  const Outcome refused = run({"chat", kDid, "x"});
  EXPECT_EQ(refused.code, kFailed);
  EXPECT_THAT(refused.err, HasSubstr("no (policy_denied)"));
  on("POST /api/chat", Reply{200, "", {"id: 0\ndata: {\"chunk\":\"par\"}\n\n"}});
  on("*", json{{"error", "the control plane was restarted"}, {"code", "not_found"}}, 404);
  const Outcome broken = run({"chat", kDid, "x", "--conversation", "c 1"});
  EXPECT_EQ(broken.code, kFailed);
  EXPECT_EQ(broken.out, "par\n");
  EXPECT_THAT(broken.err, HasSubstr("broke off"));
  EXPECT_THAT(broken.err, HasSubstr("the control plane was restarted"));
  EXPECT_EQ(requests().back().method + requests().back().path, "GET/api/chat/" + kDid + "/c 1");
  EXPECT_EQ(requests().back().query["fromSeq"], "1");
  on("POST /api/chat", json{{"error", "the agent is not connected"}, {"code", "unavailable"}}, 503);
  const Outcome away = run({"chat", kDid, "x"});
  EXPECT_EQ(away.code, kFailed);
  EXPECT_THAT(away.err, HasSubstr("which agents are connected"));
}

TEST_F(Cli, ChatGoesOnWhereItsConnectionBrokeAndShowsNothingTwice) {
  const std::string named = "data: {\"conversationId\":\"c-1\"}\n\n";
  on("POST /api/chat", Reply{200, "", {named, "id: 0\ndata: {\"chunk\":\"one \"}\n\n"}});
  on("GET /api/chat/" + kDid + "/c-1", Reply{200,
                                             "",
                                             {named, "id: 0\ndata: {\"chunk\":\"one \"}\n\n",
                                              "id: 1\ndata: {\"chunk\":\"two\"}\n\n", "id: 2\ndata: [DONE]\n\n"}});
  const Outcome whole = run({"chat", kDid, "x"});
  EXPECT_EQ(whole.code, kOk) << whole.err;
  EXPECT_EQ(whole.out, "one two\n");
  EXPECT_EQ(json::parse(requests().front().body)["resumable"], true);
  EXPECT_EQ(requests().back().query["fromSeq"], "1");
  EXPECT_EQ(pauses, 1);
  EXPECT_EQ(run({"chat", kDid, "x", "--json"}).out,
            "{\"conversationId\":\"c-1\"}\n{\"chunk\":\"one \"}\n{\"chunk\":\"two\"}\n");

  // Before the first piece, and with an id that only we know.
  on("POST /api/chat", Reply{200, "", {": keep-alive\n\n"}});
  on("GET /api/chat/" + kDid + "/mine",
     Reply{200, "", {"id: 0\ndata: {\"chunk\":\"all\"}\n\nid: 1\ndata: [DONE]\n\n"}});
  EXPECT_EQ(run({"chat", kDid, "x", "--conversation", "mine"}).out, "all\n");
}

TEST_F(Cli, ChatTriesForTwoMinutesToGoOn) {
  on("POST /api/chat", Reply{200, "", {"id: 0\ndata: {\"chunk\":\"par\"}\n\n"}});
  on("*", json{{"error", "no upstream"}}, 502);
  const SteadyTime before = clock.steady();
  const Outcome broken = run({"chat", kDid, "x"});
  EXPECT_EQ(broken.code, kFailed);
  EXPECT_THAT(broken.err, HasSubstr("within two minutes"));
  EXPECT_GT(clock.steady() - before, seconds(100));
  EXPECT_LE(clock.steady() - before, seconds(120));
  EXPECT_GT(pauses, 10);
  EXPECT_LT(pauses, 60);

  // What a path cannot name cannot be asked for.
  pauses = 0;
  const Outcome unnamed = run({"chat", kDid, "x", "--conversation", "a/b"});
  EXPECT_THAT(unnamed.err, HasSubstr("broke off"));
  EXPECT_EQ(pauses, 0);
  EXPECT_FALSE(json::parse(requests().back().body).contains("resumable"));
}

TEST_F(Cli, IntentsAndAudit) {
  on("GET /api/intents", listing({{{"intentId", "i-1"},
                                   {"did", kDid},
                                   {"action", "echo"},
                                   {"status", "success"},
                                   {"signatureValid", false},
                                   {"createdAt", "2026-01-31T12:00:00.000Z"}}},
                                 true));
  const Outcome intents = run({"intents", "--agent", kDid, "--status", "success"});
  EXPECT_THAT(intents.out, HasSubstr("INVALID"));
  EXPECT_THAT(intents.err, HasSubstr("--offset 50"));
  EXPECT_EQ(requests().back().query["did"], kDid);
  on("GET /api/audit/verify", json{{"valid", true}, {"rows", 3}, {"firstBroken", nullptr}});
  EXPECT_EQ(run({"audit", "verify"}).code, kOk);
  on("GET /api/audit/verify", json{{"valid", false}, {"rows", 3}, {"firstBroken", 2}});
  const Outcome broken = run({"audit", "verify"});
  EXPECT_EQ(broken.code, kFailed);
  EXPECT_THAT(broken.err, HasSubstr("row 2"));
  EXPECT_EQ(run({"audit", "verify", "--json"}).code, kFailed);
}

TEST_F(Cli, ErrorsSayWhatToDoNext) {
  on("*", json{{"error", "this token is not known here"}, {"code", "unauthenticated"}}, 401);
  EXPECT_THAT(run({"agents"}).err, HasSubstr("VAULTYSCLAW_TOKEN"));
  on("*", json{{"error", "the request is not valid"}, {"details", {{"a", "is wrong"}, {"b", "is missing"}}}}, 400);
  EXPECT_THAT(run({"agents"}).err, HasSubstr("b: is missing"));
  on("*", Reply{200, "<html>", {}});
  EXPECT_EQ(run({"agents"}).code, kCannotConnect);

  environment.erase("VAULTYSCLAW_TOKEN");
  const Outcome missing = run({"agents", "--token-file", directory.file("none")});
  EXPECT_EQ(missing.code, kFailed);
  EXPECT_THAT(missing.err, HasSubstr("--token-file"));
  std::ofstream(directory.file("open")) << "vcp_x\n";
  std::filesystem::permissions(directory.file("open"), std::filesystem::perms(0644));
  EXPECT_THAT(run({"agents", "--token-file", directory.file("open")}).err, HasSubstr("chmod 600"));
  std::filesystem::permissions(directory.file("open"), std::filesystem::perms(0600));
  on("*", listing(json::array()));
  EXPECT_EQ(run({"agents", "--token-file", directory.file("open")}).code, kOk);
  EXPECT_EQ(requests().back().authorization, "Bearer vcp_x");
}

TEST_F(Cli, NothingListeningIsNoConnection) {
  TearDown();
  const Outcome r = run({"agents"});
  EXPECT_EQ(r.code, kCannotConnect);
  EXPECT_THAT(r.err, HasSubstr("'vaultysclaw control-plane' starts one"));
  url = "gopher://x";
  EXPECT_EQ(run({"agents"}).code, kUsage);
}

TEST_F(Cli, TheTokenDoesNotTravelInTheClear) {
  for (const char* const remote : {"http://192.0.2.1:3000", "http://claw.invalid", "http://[2001:db8::1]:3000/x",
                                   "http://localhost:x@192.0.2.1", "HTTP://192.0.2.1", "192.0.2.1:3000"}) {
    url = remote;
    const Outcome r = run({"agents"});
    EXPECT_EQ(r.code, kUsage) << remote;
    EXPECT_THAT(r.err, HasSubstr("--allow-plaintext"));
  }
}

TEST_F(Cli, UsageErrorsAreTwoAndEveryCommandHasAnExample) {
  url.clear();
  for (const std::vector<std::string>& bad : std::vector<std::vector<std::string>>{{},
                                                                                   {"agents", "--bogus"},
                                                                                   {"run", "x"},
                                                                                   {"registrations"},
                                                                                   {"agents", "--status", "gone"},
                                                                                   {"completion", "fish"},
                                                                                   {"nonsense"}}) {
    EXPECT_EQ(run(bad).code, kUsage);
  }
  EXPECT_THAT(run({"--version"}).out, HasSubstr("vaultysclaw "));
  for (const char* name : {"control-plane", "agents", "registrations", "run", "chat", "intents", "audit", "users",
                           "keys", "workspaces", "id", "completion"}) {
    const Outcome help = run({name, "--help"});
    EXPECT_EQ(help.code, kOk) << name;
    EXPECT_THAT(help.out, HasSubstr("vaultysclaw " + std::string(name))) << name;
  }
}

TEST_F(Cli, IdentitiesAreMadeOnceAndShown) {
  const std::string path = directory.file("a.id");
  const Outcome made = run({"id", "new", path, "--json"});
  EXPECT_EQ(made.code, kOk) << made.err;
  EXPECT_EQ(json::parse(run({"id", "show", path, "--json"}).out), json::parse(made.out));
  EXPECT_EQ(run({"id", "new", path}).code, kFailed);
  EXPECT_THAT(run({"id", "show", directory.file("none")}).err, HasSubstr("id new"));
  EXPECT_EQ(std::filesystem::status(path).permissions(), std::filesystem::perms(0600));
}

TEST_F(Cli, TrustShowsAndChangesWhomAnAgentBelongsTo) {
  const std::string path = directory.file("agent.id");
  ASSERT_EQ(run({"id", "new", path}).code, kOk);
  const auto shown = [&] { return json::parse(run({"id", "trust", path, "--json"}).out); };
  EXPECT_EQ(shown()["did"], nullptr);
  EXPECT_FALSE(std::filesystem::exists(path + ".state"));
  EXPECT_THAT(run({"id", "trust", path}).out, HasSubstr("the first control plane that approves it"));
  EXPECT_THAT(run({"id", "trust", path, kDid}).out, HasSubstr(kDid));
  EXPECT_EQ(shown()["did"], kDid);
  {
    const Did agent(json::parse(run({"id", "show", path, "--json"}).out)["did"].get<std::string>());
    auto state = store::openAgentState(path + ".state", agent);
    ASSERT_TRUE(state.ok());
    ASSERT_TRUE((*state)->putAll({{"control_plane_features", "seal\ncontrol-v2"}}).ok());
    const Outcome busy = run({"id", "trust", path, kOtherDid});
    EXPECT_EQ(busy.code, kFailed);
    EXPECT_THAT(busy.err, HasSubstr("Stop the agent first"));
  }
  EXPECT_EQ(shown()["features"], json({"control-v2", "seal"}));
  EXPECT_THAT(run({"id", "trust", path}).out, HasSubstr("control-v2, seal"));
  EXPECT_EQ(run({"id", "trust", path, kOtherDid}).code, kOk);
  EXPECT_EQ(shown()["did"], kOtherDid);
  EXPECT_EQ(shown()["features"], json::array());
  EXPECT_EQ(run({"id", "trust", path, "--reset"}).code, kOk);
  EXPECT_EQ(shown()["did"], nullptr);
}

TEST_F(Cli, TrustRefusesWhatCannotBeMeant) {
  const std::string path = directory.file("agent.id");
  EXPECT_THAT(run({"id", "trust", path}).err, HasSubstr("no identity file"));
  ASSERT_EQ(run({"id", "new", path}).code, kOk);
  EXPECT_EQ(run({"id", "trust", path, "did:vaultys:xyz"}).code, kUsage);
  EXPECT_EQ(run({"id", "trust", path, kDid, "--reset"}).code, kUsage);
  EXPECT_FALSE(std::filesystem::exists(path + ".state"));
  const std::string other = directory.file("elsewhere.state");
  EXPECT_EQ(run({"id", "trust", path, kDid, "--state", other}).code, kOk);
  EXPECT_TRUE(std::filesystem::exists(other));
}

}  // namespace
}  // namespace vaultysclaw::cli::testing
