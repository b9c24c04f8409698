// Chats: requests in, streamed answers out.
#include "base/log.hpp"
#include "base/utf8.hpp"
#include "convert.hpp"
#include "core.hpp"

namespace vaultysclaw::detail {
namespace {

// Above this, chunks wait in the core, so that heartbeats and results are not behind megabytes of chat.
constexpr std::size_t kBusyConnectionBytes = std::size_t{4} << 20;

// All chats together: what a control plane that reads too slowly can make us keep.
constexpr std::size_t kMaxHeldBytes = std::size_t{16} << 20;
// What a held entry takes besides its text, roughly.
constexpr std::size_t kHeldOverhead = 512;
constexpr std::size_t kMaxChunkBytes = std::size_t{1} << 20;
constexpr std::size_t kMaxErrorBytes = std::size_t{64} << 10;

// The longest beginning of `text` that has at most `limit` bytes and ends with a whole character. `text` is UTF-8.
std::string_view beginning(std::string_view text, std::size_t limit) {
  if (text.size() <= limit) return text;
  const std::string_view cut = text.substr(0, limit);
  return cut.substr(0, cut.size() - incompleteUtf8Tail(cut));
}

// Text whose every byte is UTF-8: others become U+FFFD.
std::string repaired(std::string text) {
  if (isValidUtf8(text)) return text;
  std::string out;
  std::size_t i = 0;
  while (i < text.size()) {
    std::size_t length = 1;
    while (length <= 4 && i + length <= text.size() && !isValidUtf8(std::string_view(text).substr(i, length))) ++length;
    if (length <= 4 && i + length <= text.size()) {
      out.append(text, i, length);
      i += length;
    } else {
      out += "\xEF\xBF\xBD";
      ++i;
    }
  }
  return out;
}

}  // namespace

void AgentCore::onChat(protocol::ChatRequest& request) {
  const std::string id = request.conversationId.value;
  if (stopping_) return sendChatError(id, "the agent is stopping", "agent_offline", Errc::Interrupted);
  if (paused_) return sendChatError(id, pausedError(*paused_).message, "llm_unavailable", Errc::PolicyDenied);
  if (!roomForCall()) return sendChatError(id, "the agent is busy: too many calls wait", "llm_unavailable", Errc::Busy);
  log(LogSeverity::Info,
      "Chat request " + printable(id) + " (" + std::to_string(request.messages.size()) + " messages)");
  auto call = newCall(CallKind::Chat, id, "chat", request.timeoutMs);
  call->conversationId = id;
  call->options = {request.stream, request.thinking};
  if (request.trace) {
    call->traceparent = request.trace->traceparent;
    call->tracestate = request.trace->tracestate;
  }
  auto stream = std::make_shared<ChatStream>(call);
  stream->self_ = stream;
  const bool queued =
      launch(call, stream, [self = shared_from_this(), call, stream, messages = std::move(request.messages)] {
        self->runChat(call, stream, messages);
      });
  if (!queued) sendChatError(id, "the agent is stopping", "agent_offline", Errc::Interrupted);
}

void AgentCore::runChat(const std::shared_ptr<Call>& call, const std::shared_ptr<ChatStream>& stream,
                        const std::vector<protocol::ChatMessageEntry>& messages) {
  Outcome outcome = runHandler(call, std::nullopt, [&](CallContext& context) {
    const std::vector<ChatMessage> history = convert(messages);
    ChatSink sink(stream);
    agent_.executeChat(history, call->conversationId, sink, context);
    return std::string();
  });
  if (outcome.success) {
    stream->done();
  } else {
    if (outcome.code == Errc::Failed)
      log(LogSeverity::Error, "Chat " + printable(call->id) + " failed: " + outcome.error);
    const bool noModel = outcome.code == Errc::PolicyDenied;
    stream->fail(noModel ? "llm_unavailable" : "llm_error", outcome.error, outcome.code);
  }
  ports_.loop().post([self = shared_from_this(), call, outcome = std::move(outcome)] { self->endCall(call, outcome); });
}

void AgentCore::sendChatError(const std::string& conversationId, const std::string& error, std::string errorCode,
                              Errc code) {
  protocol::ChatResponse response;
  response.conversationId = ConversationId(conversationId);
  response.done = true;
  response.error = error;
  response.errorCode = std::move(errorCode);
  response.code = std::string(wireCode(code));
  if (phase_ == Phase::Authenticated) send(std::move(response));
}

void AgentCore::chatChunk(std::shared_ptr<ChatStream> stream, std::string chunk, bool thinking) {
  ports_.loop().post([self = shared_from_this(), stream = std::move(stream), chunk = std::move(chunk), thinking] {
    const std::size_t bytes = chunk.size();
    auto write = [self = self.get(), stream, chunk, thinking, bytes] {
      const auto& call = stream->call();
      if (self->phase_ == Phase::Authenticated && !call->answered) {
        protocol::ChatResponse response;
        response.conversationId = ConversationId(call->id);
        response.chunk = chunk;
        response.thinking = thinking;
        self->send(std::move(response));
      }
      stream->sent(bytes);
    };
    if (self->phase_ != Phase::Authenticated) return stream->sent(bytes);
    self->holdChat(std::move(write), bytes);
  });
}

void AgentCore::chatEnd(std::shared_ptr<Call> call, std::optional<std::string> error, std::string errorCode,
                        Errc code) {
  ports_.loop().post([self = shared_from_this(), call = std::move(call), error = std::move(error),
                      errorCode = std::move(errorCode), code] {
    auto write = [self = self.get(), call, error, errorCode, code] {
      if (call->answered.exchange(true)) return;
      if (error) return self->sendChatError(call->id, *error, errorCode, code);
      protocol::ChatResponse response;
      response.conversationId = ConversationId(call->id);
      response.done = true;
      if (self->phase_ == Phase::Authenticated) self->send(std::move(response));
    };
    self->holdChat(std::move(write), error ? error->size() : 0);
  });
}

void AgentCore::holdChat(Task write, std::size_t bytes) {
  heldChats_.push_back({std::move(write), bytes + kHeldOverhead});
  heldChatBytes_ += bytes + kHeldOverhead;
  flushChats();
  if (heldChatBytes_ > kMaxHeldBytes)
    dropConnection("The control plane reads too slowly: 16 MiB of chat answers wait for it");
}

void AgentCore::flushChats() {
  while (!heldChats_.empty() && (!connection_ || connection_->queuedBytes() < kBusyConnectionBytes)) {
    const HeldChat held = std::move(heldChats_.front());
    heldChats_.pop_front();
    heldChatBytes_ -= held.bytes;
    held.write();
  }
  if (heldChats_.empty()) continueStop();
}

// ---- ChatStream
// ------------------------------------------------------------------------------------------------------

std::string ChatStream::takeComplete(std::string& held, std::string_view text) {
  held += text;
  const std::size_t tail = incompleteUtf8Tail(held);
  std::string rest = held.substr(held.size() - tail);
  held.resize(held.size() - tail);
  return repaired(std::exchange(held, std::move(rest)));
}

bool ChatStream::send(std::string_view text, bool thinking) {
  const auto core = call_->core.lock();
  if (closed_ || !core || !core->connected() || call_->answered || call_->stopped()) return false;
  std::string chunk = takeComplete(thinking ? heldThinking_ : heldText_, text);
  if (chunk.empty()) return true;
  for (std::string_view rest = chunk; !rest.empty();) {
    if (!waitForRoom()) return false;
    const std::string_view piece = beginning(rest, kMaxChunkBytes);
    post(std::string(piece), thinking);
    rest.remove_prefix(piece.size());
  }
  return true;
}

bool ChatStream::waitForRoom() {
  std::unique_lock lock(mutex_);
  // Woken by sent() and, at the latest, when the call is stopped: its deadline is finite.
  while (pending_ > kMaxPending) {
    if (call_->answered || call_->stopped()) return false;
    room_.wait_for(lock, milliseconds(100));
  }
  return true;
}

void ChatStream::post(std::string chunk, bool thinking) {
  const auto core = call_->core.lock();
  if (!core) return;
  {
    std::lock_guard lock(mutex_);
    pending_ += chunk.size();
  }
  core->chatChunk(self_.lock(), std::move(chunk), thinking);
}

void ChatStream::sent(std::size_t bytes) {
  {
    std::lock_guard lock(mutex_);
    pending_ -= bytes;
  }
  room_.notify_all();
}

// What is still held back will never be completed.
void ChatStream::flushHeld() {
  if (!heldThinking_.empty()) post(repaired(std::exchange(heldThinking_, {})), true);
  if (!heldText_.empty()) post(repaired(std::exchange(heldText_, {})), false);
}

void ChatStream::done() {
  if (std::exchange(closed_, true)) return;
  flushHeld();
  if (const auto core = call_->core.lock()) core->chatEnd(call_, std::nullopt, {}, Errc::Failed);
}

void ChatStream::fail(std::string_view errorCode, std::string_view text, Errc code) {
  if (std::exchange(closed_, true)) return;
  flushHeld();
  if (const auto core = call_->core.lock())
    core->chatEnd(call_, std::string(beginning(repaired(std::string(text)), kMaxErrorBytes)), printable(errorCode),
                  code);
}

}  // namespace vaultysclaw::detail

namespace vaultysclaw {

ChatSink::ChatSink(std::shared_ptr<detail::ChatStream> stream) : stream_(std::move(stream)) {}
ChatSink::~ChatSink() = default;
bool ChatSink::send(std::string_view text) {
  return stream_->send(text, false);
}
bool ChatSink::sendThinking(std::string_view text) {
  return stream_->send(text, true);
}
void ChatSink::done() {
  stream_->done();
}
void ChatSink::fail(std::string_view code, std::string_view text) {
  stream_->fail(code, text, Errc::Failed);
}
bool ChatSink::closed() const {
  return stream_->closed();
}

}  // namespace vaultysclaw
