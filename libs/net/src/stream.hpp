// The byte stream below HTTP and WebSocket: TCP, with TLS on top when asked for. One type for both, so that Beast's
// templates are instantiated once. Internal; includes Asio.
#pragma once

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/basic_waitable_timer.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core/bind_handler.hpp>
#include <boost/beast/core/role.hpp>
#include <chrono>
#include <memory>
#include <string>
#include <utility>

#include "net/connection.hpp"

namespace vaultysclaw::net {

namespace asio = boost::asio;
namespace beast = boost::beast;
using asio::ip::tcp;
using boost::system::error_code;

using LoopExecutor = asio::io_context::executor_type;
using Socket = asio::basic_stream_socket<tcp, LoopExecutor>;
using Resolver = asio::ip::basic_resolver<tcp, LoopExecutor>;
using LoopTimer =
    asio::basic_waitable_timer<std::chrono::steady_clock, asio::wait_traits<std::chrono::steady_clock>, LoopExecutor>;
template <class T>
using Async = asio::awaitable<T, LoopExecutor>;
// Errors come back as values: nothing throws across a suspension.
inline constexpr asio::as_tuple_t<asio::use_awaitable_t<LoopExecutor>> kAwait{asio::use_awaitable_t<LoopExecutor>{}};

// Movable only while no operation is under way. Confined to the loop.
class Stream {
 public:
  using executor_type = LoopExecutor;
  using Tls = asio::ssl::stream<Socket&>;

  explicit Stream(Socket socket) : socket_(std::make_unique<Socket>(std::move(socket))) {}

  executor_type get_executor() noexcept { return socket_->get_executor(); }
  Socket& socket() { return *socket_; }
  Tls* tls() { return tls_.get(); }
  // From here on everything is TLS; the handshake is the caller's to run. `context` is kept alive by OpenSSL.
  Tls& beginTls(asio::ssl::context& context) {
    tls_ = std::make_unique<Tls>(*socket_, context);
    return *tls_;
  }
  // Whatever is under way fails at the next turn. For good: the stream is not used again.
  void close() noexcept {
    error_code ignored;
    if (socket_) socket_->close(ignored);
  }
  // Counted by a listener for as long as this stream lives.
  void hold(std::shared_ptr<void> slot) { slot_ = std::move(slot); }

  template <class Buffers, class Token>
  auto async_read_some(const Buffers& buffers, Token&& token) {
    return asio::async_initiate<Token, void(error_code, std::size_t)>(
        [](auto handler, Stream* self, const Buffers& b) {
          if (self->tls_)
            self->tls_->async_read_some(b, std::move(handler));
          else
            self->socket_->async_read_some(b, std::move(handler));
        },
        token, this, buffers);
  }
  template <class Buffers, class Token>
  auto async_write_some(const Buffers& buffers, Token&& token) {
    return asio::async_initiate<Token, void(error_code, std::size_t)>(
        [](auto handler, Stream* self, const Buffers& b) {
          if (self->tls_)
            self->tls_->async_write_some(b, std::move(handler));
          else
            self->socket_->async_write_some(b, std::move(handler));
        },
        token, this, buffers);
  }

 private:
  std::unique_ptr<Socket> socket_;  // on the heap: TLS refers to it, and the Stream moves
  std::unique_ptr<Tls> tls_;
  std::shared_ptr<void> slot_;
};

// Beast finds these two by argument-dependent lookup.
inline void beast_close_socket(Stream& stream) {
  stream.close();
}

// What ends a WebSocket after its close frames. Waiting for the peer's end is left to the connection (linger), so that
// a peer which never closes cannot delay the report.
template <class Handler>
void async_teardown(beast::role_type, Stream& stream, Handler&& handler) {
  error_code ignored;
  stream.socket().shutdown(Socket::shutdown_send, ignored);
  asio::post(stream.get_executor(), beast::bind_front_handler(std::forward<Handler>(handler), error_code()));
}

// The address without its port; IPv4 in IPv6 as IPv4.
inline std::string addressText(const asio::ip::address& address) {
  if (address.is_v6() && address.to_v6().is_v4_mapped())
    return asio::ip::make_address_v4(asio::ip::v4_mapped, address.to_v6()).to_string();
  return address.to_string();
}

}  // namespace vaultysclaw::net
