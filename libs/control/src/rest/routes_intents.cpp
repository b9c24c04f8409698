#include "rest/core.hpp"

namespace vaultysclaw::control::rest {
namespace {

void writeSent(JsonWriter& w, const std::vector<SentIntent>& sent) {
  w.key("sentTo").beginArray();
  for (const SentIntent& intent : sent) w.value(intent.did.value);
  w.endArray();
  w.member("count", static_cast<std::uint64_t>(sent.size()));
}

}  // namespace

void Core::sendIntent(Call call) {
  auto body = this->body(call);
  if (!body) return;
  RunRequest request;
  request.did = readDid(*body);
  readWork(*body, call.request(), request);
  if (auto bad = body->finish()) return fail(call, *bad);
  const std::string action = request.action;
  plane_.send(std::move(request), [self = shared_from_this(), call, action](Result<SentIntent> reply) {
    if (!reply) return self->fail(call, reply.error());
    JsonWriter w;
    w.beginObject();
    w.member("intentId", reply->intentId.value);
    w.member("did", reply->did.value);
    w.member("action", action);
    writeSent(w, {*reply});
    w.endObject();
    self->respondJson(call, w, 202);
  });
}

void Core::broadcastIntent(Call call) {
  auto body = this->body(call);
  if (!body) return;
  RunRequest request;
  readWork(*body, call.request(), request);
  if (auto bad = body->finish()) return fail(call, *bad);
  const std::string action = request.action;
  plane_.broadcast(
      std::move(request), [self = shared_from_this(), call, action](Result<std::vector<SentIntent>> reply) {
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
  filter.status = q.oneOf("status", {"pending", "success", "failed", "timeout", "lost"});
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
  plane_.intent(IntentId(call.params.front()),
                [self = shared_from_this(), call](Result<ControlPlane::IntentView> reply) {
                  if (!reply) return self->fail(call, reply.error());
                  JsonWriter w;
                  writeIntent(w, *reply, Detail::Full);
                  self->respondJson(call, w);
                });
}

}  // namespace vaultysclaw::control::rest
