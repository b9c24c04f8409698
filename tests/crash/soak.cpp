// vc_soak: hours of moderate load on one control plane and twenty agents, and whether anything grows. ./dev soak runs
// it; docs/reliability.md has what it found.
#include <unistd.h>

#include <cstdlib>
#include <iostream>
#include <memory>
#include <stdexcept>

#include "control_plane_process.hpp"
#include "interrupt.hpp"
#include "journal.hpp"
#include "process_figures.hpp"
#include "process_file.hpp"
#include "soak_load.hpp"
#include "soak_record.hpp"
#include "store_view.hpp"

namespace vaultysclaw::crash {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;
namespace fs = std::filesystem;

// Twenty agents: some alone, some with others in one process.
const std::vector<std::pair<std::string, int>> kProcesses{{"alone-0", 1}, {"alone-1", 1},  {"alone-2", 1},
                                                          {"alone-3", 1}, {"shared-0", 8}, {"shared-1", 8}};

struct Options {
  fs::path state;
  double minutes = 60, perSecond = 200;
  std::chrono::milliseconds sampleEvery{15'000};
  bool goOn = false, reportOnly = false;
};

double positive(const std::string& option, const char* text) {
  char* end = nullptr;
  const double value = text != nullptr ? std::strtod(text, &end) : 0;
  if (text == nullptr || *end != '\0' || !(value > 0) || value > 1e6)
    throw std::invalid_argument(option + " needs a number above zero");
  return value;
}

Options read(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string option = argv[i];
    const auto value = [&] { return positive(option, i + 1 < argc ? argv[++i] : nullptr); };
    if (option == "--minutes") {
      options.minutes = value();
    } else if (option == "--rate") {
      options.perSecond = value();
    } else if (option == "--sample") {
      options.sampleEvery = std::chrono::milliseconds(static_cast<std::int64_t>(value() * 1000));
    } else if (option == "--state" && i + 1 < argc) {
      options.state = fs::absolute(argv[++i]);
    } else if (option == "--continue") {
      options.goOn = true;
    } else if (option == "--report") {
      options.reportOnly = true;
    } else {
      throw std::invalid_argument("unknown option " + option + "; see ./dev soak --help");
    }
  }
  if (options.state.empty()) throw std::invalid_argument("--state DIR is missing");
  return options;
}

class Soak {
 public:
  explicit Soak(const Options& options)
      : options_(options),
        controlPlane_(VC_PRODUCT_BINARY, options.state, {"--drain", "0"}),
        processes_(options.state),
        csv_(csvOf(options)) {}

  static fs::path csvOf(const Options& options) { return options.state / "soak.csv"; }

  void run() {
    const auto before = readSamples(csv_);
    if (!before.empty()) base_ = before.back();
    run_ = before.empty() ? 1 : base_.run + 1;
    const double left = options_.minutes - base_.minutes;
    if (left <= 0) return;
    if (run_ > 1)
      std::cout << "continues after " << base_.minutes << " minutes with all processes started anew (run " << run_
                << ")" << std::endl;
    start();
    SoakLoad load({controlPlane_.httpPort(), controlPlane_.token(), dids(), options_.perSecond});
    began_ = Clock::now();
    cpu_ = cpuOfAll();
    cpuAt_ = began_;
    const auto end = began_ + std::chrono::duration<double, std::ratio<60>>(left);
    while (Clock::now() < end) {
      harness::rest(options_.sampleEvery);
      sample(load);
    }
    for (const auto& [what, count] : load.problems()) std::cout << "  " << count << " x " << what << '\n';
  }

 private:
  void start() {
    processes_.endForerunners();
    controlPlane_.start();
    processes_.note(controlPlane_.process().pid());
    const std::string http = "http://127.0.0.1:" + std::to_string(controlPlane_.httpPort());
    const std::string ws = "ws://127.0.0.1:" + std::to_string(controlPlane_.wsPort());
    fs::create_directories(options_.state / "agents");
    for (const auto& [name, count] : kProcesses) {
      // Nothing is compared here, so what runs need not be written down.
      std::vector<std::string> arguments{VC_CRASH_AGENT_BINARY, http, ws, (options_.state / "agents").string(),
                                         "/dev/null"};
      for (int i = 0; i < count; ++i) arguments.push_back(name + "-" + std::to_string(i));
      agents_.push_back(std::make_unique<harness::ChildProcess>(name, arguments, std::map<std::string, std::string>{},
                                                                options_.state));
      processes_.note(agents_.back()->pid());
      // One process after the other: no more registrations than may wait from one address.
      expected_ += static_cast<std::size_t>(count);
      harness::waitFor(
          "the agents of " + name,
          [this] {
            StoreView view(controlPlane_.httpPort(), controlPlane_.token());
            view.approvePending();
            return connectedAgents() >= expected_;
          },
          120s, 20ms);
    }
  }

  std::size_t connectedAgents() { return dids().size(); }

  std::vector<std::string> dids() {
    StoreView view(controlPlane_.httpPort(), controlPlane_.token());
    std::vector<std::string> out;
    for (const auto& agent : view.agents()) {
      if (agent.connected) out.push_back(agent.did);
    }
    return out;
  }

  static int descriptorsOf(pid_t pid) {
    int count = 0;
    for ([[maybe_unused]] const auto& entry : fs::directory_iterator("/proc/" + std::to_string(pid) + "/fd")) ++count;
    return count;
  }

  static ProcessSample figuresOf(const std::string& name, pid_t pid) {
    const auto memory = harness::memoryOf(pid);
    return {name, memory.residentKib / 1024, descriptorsOf(pid), memory.threads};
  }

  std::chrono::nanoseconds cpuOfAll() {
    auto sum = harness::cpuTime(::getpid()) + harness::cpuTime(controlPlane_.process().pid());
    for (const auto& agent : agents_) sum += harness::cpuTime(agent->pid());
    return sum;
  }

  double storeMib() const {
    double bytes = 0;
    for (const auto& entry : fs::directory_iterator(options_.state / "control-plane")) {
      std::error_code gone;
      const auto size = entry.file_size(gone);
      if (!gone) bytes += static_cast<double>(size);
    }
    return bytes / (1 << 20);
  }

  void sample(const SoakLoad& load) {
    if (!controlPlane_.running()) throw std::runtime_error("the control plane ended: see " + options_.state.string());
    SoakSample s;
    s.minutes = base_.minutes + std::chrono::duration<double, std::ratio<60>>(Clock::now() - began_).count();
    s.run = run_;
    s.done = base_.done + load.done();
    s.errors = base_.errors + load.errors();
    const auto cpu = cpuOfAll();
    const std::chrono::duration<double> used = cpu - cpu_, passed = Clock::now() - cpuAt_;
    s.cpu = 100 * used.count() / passed.count() / harness::usableCores();
    cpu_ = cpu;
    cpuAt_ = Clock::now();
    s.storeMib = storeMib();
    s.processes.push_back(figuresOf("control-plane", controlPlane_.process().pid()));
    for (std::size_t i = 0; i < agents_.size(); ++i) {
      if (!agents_[i]->running()) throw std::runtime_error(kProcesses[i].first + " ended by itself");
      s.processes.push_back(figuresOf(kProcesses[i].first, agents_[i]->pid()));
    }
    appendSample(csv_, s);
    std::cout << static_cast<int>(s.minutes * 60) << " s  " << s.done << " requests, " << s.errors << " errors, "
              << static_cast<int>(s.cpu) << " % CPU, control plane " << static_cast<int>(s.processes[0].residentMib)
              << " MiB" << std::endl;
  }

  const Options& options_;
  harness::ControlPlaneProcess controlPlane_;
  harness::ProcessFile processes_;
  const fs::path csv_;
  std::vector<std::unique_ptr<harness::ChildProcess>> agents_;
  std::size_t expected_ = 0;
  SoakSample base_;  // where the run before ended
  int run_ = 1;
  Clock::time_point began_, cpuAt_;
  std::chrono::nanoseconds cpu_{0};
};

int run(const Options& options) {
  fs::create_directories(options.state);
  const bool any = !readSamples(Soak::csvOf(options)).empty();
  if (!options.reportOnly) {
    if (any && !options.goOn)
      throw std::invalid_argument(options.state.string() +
                                  " has a soak already: give --continue, or another directory");
    harness::noteInterrupts();
    Soak(options).run();
  }
  const auto samples = readSamples(Soak::csvOf(options));
  if (samples.empty()) throw std::runtime_error("no samples in " + Soak::csvOf(options).string());
  const auto verdict = judge(samples);
  std::cout << verdict.text;
  return verdict.level && samples.back().errors == 0 ? 0 : 1;
}

}  // namespace
}  // namespace vaultysclaw::crash

int main(int argc, char** argv) {
  try {
    return vaultysclaw::crash::run(vaultysclaw::crash::read(argc, argv));
  } catch (const std::invalid_argument& e) {
    std::cerr << "vc_soak: " << e.what() << '\n';
    return 2;
  } catch (const std::exception& e) {
    std::cerr << "vc_soak: " << e.what() << '\n';
    return 1;
  }
}
