#include "ws_connection.hpp"

#include <boost/asio/buffer.hpp>
#include <boost/asio/post.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/websocket/error.hpp>
#include <deque>
#include <optional>

namespace vaultysclaw::net {

namespace websocket = beast::websocket;

namespace {

constexpr Duration kCloseTimeout = seconds(5);
// A receive buffer that grew past this for one large message is given back.
constexpr std::size_t kKeptBuffer = 64 * 1024;
// A client masks what it sends, in pieces of this size; a server sends from the message itself.
constexpr std::size_t kMaskBuffer = 16 * 1024;

websocket::stream_base::timeout timeouts(const ConnectionLimits& limits, Duration handshake) {
  // Beast pings after half of the idle time without a byte and gives up after the other half.
  return {std::chrono::duration_cast<std::chrono::steady_clock::duration>(handshake),
          std::chrono::duration_cast<std::chrono::steady_clock::duration>(limits.pingInterval * 2), true};
}

// A close frame carries at most 123 bytes of UTF-8; a cut never leaves half a character.
std::string_view cutReason(std::string_view reason) {
  if (reason.size() <= 123) return reason;
  std::size_t end = 123;
  while (end > 0 && (static_cast<unsigned char>(reason[end]) & 0xC0) == 0x80) --end;
  return reason.substr(0, end);
}

// What stays alive while operations are under way. Every handler holds it; the Connection that users see is a handle.
class WsImpl : public std::enable_shared_from_this<WsImpl> {
 public:
  WsImpl(WsStream ws, PeerInfo peer, const ConnectionLimits& limits)
      : limits_(limits), peer_(std::move(peer)), ws_(std::move(ws)), closeTimer_(ws_.get_executor()) {
    ws_.set_option(timeouts(limits_, kCloseTimeout));
    ws_.read_message_max(limits_.maxMessageBytes);
    ws_.auto_fragment(false);
    ws_.write_buffer_bytes(kMaskBuffer);
  }

  void start(Connection::Callbacks callbacks) {
    VC_ASSERT(!callbacks_, "Connection::start is called once");
    callbacks_ = std::make_shared<Connection::Callbacks>(std::move(callbacks));
    if (closed_)
      reportClose();
    else if (!closing_)
      read();
  }

  SendResult send(FrameKind kind, std::string data) {
    if (closing_ || closed_ || writeFailed_) return SendResult::Closed;
    if (data.size() > limits_.maxQueuedBytes || queued_ > limits_.maxQueuedBytes - data.size())
      return SendResult::QueueFull;
    queued_ += data.size();
    queue_.push_back({kind, std::move(data)});
    if (!writing_) write();
    return SendResult::Ok;
  }

  void close(std::uint16_t code, std::string_view reason) {
    if (closing_ || closed_) return;
    closing_ = CloseReason{code, std::string(cutReason(reason))};
    closeIn(kCloseTimeout);
    if (!writing_) sendClose();
  }

  void drop() {
    dropped_ = true;
    callbacks_.reset();
    queue_.clear();          // the message being written lives in writingNow_
    if (lingering_) return;  // for a bounded time, on its own
    closeTimer_.cancel();
    ws_.next_layer().close();
  }

  void setMaxMessageBytes(std::size_t bytes) {
    VC_ASSERT(bytes > 0, "a limit of no bytes would mean none to Beast");
    ws_.read_message_max(bytes);
  }
  std::size_t queuedBytes() const { return queued_; }
  const PeerInfo& peer() const { return peer_; }

 private:
  struct Message {
    FrameKind kind = FrameKind::Text;
    std::string data;
  };

  void read() {
    ws_.async_read(in_, [self = shared_from_this()](const error_code& ec, std::size_t) { self->onRead(ec); });
  }

  void onRead(const error_code& ec) {
    if (dropped_ || closed_) return;
    if (ec) return finish(reasonOf(ec));
    if (!closing_) {
      const auto bytes = in_.data();
      if (const auto callbacks = callbacks_; callbacks->onMessage)
        callbacks->onMessage(ws_.got_text() ? FrameKind::Text : FrameKind::Binary,
                             {static_cast<const char*>(bytes.data()), bytes.size()});
      if (dropped_) return;
    }
    in_.consume(in_.size());
    if (in_.capacity() > kKeptBuffer) in_.shrink_to_fit();
    if (!closed_) read();
  }

  void write() {
    writing_ = true;
    writingNow_ = std::move(queue_.front());
    queue_.pop_front();
    ws_.text(writingNow_.kind == FrameKind::Text);
    ws_.async_write(asio::buffer(writingNow_.data),
                    [self = shared_from_this()](const error_code& ec, std::size_t) { self->onWritten(ec); });
  }

  void onWritten(const error_code& ec) {
    writing_ = false;
    queued_ -= writingNow_.data.size();
    writingNow_ = {};
    if (dropped_) return;
    if (ec) {
      // The read side, if there is one, knows better why it ended: a close frame, a time-out.
      if (!callbacks_ || closing_) finish({});
      queue_.clear();
      queued_ = 0;
      writeFailed_ = true;
      return;
    }
    if (closed_ || writeFailed_) return;
    if (!queue_.empty()) return write();
    if (closing_) return sendClose();
    if (const auto callbacks = callbacks_; callbacks && callbacks->onDrained) callbacks->onDrained();
  }

  void sendClose() {
    if (closeSent_) return;
    closeSent_ = true;
    ws_.async_close({static_cast<websocket::close_code>(closing_->code), closing_->text},
                    [self = shared_from_this()](const error_code& ec) {
                      if (self->dropped_) return;
                      self->finish(ec ? self->reasonOf(ec) : self->peersReason());
                    });
  }

  // What the peer's close frame said.
  CloseReason peersReason() const {
    const auto& reason = ws_.reason();
    if (reason.code == websocket::close_code::none) return {1005, {}};
    return {reason.code, std::string(reason.reason.data(), reason.reason.size())};
  }

  CloseReason reasonOf(const error_code& ec) const {
    if (ec == websocket::error::closed) return peersReason();
    if (ec == websocket::error::message_too_big || ec == websocket::error::buffer_overflow)
      return {close_code::kTooBig, "the message was longer than this side accepts"};
    if (ec == websocket::error::bad_frame_payload) return {1007, "a text message was not UTF-8"};
    if (ec == beast::error::timeout) return {1006, "the other side did not answer a ping in time"};
    if (ec == websocket::condition::protocol_violation) return {close_code::kProtocolError, ec.message()};
    return {1006, ec == asio::error::eof || ec == asio::error::operation_aborted ? "" : ec.message()};
  }

  void finish(CloseReason reason) {
    if (closed_) return;
    closed_ = std::move(reason);
    closeTimer_.cancel();
    queue_.clear();
    queued_ = writingNow_.data.size();
    if (closed_->code == 1006) {
      ws_.next_layer().close();
    } else {
      lingering_ = true;
      closeIn(kCloseTimeout);
      linger();
    }
    if (callbacks_) reportClose();
  }

  void closeIn(Duration d) {
    closeTimer_.expires_after(d);
    closeTimer_.async_wait([self = shared_from_this()](const error_code& ec) {
      if (ec) return;
      self->ws_.next_layer().close();
      self->finish({});
    });
  }

  // Discards what still arrives until the peer closes, too: closing with unread bytes would destroy our close frame on
  // its way.
  void linger() {
    ignored_.resize(16 * 1024);
    ws_.next_layer().socket().async_read_some(asio::buffer(ignored_),
                                              [self = shared_from_this()](const error_code& ec, std::size_t) {
                                                if (!ec) return self->linger();
                                                self->closeTimer_.cancel();
                                                self->ws_.next_layer().close();
                                              });
  }

  // On a turn of its own: finish() may run inside a call of the user.
  void reportClose() {
    asio::post(ws_.get_executor(), [self = shared_from_this()] {
      if (const auto callbacks = std::exchange(self->callbacks_, nullptr); callbacks && callbacks->onClose)
        callbacks->onClose(*self->closed_);
    });
  }

  const ConnectionLimits limits_;
  const PeerInfo peer_;
  WsStream ws_;
  LoopTimer closeTimer_;
  beast::flat_buffer in_;
  std::shared_ptr<Connection::Callbacks> callbacks_;  // from start() to onClose
  std::deque<Message> queue_;
  Message writingNow_;
  std::size_t queued_ = 0;  // bytes of queue_ and writingNow_
  bool writing_ = false;
  bool writeFailed_ = false;
  bool closeSent_ = false;
  bool lingering_ = false;
  std::string ignored_;   // what linger() reads into
  bool dropped_ = false;  // the handle is gone: no callback any more
  std::optional<CloseReason> closing_;
  std::optional<CloseReason> closed_;
};

class WsConnection final : public Connection {
 public:
  explicit WsConnection(std::shared_ptr<WsImpl> impl) : impl_(std::move(impl)) {}
  ~WsConnection() override { impl_->drop(); }

  void start(Callbacks callbacks) override { impl_->start(std::move(callbacks)); }
  SendResult send(FrameKind kind, std::string data) override { return impl_->send(kind, std::move(data)); }
  void close(std::uint16_t code, std::string_view reason) override { impl_->close(code, reason); }
  void setMaxMessageBytes(std::size_t bytes) override { impl_->setMaxMessageBytes(bytes); }
  std::size_t queuedBytes() const override { return impl_->queuedBytes(); }
  const PeerInfo& peer() const override { return impl_->peer(); }

 private:
  std::shared_ptr<WsImpl> impl_;
};

}  // namespace

void prepareWebSocket(WsStream& ws, const ConnectionLimits& limits, Duration handshakeTimeout) {
  ws.set_option(timeouts(limits, handshakeTimeout));
}

std::unique_ptr<Connection> makeWsConnection(WsStream ws, PeerInfo peer, const ConnectionLimits& limits) {
  return std::make_unique<WsConnection>(std::make_shared<WsImpl>(std::move(ws), std::move(peer), limits));
}

}  // namespace vaultysclaw::net
