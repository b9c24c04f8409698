#include "chats.hpp"

#include <algorithm>

#include "base/utf8.hpp"
#include "protocol/codec.hpp"
#include "rows.hpp"

namespace vaultysclaw::control {
namespace {

constexpr std::size_t kMaxChatBytes = protocol::kMaxMessageBytes / 2;  // escaping may grow text in the message
constexpr std::size_t kMaxChatMessages = 4096;
// What an agent has to send what it has left out.
constexpr Duration kGapTime = seconds(10);
// What a listener that reads from the past is given per turn of the loop, so that a connection can take it.
// A longer chunk becomes several events: an event is kept or dropped as a whole.
constexpr std::size_t kMaxEventBytes = std::size_t{64} << 10;
constexpr std::size_t kSliceBytes = std::size_t{128} << 10;
constexpr std::size_t kSliceEvents = 256;

// The wire's codes are more and less telling; the specific one wins.
std::string codeOf(const protocol::ChatResponse& response) {
  if (response.errorCode && !response.errorCode->empty()) return *response.errorCode;
  if (response.code && !response.code->empty()) return *response.code;
  return std::string(wireCode(Errc::Failed));
}

// Nobody signs a chat: whom it is for is as good as the channel.
bool namesUsers(const InUse& inUse) {
  return inUse.controlV2 && inUse.seal;
}

}  // namespace

Status Chats::check(const ChatRequest& request) const {
  const auto invalid = [](std::string message) { return Error{Errc::InvalidArgument, std::move(message)}; };
  if (request.conversationId && !isValidWireId(request.conversationId->value)) {
    return invalid("conversationId must be 1 to 128 printable ASCII characters");
  }
  if (request.messages.empty()) return invalid("messages must not be empty");
  if (request.messages.size() > kMaxChatMessages) return invalid("messages has more than 4096 entries");
  std::size_t bytes = 0;
  for (const auto& message : request.messages) {
    if (message.role != "user" && message.role != "assistant")
      return invalid("a message's role must be user or assistant");
    if (!isValidUtf8(message.content)) return invalid("a message's content is not UTF-8");
    bytes += message.content.size() + message.thinkingContent.value_or("").size();
  }
  if (bytes > kMaxChatBytes) return invalid("the messages are over 8 MiB together");
  if (request.timeout && (*request.timeout <= Duration(0) || *request.timeout > context_.options.chatTimeout)) {
    return invalid("the timeout must be over zero and at most " +
                   std::to_string(std::chrono::duration_cast<seconds>(context_.options.chatTimeout).count()) + " s");
  }
  if (!registry_.find(request.did)) return noAgent(request.did);
  VC_TRY(entitlements_.check(request.userDid, request.did, std::nullopt));
  const auto* agent = registry_.find(request.did);
  if (agent->row.paused) return pausedError(agent->row);
  if (!agent->session) return Error{Errc::Unavailable, "agent " + request.did.value + " is not connected"};
  if (count(request.did) >= context_.options.maxChatsPerAgent) {
    return Error{Errc::Busy, "agent " + request.did.value + " has as many chats under way as it may; try again later"};
  }
  if (request.conversationId && chats_.count({request.did, *request.conversationId})) {
    return Error{Errc::Busy, "the agent is still answering in this conversation; wait for the end of its answer"};
  }
  return {};
}

std::size_t Chats::count(const Did& did) const {
  const auto first = chats_.lower_bound({did, ConversationId()});
  const auto last = std::find_if(first, chats_.end(), [&](const auto& entry) { return entry.first.first != did; });
  return static_cast<std::size_t>(std::distance(first, last));
}

void Chats::start(ChatRequest request, ChatEvents events, Reply<Started> reply) {
  if (auto ok = check(request); !ok) return context_.replyLater<Started>(std::move(reply), ok.error());
  if (!request.conversationId) request.conversationId = ConversationId(context_.newId());
  auto chat = std::make_shared<Chat>();
  chat->key = {request.did, *request.conversationId};
  chat->questionId = context_.newId();
  chat->listener = std::make_shared<Listener>();
  chat->listener->events = std::move(events);
  if (request.resumable == Resumable::Yes) chat->log.emplace();
  // Who asks again has heard the last answer, or does not want to.
  if (const auto old = kept_.find(chat->key); old != kept_.end()) forget(old->second);
  chats_[chat->key] = chat;
  context_.counters.activeChats = chats_.size();
  AuditEntry entry{
      request.requestedBy, "chat.start", request.did.value,
      details({{"conversationId", chat->key.second.value}, {"messages", std::to_string(request.messages.size())}})};
  // Messages may be long: one copy of them, whoever waits.
  auto asked = std::make_shared<ChatRequest>(std::move(request));
  journal_.write(nullptr, std::move(entry), [this, chat, asked, reply = std::move(reply)](const Status& status) {
    auto go = [this, chat, asked, reply, status] { ask(chat, std::move(*asked), status, reply); };
    asked->userDid ? entitlements_.whenCurrent(asked->did, std::move(go)) : go();
  });
}

void Chats::ask(const ChatPtr& chat, ChatRequest request, const Status& status, const Reply<Started>& reply) {
  if (chat->over) return reply(Error{Errc::Unavailable, "agent " + chat->key.first.value + " went away"});
  protocol::ChatRequest message;
  message.conversationId = chat->key.second;
  message.messages = std::move(request.messages);
  message.stream = request.stream;
  message.thinking = request.thinking;
  const Duration timeout = request.timeout.value_or(context_.options.chatTimeout);
  message.timeoutMs = std::chrono::duration_cast<milliseconds>(timeout).count();
  message.trace = std::move(request.trace);
  Session* session = registry_.live(chat->key.first);
  Status sent = status;
  if (sent) sent = entitlements_.check(request.userDid, request.did, std::nullopt);  // it could when it asked
  if (sent && session && request.userDid && namesUsers(session->inUse()) &&
      entitlements_.names(*request.userDid, session->inUse()))
    message.userDid = request.userDid;
  if (sent && chat->toldToStop) sent = Error{Errc::Cancelled, "the question was cancelled before it was sent"};
  if (sent && session && session->inUse().controlV2) {
    chat->resumable = true;
    chat->channel = session->channel();
    keepQuestion(*chat, message);
  }
  if (sent && !(session && session->send(std::move(message), chat->questionId, std::nullopt))) {
    sent = Error{Errc::Unavailable, "agent " + chat->key.first.value + " is not connected"};
  }
  if (!sent) {
    chat->log.reset();
    end(chat, {}, {});
    return reply(sent.error());
  }
  chat->sent = true;
  if (chat->listener) chat->listener->live = true;
  ++context_.counters.chatsStarted;
  chat->deadlineAt = context_.ports.clock.steady() + timeout;
  chat->deadline = after(timeout, chat, &Chats::onDeadline);
  reply(Started{chat->key.second, handleOf(chat)});
}

void Chats::resume(const Did& did, const ConversationId& conversation, std::uint64_t fromEvent, ChatEvents events,
                   Reply<Started> reply) {
  auto task = context_.ifAlive(
      [this, key = Key(did, conversation), fromEvent, events = std::move(events), reply = std::move(reply)]() mutable {
        const auto running = chats_.find(key);
        const auto kept = kept_.find(key);
        const ChatPtr chat = running != chats_.end() ? running->second : kept != kept_.end() ? kept->second : nullptr;
        if (!chat || !chat->log || (!chat->sent && !chat->over))
          return reply(Error{Errc::NotFound,
                             "there is no answer to go on with in this conversation"
                             ": the control plane was restarted, two minutes have passed, or the question did not "
                             "come, or not with resumable. Ask again"});
        if (fromEvent > chat->log->end())
          return reply(Error{Errc::InvalidArgument,
                             "the answer has only " + std::to_string(chat->log->end()) + " events so far"});
        if (chat->over && fromEvent == chat->log->end())
          return reply(Error{Errc::Expired, "the answer is over, and its end has been read"});
        if (fromEvent < chat->log->first())
          return reply(Error{Errc::Expired, "the answer is kept from event " + std::to_string(chat->log->first()) +
                                                " on only: what came before was too long"});
        if (chat->listener)
          dismiss(chat, {ChatEvent::Kind::Error, "another request reads this answer now", "conflict"});
        chat->unheard.reset();
        chat->listener = std::make_shared<Listener>(Listener{std::move(events), fromEvent, true});
        reply(Started{key.second, handleOf(chat)});
        pumpSoon(context_.ports.loop, chat);
      });
  context_.ports.loop.post([task = std::move(task)]() mutable { task(); });
}

void Chats::cancel(const Did& did, const ConversationId& conversation, Reply<std::monostate> reply) {
  const Key key(did, conversation);
  if (const auto kept = kept_.find(key); kept != kept_.end()) {
    forget(kept->second);
    return context_.replyLater<std::monostate>(std::move(reply), std::monostate{});
  }
  const auto found = chats_.find(key);
  if (found == chats_.end())
    return context_.replyLater<std::monostate>(std::move(reply),
                                               Error{Errc::NotFound, "nothing is being answered in this conversation"});
  const ChatPtr chat = found->second;
  stop(chat, "cancelled by a request");
  if (chat->sent) {
    if (chat->listener) dismiss(chat, {ChatEvent::Kind::Error, "cancelled by a request", "cancelled"});
    dropLog(*chat);
    chat->unheard.reset();
  }
  context_.replyLater<std::monostate>(std::move(reply), std::monostate{});
}

ChatHandle Chats::handleOf(const ChatPtr& chat) {
  const auto listener = chat->listener;
  if (!listener) return {};
  auto gone = context_.ifAlive([this, chat, listener] { onListenerGone(chat, listener); });
  return ChatHandle([listener, &loop = context_.ports.loop, gone = std::move(gone)] {
    listener->live = false;
    loop.post([listener, gone]() mutable {  // a listener may be what drops the handle
      listener->events = {};
      gone();
    });
  });
}

Timer Chats::after(Duration delay, const ChatPtr& chat, void (Chats::*then)(const ChatPtr&)) {
  return context_.ports.loop.after(delay, [this, weak = std::weak_ptr(chat), then] {
    if (const auto live = weak.lock()) (this->*then)(live);
  });
}

// ---- to the listener ------------------------------------------------------------------------------------------------

void Chats::emit(const ChatPtr& chat, ChatEvent event) {
  if (!chat->log) {
    if (const auto listener = chat->listener; listener && listener->live) tell(*listener, event);
    return;
  }
  const std::size_t before = chat->log->bytes();
  chat->log->append(std::move(event));
  logBytes_ += chat->log->bytes() - before;
  bound(*chat);
  pumpSoon(context_.ports.loop, chat);
}

// These three need nothing of the hub, so that a listener hears the end although the hub goes.
void Chats::pumpSoon(Executor& loop, const ChatPtr& chat) {
  if (std::exchange(chat->pumping, true)) return;
  loop.post([&loop, chat] { pump(loop, chat); });
}

void Chats::pump(Executor& loop, const ChatPtr& chat) {
  chat->pumping = false;
  const auto listener = chat->listener;
  std::size_t bytes = 0, events = 0;
  while (listener && listener->live && chat->listener == listener && chat->log && listener->next < chat->log->end()) {
    if (listener->next < chat->log->first())
      return tell(*listener, {ChatEvent::Kind::Error, "what comes next is no longer kept: this was read too slowly",
                              std::string(wireCode(Errc::Failed))});
    if (bytes >= kSliceBytes || events >= kSliceEvents) return pumpSoon(loop, chat);
    const ChatEvent event = chat->log->at(listener->next++);
    bytes += event.text.size();
    ++events;
    tell(*listener, event);
  }
}

void Chats::tell(Listener& listener, const ChatEvent& event) {
  switch (event.kind) {
    case ChatEvent::Kind::Text:
      if (listener.events.onChunk) listener.events.onChunk(event.text);
      return;
    case ChatEvent::Kind::Thinking:
      if (listener.events.onThinking) listener.events.onThinking(event.text);
      return;
    case ChatEvent::Kind::Done:
    case ChatEvent::Kind::Error:
      break;
  }
  listener.live = false;
  const ChatEvents events = std::move(listener.events);
  if (event.kind == ChatEvent::Kind::Error) {
    if (events.onError) events.onError(event.code, event.text);
  } else if (events.onDone) {
    events.onDone();
  }
}

void Chats::dismiss(const ChatPtr& chat, ChatEvent last) {
  // `live` is asked then, for the handle may go first.
  context_.ports.loop.post([listener = std::exchange(chat->listener, nullptr), last = std::move(last)] {
    if (listener->live) tell(*listener, last);
  });
}

void Chats::onListenerGone(const ChatPtr& chat, const std::shared_ptr<Listener>& listener) {
  if (chat->listener != listener) return;
  chat->listener.reset();
  if (chat->over) return;
  if (!chat->log) return stop(chat, "the client has gone");
  chat->unheard = after(context_.options.chatResumeTime, chat, &Chats::onUnheard);
}

void Chats::onUnheard(const ChatPtr& chat) {
  stop(chat, "nobody has come back for the answer");
  dropLog(*chat);
}

void Chats::end(const ChatPtr& chat, ChatEvent last) {
  if (std::exchange(chat->over, true)) return;
  if (const auto it = chats_.find(chat->key); it != chats_.end() && it->second == chat) chats_.erase(it);
  context_.counters.activeChats = chats_.size();
  for (Timer* timer : {&chat->deadline, &chat->unheard, &chat->away, &chat->gap}) timer->reset();
  dropQuestion(*chat);
  if (!chat->sent) return dropLog(*chat);
  if (chat->log) {
    keep(chat);
    return emit(chat, std::move(last));
  }
  if (chat->listener) dismiss(chat, std::move(last));
}

void Chats::keep(const ChatPtr& chat) {
  chat->overSince = nextKept_++;
  kept_[chat->key] = chat;
  keptByAge_[chat->overSince] = chat;
  chat->forget = after(context_.options.chatResumeTime, chat, &Chats::forget);
}

void Chats::forget(const ChatPtr& which) {
  const ChatPtr chat = which;  // which may stand in kept_ itself
  if (const auto it = kept_.find(chat->key); it != kept_.end() && it->second == chat) kept_.erase(it);
  keptByAge_.erase(chat->overSince);
  chat->forget.reset();
  if (!chat->listener || !chat->listener->live) return dropLog(*chat);
  logBytes_ -= chat->log->bytes();  // its last reader takes it along
}

void Chats::dropLog(Chat& chat) {
  if (chat.log) logBytes_ -= chat.log->bytes();
  chat.log.reset();
}

void Chats::bound(Chat& chat) {
  while (logBytes_ > context_.options.maxKeptChatBytesInAll && !keptByAge_.empty() &&
         keptByAge_.begin()->second.get() != &chat)
    forget(ChatPtr(keptByAge_.begin()->second));
  // Whoever reads along gets what has just come before it may go; it is given out within a few turns of the loop.
  const auto due = [&] {
    return chat.listener && chat.listener->live && chat.log->first() >= chat.listener->next &&
           chat.log->bytes() <= context_.options.maxKeptChatBytes + protocol::kMaxMessageBytes;
  };
  while (chat.log->size() > 1 && chat.log->bytes() > context_.options.maxKeptChatBytes && !due()) dropOldest(chat);
  // In all: of the longest first, so that a talkative agent costs nobody else's answer.
  while (logBytes_ > context_.options.maxKeptChatBytesInAll) {
    Chat* longest = nullptr;
    for (const auto& [key, one] : chats_) {
      if (one->log && one->log->size() > 1 && (!longest || one->log->bytes() > longest->log->bytes()))
        longest = one.get();
    }
    if (!longest) return;
    const std::size_t enough = longest->log->bytes() / 2;
    while (longest->log->size() > 1 && longest->log->bytes() > enough &&
           logBytes_ > context_.options.maxKeptChatBytesInAll)
      dropOldest(*longest);
  }
}

void Chats::dropOldest(Chat& chat) {
  const std::size_t before = chat.log->bytes();
  chat.log->dropOldest();
  logBytes_ -= before - chat.log->bytes();
}

// ---- to the agent ---------------------------------------------------------------------------------------------------

void Chats::onDeadline(const ChatPtr& chat) {
  stop(chat, "the time for the answer is over");
  end(chat, std::string(wireCode(Errc::DeadlineExceeded)), "the agent did not finish its answer in time");
}

void Chats::stop(const ChatPtr& chat, std::string_view reason) {
  if (chat->over || std::exchange(chat->toldToStop, true) || !chat->sent) return;
  if (Session* session = registry_.live(chat->key.first))
    session->tell(protocol::Cancel{{}, chat->key.second, {}, std::string(reason)});
}

bool Chats::onResponse(const Did& from, const protocol::ChatResponse& response) {
  const auto it = chats_.find({from, response.conversationId});
  if (it == chats_.end() || !it->second->sent) return false;
  const ChatPtr chat = it->second;
  if (response.questionId && *response.questionId != chat->questionId) return false;
  if (const Turn turn = judge(chat, response); turn != Turn::Next) return turn == Turn::Handled;
  ++context_.counters.chatChunks;
  dropQuestion(*chat);
  if (response.chunk) {
    const auto kind = response.thinking ? ChatEvent::Kind::Thinking : ChatEvent::Kind::Text;
    for (std::string_view rest = *response.chunk; !rest.empty();) {
      std::string_view piece = rest.substr(0, kMaxEventBytes);
      if (piece.size() < rest.size()) piece.remove_suffix(incompleteUtf8Tail(piece));
      rest.remove_prefix(piece.size());
      emit(chat, {kind, std::string(piece), {}});
    }
  }
  if (response.error) {
    end(chat, codeOf(response), *response.error);
  } else if (response.errorCode) {
    end(chat, codeOf(response), "the agent could not answer");
  } else if (response.done) {
    end(chat, ChatEvent{ChatEvent::Kind::Done});
  }
  return true;
}

Chats::Turn Chats::judge(const ChatPtr& chat, const protocol::ChatResponse& response) {
  if (!chat->resumable) return Turn::Next;
  const bool mayNotKnow = std::exchange(chat->mayNotKnow, false);
  if (!response.seq) {
    if (response.error && mayNotKnow && response.code == wireCode(Errc::NotFound) && askAnew(chat))
      return Turn::Handled;
    if (!response.error && !chat->numbered) chat->resumable = false;  // it knows nothing of all this
    // An end without a number says that the answer cannot go on.
    if (response.error || !chat->numbered) return Turn::Next;
    stop(chat, "messages of the answer have no number");
    end(chat, std::string(wireCode(Errc::Failed)), "the agent sent a part of its answer without a number");
    return Turn::Handled;
  }
  chat->numbered = true;
  if (*response.seq < chat->nextSeq) return Turn::Unwanted;
  if (*response.seq == chat->nextSeq) {
    ++chat->nextSeq;
    chat->waitsForGap = false;
    chat->gap.reset();
    return Turn::Next;
  }
  if (chat->waitsForGap) return Turn::Unwanted;  // it was on its way when the gap was seen
  Session* session = registry_.live(chat->key.first);
  if (std::exchange(chat->missedOne, true) || !session) {
    onGap(chat);
    return Turn::Handled;
  }
  chat->waitsForGap = true;
  askForRest(chat, *session);
  chat->gap = after(kGapTime, chat, &Chats::onGap);
  return Turn::Handled;
}

void Chats::onGap(const ChatPtr& chat) {
  stop(chat, "a part of the answer is missing");
  end(chat, std::string(wireCode(Errc::Failed)), "the agent left out a part of its answer");
}

void Chats::askForRest(const ChatPtr& chat, Session& session) {
  chat->mayNotKnow = true;
  protocol::ChatResume resume{chat->key.second, chat->questionId, chat->nextSeq, {}};
  if (!chat->channel.empty()) resume.channel = chat->channel;
  ++context_.counters.chatsResumed;
  session.tell(std::move(resume));
}

bool Chats::askAnew(const ChatPtr& chat) {
  Session* session = registry_.live(chat->key.first);
  if (!session || !chat->question || chat->numbered || chat->toldToStop) return false;
  const auto left = chat->deadlineAt - context_.ports.clock.steady();
  chat->question->timeoutMs = std::max<std::int64_t>(1, std::chrono::duration_cast<milliseconds>(left).count());
  chat->channel = session->channel();
  if (!namesUsers(session->inUse())) chat->question->userDid.reset();
  return session->send(*chat->question, chat->questionId, std::nullopt);
}

void Chats::keepQuestion(Chat& chat, const protocol::ChatRequest& question) {
  std::size_t bytes = 0;
  for (const auto& message : question.messages)
    bytes += sizeof message + message.content.size() + message.thinkingContent.value_or("").size();
  if (questionBytes_ + bytes > context_.options.maxKeptQuestionBytes) return;
  chat.question = question;
  questionBytes_ += chat.questionBytes = bytes;
}

void Chats::dropQuestion(Chat& chat) {
  chat.question.reset();
  questionBytes_ -= std::exchange(chat.questionBytes, 0);
}

std::vector<Chats::ChatPtr> Chats::of(const Did& did) const {
  std::vector<ChatPtr> out;
  for (auto it = chats_.lower_bound({did, ConversationId()}); it != chats_.end() && it->first.first == did; ++it)
    out.push_back(it->second);
  return out;
}

void Chats::agentGone(const Did& did) {
  for (const auto& chat : of(did)) {
    if (!chat->sent || !chat->resumable) {
      end(chat, "agent_offline", "the agent disconnected before it had finished");
      continue;
    }
    chat->gap.reset();
    chat->away = after(context_.options.chatResumeTime, chat, &Chats::onAway);
  }
}

void Chats::onAway(const ChatPtr& chat) {
  end(chat, "agent_offline", "the agent disconnected before it had finished, and did not come back in time");
}

void Chats::agentBack(const Did& did) {
  Session* session = registry_.live(did);
  for (const auto& chat : of(did)) {
    if (!chat->sent) continue;
    if (!chat->resumable || !session || !session->inUse().controlV2) {
      end(chat, "agent_offline", "the agent disconnected before it had finished");
      continue;
    }
    chat->away.reset();
    chat->gap.reset();
    chat->missedOne = chat->waitsForGap = false;
    askForRest(chat, *session);
    if (chat->toldToStop) session->tell(protocol::Cancel{{}, chat->key.second, {}, "nobody wants the answer any more"});
  }
}

void Chats::agentRemoved(const Did& did) {
  for (const auto& chat : of(did)) end(chat, "agent_offline", "an operator has removed the agent");
}

void Chats::shutdown() {
  while (!chats_.empty()) {
    const ChatPtr chat = chats_.begin()->second;
    end(chat, std::string(wireCode(shuttingDown().code)), shuttingDown().message);
  }
  while (!keptByAge_.empty()) forget(ChatPtr(keptByAge_.begin()->second));
}

}  // namespace vaultysclaw::control
