#include <sys/random.h>

#include <cerrno>
#include <chrono>

#include "base/assert.hpp"
#include "base/ports.hpp"

namespace vaultysclaw {
namespace {

class SystemClock final : public Clock {
 public:
  WallTime now() override { return std::chrono::floor<milliseconds>(std::chrono::system_clock::now()); }
  SteadyTime steady() override { return std::chrono::steady_clock::now(); }
};

class SystemEntropy final : public Entropy {
 public:
  void fill(std::span<std::uint8_t> out) override {
    while (!out.empty()) {
      const ssize_t n = getrandom(out.data(), out.size(), 0);
      VC_ASSERT(n > 0 || errno == EINTR, "getrandom failed");
      if (n > 0) out = out.subspan(static_cast<std::size_t>(n));
    }
  }
};

}  // namespace

std::unique_ptr<Clock> makeSystemClock() {
  return std::make_unique<SystemClock>();
}
std::unique_ptr<Entropy> makeSystemEntropy() {
  return std::make_unique<SystemEntropy>();
}

}  // namespace vaultysclaw
