// The sealed channel (docs/protocol.md 7.3) between a real agent and a real control plane, disturbed from the middle;
// and ends of such channels that know the keys and do not keep to the rules.
#include "world.hpp"

namespace vaultysclaw::attacks {
namespace {

constexpr auto kText = net::FrameKind::Text;
constexpr auto kBinary = net::FrameKind::Binary;
constexpr unsigned char kTagPush = crypto_secretstream_xchacha20poly1305_TAG_PUSH;
constexpr unsigned char kTagFinal = crypto_secretstream_xchacha20poly1305_TAG_FINAL;

struct Disturbance {
  const char* what;
  // Gets the first record on its way; what it returns goes out in its place.
  std::function<std::vector<Frame>(const Frame&)> act;
};

class Records : public World {
 protected:
  Middle middle_{world_.network, kAgentsDial, kControlPlaneUrl};

  static std::string message(Direction direction) {
    return direction == Direction::ToServer ? envelope("heartbeat", Json::object())
                                            : envelope("auth_failed", {{"reason", "revoked"}});
  }
  std::vector<Disturbance> disturbances(Direction direction) {
    std::vector<Disturbance> out{
        {"a flipped bit at the start", [](Frame f) { return f.data[0] ^= 1, std::vector{f}; }},
        {"a flipped bit at the end", [](Frame f) { return f.data.back() ^= 1, std::vector{f}; }},
        {"cut short", [](Frame f) { return f.data.pop_back(), std::vector{f}; }},
        {"nothing left", [](Frame f) { return f.data.clear(), std::vector{f}; }},
        {"made longer", [](Frame f) { return f.data.push_back('x'), std::vector{f}; }},
        {"repeated", [](const Frame& f) { return std::vector{f, f}; }},
        {"injected before", [](const Frame& f) { return std::vector{Frame{kBinary, std::string(80, 'x')}, f}; }},
        {"injected after", [](const Frame& f) { return std::vector{f, Frame{kBinary, std::string(80, 'x')}}; }},
        {"a text before", [=](const Frame& f) { return std::vector{Frame{kText, message(direction)}, f}; }},
        {"a text after", [=](const Frame& f) { return std::vector{f, Frame{kText, message(direction)}}; }},
        {"as text", [](const Frame& f) { return std::vector{Frame{kText, hexEncode(asBytes(f.data))}}; }},
        {"split in two", [](const Frame& f) {
           return std::vector{Frame{kBinary, f.data.substr(0, 20)}, Frame{kBinary, f.data.substr(20)}};
         }}};
    return out;
  }
  // Acts once, on the next record in `direction`.
  void disturbNext(Direction direction, std::function<std::vector<Frame>(const Frame&)> act) {
    auto done = std::make_shared<bool>(false);
    middle_.onFrame = [this, direction, done, act = std::move(act)](Direction d, Frame& frame) {
      if (d != direction || frame.kind != kBinary || std::exchange(*done, true)) return true;
      for (auto& f : act(frame)) middle_.inject(d, std::move(f));
      return false;
    };
  }
  void expectBackToWork(Agent<Victim>& victim) {
    middle_.onFrame = nullptr;
    world_.advance(std::chrono::minutes(2));
    EXPECT_EQ(victim.getStatus(), AgentStatus::Connected) << lastLogs();
    EXPECT_TRUE(runs(victim.getDid()));
  }
  std::vector<std::string> recorded(Direction direction) const {
    std::vector<std::string> out;
    for (const auto& [d, frame] : middle_.seen) {
      if (d == direction && frame.kind == kBinary) out.push_back(frame.data);
    }
    return out;
  }
};

TEST_F(Records, OfTheControlPlaneAreNotChangedAddedOrTakenAway) {
  auto& victim = connectedVictim();
  for (const auto& d : disturbances(Direction::ToClient)) {
    SCOPED_TRACE(d.what);
    const int before = middle_.connections;
    const std::size_t ran = victim.ran.size();
    disturbNext(Direction::ToClient, d.act);
    const auto reply = ask(victim.getDid(), "text_generation");
    EXPECT_NE(victim.getStatus(), AgentStatus::Connected);
    EXPECT_NE(victim.getStatus(), AgentStatus::Stopped) << "somebody on the path stopped the agent";
    EXPECT_FALSE(isConnected(victim.getDid()));
    EXPECT_LE(victim.ran.size(), ran + 1) << "an intent ran twice";
    expectBackToWork(victim);
    EXPECT_GT(middle_.connections, before);
    ASSERT_TRUE(reply.done());
    EXPECT_TRUE((*reply).ok()) << "sent again over the next connection";
    EXPECT_EQ(victim.ran.size(), ran + 2) << "this one, and the one of being back to work";
  }
}

TEST_F(Records, OfTheAgentAreNotChangedAddedOrTakenAway) {
  auto& victim = connectedVictim();
  for (const auto& d : disturbances(Direction::ToServer)) {
    SCOPED_TRACE(d.what);
    const auto broken = plane_->counters().channelsBroken;
    disturbNext(Direction::ToServer, d.act);
    const auto reply = ask(victim.getDid(), "text_generation");
    EXPECT_EQ(plane_->counters().channelsBroken, broken + 1);
    EXPECT_FALSE(isConnected(victim.getDid()));
    expectBackToWork(victim);
    ASSERT_TRUE(reply.done());
    EXPECT_TRUE((*reply).ok()) << "sent again over the next connection";
  }
}

TEST_F(Records, AreNotDroppedOrReordered) {
  auto& victim = connectedVictim();
  for (const Direction direction : {Direction::ToClient, Direction::ToServer}) {
    for (const bool reorder : {false, true}) {
      SCOPED_TRACE(reorder ? "reordered" : "dropped");
      auto held = std::make_shared<std::vector<Frame>>();
      middle_.onFrame = [=, this](Direction d, Frame& frame) {
        if (d != direction || frame.kind != kBinary || held->size() > (reorder ? 1U : 0U)) return true;
        held->push_back(frame);
        if (held->size() == 1) return false;
        middle_.inject(d, frame);
        frame = held->front();
        return true;
      };
      const std::size_t ran = victim.ran.size();
      ask(victim.getDid(), "text_generation", R"({"n":1})");
      ask(victim.getDid(), "text_generation", R"({"n":2})");
      EXPECT_NE(victim.getStatus(), AgentStatus::Connected);
      EXPECT_FALSE(isConnected(victim.getDid()));
      if (direction == Direction::ToClient) {
        EXPECT_EQ(victim.ran.size(), ran);
      }
      expectBackToWork(victim);
    }
  }
}

TEST_F(Records, OfAnOriginalAreNotProtectedSoThisIsWhatTheChannelIsFor) {
  auto agent = stranger();
  agent->connect(world_.network, kAgentsDial);
  run();
  approve(agent->did().value);
  auto reply = ask(agent->did().value, "text_generation");
  middle_.onFrame = [](Direction direction, Frame& frame) {
    if (const auto at = frame.data.find("honest"); direction == Direction::ToServer && at != std::string::npos)
      frame.data.replace(at, 6, "forged");
    return true;
  };
  agent->say("result", {{"intentId", agent->last("intent")["id"]}, {"status", "success"}, {"output", "honest"}});
  run();
  ASSERT_TRUE(reply.done() && (*reply).ok());
  EXPECT_EQ((*reply)->output->text, R"("forged")");
}

TEST_F(Records, AreNotReflectedOrCarriedToAnotherConnection) {
  auto& victim = connectedVictim();
  EXPECT_TRUE(runs(victim.getDid()));
  const auto toServer = recorded(Direction::ToServer), toClient = recorded(Direction::ToClient);
  ASSERT_GE(std::min(toServer.size(), toClient.size()), 3u);
  const std::vector<std::pair<Direction, std::string>> strays = {
      {Direction::ToServer, toClient[0]}, {Direction::ToServer, toClient.back()},  // reflected
      {Direction::ToClient, toServer[0]}, {Direction::ToClient, toServer.back()},  //
      {Direction::ToServer, toServer[0]}, {Direction::ToServer, toServer.back()},  // replayed
      {Direction::ToClient, toClient[0]}, {Direction::ToClient, toClient.back()}};
  for (const bool sameConnection : {true, false}) {
    for (const auto& [direction, data] : strays) {
      if (!sameConnection) {
        middle_.cut();
        world_.advance(std::chrono::minutes(1));
        ASSERT_EQ(victim.getStatus(), AgentStatus::Connected);
      }
      const std::size_t ran = victim.ran.size();
      middle_.inject(direction, {kBinary, data});
      run();
      EXPECT_FALSE(isConnected(victim.getDid()));
      EXPECT_NE(victim.getStatus(), AgentStatus::Connected);
      EXPECT_EQ(victim.ran.size(), ran);
      expectBackToWork(victim);
    }
  }
}

TEST_F(Records, AnEndThatIsMissingIsALostConnectionAndNotAnEnd) {
  auto& victim = connectedVictim();
  // In order: the control plane ends its direction and closes; both are told apart from a cut.
  middle_.onFrame = nullptr;
  plane_->shutdown();
  run();
  EXPECT_TRUE(logged("The control plane ended the connection")) << lastLogs();
  startControlPlane();
  world_.advance(std::chrono::minutes(2));
  ASSERT_EQ(victim.getStatus(), AgentStatus::Connected);
  logs_.clear();
  // Whoever sits in between can close politely too.
  middle_.onFrame = [](Direction, Frame& frame) { return frame.kind != kBinary; };
  plane_->shutdown();
  run();
  EXPECT_FALSE(logged("The control plane ended the connection"));
  EXPECT_TRUE(logged("The connection to the control plane was lost")) << lastLogs();
  startControlPlane();
  expectBackToWork(victim);
}

// ---- ends that hold the keys ---------------------------------------------------------------------------------------

TEST_F(Records, ThatBreakTheRulesOfTheStreamAreNotHeardByTheControlPlane) {
  using Say = std::function<void(HostileAgent&, const std::string& result)>;
  const std::vector<std::pair<const char*, Say>> ways = {
      {"an end that carries a message",
       [](auto& a, const auto& result) { a.raw(kBinary, a.wire->record(result, kTagFinal)); }},
      {"an unknown tag", [](auto& a, const auto& result) { a.raw(kBinary, a.wire->record(result, kTagPush)); }},
      {"a record after the end",
       [](auto& a, const auto& result) {
         a.raw(kBinary, a.wire->final());
         a.raw(kBinary, a.wire->record(result));
       }},
      {"text after the end",
       [](auto& a, const auto& result) {
         a.raw(kBinary, a.wire->final());
         a.rawText(result);
       }},
      {"text on a sealed connection", [](auto& a, const auto& result) { a.rawText(result); }},
      {"a header again",
       [](auto& a, const auto& result) { a.raw(kBinary, std::string(24, 'h') + a.wire->record(result)); }},
      {"two records in one message", [](auto& a, const auto& result) {
         const std::string first = a.wire->record(envelope("heartbeat", Json::object()));
         a.raw(kBinary, first + a.wire->record(result));
       }}};
  for (const auto& [what, say] : ways) {
    SCOPED_TRACE(what);
    auto agent = insider({.features = kAllFeatures});
    ASSERT_TRUE(agent->wire);
    auto honest = ask(agent->did().value, "text_generation");
    agent->result(agent->all("intent").back(), R"("honest")");
    run();
    ASSERT_TRUE(honest.done() && (*honest).ok()) << (honest.done() ? (*honest).error().message : "");

    auto reply = ask(agent->did().value, "text_generation");
    agent->forget();
    const Json intent = [&] {
      auto again = ask(agent->did().value, "text_generation");
      return agent->all("intent").back();
    }();
    say(*agent, agent->resultText(intent, R"("forged")"));
    run();
    EXPECT_FALSE(isConnected(agent->did().value));
    EXPECT_TRUE(agent->closed);
    EXPECT_FALSE(reply.done());
    Box<control::ControlPlane::IntentView> asked;
    plane_->intent(IntentId(intent["payload"]["id"].get<std::string>()), std::nullopt, asked.reply());
    run();
    EXPECT_EQ((*asked)->row.status, "pending") << "it was heard";
    EXPECT_EQ(agent->count("error") + agent->count("auth_failed"), 0u) << "an answer helps whoever probes";
  }
}

TEST_F(Records, ThatBreakTheRulesOfTheStreamAreNotHeardByTheAgent) {
  using Say = std::function<void(HostileControlPlane&, const std::string& intent)>;
  const std::vector<std::pair<const char*, Say>> ways = {
      {"an end that carries a message",
       [](auto& p, const auto& intent) { p.raw(kBinary, p.wire->record(intent, kTagFinal)); }},
      {"an unknown tag", [](auto& p, const auto& intent) { p.raw(kBinary, p.wire->record(intent, kTagPush)); }},
      {"a record after the end",
       [](auto& p, const auto& intent) {
         p.raw(kBinary, p.wire->final());
         p.raw(kBinary, p.wire->record(intent));
       }},
      {"text on a sealed connection", [](auto& p, const auto& intent) { p.rawText(intent); }},
      {"two records in one message", [](auto& p, const auto& intent) {
         const std::string first = p.wire->record(envelope("pong", {{"timestamp", ""}}));
         p.raw(kBinary, first + p.wire->record(intent));
       }}};
  auto plane = hostilePlane({.features = kAllFeatures});
  auto& victim = start();
  int n = 0;
  for (const auto& [what, say] : ways) {
    SCOPED_TRACE(what);
    ASSERT_EQ(victim.getStatus(), AgentStatus::Connected) << lastLogs();
    ASSERT_TRUE(plane->wire);
    plane->say(plane->intent("honest-" + std::to_string(++n), "text_generation", "{}"));
    run();
    ASSERT_EQ(victim.ran.size(), static_cast<std::size_t>(n)) << lastLogs();
    say(*plane, plane->intent("forged-" + std::to_string(n), "text_generation", "{}"));
    run();
    EXPECT_EQ(victim.ran.size(), static_cast<std::size_t>(n)) << "it was heard";
    world_.advance(std::chrono::minutes(1));
  }
}

TEST_F(Records, UnderOtherKeysMakeNobodyAuthentic) {
  // Neither a plane that has signed for keys it does not hold, nor silence, nor a text counts as an answer.
  const auto other = DhKeys::make(world_.entropy);
  auto plane = hostilePlane({.features = kAllFeatures});
  plane->plan.bendStep1 = [&](Map& step1) { put(submap(submap(step1, "metadata"), "pk2"), "dh", other.dh); };
  auto& victim = start();
  EXPECT_EQ(plane->handshakes, 1);
  EXPECT_NE(victim.getStatus(), AgentStatus::Connected);
  EXPECT_TRUE(logged("disturbed")) << lastLogs();

  plane->plan.bendStep1 = {};
  plane->plan.completes = false;
  world_.advance(seconds(5));
  ASSERT_EQ(plane->handshakes, 2);
  EXPECT_NE(victim.getStatus(), AgentStatus::Connected) << "only a record that opens proves the keys";
  const int connections = plane->connections;
  world_.advance(seconds(10));
  EXPECT_TRUE(logged("within 10 s")) << lastLogs();
  world_.advance(seconds(10));
  EXPECT_GT(plane->connections, connections);
  plane->rawText(
      envelope("auth_complete",
               {{"agentId", victim.getDid()}, {"did", victim.getDid()}, {"capabilities", {"text_generation"}}}));
  run();
  EXPECT_NE(victim.getStatus(), AgentStatus::Connected);

  plane->plan.completes = true;
  world_.advance(std::chrono::minutes(2));
  EXPECT_EQ(victim.getStatus(), AgentStatus::Connected) << "left alone, it goes through\n" << lastLogs();
}

TEST_F(Records, KeysThatMakeNoSecretEndTheHandshake) {
  const std::string zero(64, '0'), one = "01" + std::string(62, '0');
  for (const std::string& dh : {zero, one, std::string(63, 'a'), std::string(64, 'A'), std::string("x")}) {
    SCOPED_TRACE(dh);
    auto plane = hostilePlane({.features = kAllFeatures});
    plane->plan.bendStep1 = [&](Map& step1) { put(submap(submap(step1, "metadata"), "pk2"), "dh", dh); };
    auto& victim = start("victim-" + dh.substr(0, 3) + std::to_string(dh.size()));
    EXPECT_FALSE(plane->init.empty());
    EXPECT_EQ(plane->handshakes, 0) << "the agent went on";
    EXPECT_NE(victim.getStatus(), AgentStatus::Connected);
    victims_.clear();

    AgentPlan plan{.features = kAllFeatures};
    plan.bendInit = [&](Map& init) { put(submap(submap(init, "metadata"), "pk1"), "dh", dh); };
    auto agent = stranger(std::move(plan));
    agent->connect(world_.network);
    run();
    EXPECT_EQ(agent->count("auth_failed"), 1u);
    EXPECT_EQ(pendingRegistrations().size(), 0u);
  }
}

TEST_F(Records, UnsealedNoChangesNothingAndASealedOneDoes) {
  auto plane = hostilePlane({.features = kAllFeatures});
  auto& victim = start();
  ASSERT_EQ(victim.getStatus(), AgentStatus::Connected) << lastLogs();
  for (const char* type : {"auth_failed", "registration_rejected"}) {
    plane->rawText(envelope(type, {{"reason", "revoked"}, {"registrationId", "r"}}));
    run();
    EXPECT_EQ(victim.getStatus(), AgentStatus::Reconnecting);
    world_.advance(std::chrono::minutes(1));
    ASSERT_EQ(victim.getStatus(), AgentStatus::Connected) << lastLogs();
  }
  plane->say("auth_failed", {{"reason", "revoked"}});
  run();
  EXPECT_EQ(victim.getStatus(), AgentStatus::Stopped) << lastLogs();
}

// ---- reissues: what binds them to their channel --------------------------------------------------------------------

TEST_F(Records, AReissueIsNotSplicedInFromAnotherConnection) {
  // An approved agent wants a certificate for another identity or for another connection. Both are his, so all he
  // writes is properly signed.
  using Bend = std::function<void(Map&)>;
  auto other = insider({.features = kAllFeatures});
  const auto victimsId = Value(someone().id());
  const std::string fresh = DhKeys::make(world_.entropy).dh;
  const std::vector<std::pair<const char*, Bend>> ways = {
      {"no channel", [](Map& m) { drop(submap(submap(m, "metadata"), "pk1"), "channel"); }},
      {"the channel of another connection",
       [&](Map& m) { put(submap(submap(m, "metadata"), "pk1"), "channel", other->wire->channel()); }},
      {"a new key", [&](Map& m) { put(submap(submap(m, "metadata"), "pk1"), "dh", fresh); }},
      {"fewer features", [](Map& m) { put(submap(submap(m, "metadata"), "pk1"), "features", texts({"seal"})); }},
      {"another identity", [&](Map& m) { put(m, "pk1", victimsId); }},
      {"version 0", [](Map& m) {
         put(m, "pk1", VaultysId::fromId(*member(m, "pk1")->bytes())->toVersion(IdVersion::V0).id());
         put(m, "version", number(0));
       }}};
  for (const auto& [what, bend] : ways) {
    SCOPED_TRACE(what);
    auto agent = insider({.features = kAllFeatures});
    world_.advance(seconds(10));
    ASSERT_GE(agent->count("auth_complete"), 2u) << "an honest reissue goes through";
    agent->plan.bendInit = bend;
    agent->step1.clear();
    agent->forget();
    control::GrantChange change;
    change.maxRequestsPerHour.emplace(7);
    Box<control::AgentView> updated;
    plane_->updateGrant(agent->did(), change, "", "operator", updated.reply());
    run();
    ASSERT_TRUE(agent->count("auth_challenge") > 0);
    EXPECT_TRUE(agent->step1.empty()) << "it was signed";
    EXPECT_FALSE(isConnected(agent->did().value));
  }
}

}  // namespace
}  // namespace vaultysclaw::attacks
