// Reconnection delays: doubling, bounded, with jitter.
#pragma once

#include "base/ports.hpp"

namespace vaultysclaw::net {

struct BackoffOptions {
  Duration initial = seconds(2);
  Duration maximum = seconds(60);
  double jitter = 0.2;  // plus or minus this share
};

// The first delay is spread further, from a tenth of `initial` on: everybody who was connected to a server that
// restarts begins at the same moment, and must not come back at the same moment. Without jitter nothing is spread.
// Confined to one thread at a time.
class Backoff {
 public:
  Backoff(BackoffOptions options, Entropy& entropy) : options_(options), entropy_(entropy) {}
  Duration next();
  void reset() { attempt_ = 0; }
  int attempts() const { return attempt_; }

 private:
  BackoffOptions options_;
  Entropy& entropy_;
  int attempt_ = 0;
};

}  // namespace vaultysclaw::net
