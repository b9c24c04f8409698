// Completion scripts in a real shell, and a control plane as a process of its own.
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <iostream>

#include "cli_fakes.hpp"

namespace vaultysclaw::cli::testing {
namespace {

class Shell : public CliFixture {
 protected:
  // What bash offers for the last word.
  std::string complete(const std::string& words, int count) {
    url.clear();
    const std::string script = directory.file("c.bash"), out = directory.file("out");
    std::ofstream(script) << run({"completion", "bash"}).out;
    std::ofstream(directory.file("t.bash"))
        << "source " << script
        << "\nvaultysclaw() { echo '{\"items\":[{\"name\":\"echo\"},{\"name\":\"two $(touch hacked) w\"}]}'; }\n"
           "COMP_WORDS=(vaultysclaw "
        << words << ")\nCOMP_CWORD=" << count << "\n_vaultysclaw\nprintf '%s\\n' \"${COMPREPLY[@]}\"\n";
    const std::string command = "cd " + directory.file("") + " && bash t.bash > " + out + " 2>&1";
    EXPECT_EQ(std::system(command.c_str()), 0);
    std::ifstream file(out);
    return {std::istreambuf_iterator<char>(file), {}};
  }
};

TEST_F(Shell, ScriptsAreValidForTheirShell) {
  url.clear();
  for (const std::string shell : {"bash", "zsh"}) {
    const Outcome script = run({"completion", shell});
    EXPECT_EQ(script.code, kOk);
    std::ofstream(directory.file(shell)) << script.out;
    if (std::system(("command -v " + shell + " > /dev/null").c_str()) != 0) continue;
    EXPECT_EQ(std::system((shell + " -n " + directory.file(shell)).c_str()), 0) << shell;
  }
}

TEST_F(Shell, BashCompletesCommandsOptionsChoicesAndAgents) {
  EXPECT_EQ(complete("reg", 1), "registrations\n");
  EXPECT_EQ(complete("registrations ''", 2), "list\napprove\nreject\n");
  EXPECT_THAT(complete("run --ti", 2), HasSubstr("--timeout\n"));
  EXPECT_THAT(complete("agents --js", 2), HasSubstr("--json\n"));
  EXPECT_EQ(complete("agents --status off", 3), "offline\n");
  EXPECT_EQ(complete("completion z", 2), "zsh\n");
  EXPECT_EQ(complete("run ec", 2), "echo\n");
  EXPECT_EQ(complete("run --json ec", 3), "echo\n");
  EXPECT_EQ(complete("run --timeout 5 ec", 4), "echo\n");
  EXPECT_EQ(complete("run echo ec", 3), "\n");  // the action is not an agent
}

TEST_F(Shell, ForeignAgentNamesAreQuotedAndNeverRun) {
  EXPECT_EQ(complete("chat two", 2), "two\\ \\$\\(touch\\ hacked\\)\\ w\n");
  EXPECT_FALSE(std::filesystem::exists(directory.file("hacked")));
}

// The subcommand control-plane in a child process.
class ControlPlaneProcess : public ::testing::Test {
 protected:
  pid_t start(std::vector<std::string> more = {}) {
    std::filesystem::remove(directory.file("ready.json"));
    std::vector<std::string> args{"control-plane",
                                  "--data",
                                  directory.file("data"),
                                  "--http-port",
                                  "0",
                                  "--ws-port",
                                  "0",
                                  "--ready-file",
                                  directory.file("ready.json")};
    args.insert(args.end(), more.begin(), more.end());
    const pid_t child = fork();
    if (child == 0) {
      const int log = open(directory.file("log").c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
      dup2(log, STDOUT_FILENO);
      dup2(log, STDERR_FILENO);
      Environment process{std::cin,
                          std::cout,
                          std::cerr,
                          Terminal::No,
                          Terminal::No,
                          Terminal::No,
                          [](const std::string&) -> std::optional<std::string> { return std::nullopt; }};
      const int code = cli::run(args, process);
      std::cout.flush();
      _exit(code);
    }
    return child;
  }
  bool ready(pid_t child) {
    for (int i = 0; i < 3000; ++i) {
      if (std::filesystem::exists(directory.file("ready.json"))) return true;
      if (waitpid(child, nullptr, WNOHANG) != 0) return false;
      usleep(10'000);
    }
    return false;
  }
  std::string log() {
    std::ifstream file(directory.file("log"));
    return {std::istreambuf_iterator<char>(file), {}};
  }
  static int waitFor(pid_t child) {
    int status = 0;
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  Outcome command(std::vector<std::string> args) {
    std::istringstream in;
    std::ostringstream out, err;
    Environment process{
        in, out, err, Terminal::No, Terminal::No, Terminal::No, [](const std::string&) -> std::optional<std::string> {
          return std::nullopt;
        }};
    const int code = cli::run(std::move(args), process);
    return {code, out.str(), err.str()};
  }
  json readyInfo() { return json::parse(std::ifstream(directory.file("ready.json"))); }

  TemporaryDirectory directory;
};

TEST_F(ControlPlaneProcess, ServesUntilASignalAndKeepsItsIdentity) {
  pid_t child = start();
  ASSERT_TRUE(ready(child)) << log();
  const json first = readyInfo();
  const std::string url = "http://127.0.0.1:" + std::to_string(first["httpPort"].get<int>());
  const Outcome agents = command({"agents", "--url", url, "--token-file", first["tokenFile"]});
  EXPECT_EQ(agents.code, kOk) << agents.err;
  EXPECT_EQ(command({"audit", "verify", "--url", url, "--token-file", first["tokenFile"]}).code, kOk);
  const Outcome unknown = command({"run", first["did"], "x", "--url", url, "--token-file", first["tokenFile"]});
  EXPECT_EQ(unknown.code, kFailed);
  kill(child, SIGTERM);
  EXPECT_EQ(waitFor(child), kOk) << log();
  std::ifstream tokenFile(first["tokenFile"].get<std::string>());
  std::string token;
  std::getline(tokenFile, token);
  EXPECT_EQ(token.size(), 68U);
  EXPECT_EQ(log().find(token), std::string::npos);
  EXPECT_THAT(log(), HasSubstr(first["did"].get<std::string>()));

  child = start({"--log-format", "json"});
  ASSERT_TRUE(ready(child)) << log();
  EXPECT_EQ(readyInfo()["did"], first["did"]);
  kill(child, SIGINT);
  EXPECT_EQ(waitFor(child), kOk) << log();
  EXPECT_THAT(log(), HasSubstr("\"component\":\"main\""));
}

TEST_F(ControlPlaneProcess, RefusesUnsafeAndHalfOptions) {
  EXPECT_EQ(waitFor(start({"--bind", "0.0.0.0"})), kUsage);
  EXPECT_THAT(log(), HasSubstr("--allow-plaintext-bind"));
  EXPECT_EQ(waitFor(start({"--tls-cert", "x.pem"})), kUsage);
  EXPECT_EQ(waitFor(start({"--tls-cert", "x.pem", "--tls-key", "y.pem"})), kFailed);
}

TEST_F(ControlPlaneProcess, ReadsTomlAndLetsTheCommandLineWin) {
  std::ofstream(directory.file("c.toml")) << "[control-plane]\nbind = \"0.0.0.0\"\nlog-level = \"error\"\n";
  EXPECT_EQ(waitFor(start({"--config", directory.file("c.toml")})), kUsage);
  const pid_t child = start({"--config", directory.file("c.toml"), "--bind", "127.0.0.1"});
  ASSERT_TRUE(ready(child)) << log();
  kill(child, SIGTERM);
  EXPECT_EQ(waitFor(child), kOk);
  EXPECT_EQ(log().find("serving"), std::string::npos);
}

}  // namespace
}  // namespace vaultysclaw::cli::testing
