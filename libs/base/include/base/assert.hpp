// Assertions for bugs: they stay on in every build and end the process, for a broken invariant here could mean an
// action without a grant. Never use them for input.
#pragma once

namespace vaultysclaw {
[[noreturn]] void assertionFailed(const char* expression, const char* what, const char* file, int line) noexcept;
}

#define VC_ASSERT(condition, what) \
  ((condition) ? void(0) : ::vaultysclaw::assertionFailed(#condition, what, __FILE__, __LINE__))
#define VC_UNREACHABLE(what) ::vaultysclaw::assertionFailed("unreachable", what, __FILE__, __LINE__)
