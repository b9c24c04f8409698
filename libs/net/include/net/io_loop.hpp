// The real executor: one thread that runs an Asio io_context, and the real network on it.
#pragma once

#include <memory>
#include <string>

#include "base/ports.hpp"
#include "net/connection.hpp"
#include "net/http.hpp"

namespace vaultysclaw::net {

// Owned by main() or by the SDK's Runtime; outlives everything made on it. The thread starts in the constructor; the
// destructor stops and joins it (tasks not yet run are destroyed), and waits for a host name look-up under way, which
// the system cannot break off. post() from any thread.
class IoLoop final : public Executor {
 public:
  explicit IoLoop(std::string threadName = "vc-io");
  ~IoLoop() override;

  void post(Task task) override;
  Timer after(Duration delay, Task task) override;
  bool isCurrent() const override;

  // Runs `task` on the loop and waits for it. Blocking; not from the loop's own thread.
  void runBlocking(const std::function<void()>& task);

  struct Impl;
  Impl& impl() { return *impl_; }

 private:
  std::unique_ptr<Impl> impl_;
};

std::unique_ptr<Dialer> makeWebSocketDialer(IoLoop& loop);

// Binds and listens. Callable from any thread; handlers run on the loop. Errors: InvalidArgument (address, TLS files),
// Io (port in use: the message names it), Unsupported.
Result<std::unique_ptr<Server>> listen(IoLoop& loop, ServerOptions options, ServerHandlers handlers);

bool isLoopbackAddress(std::string_view address);

}  // namespace vaultysclaw::net
