#include <charconv>

#include "identity/hash.hpp"
#include "rest/core.hpp"
#include "rest/trace_context.hpp"

namespace vaultysclaw::control::rest {
namespace {

constexpr std::size_t kMaxMessages = 1000;
constexpr std::size_t kMaxContentBytes = std::size_t{1} << 20;

// What a client may say that it has read.
constexpr std::int64_t kMaxEvent = std::int64_t{1} << 53;

std::string event(JsonWriter& w) {
  return "data: " + w.take() + "\n\n";
}

}  // namespace

// One answer as server-sent events, with their numbers as ids. Kept alive by the conversation's callbacks; it lets go
// of the conversation when the client goes. Confined to the loop.
class EventStream : public std::enable_shared_from_this<EventStream> {
 public:
  EventStream(std::shared_ptr<net::HttpExchange> exchange, Executor& loop, Duration keepAlive, std::uint64_t first)
      : exchange_(std::move(exchange)), loop_(loop), keepAlive_(keepAlive), next_(first) {}

  ChatEvents events() {
    ChatEvents events;
    events.onChunk = [self = shared_from_this()](std::string_view text) { self->text("chunk", text); };
    events.onThinking = [self = shared_from_this()](std::string_view text) { self->text("thinking", text); };
    events.onDone = [self = shared_from_this()] { self->done(); };
    events.onError = [self = shared_from_this()](std::string_view code, std::string_view text) {
      self->failed(code, text);
    };
    return events;
  }

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
    write(id() + event(w));
  }
  void done() {
    write(id() + "data: [DONE]\n\n");
    end();
  }
  void failed(std::string_view code, std::string_view text) {
    JsonWriter w;
    w.beginObject().member("error", text).member("code", code).endObject();
    // It is no part of the answer that another request reads this now.
    write((code == kReplaced ? std::string() : id()) + event(w));
    write("data: [DONE]\n\n");
    end();
  }

 private:
  static constexpr std::string_view kReplaced = "conflict";

  std::string id() { return "id: " + std::to_string(next_++) + "\n"; }
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
  std::uint64_t next_;  // number of the next event
  ChatHandle handle_;
  Timer timer_;
  bool begun_ = false;
  bool gone_ = false;
};

namespace {

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

// Whether it can be one segment of a path.
bool fitsPath(std::string_view id) {
  return id.find('/') == std::string_view::npos && id != "." && id != "..";
}

std::optional<std::int64_t> wholeNumber(std::string_view text) {
  std::int64_t value = 0;
  const auto [end, wrong] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (wrong != std::errc() || end != text.data() + text.size() || value < 0 || value >= kMaxEvent) return std::nullopt;
  return value;
}

}  // namespace

// The handle goes with the reply when the client has gone meanwhile.
std::function<void(Result<ControlPlane::StartedChat>)> Core::replyStream(const Call& call,
                                                                         const std::shared_ptr<EventStream>& stream,
                                                                         std::optional<ConversationId> shown) {
  return [self = shared_from_this(), call, stream, shown = std::move(shown)](Result<ControlPlane::StartedChat> reply) {
    if (stream->clientGone()) return;
    if (!reply) return self->fail(call, reply.error());
    if (shown) reply->conversationId = *shown;
    stream->begin(std::move(*reply));
  };
}

ConversationId Core::conversationOf(const Call& call, const std::string& given) {
  const Principal& who = call.principal();
  if (who.role >= Role::Admin) return ConversationId(given);
  constexpr std::size_t kBytes = 16;  // of a space with one user in it
  const auto hash = identity::sha256(asBytes(given));
  return ConversationId(who.user.value + "." + hexEncode(BytesView(hash).first(kBytes)));
}

void Core::chat(Call call) {
  auto body = this->body(call);
  if (!body) return;
  ChatRequest request;
  request.requestedBy = call.actor();
  request.userDid = forWhom(call);
  const GivenDid given = readDid(*body);
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
  if (body->flag("resumable").value_or(false)) {
    request.resumable = Resumable::Yes;
    if (request.conversationId && !fitsPath(request.conversationId->value))
      body->problem("conversationId", "must have no / and be no . or .. when it is resumable: it is part of a path");
  }
  if (auto bad = body->finish()) return fail(call, *bad);
  const auto did = didOf(call, given);
  if (!did) return;
  request.did = *did;
  const ConversationId shown = request.conversationId.value_or(ConversationId(newUuid(ports_.clock, ports_.entropy)));
  request.conversationId = conversationOf(call, shown.value);

  auto stream = std::make_shared<EventStream>(call.exchange, ports_.loop, options_.keepAliveInterval, 0);
  stream->watchClient();
  plane_.chat(std::move(request), stream->events(), replyStream(call, stream, shown));
}

void Core::resumeChat(Call call) {
  // It would take the answer away from whoever reads it, and read nothing.
  if (call.request().method == "HEAD")
    return fail(
        call,
        ApiError{Errc::Unsupported, "this path answers GET and DELETE only", 405, {}, {{"Allow", "GET, DELETE"}}});
  auto did = didOf(call);
  if (!did) return;
  auto query = this->query(call);
  std::int64_t from = query.integer("fromSeq", 0, kMaxEvent).value_or(0);
  // As a browser sends it, which repeats the URL it was given.
  if (const auto last = call.request().header("Last-Event-ID")) {
    if (const auto number = wholeNumber(*last)) {
      from = *number + 1;
    } else {
      query.problem("Last-Event-ID", "must be the id of an event");
    }
  }
  if (auto bad = query.finish()) return fail(call, *bad);
  auto stream = std::make_shared<EventStream>(call.exchange, ports_.loop, options_.keepAliveInterval,
                                              static_cast<std::uint64_t>(from));
  stream->watchClient();
  plane_.resumeChat(*did, conversationOf(call, call.params[1]), static_cast<std::uint64_t>(from), stream->events(),
                    replyStream(call, stream, ConversationId(call.params[1])));
}

void Core::cancelChat(Call call) {
  auto did = didOf(call);
  if (!did) return;
  auto query = this->query(call);
  if (auto bad = query.finish()) return fail(call, *bad);
  plane_.cancelChat(*did, conversationOf(call, call.params[1]),
                    [self = shared_from_this(), call](Result<std::monostate> done) {
                      if (!done) return self->fail(call, done.error());
                      self->respond(call, {204, {}, {}});
                    });
}

}  // namespace vaultysclaw::control::rest
