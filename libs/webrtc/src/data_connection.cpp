#include "data_connection.hpp"

#include "base/assert.hpp"
#include "value_json.hpp"

namespace vaultysclaw::webrtc {
namespace {

using msgpack::Value;

constexpr std::size_t kMaxJsonBytes = kChunkBytes - 1;  // PeerJS sends no longer ones
constexpr std::size_t kPieceOverhead = 256;             // of a message in a channel's queue, at most

class DataConnectionImpl final : public DataConnection {
 public:
  explicit DataConnectionImpl(std::shared_ptr<DataLink> link) : link_(std::move(link)) {}
  ~DataConnectionImpl() override { link_->drop(); }
  void start(Callbacks callbacks) override { link_->start(std::move(callbacks)); }
  Status send(const Value& value) override { return link_->send(value); }
  void close() override { link_->close(); }
  const PeerId& peer() const override { return link_->peer(); }
  const PeerConnectionId& id() const override { return link_->id(); }
  const DataOptions& options() const override { return link_->options(); }

 private:
  std::shared_ptr<DataLink> link_;
};

}  // namespace

std::unique_ptr<DataConnection> makeDataConnection(std::shared_ptr<DataLink> link) {
  return std::make_unique<DataConnectionImpl>(std::move(link));
}

DataLink::DataLink(Executor& executor, Clock& clock, PeerId peer, PeerConnectionId id, DataOptions options,
                   ChunkLimits limits, Signal signal)
    : executor_(executor),
      clock_(clock),
      peer_(std::move(peer)),
      id_(std::move(id)),
      options_(std::move(options)),
      limits_(limits),
      reader_(limits),
      signal_(std::move(signal)) {}

void DataLink::begin(Engine& engine, const PeerOptions& options, Side side) {
  maxQueuedBytes_ = options.maxQueuedBytes;
  PeerConnection::Callbacks callbacks;
  callbacks.onDescription = [this](const SessionDescription& d) { onDescription(d); };
  callbacks.onCandidate = [this](const Candidate& c) {
    signal_(SignalType::Candidate, encodePayload(CandidatePayload{id_, c, "0", ufrag_}));
  };
  callbacks.onChannel = [this](std::unique_ptr<DataChannel> channel) { adopt(std::move(channel)); };
  callbacks.onClosed = [self = weak_from_this()](const Status& why) {
    if (const auto link = self.lock()) link->end(why);
  };
  connection_ = engine.connect(executor_, options, std::move(callbacks));
  if (side == Side::Answering) return;
  auto channel = connection_->open({.ordered = options_.reliable, .label = options_.label});
  VC_ASSERT(channel.ok(), "the label was checked, and the connection is new");
  adopt(std::move(*channel));
  connection_->createOffer();
}

void DataLink::onDescription(const SessionDescription& description) {
  ufrag_ = description.iceUfrag;
  if (description.type == SdpType::Answer)
    return signal_(SignalType::Answer, encodePayload(AnswerPayload{id_, description}));
  OfferPayload offer{.connection = id_,
                     .description = description,
                     .label = options_.label,
                     .metadata = options_.metadata,
                     .reliable = options_.reliable,
                     .serialization = options_.serialization};
  signal_(SignalType::Offer, encodePayload(offer));
}

void DataLink::onRemote(SessionDescription description) {
  if (connection_ != nullptr) connection_->setRemote(std::move(description));
}
void DataLink::onRemote(const CandidatePayload& candidate) {
  if (connection_ != nullptr) connection_->addRemoteCandidate(candidate.candidate);
}

// PeerJS has one channel in a connection: further ones close as their handle goes.
void DataLink::adopt(std::unique_ptr<DataChannel> channel) {
  if (channel_ != nullptr || ended_) return;
  channel_ = std::move(channel);
  if (started_) startChannel();
}

void DataLink::start(DataConnection::Callbacks callbacks) {
  VC_ASSERT(!started_, "DataConnection::start is called once");
  started_ = true;
  callbacks_ = std::make_shared<DataConnection::Callbacks>(std::move(callbacks));
  if (channel_ != nullptr) startChannel();
  if (end_) {
    executor_.post([self = weak_from_this()] {
      if (const auto link = self.lock()) link->tell();
    });
  }
}

void DataLink::startChannel() {
  const std::weak_ptr<DataLink> self = weak_from_this();
  channel_->start({.onOpen =
                       [self] {
                         const auto link = self.lock();
                         if (link == nullptr || link->ended_) return;
                         link->open_ = true;
                         if (const auto callbacks = link->callbacks_; callbacks && callbacks->onOpen)
                           callbacks->onOpen();
                       },
                   .onMessage =
                       [self](net::FrameKind kind, std::string_view data) {
                         if (const auto link = self.lock()) link->onMessage(kind, data);
                       },
                   .onDrained =
                       [self] {
                         const auto link = self.lock();
                         if (link == nullptr || link->ended_) return;
                         if (const auto callbacks = link->callbacks_; callbacks && callbacks->onDrained)
                           callbacks->onDrained();
                       },
                   .onClose =
                       [self] {
                         if (const auto link = self.lock()) link->close();
                       }});
}

void DataLink::onMessage(net::FrameKind kind, std::string_view data) {
  if (ended_) return;
  Value value;
  if (options_.serialization == Serialization::Raw) {
    value = kind == net::FrameKind::Text ? Value(data) : Value(asBytes(data));
  } else if (options_.serialization == Serialization::Json) {
    auto parsed = fromJson(data, limits_.maxMessageBytes);
    if (!parsed.ok()) return fail(parsed.error());
    if (isCloseRequest(*parsed)) return close();
    value = std::move(*parsed);
  } else {
    auto read = reader_.read(asBytes(data), clock_.steady());
    if (!read.ok()) return fail(read.error());
    if (!*read) return;
    if (std::holds_alternative<CloseRequest>(**read)) return close();
    value = std::get<Value>(std::move(**read));
  }
  if (const auto callbacks = callbacks_; callbacks && callbacks->onData) callbacks->onData(value);
}

Status DataLink::send(const Value& value) {
  if (ended_ || channel_ == nullptr) return Error{Errc::ConnectionLost, "the data connection is closed"};
  switch (options_.serialization) {
    case Serialization::Binary:
    case Serialization::BinaryUtf8:
      return sendBinary(value);
    case Serialization::Json:
      return sendJson(value);
    case Serialization::Raw:
      return sendRaw(value);
  }
  VC_UNREACHABLE("a serialization");
}

Status DataLink::sendBinary(const Value& value) {
  VC_TRY_ASSIGN(Bytes packed, binarypack::pack(value));
  const std::size_t cost = packed.size() + (packed.size() / kChunkBytes + 1) * kPieceOverhead;
  if (packed.size() > limits_.maxMessageBytes || cost > maxQueuedBytes_)
    return Error{Errc::TooLarge, "the value is too long for a data connection"};
  // All pieces or none: half a message would stay in the other side's memory.
  if (channel_->queuedBytes() + cost > maxQueuedBytes_)
    return Error{Errc::Busy, "the connection's queue is full: the other side reads too slowly"};
  for (const Bytes& piece : writer_.write(std::move(packed)))
    VC_TRY(channel_->send(net::FrameKind::Binary, std::string(asText(piece))));
  return {};
}

Status DataLink::sendJson(const Value& value) {
  VC_TRY_ASSIGN(std::string text, toJson(value));
  if (text.size() > kMaxJsonBytes) return Error{Errc::TooLarge, "PeerJS sends JSON of at most 16,299 bytes"};
  return channel_->send(net::FrameKind::Binary, std::move(text));
}

Status DataLink::sendRaw(const Value& value) {
  if (const std::string* text = value.string()) return channel_->send(net::FrameKind::Text, *text);
  if (const Bytes* bytes = value.bytes()) return channel_->send(net::FrameKind::Binary, std::string(asText(*bytes)));
  return Error{Errc::InvalidArgument, "a raw connection carries text and bytes alone"};
}

void DataLink::close() {
  if (connection_ != nullptr) connection_->close();
}

void DataLink::drop() {
  started_ = true;
  callbacks_.reset();
  end_.reset();
  ended_ = true;
  channel_.reset();
  connection_.reset();
}

void DataLink::abandon() {
  if (!open_ && !ended_) fail({Errc::Unavailable, "nobody with the id " + peer_.value + " is there"});
}

void DataLink::fail(Error why) {
  const auto self = shared_from_this();  // the connection goes, and with it what called
  channel_.reset();
  connection_.reset();
  end(why);
}

void DataLink::end(const Status& why) {
  if (std::exchange(ended_, true)) return;
  end_ = why;
  if (started_) tell();
}

void DataLink::tell() {
  if (!end_) return;
  const Status why = *std::exchange(end_, std::nullopt);
  if (const auto callbacks = std::exchange(callbacks_, nullptr); callbacks && callbacks->onClose)
    callbacks->onClose(why);
}

}  // namespace vaultysclaw::webrtc
