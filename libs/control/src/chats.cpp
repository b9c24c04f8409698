#include "chats.hpp"

#include <algorithm>

#include "base/utf8.hpp"
#include "protocol/codec.hpp"
#include "rows.hpp"

namespace vaultysclaw::control {
namespace {

constexpr std::size_t kMaxChatBytes = protocol::kMaxMessageBytes / 2;  // escaping may grow text in the message
constexpr std::size_t kMaxChatMessages = 4096;

// The wire's codes are more and less telling; the specific one wins.
std::string codeOf(const protocol::ChatResponse& response) {
  if (response.errorCode && !response.errorCode->empty()) return *response.errorCode;
  if (response.code && !response.code->empty()) return *response.code;
  return std::string(wireCode(Errc::Failed));
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
  if (!registry_.find(request.did)) return Error{Errc::NotFound, "no agent " + printable(request.did.value)};
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

void Chats::start(ChatRequest request, ChatEvents events,
                  std::function<void(Result<ControlPlane::StartedChat>)> reply) {
  if (auto ok = check(request); !ok) {
    return context_.replyLater<ControlPlane::StartedChat>(std::move(reply), ok.error());
  }
  if (!request.conversationId) request.conversationId = ConversationId(context_.newId());
  const Key key{request.did, *request.conversationId};
  auto chat = std::make_shared<Chat>();
  chat->serial = nextSerial_++;
  chat->events = std::move(events);
  chats_[key] = chat;
  context_.counters.activeChats = chats_.size();
  AuditEntry entry{
      request.requestedBy, "chat.start", request.did.value,
      details({{"conversationId", key.second.value}, {"messages", std::to_string(request.messages.size())}})};
  journal_.write(nullptr, std::move(entry),
                 [this, key, serial = chat->serial, request = std::move(request),
                  reply = std::move(reply)](const Status& status) { onStored(key, serial, request, status, reply); });
}

void Chats::onStored(const Key& key, std::uint64_t serial, ChatRequest request, const Status& status,
                     const std::function<void(Result<ControlPlane::StartedChat>)>& reply) {
  const auto it = chats_.find(key);
  const bool alive = it != chats_.end() && it->second->serial == serial;
  if (!alive) return reply(Error{Errc::Unavailable, "agent " + key.first.value + " went away"});
  const auto chat = it->second;
  protocol::ChatRequest message;
  message.conversationId = key.second;
  message.messages = std::move(request.messages);
  message.stream = request.stream;
  message.thinking = request.thinking;
  const Duration timeout = request.timeout.value_or(context_.options.chatTimeout);
  message.timeoutMs = std::chrono::duration_cast<milliseconds>(timeout).count();
  message.trace = std::move(request.trace);
  Session* session = registry_.live(key.first);
  Status sent = status;
  if (sent && !(session && session->send(std::move(message)))) {
    sent = Error{Errc::Unavailable, "agent " + key.first.value + " is not connected"};
  }
  if (!sent) {
    end(key, std::nullopt);
    return reply(sent.error());
  }
  chat->sent = chat->listening = true;
  ++context_.counters.chatsStarted;
  chat->deadline = context_.ports.loop.after(timeout, [this, key, serial] {
    stop(key, serial, "the time for the answer is over");
    end(key, std::pair(std::string(wireCode(Errc::DeadlineExceeded)),
                       std::string("the agent did not finish its answer in time")));
  });
  auto unheard = context_.ifAlive([this, key, serial] { stop(key, serial, "the client has gone"); });
  ChatHandle handle([chat, &loop = context_.ports.loop, unheard = std::move(unheard)] {
    chat->listening = false;
    loop.post([chat, unheard]() mutable {  // a listener may be what drops the handle
      chat->events = {};
      unheard();
    });
  });
  reply(ControlPlane::StartedChat{key.second, std::move(handle)});
}

void Chats::stop(const Key& key, std::uint64_t serial, std::string_view reason) {
  const auto it = chats_.find(key);
  if (it == chats_.end() || it->second->serial != serial || std::exchange(it->second->toldToStop, true)) return;
  if (Session* session = registry_.live(key.first))
    session->tell(protocol::Cancel{{}, key.second, {}, std::string(reason)});
}

bool Chats::onResponse(const Did& from, const protocol::ChatResponse& response) {
  const Key key{from, response.conversationId};
  const auto it = chats_.find(key);
  if (it == chats_.end() || !it->second->sent) return false;
  const auto chat = it->second;
  ++context_.counters.chatChunks;
  if (response.chunk && !response.chunk->empty() && chat->listening) {
    const auto& listener = response.thinking ? chat->events.onThinking : chat->events.onChunk;
    if (listener) listener(*response.chunk);
  }
  if (response.error) {
    end(key, std::pair(codeOf(response), *response.error));
  } else if (response.errorCode) {
    end(key, std::pair(codeOf(response), std::string("the agent could not answer")));
  } else if (response.done) {
    end(key, std::nullopt);
  }
  return true;
}

void Chats::end(const Key& key, std::optional<std::pair<std::string, std::string>> error) {
  const auto it = chats_.find(key);
  if (it == chats_.end()) return;
  const auto chat = it->second;
  chats_.erase(it);
  context_.counters.activeChats = chats_.size();
  chat->deadline.reset();
  // On a later turn, so that no caller of ours is re-entered; `listening` is asked then, for the handle may go first.
  context_.ports.loop.post([chat, error = std::move(error)] {
    if (!std::exchange(chat->listening, false)) return;
    const ChatEvents events = std::move(chat->events);
    if (error) {
      if (events.onError) events.onError(error->first, error->second);
    } else if (events.onDone) {
      events.onDone();
    }
  });
}

void Chats::agentGone(const Did& did, const Error* why) {
  std::vector<Key> keys;
  for (auto it = chats_.lower_bound({did, ConversationId()}); it != chats_.end() && it->first.first == did; ++it)
    keys.push_back(it->first);
  for (const auto& key : keys) {
    if (why) {
      end(key, std::pair(std::string(wireCode(why->code)), why->message));
    } else {
      end(key, std::pair(std::string("agent_offline"), std::string("the agent disconnected before it had finished")));
    }
  }
}

void Chats::shutdown() {
  while (!chats_.empty()) agentGone(chats_.begin()->first.first, &shuttingDown());
}

}  // namespace vaultysclaw::control
