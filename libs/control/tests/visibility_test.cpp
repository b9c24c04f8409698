// Members and what is not theirs: two users in two workspaces, each with an agent, over REST and a whole control plane.
// Whatever names what one may not see is answered as what does not exist.
#include "control/rest_api.hpp"
#include "control/workspaces.hpp"
#include "control_fixture.hpp"
#include "rest_fakes.hpp"

namespace vaultysclaw::control::testing {
namespace {

class Visibility : public ControlTest {
 protected:
  void SetUp() override {
    const auto people = [](store::ControlWriter& w) -> Status {
      for (const auto& [name, role] : {std::pair{"root", "owner"}, {"ann", "member"}, {"bob", "member"}}) {
        VC_TRY(w.putUser({.id = store::UserId(std::string("id-of-") + name), .name = name, .role = role}));
        const auto hash = identity::sha256(asBytes(std::string(name)));
        VC_TRY(w.putApiToken({.id = TokenId(name),
                              .name = name,
                              .hash = Bytes(hash.begin(), hash.end()),
                              .user = store::UserId(std::string("id-of-") + name),
                              .scopes = "read run operate admin"}));
      }
      return {};
    };
    ASSERT_TRUE(store->writeBlocking(people).ok());
    ControlTest::start();
    serve();
    anns = agentIn("red", "ann", "anns-agent");
    bobs = agentIn("blue", "bob", "bobs-agent");
    letWork("ann");
    letWork("bob");
  }
  void TearDown() override { api.reset(); }

  void serve() {
    api.reset();
    auto made = makeRestApi({loop, workers, clock, entropy, *store, nullLogger()}, *plane, {});
    ASSERT_TRUE(made.ok());
    api = std::move(*made);
  }
  // In a new workspace, with the user as its only member.
  std::unique_ptr<TestAgent> agentIn(const std::string& workspace, const std::string& user, const std::string& name) {
    TestAgent::Options o;
    o.name = name;
    o.features = TestAgent::allFeatures();
    auto agent = newAgent(o);
    agent->connect();
    run();
    EXPECT_EQ(ask("root", "POST", "/api/workspaces", R"({"name":")" + workspace + R"("})").status, 201);
    EXPECT_EQ(ask("root", "PUT", "/api/workspaces/" + workspace + "/members/" + user).status, 204);
    EXPECT_EQ(ask("root", "DELETE", "/api/workspaces/default/members/" + user).status, 204);
    const std::string id = registrationOf(*agent).value;
    EXPECT_EQ(ask("root", "POST", "/api/registrations/" + id + "/approve", R"({"workspaces":[")" + workspace + R"("]})")
                  .status,
              200);
    EXPECT_TRUE(agent->connected());
    return agent;
  }
  // With every agent that the user may know of.
  void letWork(const std::string& user) {
    EXPECT_EQ(ask("root", "POST", "/api/grants", R"({"user":")" + user + R"(","capabilities":["echo"]})").status, 201);
  }
  // Without a turn of the loop.
  std::shared_ptr<Answer> start(const std::string& who, const std::string& method, const std::string& target,
                                const std::string& body = "") {
    net::HttpRequest r;
    r.method = method;
    const auto mark = target.find('?');
    r.path = target.substr(0, mark);
    std::string query = mark == std::string::npos ? "" : target.substr(mark + 1);
    while (!query.empty()) {
      const std::string pair = query.substr(0, query.find('&'));
      query.erase(0, pair.size() + 1);
      r.query.emplace_back(pair.substr(0, pair.find('=')), pair.substr(pair.find('=') + 1));
    }
    r.headers = {{"Host", "127.0.0.1"}, {"Authorization", "Bearer " + who}};
    if (!body.empty()) r.headers.emplace_back("Content-Type", "application/json");
    r.body = body;
    r.peer.address = "10.1.1.1";
    auto answer = std::make_shared<Answer>();
    api->handle(std::make_shared<FakeExchange>(std::move(r), answer));
    return answer;
  }
  std::shared_ptr<Answer> begin(const std::string& who, const std::string& method, const std::string& target,
                                const std::string& body = "") {
    auto answer = start(who, method, target, body);
    run();
    return answer;
  }
  Answer ask(const std::string& who, const std::string& method, const std::string& target,
             const std::string& body = "") {
    return *begin(who, method, target, body);
  }
  std::string intentBy(const std::string& who, const TestAgent& agent, const std::string& more = "") {
    const Answer sent =
        ask(who, "POST", "/api/intents",
            R"({"did":")" + agent.did().value + R"(","action":"echo","params":{"of":")" + who + R"("})" + more + "}");
    EXPECT_EQ(sent.status, 202) << sent.body;
    return sent.parsed()["intentId"];
  }
  static std::string replaced(std::string text, const std::string& what, const std::string& with) {
    for (auto at = text.find(what); at != std::string::npos; at = text.find(what, at + with.size()))
      text.replace(at, what.size(), with);
    return text;
  }
  // What there is and what there is not answer alike: but for the name that was asked for, and the time.
  void expectAlike(const std::string& who, const std::string& method, const std::string& target,
                   const std::string& body, const std::string& real, const std::string& none) {
    const Answer hidden = ask(who, method, target, body);
    const Answer absent = ask(who, method, replaced(target, real, none), replaced(body, real, none));
    const std::string what = who + ' ' + method + ' ' + target + ' ' + body;
    EXPECT_EQ(hidden.status, absent.status) << what << hidden.body << absent.body;
    EXPECT_EQ(replaced(hidden.body, real, none), absent.body) << what;
    EXPECT_EQ(hidden.headers, absent.headers) << what;
    EXPECT_FALSE(hidden.streaming) << what;
  }
  void expect404(const std::string& who, const std::string& method, const std::string& target, const std::string& body,
                 const std::string& real, const std::string& none) {
    EXPECT_EQ(ask(who, method, target, body).status, 404) << who << ' ' << method << ' ' << target << ' ' << body;
    expectAlike(who, method, target, body, real, none);
  }

  std::unique_ptr<RestApi> api;
  std::unique_ptr<TestAgent> anns, bobs;
  const std::string nobody = "did:vaultys:" + std::string(40, 'e');
};

TEST_F(Visibility, OfAgentsIsTheSameAsOfNoneByEveryRoute) {
  const std::string did = bobs->did().value;
  for (const std::string prefix : {"/api/agents/", "/api/admin/agents/"}) {
    expect404("ann", "GET", prefix + did, "", did, nobody);
    expect404("ann", "HEAD", prefix + did, "", did, nobody);
    expect404("ann", "POST", prefix + did + "/run", R"({"action":"echo"})", did, nobody);
    expect404("ann", "POST", prefix + did + "/run", R"({"action":"echo","idempotencyKey":"k","ttlSeconds":5})", did,
              nobody);
    expect404("ann", "POST", prefix + did + "/run", R"({"surprise":1})", did, nobody);
    for (const char* route : {"/pause", "/resume", "/reset-pin"})
      expectAlike("ann", "POST", prefix + did + route, "{}", did, nobody);
    expectAlike("ann", "PATCH", prefix + did, R"({"capabilities":[]})", did, nobody);
    expectAlike("ann", "DELETE", prefix + did, "", did, nobody);
  }
  for (const char* member : {"did", "agentId", "agentDid"}) {
    const std::string named = R"({")" + std::string(member) + R"(":")" + did + R"(",)";
    expect404("ann", "POST", "/api/intents", named + R"("action":"echo"})", did, nobody);
    expect404("ann", "POST", "/api/admin/intents", named + R"("action":"echo"})", did, nobody);
    expect404("ann", "POST", "/api/intents", named + R"("action":"echo","ttlSeconds":60})", did, nobody);
    expect404("ann", "POST", "/api/chat", named + R"("message":"hello"})", did, nobody);
    expectAlike("ann", "POST", "/api/intents", named + R"("action":7})", did, nobody);
    expectAlike("ann", "POST", "/api/policies", named + R"("capabilities":[]})", did, nobody);
  }
  expect404("ann", "GET", "/api/chat/" + did + "/c", "", did, nobody);
  expect404("ann", "DELETE", "/api/chat/" + did + "/c", "", did, nobody);
  for (const std::string& upper : {replaced(did, "did:", "DID:"), did + "/", did + "%00", " " + did})
    expectAlike("ann", "GET", "/api/agents/" + upper, "", did, nobody);
  EXPECT_EQ(bobs->last<protocol::Intent>(), nullptr) << "and nothing has come to it";
  EXPECT_EQ(bobs->last<protocol::ChatRequest>(), nullptr);
  // The same requests are what bob may do.
  EXPECT_EQ(ask("bob", "GET", "/api/agents/" + did).status, 200);
  intentBy("bob", *bobs);
  EXPECT_NE(bobs->last<protocol::Intent>(), nullptr);
}

TEST_F(Visibility, OfWorkspacesIsTheSameAsOfNone) {
  const std::string id = ask("root", "GET", "/api/workspaces/blue").parsed()["id"];
  const std::string noId(id.size(), 'e');
  for (const auto& [real, none] : {std::pair<std::string, std::string>{id, noId}, {"blue", "gone"}}) {
    for (const char* what : {"", "/members", "/agents"})
      expect404("ann", "GET", "/api/workspaces/" + real + what, "", real, none);
    expect404("ann", "HEAD", "/api/workspaces/" + real, "", real, none);
    expectAlike("ann", "GET", "/api/workspaces?name=" + real, "", real, none);
    expectAlike("ann", "PATCH", "/api/workspaces/" + real, R"({"name":"mine"})", real, none);
    expectAlike("ann", "DELETE", "/api/workspaces/" + real, "", real, none);
    expectAlike("ann", "PUT", "/api/workspaces/" + real + "/members/ann", "", real, none);
    expectAlike("ann", "PUT", "/api/workspaces/" + real + "/agents/" + anns->did().value, "", real, none);
    expectAlike("ann", "DELETE", "/api/workspaces/" + real + "/members/bob", "", real, none);
    expectAlike("ann", "POST", "/api/users", R"({"name":"x","workspaces":[")" + real + R"("]})", real, none);
  }
  EXPECT_EQ(ask("ann", "GET", "/api/workspaces/red").status, 200);
  EXPECT_EQ(ask("ann", "GET", "/api/workspaces/default").status, 404) << "which ann has left";
}

TEST_F(Visibility, ListsAndTheirTotalsLeaveOutWhatIsNotTheMembers) {
  intentBy("bob", *bobs);
  intentBy("root", *bobs);
  const std::string did = bobs->did().value;
  const std::vector<std::string> lists = {"/api/agents",
                                          "/api/admin/agents",
                                          "/api/agents?name=bobs-agent",
                                          "/api/agents?search=bobs",
                                          "/api/agents?search=" + did.substr(20, 20),
                                          "/api/agents?limit=1&offset=1",
                                          "/api/agents?status=connected",
                                          "/api/intents",
                                          "/api/admin/intents",
                                          "/api/intents?did=DID",
                                          "/api/intents?status=pending",
                                          "/api/intents?limit=1&offset=1",
                                          "/api/workspaces",
                                          "/api/workspaces?limit=1&offset=1",
                                          "/api/workspaces/red/agents",
                                          "/api/workspaces/red/members"};
  for (const std::string& list : lists) {
    const std::string target = replaced(list, "DID", did);
    const std::string body = ask("ann", "GET", target).body;
    EXPECT_EQ(body.find(did), std::string::npos) << target << body;
    for (const char* word : {"bob", "blue", "root"}) EXPECT_EQ(body.find(word), std::string::npos) << target << body;
    const json shown = json::parse(body);
    EXPECT_LE(shown["pagination"]["total"], 1) << target;
    EXPECT_EQ(shown["pagination"]["hasMore"], false) << target;
    if (shown.contains("totalPages")) {
      EXPECT_EQ(shown["total"], shown["pagination"]["total"]);
    }
  }
  expectAlike("ann", "GET", "/api/intents?did=" + did, "", did, nobody);
  EXPECT_EQ(ask("ann", "GET", "/api/agents").parsed()["pagination"]["total"], 1);
  EXPECT_EQ(ask("root", "GET", "/api/agents").parsed()["pagination"]["total"], 2);
  EXPECT_EQ(ask("root", "GET", "/api/intents").parsed()["pagination"]["total"], 2);
}

TEST_F(Visibility, AnAgentOfTwoWorkspacesShowsOnlyTheCallersAndNothingOfOthersCalls) {
  EXPECT_EQ(ask("root", "PUT", "/api/workspaces/red/agents/" + bobs->did().value).status, 200);
  const json seen = ask("ann", "GET", "/api/agents/" + bobs->did().value).parsed();
  EXPECT_EQ(seen["workspaces"], json{ask("root", "GET", "/api/workspaces/red").parsed()["id"]});
  EXPECT_EQ(ask("root", "GET", "/api/agents/" + bobs->did().value).parsed()["workspaces"].size(), 2U);
  EXPECT_EQ(ask("root", "POST", "/api/policies", R"({"workspace":"blue","capabilities":["echo"]})").status, 201);
  EXPECT_EQ(ask("ann", "GET", "/api/agents/" + bobs->did().value).parsed()["policies"], json::array());
  EXPECT_EQ(ask("root", "GET", "/api/agents/" + bobs->did().value).parsed()["policies"].size(), 1U);
  protocol::Heartbeat beat;
  beat.stuckCalls = {{"action-of-bob", "id-of-bob", 5}};
  bobs->send(beat);
  run();
  EXPECT_EQ(ask("ann", "GET", "/api/agents").body.find("of-bob"), std::string::npos);
  EXPECT_NE(ask("root", "GET", "/api/agents").body.find("of-bob"), std::string::npos);
}

TEST_F(Visibility, OfIntentsIsOnesOwn) {
  const std::string none = "0190b6a2-0000-7000-8000-000000000000";
  const std::string open = intentBy("bob", *bobs), done = intentBy("bob", *bobs), roots = intentBy("root", *anns);
  bobs->sendResult(IntentId(done), R"({"secret":1})");
  run();
  for (const std::string& id : {open, done, roots}) {
    for (const std::string prefix : {"/api/intents/", "/api/admin/intents/"}) {
      expect404("ann", "GET", prefix + id, "", id, none);
      expect404("ann", "POST", prefix + id + "/cancel", "", id, none);
    }
  }
  EXPECT_EQ(bobs->last<protocol::Cancel>(), nullptr);
  EXPECT_EQ(ask("bob", "GET", "/api/intents").parsed()["pagination"]["total"], 2);
  EXPECT_EQ(ask("bob", "GET", "/api/intents/" + done).status, 200);
  EXPECT_EQ(ask("bob", "POST", "/api/intents/" + open + "/cancel").status, 202);
  EXPECT_EQ(ask("bob", "POST", "/api/intents/" + done + "/cancel").status, 409);
  EXPECT_NE(bobs->last<protocol::Cancel>(), nullptr);
  EXPECT_EQ(ask("root", "GET", "/api/intents/" + done).status, 200);
  EXPECT_EQ(ask("root", "GET", "/api/intents").parsed()["pagination"]["total"], 3);
}

// Also on an agent that both may use.
TEST_F(Visibility, AnotherUsersIdempotencyKeyGivesNothing) {
  ASSERT_EQ(ask("root", "PUT", "/api/workspaces/red/agents/" + bobs->did().value).status, 200);
  const std::string body =
      R"({"did":")" + bobs->did().value + R"(","action":"echo","params":{},"idempotencyKey":"key"})";
  const Answer first = ask("bob", "POST", "/api/intents", body);
  const Answer second = ask("ann", "POST", "/api/intents", body);
  ASSERT_EQ(second.status, 202);
  EXPECT_NE(first.parsed()["intentId"], second.parsed()["intentId"]);
  EXPECT_FALSE(second.parsed().contains("replayed"));
  EXPECT_EQ(ask("bob", "POST", "/api/intents", body).parsed()["replayed"], true);
  // Of an agent that has been taken away one's own key says no more than any other.
  ASSERT_EQ(ask("root", "DELETE", "/api/workspaces/red/agents/" + bobs->did().value).status, 200);
  expect404("ann", "POST", "/api/intents", body, "\"key\"", "\"yek\"");
}

TEST_F(Visibility, OfANameThatWasAnothersBeforeBeginsAnew) {
  const std::string old = intentBy("bob", *bobs);
  const std::string id = ask("root", "GET", "/api/users/bob").parsed()["id"];
  ASSERT_EQ(ask("root", "DELETE", "/api/users/" + id).status, 204);
  clock.advance(seconds(1));
  ASSERT_EQ(ask("root", "POST", "/api/users", R"({"name":"bob","workspaces":["blue"]})").status, 201);
  const std::string key =
      ask("root", "POST", "/api/keys", R"({"name":"k","scopes":["read","run"],"user":"bob"})").parsed()["key"];
  EXPECT_EQ(ask(key, "GET", "/api/agents/" + bobs->did().value).status, 200);
  EXPECT_EQ(ask(key, "GET", "/api/intents").parsed()["pagination"]["total"], 0);
  EXPECT_EQ(ask(key, "GET", "/api/intents/" + old).status, 404);
  EXPECT_EQ(ask(key, "POST", "/api/intents/" + old + "/cancel").status, 404);
  EXPECT_EQ(ask(key, "GET", "/api/grants").parsed()["pagination"]["total"], 0);
  letWork("bob");
  const std::string own = intentBy(key, *bobs);
  EXPECT_EQ(ask(key, "GET", "/api/intents/" + own).status, 200);
}

TEST_F(Visibility, ABroadcastGoesWhereOneMay) {
  const json sent = ask("ann", "POST", "/api/intents/broadcast", R"({"action":"echo"})").parsed();
  EXPECT_EQ(sent["sentTo"], json{anns->did().value});
  EXPECT_EQ(sent["count"], 1);
  EXPECT_EQ(bobs->last<protocol::Intent>(), nullptr);
  EXPECT_EQ(ask("root", "POST", "/api/intents/broadcast", R"({"action":"echo"})").parsed()["count"], 2);
}

class Conversations : public Visibility {
 protected:
  void SetUp() override {
    Visibility::SetUp();
    ASSERT_EQ(ask("root", "PUT", "/api/workspaces/red/agents/" + bobs->did().value).status, 200);
  }
  std::shared_ptr<Answer> talk(const std::string& who, const std::string& conversation, const std::string& text) {
    return begin(who, "POST", "/api/chat",
                 R"({"did":")" + bobs->did().value + R"(","conversationId":")" + conversation + R"(","message":")" +
                     text + R"(","resumable":true})");
  }
  void say(const protocol::ChatRequest& to, const std::string& question, std::int64_t seq, const std::string& text) {
    protocol::ChatResponse r;
    r.conversationId = to.conversationId;
    r.questionId = question;
    r.chunk = text;
    r.seq = seq;
    bobs->send(r);
    run();
  }
  std::string path(const std::string& conversation) { return "/api/chat/" + bobs->did().value + "/" + conversation; }
};

TEST_F(Conversations, BelongToWhoStartedThem) {
  const auto bobsAnswer = talk("bob", "talk-1", "bobs question");
  ASSERT_EQ(bobsAnswer->status, 200) << bobsAnswer->body;
  const protocol::ChatRequest first = *bobs->last<protocol::ChatRequest>();
  const std::string firstId = bobs->lastMessageId<protocol::ChatRequest>();
  say(first, firstId, 0, "for bob");

  // To ann there is no conversation of that name, not even for her own answer to come in its way.
  expect404("ann", "GET", path("talk-1"), "", "talk-1", "talk-2");
  expect404("ann", "DELETE", path("talk-1"), "", "talk-1", "talk-2");
  const auto annsAnswer = talk("ann", "talk-1", "anns question");
  ASSERT_EQ(annsAnswer->status, 200) << annsAnswer->body;
  const protocol::ChatRequest second = *bobs->last<protocol::ChatRequest>();
  EXPECT_NE(second.conversationId, first.conversationId) << "nor does the agent take it for bob's";
  say(second, bobs->lastMessageId<protocol::ChatRequest>(), 0, "for ann");
  say(first, firstId, 1, "more for bob");
  EXPECT_NE(annsAnswer->body.find("for ann"), std::string::npos);
  EXPECT_EQ(annsAnswer->body.find("bob"), std::string::npos) << annsAnswer->body;
  EXPECT_EQ(bobsAnswer->body.find("for ann"), std::string::npos);
  EXPECT_NE(bobsAnswer->body.find("more for bob"), std::string::npos);
  for (const auto& answer : {annsAnswer, bobsAnswer})
    EXPECT_NE(answer->body.find(R"("conversationId":"talk-1")"), std::string::npos)
        << "each by the name that was given";

  // Who ends hers ends nobody else's, and the other names of his are none of hers.
  EXPECT_EQ(ask("ann", "DELETE", path("talk-1")).status, 204);
  expect404("ann", "DELETE", path(first.conversationId.value), "", first.conversationId.value,
            std::string(first.conversationId.value.size(), 'x'));
  expect404("ann", "GET", path(first.conversationId.value), "", first.conversationId.value,
            std::string(first.conversationId.value.size(), 'x'));
  EXPECT_FALSE(bobsAnswer->ended);
  const auto again = begin("bob", "GET", path("talk-1"));
  EXPECT_EQ(again->status, 200);
  EXPECT_NE(again->body.find("more for bob"), std::string::npos);
  EXPECT_EQ(ask("bob", "DELETE", path("talk-1")).status, 204);
}

TEST_F(Conversations, AreOverForWhoMayNotUseTheAgentAnyMore) {
  const auto annsAnswer = talk("ann", "talk-1", "question");
  ASSERT_EQ(annsAnswer->status, 200);
  ASSERT_EQ(ask("root", "DELETE", "/api/workspaces/red/agents/" + bobs->did().value).status, 200);
  expect404("ann", "GET", path("talk-1"), "", bobs->did().value, nobody);
  expect404("ann", "DELETE", path("talk-1"), "", bobs->did().value, nobody);
}

TEST_F(Visibility, CountsFromTheNextRequestOnAndOverRestarts) {
  const std::string agent = "/api/agents/" + bobs->did().value;
  EXPECT_EQ(ask("ann", "GET", agent).status, 404);
  EXPECT_EQ(ask("root", "PUT", "/api/workspaces/blue/members/ann").status, 204);
  EXPECT_EQ(ask("ann", "GET", agent).status, 200);
  EXPECT_EQ(ask("root", "DELETE", "/api/workspaces/blue/members/ann").status, 204);
  EXPECT_EQ(ask("ann", "GET", agent).status, 404);
  EXPECT_EQ(ask("root", "PATCH", "/api/users/id-of-ann", R"({"role":"admin"})").status, 200);
  EXPECT_EQ(ask("ann", "GET", agent).status, 200);
  EXPECT_EQ(ask("root", "PATCH", "/api/users/id-of-ann", R"({"role":"member"})").status, 200);
  EXPECT_EQ(ask("ann", "GET", agent).status, 404);
  api.reset();
  restart();
  serve();
  EXPECT_EQ(ask("ann", "GET", agent).status, 404);
  EXPECT_EQ(ask("bob", "GET", agent).status, 200);
}

TEST_F(Visibility, OfAnAgentThatComesBackIsWhatItsNewApprovalSays) {
  const std::string agent = "/api/agents/" + bobs->did().value;
  EXPECT_EQ(ask("root", "DELETE", agent).status, 204);
  expect404("bob", "GET", agent, "", bobs->did().value, nobody);
  EXPECT_EQ(ask("root", "GET", "/api/workspaces/blue").parsed()["agents"], 0);
  bobs->connect();
  run();
  const std::string approve = "/api/registrations/" + registrationOf(*bobs).value + "/approve";
  EXPECT_EQ(ask("root", "POST", approve, R"({"workspaces":["gone"]})").status, 404);
  EXPECT_EQ(ask("root", "POST", approve, R"({"workspaces":["red"]})").status, 200);
  EXPECT_EQ(ask("ann", "GET", agent).status, 200);
  EXPECT_EQ(ask("bob", "GET", agent).status, 404);
}

// Whatever is asked for at once, memory ends as the store does.
TEST_F(Visibility, FollowsTheStoreThroughChangesAtTheSameTime) {
  const std::string did = bobs->did().value, red = "/api/workspaces/red/agents/" + did;
  const auto both = [&](const std::string& method, const std::string& target, const std::string& then,
                        const std::string& thenTarget, const std::string& thenBody = "") {
    const std::vector<std::shared_ptr<Answer>> answers = {start("root", method, target),
                                                          start("root", then, thenTarget, thenBody)};
    run();
    return std::pair(answers[0]->status, answers[1]->status);
  };
  const auto stored = [&] {
    std::size_t rows = 0;
    EXPECT_TRUE(store
                    ->readBlocking([&](store::ControlReader& r) -> Status {
                      VC_TRY_ASSIGN(const auto placements, r.placements());
                      for (const auto& row : placements) rows += row.agent.value == did;
                      return {};
                    })
                    .ok());
    return rows;
  };
  EXPECT_EQ(both("PUT", red, "DELETE", red), std::pair(200, 200));
  EXPECT_EQ(plane->workspaces().of(Did(did)).size(), stored());
  EXPECT_EQ(both("PUT", red, "DELETE", "/api/agents/" + did), std::pair(200, 204));
  EXPECT_EQ(stored(), 0U);
  EXPECT_EQ(plane->workspaces().of(Did(did)).size(), 0U) << "nothing of it is left for its next approval";
  bobs->connect();
  run();
  const std::string approve = "/api/registrations/" + registrationOf(*bobs).value + "/approve";
  EXPECT_EQ(both("DELETE", "/api/workspaces/blue", "POST", approve, R"({"workspaces":["red","blue"]})"),
            std::pair(200, 404));
  EXPECT_EQ(both("POST", approve, "DELETE", "/api/workspaces/red"), std::pair(200, 200));
  EXPECT_EQ(plane->workspaces().of(Did(did)).size(), stored());
  EXPECT_EQ(stored(), 1U) << "the default one";
}

TEST_F(Visibility, OfANewAgentIsThatOfTheDefaultWorkspace) {
  const auto agent = connectedAgent();
  const std::string path = "/api/agents/" + agent->did().value;
  EXPECT_EQ(ask("ann", "GET", path).status, 404);
  EXPECT_EQ(ask("root", "PUT", "/api/workspaces/default/members/ann").status, 204);
  EXPECT_EQ(ask("ann", "GET", path).status, 200);
}

// A workspace's policies go with it, and those that they narrowed get a certificate.
TEST_F(Visibility, ARemovedWorkspaceTakesItsPoliciesAlong) {
  const Answer made = ask("root", "POST", "/api/policies", R"({"workspace":"blue","capabilities":[]})");
  ASSERT_EQ(made.status, 201);
  const std::string policy = "/api/policies/" + made.parsed()["policy"]["id"].get<std::string>();
  EXPECT_EQ(ask("bob", "GET", "/api/agents/" + bobs->did().value).parsed()["capabilities"], json::array());
  const json removed = ask("root", "DELETE", "/api/workspaces/blue").parsed();
  EXPECT_EQ(removed["sentTo"], json{bobs->did().value});
  EXPECT_EQ(ask("root", "GET", "/api/agents/" + bobs->did().value).parsed()["capabilities"], json{"echo"});
  EXPECT_EQ(ask("root", "GET", policy).parsed()["status"], "revoked");
  EXPECT_EQ(ask("root", "DELETE", policy).status, 409);
  EXPECT_EQ(ask("bob", "GET", "/api/agents/" + bobs->did().value).status, 404);
  api.reset();
  restart();
  serve();
  EXPECT_EQ(ask("root", "GET", policy).parsed()["status"], "revoked");
}

// Joining a workspace narrows at once.
TEST_F(Visibility, AnAgentThatIsPutIntoAWorkspaceIsUnderItsPolicies) {
  ASSERT_EQ(ask("root", "POST", "/api/policies", R"({"workspace":"blue","capabilities":[]})").status, 201);
  const std::string target = "/api/workspaces/blue/agents/" + anns->did().value;
  EXPECT_EQ(ask("root", "PUT", target).parsed()["sentTo"], json{anns->did().value});
  EXPECT_EQ(ask("ann", "GET", "/api/agents/" + anns->did().value).parsed()["capabilities"], json::array());
  EXPECT_EQ(ask("root", "PUT", target).parsed()["sentTo"], json::array());
  EXPECT_EQ(ask("root", "DELETE", target).parsed()["sentTo"], json{anns->did().value});
}

}  // namespace
}  // namespace vaultysclaw::control::testing
