#include "rest/core.hpp"

namespace vaultysclaw::control::rest {
namespace {

double secondsSince(SteadyTime start, SteadyTime now) {
  return std::chrono::duration<double>(now - start).count();
}

}  // namespace

void Core::health(Call call) {
  JsonWriter w;
  w.beginObject();
  w.member("status", "ok");
  w.member("version", options_.version);
  w.member("did", plane_.self().didV1().value);
  w.member("fingerprint", plane_.self().fingerprint());
  w.member("uptime", static_cast<std::int64_t>(secondsSince(started_, ports_.clock.steady())));
  w.member("timestamp", toIso8601(ports_.clock.now()));
  w.endObject();
  respondJson(call, w);
}

void Core::metrics(Call call) {
  net::HttpResponse response;
  response.headers = {{"Content-Type", "text/plain; version=0.0.4; charset=utf-8"}};
  response.body = metricsText(plane_.counters(), logins_.counters(), options_.version,
                              secondsSince(started_, ports_.clock.steady()));
  respond(call, std::move(response));
}

void Core::index(Call call) {
  JsonWriter w;
  w.beginObject();
  w.member("version", options_.version);
  w.member("documentation", "docs/rest.md");
  w.key("routes").beginArray();
  for (const Route& route : routes()) {
    w.beginObject();
    w.member("method", route.method);
    w.member("path", route.pattern);
    w.member("needs", name(route.needs));
    w.member("about", route.about);
    w.endObject();
  }
  w.endArray();
  w.endObject();
  respondJson(call, w);
}

void Core::listAudit(Call call) {
  Query q = query(call);
  store::AuditFilter filter{q.text("actor"), q.text("action"), q.text("target")};
  const store::Page page = q.page();
  if (auto bad = q.finish()) return fail(call, *bad);
  plane_.audit(std::move(filter), page, [self = shared_from_this(), call, page](Result<ControlPlane::AuditView> reply) {
    if (!reply) return self->fail(call, reply.error());
    const auto& rows = reply->rows;
    JsonWriter w;
    w.beginObject();
    w.key("items").beginArray();
    for (const store::AuditRow& row : rows.items) writeAudit(w, row);
    w.endArray();
    writePagination(w, rows.total, page, rows.items.size());
    w.endObject();
    self->respondJson(call, w);
  });
}

void Core::verifyAudit(Call call) {
  plane_.verifyAudit([self = shared_from_this(), call](Result<ControlPlane::AuditCheck> reply) {
    if (!reply) return self->fail(call, reply.error());
    JsonWriter w;
    w.beginObject();
    w.member("valid", !reply->firstBroken.has_value());
    w.member("rows", reply->rows);
    w.key("firstBroken");
    if (reply->firstBroken) {
      w.value(*reply->firstBroken);
    } else {
      w.null();
    }
    w.endObject();
    self->respondJson(call, w);
  });
}

}  // namespace vaultysclaw::control::rest
