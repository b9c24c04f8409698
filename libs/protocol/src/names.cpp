#include "names.hpp"

#include <array>

#include "base/assert.hpp"
#include "protocol/codec.hpp"

namespace vaultysclaw::protocol {
namespace {

// In the order of Payload's alternatives, without Unknown.
constexpr std::array<std::string_view, 41> kNames = {
    "auth_challenge",
    "register",
    "heartbeat",
    "result",
    "intent_ack",
    "chat_response",
    "tool_approval_request",
    "tool_execution",
    "task_status",
    "chat_sessions_response",
    "chat_history_response",
    "knowledge_sync_result",
    "knowledge_status_sync",
    "channel_message_send",
    "auth_complete",
    "auth_failed",
    "registration_pending",
    "registration_approved",
    "registration_rejected",
    "update_capabilities",
    "policy_update",
    "pong",
    "intent",
    "chat_message",
    "delegation_update",
    "agent_peer_catalog",
    "llm_config",
    "skills_config",
    "knowledge_sync",
    "tool_approval_response",
    "task_enqueue",
    "schedule_update",
    "schedule_delete",
    "get_chat_sessions",
    "get_chat_history",
    "error",
    "cancel",
    "result_ack",
    "pause",
    "resume",
    "chat_resume",
};
static_assert(kNames.size() + 1 == std::variant_size_v<Payload>);

}  // namespace

std::optional<std::size_t> payloadIndex(std::string_view type) {
  for (std::size_t i = 0; i < kNames.size(); ++i) {
    if (kNames[i] == type) return i;
  }
  return std::nullopt;
}

std::string_view typeName(const Payload& payload) {
  if (const auto* unknown = std::get_if<Unknown>(&payload)) return unknown->type;
  VC_ASSERT(payload.index() < kNames.size(), "a payload without a wire name");
  return kNames[payload.index()];
}

}  // namespace vaultysclaw::protocol
