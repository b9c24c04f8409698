// The effects of the outside world, as interfaces that main() wires: clock, entropy, files, execution.
// Nothing in the product reads a clock, draws randomness or starts a thread except through these.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/bytes.hpp"
#include "base/result.hpp"

namespace vaultysclaw {

using WallTime = std::chrono::sys_time<std::chrono::milliseconds>;
using SteadyTime = std::chrono::steady_clock::time_point;
using Duration = std::chrono::nanoseconds;
using std::chrono::milliseconds;
using std::chrono::seconds;

inline std::int64_t toUnixMillis(WallTime t) {
  return t.time_since_epoch().count();
}
inline WallTime fromUnixMillis(std::int64_t ms) {
  return WallTime(milliseconds(ms));
}
// "2026-01-31T12:00:00.000Z", as JavaScript writes it. Years 0 to 9999.
std::string toIso8601(WallTime t);
// RFC 3339 date-time with 0 to 9 decimals and `Z` or an offset; finer than milliseconds is cut off.
Result<WallTime> fromIso8601(std::string_view text);

// Synchronised: any thread may call.
class Clock {
 public:
  virtual ~Clock() = default;
  virtual WallTime now() = 0;
  virtual SteadyTime steady() = 0;  // for durations; never jumps
};

// Cryptographic randomness. Synchronised. Cannot fail: a system without randomness ends the process.
class Entropy {
 public:
  virtual ~Entropy() = default;
  virtual void fill(std::span<std::uint8_t> out) = 0;
};

// Small private files: identities, pins, tokens. Blocking. Synchronised.
class FileStore {
 public:
  virtual ~FileStore() = default;
  // The whole file. NotFound; PolicyDenied when group or others may read it; TooLarge over `maxBytes`; Io.
  virtual Result<SecretBytes> readPrivate(const std::filesystem::path& path, std::size_t maxBytes) = 0;
  // Creates missing directories (0700), writes a temporary file with mode 0600, syncs it and renames it over `path`.
  virtual Status writePrivate(const std::filesystem::path& path, BytesView content) = 0;
  // As writePrivate, but Conflict when `path` exists already: two first starts never overwrite each other's identity.
  virtual Status createPrivate(const std::filesystem::path& path, BytesView content) = 0;
};

using Task = std::function<void()>;

// A pending call. Destroying or resetting it cancels; then the task never runs. Must be used on its Executor's thread.
class Timer {
 public:
  Timer() = default;
  explicit Timer(std::function<void()> cancel) : cancel_(std::move(cancel)) {}
  Timer(Timer&& other) noexcept : cancel_(std::exchange(other.cancel_, nullptr)) {}
  Timer& operator=(Timer&& other) noexcept {
    if (this != &other) {
      reset();
      cancel_ = std::exchange(other.cancel_, nullptr);
    }
    return *this;
  }
  ~Timer() { reset(); }
  void reset() {
    if (auto cancel = std::exchange(cancel_, nullptr)) cancel();
  }

 private:
  std::function<void()> cancel_;
};

// A strand: tasks run one at a time, in the order posted. Everything described as "confined to its executor" is called
// from there alone. Real loops live in libs/net; tests use base/testing's FakeLoop, where time stands still until told.
class Executor {
 public:
  virtual ~Executor() = default;
  // From any thread. Never runs `task` before returning. After shutdown tasks are destroyed unrun.
  virtual void post(Task task) = 0;
  // On the executor only. A delay of zero or less means the next turn.
  [[nodiscard]] virtual Timer after(Duration delay, Task task) = 0;
  virtual bool isCurrent() const = 0;
};

// Threads for work that blocks or computes long (signatures, SQL). Synchronised.
class Workers {
 public:
  virtual ~Workers() = default;
  // False when the bounded queue is full or the pool is shutting down; then `task` is destroyed unrun.
  [[nodiscard]] virtual bool submit(Task task) = 0;
};

// The real ones. Stateless but for Entropy's descriptor-free getrandom(2).
std::unique_ptr<Clock> makeSystemClock();
std::unique_ptr<Entropy> makeSystemEntropy();
std::unique_ptr<FileStore> makeSystemFileStore();
// `threads` >= 1 threads; submit() refuses over `maxQueued` waiting tasks. The destructor runs what is queued, then
// joins.
std::unique_ptr<Workers> makeThreadPool(std::string name, std::size_t threads, std::size_t maxQueued);

}  // namespace vaultysclaw
