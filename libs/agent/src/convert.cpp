#include "convert.hpp"

#include <cmath>

#include "protocol/codec.hpp"

namespace vaultysclaw::detail {
namespace {

constexpr int kMaxWriteDepth = 60;
constexpr std::size_t kMaxWriteBytes = std::size_t{15} << 20;

Error notJson(std::string_view what, std::string_view why) {
  return {Errc::Malformed, std::string(what) + " is not JSON: " + std::string(why)};
}

Status check(const Json& value, std::string_view what, int depth) {
  if (depth > kMaxWriteDepth) return notJson(what, "it is nested deeper than 60 levels");
  switch (value.type()) {
    case Json::value_t::number_float:
      if (!std::isfinite(value.get<double>())) return notJson(what, "it holds a number that is NaN or infinite");
      return {};
    case Json::value_t::binary:
      return notJson(what, "it holds a binary value");
    case Json::value_t::discarded:
      return notJson(what, "it holds a discarded value");
    case Json::value_t::array:
    case Json::value_t::object:
      for (const auto& member : value) VC_TRY(check(member, what, depth + 1));
      return {};
    default:
      return {};
  }
}

Error badCertificate(std::string_view member) {
  return {Errc::Malformed, "the certificate's member '" + std::string(member) + "' has the wrong type"};
}

Result<std::vector<std::string>> textList(const msgpack::Value& value, std::string_view member) {
  std::vector<std::string> items;
  if (value.isNil()) return items;
  // Old control planes wrote the list as JSON text.
  if (const auto* text = value.string()) {
    const Json list = Json::parse(*text, nullptr, false);
    if (!list.is_array()) return badCertificate(member);
    for (const auto& item : list) {
      if (!item.is_string()) return badCertificate(member);
      items.push_back(item.get<std::string>());
    }
    return items;
  }
  if (value.array() == nullptr) return badCertificate(member);
  for (const auto& item : *value.array()) {
    if (item.string() == nullptr) return badCertificate(member);
    items.push_back(*item.string());
  }
  return items;
}

// Whole numbers; JavaScript writes large ones as float64.
Result<std::optional<std::int64_t>> number(const msgpack::Value* value, std::string_view member) {
  if (value == nullptr || value->isNil()) return std::optional<std::int64_t>();
  if (const auto whole = value->asInteger()) return std::optional<std::int64_t>(*whole);
  if (const auto* real = std::get_if<double>(&value->data());
      real != nullptr && *real >= 0 && *real < 9e15 && std::floor(*real) == *real)
    return std::optional<std::int64_t>(static_cast<std::int64_t>(*real));
  return badCertificate(member);
}

}  // namespace

Json parse(const protocol::RawJson& raw) {
  Json value = Json::parse(raw.text, nullptr, false);
  return value.is_discarded() ? Json(nullptr) : value;
}

Result<protocol::RawJson> write(const Json& value, std::string_view what) {
  VC_TRY(check(value, what, 0));
  std::string text;
  try {
    text = value.dump();
  } catch (const Json::exception&) {
    return notJson(what, "it holds text that is not UTF-8");
  }
  if (text.size() > kMaxWriteBytes) return Error{Errc::TooLarge, std::string(what) + " is larger than 15 MiB"};
  return protocol::RawJson{std::move(text)};
}

Result<policy::Grant> grantFromCertificate(const msgpack::Value& metadata) {
  policy::Grant grant;
  if (const auto* capabilities = metadata.find("capabilities")) {
    VC_TRY_ASSIGN(grant.capabilities, textList(*capabilities, "capabilities"));
    VC_TRY(protocol::checkCapabilities(grant.capabilities));
  }
  if (const auto* limits = metadata.find("resourceLimits"); limits != nullptr && !limits->isNil()) {
    if (limits->map() == nullptr) return badCertificate("resourceLimits");
    VC_TRY_ASSIGN(grant.limits.maxTokensPerDay, number(limits->find("maxTokensPerDay"), "maxTokensPerDay"));
    VC_TRY_ASSIGN(grant.limits.maxRequestsPerHour, number(limits->find("maxRequestsPerHour"), "maxRequestsPerHour"));
    if (const auto* domains = limits->find("allowedDomains")) {
      VC_TRY_ASSIGN(grant.limits.allowedDomains, textList(*domains, "allowedDomains"));
    }
  }
  if (const auto* id = metadata.find("policyId"); id != nullptr && !id->isNil()) {
    if (id->string() == nullptr) return badCertificate("policyId");
    grant.policyId = *id->string();
  }
  if (const auto* expiry = metadata.find("policyExpiresAt"); expiry != nullptr && !expiry->isNil()) {
    if (const auto* text = expiry->string()) {
      VC_TRY_ASSIGN(grant.policyExpiresAt, fromIso8601(*text));
    } else if (const auto ms = expiry->asInteger()) {
      grant.policyExpiresAt = fromUnixMillis(*ms);
    } else {
      return badCertificate("policyExpiresAt");
    }
  }
  return grant;
}

AuthCompleteInfo convert(const policy::Grant& grant) {
  AuthCompleteInfo info;
  info.capabilities = grant.capabilities;
  info.policyId = grant.policyId;
  info.policyExpiresAt = grant.policyExpiresAt;
  info.limits = {grant.limits.maxTokensPerDay, grant.limits.maxRequestsPerHour, grant.limits.allowedDomains};
  return info;
}

Schedule convert(const protocol::ScheduleUpdate& s) {
  return {s.id, s.name, s.cron, s.action, parse(s.params), s.enabled.value_or(true)};
}

LlmConfig convert(const protocol::LlmConfig& c) {
  LlmConfig config;
  config.provider = c.provider;
  config.model = c.model;
  config.apiKey = c.apiKey;
  config.baseUrl = c.baseUrl;
  config.systemPrompt = c.systemPrompt;
  config.embeddingModel = c.embeddingModel;
  config.maxTokens = c.maxTokens;
  config.pricePerMillionInputTokens = c.pricePerMillionInputTokens;
  config.pricePerMillionOutputTokens = c.pricePerMillionOutputTokens;
  config.raw = parse(c.raw);
  return config;
}

SkillConfig convert(const protocol::Skill& s) {
  return {s.name, s.enabled, s.isRequired, parse(s.config), s.content};
}

KnowledgeSource convert(const protocol::KnowledgeSync& s) {
  KnowledgeSource source;
  source.sourceId = s.sourceId;
  source.sourceName = s.sourceName;
  source.sourceType = s.sourceType;
  source.config = parse(s.config);
  if (s.docling) source.docling = parse(*s.docling);
  for (const auto& f : s.fileAttachments)
    source.fileAttachments.push_back({f.id, f.name, f.mimeType, f.size, f.content});
  return source;
}

TaskRequest convert(const protocol::TaskEnqueue& t, std::string taskId) {
  return {std::move(taskId), t.action, parse(t.params), t.priority, t.maxRetries, t.scheduledAt, t.createdBy};
}

ToolApprovalResponse convert(const protocol::ToolApprovalResponse& r) {
  return {r.requestId.value, r.approved, r.reason};
}

std::vector<ChatMessage> convert(const std::vector<protocol::ChatMessageEntry>& messages) {
  std::vector<ChatMessage> all;
  all.reserve(messages.size());
  for (const auto& m : messages) all.push_back({m.role, m.content, m.thinkingContent});
  return all;
}

protocol::ChatSessionInfo convert(const ChatSession& s) {
  return {s.id, s.title, s.source, s.createdAt, s.updatedAt, s.messageCount};
}

Result<protocol::ChatHistoryMessage> convert(const ChatHistoryEntry& e) {
  protocol::ChatHistoryMessage message;
  message.id = e.id;
  message.role = e.role;
  message.content = e.content;
  message.thinking = e.thinking;
  message.createdAt = e.createdAt;
  if (e.toolCalls) {
    VC_TRY_ASSIGN(message.toolCalls, write(*e.toolCalls, "toolCalls"));
  }
  return message;
}

}  // namespace vaultysclaw::detail
