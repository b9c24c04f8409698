// HTTP/1.1 server side, as plain types: requests in, answers and event streams out. No Asio here.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/ports.hpp"
#include "net/connection.hpp"

namespace vaultysclaw::net {

using Headers = std::vector<std::pair<std::string, std::string>>;

struct HttpRequest {
  std::string method = {};                                      // upper case
  std::string path = {};                                        // percent-decoded, begins with '/', without the query
  std::vector<std::pair<std::string, std::string>> query = {};  // decoded, in order
  Headers headers = {};
  std::string body = {};
  PeerInfo peer = {};

  std::optional<std::string_view> header(std::string_view name) const;  // case-insensitive; the first
  std::optional<std::string_view> queryValue(std::string_view name) const;
};

struct HttpResponse {
  int status = 200;
  Headers headers = {};  // Content-Length and Connection are the server's business
  std::string body = {};
};

// One request's answer, given now or later. Confined to the server's executor. Shared: the handler keeps it as long as
// it works on the answer. When the last reference goes without an answer, the server answers 500.
class HttpExchange {
 public:
  virtual ~HttpExchange() = default;
  virtual const HttpRequest& request() const = 0;
  // Once, unless a stream was begun.
  virtual void respond(HttpResponse response) = 0;
  // Begins an answer of unknown length (chunked).
  virtual void beginStream(int status, Headers headers) = 0;
  // False when the client is gone or reads too slowly (over 1 MiB queued): stop producing; the connection is closed.
  virtual bool write(std::string data) = 0;
  virtual void endStream() = 0;
  // `callback` runs once if the client goes before the answer is complete.
  virtual void onClientGone(std::function<void()> callback) = 0;
};

// A handler that throws is answered with 500 and reported to onProblem. A client that has ended its sending side counts
// as gone, but still gets an answer that respond() gives.
using HttpHandler = std::function<void(std::shared_ptr<HttpExchange>)>;
// Says whether a WebSocket upgrade on this request is welcome; an answer with a status refuses it.
using UpgradeGate = std::function<std::optional<HttpResponse>(const HttpRequest&)>;
// As AcceptHandler, for a receiver whose clients say in the upgrade's query who they are.
using UpgradedHandler = std::function<void(const HttpRequest&, std::unique_ptr<Connection>)>;

struct TlsFiles {
  std::string certificateFile = {};  // PEM chain
  std::string keyFile = {};          // PEM
};

struct ServerOptions {
  std::string address = "127.0.0.1";
  std::uint16_t port = 0;  // 0: any free one
  std::optional<TlsFiles> tls = {};
  std::size_t maxBodyBytes = std::size_t{4} << 20;
  std::size_t maxConnections = 10'000;  // further ones are closed at once
  Duration headerTimeout = seconds(10);
  Duration idleTimeout = seconds(60);
  ConnectionLimits limits = {};  // of upgraded connections
};

// A listening socket that serves HTTP and hands upgraded WebSockets over. Owned by main(). A request's head is at most
// 64 KiB (431).
class Server {
 public:
  // From the loop, or from any thread while the loop lives. Closes the socket and every HTTP connection; upgraded ones
  // live on. No handler is called afterwards.
  virtual ~Server() = default;
  virtual std::uint16_t port() const = 0;
};

struct ServerHandlers {
  HttpHandler onRequest = {};
  UpgradeGate onUpgrade = {};      // absent: upgrades are refused with 404
  AcceptHandler onWebSocket = {};  // called after the upgrade; Connection::start is the receiver's to call
  std::function<void(std::string)> onProblem =
      {};                           // optional: what an operator should read, for example that a handler threw
  UpgradedHandler onUpgraded = {};  // in place of onWebSocket
};

}  // namespace vaultysclaw::net
