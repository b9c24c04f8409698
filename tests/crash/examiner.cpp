#include "examiner.hpp"

#include <algorithm>
#include <thread>

#include "interrupt.hpp"

namespace vaultysclaw::crash {
namespace {

using namespace std::chrono_literals;

// A row is made a little later than it is dated.
constexpr std::int64_t kOverlapMs = 2'000;

Outcome outcomeOf(const std::string& what) {
  if (what == "success") return Outcome::Success;
  if (what == "failed") return Outcome::Failed;
  return what == "stopped" ? Outcome::Stopped : Outcome::None;
}

}  // namespace

Examiner::Examiner(World& world, Ledger& ledger)
    : world_(world), ledger_(ledger), journal_(world.journal()), since_(unixMillis() - kOverlapMs) {
  const auto dids = world_.agentDids();
  for (std::size_t i = 0; i < dids.size(); ++i) all_.didOfAgent[world_.agentNames()[i]] = dids[i];
  readJournal();
  ids_.clear();  // what ran before this run is examined with everything
}

void Examiner::readJournal() {
  for (auto& line : journal_.readNew()) {
    if (line.what == "chat" || line.what == "chatted") continue;
    ids_.insert(line.id);
    auto& runs = all_.executed[line.id];
    const Outcome outcome = outcomeOf(line.what);
    if (outcome == Outcome::None) {
      runs.push_back({line.id, line.mark, line.agent, "", line.pid, line.at, 0, Outcome::None});
      continue;
    }
    const auto open = std::find_if(runs.begin(), runs.end(),
                                   [&](const Execution& e) { return e.outcome == Outcome::None && e.pid == line.pid; });
    if (open == runs.end()) throw std::runtime_error("the journal has an end without a beginning: " + line.id);
    open->outcome = outcome;
    open->endedAt = line.at;
    open->mark = line.mark;
  }
}

void Examiner::readRecords() {
  for (auto& promise : ledger_.takeChanged()) {
    works_.insert(promise.work);
    ids_.insert(promise.ids.begin(), promise.ids.end());
    hardships_.askedAgain += promise.answered && promise.attempts > 1;
    all_.promises[promise.work] = std::move(promise);
  }
  for (auto& chat : ledger_.takeChats()) {
    ++hardships_.chats;
    hardships_.chatsTakenUp += chat.resumptions > 0 && chat.done && !chat.error;
    all_.chats.push_back(std::move(chat));
  }
  readJournal();
  all_.killed = world_.killed();
  auto view = world_.view();
  std::set<std::string> read;
  for (auto& row : view.intentsSince(since_)) {
    ids_.insert(row.id);
    read.insert(row.id);
    all_.stored[row.id] = std::move(row);
  }
  for (const auto& id : ids_) {
    if (read.contains(id)) continue;
    all_.stored.erase(id);
    if (auto row = view.intent(id)) all_.stored[id] = std::move(*row);
  }
}

Evidence Examiner::part() const {
  Evidence out;
  out.killed = all_.killed;
  out.didOfAgent = all_.didOfAgent;
  out.chats = all_.chats;
  out.died = all_.died;
  out.injected = all_.injected;
  std::set<std::string> works = works_;
  for (const auto& id : ids_) {
    if (const auto row = all_.stored.find(id); row != all_.stored.end()) {
      works.insert(row->second.work);
      out.stored.insert(*row);
    }
    if (const auto runs = all_.executed.find(id); runs != all_.executed.end()) out.executed.insert(*runs);
  }
  for (const auto& work : works) {
    if (const auto promise = all_.promises.find(work); promise != all_.promises.end()) {
      out.promises.insert(*promise);
    } else if (auto known = ledger_.find(work)) {
      out.promises.emplace(work, std::move(*known));
    }
  }
  return out;
}

std::vector<Violation> Examiner::look() {
  readRecords();
  return check(part());
}

std::vector<Violation> Examiner::settle(std::chrono::milliseconds patience) {
  const auto end = std::chrono::steady_clock::now() + patience;
  for (;;) {
    const std::int64_t began = unixMillis();
    auto found = look();
    if (found.empty()) {
      forgive();
      since_ = began - kOverlapMs;
      return found;
    }
    if (std::chrono::steady_clock::now() >= end) {
      addHistories(found);
      return found;
    }
    harness::rest(25ms);
  }
}

// One intent alone tells what happened to it, a list does not.
void Examiner::addHistories(const std::vector<Violation>& found) {
  constexpr std::size_t kMost = 20;
  auto view = world_.view();
  for (std::size_t i = 0; i < std::min(found.size(), kMost); ++i) {
    const auto row = all_.stored.find(found[i].id);
    if (row == all_.stored.end()) continue;
    if (auto whole = view.intent(found[i].id)) row->second.json = whole->json;
  }
}

void Examiner::forgive() {
  ids_.clear();
  works_.clear();
  all_.chats.clear();
  all_.died.clear();
  since_ = unixMillis() - kOverlapMs;
}

std::vector<Violation> Examiner::examineEverything() {
  auto view = world_.view();
  const auto before = std::move(all_.stored);
  all_.stored.clear();
  std::vector<Violation> found;
  for (auto& row : view.intentsSince(0)) all_.stored[row.id] = std::move(row);
  for (const auto& [id, row] : before) {
    const auto now = all_.stored.find(id);
    if (now == all_.stored.end())
      found.push_back({Fault::Lost, id, row.work, "it was in the store, and is no more"});
    else if (now->second.status != row.status || now->second.mark != row.mark)
      found.push_back({Fault::Wrong, id, row.work, "it ended as " + row.status + ", and now is " + now->second.status});
  }
  for (const auto& promise : ledger_.all()) all_.promises[promise.work] = promise;
  all_.killed = world_.killed();
  const auto more = check(all_);
  found.insert(found.end(), more.begin(), more.end());
  if (view.intentCount() != all_.stored.size())
    found.push_back({Fault::Wrong, "", "", "the store counts other rows than it lists"});
  if (!view.auditChainIsValid()) found.push_back({Fault::Wrong, "", "", "the audit chain is broken"});
  return found;
}

}  // namespace vaultysclaw::crash
