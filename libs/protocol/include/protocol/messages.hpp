// Every message between an agent and a control plane, as plain structs (docs/protocol.md section 4 and 7.8).
// Wire names live in one table in src/names.cpp. Values whose bytes matter (params, output, args) are RawJson.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/ids.hpp"
#include "base/ports.hpp"

namespace vaultysclaw::protocol {

// The bytes of one JSON value exactly as they stood in a message, validated (UTF-8, no duplicate members, depth).
struct RawJson {
  std::string text = "null";
  bool operator==(const RawJson&) const = default;
};

struct TraceContext {
  std::string traceparent;
  std::string tracestate;
};

struct ResourceLimits {
  std::optional<std::int64_t> maxTokensPerDay;
  std::optional<std::int64_t> maxRequestsPerHour;
  std::vector<std::string> allowedDomains;
  bool operator==(const ResourceLimits&) const = default;
};

struct TokenCount {
  std::int64_t promptTokens = 0;
  std::int64_t completionTokens = 0;
  std::int64_t total() const { return promptTokens + completionTokens; }
};

// ---- both directions ----------------------------------------------------------------------------------------------
struct AuthChallenge {
  std::string sessionId;
  std::string data;  // base64; empty: "start a handshake"
  std::optional<std::string> name;
  std::optional<std::vector<std::string>> capabilities;
};

// ---- agent to control plane ---------------------------------------------------------------------------------------
struct Register {
  std::string name;
  std::string version;
};
// A handler that still runs although its caller was answered at the deadline (docs/protocol.md 7.8).
struct StuckCall {
  std::string action;
  std::string id;
  std::int64_t overdueSeconds = 0;
  bool operator==(const StuckCall&) const = default;
};
inline constexpr std::size_t kMaxStuckCalls = 16;  // in one heartbeat
struct Heartbeat {
  std::int64_t uptimeSeconds = 0;
  std::int64_t rssBytes = 0;  // `memory.rss`; the other members of `memory` are written as the original has them
  std::int64_t heapTotalBytes = 0;
  std::int64_t heapUsedBytes = 0;
  std::int64_t externalBytes = 0;
  std::int64_t arrayBuffersBytes = 0;
  std::string name;
  std::optional<std::string> llmProvider, llmModel;  // `activeLlm`, both or none
  TokenCount usageTotal, usageSinceLastSync, usageDaily;
  std::optional<std::string> syncId;
  std::vector<StuckCall> stuckCalls;  // at most kMaxStuckCalls are written and read
};
enum class ResultStatus : std::uint8_t { Success, Failed };
struct IntentResult {
  IntentId intentId;
  ResultStatus status = ResultStatus::Failed;
  std::optional<RawJson> output;
  std::optional<std::string> error;
  std::optional<std::string> code;  // 7.8
  WallTime executedAt;
  std::optional<std::string> signature, publicKey;  // 7.5
};
struct IntentAck {
  std::string messageId;
  bool success = false;
  std::optional<std::string> reason;
  std::optional<std::string> code{};  // 7.8
};
struct ChatResponse {
  ConversationId conversationId;
  std::optional<std::string> chunk;
  bool thinking = false;  // `chunk` is reasoning, not answer
  bool done = false;
  std::optional<std::string> error, errorCode, code;
  std::optional<std::int64_t> seq;          // 7.8
  std::optional<std::string> questionId{};  // 7.8: the messageId of the chat_message that this answers
};
struct ToolApprovalRequest {
  RequestId requestId;
  std::optional<ConversationId> conversationId;
  std::string toolName;
  RawJson args{"{}"};
  std::optional<WallTime> expiresAt{};    // 7.8: after it the answer is no
  std::optional<std::string> argsHash{};  // 7.8: hex SHA-256 of the bytes of `args`
};
struct ToolExecution {
  std::optional<ConversationId> conversationId;
  std::optional<IntentId> intentId;
  std::string toolName;
  RawJson args{"{}"};
  std::optional<RawJson> result;
  std::optional<std::string> error;
  std::optional<bool> approved;
  std::int64_t durationMs = 0;
};
struct TaskStatus {
  std::string taskId;
  std::string status;  // pending, running, success, failed, dead
  std::optional<RawJson> result;
  std::optional<std::string> error;
  std::string action;
  std::int64_t retryCount = 0;
};
struct ChatSessionInfo {
  std::string id, title, source, createdAt, updatedAt;
  std::int64_t messageCount = 0;
};
struct ChatSessionsResponse {
  std::vector<ChatSessionInfo> sessions;
};
struct ChatHistoryMessage {
  std::string id;  // a number in the original's messages: whole numbers are written without quotes
  std::string role, content;
  std::optional<std::string> thinking;
  std::optional<RawJson> toolCalls;
  std::string createdAt;
};
struct ChatHistoryResponse {
  std::string sessionId;
  std::vector<ChatHistoryMessage> messages;
};
struct KnowledgeSyncResult {
  std::string sourceId;
  std::string status;  // ready, error
  std::optional<std::int64_t> docsProcessed, chunksCreated;
  std::vector<std::string> errors;
};
struct KnowledgeSourceStatus {
  std::string sourceId, status;
  std::optional<std::int64_t> docCount, chunkCount;
  std::optional<std::string> error;
};
struct KnowledgeStatusSync {
  std::vector<KnowledgeSourceStatus> sources;
};
struct ChannelMessageSend {
  std::string channelId;
  std::optional<std::string> threadId;
  std::string content;
  std::optional<RawJson> metadata;
};

// ---- control plane to agent ---------------------------------------------------------------------------------------
struct AuthComplete {
  std::string agentId, did;
  std::vector<std::string> capabilities;
};
struct AuthFailed {
  std::string reason;
};
struct RegistrationPending {
  RegistrationId registrationId;
  std::string message;
};
struct RegistrationApproved {
  RegistrationId registrationId;
  std::vector<std::string> capabilities;
};
struct RegistrationRejected {
  RegistrationId registrationId;
  std::string reason;
};
struct UpdateCapabilities {
  std::vector<std::string> capabilities;
  std::optional<ResourceLimits> resourceLimits;  // these three are written as null when absent
  std::optional<std::string> policyId;
  std::optional<WallTime> policyExpiresAt;
  std::string reason;
};
struct PolicyUpdate {
  RawJson payload;  // obsolete: acknowledged and ignored
};
struct Pong {
  std::string timestamp;
  std::optional<std::string> syncId;
};
struct Intent {
  IntentId id;
  std::string action;
  RawJson params{"{}"};
  std::string timestamp;
  std::optional<Did> userDid;
  std::optional<TraceContext> trace;  // `_traceContext`
  std::optional<std::int64_t> timeoutMs;
};
struct ChatMessageEntry {
  std::string role;  // user, assistant
  std::string content;
  std::optional<std::string> thinkingContent;
};
struct ChatRequest {  // chat_message
  ConversationId conversationId;
  std::vector<ChatMessageEntry> messages;
  std::optional<bool> stream, thinking;
  std::optional<std::int64_t> timeoutMs;
  std::optional<TraceContext> trace;  // `_trace`
  std::optional<Did> userDid{};       // 7.8
};
struct DelegationEntry {
  std::string id, grantId, userDid, agentDid;
  std::vector<std::string> capabilities;
  std::string certificate;
  std::optional<std::string> expiresAt;
};
struct DelegationUpdate {
  std::vector<DelegationEntry> delegations;
};
struct PeerGrantEntry {
  std::string id, sourceDid, targetDid, targetName, skillDescription;
  std::vector<std::string> capabilities;
  std::string certificate;
  std::optional<std::string> expiresAt, channelId;
};
struct AgentPeerCatalog {
  std::vector<PeerGrantEntry> peers;
};
struct LlmConfig {
  std::string provider, model;
  std::optional<std::string> apiKey, baseUrl, systemPrompt, embeddingModel;
  std::optional<std::int64_t> maxTokens;
  std::optional<double> pricePerMillionInputTokens, pricePerMillionOutputTokens;
  RawJson raw;  // the whole object, with members this version does not know; when not "null", encode() writes it alone
};
struct LlmConfigUpdate {
  std::optional<LlmConfig> config;  // absent: fall back to the local configuration
};
struct Skill {
  std::string name;
  bool enabled = false, isRequired = false;
  RawJson config{"{}"};
  std::optional<std::string> content;
};
struct SkillsConfig {
  std::vector<Skill> skills;
};
struct FileAttachment {
  std::string id, name, mimeType;
  std::int64_t size = 0;
  std::string content;
};
struct KnowledgeSync {
  std::string sourceId, sourceName, sourceType;
  RawJson config{"{}"};
  std::optional<RawJson> docling;
  std::vector<FileAttachment> fileAttachments;
};
struct ToolApprovalResponse {
  RequestId requestId;
  bool approved = false;
  std::optional<std::string> reason;
  std::optional<std::string> argsHash{};  // 7.8: repeats the request's
};
struct TaskEnqueue {
  std::string action;
  RawJson params{"{}"};
  std::optional<std::int64_t> priority, maxRetries;
  std::optional<std::string> scheduledAt, createdBy;
};
struct ScheduleUpdate {
  std::string id, name, cron, action;
  RawJson params{"{}"};
  std::optional<bool> enabled;
};
struct ScheduleDelete {
  std::string id;
};
struct GetChatSessions {
  std::optional<std::int64_t> limit;
};
struct GetChatHistory {
  std::string sessionId;
};
struct ErrorMessage {
  std::string error;
};
// 7.8: stop working on an intent, a conversation or a request (exactly one is set).
struct Cancel {
  std::optional<IntentId> intentId;
  std::optional<ConversationId> conversationId;
  std::optional<RequestId> requestId;
  std::string reason;
};

// 7.5: the fate of a result; exactly one of the two is set.
struct ResultAck {
  IntentId intentId;
  std::optional<std::string> resultHash;  // stored: hex SHA-256 of the body of the signed result that counts
  std::optional<std::string> refused;     // why it will never be stored
};
// 7.8: no intents and chats until `resume`.
struct Pause {
  std::string reason;
};
struct Resume {};
// 7.8: sends the answer to one question again, from one number on.
struct ChatResume {
  ConversationId conversationId;
  std::string questionId;
  std::int64_t fromSeq = 0;
  std::optional<std::string> channel;  // the sealed one that the question was sent over
};

// A message of a type this version does not know: never an error (docs/protocol.md 7.2).
struct Unknown {
  std::string type;  // any text the other side likes, of any length
};

using Payload =
    std::variant<AuthChallenge, Register, Heartbeat, IntentResult, IntentAck, ChatResponse, ToolApprovalRequest,
                 ToolExecution, TaskStatus, ChatSessionsResponse, ChatHistoryResponse, KnowledgeSyncResult,
                 KnowledgeStatusSync, ChannelMessageSend, AuthComplete, AuthFailed, RegistrationPending,
                 RegistrationApproved, RegistrationRejected, UpdateCapabilities, PolicyUpdate, Pong, Intent,
                 ChatRequest, DelegationUpdate, AgentPeerCatalog, LlmConfigUpdate, SkillsConfig, KnowledgeSync,
                 ToolApprovalResponse, TaskEnqueue, ScheduleUpdate, ScheduleDelete, GetChatSessions, GetChatHistory,
                 ErrorMessage, Cancel, ResultAck, Pause, Resume, ChatResume, Unknown>;

// The envelope around a payload. `agentId` is what the sender claims: never trusted, kept for the original's sake.
struct Message {
  std::string messageId;
  std::optional<std::string> agentId;
  std::string timestamp;                 // ISO 8601
  std::optional<std::string> signature;  // intents: the token
  Payload payload;
};

}  // namespace vaultysclaw::protocol
