// Every public header stands alone: it needs the standard library and nlohmann/json, and nothing else of ours.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "agent/test_runtime.hpp"

namespace vaultysclaw::testing {
namespace {

TEST(PublicHeaders, CompileAloneWithTheirOwnDirectoryOnly) {
  const std::filesystem::path source = std::string(VC_SOURCE_DIR) + "/libs/agent/include/vaultysclaw";
  const TemporaryDirectory dir;
  // Only vaultysclaw/ itself: the directory beside it holds internal headers.
  std::filesystem::create_directory(dir.file("include"));
  std::filesystem::create_directory_symlink(source, dir.file("include/vaultysclaw"));
  int headers = 0;
  for (const auto& entry : std::filesystem::directory_iterator(source)) {
    ++headers;
    const std::string name = entry.path().filename().string();
    const std::string unit = dir.file("unit.cpp");
    std::ofstream(unit) << "#include <vaultysclaw/" << name << ">\n#include <vaultysclaw/" << name << ">\n";
    const std::string command = std::string(VC_CXX_COMPILER) +
                                " -std=c++20 -fsyntax-only -Wall -Wextra -Wpedantic -Werror -I" + dir.file("include") +
                                " " + unit;
    EXPECT_EQ(std::system(command.c_str()), 0) << name;
    std::ifstream text(entry.path());
    for (std::string line; std::getline(text, line);) {
      EXPECT_EQ(line.find("boost/"), std::string::npos) << name;
      EXPECT_EQ(line.find("openssl/"), std::string::npos) << name;
    }
  }
  EXPECT_GE(headers, 12);
}

}  // namespace
}  // namespace vaultysclaw::testing
