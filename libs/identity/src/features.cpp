#include "identity/features.hpp"

#include <algorithm>

namespace vaultysclaw::identity {
namespace {

constexpr std::size_t kMaxFeatures = 32, kMaxNameBytes = 64;  // docs/protocol.md 7.7

bool isName(std::string_view name) {
  return !name.empty() && name.size() <= kMaxNameBytes &&
         std::all_of(name.begin(), name.end(), [](char c) { return c >= 0x20 && c < 0x7f; });
}

std::string join(const std::set<std::string, std::less<>>& names, std::string_view separator) {
  std::string out;
  for (const auto& name : names) {
    if (!out.empty()) out += separator;
    out += name;
  }
  return out;
}

}  // namespace

const Features& Features::ours() {
  static const Features all = [] {
    Features f;
    for (const auto name :
         {feature::kSeal, feature::kIntentV2, feature::kSignedResults, feature::kResultAck, feature::kControlV2})
      f.names_.emplace(name);
    return f;
  }();
  return all;
}

Result<Features> Features::fromMetadata(const msgpack::Value& metadata) {
  Features out;
  const auto* member = metadata.find("features");
  if (member == nullptr) return out;
  if (member->array() == nullptr) return Error{Errc::Malformed, "features in the handshake's metadata is not a list"};
  if (member->array()->size() > kMaxFeatures)
    return Error{Errc::TooLarge, "the handshake's metadata lists more than 32 features"};
  for (const auto& item : *member->array()) {
    if (item.string() == nullptr)
      return Error{Errc::Malformed, "features in the handshake's metadata holds something else than strings"};
    if (!isName(*item.string()))
      return Error{Errc::TooLarge, "a feature's name must be 1 to 64 printable ASCII characters"};
    out.names_.insert(*item.string());
  }
  return out;
}

Result<Features> Features::fromText(std::string_view text) {
  Features out;
  while (!text.empty()) {
    const auto end = std::min(text.find('\n'), text.size());
    const std::string_view name = text.substr(0, end);
    if (!isName(name)) return Error{Errc::Malformed, "a stored list of features that cannot be read"};
    out.names_.emplace(name);
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return out;
}

Features Features::without(std::string_view name) const {
  Features out = *this;
  if (const auto it = out.names_.find(name); it != out.names_.end()) out.names_.erase(it);
  return out;
}

Features Features::with(const Features& other) const {
  Features both;
  std::set_intersection(names_.begin(), names_.end(), other.names_.begin(), other.names_.end(),
                        std::inserter(both.names_, both.names_.end()));
  if (!both.has(feature::kSeal)) {
    const bool control = both.has(feature::kControlV2);
    both.names_.clear();
    if (control) both.names_.emplace(feature::kControlV2);
  }
  if (!both.has(feature::kSignedResults)) both = both.without(feature::kResultAck);
  return both;
}

std::string Features::missing(const Features& other) const {
  std::set<std::string, std::less<>> out;
  std::set_difference(other.names_.begin(), other.names_.end(), names_.begin(), names_.end(),
                      std::inserter(out, out.end()));
  return join(out, ", ");
}

msgpack::Value Features::toMetadata() const {
  msgpack::Array array;
  for (const auto& name : names_) array.emplace_back(name);
  return msgpack::Value(std::move(array));
}

std::string Features::text() const {
  return join(names_, "\n");
}

}  // namespace vaultysclaw::identity
