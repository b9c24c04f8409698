// vc_crash: crash rounds with real processes. ./dev crash runs it; docs/reliability.md says what it proves.
#include <unistd.h>

#include <cstdlib>
#include <iostream>
#include <optional>
#include <stdexcept>

#include "base/temporary_directory.hpp"
#include "interrupt.hpp"
#include "rounds.hpp"

namespace vaultysclaw::crash {
namespace {

constexpr const char* kUsage =
    "Usage: vc_crash [--rounds N] [--seed S] [--first N] [--agents N] [--callers N] [--state DIR] [--continue]\n"
    "                [--keep-going] [--summary]\n"
    "./dev crash --help explains them.\n";

struct Options {
  RoundsPlan plan;
  std::optional<std::filesystem::path> state;
  bool goOn = false, summaryOnly = false, seedGiven = false;
};

std::uint64_t number(const std::string& option, const char* text, std::uint64_t least) {
  char* end = nullptr;
  const unsigned long long value = text != nullptr ? std::strtoull(text, &end, 10) : 0;
  if (text == nullptr || end == text || *end != '\0' || value < least)
    throw std::invalid_argument(option + " needs a number from " + std::to_string(least));
  return value;
}

Options read(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string option = argv[i];
    const auto value = [&](std::uint64_t least) { return number(option, i + 1 < argc ? argv[++i] : nullptr, least); };
    if (option == "--rounds") {
      options.plan.count = value(1);
    } else if (option == "--seed") {
      options.plan.seed = value(0);
      options.seedGiven = true;
    } else if (option == "--first") {
      options.plan.first = value(0);
    } else if (option == "--agents") {
      options.plan.agents = value(1);
    } else if (option == "--callers") {
      options.plan.callers = static_cast<int>(value(1));
    } else if (option == "--patience") {
      options.plan.patience = std::chrono::seconds(value(1));
    } else if (option == "--state" && i + 1 < argc) {
      options.state = std::filesystem::absolute(argv[++i]);
    } else if (option == "--continue") {
      options.goOn = true;
    } else if (option == "--keep-going") {
      options.plan.keepGoing = true;
    } else if (option == "--break-agents") {  // for the test that this program can fail
      options.plan.brokenAgents = true;
    } else if (option == "--summary") {
      options.summaryOnly = true;
    } else {
      throw std::invalid_argument("unknown option " + option + "\n" + kUsage);
    }
  }
  if ((options.goOn || options.summaryOnly) && !options.state)
    throw std::invalid_argument("--continue and --summary need --state");
  return options;
}

void findPlace(Options& options) {
  const auto& directory = *options.state;
  std::filesystem::create_directories(directory);
  const Recorded before = recorded(directory);
  if (options.goOn) {
    if (!before.any) return;
    if (options.seedGiven && options.plan.seed != before.seed)
      throw std::invalid_argument(directory.string() + " has rounds of seed " + std::to_string(before.seed));
    options.plan.seed = before.seed;
    options.plan.first = before.next;
  } else if (before.any) {
    throw std::invalid_argument(directory.string() + " has rounds already: give --continue, or another directory");
  }
}

int run(Options options) {
  if (options.summaryOnly) {
    std::cout << summary(*options.state);
    return 0;
  }
  std::optional<vaultysclaw::testing::TemporaryDirectory> temporary;
  if (!options.state) options.state = temporary.emplace().path();
  findPlace(options);
  options.plan.directory = *options.state;
  harness::noteInterrupts();
  const auto verdict = playRounds(options.plan, [](const std::string& text) { std::cout << text << std::endl; });
  std::cout << summary(options.plan.directory);
  if (verdict.violations() == 0) return 0;
  if (temporary) {  // what explains a violation stays
    const auto kept = std::filesystem::temp_directory_path() / ("vaultysclaw-crash-" + std::to_string(::getpid()));
    std::filesystem::copy(options.plan.directory, kept, std::filesystem::copy_options::recursive);
    std::cout << "  kept: " << kept.string() << '\n';
  }
  return 1;
}

}  // namespace
}  // namespace vaultysclaw::crash

int main(int argc, char** argv) {
  try {
    return vaultysclaw::crash::run(vaultysclaw::crash::read(argc, argv));
  } catch (const std::invalid_argument& e) {
    std::cerr << "vc_crash: " << e.what() << '\n';
    return 2;
  } catch (const std::exception& e) {
    std::cerr << "vc_crash: " << e.what() << '\n';
    return 1;
  }
}
