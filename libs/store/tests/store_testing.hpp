#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <system_error>

#include "base/result.hpp"
#include "base/temporary_directory.hpp"

namespace vaultysclaw::store {

using vaultysclaw::testing::TemporaryDirectory;

inline std::string contentOf(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}
inline void writeContent(const std::filesystem::path& path, const std::string& content) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << content;
}

// For EXPECT_PRED_FORMAT: Statuses and Results, with the error's text when the assertion fails.
template <class R>
::testing::AssertionResult isOk(const char* text, const R& result) {
  if (result.ok()) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure() << text << " failed: " << name(result.error().code) << ": "
                                       << result.error().message;
}
template <class R>
::testing::AssertionResult failsWith(const char*, const char* text, Errc code, const R& result) {
  if (result.ok()) return ::testing::AssertionFailure() << text << " is ok";
  if (result.error().code == code) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure() << text << " failed otherwise: " << name(result.error().code) << ": "
                                       << result.error().message;
}

}  // namespace vaultysclaw::store

#define VC_EXPECT_OK(expr) EXPECT_PRED_FORMAT1(isOk, expr)
#define VC_EXPECT_ERROR(errc, expr) EXPECT_PRED_FORMAT2(failsWith, errc, expr)
