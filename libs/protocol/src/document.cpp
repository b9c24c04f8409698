#include "document.hpp"

#include <algorithm>
#include <compare>
#include <functional>
#include <optional>
#include <string>

#include "base/assert.hpp"
#include "protocol/codec.hpp"

namespace vaultysclaw::protocol {
namespace {

constexpr std::size_t kKeptBytes = std::size_t{1} << 20;  // larger buffers are given back after use
constexpr std::size_t kParserDepth = kMaxDepth + 2;

// Sorts by hash, which costs far less than by text. Keys made to collide sort by text: still n log n.
struct HashedKey {
  std::size_t hash;
  std::string_view text;
  auto operator<=>(const HashedKey&) const = default;
};

struct ThreadBuffers {
  std::string text;
  simdjson::dom::parser parser;
  std::vector<HashedKey> keys;
  bool inUse = false;
};

ThreadBuffers& threadBuffers() {
  thread_local ThreadBuffers buffers;
  return buffers;
}

bool isSpace(char c) {
  return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}
bool isDigit(char c) {
  return c >= '0' && c <= '9';
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && isSpace(text.front())) text.remove_prefix(1);
  while (!text.empty() && isSpace(text.back())) text.remove_suffix(1);
  return text;
}

// The code unit of a `\uXXXX` at `at`; empty for anything else.
std::optional<unsigned> escapedUnit(std::string_view text, std::size_t at) {
  if (at + 6 > text.size() || text[at] != '\\' || text[at + 1] != 'u') return std::nullopt;
  unsigned unit = 0;
  for (char c : text.substr(at + 2, 4)) {
    unit <<= 4;
    if (isDigit(c))
      unit += static_cast<unsigned>(c - '0');
    else if (c >= 'a' && c <= 'f')
      unit += static_cast<unsigned>(c - 'a') + 10;
    else if (c >= 'A' && c <= 'F')
      unit += static_cast<unsigned>(c - 'A') + 10;
    else
      return std::nullopt;
  }
  return unit;
}

bool isHighSurrogate(unsigned unit) {
  return unit >= 0xd800 && unit <= 0xdbff;
}
bool isLowSurrogate(unsigned unit) {
  return unit >= 0xdc00 && unit <= 0xdfff;
}

// Makes the copy readable for simdjson, which refuses two things that JavaScript writes: the escape of a surrogate
// without a partner, and whole numbers over 64 bits. Both are replaced by something of the same length, so that places
// in the copy are places in the text. Never reads past the end, whatever the text is.
class Preparation {
 public:
  Preparation(std::string_view text, std::string& copy, std::vector<const char*>& lone)
      : text_(text), copy_(copy), lone_(lone), hasEscapes_(text.find('\\') != std::string_view::npos) {}

  void run() {
    while (at_ < text_.size()) {
      const char c = text_[at_];
      if (c == '"')
        string();
      else if (c == '-' || isDigit(c))
        number();
      else
        ++at_;
    }
  }

 private:
  void string() {
    ++at_;
    if (!hasEscapes_) at_ = std::min(text_.find('"', at_), text_.size());
    while (at_ < text_.size() && text_[at_] != '"') {
      if (text_[at_] == '\\')
        escape();
      else
        ++at_;
    }
    ++at_;
  }

  void escape() {
    const auto unit = escapedUnit(text_, at_);
    if (!unit) {
      at_ += 2;
      return;
    }
    if (isHighSurrogate(*unit)) {
      const auto next = escapedUnit(text_, at_ + 6);
      if (next && isLowSurrogate(*next)) {
        at_ += 12;
        return;
      }
    }
    if (isHighSurrogate(*unit) || isLowSurrogate(*unit)) {
      lone_.push_back(text_.data() + at_);
      copy_.replace(at_ + 2, 4, "fffd");
    }
    at_ += 6;
  }

  void number() {
    const bool negative = text_[at_] == '-';
    if (negative) ++at_;
    const std::size_t begin = at_;
    while (at_ < text_.size() && isDigit(text_[at_])) ++at_;
    const std::string_view digits = text_.substr(begin, at_ - begin);
    if (at_ < text_.size() && (text_[at_] == '.' || text_[at_] == 'e' || text_[at_] == 'E')) {
      while (at_ < text_.size() &&
             (isDigit(text_[at_]) || std::string_view(".eE+-").find(text_[at_]) != std::string_view::npos))
        ++at_;
      return;
    }
    const std::string_view most = negative ? "9223372036854775808" : "18446744073709551615";
    if (digits.size() < most.size() || (digits.size() == most.size() && digits <= most)) return;
    // Read as a double, and there the last three of so many digits make no difference.
    copy_.replace(at_ - 3, 3, "e03");
  }

  std::string_view text_;
  std::string& copy_;
  std::vector<const char*>& lone_;
  bool hasEscapes_;
  std::size_t at_ = 0;
};

// Refuses objects that name a member twice, and too much depth. Recursion is bounded by the parser's depth.
class Walk {
 public:
  Walk(std::size_t maxDepth, std::vector<HashedKey>& keys, std::string_view what)
      : maxDepth_(maxDepth), keys_(keys), what_(what) {}

  Status check(simdjson::dom::element value, std::size_t depth) {
    if (value.is_object()) {
      if (depth >= maxDepth_) return tooDeep();
      const simdjson::dom::object object = value.get_object().value_unsafe();
      VC_TRY(checkNames(object));
      for (const auto member : object) VC_TRY(check(member.value, depth + 1));
    } else if (value.is_array()) {
      if (depth >= maxDepth_) return tooDeep();
      const simdjson::dom::array items = value.get_array().value_unsafe();
      for (const auto item : items) VC_TRY(check(item, depth + 1));
    }
    return {};
  }

  Error tooDeep() const {
    return {Errc::Malformed, std::string(what_) + ": nested deeper than " + std::to_string(maxDepth_) + " levels"};
  }

 private:
  Status checkNames(simdjson::dom::object object) {
    keys_.clear();
    for (const auto member : object) keys_.push_back({std::hash<std::string_view>{}(member.key), member.key});
    std::sort(keys_.begin(), keys_.end());
    const bool twice = std::adjacent_find(keys_.begin(), keys_.end()) != keys_.end();
    if (twice) return Error{Errc::Malformed, std::string(what_) + ": an object names a member twice"};
    return {};
  }

  std::size_t maxDepth_;
  std::vector<HashedKey>& keys_;
  std::string_view what_;
};

std::string_view reason(simdjson::error_code code) {
  switch (code) {
    case simdjson::UTF8_ERROR:
      return "not valid UTF-8";
    case simdjson::NUMBER_ERROR:
      return "not valid JSON: a number is malformed or out of range";
    case simdjson::STRING_ERROR:
    case simdjson::UNESCAPED_CHARS:
    case simdjson::UNCLOSED_STRING:
      return "not valid JSON: a string is malformed";
    case simdjson::EMPTY:
      return "empty";
    default:
      return "not valid JSON";
  }
}

// Steps over pieces of a checked text. `at` is the first byte of the piece; the result is the first byte after it.
std::size_t skipSpace(std::string_view text, std::size_t at) {
  while (at < text.size() && isSpace(text[at])) ++at;
  return at;
}

std::size_t skipString(std::string_view text, std::size_t at) {
  const std::size_t open = at;
  for (;;) {
    at = text.find('"', at + 1);
    VC_ASSERT(at != std::string_view::npos, "a checked JSON string without an end");
    std::size_t backslashes = 0;
    while (at - backslashes - 1 > open && text[at - backslashes - 1] == '\\') ++backslashes;
    if (backslashes % 2 == 0) return at + 1;
  }
}

std::size_t skipValue(std::string_view text, std::size_t at) {
  if (text[at] == '"') return skipString(text, at);
  if (text[at] != '{' && text[at] != '[') {
    while (at < text.size() && !isSpace(text[at]) && text[at] != ',' && text[at] != ']' && text[at] != '}') ++at;
    return at;
  }
  std::size_t depth = 0;
  while (at < text.size()) {
    const char c = text[at];
    if (c == '"') {
      at = skipString(text, at);
      continue;
    }
    ++at;
    if (c == '{' || c == '[') ++depth;
    if ((c == '}' || c == ']') && --depth == 0) break;
  }
  return at;
}

std::vector<std::string_view> split(std::string_view text, bool named) {
  std::vector<std::string_view> out;
  std::size_t at = skipSpace(text, 1);
  while (at < text.size() && text[at] != '}' && text[at] != ']') {
    if (named) at = skipSpace(text, skipSpace(text, skipString(text, at)) + 1);
    VC_ASSERT(at < text.size(), "a checked JSON text ends early");
    const std::size_t end = skipValue(text, at);
    VC_ASSERT(end <= text.size(), "a checked JSON value ends late");
    out.push_back(text.substr(at, end - at));
    at = skipSpace(text, end);
    if (at < text.size() && text[at] == ',') at = skipSpace(text, at + 1);
  }
  return out;
}

}  // namespace

Result<Document> Document::parse(std::string_view text, std::size_t maxBytes, std::size_t maxDepth,
                                 std::string_view what) {
  const auto malformed = [&](std::string_view why) {
    return Error{Errc::Malformed, std::string(what) + ": " + std::string(why)};
  };
  if (text.size() > maxBytes) {
    return Error{Errc::TooLarge, std::string(what) + ": " + std::to_string(text.size()) + " bytes, at most " +
                                     std::to_string(maxBytes) + " are allowed"};
  }
  if (text.starts_with("\xef\xbb\xbf")) return malformed("starts with a byte order mark");

  ThreadBuffers& buffers = threadBuffers();
  VC_ASSERT(!buffers.inUse, "two JSON documents on one thread");
  buffers.inUse = true;
  Document out;  // gives the buffers back when an error returns early
  out.text_ = trimmed(text);
  if (out.text_.empty()) return malformed("empty");

  buffers.text.reserve(out.text_.size() + simdjson::SIMDJSON_PADDING);
  buffers.text.assign(out.text_);
  Preparation(out.text_, buffers.text, out.loneSurrogates_).run();
  buffers.text.append(simdjson::SIMDJSON_PADDING, '\0');

  // More levels than allowed, for the parser does not count an empty container as a level; Walk counts exactly.
  if (buffers.parser.max_depth() != kParserDepth || buffers.parser.capacity() < out.text_.size()) {
    if (buffers.parser.allocate(std::max<std::size_t>(out.text_.size(), 4096), kParserDepth) != simdjson::SUCCESS) {
      return Error{Errc::TooLarge, std::string(what) + ": no memory to read it"};
    }
  }
  auto parsed = buffers.parser.parse(buffers.text.data(), out.text_.size(), false);
  Walk walk(maxDepth, buffers.keys, what);
  if (parsed.error() == simdjson::DEPTH_ERROR) return walk.tooDeep();
  if (parsed.error() != simdjson::SUCCESS) return malformed(reason(parsed.error()));
  out.root_ = parsed.value_unsafe();
  VC_TRY(walk.check(out.root_, 0));
  return out;
}

Document::Document(Document&& other) noexcept
    : text_(other.text_),
      root_(other.root_),
      loneSurrogates_(std::move(other.loneSurrogates_)),
      owner_(std::exchange(other.owner_, false)) {}

Document::~Document() {
  if (!owner_) return;
  ThreadBuffers& buffers = threadBuffers();
  if (buffers.text.capacity() > kKeptBytes) buffers.text = {};
  if (buffers.parser.capacity() > kKeptBytes) buffers.parser = simdjson::dom::parser{};
  if (buffers.keys.capacity() > kKeptBytes / sizeof(HashedKey)) buffers.keys = {};
  buffers.inUse = false;
}

bool Document::hasLoneSurrogate(std::string_view part) const {
  const auto first = std::lower_bound(loneSurrogates_.begin(), loneSurrogates_.end(), part.data());
  return first != loneSurrogates_.end() && *first < part.data() + part.size();
}

std::vector<std::string_view> splitObject(std::string_view text) {
  return split(text, true);
}
std::vector<std::string_view> splitArray(std::string_view text) {
  return split(text, false);
}

}  // namespace vaultysclaw::protocol
