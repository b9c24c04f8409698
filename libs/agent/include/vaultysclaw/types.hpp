// Plain values of the agent API. Value types; copy and share them freely.
//
// Times of day are Timestamp (UTC, milliseconds). Texts from the wire that nobody signed are marked as such.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <iosfwd>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "vaultysclaw/export.hpp"

namespace vaultysclaw {

using Json = nlohmann::json;
using Timestamp = std::chrono::sys_time<std::chrono::milliseconds>;

// Initializing: not started. Connecting: no connection has worked yet. PendingApproval: an operator must approve the
// agent on the control plane. Reconnecting: was connected, and tries again. Stopped: final; see AgentInfo::reason.
enum class AgentStatus : std::uint8_t { Initializing, Connecting, PendingApproval, Connected, Reconnecting, Stopped };
// The wire name, for example "pending_approval".
VC_API std::string_view toString(AgentStatus status);
VC_API std::ostream& operator<<(std::ostream& out, AgentStatus status);

enum class LogSeverity : std::uint8_t { Debug, Info, Warn, Error };
VC_API std::string_view toString(LogSeverity severity);  // "debug", "info", "warn", "error"
VC_API std::ostream& operator<<(std::ostream& out, LogSeverity severity);

// Why a call should stop working.
enum class StopReason : std::uint8_t { None, Shutdown, Deadline, CallerCancelled };
VC_API std::string_view toString(StopReason reason);
VC_API std::ostream& operator<<(std::ostream& out, StopReason reason);

struct ChatMessage {
  std::string role;  // "user" or "assistant"
  std::string content;
  std::optional<std::string> thinkingContent = {};
};

struct TokenUsage {
  std::int64_t promptTokens = 0;
  std::int64_t completionTokens = 0;
  // The largest number when the sum is larger; counts below zero are none.
  std::int64_t total() const {
    const std::int64_t prompt = std::max<std::int64_t>(promptTokens, 0);
    const std::int64_t completion = std::max<std::int64_t>(completionTokens, 0);
    const std::int64_t most = std::numeric_limits<std::int64_t>::max();
    return prompt > most - completion ? most : prompt + completion;
  }
  bool operator==(const TokenUsage&) const = default;
};

struct ResourceLimits {
  std::optional<std::int64_t> maxTokensPerDay = {};
  std::optional<std::int64_t> maxRequestsPerHour = {};
  std::vector<std::string> allowedDomains = {};
  bool operator==(const ResourceLimits&) const = default;
};

// What the certificate of the last handshake grants, after narrowing.
struct AuthCompleteInfo {
  std::string did;  // this agent's
  std::string controlPlaneDid;
  std::vector<std::string> capabilities = {};
  std::optional<std::string> policyId = {};
  std::optional<Timestamp> policyExpiresAt = {};
  ResourceLimits limits = {};
  std::string certificate = {};  // the handshake's last message, base64: both sides have signed it
};

struct LlmConfig {
  std::string provider;
  std::string model;
  std::optional<std::string> apiKey = {};  // a secret
  std::optional<std::string> baseUrl = {};
  std::optional<std::string> systemPrompt = {};
  std::optional<std::string> embeddingModel = {};
  std::optional<std::int64_t> maxTokens = {};
  std::optional<double> pricePerMillionInputTokens = {};
  std::optional<double> pricePerMillionOutputTokens = {};
  Json raw = Json::object();  // the whole object, with members that this version does not know
};

// A delegation whose certificate the base has verified: the user lets this agent act with these capabilities.
struct DelegationGrant {
  std::string id;
  std::string userDid;
  std::vector<std::string> capabilities = {};
  std::optional<Timestamp> expiresAt = {};
};

// A peer grant whose certificate the base has verified: this agent may call the target.
struct AgentPeerGrant {
  std::string id;
  std::string sourceDid;
  std::string targetDid;
  std::string targetName;
  std::string skillDescription;
  std::vector<std::string> capabilities = {};
  std::string certificate;
  std::optional<Timestamp> expiresAt = {};
  std::optional<std::string> channelId = {};
};

struct SkillConfig {
  std::string name;
  bool enabled = false;
  bool isRequired = false;
  Json config = Json::object();
  std::optional<std::string> content = {};
};

struct FileAttachment {
  std::string id;
  std::string name;
  std::string mimeType;
  std::int64_t size = 0;  // bytes
  std::string content;    // as sent: base64 or text
};

// One source of documents that the agent is asked to index.
struct KnowledgeSource {
  std::string sourceId;
  std::string sourceName;
  std::string sourceType;
  Json config = Json::object();
  std::optional<Json> docling = {};
  std::vector<FileAttachment> fileAttachments = {};
};
struct KnowledgeResult {
  std::int64_t docsProcessed = 0;
  std::int64_t chunksCreated = 0;
  std::vector<std::string> errors = {};  // not empty: the source is reported as failed
};
struct KnowledgeSourceStatus {
  std::string sourceId;
  std::string status;  // "ready" or "error"
  std::optional<std::int64_t> docCount = {};
  std::optional<std::int64_t> chunkCount = {};
  std::optional<std::string> error = {};
};

struct ToolApprovalResponse {
  std::string requestId;
  bool approved = false;
  std::optional<std::string> reason = {};
};

// What an agent tells the control plane about a tool that ran (or was refused).
struct ToolExecutionReport {
  std::string toolName;
  Json args = Json::object();
  std::optional<Json> result = {};
  std::optional<std::string> error = {};
  std::optional<bool> approved = {};
  std::chrono::milliseconds duration{0};
  std::optional<std::string> conversationId = {};
  std::optional<std::string> intentId = {};
};

struct TaskRequest {
  std::string taskId;
  std::string action;
  Json params = Json::object();
  std::optional<std::int64_t> priority = {};
  std::optional<std::int64_t> maxRetries = {};
  std::optional<std::string> scheduledAt = {};  // ISO 8601, as sent
  std::optional<std::string> createdBy = {};    // a claim, unsigned
};

struct Schedule {
  std::string id;
  std::string name;
  std::string cron;
  std::string action;
  Json params = Json::object();
  bool enabled = true;
};

struct ChatSession {
  std::string id;
  std::string title;
  std::string source;
  std::string createdAt;  // ISO 8601
  std::string updatedAt;  // ISO 8601
  std::int64_t messageCount = 0;
};
struct ChatHistoryEntry {
  std::string id;
  std::string role;
  std::string content;
  std::optional<std::string> thinking = {};
  std::optional<Json> toolCalls = {};
  std::string createdAt;  // ISO 8601
};

struct RecentLog {
  Timestamp time{};
  LogSeverity level = LogSeverity::Info;
  std::string message;
  Json data = nullptr;
};
struct RecentIntent {
  std::string intentId;
  std::string action;
  std::string status;  // "pending", "success" or "failed"
  std::optional<std::string> error = {};
  Timestamp receivedAt{};
  std::optional<Timestamp> completedAt = {};
};

// A handler that still runs although its caller was answered at the deadline.
struct StuckHandler {
  std::string action;
  std::string id;                   // of the intent, conversation, task or source
  std::chrono::seconds overdue{0};  // since the deadline
};

struct AgentInfo {
  std::string id;  // the DID
  std::string name;
  std::string version;
  AgentStatus status = AgentStatus::Initializing;
  std::string reason;  // why the status is what it is, in words for the operator; empty when all is well
  std::vector<std::string> capabilities = {};
  std::chrono::seconds uptime{0};
  std::optional<Timestamp> lastHeartbeat = {};
  std::string transport;        // "ws", "wss"; empty when not connected
  std::string controlPlaneDid;  // the one this agent belongs to; empty before the first approval
  std::vector<AgentPeerGrant> peers = {};
  std::optional<std::string> paused = {};        // the control plane lets nothing run now, and why
  std::vector<StuckHandler> stuckHandlers = {};  // over their deadline by at least AgentRuntimeConfig::stopGrace
  TokenUsage tokensToday = {};
  std::uint64_t droppedLogs = 0;  // log events that a slow listener made the runtime drop
  std::vector<RecentLog> recentLogs = {};
  std::vector<RecentIntent> recentIntents = {};
};

}  // namespace vaultysclaw
