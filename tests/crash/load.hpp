// The callers: threads that ask for work over REST as clients do, and write down what they are told.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "ledger.hpp"
#include "random.hpp"

namespace vaultysclaw::crash {

struct LoadPlan {
  std::uint16_t port = 0;
  std::string token;
  std::vector<std::string> agents;  // names
  std::vector<std::string> dids;    // as many
  int callers = 8;
  std::uint64_t seed = 1;
  std::chrono::milliseconds restFrom{2}, restTo{20};  // of a caller between two requests
  std::chrono::milliseconds intentTime{3'000};        // timeoutMs
  std::chrono::milliseconds callLimit{4'000};         // one attempt
  std::chrono::milliseconds keyLimit{20'000};         // all attempts with one key
  std::chrono::milliseconds chatLimit{20'000};        // a chat with all its resumptions
  int longestWorkMs = 30;
};

// Owned by one thread. The callers are silent until resume().
class Load {
 public:
  Load(LoadPlan plan, Ledger& ledger);
  Load(const Load&) = delete;
  Load& operator=(const Load&) = delete;
  ~Load();

  void resume();
  // Blocks until every caller has what it asked for, or has given up.
  void quiesce();
  std::uint64_t requests() const { return requests_; }
  std::uint64_t unanswered() const { return unanswered_; }
  // Of a caller's thread that ended by an exception; empty: none did.
  std::string failure() const;

 private:
  void call(int number);
  bool waitForWork();

  const LoadPlan plan_;
  Ledger& ledger_;
  std::atomic<std::uint64_t> requests_{0}, unanswered_{0};
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  bool running_ = false, ending_ = false;
  int busy_ = 0;
  std::string failure_;
  std::vector<std::thread> threads_;
};

}  // namespace vaultysclaw::crash
