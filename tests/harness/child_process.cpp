#include "child_process.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <stdexcept>

extern char** environ;

namespace vaultysclaw::harness {
namespace {

constexpr std::chrono::milliseconds kPoll{10};

void pause() {
  ::poll(nullptr, 0, static_cast<int>(kPoll.count()));
}

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> out;
  for (auto& t : texts) out.push_back(t.data());
  out.push_back(nullptr);
  return out;
}

std::vector<std::string> mergedEnvironment(const std::map<std::string, std::string>& added) {
  std::vector<std::string> out;
  for (char** e = environ; *e != nullptr; ++e) {
    const std::string entry = *e;
    if (!added.contains(entry.substr(0, entry.find('=')))) out.push_back(entry);
  }
  for (const auto& [key, value] : added) out.push_back(key + "=" + value);
  return out;
}

}  // namespace

ChildProcess::ChildProcess(std::string name, std::vector<std::string> arguments,
                           std::map<std::string, std::string> environment, std::filesystem::path workDirectory)
    : outFile_(workDirectory / (name + ".out")), errFile_(workDirectory / (name + ".err")) {
  auto merged = mergedEnvironment(environment);
  auto argv = pointers(arguments);
  auto envp = pointers(merged);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, 1, outFile_.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
  posix_spawn_file_actions_addopen(&actions, 2, errFile_.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
  const int error = posix_spawn(&pid_, arguments.at(0).c_str(), &actions, nullptr, argv.data(), envp.data());
  posix_spawn_file_actions_destroy(&actions);
  if (error != 0) throw std::runtime_error("cannot start " + arguments.at(0));
}

ChildProcess::~ChildProcess() {
  if (!running()) return;
  ::kill(pid_, SIGKILL);
  wait(std::chrono::seconds(10));
}

void ChildProcess::signal(int number) const {
  if (!status_) ::kill(pid_, number);
}

std::optional<int> ChildProcess::wait(std::chrono::milliseconds deadline) {
  const auto end = std::chrono::steady_clock::now() + deadline;
  while (running()) {
    if (std::chrono::steady_clock::now() >= end) return std::nullopt;
    pause();
  }
  return status_;
}

bool ChildProcess::running() {
  if (status_) return false;
  int raw = 0;
  if (::waitpid(pid_, &raw, WNOHANG) != pid_) return true;
  status_ = WIFEXITED(raw) ? WEXITSTATUS(raw) : 128 + WTERMSIG(raw);
  return false;
}

std::string ChildProcess::out() const {
  return readFile(outFile_);
}
std::string ChildProcess::err() const {
  return readFile(errFile_);
}

Output runProcess(std::vector<std::string> arguments, std::map<std::string, std::string> environment,
                  const std::filesystem::path& workDirectory) {
  static std::atomic<int> number{0};
  const std::string name = "run-" + std::to_string(++number);
  ChildProcess process(name, std::move(arguments), std::move(environment), workDirectory);
  const auto status = process.wait(std::chrono::seconds(60));
  return Output{status.value_or(-1), process.out(), process.err()};
}

bool eventually(const std::function<bool()>& condition, std::chrono::milliseconds deadline) {
  const auto end = std::chrono::steady_clock::now() + deadline;
  while (!condition()) {
    if (std::chrono::steady_clock::now() >= end) return false;
    pause();
  }
  return true;
}

std::string readFile(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

}  // namespace vaultysclaw::harness
