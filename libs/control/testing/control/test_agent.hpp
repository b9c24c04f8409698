// An agent for tests, small and obedient: answers challenges, keeps what it receives, and sends what the test says. It
// speaks version 1 as ours do, or version 0 as the original does (built here from bytes, for ours never opens one).
//
//   TestAgent agent(network, clock, entropy, identity, {.features = TestAgent::allFeatures()});
//   agent.connect("ws://cp:8080"); loop.runUntilIdle();
//   EXPECT_TRUE(agent.connected() && agent.sealed());
//
// Its list of features decides what it speaks: with none, what the original does. It can lie, too: Options::dh and
// ::channel replace what it states; sendUnsealed(), seal() and sendRecord() put any bytes on the wire, in any order and
// as often as the test likes; signResult() makes result tokens, from any body, that send() takes.
//
// Confined to the loop.
#pragma once

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/fake_loop.hpp"
#include "base/msgpack.hpp"
#include "identity/challenger.hpp"
#include "identity/features.hpp"
#include "identity/seal.hpp"
#include "identity/tokens.hpp"
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
    // Instead of the true ones, when set. In the first handshake `dh`, in a reissue `channel`; an empty text leaves the
    // member out.
    std::optional<std::string> dh, channel;
    bool dhInReissue = false;  // which only a liar sends
    net::ConnectionLimits limits;
  };

  TestAgent(MemoryNetwork& network, FakeClock& clock, Entropy& entropy, identity::VaultysId self, Options o)
      : options(std::move(o)), clock_(clock), entropy_(entropy), self_(std::move(self)), dialer_(network.dialer()) {}
  TestAgent(MemoryNetwork& network, FakeClock& clock, Entropy& entropy, identity::VaultysId self)
      : TestAgent(network, clock, entropy, std::move(self), Options()) {}

  static std::vector<std::string> allFeatures() {
    const auto& names = identity::Features::ours().names();
    return {names.begin(), names.end()};
  }
  static std::vector<std::string> allFeaturesBut(std::string_view name) {
    const auto rest = identity::Features::ours().without(name);
    return {rest.names().begin(), rest.names().end()};
  }

  Options options;
  std::function<void(const protocol::Message&)> onMessage;  // after the agent's own reaction
  std::vector<protocol::Message> received;                  // since connect()
  std::optional<net::CloseReason> closed;
  // What the control plane did on a sealed connection, since connect().
  bool endedInOrder = false;          // with TAG_FINAL
  std::size_t unsealedFrames = 0;     // after COMPLETE; an auth_failed may be one
  std::optional<Error> openError;     // a record that did not open; nothing is read after it
  std::vector<std::string> problems;  // what was wrong with its intents (docs/protocol.md 7.4)

  bool sealed() const { return channel_.has_value(); }
  // 64 hex digits; sealed() only.
  const std::string& channel() const { return channel_->channel(); }
  // Whether both signed lists have it.
  bool uses(std::string_view feature) const { return inUse_.has(feature); }

  const identity::VaultysId& identity() const { return self_; }
  Did did() const { return self_.didV1(); }

  void connect(const std::string& url = "ws://cp:8080") {
    disconnect();
    received.clear();
    closed.reset();
    endedInOrder = false;
    unsealedFrames = 0;
    openError.reset();
    problems.clear();
    dial_ = dialer_->dial(
        {url, {}, {}, seconds(15), options.limits}, [this](Result<std::unique_ptr<net::Connection>> connection) {
          if (!connection) {
            closed = net::CloseReason{1006, connection.error().message};
            return;
          }
          connection_ = std::move(connection).value();
          net::Connection::Callbacks callbacks;
          callbacks.onMessage = [this](net::FrameKind kind, std::string_view data) { onFrame(kind, data); };
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
    keys_.reset();
    channel_.reset();
    inUse_ = {};
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
  // Of the last message of that type; empty without one.
  template <class T>
  std::string lastMessageId() const {
    for (auto it = received.rbegin(); it != received.rend(); ++it) {
      if (std::holds_alternative<T>(it->payload)) return it->messageId;
    }
    return "";
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

  static std::string textOf(Clock& clock, Entropy& entropy, protocol::Payload payload) {
    protocol::Message message;
    message.messageId = newUuid(clock, entropy);
    message.timestamp = toIso8601(clock.now());
    message.payload = std::move(payload);
    return protocol::encode(message);
  }
  void send(protocol::Payload payload) { sendText(textOf(clock_, entropy_, std::move(payload))); }
  // Sealed when there is a channel.
  void sendText(std::string text, net::FrameKind kind = net::FrameKind::Text) {
    if (channel_) return sendRecord(seal(text));
    sendFrame(kind, std::move(text));
  }
  void sendUnsealed(protocol::Payload payload) {
    sendFrame(net::FrameKind::Text, textOf(clock_, entropy_, std::move(payload)));
  }
  // The next record; whoever does not send it leaves a gap.
  Bytes seal(std::string_view text) { return channel_->seal(text).value(); }
  Bytes seal(protocol::Payload payload) { return seal(textOf(clock_, entropy_, std::move(payload))); }
  Bytes sealEnd() { return channel_->final().value(); }
  void sendRecord(BytesView record) { sendFrame(net::FrameKind::Binary, std::string(asText(record))); }
  void sendFrame(net::FrameKind kind, std::string data) {
    if (connection_) (void)connection_->send(kind, std::move(data));
  }

  // Signed when signed-results is in use.
  void sendResult(const IntentId& id, std::string output,
                  protocol::ResultStatus status = protocol::ResultStatus::Success) {
    protocol::IntentResult result = resultOf(id, std::move(output), status);
    if (uses(identity::feature::kSignedResults)) signResult(result);
    send(std::move(result));
  }
  protocol::IntentResult resultOf(const IntentId& id, std::string output,
                                  protocol::ResultStatus status = protocol::ResultStatus::Success) const {
    protocol::IntentResult result;
    result.intentId = id;
    result.status = status;
    if (status == protocol::ResultStatus::Success)
      result.output = protocol::RawJson{std::move(output)};
    else
      result.error = std::move(output);
    result.executedAt = clock_.now();
    return result;
  }
  // What an honest agent signs for `result`.
  identity::ResultToken tokenOf(const protocol::IntentResult& result) const {
    identity::ResultToken token;
    token.intentId = result.intentId.value;
    token.status = result.status == protocol::ResultStatus::Success ? "success" : "failed";
    if (result.output) token.outputHash = identity::sha256(asBytes(result.output->text));
    token.error = result.error;
    token.code = result.code;
    token.executedAt = result.executedAt;
    token.agentDid = did().value;
    token.controlPlaneDid = controlPlane_->didV1().value;
    if (const auto it = tokens_.find(result.intentId); it != tokens_.end())
      token.intentHash = identity::tokenBodyHash(it->second).value();
    return token;
  }
  void signResult(protocol::IntentResult& result) const { signResult(result, tokenOf(result)); }
  void signResult(protocol::IntentResult& result, const identity::ResultToken& token) const {
    signResult(result, token, self_);
  }
  void signResult(protocol::IntentResult& result, const identity::ResultToken& token,
                  const identity::VaultysId& signer) const {
    result.signature = identity::signToken(signer, token);
    result.publicKey = base64Encode(self_.toVersion(identity::IdVersion::V1).id());
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
      stateSeal(config.metadata);
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
  void onFrame(net::FrameKind kind, std::string_view data) {
    if (openError) return;
    if (kind == net::FrameKind::Text) {
      unsealedFrames += channel_.has_value();
      return onText(data);
    }
    VC_ASSERT(channel_, "the control plane sent a binary message on an unsealed connection");
    auto record = channel_->open(asBytes(data));
    if (!record) {
      openError = record.error();
      return;
    }
    if (record->end)
      endedInOrder = true;
    else
      onText(record->text);
  }
  void onText(std::string_view text) {
    auto message = protocol::decode(text);
    VC_ASSERT(message.ok(), "the control plane sent a message that does not decode");
    received.push_back(std::move(message).value());
    const auto current = received.back();
    if (const auto* challenge = std::get_if<protocol::AuthChallenge>(&current.payload);
        challenge && options.answerChallenges) {
      onChallenge(*challenge);
    }
    if (const auto* intent = std::get_if<protocol::Intent>(&current.payload)) onIntent(*intent, current);
    if (onMessage) onMessage(current);
  }
  void onIntent(const protocol::Intent& intent, const protocol::Message& message) {
    const std::string signature = message.signature.value_or("");
    tokens_[intent.id] = signature;
    const auto wrong = [&](const std::string& what) { problems.push_back(intent.id.value + ": " + what); };
    const auto token = identity::verifyIntentToken(signature, *controlPlane_, clock_.now());
    if (!token) return wrong(token.error().message);
    if (token->id != intent.id.value || token->id != message.messageId) wrong("another id");
    if (token->action != intent.action) wrong("another action");
    if (token->agentId != did().value) wrong("another agent");
    if (uses(identity::feature::kIntentV2) != token->paramsHash.has_value()) wrong("intent-v2 and not, or without");
    if (!token->paramsHash) return;
    if (*token->paramsHash != identity::sha256(asBytes(intent.params.text))) wrong("another paramsHash");
    if (token->userDid != (intent.userDid ? std::optional(intent.userDid->value) : std::nullopt)) wrong("another user");
    if (!token->expiresAt || *token->expiresAt > token->timestamp + seconds(300)) wrong("lives too long");
  }
  void stateSeal(msgpack::Map& metadata) {
    const bool seals =
        std::find(options.features.begin(), options.features.end(), identity::feature::kSeal) != options.features.end();
    if (channel_) {
      const std::string stated = options.channel.value_or(channel_->channel());
      if (!stated.empty()) metadata.emplace_back("channel", stated);
    }
    if (!seals || (channel_ && !options.dhInReissue)) return;
    auto keys = identity::SealKeys::generate(entropy_);
    const std::string dh = options.dh.value_or(keys.dh());
    if (!dh.empty()) metadata.emplace_back("dh", dh);
    if (!channel_) keys_.emplace(std::move(keys));
  }
  // After COMPLETE: everything is sealed if both listed it.
  void beginSealing() {
    msgpack::Array listed;
    for (const auto& f : options.features) listed.emplace_back(f);
    const auto ours = identity::Features::fromMetadata(msgpack::Map{{"features", std::move(listed)}});
    const auto theirs = identity::Features::fromMetadata(certificate_);
    if (channel_ || !ours || !theirs) return;
    inUse_ = ours->with(*theirs);
    if (!keys_ || !uses(identity::feature::kSeal)) return;
    const auto* dh = certificate_.find("dh");
    VC_ASSERT(dh && dh->string(), "the control plane lists seal, but states no dh");
    auto channel = keys_->derive(identity::SealRole::Initiator, v1_->signedBytes(), *dh->string(), entropy_);
    VC_ASSERT(channel.ok(), channel.error().message.c_str());
    channel_.emplace(std::move(*channel));
    keys_.reset();
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
    if (v1_) beginSealing();
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
  std::optional<identity::SealKeys> keys_;
  std::optional<identity::SealedChannel> channel_;
  identity::Features inUse_;
  std::map<IntentId, std::string> tokens_;  // of the intents received, over all connections
  msgpack::Value certificate_;
  std::optional<identity::VaultysId> controlPlane_;
};

}  // namespace vaultysclaw::testing
