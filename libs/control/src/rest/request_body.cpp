#include "rest/request_body.hpp"

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>

#include "base/log.hpp"
#include "protocol/codec.hpp"
#include "rest/json_split.hpp"

namespace vaultysclaw::control::rest {
namespace {

using nlohmann::json;

constexpr const char* kTimeRule = "must be a time like 2027-01-31T12:00:00Z";
constexpr std::size_t kMaxProblems = 16;  // an answer stays readable whatever was sent

json parseValue(std::string_view raw) {
  return json::parse(raw.begin(), raw.end(), nullptr, false);
}

// Between the quotes, escapes and all, to the name itself.
std::string unescapeName(std::string_view inside) {
  if (inside.find('\\') == std::string_view::npos) return std::string(inside);
  const json name = parseValue("\"" + std::string(inside) + "\"");
  return name.is_string() ? name.get<std::string>() : std::string(inside);
}

bool isJsonContent(std::string_view type) {
  type = type.substr(0, type.find(';'));
  while (!type.empty() && type.back() == ' ') type.remove_suffix(1);
  std::string lower(type);
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
  return lower == "application/json";
}

std::string wantedRange(std::int64_t min, std::int64_t max) {
  return "must be a whole number from " + std::to_string(min) + " to " + std::to_string(max);
}

std::string wordsOf(std::vector<std::string> names) {
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  std::string out;
  for (const std::string& name : names) out += (out.empty() ? "" : ", ") + name;
  return out.empty() ? "none" : out;
}

}  // namespace

std::variant<Body, ApiError> Body::parse(const net::HttpRequest& request) {
  if (trimJson(request.body).empty()) return Body("{}", "");
  if (!isJsonContent(request.header("content-type").value_or(""))) {
    return ApiError{Errc::Unsupported, "the body must be JSON: send Content-Type: application/json", 415, {}, {}};
  }
  auto valid = protocol::validateJson(request.body);
  if (!valid) return toApiError(valid.error());
  if (trimJson(valid->text).front() != '{') return invalidRequest({{"body", "must be a JSON object"}});
  return Body(valid->text, "");
}

Body::Body(std::string_view validObject, std::string prefix) : prefix_(std::move(prefix)) {
  for (const auto& [name, raw] : splitObject(validObject)) members_[unescapeName(name)].raw = std::string(raw);
}

Body::Member* Body::find(std::string_view name) {
  asked_.emplace_back(name);
  const auto it = members_.find(name);
  if (it == members_.end()) return nullptr;
  it->second.used = true;
  return &it->second;
}

Body::Member* Body::present(std::string_view name) {
  Member* member = find(name);
  return member != nullptr && member->raw != "null" ? member : nullptr;
}

bool Body::has(std::string_view name) {
  asked_.emplace_back(name);
  return members_.find(name) != members_.end();
}

bool Body::isNull(std::string_view name) {
  asked_.emplace_back(name);
  const auto it = members_.find(name);
  return it != members_.end() && it->second.raw == "null";
}

void Body::problem(std::string_view name, std::string reason) {
  if (problems_.size() < kMaxProblems) problems_.push_back({prefix_ + std::string(name), std::move(reason)});
}

std::optional<std::string> Body::text(std::string_view name, std::size_t maxBytes) {
  Member* member = present(name);
  if (member == nullptr) return std::nullopt;
  json value = parseValue(member->raw);
  if (!value.is_string()) {
    problem(name, "must be a string");
    return std::nullopt;
  }
  auto text = value.get<std::string>();
  if (text.size() > maxBytes) {
    problem(name, "is longer than " + std::to_string(maxBytes) + " bytes");
    return std::nullopt;
  }
  return text;
}

std::string Body::requiredText(std::string_view name, std::size_t maxBytes) {
  if (present(name) == nullptr) {
    problem(name, "is missing");
    return {};
  }
  auto value = text(name, maxBytes);
  if (value && value->empty()) problem(name, "must not be empty");
  return value.value_or("");
}

std::optional<SecretBytes> Body::secret(std::string_view name, std::size_t maxBytes) {
  Member* member = present(name);
  if (member == nullptr) return std::nullopt;
  auto value = text(name, maxBytes);
  wipe(member->raw);
  member->raw = "null";
  if (!value) return std::nullopt;
  SecretBytes secret(asBytes(*value));
  wipe(*value);
  return secret;
}

std::optional<std::int64_t> Body::integer(std::string_view name, std::int64_t min, std::int64_t max) {
  Member* member = present(name);
  if (member == nullptr) return std::nullopt;
  const json value = parseValue(member->raw);
  const bool fits = value.is_number_integer() && (!value.is_number_unsigned() ||
                                                  value.get<std::uint64_t>() <= static_cast<std::uint64_t>(INT64_MAX));
  if (!fits || value.get<std::int64_t>() < min || value.get<std::int64_t>() > max) {
    problem(name, wantedRange(min, max));
    return std::nullopt;
  }
  return value.get<std::int64_t>();
}

std::optional<bool> Body::flag(std::string_view name) {
  Member* member = present(name);
  if (member == nullptr) return std::nullopt;
  if (member->raw == "true") return true;
  if (member->raw == "false") return false;
  problem(name, "must be true or false");
  return std::nullopt;
}

std::optional<std::vector<std::string>> Body::textList(std::string_view name, std::size_t maxItems,
                                                       std::size_t maxBytes) {
  Member* member = present(name);
  if (member == nullptr) return std::nullopt;
  const json value = parseValue(member->raw);
  if (!value.is_array() || !std::all_of(value.begin(), value.end(), [](const json& v) { return v.is_string(); })) {
    problem(name, "must be a list of strings");
    return std::nullopt;
  }
  auto list = value.get<std::vector<std::string>>();
  if (list.size() > maxItems) {
    problem(name, "has more than " + std::to_string(maxItems) + " entries");
    return std::nullopt;
  }
  for (const std::string& entry : list) {
    if (!entry.empty() && entry.size() <= maxBytes) continue;
    problem(name, "has an entry that is empty or longer than " + std::to_string(maxBytes) + " bytes");
    return std::nullopt;
  }
  return list;
}

std::optional<WallTime> Body::time(std::string_view name) {
  auto value = text(name, 64);
  if (!value) return std::nullopt;
  auto time = fromIso8601(*value);
  if (!time) {
    problem(name, kTimeRule);
    return std::nullopt;
  }
  return *time;
}

std::optional<protocol::RawJson> Body::rawObject(std::string_view name) {
  Member* member = present(name);
  if (member == nullptr) return std::nullopt;
  if (member->raw.front() != '{') {
    problem(name, "must be a JSON object");
    return std::nullopt;
  }
  return protocol::RawJson{member->raw};
}

std::optional<Body> Body::object(std::string_view name) {
  auto raw = rawObject(name);
  if (!raw) return std::nullopt;
  return Body(raw->text, prefix_ + std::string(name) + ".");
}

std::optional<std::vector<Body>> Body::objects(std::string_view name, std::size_t maxItems) {
  Member* member = present(name);
  if (member == nullptr) return std::nullopt;
  std::vector<Body> out;
  const auto elements = splitArray(member->raw);
  const bool right = member->raw.front() == '[' &&
                     std::all_of(elements.begin(), elements.end(), [](std::string_view e) { return e.front() == '{'; });
  if (!right) {
    problem(name, "must be a list of JSON objects");
    return std::nullopt;
  }
  if (elements.size() > maxItems) {
    problem(name, "has more than " + std::to_string(maxItems) + " entries");
    return std::nullopt;
  }
  for (std::size_t i = 0; i < elements.size(); ++i) {
    out.push_back(Body(elements[i], prefix_ + std::string(name) + "[" + std::to_string(i) + "]."));
  }
  return out;
}

void Body::collectUnknown() {
  for (auto& [name, member] : members_) {
    if (std::exchange(member.used, true)) continue;
    problem(printable(name, 64), "is not a member this route knows: it knows " + wordsOf(asked_));
  }
}

void Body::absorb(Body inner) {
  inner.collectUnknown();
  for (Problem& p : inner.problems_) {
    if (problems_.size() < kMaxProblems) problems_.push_back(std::move(p));
  }
}

std::optional<ApiError> Body::finish() {
  collectUnknown();
  if (problems_.empty()) return std::nullopt;
  return invalidRequest(std::move(problems_));
}

std::optional<std::string> Query::text(std::string_view name) {
  asked_.emplace_back(name);
  const auto value = request_.queryValue(name);
  if (!value || value->empty()) return std::nullopt;
  return std::string(*value);
}

std::optional<std::string> Query::oneOf(std::string_view name, std::initializer_list<std::string_view> values) {
  auto value = text(name);
  if (!value || std::find(values.begin(), values.end(), *value) != values.end()) return value;
  std::string wanted;
  for (std::string_view v : values) wanted += (wanted.empty() ? "" : ", ") + std::string(v);
  problem(name, "must be one of: " + wanted);
  return std::nullopt;
}

std::optional<std::int64_t> Query::integer(std::string_view name, std::int64_t min, std::int64_t max) {
  auto value = text(name);
  if (!value) return std::nullopt;
  std::int64_t number = 0;
  const char* end = value->data() + value->size();
  const auto parsed = std::from_chars(value->data(), end, number);
  if (parsed.ec != std::errc{} || parsed.ptr != end || number < min || number > max) {
    problem(name, wantedRange(min, max));
    return std::nullopt;
  }
  return number;
}

std::optional<WallTime> Query::time(std::string_view name) {
  const auto value = text(name);
  if (!value) return std::nullopt;
  auto time = fromIso8601(*value);
  if (time) return *time;
  problem(name, kTimeRule);
  return std::nullopt;
}

store::Page Query::page() {
  constexpr std::int64_t kMaxLimit = 500;
  constexpr std::int64_t kMaxOffset = 1'000'000'000;
  store::Page page;
  page.limit = integer("limit", 1, kMaxLimit).value_or(page.limit);
  page.offset = integer("offset", 0, kMaxOffset).value_or(0);
  if (auto size = integer("pageSize", 1, kMaxLimit)) page.limit = *size;
  if (auto number = integer("page", 1, 1'000'000)) page.offset = (*number - 1) * page.limit;
  return page;
}

std::optional<ApiError> Query::finish() {
  if (unknown_ == Unknown::Refuse) {
    for (const auto& [name, value] : request_.query) {
      if (std::find(asked_.begin(), asked_.end(), name) != asked_.end() || problems_.size() >= kMaxProblems) continue;
      problem(printable(name, 64), "is not a parameter this route knows: it knows " + wordsOf(asked_));
    }
  }
  if (problems_.empty()) return std::nullopt;
  return invalidRequest(std::move(problems_));
}

}  // namespace vaultysclaw::control::rest
