#include "sqlite/damage_log.hpp"

namespace vaultysclaw::store {

std::string text(const DamagedRow& row) {
  return row.file + ": the row " + row.key + " of " + row.table +
         " is damaged; restore the file from a backup, or delete what the row is about";
}

namespace sqlite {

void DamageLog::leftOut(DamagedRow row) {
  if (!tell_) return;
  {
    std::lock_guard lock(mutex_);
    if (told_.size() >= kMaxRemembered) told_.clear();
    if (!told_.insert(row.table + '\n' + row.key).second) return;
  }
  tell_(row);
}

}  // namespace sqlite
}  // namespace vaultysclaw::store
