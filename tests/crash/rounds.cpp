#include "rounds.hpp"

#include <algorithm>
#include <fstream>
#include <iomanip>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>

#include "examiner.hpp"
#include "interrupt.hpp"
#include "load.hpp"

namespace vaultysclaw::crash {
namespace {

using namespace std::chrono_literals;
using Json = nlohmann::json;
using Clock = std::chrono::steady_clock;
using std::to_string;
namespace fs = std::filesystem;

constexpr std::uint64_t kAuditEvery = 25;  // rounds: the whole chain is read each time

std::int64_t millisSince(Clock::time_point start) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - start).count();
}

class Rounds {
 public:
  Rounds(const RoundsPlan& plan, const Say& say)
      : plan_(plan),
        say_(say),
        world_(plan.directory, plan.agents),
        ledger_(plan.directory / "promises.jsonl"),
        records_(plan.directory / "rounds.jsonl", std::ios::app) {}

  RoundsVerdict play() {
    if (plan_.brokenAgents) world_.breakAgents();
    world_.start();
    Examiner examiner(world_, ledger_);
    LoadPlan loadPlan;
    loadPlan.port = world_.callerPort();
    loadPlan.token = world_.token();
    loadPlan.agents = world_.agentNames();
    loadPlan.dids = world_.agentDids();
    loadPlan.callers = plan_.callers;
    loadPlan.seed = plan_.seed + plan_.first;
    Load load(loadPlan, ledger_);
    for (std::uint64_t round = plan_.first; round < plan_.first + plan_.count; ++round) {
      const bool clean = playOne(round, load, examiner);
      if (!clean && !plan_.keepGoing) return verdict_;
    }
    conclude(examiner);
    return verdict_;
  }

 private:
  bool playOne(std::uint64_t round, Load& load, Examiner& examiner) {
    const Harm harm = chooseHarm(plan_.seed, round, plan_.agents);
    const auto start = Clock::now();
    const std::uint64_t requestsBefore = load.requests();
    const auto hardshipsBefore = examiner.hardships();
    const std::size_t intentsBefore = examiner.evidence().stored.size();
    std::vector<Violation> found;
    world_.setDelay(harm.delay);
    load.resume();
    harness::rest(harm.before);
    events_.push_back({unixMillis(), describe(harm)});
    if (harm.kind == HarmKind::Kill)
      examiner.noteDeath(harm.victim == VictimKind::ControlPlane ? "control-plane" : world_.agentNames()[harm.agent]);
    world_.apply(harm);
    harness::rest(harm.lasts);
    noteUnexpectedEnds(found);
    world_.undo(harm);
    events_.push_back({unixMillis(), "end of: " + describe(harm)});
    const auto undone = Clock::now();
    harness::rest(harm.after);
    const auto end = Clock::now() + plan_.patience;
    while (!world_.absentAgents().empty() && Clock::now() < end) harness::rest(10ms);
    const auto back = millisSince(undone);
    load.quiesce();
    const auto quiet = Clock::now();
    for (const auto& name : world_.absentAgents())
      found.push_back({Fault::Stuck, "", "", name + " is not connected again"});
    if (!load.failure().empty()) throw std::runtime_error("a caller ended: " + load.failure());
    const auto unsettled = examiner.settle(plan_.patience);
    found.insert(found.end(), unsettled.begin(), unsettled.end());
    noteUnexpectedEnds(found);
    if ((round + 1) % kAuditEvery == 0 && !world_.view().auditChainIsValid())
      found.push_back({Fault::Wrong, "", "", "the audit chain is broken"});

    Json record{{"round", round},
                {"seed", plan_.seed},
                {"harm", describe(harm)},
                {"lastsMs", harm.lasts.count()},
                {"requests", load.requests() - requestsBefore},
                {"intents", examiner.evidence().stored.size() - intentsBefore},
                {"askedAgain", examiner.hardships().askedAgain - hardshipsBefore.askedAgain},
                {"chats", examiner.hardships().chats - hardshipsBefore.chats},
                {"chatsTakenUp", examiner.hardships().chatsTakenUp - hardshipsBefore.chatsTakenUp},
                {"backMs", back},
                {"settledMs", millisSince(quiet)},
                {"roundMs", millisSince(start)}};
    count(found, record);
    records_ << record.dump() << std::endl;
    ++verdict_.rounds;
    verdict_.requests += load.requests() - requestsBefore;
    std::ostringstream line;
    line << "round " << round << "  " << std::left << std::setw(24) << describe(harm) << std::right << std::setw(5)
         << (load.requests() - requestsBefore) << " requests  back in " << std::setw(4) << back << " ms  "
         << (found.empty() ? "clean" : to_string(found.size()) + " VIOLATIONS");
    say_(line.str());
    if (!found.empty()) report(round, found, examiner);
    events_.clear();
    if (found.empty()) world_.trimLogs();
    return found.empty();
  }

  void noteUnexpectedEnds(std::vector<Violation>& found) {
    for (auto& text : world_.unexpectedEnds()) found.push_back({Fault::Wrong, "", "", std::move(text)});
  }

  void count(const std::vector<Violation>& found, Json& record) {
    const auto of = [&](Fault fault) {
      return static_cast<std::uint64_t>(
          std::count_if(found.begin(), found.end(), [&](const Violation& v) { return v.fault == fault; }));
    };
    record["lost"] = of(Fault::Lost);
    record["duplicated"] = of(Fault::Duplicated);
    record["stuck"] = of(Fault::Stuck);
    record["wrong"] = of(Fault::Wrong);
    verdict_.lost += of(Fault::Lost);
    verdict_.duplicated += of(Fault::Duplicated);
    verdict_.stuck += of(Fault::Stuck);
    verdict_.wrong += of(Fault::Wrong);
  }

  void report(std::uint64_t round, const std::vector<Violation>& found, Examiner& examiner) {
    constexpr std::size_t kShown = 5;
    std::string text = "violations in round " + to_string(round) + " of seed " + to_string(plan_.seed) + ":\n";
    for (const auto& e : events_) text += "  " + to_string(e.at) + "  " + e.what + "\n";
    std::string shown = text;
    for (std::size_t i = 0; i < found.size(); ++i) {
      const Violation& v = found[i];
      const std::string one = std::string(name(v.fault)) + ": " + (v.id.empty() ? "" : v.id + " ") +
                              (v.work.empty() ? "" : "(request " + v.work + ") ") + v.what + "\n" +
                              timeline(examiner.evidence(), v);
      text += one;
      if (i < kShown) shown += one;
    }
    if (found.size() > kShown) shown += "and " + to_string(found.size() - kShown) + " more, in violations.txt\n";
    const std::string where = "logs, journal and store: " + plan_.directory.string() +
                              "\nto repeat the choice of harms: ./dev crash --seed " + to_string(plan_.seed) +
                              " --first " + to_string(round) + " --rounds 1 --state NEW_DIRECTORY\n";
    say_(shown + where);
    std::ofstream(plan_.directory / "violations.txt", std::ios::app) << text << where << std::endl;
    examiner.forgive();
  }

  void conclude(Examiner& examiner) {
    const auto found = examiner.examineEverything();
    Json record{{"examined", examiner.evidence().stored.size()}, {"promises", ledger_.size()}};
    count(found, record);
    records_ << record.dump() << std::endl;
    say_("all " + to_string(examiner.evidence().stored.size()) + " intents and the audit chain examined again: " +
         (found.empty() ? "clean" : to_string(found.size()) + " VIOLATIONS"));
    if (!found.empty()) report(plan_.first + plan_.count, found, examiner);
  }

  const RoundsPlan& plan_;
  const Say& say_;
  World world_;
  Ledger ledger_;
  std::ofstream records_;
  std::vector<Sighting> events_;  // of the round
  RoundsVerdict verdict_;
};

std::vector<Json> readRecords(const fs::path& directory) {
  std::vector<Json> out;
  std::ifstream in(directory / "rounds.jsonl");
  for (std::string line; std::getline(in, line);) {
    Json json = Json::parse(line, nullptr, false);
    if (json.is_object()) out.push_back(std::move(json));
  }
  return out;
}

std::int64_t quantile(std::vector<std::int64_t> values, double share) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  return values[static_cast<std::size_t>(share * static_cast<double>(values.size() - 1))];
}

}  // namespace

RoundsVerdict playRounds(const RoundsPlan& plan, const Say& say) {
  return Rounds(plan, say).play();
}

Recorded recorded(const fs::path& directory) {
  Recorded out;
  for (const auto& record : readRecords(directory)) {
    if (!record.contains("round")) continue;
    out.any = true;
    out.seed = record["seed"];
    out.next = std::max(out.next, record["round"].get<std::uint64_t>() + 1);
  }
  return out;
}

std::string summary(const fs::path& directory) {
  struct Kind {
    std::vector<std::int64_t> back;
    std::uint64_t violations = 0;
  };
  std::map<std::string, Kind> kinds;
  std::vector<std::int64_t> times;
  std::uint64_t rounds = 0, requests = 0, intents = 0, again = 0, chats = 0, takenUp = 0, lost = 0, duplicated = 0,
                stuck = 0, wrong = 0;
  for (const auto& record : readRecords(directory)) {
    const auto number = [&](const char* member) { return record.value(member, std::uint64_t{0}); };
    lost += number("lost");
    duplicated += number("duplicated");
    stuck += number("stuck");
    wrong += number("wrong");
    if (!record.contains("round")) continue;
    ++rounds;
    requests += number("requests");
    intents += number("intents");
    again += number("askedAgain");
    chats += number("chats");
    takenUp += number("chatsTakenUp");
    times.push_back(record.at("roundMs"));
    std::string harm = record.at("harm");
    if (const auto dash = harm.rfind("agent-"); dash != std::string::npos) harm.resize(dash + 5);
    Kind& kind = kinds[harm];
    kind.back.push_back(record.at("backMs"));
    kind.violations += number("lost") + number("duplicated") + number("stuck") + number("wrong");
  }
  std::ostringstream out;
  out << "\n  " << std::left << std::setw(24) << "harm" << std::right << std::setw(8) << "rounds" << std::setw(16)
      << "back, median" << std::setw(10) << "slowest" << std::setw(13) << "violations" << '\n';
  for (const auto& [harm, kind] : kinds) {
    out << "  " << std::left << std::setw(24) << harm << std::right << std::setw(8) << kind.back.size() << std::setw(13)
        << quantile(kind.back, 0.5) << " ms" << std::setw(7) << quantile(kind.back, 1) << " ms" << std::setw(13)
        << kind.violations << '\n';
  }
  out << "\n  " << rounds << " rounds, " << requests << " requests, " << intents << " intents, " << quantile(times, 0.5)
      << " ms a round\n  " << again << " requests were answered at a later attempt; of " << chats << " chats "
      << takenUp << " were taken up again after their stream broke, and ended well\n  lost " << lost << "  duplicated "
      << duplicated << "  stuck " << stuck << "  wrong " << wrong << '\n';
  return out.str();
}

}  // namespace vaultysclaw::crash
