// A steady load: so many requests a second, whatever the answers are.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace vaultysclaw::crash {

struct SoakLoadPlan {
  std::uint16_t port = 0;
  std::string token;
  std::vector<std::string> dids;
  double perSecond = 200;
  int callers = 8;
};

// Owned by one thread; begins when made and ends when destroyed. Counts are synchronised.
class SoakLoad {
 public:
  explicit SoakLoad(SoakLoadPlan plan);
  SoakLoad(const SoakLoad&) = delete;
  SoakLoad& operator=(const SoakLoad&) = delete;
  ~SoakLoad();

  std::uint64_t done() const { return done_; }
  std::uint64_t errors() const { return errors_; }
  // What went wrong, and how often.
  std::map<std::string, std::uint64_t> problems() const;

 private:
  void call(int number);
  void failed(const std::string& what);

  const SoakLoadPlan plan_;
  std::atomic<std::uint64_t> done_{0}, errors_{0};
  std::atomic<bool> ending_{false};
  mutable std::mutex mutex_;
  std::map<std::string, std::uint64_t> problems_;
  std::vector<std::thread> threads_;
};

}  // namespace vaultysclaw::crash
