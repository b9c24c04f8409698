#include "control/logins.hpp"

#include <deque>
#include <map>

#include "attempts.hpp"
#include "audit.hpp"
#include "journal.hpp"
#include "password.hpp"

namespace vaultysclaw::control {
namespace {

constexpr seconds kRefusalWindow{60};
constexpr int kRefusalsPerWindow = 10;  // that the audit has a row of; the next one says how many were left out

Error stopping() {
  return {Errc::Interrupted, "the control plane is shutting down"};
}

// What a worker found out.
struct Checked {
  bool right = false;
  std::string newHash;
};

}  // namespace

struct Logins::Impl {
  Impl(ControlPorts p, People& thePeople, const LoginOptions& o)
      : ports(p),
        people(thePeople),
        options(o),
        hashes(std::make_shared<PasswordHashes>(o.cost, p.entropy)),
        unmatchable(hashes->unmatchable()),
        byAddress({o.freeAttemptsPerAddress, o.maxWait, o.forgetAfter, o.maxCounted}, p.clock),
        byName({o.freeAttemptsPerName, o.maxWait, o.forgetAfter, o.maxCounted}, p.clock) {}

  using Job = std::function<Result<Checked>(PasswordHashes&)>;
  struct Work {
    std::string client;
    Job job;
    Reply<Checked> reply;
  };

  void compute(Work work);
  void start(Work work);
  void finish(const std::string& client);
  void replyLater(Reply<Checked> reply, Error error);
  void recordRefusal(const store::UserRow* user, const std::string& address, std::string_view reason);

  // By name alone: an id is no secret, and two names for one user would have two counts.
  const store::UserRow* userNamed(const std::string& name) const {
    const store::UserRow* user = people.find(name);
    return user != nullptr && user->name == name ? user : nullptr;
  }
  // Counts an attempt as failed until it has succeeded.
  void begin(const std::string& name, const std::string& client) {
    byName.begin(name);
    byAddress.begin(client);
  }
  void succeeded(const std::string& name, const std::string& client) {
    byName.succeeded(name);
    byAddress.succeeded(client);
  }

  ControlPorts ports;
  People& people;
  const LoginOptions& options;
  std::shared_ptr<PasswordHashes> hashes;  // shared with workers
  const std::string unmatchable;
  Attempts byAddress, byName;
  std::size_t running = 0;
  std::deque<Work> waiting;
  std::map<std::string, std::size_t> ofClient;  // running and waiting
  LoginCounters counters;
  std::optional<SteadyTime> windowStart;
  int refusalsInWindow = 0;
  std::uint64_t suppressed = 0;
  std::shared_ptr<char> alive = std::make_shared<char>();  // until close()
};

Logins::Logins(ControlPorts ports, People& people, LoginOptions options)
    : options_(options), impl_(std::make_unique<Impl>(ports, people, options_)) {}
Logins::~Logins() = default;

void Logins::close() {
  impl_->alive.reset();
  for (auto& work : std::exchange(impl_->waiting, {})) impl_->replyLater(std::move(work.reply), stopping());
}

LoginCounters Logins::counters() const {
  LoginCounters out = impl_->counters;
  out.scryptRuns = impl_->hashes->runs();
  out.sessions = impl_->people.countLogins();
  return out;
}

Duration Logins::mustWait(const std::string& userName, const std::string& address) const {
  const Duration wait = impl_->byAddress.wait(clientOf(address));
  const store::UserRow* user = impl_->userNamed(userName);
  if (user != nullptr && impl_->people.isKnownAt(user->id, address)) return wait;
  return std::max(wait, impl_->byName.wait(userName));
}

void Logins::Impl::replyLater(Reply<Checked> reply, Error error) {
  ports.loop.post([reply = std::move(reply), error = std::move(error)] { reply(error); });
}

void Logins::Impl::compute(Work work) {
  if (!alive) return replyLater(std::move(work.reply), stopping());
  std::size_t& here = ofClient[work.client];
  const bool full = running >= options.maxHashesAtOnce && waiting.size() >= options.maxHashesWaiting;
  if (full || here >= options.maxHashesPerAddress) {
    if (here == 0) ofClient.erase(work.client);
    return replyLater(std::move(work.reply), Error{Errc::Busy, "too many passwords are being checked; try again"});
  }
  ++here;
  if (running < options.maxHashesAtOnce) return start(std::move(work));
  waiting.push_back(std::move(work));
}

void Logins::Impl::start(Work work) {
  ++running;
  // What the caller gave goes through the worker in a box and is destroyed on the loop; the job is run there and wiped.
  auto box = std::make_shared<Work>(std::move(work));
  auto& loop = ports.loop;
  auto finished = [this, box, here = std::weak_ptr<char>(alive)](Result<Checked> result) {
    const Reply<Checked> reply = std::move(box->reply);
    if (here.expired()) return reply(stopping());
    finish(box->client);
    reply(std::move(result));
  };
  auto task = [&loop, box, finished, hashes = hashes] {
    auto result = std::make_shared<Result<Checked>>(box->job(*hashes));
    box->job = nullptr;
    loop.post([finished, result] { finished(std::move(*result)); });
  };
  if (ports.workers.submit(std::move(task))) return;
  box->job = nullptr;
  loop.post([finished] { finished(Error{Errc::Busy, "the control plane is overloaded; try again later"}); });
}

void Logins::Impl::finish(const std::string& client) {
  --running;
  if (const auto here = ofClient.find(client); --here->second == 0) ofClient.erase(here);
  if (waiting.empty()) return;
  Work next = std::move(waiting.front());
  waiting.pop_front();
  start(std::move(next));
}

void Logins::Impl::recordRefusal(const store::UserRow* user, const std::string& address, std::string_view reason) {
  ++counters.refused;
  const SteadyTime now = ports.clock.steady();
  if (!windowStart || now - *windowStart >= kRefusalWindow) {
    windowStart = now;
    refusalsInWindow = 0;
  }
  if (refusalsInWindow >= kRefusalsPerWindow) {
    ++suppressed;
    return;
  }
  ++refusalsInWindow;
  // Not the name that was given: people put passwords there.
  auto row = [at = ports.clock.now(), target = user != nullptr ? user->id.value : std::string("unknown"),
              text = details({{"user", user != nullptr ? std::string_view(user->name) : std::string_view()},
                              {"address", address},
                              {"reason", reason},
                              {"suppressedBefore", std::to_string(std::exchange(suppressed, 0))}})](
                 store::ControlWriter& writer) {
    return AuditLog().append(writer, at, "system", "session.refused", target, text);
  };
  if (!ports.store.write(std::move(row), nullptr)) ++suppressed;
  ports.log.warn("logins", "refused a log-in from " + printable(address, 64) + ": " + std::string(reason));
}

void Logins::logIn(Attempt attempt, Reply<NewLogin> reply) {
  Impl& impl = *impl_;
  const store::UserRow* user = impl.userNamed(attempt.userName);
  std::string_view reason = "wrong password";
  if (user == nullptr) {
    reason = "no such user";
  } else if (user->disabled) {
    reason = "the user is disabled";
  } else if (user->passwordHash.empty()) {
    reason = "the user has no password";
  }
  const bool may = user != nullptr && !user->disabled && !user->passwordHash.empty();
  LoginRequest request{may ? user->id : store::UserId(),
                       may ? user->passwordHash : impl.unmatchable,
                       "",
                       std::move(attempt.replaces),
                       attempt.address,
                       options_.idle,
                       options_.lifetime};
  const std::string client = clientOf(attempt.address);
  impl.begin(attempt.userName, client);
  auto password = std::make_shared<SecretBytes>(std::move(attempt.password));
  auto job = [password, stored = request.checkedHash](PasswordHashes& hashes) -> Result<Checked> {
    Checked checked;
    VC_TRY_ASSIGN(checked.right, hashes.matches(stored, password->view()));
    if (checked.right && hashes.isOutdated(stored)) {
      VC_TRY_ASSIGN(checked.newHash, hashes.make(password->view()));
    }
    return checked;
  };
  auto done = [&impl, alive = std::weak_ptr<char>(impl.alive), request = std::move(request), reply = std::move(reply),
               name = attempt.userName, client, reason, may](Result<Checked> checked) {
    if (alive.expired()) return reply(stopping());
    if (!checked) {
      impl.succeeded(name, client);  // it was no attempt
      return reply(checked.error());
    }
    if (!checked->right || !may) {
      impl.recordRefusal(impl.userNamed(name), request.address, reason);
      return reply(noLogin());
    }
    LoginRequest open = request;
    open.newHash = std::move(checked->newHash);
    const auto answer = [&impl, alive, reply, name, client, address = request.address](Result<NewLogin> opened) {
      if (!alive.expired()) {
        const bool wrong = !opened && opened.error().code == Errc::Unauthenticated;
        if (!wrong) impl.succeeded(name, client);
        if (opened) ++impl.counters.succeeded;
        if (wrong) impl.recordRefusal(impl.userNamed(name), address, "the user was changed meanwhile");
      }
      reply(std::move(opened));
    };
    impl.people.openLogin(std::move(open), answer);
  };
  impl.compute({client, std::move(job), std::move(done)});
}

void Logins::setPassword(Principal by, Change change, Reply<std::monostate> reply) {
  Impl& impl = *impl_;
  const std::string client = clientOf(change.address), name = change.user.name;
  const bool shown = change.current.has_value();
  const std::string stored = change.user.passwordHash.empty() ? impl.unmatchable : change.user.passwordHash;
  if (shown) impl.begin(name, client);
  auto password = std::make_shared<SecretBytes>(std::move(change.password));
  auto current = std::make_shared<std::optional<SecretBytes>>(std::move(change.current));
  auto job = [password, current, stored](PasswordHashes& hashes) -> Result<Checked> {
    Checked checked;
    checked.right = true;
    if (*current) {
      VC_TRY_ASSIGN(checked.right, hashes.matches(stored, (*current)->view()));
    }
    if (checked.right) {
      VC_TRY_ASSIGN(checked.newHash, hashes.make(password->view()));
    }
    return checked;
  };
  auto done = [&impl, alive = std::weak_ptr<char>(impl.alive), by = std::move(by), user = std::move(change.user),
               address = change.address, client, name, shown, stored,
               reply = std::move(reply)](Result<Checked> checked) {
    if (alive.expired()) return reply(stopping());
    if (shown && (!checked || checked->right)) impl.succeeded(name, client);
    if (!checked) return reply(checked.error());
    if (!checked->right) {
      impl.recordRefusal(&user, address, "the current password was wrong");
      return reply(Error{Errc::PolicyDenied, "the current password is wrong"});
    }
    PasswordChange to{user.id, std::move(checked->newHash), std::nullopt};
    if (shown) to.checkedHash = stored;
    impl.people.setPassword(by, std::move(to), reply);
  };
  impl.compute({client, std::move(job), std::move(done)});
}

}  // namespace vaultysclaw::control
