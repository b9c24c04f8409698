// One caller: its connection, its requests, what becomes of them.
#pragma once

#include <string>

#include "http_client.hpp"
#include "load.hpp"

namespace vaultysclaw::crash {

// Confined to one thread; blocks.
class Caller {
 public:
  Caller(const LoadPlan& plan, Ledger& ledger, int number);
  // One request of a random kind, to its end. False when nobody answered it.
  bool act();
  void rest();

 private:
  struct Wish;
  bool ask();
  bool attempt(Wish& wish);
  void understand(Wish& wish, const harness::HttpReply& reply);
  void reuseKey(const Wish& wish);
  void cancel(const std::string& work, const std::string& id);
  bool chat();
  static bool take(const harness::ServerEvent& event, ChatRecord& chat);

  const LoadPlan& plan_;
  Ledger& ledger_;
  const std::string name_;
  Random random_;
  harness::HttpClient client_;
};

}  // namespace vaultysclaw::crash
