// Threads and sockets that many agents of one process share.
#pragma once

#include <memory>

#include "vaultysclaw/export.hpp"

namespace vaultysclaw {

namespace detail {
class RuntimePorts;
}

// One I/O thread and eight for signatures and the disk, for any number of agents. Pass it to the agents' constructors;
// it must outlive them. Agents that also name one statePath write to it together, which costs a fraction of a file for
// each when many are at work. An agent that gets no Runtime makes its own. Destroying it is blocking. Synchronised.
class VC_API Runtime {
 public:
  Runtime();
  explicit Runtime(std::unique_ptr<detail::RuntimePorts> ports);  // for tests of the runtime itself
  Runtime(const Runtime&) = delete;
  Runtime& operator=(const Runtime&) = delete;
  ~Runtime();

  detail::RuntimePorts& ports() { return *ports_; }

 private:
  std::unique_ptr<detail::RuntimePorts> ports_;
};

}  // namespace vaultysclaw
