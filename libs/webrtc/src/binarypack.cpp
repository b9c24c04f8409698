#include "webrtc/binarypack.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdio>
#include <limits>
#include <set>

#include "base/utf8.hpp"

namespace vaultysclaw::webrtc::binarypack {
namespace {

constexpr std::int64_t kMostNegativeExact = -(std::int64_t{1} << 53);

void putBigEndian(Bytes& out, std::uint8_t tag, std::uint64_t number, int width) {
  out.push_back(tag);
  for (int shift = 8 * (width - 1); shift >= 0; shift -= 8) out.push_back(static_cast<std::uint8_t>(number >> shift));
}

// The three forms of a length or count.
struct LengthTags {
  std::uint8_t fix, two, four;
};
constexpr LengthTags kMap{0x80, 0xde, 0xdf}, kArray{0x90, 0xdc, 0xdd}, kRaw{0xa0, 0xda, 0xdb},
    kString{0xb0, 0xd8, 0xd9};

class Encoder {
 public:
  Status value(const Value& v, std::size_t depth) {
    if (depth > DecodeLimits{}.maxDepth) return Error{Errc::TooLarge, "BinaryPack: nested too deeply"};
    return std::visit([&](const auto& held) { return write(held, depth); }, v.data());
  }
  Bytes take() { return std::move(out_); }

 private:
  Status write(msgpack::Nil, std::size_t) { return out_.push_back(0xc0), Status(); }
  Status write(bool b, std::size_t) { return out_.push_back(b ? 0xc3 : 0xc2), Status(); }
  Status write(std::uint64_t u, std::size_t) {
    if (u <= 0x7f)
      out_.push_back(static_cast<std::uint8_t>(u));
    else if (u <= 0xff)
      putBigEndian(out_, 0xcc, u, 1);
    else if (u <= 0xffff)
      putBigEndian(out_, 0xcd, u, 2);
    else if (u <= 0xffffffff)
      putBigEndian(out_, 0xce, u, 4);
    else if (u <= static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()))
      putBigEndian(out_, 0xd3, u, 8);
    else
      putBigEndian(out_, 0xcf, u, 8);
    return {};
  }
  Status write(std::int64_t i, std::size_t depth) {
    const auto bits = static_cast<std::uint64_t>(i);
    if (i >= 0) return write(bits, depth);
    if (i >= -32)
      out_.push_back(static_cast<std::uint8_t>(bits));
    else if (i >= std::numeric_limits<std::int8_t>::min())
      putBigEndian(out_, 0xd0, bits, 1);
    else if (i >= std::numeric_limits<std::int16_t>::min())
      putBigEndian(out_, 0xd1, bits, 2);
    else if (i >= std::numeric_limits<std::int32_t>::min())
      putBigEndian(out_, 0xd2, bits, 4);
    else if (i >= kMostNegativeExact)
      putBigEndian(out_, 0xcb, std::bit_cast<std::uint64_t>(static_cast<double>(i)), 8);
    else
      putBigEndian(out_, 0xd3, bits, 8);
    return {};
  }
  Status write(float f, std::size_t depth) { return write(static_cast<double>(f), depth); }
  Status write(double d, std::size_t depth) {
    if (!std::isfinite(d)) return Error{Errc::InvalidArgument, "BinaryPack cannot hold NaN or an infinity"};
    // Whole numbers within 64 bits: those that a double can hold below 2^63 and 2^64, and from -2^63 on.
    if (d == std::trunc(d) && d >= -0x1p63 && d < 0x1p64) {
      return d < 0 ? write(static_cast<std::int64_t>(d), depth) : write(static_cast<std::uint64_t>(d), depth);
    }
    putBigEndian(out_, 0xcb, std::bit_cast<std::uint64_t>(d), 8);
    return {};
  }
  Status write(const std::string& text, std::size_t) {
    if (!isValidUtf8(text)) return Error{Errc::InvalidArgument, "BinaryPack: text that is not UTF-8"};
    VC_TRY(length(kString, text.size()));
    append(out_, asBytes(text));
    return {};
  }
  Status write(const Bytes& bytes, std::size_t) {
    VC_TRY(length(kRaw, bytes.size()));
    append(out_, bytes);
    return {};
  }
  Status write(const Array& items, std::size_t depth) {
    VC_TRY(length(kArray, items.size()));
    for (const Value& item : items) VC_TRY(value(item, depth + 1));
    return {};
  }
  Status write(const Map& members, std::size_t depth) {
    VC_TRY(length(kMap, members.size()));
    std::set<std::string_view> seen;
    for (const auto& [key, member] : members) {
      const std::string* name = key.string();
      if (name == nullptr) return Error{Errc::InvalidArgument, "BinaryPack: a key that is not text"};
      if (!seen.insert(*name).second) return Error{Errc::InvalidArgument, "BinaryPack: a key twice in one map"};
      VC_TRY(write(*name, depth));
      VC_TRY(value(member, depth + 1));
    }
    return {};
  }
  Status length(const LengthTags& tags, std::size_t n) {
    if (n <= 15)
      out_.push_back(static_cast<std::uint8_t>(tags.fix | n));
    else if (n <= 0xffff)
      putBigEndian(out_, tags.two, n, 2);
    else if (n <= 0xffffffff)
      putBigEndian(out_, tags.four, n, 4);
    else
      return Error{Errc::TooLarge, "BinaryPack: a length over 32 bits"};
    return {};
  }

  Bytes out_;
};

class Decoder {
 public:
  Decoder(BytesView bytes, const DecodeLimits& limits) : bytes_(bytes), limits_(limits) {}

  Result<Value> value(std::size_t depth) {
    if (depth > limits_.maxDepth) return Error{Errc::TooLarge, "BinaryPack: nested too deeply"};
    if (++items_ > limits_.maxItems) return Error{Errc::TooLarge, "BinaryPack: too many values in one message"};
    if (left() < 1) return truncated();
    const std::uint8_t tag = bytes_[position_++];
    if (tag < 0x80) return Value::unsignedInteger(tag);
    if (tag < 0x90) return map(tag & 0x0f, depth);
    if (tag < 0xa0) return array(tag & 0x0f, depth);
    if (tag < 0xb0) return raw(tag & 0x0f);
    if (tag < 0xc0) return string(tag & 0x0f);
    if (tag >= 0xe0) return Value::integer(static_cast<std::int8_t>(tag));
    switch (tag) {
      case 0xc0:
      case 0xc1:
        return Value();
      case 0xc2:
        return Value(false);
      case 0xc3:
        return Value(true);
      case 0xca: {
        VC_TRY_ASSIGN(const std::uint64_t bits, number(4));
        return Value(static_cast<double>(std::bit_cast<float>(static_cast<std::uint32_t>(bits))));
      }
      case 0xcb: {
        VC_TRY_ASSIGN(const std::uint64_t bits, number(8));
        return Value(std::bit_cast<double>(bits));
      }
      case 0xcc:
      case 0xcd:
      case 0xce:
      case 0xcf: {
        VC_TRY_ASSIGN(const std::uint64_t bits, number(std::size_t{1} << (tag - 0xcc)));
        return Value::unsignedInteger(bits);
      }
      case 0xd0:
      case 0xd1:
      case 0xd2:
      case 0xd3:
        return signedInteger(std::size_t{1} << (tag - 0xd0));
      case 0xd8:
      case 0xd9: {
        VC_TRY_ASSIGN(const std::uint64_t n, number(tag == 0xd8 ? 2 : 4));
        return string(n);
      }
      case 0xda:
      case 0xdb: {
        VC_TRY_ASSIGN(const std::uint64_t n, number(tag == 0xda ? 2 : 4));
        return raw(n);
      }
      case 0xdc:
      case 0xdd: {
        VC_TRY_ASSIGN(const std::uint64_t n, number(tag == 0xdc ? 2 : 4));
        return array(n, depth);
      }
      case 0xde:
      case 0xdf: {
        VC_TRY_ASSIGN(const std::uint64_t n, number(tag == 0xde ? 2 : 4));
        return map(n, depth);
      }
      default:
        return Error{Errc::Malformed, "BinaryPack: a code without a meaning"};
    }
  }
  std::size_t left() const { return bytes_.size() - position_; }

 private:
  static Error truncated() { return {Errc::Malformed, "BinaryPack ends too early"}; }

  Result<std::uint64_t> number(std::size_t width) {
    if (left() < width) return truncated();
    std::uint64_t n = 0;
    for (std::size_t i = 0; i < width; ++i) n = n << 8 | bytes_[position_++];
    return n;
  }
  Result<Value> signedInteger(std::size_t width) {
    VC_TRY_ASSIGN(const std::uint64_t bits, number(width));
    const int unused = static_cast<int>(64 - 8 * width);
    return Value::integer(static_cast<std::int64_t>(bits << unused) >> unused);
  }
  Result<BytesView> part(std::uint64_t length) {
    if (left() < length) return truncated();
    const BytesView view = bytes_.subspan(position_, length);
    position_ += length;
    return view;
  }
  Result<Value> raw(std::uint64_t length) {
    VC_TRY_ASSIGN(const BytesView bytes, part(length));
    return Value(bytes);
  }
  Result<Value> string(std::uint64_t length) {
    VC_TRY_ASSIGN(const BytesView bytes, part(length));
    if (!isValidUtf8(asText(bytes))) return Error{Errc::Malformed, "BinaryPack: text that is not UTF-8"};
    return Value(asText(bytes));
  }
  // Containers grow as their items arrive: a claimed count reserves nothing.
  Result<Value> array(std::uint64_t count, std::size_t depth) {
    if (left() < count) return truncated();
    Array items;
    for (std::uint64_t i = 0; i < count; ++i) {
      VC_TRY_ASSIGN(Value item, value(depth + 1));
      items.push_back(std::move(item));
    }
    return Value(std::move(items));
  }
  Result<Value> map(std::uint64_t count, std::size_t depth) {
    if (left() / 2 < count) return truncated();
    Map members;
    std::set<std::string> seen;
    for (std::uint64_t i = 0; i < count; ++i) {
      VC_TRY_ASSIGN(const Value key, value(depth + 1));
      VC_TRY_ASSIGN(std::string name, keyText(key));
      if (!seen.insert(name).second) return Error{Errc::Malformed, "BinaryPack: a key twice in one map"};
      VC_TRY_ASSIGN(Value member, value(depth + 1));
      members.emplace_back(Value(std::move(name)), std::move(member));
    }
    return Value(std::move(members));
  }
  static Result<std::string> keyText(const Value& key) {
    if (const std::string* text = key.string()) return *text;
    if (const auto* u = std::get_if<std::uint64_t>(&key.data())) return std::to_string(*u);
    if (const auto* i = std::get_if<std::int64_t>(&key.data())) return std::to_string(*i);
    return Error{Errc::Malformed, "BinaryPack: a key that is neither text nor a whole number"};
  }

  BytesView bytes_;
  const DecodeLimits& limits_;
  std::size_t position_ = 0;
  std::size_t items_ = 0;
};

}  // namespace

Result<Bytes> pack(const Value& value) {
  Encoder encoder;
  VC_TRY(encoder.value(value, 0));
  return encoder.take();
}

Result<Value> unpack(BytesView bytes, const DecodeLimits& limits) {
  Decoder decoder(bytes, limits);
  VC_TRY_ASSIGN(Value value, decoder.value(0));
  if (decoder.left() != 0) return Error{Errc::Malformed, "BinaryPack: bytes after the value"};
  return value;
}

Value date(WallTime time) {
  using namespace std::chrono;
  static constexpr std::array<const char*, 7> kDays{"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
  static constexpr std::array<const char*, 12> kMonths{"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                                       "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  const auto day = floor<days>(time);
  const year_month_day ymd(day);
  const hh_mm_ss<seconds> clock(floor<seconds>(time - day));
  std::array<char, 96> text{};
  std::snprintf(text.data(), text.size(), "%s %s %02u %04d %02d:%02d:%02d GMT+0000 (Coordinated Universal Time)",
                kDays[weekday(day).c_encoding()], kMonths[static_cast<unsigned>(ymd.month()) - 1],
                static_cast<unsigned>(ymd.day()), static_cast<int>(ymd.year()), static_cast<int>(clock.hours().count()),
                static_cast<int>(clock.minutes().count()), static_cast<int>(clock.seconds().count()));
  return Value(std::string_view(text.data()));
}

}  // namespace vaultysclaw::webrtc::binarypack
