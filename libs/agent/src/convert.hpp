// Between wire structs and the public ones. Internal; pure.
#pragma once

#include "base/msgpack.hpp"
#include "base/result.hpp"
#include "policy/gate.hpp"
#include "protocol/messages.hpp"
#include "vaultysclaw/types.hpp"

namespace vaultysclaw::detail {

// Validated wire JSON as a value; null if it cannot be represented.
Json parse(const protocol::RawJson& raw);
// What may go on the wire: Malformed for text that is not UTF-8, NaN, infinities, binary values and nesting over 60;
// TooLarge over 15 MiB. `what` names the value in the message.
Result<protocol::RawJson> write(const Json& value, std::string_view what);

// metadata.pk2 of a handshake. Missing members grant nothing; mistyped ones are Malformed.
Result<policy::Grant> grantFromCertificate(const msgpack::Value& metadata);
AuthCompleteInfo convert(const policy::Grant& grant);

Schedule convert(const protocol::ScheduleUpdate& schedule);
LlmConfig convert(const protocol::LlmConfig& config);
SkillConfig convert(const protocol::Skill& skill);
KnowledgeSource convert(const protocol::KnowledgeSync& sync);
TaskRequest convert(const protocol::TaskEnqueue& task, std::string taskId);
ToolApprovalResponse convert(const protocol::ToolApprovalResponse& response);
std::vector<ChatMessage> convert(const std::vector<protocol::ChatMessageEntry>& messages);
protocol::ChatSessionInfo convert(const ChatSession& session);
// The error of `write` when toolCalls are not JSON.
Result<protocol::ChatHistoryMessage> convert(const ChatHistoryEntry& entry);

}  // namespace vaultysclaw::detail
