#pragma once

#include <filesystem>

#include "base/result.hpp"

namespace vaultysclaw::store::sqlite {

// SQLite takes a write-ahead log to end at its first frame that does not fit the ones before, for that is what a loss
// of power leaves of a commit that was never synced. Damage in the middle looks the same to it, and it would drop all
// commits from there on without a word. Here it shows: a commit is synced before the next one is written, so when later
// commits stand behind the bad frame, that frame was good once.
//
// To be called before SQLite opens the database. Blocking; reads the log once. Malformed when it is damaged. Damage to
// the last commit, and a log that was cut off, cannot be told from a loss of power.
Status checkLog(const std::filesystem::path& database);

}  // namespace vaultysclaw::store::sqlite
