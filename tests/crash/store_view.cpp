#include "store_view.hpp"

#include <nlohmann/json.hpp>
#include <sstream>
#include <stdexcept>

namespace vaultysclaw::crash {
namespace {

using Json = nlohmann::json;

constexpr std::chrono::seconds kCallLimit{60};
constexpr std::uint64_t kPage = 500;

std::string text(const Json& json, const char* member) {
  const auto it = json.find(member);
  return it != json.end() && it->is_string() ? it->get<std::string>() : "";
}

StoredIntent readRow(const Json& json) {
  StoredIntent row;
  row.id = text(json, "intentId");
  row.did = text(json, "did");
  row.status = text(json, "status");
  row.error = text(json, "error");
  row.code = text(json, "code");
  if (const Json& valid = json.at("signatureValid"); valid.is_boolean()) row.signatureValid = valid.get<bool>();
  row.resultSigned = json.at("resultSigned").get<bool>();
  if (const Json& valid = json.at("resultSignatureValid"); valid.is_boolean())
    row.resultSignatureValid = valid.get<bool>();
  if (const auto params = json.find("params"); params != json.end() && params->is_object())
    row.work = text(*params, "n");
  if (const auto output = json.find("output"); output != json.end() && output->is_object())
    row.mark = text(*output, "mark");
  row.json = json.dump();
  return row;
}

// "2026-01-31T12:00:00.000Z" as unix ms.
std::int64_t millis(const std::string& iso) {
  std::tm tm{};
  int ms = 0;
  if (std::sscanf(iso.c_str(), "%d-%d-%dT%d:%d:%d.%dZ", &tm.tm_year, &tm.tm_mon, &tm.tm_mday, &tm.tm_hour, &tm.tm_min,
                  &tm.tm_sec, &ms) != 7)
    throw std::runtime_error("a time cannot be read: " + iso);
  tm.tm_year -= 1900;
  tm.tm_mon -= 1;
  return static_cast<std::int64_t>(timegm(&tm)) * 1000 + ms;
}

}  // namespace

harness::HttpReply StoreView::call(const std::string& method, const std::string& path, const std::string& body) {
  // A connection that was kept over the control plane's death breaks once.
  for (int attempt = 0; attempt < 2; ++attempt) {
    if (auto reply = client_.exchange({.method = method, .path = path, .body = body, .limit = kCallLimit}))
      return *reply;
  }
  throw std::runtime_error("the control plane does not answer " + method + " " + path);
}

std::vector<StoredIntent> StoreView::intentsSince(std::int64_t since) {
  std::vector<StoredIntent> rows;
  for (std::uint64_t offset = 0;; offset += kPage) {
    const auto reply = call("GET", "/api/intents?limit=" + std::to_string(kPage) + "&offset=" + std::to_string(offset));
    if (reply.status != 200) throw std::runtime_error("GET /api/intents: " + reply.body);
    const Json page = Json::parse(reply.body);
    for (const auto& item : page.at("items")) {
      if (millis(text(item, "createdAt")) < since) return rows;
      rows.push_back(readRow(item));
    }
    if (!page.at("pagination").at("hasMore").get<bool>()) return rows;
  }
}

std::optional<StoredIntent> StoreView::intent(const std::string& id) {
  const auto reply = call("GET", "/api/intents/" + id);
  if (reply.status == 404) return std::nullopt;
  if (reply.status != 200) throw std::runtime_error("GET /api/intents/" + id + ": " + reply.body);
  Json row = Json::parse(reply.body);
  for (const char* const proof : {"token", "tokens", "resultToken"}) row.erase(proof);  // long, and verified already
  return readRow(row);
}

std::uint64_t StoreView::intentCount() {
  const auto reply = call("GET", "/api/intents?limit=1");
  return Json::parse(reply.body).at("pagination").at("total").get<std::uint64_t>();
}

bool StoreView::auditChainIsValid() {
  return Json::parse(call("GET", "/api/audit/verify").body).at("valid").get<bool>();
}

std::vector<StoreView::AgentState> StoreView::agents() {
  std::vector<AgentState> out;
  const Json page = Json::parse(call("GET", "/api/agents?limit=500").body);
  for (const auto& item : page.at("items"))
    out.push_back({text(item, "did"), text(item, "name"), item.at("certificateCurrent").get<bool>()});
  return out;
}

void StoreView::approvePending() {
  const Json page = Json::parse(call("GET", "/api/registrations?status=pending&limit=500").body);
  for (const auto& item : page.at("items")) {
    const auto reply = call("POST", "/api/registrations/" + text(item, "id") + "/approve", "{}");
    if (reply.status != 200 && reply.status != 409) throw std::runtime_error("an approval failed: " + reply.body);
  }
}

}  // namespace vaultysclaw::crash
