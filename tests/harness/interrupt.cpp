#include "interrupt.hpp"

#include <csignal>
#include <thread>

namespace vaultysclaw::harness {
namespace {

volatile std::sig_atomic_t interrupted = 0;

void note(int) {
  interrupted = 1;
}

}  // namespace

void noteInterrupts() {
  struct sigaction action{};
  action.sa_handler = note;
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) sigaction(signal, &action, nullptr);
}

void throwIfInterrupted() {
  if (interrupted != 0) throw Interrupted();
}

void waitFor(const std::string& what, const std::function<bool()>& condition, std::chrono::milliseconds limit,
             std::chrono::microseconds interval) {
  const auto end = std::chrono::steady_clock::now() + limit;
  while (!condition()) {
    throwIfInterrupted();
    if (std::chrono::steady_clock::now() >= end)
      throw std::runtime_error("waited " + std::to_string(limit.count() / 1000) + " s in vain for " + what);
    std::this_thread::sleep_for(interval);
  }
}

void rest(std::chrono::milliseconds duration) {
  const auto end = std::chrono::steady_clock::now() + duration;
  while (std::chrono::steady_clock::now() < end) {
    throwIfInterrupted();
    std::this_thread::sleep_for(std::min<std::chrono::steady_clock::duration>(end - std::chrono::steady_clock::now(),
                                                                              std::chrono::milliseconds(50)));
  }
}

}  // namespace vaultysclaw::harness
