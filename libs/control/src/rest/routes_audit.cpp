#include "rest/core.hpp"

namespace vaultysclaw::control::rest {

namespace {

constexpr std::int64_t kMaxSeq = std::int64_t{1} << 53;

// `action=key.*` is all that begin with `key.`.
void readAction(Query& q, store::AuditFilter& into) {
  auto action = q.text("action");
  if (action && action->back() == '*') {
    action->pop_back();
    into.actionPrefix = std::move(action);
  } else {
    into.action = std::move(action);
  }
}

}  // namespace

void Core::listAudit(Call call) {
  Query q = query(call);
  store::AuditFilter filter;
  filter.actor = q.text("actor");
  filter.target = q.text("target");
  readAction(q, filter);
  filter.since = q.time("since");
  filter.until = q.time("until");
  filter.before = q.integer("before", 1, kMaxSeq);
  filter.after = q.integer("after", 0, kMaxSeq);
  const store::Page page = q.page();
  const bool byNumber = filter.before || filter.after, oldestFirst = filter.after.has_value();
  if (byNumber && page.offset != 0) q.problem("offset", "cannot stand beside before or after");
  if (auto bad = q.finish()) return fail(call, *bad);
  store::Page asked = page;
  if (byNumber) ++asked.limit;  // nothing is counted: one row more tells whether there is more
  const std::int64_t from = filter.after.value_or(0);
  plane_.audit(
      std::move(filter), asked,
      [self = shared_from_this(), call, page, byNumber, oldestFirst, from](Result<ControlPlane::AuditView> reply) {
        if (!reply) return self->fail(call, reply.error());
        auto& rows = reply->rows.items;
        const auto limit = static_cast<std::size_t>(page.limit);
        const std::int64_t total = reply->rows.total;
        const bool more = byNumber ? rows.size() > limit : page.offset + static_cast<std::int64_t>(rows.size()) < total;
        if (rows.size() > limit) rows.resize(limit);
        JsonWriter w;
        w.beginObject();
        w.key("items").beginArray();
        for (const store::AuditRow& row : rows) writeAudit(w, row);
        w.endArray();
        w.key("pagination").beginObject();
        if (!byNumber) w.member("total", total);
        w.member("limit", page.limit);
        if (!byNumber) w.member("offset", page.offset);
        w.member("hasMore", more);
        if (oldestFirst) w.member("nextAfter", rows.empty() ? from : rows.back().seq);
        if (!oldestFirst && more && !rows.empty()) w.member("nextBefore", rows.back().seq);
        w.endObject();
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
