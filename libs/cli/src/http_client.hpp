// HTTP client for the control plane's REST API, over libcurl.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/ports.hpp"
#include "base/result.hpp"

namespace vaultysclaw::cli {

struct ClientOptions {
  std::string url;     // scheme, host and port
  std::string token;   // empty: none is sent
  std::string caFile;  // PEM; empty: the system's roots
};

struct ClientReply {
  int status = 0;
  std::string body;
};

// One server-sent event. Both last as long as the call that hands them over.
struct ServerEvent {
  std::string_view data;
  std::string_view id;  // empty: none
};

// Confined to one thread. Every call blocks. Errors: InvalidArgument (the URL), Unavailable (cannot connect),
// Unauthenticated (TLS), DeadlineExceeded, Cancelled (`stop` said so), ConnectionLost.
class HttpClient {
 public:
  explicit HttpClient(ClientOptions options);
  ~HttpClient();
  HttpClient(HttpClient&&) noexcept;

  // `body` empty: none. `timeout` of the whole exchange.
  Result<ClientReply> request(const std::string& method, const std::string& path, const std::string& body,
                              Duration timeout);
  // Hands each server-sent event to `onEvent` as it comes; false from it ends the request. Any answer but 200 comes
  // back as a reply. `stop` is asked several times a second. No time limit but the server's, and that something comes
  // every minute (DeadlineExceeded): servers send comments to show that they are there.
  Result<ClientReply> stream(const std::string& method, const std::string& path, const std::string& body,
                             std::function<bool(const ServerEvent&)> onEvent, std::function<bool()> stop);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Whether requests to `url`, as libcurl reads it, go unencrypted to another machine. False for what is no URL.
bool travelsInTheClear(const std::string& url);

// RFC 3986: everything but unreserved characters is encoded.
std::string percentEncode(std::string_view text);

// Cuts a byte stream into server-sent events (WHATWG HTML, section 9.2), of which `data` and `id` are kept.
class EventParser {
 public:
  // Calls `onEvent` with each event; false from it stops the parsing and is returned.
  bool feed(std::string_view bytes, const std::function<bool(const ServerEvent&)>& onEvent);

 private:
  std::string line_;
  std::string data_, id_;
  bool hasData_ = false;
};

}  // namespace vaultysclaw::cli
