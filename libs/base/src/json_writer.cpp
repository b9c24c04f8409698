#include "base/json_writer.hpp"

#include <charconv>
#include <cmath>

#include "base/assert.hpp"
#include "base/utf8.hpp"

namespace vaultysclaw {
namespace {

void appendEscaped(std::string& out, std::string_view text) {
  static constexpr char kHex[] = "0123456789abcdef";
  std::size_t written = 0;  // up to here; what needs no escape goes out in runs
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (static_cast<unsigned char>(c) >= 0x20 && c != '"' && c != '\\') continue;
    out += text.substr(written, i - written);
    written = i + 1;
    switch (c) {
      case '"':
        out += "\\\"";
        break;
      case '\\':
        out += "\\\\";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\r':
        out += "\\r";
        break;
      case '\t':
        out += "\\t";
        break;
      case '\b':
        out += "\\b";
        break;
      case '\f':
        out += "\\f";
        break;
      default:
        out += "\\u00";
        out += kHex[(c >> 4) & 0xf];
        out += kHex[c & 0xf];
    }
  }
  out += text.substr(written);
}

// One replacement character per byte that belongs to no valid sequence.
std::string repaired(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    std::size_t n = 1;
    for (std::size_t tryLength = std::min<std::size_t>(4, text.size()); tryLength >= 1; --tryLength) {
      // A prefix that is valid as a whole is kept; the longest first, so that sequences stay together.
      if (isValidUtf8(text.substr(0, tryLength))) {
        n = tryLength;
        out += text.substr(0, n);
        break;
      }
      if (tryLength == 1) out += "\xef\xbf\xbd";
    }
    text.remove_prefix(n);
  }
  return out;
}

template <class T>
void appendNumber(std::string& out, T number) {
  char buffer[32];
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, number).ptr;
  out.append(buffer, end);
}

}  // namespace

void JsonWriter::separate() {
  if (needComma_) out_ += ',';
  needComma_ = true;
}

JsonWriter& JsonWriter::beginObject() {
  separate();
  out_ += '{';
  ++depth_;
  needComma_ = false;
  return *this;
}
JsonWriter& JsonWriter::endObject() {
  out_ += '}';
  --depth_;
  needComma_ = true;
  return *this;
}
JsonWriter& JsonWriter::beginArray() {
  separate();
  out_ += '[';
  ++depth_;
  needComma_ = false;
  return *this;
}
JsonWriter& JsonWriter::endArray() {
  out_ += ']';
  --depth_;
  needComma_ = true;
  return *this;
}
JsonWriter& JsonWriter::key(std::string_view name) {
  value(name);
  out_ += ':';
  needComma_ = false;
  return *this;
}
JsonWriter& JsonWriter::value(std::string_view text) {
  separate();
  out_ += '"';
  if (isValidUtf8(text))
    appendEscaped(out_, text);
  else
    appendEscaped(out_, repaired(text));
  out_ += '"';
  return *this;
}
JsonWriter& JsonWriter::value(bool b) {
  return rawValue(b ? "true" : "false");
}
JsonWriter& JsonWriter::value(std::int64_t i) {
  separate();
  appendNumber(out_, i);
  return *this;
}
JsonWriter& JsonWriter::value(std::uint64_t u) {
  separate();
  appendNumber(out_, u);
  return *this;
}
JsonWriter& JsonWriter::value(double d) {
  if (!std::isfinite(d)) return null();
  separate();
  appendNumber(out_, d);
  return *this;
}
JsonWriter& JsonWriter::null() {
  return rawValue("null");
}
JsonWriter& JsonWriter::rawValue(std::string_view json) {
  separate();
  out_ += json;
  return *this;
}

std::string JsonWriter::take() {
  VC_ASSERT(depth_ == 0, "unbalanced JSON");
  needComma_ = false;
  return std::move(out_);
}

}  // namespace vaultysclaw
