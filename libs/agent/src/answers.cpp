#include "answers.hpp"

#include <algorithm>

#include "base/assert.hpp"
#include "call.hpp"

namespace vaultysclaw::detail {

std::shared_ptr<Answer> Answers::open(std::string questionId, std::string conversationId,
                                      std::shared_ptr<ChatStream> stream, Resumable resumable) {
  auto answer =
      std::make_shared<Answer>(std::move(questionId), std::move(conversationId), std::move(stream), resumable);
  answer->serial_ = nextSerial_++;
  all_.emplace(answer->serial_, answer);
  if (answer->resumable) byQuestion_[answer->questionId] = answer;
  answer->bytes_ = kAnswerOverhead;
  bytes_ += kAnswerOverhead;
  return answer;
}

std::shared_ptr<Answer> Answers::find(const std::string& questionId) const {
  const auto found = byQuestion_.find(questionId);
  return found == byQuestion_.end() ? nullptr : found->second;
}

std::shared_ptr<Answer> Answers::share(const Answer& answer) const {
  const auto found = all_.find(answer.serial_);
  return found == all_.end() || found->second.get() != &answer ? nullptr : found->second;
}

bool Answers::knows(const std::string& questionId) const {
  return byQuestion_.contains(questionId) || askedIds_.contains(questionId);
}

void Answers::append(Answer& answer, AnswerPiece piece) {
  VC_ASSERT(!answer.end_, "nothing follows the end of an answer");
  const std::size_t bytes = piece.text.size() + kPieceOverhead;
  answer.pieces_.push_back(std::move(piece));
  answer.bytes_ += bytes;
  bytes_ += bytes;
  if (answer.flows_) return makeReady(answer);
  release(answer, answer.size());
}

void Answers::end(Answer& answer, AnswerEnd end) {
  VC_ASSERT(!answer.end_, "an answer ends once");
  answer.bytes_ += end.error ? end.error->size() : 0;
  bytes_ += end.error ? end.error->size() : 0;
  answer.end_ = std::move(end);
  if (answer.flows_) makeReady(answer);
}

void Answers::resume(Answer& answer, std::uint64_t seq) {
  VC_ASSERT(seq >= answer.first_ && seq <= answer.size(), "only what is kept is sent again");
  release(answer, std::min(seq, answer.first_ + answer.pieces_.size()));  // the other side has them
  answer.next_ = seq;
  answer.flows_ = true;
  const bool allSent = answer.end_ && seq == answer.size();
  expireAt(answer, allSent ? std::optional(clock_.steady() + kKept) : std::nullopt);
  makeReady(answer);
}

void Answers::drop(Answer& answer) {
  const auto found = all_.find(answer.serial_);
  if (found == all_.end() || found->second.get() != &answer) return;
  const auto kept = found->second;
  release(answer, answer.first_ + answer.pieces_.size());
  expireAt(answer, std::nullopt);
  answer.flows_ = false;
  bytes_ -= std::exchange(answer.bytes_, 0);
  if (answer.resumable) {
    remember(answer.questionId);
    byQuestion_.erase(answer.questionId);
  }
  all_.erase(found);
}

std::optional<Answers::Next> Answers::next() {
  while (!ready_.empty()) {
    const auto& answer = ready_.front();
    if (!answer->flows_ || answer->next_ >= answer->size()) {
      answer->queued_ = false;
      ready_.pop_front();
      continue;
    }
    Next next{answer, answer->next_, nullptr, nullptr};
    const std::uint64_t index = answer->next_ - answer->first_;
    if (index < answer->pieces_.size()) {
      next.piece = &answer->pieces_[index];
    } else {
      next.end = &*answer->end_;
    }
    return next;
  }
  return std::nullopt;
}

void Answers::sent(const std::shared_ptr<Answer>& answer) {
  VC_ASSERT(!ready_.empty() && ready_.front() == answer, "sent() follows next()");
  ready_.pop_front();
  answer->queued_ = false;
  ++answer->next_;
  release(*answer, std::min(answer->next_, answer->first_ + answer->pieces_.size()));
  const bool all = answer->end_ && answer->next_ == answer->size();
  if (!answer->resumable) {
    if (all) return drop(*answer);
    forgetFront(*answer);
  } else if (all) {
    expireAt(*answer, clock_.steady() + kKept);
  }
  makeReady(*answer);
}

std::vector<std::shared_ptr<Answer>> Answers::cut() {
  std::vector<std::shared_ptr<Answer>> lost;
  for (const auto& answer : ready_) answer->queued_ = false;
  ready_.clear();
  for (const auto& [serial, answer] : all_) {
    if (!answer->resumable) {
      lost.push_back(answer);
    } else if (std::exchange(answer->flows_, false)) {
      release(*answer, answer->first_ + answer->pieces_.size());
      expireAt(*answer, clock_.steady() + kKept);
    }
  }
  for (const auto& answer : lost) drop(*answer);
  return lost;
}

std::vector<std::shared_ptr<Answer>> Answers::expired() {
  std::vector<std::shared_ptr<Answer>> out;
  while (!expiries_.empty() && expiries_.begin()->first <= clock_.steady()) {
    out.push_back(all_.at(expiries_.begin()->second->serial_));
    drop(*out.back());
  }
  return out;
}

std::optional<SteadyTime> Answers::nextExpiry() const {
  return expiries_.empty() ? std::nullopt : std::optional(expiries_.begin()->first);
}

bool Answers::trim(Answer& grown) {
  while (grown.bytes_ > kMaxBytes && grown.first_ < grown.next_ && !grown.pieces_.empty()) forgetFront(grown);
  for (auto it = all_.begin(); bytes_ > kMaxTotalBytes && it != all_.end();) {
    Answer& old = *(it++)->second;
    if (old.end_ && (!old.flows_ || old.next_ >= old.size()) && &old != &grown) {
      drop(old);
      continue;
    }
    while (old.first_ < old.next_ && !old.pieces_.empty()) forgetFront(old);
  }
  return (grown.bytes_ <= kMaxBytes || grown.flows_) && bytes_ <= kMaxTotalBytes;
}

std::shared_ptr<Answer> Answers::youngest() const {
  for (auto it = all_.rbegin(); it != all_.rend(); ++it) {
    if (!it->second->flows_) return it->second;
  }
  return nullptr;
}

void Answers::addChannel(const std::string& channel) {
  channels_.push_back(channel);
  if (channels_.size() > kMaxChannels) channels_.pop_front();
}

bool Answers::vouches(const std::string& channel) const {
  return std::find(channels_.begin(), channels_.end(), channel) != channels_.end();
}

void Answers::clear() {
  while (!all_.empty()) drop(*all_.begin()->second);
  ready_.clear();
}

void Answers::forgetFront(Answer& answer) {
  const std::size_t bytes = answer.pieces_.front().text.size() + kPieceOverhead;
  answer.pieces_.pop_front();
  ++answer.first_;
  answer.bytes_ -= bytes;
  bytes_ -= bytes;
}

void Answers::release(Answer& answer, std::uint64_t upTo) {
  for (; answer.released_ < upTo; ++answer.released_)
    answer.stream->sent(answer.pieces_[answer.released_ - answer.first_].text.size());
}

void Answers::expireAt(Answer& answer, std::optional<SteadyTime> when) {
  if (answer.expiry_) expiries_.erase(*answer.expiry_);
  answer.expiry_.reset();
  if (when) answer.expiry_ = expiries_.emplace(*when, &answer);
}

void Answers::makeReady(Answer& answer) {
  if (answer.queued_ || answer.next_ >= answer.size()) return;
  answer.queued_ = true;
  ready_.push_back(all_.at(answer.serial_));
}

void Answers::remember(const std::string& questionId) {
  const SteadyTime now = clock_.steady();
  while (!asked_.empty() && asked_.front().first + kRemembered <= now) {
    askedIds_.erase(asked_.front().second);
    asked_.pop_front();
  }
  if (asked_.size() >= kMaxRemembered) {
    askedIds_.erase(asked_.front().second);
    asked_.pop_front();
    channels_.clear();  // a question that came over one of them might have been this one
  }
  asked_.emplace_back(now, questionId);
  askedIds_.insert(questionId);
}

}  // namespace vaultysclaw::detail
