// Counts and prints what became of each entry of a vector file.
#pragma once

#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "base/bytes.hpp"
#include "rules.hpp"

namespace vaultysclaw::conformance {

using Json = nlohmann::ordered_json;

// One entry: the first failed expectation decides; else whether it was stricter or not supported.
struct Case {
  std::string name;
  std::optional<std::string> failure = std::nullopt;
  std::optional<Rule> stricter = std::nullopt;
  bool notSupported = false;

  void expect(bool condition, std::string_view what) {
    if (!condition && !failure) failure = std::string(what);
  }
};

class Report {
 public:
  void begin(const std::string& file) { file_ = file; }
  void add(const Case& c);
  void print() const;
  bool anyFailed() const;
  const std::map<Rule, int>& stricter() const { return stricter_; }

 private:
  struct Counts {
    int passed = 0, failed = 0, stricter = 0, notSupported = 0;
  };
  std::string file_;
  std::map<std::string, Counts> files_;
  std::map<Rule, int> stricter_;
};

// These end the program when the vector file is broken.
Bytes hexOf(const Json& text);
std::string textOf(const Json& text);

void checkIdentity(const Json& file, Report& report);
void checkChallenger(const Json& file, Report& report);
void checkCerts(const Json& file, Report& report);
void checkBinaryPack(const Json& file, Report& report);
// Post-quantum identities must be refused as such, never misread.
void checkPostQuantum(const Json& file, Report& report);

}  // namespace vaultysclaw::conformance
