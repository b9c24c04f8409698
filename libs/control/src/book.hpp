// What the control plane's books (people, workspaces, policies, grants) share: how a change is made.
#pragma once

#include <functional>
#include <memory>
#include <utility>

#include "control/people.hpp"

namespace vaultysclaw::control {

// The caller as the writer sees him now and no longer as he was when he asked. PolicyDenied when he may not do this
// any more.
Result<Principal> stillMay(store::ControlReader& reader, const Principal& by, WallTime now, Permission permission);

// Appends the audit row of a change within its transaction.
Status appendAudit(store::ControlWriter& writer, WallTime at, const Principal& by, const char* action,
                   std::string target, std::string detailsJson);

// Runs `work` on the store's writer, then `read` there, in one transaction; after the commit, on the loop, `follow`
// takes the rows that `read` has read, and then `reply` is called: commits and what follows them come in the same
// order. Rows are not followed when `alive` has gone meanwhile. Never replies before it returns. Busy when the writer
// has too much to do.
template <class T, class Rows>
void commitChange(const ControlPorts& ports, const std::shared_ptr<char>& alive,
                  std::function<Result<T>(store::ControlWriter&)> work,
                  std::function<Status(store::ControlReader&, Rows&)> read, std::function<void(Rows)> follow,
                  Reply<T> reply) {
  struct Outcome {
    Result<T> result{Error{Errc::Internal, "the change did not run"}};
    Rows rows;
    std::function<void(Rows)> follow;
    Reply<T> reply;
  };
  auto outcome = std::make_shared<Outcome>();
  outcome->follow = std::move(follow);
  outcome->reply = std::move(reply);
  auto& loop = ports.loop;
  const auto finish = [&loop, outcome, alive = std::weak_ptr<char>(alive)](const Status& status) {
    if (!status) outcome->result = status.error();
    loop.post([outcome, alive] {
      const auto follows = std::exchange(outcome->follow, nullptr);
      const Reply<T> answer = std::exchange(outcome->reply, nullptr);
      if (alive.lock() && outcome->result.ok()) follows(std::move(outcome->rows));
      if (answer) answer(std::move(outcome->result));
    });
  };
  const auto write = [outcome, work = std::move(work), read = std::move(read)](store::ControlWriter& writer) -> Status {
    outcome->result = work(writer);
    if (!outcome->result) return outcome->result.error();
    return read(writer, outcome->rows);
  };
  if (!ports.store.write(write, finish)) finish(Error{Errc::Busy, "too many changes wait for the database; try again"});
}

}  // namespace vaultysclaw::control
