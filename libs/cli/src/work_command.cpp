// run and chat.
#include <csignal>
#include <fstream>
#include <iterator>
#include <sstream>

#include "base/json_writer.hpp"
#include "commands.hpp"

namespace vaultysclaw::cli {
namespace {

constexpr std::size_t kMaxParamsBytes = std::size_t{4} << 20;
constexpr int kMaxWaitSeconds = 300;

// JSON from the argument itself, from @file or from standard input.
std::optional<std::string> readParams(Context& context, const std::string& argument) {
  std::string text = argument;
  std::string origin = "the parameters";
  if (argument == "-") {
    origin = "standard input";
    text.assign(std::istreambuf_iterator<char>(context.in()), {});
  } else if (argument.starts_with('@')) {
    origin = argument.substr(1);
    std::ifstream file(origin, std::ios::binary);
    if (!file) {
      context.fail(kUsage, "cannot read " + origin, "Parameters are JSON, @file or - for standard input.");
      return std::nullopt;
    }
    text.assign(std::istreambuf_iterator<char>(file), {});
  }
  if (text.size() > kMaxParamsBytes) {
    context.fail(kUsage, origin + " hold more than 4 MiB");
    return std::nullopt;
  }
  const Json value = Json::parse(text, nullptr, false);
  if (!value.is_object()) {
    context.fail(kUsage, origin + (value.is_discarded() ? " are not JSON" : " are JSON, but not an object"),
                 "For example: '{\"text\": \"hello\"}'");
    return std::nullopt;
  }
  return text;
}

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
  std::string answer;
};

// One question and its streamed answer.
class Conversation {
 public:
  Conversation(Context& context, std::string did, const ChatOptions& options)
      : context_(context), did_(std::move(did)), id_(options.conversation), thinking_(options.thinking) {}

  Turn ask(const std::string& question) {
    messages_.emplace_back("user", question);
    HttpClient* http = context_.client();
    if (http == nullptr) return {};
    Turn turn;
    const InterruptGuard guard;
    auto reply = http->stream(
        "/api/chat", requestBody(), [&](std::string_view data) { return onEvent(data, turn); },
        [] { return interrupted != 0; });
    if (midLine_ && !context_.json()) context_.out() << '\n';
    midLine_ = false;
    context_.out().flush();
    if (!reply && reply.error().code == Errc::Cancelled) {
      context_.fail(kFailed, "stopped");
      turn.ok = false;
    } else if (!reply) {
      context_.explain(reply.error());
    } else if (reply->status != 200) {
      context_.explain(*reply);
    } else if (!turn.complete) {
      context_.fail(kFailed, "the answer broke off", "The control plane or the agent went away.");
    } else {
      turn.ok = !failed_;
    }
    failed_ = false;
    // What was not answered is not part of the conversation.
    if (turn.ok) {
      messages_.emplace_back("assistant", turn.answer);
    } else {
      messages_.pop_back();
    }
    return turn;
  }

 private:
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
    w.endObject();
    return w.take();
  }

  bool onEvent(std::string_view data, Turn& turn) {
    if (data == "[DONE]") {
      turn.complete = true;
      return false;
    }
    if (context_.json()) {
      const bool terminal = context_.environment().outTerminal == Terminal::Yes;
      context_.out() << (terminal ? terminalText(data) : std::string(data)) << std::endl;
    }
    const Json event = Json::parse(data, nullptr, false);
    if (!event.is_object()) return true;
    if (event.contains("conversationId")) id_ = textOf(event, "conversationId");
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
  bool failed_ = false, midLine_ = false;
  std::vector<std::pair<std::string, std::string>> messages_;
};

}  // namespace

int runAction(Context& context, const RunOptions& options) {
  const auto params = readParams(context, options.params);
  if (!params) return context.exitCode();
  const auto did = context.agentDid(options.agent);
  if (!did) return context.exitCode();
  if (!options.noWait && options.ttlSeconds > kMaxWaitSeconds) {
    return context.fail(kUsage, "--ttl is at most " + std::to_string(kMaxWaitSeconds) + " s for a run that waits",
                        "With --no-wait it may be up to 604800 s.");
  }
  const auto timeout = milliseconds(static_cast<std::int64_t>(options.timeoutSeconds * 1000.0));
  JsonWriter w;
  w.beginObject();
  if (options.noWait) w.member("did", *did);
  w.member("action", options.action);
  w.key("params").rawValue(*params);
  w.member("timeoutMs", static_cast<std::int64_t>(timeout.count()));
  if (options.ttlSeconds > 0) w.member("ttlSeconds", options.ttlSeconds);
  if (!options.idempotencyKey.empty()) w.member("idempotencyKey", options.idempotencyKey);
  w.endObject();
  const std::string path = options.noWait ? "/api/intents" : "/api/agents/" + percentEncode(*did) + "/run";
  // The control plane gives up first, and says why.
  auto answer = context.call("POST", path, w.take(), timeout + seconds(options.ttlSeconds) + seconds(15));
  if (!answer) return context.exitCode();

  const bool ok = options.noWait || textOf(answer->body, "status") == "success";
  if (context.json()) return context.printJson(*answer), ok ? kOk : kFailed;
  if (options.noWait) {
    const std::string id = terminalText(textOf(answer->body, "intentId"));
    const bool queued = textOf(answer->body, "status") == "queued";
    const char* what = answer->body.value("replayed", false) ? "There already: " : queued ? "Waits: " : "Sent: ";
    context.out() << what << id << "\n";
    context.err() << "'vaultysclaw intents show " << id << "' tells what becomes of it.\n";
    return kOk;
  }
  if (!ok) {
    const std::string code = textOf(answer->body, "code");
    return context.fail(kFailed,
                        "the intent failed: " + textOf(answer->body, "error") + (code.empty() ? "" : " (" + code + ")"),
                        "Intent " + textOf(answer->body, "intentId"));
  }
  const Json& output = answer->body["output"];
  const std::string text = output.dump(2, ' ', false, Json::error_handler_t::replace);
  context.out() << (context.environment().outTerminal == Terminal::Yes ? terminalText(text) : text) << '\n';
  return kOk;
}

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
