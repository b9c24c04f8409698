#include "attacker.hpp"

#include <algorithm>

#include "base/assert.hpp"
#include "identity/hash.hpp"

namespace vaultysclaw::attacks {
namespace {

Bytes draw(Entropy& entropy, std::size_t size) {
  Bytes out(size);
  entropy.fill(out);
  return out;
}

bool lists(const Map& statement, std::string_view feature) {
  const Value* features = member(statement, "features");
  if (!features || !features->array()) return false;
  return std::any_of(features->array()->begin(), features->array()->end(),
                     [&](const Value& v) { return v.string() && *v.string() == feature; });
}

Map statementOf(const Map& handshake, std::string_view side) {
  const Value* metadata = member(handshake, "metadata");
  const Value* own = metadata ? metadata->find(side) : nullptr;
  return own && own->map() ? *own->map() : Map{};
}

std::string dhOf(const Map& statement) {
  const Value* dh = member(statement, "dh");
  return dh && dh->string() ? *dh->string() : "";
}

std::optional<Map> decodeMap(const Json& payload) {
  const auto bytes = base64Decode(payload.value("data", ""));
  VC_ASSERT(bytes.ok(), "the product sent a handshake that is no base64");
  const auto value = msgpack::decode(*bytes);
  VC_ASSERT(value.ok() && value->map(), "the product sent a handshake that is no map");
  return *value->map();
}

}  // namespace

// ---- Mouth ---------------------------------------------------------------------------------------------------------

void Mouth::attach(std::unique_ptr<net::Connection> link) {
  link_ = std::move(link);
  closed.reset();
  wire.reset();
  unreadable = heardEnd = unsealedAfter = false;
  out_ = [this](Frame frame) {
    if (link_) (void)link_->send(frame.kind, std::move(frame.data));
  };
  link_->start({[this](net::FrameKind kind, std::string_view data) { hear(kind, data); },
                [this](const net::CloseReason& reason) { closed = reason; },
                {}});
}

void Mouth::raw(net::FrameKind kind, std::string data) {
  if (out_) out_({kind, std::move(data)});
}

void Mouth::say(const std::string& text) {
  if (wire)
    raw(net::FrameKind::Binary, wire->record(text));
  else
    rawText(text);
}

void Mouth::hear(net::FrameKind kind, std::string_view data) {
  frames.push_back({kind, std::string(data)});
  std::string text(data);
  if (kind == net::FrameKind::Binary) {
    auto opened = wire ? wire->open(data) : std::nullopt;
    if (!opened) {
      unreadable = true;
      return;
    }
    if (opened->tag == crypto_secretstream_xchacha20poly1305_TAG_FINAL) {
      heardEnd = true;
      return;
    }
    text = std::move(opened->text);
  } else if (wire) {
    unsealedAfter = true;
  }
  const Json message = parsed(text);
  VC_ASSERT(message.is_object() && message.contains("type"), "the product sent something that is no message");
  heard.push_back(message);
  react(message);
}

std::size_t Mouth::count(std::string_view type) const {
  return static_cast<std::size_t>(
      std::count_if(heard.begin(), heard.end(), [&](const Json& m) { return m["type"] == type; }));
}
Json Mouth::last(std::string_view type) const {
  const auto found = all(type);
  return found.empty() ? Json() : found.back()["payload"];
}
std::vector<Json> Mouth::all(std::string_view type) const {
  std::vector<Json> out;
  std::copy_if(heard.begin(), heard.end(), std::back_inserter(out), [&](const Json& m) { return m["type"] == type; });
  return out;
}
std::vector<std::string> Mouth::types() const {
  std::vector<std::string> out;
  for (const auto& message : heard) out.push_back(message["type"]);
  return out;
}

// ---- HostileAgent --------------------------------------------------------------------------------------------------

void HostileAgent::connect(MemoryNetwork& network, const std::string& url) {
  hangUp();
  heard.clear();
  frames.clear();
  registered_ = false;
  init_.reset();
  dialer_ = network.dialer();
  dial_ = dialer_->dial({.url = url}, [this](Result<std::unique_ptr<net::Connection>> link) {
    if (link)
      attach(std::move(link).value());
    else
      closed = net::CloseReason{1006, link.error().message};
  });
}

void HostileAgent::begin(std::function<void(Frame)> out) {
  out_ = std::move(out);
}

void HostileAgent::react(const Json& message) {
  if (message["type"] != "auth_challenge") return;
  const Json& payload = message["payload"];
  sessionId = payload.value("sessionId", "");
  if (!payload.value("data", "").empty()) return onStep1(payload);
  if (!std::exchange(registered_, true)) {
    if (plan.stopAt > StopAt::BeforeRegister) say("register", {{"name", plan.name}, {"version", "6.6.6"}});
    return;
  }
  const bool again = connected();
  if (plan.stopAt > StopAt::BeforeInit && (!again || plan.answerReissue)) startHandshake(sessionId);
}

void HostileAgent::startHandshake(const std::string& session) {
  Map statement;
  if (plan.metadata) {
    statement = {{"name", plan.name}, {"capabilities", texts(plan.capabilities)}};
    if (plan.features) statement.emplace_back("features", texts(*plan.features));
    const bool seals = plan.features && std::count(plan.features->begin(), plan.features->end(), "seal");
    if (seals && !wire) {
      keys_ = DhKeys::make(entropy_);
      statement.emplace_back("dh", keys_->dh);
    }
    if (wire) statement.emplace_back("channel", plan.channel.value_or(wire->channel()));
  }
  init_ = initOf(self_, plan.version, clock_.now(), draw(entropy_, 16), statement);
  if (plan.bendInit) plan.bendInit(*init_);
  challenge(session, *init_);
}

void HostileAgent::challenge(const std::string& session, const Map& handshake) {
  say("auth_challenge", {{"sessionId", session},
                         {"data", base64Encode(msgpack::encode(handshake))},
                         {"name", plan.name},
                         {"capabilities", plan.capabilities}});
}

void HostileAgent::onStep1(const Json& payload) {
  if (!std::exchange(init_, std::nullopt)) return;  // the copy of COMPLETE
  step1 = *decodeMap(payload);
  if (plan.stopAt <= StopAt::BeforeComplete) return;
  complete = completeOf(self_, step1);
  if (plan.bendComplete) plan.bendComplete(complete);
  challenge(sessionId, complete);
  const Map theirs = certificate();
  if (wire || !lists(statementOf(step1, "pk1"), "seal") || !lists(theirs, "seal")) return;
  wire = SealedWire::make(SealedWire::Side::Initiator, *keys_, dhOf(theirs), unsignedOf(step1));
}

Map HostileAgent::certificate() const {
  return statementOf(step1, "pk2");
}

std::string HostileAgent::resultText(const Json& intent, const std::string& output,
                                     const std::function<void(Json&, Map&)>& bend) const {
  const std::string id = intent["payload"]["id"];
  Json payload{{"intentId", id},
               {"status", "success"},
               {"output", "@output@"},
               {"executedAt", "2026-05-28T20:26:40.000Z"},
               {"publicKey", base64Encode(self_.id())}};
  const auto token = base64Decode(intent.value("signature", ""));
  VC_ASSERT(token.ok() && token->size() > 4 + 64, "an intent without a token");
  const auto intentHash = identity::sha256(BytesView(*token).subspan(4, token->size() - 4 - 64));
  Map body{{"type", "result"},
           {"intentId", id},
           {"status", "success"},
           {"outputHash", BytesView(identity::sha256(asBytes(output)))},
           {"executedAt", number(1'780'000'000'000)},
           {"agentDid", did().value},
           {"controlPlaneDid", ""},
           {"intentHash", BytesView(intentHash)}};
  if (const Value* pk2 = member(step1, "pk2"))
    put(body, "controlPlaneDid", VaultysId::fromId(*pk2->bytes())->didV1().value);
  payload["signature"] = "";
  if (bend) bend(payload, body);
  if (payload.contains("signature") && payload["signature"] == "") payload["signature"] = tokenBy(self_, body);
  std::string text = envelope("result", payload);
  const std::string mark = "\"@output@\"";
  if (const auto at = text.find(mark); at != std::string::npos) text.replace(at, mark.size(), output);
  return text;
}

// ---- HostileControlPlane -------------------------------------------------------------------------------------------

net::AcceptHandler HostileControlPlane::acceptor() {
  return [this](std::unique_ptr<net::Connection> link) {
    ++connections;
    step1_.reset();
    attach(std::move(link));
    reissue();
  };
}

void HostileControlPlane::reissue() {
  say("auth_challenge", {{"sessionId", "session-" + std::to_string(++sessions_)}, {"data", ""}});
}

void HostileControlPlane::welcome() {
  if (!plan.known) return say("registration_pending", {{"registrationId", "r-1"}, {"message", "wait"}});
  say("auth_complete",
      plan.authComplete.value_or(Json{{"agentId", agentDid}, {"did", agentDid}, {"capabilities", plan.capabilities}}));
}

void HostileControlPlane::react(const Json& message) {
  if (!plan.answers) return;
  if (message["type"] == "register") return reissue();
  if (message["type"] != "auth_challenge") return;
  const Json& payload = message["payload"];
  Map handshake = *decodeMap(payload);
  if (stepOf(handshake) == Step::Complete) {
    complete = std::move(handshake);
    ++handshakes;
    const Map theirs = statementOf(complete, "pk1"), ours = statementOf(complete, "pk2");
    if (!wire && lists(theirs, "seal") && lists(ours, "seal"))
      wire = SealedWire::make(SealedWire::Side::Responder, *keys_, dhOf(theirs), unsignedOf(complete));
    if (plan.completes) welcome();
    return;
  }
  init = std::move(handshake);
  agentDid = VaultysId::fromId(*member(init, "pk1")->bytes())->didV1().value;
  Map statement{{"capabilities", texts(plan.capabilities)}};
  if (plan.features) {
    statement.emplace_back("features", texts(*plan.features));
    if (!wire && std::count(plan.features->begin(), plan.features->end(), "seal")) {
      keys_ = DhKeys::make(entropy_);
      statement.emplace_back("dh", keys_->dh);
    }
  }
  step1_ = step1Of(self_, init, draw(entropy_, 16), statement);
  if (plan.bendStep1) {
    plan.bendStep1(*step1_);
    signAs(self_, *step1_);
  }
  if (plan.bendSigned) plan.bendSigned(*step1_);
  say("auth_challenge",
      {{"sessionId", payload.value("sessionId", "")}, {"data", base64Encode(msgpack::encode(*step1_))}});
}

std::string HostileControlPlane::intent(const std::string& id, const std::string& action, const std::string& params,
                                        const Json& payloadMore, const std::function<void(Map&)>& bend) {
  Map body = intentBody(id, action, agentDid, clock_.now());
  if (plan.features) {
    std::optional<std::string> user;
    if (payloadMore.contains("userDid")) user = payloadMore["userDid"].get<std::string>();
    addHashes(body, params, user, clock_.now() + seconds(60));
  }
  if (bend) bend(body);
  return intentText(id, action, params, tokenBy(self_, body), payloadMore);
}

// ---- Middle --------------------------------------------------------------------------------------------------------

Middle::Middle(MemoryNetwork& network, const std::string& url, std::string target)
    : dialer_(network.dialer()), target_(std::move(target)) {
  network.listen(url, [this](std::unique_ptr<net::Connection> agent) { accept(std::move(agent)); });
}

void Middle::accept(std::unique_ptr<net::Connection> agent) {
  ++connections;
  if (pair_) older_.push_back(std::move(pair_));
  auto pair = pair_ = std::make_shared<Pair>();
  pair->agent = std::move(agent);
  std::weak_ptr<Pair> weak = pair;
  const auto relayClose = [weak](std::unique_ptr<net::Connection> Pair::* other) {
    return [weak, other](const net::CloseReason& reason) {
      auto p = weak.lock();
      if (!p) return;
      if (!((*p).*other)) return;
      if (reason.code == 1006 || reason.code == 1005)
        ((*p).*other).reset();
      else
        ((*p).*other)->close(reason.code, reason.text);
    };
  };
  pair->agent->start({[this, weak](net::FrameKind kind, std::string_view data) {
                        if (auto p = weak.lock()) pass(p, Direction::ToServer, {kind, std::string(data)});
                      },
                      relayClose(&Pair::server),
                      {}});
  pair->dial = dialer_->dial({.url = target_}, [this, weak, relayClose](auto server) {
    auto p = weak.lock();
    if (!p || !server) return;
    p->server = std::move(server).value();
    p->server->start({[this, weak](net::FrameKind kind, std::string_view data) {
                        if (auto q = weak.lock()) pass(q, Direction::ToClient, {kind, std::string(data)});
                      },
                      relayClose(&Pair::agent),
                      {}});
    for (auto& frame : std::exchange(p->early, {})) pass(p, Direction::ToServer, std::move(frame));
  });
}

void Middle::pass(const std::shared_ptr<Pair>& pair, Direction direction, Frame frame) {
  if (direction == Direction::ToServer && !pair->server) return pair->early.push_back(std::move(frame));
  seen.emplace_back(direction, frame);
  if (onFrame && !onFrame(direction, frame)) return;
  auto& to = direction == Direction::ToServer ? pair->server : pair->agent;
  if (to) (void)to->send(frame.kind, std::move(frame.data));
}

void Middle::inject(Direction direction, Frame frame) {
  auto& to = direction == Direction::ToServer ? pair_->server : pair_->agent;
  if (to) (void)to->send(frame.kind, std::move(frame.data));
}

void Middle::cut() {
  if (pair_) pair_->agent.reset(), pair_->server.reset();
}

std::function<bool(Direction, Frame&)> Middle::bending(Step step, std::function<void(Map&)> bend) {
  return [step, bend = std::move(bend)](Direction, Frame& frame) {
    if (frame.kind != net::FrameKind::Text) return true;
    auto handshake = handshakeIn(frame.data);
    if (!handshake || stepOf(*handshake) != step) return true;
    bend(*handshake);
    frame.data = withHandshake(frame.data, *handshake);
    return true;
  };
}

}  // namespace vaultysclaw::attacks
