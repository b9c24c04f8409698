// What the user of a connection holds, on the user's executor. Internal.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <mutex>

#include "engine.hpp"

namespace vaultysclaw::webrtc {

enum class ChannelKey : std::uint32_t {};  // names a channel between the two threads

class PeerFront;

// What both threads touch of a channel.
struct ChannelShared {
  std::atomic<std::size_t> queued = 0;  // bytes given to send() that SCTP has not taken yet
};

// What both threads touch of a connection.
class PeerLink {
 public:
  explicit PeerLink(Executor& executor) : executor_(&executor) {}
  void setFront(std::weak_ptr<PeerFront> front) { front_ = std::move(front); }
  // From the engine's thread: runs `task` on the executor, unless the connection is gone by then.
  void post(std::function<void(PeerFront&)> task);
  // From the executor: it may be destroyed when this returns.
  void detach() {
    std::lock_guard lock(mutex_);
    executor_ = nullptr;
  }
  std::atomic<std::size_t> unread = 0;  // bytes of messages given to the executor and not delivered yet
  std::atomic<std::size_t> maxOutgoing = kDefaultMaxMessageSize;

 private:
  std::mutex mutex_;
  Executor* executor_;  // guarded by mutex_
  std::weak_ptr<PeerFront> front_;
};

inline constexpr std::size_t kMessageOverhead = 128;  // what a waiting message costs beside its bytes

std::unique_ptr<PeerConnection> makePeerFront(EngineImpl& engine, Executor& executor, PeerOptions options,
                                              PeerConnection::Callbacks callbacks);

// For tests of hostile peers: what stands behind a connection. Its functions are called on the engine's thread.
PeerCore& coreOf(PeerConnection& connection);

// The state of one channel on the executor's side.
struct ChannelFront {
  ChannelKey key{};
  ChannelOpen parameters;
  std::shared_ptr<ChannelShared> shared = std::make_shared<ChannelShared>();
  std::shared_ptr<DataChannel::Callbacks> callbacks;  // set by start(); gone when the channel is destroyed
  struct Event {
    enum class Kind : std::uint8_t { Open, Message, Drained, Close } kind;
    net::FrameKind frame = net::FrameKind::Text;
    std::string data = {};
  };
  std::deque<Event> events;  // not delivered yet
  bool started = false, closed = false, delivering = false;
};

// Confined to the executor.
class PeerFront : public std::enable_shared_from_this<PeerFront> {
 public:
  PeerFront(EngineImpl& engine, Executor& executor, PeerOptions options, PeerConnection::Callbacks callbacks);
  void startCore();
  void destroy();
  bool alive() const { return alive_; }
  PeerCore& core() const { return *core_; }

  // Commands of the user.
  void createOffer();
  void setRemote(SessionDescription description);
  void addRemoteCandidate(Candidate candidate);
  Result<std::unique_ptr<DataChannel>> open(ChannelOpen parameters);
  void close();
  void startChannel(const std::shared_ptr<ChannelFront>& channel, DataChannel::Callbacks callbacks);
  Status send(ChannelFront& channel, net::FrameKind kind, std::string data);
  void closeChannel(ChannelFront& channel);
  void dropChannel(const std::shared_ptr<ChannelFront>& channel);

  // Events of the engine.
  void onDescription(const SessionDescription& description);
  void onCandidate(const Candidate& candidate);
  void onConnected();
  void onChannel(ChannelKey key, const ChannelOpen& parameters, std::shared_ptr<ChannelShared> shared);
  void onEvent(ChannelKey key, ChannelFront::Event event);
  void onClosed(const Status& why);

 private:
  void deliver(const std::shared_ptr<ChannelFront>& channel);
  void forget(const ChannelFront::Event& event);

  EngineImpl& engine_;
  Executor& executor_;
  PeerOptions options_;
  std::shared_ptr<PeerConnection::Callbacks> callbacks_;
  std::shared_ptr<PeerLink> link_;
  std::shared_ptr<PeerCore> core_;
  std::map<ChannelKey, std::shared_ptr<ChannelFront>> channels_;
  std::uint32_t nextKey_ = 0;
  bool alive_ = true, closed_ = false;
};

}  // namespace vaultysclaw::webrtc
