// Passwords on the command line: where they come from, and that nothing shows them.
#include <pty.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <iostream>

#include "cli_fakes.hpp"

namespace vaultysclaw::cli::testing {
namespace {

class CliPasswords : public CliFixture {
 protected:
  CliPasswords() { on("POST /api/users/bob/password", Reply{204, "", {}}); }
};

TEST_F(CliPasswords, AreALineOfStandardInput) {
  const Outcome set = run({"users", "set-password", "bob"}, "brown teapot\nand more\n");
  EXPECT_EQ(set.code, kOk) << set.err;
  EXPECT_EQ(requests().back().body, R"({"password":"brown teapot"})");
  EXPECT_THAT(set.out + set.err, Not(HasSubstr("teapot")));
  EXPECT_EQ(run({"users", "set-password", "bob"}, " spaces \"stay\" \r\n").code, kOk);
  EXPECT_EQ(requests().back().body, R"({"password":" spaces \"stay\" "})");
  EXPECT_EQ(run({"users", "set-password", "bob"}, "no line feed").code, kOk);
  EXPECT_EQ(requests().back().body, R"({"password":"no line feed"})");
  const Outcome json = run({"users", "set-password", "bob", "--json"}, "brown teapot\n");
  EXPECT_EQ(json.out, "{\"passwordSet\":\"bob\"}\n");
  const auto before = requests().size();
  EXPECT_EQ(run({"users", "set-password", "bob"}, "\n").code, kFailed);
  EXPECT_EQ(run({"users", "set-password", "bob"}, "").code, kFailed);
  EXPECT_EQ(run({"users", "set-password", "bob"}, "latin \xe4\n").code, kFailed);
  EXPECT_EQ(requests().size(), before);
}

TEST_F(CliPasswords, AreNeverArguments) {
  EXPECT_EQ(run({"users", "set-password", "bob", "brown teapot"}, "x\n").code, kUsage);
  EXPECT_EQ(run({"users", "set-password", "bob", "--password", "brown teapot"}, "x\n").code, kUsage);
  EXPECT_TRUE(requests().empty());
}

TEST_F(CliPasswords, TheCurrentOneComesFirst) {
  EXPECT_EQ(run({"users", "set-password", "bob", "--current"}, "old one\nnew one\n").code, kOk);
  EXPECT_EQ(requests().back().body, R"({"password":"new one","currentPassword":"old one"})");
}

TEST_F(CliPasswords, ANewUserMayHaveOne) {
  on("POST /api/users", json{{"id", "u-1"}, {"name", "bob"}, {"role", "member"}, {"hasPassword", false}}, 201);
  on("POST /api/users/u-1/password", Reply{204, "", {}});
  const Outcome added = run({"users", "add", "bob", "--password-stdin", "--json"}, "brown teapot\n");
  EXPECT_EQ(added.code, kOk) << added.err;
  EXPECT_THAT(added.out, HasSubstr(R"("hasPassword":true)"));
  EXPECT_EQ(requests().back().body, R"({"password":"brown teapot"})");
  on("POST /api/users/u-1/password", json{{"error", "the request is not valid: password must have at least"}}, 400);
  const Outcome half = run({"users", "add", "bob", "--password-stdin"}, "short\n");
  EXPECT_EQ(half.code, kFailed);
  EXPECT_THAT(half.err, HasSubstr("users set-password bob"));
  const auto before = requests().size();
  EXPECT_EQ(run({"users", "add", "bob", "--password-stdin"}, "\n").code, kFailed);
  EXPECT_EQ(requests().size(), before) << "nobody is added without the password that was asked for";
}

// The command as a process on a terminal of its own, which waits for the address of its control plane.
class TerminalProcess {
 protected:
  TerminalProcess() {
    int toChild[2] = {-1, -1};
    EXPECT_EQ(pipe(toChild), 0);
    child_ = forkpty(&terminal_, nullptr, nullptr, nullptr);
    EXPECT_GE(child_, 0);
    if (child_ == 0) runInChild(toChild[0]);
    close(toChild[0]);
    addressPipe_ = toChild[1];
  }
  ~TerminalProcess() { close(terminal_); }

  void begin(const std::string& address) const {
    EXPECT_EQ(write(addressPipe_, address.data(), address.size()), static_cast<ssize_t>(address.size()));
    close(addressPipe_);
  }
  // Reads until the terminal has shown `text`, or nobody has it open any more.
  void waitFor(const std::string& text) {
    for (char c = 0; shown.find(text, seen_) == std::string::npos && read(terminal_, &c, 1) == 1;) shown += c;
    seen_ = shown.size();
  }
  void type(const std::string& keys) const {
    EXPECT_EQ(write(terminal_, keys.data(), keys.size()), static_cast<ssize_t>(keys.size()));
  }
  // What the process ends with, once it has said all.
  int end() {
    waitFor(std::string(1, '\0'));
    int status = 0;
    waitpid(child_, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  bool showsWhatIsTyped() const {
    termios now{};
    return tcgetattr(terminal_, &now) == 0 && (now.c_lflag & ECHO) != 0 && (now.c_lflag & ICANON) != 0;
  }
  std::string shown;

 private:
  [[noreturn]] static void runInChild(int addressPipe) {
    std::string address(256, '\0');
    const ssize_t size = read(addressPipe, address.data(), address.size());
    address.resize(size > 0 ? static_cast<std::size_t>(size) : 0);
    Environment process{
        std::cin, std::cout, std::cerr, Terminal::Yes, Terminal::Yes, Terminal::Yes, [](const std::string& name) {
          return name == "VAULTYSCLAW_TOKEN" ? std::optional<std::string>("vcp_test") : std::nullopt;
        }};
    const int code = cli::run({"--url", address, "users", "set-password", "bob"}, process);
    std::cout.flush();
    _exit(code);
  }

  pid_t child_ = -1;
  int terminal_ = -1, addressPipe_ = -1;
  std::size_t seen_ = 0;
};

// The process comes first: none is forked beside threads.
class OnATerminal : protected TerminalProcess, public CliPasswords {
 protected:
  void SetUp() override {
    CliPasswords::SetUp();
    begin(url);
  }
};

TEST_F(OnATerminal, PasswordsAreAskedForTwiceAndNotShown) {
  waitFor("New password for bob: ");
  EXPECT_FALSE(showsWhatIsTyped());
  type("brown teapod\x7ft\n");
  waitFor("The same again: ");
  type(
      "wrong\x15"
      "brown teapot\n");
  EXPECT_EQ(end(), kOk) << shown;
  EXPECT_EQ(requests().back().body, R"({"password":"brown teapot"})");
  EXPECT_THAT(shown, Not(HasSubstr("teapo")));
  EXPECT_THAT(shown, HasSubstr("The password of bob is set"));
  EXPECT_TRUE(showsWhatIsTyped()) << "afterwards it shows again";
}

TEST_F(OnATerminal, TwoThatDifferSetNone) {
  waitFor("New password for bob: ");
  type("brown teapot\n");
  waitFor("The same again: ");
  type("brown teapod\n");
  EXPECT_EQ(end(), kFailed);
  EXPECT_THAT(shown, HasSubstr("two different"));
  EXPECT_TRUE(requests().empty());
}

TEST_F(OnATerminal, CtrlCGivesUpAndLeavesTheTerminalAsItWas) {
  waitFor("New password for bob: ");
  type("brown\x03");
  EXPECT_EQ(end(), kFailed);
  EXPECT_THAT(shown, HasSubstr("given up"));
  EXPECT_TRUE(showsWhatIsTyped());
  EXPECT_TRUE(requests().empty());
}

}  // namespace
}  // namespace vaultysclaw::cli::testing
