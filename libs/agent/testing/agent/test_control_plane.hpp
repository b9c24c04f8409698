// Plays the control plane towards an agent under test: real handshakes and tokens, and any message a test wants to
// send.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/ports.hpp"
#include "identity/challenger.hpp"
#include "identity/tokens.hpp"
#include "net/connection.hpp"
#include "protocol/codec.hpp"

namespace vaultysclaw::testing {

// What an intent is made of, and how it lies.
struct IntentOptions {
  std::string params = "{}";
  std::optional<std::string> userDid = {};
  std::optional<std::int64_t> timeoutMs = {};
  std::optional<std::string> signedAction = {}, signedAgent = {}, signedId = {};
  milliseconds age{0};
  bool sign = true;
  bool v2 = false;
};

// One agent at a time. Confined to the executor of its connections.
class TestControlPlane {
 public:
  TestControlPlane(Clock& clock, Entropy& entropy)
      : clock_(clock), entropy_(entropy), self_(identity::VaultysId::generate(identity::IdType::Machine, entropy)) {}

  net::AcceptHandler acceptor() {
    return [this](std::unique_ptr<net::Connection> connection) { accept(std::move(connection)); };
  }

  // ---- what it grants ----
  bool known = true;  // false: the agent is told to wait for approve()
  std::vector<std::string> capabilities = {"text_generation"};
  std::optional<std::vector<std::string>> toldCapabilities;  // what auth_complete says, if not the certificate's
  std::optional<std::string> toldDid;
  std::optional<std::int64_t> maxTokensPerDay, maxRequestsPerHour;
  std::optional<std::string> policyId, policyExpiresAt;
  bool answersHeartbeats = true;
  milliseconds clockOffset{0};   // its clock, from the world's
  std::function<void()> onInit;  // before STEP1 is sent

  // ---- what it heard ----
  std::vector<protocol::Message> received;
  std::vector<identity::Responder::Claim> claims;
  int connections = 0, handshakes = 0;

  template <class T>
  std::vector<T> all() const {
    std::vector<T> found;
    for (const auto& message : received) {
      if (const auto* payload = std::get_if<T>(&message.payload)) found.push_back(*payload);
    }
    return found;
  }
  template <class T>
  std::optional<T> last() const {
    auto found = all<T>();
    return found.empty() ? std::nullopt : std::optional<T>(std::move(found.back()));
  }
  void forget() { received.clear(); }

  // ---- what it says ----
  bool connected() const { return connection_ != nullptr; }
  const std::string& agentDid() const { return agentDid_; }
  const identity::VaultysId& id() const { return self_; }
  void replaceIdentity() { self_ = identity::VaultysId::generate(identity::IdType::Machine, entropy_); }
  WallTime now() { return clock_.now() + clockOffset; }

  void sendRaw(std::string text) { connection_->send(net::FrameKind::Text, std::move(text)); }
  std::string send(protocol::Payload payload, std::optional<std::string> signature = {}, std::string messageId = {}) {
    protocol::Message message;
    message.messageId = messageId.empty() ? newUuid(clock_, entropy_) : std::move(messageId);
    message.timestamp = toIso8601(now());
    message.signature = std::move(signature);
    if (!agentDid_.empty()) message.agentId = agentDid_;
    message.payload = std::move(payload);
    const std::string id = message.messageId;
    sendRaw(protocol::encode(message));
    return id;
  }
  void close(std::uint16_t code = 1001) { connection_->close(code, "bye"); }
  void drop() { connection_.reset(); }

  void approve() {
    known = true;
    send(protocol::RegistrationApproved{RegistrationId("reg-1"), capabilities});
    sendAuthComplete();
    reissue();
  }
  void reject(std::string reason) { send(protocol::RegistrationRejected{RegistrationId("reg-1"), std::move(reason)}); }
  void sendAuthComplete() {
    const std::string did = toldDid.value_or(agentDid_);
    send(protocol::AuthComplete{did, did, toldCapabilities.value_or(capabilities)});
  }
  // A new certificate with what is granted now.
  void reissue() {
    protocol::UpdateCapabilities update;
    update.capabilities = capabilities;
    update.reason = "Certificate reissue";
    send(std::move(update));
    startHandshake();
  }
  void startHandshake() {
    responder_.reset();
    send(protocol::AuthChallenge{"session-" + std::to_string(++sessions_), "", {}, {}});
  }

  using IntentOptions = testing::IntentOptions;
  std::string intentText(const std::string& id, const std::string& action, const IntentOptions& options) {
    identity::IntentToken token;
    token.id = options.signedId.value_or(id);
    token.action = options.signedAction.value_or(action);
    token.agentId = options.signedAgent.value_or(agentDid_);
    token.timestamp = now() - options.age;
    if (options.v2) {
      token.paramsHash = identity::sha256(asBytes(options.params));
      token.userDid = options.userDid;
      token.expiresAt = now() + seconds(300);
    }
    protocol::Intent intent;
    intent.id = IntentId(id);
    intent.action = action;
    intent.params = protocol::RawJson{options.params};
    intent.timestamp = toIso8601(now());
    if (options.userDid) intent.userDid = Did(*options.userDid);
    intent.timeoutMs = options.timeoutMs;
    protocol::Message message;
    message.messageId = id;
    message.timestamp = intent.timestamp;
    message.agentId = agentDid_;
    if (options.sign) message.signature = identity::signToken(self_, token);
    message.payload = std::move(intent);
    return protocol::encode(message);
  }
  void intent(const std::string& id, const std::string& action, const IntentOptions& options = {}) {
    sendRaw(intentText(id, action, options));
  }
  void chat(const std::string& conversation, const std::string& text, std::optional<std::int64_t> timeoutMs = {}) {
    protocol::ChatRequest request;
    request.conversationId = ConversationId(conversation);
    request.messages = {{"user", text, {}}};
    request.timeoutMs = timeoutMs;
    send(std::move(request));
  }
  protocol::DelegationEntry delegation(const std::string& user, std::vector<std::string> granted,
                                       std::optional<WallTime> expiresAt = {}) {
    protocol::DelegationEntry entry;
    entry.id = entry.grantId = "delegation-" + user.substr(user.size() - 4);
    entry.userDid = user;
    entry.agentDid = agentDid_;
    entry.capabilities = granted;
    entry.certificate =
        identity::signToken(self_, identity::DelegationToken{user, agentDid_, std::move(granted), now(), expiresAt});
    return entry;
  }

 private:
  void accept(std::unique_ptr<net::Connection> connection) {
    ++connections;
    connection_ = std::move(connection);
    responder_.reset();
    connection_->start({[this](net::FrameKind, std::string_view text) { onMessage(text); },
                        [this](const net::CloseReason&) { connection_.reset(); },
                        {}});
    startHandshake();
  }
  void onMessage(std::string_view text) {
    auto message = protocol::decode(text);
    VC_ASSERT(message.ok(), "the agent sent something that is no message");
    received.push_back(*message);
    if (std::holds_alternative<protocol::Register>(message->payload)) return startHandshake();
    if (const auto* challenge = std::get_if<protocol::AuthChallenge>(&message->payload)) return onChallenge(*challenge);
    if (const auto* heartbeat = std::get_if<protocol::Heartbeat>(&message->payload); heartbeat && answersHeartbeats)
      send(protocol::Pong{toIso8601(now()), heartbeat->syncId});
  }
  void onChallenge(const protocol::AuthChallenge& challenge) {
    const auto data = base64Decode(challenge.data);
    VC_ASSERT(data.ok(), "the agent sent a handshake that is not base64");
    if (!responder_) {
      responder_.emplace(self_, identity::Responder::Config{}, entropy_);
      auto claim = responder_->onInit(*data, now());
      if (!claim) return fail(claim.error().message);
      agentDid_ = claim->peer.didV1().value;
      claims.push_back(*claim);
      if (onInit) onInit();
      auto step1 = responder_->answer(metadata());
      VC_ASSERT(step1.ok(), "the responder did not answer");
      send(protocol::AuthChallenge{challenge.sessionId, base64Encode(*step1), {}, {}});
      return;
    }
    if (Status complete = responder_->onComplete(*data, now()); !complete) return fail(complete.error().message);
    ++handshakes;
    responder_.reset();
    if (!known) {
      send(protocol::RegistrationPending{RegistrationId("reg-1"),
                                         "Identity verified. Registration pending admin approval."});
      return;
    }
    sendAuthComplete();
    send(protocol::AuthChallenge{challenge.sessionId, challenge.data, {}, {}});
  }
  void fail(const std::string& reason) {
    send(protocol::AuthFailed{reason});
    connection_->close(1008, "auth failed");
  }
  msgpack::Map metadata() const {
    using msgpack::Value;
    msgpack::Array names;
    for (const auto& c : capabilities) names.emplace_back(c);
    msgpack::Map map{{Value("capabilities"), Value(std::move(names))}};
    msgpack::Map limits;
    if (maxTokensPerDay) limits.emplace_back(Value("maxTokensPerDay"), Value::integer(*maxTokensPerDay));
    if (maxRequestsPerHour) limits.emplace_back(Value("maxRequestsPerHour"), Value::integer(*maxRequestsPerHour));
    if (!limits.empty()) map.emplace_back(Value("resourceLimits"), Value(std::move(limits)));
    if (policyId) map.emplace_back(Value("policyId"), Value(*policyId));
    if (policyExpiresAt) map.emplace_back(Value("policyExpiresAt"), Value(*policyExpiresAt));
    return map;
  }

  Clock& clock_;
  Entropy& entropy_;
  identity::VaultysId self_;
  std::unique_ptr<net::Connection> connection_;
  std::optional<identity::Responder> responder_;
  std::string agentDid_;
  int sessions_ = 0;
};

}  // namespace vaultysclaw::testing
