// PeerJS's binary serialization: values as BinaryPack, long ones cut into chunks (docs/peerjs-protocol.md 6.3, 6.4).
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <variant>
#include <vector>

#include "webrtc/binarypack.hpp"

namespace vaultysclaw::webrtc {

inline constexpr std::size_t kChunkBytes = 16300;

// Cuts what is to be sent. One per connection, for chunked messages are numbered. One thread at a time.
class ChunkWriter {
 public:
  // The channel messages that carry one packed value, in order: itself, when it is short.
  std::vector<Bytes> write(Bytes packed);

 private:
  std::uint64_t next_ = 1;
};

// The message by which a peer asks for the end of the connection, after everything it sent before.
struct CloseRequest {
  bool operator==(const CloseRequest&) const = default;
};
Bytes packedCloseRequest();
// Whether a decoded value of the binary or JSON serialization is that request.
bool isCloseRequest(const msgpack::Value& value);

struct ChunkLimits {
  std::size_t maxMessageBytes = std::size_t{16} << 20;  // of one assembled message
  std::size_t maxPendingBytes = std::size_t{32} << 20;  // of all unfinished ones
  std::size_t maxPending = 64;                          // unfinished messages at once
  Duration maxAge = seconds(60);                        // for a message to become complete
  binarypack::DecodeLimits values = {};
};

// Takes the messages of one channel, in any order of their chunks, and gives the values. One per connection, on one
// thread at a time. After an error the connection is to be closed: what came can no longer be trusted to be complete.
class ChunkReader {
 public:
  using Incoming = std::variant<msgpack::Value, CloseRequest>;

  explicit ChunkReader(ChunkLimits limits = {}) : limits_(limits) {}

  // Empty while a message is incomplete. Malformed for bytes that are no BinaryPack, or chunks that contradict each
  // other, come twice, or hold chunks again; TooLarge over a limit; DeadlineExceeded when a message stays incomplete.
  Result<std::optional<Incoming>> read(BytesView message, SteadyTime now);

  std::size_t pendingMessages() const { return pending_.size(); }
  std::size_t pendingBytes() const { return pendingBytes_; }

 private:
  struct Pending {
    std::map<std::uint64_t, Bytes> parts;
    std::uint64_t total = 0;
    std::size_t bytes = 0;
    SteadyTime since;
  };
  Result<std::optional<Incoming>> addChunk(const msgpack::Value& chunk, SteadyTime now);
  Result<std::optional<Incoming>> complete(std::uint64_t number);

  ChunkLimits limits_;
  std::map<std::uint64_t, Pending> pending_;
  std::size_t pendingBytes_ = 0;
  std::deque<std::uint64_t> completed_;  // the latest ones: their chunks may not come again
};

}  // namespace vaultysclaw::webrtc
