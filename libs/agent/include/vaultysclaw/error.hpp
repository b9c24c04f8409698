// What the API throws. Everything derives from std::exception; what() says what happened, where, and what to do.
#pragma once

#include <stdexcept>
#include <string>

#include "vaultysclaw/export.hpp"

namespace vaultysclaw {

// start() or a sender could not do its work. `code` is one of the names of docs/errors.md, for example "io_error".
class VC_API AgentError : public std::runtime_error {
 public:
  AgentError(std::string code, const std::string& message) : std::runtime_error(message), code_(std::move(code)) {}
  ~AgentError() override;
  const std::string& code() const { return code_; }

 private:
  std::string code_;
};

// A call to another agent failed.
class VC_API PeerError : public AgentError {
 public:
  using AgentError::AgentError;
  ~PeerError() override;
};

// Thrown by CallContext::throwIfStopped(): let it pass through the handler.
class VC_API CallStopped : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
  ~CallStopped() override;
};

}  // namespace vaultysclaw
