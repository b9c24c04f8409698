#include "floor.hpp"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <functional>
#include <stdexcept>
#include <system_error>
#include <vector>

#include "base/descriptor.hpp"
#include "identity/vaultys_id.hpp"

namespace vaultysclaw::bench {
namespace {

using Clock = std::chrono::steady_clock;

double medianMicros(int rounds, int perRound, const std::function<void()>& work) {
  std::vector<double> samples;
  for (int i = 0; i < rounds; ++i) {
    const auto start = Clock::now();
    for (int n = 0; n < perRound; ++n) work();
    samples.push_back(std::chrono::duration<double, std::micro>(Clock::now() - start).count() / perRound);
  }
  std::nth_element(samples.begin(), samples.begin() + rounds / 2, samples.end());
  return samples[static_cast<std::size_t>(rounds / 2)];
}

}  // namespace

Floor measureFloor(const std::filesystem::path& directory, int rounds) {
  const auto entropy = makeSystemEntropy();
  const auto id = identity::VaultysId::generate(identity::IdType::Machine, *entropy);
  Bytes message(200);
  entropy->fill(message);
  const Bytes signature = id.sign(message);
  Floor floor;
  floor.signUs = medianMicros(rounds, 20, [&] { static_cast<void>(id.sign(message)); });
  floor.verifyUs = medianMicros(rounds, 20, [&] {
    if (!id.verify(message, signature)) throw std::logic_error("a signature does not verify");
  });

  // As SQLite's log grows: frames of a page and 24 bytes.
  const Bytes frames(2 * (4096 + 24));
  const std::string path = (directory / "append").string();
  const Descriptor file(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600));
  const auto append = [&] {
    if (::write(file.get(), frames.data(), frames.size()) != static_cast<ssize_t>(frames.size()) ||
        ::fdatasync(file.get()) != 0)
      throw std::system_error(errno, std::generic_category(), path);
  };
  floor.fsyncMs = medianMicros(rounds, 1, append) / 1000;
  ::unlink(path.c_str());
  return floor;
}

void refuseMemoryFilesystem(const std::filesystem::path& directory) {
  struct statfs info{};
  if (::statfs(directory.c_str(), &info) != 0)
    throw std::system_error(errno, std::generic_category(), directory.string());
  if (info.f_type == TMPFS_MAGIC || info.f_type == RAMFS_MAGIC)
    throw std::runtime_error(directory.string() +
                             " is kept in memory (tmpfs): what is measured there is not durable. Choose a directory on "
                             "a disk with --directory");
}

}  // namespace vaultysclaw::bench
