#include "reader.hpp"

#include <algorithm>
#include <cmath>

#include "protocol/codec.hpp"

namespace vaultysclaw::protocol {
namespace {
constexpr double kMaxInteger = 9007199254740992.0;            // 2^53, beyond it JavaScript skips numbers
constexpr std::int64_t kMaxTimeMillis = 253'402'300'799'999;  // the end of the year 9999
constexpr std::int64_t kMinTimeMillis = -62'167'219'200'000;  // the begin of the year 0
constexpr std::string_view kIdRule = "must be 1 to 128 printable ASCII characters";
}  // namespace

void Reading::fail(std::string path, std::string_view why) {
  if (!error) error = Error{Errc::Malformed, std::move(path) + ": " + std::string(why)};
}

Fields::Fields(Reading& reading, std::optional<Node> object) : Fields(reading, object, nullptr, "", std::nullopt) {}

Fields::Fields(Reading& reading, std::optional<Node> object, const Fields* parent, std::string_view name,
               std::optional<std::size_t> index)
    : reading_(reading), parent_(parent), name_(name), index_(index), object_(object) {
  if (!object_) return;
  if (!object_->value.is_object()) {
    if (!reading_.error) reading_.fail(path(), "must be an object");
    object_.reset();
    return;
  }
  const simdjson::dom::object members = object_->value.get_object().value_unsafe();
  for (const auto member : members) members_.push_back({member.key, member.value, members_.size()});
}

std::string Fields::path() const {
  std::string out = parent_ ? parent_->pathOf(name_) : std::string(name_);
  if (index_) out += "[" + std::to_string(*index_) + "]";
  return out;
}

std::string Fields::pathOf(std::string_view name) const {
  std::string out = path();
  if (!out.empty()) out += '.';
  return out += name;
}

const Fields::Member* Fields::findAny(std::string_view name) const {
  for (const Member& member : members_) {
    if (member.key == name) return &member;
  }
  return nullptr;
}

const Fields::Member* Fields::find(std::string_view name) const {
  const Member* member = findAny(name);
  return member && !member->value.is_null() ? member : nullptr;
}

bool Fields::has(std::string_view name) const {
  return find(name) != nullptr;
}

void Fields::fail(std::string_view name, std::string_view why) {
  if (!reading_.error) reading_.fail(pathOf(name), why);
}

std::optional<std::string_view> Fields::string(std::string_view name, Presence presence) {
  const Member* member = find(name);
  if (member && member->value.is_string()) return member->value.get_string().value_unsafe();
  if (member || presence == Presence::Required) fail(name, "must be a string");
  return std::nullopt;
}

std::string Fields::text(std::string_view name, Presence presence) {
  return std::string(string(name, presence).value_or(std::string_view()));
}

std::optional<std::string> Fields::optionalText(std::string_view name) {
  const auto value = string(name, Presence::Optional);
  return value ? std::optional<std::string>(*value) : std::nullopt;
}

std::optional<std::string> Fields::textIfString(std::string_view name) {
  const Member* member = find(name);
  if (!member || !member->value.is_string()) return std::nullopt;
  return std::string(member->value.get_string().value_unsafe());
}

std::string Fields::id(std::string_view name, Presence presence) {
  const auto value = string(name, presence);
  if (!value || (presence == Presence::Optional && value->empty())) return {};
  if (!isValidWireId(*value)) fail(name, kIdRule);
  return std::string(*value);
}

std::optional<std::string> Fields::optionalId(std::string_view name) {
  const auto value = string(name, Presence::Optional);
  if (!value) return std::nullopt;
  if (!isValidWireId(*value)) fail(name, kIdRule);
  return std::string(*value);
}

std::string Fields::name(std::string_view name, Presence presence) {
  const auto value = string(name, presence);
  if (!value || (presence == Presence::Optional && value->empty())) return {};
  if (const Status status = checkName(*value); !status) fail(name, status.error().message);
  return std::string(*value);
}

std::optional<simdjson::dom::array> Fields::list(std::string_view name, std::size_t maxItems, std::string_view what) {
  const Member* member = find(name);
  if (!member) return std::nullopt;
  if (!member->value.is_array()) {
    fail(name, what);
    return std::nullopt;
  }
  const simdjson::dom::array items = member->value.get_array().value_unsafe();
  if (items.size() > maxItems) {  // the parser has counted them
    fail(name, "must not hold more than " + std::to_string(maxItems) + " items");
    return std::nullopt;
  }
  return items;
}

std::vector<std::string> Fields::texts(std::string_view name, std::size_t maxItems, std::size_t maxBytes) {
  constexpr std::string_view kRule = "must be an array of strings";
  std::vector<std::string> out;
  const auto items = list(name, maxItems, kRule);
  if (!items) return out;
  for (const auto item : *items) {
    if (!item.is_string()) {
      fail(name, kRule);
      return out;
    }
    const std::string_view text = item.get_string().value_unsafe();
    if (text.size() > maxBytes) {
      fail(name, "every item must be at most " + std::to_string(maxBytes) + " bytes long");
      return out;
    }
    out.emplace_back(text);
  }
  return out;
}

std::vector<std::string> Fields::domains(std::string_view name) {
  return texts(name, kMaxDomains, kMaxDomainBytes);
}

std::vector<std::string> Fields::capabilities(std::string_view name, Presence presence) {
  if (presence == Presence::Required && !has(name)) fail(name, "must be an array of strings");
  auto out = texts(name);
  if (const Status status = checkCapabilities(out); !status) fail(name, status.error().message);
  return out;
}

std::optional<bool> Fields::optionalBoolean(std::string_view name) {
  const Member* member = find(name);
  if (!member) return std::nullopt;
  if (!member->value.is_bool()) {
    fail(name, "must be true or false");
    return std::nullopt;
  }
  return member->value.get_bool().value_unsafe();
}

bool Fields::boolean(std::string_view name, Presence presence) {
  if (presence == Presence::Required && !has(name)) fail(name, "must be true or false");
  return optionalBoolean(name).value_or(false);
}

std::optional<double> Fields::optionalNumber(std::string_view name) {
  const Member* member = find(name);
  if (!member) return std::nullopt;
  double value = 0;
  if (!member->value.is_number() || member->value.get_double().get(value) != simdjson::SUCCESS) {
    fail(name, "must be a number");
    return std::nullopt;
  }
  return value + 0.0;  // minus zero becomes zero
}

std::optional<std::int64_t> Fields::optionalInteger(std::string_view name) {
  const auto value = optionalNumber(name);
  if (!value) return std::nullopt;
  if (std::abs(*value) > kMaxInteger) {
    fail(name, "must be within 2^53");
    return std::nullopt;
  }
  return static_cast<std::int64_t>(*value);
}

std::optional<std::int64_t> Fields::optionalCount(std::string_view name) {
  const auto value = optionalInteger(name);
  if (value && *value < 0) {
    fail(name, "must not be negative");
    return std::nullopt;
  }
  return value;
}

std::optional<WallTime> Fields::optionalTime(std::string_view name) {
  const Member* member = find(name);
  if (!member) return std::nullopt;
  std::optional<WallTime> time;
  if (member->value.is_string()) {
    if (auto parsed = fromIso8601(member->value.get_string().value_unsafe())) time = *parsed;
  } else if (member->value.is_number()) {
    if (const auto ms = optionalInteger(name)) time = fromUnixMillis(*ms);
  }
  if (!time || toUnixMillis(*time) > kMaxTimeMillis || toUnixMillis(*time) < kMinTimeMillis) {
    fail(name, "must be a time such as 2026-01-31T12:00:00.000Z");
    return std::nullopt;
  }
  return time;
}

std::string_view Fields::bytes(const Member& member) {
  if (!valueBytes_) valueBytes_ = splitObject(object_->text);
  VC_ASSERT(member.position < valueBytes_->size(), "a member without bytes");
  return (*valueBytes_)[member.position];
}

RawJson Fields::checkedRaw(std::string_view name, std::string_view bytes) {
  if (reading_.document.hasLoneSurrogate(bytes)) fail(name, "holds half of a surrogate pair");
  return RawJson{std::string(bytes)};
}

std::optional<RawJson> Fields::raw(std::string_view name) {
  const Member* member = findAny(name);
  if (!member) return std::nullopt;
  return checkedRaw(name, bytes(*member));
}

std::optional<RawJson> Fields::rawUnlessNull(std::string_view name) {
  return has(name) ? raw(name) : std::nullopt;
}

RawJson Fields::rawOr(std::string_view name, std::string_view absent) {
  auto value = raw(name);
  return value ? std::move(*value) : RawJson{std::string(absent)};
}

RawJson Fields::self() {
  if (!object_) return RawJson{"{}"};
  if (reading_.document.hasLoneSurrogate(object_->text)) reading_.fail(path(), "holds half of a surrogate pair");
  return RawJson{std::string(object_->text)};
}

Fields Fields::object(std::string_view name) {
  const Member* member = find(name);
  return Fields(reading_, member ? std::optional(Node{member->value, bytes(*member)}) : std::nullopt, this, name,
                std::nullopt);
}

void Fields::each(std::string_view name, const std::function<void(Fields&)>& readItem) {
  const auto items = list(name, kMaxListItems, "must be an array");
  if (!items) return;
  const auto texts = splitArray(bytes(*find(name)));
  std::size_t index = 0;
  for (const auto item : *items) {
    VC_ASSERT(index < texts.size(), "an item without bytes");
    Fields fields(reading_, Node{item, texts[index]}, this, name, index);
    if (reading_.error) return;
    readItem(fields);
    if (reading_.error) return;
    ++index;
  }
}

}  // namespace vaultysclaw::protocol
