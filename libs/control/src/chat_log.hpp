// What one answer has said, the newest of it kept, so that it can be read again.
#pragma once

#include <cstdint>
#include <deque>
#include <string>

#include "base/assert.hpp"

namespace vaultysclaw::control {

struct ChatEvent {
  enum class Kind : std::uint8_t { Text, Thinking, Done, Error } kind = Kind::Text;
  std::string text = {}, code = {};  // `code`: of an error
};

// Events are numbered from 0. Owned by a chat. Confined to the loop.
class ChatLog {
 public:
  // What an event takes besides its text, roughly.
  static constexpr std::size_t kOverhead = 96;

  void append(ChatEvent event) {
    bytes_ += sizeOf(event);
    events_.push_back(std::move(event));
  }
  void dropOldest() {
    bytes_ -= sizeOf(events_.front());
    events_.pop_front();
    ++first_;
  }
  std::uint64_t first() const { return first_; }
  std::uint64_t end() const { return first_ + events_.size(); }
  const ChatEvent& at(std::uint64_t number) const {
    VC_ASSERT(number >= first_ && number < end(), "an event that is kept");
    return events_[number - first_];
  }
  std::size_t size() const { return events_.size(); }
  std::size_t bytes() const { return bytes_; }

 private:
  static std::size_t sizeOf(const ChatEvent& event) { return kOverhead + event.text.size() + event.code.size(); }

  std::deque<ChatEvent> events_;
  std::uint64_t first_ = 0;
  std::size_t bytes_ = 0;
};

}  // namespace vaultysclaw::control
