#include <cmath>
#include <cstdlib>

#include "base/ports.hpp"
#include "identity/hash.hpp"
#include "report.hpp"
#include "webrtc/chunks.hpp"

namespace vaultysclaw::conformance {
namespace {

using msgpack::Value;

std::string sha256(BytesView bytes) {
  return hexEncode(identity::sha256(bytes));
}

bool isError(const Json& json) {
  return json.is_object() && json.value("$", "") == "error";
}

// Values that JSON has no word for are objects with a "$".
Value valueOf(const Json& json) {
  if (json.is_null()) return Value();
  if (json.is_boolean()) return Value(json.get<bool>());
  if (json.is_number_unsigned()) return Value::unsignedInteger(json.get<std::uint64_t>());
  if (json.is_number_integer()) return Value::integer(json.get<std::int64_t>());
  if (json.is_number()) return Value(json.get<double>());
  if (json.is_string()) return Value(json.get<std::string>());
  if (json.is_array()) {
    msgpack::Array items;
    for (const Json& item : json) items.push_back(valueOf(item));
    return Value(std::move(items));
  }
  const std::string kind = json.contains("$") ? textOf(json.at("$")) : "";
  if (kind == "undefined") return Value();
  if (kind == "number") return Value(std::strtod(textOf(json.at("v")).c_str(), nullptr));
  if (kind == "bytes") return Value(hexOf(json.at("hex")));
  if (kind == "date") return webrtc::binarypack::date(fromIso8601(textOf(json.at("v"))).value());
  msgpack::Map members;
  for (const auto& [name, member] : json.items()) members.emplace_back(Value(name), valueOf(member));
  return Value(std::move(members));
}

// `"x" repeated N times`, `N zero bytes`, `N bytes, byte i = i mod 251`.
Value valueOfRule(const std::string& rule) {
  if (rule.starts_with("\"x\" repeated ")) return Value(std::string(std::strtoul(rule.c_str() + 13, nullptr, 10), 'x'));
  Bytes bytes(std::strtoul(rule.c_str(), nullptr, 10));
  if (rule.ends_with("mod 251")) {
    for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::uint8_t>(i % 251);
  }
  return Value(std::move(bytes));
}

std::optional<double> number(const Value& v) {
  if (const auto* u = std::get_if<std::uint64_t>(&v.data())) return static_cast<double>(*u);
  if (const auto* i = std::get_if<std::int64_t>(&v.data())) return static_cast<double>(*i);
  if (const auto* d = std::get_if<double>(&v.data())) return *d;
  return std::nullopt;
}

// As JavaScript sees it: a number has no type.
bool same(const Value& a, const Value& b) {
  if (const auto x = number(a), y = number(b); x && y) return *x == *y || (std::isnan(*x) && std::isnan(*y));
  if (a.array() != nullptr && b.array() != nullptr) {
    return std::equal(a.array()->begin(), a.array()->end(), b.array()->begin(), b.array()->end(), same);
  }
  if (a.map() != nullptr && b.map() != nullptr) {
    return std::equal(a.map()->begin(), a.map()->end(), b.map()->begin(), b.map()->end(),
                      [](const auto& x, const auto& y) { return x.first == y.first && same(x.second, y.second); });
  }
  return a == b;
}

// Of some numbers, the original's reading of its own bytes is another number: ours go as bytes that it reads right.
bool originalLosesIt(const Json& entry) {
  return entry.contains("decodes_to") && number(valueOf(entry.at("decodes_to"))) && entry.contains("value") &&
         !same(valueOf(entry.at("decodes_to")), valueOf(entry.at("value")));
}

void checkEncoding(const Json& entry, Report& report) {
  Case c{.name = "encode " + textOf(entry.at("name"))};
  const Value value =
      entry.contains("value") ? valueOf(entry.at("value")) : valueOfRule(textOf(entry.at("value_rule")));
  const auto bytes = webrtc::binarypack::pack(value);
  if (!bytes.ok() && number(value) && std::isnan(*number(value))) {
    c.stricter = Rule::BinaryPackForm;
  } else if (!bytes.ok()) {
    c.expect(false, bytes.error().message);
  } else if (originalLosesIt(entry)) {
    const auto back = webrtc::binarypack::unpack(*bytes);
    c.expect(back.ok() && same(*back, value), "the value does not come back");
  } else if (entry.contains("hex")) {
    c.expect(*bytes == hexOf(entry.at("hex")), "other bytes: " + hexEncode(*bytes));
  } else {
    c.expect(bytes->size() == entry.at("length").get<std::size_t>() && sha256(*bytes) == textOf(entry.at("sha256")) &&
                 hexEncode(*bytes).starts_with(textOf(entry.at("head_hex"))),
             "other bytes");
  }
  report.add(c);

  if (!bytes.ok()) return;
  Case d{.name = "decode " + textOf(entry.at("name"))};
  const auto back = webrtc::binarypack::unpack(entry.contains("hex") ? hexOf(entry.at("hex")) : *bytes);
  // The doubles of the two integers differ from what the bytes say: the bytes decide.
  const bool either = originalLosesIt(entry);
  const Value expected = entry.contains("decodes_to") && !either ? valueOf(entry.at("decodes_to")) : value;
  d.expect(back.ok() && (same(*back, expected) || (either && same(*back, valueOf(entry.at("decodes_to"))))),
           "another value");
  report.add(d);
}

// What the bytes say, where the original's decoder computes another number.
std::optional<Value> exactly(const std::string& name) {
  if (name == "float32 zero (quirk)" || name == "double zero (quirk)") return Value(0.0);
  if (name == "double quiet NaN (quirk)") return Value(std::nan(""));
  if (name == "int64 -1") return Value::integer(-1);
  return std::nullopt;
}

void checkDecoding(const Json& entry, Report& report) {
  const std::string name = textOf(entry.at("name"));
  Case c{.name = "decode " + name};
  const auto value = webrtc::binarypack::unpack(hexOf(entry.at("hex")));
  const Json& expected = entry.at("decodes_to");
  if (isError(expected))
    c.expect(!value.ok(), "accepted");
  else if (value.ok())
    c.expect(same(*value, exactly(name).value_or(valueOf(expected))), "another value");
  else if (value.error().code == Errc::Malformed && (name.starts_with("reserved") || name.starts_with("unassigned") ||
                                                     name.starts_with("truncated") || name.starts_with("trailing")))
    c.stricter = Rule::BinaryPackForm;
  else
    c.expect(false, value.error().message);
  report.add(c);
}

void checkChunking(const Json& chunking, Report& report) {
  const Value value = valueOfRule(textOf(chunking.at("value_rule")));
  const Bytes packed = webrtc::binarypack::pack(value).value();
  Case whole{.name = "chunking"};
  whole.expect(packed.size() == chunking.at("packed_length").get<std::size_t>() &&
                   sha256(packed) == textOf(chunking.at("packed_sha256")),
               "packed into other bytes");
  whole.expect(webrtc::kChunkBytes == chunking.at("threshold").get<std::size_t>(), "another threshold");
  const auto chunks = webrtc::ChunkWriter().write(packed);
  const Json& expected = chunking.at("chunks");
  whole.expect(chunks.size() == expected.size(), "another number of chunks");
  webrtc::ChunkReader reader;
  std::optional<webrtc::ChunkReader::Incoming> result;
  for (const Bytes& chunk : chunks) {
    auto read = reader.read(chunk, SteadyTime());
    whole.expect(read.ok() && !result, "a chunk is refused");
    if (read.ok()) result = std::move(*read);
  }
  whole.expect(result && std::holds_alternative<Value>(*result) && std::get<Value>(*result) == value,
               "the chunks make another value");
  report.add(whole);
  for (std::size_t i = 0; i < expected.size() && i < chunks.size(); ++i) {
    Case c{.name = "chunk " + std::to_string(i)};
    c.expect(chunks[i].size() == expected[i].at("wire_length").get<std::size_t>() &&
                 sha256(chunks[i]) == textOf(expected[i].at("sha256")),
             "other bytes");
    report.add(c);
  }
}

}  // namespace

void checkBinaryPack(const Json& file, Report& report) {
  for (const Json& entry : file.at("encode")) checkEncoding(entry, report);
  for (const Json& entry : file.at("decode")) checkDecoding(entry, report);
  checkChunking(file.at("chunking"), report);
}

}  // namespace vaultysclaw::conformance
