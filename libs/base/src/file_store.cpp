#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/descriptor.hpp"
#include "base/ports.hpp"

namespace vaultysclaw {
namespace {

namespace fs = std::filesystem;

Status writeAll(int fd, BytesView content, const fs::path& path) {
  while (!content.empty()) {
    const ssize_t n = ::write(fd, content.data(), content.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return ioError("cannot write", path);
    content = content.subspan(static_cast<std::size_t>(n));
  }
  if (::fsync(fd) != 0) return ioError("cannot sync", path);
  return {};
}

// Directories get mode 0700, and only those that are missing.
Status makeParents(const fs::path& path) {
  const fs::path parent = path.parent_path();
  if (parent.empty()) return {};
  fs::path built;
  for (const auto& part : parent) {
    built /= part;
    if (::mkdir(built.c_str(), 0700) != 0 && errno != EEXIST && errno != EISDIR) {
      return ioError("cannot create directory", built);
    }
  }
  return {};
}

Status syncDirectory(const fs::path& path) {
  const fs::path parent = path.parent_path().empty() ? fs::path(".") : path.parent_path();
  const Descriptor dir(::open(parent.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (dir.get() < 0 || ::fsync(dir.get()) != 0) return ioError("cannot sync directory", parent);
  return {};
}

class SystemFileStore final : public FileStore {
 public:
  Result<SecretBytes> readPrivate(const fs::path& path, std::size_t maxBytes) override {
    // Opening a FIFO must fail below, not wait for a writer.
    const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    if (file.get() < 0) {
      if (errno == ENOENT) return Error{Errc::NotFound, path.string() + " does not exist"};
      return ioError("cannot open", path);
    }
    struct stat info{};
    if (::fstat(file.get(), &info) != 0) return ioError("cannot inspect", path);
    if (!S_ISREG(info.st_mode)) return Error{Errc::Malformed, path.string() + " is not a regular file"};
    if ((info.st_mode & 077) != 0) {
      return Error{Errc::PolicyDenied, path.string() +
                                           " holds a secret that other users of this machine may read or "
                                           "change; run: chmod 600 '" +
                                           path.string() + "'"};
    }
    if (static_cast<std::uint64_t>(info.st_size) > maxBytes) {
      return Error{Errc::TooLarge,
                   path.string() + " is larger than the " + std::to_string(maxBytes) + " bytes such a file can have"};
    }
    Bytes content(static_cast<std::size_t>(info.st_size));
    std::size_t done = 0;
    while (done < content.size()) {
      const ssize_t n = ::read(file.get(), content.data() + done, content.size() - done);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return ioError("cannot read", path);
      if (n == 0) break;
      done += static_cast<std::size_t>(n);
    }
    content.resize(done);
    return SecretBytes(std::move(content));
  }

  Status writePrivate(const fs::path& path, BytesView content) override { return replace(path, content, false); }
  Status createPrivate(const fs::path& path, BytesView content) override { return replace(path, content, true); }

 private:
  Status replace(const fs::path& path, BytesView content, bool mustBeNew) {
    VC_TRY(makeParents(path));
    std::string temporary = path.string() + ".XXXXXX";
    const Descriptor file(::mkostemp(temporary.data(), O_CLOEXEC));  // mode 0600
    if (file.get() < 0) return ioError("cannot create a temporary file beside", path);
    Status written = writeAll(file.get(), content, temporary);
    if (written.ok() && mustBeNew && ::link(temporary.c_str(), path.c_str()) != 0) {
      written =
          errno == EEXIST ? Error{Errc::Conflict, path.string() + " exists already"} : ioError("cannot create", path);
    }
    if (written.ok() && !mustBeNew && ::rename(temporary.c_str(), path.c_str()) != 0)
      written = ioError("cannot replace", path);
    if (!written.ok() || mustBeNew) ::unlink(temporary.c_str());
    VC_TRY(written);
    return syncDirectory(path);
  }
};

}  // namespace

std::unique_ptr<FileStore> makeSystemFileStore() {
  return std::make_unique<SystemFileStore>();
}

}  // namespace vaultysclaw
