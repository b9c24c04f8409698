// One call that a handler works on.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>

#include "vaultysclaw/error.hpp"
#include "vaultysclaw/export.hpp"
#include "vaultysclaw/types.hpp"

namespace vaultysclaw {

namespace detail {
struct Call;
}

// Options of a chat, as the caller asked for them.
struct CallOptions {
  std::optional<bool> stream = {};
  std::optional<bool> thinking = {};
};

// Who asks, until when, and whether to stop. Owned by the runtime, valid during the handler; copies of what it returns
// are the handler's. Any thread may call it.
class VC_API CallContext {
 public:
  explicit CallContext(std::shared_ptr<detail::Call> call);
  CallContext(const CallContext&) = delete;
  CallContext& operator=(const CallContext&) = delete;
  ~CallContext();

  // The user that the call acts for (delegation verified), else the control plane.
  std::optional<std::string> callerDid() const;
  // Empty when the call is not an intent.
  const std::string& intentId() const;
  // Empty when the call is not a chat.
  const std::string& conversationId() const;
  CallOptions options() const;
  // W3C trace context; empty when the caller sent none.
  const std::string& traceparent() const;
  const std::string& tracestate() const;

  // At the deadline the caller is answered at once; what the handler returns later is dropped.
  std::chrono::steady_clock::time_point deadline() const;
  // Fires at the deadline, when the caller cancels and when the agent stops. Callbacks registered with it run on the
  // event thread and must be short.
  std::stop_token stopToken() const;
  bool stopRequested() const;
  StopReason stopReason() const;
  // Throws CallStopped when stopRequested(). The runtime answers properly for the handler.
  void throwIfStopped() const;

  // Calls another agent; blocks until it answers, the deadline passes or this call is stopped. Throws PeerError.
  Json invokePeer(std::string_view targetDid, std::string_view action, const Json& params = Json::object());

  // Adds to the durable daily token counter, which the budget gate reads. Blocks for one disk write.
  void addUsage(std::int64_t promptTokens, std::int64_t completionTokens);

  // For the base class.
  const std::shared_ptr<detail::Call>& internal() const { return call_; }

 private:
  std::shared_ptr<detail::Call> call_;
};

}  // namespace vaultysclaw
