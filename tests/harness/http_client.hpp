// A caller that knows what it does not know: one keep-alive connection to a port of this machine, where every exchange
// either brings the whole answer within its deadline or says that there was none. Knows what our control plane answers:
// HTTP/1.1 with Content-Length or chunks, and server-sent events.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>

namespace vaultysclaw::harness {

using Headers = std::map<std::string, std::string>;

struct HttpReply {
  int status = 0;
  std::string body = {};
  Headers headers = {};  // names in lower case; of those that come twice the last
};

struct HttpRequest {
  std::string method = "GET", path;
  std::string body = {};
  Headers headers = {};
  std::chrono::milliseconds limit{30'000};  // for the whole exchange
};

struct ServerEvent {
  std::string id, data;
};

// One thread at a time. Blocks in poll(2), never without a limit.
class HttpClient {
 public:
  // Without a token no header Authorization is sent.
  HttpClient(std::uint16_t port, std::string token) : port_(port), token_(std::move(token)) {}
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;
  ~HttpClient() { close(); }

  // Nothing: the connection could not be made, broke, or was too slow; the other side may have done what was asked. The
  // connection is made anew for the next exchange, to the port as it is then.
  std::optional<HttpReply> exchange(const HttpRequest& request);
  // As exchange(); each event of a 200 goes to `onEvent` as it comes, and false from that breaks the connection.
  std::optional<HttpReply> stream(const HttpRequest& request, const std::function<bool(const ServerEvent&)>& onEvent);

  void connectTo(std::uint16_t port) { port_ = port; }
  void close();

 private:
  using Time = std::chrono::steady_clock::time_point;
  struct Head;
  bool connect(Time deadline);
  bool send(const HttpRequest& request, Time deadline);
  bool fill(Time deadline);  // more bytes into received_
  std::optional<Head> readHead(Time deadline);
  // The next chunk of a chunked body; empty text for the last one.
  std::optional<std::string> readChunk(Time deadline);
  std::optional<std::string> readBytes(std::size_t count, Time deadline);
  std::optional<std::string> readLine(Time deadline);
  std::optional<HttpReply> perform(const HttpRequest& request, const std::function<bool(const ServerEvent&)>& onEvent);

  std::uint16_t port_;
  std::string token_;
  int fd_ = -1;
  std::string received_;
};

// Cuts a byte stream into server-sent events (WHATWG HTML, section 9.2): `id` and `data`.
class ServerEvents {
 public:
  // False as soon as `onEvent` says so.
  bool feed(std::string_view bytes, const std::function<bool(const ServerEvent&)>& onEvent);

 private:
  std::string line_;
  ServerEvent event_;
  bool hasData_ = false;
};

}  // namespace vaultysclaw::harness
