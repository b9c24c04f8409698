// What a store says about rows that are not as they were written.
#pragma once

#include <functional>
#include <string>

namespace vaultysclaw::store {

struct DamagedRow {
  std::string table{};
  std::string key{};  // as it is read now, so it may be damaged itself
  std::string file{};
};
// "FILE: row KEY of TABLE is damaged; ..."
std::string text(const DamagedRow& row);

// Called once for each damaged row that a list left out, on the thread that asked for the list. Must not use the store.
using OnDamagedRow = std::function<void(const DamagedRow& row)>;

}  // namespace vaultysclaw::store
