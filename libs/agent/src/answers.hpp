// The answers to chats, as far as they may have to be sent again (docs/protocol.md 7.8). Internal.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>

#include "base/ports.hpp"
#include "base/result.hpp"

namespace vaultysclaw::detail {

class ChatStream;

// One message of an answer. The last one has no text.
struct AnswerPiece {
  std::string text;
  bool thinking = false;
};
struct AnswerEnd {
  std::optional<std::string> error = {};
  std::string errorCode = {};
  Errc code = Errc::Failed;
};

enum class Resumable : bool { No, Yes };

// The answer to one question: its pieces by number, from the oldest that is kept to the last one that the handler has
// made. Belongs to an Answers, which alone changes it.
class Answer {
 public:
  Answer(std::string question, std::string conversation, std::shared_ptr<ChatStream> from, Resumable again)
      : questionId(std::move(question)),
        conversationId(std::move(conversation)),
        stream(std::move(from)),
        resumable(again == Resumable::Yes) {}

  const std::string questionId, conversationId;
  const std::shared_ptr<ChatStream> stream;
  const bool resumable;  // the control plane can ask for it again; the others are forgotten as they are sent

  bool flows() const { return flows_; }  // to the connection there is now
  bool ended() const { return end_.has_value(); }
  std::uint64_t first() const { return first_; }
  std::uint64_t size() const { return first_ + pieces_.size() + (end_ ? 1 : 0); }

 private:
  friend class Answers;

  std::uint64_t serial_ = 0;
  std::deque<AnswerPiece> pieces_;
  std::optional<AnswerEnd> end_;
  std::uint64_t first_ = 0;     // number of pieces_.front()
  std::uint64_t next_ = 0;      // number to be sent next
  std::uint64_t released_ = 0;  // up to here the handler no longer waits for the connection
  bool flows_ = true;
  bool queued_ = false;  // in ready_
  std::size_t bytes_ = 0;
  std::optional<std::multimap<SteadyTime, Answer*>::iterator> expiry_;
};

// All answers of an agent. Confined to the loop. Bounded: kMaxBytes per answer of what has been sent (what has not is
// bounded by ChatStream, which makes the handler wait), kMaxTotalBytes of all.
class Answers {
 public:
  static constexpr Duration kKept = std::chrono::minutes(2);
  static constexpr std::size_t kMaxBytes = std::size_t{2} << 20;
  static constexpr std::size_t kMaxTotalBytes = std::size_t{16} << 20;
  // What an answer, and a piece of one, take besides their text, roughly.
  static constexpr std::size_t kAnswerOverhead = 1024, kPieceOverhead = 64;
  // How long, and for how many questions, it is remembered that they were asked. Longer than any control plane waits.
  static constexpr Duration kRemembered = std::chrono::minutes(10);
  static constexpr std::size_t kMaxRemembered = 4096, kMaxChannels = 64;

  explicit Answers(Clock& clock) : clock_(clock) {}

  // An answer that flows.
  std::shared_ptr<Answer> open(std::string questionId, std::string conversationId, std::shared_ptr<ChatStream> stream,
                               Resumable resumable);
  std::shared_ptr<Answer> find(const std::string& questionId) const;
  // Keeps one of them alive over its drop().
  std::shared_ptr<Answer> share(const Answer& answer) const;
  // Whether this process has taken the question: not sure to be true after kRemembered.
  bool knows(const std::string& questionId) const;

  void append(Answer& answer, AnswerPiece piece);
  void end(Answer& answer, AnswerEnd end);
  // Sends it again from `seq` on, which is between first() and size().
  void resume(Answer& answer, std::uint64_t seq);
  // Its question stays known.
  void drop(Answer& answer);

  // What is to be sent next. Answers that flow take turns.
  struct Next {
    std::shared_ptr<Answer> answer;
    std::uint64_t seq = 0;
    const AnswerPiece* piece = nullptr;  // null: `end`. Both until the next call
    const AnswerEnd* end = nullptr;
  };
  std::optional<Next> next();
  // What next() gave is on its way.
  void sent(const std::shared_ptr<Answer>& answer);
  bool waiting() const { return !ready_.empty(); }  // something flows and has not been sent

  // The connection is lost: nothing flows. Returns those that nobody will ask for.
  std::vector<std::shared_ptr<Answer>> cut();
  // Those that nobody has asked for in time.
  std::vector<std::shared_ptr<Answer>> expired();
  std::optional<SteadyTime> nextExpiry() const;

  // Forgets what has been sent, oldest answers first, until the bounds hold. False when what is left is too much.
  bool trim(Answer& grown);
  bool overfull() const { return bytes_ > kMaxTotalBytes; }
  // The youngest of those that do not flow; null: none.
  std::shared_ptr<Answer> youngest() const;
  std::size_t bytes() const { return bytes_; }

  // A channel over which questions may come. `vouches`: every question that came over it is known.
  void addChannel(const std::string& channel);
  bool vouches(const std::string& channel) const;
  void clear();

 private:
  void forgetFront(Answer& answer);
  void release(Answer& answer, std::uint64_t upTo);
  void expireAt(Answer& answer, std::optional<SteadyTime> when);
  void makeReady(Answer& answer);
  void remember(const std::string& questionId);

  Clock& clock_;
  std::map<std::uint64_t, std::shared_ptr<Answer>> all_;       // oldest first
  std::map<std::string, std::shared_ptr<Answer>> byQuestion_;  // those that are resumable
  std::uint64_t nextSerial_ = 0;
  std::deque<std::shared_ptr<Answer>> ready_;
  std::multimap<SteadyTime, Answer*> expiries_;
  std::size_t bytes_ = 0;
  std::deque<std::pair<SteadyTime, std::string>> asked_;  // questions whose answers are dropped, and when
  std::set<std::string> askedIds_;
  std::deque<std::string> channels_;
};

}  // namespace vaultysclaw::detail
