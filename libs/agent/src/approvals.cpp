// Tool approvals: requests out, answers in, each used once and only until it expires.
#include <algorithm>

#include "base/log.hpp"
#include "convert.hpp"
#include "core.hpp"
#include "identity/hash.hpp"

namespace vaultysclaw::detail {
namespace {

constexpr std::size_t kMaxApprovals = 1024;
// Of requests that no call waits for; the others live as long as their call.
constexpr std::chrono::hours kApprovalLife{1};

}  // namespace

std::string AgentCore::openApproval(std::string_view toolName, const Json& args,
                                    std::optional<std::string> conversationId, std::optional<milliseconds> life,
                                    std::shared_ptr<ApprovalWait> wait) {
  auto text = write(args, "the tool's arguments");
  if (!text) throw AgentError(std::string(name(text.error().code)), text.error().message);
  if (!linkUp_) return {};
  protocol::ToolApprovalRequest request;
  request.requestId = RequestId(newId());
  request.toolName = toolName;
  request.args = std::move(text).value();
  request.argsHash = hexEncode(identity::sha256(asBytes(request.args.text)));
  request.expiresAt = ports_.clock().now() + life.value_or(kApprovalLife);
  if (conversationId) request.conversationId = ConversationId(*conversationId);
  if (auto valid = composeChecked(request); !valid)
    throw AgentError(std::string(name(valid.error().code)), valid.error().message);
  const std::string id = request.requestId.value;
  ports_.loop().post([self = shared_from_this(), wait = std::move(wait), request = std::move(request)] {
    self->addApproval(request, wait);
  });
  return id;
}

void AgentCore::addApproval(const protocol::ToolApprovalRequest& request, std::shared_ptr<ApprovalWait> wait) {
  const std::string& id = request.requestId.value;
  if (approvals_.size() >= kMaxApprovals) {
    // One that nobody waits for gives way; ids sort by time, so the first is the oldest.
    const auto oldest =
        std::find_if(approvals_.begin(), approvals_.end(), [](const auto& entry) { return !entry.second.wait; });
    if (oldest == approvals_.end()) return answerApproval(wait, {id, false, "too many approvals are open"});
    endApproval({oldest->first, false, "too many newer approvals are open"});
  }
  if (stopping_ || phase_ != Phase::Authenticated || !send(request))
    return answerApproval(wait, {id, false, "the agent is not connected"});
  Approval approval;
  approval.wait = std::move(wait);
  approval.argsHash = request.argsHash.value_or("");
  approval.expiry = ports_.loop().after(*request.expiresAt - ports_.clock().now(), [weak = weak_from_this(), id] {
    if (auto self = weak.lock()) self->endApproval({id, false, "nobody answered in time"});
  });
  approvals_.insert_or_assign(id, std::move(approval));
}

void AgentCore::answerApproval(const std::shared_ptr<ApprovalWait>& wait, const ToolApprovalResponse& response) {
  if (!wait) {
    callHook("onToolApprovalResponse", [response](BaseAgentRuntime& agent) { agent.onToolApprovalResponse(response); });
    return;
  }
  std::lock_guard lock(wait->mutex);
  if (!wait->response) wait->response = response;
  wait->changed.notify_all();
}

void AgentCore::endApproval(const ToolApprovalResponse& response) {
  const auto entry = approvals_.extract(response.requestId);
  if (entry) answerApproval(entry.mapped().wait, response);
}

void AgentCore::onApprovalResponse(const protocol::ToolApprovalResponse& wire) {
  const auto found = approvals_.find(wire.requestId.value);
  if (found == approvals_.end())
    return log(LogSeverity::Warn, "Dropped an answer to an approval that was not asked for, or answered already");
  if (wire.argsHash && *wire.argsHash != found->second.argsHash)
    return log(LogSeverity::Error, "Dropped an answer to approval " + printable(wire.requestId.value) +
                                       ": it is for other arguments than those that were asked about");
  endApproval(convert(wire));
}

ToolApprovalResponse AgentCore::awaitApproval(const std::shared_ptr<Call>& call, std::string_view toolName,
                                              const Json& args) {
  auto wait = std::make_shared<ApprovalWait>();
  const auto conversation = call->conversationId.empty() ? std::nullopt : std::optional(call->conversationId);
  const auto left = std::chrono::ceil<milliseconds>(call->deadline - ports_.clock().steady());
  const std::string id = openApproval(toolName, args, conversation, std::max(left, milliseconds(0)), wait);
  if (id.empty()) return {"", false, "the agent is not connected"};
  std::optional<ToolApprovalResponse> answer;
  {
    // Once a second is soon enough to notice a stopped call; an answer wakes at once.
    std::unique_lock lock(wait->mutex);
    while (!wait->response && !call->stopped() && !call->answered) {
      lock.unlock();
      const bool pumped = ports_.pump();
      lock.lock();
      if (!pumped) wait->changed.wait_for(lock, milliseconds(1000), [&] { return wait->response.has_value(); });
    }
    answer = wait->response;
  }
  if (answer) return *answer;
  ports_.loop().post([self = shared_from_this(), id] { self->approvals_.erase(id); });
  const bool late = call->reason == StopReason::Deadline;
  return {id, false, late ? "nobody answered in time" : "the call was stopped"};
}

}  // namespace vaultysclaw::detail
