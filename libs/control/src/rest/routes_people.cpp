#include "rest/core.hpp"
#include "rest/versions.hpp"

namespace vaultysclaw::control::rest {
namespace {

constexpr std::size_t kMaxNameBytes = 64;

void writeScopes(JsonWriter& w, Scopes scopes) {
  w.key("scopes").beginArray();
  for (const std::string& word : scopes.words()) w.value(word);
  w.endArray();
}

void writeKey(JsonWriter& w, const store::ApiTokenRow& row, const std::string* secret = nullptr) {
  w.beginObject();
  w.member("id", row.id.value);
  w.member("userId", row.user.value);
  w.member("name", row.name);
  writeScopes(w, Scopes::fromText(row.scopes));
  w.member("createdAt", toIso8601(row.createdAt));
  writeTimeOrNull(w, "expiresAt", row.expiresAt);
  writeTimeOrNull(w, "lastUsedAt", row.lastUsedAt);
  writeTimeOrNull(w, "revokedAt", row.revokedAt);
  if (secret != nullptr) w.member("key", *secret);
  w.endObject();
}

std::optional<Role> readRole(Body& body) {
  const auto text = body.text("role", 16);
  if (!text) return std::nullopt;
  const auto role = roleFrom(*text);
  if (!role) body.problem("role", "must be owner, admin or member");
  return role;
}

}  // namespace

void Core::writeUser(JsonWriter& w, const store::UserRow& row) const {
  w.beginObject();
  w.member("id", row.id.value);
  w.member("did", row.did);
  w.member("name", row.name);
  w.member("role", row.role);
  w.member("disabled", row.disabled);
  writeIds(w, "workspaces", workspaces_.of(row.id));
  w.member("createdAt", toIso8601(row.createdAt));
  w.member("version", row.version);
  w.endObject();
}

net::HttpResponse Core::userResponse(int status, const store::UserRow& row) const {
  JsonWriter w;
  writeUser(w, row);
  return versionedResponse(status, w.take(), row.version);
}

void Core::me(Call call) {
  const Principal& who = call.principal();
  JsonWriter w;
  w.beginObject();
  w.key("user");
  if (const store::UserRow* row = people_.find(who.user.value)) {
    writeUser(w, *row);
  } else {
    w.null();
  }
  w.member("keyId", who.key.value);
  writeTimeOrNull(w, "keyExpiresAt", who.keyExpiresAt);
  writeScopes(w, who.effective());
  w.endObject();
  respondJson(call, w);
}

void Core::listUsers(Call call) {
  Query q = query(call);
  const auto name = q.text("name");
  const store::Page page = q.page();
  if (auto bad = q.finish()) return fail(call, *bad);
  std::vector<store::UserRow> rows = people_.users();
  if (name) std::erase_if(rows, [&](const store::UserRow& row) { return row.name != *name; });
  JsonWriter w;
  writePage(w, rows, page, [&](const store::UserRow& row) { writeUser(w, row); });
  respondJson(call, w);
}

void Core::getUser(Call call) {
  const store::UserRow* row = people_.find(call.params.front());
  if (row == nullptr) return fail(call, noUser(call.params.front()));
  respond(call, userResponse(200, *row));
}

void Core::addUser(Call call) {
  auto body = this->body(call);
  if (!body) return;
  std::string name = body->requiredText("name", kMaxNameBytes);
  if (!name.empty() && !isUserName(name))
    body->problem("name", "must be 1 to 64 of a-z, 0-9, . _ and -, beginning with a letter or digit");
  const Role role = readRole(*body).value_or(Role::Member);
  auto workspaces = readWorkspaces(*body);
  if (auto bad = body->finish()) return fail(call, *bad);
  people_.addUser(call.principal(), std::move(name), role, std::move(workspaces),
                  [self = shared_from_this(), call](const Result<store::UserRow>& reply) {
                    if (!reply) return self->fail(call, reply.error());
                    self->respond(call, self->userResponse(201, *reply));
                  });
}

void Core::changeUser(Call call) {
  auto body = this->body(call);
  if (!body) return;
  UserChange change{readRole(*body), body->flag("disabled")};
  if (!body->has("role") && !body->has("disabled")) body->problem("body", "changes nothing: give role or disabled");
  if (auto bad = body->finish()) return fail(call, *bad);
  people_.changeUser(call.principal(), store::UserId(call.params.front()), change, expectedVersion(call.request()),
                     [self = shared_from_this(), call](const Result<ChangedUser>& reply) {
                       if (!reply) return self->fail(call, reply.error());
                       if (reply->stale) return self->fail(call, staleVersion("the user"));
                       self->respond(call, self->userResponse(200, reply->row));
                     });
}

void Core::removeUser(Call call) {
  people_.removeUser(call.principal(), store::UserId(call.params.front()), expectedVersion(call.request()),
                     [self = shared_from_this(), call](const Result<ChangedUser>& reply) {
                       if (!reply) return self->fail(call, reply.error());
                       if (reply->stale) return self->fail(call, staleVersion("the user"));
                       self->respond(call, {204, {}, {}});
                     });
}

void Core::listKeys(Call call) {
  Query q = query(call);
  const auto user = q.text("user");
  const store::Page page = q.page();
  if (auto bad = q.finish()) return fail(call, *bad);
  const Principal& who = call.principal();
  const store::UserRow* of = people_.find(user.value_or(who.user.value));
  const bool own = of != nullptr && of->id == who.user;
  if (!own && !mayDo(who, Permission::Oversee)) return fail(call, notAllowed(Permission::Oversee));
  if (of == nullptr) return fail(call, noUser(*user));
  JsonWriter w;
  writePage(w, people_.keysOf(of->id), page, [&](const store::ApiTokenRow& row) { writeKey(w, row); });
  respondJson(call, w);
}

void Core::createKey(Call call) {
  auto body = this->body(call);
  if (!body) return;
  KeyRequest request;
  request.name = body->requiredText("name", kMaxNameBytes);
  if (!request.name.empty() && !isValidWireId(request.name))
    body->problem("name", "must be 1 to 64 printable ASCII characters");
  request.user = body->text("user", kMaxNameBytes);
  request.expiresAt = body->time("expiresAt");
  const auto words = body->textList("scopes", 4, 16);
  if (!words) {
    if (!body->has("scopes") || body->isNull("scopes")) body->problem("scopes", "is missing");
  } else if (const auto scopes = Scopes::from(*words)) {
    request.scopes = *scopes;
  } else {
    body->problem("scopes", "must be some of read, run, operate and admin");
  }
  if (auto bad = body->finish()) return fail(call, *bad);
  people_.createKey(call.principal(), std::move(request),
                    [self = shared_from_this(), call](const Result<NewKey>& reply) {
                      if (!reply) return self->fail(call, reply.error());
                      JsonWriter w;
                      writeKey(w, reply->row, &reply->secret);
                      self->respondJson(call, w, 201);
                    });
}

void Core::revokeKey(Call call) {
  Query q = query(call);
  auto user = q.text("user");
  if (auto bad = q.finish()) return fail(call, *bad);
  people_.revokeKey(call.principal(), TokenId(call.params.front()), std::move(user),
                    [self = shared_from_this(), call](const Result<std::monostate>& reply) {
                      if (!reply) return self->fail(call, reply.error());
                      self->respond(call, {204, {}, {}});
                    });
}

}  // namespace vaultysclaw::control::rest
