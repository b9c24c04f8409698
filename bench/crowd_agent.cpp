#include "crowd_agent.hpp"

#include "base/bytes.hpp"
#include "base/log.hpp"
#include "identity/features.hpp"
#include "protocol/codec.hpp"

namespace vaultysclaw::bench {
namespace {

constexpr const char* kCapability = "text_generation";

std::string randomHex(Entropy& entropy) {
  std::array<std::uint8_t, 16> bytes{};
  entropy.fill(bytes);
  return hexEncode(bytes);
}

}  // namespace

CrowdAgent::CrowdAgent(CrowdPorts ports, std::string name, std::string url, Hooks hooks)
    : ports_(ports),
      name_(std::move(name)),
      url_(std::move(url)),
      hooks_(std::move(hooks)),
      self_(identity::VaultysId::generate(identity::IdType::Machine, ports.entropy)) {}

void CrowdAgent::connect() {
  net::DialOptions options;
  options.url = url_;
  options.proxyUrl = "direct";
  dialing_ = ports_.dialer.dial(std::move(options), [this](auto connection) { onDialed(std::move(connection)); });
}

void CrowdAgent::disconnect() {
  dialing_.reset();
  connection_.reset();
  initiator_.reset();
  sealKeys_.reset();
  channel_.reset();
  connected_ = registered_ = false;
}

void CrowdAgent::lose(const std::string& why) {
  disconnect();
  hooks_.onLost(why);
}

void CrowdAgent::onDialed(Result<std::unique_ptr<net::Connection>> connection) {
  if (!connection) return lose(connection.error().message);
  connection_ = std::move(connection).value();
  net::Connection::Callbacks callbacks;
  callbacks.onMessage = [this](net::FrameKind kind, std::string_view data) { onFrame(kind, data); };
  callbacks.onClose = [this](const net::CloseReason& reason) { lose("closed: " + printable(reason.text)); };
  connection_->start(std::move(callbacks));
}

void CrowdAgent::onFrame(net::FrameKind kind, std::string_view data) {
  if (!channel_) return kind == net::FrameKind::Text ? onText(data) : lose("a binary message");
  if (kind != net::FrameKind::Binary) return lose("an unsealed message on a sealed connection");
  const auto record = channel_->open(asBytes(data));
  if (!record) return lose(record.error().message);
  if (!record->end) onText(record->text);
}

void CrowdAgent::onText(std::string_view text) {
  const auto message = protocol::decode(text);
  if (!message) return lose(message.error().message);
  if (const auto* challenge = std::get_if<protocol::AuthChallenge>(&message->payload)) {
    onChallenge(*challenge);
  } else if (const auto* failed = std::get_if<protocol::AuthFailed>(&message->payload)) {
    lose("refused: " + printable(failed->reason));
  } else if (std::holds_alternative<protocol::AuthComplete>(message->payload) && !connected_) {
    connected_ = true;
    hooks_.onConnected();
  }
}

void CrowdAgent::onChallenge(const protocol::AuthChallenge& challenge) {
  Status done;
  if (!challenge.data.empty()) {
    if (initiator_) done = answerStep1(challenge.data);  // else a copy of COMPLETE
  } else if (!std::exchange(registered_, true)) {
    send(protocol::Register{name_, "0.1.0"});
  } else {
    done = startHandshake(challenge.sessionId);
  }
  if (!done) lose(done.error().message);
}

Status CrowdAgent::startHandshake(const std::string& sessionId) {
  using msgpack::Value;
  sessionId_ = sessionId;
  identity::Initiator::Config config;
  config.metadata = {{Value("name"), Value(name_)},
                     {Value("capabilities"), Value(msgpack::Array{Value(kCapability)})},
                     {Value("features"), identity::Features::ours().toMetadata()}};
  if (channel_) {
    config.metadata.emplace_back(Value("channel"), Value(channel_->channel()));
  } else {
    sealKeys_.emplace(identity::SealKeys::generate(ports_.entropy));
    config.metadata.emplace_back(Value("dh"), Value(sealKeys_->dh()));
  }
  initiator_.emplace(self_, std::move(config), ports_.entropy, ports_.clock.now());
  send(protocol::AuthChallenge{sessionId_, base64Encode(initiator_->init()), name_,
                               std::vector<std::string>{kCapability}});
  return {};
}

Status CrowdAgent::answerStep1(const std::string& data) {
  VC_TRY_ASSIGN(const Bytes step1, base64Decode(data));
  VC_TRY_ASSIGN(const Bytes complete, initiator_->onStep1(step1, ports_.clock.now()));
  send(protocol::AuthChallenge{sessionId_, base64Encode(complete), name_, std::vector<std::string>{kCapability}});
  const Status sealed = channel_ ? Status() : beginSealing();  // COMPLETE is the last message that is not sealed
  initiator_.reset();
  return sealed;
}

Status CrowdAgent::beginSealing() {
  const auto* dh = initiator_->peerMetadata().find("dh");
  if (!dh || !dh->string()) return Error{Errc::Unsupported, "the control plane does not seal connections"};
  VC_TRY_ASSIGN(auto channel, sealKeys_->derive(identity::SealRole::Initiator, initiator_->signedBytes(), *dh->string(),
                                                ports_.entropy));
  channel_.emplace(std::move(channel));
  sealKeys_.reset();
  return {};
}

void CrowdAgent::sendHeartbeat() {
  protocol::Heartbeat heartbeat;
  heartbeat.uptimeSeconds = 60;
  heartbeat.rssBytes = 12 << 20;
  heartbeat.name = name_;
  heartbeat.syncId = randomHex(ports_.entropy);
  send(std::move(heartbeat));
}

void CrowdAgent::send(protocol::Payload payload) {
  protocol::Message message;
  message.messageId = randomHex(ports_.entropy);
  message.timestamp = toIso8601(ports_.clock.now());
  message.payload = std::move(payload);
  std::string text = protocol::encode(message);
  if (channel_) {
    const auto record = channel_->seal(text);
    VC_ASSERT(record.ok(), "a channel that has not been ended seals");
    text.assign(asText(*record));
  }
  // A connection that does not take it is about to report its end.
  static_cast<void>(connection_->send(channel_ ? net::FrameKind::Binary : net::FrameKind::Text, std::move(text)));
}

}  // namespace vaultysclaw::bench
