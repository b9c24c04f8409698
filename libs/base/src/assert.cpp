#include "base/assert.hpp"

#include <cstdio>
#include <cstdlib>

namespace vaultysclaw {

void assertionFailed(const char* expression, const char* what, const char* file, int line) noexcept {
  std::fprintf(stderr, "vaultysclaw: bug: %s (%s) at %s:%d\n", what, expression, file, line);
  std::abort();
}

}  // namespace vaultysclaw
