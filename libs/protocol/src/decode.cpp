#include <array>
#include <utility>

#include "document.hpp"
#include "names.hpp"
#include "protocol/codec.hpp"
#include "reader.hpp"

// Members that the original's control plane and agents require are required here. Those they can do without, or leave
// out in some cases, read as empty: registration names, texts for people, numbers that are only shown.
namespace vaultysclaw::protocol {
namespace {

constexpr auto kRequired = Presence::Required;
constexpr auto kOptional = Presence::Optional;
constexpr std::size_t kMaxTraceLength = 512, kMaxCodeLength = 64, kMaxLabelLength = 256;

std::vector<std::string> capabilitiesOf(Fields& f, Presence presence = kOptional) {
  return f.capabilities("capabilities", presence);
}

// Tracing never makes a message invalid: what is no trace context is left out.
std::optional<TraceContext> traceOf(Fields& f, std::string_view name) {
  if (!f.has(name)) return std::nullopt;
  Fields trace = f.object(name);
  auto parent = trace.textIfString("traceparent");
  auto state = trace.textIfString("tracestate");
  if (!parent || parent->size() > kMaxTraceLength || (state && state->size() > kMaxTraceLength)) return std::nullopt;
  return TraceContext{std::move(*parent), std::move(state).value_or(std::string())};
}

// Codes are words for programs; what is longer is none, and would be kept in rows and lists of which there are many.
void checkCode(Fields& f, std::string_view name, const std::optional<std::string>& code) {
  if (code && code->size() > kMaxCodeLength) f.fail(name, "must be at most 64 bytes");
}

// What is only shown, if it has a length to be shown.
std::optional<std::string> labelOf(Fields& f, std::string_view name) {
  auto label = f.optionalText(name);
  return label && label->size() <= kMaxLabelLength ? label : std::nullopt;
}

TokenCount tokensOf(Fields& f, std::string_view name) {
  Fields usage = f.object(name);
  return {usage.count("promptTokens"), usage.count("completionTokens")};
}

void read(Fields& f, AuthChallenge& m) {
  m.sessionId = f.id("sessionId", kOptional);
  m.data = f.text("data");
  if (f.has("name")) m.name = f.name("name");
  if (f.has("capabilities")) m.capabilities = capabilitiesOf(f);
}

void read(Fields& f, Register& m) {
  m.name = f.name("name");
  m.version = f.name("version");
}

void read(Fields& f, Heartbeat& m) {
  m.uptimeSeconds = f.count("uptime");
  Fields memory = f.object("memory");
  m.rssBytes = memory.count("rss");
  m.heapTotalBytes = memory.count("heapTotal");
  m.heapUsedBytes = memory.count("heapUsed");
  m.externalBytes = memory.count("external");
  m.arrayBuffersBytes = memory.count("arrayBuffers");
  m.name = f.name("name");
  Fields llm = f.object("activeLlm");
  if (llm.has("provider") && llm.has("model")) {
    auto provider = labelOf(llm, "provider"), model = labelOf(llm, "model");
    if (provider && model) {
      m.llmProvider = std::move(provider);
      m.llmModel = std::move(model);
    }
  }
  Fields usage = f.object("tokenUsage");
  m.usageTotal = tokensOf(usage, "total");
  m.usageSinceLastSync = tokensOf(usage, "sinceLastSync");
  m.usageDaily = tokensOf(usage, "daily");
  m.syncId = usage.optionalId("syncId");
  f.each("stuckCalls", [&](Fields& call) {
    StuckCall stuck{call.name("action"), call.id("id"), call.count("overdueSeconds")};
    if (m.stuckCalls.size() < kMaxStuckCalls) m.stuckCalls.push_back(std::move(stuck));
  });
}

void read(Fields& f, IntentResult& m) {
  m.intentId = IntentId(f.id("intentId"));
  const std::string status = f.text("status", kRequired);
  if (status == "success")
    m.status = ResultStatus::Success;
  else if (status == "failed")
    m.status = ResultStatus::Failed;
  else
    f.fail("status", "must be success or failed");
  m.output = f.raw("output");
  m.error = f.textIfString("error");
  m.code = f.optionalText("code");
  checkCode(f, "code", m.code);
  m.executedAt = f.optionalTime("executedAt").value_or(WallTime{});
  m.signature = f.optionalText("signature");
  m.publicKey = f.optionalText("publicKey");
}

void read(Fields& f, IntentAck& m) {
  m.messageId = f.id("messageId");
  m.success = f.boolean("success", kRequired);
  m.reason = f.textIfString("reason");
  m.code = f.textIfString("code");
  checkCode(f, "code", m.code);
}

void read(Fields& f, ChatResponse& m) {
  m.conversationId = ConversationId(f.id("conversationId"));
  m.chunk = f.optionalText("chunk");
  m.thinking = f.boolean("thinking");
  m.done = f.boolean("done");
  m.error = f.optionalText("error");
  m.errorCode = f.optionalText("errorCode");
  m.code = f.optionalText("code");
  checkCode(f, "errorCode", m.errorCode);
  checkCode(f, "code", m.code);
  m.seq = f.optionalCount("seq");
  m.questionId = f.optionalId("questionId");
}

void read(Fields& f, ToolApprovalRequest& m) {
  m.requestId = RequestId(f.id("requestId"));
  m.conversationId = f.optionalIdOf<ConversationId>("conversationId");
  m.toolName = f.name("toolName", kRequired);
  m.args = f.rawOr("args", "{}");
  m.expiresAt = f.optionalTime("expiresAt");
  m.argsHash = f.optionalId("argsHash");
}

void read(Fields& f, ToolExecution& m) {
  m.conversationId = f.optionalIdOf<ConversationId>("conversationId");
  m.intentId = f.optionalIdOf<IntentId>("intentId");
  m.toolName = f.name("toolName", kRequired);
  m.args = f.rawOr("args", "{}");
  m.result = f.raw("result");
  m.error = f.textIfString("error");
  m.approved = f.optionalBoolean("approved");
  m.durationMs = f.count("durationMs");
}

void read(Fields& f, TaskStatus& m) {
  m.taskId = f.id("taskId");
  m.status = f.text("status", kRequired);
  m.result = f.raw("result");
  m.error = f.textIfString("error");
  m.action = f.name("action");
  m.retryCount = f.count("retryCount");
}

void read(Fields& f, ChatSessionsResponse& m) {
  f.each("sessions", [&m](Fields& s) {
    ChatSessionInfo session;
    session.id = s.id("id");
    session.title = s.text("title");
    session.source = s.text("source");
    session.createdAt = s.text("createdAt");
    session.updatedAt = s.text("updatedAt");
    session.messageCount = s.count("messageCount");
    m.sessions.push_back(std::move(session));
  });
}

// The original numbers its stored messages.
std::string numberOrId(Fields& f, std::string_view name) {
  if (f.textIfString(name)) return f.id(name);
  const auto number = f.optionalCount(name);
  return number ? std::to_string(*number) : std::string();
}

void read(Fields& f, ChatHistoryResponse& m) {
  m.sessionId = f.id("sessionId");
  f.each("messages", [&m](Fields& entry) {
    ChatHistoryMessage message;
    message.id = numberOrId(entry, "id");
    message.role = entry.text("role", kRequired);
    message.content = entry.text("content");
    message.thinking = entry.optionalText("thinking");
    message.toolCalls = entry.rawUnlessNull("toolCalls");
    message.createdAt = entry.text("createdAt");
    m.messages.push_back(std::move(message));
  });
}

void read(Fields& f, KnowledgeSyncResult& m) {
  m.sourceId = f.id("sourceId");
  m.status = f.text("status", kRequired);
  m.docsProcessed = f.optionalCount("docsProcessed");
  m.chunksCreated = f.optionalCount("chunksCreated");
  m.errors = f.texts("errors");
}

void read(Fields& f, KnowledgeStatusSync& m) {
  f.each("sources", [&m](Fields& s) {
    KnowledgeSourceStatus source;
    source.sourceId = s.id("sourceId");
    source.status = s.text("status", kRequired);
    source.docCount = s.optionalCount("docCount");
    source.chunkCount = s.optionalCount("chunkCount");
    source.error = s.textIfString("error");
    m.sources.push_back(std::move(source));
  });
}

void read(Fields& f, ChannelMessageSend& m) {
  m.channelId = f.id("channelId");
  m.threadId = f.optionalId("threadId");
  m.content = f.text("content", kRequired);
  m.metadata = f.rawUnlessNull("metadata");
}

void read(Fields& f, AuthComplete& m) {
  m.agentId = f.id("agentId", kOptional);
  m.did = f.id("did");
  m.capabilities = capabilitiesOf(f);
}

void read(Fields& f, AuthFailed& m) {
  m.reason = f.text("reason");
}

void read(Fields& f, RegistrationPending& m) {
  m.registrationId = RegistrationId(f.id("registrationId"));
  m.message = f.text("message");
}

void read(Fields& f, RegistrationApproved& m) {
  m.registrationId = RegistrationId(f.id("registrationId"));
  m.capabilities = capabilitiesOf(f, kRequired);
}

void read(Fields& f, RegistrationRejected& m) {
  m.registrationId = RegistrationId(f.id("registrationId"));
  m.reason = f.text("reason");
}

void read(Fields& f, UpdateCapabilities& m) {
  m.capabilities = capabilitiesOf(f, kRequired);
  if (f.has("resourceLimits")) {
    Fields limits = f.object("resourceLimits");
    m.resourceLimits = ResourceLimits{limits.optionalCount("maxTokensPerDay"),
                                      limits.optionalCount("maxRequestsPerHour"), limits.domains("allowedDomains")};
  }
  m.policyId = f.optionalId("policyId");
  m.policyExpiresAt = f.optionalTime("policyExpiresAt");
  m.reason = f.text("reason");
}

void read(Fields& f, PolicyUpdate& m) {
  m.payload = f.self();
}

void read(Fields& f, Pong& m) {
  m.timestamp = f.text("timestamp");
  m.syncId = f.optionalId("syncId");
}

void read(Fields& f, Intent& m) {
  m.id = IntentId(f.id("id"));
  m.action = f.name("action", kRequired);
  m.params = f.rawOr("params", "{}");
  m.timestamp = f.text("timestamp");
  m.userDid = f.optionalIdOf<Did>("userDid");
  m.trace = traceOf(f, "_traceContext");
  m.timeoutMs = f.optionalCount("timeoutMs");
}

void read(Fields& f, ChatRequest& m) {
  m.conversationId = ConversationId(f.id("conversationId"));
  if (!f.has("messages")) f.fail("messages", "must be an array");
  f.each("messages", [&m](Fields& entry) {
    m.messages.push_back({entry.text("role", kRequired), entry.text("content"), entry.optionalText("thinkingContent")});
  });
  m.stream = f.optionalBoolean("stream");
  m.thinking = f.optionalBoolean("thinking");
  m.timeoutMs = f.optionalCount("timeoutMs");
  m.trace = traceOf(f, "_trace");
  m.userDid = f.optionalIdOf<Did>("userDid");
}

void read(Fields& f, DelegationUpdate& m) {
  f.each("delegations", [&m](Fields& d) {
    DelegationEntry entry;
    entry.id = d.id("id", kOptional);
    entry.grantId = d.id("grantId", kOptional);
    entry.userDid = d.id("userDid");
    entry.agentDid = d.id("agentDid", kOptional);
    entry.capabilities = capabilitiesOf(d);
    entry.certificate = d.text("certificate", kRequired);
    entry.expiresAt = d.optionalText("expiresAt");
    m.delegations.push_back(std::move(entry));
  });
}

void read(Fields& f, AgentPeerCatalog& m) {
  f.each("peers", [&m](Fields& p) {
    PeerGrantEntry entry;
    entry.id = p.id("id");
    entry.sourceDid = p.id("sourceDid");
    entry.targetDid = p.id("targetDid");
    entry.targetName = p.name("targetName");
    entry.skillDescription = p.text("skillDescription");
    entry.capabilities = capabilitiesOf(p);
    entry.certificate = p.text("certificate", kRequired);
    entry.expiresAt = p.optionalText("expiresAt");
    entry.channelId = p.optionalId("channelId");
    m.peers.push_back(std::move(entry));
  });
}

void read(Fields& f, LlmConfigUpdate& m) {
  if (!f.has("config")) return;
  Fields c = f.object("config");
  LlmConfig config;
  config.provider = c.text("provider", kRequired);
  config.model = c.text("model", kRequired);
  config.apiKey = c.optionalText("apiKey");
  config.baseUrl = c.optionalText("baseUrl");
  config.systemPrompt = c.optionalText("systemPrompt");
  config.embeddingModel = c.optionalText("embeddingModel");
  config.maxTokens = c.optionalCount("maxTokens");
  config.pricePerMillionInputTokens = c.optionalNumber("pricePerMillionInputTokens");
  config.pricePerMillionOutputTokens = c.optionalNumber("pricePerMillionOutputTokens");
  config.raw = c.self();
  m.config = std::move(config);
}

void read(Fields& f, SkillsConfig& m) {
  f.each("skills", [&m](Fields& s) {
    Skill skill;
    skill.name = s.name("name", kRequired);
    skill.enabled = s.boolean("enabled");
    skill.isRequired = s.boolean("isRequired");
    skill.config = s.rawOr("config", "{}");
    skill.content = s.optionalText("content");
    m.skills.push_back(std::move(skill));
  });
}

void read(Fields& f, KnowledgeSync& m) {
  m.sourceId = f.id("sourceId");
  m.sourceName = f.text("sourceName");
  m.sourceType = f.text("sourceType");
  m.config = f.rawOr("config", "{}");
  m.docling = f.rawUnlessNull("docling");
  f.each("fileAttachments", [&m](Fields& a) {
    m.fileAttachments.push_back({a.id("id"), a.text("name"), a.text("mimeType"), a.count("size"), a.text("content")});
  });
}

void read(Fields& f, ToolApprovalResponse& m) {
  m.requestId = RequestId(f.id("requestId"));
  m.approved = f.boolean("approved", kRequired);
  m.reason = f.optionalText("reason");
  m.argsHash = f.optionalId("argsHash");
}

void read(Fields& f, TaskEnqueue& m) {
  m.action = f.name("action", kRequired);
  m.params = f.rawOr("params", "{}");
  m.priority = f.optionalInteger("priority");
  m.maxRetries = f.optionalCount("maxRetries");
  m.scheduledAt = f.optionalText("scheduledAt");
  m.createdBy = f.optionalText("createdBy");
}

void read(Fields& f, ScheduleUpdate& m) {
  m.id = f.id("id");
  m.name = f.name("name");
  m.cron = f.text("cron", kRequired);
  m.action = f.name("action", kRequired);
  m.params = f.rawOr("params", "{}");
  m.enabled = f.optionalBoolean("enabled");
}

void read(Fields& f, ScheduleDelete& m) {
  m.id = f.id("id");
}
void read(Fields& f, GetChatSessions& m) {
  m.limit = f.optionalCount("limit");
}
void read(Fields& f, GetChatHistory& m) {
  m.sessionId = f.id("sessionId");
}
void read(Fields& f, ErrorMessage& m) {
  m.error = f.textIfString("error").value_or(std::string());
}

void read(Fields& f, Cancel& m) {
  m.intentId = f.optionalIdOf<IntentId>("intentId");
  m.conversationId = f.optionalIdOf<ConversationId>("conversationId");
  m.requestId = f.optionalIdOf<RequestId>("requestId");
  m.reason = f.text("reason");
  const int targets = int{m.intentId.has_value()} + int{m.conversationId.has_value()} + int{m.requestId.has_value()};
  if (targets != 1) f.fail("intentId", "exactly one of intentId, conversationId and requestId must be set");
}

void read(Fields& f, ResultAck& m) {
  m.intentId = IntentId(f.id("intentId"));
  m.resultHash = f.optionalText("resultHash");
  m.refused = f.optionalText("refused");
  if (m.resultHash.has_value() == m.refused.has_value())
    f.fail("resultHash", "exactly one of resultHash and refused must be set");
}

void read(Fields& f, Pause& m) {
  m.reason = f.text("reason");
}

void read(Fields&, Resume&) {}

void read(Fields& f, ChatResume& m) {
  m.conversationId = ConversationId(f.id("conversationId"));
  m.questionId = f.id("questionId");
  if (!f.has("fromSeq")) f.fail("fromSeq", "is missing");
  m.fromSeq = f.count("fromSeq");
  m.channel = f.optionalId("channel");
}

template <std::size_t I>
Payload readAlternative(Fields& f) {
  std::variant_alternative_t<I, Payload> out;
  read(f, out);
  return out;
}

using PayloadReader = Payload (*)(Fields&);
constexpr auto kReaders = []<std::size_t... I>(std::index_sequence<I...>) {
  return std::array<PayloadReader, sizeof...(I)>{&readAlternative<I>...};
}(std::make_index_sequence<std::variant_size_v<Payload> - 1>());

}  // namespace

Result<Message> decode(std::string_view text, std::size_t maxBytes) {
  VC_TRY_ASSIGN(const Document document, Document::parse(text, maxBytes, kMaxDepth, "message"));
  if (!document.root().value.is_object()) return Error{Errc::Malformed, "message: must be an object"};
  Reading reading{document};
  Fields envelope(reading, document.root());

  Message out;
  out.messageId = envelope.id("messageId");
  if (envelope.has("agentId")) out.agentId = envelope.id("agentId", kOptional);
  out.timestamp = envelope.text("timestamp");
  out.signature = envelope.optionalText("signature");
  const std::string type = envelope.text("type", kRequired);
  if (reading.error) return *reading.error;

  if (const auto index = payloadIndex(type)) {
    envelope.rename(type);
    Fields payload = envelope.object("payload");
    out.payload = kReaders[*index](payload);
  } else {
    out.payload = Unknown{type};
  }
  if (reading.error) return *reading.error;
  return out;
}

}  // namespace vaultysclaw::protocol
