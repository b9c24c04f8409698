// An agent for tests, small and obedient: answers challenges, keeps what it receives, and sends what the test says. It
// speaks version 1 as ours do, or version 0 as the original does (built here from bytes, for ours never opens one).
//
//   TestAgent agent(network, loop, clock, entropy, identity);
//   agent.connect("ws://cp:8080"); loop.runUntilIdle();
//   EXPECT_TRUE(agent.connected());
//
// Confined to the loop.
#pragma once

#include <algorithm>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/fake_loop.hpp"
#include "base/msgpack.hpp"
#include "identity/challenger.hpp"
#include "net/memory_network.hpp"
#include "protocol/codec.hpp"

namespace vaultysclaw::testing {

// The initiator's side of a version 0 handshake.
class InitiatorV0 {
 public:
  InitiatorV0(identity::VaultysId self, Entropy& entropy, WallTime now)
      : self_(self.toVersion(identity::IdVersion::V0)), timestamp_(toUnixMillis(now)), nonce_(16) {
    entropy.fill(nonce_);
  }
  std::string protocol = "p2p", service = "auth";

  Bytes init() const {
    return msgpack::encode(msgpack::Map{{"version", msgpack::Value::integer(0)},
                                        {"protocol", protocol},
                                        {"service", service},
                                        {"timestamp", msgpack::Value::integer(timestamp_)},
                                        {"pk1", self_.id()},
                                        {"nonce", nonce_},
                                        {"metadata", msgpack::Map{}}});
  }
  Result<Bytes> onStep1(BytesView step1) {
    VC_TRY_ASSIGN(auto value, msgpack::decode(step1));
    for (const char* name : {"pk2", "nonce", "sign2", "metadata"}) {
      if (!value.find(name)) return Error{Errc::Malformed, std::string("STEP1 has no ") + name};
    }
    VC_TRY_ASSIGN(peer_, identity::VaultysId::fromId(*value.find("pk2")->bytes()));
    if (const auto* stated = value.find("metadata")->find("pk2")) peerMetadata_ = *stated;
    const Bytes body = unsignedBytes(value);
    if (!peer_->verify(body, *value.find("sign2")->bytes()))
      return Error{Errc::BadSignature, "STEP1 is not signed by its pk2"};
    msgpack::Map complete;
    for (const auto& [key, member] : *value.map()) {
      if (*key.string() == "sign2") complete.emplace_back("sign1", self_.signV0(body));
      complete.emplace_back(key, member);
    }
    return msgpack::encode(complete);
  }
  const msgpack::Value& peerMetadata() const { return peerMetadata_; }
  identity::VaultysId peer() const { return peer_->toVersion(identity::IdVersion::V1); }

 private:
  // What both sides sign in version 0: written by hand, and without the metadata.
  static Bytes unsignedBytes(const msgpack::Value& step1) {
    Bytes out{0x87};
    const auto text = [&](std::string_view t) {
      out.push_back(static_cast<std::uint8_t>(0xa0 | t.size()));
      append(out, asBytes(t));
    };
    for (const char* name : {"protocol", "service"}) {
      text(name);
      text(*step1.find(name)->string());
    }
    text("timestamp");
    out.push_back(0xd3);
    const std::int64_t timestamp = step1.find("timestamp")->asInteger().value_or(0);
    for (int shift = 56; shift >= 0; shift -= 8) out.push_back(static_cast<std::uint8_t>(timestamp >> shift));
    for (const char* name : {"pk1", "pk2", "nonce"}) {
      const Bytes& bytes = *step1.find(name)->bytes();
      text(name);
      out.insert(out.end(),
                 {0xc5, static_cast<std::uint8_t>(bytes.size() >> 8), static_cast<std::uint8_t>(bytes.size())});
      append(out, bytes);
    }
    text("metadata");
    out.push_back(0x80);
    return out;
  }

  identity::VaultysId self_;
  std::int64_t timestamp_;
  Bytes nonce_;
  std::optional<identity::VaultysId> peer_;
  msgpack::Value peerMetadata_;
};

class TestAgent {
 public:
  struct Options {
    std::string name = "test-agent";
    std::vector<std::string> capabilities = {"echo"};
    std::vector<std::string> features = {};  // version 1 only
    identity::IdVersion version = identity::IdVersion::V1;
    bool answerChallenges = true;
    bool completeHandshakes = true;  // no: stops after STEP1
    net::ConnectionLimits limits;
  };

  TestAgent(MemoryNetwork& network, FakeClock& clock, Entropy& entropy, identity::VaultysId self, Options o)
      : options(std::move(o)), clock_(clock), entropy_(entropy), self_(std::move(self)), dialer_(network.dialer()) {}
  TestAgent(MemoryNetwork& network, FakeClock& clock, Entropy& entropy, identity::VaultysId self)
      : TestAgent(network, clock, entropy, std::move(self), Options()) {}

  Options options;
  std::function<void(const protocol::Message&)> onMessage;  // after the agent's own reaction
  std::vector<protocol::Message> received;                  // since connect()
  std::optional<net::CloseReason> closed;

  const identity::VaultysId& identity() const { return self_; }
  Did did() const { return self_.didV1(); }

  void connect(const std::string& url = "ws://cp:8080") {
    disconnect();
    received.clear();
    closed.reset();
    registered_ = false;
    dial_ = dialer_->dial({url, {}, {}, seconds(15), options.limits},
                          [this](Result<std::unique_ptr<net::Connection>> connection) {
                            if (!connection) {
                              closed = net::CloseReason{1006, connection.error().message};
                              return;
                            }
                            connection_ = std::move(connection).value();
                            net::Connection::Callbacks callbacks;
                            callbacks.onMessage = [this](net::FrameKind, std::string_view text) { onText(text); };
                            callbacks.onClose = [this](const net::CloseReason& reason) { closed = reason; };
                            connection_->start(std::move(callbacks));
                          });
  }
  // As a process that ends: no close frame.
  void disconnect() {
    dial_.reset();
    connection_.reset();
    v0_.reset();
    v1_.reset();
    registered_ = false;
  }

  bool connected() const { return connection_ && !closed && last<protocol::AuthComplete>(); }
  template <class T>
  const T* last() const {
    for (auto it = received.rbegin(); it != received.rend(); ++it) {
      if (const auto* payload = std::get_if<T>(&it->payload)) return payload;
    }
    return nullptr;
  }
  template <class T>
  std::size_t count() const {
    return static_cast<std::size_t>(std::count_if(received.begin(), received.end(),
                                                  [](const auto& m) { return std::holds_alternative<T>(m.payload); }));
  }
  // The types of all messages received, in order.
  std::vector<std::string> types() const {
    std::vector<std::string> out;
    for (const auto& message : received) out.emplace_back(protocol::typeName(message.payload));
    return out;
  }

  void send(protocol::Payload payload) {
    protocol::Message message;
    message.messageId = newUuid(clock_, entropy_);
    message.timestamp = toIso8601(clock_.now());
    message.payload = std::move(payload);
    sendText(protocol::encode(message));
  }
  void sendText(std::string text, net::FrameKind kind = net::FrameKind::Text) {
    if (connection_) (void)connection_->send(kind, std::move(text));
  }
  void sendResult(const IntentId& id, std::string output,
                  protocol::ResultStatus status = protocol::ResultStatus::Success) {
    protocol::IntentResult result;
    result.intentId = id;
    result.status = status;
    if (status == protocol::ResultStatus::Success)
      result.output = protocol::RawJson{std::move(output)};
    else
      result.error = std::move(output);
    result.executedAt = clock_.now();
    send(std::move(result));
  }
  void startHandshake(const std::string& sessionId) {
    Bytes init;
    if (options.version == identity::IdVersion::V0) {
      v0_.emplace(self_, entropy_, clock_.now());
      init = v0_->init();
    } else {
      identity::Initiator::Config config;
      msgpack::Array capabilities;
      for (const auto& c : options.capabilities) capabilities.emplace_back(c);
      msgpack::Array features;
      for (const auto& f : options.features) features.emplace_back(f);
      config.metadata = {
          {"name", options.name}, {"capabilities", std::move(capabilities)}, {"features", std::move(features)}};
      v1_.emplace(self_, std::move(config), entropy_, clock_.now());
      init = v1_->init();
    }
    sendChallenge(sessionId, init);
  }
  void sendChallenge(const std::string& sessionId, BytesView bytes) {
    send(protocol::AuthChallenge{sessionId, base64Encode(bytes), options.name, options.capabilities});
  }

  // Reacts to the last auth_challenge once more.
  void replayLastChallenge() { onChallenge(protocol::AuthChallenge(*last<protocol::AuthChallenge>())); }

  // metadata.pk2 of the last STEP1.
  const msgpack::Value& certificate() const { return certificate_; }
  std::vector<std::string> certifiedCapabilities() const {
    std::vector<std::string> out;
    if (const auto* list = certificate_.find("capabilities"); list && list->array()) {
      for (const auto& item : *list->array()) out.push_back(*item.string());
    }
    return out;
  }
  const std::optional<identity::VaultysId>& controlPlane() const { return controlPlane_; }

 private:
  void onText(std::string_view text) {
    auto message = protocol::decode(text);
    VC_ASSERT(message.ok(), "the control plane sent a message that does not decode");
    received.push_back(std::move(message).value());
    const auto current = received.back();
    if (const auto* challenge = std::get_if<protocol::AuthChallenge>(&current.payload);
        challenge && options.answerChallenges) {
      onChallenge(*challenge);
    }
    if (onMessage) onMessage(current);
  }
  void onChallenge(const protocol::AuthChallenge& challenge) {
    if (challenge.data.empty()) {
      if (std::exchange(registered_, true))
        startHandshake(challenge.sessionId);
      else
        send(protocol::Register{options.name, "0.0.1"});
      return;
    }
    if (!options.completeHandshakes) return;
    const auto step1 = base64Decode(challenge.data);
    VC_ASSERT(step1.ok(), "STEP1 is not base64");
    auto complete = v0_ ? v0_->onStep1(*step1) : v1_->onStep1(*step1, clock_.now());
    VC_ASSERT(complete.ok(), complete.error().message.c_str());
    certificate_ = v0_ ? v0_->peerMetadata() : v1_->peerMetadata();
    controlPlane_ = v0_ ? v0_->peer() : v1_->peer();
    sendChallenge(challenge.sessionId, *complete);
  }

  FakeClock& clock_;
  Entropy& entropy_;
  identity::VaultysId self_;
  std::unique_ptr<net::Dialer> dialer_;
  net::Pending dial_;
  std::unique_ptr<net::Connection> connection_;
  bool registered_ = false;
  std::optional<InitiatorV0> v0_;
  std::optional<identity::Initiator> v1_;
  msgpack::Value certificate_;
  std::optional<identity::VaultysId> controlPlane_;
};

}  // namespace vaultysclaw::testing
