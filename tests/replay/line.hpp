// One connection of a replay, as the recorded side holds it.
#pragma once

#include <deque>
#include <memory>
#include <string>

#include "base/ports.hpp"
#include "comparison.hpp"
#include "net/connection.hpp"

namespace vaultysclaw::replay {

// Keeps what ours sends, and when, until it is compared. Confined to the connection's executor.
class Line {
 public:
  // `other` is who holds the far end: "server" or "agent".
  Line(std::unique_ptr<net::Connection> connection, Clock& clock, std::string other)
      : connection_(std::move(connection)) {
    net::Connection::Callbacks callbacks;
    callbacks.onMessage = [this, &clock](net::FrameKind, std::string_view text) {
      const json message = json::parse(text, nullptr, false);
      heard.push_back({message.is_discarded() ? json(text) : message, clock.now()});
    };
    callbacks.onClose = [this, &clock, other = std::move(other)](const net::CloseReason& reason) {
      if (closing_) return;
      heard.push_back(
          {{{"type", "close"}, {"by", other}, {"code", reason.code}, {"reason", reason.text}}, clock.now()});
    };
    connection_->start(std::move(callbacks));
  }

  void send(const json& message) { (void)connection_->send(net::FrameKind::Text, textOf(message)); }
  void close(std::uint16_t code, const std::string& reason) {
    closing_ = true;
    connection_->close(code, reason);
  }

  std::deque<Heard> heard;

 private:
  std::unique_ptr<net::Connection> connection_;
  bool closing_ = false;
};

}  // namespace vaultysclaw::replay
