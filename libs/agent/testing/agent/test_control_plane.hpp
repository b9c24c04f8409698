// Plays the control plane towards an agent under test: real handshakes, sealed channels and tokens, and any message or
// record a test wants to send. It is honest unless told otherwise.
#pragma once

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/ports.hpp"
#include "identity/challenger.hpp"
#include "identity/features.hpp"
#include "identity/seal.hpp"
#include "identity/tokens.hpp"
#include "net/connection.hpp"
#include "protocol/codec.hpp"

namespace vaultysclaw::testing {

// What an intent is made of, and how it lies.
struct IntentOptions {
  std::string params = "{}";
  std::optional<std::string> userDid = {};
  std::optional<std::int64_t> timeoutMs = {};
  std::optional<std::string> signedAction = {}, signedAgent = {}, signedId = {}, signedParams = {}, signedUser = {};
  milliseconds age{0};
  bool sign = true;
  std::optional<bool> v2 = {};  // absent: whether intent-v2 is in use
  milliseconds life{300'000};   // of a v2 token, from its timestamp
  std::optional<protocol::TraceContext> trace = {};
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
  milliseconds clockOffset{0};                            // its clock, from the world's
  std::function<void()> onInit;                           // before STEP1 is sent
  std::function<void(const protocol::Message&)> onHeard;  // each message, before it is answered

  // ---- what it lists and proves; how it lies ----
  identity::Features features = identity::Features::ours();  // none: no member `features`, as the original
  std::optional<std::string> dh;                             // `dh` of STEP1, in place of its own; "": no such member
  bool checksChannel = true;                                 // of a reissue
  bool acknowledgesResults = true;  // with result-ack, those that are right; others are refused

  // ---- what it heard ----
  std::vector<protocol::Message> received;
  std::vector<identity::Responder::Claim> claims;
  std::vector<identity::ResultToken> results;  // whose signature and content are right
  std::vector<std::string> badResults;         // what is wrong with the others, with signed-results in use
  int connections = 0, handshakes = 0;
  int ends = 0;  // orderly ends of sealed connections

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

  const identity::Features& inUse() const { return inUse_; }
  bool sealed() const { return seal_.has_value(); }
  std::string channel() const { return seal_ ? seal_->channel() : ""; }
  // Sealed when the connection is.
  void sendRaw(std::string text) {
    if (seal_) return sendRecord(sealText(text));
    connection_->send(net::FrameKind::Text, std::move(text));
  }
  // The next record of the channel, unsent: to be changed, dropped, sent twice or out of order.
  Bytes sealText(std::string_view text) {
    auto record = seal_->seal(text);
    VC_ASSERT(record.ok(), "the channel has been ended");
    return std::move(record).value();
  }
  void sendRecord(const Bytes& record) { connection_->send(net::FrameKind::Binary, std::string(asText(record))); }
  // A text frame, sealed connection or not.
  void sendUnsealed(std::string text) { connection_->send(net::FrameKind::Text, std::move(text)); }
  std::string text(protocol::Payload payload) {
    protocol::Message message;
    message.messageId = newUuid(clock_, entropy_);
    message.timestamp = toIso8601(now());
    message.payload = std::move(payload);
    return protocol::encode(message);
  }
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
  void endChannel() { sendRecord(*seal_->final()); }
  void close(std::uint16_t code = 1001) {
    if (seal_) endChannel();
    connection_->close(code, "bye");
  }
  // As close(), without the channel's orderly end.
  void closeWithoutEnd(std::uint16_t code = 1001) { connection_->close(code, "bye"); }
  void drop() { connection_.reset(); }
  void acknowledge(const std::string& intentId, std::string resultHash) {
    send(protocol::ResultAck{IntentId(intentId), std::move(resultHash), {}});
  }
  void refuseResult(const std::string& intentId, std::string reason) {
    send(protocol::ResultAck{IntentId(intentId), {}, std::move(reason)});
  }

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
    if (options.v2.value_or(inUse_.has(identity::feature::kIntentV2))) {
      token.paramsHash = identity::sha256(asBytes(options.signedParams.value_or(options.params)));
      token.userDid = options.signedUser ? options.signedUser : options.userDid;
      token.expiresAt = token.timestamp + options.life;
    }
    protocol::Intent intent;
    intent.id = IntentId(id);
    intent.action = action;
    intent.params = protocol::RawJson{options.params};
    intent.timestamp = toIso8601(now());
    if (options.userDid) intent.userDid = Did(*options.userDid);
    intent.timeoutMs = options.timeoutMs;
    intent.trace = options.trace;
    protocol::Message message;
    message.messageId = id;
    message.timestamp = intent.timestamp;
    message.agentId = agentDid_;
    if (options.sign) {
      message.signature = identity::signToken(self_, token);
      intentHashes_[id].push_back(*identity::tokenBodyHash(*message.signature));
    }
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
  // With intent-v2 in use it names the agent and ends after 24 h unless told otherwise.
  protocol::DelegationEntry delegation(const std::string& user, std::vector<std::string> granted,
                                       std::optional<WallTime> expiresAt = {}, std::string agent = {}) {
    if (!expiresAt && inUse_.has(identity::feature::kIntentV2)) expiresAt = now() + std::chrono::hours(24);
    if (agent.empty()) agent = agentDid_;
    protocol::DelegationEntry entry;
    entry.id = entry.grantId = "delegation-" + user.substr(user.size() - 4);
    entry.userDid = user;
    entry.agentDid = agent;
    entry.capabilities = granted;
    entry.certificate = identity::signToken(
        self_, identity::DelegationToken{user, std::move(agent), std::move(granted), now(), expiresAt});
    return entry;
  }

 private:
  void accept(std::unique_ptr<net::Connection> connection) {
    ++connections;
    connection_ = std::move(connection);
    responder_.reset();
    seal_.reset();
    keys_.reset();
    inUse_ = {};
    proved_ = false;
    connection_->start({[this](net::FrameKind kind, std::string_view data) { onFrame(kind, data); },
                        [this](const net::CloseReason&) { connection_.reset(); },
                        {}});
    startHandshake();
  }
  void onFrame(net::FrameKind kind, std::string_view data) {
    VC_ASSERT((kind == net::FrameKind::Binary) == seal_.has_value(), "the agent seals all or nothing");
    if (!seal_) return onMessage(data);
    auto opened = seal_->open(asBytes(data));
    VC_ASSERT(opened.ok(), "the agent sent a record that does not open");
    if (opened->end) {
      ++ends;
      return;
    }
    onMessage(opened->text);
  }
  void onMessage(std::string_view text) {
    auto message = protocol::decode(text);
    VC_ASSERT(message.ok(), "the agent sent something that is no message");
    received.push_back(*message);
    if (onHeard) onHeard(*message);
    if (std::holds_alternative<protocol::Register>(message->payload)) return startHandshake();
    if (const auto* challenge = std::get_if<protocol::AuthChallenge>(&message->payload)) return onChallenge(*challenge);
    if (const auto* result = std::get_if<protocol::IntentResult>(&message->payload)) return onResult(*result);
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
      if (!proved_) {
        const bool version1 = claim->version == identity::IdVersion::V1;
        inUse_ = version1 ? features.with(*identity::Features::fromMetadata(claim->metadata)) : identity::Features();
        if (version1 && features.has(identity::feature::kSeal)) keys_ = identity::SealKeys::generate(entropy_);
      } else if (seal_ && checksChannel && !statesChannel(*claim)) {
        return fail("the reissue is for another channel");
      }
      auto step1 = responder_->answer(metadata());
      VC_ASSERT(step1.ok(), "the responder did not answer");
      send(protocol::AuthChallenge{challenge.sessionId, base64Encode(*step1), {}, {}});
      return;
    }
    if (Status complete = responder_->onComplete(*data, now()); !complete) return fail(complete.error().message);
    ++handshakes;
    if (!std::exchange(proved_, true) && inUse_.has(identity::feature::kSeal)) {
      const auto* theirs = claims.back().metadata.find("dh");
      auto channel = keys_->derive(identity::SealRole::Responder, responder_->signedBytes(),
                                   theirs != nullptr && theirs->string() != nullptr ? *theirs->string() : "", entropy_);
      VC_ASSERT(channel.ok(), "the agent's dh is not right");
      seal_ = std::move(channel).value();
    }
    responder_.reset();
    if (!known) {
      send(protocol::RegistrationPending{RegistrationId("reg-1"),
                                         "Identity verified. Registration pending admin approval."});
      return;
    }
    sendAuthComplete();
    send(protocol::AuthChallenge{challenge.sessionId, challenge.data, {}, {}});
  }
  bool statesChannel(const identity::Responder::Claim& claim) const {
    const auto* channel = claim.metadata.find("channel");
    return channel != nullptr && channel->string() != nullptr && *channel->string() == seal_->channel() &&
           claim.metadata.find("dh") == nullptr;
  }
  void onResult(const protocol::IntentResult& result) {
    if (!inUse_.has(identity::feature::kSignedResults)) return;
    const std::string wrong = judge(result);
    if (!wrong.empty()) badResults.push_back(result.intentId.value + ": " + wrong);
    if (!acknowledgesResults || !inUse_.has(identity::feature::kResultAck)) return;
    if (!wrong.empty()) return refuseResult(result.intentId.value, wrong);
    acknowledge(result.intentId.value, hexEncode(*identity::tokenBodyHash(*result.signature)));
  }
  // What is wrong with a result; nothing: it is kept.
  std::string judge(const protocol::IntentResult& result) {
    const auto& agent = claims.back().peer;
    if (!result.signature || !result.publicKey) return "it is not signed";
    if (*result.publicKey != base64Encode(agent.id())) return "another public key";
    auto token = identity::verifyResultToken(*result.signature, agent);
    if (!token) return token.error().message;
    const bool success = result.status == protocol::ResultStatus::Success;
    const auto hash = result.output ? std::optional(identity::sha256(asBytes(result.output->text))) : std::nullopt;
    if (token->intentId != result.intentId.value) return "another intent";
    if (token->status != (success ? "success" : "failed")) return "another status";
    if (token->outputHash != hash) return "another output";
    if (token->error != result.error || token->code != result.code) return "another error";
    if (token->executedAt != result.executedAt) return "another time";
    if (token->agentDid != agentDid_ || token->controlPlaneDid != self_.didV1().value) return "other identities";
    const auto& sent = intentHashes_[result.intentId.value];
    if (std::find(sent.begin(), sent.end(), token->intentHash) == sent.end()) return "another intent token";
    results.push_back(std::move(token).value());
    return {};
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
    if (!features.empty()) map.emplace_back(Value("features"), features.toMetadata());
    if (!proved_ && keys_ && dh != "") map.emplace_back(Value("dh"), Value(dh.value_or(keys_->dh())));
    return map;
  }

  Clock& clock_;
  Entropy& entropy_;
  identity::VaultysId self_;
  std::unique_ptr<net::Connection> connection_;
  std::optional<identity::Responder> responder_;
  std::optional<identity::SealKeys> keys_;
  std::optional<identity::SealedChannel> seal_;
  identity::Features inUse_;
  bool proved_ = false;                                                // a handshake of this connection is complete
  std::map<std::string, std::vector<identity::Sha256>> intentHashes_;  // of every token, by intent
  std::string agentDid_;
  int sessions_ = 0;
};

}  // namespace vaultysclaw::testing
