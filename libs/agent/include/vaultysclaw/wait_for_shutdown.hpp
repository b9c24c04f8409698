// The end of a program's main().
#pragma once

#include "vaultysclaw/export.hpp"

namespace vaultysclaw {

// Blocks until SIGINT or SIGTERM arrives, or requestShutdown() is called; returns the signal's number (0 for
// requestShutdown). From then on a second signal ends the process at once, as the system does by default. One thread at
// a time.
VC_API int waitForShutdownSignal();

// Lets waitForShutdownSignal() return, now or when it is called. Never blocks; any thread, and signal handlers.
VC_API void requestShutdown() noexcept;

}  // namespace vaultysclaw
