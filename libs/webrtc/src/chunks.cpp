#include "webrtc/chunks.hpp"

#include <algorithm>

namespace vaultysclaw::webrtc {
namespace {

using msgpack::Map;
using msgpack::Value;

constexpr std::string_view kMarker = "__peerData";
constexpr std::size_t kRememberedNumbers = 256;

bool isTruthy(const Value& value) {
  struct Visitor {
    bool operator()(msgpack::Nil) const { return false; }
    bool operator()(bool b) const { return b; }
    bool operator()(std::uint64_t u) const { return u != 0; }
    bool operator()(std::int64_t i) const { return i != 0; }
    bool operator()(float f) const { return f != 0 && f == f; }
    bool operator()(double d) const { return d != 0 && d == d; }
    bool operator()(const std::string& s) const { return !s.empty(); }
    bool operator()(const Bytes&) const { return true; }
    bool operator()(const msgpack::Array&) const { return true; }
    bool operator()(const Map&) const { return true; }
  };
  return std::visit(Visitor{}, value.data());
}

// The value of a member that marks PeerJS's own messages; null for an application's.
const Value* marker(const Value& value) {
  const Value* found = value.find(kMarker);
  return found != nullptr && isTruthy(*found) ? found : nullptr;
}

Value chunk(std::uint64_t number, std::uint64_t n, BytesView data, std::uint64_t total) {
  Map members;
  members.emplace_back(Value(kMarker), Value::unsignedInteger(number));
  members.emplace_back(Value("n"), Value::unsignedInteger(n));
  members.emplace_back(Value("data"), Value(data));
  members.emplace_back(Value("total"), Value::unsignedInteger(total));
  return Value(std::move(members));
}

std::optional<std::uint64_t> natural(const Value* value) {
  const auto* number = value != nullptr ? std::get_if<std::uint64_t>(&value->data()) : nullptr;
  return number != nullptr ? std::optional(*number) : std::nullopt;
}

Error malformed(std::string what) {
  return {Errc::Malformed, "PeerJS chunk: " + std::move(what)};
}

}  // namespace

std::vector<Bytes> ChunkWriter::write(Bytes packed) {
  std::vector<Bytes> messages;
  if (packed.size() <= kChunkBytes) {
    messages.push_back(std::move(packed));
    return messages;
  }
  const std::uint64_t number = next_++;
  const std::uint64_t total = (packed.size() + kChunkBytes - 1) / kChunkBytes;
  const BytesView all = packed;
  for (std::uint64_t n = 0; n < total; ++n) {
    const std::size_t at = n * kChunkBytes;
    auto message = binarypack::pack(chunk(number, n, all.subspan(at, std::min(kChunkBytes, all.size() - at)), total));
    messages.push_back(std::move(message).value());
  }
  return messages;
}

Bytes packedCloseRequest() {
  Map type;
  type.emplace_back(Value("type"), Value("close"));
  Map outer;
  outer.emplace_back(Value(kMarker), Value(std::move(type)));
  return binarypack::pack(Value(std::move(outer))).value();
}

bool isCloseRequest(const Value& value) {
  const Value* found = marker(value);
  const Value* type = found != nullptr ? found->find("type") : nullptr;
  return type != nullptr && type->string() != nullptr && *type->string() == "close";
}

Result<std::optional<ChunkReader::Incoming>> ChunkReader::read(BytesView message, SteadyTime now) {
  for (const auto& [number, pending] : pending_) {
    if (now - pending.since > limits_.maxAge)
      return Error{Errc::DeadlineExceeded, "a message that came in chunks was never completed"};
  }
  if (message.size() > limits_.maxMessageBytes) return Error{Errc::TooLarge, "BinaryPack: the message is too long"};
  VC_TRY_ASSIGN(Value value, binarypack::unpack(message, limits_.values));
  if (isCloseRequest(value)) return std::optional<Incoming>(CloseRequest{});
  if (marker(value) != nullptr) return addChunk(value, now);
  return std::optional<Incoming>(std::move(value));
}

Result<std::optional<ChunkReader::Incoming>> ChunkReader::addChunk(const Value& value, SteadyTime now) {
  const auto number = natural(value.find(kMarker));
  const auto n = natural(value.find("n"));
  const auto total = natural(value.find("total"));
  const Value* data = value.find("data");
  if (!number || !n || !total || data == nullptr || data->bytes() == nullptr || value.map()->size() != 4)
    return malformed("its members are a number, an index, a total and bytes");
  const Bytes& bytes = *data->bytes();
  if (bytes.empty() || *n >= *total) return malformed("an empty one, or one behind the last");
  // Every chunk but the last of an honest sender has kChunkBytes, so a total says how long a message will be.
  if (*total > limits_.maxMessageBytes / kChunkBytes + 1)
    return Error{Errc::TooLarge, "PeerJS chunk: its message would be too long"};
  if (std::find(completed_.begin(), completed_.end(), *number) != completed_.end())
    return malformed("one of a message that is complete");

  auto at = pending_.find(*number);
  if (at == pending_.end()) {
    if (pending_.size() >= limits_.maxPending)
      return Error{Errc::TooLarge, "PeerJS chunk: too many messages are incomplete"};
    at = pending_.emplace(*number, Pending{.parts = {}, .total = *total, .bytes = 0, .since = now}).first;
  }
  Pending& message = at->second;
  if (message.total != *total) return malformed("two of one message disagree about the total");
  if (message.parts.contains(*n)) return malformed("one that came before");
  if (message.bytes + bytes.size() > limits_.maxMessageBytes || pendingBytes_ + bytes.size() > limits_.maxPendingBytes)
    return Error{Errc::TooLarge, "PeerJS chunk: its message is too long"};
  message.parts.emplace(*n, bytes);
  message.bytes += bytes.size();
  pendingBytes_ += bytes.size();
  if (message.parts.size() < message.total) return std::optional<Incoming>();
  return complete(*number);
}

Result<std::optional<ChunkReader::Incoming>> ChunkReader::complete(std::uint64_t number) {
  const Pending message = std::move(pending_.extract(number).mapped());
  pendingBytes_ -= message.bytes;
  completed_.push_back(number);
  if (completed_.size() > kRememberedNumbers) completed_.pop_front();

  Bytes whole;
  whole.reserve(message.bytes);
  for (const auto& [n, part] : message.parts) append(whole, part);
  VC_TRY_ASSIGN(Value value, binarypack::unpack(whole, limits_.values));
  if (marker(value) != nullptr) return malformed("a message in chunks is itself a chunk or a close request");
  return std::optional<Incoming>(std::move(value));
}

}  // namespace vaultysclaw::webrtc
