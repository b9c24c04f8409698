// How passwords are stored, and whether one is right. Nothing here keeps one.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/bytes.hpp"
#include "base/ports.hpp"
#include "base/result.hpp"
#include "control/logins.hpp"

namespace vaultysclaw::control {

// Hashes by scrypt (RFC 7914). Any thread; every call computes for as long as the cost says, and takes its memory.
class PasswordHashes {
 public:
  PasswordHashes(PasswordCost cost, Entropy& entropy) : cost_(cost), entropy_(entropy) {}

  // "$scrypt$ln=15,r=8,p=3$<salt>$<hash>", the salt random. Io when there is no memory for it.
  Result<std::string> make(BytesView password);
  // False for a text that make() never gave, too. Takes as long whether the password is right or wrong.
  Result<bool> matches(std::string_view stored, BytesView password);
  // Whether it was made at a lower cost than make()'s.
  bool isOutdated(std::string_view stored) const;
  // What no password matches, at the same cost: for whoever has none.
  std::string unmatchable();

  // How often scrypt has run.
  std::uint64_t runs() const { return runs_; }

 private:
  Result<Bytes> derive(const PasswordCost& cost, BytesView password, BytesView salt);

  const PasswordCost cost_;
  Entropy& entropy_;
  std::atomic<std::uint64_t> runs_{0};
};

}  // namespace vaultysclaw::control
