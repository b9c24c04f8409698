#include "rest/core.hpp"
#include "rest/trace_context.hpp"
#include "sending.hpp"

namespace vaultysclaw::control::rest {
namespace {

constexpr seconds kMaxTtl{604'800};

// A header as it stands, or the quoted string that structured fields (RFC 9651) make of it. Nothing when it is neither.
std::optional<std::string> keyOfHeader(std::string_view text) {
  if (text.empty() || text.front() != '"') return std::string(text);
  std::string key;
  for (std::size_t i = 1; i < text.size(); ++i) {
    if (text[i] == '"') return i + 1 == text.size() ? std::optional(key) : std::nullopt;
    if (text[i] == '\\' && (++i == text.size() || (text[i] != '"' && text[i] != '\\'))) return std::nullopt;
    key += text[i];
  }
  return std::nullopt;
}

void writeSent(JsonWriter& w, const std::vector<SentIntent>& sent) {
  w.key("sentTo").beginArray();
  for (const SentIntent& intent : sent) w.value(intent.did.value);
  w.endArray();
  w.member("count", static_cast<std::uint64_t>(sent.size()));
}

}  // namespace

void readDurability(Body& body, const net::HttpRequest& request, seconds maxTtl, RunRequest& into) {
  if (auto ttl = body.integer("ttlSeconds", 1, maxTtl.count())) into.ttl = seconds(*ttl);
  constexpr const char* kRule = "must be 1 to 128 printable ASCII characters";
  into.idempotencyKey = body.text("idempotencyKey", 128);
  if (into.idempotencyKey && !isIdempotencyKey(*into.idempotencyKey)) body.problem("idempotencyKey", kRule);
  std::optional<std::string> header;
  for (const std::string_view value : headersOf(request, "idempotency-key")) {
    if (header) return body.problem("Idempotency-Key", "stands twice");
    header = keyOfHeader(value).value_or("");
    if (!isIdempotencyKey(*header)) return body.problem("Idempotency-Key", kRule);
  }
  if (!header) return;
  if (into.idempotencyKey && *into.idempotencyKey != *header)
    return body.problem("Idempotency-Key", "differs from the member idempotencyKey");
  into.idempotencyKey = std::move(header);
}

void Core::sendIntent(Call call) {
  auto body = this->body(call);
  if (!body) return;
  RunRequest request;
  const GivenDid given = readDid(*body);
  readWork(*body, call, request);
  readDurability(*body, call.request(), kMaxTtl, request);
  if (auto bad = body->finish()) return fail(call, *bad);
  const auto did = didOf(call, given);
  if (!did) return;
  request.did = *did;
  const std::string action = request.action;
  plane_.send(std::move(request), [self = shared_from_this(), call, action](Result<SentIntent> reply) {
    if (!reply) return self->fail(call, reply.error());
    JsonWriter w;
    w.beginObject();
    w.member("intentId", reply->intentId.value);
    w.member("did", reply->did.value);
    w.member("action", action);
    w.member("status", reply->status);
    if (reply->replayed) w.member("replayed", true);
    writeSent(w, {*reply});
    w.endObject();
    self->respondJson(call, w, 202);
  });
}

void Core::broadcastIntent(Call call) {
  auto body = this->body(call);
  if (!body) return;
  RunRequest request;
  readWork(*body, call, request);
  if (!headersOf(call.request(), "idempotency-key").empty())
    body->problem("Idempotency-Key", "is not for broadcasts, which go to whoever is there");
  if (auto bad = body->finish()) return fail(call, *bad);
  const std::string action = request.action;
  const auto among = [&](const Did& did) { return workspaces_.mayKnow(call.principal(), did); };
  plane_.broadcast(
      std::move(request), among, [self = shared_from_this(), call, action](Result<std::vector<SentIntent>> reply) {
        if (!reply) return self->fail(call, reply.error());
        JsonWriter w;
        w.beginObject();
        w.member("action", action);
        w.key("intents").beginArray();
        for (const SentIntent& intent : *reply) {
          w.beginObject().member("intentId", intent.intentId.value).member("did", intent.did.value).endObject();
        }
        w.endArray();
        writeSent(w, *reply);
        w.endObject();
        self->respondJson(call, w, 202);
      });
}

void Core::listIntents(Call call) {
  Query q = query(call);
  store::IntentFilter filter;
  if (auto did = q.text("did")) {
    if (!isValidDid(*did)) q.problem("did", "is not a DID (did:vaultys: and 40 hex digits)");
    filter.did = Did(std::move(*did));
  }
  filter.status = q.oneOf("status", {"queued", "pending", "success", "failed", "timeout", "lost", "expired"});
  filter.owner = intentsOf(call);
  const store::Page page = q.page();
  if (auto bad = q.finish()) return fail(call, *bad);
  plane_.intents(std::move(filter), page,
                 [self = shared_from_this(), call, page](Result<store::Listing<ControlPlane::IntentView>> reply) {
                   if (!reply) return self->fail(call, reply.error());
                   JsonWriter w;
                   w.beginObject();
                   w.key("items").beginArray();
                   for (const auto& intent : reply->items) writeIntent(w, intent, Detail::Row);
                   w.endArray();
                   writePagination(w, reply->total, page, reply->items.size());
                   w.endObject();
                   self->respondJson(call, w);
                 });
}

void Core::getIntent(Call call) {
  plane_.intent(IntentId(call.params.front()), intentsOf(call),
                [self = shared_from_this(), call](Result<ControlPlane::IntentView> reply) {
                  if (!reply) return self->fail(call, reply.error());
                  JsonWriter w;
                  writeIntent(w, *reply, Detail::Full);
                  self->respondJson(call, w);
                });
}

void Core::cancelIntent(Call call) {
  auto body = this->body(call);
  if (!body) return;
  if (auto bad = body->finish()) return fail(call, *bad);
  plane_.cancelIntent(IntentId(call.params.front()), call.actor(), intentsOf(call),
                      [self = shared_from_this(), call](const Result<std::monostate>& reply) {
                        if (!reply) return self->fail(call, reply.error());
                        JsonWriter w;
                        w.beginObject();
                        w.member("intentId", call.params.front());
                        w.member("cancelling", true);
                        w.endObject();
                        self->respondJson(call, w, 202);
                      });
}

}  // namespace vaultysclaw::control::rest
