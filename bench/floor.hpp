// What no implementation can go below on this machine: one signature, one verification, one append that is on disk.
#pragma once

#include <filesystem>

namespace vaultysclaw::bench {

struct Floor {
  double signUs = 0, verifyUs = 0;  // Ed25519 as our identities do it, a message of 200 bytes; medians
  double fsyncMs = 0;               // two pages and their headers appended to a file, then fdatasync; median
};

Floor measureFloor(const std::filesystem::path& directory, int rounds);

// Throws when `directory` lies in memory: nothing would be durable there.
void refuseMemoryFilesystem(const std::filesystem::path& directory);

}  // namespace vaultysclaw::bench
