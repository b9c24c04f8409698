#include "vaultysclaw/wait_for_shutdown.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <utility>

#include "vaultysclaw/error.hpp"

namespace vaultysclaw {
namespace {

// A pipe, because write(2) is one of the few things a signal handler may do. Made once and kept for the process's life.
struct ShutdownPipe {
  int ends[2] = {-1, -1};
  ShutdownPipe() {
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) ends[0] = ends[1] = -1;
    if (ends[0] >= 0) fcntl(ends[0], F_SETFL, 0);  // the reader waits, writers never do
  }
};

ShutdownPipe& shutdownPipe() {
  static ShutdownPipe pipe;
  return pipe;
}

void wake(int signal) noexcept {
  const int saved = errno;
  const auto byte = static_cast<unsigned char>(signal);
  [[maybe_unused]] const auto written = write(shutdownPipe().ends[1], &byte, 1);
  errno = saved;
}

extern "C" void onShutdownSignal(int signal) {
  wake(signal);
}

}  // namespace

void requestShutdown() noexcept {
  wake(0);
}

int waitForShutdownSignal() {
  const ShutdownPipe& pipe = shutdownPipe();  // made before a handler can need it
  if (pipe.ends[0] < 0) throw AgentError("io", "waitForShutdownSignal cannot make a pipe: too many open files");
  struct sigaction action = {}, oldInterrupt = {}, oldTerminate = {};
  action.sa_handler = onShutdownSignal;
  sigemptyset(&action.sa_mask);
  action.sa_flags = static_cast<int>(SA_RESETHAND);  // the second signal finds the default, which ends the process
  sigaction(SIGINT, &action, &oldInterrupt);
  sigaction(SIGTERM, &action, &oldTerminate);
  unsigned char signal = 0;
  while (read(pipe.ends[0], &signal, 1) < 0 && errno == EINTR) {
  }
  action.sa_handler = SIG_DFL;
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
  return signal;
}

}  // namespace vaultysclaw
