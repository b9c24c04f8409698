// Writes JSON text into a string, once, in order. Exists beside nlohmann::json because the bytes of some values are
// hashed and signed (docs/protocol.md 7.4): rawValue() puts them into a message exactly as they are.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace vaultysclaw {

// Usage: JsonWriter w; w.beginObject(); w.key("a"); w.value(1); w.endObject(); w.take().
// Commas are written by the writer; balance is the caller's duty (asserted in take()). Strings that are not UTF-8 get
// U+FFFD for the wrong bytes. Confined to one thread at a time.
class JsonWriter {
 public:
  JsonWriter() { out_.reserve(256); }

  JsonWriter& beginObject();
  JsonWriter& endObject();
  JsonWriter& beginArray();
  JsonWriter& endArray();
  JsonWriter& key(std::string_view name);
  JsonWriter& value(std::string_view text);
  JsonWriter& value(const char* text) { return value(std::string_view(text)); }
  JsonWriter& value(const std::string& text) { return value(std::string_view(text)); }
  JsonWriter& value(bool b);
  JsonWriter& value(std::int64_t i);
  JsonWriter& value(std::uint64_t u);
  JsonWriter& value(int i) { return value(static_cast<std::int64_t>(i)); }
  JsonWriter& value(double d);  // null for what JSON cannot say (NaN, infinities)
  JsonWriter& null();
  // `json` must be one JSON value; it is copied as it is.
  JsonWriter& rawValue(std::string_view json);

  template <class T>
  JsonWriter& member(std::string_view name, const T& v) {
    key(name);
    return value(v);
  }
  // Writes nothing when the optional-like `v` is empty.
  template <class O>
  JsonWriter& memberIf(std::string_view name, const O& v) {
    return v ? member(name, *v) : *this;
  }

  std::string take();

 private:
  void separate();

  std::string out_;
  int depth_ = 0;
  bool needComma_ = false;
};

}  // namespace vaultysclaw
