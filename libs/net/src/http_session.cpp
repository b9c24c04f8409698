#include "http_session.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/beast/websocket/rfc6455.hpp>
#include <charconv>
#include <optional>

#include "http_text.hpp"
#include "net/io_loop.hpp"
#include "ws_connection.hpp"

namespace vaultysclaw::net {

namespace http = beast::http;

namespace {

constexpr std::size_t kMaxHeader = 64 * 1024;
constexpr std::size_t kMaxBuffered = 128 * 1024;      // received and not parsed yet
constexpr std::size_t kMaxPipelined = 16 * 1024;      // read ahead while an answer is being made
constexpr std::size_t kMaxStreamQueue = 1024 * 1024;  // of a streamed answer
constexpr std::size_t kWritePiece = 256 * 1024;       // what must go out within one idle time-out
constexpr std::size_t kMaxLinger = 8 * 1024 * 1024;
constexpr Duration kLingerTimeout = seconds(2);
constexpr int kBodyIdleTimes = 10;  // a whole body has this many idle time-outs

}  // namespace

class HttpSession;

// What the handler holds. The session refers to it weakly: its end without an answer is an answer, too.
class SessionExchange final : public HttpExchange {
 public:
  SessionExchange(std::weak_ptr<HttpSession> session, HttpRequest request)
      : session_(std::move(session)), request_(std::move(request)) {}
  ~SessionExchange() override;

  const HttpRequest& request() const override { return request_; }
  void respond(HttpResponse response) override;
  void beginStream(int status, Headers headers) override;
  bool write(std::string data) override;
  void endStream() override;
  void onClientGone(std::function<void()> callback) override;

  std::function<void()> takeGone() { return std::exchange(gone_, nullptr); }
  // The session ended or went on to the next request.
  void detach() {
    session_.reset();
    const auto dropped = takeGone();
  }

 private:
  enum class State { Open, Streaming, Done };

  std::weak_ptr<HttpSession> session_;
  const HttpRequest request_;
  State state_ = State::Open;
  std::function<void()> gone_;
};

class HttpSession : public std::enable_shared_from_this<HttpSession> {
 public:
  HttpSession(std::shared_ptr<ServerState> server, Socket socket)
      : server_(std::move(server)),
        stream_(std::move(socket)),
        in_(kMaxBuffered),
        deadline_(stream_.get_executor()),
        wake_(stream_.get_executor()) {
    stream_.hold(server_->slots);
    server_->sessions.insert(this);
  }
  ~HttpSession() { server_->sessions.erase(this); }

  void start() {
    asio::co_spawn(stream_.get_executor(), run(shared_from_this()), [self = shared_from_this()](std::exception_ptr e) {
      if (e) std::rethrow_exception(e);
      self->end();
    });
  }

  void abort() {
    stopped_ = true;
    stream_.close();
    deadline_.cancel();
    wake_.cancel();
  }

  // For SessionExchange.
  void respond(HttpResponse response) {
    const bool bodyless = isHead_ || !mayHaveBody(response.status);
    out_ +=
        answerHead(response.status, response.headers, {Framing::Length, response.body.size(), keepAlive_, httpMinor_});
    if (!bodyless) out_ += response.body;
    complete_ = true;
    wake_.cancel();
  }
  void beginStream(int status, const Headers& headers) {
    bodyless_ = isHead_ || !mayHaveBody(status);
    const Framing framing = httpMinor_ == 0 ? Framing::UntilClose : Framing::Chunked;
    if (framing == Framing::UntilClose) keepAlive_ = false;
    chunked_ = framing == Framing::Chunked;
    out_ += answerHead(status, headers, {framing, 0, keepAlive_, httpMinor_});
    wake_.cancel();
  }
  bool write(std::string_view data) {
    if (gone_ || stopped_ || inputEnded_) return false;
    if (out_.size() + inFlight_.size() > kMaxStreamQueue) {
      gone_ = true;
      stream_.close();
      wake_.cancel();
      return false;
    }
    if (bodyless_ || data.empty()) return true;
    if (chunked_) {
      char size[20];
      const auto [end, ec] = std::to_chars(size, size + sizeof size, data.size(), 16);
      out_.append(size, end).append("\r\n").append(data).append("\r\n");
    } else {
      out_ += data;
    }
    wake_.cancel();
    return true;
  }
  void endStream() {
    if (chunked_ && !bodyless_) out_ += "0\r\n\r\n";
    complete_ = true;
    wake_.cancel();
  }
  // A stream whose handler forgot endStream(): the client must see that it is cut off.
  void breakOff() {
    gone_ = true;
    stream_.close();
    wake_.cancel();
  }
  bool gone() const { return gone_; }
  LoopExecutor executor() { return stream_.get_executor(); }

 private:
  using Parser = http::request_parser<http::string_body>;

  static Async<void> run(std::shared_ptr<HttpSession> self) { co_await self->serve(); }

  Async<void> serve() {
    error_code ec;
    peer_.address = addressText(stream_.socket().remote_endpoint(ec).address());
    peer_.transport = server_->tls ? "https" : "http";
    if (server_->tls)
      peer_.protection = Protection::VerifiedTls;
    else if (isLoopbackAddress(peer_.address))
      peer_.protection = Protection::Loopback;

    if (server_->tls) {
      expireAfter(server_->options.headerTimeout);
      auto& tls = stream_.beginTls(*server_->tls);
      auto [handshakeError] = co_await tls.async_handshake(asio::ssl::stream_base::server, kAwait);
      if (handshakeError || stopped_) co_return;
    }
    for (bool first = true;; first = false) {
      Parser parser;
      if (!co_await readRequest(parser, first)) break;
      if (beast::websocket::is_upgrade(parser.get())) {
        if (co_await refuseUpgrade(parser)) {
          if (!keepAlive_) break;
          continue;
        }
        co_return co_await upgrade(parser);
      }
      if (!co_await answer(parser)) co_return;
      if (!keepAlive_) break;
    }
    if (!stopped_ && !gone_) co_await linger();
  }

  void end() {
    deadline_.cancel();
    reportGone();
    if (const auto exchange = current_.lock()) exchange->detach();
    stream_.close();
  }

  void expireAfter(Duration d) {
    deadline_.expires_after(d);
    deadline_.async_wait([weak = weak_from_this()](const error_code& ec) {
      if (ec) return;
      if (const auto self = weak.lock()) {
        self->expired_ = true;
        self->stream_.close();
        self->wake_.cancel();
      }
    });
  }

  // Reads until `parser` holds a whole request. False when the connection is to end; a refusal is then sent already.
  Async<bool> readRequest(Parser& parser, bool first) {
    parser.eager(true);
    parser.header_limit(kMaxHeader);
    parser.body_limit(server_->options.maxBodyBytes);
    const auto& options = server_->options;
    bool begun = first || in_.size() > 0;
    bool headerDone = false;
    auto bodyEnd = std::chrono::steady_clock::time_point::max();
    expireAfter(begun ? options.headerTimeout : options.idleTimeout);
    for (;;) {
      while (in_.size() > 0) {
        error_code ec;
        const std::size_t used = parser.put(in_.data(), ec);
        in_.consume(used);
        if (ec && ec != http::error::need_more) co_return co_await refuse(parser, ec);
        if (parser.is_done()) {
          deadline_.cancel();
          co_return true;
        }
        if (used == 0 || ec) break;
      }
      if (parser.is_header_done()) {
        const auto now = std::chrono::steady_clock::now();
        if (!std::exchange(headerDone, true)) {
          bodyEnd = now + options.idleTimeout * kBodyIdleTimes;
          const auto expect = parser.get().find(http::field::expect);
          if (expect != parser.get().end() && beast::iequals(expect->value(), "100-continue")) {
            static constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";
            auto [ec, n] = co_await asio::async_write(stream_, asio::buffer(kContinue), kAwait);
            if (ec) co_return false;
          }
        }
        expireAfter(std::min<Duration>(options.idleTimeout, bodyEnd - now));
      }
      if (in_.size() >= kMaxBuffered - 1) co_return co_await refuse(parser, http::error::header_limit);
      if (!co_await readMore() || stopped_ || expired_) co_return false;
      if (!begun) {
        begun = true;
        expireAfter(options.headerTimeout);
      }
    }
  }

  Async<bool> readMore() {
    if (watching_) {  // the read that watched for the client's end is still under way
      while (watching_ && !stopped_ && !expired_) co_await sleep();
      co_return !watching_ && !inputEnded_;
    }
    if (inputEnded_) co_return false;
    const std::size_t room = std::min<std::size_t>(kMaxBuffered - in_.size(), 32 * 1024);
    auto [ec, n] = co_await stream_.async_read_some(in_.prepare(room), kAwait);
    in_.commit(n);
    co_return !ec;
  }

  Async<bool> refuse(const Parser& parser, error_code ec) {
    HttpResponse response;
    response.headers = {{"Content-Type", "text/plain; charset=utf-8"}};
    if (ec == http::error::body_limit) {
      response.status = 413;
      response.body =
          "The request's body is longer than " + std::to_string(server_->options.maxBodyBytes) + " bytes.\n";
    } else if (ec == http::error::header_limit) {
      response.status = 431;
      response.body = "The request's header is longer than " + std::to_string(kMaxHeader) + " bytes.\n";
    } else {
      response.status = 400;
      response.body = "This is not an HTTP/1.1 request: " + ec.message() + ".\n";
    }
    keepAlive_ = false;
    isHead_ = parser.is_header_done() && parser.get().method() == http::verb::head;
    respond(std::move(response));
    if (co_await flush()) co_await linger();
    gone_ = true;
    co_return false;
  }

  // False for a target that makes no sense.
  bool convert(Parser& parser, HttpRequest& request) {
    auto& message = parser.get();
    keepAlive_ = message.keep_alive();
    httpMinor_ = message.version() == 10 ? 0 : 1;
    isHead_ = message.method() == http::verb::head;
    bodyless_ = chunked_ = complete_ = false;
    const auto view = [](beast::string_view s) { return std::string_view(s.data(), s.size()); };
    request.method = view(message.method_string());
    for (const auto& field : message) request.headers.emplace_back(view(field.name_string()), view(field.value()));
    request.body = std::move(message.body());
    request.peer = peer_;
    return parseTarget(view(message.target()), request);
  }

  // Hands the request over and sends the answer. False when the connection broke.
  Async<bool> answer(Parser& parser) {
    HttpRequest request;
    if (!convert(parser, request)) {
      keepAlive_ = false;
      respond({400, {{"Content-Type", "text/plain"}}, "The request's target is malformed.\n"});
      co_return co_await flush();
    }
    auto exchange = std::make_shared<SessionExchange>(weak_from_this(), std::move(request));
    current_ = exchange;
    callHandler(std::move(exchange));

    for (;;) {
      if (stopped_) co_return false;
      if (gone_) break;
      if (!out_.empty()) {
        if (!co_await flush()) gone_ = true;
        continue;
      }
      if (complete_) break;
      watch();
      co_await sleep();
      if (inputEnded_ && !complete_) reportGone();
    }
    if (gone_) reportGone();
    if (const auto done = current_.lock()) done->detach();
    current_.reset();
    co_return !gone_ && !stopped_;
  }

  void callHandler(std::shared_ptr<HttpExchange> exchange) {
    const auto handlers = server_->handlers;
    if (!handlers->onRequest) return exchange->respond({404, {}, {}});
    // When it throws, the exchange ends unanswered, which answers 500.
    (void)guarded("HTTP", [&] { handlers->onRequest(std::move(exchange)); });
  }

  // Runs a handler. One request that makes it throw must not end the process; false then.
  template <class F>
  bool guarded(const char* what, const F& call) {
    const auto handlers = server_->handlers;
    try {
      call();
      return true;
    } catch (const std::exception& e) {
      if (handlers->onProblem)
        handlers->onProblem(std::string("a handler of ") + what + " requests threw: " + e.what());
      return false;
    }
  }

  // Sends out_ and what is added meanwhile.
  Async<bool> flush() {
    while (!out_.empty()) {
      inFlight_ = std::exchange(out_, {});
      std::string_view rest = inFlight_;
      while (!rest.empty()) {
        const std::string_view piece = rest.substr(0, kWritePiece);
        expireAfter(server_->options.idleTimeout);
        auto [ec, n] = co_await asio::async_write(stream_, asio::buffer(piece), kAwait);
        if (ec || stopped_ || expired_) {
          inFlight_.clear();
          co_return false;
        }
        rest.remove_prefix(piece.size());
      }
      inFlight_.clear();
      deadline_.cancel();
    }
    co_return true;
  }

  // Reads while an answer is being made: to notice that the client goes, and to take in a pipelined request.
  void watch() {
    if (watching_ || inputEnded_ || in_.size() >= kMaxPipelined) return;
    watching_ = true;
    // Into a buffer of its own: in_ may be parsed, and so moved, while this read is under way.
    ahead_.resize(kMaxPipelined);
    stream_.async_read_some(asio::buffer(ahead_), [self = shared_from_this()](const error_code& ec, std::size_t n) {
      self->watching_ = false;
      self->in_.commit(asio::buffer_copy(self->in_.prepare(n), asio::buffer(self->ahead_, n)));
      self->ahead_ = {};
      if (ec) self->inputEnded_ = true;
      // Anything but a clean end of the client's side means that nobody reads the answer either.
      if (ec && ec != asio::error::eof) self->gone_ = true;
      self->wake_.cancel();
    });
  }

  // Until wake_.cancel(). What may have happened is the caller's to look at.
  Async<void> sleep() {
    wake_.expires_at(std::chrono::steady_clock::time_point::max());
    co_await wake_.async_wait(kAwait);
  }

  void reportGone() {
    if (stopped_) return;
    if (const auto exchange = current_.lock()) {
      if (const auto callback = exchange->takeGone()) callback();
    }
  }

  // True when the upgrade was refused and the refusal sent.
  Async<bool> refuseUpgrade(Parser& parser) {
    HttpRequest request;
    const auto handlers = server_->handlers;
    std::optional<HttpResponse> refusal;
    if (!convert(parser, request))
      refusal = HttpResponse{400, {}, "The request's target is malformed.\n"};
    else if (!handlers->onUpgrade || (!handlers->onWebSocket && !handlers->onUpgraded))
      refusal = HttpResponse{404, {}, "No WebSocket is served here.\n"};
    else if (in_.size() > 0 || watching_)
      refusal = HttpResponse{400, {}, "Bytes follow the upgrade request too early.\n"};
    else
      refusal = handlers->onUpgrade(request);
    if (!refusal) co_return false;
    respond(std::move(*refusal));
    if (!co_await flush()) keepAlive_ = false;
    co_return true;
  }

  Async<void> upgrade(Parser& parser) {
    const auto server = server_;
    WsStream ws(std::move(stream_));
    server->sessions.erase(this);  // upgraded connections outlive the server
    prepareWebSocket(ws, server->options.limits, server->options.headerTimeout);
    auto [ec] = co_await ws.async_accept(parser.get(), kAwait);
    if (ec || server->stopped) co_return;
    const auto handlers = server->handlers;
    PeerInfo peer = peer_;
    peer.transport = server->tls ? "wss" : "ws";
    auto connection = makeWsConnection(std::move(ws), std::move(peer), server->options.limits);
    (void)guarded("WebSocket", [&] {
      HttpRequest request;
      if (!handlers->onUpgraded)
        handlers->onWebSocket(std::move(connection));
      else if (convert(parser, request))
        handlers->onUpgraded(request, std::move(connection));
    });
  }

  // Ends the sending side and waits a moment for the client's end: closing at once with unread bytes could destroy the
  // last answer on its way.
  Async<void> linger() {
    expireAfter(kLingerTimeout);
    if (stream_.tls() != nullptr) {
      if (!inputEnded_) (void)co_await stream_.tls()->async_shutdown(kAwait);
      co_return;
    }
    error_code ignored;
    stream_.socket().shutdown(tcp::socket::shutdown_send, ignored);
    for (std::size_t total = 0; total < kMaxLinger && !expired_ && !stopped_;) {
      in_.clear();
      if (!co_await readMore()) break;
      total += in_.size();
    }
  }

  const std::shared_ptr<ServerState> server_;
  Stream stream_;
  beast::flat_buffer in_;
  std::string ahead_;  // what watch() reads into
  LoopTimer deadline_;
  LoopTimer wake_;
  PeerInfo peer_;
  bool stopped_ = false;     // the server is gone
  bool expired_ = false;     // a deadline passed, and closed the stream
  bool watching_ = false;    // watch()'s read is under way
  bool inputEnded_ = false;  // the client sends no more
  bool gone_ = false;        // nothing can be sent any more

  // The request being answered.
  std::weak_ptr<SessionExchange> current_;
  std::string out_;
  std::string inFlight_;
  int httpMinor_ = 1;
  bool keepAlive_ = true;
  bool isHead_ = false;
  bool bodyless_ = false;
  bool chunked_ = false;
  bool complete_ = false;
};

SessionExchange::~SessionExchange() {
  const auto session = session_.lock();
  if (!session || state_ == State::Done) return;
  if (state_ == State::Streaming)
    session->breakOff();
  else
    session->respond({500, {{"Content-Type", "text/plain"}}, "The request was not answered.\n"});
}

void SessionExchange::respond(HttpResponse response) {
  VC_ASSERT(state_ == State::Open, "an HTTP request is answered once");
  state_ = State::Done;
  if (const auto session = session_.lock()) session->respond(std::move(response));
}

void SessionExchange::beginStream(int status, Headers headers) {
  VC_ASSERT(state_ == State::Open, "an HTTP request is answered once");
  state_ = State::Streaming;
  if (const auto session = session_.lock()) session->beginStream(status, headers);
}

bool SessionExchange::write(std::string data) {
  VC_ASSERT(state_ == State::Streaming, "write() comes between beginStream() and endStream()");
  const auto session = session_.lock();
  return session && session->write(data);
}

void SessionExchange::endStream() {
  VC_ASSERT(state_ == State::Streaming, "endStream() comes after beginStream()");
  state_ = State::Done;
  if (const auto session = session_.lock()) session->endStream();
}

void SessionExchange::onClientGone(std::function<void()> callback) {
  const auto session = session_.lock();
  if (state_ == State::Done) return;
  if (session && !session->gone()) {
    gone_ = std::move(callback);
    return;
  }
  if (session) asio::post(session->executor(), std::move(callback));
}

void startHttpSession(std::shared_ptr<ServerState> server, Socket socket) {
  std::make_shared<HttpSession>(std::move(server), std::move(socket))->start();
}

void stopHttpSessions(ServerState& server) {
  server.stopped = true;
  const auto sessions = std::exchange(server.sessions, {});
  for (HttpSession* session : sessions) session->abort();
}

}  // namespace vaultysclaw::net
