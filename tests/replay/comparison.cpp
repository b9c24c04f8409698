#include "comparison.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <iostream>

namespace vaultysclaw::replay {
namespace {

using What = Allowance::What;

std::string nameOf(Side side) {
  return side == Side::ControlPlane ? "our control plane" : "our agent";
}

// What all replays of this run have done together.
struct Account : ::testing::Environment {
  int transcripts = 0, messages = 0, values = 0, uses = 0;
  std::set<const Allowance*> rows;
  void TearDown() override {
    std::cout << "[  REPLAY  ] together: " << transcripts << " replays, " << messages << " messages and " << values
              << " values compared, " << rows.size() << " of " << allowances().size() << " allowances used " << uses
              << " times\n";
  }
};
Account& account() {
  static auto* const instance = new Account;  // gtest owns it
  return *instance;
}
[[maybe_unused]] const auto* const registered = ::testing::AddGlobalTestEnvironment(&account());

std::string brief(const json* value) {
  if (!value) return "(absent)";
  std::string text = value->dump();
  if (text.size() > 400) text = text.substr(0, 400) + "...";
  return text;
}

std::string rowText(const Allowance& a) {
  std::string seqs;
  for (const int seq : a.seqs) seqs += " #" + std::to_string(seq);
  return a.kind + " " + a.path + seqs + " (" + a.reason + ")";
}

}  // namespace

Comparison::Comparison(Side side, const Transcript& transcript) : side_(side), ledger_(transcript) {}

const Allowance* Comparison::find(What what, const std::string& kind, const std::string& path, int seq) const {
  for (const auto& a : allowances()) {
    if (a.side == side_ && a.what == what && (a.kind == kind || a.kind == "*") && a.path == path &&
        a.uses.in(ledger_.transcript.name) > 0 &&
        (a.seqs.empty() || std::find(a.seqs.begin(), a.seqs.end(), seq) != a.seqs.end()))
      return &a;
  }
  return nullptr;
}

bool Comparison::isSent(const Entry& recorded) const {
  return !find(What::NotSent, kindOf(recorded.message), "", recorded.seq);
}

bool Comparison::notSent(const Entry& recorded) {
  const auto* row = find(What::NotSent, kindOf(recorded.message), "", recorded.seq);
  if (row) ++used_[row], ++absent_;
  return row != nullptr;
}

bool Comparison::departs(const Entry& entry, const std::string& path) {
  const std::string kind = entry.kind == Entry::Kind::Step ? "step"
                           : entry.message.is_null()       ? "end"
                                                           : kindOf(entry.message);
  const auto* row = find(What::Played, kind, path, entry.seq);
  if (row) ++used_[row];
  return row != nullptr;
}

void Comparison::compare(const Entry& recorded, const Heard* ours) {
  entry_ = &recorded;
  heard_ = ours;
  kind_ = kindOf(recorded.message);
  if (!ours) {
    const json theirs = opened(recorded.message);
    return fail("", &theirs, nullptr, "ours sent nothing");
  }
  ++compared_;
  const json theirMessage = opened(recorded.message), ourMessage = opened(ours->message);
  ledger_.sent[recorded.seq] = ourMessage;
  if (const auto* row = find(What::Instead, kind_, "", recorded.seq)) {
    ++values_;
    return judge(*row, {"", &theirMessage, &ourMessage, ours->message, ours->at});
  }
  if (const std::string kind = kindOf(ours->message); kind != kind_)
    return fail("", &theirMessage, &ourMessage, "ours is of the kind " + kind + ", the recorded one " + kind_);
  walk(&theirMessage, &ourMessage, "");
}

void Comparison::more(const Entry& recorded, const Heard& ours) {
  entry_ = &recorded;
  heard_ = &ours;
  kind_ = kindOf(ours.message);
  ++extra_;
  const json ourMessage = opened(ours.message);
  const auto* row = find(What::More, kind_, "", recorded.seq);
  if (!row) return fail("", nullptr, &ourMessage, "the recorded side sent nothing");
  judge(*row, {"", nullptr, &ourMessage, ours.message, ours.at});
}

void Comparison::judge(const Allowance& allowance, const Difference& difference) {
  ++used_[&allowance];
  const std::string wrong = allowance.check(difference, ledger_);
  if (!wrong.empty())
    fail(difference.path, difference.recorded, difference.ours, wrong + " (allowed: " + allowance.reason + ")");
}

void Comparison::walk(const json* recorded, const json* ours, const std::string& path) {
  const bool equal = recorded && ours && *recorded == *ours;
  if (!equal) {
    if (const auto* row = find(What::Differs, kind_, path, entry_->seq)) {
      ++values_;
      return judge(*row, {path, recorded, ours, heard_->message, heard_->at});
    }
  }
  const bool theirMembers = recorded && recorded->is_object(), ourMembers = ours && ours->is_object();
  if ((theirMembers && ourMembers) || (theirMembers && !ours && !recorded->empty()) ||
      (ourMembers && !recorded && !ours->empty())) {
    const auto member = [](const json* object, const std::string& name) -> const json* {
      if (!object) return nullptr;
      const auto it = object->find(name);
      return it == object->end() ? nullptr : &*it;
    };
    std::vector<std::string> names, theirOrder, ourOrder;
    if (theirMembers) {
      for (const auto& [name, value] : recorded->items()) {
        names.push_back(name);
        if (member(ours, name)) theirOrder.push_back(name);
      }
    }
    if (ourMembers) {
      for (const auto& [name, value] : ours->items()) (member(recorded, name) ? ourOrder : names).push_back(name);
    }
    if (theirOrder != ourOrder) fail(path, recorded, ours, "the members are in another order");
    for (const auto& name : names)
      walk(member(recorded, name), member(ours, name), path.empty() ? name : path + "." + name);
    return;
  }
  ++values_;
  if (!equal) fail(path, recorded, ours, "");
}

void Comparison::fail(const std::string& path, const json* recorded, const json* ours, const std::string& why) {
  ADD_FAILURE() << ledger_.transcript.name << " #" << entry_->seq << " (" << kind_ << "), " << nameOf(side_)
                << (path.empty() ? "" : ": " + path) << (why.empty() ? "" : ": " + why)
                << "\n  recorded: " << brief(recorded) << "\n  ours:     " << brief(ours);
}

json Comparison::withOurIds(json message) const {
  if (message.is_string()) {
    const auto ours = ledger_.oursOf.find(message.get<std::string>());
    if (ours != ledger_.oursOf.end()) message = ours->second;
  } else if (message.is_structured()) {
    for (auto& member : message) member = withOurIds(std::move(member));
  }
  return message;
}

void Comparison::finish() {
  int rows = 0, uses = 0;
  for (const auto& a : allowances()) {
    const int expected = a.uses.in(ledger_.transcript.name);
    if (a.side != side_) continue;
    if (a.uses.full + a.uses.rejected + a.uses.clientErrors == 0)
      ADD_FAILURE() << "an allowance for nothing: " << rowText(a);
    const int found = used_.count(&a) ? used_[&a] : 0;
    if (found != expected)
      ADD_FAILURE() << ledger_.transcript.name << ", " << nameOf(side_) << ": used " << found
                    << " times, where the table says " << expected << ": " << rowText(a);
    if (found > 0) ++rows, account().rows.insert(&a);
    uses += found;
  }
  std::cout << "[  REPLAY  ] " << ledger_.transcript.name << " against " << nameOf(side_) << ": " << compared_
            << " messages compared (" << values_ << " values), " << absent_ << " not sent and " << extra_
            << " more sent as allowed, " << rows << " allowances used " << uses << " times\n";
  ++account().transcripts;
  account().messages += compared_;
  account().values += values_;
  account().uses += uses;
}

}  // namespace vaultysclaw::replay
