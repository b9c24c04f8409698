// Chats: requests in, streamed answers out.
#include "base/log.hpp"
#include "base/utf8.hpp"
#include "convert.hpp"
#include "core.hpp"

namespace vaultysclaw::detail {
namespace {

// Above this, chunks wait in the core, so that heartbeats and results are not behind megabytes of chat.
constexpr std::size_t kBusyConnectionBytes = std::size_t{4} << 20;

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

void AgentCore::onChat(const std::string& questionId, protocol::ChatRequest& request) {
  const std::string id = request.conversationId.value;
  const bool resumable = inUse_.has(identity::feature::kControlV2);
  // It has come twice; running it twice would not be the same as saying it twice.
  if (resumable && answers_.knows(questionId)) return onChatResume({request.conversationId, questionId, 0, {}});
  const auto refuse = [&](const std::string& why, std::string errorCode, Errc code) {
    sendChatError(id, resumable ? std::optional(questionId) : std::nullopt, why, std::move(errorCode), code);
  };
  if (stopping_) return refuse("the agent is stopping", "agent_offline", Errc::Interrupted);
  if (paused_) return refuse(pausedError(*paused_).message, "llm_unavailable", Errc::PolicyDenied);
  if (!roomForCall()) return refuse("the agent is busy: too many calls wait", "llm_unavailable", Errc::Busy);
  log(LogSeverity::Info,
      "Chat request " + printable(id) + " (" + std::to_string(request.messages.size()) + " messages)");
  auto call = newCall(CallKind::Chat, id, "chat", request.timeoutMs);
  call->conversationId = id;
  call->options = {request.stream, request.thinking};
  // It is not signed, so it counts only where nobody else can have said it.
  if (request.userDid && resumable && seal_) call->userDid = call->callerDid = request.userDid->value;
  if (request.trace) {
    call->traceparent = request.trace->traceparent;
    call->tracestate = request.trace->tracestate;
  }
  auto stream = std::make_shared<ChatStream>(call, resumable);
  stream->self_ = stream;
  const auto answer = answers_.open(questionId, id, stream, resumable ? Resumable::Yes : Resumable::No);
  stream->answer_ = answer;
  const bool queued =
      launch(call, stream, [self = shared_from_this(), call, stream, messages = std::move(request.messages)] {
        self->runChat(call, stream, messages);
      });
  if (queued) return;
  answers_.drop(*answer);
  refuse("the agent is stopping", "agent_offline", Errc::Interrupted);
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

void AgentCore::sendChatError(const std::string& conversationId, std::optional<std::string> questionId,
                              const std::string& error, std::string errorCode, Errc code) {
  protocol::ChatResponse response;
  response.conversationId = ConversationId(conversationId);
  response.questionId = std::move(questionId);
  response.done = true;
  response.error = error;
  response.errorCode = std::move(errorCode);
  response.code = std::string(wireCode(code));
  if (phase_ == Phase::Authenticated) send(std::move(response));
}

void AgentCore::chatChunk(std::shared_ptr<ChatStream> stream, std::string chunk, bool thinking) {
  ports_.loop().post(
      [self = shared_from_this(), stream = std::move(stream), chunk = std::move(chunk), thinking]() mutable {
        const auto answer = stream->answer_.lock();
        if (!answer || stream->call()->answered) return stream->sent(chunk.size());
        self->answers_.append(*answer, {std::move(chunk), thinking});
        self->answerGrew(*answer);
      });
}

void AgentCore::chatEnd(std::shared_ptr<ChatStream> stream, std::optional<std::string> error, std::string errorCode,
                        Errc code) {
  ports_.loop().post([self = shared_from_this(), stream = std::move(stream), error = std::move(error),
                      errorCode = std::move(errorCode), code]() mutable {
    if (stream->call()->answered.exchange(true)) return;
    self->endAnswer(*stream, {std::move(error), std::move(errorCode), code});
  });
}

void AgentCore::endAnswer(const ChatStream& stream, AnswerEnd end) {
  const auto answer = stream.answer_.lock();
  if (!answer) return;
  answers_.end(*answer, std::move(end));
  answerGrew(*answer);
}

void AgentCore::answerGrew(Answer& answer) {
  const auto kept = answers_.share(answer);
  flushChats();
  if (answers_.trim(answer)) return;
  if (answer.flows()) return dropConnection("The control plane reads too slowly: 16 MiB of chat answers wait for it");
  log(LogSeverity::Warn, "The answer in conversation " + printable(answer.conversationId) +
                             " is given up: it has grown too long while there was no connection");
  abandon(answer);
}

// Nobody will hear the rest.
void AgentCore::abandon(Answer& answer) {
  const auto call = answer.stream->call();
  const auto kept = answers_.share(answer);
  answers_.drop(answer);
  if (!call->answered.exchange(true) && !stopping_) stopCall(call, StopReason::CallerCancelled);
}

void AgentCore::cutChats() {
  for (const auto& lost : answers_.cut()) abandon(*lost);
  while (stopping_ || answers_.overfull()) {
    const auto last = answers_.youngest();
    if (!last) break;
    abandon(*last);
  }
  watchAnswers();
}

void AgentCore::watchAnswers() {
  const auto next = answers_.nextExpiry();
  if (!next || (answerTimerAt_ && *answerTimerAt_ <= *next)) return;
  answerTimerAt_ = next;
  answerTimer_ = ports_.loop().after(*next - ports_.clock().steady(), [weak = weak_from_this()] {
    auto self = weak.lock();
    if (!self) return;
    self->answerTimerAt_.reset();
    for (const auto& answer : self->answers_.expired()) {
      if (!answer->ended())
        self->log(LogSeverity::Warn, "Nobody has asked for the rest of the answer in conversation " +
                                         printable(answer->conversationId) + " for two minutes: it is stopped");
      self->abandon(*answer);
    }
    self->watchAnswers();
  });
}

void AgentCore::onChatResume(const protocol::ChatResume& resume) {
  if (!inUse_.has(identity::feature::kControlV2)) return;
  const auto refuse = [&](const std::string& why, Errc code) {
    log(LogSeverity::Warn,
        "The answer in conversation " + printable(resume.conversationId.value) + " cannot be sent again: " + why);
    sendChatError(resume.conversationId.value, resume.questionId, why, "llm_error", code);
  };
  const auto answer = answers_.find(resume.questionId);
  if (!answer && !answers_.knows(resume.questionId) && resume.channel && answers_.vouches(*resume.channel))
    return refuse("the question has not reached the agent", Errc::NotFound);
  if (!answer)
    return refuse("the agent knows nothing of this answer any more: it was restarted, or two minutes have passed",
                  Errc::Interrupted);
  if (answer->conversationId != resume.conversationId.value)
    return refuse("the question was asked in another conversation", Errc::InvalidArgument);
  const auto from = static_cast<std::uint64_t>(resume.fromSeq);
  if (from > answer->size()) return refuse("the answer is not that long yet", Errc::InvalidArgument);
  if (from < answer->first()) {
    abandon(*answer);
    return refuse("what is missing of the answer was too long to be kept", Errc::Interrupted);
  }
  answers_.resume(*answer, from);
  flushChats();
  watchAnswers();
}

void AgentCore::flushChats() {
  const bool connected = phase_ == Phase::Authenticated && connection_;
  while (connected && connection_->queuedBytes() < kBusyConnectionBytes) {
    const auto next = answers_.next();
    if (!next) break;
    protocol::ChatResponse response;
    response.conversationId = ConversationId(next->answer->conversationId);
    if (next->answer->resumable) {
      response.seq = static_cast<std::int64_t>(next->seq);
      response.questionId = next->answer->questionId;
    }
    if (next->piece) {
      response.chunk = next->piece->text;
      response.thinking = next->piece->thinking;
    } else {
      response.done = true;
      if (next->end->error) {
        response.error = next->end->error;
        response.errorCode = next->end->errorCode;
        response.code = std::string(wireCode(next->end->code));
      }
    }
    send(std::move(response));
    answers_.sent(next->answer);
  }
  watchAnswers();
  if (!answers_.waiting()) continueStop();
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
  if (closed_ || !core || call_->answered || call_->stopped()) return false;
  if (!resumable_ && !core->connected()) return false;
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
  if (const auto core = call_->core.lock()) core->chatEnd(self_.lock(), std::nullopt, {}, Errc::Failed);
}

void ChatStream::fail(std::string_view errorCode, std::string_view text, Errc code) {
  if (std::exchange(closed_, true)) return;
  flushHeld();
  if (const auto core = call_->core.lock())
    core->chatEnd(self_.lock(), std::string(beginning(repaired(std::string(text)), kMaxErrorBytes)),
                  printable(errorCode), code);
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
