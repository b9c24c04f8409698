#include "rows.hpp"

#include <nlohmann/json.hpp>

#include "base/json_writer.hpp"
#include "control/control_plane.hpp"
#include "identity/hash.hpp"
#include "protocol/codec.hpp"

namespace vaultysclaw::control {
namespace {

void writeStrings(JsonWriter& w, const std::vector<std::string>& strings) {
  w.beginArray();
  for (const auto& s : strings) w.value(s);
  w.endArray();
}

Result<std::vector<std::string>> stringsFrom(const nlohmann::json& array, const char* what) {
  std::vector<std::string> out;
  if (!array.is_array()) return Error{Errc::Malformed, std::string(what) + " is not an array"};
  for (const auto& item : array) {
    const auto* text = item.get_ptr<const std::string*>();
    if (!text) return Error{Errc::Malformed, std::string(what) + " holds something else than strings"};
    out.push_back(*text);
  }
  return out;
}

msgpack::Value toMsgpack(const std::vector<std::string>& strings) {
  msgpack::Array array;
  array.reserve(strings.size());
  for (const auto& s : strings) array.emplace_back(s);
  return msgpack::Value(std::move(array));
}

}  // namespace

std::string capabilitiesToJson(const std::vector<std::string>& capabilities) {
  JsonWriter w;
  writeStrings(w, capabilities);
  return w.take();
}

std::string limitsToJson(const protocol::ResourceLimits& limits) {
  JsonWriter w;
  w.beginObject();
  w.memberIf("maxTokensPerDay", limits.maxTokensPerDay);
  w.memberIf("maxRequestsPerHour", limits.maxRequestsPerHour);
  if (!limits.allowedDomains.empty()) {
    w.key("allowedDomains");
    writeStrings(w, limits.allowedDomains);
  }
  w.endObject();
  return w.take();
}

Result<std::vector<std::string>> capabilitiesFromJson(const std::string& text) {
  const auto json = nlohmann::json::parse(text, nullptr, false);
  return stringsFrom(json, "a stored capability list");
}

Result<protocol::ResourceLimits> limitsFromJson(const std::string& text) {
  const auto json = nlohmann::json::parse(text, nullptr, false);
  if (!json.is_object()) return Error{Errc::Malformed, "stored limits are not a JSON object"};
  protocol::ResourceLimits limits;
  const auto number = [&](const char* name, std::optional<std::int64_t>& out) -> Status {
    const auto it = json.find(name);
    if (it == json.end()) return {};
    if (!it->is_number_integer())
      return Error{Errc::Malformed, std::string("stored limit ") + name + " is not an integer"};
    out = it->get<std::int64_t>();
    return {};
  };
  VC_TRY(number("maxTokensPerDay", limits.maxTokensPerDay));
  VC_TRY(number("maxRequestsPerHour", limits.maxRequestsPerHour));
  if (const auto it = json.find("allowedDomains"); it != json.end()) {
    VC_TRY_ASSIGN(limits.allowedDomains, stringsFrom(*it, "the stored list of domains"));
  }
  return limits;
}

Result<policy::Grant> grantOf(const store::AgentRow& row) {
  policy::Grant grant;
  VC_TRY_ASSIGN(grant.capabilities, capabilitiesFromJson(row.capabilities));
  VC_TRY_ASSIGN(grant.limits, limitsFromJson(row.limits));
  grant.policyId = row.policyId;
  grant.policyExpiresAt = row.policyExpiresAt;
  return grant;
}

std::string grantTag(const store::AgentRow& row) {
  JsonWriter w;
  w.beginArray().value(row.capabilities).value(row.limits).value(row.policyId.value_or(""));
  w.value(row.policyExpiresAt ? toUnixMillis(*row.policyExpiresAt) : std::int64_t{-1}).endArray();
  return hexEncode(identity::sha256(asBytes(w.take()))).substr(0, 16);
}

void setGrant(store::AgentRow& row, const policy::Grant& grant) {
  row.capabilities = capabilitiesToJson(grant.capabilities);
  row.limits = limitsToJson(grant.limits);
  row.policyId = grant.policyId;
  row.policyExpiresAt = grant.policyExpiresAt;
}

Status checkGrant(const policy::Grant& grant) {
  const auto invalid = [](std::string message) { return Error{Errc::InvalidArgument, std::move(message)}; };
  if (auto ok = protocol::checkCapabilities(grant.capabilities); !ok) return invalid(ok.error().message);
  if (grant.limits.maxTokensPerDay.value_or(0) < 0) return invalid("maxTokensPerDay must not be negative");
  if (grant.limits.maxRequestsPerHour.value_or(0) < 0) return invalid("maxRequestsPerHour must not be negative");
  if (grant.limits.allowedDomains.size() > 256) return invalid("allowedDomains has more than 256 entries");
  for (const auto& domain : grant.limits.allowedDomains) {
    if (domain.empty() || domain.size() > 253)
      return invalid("allowedDomains has an entry that is empty or over 253 characters");
  }
  if (grant.policyId && !isValidWireId(*grant.policyId))
    return invalid("policyId must be 1 to 128 printable ASCII characters");
  return {};
}

Error pausedError(const store::AgentRow& row) {
  return Error{Errc::PolicyDenied, "agent " + row.did.value + " is paused: " + printable(*row.paused, 512) +
                                       "; 'vaultysclaw agents resume' lets it go on"};
}

bool hasLimits(const protocol::ResourceLimits& limits) {
  return limits.maxTokensPerDay || limits.maxRequestsPerHour || !limits.allowedDomains.empty();
}

msgpack::Map certificateMetadata(const policy::Grant& grant, identity::IdVersion version) {
  msgpack::Map map;
  map.emplace_back("capabilities", toMsgpack(grant.capabilities));
  if (hasLimits(grant.limits)) {
    msgpack::Map limits;
    if (grant.limits.maxTokensPerDay)
      limits.emplace_back("maxTokensPerDay", msgpack::Value::integer(*grant.limits.maxTokensPerDay));
    if (grant.limits.maxRequestsPerHour) {
      limits.emplace_back("maxRequestsPerHour", msgpack::Value::integer(*grant.limits.maxRequestsPerHour));
    }
    if (!grant.limits.allowedDomains.empty())
      limits.emplace_back("allowedDomains", toMsgpack(grant.limits.allowedDomains));
    map.emplace_back("resourceLimits", std::move(limits));
  }
  if (grant.policyId) map.emplace_back("policyId", *grant.policyId);
  if (grant.policyExpiresAt) map.emplace_back("policyExpiresAt", toIso8601(*grant.policyExpiresAt));
  if (version == identity::IdVersion::V1) map.emplace_back("features", identity::Features::ours().toMetadata());
  return map;
}

GrantChange GrantChange::toExactly(const policy::Grant& grant) {
  return {
      grant.capabilities, grant.limits.maxTokensPerDay, grant.limits.maxRequestsPerHour, grant.limits.allowedDomains,
      grant.policyId,     grant.policyExpiresAt};
}

void GrantChange::apply(policy::Grant& grant) const {
  if (capabilities) grant.capabilities = *capabilities;
  if (maxTokensPerDay) grant.limits.maxTokensPerDay = *maxTokensPerDay;
  if (maxRequestsPerHour) grant.limits.maxRequestsPerHour = *maxRequestsPerHour;
  if (allowedDomains) grant.limits.allowedDomains = *allowedDomains;
  if (policyId) grant.policyId = *policyId;
  if (policyExpiresAt) grant.policyExpiresAt = *policyExpiresAt;
}

Result<Statement> statementFrom(const msgpack::Value& metadata) {
  Statement out;
  const auto text = [&](const char* name, std::optional<std::string>& into) -> Status {
    const auto* member = metadata.find(name);
    if (member == nullptr) return {};
    if (member->string() == nullptr)
      return Error{Errc::Malformed, std::string("metadata.pk1.") + name + " is not a string"};
    into = *member->string();
    return {};
  };
  VC_TRY(text("name", out.name));
  VC_TRY(text("dh", out.dh));
  VC_TRY(text("channel", out.channel));
  VC_TRY_ASSIGN(out.features, identity::Features::fromMetadata(metadata));
  const auto* capabilities = metadata.find("capabilities");
  if (capabilities == nullptr) return out;
  if (capabilities->array() == nullptr) return Error{Errc::Malformed, "metadata.pk1.capabilities is not an array"};
  out.capabilities.emplace();
  for (const auto& item : *capabilities->array()) {
    if (item.string() == nullptr)
      return Error{Errc::Malformed, "metadata.pk1.capabilities holds something else than strings"};
    out.capabilities->push_back(*item.string());
  }
  return out;
}

}  // namespace vaultysclaw::control
