// What code that works with file descriptors shares: an owner, and errno in words.
#pragma once

#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <string>
#include <string_view>
#include <system_error>

#include "base/error.hpp"

namespace vaultysclaw {

// Closes its descriptor when it goes. -1 owns nothing. One thread at a time.
class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  int get() const { return fd_; }

 private:
  int fd_;
};

// Io, with what was tried, the path and what errno says: call it before anything else can change errno.
inline Error ioError(std::string_view doing, const std::filesystem::path& path) {
  return Error{Errc::Io, std::string(doing) + " " + path.string() + ": " + std::system_category().message(errno)};
}

}  // namespace vaultysclaw
