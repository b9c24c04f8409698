// Several works in one transaction, so that they share its sync.
#pragma once

#include <functional>
#include <vector>

#include "sqlite/database.hpp"

namespace vaultysclaw::store::sqlite {

// Runs `work(0)` to `work(count - 1)` in that order and in as few transactions as possible, normally one. Each runs in
// a savepoint of its own, so one that fails undoes itself alone; when the commit fails, all that it held have failed.
// `undone` is called whenever rows that a work has written are gone again. Returns the outcome of each. Blocking.
std::vector<Status> commitTogether(Database& db, std::size_t count, const std::function<Status(std::size_t)>& work,
                                   const std::function<void()>& undone);

}  // namespace vaultysclaw::store::sqlite
