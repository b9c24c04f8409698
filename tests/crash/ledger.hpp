// What callers asked for and were told. Written down before anything is sent, in memory and in a file, so that a run
// that is cut off still knows what was promised.
#pragma once

#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "records.hpp"

namespace vaultysclaw::crash {

// Synchronised.
class Ledger {
 public:
  // Takes over what the file has. Throws std::runtime_error.
  explicit Ledger(const std::filesystem::path& file);

  // A work number that no other request has had, over all runs.
  std::string newWork();
  void add(const Promise& promise);
  // Changes a promise; `event` is what was seen.
  void note(const std::string& work, const std::string& event, const std::function<void(Promise&)>& change);
  void addChat(ChatRecord chat);

  // The promises that were added or changed since the last call, and the chats that ended since then.
  std::vector<Promise> takeChanged();
  std::vector<ChatRecord> takeChats();
  std::vector<Promise> all() const;
  std::optional<Promise> find(const std::string& work) const;
  std::size_t size() const;

 private:
  void save(const Promise& promise);

  mutable std::mutex mutex_;
  std::map<std::string, Promise> promises_;
  std::set<std::string> changed_;
  std::vector<ChatRecord> chats_;
  std::ofstream out_;
  std::uint64_t batch_ = 0, next_ = 0;
};

}  // namespace vaultysclaw::crash
