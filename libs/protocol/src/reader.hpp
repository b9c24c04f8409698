// Typed reading of a checked JSON object, with errors that name the member. Private to libs/protocol.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "document.hpp"
#include "protocol/codec.hpp"
#include "protocol/messages.hpp"

namespace vaultysclaw::protocol {

// What may stand at a place. Optional members may also be null, which means absent.
enum class Presence : bool { Optional, Required };

// One read of a document: holds the first error. After it every getter still answers, with empty values.
struct Reading {
  const Document& document;
  std::optional<Error> error{};

  void fail(std::string path, std::string_view why);
};

// The members of one object. Confined to one call; must not outlive the Reading, the parent or a name it was given.
class Fields {
 public:
  // An object that is missing altogether reads as empty.
  Fields(Reading& reading, std::optional<Node> object);
  Fields(const Fields&) = delete;  // its children point to it
  Fields& operator=(const Fields&) = delete;

  // What errors call this object, if it is the root; nothing at first.
  void rename(std::string_view name) { name_ = name; }

  bool has(std::string_view name) const;  // present and not null

  // Text of any length.
  std::string text(std::string_view name, Presence presence = Presence::Optional);
  std::optional<std::string> optionalText(std::string_view name);
  // As optionalText, but a value that is no string reads as absent.
  std::optional<std::string> textIfString(std::string_view name);
  // 1 to 128 printable ASCII characters; optional ones may also be "".
  std::string id(std::string_view name, Presence presence = Presence::Required);
  std::optional<std::string> optionalId(std::string_view name);
  template <class I>
  std::optional<I> optionalIdOf(std::string_view name) {
    auto value = optionalId(name);
    return value ? std::optional<I>(I(std::move(*value))) : std::nullopt;
  }
  // 1 to 128 code points, see checkName(); optional ones may also be "".
  std::string name(std::string_view name, Presence presence = Presence::Optional);
  std::vector<std::string> capabilities(std::string_view name, Presence presence = Presence::Optional);
  // At most `maxItems` texts of at most `maxBytes` each.
  std::vector<std::string> texts(std::string_view name, std::size_t maxItems = kMaxListItems,
                                 std::size_t maxBytes = std::numeric_limits<std::size_t>::max());
  // At most kMaxDomains texts, none longer than a name in DNS.
  std::vector<std::string> domains(std::string_view name);

  bool boolean(std::string_view name, Presence presence = Presence::Optional);
  std::optional<bool> optionalBoolean(std::string_view name);
  // Whole numbers within +-2^53; fractions, which JavaScript writes for durations, are cut off.
  std::optional<std::int64_t> optionalInteger(std::string_view name);
  // As optionalInteger, not negative.
  std::optional<std::int64_t> optionalCount(std::string_view name);
  std::int64_t count(std::string_view name) { return optionalCount(name).value_or(0); }
  std::optional<double> optionalNumber(std::string_view name);
  // An RFC 3339 string or milliseconds since the epoch.
  std::optional<WallTime> optionalTime(std::string_view name);

  // The value's own bytes; null is a value here.
  std::optional<RawJson> raw(std::string_view name);
  RawJson rawOr(std::string_view name, std::string_view absent);
  // As raw(), but null means absent.
  std::optional<RawJson> rawUnlessNull(std::string_view name);
  // The bytes of this object.
  RawJson self();

  Fields object(std::string_view name);  // empty when absent
  // Calls `readItem` for one object of a list after the other, at most kMaxListItems, until one has an error.
  void each(std::string_view name, const std::function<void(Fields&)>& readItem);

  void fail(std::string_view name, std::string_view why);

 private:
  struct Member {
    std::string_view key;
    simdjson::dom::element value;
    std::size_t position;
  };

  Fields(Reading& reading, std::optional<Node> object, const Fields* parent, std::string_view name,
         std::optional<std::size_t> index);

  // Made when an error is: most messages have none.
  std::string path() const;
  std::string pathOf(std::string_view name) const;
  // Absent, with an error, when there is no list of at most `maxItems`; absent without one when there is nothing.
  std::optional<simdjson::dom::array> list(std::string_view name, std::size_t maxItems, std::string_view what);
  const Member* find(std::string_view name) const;  // null when absent or null
  const Member* findAny(std::string_view name) const;
  std::optional<std::string_view> string(std::string_view name, Presence presence);
  std::string_view bytes(const Member& member);
  RawJson checkedRaw(std::string_view name, std::string_view bytes);

  Reading& reading_;
  const Fields* parent_ = nullptr;
  std::string_view name_;
  std::optional<std::size_t> index_;  // of an item in a list
  std::optional<Node> object_;
  std::vector<Member> members_;
  std::optional<std::vector<std::string_view>> valueBytes_;
};

}  // namespace vaultysclaw::protocol
