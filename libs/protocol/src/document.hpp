// One JSON text, checked by the rules of docs/protocol.md 7.7 and open for reading. Private to libs/protocol.
#pragma once

#include <simdjson.h>

#include <cstddef>
#include <string_view>
#include <vector>

#include "base/result.hpp"

namespace vaultysclaw::protocol {

// A value and its bytes in the text as received. Valid as long as the Document and the text.
struct Node {
  simdjson::dom::element value;
  std::string_view text;
};

// Reads with buffers that belong to the thread: at most one Document per thread exists at a time, and it stays on its
// thread. The text must outlive it.
class Document {
 public:
  // Malformed or TooLarge; `what` opens the error's message.
  static Result<Document> parse(std::string_view text, std::size_t maxBytes, std::size_t maxDepth,
                                std::string_view what);

  Document(Document&& other) noexcept;
  Document& operator=(Document&&) = delete;
  ~Document();

  Node root() const { return {root_, text_}; }
  // Whether `part`, a piece of the text, holds the escape of a surrogate that has no partner.
  bool hasLoneSurrogate(std::string_view part) const;

 private:
  Document() = default;

  std::string_view text_;  // without white space around the value
  simdjson::dom::element root_;
  std::vector<const char*> loneSurrogates_;  // places in the text, ascending
  bool owner_ = true;
};

// The texts of the values in an object or array that a Document has checked, in order.
std::vector<std::string_view> splitObject(std::string_view text);
std::vector<std::string_view> splitArray(std::string_view text);

}  // namespace vaultysclaw::protocol
