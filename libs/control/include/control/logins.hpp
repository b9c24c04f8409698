// Logging in by password.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/bytes.hpp"
#include "control/people.hpp"

namespace vaultysclaw::control {

// What one scrypt costs: 128 * r * 2^logN bytes, and time that grows with all three. As OWASP's cheat sheet on storing
// passwords has it for 32 MiB.
struct PasswordCost {
  std::uint8_t logN = 15;
  std::uint32_t r = 8, p = 3;
};

struct LoginOptions {
  PasswordCost cost;
  std::size_t maxHashesAtOnce = 2;      // each keeps a worker and its memory
  std::size_t maxHashesWaiting = 16;    // then Busy
  std::size_t maxHashesPerAddress = 4;  // of those at once and waiting
  // Attempts that fail before the next one has to wait, a second at first and twice as long each time.
  std::size_t freeAttemptsPerAddress = 20, freeAttemptsPerName = 5;
  Duration maxWait = std::chrono::minutes(15);
  Duration forgetAfter = std::chrono::hours(1);  // of quiet
  std::size_t maxCounted = 4096;                 // addresses, and names
  Duration idle = std::chrono::hours(12);        // a session that is not used so long is over
  Duration lifetime = std::chrono::hours(7 * 24);
};

struct LoginCounters {  // since start, for /metrics
  std::uint64_t succeeded = 0, refused = 0, scryptRuns = 0;
  std::size_t sessions = 0;  // now
};

// Checks passwords and lets in, within bounds: of work, and of attempts that fail. Keeps no password longer than its
// work takes. Owned by the REST API. Confined to ports.loop, callbacks too; every reply comes exactly once, never
// before the call returns. The hashing runs on workers.
class Logins {
 public:
  Logins(ControlPorts ports, People& people, LoginOptions options);
  ~Logins();
  Logins(const Logins&) = delete;
  Logins& operator=(const Logins&) = delete;
  // `people` may go from here on; what is under way ends with Interrupted.
  void close();

  // How long an attempt from this address for this name has to wait; zero: not at all. A user with a session from there
  // does not wait for what others do to the name, so that nobody can lock a user out.
  Duration mustWait(const std::string& userName, const std::string& address) const;

  struct Attempt {
    std::string userName;
    SecretBytes password;
    std::string address;
    std::optional<store::LoginId> replaces = {};
  };
  // Unauthenticated, with one and the same text after one and the same work, for a user who is not there, has no
  // password or is disabled, and for a wrong password. Busy: too many at once.
  void logIn(Attempt attempt, Reply<NewLogin> reply);

  struct Change {
    store::UserRow user;  // as found; may be another by the time it is changed
    SecretBytes password;
    std::optional<SecretBytes> current = {};  // must be right when it is given
    std::string address;
  };
  // PolicyDenied (the current password is wrong, or this caller may not), Busy, and what People::setPassword says.
  void setPassword(Principal by, Change change, Reply<std::monostate> reply);

  const LoginOptions& options() const { return options_; }
  LoginCounters counters() const;

 private:
  struct Impl;
  const LoginOptions options_;
  std::unique_ptr<Impl> impl_;
};

// What is wrong with a new password, as "must have ..."; nothing when it is taken. Length and being well known count,
// the kinds of characters do not (NIST SP 800-63B, memorized secret verifiers).
std::optional<std::string> whatIsWrongWith(std::string_view password, std::string_view userName);
inline constexpr std::size_t kMinPasswordBytes = 12, kMaxPasswordBytes = 1024;

}  // namespace vaultysclaw::control
