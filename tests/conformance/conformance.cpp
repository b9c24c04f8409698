// vc_conformance [DIR]: checks every entry of the vector files in DIR (default: this repository's tests/vectors).
// Exits 0 when each entry gave what the original gave, or is stricter by a rule of docs/stricter.md; 1 otherwise; 2
// when the files cannot be read.
#include <cstdio>
#include <fstream>
#include <sstream>

#include "report.hpp"

namespace vaultysclaw::conformance {
namespace {

namespace fs = std::filesystem;

struct Suite {
  const char* file;
  void (*check)(const Json&, Report&);
};
constexpr Suite kSuites[] = {{"identity.json", checkIdentity},
                             {"challenger.json", checkChallenger},
                             {"certs.json", checkCerts},
                             {"binarypack.json", checkBinaryPack},
                             {"identity_pq.json", checkPostQuantum}};

// Rows "| `key` | rule | reason | n |" of the document.
std::map<std::string, int> documentedRules(const fs::path& document) {
  std::map<std::string, int> rules;
  std::ifstream in(document);
  for (std::string line; std::getline(in, line);) {
    if (!line.starts_with("| `")) continue;
    const std::size_t end = line.find('`', 3);
    const std::size_t lastBar = line.find_last_of('|');
    const std::size_t before = lastBar != std::string::npos ? line.find_last_of('|', lastBar - 1) : lastBar;
    if (end == std::string::npos || before == std::string::npos) continue;
    rules[line.substr(3, end - 3)] = std::atoi(line.c_str() + before + 1);
  }
  return rules;
}

// The document and the code must name the same rules and, for our own vectors, the same numbers of cases.
bool documentAgrees(const Report& report, bool ownVectors) {
  auto documented = documentedRules(fs::path(VC_SOURCE_DIR) / "docs/stricter.md");
  bool agrees = true;
  for (const Rule rule : allRules()) {
    const auto row = documented.extract(std::string(key(rule)));
    const auto used = report.stricter().find(rule);
    const int cases = used != report.stricter().end() ? used->second : 0;
    if (row.empty()) {
      std::printf("FAILED docs/stricter.md has no row for %s (%d cases)\n", std::string(key(rule)).c_str(), cases);
      agrees = false;
    } else if (ownVectors && row.mapped() != cases) {
      std::printf("FAILED docs/stricter.md says %d cases for %s; there are %d\n", row.mapped(), row.key().c_str(),
                  cases);
      agrees = false;
    }
  }
  for (const auto& [name, n] : documented) {
    std::printf("FAILED docs/stricter.md names %s, which is no rule of the code\n", name.c_str());
    agrees = false;
  }
  return agrees;
}

// What JavaScript may hold and UTF-8 may not becomes U+FFFD, as when JavaScript writes it to bytes.
std::string textWithoutLoneSurrogates(std::istream& in) {
  std::ostringstream out;
  out << in.rdbuf();
  std::string text = std::move(out).str();
  constexpr std::string_view kLone = "\"\\ud800\"";
  for (std::size_t at = 0; (at = text.find(kLone, at)) != std::string::npos;)
    text.replace(at, kLone.size(), "\"\\ufffd\"");
  return text;
}

int run(const fs::path& directory, bool ownVectors) {
  Report report;
  std::size_t found = 0;
  for (const Suite& suite : kSuites) {
    std::ifstream in(directory / suite.file);
    if (!in) continue;
    ++found;
    report.begin(suite.file);
    suite.check(Json::parse(textWithoutLoneSurrogates(in)), report);
  }
  if (found == 0 || (ownVectors && found != std::size(kSuites))) {
    std::fprintf(stderr, "vc_conformance: vector files are missing in %s\n", directory.c_str());
    return 2;
  }
  const bool agrees = documentAgrees(report, ownVectors);
  report.print();
  return report.anyFailed() || !agrees ? 1 : 0;
}

}  // namespace
}  // namespace vaultysclaw::conformance

int main(int argc, char** argv) {
  const std::filesystem::path own = std::filesystem::path(VC_SOURCE_DIR) / "tests/vectors";
  try {
    return vaultysclaw::conformance::run(argc > 1 ? std::filesystem::path(argv[1]) : own, argc <= 1);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "vc_conformance: a vector file is broken: %s\n", e.what());
    return 2;
  }
}
