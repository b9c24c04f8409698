#include "control_plane_process.hpp"

#include <csignal>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "interrupt.hpp"

namespace vaultysclaw::harness {
namespace {

using namespace std::chrono_literals;

// So much may a busy machine need for a database of any size.
constexpr auto kStartLimit = 60s;
constexpr std::size_t kShownBytes = 2000;

std::string endOf(const std::string& text) {
  return text.size() > kShownBytes ? "..." + text.substr(text.size() - kShownBytes) : text;
}

}  // namespace

ControlPlaneProcess::ControlPlaneProcess(std::string program, std::filesystem::path directory,
                                         std::vector<std::string> options)
    : program_(std::move(program)), directory_(std::move(directory)), options_(std::move(options)) {}

void ControlPlaneProcess::start(std::map<std::string, std::string> environment) {
  kill();
  const auto ready = directory_ / "ready.json";
  std::filesystem::remove(ready);
  std::vector<std::string> arguments{program_,       "control-plane",
                                     "--data",       (directory_ / "control-plane").string(),
                                     "--http-port",  "0",
                                     "--ws-port",    "0",
                                     "--ready-file", ready.string()};
  arguments.insert(arguments.end(), options_.begin(), options_.end());
  process_.emplace("control-plane", std::move(arguments), std::move(environment), directory_);
  waitFor("the control plane", [&] { return std::filesystem::exists(ready) || !process_->running(); }, kStartLimit);
  if (!process_->running()) throw std::runtime_error("the control plane ended: " + endOf(process_->err()));
  const auto info = nlohmann::json::parse(readFile(ready));
  httpPort_ = info.at("httpPort");
  wsPort_ = info.at("wsPort");
  did_ = info.at("did");
  token_ = readFile(info.at("tokenFile").get<std::string>());
  token_.erase(token_.find_last_not_of(" \r\n") + 1);
}

void ControlPlaneProcess::kill() {
  if (!running()) return;
  process_->signal(SIGKILL);
  if (!process_->wait(30s)) throw std::runtime_error("the control plane cannot be killed");
}

}  // namespace vaultysclaw::harness
