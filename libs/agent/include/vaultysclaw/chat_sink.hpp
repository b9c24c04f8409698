// Where a chat handler writes its answer.
#pragma once

#include <memory>
#include <string_view>

#include "vaultysclaw/export.hpp"

namespace vaultysclaw {

namespace detail {
class ChatStream;
}

// Streams one answer. Owned by the runtime, valid during executeChat; one thread at a time. Bytes that begin a UTF-8
// character are held back until the rest comes; bytes that are not UTF-8 become U+FFFD. Returning from executeChat
// means done(), throwing means fail().
class VC_API ChatSink {
 public:
  explicit ChatSink(std::shared_ptr<detail::ChatStream> stream);
  ChatSink(const ChatSink&) = delete;
  ChatSink& operator=(const ChatSink&) = delete;
  ~ChatSink();

  // Sends a piece of the answer. False when nobody listens any more (the answer is closed, the call was stopped, the
  // connection is lost for good): stop working. A control plane that can ask for the rest has two minutes to come back,
  // and meanwhile pieces are kept. Blocks while a slow connection has over 1 MiB queued.
  bool send(std::string_view text);
  // As send, for reasoning that is not part of the answer.
  bool sendThinking(std::string_view text);
  // Closes the answer. Later calls do nothing.
  void done();
  // Closes the answer with an error. `code`: llm_unavailable, llm_error or agent_offline, or your own; `text` is shown
  // to the user.
  void fail(std::string_view code, std::string_view text);
  bool closed() const;

 private:
  std::shared_ptr<detail::ChatStream> stream_;
};

}  // namespace vaultysclaw
