// The closed catalogue of expected failures, and the two places each maps to: the wire and HTTP.
//
// A function that can fail in an expected way returns Result<T> (result.hpp). Bugs assert. Exceptions cross only the
// public API of the SDK. docs/errors.md lists every code with its meaning.
#pragma once

#include <string>
#include <string_view>

namespace vaultysclaw {

enum class Errc {
  InvalidArgument,  // the caller gave something that can never be right
  Malformed,        // bytes or JSON that do not follow their format
  TooLarge,         // over a documented limit
  BadSignature,     // a signature or authentication tag does not verify
  Unauthenticated,  // who is calling is not proved
  PolicyDenied,     // known caller, but no live grant allows it
  Expired,          // was valid once
  Replayed,         // seen before, and may be used once
  NotFound,
  Conflict,  // exists already, or the state forbids it
  Busy,      // a bound is reached; trying later may work
  DeadlineExceeded,
  Cancelled,
  Interrupted,  // a crash or a restart ended it
  Unavailable,  // the other side is not connected
  ConnectionLost,
  Unsupported,
  Io,      // the operating system refused
  Failed,  // the work itself failed, for example a handler threw
  Internal,
};

// Name for logs and for the `error` member of REST answers, for example "not_found".
std::string_view name(Errc code);
// `code` beside `error` in messages between agents and the control plane (docs/protocol.md 7.8).
std::string_view wireCode(Errc code);
int httpStatus(Errc code);

// What went wrong, in words that are safe to show to the other side: they name what, where and what to do, and hold no
// secret. Value type.
struct Error {
  Errc code = Errc::Internal;
  std::string message;
};

}  // namespace vaultysclaw
