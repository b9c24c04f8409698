#include "webrtc/peer_server.hpp"

#include <array>
#include <set>

#include "base/assert.hpp"
#include "base/bytes.hpp"
#include "base/json_writer.hpp"

namespace vaultysclaw::webrtc {
namespace {

constexpr Duration kLookInterval = seconds(1);

// An offer, answer or candidate waits for its receiver; what else is for an absent peer is dropped.
bool waitsForReceiver(SignalType type) {
  return type == SignalType::Offer || type == SignalType::Answer || type == SignalType::Candidate;
}

std::size_t sizeOf(const SignalMessage& m) {
  return m.payload.size() + m.src.value.size() + m.dst.value.size() + sizeof m;
}

}  // namespace

std::string randomPeerId(Entropy& entropy) {
  std::array<std::uint8_t, 16> bytes{};
  entropy.fill(bytes);
  bytes[6] = static_cast<std::uint8_t>((bytes[6] & 0x0f) | 0x40);
  bytes[8] = static_cast<std::uint8_t>((bytes[8] & 0x3f) | 0x80);
  std::string text = hexEncode(bytes);
  for (const std::size_t at : {8u, 13u, 18u, 23u}) text.insert(at, 1, '-');
  return text;
}

net::ConnectionLimits peerServerLimits() {
  return {.maxMessageBytes = kMaxSignalBytes, .maxQueuedBytes = 16 * kMaxSignalBytes, .pingInterval = seconds(20)};
}

PeerServer::PeerServer(Executor& executor, Clock& clock, Entropy& entropy, PeerServerOptions options)
    : executor_(executor), clock_(clock), entropy_(entropy), options_(std::move(options)) {
  VC_ASSERT(options_.path.starts_with('/') && options_.path.ends_with('/'), "the path begins and ends with a slash");
}

PeerServer::~PeerServer() = default;

void PeerServer::handle(const std::shared_ptr<net::HttpExchange>& exchange) {
  const net::HttpRequest& request = exchange->request();
  net::HttpResponse response{404, {}, "Not found\n"};
  std::string_view rest = request.path;
  if (request.method == "GET" && rest.starts_with(options_.path)) {
    rest.remove_prefix(options_.path.size());
    // The original does not compare the key here, and a client that names a wrong one learns of it when it connects.
    const std::size_t slash = rest.find('/');
    const std::string_view what = slash == std::string_view::npos ? "" : rest.substr(slash + 1);
    if (rest.empty()) {
      JsonWriter w;
      w.beginObject().member("name", "PeerJS Server");
      w.member("description", "A server side element to broker connections between PeerJS clients.");
      w.member("website", "https://peerjs.com/").endObject();
      response = {200, {{"Content-Type", "application/json"}}, w.take()};
    } else if (what == "id") {
      std::string id = randomPeerId(entropy_);
      while (clients_.contains(PeerId(id))) id = randomPeerId(entropy_);
      response = {200, {{"Content-Type", "text/html; charset=utf-8"}}, std::move(id)};
    } else if (what == "peers" && options_.discovery == Discovery::Off) {
      response = {401, {{"Content-Type", "text/plain; charset=utf-8"}}, "Unauthorized"};
    } else if (what == "peers") {
      JsonWriter w;
      w.beginArray();
      for (const auto& [id, client] : clients_) w.value(id.value);
      w.endArray();
      response = {200, {{"Content-Type", "application/json"}}, w.take()};
    }
  }
  if (const auto origin = request.header("Origin")) {
    response.headers.emplace_back("Access-Control-Allow-Origin", std::string(*origin));
    response.headers.emplace_back("Vary", "Origin");
  }
  exchange->respond(std::move(response));
}

std::optional<net::HttpResponse> PeerServer::welcome(const net::HttpRequest& request) const {
  if (request.path == options_.path + "peerjs") return std::nullopt;
  return net::HttpResponse{400, {}, "Bad request\n"};
}

void PeerServer::accept(const net::HttpRequest& request, std::unique_ptr<net::Connection> connection) {
  const std::string_view key = request.queryValue("key").value_or("");
  const std::string_view token = request.queryValue("token").value_or("");
  const PeerId id{std::string(request.queryValue("id").value_or(""))};
  if (key.empty() || token.empty() || id.empty())
    return refuse(std::move(connection), SignalType::Error, "No id, token, or key supplied to websocket server");
  if (key != options_.key) return refuse(std::move(connection), SignalType::Error, "Invalid key provided");
  if (!isPeerId(id.value) || token.size() > 256)
    return refuse(std::move(connection), SignalType::Error, "The id or the token is too long or malformed");
  const auto known = clients_.find(id);
  if (known != clients_.end() && !constantTimeEqual(asBytes(known->second.token), asBytes(token)))
    return refuse(std::move(connection), SignalType::IdTaken, "ID is taken");
  if (known == clients_.end() && clients_.size() >= options_.maxClients)
    return refuse(std::move(connection), SignalType::Error, "Server has reached its concurrent user limit");

  if (known != clients_.end()) {
    // The original leaves the old socket open, and sends no OPEN to the new one: its clients then wait for ever.
    known->second.connection->close(net::close_code::kGoingAway, "replaced by a newer connection");
    closing_.emplace(known->second.number, std::move(known->second.connection));
  }
  Client& client = clients_[id];
  client.token = token;
  client.lastSign = clock_.steady();
  client.number = nextNumber_++;
  client.connection = std::move(connection);
  const std::uint64_t number = client.number;
  const std::shared_ptr<net::Connection> socket = client.connection;
  socket->start({.onMessage = [this, id, number](net::FrameKind kind,
                                                 std::string_view text) { onMessage(id, number, kind, text); },
                 .onClose = [this, id, number](const net::CloseReason&) { onClose(id, number); }});
  if (!deliver(id, {SignalType::Open, {}, {}, {}})) return;
  if (auto waiting = queues_.extract(id); !waiting.empty()) {
    for (SignalMessage& message : waiting.mapped().messages) {
      queuedBytes_ -= sizeOf(message);
      relay(std::move(message));
    }
  }
  if (clients_.size() == 1) look();
}

void PeerServer::refuse(std::unique_ptr<net::Connection> connection, SignalType type, std::string_view text) {
  const std::uint64_t number = nextNumber_++;
  const std::shared_ptr<net::Connection> socket = std::move(connection);
  closing_.emplace(number, socket);
  socket->start({.onMessage = [](net::FrameKind, std::string_view) {},
                 .onClose = [this, number](const net::CloseReason&) { onClose({}, number); }});
  (void)socket->send(net::FrameKind::Text, encodeSignal({type, {}, {}, errorPayload(text)}));
  socket->close(net::close_code::kNormal, "");
}

void PeerServer::onMessage(const PeerId& from, std::uint64_t number, net::FrameKind kind, std::string_view text) {
  const auto client = clients_.find(from);
  if (client == clients_.end() || client->second.number != number || kind != net::FrameKind::Text) return;
  auto message = decodeSignal(text);
  if (!message.ok()) return;  // the original ignores them, too
  switch (message->type) {
    case SignalType::Heartbeat:
      client->second.lastSign = clock_.steady();
      return;
    case SignalType::Leave:
      if (message->dst.empty()) return remove(from);
      [[fallthrough]];
    case SignalType::Offer:
    case SignalType::Answer:
    case SignalType::Candidate:
    case SignalType::Expire:
      if (message->dst.empty()) return;
      message->src = from;
      return relay(std::move(*message));
    default:
      return;  // a server's messages
  }
}

void PeerServer::relay(SignalMessage message) {
  if (clients_.contains(message.dst)) {
    if (deliver(message.dst, message)) return;
    (void)deliver(message.src, {SignalType::Leave, message.dst, message.src, {}});
  } else if (waitsForReceiver(message.type)) {
    enqueue(std::move(message));
  }
}

void PeerServer::enqueue(SignalMessage message) {
  const std::size_t size = sizeOf(message);
  const auto known = queues_.find(message.dst);
  const std::size_t waiting = known != queues_.end() ? known->second.messages.size() : 0;
  if (waiting >= options_.maxQueued || queuedBytes_ + size > options_.maxQueuedBytes) {
    const PeerId dst = message.dst;
    return expire(dst, {std::move(message)});
  }
  Queue& queue = queues_[message.dst];
  if (queue.messages.empty()) queue.since = clock_.steady();
  queuedBytes_ += size;
  queue.messages.push_back(std::move(message));
}

// False when the client's socket is unusable; then it is no client any more.
bool PeerServer::deliver(const PeerId& to, const SignalMessage& message) {
  const auto client = clients_.find(to);
  if (client == clients_.end()) return false;
  if (client->second.connection->send(net::FrameKind::Text, encodeSignal(message)) == net::SendResult::Ok) return true;
  remove(to);
  return false;
}

// One notice to each sender.
void PeerServer::expire(const PeerId& dst, const std::deque<SignalMessage>& messages) {
  std::set<PeerId> told;
  for (const SignalMessage& message : messages) {
    if (told.insert(message.src).second) (void)deliver(message.src, {SignalType::Expire, dst, message.src, {}});
  }
}

void PeerServer::remove(const PeerId& id) {
  auto gone = clients_.extract(id);
  if (gone.empty()) return;
  gone.mapped().connection->close(net::close_code::kNormal, "");
  closing_.emplace(gone.mapped().number, std::move(gone.mapped().connection));
}

void PeerServer::onClose(const PeerId& id, std::uint64_t number) {
  if (const auto client = clients_.find(id); client != clients_.end() && client->second.number == number) {
    closing_.emplace(number, std::move(client->second.connection));
    clients_.erase(client);
  }
  // The connection that calls is destroyed on a turn of its own.
  executor_.post([this, alive = std::weak_ptr<int>(alive_), number] {
    if (!alive.expired()) closing_.erase(number);
  });
}

// Drops who has gone silent, and what nobody came for.
void PeerServer::look() {
  const SteadyTime now = clock_.steady();
  std::vector<PeerId> silent;
  for (const auto& [id, client] : clients_) {
    if (now - client.lastSign > options_.aliveTimeout) silent.push_back(id);
  }
  for (const PeerId& id : silent) {
    remove(id);
    if (auto queue = queues_.extract(id); !queue.empty()) {
      for (const SignalMessage& message : queue.mapped().messages) queuedBytes_ -= sizeOf(message);
    }
  }
  std::vector<PeerId> overdue;
  for (const auto& [dst, queue] : queues_) {
    if (now - queue.since >= options_.expireTimeout) overdue.push_back(dst);
  }
  for (const PeerId& dst : overdue) {
    const Queue queue = std::move(queues_.extract(dst).mapped());
    for (const SignalMessage& message : queue.messages) queuedBytes_ -= sizeOf(message);
    expire(dst, queue.messages);
  }
  if (clients_.empty() && queues_.empty()) return timer_.reset();
  timer_ = executor_.after(kLookInterval, [this] { look(); });
}

}  // namespace vaultysclaw::webrtc
