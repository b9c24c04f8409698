// One message of every type with every member set.
#pragma once

#include <string>
#include <vector>

namespace vaultysclaw::protocol {

// The type and its payload, members in the order that encode() writes.
struct Sample {
  std::string type;
  std::string payload;
};

inline std::string wrap(const std::string& type, const std::string& payload) {
  return R"({"messageId":"m-1","type":")" + type + R"(","agentId":"did:vaultys:00aa","payload":)" + payload +
         R"(,"timestamp":"2026-11-22T13:23:31.287Z","signature":"c2ln"})";
}

inline const std::vector<Sample>& samples() {
  static const std::vector<Sample> all = {
      {"auth_challenge", R"({"sessionId":"s","data":"AAAA","name":"n","capabilities":["api_call","x y"]})"},
      {"register", R"({"name":"Zoë","version":"1"})"},
      {"heartbeat",
       R"({"uptime":5,"memory":{"rss":1,"heapTotal":2,"heapUsed":3,"external":4,"arrayBuffers":5},"activeLlm":{"provider":"p","model":"m"},"name":"n","tokenUsage":{"total":{"promptTokens":6,"completionTokens":7},"sinceLastSync":{"promptTokens":8,"completionTokens":9},"daily":{"promptTokens":10,"completionTokens":11},"syncId":"y"}})"},
      {"result",
       R"({"intentId":"i","status":"success","output":{"a" : [1.0, null]},"error":"e","code":"busy","executedAt":"2026-11-22T13:23:33.114Z","signature":"s","publicKey":"k"})"},
      {"intent_ack", R"({"messageId":"i","success":false,"reason":"r","code":"busy"})"},
      {"chat_response",
       R"({"conversationId":"c","chunk":"x","thinking":true,"done":true,"error":"e","errorCode":"llm_error","code":"failed","seq":3,"questionId":"q"})"},
      {"tool_approval_request",
       R"({"requestId":"r","conversationId":"c","toolName":"t","args":{"b":2},"expiresAt":"2026-11-22T13:23:33.000Z","argsHash":"ff"})"},
      {"tool_execution",
       R"({"conversationId":"c","intentId":"i","toolName":"t","args":[],"result":null,"error":"e","approved":false,"durationMs":12})"},
      {"task_status", R"({"taskId":"t","status":"dead","result":1e3,"error":"e","action":"a","retryCount":2})"},
      {"chat_sessions_response",
       R"({"sessions":[{"id":"s","title":"t","source":"u","createdAt":"c","updatedAt":"d","messageCount":4},{"id":"s2","title":null,"source":"","createdAt":"","updatedAt":"","messageCount":0}]})"},
      {"chat_history_response",
       R"({"sessionId":"s","messages":[{"id":12,"role":"user","content":"hi","thinking":"t","toolCalls":[{}],"createdAt":"c"},{"id":"x9","role":"assistant","content":"","createdAt":""}]})"},
      {"knowledge_sync_result",
       R"({"sourceId":"s","status":"ready","docsProcessed":1,"chunksCreated":2,"errors":["e"]})"},
      {"knowledge_status_sync",
       R"({"sources":[{"sourceId":"s","status":"ready","docCount":1,"chunkCount":2,"error":"e"},{"sourceId":"t","status":"error","error":null}]})"},
      {"channel_message_send", R"({"channelId":"c","threadId":"t","content":"x","metadata":{"m":1}})"},
      {"auth_complete", R"({"agentId":"a","did":"d","capabilities":[]})"},
      {"auth_failed", R"({"reason":"r"})"},
      {"registration_pending", R"({"registrationId":"r","message":"m"})"},
      {"registration_approved", R"({"registrationId":"r","capabilities":["a"]})"},
      {"registration_rejected", R"({"registrationId":"r","reason":"no"})"},
      {"update_capabilities",
       R"({"capabilities":["a"],"resourceLimits":{"maxTokensPerDay":5,"maxRequestsPerHour":0,"allowedDomains":["d"]},"policyId":"p","policyExpiresAt":"2030-01-01T00:00:00.000Z","reason":"r"})"},
      {"policy_update", R"({"any":[1, 2]})"},
      {"pong", R"({"timestamp":"t","syncId":"y"})"},
      {"intent",
       R"({"id":"i","action":"api_call","params":{ "url":"https:\/\/a.example" },"timestamp":"t","userDid":"did:vaultys:01","_traceContext":{"traceparent":"00-1","tracestate":"s"},"timeoutMs":500})"},
      {"chat_message",
       R"({"conversationId":"c","messages":[{"role":"user","content":"hi","thinkingContent":"t"}],"stream":true,"thinking":false,"timeoutMs":1,"_trace":{"traceparent":"00-1"},"userDid":"did:vaultys:01"})"},
      {"delegation_update",
       R"({"delegations":[{"id":"d","grantId":"g","userDid":"u","agentDid":"*","capabilities":["a"],"certificate":"AA","expiresAt":"e"}]})"},
      {"agent_peer_catalog",
       R"({"peers":[{"id":"p","sourceDid":"s","targetDid":"t","targetName":"n","skillDescription":"d","capabilities":["a"],"certificate":"AA","expiresAt":"e","channelId":"c"}]})"},
      {"llm_config", R"({"config":{"provider":"p","model":"m","apiKey":"k","cwd":"/","maxTokens":9}})"},
      {"skills_config",
       R"({"skills":[{"name":"s","enabled":true,"isRequired":false,"config":{"k":[ ]},"content":"c"}]})"},
      {"knowledge_sync",
       R"({"sourceId":"s","sourceName":"n","sourceType":"t","config":{},"docling":{"url":"u"},"fileAttachments":[{"id":"f","name":"n","mimeType":"m","size":3,"content":"c"}]})"},
      {"tool_approval_response", R"({"requestId":"r","approved":true,"reason":"ok","argsHash":"ff"})"},
      {"task_enqueue",
       R"({"action":"a","params":{"x":1},"priority":-1,"scheduledAt":"t","maxRetries":3,"createdBy":"u"})"},
      {"schedule_update", R"({"id":"s","name":"n","cron":"* * * * *","action":"a","params":{},"enabled":true})"},
      {"schedule_delete", R"({"id":"s"})"},
      {"get_chat_sessions", R"({"limit":5})"},
      {"get_chat_history", R"({"sessionId":"s"})"},
      {"error", R"({"error":"e"})"},
      {"cancel", R"({"conversationId":"c","reason":"r"})"},
      {"result_ack", R"({"intentId":"i","resultHash":"ab"})"},
      {"pause", R"({"reason":"r"})"},
      {"resume", R"({})"},
      {"chat_resume", R"({"conversationId":"c","questionId":"q","fromSeq":0,"channel":"ab"})"},
  };
  return all;
}

}  // namespace vaultysclaw::protocol
