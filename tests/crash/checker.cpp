#include "checker.hpp"

#include <algorithm>
#include <array>

namespace vaultysclaw::crash {
namespace {

using std::to_string;

const std::vector<Execution> kNone;

// Codes with which an intent may fail because of what happened around it, and not because a handler failed.
bool isWordOf(const std::string& code, std::initializer_list<const char*> codes) {
  return std::any_of(codes.begin(), codes.end(), [&](const char* c) { return code == c; });
}

const char* name(Outcome outcome) {
  switch (outcome) {
    case Outcome::None:
      return "did not end";
    case Outcome::Success:
      return "succeeded";
    case Outcome::Failed:
      return "failed";
    case Outcome::Stopped:
      return "was stopped";
  }
  return "?";
}

class Check {
 public:
  explicit Check(const Evidence& evidence) : evidence_(evidence) {}

  std::vector<Violation> all() {
    for (const auto& [id, row] : evidence_.stored) byWork_[row.work].push_back(id);
    for (const auto& [work, promise] : evidence_.promises) promised(promise);
    for (const auto& [id, row] : evidence_.stored) stored(row);
    for (const auto& [id, runs] : evidence_.executed) executed(id, runs);
    for (const auto& chat : evidence_.chats) chatted(chat);
    return std::move(found_);
  }

 private:
  void report(Fault fault, std::string id, std::string work, std::string what) {
    found_.push_back({fault, std::move(id), std::move(work), std::move(what)});
  }

  const StoredIntent* row(const std::string& id) const {
    const auto it = evidence_.stored.find(id);
    return it == evidence_.stored.end() ? nullptr : &it->second;
  }
  const std::vector<Execution>& runs(const std::string& id) const {
    const auto it = evidence_.executed.find(id);
    return it == evidence_.executed.end() ? kNone : it->second;
  }
  const Promise* promise(const std::string& work) const {
    const auto it = evidence_.promises.find(work);
    return it == evidence_.promises.end() ? nullptr : &it->second;
  }

  void promised(const Promise& p) {
    const auto rows = byWork_.find(p.work);
    const std::size_t intents = rows == byWork_.end() ? 0 : rows->second.size();
    if (p.mustNotExist) {
      if (p.answered && p.status != 409)
        report(Fault::Wrong, "", p.work, "a used key with other content was answered " + to_string(p.status));
      if (intents > 0) report(Fault::Wrong, rows->second[0], p.work, "a used key with other content made an intent");
      return;
    }
    std::set<std::string> ids = p.ids;
    if (rows != byWork_.end()) ids.insert(rows->second.begin(), rows->second.end());
    if (ids.size() > 1) {
      std::string list;
      for (const auto& id : ids) list += " " + id;
      report(Fault::Duplicated, *ids.begin(), p.work, "one request has " + to_string(ids.size()) + " intents:" + list);
    }
    if (p.retry == Retry::UntilAnswered && !p.answered)
      report(Fault::Stuck, ids.empty() ? "" : *ids.begin(), p.work, "a request with a key got no answer");
    for (const auto& id : p.ids) {
      const StoredIntent* kept = row(id);
      if (kept == nullptr) {
        report(Fault::Lost, id, p.work, "its id was answered (" + to_string(p.status) + ") and is not in the store");
        continue;
      }
      if (kept->work != p.work || kept->did != p.did)
        report(Fault::Wrong, id, p.work, "the store has other content under the id that was answered");
      if (p.result && (*p.result != kept->status || p.mark != kept->mark || p.code != kept->code))
        report(Fault::Wrong, id, p.work,
               "the caller was told " + *p.result + " " + p.code + p.mark + ", the store has " + kept->status + " " +
                   kept->code + kept->mark);
    }
  }

  void stored(const StoredIntent& s) {
    const Promise* asked = promise(s.work);
    if (asked == nullptr) report(Fault::Wrong, s.id, s.work, "nobody asked for it");
    if (s.signatureValid == false) report(Fault::Wrong, s.id, s.work, "its token does not verify");
    if (s.resultSigned && s.resultSignatureValid != true)
      report(Fault::Wrong, s.id, s.work, "its result's proof does not verify");
    const auto& ran = runs(s.id);
    const bool begun = !ran.empty();
    if (!s.signatureValid && (begun || s.resultSigned))
      report(Fault::Wrong, s.id, s.work, "it ran, and the store has no token for it");
    const auto with = [&](Outcome outcome) {
      return std::find_if(ran.begin(), ran.end(), [&](const Execution& e) { return e.outcome == outcome; });
    };
    if (s.status == "success") {
      const auto success = with(Outcome::Success);
      if (success == ran.end())
        report(Fault::Wrong, s.id, s.work, "stored as success, and no handler succeeded");
      else if (success->mark != s.mark)
        report(Fault::Wrong, s.id, s.work, "the handler's result was " + success->mark + ", the store has " + s.mark);
      if (!s.resultSigned) report(Fault::Wrong, s.id, s.work, "its result has no proof");
    } else if (s.status == "failed") {
      failed(s, asked, ran);
    } else if (s.status == "pending" || s.status == "queued") {
      report(Fault::Stuck, s.id, s.work, "it is still " + s.status);
    } else if (s.status == "lost") {
      report(Fault::Lost, s.id, s.work, "it ended as lost" + std::string(begun ? ", and it ran" : ""));
    } else if (s.status == "timeout" || s.status == "expired") {
      if (begun)
        report(Fault::Lost, s.id, s.work, "it ended as " + s.status + ", and it ran (" + name(ran[0].outcome) + ")");
    } else {
      report(Fault::Wrong, s.id, s.work, "its status is " + s.status);
    }
  }

  bool killed(const std::vector<Execution>& ran) const {
    return std::any_of(ran.begin(), ran.end(), [&](const Execution& e) { return evidence_.killed.contains(e.pid); });
  }

  void failed(const StoredIntent& s, const Promise* asked, const std::vector<Execution>& ran) {
    const auto failure =
        std::find_if(ran.begin(), ran.end(), [](const auto& e) { return e.outcome == Outcome::Failed; });
    if (s.code == "interrupted") {
      if (!ran.empty() && !killed(ran))
        report(Fault::Lost, s.id, s.work,
               std::string("it ended as interrupted, its process was not killed, and its handler ") +
                   name(ran[0].outcome));
      else if (evidence_.killed.empty())
        report(Fault::Lost, s.id, s.work, "it ended as interrupted, and nothing was killed");
    } else if (s.code == "cancelled") {
      if (asked != nullptr && !asked->mayEndCancelled)
        report(Fault::Wrong, s.id, s.work, "it ended as cancelled, and nobody cancelled it");
    } else if (s.code == "deadline_exceeded") {
      return;  // said by the agent, whose handler may have come too late
    } else if (!evidence_.injected.empty() && ran.empty() && s.error.find(evidence_.injected) != std::string::npos) {
      return;
    } else if (s.code == "busy") {
      if (!ran.empty()) report(Fault::Wrong, s.id, s.work, "it was refused as busy, and it ran");
    } else if (isWordOf(s.code, {"failed", ""}) && failure != ran.end()) {
      if (s.error.find(failure->mark) == std::string::npos)
        report(Fault::Wrong, s.id, s.work, "the handler failed with " + failure->mark + ", the store has: " + s.error);
    } else {
      report(ran.empty() ? Fault::Wrong : Fault::Lost, s.id, s.work,
             "it failed with code " + s.code + " (" + s.error + ")" +
                 (ran.empty() ? "" : std::string(", and its handler ") + name(ran[0].outcome)));
    }
  }

  void executed(const std::string& id, const std::vector<Execution>& ran) {
    if (ran.size() > 1) report(Fault::Duplicated, id, ran[0].work, "it ran " + to_string(ran.size()) + " times");
    const StoredIntent* kept = row(id);
    if (kept == nullptr) report(Fault::Lost, id, ran[0].work, "it ran, and is not in the store");
    for (const auto& e : ran) {
      if (e.outcome == Outcome::None && !evidence_.killed.contains(e.pid))
        report(Fault::Stuck, id, e.work, "its handler began and neither ended nor was killed");
      if (kept != nullptr && kept->work != e.work)
        report(Fault::Wrong, id, e.work, "it ran with other params than the store has");
      const auto did = evidence_.didOfAgent.find(e.agent);
      if (kept != nullptr && did != evidence_.didOfAgent.end() && did->second != kept->did)
        report(Fault::Wrong, id, e.work, "it ran on " + e.agent + ", which it was not for");
    }
  }

  void chatted(const ChatRecord& c) {
    for (std::size_t i = 0; i < c.received.size(); ++i) {
      const std::string expected = "c" + to_string(i) + " ";
      if (c.received[i] == expected) continue;
      const bool repeated = std::find(c.received.begin(), c.received.begin() + static_cast<std::ptrdiff_t>(i),
                                      c.received[i]) != c.received.begin() + static_cast<std::ptrdiff_t>(i);
      report(repeated ? Fault::Duplicated : Fault::Lost, c.conversation, "",
             "piece " + to_string(i) + " of a chat is '" + c.received[i] + "'");
      break;
    }
    for (std::size_t i = 1; i < c.numbers.size(); ++i) {
      if (c.numbers[i] > c.numbers[i - 1]) continue;
      report(Fault::Duplicated, c.conversation, "", "a chat's numbers do not rise at piece " + to_string(i));
      break;
    }
    if (c.done && !c.error && c.received.size() != static_cast<std::size_t>(c.asked))
      report(Fault::Lost, c.conversation, "",
             "a chat ended well after " + to_string(c.received.size()) + " of " + to_string(c.asked) + " pieces");
    // A chat lives in its two processes: it outlives every connection, and none of them.
    const bool excused = evidence_.died.contains(c.agent) || evidence_.died.contains("control-plane");
    if (c.resumable && c.begun && !excused && (!c.done || c.error))
      report(Fault::Lost, c.conversation, "",
             "a resumable chat broke off though nobody died: " + (c.error          ? *c.error
                                                                  : c.refused != 0 ? "answered " + to_string(c.refused)
                                                                                   : "no end"));
    if (c.stuck) report(Fault::Stuck, c.conversation, "", "a chat got neither pieces nor an end");
  }

  const Evidence& evidence_;
  std::map<std::string, std::vector<std::string>> byWork_;
  std::vector<Violation> found_;
};

}  // namespace

const char* name(Fault fault) {
  constexpr std::array kNames{"lost", "duplicated", "stuck", "wrong"};
  return kNames.at(static_cast<std::size_t>(fault));
}

std::vector<Violation> check(const Evidence& evidence) {
  return Check(evidence).all();
}

std::string timeline(const Evidence& evidence, const Violation& violation) {
  std::vector<Sighting> events;
  std::string rows;
  std::set<std::string> ids{violation.id};
  std::string work = violation.work;
  if (const auto it = evidence.stored.find(violation.id); it != evidence.stored.end()) work = it->second.work;
  if (const auto it = evidence.promises.find(work); it != evidence.promises.end()) {
    events = it->second.seen;
    ids.insert(it->second.ids.begin(), it->second.ids.end());
  }
  for (const auto& [id, row] : evidence.stored) {
    if (ids.contains(id) || (!work.empty() && row.work == work)) {
      ids.insert(id);
      rows += "  stored: " + row.json + "\n";
    }
  }
  for (const auto& id : ids) {
    const auto ran = evidence.executed.find(id);
    if (ran == evidence.executed.end()) continue;
    for (const auto& e : ran->second) {
      const std::string where = e.agent + " (process " + to_string(e.pid) + ")";
      events.push_back({e.beganAt, where + " began " + id});
      if (e.outcome != Outcome::None)
        events.push_back({e.endedAt, where + " " + name(e.outcome) + " " + id + " " + e.mark});
      else if (evidence.killed.contains(e.pid))
        events.push_back({e.beganAt, where + " was killed later"});
    }
  }
  for (const auto& chat : evidence.chats) {
    if (!violation.id.empty() && chat.conversation == violation.id)
      events.insert(events.end(), chat.seen.begin(), chat.seen.end());
  }
  std::stable_sort(events.begin(), events.end(), [](const auto& a, const auto& b) { return a.at < b.at; });
  std::string out;
  for (const auto& e : events) out += "  " + to_string(e.at) + "  " + e.what + "\n";
  return out + rows;
}

}  // namespace vaultysclaw::crash
