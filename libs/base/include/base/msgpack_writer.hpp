// Writes MessagePack from where the values lie, without a tree of copies (base/msgpack.hpp) in between.
#pragma once

#include "base/msgpack.hpp"

namespace vaultysclaw::msgpack {

// Appends to `out`, everything in its smallest form, as encode() does. After beginMap(n) follow n keys and n values, in
// turn. One thread at a time; `out` outlives it.
class Writer {
 public:
  explicit Writer(Bytes& out) : out_(out) {}

  void beginMap(std::size_t members);
  void text(std::string_view text);
  void binary(BytesView bytes);
  void integer(std::int64_t number);
  void map(const Map& members);

 private:
  Bytes& out_;
};

}  // namespace vaultysclaw::msgpack
