// A data connection of PeerJS: a PeerConnection with one channel, and the serialization of what goes over it. Internal;
// confined to the client's executor.
#pragma once

#include <memory>
#include <optional>

#include "webrtc/peer_client.hpp"

namespace vaultysclaw::webrtc {

// The state behind a DataConnection. Shared with the client, which routes signaling to it.
class DataLink : public std::enable_shared_from_this<DataLink> {
 public:
  // How it sends to its other side through the server.
  using Signal = std::function<void(SignalType, std::string payload)>;
  enum class Side : bool { Offering, Answering };

  DataLink(Executor& executor, Clock& clock, PeerId peer, PeerConnectionId id, DataOptions options, ChunkLimits limits,
           Signal signal);

  void begin(Engine& engine, const PeerOptions& options, Side side);
  // From the other side, through the server.
  void onRemote(SessionDescription description);
  void onRemote(const CandidatePayload& candidate);

  void start(DataConnection::Callbacks callbacks);
  Status send(const msgpack::Value& value);
  void close();
  // The handle is gone.
  void drop();
  // The server says that the other side is not there: ends what is not open yet.
  void abandon();

  bool ended() const { return ended_; }
  const PeerId& peer() const { return peer_; }
  const PeerConnectionId& id() const { return id_; }
  const DataOptions& options() const { return options_; }

 private:
  void adopt(std::unique_ptr<DataChannel> channel);
  void startChannel();
  void onMessage(net::FrameKind kind, std::string_view data);
  void onDescription(const SessionDescription& description);
  void fail(Error why);
  void end(const Status& why);
  void tell();
  Status sendBinary(const msgpack::Value& value);
  Status sendJson(const msgpack::Value& value);
  Status sendRaw(const msgpack::Value& value);

  Executor& executor_;
  Clock& clock_;
  const PeerId peer_;
  const PeerConnectionId id_;
  const DataOptions options_;
  const ChunkLimits limits_;
  ChunkReader reader_;
  ChunkWriter writer_;
  Signal signal_;
  std::size_t maxQueuedBytes_ = 0;
  std::string ufrag_;
  std::unique_ptr<PeerConnection> connection_;
  std::unique_ptr<DataChannel> channel_;
  std::shared_ptr<DataConnection::Callbacks> callbacks_;
  std::optional<Status> end_;  // until it is told
  bool started_ = false, open_ = false, ended_ = false;
};

std::unique_ptr<DataConnection> makeDataConnection(std::shared_ptr<DataLink> link);

}  // namespace vaultysclaw::webrtc
