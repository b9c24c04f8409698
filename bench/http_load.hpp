// Requests over keep-alive loopback connections, driven by one thread that sleeps in epoll: the load of the benchmark,
// and the operator's few calls. Knows only what our control plane answers: HTTP/1.1 with Content-Length.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace vaultysclaw::bench {

using Clock = std::chrono::steady_clock;

struct Reply {
  int status = 0;
  std::string_view body;  // valid during the call
};

// Confined to one thread. Failures throw std::runtime_error.
class HttpLoad {
 public:
  // Opens `connections` connections to 127.0.0.1:port.
  HttpLoad(std::uint16_t port, std::string token, std::size_t connections);
  ~HttpLoad();
  HttpLoad(const HttpLoad&) = delete;
  HttpLoad& operator=(const HttpLoad&) = delete;

  // The bytes of one request, which may be sent any number of times.
  std::string request(std::string_view method, std::string_view path, std::string_view body) const;

  // Keeps every connection busy with what `next` returns, until that is null, and waits for the answers.
  using Next = std::function<const std::string*()>;
  using Done = std::function<void(const Reply&, Clock::duration took)>;
  void drive(const Next& next, const Done& done, Clock::time_point deadline);

  // One exchange; blocking. Any status but 2xx throws.
  std::string call(std::string_view method, std::string_view path, std::string_view body = {});

 private:
  struct Connection;
  void send(Connection& connection, const std::string& bytes);
  // What has come completes an answer, or it does not.
  std::optional<Reply> receive(Connection& connection);

  std::string head_;  // headers that all requests share
  int epoll_ = -1;
  std::vector<std::unique_ptr<Connection>> connections_;
};

}  // namespace vaultysclaw::bench
