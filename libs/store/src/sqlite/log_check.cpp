#include "sqlite/log_check.hpp"

#include <fcntl.h>
#include <sys/types.h>
#include <unistd.h>

#include <cerrno>
#include <optional>
#include <span>

#include "base/bytes.hpp"
#include "base/descriptor.hpp"

namespace vaultysclaw::store::sqlite {
namespace {

// https://www.sqlite.org/fileformat2.html section 4
constexpr std::size_t kHeaderBytes = 32, kFrameHeaderBytes = 24;
constexpr std::uint32_t kMagic = 0x377f0682;  // plus one: sums are over big-endian words

std::uint32_t bigEndian(std::span<const std::uint8_t> from, std::size_t at) {
  return std::uint32_t{from[at]} << 24 | std::uint32_t{from[at + 1]} << 16 | std::uint32_t{from[at + 2]} << 8 |
         std::uint32_t{from[at + 3]};
}
std::uint32_t littleEndian(std::span<const std::uint8_t> from, std::size_t at) {
  return std::uint32_t{from[at + 3]} << 24 | std::uint32_t{from[at + 2]} << 16 | std::uint32_t{from[at + 1]} << 8 |
         std::uint32_t{from[at]};
}

struct Sum {
  std::uint32_t a = 0, b = 0;
  bool operator==(const Sum&) const = default;

  void add(std::span<const std::uint8_t> words, bool big) {
    for (std::size_t at = 0; at + 8 <= words.size(); at += 8) {
      a += (big ? bigEndian(words, at) : littleEndian(words, at)) + b;
      b += (big ? bigEndian(words, at + 4) : littleEndian(words, at + 4)) + a;
    }
  }
};

class Log {
 public:
  Log(int file, std::filesystem::path path) : file_(file), path_(std::move(path)) {}

  Status check() {
    Bytes header(kHeaderBytes);
    VC_TRY_ASSIGN(const bool there, read(header, 0));
    if (!there) return {};
    const std::uint32_t magic = bigEndian(header, 0);
    big_ = magic != kMagic;
    salts_ = {bigEndian(header, 16), bigEndian(header, 20)};
    previous_ = {bigEndian(header, 24), bigEndian(header, 28)};
    Sum sum;
    sum.add(std::span(header).first(24), big_);
    const bool headerFits = (magic | 1) == (kMagic | 1) && sum == previous_;
    // Of a damaged header nothing can be used; ours have pages of SQLite's default size and this machine's words.
    frame_.resize(kFrameHeaderBytes + (headerFits ? bigEndian(header, 8) : 4096));
    if (frame_.size() > kFrameHeaderBytes + 65536) return {};
    if (!headerFits) {
      big_ = false;
      VC_TRY_ASSIGN(const bool any, read(frame_, kHeaderBytes));
      if (!any) return {};
      salts_ = {bigEndian(frame_, 8), bigEndian(frame_, 12)};
    }
    return checkFrames(headerFits);
  }

 private:
  Result<bool> read(Bytes& to, std::uint64_t offset) const {
    for (std::size_t got = 0; got < to.size();) {
      const ssize_t n = ::pread(file_, to.data() + got, to.size() - got, static_cast<off_t>(offset + got));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return ioError("cannot read", path_);
      if (n == 0) return false;
      got += static_cast<std::size_t>(n);
    }
    return true;
  }

  Sum sumOfFrame(Sum seed) const {
    seed.add(std::span(frame_).first(8), big_);
    seed.add(std::span(frame_).subspan(kFrameHeaderBytes), big_);
    return seed;
  }

  // One frame may misfit, and those behind it must fit each other without a gap: leftovers of commits that were never
  // synced may lie there too, and fit neither what is before them nor one another.
  Status checkFrames(bool headerFits) {
    std::size_t commits = 0;  // from the misfit on
    bool misfit = false;
    std::optional<Sum> other;  // what the misfit's sum should be, if it is its sum that is damaged
    for (std::uint64_t number = 0;; ++number) {
      VC_TRY_ASSIGN(const bool there, read(frame_, kHeaderBytes + number * frame_.size()));
      if (!there) return {};
      const Sum salts{bigEndian(frame_, 8), bigEndian(frame_, 12)},
          stored{bigEndian(frame_, 16), bigEndian(frame_, 20)};
      const Sum sum = sumOfFrame(previous_);
      const bool commit = bigEndian(frame_, 4) != 0;
      const bool good =
          salts == salts_ && bigEndian(frame_, 0) != 0 && (sum == stored || (other && sumOfFrame(*other) == stored));
      other.reset();
      previous_ = stored;
      if (good) {
        // A header is synced before the first commit is written.
        if (commit && (!headerFits || (misfit && ++commits == 2))) return damaged();
        continue;
      }
      if (misfit) return {};
      misfit = true;
      other = sum;
      if (commit && (salts.a == salts_.a || salts.b == salts_.b)) commits = 1;
    }
  }

  Error damaged() const {
    return Error{Errc::Malformed, path_.string() +
                                      " is damaged: commits stand behind a part that cannot be read; restore it and "
                                      "the database beside it from a backup"};
  }

  const int file_;
  const std::filesystem::path path_;
  bool big_ = false;
  Sum salts_, previous_;  // previous_: as the frame before has it
  Bytes frame_;
};

}  // namespace

Status checkLog(const std::filesystem::path& database) {
  std::filesystem::path path = database;
  path += "-wal";
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (file.get() < 0) return errno == ENOENT ? Status() : Status(ioError("cannot open", path));
  return Log(file.get(), path).check();
}

}  // namespace vaultysclaw::store::sqlite
