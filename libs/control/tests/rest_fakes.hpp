// A REST API over a scripted control plane: requests in, answers out, no network and no time.
#pragma once

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/fake_loop.hpp"
#include "base/temporary_directory.hpp"
#include "control/grants.hpp"
#include "control/people.hpp"
#include "control/policies.hpp"
#include "control/rest_api.hpp"
#include "control/workspaces.hpp"
#include "identity/tokens.hpp"
#include "store/control_store.hpp"

namespace vaultysclaw::control::testing {

using nlohmann::json;
using vaultysclaw::testing::FakeClock;
using vaultysclaw::testing::FakeEntropy;
using vaultysclaw::testing::FakeLoop;
using vaultysclaw::testing::LoopWorkers;

inline const std::string kToken = "vcp_" + std::string(64, 'a');
inline const Did kDid("did:vaultys:" + std::string(40, '1'));

// What came out of one request. The state outlives the exchange, as a client does.
struct Answer {
  int status = 0;
  net::Headers headers;
  std::string body;
  bool streaming = false, ended = false, exchangeGone = false;
  bool acceptWrites = true;
  std::function<void()> onGone;

  json parsed() const { return json::parse(body); }
  std::string header(const std::string& name) const {
    for (const auto& [key, value] : headers) {
      if (key == name) return value;
    }
    return "";
  }
};

class FakeExchange final : public net::HttpExchange {
 public:
  FakeExchange(net::HttpRequest request, std::shared_ptr<Answer> answer)
      : request_(std::move(request)), answer_(std::move(answer)) {}
  ~FakeExchange() override { answer_->exchangeGone = true; }
  const net::HttpRequest& request() const override { return request_; }
  void respond(net::HttpResponse response) override {
    ASSERT_EQ(answer_->status, 0) << "answered twice";
    answer_->status = response.status;
    answer_->headers = std::move(response.headers);
    answer_->body = std::move(response.body);
    answer_->ended = true;
  }
  void beginStream(int status, net::Headers headers) override {
    ASSERT_EQ(answer_->status, 0) << "answered twice";
    answer_->status = status;
    answer_->headers = std::move(headers);
    answer_->streaming = true;
  }
  bool write(std::string data) override {
    EXPECT_TRUE(answer_->streaming && !answer_->ended);
    if (answer_->acceptWrites) answer_->body += data;
    return answer_->acceptWrites;
  }
  void endStream() override { answer_->ended = true; }
  void onClientGone(std::function<void()> callback) override { answer_->onGone = std::move(callback); }

 private:
  net::HttpRequest request_;
  std::shared_ptr<Answer> answer_;
};

// Records what it is asked and answers what the test says, on the loop's next turn. Its books are real ones.
class ScriptedPlane final : public ControlPlane {
 public:
  explicit ScriptedPlane(FakeLoop& loop) : loop_(loop) {}

  std::vector<AgentView> known;
  std::optional<Error> error;  // every operation fails with it
  RunResult runResult;
  std::vector<SentIntent> sent;
  std::vector<store::RegistrationRow> registrationRows;
  std::vector<IntentView> intentRows;
  std::vector<store::AuditRow> auditRows;
  std::optional<std::int64_t> auditTotal;  // of the rows when absent
  AuditCheck check;
  Counters counts;
  bool holdReplies = false;  // never answers
  bool replayed = false;

  std::optional<RunRequest> asked;
  std::optional<policy::Grant> grant;
  std::optional<Approval> approval;
  std::string lastId, lastReason;
  std::optional<std::string> statusFilter;
  store::IntentFilter intentFilter;
  store::AuditFilter auditFilter;
  store::Page lastPage;
  std::optional<ChatRequest> chatRequest;
  ChatEvents chatEvents;
  int chatsCancelled = 0;
  std::vector<std::string> cancelledIntents;

  // Reads the books from the store anew. The REST API in front of it must be made anew too.
  void open(ControlPorts ports) {
    auto people = People::create(ports);
    ASSERT_TRUE(people.ok());
    auto workspaces = Workspaces::create(ports, **people);
    ASSERT_TRUE(workspaces.ok()) << workspaces.error().message;
    people_ = std::move(*people);
    policies_.reset();
    workspaces_ = std::move(*workspaces);
    auto policies = Policies::create(ports, *workspaces_);
    ASSERT_TRUE(policies.ok());
    policies_ = std::move(*policies);
    auto grants = Grants::create(ports);
    auto peers = PeerGrants::create(ports);
    ASSERT_TRUE(grants.ok() && peers.ok());
    grants_ = std::move(*grants);
    peerGrants_ = std::move(*peers);
  }
  // As a plane that is destroyed.
  void close() {
    people_.reset();
    workspaces_.reset();
  }
  const identity::VaultysId& self() const override { return self_; }
  People& people() override { return *people_; }
  Workspaces& workspaces() override { return *workspaces_; }
  Policies& policies() override { return *policies_; }
  Grants& grants() override { return *grants_; }
  PeerGrants& peerGrants() override { return *peerGrants_; }
  void accept(std::unique_ptr<net::Connection>) override {}
  void shutdown() override {}
  std::vector<AgentView> agents() const override {
    std::vector<AgentView> out = known;
    for (AgentView& a : out) a.workspaces = workspaces_->of(a.row.did);
    return out;
  }
  std::optional<AgentView> agent(const Did& did) const override {
    for (const AgentView& a : agents()) {
      if (a.row.did == did) return a;
    }
    return std::nullopt;
  }
  void deleteAgent(const Did& did, std::string, Reply<std::monostate> reply) override {
    lastId = did.value;
    answer(std::move(reply), std::monostate{});
  }
  void updateGrant(const Did& did, GrantChange change, std::string reason, std::string,
                   Reply<AgentView> reply) override {
    grant = policy::Grant{{"echo", "read"}, {100, {}, {}}, "p-1", {}};  // what the fixture's agent has
    change.apply(*grant);
    lastReason = std::move(reason);
    answer(std::move(reply), *agent(did));
  }
  void resetPin(const Did& did, std::string, Reply<AgentView> reply) override {
    lastId = "reset " + did.value;
    answer(std::move(reply), known.front());
  }
  void pause(const Did& did, std::string reason, std::string, Reply<AgentView> reply) override {
    lastId = "pause " + did.value;
    lastReason = reason;
    known.front().row.paused = reason;
    answer(std::move(reply), known.front());
  }
  void resume(const Did& did, std::string, Reply<AgentView> reply) override {
    lastId = "resume " + did.value;
    known.front().row.paused.reset();
    answer(std::move(reply), known.front());
  }
  void registrations(std::optional<std::string> status, store::Page page,
                     Reply<store::Listing<store::RegistrationRow>> reply) override {
    statusFilter = std::move(status);
    lastPage = page;
    answer(std::move(reply), {registrationRows, 70});
  }
  void approve(const RegistrationId& id, Approval a, Reply<store::AgentRow> reply) override {
    lastId = id.value;
    approval = std::move(a);
    store::AgentRow row;
    row.did = kDid;
    row.name = "echo";
    row.capabilities = R"(["echo"])";
    answer(std::move(reply), row);
  }
  void reject(const RegistrationId& id, std::string reason, std::string, Reply<std::monostate> reply) override {
    lastId = id.value;
    lastReason = std::move(reason);
    answer(std::move(reply), std::monostate{});
  }
  std::optional<IntentId> run(RunRequest request, Reply<RunResult> reply) override {
    asked = std::move(request);
    if (holdReplies) {
      held_ = [reply, result = runResult] { reply(result); };
    } else {
      answer(std::move(reply), runResult);
    }
    return error ? std::nullopt : std::optional(IntentId("i-run"));
  }
  void cancelIntent(const IntentId& id, std::string_view) override { cancelledIntents.push_back(id.value); }
  void cancelIntent(const IntentId& id, std::string actor, IntentsOf whose, Reply<std::monostate> reply) override {
    if (another(whose)) return loop_.post([reply, id] { reply(noIntent(id)); });
    cancelledIntents.push_back(id.value + " by " + actor);
    answer(std::move(reply), std::monostate{});
  }
  void send(RunRequest request, Reply<SentIntent> reply) override {
    asked = request;
    answer(std::move(reply), SentIntent{IntentId("i-1"), request.did, request.ttl ? "queued" : "pending", replayed});
  }
  void broadcast(RunRequest request, const AgentFilter& among, Reply<std::vector<SentIntent>> reply) override {
    asked = std::move(request);
    std::vector<SentIntent> reached = sent;
    std::erase_if(reached, [&](const SentIntent& one) { return among && !among(one.did); });
    answer(std::move(reply), reached);
  }
  void intents(store::IntentFilter filter, store::Page page, Reply<store::Listing<IntentView>> reply) override {
    intentFilter = std::move(filter);
    lastPage = page;
    std::vector<IntentView> rows = intentRows;
    if (intentFilter.owner) {
      std::erase_if(rows, [&](const IntentView& one) {
        return !intentFilter.owner->owns(one.row.requestedBy, one.row.createdAt);
      });
    }
    answer(std::move(reply), {rows, static_cast<std::int64_t>(rows.size())});
  }
  void intent(const IntentId& id, IntentsOf whose, Reply<IntentView> reply) override {
    lastId = id.value;
    if (another(whose)) return loop_.post([reply, id] { reply(noIntent(id)); });
    answer(std::move(reply), intentRows.empty() ? IntentView{} : intentRows.front());
  }
  void chat(ChatRequest request, ChatEvents events, std::function<void(Result<StartedChat>)> reply) override {
    chatRequest = std::move(request);
    if (error) return loop_.post([reply, e = *error] { reply(e); });
    chatEvents = std::move(events);
    if (holdReplies) {
      held_ = [this, reply] { reply(startedChat()); };
      return;
    }
    loop_.post([this, reply] { reply(startedChat()); });
  }
  void resumeChat(const Did& did, const ConversationId& conversation, std::uint64_t fromEvent, ChatEvents events,
                  std::function<void(Result<StartedChat>)> reply) override {
    lastId = did.value + " " + conversation.value + " " + std::to_string(fromEvent);
    if (error) return loop_.post([reply, e = *error] { reply(e); });
    chatRequest.emplace().conversationId = conversation;
    chatEvents = std::move(events);
    loop_.post([this, reply] { reply(startedChat()); });
  }
  void cancelChat(const Did& did, const ConversationId& conversation, Reply<std::monostate> reply) override {
    lastId = "cancel " + did.value + " " + conversation.value;
    answer(std::move(reply), std::monostate{});
  }
  void releaseHeld() { std::exchange(held_, nullptr)(); }
  void audit(store::AuditFilter filter, store::Page page, Reply<AuditView> reply) override {
    auditFilter = std::move(filter);
    lastPage = page;
    answer(std::move(reply), AuditView{{auditRows, auditTotal.value_or(static_cast<std::int64_t>(auditRows.size()))}});
  }
  void verifyAudit(Reply<AuditCheck> reply) override { answer(std::move(reply), check); }
  Counters counters() const override { return counts; }

 private:
  template <class T>
  void answer(Reply<T> reply, T value) {
    loop_.post([reply = std::move(reply), value = std::move(value), e = error] {
      if (e) {
        reply(*e);
      } else {
        reply(value);
      }
    });
  }
  // The intent of which the test has a row, and of those without one, is another's.
  bool another(const IntentsOf& whose) const {
    return whose && !intentRows.empty() &&
           !whose->owns(intentRows.front().row.requestedBy, intentRows.front().row.createdAt);
  }
  StartedChat startedChat() {
    return {chatRequest->conversationId.value_or(ConversationId("c-new")),
            ChatHandle([this, alive = std::weak_ptr<int>(alive_)] {
              if (alive.expired()) return;
              ++chatsCancelled;
              chatEvents = {};
            })};
  }

  FakeLoop& loop_;
  std::unique_ptr<People> people_;
  std::unique_ptr<Workspaces> workspaces_;
  std::unique_ptr<Policies> policies_;
  std::unique_ptr<Grants> grants_;
  std::unique_ptr<PeerGrants> peerGrants_;
  FakeEntropy entropy_{7};
  identity::VaultysId self_ = identity::VaultysId::generate(identity::IdType::Machine, entropy_);
  std::function<void()> held_;
  std::shared_ptr<int> alive_ = std::make_shared<int>();  // last: gone before the callbacks above
};

class RestFixture : public ::testing::Test {
 protected:
  RestFixture() {
    auto opened = store::openControlStore({.path = directory / "control.db", .writerThread = store::WriterThread::No});
    EXPECT_TRUE(opened.ok());
    store = std::move(*opened);
    const auto hash = identity::sha256(asBytes(kToken));
    EXPECT_TRUE(store
                    ->writeBlocking([&](store::ControlWriter& w) -> Status {
                      VC_TRY(w.putAgent({.did = kDid, .publicId = {1}, .name = "echo"}));
                      VC_TRY(w.putUser({.id = store::UserId("owner"), .name = "owner", .role = "owner"}));
                      return w.putApiToken({.id = TokenId("t"),
                                            .name = "operator",
                                            .hash = Bytes(hash.begin(), hash.end()),
                                            .user = store::UserId("owner"),
                                            .scopes = "read run operate admin"});
                    })
                    .ok());
    restart({.version = "9.9", .allowedHosts = {"claw.lan"}});
    AgentView agent;
    agent.row.did = kDid;
    agent.row.name = "echo";
    agent.row.capabilities = R"(["echo","read"])";
    agent.row.limits = R"({"maxTokensPerDay":100})";
    agent.row.policyId = "p-1";
    agent.granted = {{"echo", "read"}, {100, {}, {}}, "p-1", {}};
    agent.status = AgentStatus::Connected;
    agent.address = "10.0.0.9";
    agent.transport = "ws";
    plane.known.push_back(agent);
  }

  void restart(RestOptions options = {}) {
    const ControlPorts ports{loop, workers, clock, entropy, *store, nullLogger()};
    api.reset();
    plane.open(ports);
    auto made = makeRestApi(ports, plane, std::move(options));
    EXPECT_TRUE(made.ok());
    api = std::move(*made);
  }
  net::HttpRequest request(std::string method, std::string target, std::string body = "") {
    net::HttpRequest r;
    r.method = std::move(method);
    const auto mark = target.find('?');
    r.path = target.substr(0, mark);
    std::string query = mark == std::string::npos ? "" : target.substr(mark + 1);
    while (!query.empty()) {
      const std::string pair = query.substr(0, query.find('&'));
      query.erase(0, pair.size() + 1);
      r.query.emplace_back(pair.substr(0, pair.find('=')), pair.substr(pair.find('=') + 1));
    }
    r.headers = {{"Host", "127.0.0.1:3000"}, {"Authorization", "Bearer " + kToken}};
    if (!body.empty()) r.headers.emplace_back("Content-Type", "application/json");
    r.body = std::move(body);
    r.peer.address = "10.1.1.1";
    return r;
  }
  std::shared_ptr<Answer> start(net::HttpRequest r) {
    auto answer = std::make_shared<Answer>();
    api->handle(std::make_shared<FakeExchange>(std::move(r), answer));
    loop.runUntilIdle();
    return answer;
  }
  Answer send(net::HttpRequest r) { return *start(std::move(r)); }
  Answer send(std::string method, std::string target, std::string body = "") {
    return send(request(std::move(method), std::move(target), std::move(body)));
  }

  FakeClock clock;
  FakeLoop loop{clock};
  LoopWorkers workers{loop};
  FakeEntropy entropy;
  vaultysclaw::testing::TemporaryDirectory directory;
  std::unique_ptr<store::ControlStore> store;
  ScriptedPlane plane{loop};
  std::unique_ptr<RestApi> api;
};

inline const std::string kAgentPath = "/api/agents/" + kDid.value;

}  // namespace vaultysclaw::control::testing
