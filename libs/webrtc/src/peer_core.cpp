#include "peer_core.hpp"

#include <algorithm>

#include "base/utf8.hpp"

namespace vaultysclaw::webrtc {
namespace {

constexpr std::size_t kMaxRemoteCandidates = 64;
constexpr std::size_t kMostOutgoing = std::size_t{1} << 20;  // a message must fit into SCTP's send buffer
constexpr unsigned kDatagramsBetweenTimers = 32;
constexpr std::uint16_t kSctpPort = 5000;

using Kind = ChannelFront::Event::Kind;

}  // namespace

void PeerCore::start() {
  engine_.add(shared_from_this());
  auto identity = DtlsIdentity::make(engine_.entropy(), engine_.clock().now());
  if (!identity.ok()) return finish(identity.error());
  identity_ = std::move(*identity);
}

void PeerCore::makeIce(IceRole role) {
  IceTransport::Callbacks callbacks;
  callbacks.onCandidate = [this](const Candidate& c) {
    if (!finished_) link_->post([c](PeerFront& front) { front.onCandidate(c); });
  };
  callbacks.onConnected = [this] {
    iceConnected_ = true;
    startDtls();
  };
  callbacks.onFailed = [this] {
    // Before a way is found the deadline decides: further candidates may come.
    if (iceConnected_) finish(Error{Errc::ConnectionLost, "the other side no longer consents to be sent to"});
  };
  callbacks.onDatagram = [this](BytesView datagram) {
    if (finished_ || dtls_ == nullptr) return;
    if (++datagrams_ % kDatagramsBetweenTimers == 0) engine_.driveTimers();
    dtls_->receive(datagram);
    pollSctp();
  };
  auto ice = IceTransport::make(engine_.libraries(), engine_.context(), options_, role, std::move(callbacks));
  if (!ice.ok()) return finish(ice.error());
  ice_ = std::move(*ice);
}

SessionDescription PeerCore::describe(SdpType type, DtlsSetup setup) const {
  std::array<std::uint8_t, 8> random{};
  engine_.entropy().fill(random);
  SessionDescription d;
  d.type = type;
  for (const std::uint8_t byte : random) d.sessionId = d.sessionId << 8 | byte;
  d.sessionId >>= 1;
  d.mid = remote_ ? remote_->mid : "0";
  d.iceUfrag = ice_->ufrag();
  d.icePwd = ice_->password();
  d.setup = setup;
  d.fingerprint = identity_->fingerprint();
  d.sctpPort = kSctpPort;
  d.maxMessageSize = options_.maxMessageBytes;
  return d;
}

void PeerCore::createOffer() {
  if (finished_ || ice_ != nullptr || remote_) return;
  offering_ = true;
  makeIce(IceRole::Controlling);
  if (finished_) return;
  link_->post([d = describe(SdpType::Offer, DtlsSetup::ActPass)](PeerFront& front) { front.onDescription(d); });
  ice_->gather();
}

void PeerCore::setRemote(const SessionDescription& description) {
  if (finished_ || closing_) return;
  if (remote_ || description.type != (offering_ ? SdpType::Answer : SdpType::Offer))
    return finish(Error{Errc::InvalidArgument, "a description that is not expected now"});
  remote_ = description;
  link_->maxOutgoing =
      description.maxMessageSize == 0
          ? kMostOutgoing
          : static_cast<std::size_t>(std::min<std::uint64_t>(description.maxMessageSize, kMostOutgoing));
  deadline_ = engine_.clock().steady() + std::chrono::duration_cast<SteadyTime::duration>(options_.connectTimeout);
  // The answering side chooses: active, unless the offer does.
  const DtlsSetup ours = description.setup == DtlsSetup::Active ? DtlsSetup::Passive : DtlsSetup::Active;
  role_ = ours == DtlsSetup::Active ? DtlsRole::Client : DtlsRole::Server;
  if (!offering_) {
    makeIce(IceRole::Controlled);
    if (finished_) return;
    link_->post([d = describe(SdpType::Answer, ours)](PeerFront& front) { front.onDescription(d); });
  }
  ice_->setRemoteCredentials(description.iceUfrag, description.icePwd);
  if (!offering_) ice_->gather();
  for (const Candidate& candidate : description.candidates) addRemoteCandidate(candidate);
  for (const Candidate& candidate : std::exchange(earlyCandidates_, {})) ice_->addRemoteCandidate(candidate);
  if (iceConnected_) startDtls();
}

void PeerCore::addRemoteCandidate(const Candidate& candidate) {
  if (finished_ || candidates_ >= kMaxRemoteCandidates) return;
  ++candidates_;
  if (remote_ && ice_ != nullptr)
    ice_->addRemoteCandidate(candidate);
  else
    earlyCandidates_.push_back(candidate);
}

void PeerCore::startDtls() {
  if (finished_ || !remote_ || dtls_ != nullptr) return;
  DtlsTransport::Callbacks callbacks;
  callbacks.send = [this](BytesView datagram) {
    if (ice_ != nullptr) (void)ice_->send(datagram);
  };
  callbacks.onConnected = [this] { startSctp(); };
  callbacks.onData = [this](BytesView data) {
    if (sctp_ != nullptr) sctp_->receivePacket(data);
  };
  callbacks.onEnd = [this](const Status& why) { finish(why); };
  auto dtls = DtlsTransport::make(*identity_, role_, remote_->fingerprint, std::move(callbacks));
  if (!dtls.ok()) return finish(dtls.error());
  dtls_ = std::move(*dtls);
  dtls_->start();
}

void PeerCore::startSctp() {
  if (finished_ || sctp_ != nullptr) return;
  SctpTransport::Callbacks callbacks;
  callbacks.sendPacket = [this](BytesView packet) {
    if (dtls_ != nullptr) (void)dtls_->send(packet);
  };
  callbacks.onConnected = [this] { onSctpConnected(); };
  callbacks.onMessage = [this](std::uint16_t stream, std::uint32_t id, std::string data) {
    onMessage(stream, id, std::move(data));
  };
  callbacks.onStreamReset = [this](std::uint16_t stream) { onStreamReset(stream); };
  callbacks.onAccepted = [this](std::uint16_t stream, std::size_t counted) { onAccepted(stream, counted); };
  callbacks.onEnd = [this](const Status& why) { finish(why); };
  const SctpOptions options{
      .localPort = kSctpPort, .remotePort = remote_->sctpPort, .maxMessageBytes = options_.maxMessageBytes};
  auto sctp = SctpTransport::make(engine_.libraries(), options, std::move(callbacks));
  if (!sctp.ok()) return finish(sctp.error());
  sctp_ = std::move(*sctp);
  sctp_->connect();
}

void PeerCore::onSctpConnected() {
  connected_ = true;
  if (!closing_) deadline_.reset();
  link_->post([](PeerFront& front) { front.onConnected(); });
  for (auto& [key, channel] : channels_) {
    if (!channel.stream && !assignStream(channel)) return;
  }
}

// Gives a channel of ours its stream (even for the DTLS client, RFC 8832 section 6), and sends what waited for it.
bool PeerCore::assignStream(Channel& channel) {
  std::uint16_t stream = role_ == DtlsRole::Client ? 0 : 1;
  while (stream < SctpTransport::kStreams && streams_.contains(stream)) stream = static_cast<std::uint16_t>(stream + 2);
  if (stream >= SctpTransport::kStreams) {
    finish(Error{Errc::Busy, "no stream is left for a channel"});
    return false;
  }
  channel.stream = stream;
  streams_[stream] = channel.key;
  const auto open = encodeDcep(channel.parameters);
  sctp_->send({.stream = stream, .ppid = ppid::kDcep, .data = std::string(asText(*open))});
  for (SctpMessage& message : channel.early) enqueue(channel, std::move(message));
  channel.early.clear();
  if (channel.resetSent) sctp_->resetStream(stream);
  return true;
}

void PeerCore::open(ChannelKey key, const ChannelOpen& parameters, std::shared_ptr<ChannelShared> shared) {
  if (finished_) return;
  Channel& channel = channels_[key];
  channel.key = key;
  channel.parameters = parameters;
  channel.shared = std::move(shared);
  if (connected_ && assignStream(channel)) pollSctp();
}

void PeerCore::enqueue(const Channel& channel, SctpMessage message) {
  message.stream = *channel.stream;
  // Until the other side has acknowledged the channel, nothing may overtake its opening.
  message.ordered = channel.open ? channel.parameters.ordered : Ordered::Yes;
  message.reliability = channel.parameters.reliability;
  message.reliabilityParameter = channel.parameters.reliabilityParameter;
  sctp_->send(std::move(message));
}

void PeerCore::send(ChannelKey key, net::FrameKind kind, std::string data) {
  const auto at = channels_.find(key);
  if (finished_ || at == channels_.end()) return;
  const bool text = kind == net::FrameKind::Text;
  SctpMessage message;
  message.counted = data.size() + kMessageOverhead;
  if (data.empty()) {
    message.ppid = text ? ppid::kTextEmpty : ppid::kBinaryEmpty;
    message.data.assign(1, '\0');  // SCTP has no empty messages
  } else {
    message.ppid = text ? ppid::kText : ppid::kBinary;
    message.data = std::move(data);
  }
  if (!at->second.stream) {
    at->second.early.push_back(std::move(message));
    return;
  }
  enqueue(at->second, std::move(message));
  pollSctp();
}

void PeerCore::closeChannel(ChannelKey key) {
  const auto at = channels_.find(key);
  if (finished_ || at == channels_.end() || std::exchange(at->second.resetSent, true)) return;
  if (!at->second.stream) return;  // closed once it is open
  sctp_->resetStream(*at->second.stream);
  pollSctp();
}

void PeerCore::onAccepted(std::uint16_t stream, std::size_t counted) {
  Channel* channel = byStream(stream);
  if (channel == nullptr || counted == 0) return;
  if ((channel->shared->queued -= counted) == 0) emit(*channel, {.kind = Kind::Drained});
}

PeerCore::Channel* PeerCore::byStream(std::uint16_t stream) {
  const auto at = streams_.find(stream);
  return at != streams_.end() ? &channels_.at(at->second) : nullptr;
}

void PeerCore::emit(const Channel& channel, ChannelFront::Event event) {
  link_->post(
      [key = channel.key, e = std::move(event)](PeerFront& front) mutable { front.onEvent(key, std::move(e)); });
}

void PeerCore::onMessage(std::uint16_t stream, std::uint32_t id, std::string data) {
  if (finished_) return;
  if (id == ppid::kDcep) return onDcep(stream, data);
  const bool text = id == ppid::kText || id == ppid::kTextEmpty;
  if (!text && id != ppid::kBinary && id != ppid::kBinaryEmpty)
    return finish(Error{Errc::Malformed, "the other side sent a message of an unknown kind"});
  Channel* channel = byStream(stream);
  if (channel == nullptr) return;  // closed in the meantime
  if (id == ppid::kTextEmpty || id == ppid::kBinaryEmpty) data.clear();
  if (text && !isValidUtf8(data)) return finish(Error{Errc::Malformed, "the other side sent text that is not UTF-8"});

  const std::size_t cost = data.size() + kMessageOverhead;
  const std::size_t unread = link_->unread.fetch_add(cost) + cost;
  emit(*channel,
       {.kind = Kind::Message, .frame = text ? net::FrameKind::Text : net::FrameKind::Binary, .data = std::move(data)});
  if (unread > options_.maxUnreadBytes) {
    sctp_->setReading(false);
    // The front may have read everything before it could see that nothing comes any more.
    if (link_->unread <= options_.maxUnreadBytes / 2) sctp_->setReading(true);
  }
}

void PeerCore::resumeReading() {
  if (finished_ || sctp_ == nullptr) return;
  sctp_->setReading(true);
  pollSctp();
}

void PeerCore::onDcep(std::uint16_t stream, const std::string& data) {
  const auto message = decodeDcep(asBytes(data));
  if (!message.ok()) return finish(message.error());
  Channel* known = byStream(stream);
  if (std::holds_alternative<ChannelAck>(*message)) {
    if (known == nullptr) return;
    if (std::exchange(known->open, true)) return;
    emit(*known, {.kind = Kind::Open});
    return;
  }
  const bool even = stream % 2 == 0;
  if (known != nullptr || even == (role_ == DtlsRole::Client))
    return finish(Error{Errc::Malformed, "the other side opened a channel on a stream that is not its to use"});
  if (channels_.size() >= options_.maxChannels)
    return finish(Error{Errc::TooLarge, "the other side opened too many channels"});
  const ChannelKey key{nextRemoteKey_++};
  Channel& channel = channels_[key];
  channel.key = key;
  channel.parameters = std::get<ChannelOpen>(*message);
  channel.shared = std::make_shared<ChannelShared>();
  channel.stream = stream;
  channel.open = true;
  streams_[stream] = key;
  sctp_->send({.stream = stream, .ppid = ppid::kDcep, .data = std::string(asText(*encodeDcep(ChannelAck{})))});
  link_->post(
      [key, p = channel.parameters, shared = channel.shared](PeerFront& front) { front.onChannel(key, p, shared); });
}

void PeerCore::onStreamReset(std::uint16_t stream) {
  Channel* channel = byStream(stream);
  if (channel == nullptr) return;
  if (!channel->resetSent) sctp_->resetStream(stream);
  emit(*channel, {.kind = Kind::Close});
  const ChannelKey key = channel->key;
  streams_.erase(stream);
  channels_.erase(key);
}

void PeerCore::pollSctp() {
  if (!finished_ && sctp_ != nullptr) sctp_->poll();
}

void PeerCore::tick() {
  if (finished_) return;
  if (dtls_ != nullptr) dtls_->tick();
  pollSctp();
  if (!finished_ && deadline_ && engine_.clock().steady() >= *deadline_) {
    finish(closing_ ? Status() : Status(Error{Errc::DeadlineExceeded, "no way to the other side was found in time"}));
  }
}

void PeerCore::close() {
  if (finished_ || std::exchange(closing_, true)) return;
  if (!connected_) return finish({});
  deadline_ = engine_.clock().steady() + std::chrono::duration_cast<SteadyTime::duration>(options_.closeTimeout);
  sctp_->shutdown();
  pollSctp();
}

void PeerCore::abort() {
  finish({});
}

void PeerCore::sendRaw(SctpMessage message) {
  if (finished_ || sctp_ == nullptr) return;
  sctp_->send(std::move(message));
  pollSctp();
}

// Called from within callbacks of what must go: it goes on a turn of its own.
void PeerCore::finish(Status why) {
  if (std::exchange(finished_, true)) return;
  for (const auto& [key, channel] : channels_) emit(channel, {.kind = Kind::Close});
  link_->post([why = std::move(why)](PeerFront& front) { front.onClosed(why); });
  engine_.post([self = shared_from_this()] { self->tearDown(); });
}

void PeerCore::tearDown() {
  sctp_.reset();  // aborts what is left of the association
  if (dtls_ != nullptr) dtls_->shutdown();
  ice_.reset();
  dtls_.reset();
  channels_.clear();
  streams_.clear();
  engine_.remove(shared_from_this());
}

}  // namespace vaultysclaw::webrtc
