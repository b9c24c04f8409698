// The product as its users run it: the real binary and real agents as processes on loopback.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <nlohmann/json.hpp>
#include <sstream>

#include "child_process.hpp"

namespace vaultysclaw::system_test {

using namespace harness;
using ::testing::HasSubstr;
using Json = nlohmann::json;
using namespace std::chrono_literals;

inline const std::string kProduct = VC_PRODUCT_BINARY;
inline const std::string kProbe = VC_PROBE_BINARY;

class Processes : public ::testing::Test {
 protected:
  void TearDown() override {
    if (!HasFailure()) return;
    for (const auto& file : std::filesystem::directory_iterator(directory_.path())) {
      const std::string name = file.path().filename();
      if (name.starts_with("control-plane.") || name.starts_with("probe.")) {
        std::cerr << "--- " << name << "\n" << readFile(file.path()) << "\n";
      }
    }
  }

  // Starts the control plane and waits until it serves; the ports stay the same over restarts.
  void startControlPlane(std::vector<std::string> more = {}) {
    const auto ready = directory_.path() / "ready.json";
    std::filesystem::remove(ready);
    std::vector<std::string> arguments{kProduct,       "control-plane",
                                       "--data",       (directory_.path() / "cp").string(),
                                       "--http-port",  std::to_string(httpPort_),
                                       "--ws-port",    std::to_string(wsPort_),
                                       "--ready-file", ready.string()};
    arguments.insert(arguments.end(), more.begin(), more.end());
    controlPlane_.emplace("control-plane", arguments, std::map<std::string, std::string>{}, directory_.path());
    ASSERT_TRUE(eventually([&] { return std::filesystem::exists(ready) || !controlPlane_->running(); }));
    ASSERT_TRUE(controlPlane_->running()) << controlPlane_->err();
    const Json info = Json::parse(readFile(ready));
    httpPort_ = info.at("httpPort");
    wsPort_ = info.at("wsPort");
    did_ = info.at("did");
  }

  void startProbe(const std::string& scheme = "ws", std::map<std::string, std::string> more = {}) {
    more.insert({"PROBE_URL", "http://127.0.0.1:" + std::to_string(httpPort_)});
    more.insert({"PROBE_WS_URL", scheme + "://127.0.0.1:" + std::to_string(wsPort_)});
    more.insert({"PROBE_ID", (directory_.path() / "probe.id").string()});
    more.insert({"PROBE_RUNS", runs().string()});
    probe_.emplace("probe", std::vector<std::string>{kProbe}, more, directory_.path());
  }

  Output cli(std::vector<std::string> arguments, std::map<std::string, std::string> more = {}) {
    arguments.insert(arguments.begin(), kProduct);
    more.insert({"VAULTYSCLAW_URL", scheme_ + "://127.0.0.1:" + std::to_string(httpPort_)});
    more.insert({"VAULTYSCLAW_TOKEN_FILE", (directory_.path() / "cp/api.token").string()});
    return runProcess(std::move(arguments), std::move(more), directory_.path());
  }
  Json cliJson(std::vector<std::string> arguments) {
    arguments.push_back("--json");
    const Output result = cli(std::move(arguments));
    EXPECT_EQ(result.status, 0) << result.err;
    return Json::parse(result.out, nullptr, false);
  }

  std::filesystem::path runs() const { return directory_.path() / "runs"; }
  std::size_t runsOf(const std::string& mark) const {
    std::istringstream lines(std::filesystem::exists(runs()) ? readFile(runs()) : "");
    std::size_t count = 0;
    for (std::string line; std::getline(lines, line);) count += line == mark;
    return count;
  }
  // Posts an intent that leaves `mark` where it runs, and does not wait. Its id.
  std::string post(const std::string& mark, int sleepMs, std::vector<std::string> more = {}) {
    const Json params{{"mark", mark}, {"sleepMs", sleepMs}};
    std::vector<std::string> arguments{"run", "probe", "text_generation", params.dump(), "--no-wait"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return cliJson(std::move(arguments)).value("intentId", "");
  }
  std::string intentStatus(const std::string& id) { return cliJson({"intents", "show", id}).value("status", ""); }
  void killControlPlane() {
    controlPlane_->signal(SIGKILL);
    ASSERT_TRUE(controlPlane_->wait(10s));
  }
  void killProbe() {
    probe_->signal(SIGKILL);
    ASSERT_TRUE(probe_->wait(10s));
  }

  bool probeIs(const std::string& status) {
    const Json agents = cliJson({"agents"});
    for (const auto& agent : agents["items"]) {
      if (agent["name"] == "probe" && agent["status"] == status) return true;
    }
    return false;
  }
  void approveProbe() {
    ASSERT_TRUE(
        eventually([&] { return !cliJson({"registrations", "list", "--status", "pending"})["items"].empty(); }));
    const Output approved = cli({"registrations", "approve", "probe"});
    ASSERT_EQ(approved.status, 0) << approved.err;
    ASSERT_TRUE(eventually([&] { return probeIs("connected"); }));
  }

  TemporaryDirectory directory_;
  int httpPort_ = 0, wsPort_ = 0;
  std::string did_, scheme_ = "http";
  std::optional<ChildProcess> controlPlane_, probe_;
};

}  // namespace vaultysclaw::system_test
