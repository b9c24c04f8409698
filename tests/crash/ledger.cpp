#include "ledger.hpp"

#include <nlohmann/json.hpp>
#include <stdexcept>

#include "journal.hpp"

namespace vaultysclaw::crash {
namespace {

using Json = nlohmann::json;

Json toJson(const Promise& p) {
  Json out{{"work", p.work},
           {"did", p.did},
           {"ask", p.ask == Ask::Run ? "run" : "send"},
           {"keyed", p.retry == Retry::UntilAnswered},
           {"waits", p.waits},
           {"mayEndCancelled", p.mayEndCancelled},
           {"answered", p.answered},
           {"status", p.status},
           {"ids", p.ids},
           {"mark", p.mark},
           {"error", p.error},
           {"code", p.code},
           {"mustNotExist", p.mustNotExist}};
  if (p.result) out["result"] = *p.result;
  for (const auto& s : p.seen) out["seen"].push_back({s.at, s.what});
  return out;
}

Promise fromJson(const Json& in) {
  Promise p;
  p.work = in.at("work");
  p.did = in.at("did");
  p.ask = in.at("ask") == "run" ? Ask::Run : Ask::Send;
  p.retry = in.at("keyed").get<bool>() ? Retry::UntilAnswered : Retry::Never;
  p.waits = in.at("waits");
  p.mayEndCancelled = in.at("mayEndCancelled");
  p.answered = in.at("answered");
  p.status = in.at("status");
  p.ids = in.at("ids").get<std::set<std::string>>();
  p.mark = in.at("mark");
  p.error = in.at("error");
  p.code = in.at("code");
  p.mustNotExist = in.at("mustNotExist");
  if (in.contains("result")) p.result = in["result"].get<std::string>();
  if (in.contains("seen")) {
    for (const auto& s : in["seen"]) p.seen.push_back({s.at(0), s.at(1)});
  }
  return p;
}

}  // namespace

Ledger::Ledger(const std::filesystem::path& file) {
  std::ifstream in(file);
  for (std::string line; std::getline(in, line);) {
    const Json json = Json::parse(line, nullptr, false);
    if (json.is_discarded()) continue;  // the end of a run that was cut off
    if (json.contains("batch")) {
      batch_ = json["batch"].get<std::uint64_t>() + 1;
      continue;
    }
    Promise p = fromJson(json);
    // Whoever would have tried again is gone with the run before.
    if (!p.answered) p.retry = Retry::Never;
    promises_[p.work] = std::move(p);
  }
  out_.open(file, std::ios::app);
  // Behind what may be half a line.
  out_ << '\n' << Json{{"batch", batch_}}.dump() << std::endl;
  if (!out_) throw std::runtime_error("cannot write " + file.string());
}

std::string Ledger::newWork() {
  const std::lock_guard lock(mutex_);
  return std::to_string(batch_) + "-" + std::to_string(++next_);
}

void Ledger::save(const Promise& promise) {
  out_ << toJson(promise).dump() << std::endl;
  if (!out_) throw std::runtime_error("the file of promises cannot be written");
}

void Ledger::add(const Promise& promise) {
  const std::lock_guard lock(mutex_);
  save(promise);
  promises_[promise.work] = promise;
  changed_.insert(promise.work);
}

void Ledger::note(const std::string& work, const std::string& event, const std::function<void(Promise&)>& change) {
  const std::lock_guard lock(mutex_);
  Promise& promise = promises_.at(work);
  if (change) change(promise);
  promise.seen.push_back({unixMillis(), event});
  save(promise);
  changed_.insert(work);
}

void Ledger::addChat(ChatRecord chat) {
  const std::lock_guard lock(mutex_);
  chats_.push_back(std::move(chat));
}

std::vector<Promise> Ledger::takeChanged() {
  const std::lock_guard lock(mutex_);
  std::vector<Promise> out;
  for (const auto& work : std::exchange(changed_, {})) out.push_back(promises_.at(work));
  return out;
}

std::vector<ChatRecord> Ledger::takeChats() {
  const std::lock_guard lock(mutex_);
  return std::exchange(chats_, {});
}

std::optional<Promise> Ledger::find(const std::string& work) const {
  const std::lock_guard lock(mutex_);
  const auto it = promises_.find(work);
  return it == promises_.end() ? std::nullopt : std::optional(it->second);
}

std::vector<Promise> Ledger::all() const {
  const std::lock_guard lock(mutex_);
  std::vector<Promise> out;
  for (const auto& [work, promise] : promises_) out.push_back(promise);
  return out;
}

std::size_t Ledger::size() const {
  const std::lock_guard lock(mutex_);
  return promises_.size();
}

}  // namespace vaultysclaw::crash
