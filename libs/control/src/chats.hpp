// Conversations with agents: one question under way per conversation, its answer streamed to whoever asked.
#pragma once

#include <map>
#include <memory>

#include "registry.hpp"

namespace vaultysclaw::control {

// Owned by the hub. Confined to the loop. Nothing is buffered: chunks go to the listener as they come.
class Chats {
 public:
  Chats(Context& context, Journal& journal, Registry& registry)
      : context_(context), journal_(journal), registry_(registry) {}

  void start(ChatRequest request, ChatEvents events, std::function<void(Result<ControlPlane::StartedChat>)> reply);
  // From a connected agent. False when it was asked nothing in that conversation.
  bool onResponse(const Did& from, const protocol::ChatResponse& response);
  // Ends every conversation with `did`: agent_offline, or `why` when the control plane itself ends.
  void agentGone(const Did& did, const Error* why = nullptr);
  void shutdown();

 private:
  using Key = std::pair<Did, ConversationId>;
  // Stays after its listener has gone until the agent has finished: were the conversation asked again before, the rest
  // of this answer would be taken for the next one.
  struct Chat {
    std::uint64_t serial = 0;
    ChatEvents events;
    bool listening = false;  // from the reply until the end or until the handle goes
    bool sent = false;
    bool toldToStop = false;
    Timer deadline;
  };

  Status check(const ChatRequest& request) const;
  void onStored(const Key& key, std::uint64_t serial, ChatRequest request, const Status& status,
                const std::function<void(Result<ControlPlane::StartedChat>)>& reply);
  // Takes the conversation out and tells its listener, if there is one, on the loop's next turn.
  void end(const Key& key, std::optional<std::pair<std::string, std::string>> error);
  // Nobody reads the answer any more: the agent need not go on.
  void stop(const Key& key, std::uint64_t serial, std::string_view reason);
  std::size_t count(const Did& did) const;

  Context& context_;
  Journal& journal_;
  Registry& registry_;
  std::map<Key, std::shared_ptr<Chat>> chats_;
  std::uint64_t nextSerial_ = 1;
};

}  // namespace vaultysclaw::control
