// MessagePack (github.com/msgpack/msgpack, spec.md), as far as signed bytes need it: maps, arrays, strings, binary,
// integers, floats, booleans and nil. Decoding keeps what the encoder chose (order of members, float width) so that
// decoding and encoding honest bytes gives the same bytes back; canonical() tells whether it does.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/bytes.hpp"
#include "base/result.hpp"

namespace vaultysclaw::msgpack {

class Value;
struct Nil {
  bool operator==(const Nil&) const = default;
};
using Array = std::vector<Value>;
// In the order of the bytes. Keys may be any value in foreign input; ours are strings.
using Map = std::vector<std::pair<Value, Value>>;

// One MessagePack value, a tree. Value type, immutable by convention.
// Integers: non-negative ones are held as uint64, negative ones as int64, whatever width the bytes had.
class Value {
 public:
  using Data = std::variant<Nil, bool, std::uint64_t, std::int64_t, float, double, std::string, Bytes, Array, Map>;

  Value() = default;
  Value(Nil) {}  // NOLINT(google-explicit-constructor)
  explicit Value(bool b) : data_(b) {}
  explicit Value(double d) : data_(d) {}
  explicit Value(float f) : data_(f) {}
  Value(std::string s) : data_(std::move(s)) {}         // NOLINT(google-explicit-constructor)
  Value(std::string_view s) : data_(std::string(s)) {}  // NOLINT(google-explicit-constructor)
  Value(const char* s) : data_(std::string(s)) {}       // NOLINT(google-explicit-constructor)
  Value(Bytes b) : data_(std::move(b)) {}               // NOLINT(google-explicit-constructor)
  Value(BytesView b) : data_(toBytes(b)) {}             // NOLINT(google-explicit-constructor)
  Value(Array a) : data_(std::move(a)) {}               // NOLINT(google-explicit-constructor)
  Value(Map m) : data_(std::move(m)) {}                 // NOLINT(google-explicit-constructor)
  static Value integer(std::int64_t i) {
    Value v;
    if (i >= 0)
      v.data_ = static_cast<std::uint64_t>(i);
    else
      v.data_ = i;
    return v;
  }
  static Value unsignedInteger(std::uint64_t u) {
    Value v;
    v.data_ = u;
    return v;
  }

  const Data& data() const { return data_; }
  bool isNil() const { return std::holds_alternative<Nil>(data_); }
  // Null when the value has another type.
  const std::string* string() const { return std::get_if<std::string>(&data_); }
  const Bytes* bytes() const { return std::get_if<Bytes>(&data_); }
  const Array* array() const { return std::get_if<Array>(&data_); }
  const Map* map() const { return std::get_if<Map>(&data_); }
  const bool* boolean() const { return std::get_if<bool>(&data_); }
  // Whole numbers that fit, from either integer form. Floats are not integers here.
  std::optional<std::int64_t> asInteger() const;
  // Member of a map by string key (the first, if foreign bytes repeat it); null when absent or not a map.
  const Value* find(std::string_view key) const;
  bool operator==(const Value&) const = default;

 private:
  Data data_ = Nil{};
};

struct DecodeLimits {
  std::size_t maxDepth = 32;
  std::size_t maxItems = 65536;  // values in the whole tree
};

// The smallest form of everything, float32 and float64 as held, members in order.
Bytes encode(const Value& value);

// Exactly one value and nothing after it. Malformed; TooLarge over a limit. Extension types are refused.
// Memory is bounded by the input's size times a small constant, whatever lengths the input claims.
Result<Value> decode(BytesView bytes, const DecodeLimits& limits = {});
// As decode, and reports how many bytes the value took; the rest is not looked at.
Result<std::pair<Value, std::size_t>> decodePrefix(BytesView bytes, const DecodeLimits& limits = {});

// Whether every map in the tree has string keys only, none twice, and every string is UTF-8.
bool isPlain(const Value& value);

// Whether the bytes are one plain value that encodes to the same bytes.
bool isCanonical(BytesView bytes, const DecodeLimits& limits = {});

}  // namespace vaultysclaw::msgpack
