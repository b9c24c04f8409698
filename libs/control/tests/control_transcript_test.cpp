// Recorded agents of the original, replayed against us: what they send goes in as it was, what we answer is compared
// with what the original's control plane answered. Only COMPLETE messages are made anew, for they sign our nonce.
#include <fstream>
#include <nlohmann/json.hpp>

#include "control_fixture.hpp"

namespace vaultysclaw::control::testing {
namespace {

using nlohmann::json;

// Names and types, without values: what must be equal although ids, nonces and times are not.
json shapeOf(const json& value) {
  if (value.is_object()) {
    json out = json::object();
    for (const auto& [name, member] : value.items()) out[name] = shapeOf(member);
    return out;
  }
  if (value.is_array()) return value.empty() ? json::array() : json::array({shapeOf(value[0])});
  return value.type_name();
}
json shapeOfMessage(json message) {
  message["payload"].erase("timeoutMs");  // ours (docs/protocol.md 7.8)
  json shape = shapeOf(message);
  shape["type"] = message["type"];
  if (message["type"] == "auth_challenge")
    shape["payload"]["data"] = message["payload"]["data"] == "" ? "empty" : "data";
  return shape;
}

// COMPLETE for a STEP1, by the agent whose identity the recording has.
Bytes completeFor(const VaultysId& agent, BytesView step1) {
  const auto map = *msgpack::decode(step1);
  msgpack::Map bare, complete;
  for (const auto& [key, member] : *map.map()) {
    if (*key.string() != "sign2") bare.emplace_back(key, member);
  }
  Bytes signature;
  if (map.find("version")->asInteger() == 0) {
    signature = InitiatorV0::signStep1(agent, map);
  } else {
    signature = agent.toVersion(IdVersion::V1).sign(msgpack::encode(bare));
  }
  for (const auto& [key, member] : *map.map()) {
    if (*key.string() == "sign2") complete.emplace_back("sign1", signature);
    complete.emplace_back(key, member);
  }
  return msgpack::encode(complete);
}

class Transcript : public ControlTest {
 public:
  explicit Transcript(const std::string& name = "full") {
    std::ifstream in(std::string(VC_SOURCE_DIR) + "/tests/vectors/ws_transcript_" + name + ".json");
    recording = json::parse(in);
    self = VaultysId::fromSecretBase64(recording["server"]["secret_base64"].get<std::string>()).value();
    agent = VaultysId::fromSecretBase64(recording["agent"]["secret_base64"].get<std::string>()).value();
    at(0);
    start();
  }
  void TestBody() override {}

  // Moves the clock to `ms` after the start of the recording, if it is not there yet.
  void at(std::int64_t ms) {
    const auto target = fromUnixMillis(recording["started_at_ms"].get<std::int64_t>() + ms);
    if (clock.now() < target - std::chrono::hours(1))
      clock.jumpWall(target - clock.now());
    else if (clock.now() < target)
      loop.advance(target - clock.now());
  }
  void dial() {
    closed = false;
    answers.clear();
    auto dialer = network.dialer();
    auto pending =
        dialer->dial({"ws://cp:8080", {}, {}, seconds(1), {}}, [this](Result<std::unique_ptr<net::Connection>> c) {
          connection = std::move(c).value();
          connection->start({[this](net::FrameKind, std::string_view text) { answers.push_back(json::parse(text)); },
                             [this](const net::CloseReason&) { closed = true; }, nullptr});
        });
    run();
  }
  const json& entry(int seq) const { return recording["messages"][static_cast<std::size_t>(seq)]; }
  void deliver(const json& message) {
    (void)connection->send(net::FrameKind::Text, message.is_string() ? message.get<std::string>() : message.dump());
    run();
  }
  // Sends a recorded message of the agent, with COMPLETE made for our STEP1.
  void replay(const json& recorded, bool spoilSignature = false) {
    at(recorded["ms"].get<std::int64_t>());
    json message = recorded["message"];
    if (message.is_object() && message["type"] == "auth_challenge") {
      const auto bytes = base64Decode(message["payload"].value("data", ""));
      const auto map = bytes ? msgpack::decode(*bytes) : Result<msgpack::Value>(bytes.error());
      if (map && map->find("sign1")) {
        Bytes complete = completeFor(agent, lastStep1());
        if (spoilSignature) complete[std::string(asText(complete)).find("sign1") + 10] ^= 1;
        message["payload"]["data"] = base64Encode(complete);
      }
    }
    deliver(message);
  }
  void replay(int seq) { replay(entry(seq)); }
  Bytes lastStep1() const {
    for (auto it = answers.rbegin(); it != answers.rend(); ++it) {
      if ((*it)["type"] == "auth_challenge" && (*it)["payload"]["data"] != "") {
        return base64Decode((*it)["payload"]["data"].get<std::string>()).value();
      }
    }
    return {};
  }
  // The answers since the last call have the shape of these recorded ones.
  void expectAnswers(std::initializer_list<int> seqs) {
    std::size_t i = 0;
    for (const int seq : seqs) {
      SCOPED_TRACE("recorded message " + std::to_string(seq));
      ASSERT_LT(i, answers.size());
      EXPECT_EQ(shapeOfMessage(answers[i++]), shapeOfMessage(entry(seq)["message"]));
    }
    EXPECT_EQ(i, answers.size()) << "and nothing else: " << answers.back().dump();
    answers.clear();
  }
  // The certificate that the recorded STEP1 carries is, byte for byte, what ours carries.
  void expectSameCertificate(int seq) {
    const auto ours = *msgpack::decode(lastStep1());
    const auto theirs =
        *msgpack::decode(base64Decode(entry(seq)["message"]["payload"]["data"].get<std::string>()).value());
    EXPECT_EQ(hexEncode(msgpack::encode(*ours.find("metadata"))), hexEncode(msgpack::encode(*theirs.find("metadata"))));
  }

  std::vector<store::RegistrationRow> registrationsNow() { return registrations("pending"); }
  Waiting<RunResult> runNow(const Did& did, const std::string& action, const std::string& params) {
    return runIntent(did, action, params);
  }
  void updateNow(const Did& did, const policy::Grant& grant) { EXPECT_TRUE(updateGrant(did, grant).ok()); }
  void expectAuditNow() { expectAuditHolds(); }
  using ControlTest::plane;
  using ControlTest::run;

  json recording;
  VaultysId agent = self;
  std::unique_ptr<net::Connection> connection;
  std::vector<json> answers;
  bool closed = false;
};

TEST(ControlTranscript, LifeOfOneAgent) {
  Transcript t;
  const Did did = t.agent.didV1();
  t.dial();
  t.expectAnswers({1});
  t.replay(2);
  t.expectAnswers({3});
  t.replay(4);
  t.replay(6);
  t.expectAnswers({5, 7});

  // The operator grants what was asked for; the recording's operator granted more, which comes as an update here.
  Waiting<store::AgentRow> approved;
  const auto waiting = t.registrationsNow();
  ASSERT_EQ(waiting.size(), 1U);
  EXPECT_EQ(waiting[0].requestedCapabilities, R"(["api_call","mail_send"])");
  t.plane->approve(waiting[0].id, {}, approved);
  t.run();
  ASSERT_TRUE(approved->ok());
  t.expectAnswers({9, 10, 11, 12});
  t.replay(14);
  t.replay(16);
  t.expectAnswers({15, 17});

  // An intent, and the recorded answer to it.
  auto reply = t.runNow(did, "api_call", t.entry(22)["message"]["payload"]["params"].dump());
  const json intent = t.answers.at(0);
  t.expectAnswers({22});
  json result = t.entry(23)["message"], ack = t.entry(24)["message"];
  result["payload"]["intentId"] = intent["payload"]["id"];
  ack["payload"]["messageId"] = intent["payload"]["id"];
  t.deliver(result);
  t.deliver(ack);
  ASSERT_TRUE(reply.done());
  EXPECT_EQ(json::parse((*reply)->output->text), result["payload"]["output"]);
  t.expectAnswers({});
  auto refused = t.runNow(did, "system_command", "{}");
  result = t.entry(27)["message"];
  result["payload"]["intentId"] = t.answers.at(0)["payload"]["id"];
  t.deliver(result);
  EXPECT_EQ((*refused)->error, "Capability 'system_command' not granted");
  t.answers.clear();

  t.replay(69);
  t.expectAnswers({70});
  EXPECT_EQ(t.plane->agent(did)->lastHeartbeat->name, "transcript-agent");

  std::string heard;
  ChatEvents events;
  events.onChunk = [&](std::string_view text) { heard += text; };
  events.onDone = [&] { heard += "done"; };
  ChatRequest question;
  question.did = did;
  question.conversationId = ConversationId("conversation-1");
  question.messages = {{"user", "one two three", {}}};
  question.stream = true;
  std::optional<ControlPlane::StartedChat> chat;
  t.plane->chat(question, events, [&](auto started) { chat.emplace(std::move(started).value()); });
  t.run();
  t.expectAnswers({72});
  for (const int seq : {73, 74, 75, 76}) t.replay(seq);
  EXPECT_EQ(heard, "one two three done");

  // A policy: certificate reissue with limits, the same bytes as the original's.
  t.at(6000);
  policy::Grant grant;
  grant.capabilities = {"api_call"};
  grant.limits.maxTokensPerDay = 50000;
  grant.limits.maxRequestsPerHour = 2;
  grant.limits.allowedDomains = {"a.example"};
  grant.policyId = "policy-1";
  grant.policyExpiresAt = fromIso8601("2030-01-01T00:00:00.000Z").value();
  t.updateNow(did, grant);
  t.expectAnswers({84, 85});
  t.replay(86);
  t.expectSameCertificate(87);
  t.replay(88);
  t.expectAnswers({87, 89});

  t.at(12'000);
  t.updateNow(did, {{"api_call", "file_access"}, {}, {}, {}});
  t.expectAnswers({120, 121});
  t.replay(122);
  t.expectSameCertificate(123);
  t.replay(124);
  t.expectAnswers({123, 125});

  // Reconnect, then a second connection that replaces this one.
  t.connection->close(net::close_code::kNormal, "");
  t.run();
  EXPECT_EQ(t.plane->agent(did)->status, AgentStatus::Offline);
  t.dial();
  for (const int seq : {150, 152, 154}) t.replay(seq);
  t.expectAnswers({149, 151, 153, 155});
  auto first = std::move(t.connection);
  t.dial();
  for (const int seq : {184, 186, 188}) t.replay(seq);
  t.expectAnswers({183, 185, 187, 190});
  EXPECT_EQ(t.plane->counters().connectedAgents, 1U);
  t.expectAuditNow();
}

TEST(ControlTranscript, RejectedAgent) {
  Transcript t("rejected");
  t.dial();
  for (const int seq : {2, 4, 6}) t.replay(seq);
  t.expectAnswers({1, 3, 5, 7});
  Waiting<std::monostate> done;
  t.plane->reject(t.registrationsNow().at(0).id, "Not today", "operator", done);
  t.run();
  EXPECT_EQ(t.answers.at(0)["payload"]["reason"], "Not today");
  t.expectAnswers({9});
  EXPECT_TRUE(t.closed);
}

TEST(ControlTranscript, ClientsThatBreakTheProtocolGetTheSameAnswers) {
  const json messages = Transcript("client_errors").recording["messages"];
  std::map<int, std::vector<json>> byConnection;
  std::map<int, std::string> title;
  std::string step;
  for (const auto& m : messages) {
    if (m["dir"] == "event" && m["event"].get<std::string>().rfind("step: ", 0) == 0)
      step = m["event"];
    else
      byConnection[m["conn"]].push_back(m), title[m["conn"]] = step;
  }
  ASSERT_EQ(byConnection.size(), 16U);
  for (const auto& [number, entries] : byConnection) {
    SCOPED_TRACE(std::to_string(number) + ' ' + title[number]);
    Transcript t("client_errors");
    t.at(entries.front()["ms"].get<std::int64_t>());
    t.dial();
    std::vector<std::string> theirs, ours;
    bool closedByServer = false;
    for (const auto& m : entries) {
      if (m["dir"] == "agent->server") t.replay(m, title[number].find("wrong sign1") != std::string::npos);
      if (m["dir"] == "server->agent") theirs.push_back(m["message"]["type"]);
      if (m["dir"] == "event" && m["event"] == "closed by agent 1005") break;
      if (m["dir"] == "event" && m["event"] == "closed by server 1005") closedByServer = true;
    }
    for (const auto& a : t.answers) ours.push_back(a["type"]);
    if (title[number] == "step: not JSON") theirs.emplace_back("error");  // the original says nothing
    EXPECT_EQ(ours, theirs) << (t.answers.empty() ? "" : t.answers.back().dump());
    EXPECT_EQ(t.closed, closedByServer);
  }
}

}  // namespace
}  // namespace vaultysclaw::control::testing
