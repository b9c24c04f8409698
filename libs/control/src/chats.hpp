// Conversations with agents: one question under way per conversation, its answer streamed to whoever asked.
#pragma once

#include <map>
#include <memory>
#include <optional>

#include "chat_log.hpp"
#include "entitlements.hpp"
#include "registry.hpp"

namespace vaultysclaw::control {

// Owned by the hub. Confined to the loop.
//
// An answer outlives the connection of an agent that can be asked for the rest (docs/protocol.md 7.8), and, if it was
// asked for so, its reader. Only the latter kind is kept, within the bounds of ControlOptions; pieces of the others go
// to the reader as they come.
class Chats {
 public:
  Chats(Context& context, Journal& journal, Registry& registry, Entitlements& entitlements)
      : context_(context), journal_(journal), registry_(registry), entitlements_(entitlements) {}

  using Started = ControlPlane::StartedChat;
  void start(ChatRequest request, ChatEvents events, Reply<Started> reply);
  void resume(const Did& did, const ConversationId& conversation, std::uint64_t fromEvent, ChatEvents events,
              Reply<Started> reply);
  void cancel(const Did& did, const ConversationId& conversation, Reply<std::monostate> reply);

  // From a connected agent. False when it says nothing that was asked.
  bool onResponse(const Did& from, const protocol::ChatResponse& response);
  // Its connection is lost, and there is no new one yet.
  void agentGone(const Did& did);
  // A new connection stands, whether or not the last one has been missed.
  void agentBack(const Did& did);
  // It will not come back as the same agent.
  void agentRemoved(const Did& did);
  void shutdown();

 private:
  using Key = std::pair<Did, ConversationId>;
  struct Listener {
    ChatEvents events;
    std::uint64_t next = 0;  // event, of a chat that is kept
    bool live = false;       // from the reply until the end or until the handle goes
  };
  // Stays after its listener has gone until the agent has finished: were the conversation asked again before, the rest
  // of this answer would be taken for the next one.
  struct Chat {
    Key key;
    std::shared_ptr<Listener> listener;  // null: nobody
    std::optional<ChatLog> log;          // of a chat that outlives its listener
    bool sent = false;
    bool over = false;
    bool toldToStop = false;
    bool pumping = false;  // pump() is on its way
    Timer deadline, unheard, away;
    SteadyTime deadlineAt{};
    Timer forget;                 // of one that is over
    std::uint64_t overSince = 0;  // in kept order

    // Towards the agent.
    std::string questionId;
    std::string channel;       // the sealed one that the question went over
    bool resumable = false;    // the agent can be asked for the rest
    bool numbered = false;     // it numbers what it says
    std::int64_t nextSeq = 0;  // the number that is due
    bool missedOne = false;    // a number was left out, and asked for; once per connection
    bool waitsForGap = false;  // until that number comes
    bool mayNotKnow = false;   // chat_resume is sent, and nothing has come since
    Timer gap;
    std::optional<protocol::ChatRequest> question;  // until the agent shows that it has it
    std::size_t questionBytes = 0;
  };
  using ChatPtr = std::shared_ptr<Chat>;

  Status check(const ChatRequest& request) const;
  void ask(const ChatPtr& chat, ChatRequest request, const Status& status, const Reply<Started>& reply);
  Timer after(Duration delay, const ChatPtr& chat, void (Chats::*then)(const ChatPtr&));
  ChatHandle handleOf(const ChatPtr& chat);
  std::vector<ChatPtr> of(const Did& did) const;
  std::size_t count(const Did& did) const;

  // To the listener.
  void emit(const ChatPtr& chat, ChatEvent event);
  static void pumpSoon(Executor& loop, const ChatPtr& chat);
  static void pump(Executor& loop, const ChatPtr& chat);
  static void tell(Listener& listener, const ChatEvent& event);
  // Tells it, on the loop's next turn, that it hears nothing more.
  void dismiss(const ChatPtr& chat, ChatEvent last);
  void onListenerGone(const ChatPtr& chat, const std::shared_ptr<Listener>& listener);
  void onUnheard(const ChatPtr& chat);
  // Takes the conversation out and tells its listener, if there is one, on the loop's next turn.
  void end(const ChatPtr& chat, ChatEvent last);
  void end(const ChatPtr& chat, std::string code, std::string text) {
    end(chat, ChatEvent{ChatEvent::Kind::Error, std::move(text), std::move(code)});
  }
  void keep(const ChatPtr& chat);
  void forget(const ChatPtr& chat);
  void dropLog(Chat& chat);
  void bound(Chat& chat);
  void dropOldest(Chat& chat);

  // To the agent.
  void onDeadline(const ChatPtr& chat);
  void onAway(const ChatPtr& chat);
  void onGap(const ChatPtr& chat);
  // The agent need not go on.
  void stop(const ChatPtr& chat, std::string_view reason);
  void askForRest(const ChatPtr& chat, Session& session);
  // Whether what an agent says is the next thing it has to say; else it has been dealt with.
  enum class Turn : std::uint8_t { Next, Handled, Unwanted };
  Turn judge(const ChatPtr& chat, const protocol::ChatResponse& response);
  bool askAnew(const ChatPtr& chat);
  void keepQuestion(Chat& chat, const protocol::ChatRequest& question);
  void dropQuestion(Chat& chat);

  Context& context_;
  Journal& journal_;
  Registry& registry_;
  Entitlements& entitlements_;
  std::map<Key, ChatPtr> chats_;
  std::map<Key, ChatPtr> kept_;  // over, and still to be read
  std::map<std::uint64_t, ChatPtr> keptByAge_;
  std::uint64_t nextKept_ = 0;
  std::size_t logBytes_ = 0, questionBytes_ = 0;
};

}  // namespace vaultysclaw::control
