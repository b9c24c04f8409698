#include "rest/json_split.hpp"

namespace vaultysclaw::control::rest {
namespace {

bool isSpace(char c) {
  return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

// Walks valid JSON. Every step checks the end, so that text which is not valid is cut short and never overread.
class Scanner {
 public:
  explicit Scanner(std::string_view text) : text_(text) {}

  void spaces() {
    while (at_ < text_.size() && isSpace(text_[at_])) ++at_;
  }
  char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }
  void next() { at_ += at_ < text_.size() ? 1 : 0; }
  bool end() const { return at_ >= text_.size(); }

  // At an opening quote; returns what stands between the quotes.
  std::string_view string() {
    next();
    const std::size_t from = at_;
    while (at_ < text_.size() && text_[at_] != '"') at_ += text_[at_] == '\\' ? 2 : 1;
    at_ = at_ < text_.size() ? at_ : text_.size();
    const std::string_view inside = text_.substr(from, at_ - from);
    next();
    return inside;
  }

  std::string_view value() {
    const std::size_t from = at_;
    int depth = 0;
    while (at_ < text_.size()) {
      const char c = text_[at_];
      if (c == '"') {
        string();
      } else if (c == '{' || c == '[') {
        ++depth;
        ++at_;
      } else if (c == '}' || c == ']') {
        if (depth == 0) break;  // belongs to the container around the value
        --depth;
        ++at_;
      } else if (depth == 0 && (c == ',' || isSpace(c))) {
        break;
      } else {
        ++at_;
        continue;
      }
      if (depth == 0) break;
    }
    return text_.substr(from, at_ - from);
  }

 private:
  std::string_view text_;
  std::size_t at_ = 0;
};

}  // namespace

std::string_view trimJson(std::string_view text) {
  while (!text.empty() && isSpace(text.front())) text.remove_prefix(1);
  while (!text.empty() && isSpace(text.back())) text.remove_suffix(1);
  return text;
}

std::vector<std::pair<std::string_view, std::string_view>> splitObject(std::string_view object) {
  std::vector<std::pair<std::string_view, std::string_view>> members;
  Scanner scan(trimJson(object));
  if (scan.peek() != '{') return members;
  scan.next();
  while (true) {
    scan.spaces();
    if (scan.peek() != '"') return members;
    const std::string_view name = scan.string();
    scan.spaces();
    if (scan.peek() != ':') return members;
    scan.next();
    scan.spaces();
    members.emplace_back(name, scan.value());
    scan.spaces();
    if (scan.peek() != ',') return members;
    scan.next();
  }
}

std::vector<std::string_view> splitArray(std::string_view array) {
  std::vector<std::string_view> elements;
  Scanner scan(trimJson(array));
  if (scan.peek() != '[') return elements;
  scan.next();
  scan.spaces();
  while (!scan.end() && scan.peek() != ']') {
    const std::string_view element = scan.value();
    if (element.empty()) return elements;
    elements.push_back(element);
    scan.spaces();
    if (scan.peek() != ',') return elements;
    scan.next();
    scan.spaces();
  }
  return elements;
}

}  // namespace vaultysclaw::control::rest
