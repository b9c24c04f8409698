// The listening socket: binds, accepts, bounds the number of connections.
#include <boost/asio/basic_socket_acceptor.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/ip/v6_only.hpp>

#include "http_session.hpp"
#include "io_loop_impl.hpp"
#include "net/io_loop.hpp"
#include "tls.hpp"

namespace vaultysclaw::net {

namespace {

using Acceptor = asio::basic_socket_acceptor<tcp, LoopExecutor>;

// After an error that is not the client's (no descriptors left), how long until the next try.
constexpr Duration kAcceptPause = milliseconds(100);

struct Listener {
  Listener(asio::io_context& context, std::shared_ptr<ServerState> s)
      : acceptor(context.get_executor()), pause(context.get_executor()), state(std::move(s)) {}
  Acceptor acceptor;
  LoopTimer pause;
  std::shared_ptr<ServerState> state;
};

void admit(Listener& listener, Socket socket) {
  ServerState& state = *listener.state;
  const auto open = static_cast<std::size_t>(state.slots.use_count() - 1);
  error_code ignored;
  if (open >= state.options.maxConnections) {
    socket.close(ignored);
    return;
  }
  socket.set_option(tcp::no_delay(true), ignored);
  socket.set_option(asio::socket_base::keep_alive(true), ignored);
  startHttpSession(listener.state, std::move(socket));
}

Async<void> acceptAll(std::shared_ptr<Listener> listener) {
  bool complained = false;
  while (!listener->state->stopped) {
    auto [ec, socket] = co_await listener->acceptor.async_accept(kAwait);
    if (listener->state->stopped || ec == asio::error::operation_aborted) co_return;
    if (!ec) {
      complained = false;
      admit(*listener, std::move(socket));
      continue;
    }
    if (ec == asio::error::connection_aborted) continue;
    const auto handlers = listener->state->handlers;
    if (!std::exchange(complained, true) && handlers->onProblem)
      handlers->onProblem("cannot accept connections: " + ec.message() +
                          "; raise the limit of open files if that is why");
    listener->pause.expires_after(kAcceptPause);
    (void)co_await listener->pause.async_wait(kAwait);
  }
}

class AsioServer final : public Server {
 public:
  AsioServer(IoLoop& loop, std::shared_ptr<Listener> listener, std::uint16_t port)
      : loop_(loop), listener_(std::move(listener)), port_(port) {}
  ~AsioServer() override {
    const auto stop = [listener = listener_] {
      error_code ignored;
      listener->acceptor.close(ignored);
      listener->pause.cancel();
      stopHttpSessions(*listener->state);
    };
    if (loop_.isCurrent())
      stop();
    else
      loop_.runBlocking(stop);
  }
  std::uint16_t port() const override { return port_; }

 private:
  IoLoop& loop_;
  const std::shared_ptr<Listener> listener_;
  const std::uint16_t port_;
};

}  // namespace

Result<std::unique_ptr<Server>> listen(IoLoop& loop, ServerOptions options, ServerHandlers handlers) {
  error_code ec;
  const std::string address = options.address == "localhost" ? "127.0.0.1" : options.address;
  const auto ip = asio::ip::make_address(address, ec);
  if (ec)
    return Error{Errc::InvalidArgument, "\"" + options.address +
                                            "\" is not an IP address to listen on; write for example "
                                            "127.0.0.1 (this machine only) or 0.0.0.0 (every network)"};
  auto state = std::make_shared<ServerState>();
  if (options.tls) {
    VC_TRY_ASSIGN(state->tls, makeServerTls(*options.tls));
  }
  const tcp::endpoint endpoint(ip, options.port);
  const std::string where = (ip.is_v6() ? "[" + address + "]" : address) + ":" + std::to_string(options.port);
  state->options = std::move(options);
  state->handlers = std::make_shared<const ServerHandlers>(std::move(handlers));

  auto listener = std::make_shared<Listener>(loop.impl().context(), state);
  Acceptor& acceptor = listener->acceptor;
  acceptor.open(endpoint.protocol(), ec);
  if (!ec) acceptor.set_option(asio::socket_base::reuse_address(true), ec);
  if (!ec && ip.is_v6() && ip.is_unspecified()) acceptor.set_option(asio::ip::v6_only(false), ec);
  if (!ec) acceptor.bind(endpoint, ec);
  if (!ec) acceptor.listen(asio::socket_base::max_listen_connections, ec);
  if (ec) {
    std::string message = "cannot listen on " + where + ": " + ec.message();
    if (ec == asio::error::address_in_use) message += "; another process uses the port: stop it or choose another port";
    if (ec == asio::error::access_denied) message += "; ports below 1024 need a privilege: choose a higher one";
    if (ec == boost::system::errc::address_not_available) message += "; this machine has no such address";
    return Error{Errc::Io, std::move(message)};
  }
  const std::uint16_t port = acceptor.local_endpoint(ec).port();
  asio::co_spawn(loop.impl().context(), acceptAll(listener), [](std::exception_ptr e) {
    if (e) std::rethrow_exception(e);
  });
  return std::unique_ptr<Server>(std::make_unique<AsioServer>(loop, std::move(listener), port));
}

}  // namespace vaultysclaw::net
