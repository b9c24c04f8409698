// vc_bench: what an intent, a handshake and a connected agent cost, measured on the real programs. ./dev bench runs it.
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <iostream>
#include <iterator>

#include "base/temporary_directory.hpp"
#include "floor.hpp"
#include "interrupt.hpp"
#include "measurements.hpp"

namespace vaultysclaw::bench {
namespace {

constexpr rlim_t kMaxDescriptors = 20'000;

constexpr const char* kUsage =
    "Usage: vc_bench [--quick] [--json] [--agents N] [--herd N] [--seconds N] [--only PART] [--directory DIR] "
    "[--smoke]\n"
    "./dev bench --help explains them.\n";

struct Options {
  Plan plan = fullPlan();
  bool json = false;
  std::string directory = ".";
};

std::size_t positive(const std::string& option, const char* text) {
  char* end = nullptr;
  const unsigned long value = text != nullptr ? std::strtoul(text, &end, 10) : 0;
  if (value == 0 || *end != '\0') throw std::invalid_argument(option + " needs a number above zero");
  return value;
}

// The plan first: the other options change it.
Options read(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    if (argv[i] == std::string("--quick")) options.plan = quickPlan();
    if (argv[i] == std::string("--smoke")) options.plan = smokePlan();
  }
  for (int i = 1; i < argc; ++i) {
    const std::string option = argv[i];
    const auto value = [&] { return positive(option, i + 1 < argc ? argv[++i] : nullptr); };
    if (option == "--json") {
      options.json = true;
    } else if (option == "--agents") {
      options.plan.crowd = value();
    } else if (option == "--herd") {
      options.plan.herd = value();
    } else if (option == "--seconds") {
      options.plan.load = options.plan.churn = std::chrono::seconds(value());
    } else if (option == "--only" && i + 1 < argc) {
      options.plan.only = argv[++i];
      if (std::find(std::begin(kParts), std::end(kParts), options.plan.only) == std::end(kParts))
        throw std::invalid_argument("--only knows floor, echo, herd, churn and crowd");
    } else if (option == "--directory" && i + 1 < argc) {
      options.directory = argv[++i];
    } else if (option != "--quick" && option != "--smoke") {
      throw std::invalid_argument("unknown option " + option + "\n" + kUsage);
    }
  }
  if (options.json && !options.plan.only.empty())
    throw std::invalid_argument("--json always has every figure: leave --only out");
  return options;
}

// For this process and, by inheritance, all that it starts.
void raiseDescriptorLimit() {
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = std::min(limit.rlim_max, kMaxDescriptors);
  setrlimit(RLIMIT_NOFILE, &limit);
}

int run(const Options& options) {
  const bool colours = isatty(STDERR_FILENO) == 1 && std::getenv("NO_COLOR") == nullptr;
  const Progress progress = [&](const std::string& what) {
    std::cerr << (colours ? "\x1b[36m==>\x1b[0m " : "==> ") << what << std::endl;
  };
  if (options.plan.mode != "smoke") refuseMemoryFilesystem(options.directory);
  raiseDescriptorLimit();
  harness::noteInterrupts();
  const vaultysclaw::testing::TemporaryDirectory directory(std::filesystem::absolute(options.directory));
  const Figures figures = measureAll(options.plan, directory.path(), progress);
  if (options.json) {
    std::cout << toJson(figures) << std::endl;
  } else {
    const bool terminal = isatty(STDOUT_FILENO) == 1 && std::getenv("NO_COLOR") == nullptr;
    std::cout << toTable(figures, terminal ? Colours::Yes : Colours::No);
  }
  return 0;
}

}  // namespace
}  // namespace vaultysclaw::bench

int main(int argc, char** argv) {
  try {
    return vaultysclaw::bench::run(vaultysclaw::bench::read(argc, argv));
  } catch (const std::invalid_argument& e) {
    std::cerr << "vc_bench: " << e.what() << '\n';
    return 2;
  } catch (const std::exception& e) {
    std::cerr << "vc_bench: " << e.what() << '\n';
    return 1;
  }
}
