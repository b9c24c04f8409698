// What stands behind IoLoop. Internal; includes Asio.
#pragma once

#include <atomic>
#include <boost/asio/io_context.hpp>
#include <mutex>
#include <optional>
#include <thread>

#include "net/io_loop.hpp"

namespace vaultysclaw::net {

struct IoLoop::Impl {
  boost::asio::io_context& context() { return *context_; }

  // Destroyed by the loop's thread, so that what is left in it dies where it lived.
  std::optional<boost::asio::io_context> context_{std::in_place, 1};
  // Held by other threads while they use the context; the loop's own thread, which destroys it, needs no lock.
  std::mutex mutex;
  std::atomic<bool> closed = false;  // set under mutex
  std::thread thread;
};

}  // namespace vaultysclaw::net
