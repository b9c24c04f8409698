// Sessions of people: logging in and out, and passwords.
#include "rest/browser.hpp"
#include "rest/core.hpp"

namespace vaultysclaw::control::rest {
namespace {

constexpr std::size_t kMaxNameBytes = 64;

// A queue that is full is shorter in a moment.
ApiError withRetry(const Error& error) {
  ApiError out = toApiError(error);
  if (error.code == Errc::Busy) out.headers = {{"Retry-After", "1"}};
  return out;
}

ApiError noSession() {
  return {
      Errc::NotFound, "this request came with an API key and in no session: POST /api/session begins one", 0, {}, {}};
}

}  // namespace

bool Core::mustWait(const Call& call, const std::string& userName) const {
  const auto wait = std::chrono::ceil<seconds>(logins_.mustWait(userName, call.request().peer.address));
  if (wait.count() == 0) return false;
  const std::string left = std::to_string(wait.count());
  fail(call, ApiError{Errc::Busy,
                      "too many wrong passwords from this address or for this user: wait " + left + " s",
                      0,
                      {},
                      {{"Retry-After", left}}});
  return true;
}

void Core::respondSession(const Call& call, const Principal& who, const std::string& secret,
                          net::Headers headers) const {
  const store::UserRow* user = people_.find(who.user.value);
  const store::LoginRow* login = people_.login(*who.login);
  if (user == nullptr || login == nullptr)
    return fail(call, Error{Errc::Unauthenticated, "this session is over: log in again"});
  JsonWriter w;
  w.beginObject();
  w.key("user");
  writeUser(w, *user);
  writeScopes(w, who.effective());
  w.member("csrfToken", csrfTokenOf(secret));
  w.member("expiresAt", toIso8601(login->expiresAt));
  w.endObject();
  net::HttpResponse response = jsonResponse(200, w.take());
  for (auto& header : headers) response.headers.push_back(std::move(header));
  respond(call, std::move(response));
}

void Core::logIn(Call call) {
  const net::HttpRequest& request = call.request();
  const Way way = wayOf(request, options_.tlsInFront);
  if (way == Way::Clear) {
    return fail(call, ApiError{Errc::PolicyDenied,
                               "a password does not travel in the clear: use https://, or start the control plane with "
                               "--tls-in-front when something in front does TLS",
                               0,
                               {},
                               {}});
  }
  if (!isSameOrigin(request, way))
    return fail(call, ApiError{Errc::PolicyDenied, "a page of another origin may not log in here", 0, {}, {}});
  auto body = this->body(call);
  if (!body) return;
  Logins::Attempt attempt;
  attempt.userName = body->requiredText("user", kMaxNameBytes);
  auto password = body->secret("password", kMaxPasswordBytes);
  if (!password && (!body->has("password") || body->isNull("password"))) body->problem("password", "is missing");
  if (auto bad = body->finish()) return fail(call, *bad);
  if (mustWait(call, attempt.userName)) return;
  attempt.password = std::move(*password);
  attempt.address = request.peer.address;
  // Whoever may have put it there, the cookie that came is not the one that goes.
  if (const auto secret = cookieOf(request, way)) {
    if (const auto before = people_.authenticateLogin(*secret, options_.logins.idle)) attempt.replaces = before->login;
  }
  logins_.logIn(std::move(attempt), [self = shared_from_this(), call, way](const Result<NewLogin>& reply) {
    if (!reply) return self->fail(call, withRetry(reply.error()));
    if (self->closed_) return self->fail(call, Error{Errc::Interrupted, "the control plane is shutting down"});
    const auto who = self->people_.authenticateLogin(reply->secret, self->options_.logins.idle);
    if (!who) return self->fail(call, Error{Errc::Unauthenticated, "this session is over: log in again"});
    self->respondSession(call, *who, reply->secret, giveCookie(reply->secret, way));
  });
}

void Core::session(Call call) {
  if (!call.principal().login) return fail(call, noSession());
  const auto secret = cookieOf(call.request(), wayOf(call.request(), options_.tlsInFront));
  respondSession(call, call.principal(), secret.value_or(""), {});
}

void Core::logOut(Call call) {
  if (!call.principal().login) return fail(call, noSession());
  people_.closeLogin(call.principal(), [self = shared_from_this(), call](const Result<std::monostate>& reply) {
    if (!reply) return self->fail(call, reply.error());
    self->respond(call, {204, takeCookie(wayOf(call.request(), self->options_.tlsInFront)), {}});
  });
}

void Core::setPassword(Call call) {
  auto body = this->body(call);
  if (!body) return;
  const Principal& who = call.principal();
  const store::UserRow* user = people_.find(call.params.front());
  const bool own = user != nullptr && user->id == who.user;
  if (!own && !mayDo(who, Permission::Manage)) return fail(call, notAllowed(Permission::Manage));
  if (user == nullptr) return fail(call, noUser(call.params.front()));
  auto password = body->secret("password", kMaxPasswordBytes);
  auto current = body->secret("currentPassword", kMaxPasswordBytes);
  if (password) {
    if (const auto wrong = whatIsWrongWith(asText(password->view()), user->name)) body->problem("password", *wrong);
  } else if (!body->has("password") || body->isNull("password")) {
    body->problem("password", "is missing");
  }
  // Or whoever finds an open browser would take the user over.
  if (own && who.login && !user->passwordHash.empty() && !current)
    body->problem("currentPassword", "is missing: in a session your own password changes only with it");
  if (auto bad = body->finish()) return fail(call, *bad);
  const auto knows = current ? People::KnowsCurrent::Yes : People::KnowsCurrent::No;
  if (const Status may = People::maySetPassword(who, *user, knows); !may) return fail(call, may.error());
  if (current && mustWait(call, user->name)) return;
  Logins::Change change{*user, std::move(*password), std::move(current), call.request().peer.address};
  const bool ends = own && who.login;
  logins_.setPassword(who, std::move(change),
                      [self = shared_from_this(), call, ends](const Result<std::monostate>& reply) {
                        if (!reply) return self->fail(call, withRetry(reply.error()));
                        const Way way = wayOf(call.request(), self->options_.tlsInFront);
                        self->respond(call, {204, ends ? takeCookie(way) : net::Headers(), {}});
                      });
}

}  // namespace vaultysclaw::control::rest
