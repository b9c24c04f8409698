// Floods against the real binary, over loopback: more connections than it may hold, more handshakes than it answers,
// more sockets than it has files for.
#include <signal.h>
#include <sys/resource.h>

#include <nlohmann/json.hpp>

#include "bytes.hpp"
#include "child_process.hpp"
#include "raw_socket.hpp"

namespace vaultysclaw::attacks {
namespace {

using harness::ChildProcess;
using harness::eventually;
using harness::Output;
using harness::readFile;
using harness::runProcess;

TEST(ProcessFlood, LeavesRoomForAnHonestAgentAndIsSurvived) {
  constexpr rlim_t kFiles = 256;
  constexpr int kAddresses = 6, kHandshakes = 16;
  testing::TemporaryDirectory directory;
  const auto ready = directory.path() / "ready.json";
  ChildProcess process("control-plane",
                       std::vector<std::string>{VC_PRODUCT_BINARY, "control-plane", "--data", directory.file("cp"),
                                                "--http-port", "0", "--ws-port", "0", "--ready-file", ready.string()},
                       std::map<std::string, std::string>{}, directory.path());
  ASSERT_TRUE(eventually([&] { return std::filesystem::exists(ready) || !process.running(); }));
  ASSERT_TRUE(process.running()) << process.err();
  const rlimit files{kFiles, kFiles};
  ASSERT_EQ(::prlimit(process.pid(), RLIMIT_NOFILE, &files, nullptr), 0);
  const Json info = parsed(readFile(ready));
  const std::uint16_t port = info.at("wsPort");
  const std::string http = "http://127.0.0.1:" + std::to_string(info.at("httpPort").get<int>());
  const auto cli = [&](std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), VC_PRODUCT_BINARY);
    return runProcess(std::move(arguments),
                      {{"VAULTYSCLAW_URL", http}, {"VAULTYSCLAW_TOKEN_FILE", directory.file("cp/api.token")}},
                      directory.path());
  };
  const auto works = [&] { return cli({"run", "probe", "text_generation", "{}"}).status == 0; };

  // Handshakes that stall, sixteen from each address; what is over that is told so and closed.
  std::vector<RawSocket> stalled;
  for (int a = 1; a <= kAddresses; ++a) {
    const std::string from = "127.0.1." + std::to_string(a);
    for (int i = 0; i < kHandshakes + 2; ++i) {
      stalled.push_back(RawSocket::connect(port, from.c_str()));
      RawSocket& socket = stalled.back();
      ASSERT_TRUE(socket.upgrade()) << from << " " << i;
      ASSERT_TRUE(socket.read());
      if (i < kHandshakes) continue;
      const auto refused = socket.read();
      ASSERT_TRUE(refused);
      EXPECT_EQ(typeOf(refused->second), "auth_failed");
      EXPECT_TRUE(socket.closedByPeer());
      stalled.pop_back();
    }
  }
  ChildProcess probe("probe", {VC_PROBE_BINARY},
                     {{"PROBE_URL", http},
                      {"PROBE_WS_URL", "ws://127.0.0.1:" + std::to_string(port)},
                      {"PROBE_ID", directory.file("probe.id")}},
                     directory.path());
  ASSERT_TRUE(eventually([&] { return cli({"registrations", "approve", "probe"}).status == 0; })) << probe.err();
  ASSERT_TRUE(eventually(works)) << probe.err();

  // More sockets than the process has files for.
  std::vector<RawSocket> sockets;
  for (rlim_t i = 0; i < kFiles; ++i) sockets.push_back(RawSocket::connect(port, "127.0.1.77"));
  EXPECT_TRUE(eventually([&] { return process.err().find("cannot accept connections") != std::string::npos; }));
  EXPECT_TRUE(process.running());
  sockets.clear();
  EXPECT_TRUE(eventually(works)) << process.err();

  process.signal(SIGTERM);
  EXPECT_EQ(process.wait(std::chrono::seconds(30)), 0) << process.err();
}

}  // namespace
}  // namespace vaultysclaw::attacks
