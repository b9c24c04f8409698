#pragma once

#include <mutex>
#include <set>
#include <string>

#include "store/damage.hpp"

namespace vaultysclaw::store::sqlite {

// Tells of each damaged row once, however often it is met. Synchronised; shared by the connections of a store.
class DamageLog {
 public:
  explicit DamageLog(OnDamagedRow tell) : tell_(std::move(tell)) {}

  void leftOut(DamagedRow row);

 private:
  static constexpr std::size_t kMaxRemembered = 10'000;  // more are told of more than once

  const OnDamagedRow tell_;
  std::mutex mutex_;
  std::set<std::string> told_;
};

}  // namespace vaultysclaw::store::sqlite
