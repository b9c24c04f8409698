// The terminal's conversation with an agent.
#include <algorithm>
#include <charconv>
#include <chrono>
#include <csignal>
#include <iterator>
#include <limits>
#include <thread>

#include "base/ids.hpp"
#include "base/json_writer.hpp"
#include "commands.hpp"
#include "net/backoff.hpp"

namespace vaultysclaw::cli {
namespace {

// How long the control plane keeps an answer that nobody reads.
constexpr Duration kResumeTime = std::chrono::minutes(2);

// SIGINT ends the answer instead of the program while one of these lives.
volatile std::sig_atomic_t interrupted = 0;
class InterruptGuard {
 public:
  InterruptGuard() {
    interrupted = 0;
    struct sigaction action{};
    action.sa_handler = [](int) { interrupted = 1; };
    sigaction(SIGINT, &action, &before_);
  }
  ~InterruptGuard() { sigaction(SIGINT, &before_, nullptr); }
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;

 private:
  struct sigaction before_{};
};

struct Turn {
  bool ok = false;
  bool complete = false;
  bool named = false;     // the conversation's id has come
  bool begun = false;     // the control plane has answered the request
  std::int64_t next = 0;  // number of the event that is due
  std::string answer;
};

// One question and its streamed answer. When the connection breaks, it reads on from where it was.
class Conversation {
 public:
  Conversation(Context& context, std::string did, const ChatOptions& options)
      : context_(context),
        did_(std::move(did)),
        id_(options.conversation),
        thinking_(options.thinking),
        clock_(context.environment().clock != nullptr ? *context.environment().clock : *systemClock_) {
    // Known before anything comes back, so that the answer can be found even when nothing does.
    if (id_.empty()) id_ = newUuid(*systemClock_, *entropy_);
    resumable_ = id_.find('/') == std::string::npos && id_ != "." && id_ != "..";
  }

  Turn ask(const std::string& question) {
    messages_.emplace_back("user", question);
    HttpClient* http = context_.client();
    if (http == nullptr) return {};
    Turn turn;
    failed_ = false;
    const InterruptGuard guard;
    read(*http, turn);
    endLine();
    turn.ok = turn.complete && !failed_;
    // What was not answered is not part of the conversation.
    if (turn.ok) {
      messages_.emplace_back("assistant", turn.answer);
    } else {
      messages_.pop_back();
    }
    return turn;
  }

 private:
  std::string path() const { return "/api/chat/" + percentEncode(did_) + "/" + percentEncode(id_); }

  // Until the answer is complete or cannot be completed; then it has said why.
  void read(HttpClient& http, Turn& turn) {
    const auto stream = [&](const std::string& method, const std::string& where, const std::string& body) {
      return http.stream(
          method, where, body, [&](const ServerEvent& event) { return onEvent(event, turn); },
          [] { return interrupted != 0; });
    };
    net::Backoff backoff({milliseconds(250), seconds(5), 0.2}, *entropy_);
    std::optional<SteadyTime> brokenSince;
    bool first = true;
    auto reply = stream("POST", "/api/chat", requestBody());
    while (true) {
      if (turn.complete || failed_) return;
      if (interrupted != 0) {
        endLine();
        static_cast<void>(http.request("DELETE", path(), "", seconds(5)));
        context_.fail(kFailed, "stopped");
        return;
      }
      if (!mayResume(reply, first)) return giveUp(reply, first);
      first = false;
      // What came since then counts as being connected.
      if (const bool begun = std::exchange(turn.begun, false); begun || !brokenSince) {
        brokenSince = clock_.steady();
        backoff.reset();
      }
      const Duration delay = backoff.next();
      if (clock_.steady() + delay - *brokenSince > kResumeTime) {
        endLine();
        context_.fail(kFailed, "the answer broke off: the connection could not be made again within two minutes",
                      reply ? "" : reply.error().message);
        return;
      }
      if (!pause(delay)) continue;
      reply = stream("GET", path() + "?fromSeq=" + std::to_string(turn.next), "");
    }
  }

  // Whether the answer may still be there, for somebody who asks again.
  bool mayResume(const Result<ClientReply>& reply, bool first) const {
    if (!resumable_) return false;
    if (!reply)
      return reply.error().code == Errc::ConnectionLost || reply.error().code == Errc::DeadlineExceeded ||
             reply.error().code == Errc::Cancelled || (!first && reply.error().code == Errc::Unavailable);
    if (reply->status == 200) return true;  // it ended without its end
    return !first && (reply->status == 502 || reply->status == 503 || reply->status == 504);
  }
  void giveUp(const Result<ClientReply>& reply, bool first) {
    endLine();
    if (first && !reply) return context_.explain(reply.error());
    if (first && reply->status != 200) return context_.explain(*reply);
    std::string why = "The control plane or the agent went away.";
    if (!reply) {
      why = reply.error().message;
    } else if (const Json body = Json::parse(reply->body, nullptr, false); body.is_object() && body.contains("error")) {
      why = textOf(body, "error");
    }
    context_.fail(kFailed, "the answer broke off", why);
  }
  // False when it was interrupted.
  bool pause(Duration time) {
    if (context_.environment().pause) {
      context_.environment().pause(time);
      return interrupted == 0;
    }
    constexpr Duration kStep = milliseconds(50);
    for (; time > Duration(0) && interrupted == 0; time -= kStep) std::this_thread::sleep_for(std::min(time, kStep));
    return interrupted == 0;
  }
  void endLine() {
    if (std::exchange(midLine_, false) && !context_.json()) context_.out() << '\n';
    context_.out().flush();
  }

  std::string requestBody() const {
    JsonWriter w;
    w.beginObject();
    w.member("did", did_);
    w.key("messages").beginArray();
    for (const auto& [role, content] : messages_)
      w.beginObject().member("role", role).member("content", content).endObject();
    w.endArray();
    if (!id_.empty()) w.member("conversationId", id_);
    w.member("stream", true);
    if (thinking_) w.member("thinking", true);
    if (resumable_) w.member("resumable", true);
    w.endObject();
    return w.take();
  }

  bool onEvent(const ServerEvent& received, Turn& turn) {
    const std::string_view data = received.data;
    turn.begun = true;
    std::int64_t number = 0;
    const char* const idEnd = received.id.data() + received.id.size();
    if (const auto read = std::from_chars(received.id.data(), idEnd, number);
        read.ec == std::errc() && read.ptr == idEnd && number >= 0 &&
        number < std::numeric_limits<std::int64_t>::max()) {
      if (number < turn.next) return true;  // it has been shown
      turn.next = number + 1;
    }
    if (data == "[DONE]") {
      turn.complete = true;
      return false;
    }
    const Json event = Json::parse(data, nullptr, false);
    if (event.is_object() && event.contains("conversationId")) {
      id_ = textOf(event, "conversationId");
      if (std::exchange(turn.named, true)) return true;  // each request begins with it
    }
    if (context_.json()) {
      const bool terminal = context_.environment().outTerminal == Terminal::Yes;
      context_.out() << (terminal ? terminalText(data) : std::string(data)) << std::endl;
    }
    if (!event.is_object()) return true;
    if (event.contains("chunk")) {
      const std::string chunk = textOf(event, "chunk");
      turn.answer += chunk;
      if (!context_.json()) show(chunk, Style::Plain);
    }
    if (event.contains("thinking") && thinking_ && !context_.json()) show(textOf(event, "thinking"), Style::Dim);
    if (event.contains("error")) {
      failed_ = true;
      if (midLine_ && !context_.json()) context_.out() << '\n';
      midLine_ = false;
      const std::string code = textOf(event, "code");
      context_.fail(kFailed, textOf(event, "error") + (code.empty() ? "" : " (" + code + ")"));
    }
    return true;
  }

  void show(const std::string& text, Style style) {
    if (text.empty()) return;
    const bool terminal = context_.environment().outTerminal == Terminal::Yes;
    context_.out() << context_.painter().paint(style, terminal ? terminalText(text) : text) << std::flush;
    midLine_ = text.back() != '\n';
  }

  Context& context_;
  std::string did_, id_;
  bool thinking_;
  bool resumable_ = true;
  bool failed_ = false, midLine_ = false;
  const std::unique_ptr<Clock> systemClock_ = makeSystemClock();
  const std::unique_ptr<Entropy> entropy_ = makeSystemEntropy();
  Clock& clock_;
  std::vector<std::pair<std::string, std::string>> messages_;
};

}  // namespace

int chat(Context& context, const ChatOptions& options) {
  const auto did = context.agentDid(options.agent);
  if (!did) return context.exitCode();
  Conversation conversation(context, *did, options);
  if (options.message) {
    std::string question = *options.message;
    if (question == "-") question.assign(std::istreambuf_iterator<char>(context.in()), {});
    return conversation.ask(question).ok ? kOk : context.exitCode();
  }

  const bool prompt =
      context.environment().inTerminal == Terminal::Yes && context.environment().errTerminal == Terminal::Yes;
  if (prompt) {
    context.err() << "Talking to " << terminalText(options.agent)
                  << ". An empty line is skipped; Ctrl-C stops an answer; /exit or Ctrl-D ends.\n";
  }
  std::string line;
  int last = kOk;
  while (true) {
    if (prompt) context.err() << context.errorPainter().paint(Style::Bold, "> ") << std::flush;
    if (!std::getline(context.in(), line) || line == "/exit") break;
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    last = conversation.ask(line).ok ? kOk : context.exitCode();
    if (last == kCannotConnect) break;
  }
  if (prompt) context.err() << '\n';
  return prompt ? kOk : last;
}

}  // namespace vaultysclaw::cli
