// Signed intents: sent to an agent, awaited, answered once.
#pragma once

#include <map>
#include <set>

#include "registry.hpp"

namespace vaultysclaw::control {

// Owned by the hub. Confined to the loop; signing happens on workers. An intent is committed before it is sent, and its
// end before a caller hears of it. The first answer from the agent it was sent to counts.
class Intents {
 public:
  Intents(Context& context, Journal& journal, Registry& registry)
      : context_(context), journal_(journal), registry_(registry) {}

  // Ends, as lost, what an earlier process left pending. Blocking; at start.
  static Status recover(store::ControlStore& store, WallTime now);

  std::optional<IntentId> run(RunRequest request, Reply<RunResult> reply);
  void cancel(const IntentId& id, std::string_view reason);
  void send(RunRequest request, Reply<SentIntent> reply);
  void broadcast(RunRequest request, Reply<std::vector<SentIntent>> reply);

  // From a connected agent. False when it was not asked, or has answered already, or too late. An intent that was lost
  // with its connection still takes the answer that the agent kept.
  bool onResult(const Did& from, const protocol::IntentResult& result);
  bool onAck(const Did& from, const protocol::IntentAck& ack);
  // Ends everything that is pending with `did` as lost.
  void agentGone(const Did& did, const Error& why);
  void shutdown();

  std::size_t pending(const Did& did) const;

  void list(store::IntentFilter filter, store::Page page, Reply<store::Listing<ControlPlane::IntentView>> reply);
  void read(const IntentId& id, Reply<ControlPlane::IntentView> reply);

 private:
  enum class Stage : std::uint8_t { Signing, Storing, Sent };
  struct Pending {
    Did did;
    std::string action, requestedBy;
    protocol::RawJson params;
    std::string token;
    WallTime createdAt{};
    Duration timeout{};
    Stage stage = Stage::Signing;
    Reply<SentIntent> onSent;  // at most one of the two is waiting
    Reply<RunResult> onResult;
    Timer deadline;
    std::optional<std::string> cancelled;  // why
  };
  struct Outcome {
    std::string status;  // success, failed, timeout, lost
    std::optional<protocol::RawJson> output;
    std::optional<std::string> error, code;
    std::optional<WallTime> executedAt;
  };

  // The id, when an intent was made.
  std::optional<IntentId> start(RunRequest request, Reply<SentIntent> onSent, Reply<RunResult> onResult);
  void tellToStop(const IntentId& id, const Pending& intent, std::string_view reason);
  Result<Duration> check(RunRequest& request);
  void onSigned(const IntentId& id, std::string token);
  void onStored(const IntentId& id, const Status& status);
  void finish(const IntentId& id, Outcome outcome, Result<RunResult> answer);
  void fail(const IntentId& id, std::string status, Error error);
  bool onLateResult(const Did& from, const protocol::IntentResult& result);

  Context& context_;
  Journal& journal_;
  Registry& registry_;
  std::map<IntentId, Pending> pending_;
  std::map<Did, std::set<IntentId>> byAgent_;
  std::map<Did, std::size_t> lateAnswers_;  // on their way to the store
};

}  // namespace vaultysclaw::control
