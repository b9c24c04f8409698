#include "webrtc/peer_client.hpp"

#include <algorithm>
#include <deque>
#include <map>
#include <optional>

#include "base/log.hpp"
#include "data_connection.hpp"
#include "protocol/codec.hpp"
#include "webrtc/peer_server.hpp"

namespace vaultysclaw::webrtc {
namespace {

constexpr Duration kOpenTimeout = seconds(10);
// The original's server says nothing to a client that comes back before it missed it.
constexpr Duration kSilentOpen = seconds(2);
constexpr std::size_t kMaxEarly = 256;  // messages for connections that are not known yet

std::string percentEncoded(std::string_view text) {
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  std::string out;
  for (const char c : text) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       std::string_view("-._~").find(c) != std::string_view::npos;
    if (plain) {
      out += c;
      continue;
    }
    const auto byte = static_cast<unsigned char>(c);
    out += '%';
    out += kDigits[byte >> 4];
    out += kDigits[byte & 15];
  }
  return out;
}

std::string randomText(Entropy& entropy) {
  std::array<std::uint8_t, 10> bytes{};
  entropy.fill(bytes);
  return hexEncode(bytes);
}

}  // namespace

class PeerClientImpl final : public PeerClient, public std::enable_shared_from_this<PeerClientImpl> {
 public:
  PeerClientImpl(Engine& engine, Executor& executor, net::Dialer& dialer, Clock& clock, Entropy& entropy,
                 PeerClientOptions options, Callbacks callbacks)
      : engine_(engine),
        executor_(executor),
        dialer_(dialer),
        clock_(clock),
        entropy_(entropy),
        options_(std::move(options)),
        callbacks_(std::make_shared<Callbacks>(std::move(callbacks))),
        backoff_(options_.backoff, entropy),
        token_(randomText(entropy)) {
    if (options_.id.empty()) options_.id = PeerId(randomPeerId(entropy));
  }

  void begin() {
    if (!isClientPeerId(options_.id.value)) {
      executor_.post([self = weak_from_this()] {
        if (const auto client = self.lock())
          client->refuse(
              {Errc::InvalidArgument, "an id has letters and digits, with single spaces, '-' or '_' between"});
      });
      return;
    }
    dial();
  }
  // The handle is gone.
  void drop() {
    callbacks_ = std::make_shared<Callbacks>();
    stop();
  }

  const PeerId& id() const override { return options_.id; }

  Result<std::unique_ptr<DataConnection>> connect(const PeerId& to, DataOptions options) override {
    if (!registered_) return Error{Errc::Unavailable, "not connected to the signaling server"};
    if (!isPeerId(to.value)) return Error{Errc::InvalidArgument, "no peer can have this id"};
    if (!options.metadata.empty() && !protocol::validateJson(options.metadata, kMaxSignalBytes / 4).ok())
      return Error{Errc::InvalidArgument, "metadata is to be JSON of at most 32 KiB"};
    PeerConnectionId connection("dc_" + randomText(entropy_));
    if (options.label.empty()) options.label = connection.value;
    VC_TRY(encodeDcep(ChannelOpen{.label = options.label}));
    if (count() >= options_.maxConnections) return Error{Errc::Busy, "too many data connections"};
    auto link = makeLink(to, connection, std::move(options));
    link->begin(engine_, options_.peer, DataLink::Side::Offering);
    return makeDataConnection(std::move(link));
  }

 private:
  using Key = std::pair<PeerId, PeerConnectionId>;

  void dial() {
    net::DialOptions dial = options_.dial;
    dial.url = options_.server + "peerjs?key=" + percentEncoded(options_.key) +
               "&id=" + percentEncoded(options_.id.value) + "&token=" + token_ + "&version=1.5.5";
    dial.limits = peerServerLimits();
    pending_ = dialer_.dial(std::move(dial), [self = weak_from_this()](auto result) {
      if (const auto client = self.lock()) client->onDialled(std::move(result));
    });
  }

  void onDialled(Result<std::unique_ptr<net::Connection>> result) {
    if (!result.ok()) {
      const Errc code = result.error().code;
      if (code == Errc::InvalidArgument || code == Errc::Unauthenticated) return refuse(result.error());
      return lost(result.error());
    }
    connection_ = std::move(*result);
    const auto self = weak_from_this();
    // One that was given up may still have something to say.
    const auto current = [self, raw = connection_.get()] {
      auto client = self.lock();
      return client != nullptr && client->connection_.get() == raw ? client : nullptr;
    };
    connection_->start({.onMessage =
                            [current](net::FrameKind kind, std::string_view text) {
                              const auto client = current();
                              if (client && kind == net::FrameKind::Text) client->onMessage(text);
                            },
                        .onClose =
                            [current](const net::CloseReason& why) {
                              if (const auto client = current())
                                client->lost({Errc::ConnectionLost, "the signaling server closed the connection (" +
                                                                        std::to_string(why.code) + ")"});
                            }});
    timer_ = executor_.after(everRegistered_ ? kSilentOpen : kOpenTimeout, [self] {
      const auto client = self.lock();
      if (client == nullptr) return;
      if (client->everRegistered_) return client->onRegistered();
      client->lost({Errc::DeadlineExceeded, "the signaling server does not answer"});
    });
  }

  void onRegistered() {
    if (registered_ || connection_ == nullptr) return;
    registered_ = everRegistered_ = true;
    backoff_.reset();
    beatLater();
    const auto callbacks = callbacks_;
    if (callbacks->onOpen) callbacks->onOpen();
  }

  void beatLater() {
    timer_ = executor_.after(options_.heartbeat, [self = weak_from_this()] {
      const auto client = self.lock();
      if (client == nullptr || client->connection_ == nullptr) return;
      client->sendSignal({SignalType::Heartbeat, {}, {}, {}});
      client->beatLater();
    });
  }

  // The way to the server is gone; another try follows.
  void lost(const Error& why) {
    if (stopped_) return;
    registered_ = false;
    retire();
    timer_ = executor_.after(backoff_.next(), [self = weak_from_this()] {
      if (const auto client = self.lock()) client->dial();
    });
    const auto callbacks = callbacks_;
    if (callbacks->onDisconnected) callbacks->onDisconnected(why);
  }

  void refuse(const Error& why) {
    if (stopped_) return;
    stop();
    const auto callbacks = std::exchange(callbacks_, std::make_shared<Callbacks>());
    if (callbacks->onRefused) callbacks->onRefused(why);
  }

  void stop() {
    stopped_ = true;
    registered_ = false;
    timer_.reset();
    pending_.reset();
    retire();
  }

  // Drops the connection on a turn of its own: it may be what calls.
  void retire() {
    if (connection_ == nullptr) return;
    const std::shared_ptr<net::Connection> old = std::move(connection_);
    executor_.post([old] {});
  }

  void sendSignal(const SignalMessage& message) {
    if (connection_ == nullptr) return;
    if (connection_->send(net::FrameKind::Text, encodeSignal(message)) == net::SendResult::QueueFull)
      lost({Errc::ConnectionLost, "the signaling server does not read"});
  }

  void onMessage(std::string_view text) {
    auto decoded = decodeSignal(text);
    if (!decoded.ok()) return;  // of a newer server, or nonsense
    SignalMessage& m = *decoded;
    switch (m.type) {
      case SignalType::Open:
        return onRegistered();
      case SignalType::IdTaken:
        return refuse({Errc::Conflict, "the id " + options_.id.value + " is taken"});
      case SignalType::InvalidKey:
        return refuse({Errc::Unauthenticated, "the signaling server refuses the key"});
      case SignalType::Error: {
        const std::string said = printable(errorText(m.payload));
        return refuse({said == "Invalid key provided" ? Errc::Unauthenticated : Errc::Unavailable,
                       "the signaling server refuses: " + said});
      }
      case SignalType::Offer:
        return onOffer(std::move(m));
      case SignalType::Answer:
      case SignalType::Candidate:
        return onOther(std::move(m));
      case SignalType::Leave:
      case SignalType::Expire:
        return onUnavailable(m);
      case SignalType::Heartbeat:
        return;
    }
  }

  void onOffer(SignalMessage message) {
    auto offer = decodeOffer(message.payload);
    if (!offer.ok() || message.src.empty()) return;
    const Key key{message.src, offer->connection};
    // The same id again replaces the connection.
    if (const auto old = find(key)) old->close();
    links_.erase(key);
    if (count() >= options_.maxConnections) return;
    auto link = makeLink(message.src, offer->connection,
                         {.label = offer->label,
                          .metadata = offer->metadata,
                          .reliable = offer->reliable,
                          .serialization = offer->serialization});
    link->begin(engine_, options_.peer, DataLink::Side::Answering);
    link->onRemote(std::move(offer->description));
    std::deque<std::pair<Key, CandidatePayload>> others;
    for (auto& [owner, candidate] : early_) {
      if (owner == key)
        link->onRemote(candidate);
      else
        others.emplace_back(std::move(owner), std::move(candidate));
    }
    early_ = std::move(others);
    auto connection = makeDataConnection(std::move(link));
    const auto callbacks = callbacks_;
    if (callbacks->onConnection) callbacks->onConnection(std::move(connection));
  }

  void onOther(SignalMessage message) {
    if (message.type == SignalType::Answer) {
      auto answer = decodeAnswer(message.payload);
      if (!answer.ok()) return;
      if (const auto link = find({message.src, answer->connection})) link->onRemote(std::move(answer->description));
      return;
    }
    auto candidate = decodeCandidate(message.payload);
    if (!candidate.ok()) return;
    Key key{message.src, candidate->connection};
    if (const auto link = find(key)) return link->onRemote(*candidate);
    if (early_.size() >= kMaxEarly) early_.pop_front();
    early_.emplace_back(std::move(key), std::move(*candidate));
  }

  void onUnavailable(const SignalMessage& message) {
    std::vector<std::shared_ptr<DataLink>> gone;
    for (const auto& [key, weak] : links_) {
      if (const auto link = weak.lock(); link && key.first == message.src) gone.push_back(link);
    }
    for (const auto& link : gone) link->abandon();
    const auto callbacks = callbacks_;
    if (message.type == SignalType::Expire && callbacks->onUnavailable) callbacks->onUnavailable(message.src);
  }

  std::shared_ptr<DataLink> makeLink(const PeerId& peer, const PeerConnectionId& connection, DataOptions options) {
    auto link = std::make_shared<DataLink>(executor_, clock_, peer, connection, std::move(options), options_.chunks,
                                           [self = weak_from_this(), peer](SignalType type, std::string payload) {
                                             if (const auto client = self.lock())
                                               client->sendSignal({type, {}, peer, std::move(payload)});
                                           });
    links_[{peer, connection}] = link;
    return link;
  }

  std::shared_ptr<DataLink> find(const Key& key) {
    const auto at = links_.find(key);
    return at != links_.end() ? at->second.lock() : nullptr;
  }

  // Of connections that live.
  std::size_t count() {
    std::erase_if(links_, [](const auto& entry) {
      const auto link = entry.second.lock();
      return link == nullptr || link->ended();
    });
    return links_.size();
  }

  Engine& engine_;
  Executor& executor_;
  net::Dialer& dialer_;
  Clock& clock_;
  Entropy& entropy_;
  PeerClientOptions options_;
  std::shared_ptr<Callbacks> callbacks_;
  net::Backoff backoff_;
  const std::string token_;  // proves to the server that the id is ours when we come back
  net::Pending pending_;
  Timer timer_;
  std::unique_ptr<net::Connection> connection_;
  std::map<Key, std::weak_ptr<DataLink>> links_;
  std::deque<std::pair<Key, CandidatePayload>> early_;
  bool registered_ = false, everRegistered_ = false, stopped_ = false;
};

namespace {

class PeerClientHandle final : public PeerClient {
 public:
  explicit PeerClientHandle(std::shared_ptr<PeerClientImpl> client) : client_(std::move(client)) {}
  ~PeerClientHandle() override { client_->drop(); }
  const PeerId& id() const override { return client_->id(); }
  Result<std::unique_ptr<DataConnection>> connect(const PeerId& to, DataOptions options) override {
    return client_->connect(to, std::move(options));
  }

 private:
  std::shared_ptr<PeerClientImpl> client_;
};

}  // namespace

std::unique_ptr<PeerClient> PeerClient::make(Engine& engine, Executor& executor, net::Dialer& dialer, Clock& clock,
                                             Entropy& entropy, PeerClientOptions options, Callbacks callbacks) {
  auto client = std::make_shared<PeerClientImpl>(engine, executor, dialer, clock, entropy, std::move(options),
                                                 std::move(callbacks));
  client->begin();
  return std::make_unique<PeerClientHandle>(std::move(client));
}

}  // namespace vaultysclaw::webrtc
