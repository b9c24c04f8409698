#include "secret_input.hpp"

#include <termios.h>
#include <unistd.h>

#include "base/bytes.hpp"

namespace vaultysclaw::cli {
namespace {

constexpr std::size_t kMaxBytes = 4096;

// Standard input's terminal, while it shows nothing and hands over every character, Ctrl-C too: a process that it ended
// would leave the terminal like that.
class SilentTerminal {
 public:
  SilentTerminal() {
    if (::tcgetattr(STDIN_FILENO, &before_) != 0) return;
    termios now = before_;
    now.c_lflag &= ~static_cast<tcflag_t>(ECHO | ECHONL | ICANON | ISIG);
    now.c_cc[VMIN] = 1;
    now.c_cc[VTIME] = 0;
    silent_ = ::tcsetattr(STDIN_FILENO, TCSAFLUSH, &now) == 0;
  }
  ~SilentTerminal() {
    if (silent_) (void)::tcsetattr(STDIN_FILENO, TCSAFLUSH, &before_);
  }
  SilentTerminal(const SilentTerminal&) = delete;
  SilentTerminal& operator=(const SilentTerminal&) = delete;
  bool silent() const { return silent_; }

 private:
  termios before_{};
  bool silent_ = false;
};

// The last character with all of its bytes.
void dropCharacter(std::string& text) {
  while (!text.empty()) {
    const auto byte = static_cast<unsigned char>(text.back());
    text.back() = '\0';
    text.pop_back();
    if ((byte & 0xC0U) != 0x80U) return;
  }
}

// False when it was given up.
bool readTyped(std::istream& in, std::string& into) {
  constexpr int kCtrlC = 3, kCtrlD = 4, kBackspace = 8, kCtrlU = 21, kCtrlBackslash = 28, kDelete = 127;
  for (;;) {
    const int c = in.get();
    if (c == '\n' || c == '\r') return true;
    if (c == std::istream::traits_type::eof() || c == kCtrlC || c == kCtrlD || c == kCtrlBackslash) return false;
    if (c == kBackspace || c == kDelete) {
      dropCharacter(into);
    } else if (c == kCtrlU) {
      wipe(into);
    } else if (into.size() < kMaxBytes) {
      into.push_back(static_cast<char>(c));
    }
  }
}

bool readPiped(std::istream& in, std::string& into) {
  for (int c = in.get(); c != std::istream::traits_type::eof() && c != '\n'; c = in.get()) {
    if (into.size() < kMaxBytes) into.push_back(static_cast<char>(c));
  }
  if (!into.empty() && into.back() == '\r') into.pop_back();
  return true;
}

}  // namespace

std::optional<std::string> readSecret(Context& context, const std::string& prompt) {
  std::string secret;
  secret.reserve(kMaxBytes);  // growing would leave copies behind
  bool given = false;
  if (context.environment().inTerminal == Terminal::Yes) {
    const SilentTerminal terminal;
    if (!terminal.silent()) {
      context.fail(kFailed, "the terminal cannot hide what is typed", "Pipe it in instead.");
      return std::nullopt;
    }
    context.err() << terminalText(prompt) << ": " << std::flush;
    given = readTyped(context.in(), secret);
    context.err() << '\n';
  } else {
    given = readPiped(context.in(), secret);
  }
  if (given && !secret.empty()) return secret;
  wipe(secret);
  context.fail(kFailed, given ? "no password was given" : "given up: nothing was changed");
  return std::nullopt;
}

}  // namespace vaultysclaw::cli
