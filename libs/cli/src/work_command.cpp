// run.
#include <fstream>
#include <iterator>

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

}  // namespace vaultysclaw::cli
