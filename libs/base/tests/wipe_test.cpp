// Secrets in memory that is given back. This program's operator delete looks at what it frees.
#include <gtest/gtest.h>
#include <malloc.h>

#include <atomic>
#include <cstdlib>
#include <new>
#include <string>
#include <string_view>

#include "base/bytes.hpp"

namespace {

struct Watch {
  std::string_view text;   // what must not be freed
  std::string_view bytes;  // neither
};
std::atomic<const Watch*> watch{nullptr};
std::atomic<int> found{0};

void* allocate(std::size_t size) noexcept {
  return std::malloc(size > 0 ? size : 1);
}

void release(void* p) noexcept {
  if (const Watch* w = watch.load(); w && p) {
    const std::string_view freed(static_cast<const char*>(p), ::malloc_usable_size(p));
    if (freed.find(w->text) != std::string_view::npos || freed.find(w->bytes) != std::string_view::npos) ++found;
  }
  std::free(p);
}

}  // namespace

void* operator new(std::size_t size) {
  if (void* p = allocate(size)) return p;
  std::abort();
}
void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  return allocate(size);
}
void operator delete(void* p) noexcept {
  release(p);
}
void operator delete(void* p, std::size_t) noexcept {
  release(p);
}
void operator delete(void* p, const std::nothrow_t&) noexcept {
  release(p);
}

namespace vaultysclaw {
namespace {

TEST(Base64, LeavesNothingOfASecretBehind) {
  Bytes secret;
  for (int i = 0; i < 300; ++i) secret.push_back(static_cast<std::uint8_t>(i * 37 + 5));
  const std::string text = base64Encode(secret);
  const std::string bad = text + "*";
  // Pieces from the middle: an allocator writes over the beginning of what it got back.
  const Watch pieces{std::string_view(text).substr(100, 32), asText(secret).substr(100, 32)};

  watch = &pieces;
  auto good = base64Decode(text);
  const bool refused = !base64Decode(bad).ok();
  watch = nullptr;
  EXPECT_TRUE(refused);
  EXPECT_EQ(*good, secret);
  EXPECT_EQ(found, 0);

  watch = &pieces;
  good = Bytes();
  watch = nullptr;
  EXPECT_EQ(found, 1) << "the watch sees what is freed";
}

}  // namespace
}  // namespace vaultysclaw
