#include "caller.hpp"

#include <nlohmann/json.hpp>

#include "journal.hpp"

namespace vaultysclaw::crash {
namespace {

using Json = nlohmann::json;
using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

constexpr milliseconds kBetweenAttempts{60};
constexpr int kChatPieces = 80;  // of a few milliseconds each: long enough to be met by a harm

std::string text(const Json& json, const char* member) {
  const auto it = json.find(member);
  return it != json.end() && it->is_string() ? it->get<std::string>() : "";
}

}  // namespace

// A request under way, over all its attempts.
struct Caller::Wish {
  std::string work, did, path, key, body;
  Ask ask = Ask::Send;
  Clock::time_point until;
  int status = 0;  // of the last answer
};

Caller::Caller(const LoadPlan& plan, Ledger& ledger, int number)
    : plan_(plan),
      ledger_(ledger),
      name_("caller " + std::to_string(number)),
      random_(plan.seed, static_cast<std::uint64_t>(number)),
      client_(plan.port, plan.token) {}

void Caller::rest() {
  std::this_thread::sleep_for(
      milliseconds(random_.between(static_cast<int>(plan_.restFrom.count()), static_cast<int>(plan_.restTo.count()))));
}

bool Caller::act() {
  return random_.percent(8) ? chat() : ask();
}

bool Caller::ask() {
  Promise promise;
  promise.work = ledger_.newWork();
  promise.did = plan_.dids[static_cast<std::size_t>(random_.below(static_cast<int>(plan_.dids.size())))];
  promise.ask = random_.percent(50) ? Ask::Run : Ask::Send;
  promise.retry = random_.percent(60) ? Retry::UntilAnswered : Retry::Never;
  promise.waits = random_.percent(40);

  Json params{{"n", promise.work}, {"workMs", random_.between(0, plan_.longestWorkMs)}};
  if (random_.percent(10)) params["fail"] = true;
  Json body{{"action", "work"}, {"params", std::move(params)}, {"timeoutMs", plan_.intentTime.count()}};
  if (promise.waits) body["ttlSeconds"] = std::chrono::duration_cast<std::chrono::seconds>(plan_.keyLimit).count();

  Wish wish;
  wish.work = promise.work;
  wish.did = promise.did;
  wish.ask = promise.ask;
  wish.path = "/api/intents";
  if (promise.ask == Ask::Run)
    wish.path = "/api/agents/" + promise.did + "/run";
  else
    body["did"] = promise.did;
  if (promise.retry == Retry::UntilAnswered) wish.key = "key-" + promise.work;
  wish.body = body.dump();
  wish.until = Clock::now() + plan_.keyLimit;
  promise.seen.push_back({unixMillis(), name_ + " asks: " + wish.path + (wish.key.empty() ? "" : " key " + wish.key) +
                                            (promise.waits ? " with ttl" : "")});
  ledger_.add(promise);

  while (!attempt(wish)) {
    if (wish.key.empty() || Clock::now() >= wish.until) return false;
    std::this_thread::sleep_for(kBetweenAttempts);
  }
  // Only what was taken in has used its key.
  if (!wish.key.empty() && (wish.status == 200 || wish.status == 202) && random_.percent(4)) reuseKey(wish);
  return true;
}

// True when nothing is left to be asked.
bool Caller::attempt(Wish& wish) {
  harness::HttpRequest request{.method = "POST", .path = wish.path, .body = wish.body, .limit = plan_.callLimit};
  if (!wish.key.empty()) request.headers["Idempotency-Key"] = wish.key;
  const auto reply = client_.exchange(request);
  if (!reply) {
    ledger_.note(wish.work, name_ + " got no answer", [&](Promise& p) {
      ++p.attempts;
      p.answered = false;
      // Whoever has a key may come back, so the end of the connection does not cancel.
      if (wish.ask == Ask::Run && wish.key.empty()) p.mayEndCancelled = true;
    });
    return false;
  }
  understand(wish, *reply);
  // What says "not now" is asked again by whoever has a key for it.
  return wish.key.empty() || (reply->status != 503 && reply->status != 429);
}

void Caller::understand(Wish& wish, const harness::HttpReply& reply) {
  wish.status = reply.status;
  const Json json = Json::parse(reply.body, nullptr, false);
  const std::string id = json.is_object() ? text(json, "intentId") : "";
  std::string event = name_ + " is answered " + std::to_string(reply.status) + " " + id;
  if (reply.status >= 300 && json.is_object()) event += text(json, "code") + ": " + text(json, "error");
  ledger_.note(wish.work, event, [&](Promise& p) {
    ++p.attempts;
    p.answered = true;
    p.status = reply.status;
    if (!id.empty()) p.ids.insert(id);
    if (reply.status != 200 || !json.contains("status")) return;
    const std::string status = text(json, "status");
    if (status != "success" && status != "failed") return;
    p.result = status;
    p.code = text(json, "code");
    p.error = text(json, "error");
    p.mark = json.contains("output") && json["output"].is_object() ? text(json["output"], "mark") : "";
  });
  if (wish.ask == Ask::Send && reply.status == 202 && !id.empty() && random_.percent(3)) cancel(wish.work, id);
}

// The same key for something else: it must be refused, and must not run.
void Caller::reuseKey(const Wish& wish) {
  Promise promise;
  promise.work = ledger_.newWork();
  promise.did = wish.did;
  promise.ask = wish.ask;
  promise.mustNotExist = true;
  promise.seen.push_back({unixMillis(), name_ + " uses the key of " + wish.work + " for something else"});
  ledger_.add(promise);
  Json body = Json::parse(wish.body);
  body["params"]["n"] = promise.work;
  harness::HttpRequest request{.method = "POST", .path = wish.path, .body = body.dump(), .limit = plan_.callLimit};
  request.headers["Idempotency-Key"] = wish.key;
  if (const auto reply = client_.exchange(request)) {
    ledger_.note(promise.work, name_ + " is answered " + std::to_string(reply->status), [&](Promise& p) {
      // Before it has looked at the key it may say that it cannot look.
      p.answered = reply->status != 503 && reply->status != 429;
      p.status = reply->status;
    });
  }
}

void Caller::cancel(const std::string& work, const std::string& id) {
  ledger_.note(work, name_ + " cancels " + id, [](Promise& p) { p.mayEndCancelled = true; });
  const auto reply = client_.exchange(
      {.method = "POST", .path = "/api/intents/" + id + "/cancel", .body = "{}", .limit = plan_.callLimit});
  ledger_.note(work, name_ + (reply ? " is answered " + std::to_string(reply->status) : " got no answer"), nullptr);
}

// One chat; a resumable one is taken up again where its stream broke, until it ends.
bool Caller::chat() {
  const auto agent = static_cast<std::size_t>(random_.below(static_cast<int>(plan_.dids.size())));
  ChatRecord chat;
  chat.agent = plan_.agents[agent];
  chat.asked = random_.between(1, kChatPieces);
  chat.resumable = random_.percent(70);
  Json body{{"did", plan_.dids[agent]}, {"message", std::to_string(chat.asked)}};
  if (chat.resumable) {
    chat.conversation = "chat-" + ledger_.newWork();
    body["conversationId"] = chat.conversation;
    body["resumable"] = true;
  }
  const auto until = Clock::now() + plan_.chatLimit;
  const auto see = [&](const std::string& what) { chat.seen.push_back({unixMillis(), name_ + " " + what}); };
  const auto onEvent = [&](const harness::ServerEvent& event) { return take(event, chat); };
  see("asks " + chat.agent + " for a chat of " + std::to_string(chat.asked));
  harness::HttpRequest request{.method = "POST", .path = "/api/chat", .body = body.dump(), .limit = plan_.callLimit};
  bool answered = false;
  for (;;) {
    const auto reply = client_.stream(request, onEvent);
    answered = reply.has_value();
    see(reply ? "was answered " + std::to_string(reply->status) : "lost the stream");
    if (reply && reply->status != 200) chat.refused = reply->status;
    // Also when nothing has come: the question may have.
    const bool again =
        chat.resumable && !chat.done && !chat.error && (!reply || (request.method == "GET" && reply->status == 503));
    if (!again || Clock::now() >= until) break;
    std::this_thread::sleep_for(kBetweenAttempts);
    const std::int64_t next = chat.numbers.empty() ? 0 : chat.numbers.back() + 1;
    request = {.method = "GET",
               .path = "/api/chat/" + plan_.dids[agent] + "/" + chat.conversation + "?fromSeq=" + std::to_string(next),
               .limit = plan_.callLimit};
    chat.refused = 0;
    ++chat.resumptions;
    see("takes it up again from " + std::to_string(next));
  }
  chat.stuck = !answered && Clock::now() >= until;
  ledger_.addChat(std::move(chat));
  return answered;
}

bool Caller::take(const harness::ServerEvent& event, ChatRecord& chat) {
  chat.begun = true;
  if (event.data == "[DONE]") {
    chat.done = true;
    return true;
  }
  const Json json = Json::parse(event.data, nullptr, false);
  if (!json.is_object()) return false;
  if (json.contains("conversationId")) chat.conversation = text(json, "conversationId");
  if (json.contains("error")) chat.error = text(json, "code") + ": " + text(json, "error");
  if (json.contains("chunk")) {
    chat.received.push_back(text(json, "chunk"));
    if (!event.id.empty()) chat.numbers.push_back(std::stoll(event.id));
  }
  return true;
}

}  // namespace vaultysclaw::crash
