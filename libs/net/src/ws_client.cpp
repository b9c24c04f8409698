// The WebSocket dialer: resolve, connect (through a proxy), TLS, upgrade; one coroutine per dial.
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/http/field.hpp>
#include <boost/beast/websocket/rfc6455.hpp>
#include <optional>
#include <vector>

#include "base/log.hpp"
#include "io_loop_impl.hpp"
#include "net/io_loop.hpp"
#include "tls.hpp"
#include "url.hpp"
#include "ws_connection.hpp"

namespace vaultysclaw::net {

namespace {

using DialResult = Result<std::unique_ptr<Connection>>;
using Done = std::function<void(DialResult)>;

constexpr std::size_t kMaxProxyAnswer = 16 * 1024;

// What needs no look-up, and so no thread that looks up: addresses, and the name of this machine (RFC 6761 6.3).
std::vector<tcp::endpoint> knownAddresses(const Url& target) {
  if (target.host == "localhost")
    return {{asio::ip::address_v4::loopback(), target.port}, {asio::ip::address_v6::loopback(), target.port}};
  error_code ec;
  const auto address = asio::ip::make_address(target.host, ec);
  if (ec) return {};
  return {{address, target.port}};
}

// One dial. The coroutine and the handle share it; cancel() closes whatever is under way.
class Dial : public std::enable_shared_from_this<Dial> {
 public:
  Dial(asio::io_context& context, DialOptions options, Done done)
      : context_(context),
        options_(std::move(options)),
        done_(std::move(done)),
        deadline_(context.get_executor()),
        attemptTimer_(context.get_executor()),
        resolver_(context.get_executor()) {}

  void begin() {
    end_ = std::chrono::steady_clock::now() + options_.timeout;
    deadline_.expires_at(end_);
    deadline_.async_wait([weak = weak_from_this()](const error_code& ec) {
      if (const auto self = weak.lock(); self && !ec) self->onDeadline();
    });
    asio::co_spawn(context_, run(shared_from_this()), [self = shared_from_this()](std::exception_ptr e) {
      if (e) std::rethrow_exception(e);
      self->finish();
    });
  }

  void cancel() {
    cancelled_ = true;
    const Done dropped = std::exchange(done_, nullptr);
    abort();
  }

 private:
  static Async<void> run(std::shared_ptr<Dial> self) {
    (void)co_await asio::post(self->context_, kAwait);  // never calls `done` before dial() returned
    self->result_.emplace(co_await self->dial());
  }

  // Reports at once: a look-up of the host name cannot be stopped, so the coroutine may end much later. What it returns
  // then is dropped.
  void onDeadline() {
    if (!done_ || result_) return;  // cancelled, or finish() is about to report
    timedOut_ = true;
    abort();
    const Done done = std::exchange(done_, nullptr);
    const std::string who = where_.empty() ? "the server" : where_;
    done(Error{Errc::DeadlineExceeded, who + " did not answer within " + timeoutText() + " (" + stage_ +
                                           "): check the address and firewalls in between"});
  }

  void finish() {
    deadline_.cancel();
    if (!done_) return;
    const Done done = std::exchange(done_, nullptr);
    done(std::move(*result_));
  }

  Async<DialResult> dial() {
    auto parsed = parseUrl(options_.url, "the WebSocket URL");
    if (!parsed) co_return parsed.error();
    url_ = std::move(parsed).value();
    where_ = url_.authority();
    if (url_.scheme != "ws" && url_.scheme != "wss")
      co_return Error{Errc::InvalidArgument,
                      "the WebSocket URL begins with " + url_.scheme + "://; write ws:// or wss://"};
    if (!url_.userinfo.empty())
      co_return Error{Errc::InvalidArgument,
                      "the WebSocket URL of " + where_ + " holds a user name: credentials do not belong there"};
    auto proxy = chooseProxy(url_, options_.proxyUrl, processEnvironment());
    if (!proxy) co_return proxy.error();

    auto connected = co_await connect(proxy->has_value() ? **proxy : url_, proxy->has_value());
    if (!connected) co_return connected.error();
    stream_.emplace(std::move(connected).value());
    PeerInfo peer;
    error_code ec;
    peer.address = addressText(stream_->socket().remote_endpoint(ec).address());
    peer.transport = url_.scheme;
    // Behind a proxy the bytes leave this machine, wherever the proxy stands.
    if (!proxy->has_value() && isLoopbackAddress(peer.address)) peer.protection = Protection::Loopback;

    if (proxy->has_value()) {
      const Status tunnel = co_await askProxy(**proxy);
      if (!tunnel) co_return tunnel.error();
    }
    if (url_.scheme == "wss") {
      const Status secured = co_await secure();
      if (!secured) co_return secured.error();
      peer.protection = Protection::VerifiedTls;
    }
    co_return co_await upgrade(std::move(peer));
  }

  // Tries every address of `target`, each with its share of the time that is left.
  Async<Result<Stream>> connect(Url target, bool isProxy) {
    const std::string name = isProxy ? "the proxy " + target.authority() : target.authority();
    std::vector<tcp::endpoint> addresses = knownAddresses(target);
    if (addresses.empty()) {
      stage_ = "looking up " + target.host;
      auto [resolveError, found] = co_await resolver_.async_resolve(target.host, std::to_string(target.port), kAwait);
      if (stopped()) co_return stoppedError();
      if (resolveError)
        co_return Error{Errc::Unavailable, "cannot look up " + name + ": " + resolveError.message() +
                                               "; check the host name and this machine's DNS"};
      for (const auto& entry : found) addresses.push_back(entry.endpoint());
    }
    stage_ = "connecting to " + name;

    error_code last = asio::error::host_not_found;
    for (std::size_t i = 0; i < addresses.size(); ++i) {
      stream_.emplace(Socket(context_.get_executor()));
      // The last one has until the deadline.
      if (i + 1 < addresses.size()) limitAttempt(static_cast<int>(addresses.size() - i));
      auto [ec] = co_await stream_->socket().async_connect(addresses[i], kAwait);
      ++attempt_;
      attemptTimer_.cancel();
      if (stopped()) co_return stoppedError();
      if (!ec && stream_->socket().is_open()) {
        error_code ignored;
        stream_->socket().set_option(tcp::no_delay(true), ignored);
        co_return std::move(*stream_);
      }
      last = ec == asio::error::operation_aborted || !ec ? error_code(asio::error::timed_out) : ec;
    }
    std::string message = "cannot connect to " + name + ": " + last.message();
    if (last == asio::error::connection_refused)
      message += "; is it running, and is the port right?";
    else
      message += "; check the address and this machine's network";
    co_return Error{Errc::Unavailable, std::move(message)};
  }

  void limitAttempt(int addressesLeft) {
    attemptTimer_.expires_after((end_ - std::chrono::steady_clock::now()) / addressesLeft);
    attemptTimer_.async_wait([weak = weak_from_this(), attempt = attempt_](const error_code& ec) {
      if (const auto self = weak.lock(); self && !ec && self->attempt_ == attempt) self->stream_->close();
    });
  }

  Async<Status> askProxy(Url proxy) {
    const std::string name = "the proxy " + proxy.authority();
    stage_ = "asking " + name + " for a tunnel";
    std::string request = "CONNECT " + where_ + " HTTP/1.1\r\nHost: " + where_ + "\r\n";
    if (!proxy.userinfo.empty()) {
      const auto credentials = percentDecode(proxy.userinfo, false);
      if (!credentials)
        co_return Error{Errc::InvalidArgument,
                        "the user name or password of " + name + " is not percent-encoded correctly"};
      request += "Proxy-Authorization: Basic " + base64Encode(asBytes(*credentials)) + "\r\n";
    }
    request += "\r\n";
    auto [writeError, written] = co_await asio::async_write(*stream_, asio::buffer(request), kAwait);
    wipe(request);
    (void)written;
    std::string answer;
    error_code ec = writeError;
    std::size_t head = 0;
    if (!ec) {
      auto buffer = asio::dynamic_buffer(answer, kMaxProxyAnswer);
      std::tie(ec, head) = co_await asio::async_read_until(*stream_, buffer, "\r\n\r\n", kAwait);
    }
    if (stopped()) co_return stoppedError();
    if (ec)
      co_return Error{Errc::Unavailable,
                      name + " broke off while asked for a tunnel to " + where_ + ": " + ec.message()};
    const std::string_view line = std::string_view(answer).substr(0, answer.find("\r\n"));
    if (!line.starts_with("HTTP/1.") || line.size() < 12 || line[8] != ' ')
      co_return Error{Errc::Unavailable, name + " does not speak HTTP: check the proxy URL"};
    const std::string status(line.substr(9, 3));
    if (status == "407")
      co_return Error{Errc::Unavailable,
                      name + " wants a user name and password (407): write http://user:password@" + proxy.authority()};
    if (!status.starts_with('2'))
      co_return Error{Errc::Unavailable, name + " refused a tunnel to " + where_ + ": it answered " +
                                             printable(line.substr(9), 100) +
                                             "; check its rules, or set the proxy to \"direct\""};
    if (head != answer.size())
      co_return Error{Errc::Unavailable, name + " sent bytes of its own into the tunnel to " + where_};
    co_return Status();
  }

  Async<Status> secure() {
    stage_ = "TLS handshake with " + where_;
    auto context = makeClientTls(options_.caFile);
    if (!context) co_return context.error();
    Stream::Tls& tls = stream_->beginTls(**context);
    if (const Status named = expectHost(tls, url_.host); !named) co_return named.error();
    auto [ec] = co_await tls.async_handshake(asio::ssl::stream_base::client, kAwait);
    if (stopped()) co_return stoppedError();
    if (ec) co_return explainHandshake(tls, ec, where_, options_.caFile);
    co_return Status();
  }

  Async<DialResult> upgrade(PeerInfo peer) {
    namespace websocket = beast::websocket;
    stage_ = "WebSocket upgrade at " + where_;
    ws_.emplace(std::move(*stream_));
    stream_.reset();
    prepareWebSocket(*ws_, options_.limits, options_.timeout);
    ws_->set_option(websocket::stream_base::decorator(
        [](websocket::request_type& request) { request.set(beast::http::field::user_agent, "vaultysclaw-cpp"); }));
    const std::uint16_t standardPort = url_.scheme == "wss" ? 443 : 80;
    std::string host = where_;
    if (url_.port == standardPort) host.resize(host.rfind(':'));
    websocket::response_type response;
    auto [ec] = co_await ws_->async_handshake(response, host, url_.target, kAwait);
    if (stopped()) co_return stoppedError();
    if (ec == websocket::error::upgrade_declined) {
      const unsigned status = response.result_int();
      std::string message = where_ + " answered " + std::to_string(status) + ": ";
      if (status == 404)
        message += "not a WebSocket endpoint; check the path of the URL";
      else if (status == 401 || status == 403)
        message += "it does not let this client in";
      else if (status >= 300 && status < 400)
        message += "it redirects; use the URL it redirects to";
      else if (status == 429 || status == 503)
        message += "it is too busy; try again later";
      else
        message += "not a WebSocket upgrade; check that the URL is the WebSocket endpoint";
      co_return Error{Errc::Unavailable, std::move(message)};
    }
    if (ec) {
      co_return Error{Errc::Unavailable, "the WebSocket upgrade with " + where_ + " failed: " + ec.message() +
                                             "; check that the port serves WebSocket" +
                                             (url_.scheme == "ws" ? ", and whether it wants wss://" : "")};
    }
    auto connection = makeWsConnection(std::move(*ws_), std::move(peer), options_.limits);
    ws_.reset();
    co_return std::move(connection);
  }

  void abort() {
    resolver_.cancel();
    attemptTimer_.cancel();
    if (stream_) stream_->close();
    if (ws_) ws_->next_layer().close();
  }
  bool stopped() const { return cancelled_ || timedOut_; }
  static Error stoppedError() { return {Errc::Cancelled, "the dial was stopped"}; }
  std::string timeoutText() const {
    const auto ms = std::chrono::duration_cast<milliseconds>(options_.timeout).count();
    return ms % 1000 == 0 ? std::to_string(ms / 1000) + " s" : std::to_string(ms) + " ms";
  }

  asio::io_context& context_;
  const DialOptions options_;
  Done done_;
  std::chrono::steady_clock::time_point end_;
  LoopTimer deadline_;
  LoopTimer attemptTimer_;
  int attempt_ = 0;  // counts, so that a timer that fired late hits nothing
  std::optional<DialResult> result_;
  Resolver resolver_;
  std::optional<Stream> stream_;
  std::optional<WsStream> ws_;
  Url url_;
  std::string where_;
  std::string stage_ = "starting";
  bool cancelled_ = false;
  bool timedOut_ = false;
};

class WsDialer final : public Dialer {
 public:
  explicit WsDialer(IoLoop& loop) : loop_(loop) {}

  Pending dial(DialOptions options, Done done) override {
    VC_ASSERT(loop_.isCurrent(), "Dialer::dial is called on its loop only");
    auto dial = std::make_shared<Dial>(loop_.impl().context(), std::move(options), std::move(done));
    dial->begin();
    return Pending([weak = std::weak_ptr<Dial>(dial)] {
      if (const auto pending = weak.lock()) pending->cancel();
    });
  }

 private:
  IoLoop& loop_;
};

}  // namespace

std::unique_ptr<Dialer> makeWebSocketDialer(IoLoop& loop) {
  return std::make_unique<WsDialer>(loop);
}

}  // namespace vaultysclaw::net
