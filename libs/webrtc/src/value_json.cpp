#include "value_json.hpp"

#include <cmath>
#include <nlohmann/json.hpp>

#include "base/json_writer.hpp"
#include "base/utf8.hpp"
#include "protocol/codec.hpp"

namespace vaultysclaw::webrtc {
namespace {

using msgpack::Array;
using msgpack::Map;
using msgpack::Value;
using Json = nlohmann::ordered_json;

constexpr std::size_t kMaxDepth = 60;  // what protocol::validateJson() takes

class Writer {
 public:
  Status value(const Value& v, std::size_t depth) {
    if (depth > kMaxDepth) return Error{Errc::TooLarge, "JSON: nested too deeply"};
    return std::visit([&](const auto& held) { return write(held, depth); }, v.data());
  }
  std::string take() { return out_.take(); }

 private:
  static Error no(const char* what) { return {Errc::InvalidArgument, std::string("JSON cannot say ") + what}; }
  Status write(msgpack::Nil, std::size_t) { return out_.null(), Status(); }
  Status write(bool b, std::size_t) { return out_.value(b), Status(); }
  Status write(std::uint64_t u, std::size_t) { return out_.value(u), Status(); }
  Status write(std::int64_t i, std::size_t) { return out_.value(i), Status(); }
  Status write(float f, std::size_t depth) { return write(static_cast<double>(f), depth); }
  Status write(double d, std::size_t) {
    if (!std::isfinite(d)) return no("NaN or an infinity");
    out_.value(d);
    return {};
  }
  Status write(const std::string& text, std::size_t) {
    if (!isValidUtf8(text)) return no("text that is not UTF-8");
    out_.value(text);
    return {};
  }
  Status write(const Bytes&, std::size_t) { return no("bytes"); }
  Status write(const Array& items, std::size_t depth) {
    out_.beginArray();
    for (const Value& item : items) VC_TRY(value(item, depth + 1));
    out_.endArray();
    return {};
  }
  Status write(const Map& members, std::size_t depth) {
    out_.beginObject();
    for (const auto& [key, member] : members) {
      if (key.string() == nullptr || !isValidUtf8(*key.string())) return no("keys that are not text");
      out_.key(*key.string());
      VC_TRY(value(member, depth + 1));
    }
    out_.endObject();
    return {};
  }

  JsonWriter out_;
};

Value fromTree(const Json& json) {
  switch (json.type()) {
    case Json::value_t::boolean:
      return Value(json.get<bool>());
    case Json::value_t::number_unsigned:
      return Value::unsignedInteger(json.get<std::uint64_t>());
    case Json::value_t::number_integer:
      return Value::integer(json.get<std::int64_t>());
    case Json::value_t::number_float:
      return Value(json.get<double>());
    case Json::value_t::string:
      return Value(json.get<std::string>());
    case Json::value_t::array: {
      Array items;
      for (const Json& item : json) items.push_back(fromTree(item));
      return Value(std::move(items));
    }
    case Json::value_t::object: {
      Map members;
      for (const auto& [key, member] : json.items()) members.emplace_back(Value(key), fromTree(member));
      return Value(std::move(members));
    }
    default:
      return Value();
  }
}

}  // namespace

Result<std::string> toJson(const Value& value) {
  Writer writer;
  // A writer that failed half way must not be asked for its text.
  VC_TRY(writer.value(value, 0));
  return writer.take();
}

Result<Value> fromJson(std::string_view text, std::size_t maxBytes) {
  VC_TRY_ASSIGN(const auto valid, protocol::validateJson(text, maxBytes));
  return fromTree(Json::parse(valid.text, nullptr, false));
}

}  // namespace vaultysclaw::webrtc
