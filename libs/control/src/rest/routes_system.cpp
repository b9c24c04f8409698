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
  w.member("documentation", "/api/docs");
  w.member("openapi", "/api/openapi.json");
  w.key("routes").beginArray();
  for (const Route& route : routes()) {
    w.beginObject();
    w.member("method", route.method);
    w.member("path", route.pattern);
    w.member("needs", name(route.needs));
    const auto operation = document().operation(route.method, route.pattern);
    w.member("operationId", operation.id);
    w.member("about", operation.summary);
    w.endObject();
  }
  w.endArray();
  w.endObject();
  respondJson(call, w);
}

void Core::openApi(Call call) {
  if (mayReadDocument(call)) respond(call, jsonResponse(200, document().json()));
}

void Core::docs(Call call) {
  if (!mayReadDocument(call)) return;
  net::HttpResponse response;
  response.headers = {{"Content-Type", "text/html; charset=utf-8"},
                      {"Content-Security-Policy", document().pagePolicy()}};
  response.body = document().page();
  respond(call, std::move(response));
}

const OpenApi& Core::document() {
  if (!document_) {
    std::vector<RouteNeeds> needs;
    for (const Route& route : routes()) needs.push_back({route.method, route.pattern, route.needs});
    document_ = std::make_unique<const OpenApi>(needs, options_.version);
  }
  return *document_;
}

// A connection that does not read keeps its answer in memory. All clients share the bound, for none has shown a key.
bool Core::mayReadDocument(const Call& call) {
  constexpr std::size_t kMost = 600;
  const SteadyTime now = ports_.clock.steady();
  if (documentsRead_ == 0 || now - documentsSince_ >= seconds(60)) {
    documentsSince_ = now;
    documentsRead_ = 0;
  }
  if (++documentsRead_ <= kMost) return true;
  fail(call, {Errc::Busy, "the documentation was asked for too often: wait a minute", 0, {}, {{"Retry-After", "60"}}});
  return false;
}

}  // namespace vaultysclaw::control::rest
