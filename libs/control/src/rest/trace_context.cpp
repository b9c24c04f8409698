#include "rest/trace_context.hpp"

#include <algorithm>
#include <set>
#include <string_view>

namespace vaultysclaw::control::rest {
namespace {

constexpr std::size_t kMaxStateBytes = 512, kMaxStateMembers = 32, kMaxParentBytes = 512;

// version - trace id - parent id - flags
constexpr std::size_t kTraceAt = 3, kTraceDigits = 32, kParentAt = 36, kParentDigits = 16, kFlagsAt = 53, kLength = 55;

bool lowerHex(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

bool zeros(std::string_view text) {
  return text.find_first_not_of('0') == std::string_view::npos;
}

bool isTraceparent(std::string_view text) {
  if (text.size() < kLength || text.size() > kMaxParentBytes) return false;
  const std::string_view version = text.substr(0, 2);
  const std::string_view trace = text.substr(kTraceAt, kTraceDigits), parent = text.substr(kParentAt, kParentDigits);
  for (const std::size_t dash : {kTraceAt, kParentAt, kFlagsAt}) {
    if (text[dash - 1] != '-') return false;
  }
  if (!lowerHex(version) || version == "ff") return false;
  if (!lowerHex(trace) || zeros(trace) || !lowerHex(parent) || zeros(parent)) return false;
  if (!lowerHex(text.substr(kFlagsAt, 2))) return false;
  // A later version may have more behind it; ours has not.
  return text.size() == kLength || (version != "00" && text[kLength] == '-');
}

std::string_view trimmed(std::string_view text) {
  const auto first = text.find_first_not_of(" \t");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

bool isKey(std::string_view key) {
  const auto plain = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); };
  return !key.empty() && key.size() <= 256 && plain(key.front()) && std::all_of(key.begin(), key.end(), [&](char c) {
    return plain(c) || c == '_' || c == '-' || c == '*' || c == '/' || c == '@';
  });
}

bool isValue(std::string_view value) {
  return !value.empty() && value.size() <= 256 &&
         std::all_of(value.begin(), value.end(), [](char c) { return c >= 0x20 && c < 0x7f && c != ',' && c != '='; });
}

bool isTracestate(std::string_view text) {
  if (text.size() > kMaxStateBytes) return false;
  std::set<std::string_view> keys;
  while (!text.empty()) {
    const auto comma = std::min(text.find(','), text.size());
    const std::string_view member = trimmed(text.substr(0, comma));
    text.remove_prefix(std::min(comma + 1, text.size()));
    if (member.empty()) continue;
    const auto equals = member.find('=');
    if (equals == std::string_view::npos || !isKey(member.substr(0, equals)) || !isValue(member.substr(equals + 1)))
      return false;
    if (!keys.insert(member.substr(0, equals)).second || keys.size() > kMaxStateMembers) return false;
  }
  return true;
}

}  // namespace

std::vector<std::string_view> headersOf(const net::HttpRequest& request, std::string_view name) {
  std::vector<std::string_view> out;
  for (const auto& [key, value] : request.headers) {
    const bool same = key.size() == name.size() && std::equal(key.begin(), key.end(), name.begin(), [](char a, char b) {
                        return (a >= 'A' && a <= 'Z' ? static_cast<char>(a - 'A' + 'a') : a) == b;
                      });
    if (same) out.push_back(trimmed(value));
  }
  return out;
}

std::optional<protocol::TraceContext> traceContextOf(const net::HttpRequest& request) {
  const auto parents = headersOf(request, "traceparent");
  if (parents.size() != 1 || !isTraceparent(parents.front())) return std::nullopt;
  protocol::TraceContext out{std::string(parents.front()), ""};
  for (const std::string_view part : headersOf(request, "tracestate")) {
    if (!out.tracestate.empty()) out.tracestate += ',';
    out.tracestate += part;
  }
  if (!isTracestate(out.tracestate)) out.tracestate.clear();
  return out;
}

}  // namespace vaultysclaw::control::rest
