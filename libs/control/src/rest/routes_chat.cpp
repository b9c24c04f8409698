#include "rest/core.hpp"
#include "rest/trace_context.hpp"

namespace vaultysclaw::control::rest {
namespace {

constexpr std::size_t kMaxMessages = 1000;
constexpr std::size_t kMaxContentBytes = std::size_t{1} << 20;

std::string event(JsonWriter& w) {
  return "data: " + w.take() + "\n\n";
}

// One answer as server-sent events. Kept alive by the conversation's callbacks; it ends the conversation when the
// client goes. Confined to the loop.
class EventStream : public std::enable_shared_from_this<EventStream> {
 public:
  EventStream(std::shared_ptr<net::HttpExchange> exchange, Executor& loop, Duration keepAlive)
      : exchange_(std::move(exchange)), loop_(loop), keepAlive_(keepAlive) {}

  void watchClient() {
    exchange_->onClientGone([weak = weak_from_this()] {
      auto self = weak.lock();
      if (!self) return;
      self->gone_ = true;
      self->close();
    });
  }
  bool clientGone() const { return gone_; }

  void begin(ControlPlane::StartedChat started) {
    handle_ = std::move(started.handle);
    net::Headers headers = commonHeaders();
    headers.emplace_back("Content-Type", "text/event-stream; charset=utf-8");
    headers.emplace_back("X-Accel-Buffering", "no");  // a proxy in between must not hold events back
    exchange_->beginStream(200, std::move(headers));
    begun_ = true;
    JsonWriter w;
    w.beginObject().member("conversationId", started.conversationId.value).endObject();
    write(event(w));
    scheduleKeepAlive();
  }
  void text(const char* member, std::string_view value) {
    JsonWriter w;
    w.beginObject().member(member, value).endObject();
    write(event(w));
  }
  void done() {
    write("data: [DONE]\n\n");
    end();
  }
  void failed(std::string_view code, std::string_view text) {
    JsonWriter w;
    w.beginObject().member("error", text).member("code", code).endObject();
    write(event(w));
    write("data: [DONE]\n\n");
    end();
  }

 private:
  void write(std::string data) {
    if (!exchange_ || !begun_) return;
    if (!exchange_->write(std::move(data))) close();
  }
  void scheduleKeepAlive() {
    if (!exchange_) return;
    timer_ = loop_.after(keepAlive_, [weak = weak_from_this()] {
      auto self = weak.lock();
      if (!self) return;
      self->write(": keep-alive\n\n");
      self->scheduleKeepAlive();
    });
  }
  void end() {
    if (exchange_ && begun_) exchange_->endStream();
    close();
  }
  // Lets go of client and conversation. On a later turn: this may run inside a callback of the conversation or the
  // timer, which destroying the handle would pull away.
  void close() {
    struct Remains {
      std::shared_ptr<net::HttpExchange> exchange;
      ChatHandle handle;
      Timer timer;
    };
    auto remains = std::make_shared<Remains>();
    remains->exchange = std::move(exchange_);
    remains->handle = std::move(handle_);
    remains->timer = std::move(timer_);
    exchange_.reset();
    loop_.post([remains] { *remains = Remains{}; });
  }

  std::shared_ptr<net::HttpExchange> exchange_;
  Executor& loop_;
  Duration keepAlive_;
  ChatHandle handle_;
  Timer timer_;
  bool begun_ = false;
  bool gone_ = false;
};

void readMessages(Body& body, ChatRequest& into) {
  auto messages = body.objects("messages", kMaxMessages);
  auto message = body.text("message", kMaxContentBytes);
  if (messages && message) {
    body.problem("message", "cannot stand beside messages: give one of them");
  } else if (message) {
    into.messages.push_back({"user", std::move(*message), std::nullopt});
  } else if (!messages || messages->empty()) {
    body.problem("messages", "is missing: give messages, or message with a text");
  }
  if (!messages) return;
  for (Body& entry : *messages) {
    protocol::ChatMessageEntry read;
    read.role = entry.requiredText("role", 32);
    if (!read.role.empty() && read.role != "user" && read.role != "assistant") {
      entry.problem("role", "must be user or assistant");
    }
    if (!entry.has("content") || entry.isNull("content")) entry.problem("content", "is missing");
    read.content = entry.text("content", kMaxContentBytes).value_or("");
    read.thinkingContent = entry.text("thinkingContent", kMaxContentBytes);
    into.messages.push_back(std::move(read));
    body.absorb(std::move(entry));
  }
}

}  // namespace

void Core::chat(Call call) {
  auto body = this->body(call);
  if (!body) return;
  ChatRequest request;
  request.requestedBy = kOperator;
  request.did = readDid(*body);
  readMessages(*body, request);
  for (const char* name : {"conversationId", "sessionId"}) {  // sessionId: as the original's clients write it
    auto id = body->text(name, kMaxIdBytes);
    if (!id) continue;
    if (!isValidWireId(*id)) body->problem(name, "must be 1 to 128 printable ASCII characters");
    request.conversationId = ConversationId(std::move(*id));
  }
  request.stream = body->flag("stream");
  request.thinking = body->flag("thinking");
  if (auto ms = body->integer("timeoutMs", 1, 86'400'000)) request.timeout = milliseconds(*ms);
  request.trace = traceContextOf(call.request());
  if (auto bad = body->finish()) return fail(call, *bad);

  auto stream = std::make_shared<EventStream>(call.exchange, ports_.loop, options_.keepAliveInterval);
  stream->watchClient();
  ChatEvents events;
  events.onChunk = [stream](std::string_view text) { stream->text("chunk", text); };
  events.onThinking = [stream](std::string_view text) { stream->text("thinking", text); };
  events.onDone = [stream] { stream->done(); };
  events.onError = [stream](std::string_view code, std::string_view text) { stream->failed(code, text); };
  plane_.chat(std::move(request), std::move(events),
              [self = shared_from_this(), call, stream](Result<ControlPlane::StartedChat> reply) {
                if (stream->clientGone()) return;  // the handle goes with the reply: the conversation ends
                if (!reply) return self->fail(call, reply.error());
                stream->begin(std::move(*reply));
              });
}

}  // namespace vaultysclaw::control::rest
