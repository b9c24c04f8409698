#include <algorithm>

#include "base/json_writer.hpp"
#include "protocol/codec.hpp"

namespace vaultysclaw::protocol {
namespace {

void raw(JsonWriter& w, std::string_view name, const RawJson& json) {
  w.key(name).rawValue(json.text.empty() ? std::string_view("null") : std::string_view(json.text));
}
void raw(JsonWriter& w, std::string_view name, const std::optional<RawJson>& json) {
  if (json) raw(w, name, *json);
}
template <class I>
void idIf(JsonWriter& w, std::string_view name, const std::optional<I>& id) {
  if (id) w.member(name, id->value);
}
// Leaves out what is empty.
void textIf(JsonWriter& w, std::string_view name, const std::string& text) {
  if (!text.empty()) w.member(name, text);
}
void textOrNull(JsonWriter& w, std::string_view name, const std::optional<std::string>& text) {
  if (text)
    w.member(name, *text);
  else
    w.key(name).null();
}
void timeIf(JsonWriter& w, std::string_view name, const std::optional<WallTime>& time) {
  if (time) w.member(name, toIso8601(*time));
}
void texts(JsonWriter& w, std::string_view name, const std::vector<std::string>& list) {
  w.key(name).beginArray();
  for (const std::string& text : list) w.value(text);
  w.endArray();
}
void tokens(JsonWriter& w, std::string_view name, const TokenCount& count) {
  w.key(name).beginObject();
  w.member("promptTokens", count.promptTokens).member("completionTokens", count.completionTokens).endObject();
}
void trace(JsonWriter& w, std::string_view name, const std::optional<TraceContext>& context) {
  if (!context) return;
  w.key(name).beginObject().member("traceparent", context->traceparent);
  textIf(w, "tracestate", context->tracestate);
  w.endObject();
}

void write(JsonWriter& w, const AuthChallenge& m) {
  w.member("sessionId", m.sessionId).member("data", m.data).memberIf("name", m.name);
  if (m.capabilities) texts(w, "capabilities", *m.capabilities);
}

void write(JsonWriter& w, const Register& m) {
  textIf(w, "name", m.name);
  textIf(w, "version", m.version);
}

void write(JsonWriter& w, const Heartbeat& m) {
  w.member("uptime", m.uptimeSeconds);
  w.key("memory").beginObject();
  w.member("rss", m.rssBytes).member("heapTotal", m.heapTotalBytes).member("heapUsed", m.heapUsedBytes);
  w.member("external", m.externalBytes).member("arrayBuffers", m.arrayBuffersBytes).endObject();
  if (m.llmProvider && m.llmModel) {
    w.key("activeLlm").beginObject().member("provider", *m.llmProvider).member("model", *m.llmModel).endObject();
  }
  w.member("name", m.name);
  w.key("tokenUsage").beginObject();
  tokens(w, "total", m.usageTotal);
  tokens(w, "sinceLastSync", m.usageSinceLastSync);
  tokens(w, "daily", m.usageDaily);
  w.memberIf("syncId", m.syncId).endObject();
  if (m.stuckCalls.empty()) return;
  w.key("stuckCalls").beginArray();
  for (std::size_t i = 0; i < m.stuckCalls.size() && i < kMaxStuckCalls; ++i) {
    const StuckCall& call = m.stuckCalls[i];
    w.beginObject().member("action", call.action).member("id", call.id);
    w.member("overdueSeconds", call.overdueSeconds).endObject();
  }
  w.endArray();
}

void write(JsonWriter& w, const IntentResult& m) {
  w.member("intentId", m.intentId.value).member("status", m.status == ResultStatus::Success ? "success" : "failed");
  raw(w, "output", m.output);
  w.memberIf("error", m.error).memberIf("code", m.code).member("executedAt", toIso8601(m.executedAt));
  w.memberIf("signature", m.signature).memberIf("publicKey", m.publicKey);
}

void write(JsonWriter& w, const IntentAck& m) {
  w.member("messageId", m.messageId).member("success", m.success).memberIf("reason", m.reason);
  w.memberIf("code", m.code);
}

void write(JsonWriter& w, const ChatResponse& m) {
  w.member("conversationId", m.conversationId.value).memberIf("chunk", m.chunk);
  if (m.thinking) w.member("thinking", true);
  if (m.done) w.member("done", true);
  w.memberIf("error", m.error).memberIf("errorCode", m.errorCode).memberIf("code", m.code).memberIf("seq", m.seq);
  w.memberIf("questionId", m.questionId);
}

void write(JsonWriter& w, const ToolApprovalRequest& m) {
  w.member("requestId", m.requestId.value);
  idIf(w, "conversationId", m.conversationId);
  w.member("toolName", m.toolName);
  raw(w, "args", m.args);
  timeIf(w, "expiresAt", m.expiresAt);
  w.memberIf("argsHash", m.argsHash);
}

void write(JsonWriter& w, const ToolExecution& m) {
  idIf(w, "conversationId", m.conversationId);
  idIf(w, "intentId", m.intentId);
  w.member("toolName", m.toolName);
  raw(w, "args", m.args);
  raw(w, "result", m.result);
  w.memberIf("error", m.error).memberIf("approved", m.approved).member("durationMs", m.durationMs);
}

void write(JsonWriter& w, const TaskStatus& m) {
  w.member("taskId", m.taskId).member("status", m.status);
  raw(w, "result", m.result);
  w.memberIf("error", m.error).member("action", m.action).member("retryCount", m.retryCount);
}

void write(JsonWriter& w, const ChatSessionsResponse& m) {
  w.key("sessions").beginArray();
  for (const ChatSessionInfo& s : m.sessions) {
    w.beginObject().member("id", s.id);
    textOrNull(w, "title", s.title.empty() ? std::nullopt : std::optional<std::string>(s.title));
    w.member("source", s.source).member("createdAt", s.createdAt).member("updatedAt", s.updatedAt);
    w.member("messageCount", s.messageCount).endObject();
  }
  w.endArray();
}

// The original's messages have numbers.
void historyId(JsonWriter& w, const std::string& id) {
  constexpr std::size_t kSafeDigits = 15;  // below 2^53
  const bool number = !id.empty() && id.size() <= kSafeDigits && (id == "0" || id.front() != '0') &&
                      std::all_of(id.begin(), id.end(), [](char c) { return c >= '0' && c <= '9'; });
  w.key("id");
  if (number)
    w.rawValue(id);
  else if (id.empty())
    w.null();
  else
    w.value(id);
}

void write(JsonWriter& w, const ChatHistoryResponse& m) {
  w.member("sessionId", m.sessionId).key("messages").beginArray();
  for (const ChatHistoryMessage& entry : m.messages) {
    w.beginObject();
    historyId(w, entry.id);
    w.member("role", entry.role).member("content", entry.content).memberIf("thinking", entry.thinking);
    raw(w, "toolCalls", entry.toolCalls);
    w.member("createdAt", entry.createdAt).endObject();
  }
  w.endArray();
}

void write(JsonWriter& w, const KnowledgeSyncResult& m) {
  w.member("sourceId", m.sourceId).member("status", m.status);
  w.memberIf("docsProcessed", m.docsProcessed).memberIf("chunksCreated", m.chunksCreated);
  texts(w, "errors", m.errors);
}

void write(JsonWriter& w, const KnowledgeStatusSync& m) {
  w.key("sources").beginArray();
  for (const KnowledgeSourceStatus& s : m.sources) {
    w.beginObject().member("sourceId", s.sourceId).member("status", s.status);
    w.memberIf("docCount", s.docCount).memberIf("chunkCount", s.chunkCount);
    textOrNull(w, "error", s.error);
    w.endObject();
  }
  w.endArray();
}

void write(JsonWriter& w, const ChannelMessageSend& m) {
  w.member("channelId", m.channelId).memberIf("threadId", m.threadId).member("content", m.content);
  raw(w, "metadata", m.metadata);
}

void write(JsonWriter& w, const AuthComplete& m) {
  w.member("agentId", m.agentId).member("did", m.did);
  texts(w, "capabilities", m.capabilities);
}

void write(JsonWriter& w, const AuthFailed& m) {
  w.member("reason", m.reason);
}

void write(JsonWriter& w, const RegistrationPending& m) {
  w.member("registrationId", m.registrationId.value).member("message", m.message);
}

void write(JsonWriter& w, const RegistrationApproved& m) {
  w.member("registrationId", m.registrationId.value);
  texts(w, "capabilities", m.capabilities);
}

void write(JsonWriter& w, const RegistrationRejected& m) {
  w.member("registrationId", m.registrationId.value).member("reason", m.reason);
}

void write(JsonWriter& w, const UpdateCapabilities& m) {
  texts(w, "capabilities", m.capabilities);
  w.key("resourceLimits");
  if (m.resourceLimits) {
    w.beginObject().memberIf("maxTokensPerDay", m.resourceLimits->maxTokensPerDay);
    w.memberIf("maxRequestsPerHour", m.resourceLimits->maxRequestsPerHour);
    if (!m.resourceLimits->allowedDomains.empty()) texts(w, "allowedDomains", m.resourceLimits->allowedDomains);
    w.endObject();
  } else {
    w.null();
  }
  textOrNull(w, "policyId", m.policyId);
  textOrNull(w, "policyExpiresAt",
             m.policyExpiresAt ? std::optional<std::string>(toIso8601(*m.policyExpiresAt)) : std::nullopt);
  w.member("reason", m.reason);
}

void write(JsonWriter& w, const Pong& m) {
  w.member("timestamp", m.timestamp).memberIf("syncId", m.syncId);
}

void write(JsonWriter& w, const Intent& m) {
  w.member("id", m.id.value).member("action", m.action);
  raw(w, "params", m.params);
  w.member("timestamp", m.timestamp);
  idIf(w, "userDid", m.userDid);
  trace(w, "_traceContext", m.trace);
  w.memberIf("timeoutMs", m.timeoutMs);
}

void write(JsonWriter& w, const ChatRequest& m) {
  w.member("conversationId", m.conversationId.value).key("messages").beginArray();
  for (const ChatMessageEntry& entry : m.messages) {
    w.beginObject().member("role", entry.role).member("content", entry.content);
    w.memberIf("thinkingContent", entry.thinkingContent).endObject();
  }
  w.endArray().memberIf("stream", m.stream).memberIf("thinking", m.thinking).memberIf("timeoutMs", m.timeoutMs);
  trace(w, "_trace", m.trace);
  idIf(w, "userDid", m.userDid);
}

void write(JsonWriter& w, const DelegationUpdate& m) {
  w.key("delegations").beginArray();
  for (const DelegationEntry& d : m.delegations) {
    w.beginObject().member("id", d.id).member("grantId", d.grantId);
    w.member("userDid", d.userDid).member("agentDid", d.agentDid);
    texts(w, "capabilities", d.capabilities);
    w.member("certificate", d.certificate).memberIf("expiresAt", d.expiresAt).endObject();
  }
  w.endArray();
}

void write(JsonWriter& w, const AgentPeerCatalog& m) {
  w.key("peers").beginArray();
  for (const PeerGrantEntry& p : m.peers) {
    w.beginObject().member("id", p.id).member("sourceDid", p.sourceDid).member("targetDid", p.targetDid);
    w.member("targetName", p.targetName).member("skillDescription", p.skillDescription);
    texts(w, "capabilities", p.capabilities);
    w.member("certificate", p.certificate).memberIf("expiresAt", p.expiresAt).memberIf("channelId", p.channelId);
    w.endObject();
  }
  w.endArray();
}

void write(JsonWriter& w, const LlmConfigUpdate& m) {
  if (!m.config) {
    w.key("config").null();
    return;
  }
  const LlmConfig& c = *m.config;
  if (!c.raw.text.empty() && c.raw.text != "null") {
    raw(w, "config", c.raw);
    return;
  }
  w.key("config").beginObject().member("provider", c.provider).member("model", c.model);
  w.memberIf("apiKey", c.apiKey).memberIf("baseUrl", c.baseUrl).memberIf("systemPrompt", c.systemPrompt);
  w.memberIf("maxTokens", c.maxTokens).memberIf("pricePerMillionInputTokens", c.pricePerMillionInputTokens);
  w.memberIf("pricePerMillionOutputTokens", c.pricePerMillionOutputTokens);
  w.memberIf("embeddingModel", c.embeddingModel).endObject();
}

void write(JsonWriter& w, const SkillsConfig& m) {
  w.key("skills").beginArray();
  for (const Skill& s : m.skills) {
    w.beginObject().member("name", s.name).member("enabled", s.enabled).member("isRequired", s.isRequired);
    raw(w, "config", s.config);
    w.memberIf("content", s.content).endObject();
  }
  w.endArray();
}

void write(JsonWriter& w, const KnowledgeSync& m) {
  w.member("sourceId", m.sourceId).member("sourceName", m.sourceName).member("sourceType", m.sourceType);
  raw(w, "config", m.config);
  raw(w, "docling", m.docling);
  if (m.fileAttachments.empty()) return;
  w.key("fileAttachments").beginArray();
  for (const FileAttachment& a : m.fileAttachments) {
    w.beginObject().member("id", a.id).member("name", a.name).member("mimeType", a.mimeType);
    w.member("size", a.size).member("content", a.content).endObject();
  }
  w.endArray();
}

void write(JsonWriter& w, const ToolApprovalResponse& m) {
  w.member("requestId", m.requestId.value).member("approved", m.approved).memberIf("reason", m.reason);
  w.memberIf("argsHash", m.argsHash);
}

void write(JsonWriter& w, const TaskEnqueue& m) {
  w.member("action", m.action);
  raw(w, "params", m.params);
  w.memberIf("priority", m.priority).memberIf("scheduledAt", m.scheduledAt).memberIf("maxRetries", m.maxRetries);
  w.memberIf("createdBy", m.createdBy);
}

void write(JsonWriter& w, const ScheduleUpdate& m) {
  w.member("id", m.id).member("name", m.name).member("cron", m.cron).member("action", m.action);
  raw(w, "params", m.params);
  w.memberIf("enabled", m.enabled);
}

void write(JsonWriter& w, const ScheduleDelete& m) {
  w.member("id", m.id);
}
void write(JsonWriter& w, const GetChatSessions& m) {
  w.memberIf("limit", m.limit);
}
void write(JsonWriter& w, const GetChatHistory& m) {
  w.member("sessionId", m.sessionId);
}
void write(JsonWriter& w, const ErrorMessage& m) {
  w.member("error", m.error);
}

void write(JsonWriter& w, const Cancel& m) {
  idIf(w, "intentId", m.intentId);
  idIf(w, "conversationId", m.conversationId);
  idIf(w, "requestId", m.requestId);
  w.member("reason", m.reason);
}

void write(JsonWriter& w, const ResultAck& m) {
  w.member("intentId", m.intentId.value).memberIf("resultHash", m.resultHash).memberIf("refused", m.refused);
}

void write(JsonWriter& w, const Pause& m) {
  w.member("reason", m.reason);
}

void write(JsonWriter&, const Resume&) {}

void write(JsonWriter& w, const ChatResume& m) {
  w.member("conversationId", m.conversationId.value).member("questionId", m.questionId).member("fromSeq", m.fromSeq);
  w.memberIf("channel", m.channel);
}

void write(JsonWriter&, const Unknown&) {}

}  // namespace

std::string encode(const Message& message) {
  JsonWriter w;
  w.beginObject().member("messageId", message.messageId).member("type", typeName(message.payload));
  w.memberIf("agentId", message.agentId);
  if (const auto* obsolete = std::get_if<PolicyUpdate>(&message.payload)) {
    raw(w, "payload", obsolete->payload);
  } else {
    w.key("payload").beginObject();
    std::visit(
        [&w](const auto& payload) {
          if constexpr (!std::is_same_v<std::decay_t<decltype(payload)>, PolicyUpdate>) write(w, payload);
        },
        message.payload);
    w.endObject();
  }
  textIf(w, "timestamp", message.timestamp);
  return w.memberIf("signature", message.signature).endObject().take();
}

}  // namespace vaultysclaw::protocol
