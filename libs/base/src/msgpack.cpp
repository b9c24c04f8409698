#include "base/msgpack.hpp"

#include <bit>
#include <limits>
#include <set>

#include "base/msgpack_writer.hpp"
#include "base/utf8.hpp"

namespace vaultysclaw::msgpack {
namespace {

void putBigEndian(Bytes& out, std::uint64_t number, int width) {
  for (int shift = 8 * (width - 1); shift >= 0; shift -= 8) out.push_back(static_cast<std::uint8_t>(number >> shift));
}

void putTagged(Bytes& out, std::uint8_t tag, std::uint64_t number, int width) {
  out.push_back(tag);
  putBigEndian(out, number, width);
}

// Tags of one kind of sized value, by the width of the length. 0: the kind has no such form.
struct LengthTags {
  std::uint8_t fix;
  std::size_t fixLimit;  // lengths below it go into the tag byte
  std::uint8_t one, two, four;
};
constexpr LengthTags kString{0xa0, 32, 0xd9, 0xda, 0xdb};
constexpr LengthTags kBinary{0, 0, 0xc4, 0xc5, 0xc6};
constexpr LengthTags kArray{0x90, 16, 0, 0xdc, 0xdd};
constexpr LengthTags kMap{0x80, 16, 0, 0xde, 0xdf};

void putLength(Bytes& out, const LengthTags& tags, std::size_t length) {
  VC_ASSERT(length <= std::numeric_limits<std::uint32_t>::max(), "a MessagePack length over 32 bits");
  if (length < tags.fixLimit)
    out.push_back(static_cast<std::uint8_t>(tags.fix | length));
  else if (tags.one != 0 && length <= 0xff)
    putTagged(out, tags.one, length, 1);
  else if (length <= 0xffff)
    putTagged(out, tags.two, length, 2);
  else
    putTagged(out, tags.four, length, 4);
}

class Encoder {
 public:
  explicit Encoder(Bytes& out) : out_(out) {}

  void operator()(Nil) const { out_.push_back(0xc0); }
  void operator()(bool b) const { out_.push_back(b ? 0xc3 : 0xc2); }
  void operator()(std::uint64_t u) const {
    if (u < 0x80)
      out_.push_back(static_cast<std::uint8_t>(u));
    else if (u <= 0xff)
      putTagged(out_, 0xcc, u, 1);
    else if (u <= 0xffff)
      putTagged(out_, 0xcd, u, 2);
    else if (u <= 0xffffffff)
      putTagged(out_, 0xce, u, 4);
    else
      putTagged(out_, 0xcf, u, 8);
  }
  void operator()(std::int64_t i) const {
    const auto bits = static_cast<std::uint64_t>(i);
    if (i >= 0)
      (*this)(bits);
    else if (i >= -0x20)
      out_.push_back(static_cast<std::uint8_t>(bits));
    else if (i >= std::numeric_limits<std::int8_t>::min())
      putTagged(out_, 0xd0, bits, 1);
    else if (i >= std::numeric_limits<std::int16_t>::min())
      putTagged(out_, 0xd1, bits, 2);
    else if (i >= std::numeric_limits<std::int32_t>::min())
      putTagged(out_, 0xd2, bits, 4);
    else
      putTagged(out_, 0xd3, bits, 8);
  }
  void operator()(float f) const { putTagged(out_, 0xca, std::bit_cast<std::uint32_t>(f), 4); }
  void operator()(double d) const { putTagged(out_, 0xcb, std::bit_cast<std::uint64_t>(d), 8); }
  void operator()(std::string_view s) const {
    putLength(out_, kString, s.size());
    append(out_, asBytes(s));
  }
  void operator()(BytesView b) const {
    putLength(out_, kBinary, b.size());
    append(out_, b);
  }
  void operator()(const Array& items) const {
    putLength(out_, kArray, items.size());
    for (const Value& item : items) std::visit(*this, item.data());
  }
  void operator()(const Map& members) const {
    putLength(out_, kMap, members.size());
    for (const auto& [key, value] : members) {
      std::visit(*this, key.data());
      std::visit(*this, value.data());
    }
  }

 private:
  Bytes& out_;
};

class Decoder {
 public:
  Decoder(BytesView bytes, const DecodeLimits& limits) : bytes_(bytes), limits_(limits) {}

  std::size_t position() const { return position_; }

  Result<Value> value(std::size_t depth) {
    if (depth > limits_.maxDepth) return Error{Errc::TooLarge, "MessagePack nested too deeply"};
    if (++items_ > limits_.maxItems) return Error{Errc::TooLarge, "too many values in one MessagePack message"};
    if (left() < 1) return truncated();
    const std::uint8_t tag = bytes_[position_++];
    if (tag < 0x80) return Value::unsignedInteger(tag);
    if (tag < 0x90) return map(tag & 0x0f, depth);
    if (tag < 0xa0) return array(tag & 0x0f, depth);
    if (tag < 0xc0) return string(tag & 0x1f);
    if (tag >= 0xe0) return Value::integer(static_cast<std::int8_t>(tag));
    switch (tag) {
      case 0xc0:
        return Value();
      case 0xc2:
        return Value(false);
      case 0xc3:
        return Value(true);
      case 0xc4:
        return sized(1, [&](std::uint64_t n) { return binary(n); });
      case 0xc5:
        return sized(2, [&](std::uint64_t n) { return binary(n); });
      case 0xc6:
        return sized(4, [&](std::uint64_t n) { return binary(n); });
      case 0xca:
        return sized(4, [](std::uint64_t n) { return Value(std::bit_cast<float>(static_cast<std::uint32_t>(n))); });
      case 0xcb:
        return sized(8, [](std::uint64_t n) { return Value(std::bit_cast<double>(n)); });
      case 0xcc:
        return sized(1, &Value::unsignedInteger);
      case 0xcd:
        return sized(2, &Value::unsignedInteger);
      case 0xce:
        return sized(4, &Value::unsignedInteger);
      case 0xcf:
        return sized(8, &Value::unsignedInteger);
      case 0xd0:
        return sized(1, [](std::uint64_t n) { return Value::integer(static_cast<std::int8_t>(n)); });
      case 0xd1:
        return sized(2, [](std::uint64_t n) { return Value::integer(static_cast<std::int16_t>(n)); });
      case 0xd2:
        return sized(4, [](std::uint64_t n) { return Value::integer(static_cast<std::int32_t>(n)); });
      case 0xd3:
        return sized(8, [](std::uint64_t n) { return Value::integer(static_cast<std::int64_t>(n)); });
      case 0xd9:
        return sized(1, [&](std::uint64_t n) { return string(n); });
      case 0xda:
        return sized(2, [&](std::uint64_t n) { return string(n); });
      case 0xdb:
        return sized(4, [&](std::uint64_t n) { return string(n); });
      case 0xdc:
        return sized(2, [&](std::uint64_t n) { return array(n, depth); });
      case 0xdd:
        return sized(4, [&](std::uint64_t n) { return array(n, depth); });
      case 0xde:
        return sized(2, [&](std::uint64_t n) { return map(n, depth); });
      case 0xdf:
        return sized(4, [&](std::uint64_t n) { return map(n, depth); });
      default:
        return Error{Errc::Malformed, "MessagePack extension or reserved type"};
    }
  }

 private:
  std::size_t left() const { return bytes_.size() - position_; }
  static Error truncated() { return Error{Errc::Malformed, "MessagePack ends too early"}; }

  // Reads a big-endian number of `width` bytes and hands it on.
  template <class F>
  Result<Value> sized(std::size_t width, F&& f) {
    if (left() < width) return truncated();
    std::uint64_t number = 0;
    for (std::size_t i = 0; i < width; ++i) number = number << 8 | bytes_[position_++];
    return f(number);
  }
  Result<Value> string(std::uint64_t length) {
    if (left() < length) return truncated();
    const BytesView part = bytes_.subspan(position_, length);
    position_ += length;
    return Value(asText(part));
  }
  Result<Value> binary(std::uint64_t length) {
    if (left() < length) return truncated();
    const BytesView part = bytes_.subspan(position_, length);
    position_ += length;
    return Value(part);
  }
  // Containers grow as their items arrive: a claimed length reserves nothing.
  Result<Value> array(std::uint64_t length, std::size_t depth) {
    if (left() < length) return truncated();
    Array items;
    for (std::uint64_t i = 0; i < length; ++i) {
      VC_TRY_ASSIGN(Value item, value(depth + 1));
      items.push_back(std::move(item));
    }
    return Value(std::move(items));
  }
  Result<Value> map(std::uint64_t length, std::size_t depth) {
    if (left() / 2 < length) return truncated();
    Map members;
    for (std::uint64_t i = 0; i < length; ++i) {
      VC_TRY_ASSIGN(Value key, value(depth + 1));
      VC_TRY_ASSIGN(Value member, value(depth + 1));
      members.emplace_back(std::move(key), std::move(member));
    }
    return Value(std::move(members));
  }

  BytesView bytes_;
  const DecodeLimits& limits_;
  std::size_t position_ = 0;
  std::size_t items_ = 0;
};

}  // namespace

std::optional<std::int64_t> Value::asInteger() const {
  if (const auto* i = std::get_if<std::int64_t>(&data_)) return *i;
  if (const auto* u = std::get_if<std::uint64_t>(&data_)) {
    if (*u <= static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()))
      return static_cast<std::int64_t>(*u);
  }
  return std::nullopt;
}

const Value* Value::find(std::string_view key) const {
  if (const Map* members = map()) {
    for (const auto& [name, member] : *members) {
      if (const std::string* text = name.string(); text != nullptr && *text == key) return &member;
    }
  }
  return nullptr;
}

Bytes encode(const Value& value) {
  Bytes out;
  std::visit(Encoder(out), value.data());
  return out;
}

void Writer::beginMap(std::size_t members) {
  putLength(out_, kMap, members);
}
void Writer::text(std::string_view text) {
  Encoder{out_}(text);
}
void Writer::binary(BytesView bytes) {
  Encoder{out_}(bytes);
}
void Writer::integer(std::int64_t number) {
  Encoder{out_}(number);
}
void Writer::map(const Map& members) {
  Encoder{out_}(members);
}

Result<std::pair<Value, std::size_t>> decodePrefix(BytesView bytes, const DecodeLimits& limits) {
  Decoder decoder(bytes, limits);
  VC_TRY_ASSIGN(Value value, decoder.value(0));
  return std::pair(std::move(value), decoder.position());
}

Result<Value> decode(BytesView bytes, const DecodeLimits& limits) {
  VC_TRY_ASSIGN(auto decoded, decodePrefix(bytes, limits));
  if (decoded.second != bytes.size()) return Error{Errc::Malformed, "bytes after the MessagePack value"};
  return std::move(decoded.first);
}

bool isPlain(const Value& value) {
  if (const std::string* text = value.string()) return isValidUtf8(*text);
  if (const Array* items = value.array()) {
    for (const Value& item : *items) {
      if (!isPlain(item)) return false;
    }
  }
  if (const Map* members = value.map()) {
    std::set<std::string_view> seen;
    for (const auto& [key, member] : *members) {
      const std::string* name = key.string();
      if (name == nullptr || !isValidUtf8(*name) || !seen.insert(*name).second || !isPlain(member)) return false;
    }
  }
  return true;
}

bool isCanonical(BytesView bytes, const DecodeLimits& limits) {
  const auto decoded = decode(bytes, limits);
  if (!decoded.ok() || !isPlain(*decoded)) return false;
  const Bytes again = encode(*decoded);
  return std::equal(again.begin(), again.end(), bytes.begin(), bytes.end());
}

}  // namespace vaultysclaw::msgpack
