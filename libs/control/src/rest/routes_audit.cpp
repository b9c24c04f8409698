#include "rest/core.hpp"

namespace vaultysclaw::control::rest {

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
