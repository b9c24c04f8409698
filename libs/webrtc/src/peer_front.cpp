#include "peer_front.hpp"

#include "base/assert.hpp"
#include "peer_core.hpp"

namespace vaultysclaw::webrtc {
namespace {

class DataChannelImpl final : public DataChannel {
 public:
  DataChannelImpl(std::weak_ptr<PeerFront> peer, std::shared_ptr<ChannelFront> channel)
      : peer_(std::move(peer)), channel_(std::move(channel)) {}
  ~DataChannelImpl() override {
    channel_->callbacks.reset();
    if (const auto peer = peer_.lock()) peer->dropChannel(channel_);
  }
  void start(Callbacks callbacks) override {
    VC_ASSERT(!channel_->started, "DataChannel::start is called once");
    if (const auto peer = peer_.lock()) peer->startChannel(channel_, std::move(callbacks));
  }
  Status send(net::FrameKind kind, std::string data) override {
    const auto peer = peer_.lock();
    if (peer == nullptr) return Error{Errc::ConnectionLost, "the channel is closed"};
    return peer->send(*channel_, kind, std::move(data));
  }
  void close() override {
    if (const auto peer = peer_.lock()) peer->closeChannel(*channel_);
  }
  std::size_t queuedBytes() const override { return channel_->shared->queued; }
  const ChannelOpen& parameters() const override { return channel_->parameters; }

 private:
  std::weak_ptr<PeerFront> peer_;
  std::shared_ptr<ChannelFront> channel_;
};

class PeerConnectionImpl final : public PeerConnection {
 public:
  explicit PeerConnectionImpl(std::shared_ptr<PeerFront> front) : front_(std::move(front)) {}
  ~PeerConnectionImpl() override { front_->destroy(); }
  void createOffer() override { front_->createOffer(); }
  void setRemote(SessionDescription description) override { front_->setRemote(std::move(description)); }
  void addRemoteCandidate(Candidate candidate) override { front_->addRemoteCandidate(std::move(candidate)); }
  Result<std::unique_ptr<DataChannel>> open(ChannelOpen parameters) override {
    return front_->open(std::move(parameters));
  }
  void close() override { front_->close(); }
  const std::shared_ptr<PeerFront>& front() const { return front_; }

 private:
  std::shared_ptr<PeerFront> front_;
};

}  // namespace

PeerCore& coreOf(PeerConnection& connection) {
  return static_cast<PeerConnectionImpl&>(connection).front()->core();
}

void PeerLink::post(std::function<void(PeerFront&)> task) {
  std::lock_guard lock(mutex_);
  if (executor_ == nullptr) return;
  executor_->post([front = front_, task = std::move(task)] {
    if (const auto alive = front.lock(); alive != nullptr && alive->alive()) task(*alive);
  });
}

std::unique_ptr<PeerConnection> makePeerFront(EngineImpl& engine, Executor& executor, PeerOptions options,
                                              PeerConnection::Callbacks callbacks) {
  auto front = std::make_shared<PeerFront>(engine, executor, std::move(options), std::move(callbacks));
  front->startCore();
  return std::make_unique<PeerConnectionImpl>(std::move(front));
}

PeerFront::PeerFront(EngineImpl& engine, Executor& executor, PeerOptions options, PeerConnection::Callbacks callbacks)
    : engine_(engine),
      executor_(executor),
      options_(std::move(options)),
      callbacks_(std::make_shared<PeerConnection::Callbacks>(std::move(callbacks))),
      link_(std::make_shared<PeerLink>(executor)) {}

void PeerFront::startCore() {
  link_->setFront(weak_from_this());
  core_ = std::make_shared<PeerCore>(engine_, options_, link_);
  engine_.post([core = core_] { core->start(); });
}

void PeerFront::destroy() {
  alive_ = false;
  link_->detach();
  callbacks_ = std::make_shared<PeerConnection::Callbacks>();
  for (const auto& [key, channel] : channels_) channel->callbacks.reset();
  channels_.clear();
  engine_.post([core = std::move(core_)] { core->abort(); });
}

void PeerFront::createOffer() {
  engine_.post([core = core_] { core->createOffer(); });
}
void PeerFront::setRemote(SessionDescription description) {
  engine_.post([core = core_, d = std::move(description)] { core->setRemote(d); });
}
void PeerFront::addRemoteCandidate(Candidate candidate) {
  engine_.post([core = core_, c = std::move(candidate)] { core->addRemoteCandidate(c); });
}

Result<std::unique_ptr<DataChannel>> PeerFront::open(ChannelOpen parameters) {
  if (closed_) return Error{Errc::ConnectionLost, "the connection is closed"};
  VC_TRY(encodeDcep(parameters));  // the rules for labels
  if (channels_.size() >= options_.maxChannels) return Error{Errc::Busy, "the connection has too many channels"};
  auto channel = std::make_shared<ChannelFront>();
  channel->key = ChannelKey{nextKey_++};
  channel->parameters = std::move(parameters);
  channels_.emplace(channel->key, channel);
  engine_.post([core = core_, key = channel->key, p = channel->parameters, shared = channel->shared] {
    core->open(key, p, shared);
  });
  return std::unique_ptr<DataChannel>(std::make_unique<DataChannelImpl>(weak_from_this(), std::move(channel)));
}

void PeerFront::close() {
  engine_.post([core = core_] { core->close(); });
}

void PeerFront::startChannel(const std::shared_ptr<ChannelFront>& channel, DataChannel::Callbacks callbacks) {
  channel->started = true;
  channel->callbacks = std::make_shared<DataChannel::Callbacks>(std::move(callbacks));
  if (channel->events.empty()) return;
  executor_.post([weak = weak_from_this(), channel] {
    if (const auto self = weak.lock(); self != nullptr && self->alive()) self->deliver(channel);
  });
}

Status PeerFront::send(ChannelFront& channel, net::FrameKind kind, std::string data) {
  if (closed_ || !alive_ || channel.closed) return Error{Errc::ConnectionLost, "the channel is closed"};
  if (data.size() > link_->maxOutgoing) return Error{Errc::TooLarge, "the message is longer than the other side takes"};
  const std::size_t cost = data.size() + kMessageOverhead;
  if (channel.shared->queued + cost > options_.maxQueuedBytes)
    return Error{Errc::Busy, "the channel's queue is full: the other side reads too slowly"};
  channel.shared->queued += cost;
  engine_.post(
      [core = core_, key = channel.key, kind, d = std::move(data)]() mutable { core->send(key, kind, std::move(d)); });
  return {};
}

void PeerFront::closeChannel(ChannelFront& channel) {
  if (std::exchange(channel.closed, true)) return;
  engine_.post([core = core_, key = channel.key] { core->closeChannel(key); });
}

void PeerFront::dropChannel(const std::shared_ptr<ChannelFront>& channel) {
  for (const auto& event : channel->events) forget(event);
  channel->events.clear();
  channel->started = true;  // with no callbacks: what still comes is dropped
  if (!channels_.contains(channel->key)) return;
  closeChannel(*channel);
}

void PeerFront::onDescription(const SessionDescription& description) {
  const auto callbacks = callbacks_;
  if (callbacks->onDescription) callbacks->onDescription(description);
}
void PeerFront::onCandidate(const Candidate& candidate) {
  const auto callbacks = callbacks_;
  if (callbacks->onCandidate) callbacks->onCandidate(candidate);
}
void PeerFront::onConnected() {
  const auto callbacks = callbacks_;
  if (callbacks->onConnected) callbacks->onConnected();
}

void PeerFront::onChannel(ChannelKey key, const ChannelOpen& parameters, std::shared_ptr<ChannelShared> shared) {
  auto channel = std::make_shared<ChannelFront>();
  channel->key = key;
  channel->parameters = parameters;
  channel->shared = std::move(shared);
  channel->events.push_back({.kind = ChannelFront::Event::Kind::Open});
  channels_.emplace(key, channel);
  auto handle = std::make_unique<DataChannelImpl>(weak_from_this(), channel);
  const auto callbacks = callbacks_;
  if (callbacks->onChannel) callbacks->onChannel(std::move(handle));
}

void PeerFront::onEvent(ChannelKey key, ChannelFront::Event event) {
  const auto at = channels_.find(key);
  if (at == channels_.end()) return forget(event);
  const auto channel = at->second;
  if (event.kind == ChannelFront::Event::Kind::Close) {
    channel->closed = true;
    channels_.erase(at);
  }
  // Nobody listens any more, or closed it.
  if (channel->started && channel->callbacks == nullptr) return forget(event);
  channel->events.push_back(std::move(event));
  deliver(channel);
}

void PeerFront::deliver(const std::shared_ptr<ChannelFront>& channel) {
  if (!channel->started || channel->delivering) return;
  channel->delivering = true;
  while (alive_ && !channel->events.empty()) {
    const ChannelFront::Event event = std::move(channel->events.front());
    channel->events.pop_front();
    forget(event);
    const auto callbacks = channel->callbacks;
    if (callbacks == nullptr) continue;
    switch (event.kind) {
      case ChannelFront::Event::Kind::Open:
        if (callbacks->onOpen) callbacks->onOpen();
        break;
      case ChannelFront::Event::Kind::Message:
        if (callbacks->onMessage) callbacks->onMessage(event.frame, event.data);
        break;
      case ChannelFront::Event::Kind::Drained:
        if (callbacks->onDrained) callbacks->onDrained();
        break;
      case ChannelFront::Event::Kind::Close:
        if (callbacks->onClose) callbacks->onClose();
        break;
    }
  }
  channel->delivering = false;
}

// The bytes of a message no longer count as unread; when enough is read, the engine may go on.
void PeerFront::forget(const ChannelFront::Event& event) {
  if (event.kind != ChannelFront::Event::Kind::Message) return;
  const std::size_t cost = event.data.size() + kMessageOverhead;
  const std::size_t before = link_->unread.fetch_sub(cost);
  const std::size_t low = options_.maxUnreadBytes / 2;
  if (before > low && before - cost <= low && core_ != nullptr) engine_.post([core = core_] { core->resumeReading(); });
}

void PeerFront::onClosed(const Status& why) {
  closed_ = true;
  const auto callbacks = callbacks_;
  if (callbacks->onClosed) callbacks->onClosed(why);
}

}  // namespace vaultysclaw::webrtc
