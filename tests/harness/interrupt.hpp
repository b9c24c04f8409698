// Ctrl-C ends a long run from within its waits, so that processes and directories are tidied up on the way out.
#pragma once

#include <chrono>
#include <functional>
#include <stdexcept>
#include <string>

namespace vaultysclaw::harness {

struct Interrupted : std::runtime_error {
  Interrupted() : std::runtime_error("interrupted") {}
};

// SIGINT, SIGTERM and SIGHUP are noted from now on.
void noteInterrupts();
// Throws Interrupted when one has come.
void throwIfInterrupted();

// Asks every `interval` until `condition` holds. Throws when it does not within `limit`, naming `what` is waited for.
void waitFor(const std::string& what, const std::function<bool()>& condition, std::chrono::milliseconds limit,
             std::chrono::microseconds interval = std::chrono::milliseconds(5));

// Sleeps; throws Interrupted early.
void rest(std::chrono::milliseconds duration);

}  // namespace vaultysclaw::harness
