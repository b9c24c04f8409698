// One call under way, and the stream of a chat's answer. Internal.
#pragma once

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <stop_token>
#include <string>

#include "base/ports.hpp"
#include "base/result.hpp"
#include "vaultysclaw/call_context.hpp"

namespace vaultysclaw::detail {

class AgentCore;
class Answer;
struct ReadyResult;

enum class CallKind : std::uint8_t { Intent, Chat, Task, Knowledge };

// Written before it is shared (an intent's by the state worker, which accepts it), then immutable but for the atomics.
// Shared by the core, the handler lane and the public objects a handler holds.
struct Call {
  CallKind kind = CallKind::Intent;
  std::uint64_t number = 0;  // unique in the core
  std::string id;            // intent, conversation, task or source
  std::string action;
  std::optional<std::string> userDid;
  std::string callerDid;
  std::string intentId, conversationId;
  std::string intentHash;    // hex SHA-256 of the body of the token that was accepted
  bool signsResult = false;  // whether the control plane wanted that when the intent came
  CallOptions options;
  std::string traceparent, tracestate;
  SteadyTime deadline{};
  std::weak_ptr<AgentCore> core;

  std::stop_source stop;  // request_stop() runs user callbacks: event thread only
  std::atomic<StopReason> reason{StopReason::None};
  std::atomic<bool> reserved{false};  // its request is counted, and not judged yet: see UsageBook::reserve
  std::atomic<bool> answered{false};  // set on the loop: what the handler says from now on is dropped
  std::atomic<bool> entered{false};   // its handler has begun; a call that waits for a lane is not stuck, only late

  bool stopped() const { return reason.load() != StopReason::None; }
};

// What a handler made of a call.
struct Outcome {
  bool success = false;
  std::string output;  // JSON text, on success
  std::string error;
  Errc code = Errc::Failed;
  std::shared_ptr<ReadyResult> ready = nullptr;  // an intent's, if it was made where the handler ran
};

// How a sink reaches the connection. One thread at a time, but for sent().
class ChatStream {
 public:
  // `resumable`: the control plane asks for the rest of the answer when a connection breaks.
  ChatStream(std::shared_ptr<Call> call, bool resumable) : call_(std::move(call)), resumable_(resumable) {}

  bool send(std::string_view text, bool thinking);
  void done();
  void fail(std::string_view errorCode, std::string_view text, Errc code);
  bool closed() const { return closed_; }
  const std::shared_ptr<Call>& call() const { return call_; }

  // The loop has handed `bytes` to the connection, or dropped them. Any thread.
  void sent(std::size_t bytes);

 private:
  // Adds `text` to what is held back, and takes all of it that is complete.
  static std::string takeComplete(std::string& held, std::string_view text);
  bool waitForRoom();
  void flushHeld();
  void post(std::string chunk, bool thinking);

  static constexpr std::size_t kMaxPending = std::size_t{1} << 20;

  std::shared_ptr<Call> call_;
  const bool resumable_;
  std::string heldText_, heldThinking_;
  bool closed_ = false;
  std::weak_ptr<ChatStream> self_;
  std::weak_ptr<Answer> answer_;  // set before the handler runs, used on the loop; gone: nobody wants the rest

  std::mutex mutex_;
  std::condition_variable room_;
  std::size_t pending_ = 0;  // guarded by mutex_: bytes posted and not yet sent

  friend class AgentCore;
};

}  // namespace vaultysclaw::detail
